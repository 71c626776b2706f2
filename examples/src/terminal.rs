//! What a program at a terminal shows of a pipeline: results on stdout, notes and progress bars on
//! stderr.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressStyle};
use sinterlm::data::{Progress, Stage};
use sinterlm::pipeline::{Host, RowStyle, Told};
use sinterlm::run::shell_word;

use crate::device::choose_device;
use crate::exit::{Failure, OrFailure, say};

/// A host on the device called `name` that prints what it is told, with bars for what takes long.
///
/// # Errors
/// Where this build or machine has no such device.
pub fn host_on(name: &str, shows_bars: bool) -> Result<Host, Failure> {
    let (device, device_name) = choose_device(name).or_unusable()?;
    let bars = Mutex::new(Bars::default());
    let mut host = Host::new(device, device_name).with_teller(move |told| match told {
        Told::Result(line) => say(line),
        Told::Note(line) => note(line),
        Told::Preparing(now) if shows_bars => {
            if let Ok(mut bars) = bars.lock() {
                bars.preparing(now);
            }
        }
        Told::Downloading { file, done, total } if shows_bars => {
            if let Ok(mut bars) = bars.lock() {
                bars.downloading(file, done, total);
            }
        }
        _ => {}
    });
    host.program = Some(shell_word(std::env::args_os().next().unwrap_or_default()));
    host.cache_dir = cache_dir();
    host.row_style = row_style();
    Ok(host)
}

/// Nobody may be reading: no reason to end.
fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The bar that is shown, with what it is about.
#[derive(Debug, Default)]
struct Bars(Option<(String, ProgressBar)>);

impl Bars {
    fn preparing(&mut self, now: Progress) {
        let what = match now.stage {
            Stage::Download => "downloading",
            Stage::Read => "reading",
            Stage::TrainTokenizer => "training tokenizer",
            _ => "tokenizing",
        };
        let template = "{msg:18} {bar:24} {bytes}/{total_bytes}";
        self.show(what, template, now.total.unwrap_or(0))
            .set_position(now.done);
    }

    fn downloading(&mut self, file: &str, done: u64, total: u64) {
        let template = "{msg} {bar:24} {bytes}/{total_bytes}";
        self.show(file, template, total).set_position(done);
    }

    fn show(&mut self, what: &str, template: &str, total: u64) -> &ProgressBar {
        if self.0.as_ref().is_none_or(|(shown, _)| shown != what) {
            let style = ProgressStyle::with_template(template).expect("a fixed template");
            let bar = ProgressBar::new(total).with_style(style);
            self.0 = Some((what.to_owned(), bar.with_message(what.to_owned())));
        }
        let (_, bar) = self.0.as_ref().expect("it was set where it was absent");
        bar
    }
}

/// Colours where stdout is a terminal and `NO_COLOR` is unset (<https://no-color.org>).
fn row_style() -> RowStyle {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if std::io::stdout().is_terminal() && !refused {
        RowStyle::Colours
    } else {
        RowStyle::Brackets
    }
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
