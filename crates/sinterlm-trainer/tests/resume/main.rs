//! A run that is interrupted anywhere and resumed equals the unbroken run, bit for bit.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

mod evaluations;
mod harness;
mod interruptions;
mod otherwise;
mod saving;
mod versions;
