//! Wall times of one thing done several times.

use std::time::Instant;

/// Timed runs after the warm-up: as many as fit into a second, within these bounds ...
const RUNS: [usize; 2] = [5, 100];

/// ... and this many where one takes longer than [`SLOW_SECONDS`].
const SLOW_RUNS: usize = 3;
const SLOW_SECONDS: f64 = 2.0;

/// Seconds of each of `runs` runs after one that isn't counted; unless told, five and more, or three
/// where one takes over two seconds.
pub fn timings(runs: Option<usize>, run: &mut dyn FnMut()) -> Vec<f64> {
    let mut timed = || {
        let started = Instant::now();
        run();
        started.elapsed().as_secs_f64()
    };
    let usual = match timed() {
        slow if slow > SLOW_SECONDS => SLOW_RUNS,
        seconds => ((1.0 / seconds) as usize).clamp(RUNS[0], RUNS[1]),
    };
    (0..runs.unwrap_or(usual)).map(|_| timed()).collect()
}

/// The middle one; of an even number, the upper of the two.
///
/// # Panics
/// If there is none.
pub fn median(seconds: &[f64]) -> f64 {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warm_up_is_run_and_not_counted() {
        let mut count = 0;
        assert_eq!(timings(Some(4), &mut || count += 1).len(), 4);
        assert_eq!(count, 5);
    }

    #[test]
    fn the_median_does_not_mind_the_order() {
        assert_eq!(median(&[3.0, 1.0, 9.0]).to_bits(), 3.0_f64.to_bits());
    }
}
