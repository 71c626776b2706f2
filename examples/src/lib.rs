//! What the examples share: options to device and run directory, exit statuses, evaluation and
//! samples as hooks of the trainer.

mod continuing;
mod conversation;
mod data;
mod data_files;
mod device;
mod exit;
mod exporting;
mod hooks;
mod model_options;
mod plan;
mod post_mortem;
mod printer;
mod resume;
mod rows;
mod sampling;
mod session;
mod weights;

pub use continuing::{Continuing, Method, Weights, continue_texts, generated, read_stdin};
pub use conversation::Conversation;
pub use device::choose_device;
pub use exit::{Failure, OrFailure, main_with, say};
pub use exporting::{Destination, ExportFormat};
pub use hooks::{evaluator, sampler};
pub use model_options::{ModelOptions, WeightsChoice};
pub use plan::Plan;
pub use post_mortem::replay;
pub use printer::Printer;
pub use sampling::{OverflowChoice, Sampling};
pub use session::Session;
