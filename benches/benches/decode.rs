//! Generation, as `DecodeCase`s describe it. Prints a JSON line for each, then a table; its options
//! are those of `run_cases`.
#![allow(clippy::print_stdout, reason = "a bench reports on stdout")]

use anyhow::Result;
use serde_json::Value;
use sinterlm_benches::{decode_cases, run_cases};

fn main() -> Result<()> {
    run_cases(decode_cases()?, print_table)
}

fn print_table(results: &[Value]) {
    println!(
        "\n{:>9} {:>9} {:>9} {:>10}  bench",
        "seconds", "tokens/s", "of stream", "memory, GB"
    );
    for result in results {
        let number = |key: &str| result[key].as_f64().unwrap_or(f64::NAN);
        println!(
            "{:>9.3} {:>9.0} {:>7.0} % {:>10.2}  {}",
            number("median_seconds"),
            number("tokens_per_second"),
            100.0 * number("share_of_stream"),
            1e-9 * number("peak_memory_bytes"),
            result["bench"].as_str().unwrap_or_default(),
        );
    }
    println!("of stream: bytes of weights times steps a second, of what a plain sum reads");
}
