//! Text to token stores, with progress on stderr.

use std::path::PathBuf;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use sinterlm::config::Seed;
use sinterlm::data::{
    DataConfig, Prepared, Progress, SourceConfig, Stage, TokenizerConfig, prepare,
};
use sinterlm::run::Options;

/// Prepares the text that the config or `--train` and `--valid` name.
///
/// # Errors
/// Whatever the source, the tokenizer or the cache can go wrong with.
pub(crate) fn load_text(
    options: &Options,
    data: &mut DataConfig,
    tokenizer: &TokenizerConfig,
    seed: Seed,
) -> Result<Prepared> {
    if !options.train.is_empty() {
        data.source = SourceConfig::Files {
            train: options.train.clone(),
            valid: options.valid.clone(),
        };
        data.fingerprint = None;
    } else if !options.valid.is_empty() {
        anyhow::bail!("--valid without --train: give the training text too");
    }
    if data.cache_dir.is_none() {
        data.cache_dir = cache_dir();
    }
    let mut shown: Option<(Stage, ProgressBar)> = None;
    let quiet = options.quiet;
    let mut progress = move |now: Progress| {
        if quiet {
            return;
        }
        if shown.as_ref().is_none_or(|(stage, _)| *stage != now.stage) {
            shown = Some((now.stage, bar(now)));
        }
        if let Some((_, bar)) = &shown {
            bar.set_position(now.done);
        }
    };
    Ok(prepare(
        data,
        tokenizer,
        seed,
        options.offline,
        &mut progress,
    )?)
}

fn bar(now: Progress) -> ProgressBar {
    let bar = ProgressBar::new(now.total.unwrap_or(0));
    let style = ProgressStyle::with_template("{msg:18} {bar:24} {bytes}/{total_bytes}")
        .expect("a fixed template");
    bar.set_style(style);
    bar.set_message(match now.stage {
        Stage::Download => "downloading",
        Stage::Read => "reading",
        Stage::TrainTokenizer => "training tokenizer",
        _ => "tokenizing",
    });
    bar
}

/// `$XDG_CACHE_HOME/sinterlm` or `~/.cache/sinterlm`.
fn cache_dir() -> Option<PathBuf> {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(cache.join("sinterlm"))
}
