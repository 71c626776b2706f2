//! Runs that are broken off anywhere and gone on with are the unbroken run, bit for bit.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

mod evaluations;
mod harness;
mod interruptions;
mod otherwise;
mod saving;
mod versions;
