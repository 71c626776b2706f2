#![doc = include_str!("../README.md")]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "unwrap is for tests"))]

mod appended;
#[cfg(any(feature = "plot", feature = "report"))]
mod curves;
mod error;
mod event;
mod exit;
mod fields;
mod json_file;
#[cfg(feature = "plot")]
mod loss_plot;
mod memory;
mod metrics;
#[cfg(feature = "cli")]
mod options;
mod post_mortem;
#[cfg(feature = "progress")]
mod progress_bar;
mod progress_lines;
mod provenance;
mod readable;
#[cfg(feature = "report")]
mod report;
mod run_dir;
mod samples;
mod section;
mod shell;
mod stop;
mod summary;
#[cfg(feature = "tensorboard")]
mod tensorboard;
mod utc;

pub use error::RunError;
pub use event::{EvalRecord, Event, Observer, Observers, SampleText, StepRecord};
pub use exit::ExitStatus;
#[cfg(feature = "plot")]
pub use loss_plot::LossPlot;
pub use memory::{available_memory_bytes, peak_memory_bytes, resident_bytes};
pub use metrics::MetricsFile;
#[cfg(feature = "cli")]
pub use options::{Options, thread_count};
pub use post_mortem::{PostMortem, RowFacts, TensorFacts};
#[cfg(feature = "progress")]
pub use progress_bar::ProgressBar;
pub use progress_lines::ProgressLines;
pub use provenance::{Provenance, RunEnd};
#[cfg(feature = "report")]
pub use report::write_report;
pub use run_dir::{RunDir, default_out};
pub use samples::SampleFile;
pub use section::Section;
pub use shell::{shell_path, shell_word};
pub use stop::{Held, StopFlag, StopReason, Undoing};
pub use summary::{Gate, Summary, ValidFigures};
#[cfg(feature = "tensorboard")]
pub use tensorboard::TensorBoard;
pub use utc::utc_now;
