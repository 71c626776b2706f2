//! What the benches share: their cases ([`StepCase`], [`Op`]), the runner, and the yardstick that
//! results are held against.
//!
//! `cargo bench` runs five programs: `kernels` (each operation), `profile` (what a step is made of),
//! `train_step` (whole steps), `decode` (generation), these two with each case in a process of its
//! own, and `checkpoint` (saving and resuming).
//! `docs/performance.md` says how to read them.

mod arguments;
mod cases;
mod decode;
mod ops;
mod peak;
mod steps;
mod timing;

pub use arguments::{is_named, is_selected, option};
pub use cases::{Case, run_cases};
pub use decode::{CaseWeights, DecodeCase, decode_cases, stream_bandwidth};
pub use ops::{Op, kernel_ops, step_ops};
pub use peak::product_peak;
pub use steps::{StepCase, reference_model, step_cases};
pub use timing::{median, timings};
