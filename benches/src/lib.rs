//! What the benchmarks share: a runner for whole training steps, which are too slow for criterion's
//! ten samples.

use std::time::Instant;

use sinterlm::run::peak_memory_bytes;

/// Steps timed after one warm-up; the median is reported.
const STEPS: usize = 5;

/// Times `step` and prints its median as a JSON line, unless the command line names other benches.
///
/// `tokens` is what one step trains on.
#[allow(clippy::print_stdout, reason = "a bench reports on stdout")]
pub fn measure_step(id: &str, tokens: usize, step: &mut dyn FnMut()) {
    step();
    let mut seconds: Vec<f64> = (0..STEPS)
        .map(|_| {
            let started = Instant::now();
            step();
            started.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    let median = seconds[STEPS / 2];
    let peak = peak_memory_bytes().unwrap_or_default();
    println!(
        "{{\"bench\": \"{id}\", \"median_seconds\": {median:.6}, \"tokens\": {tokens}, \"tokens_per_second\": {:.0}, \"peak_memory_bytes\": {peak}}}",
        tokens as f64 / median,
    );
}

/// Whether the words after `cargo bench --` leave `id` in: none, or one that is part of it.
pub fn is_selected(id: &str) -> bool {
    let filters: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    filters.is_empty() || filters.iter().any(|filter| id.contains(filter.as_str()))
}
