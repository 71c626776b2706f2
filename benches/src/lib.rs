//! Shapes and runners shared by the benchmarks.
