//! The programs as users run them: the contract of options, exit statuses and run directories,
//! and what happens on bad input.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

mod answering;
mod bad_input;
mod classifying;
mod continued;
mod damage;
mod exporting;
mod faults;
mod generation;
mod harness;
mod other_files;
#[cfg(unix)]
mod paths;
mod poison;
mod runs;
mod tuning;
mod watching;
