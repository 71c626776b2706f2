//! Whole training steps, as `StepCase`s describe them. Prints a JSON line for each, then a table; its
//! options are those of `run_cases`.
#![allow(clippy::print_stdout, reason = "a bench reports on stdout")]

use anyhow::Result;
use serde_json::Value;
use sinterlm_benches::{run_cases, step_cases};

fn main() -> Result<()> {
    run_cases(step_cases(), print_table)
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
