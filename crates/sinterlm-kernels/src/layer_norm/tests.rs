//! Tests of `layer_norm`.
