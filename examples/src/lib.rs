//! Shared command-line options of the examples.
