//! What a training step is made of: each operation of the reference model's step alone, times how
//! often the step runs it, beside burn's composed form and beside the step as a whole. Prints a table in
//! Markdown.
#![allow(clippy::print_stdout, reason = "a bench reports on stdout")]

use sinterlm::burn::tensor::Device;
use sinterlm::kernels::{Route, run_on_pool, with_route};
use sinterlm_benches::{
    Case, Op, StepCase, is_named, is_selected, median, option, product_peak, reference_model,
    step_ops, timings,
};

/// Timed runs of a composed form, which is slow and only there to compare with.
const COMPOSED_RUNS: usize = 2;

fn main() {
    run_on_pool(None, run);
}

fn run() {
    let case = StepCase::new(4, 256, &reference_model());
    let id = |case: &StepCase| case.id().replace("train_step", "profile");
    if is_selected(&id(&case)) {
        profile(&case);
    }
    // Unasked, one of the two is enough.
    let narrow = case.bf16();
    if is_named(&id(&narrow)) {
        profile(&narrow);
    }
}

fn profile(case: &StepCase) {
    let runs = option("steps").and_then(|count| count.parse().ok());
    let device = Device::flex();
    let precision = case.trainer.precision.matmul();
    let mut peak = product_peak(&device);
    let parts: Vec<Part> = step_ops(&case.model, case.rows, case.seq, precision)
        .into_iter()
        .map(|(count, op)| Part::measure(count, op))
        .collect();
    let whole = median(&timings(runs, &mut *case.start()));
    peak = peak.max(product_peak(&device));

    println!("\n{}: {:.3} s a step", case.id(), whole);
    let headings = [
        "times",
        "ms each",
        "ms a step",
        "share",
        "GFLOP/s",
        "% of peak",
        "composed, ms",
        "gain",
        "operation",
    ];
    println!("| {} |", headings.join(" | "));
    println!("|{}", " ---: |".repeat(headings.len()));
    for part in &parts {
        let rate = part.op.product_flops().map(|flops| flops / part.seconds);
        let cell = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.0}"));
        println!(
            "| {} | {:.2} | {:.1} | {:.0} % | {} | {} | {:.2} | {:.2} | {} |",
            part.count,
            1e3 * part.seconds,
            1e3 * part.total(),
            100.0 * part.total() / whole,
            cell(rate.map(|rate| 1e-9 * rate)),
            cell(rate.map(|rate| 100.0 * rate / peak)),
            1e3 * part.composed_seconds,
            part.composed_seconds / part.seconds,
            part.op.id(),
        );
    }
    let sum: f64 = parts.iter().map(Part::total).sum();
    let composed: f64 = parts.iter().map(Part::composed_total).sum();
    println!("the parts together: {sum:.3} s; composed: {composed:.3} s");
    println!("the step less its parts: {:.3} s", whole - sum);
    println!(
        "all products at the measured peak of {:.0} GFLOP/s: {:.3} s, {:.0} % of the step",
        peak * 1e-9,
        case.flops() / peak,
        100.0 * case.flops() / peak / whole,
    );
}

struct Part {
    count: usize,
    op: Op,
    seconds: f64,
    composed_seconds: f64,
}

impl Part {
    fn measure(count: usize, op: Op) -> Self {
        let seconds = median(&timings(None, &mut *op.start()));
        let composed_seconds = with_route(Route::Composed, || {
            median(&timings(Some(COMPOSED_RUNS), &mut *op.start()))
        });
        Self {
            count,
            op,
            seconds,
            composed_seconds,
        }
    }

    /// Seconds in one step.
    fn total(&self) -> f64 {
        self.count as f64 * self.seconds
    }

    fn composed_total(&self) -> f64 {
        self.count as f64 * self.composed_seconds
    }
}
