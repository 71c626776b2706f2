//! Whole training steps, as `StepCase`s describe them. Prints a JSON line for each, then a table.
//!
//! Each case runs in a child process of its own (`--case=ID`), since a process's peak memory never
//! falls. `--list` prints the cases as JSON lines in place of running them, and `--steps=N` sets how
//! many are timed.
#![allow(clippy::print_stdout, reason = "a bench reports on stdout")]

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sinterlm::burn::tensor::Device;
use sinterlm::kernels::run_on_pool;
use sinterlm::run::peak_memory_bytes;
use sinterlm_benches::{
    StepCase, in_child, is_named, is_selected, median, option, product_peak, step_cases, timings,
};

fn main() -> Result<()> {
    let mut cases = step_cases();
    if let Some(id) = option("case") {
        let case = cases.iter().find(|case| case.id() == id);
        let case = case.context("no such case")?;
        println!("{}", run_on_pool(None, || measure(case))?);
        return Ok(());
    }
    cases.retain(|case| {
        is_named(&case.id()) || (is_selected(&case.id()) && !is_between(&case.id()))
    });
    if option("list").is_some() {
        for case in &cases {
            println!("{}", case.shape());
        }
        return Ok(());
    }
    let mut results = Vec::new();
    for case in &cases {
        let line = in_child(&case.id())?;
        println!("{line}");
        results.push(serde_json::from_str(&line)?);
    }
    if !results.is_empty() {
        print_table(&results);
    }
    Ok(())
}

/// Whether a case lies between others and is run only when it is named: all take five minutes as it is.
fn is_between(id: &str) -> bool {
    id.contains("b2_s1024") || (id.contains("b4_s512") && id.ends_with("bf16/flex"))
}

/// Runs one case in this process.
fn measure(case: &StepCase) -> Result<Value> {
    let runs = option("steps").map(|count| count.parse()).transpose()?;
    let mut step = case.start();
    let step_seconds = timings(runs, &mut *step);
    drop(step);
    let peak_memory = peak_memory_bytes(); // before the products below, which need some too
    let product_peak = product_peak(&Device::flex());
    let seconds = median(&step_seconds);
    Ok(json!({
        "bench": case.id(),
        "median_seconds": seconds,
        "step_seconds": step_seconds,
        "tokens": case.tokens(),
        "tokens_per_second": (case.tokens() as f64 / seconds).round(),
        "flops": case.flops(),
        "product_peak_flops_per_second": product_peak.round(),
        "share_of_product_peak": case.flops() / seconds / product_peak,
        "peak_memory_bytes": peak_memory,
        "estimated_memory_bytes": case.estimated_memory(),
    }))
}

fn print_table(results: &[Value]) {
    let headings = ["seconds", "tokens/s", "of peak", "memory, GB", "estimated"];
    let [seconds, tokens, share, memory, estimated] = headings;
    println!("\n{seconds:>9} {tokens:>9} {share:>8} {memory:>10} {estimated:>9}  bench");
    for result in results {
        let number = |key: &str| result[key].as_f64().unwrap_or(f64::NAN);
        println!(
            "{:>9.3} {:>9.0} {:>6.0} % {:>10.2} {:>9.2}  {}",
            number("median_seconds"),
            number("tokens_per_second"),
            100.0 * number("share_of_product_peak"),
            1e-9 * number("peak_memory_bytes"),
            1e-9 * number("estimated_memory_bytes"),
            result["bench"].as_str().unwrap_or_default(),
        );
    }
    println!("of peak: of the fastest f32 matrix product found in the same process");
}
