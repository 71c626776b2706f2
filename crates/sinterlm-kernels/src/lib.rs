#![doc = include_str!("../README.md")]

mod dropout;
mod gelu;
mod layer_norm;
mod linear;
mod linear_cross_entropy;
mod route;

pub use dropout::dropout;
pub use gelu::{GeluKind, gelu};
pub use layer_norm::layer_norm;
pub use linear::linear;
pub use linear_cross_entropy::{CrossEntropyOptions, linear_cross_entropy, linear_logprobs};
pub use route::{Route, with_route};
