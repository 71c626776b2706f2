//! The command line that all examples share.

use std::{
    num::{NonZeroU64, NonZeroUsize},
    path::PathBuf,
};

use crate::default_out;

/// Options of every training example; flatten it into the example's own parser.
///
/// A fault on the command line ends the process with status 2, as clap does by itself.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Options {
    /// The run's TOML file [default: configs/NAME.toml]
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    pub config: Option<PathBuf>,
    /// Override a key of the config, repeatable; checked like the file. How long a run takes:
    /// trainer.budget_minutes=5, or trainer.max_steps=2000 in place of a budget
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Local training data in place of the configured source, repeatable
    #[arg(long, value_name = "PATH")]
    pub train: Vec<PathBuf>,
    /// Local validation data, repeatable; without it a leak-free split of --train is made
    #[arg(long, value_name = "PATH")]
    pub valid: Vec<PathBuf>,
    /// Start from weights: run directory, checkpoint, Hugging Face folder or GGUF
    #[arg(long, value_name = "PATH")]
    pub model: Option<PathBuf>,
    /// auto, flex, wgpu, vulkan, metal, cuda or cuda:1
    #[arg(long, value_name = "D", default_value = "auto")]
    pub device: String,
    /// The run directory [default: runs/NAME-TIME, the time in UTC]
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    pub out: Option<PathBuf>,
    /// Resume the run in this directory from its newest whole checkpoint
    #[arg(long, value_name = "DIR")]
    pub resume: Option<PathBuf>,
    /// Compute step N of --resume DIR again and print its activations and gradients; writes nothing
    // `requires` counts for nothing beside an option that `resume` conflicts with.
    #[arg(long, value_name = "N", requires = "resume", conflicts_with = "config")]
    pub replay_step: Option<NonZeroU64>,
    /// Resume although the text has changed since the run began; with --resume
    #[arg(long, requires = "resume", conflicts_with = "config")]
    pub accept_changed_data: bool,
    /// The one seed of the run [default: the config's]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// CPU threads [default: all cores]
    #[arg(long, value_name = "N", value_parser = thread_count)]
    pub threads: Option<NonZeroUsize>,
    /// Print the plan (tokens, memory, time, first rows) and stop
    #[arg(long)]
    pub plan: bool,
    /// Never touch the network
    #[arg(long)]
    pub offline: bool,
    /// No progress bar, one line per log interval
    #[arg(long)]
    pub quiet: bool,
}

impl Options {
    /// `--config`, or `configs/NAME.toml`.
    pub fn config_or_default(&self, name: &str) -> PathBuf {
        self.config
            .clone()
            .unwrap_or_else(|| PathBuf::from(format!("configs/{name}.toml")))
    }

    /// `--out`, or [`default_out`].
    pub fn out_or_default(&self, name: &str) -> PathBuf {
        self.out.clone().unwrap_or_else(|| default_out(name))
    }
}

/// The most threads that `--threads` starts: more than any machine has cores. Where each waits for
/// the others, starting tens of thousands takes for ever.
const MOST_THREADS: usize = 1024;

/// Reads the value of `--threads`.
///
/// # Errors
/// For anything but a whole number from 1 to 1024.
pub fn thread_count(text: &str) -> Result<NonZeroUsize, String> {
    let count = text
        .parse()
        .ok()
        .filter(|count: &NonZeroUsize| count.get() <= MOST_THREADS);
    count.ok_or_else(|| format!("give a whole number from 1 to {MOST_THREADS}"))
}

#[cfg(test)]
mod tests {
    use clap::{Parser, error::ErrorKind};

    use super::*;

    #[derive(Debug, Parser)]
    struct Example {
        #[command(flatten)]
        options: Options,
    }

    fn parse(words: &str) -> Result<Options, clap::Error> {
        Example::try_parse_from(format!("example {words}").split_whitespace()).map(|e| e.options)
    }

    #[test]
    fn every_agreed_option_is_understood() {
        let options = parse(
            "--config c.toml --set a.b=1 --set c=2 --train t1 --train t2 --valid v --model m \
             --device cuda:1 --out o --seed 7 --threads 2 --plan --offline --quiet",
        )
        .unwrap();
        let expected = Options {
            config: Some("c.toml".into()),
            set: vec!["a.b=1".into(), "c=2".into()],
            train: vec!["t1".into(), "t2".into()],
            valid: vec!["v".into()],
            model: Some("m".into()),
            device: "cuda:1".into(),
            out: Some("o".into()),
            resume: None,
            replay_step: None,
            accept_changed_data: false,
            seed: Some(7),
            threads: NonZeroUsize::new(2),
            plan: true,
            offline: true,
            quiet: true,
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn defaults_are_named_after_the_example() {
        let options = parse("").unwrap();
        assert_eq!(options.device, "auto");
        assert_eq!(
            options.config_or_default("pretrain"),
            PathBuf::from("configs/pretrain.toml")
        );
        let out = options.out_or_default("pretrain");
        assert!(
            out.to_str().unwrap().starts_with("runs/pretrain-2"),
            "{}",
            out.display()
        );
    }

    #[test]
    fn a_resumed_run_takes_neither_another_config_nor_another_folder() {
        for other in ["--config c.toml", "--out o"] {
            let error = parse(&format!("--resume r {other}")).unwrap_err();
            assert_eq!(
                (error.kind(), error.exit_code()),
                (ErrorKind::ArgumentConflict, 2)
            );
        }
        assert!(parse("--resume r --set trainer.max_steps=9").is_ok());
        assert!(parse("--resume r --replay-step 4").is_ok());
        assert_eq!(parse("--replay-step 4").unwrap_err().exit_code(), 2);
        assert!(parse("--resume r --accept-changed-data").is_ok());
        assert_eq!(parse("--accept-changed-data").unwrap_err().exit_code(), 2);
        for option in ["--replay-step 4", "--accept-changed-data"] {
            let error = parse(&format!("{option} --config c.toml")).unwrap_err();
            assert_eq!(error.exit_code(), 2, "it would train instead");
        }
    }

    #[test]
    fn threads_that_no_machine_has_are_refused() {
        for count in ["0", "1025", "4294967295", "18446744073709551616", "-1", "x"] {
            let error = parse(&format!("--threads={count}")).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains("from 1 to 1024"), "{error}");
        }
        assert!(parse("--threads 1024").is_ok());
    }
}
