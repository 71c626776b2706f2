//! Generation, as `DecodeCase`s describe it. Prints a JSON line for each, then a table.
//!
//! Each case runs in a child process of its own (`--case=ID`), since a process's peak memory never
//! falls. `--list` prints the cases as JSON lines in place of running them, and `--steps=N` sets how
//! often each is timed.
#![allow(clippy::print_stdout, reason = "a bench reports on stdout")]

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sinterlm::kernels::run_on_pool;
use sinterlm::run::peak_memory_bytes;
use sinterlm_benches::{
    DecodeCase, decode_cases, in_child, is_selected, median, option, stream_bandwidth, timings,
};

fn main() -> Result<()> {
    let mut cases = decode_cases();
    if let Some(id) = option("case") {
        let case = cases.iter().find(|case| case.id() == id);
        let case = case.context("no such case")?;
        println!("{}", run_on_pool(None, || measure(case))?);
        return Ok(());
    }
    cases.retain(|case| is_selected(&case.id()));
    if option("list").is_some() {
        for case in &cases {
            println!("{}", case.shape());
        }
        return Ok(());
    }
    let mut results: Vec<Value> = Vec::new();
    for case in &cases {
        case.write_file()?;
        let line = in_child(&case.id());
        if let Some(file) = case.file() {
            std::fs::remove_file(file)?;
        }
        let line = line?;
        println!("{line}");
        results.push(serde_json::from_str(&line)?);
    }
    if !results.is_empty() {
        print_table(&results);
    }
    Ok(())
}

/// Runs one case in this process.
fn measure(case: &DecodeCase) -> Result<Value> {
    let runs = option("steps").map(|count| count.parse()).transpose()?;
    let mut run = case.start()?;
    let seconds = timings(runs, &mut run);
    drop(run);
    let peak_memory = peak_memory_bytes(); // before the yardstick, which needs some too
    let bandwidth = stream_bandwidth();
    let middle = median(&seconds);
    let steps_per_second = case.new as f64 / middle;
    Ok(json!({
        "bench": case.id(),
        "median_seconds": middle,
        "step_seconds": seconds,
        "tokens": case.tokens(),
        "tokens_per_second": (case.tokens() as f64 / middle).round(),
        "weight_bytes": case.weight_bytes(),
        "stream_bytes_per_second": bandwidth.round(),
        "share_of_stream": case.weight_bytes() * steps_per_second / bandwidth,
        "peak_memory_bytes": peak_memory,
    }))
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
