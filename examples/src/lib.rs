//! What the examples share: options to device and run directory, exit statuses, evaluation and
//! samples as hooks of the trainer.

mod data;
mod data_files;
mod device;
mod exit;
mod hooks;
mod plan;
mod post_mortem;
mod resume;
mod rows;
mod session;
mod weights;

pub use device::choose_device;
pub use exit::{Failure, OrFailure, main_with, say};
pub use hooks::{continue_text, evaluator, sampler};
pub use plan::Plan;
pub use post_mortem::replay;
pub use session::Session;
pub use weights::find_weights;
