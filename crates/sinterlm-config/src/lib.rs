#![doc = include_str!("../README.md")]

mod check;
mod describe;
mod document;
mod error;
mod key_rng;
mod load;
mod permutation;
mod rules;
mod seed;
mod walk;
mod words;

pub use check::{Check, Fault, Validate};
pub use describe::{KeyDoc, describe};
pub use error::{ConfigError, Place, Problem};
pub use key_rng::KeyRng;
pub use load::{check_made, load, load_moved, parse, to_toml};
pub use permutation::Permutation;
pub use seed::{Seed, Stream, stable_hash};
pub use words::nearest;
