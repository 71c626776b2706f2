//! `cargo xtask bench`: runs `cargo bench`, keeps the figures of this machine, compares with them, or
//! with other programs on the same machine in the same minutes.

mod baseline;
mod figures;
mod peers;
mod table;

use anyhow::{Result, bail};

use crate::process::{self, cargo};
use figures::Figures;

/// What to do with the figures beside printing them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Options {
    record: bool,
    compare: bool,
    peers: bool,
}

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let (options, names) = parse(arguments)?;
    let before = options.compare.then(baseline::read).transpose()?;
    let figures = if options.peers {
        let figures = peers::measure(&names)?;
        table::print_peers(&figures);
        figures
    } else {
        let mut benches = vec!["--workspace", "--"];
        benches.extend(names.iter().map(String::as_str));
        measure(&benches)?
    };
    if figures.is_empty() {
        bail!("no bench ran; see benches/ and the names {names:?}");
    }
    if let Some(before) = before {
        table::print_ratios(&figures, &before, "baseline");
    }
    if options.record {
        baseline::write(&figures)?;
    }
    Ok(())
}

/// Options in any order, then names that benches are picked by.
fn parse(arguments: &[String]) -> Result<(Options, Vec<String>)> {
    let mut options = Options::default();
    let mut names = Vec::new();
    for argument in arguments {
        match argument.as_str() {
            "--record" => options.record = true,
            "--compare" => options.compare = true,
            "--peers" => options.peers = true,
            other if other.starts_with('-') => {
                bail!("bench takes --record, --compare and --peers, not {other}")
            }
            name => names.push(name.to_owned()),
        }
    }
    Ok((options, names))
}

/// Runs `cargo bench` and returns the figures of what it printed.
fn measure(arguments: &[&str]) -> Result<Figures> {
    let mut figures = Figures::new();
    process::tee(cargo(&["bench"]).args(arguments), |line| {
        figures.extend(figures::printed(line));
    })?;
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn options_and_names_may_come_in_any_order() {
        let (options, names) = parse(&words("--peers b4_s256 --record b1")).unwrap();
        let expected = Options {
            record: true,
            compare: false,
            peers: true,
        };
        assert_eq!((options, names), (expected, words("b4_s256 b1")));
    }

    #[test]
    fn an_unknown_option_is_refused_with_those_there_are() {
        let error = parse(&words("--peer")).unwrap_err().to_string();
        assert!(
            error.contains("--peers") && error.contains("not --peer"),
            "{error}"
        );
    }
}
