//! Retention of checkpoints.

/// Which checkpoints stay when newer ones are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// The newest, that many; 0 = all.
    pub last: usize,
    /// Those at multiples of that many steps; 0 = none.
    pub every_steps: u64,
    /// The one of the best evaluation, for which one is written at each new best.
    pub best: bool,
}
