//! A piece of a product with a packed weight, as one task computes it.

/// Products of all rows of `x` with some rows of the weight.
pub(super) struct Part<'a> {
    pub(super) x: &'a [f32],
    pub(super) rows: usize,
    pub(super) d_in: usize,
    /// The weight's rows.
    pub(super) bytes: &'a [u8],
    /// `[rows of the weight, rows of x]`.
    pub(super) out: &'a mut [f32],
}
