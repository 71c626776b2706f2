#![doc = include_str!("../README.md")]

mod close;
mod corpus;
mod data;
mod difference;
mod fill;
mod golden;
mod peak;

pub use close::{
    BF16, FINITE_DIFFERENCE_F64, SINGLE_OP_F32, Tolerance, WHOLE_MODEL_F32, assert_close,
};
pub use corpus::tiny_stories;
pub use data::{fixture, test_data};
pub use difference::finite_difference;
pub use fill::{fixed_fill, fixed_index, fixed_weight};
pub use golden::Golden;
pub use peak::peak_bytes;
