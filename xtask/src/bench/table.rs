//! Figures side by side. A speed of 2 is half the time, a memory of 0.5 half the bytes of the other.

use std::fmt::Write;

use super::figures::{Figure, Figures};

/// Ours beside each peer that ran the same step by turns.
pub(crate) fn print_peers(figures: &Figures) {
    print!("{}", peers(figures));
}

/// Ours beside other figures of the same ids.
pub(crate) fn print_ratios(figures: &Figures, other: &Figures, name: &str) {
    print!("{}", ratios(figures, other, name));
}

fn peers(figures: &Figures) -> String {
    let mut table = heading("peer");
    for (id, ours) in figures {
        for (name, theirs) in &ours.peers {
            table += &row(ours, Some(theirs), &format!("{id}  {name}"));
        }
    }
    table
}

fn ratios(figures: &Figures, other: &Figures, name: &str) -> String {
    let mut table = heading(name);
    for (id, ours) in figures {
        table += &row(ours, other.get(id), id);
    }
    table
}

fn heading(name: &str) -> String {
    format!(
        "\n{:>8} {:>8} | {:>11} {:>11} {:>7} | {:>7} {:>7} {:>7} |\n\
         {:>8} {:>8} | {:>11} {name:>11} {:>7} | {:>7} {:>7} {:>7} | bench\n",
        "",
        "",
        "seconds",
        "seconds",
        "",
        "GB",
        "GB",
        "", //
        "tokens/s",
        "of peak",
        "ours",
        "speed",
        "ours",
        "other",
        "memory",
    )
}

fn row(ours: &Figure, theirs: Option<&Figure>, label: &str) -> String {
    let number = |value: Option<f64>, factor: f64, digits: usize| {
        value.map_or("-".to_owned(), |value| {
            format!("{:.digits$}", value * factor)
        })
    };
    let their_seconds = theirs.map(Figure::median);
    let (our_memory, their_memory) = (
        ours.peak_memory_bytes,
        theirs.and_then(|figure| figure.peak_memory_bytes),
    );
    let memory_ratio = our_memory.zip(their_memory).map(|(a, b)| a / b);
    let mut line = String::new();
    let _ = writeln!(
        line, // writing to a string can't fail
        "{:>8} {:>8} | {:>11} {:>11} {:>7} | {:>7} {:>7} {:>7} | {label}",
        number(ours.tokens_per_second(), 1.0, 0),
        number(ours.share_of_product_peak(), 1.0, 2),
        number(Some(ours.median()), 1.0, 6),
        number(their_seconds, 1.0, 6),
        number(their_seconds.map(|seconds| seconds / ours.median()), 1.0, 2),
        number(our_memory, 1e-9, 2),
        number(their_memory, 1e-9, 2),
        number(memory_ratio, 1.0, 2),
    );
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(seconds: f64, memory: f64) -> Figure {
        Figure {
            seconds: vec![seconds],
            tokens: Some(100.0),
            peak_memory_bytes: Some(memory),
            ..Figure::default()
        }
    }

    #[test]
    fn half_the_time_is_a_speed_of_two() {
        let mut ours = figure(0.5, 1e9);
        ours.peers.insert("torch".to_owned(), figure(1.0, 2e9));
        let table = peers(&Figures::from([("step".to_owned(), ours)]));
        let columns: Vec<&str> = table.lines().last().unwrap().split_whitespace().collect();
        let expected = "200 - | 0.500000 1.000000 2.00 | 1.00 2.00 0.50 | step torch";
        assert_eq!(columns.join(" "), expected);
    }

    #[test]
    fn a_bench_without_a_counterpart_is_still_listed() {
        let ours = Figures::from([("new".to_owned(), figure(0.5, 1e9))]);
        let table = ratios(&ours, &Figures::new(), "baseline");
        let columns: Vec<&str> = table.lines().last().unwrap().split_whitespace().collect();
        assert_eq!(columns.join(" "), "200 - | 0.500000 - - | 1.00 - - | new");
    }
}
