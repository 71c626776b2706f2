//! What belongs to a terminal in the examples: options that turn into values of the library, printing,
//! progress bars, the choice of a device and exit statuses.

mod classifying;
mod clock;
mod device;
mod exit;
mod exporting;
mod generating;
mod model_options;
mod printer;
mod sampling;
mod stdin;
mod summaries;
mod talking;
mod terminal;
mod training;

pub use classifying::Classifying;
pub use device::choose_device;
pub use exit::{Failure, OrFailure, main_with, say};
pub use exporting::{Exporting, FormatChoice};
pub use generating::Generating;
pub use model_options::{ModelOptions, WeightsChoice};
pub use printer::Printer;
pub use sampling::{OverflowChoice, Sampling};
pub use stdin::read_stdin;
pub use summaries::write_summary;
pub use talking::{HELP, Talk, Talking};
pub use terminal::host_on;
pub use training::{Tuning, pretrain_at, run_at, training_host};
