//! Each operation of `sinterlm-kernels`, forward and backward, at shapes of the reference model.
//! Prints a JSON line for each, then a table.
#![allow(clippy::print_stdout, reason = "a bench reports on stdout")]

use serde_json::json;
use sinterlm::burn::tensor::Device;
use sinterlm::kernels::run_on_pool;
use sinterlm_benches::{Op, is_selected, kernel_ops, median, product_peak, timings};

fn main() {
    run_on_pool(None, run);
}

fn run() {
    let mut ops = kernel_ops();
    ops.retain(|op| is_selected(&op.id()));
    if ops.is_empty() {
        return;
    }
    let mut results: Vec<(Op, f64)> = Vec::new();
    for op in ops {
        let seconds = median(&timings(None, &mut *op.start()));
        let line = json!({
            "bench": op.id(),
            "median_seconds": seconds,
            "tokens": op.elements(),
            "flops": op.product_flops(),
        });
        println!("{line}");
        results.push((op, seconds));
    }
    let peak = product_peak(&Device::flex());
    let headings = ["ms", "k/s", "GFLOP/s", "of peak"];
    let [ms, elements, rate, share] = headings;
    println!("\n{ms:>9} {elements:>8} {rate:>8} {share:>8}  bench");
    for (op, seconds) in results {
        let (rate, share) = match op.product_flops() {
            Some(flops) => (
                format!("{:.0}", 1e-9 * flops / seconds),
                format!("{:.0} %", 100.0 * flops / seconds / peak),
            ),
            None => ("-".to_owned(), "-".to_owned()),
        };
        println!(
            "{:>9.3} {:>8.0} {rate:>8} {share:>8}  {}",
            1e3 * seconds,
            1e-3 * op.elements() as f64 / seconds,
            op.id(),
        );
    }
    println!(
        "k/s: thousands of tokens, or of values for the optimizer; of peak: of the fastest f32"
    );
    println!("matrix product found, {:.0} GFLOP/s", peak * 1e-9);
}
