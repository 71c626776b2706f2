//! The factor on the loss that keeps small gradients above the smallest number of half precision.

/// Dynamic loss scaling (Micikevicius et al. 2018, <https://arxiv.org/abs/1710.03740>, section 3.2).
///
/// Gradients of the scaled loss are scaled too; clipping divides by the scale again. All factors are
/// powers of two, so nothing but overflow and underflow depends on them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LossScale {
    pub(crate) scale: f32,
    /// Updates since the scale changed.
    pub(crate) good_steps: u64,
}

impl LossScale {
    /// Where a run starts, as in PyTorch's `GradScaler`.
    const FIRST: f32 = 65_536.0;
    /// Good steps after which the scale is doubled, as there.
    const PATIENCE: u64 = 2000;
    /// Beyond it no gradient is left to be saved: 2⁻⁴⁹ is already a number then.
    const LARGEST: f32 = 33_554_432.0;

    pub(crate) fn new() -> Self {
        Self {
            scale: Self::FIRST,
            good_steps: 0,
        }
    }

    /// After an update.
    pub(crate) fn good(&mut self) {
        self.good_steps += 1;
        if self.good_steps == Self::PATIENCE {
            self.good_steps = 0;
            self.scale = (2.0 * self.scale).min(Self::LARGEST);
        }
    }

    /// After gradients that are not finite; false where the scale is 1 already, so that it is not at
    /// fault.
    pub(crate) fn halve(&mut self) -> bool {
        if self.scale <= 1.0 {
            return false;
        }
        self.good_steps = 0;
        self.scale /= 2.0;
        true
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp)] // powers of two
mod tests {
    use super::*;

    #[test]
    fn the_scale_doubles_after_2000_good_steps_and_halves_down_to_1() {
        let mut scale = LossScale::new();
        (0..1999).for_each(|_| scale.good());
        assert_eq!(scale.scale, 65_536.0);
        scale.good();
        assert_eq!((scale.scale, scale.good_steps), (131_072.0, 0));
        scale.good();
        assert!(scale.halve());
        assert_eq!((scale.scale, scale.good_steps), (65_536.0, 0));
        for _ in 0..16 {
            assert!(scale.halve());
        }
        assert!(!scale.halve(), "1 is the end: {scale:?}");
        (0..200_000).for_each(|_| scale.good());
        assert_eq!(scale.scale, LossScale::LARGEST);
    }
}
