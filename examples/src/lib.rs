//! What the examples share: options to device and run directory, exit statuses, evaluation and
//! samples as hooks of the trainer.

mod data;
#[path = "../../crates/sinterlm-pipeline/src/data_files.rs"]
mod data_files;
mod device;
mod exit;
#[path = "../../crates/sinterlm-pipeline/src/exporting.rs"]
mod exporting;
#[path = "../../crates/sinterlm-pipeline/src/hooks.rs"]
mod hooks;
mod model_options;
#[path = "../../crates/sinterlm-pipeline/src/plan.rs"]
mod plan;
#[path = "../../crates/sinterlm-pipeline/src/post_mortem.rs"]
mod post_mortem;
mod printer;
#[path = "../../crates/sinterlm-pipeline/src/resume.rs"]
mod resume;
#[path = "../../crates/sinterlm-pipeline/src/rows.rs"]
mod rows;
mod sampling;
#[path = "../../crates/sinterlm-pipeline/src/session/mod.rs"]
mod session;
mod stdin;
#[path = "../../crates/sinterlm-pipeline/src/weights.rs"]
mod weights;

pub use device::choose_device;
pub use exit::{Failure, OrFailure, generated, main_with, say};
pub use exporting::{Destination, ExportFormat};
pub use hooks::{evaluator, sampler};
pub use model_options::{ModelOptions, WeightsChoice};
pub use plan::Plan;
pub use post_mortem::replay;
pub use printer::Printer;
pub use sampling::{OverflowChoice, Sampling};
pub use session::Session;
pub use stdin::read_stdin;
