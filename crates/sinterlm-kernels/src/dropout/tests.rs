//! Tests of `dropout`.
