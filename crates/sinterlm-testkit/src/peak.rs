//! Peak memory of a piece of work, measured in processes of its own.

use std::env;
use std::io::{self, Write};
use std::process::{self, Command};

/// Tells a child process what to do.
const MODE: &str = "SINTERLM_TESTKIT_MODE";
/// The line of `/proc/self/status` with the most memory the process has held, in KiB.
const PEAK: &str = "VmHWM:";

/// The most memory, in bytes, that `work` holds in each mode; `None` where the system does not
/// tell. To be called once, first in the test called `test`, which runs again in a process of its
/// own for each mode.
///
/// # Panics
/// If a child process fails.
pub fn peak_bytes<const N: usize>(
    test: &str,
    modes: [&str; N],
    work: impl FnOnce(&str),
) -> Option<[u64; N]> {
    if let Ok(mode) = env::var(MODE) {
        work(&mode);
        let peak = own_peak().expect("only started where the system tells");
        writeln!(io::stdout(), "\n{PEAK} {peak}").expect("the parent reads");
        process::exit(0);
    }
    own_peak()?;
    Some(modes.map(|mode| {
        let child = Command::new(env::current_exe().expect("a test is a file"))
            .args(["--exact", test, "--nocapture"])
            .env(MODE, mode)
            // As in a program, which sets its allocator up before it has threads; a test is on its
            // second one, and glibc would go on with two heaps.
            .env("MALLOC_ARENA_MAX", "1")
            .output()
            .unwrap_or_else(|error| panic!("{test}: {error}"));
        let output = String::from_utf8_lossy(&child.stdout);
        let peak = output.lines().find_map(|line| line.strip_prefix(PEAK));
        let peak = peak.and_then(|peak| peak.trim().parse().ok());
        peak.unwrap_or_else(|| panic!("{test}, {mode}: {child:?}"))
    }))
}

fn own_peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(PEAK))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(1024 * kib)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_shows_in_the_peak() {
        let test = "peak::tests::a_buffer_shows_in_the_peak";
        let peaks = peak_bytes(test, ["0", "20000000"], |size| {
            let size: usize = size.parse().expect("one of the modes");
            std::hint::black_box(vec![1u8; size]);
        });
        if let Some([without, with]) = peaks {
            let difference = with.saturating_sub(without);
            assert!(
                (15_000_000..25_000_000).contains(&difference),
                "{difference}"
            );
        }
    }
}
