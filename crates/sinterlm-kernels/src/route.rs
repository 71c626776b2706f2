//! Which form of an operation runs: the choice between native and composed kernels. The one place
//! of the workspace that asks which backend a device belongs to.

use std::cell::Cell;

#[cfg(feature = "flex")]
use burn::backend::DispatchDevice;
use burn::tensor::{DType, Device};

/// The two forms of every operation of this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// A fused CPU kernel over the buffers of burn's flex backend.
    Native,
    /// Burn's own tensor operations: any backend, any float type; the reference in tests.
    Composed,
}

thread_local! {
    static OVERRIDE: Cell<Option<Route>> = const { Cell::new(None) };
}

impl Route {
    /// The route of an operation on tensors of `device` (with autodiff or without) and `dtype`.
    ///
    /// [`Route::Native`] on flex with f32, given the crate feature `flex`; [`Route::Composed`]
    /// everywhere else. An override by [`with_route`] can ask for the composed form, and never
    /// forces the native one where it does not exist.
    pub fn of(device: &Device, dtype: DType) -> Self {
        if OVERRIDE.get() == Some(Self::Composed) || dtype != DType::F32 || !is_flex(device) {
            Self::Composed
        } else {
            Self::Native
        }
    }
}

/// Runs `f` with the given route on this thread; for tests and comparisons.
///
/// A backward pass takes the route its forward pass took.
pub fn with_route<R>(route: Route, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<Route>);
    impl Drop for Restore {
        fn drop(&mut self) {
            OVERRIDE.set(self.0);
        }
    }
    let _restore = Restore(OVERRIDE.replace(Some(route)));
    f()
}

#[cfg(feature = "flex")]
fn is_flex(device: &Device) -> bool {
    matches!(
        device.clone().without_autodiff().as_dispatch(),
        DispatchDevice::Flex(_)
    )
}

#[cfg(not(feature = "flex"))]
fn is_flex(_device: &Device) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(feature = "flex")]
    fn flex_in_f32_is_native_and_the_rest_composed() {
        let device = Device::flex();
        assert_eq!(Route::of(&device, DType::F32), Route::Native);
        assert_eq!(
            Route::of(&device.clone().autodiff(), DType::F32),
            Route::Native
        );
        assert_eq!(Route::of(&device, DType::F64), Route::Composed);
    }

    #[test]
    fn an_override_ends_with_its_closure() {
        let device = Device::flex();
        let inside = with_route(Route::Composed, || Route::of(&device, DType::F32));
        assert_eq!(inside, Route::Composed);
        assert_eq!(Route::of(&device, DType::F32), Route::Native);
    }
}
