//! `--weights`: how a program that generates holds a model's weights.

use clap::ValueEnum;
use sinterlm::burn::tensor::{DType, Device};
use sinterlm::kernels::Route;
use sinterlm::model::WeightsAs;

/// `--weights`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WeightsChoice {
    /// As f32 numbers.
    F32,
    /// As the file stores them.
    Stored,
}

impl WeightsChoice {
    /// The choice made, or the faster one: on the CPU products read stored weights in place, on other
    /// devices they would be unpacked each time.
    pub fn on(choice: Option<Self>, device: &Device) -> WeightsAs {
        match (choice, Route::of(device, DType::F32)) {
            (Some(Self::F32), _) | (None, Route::Composed) => WeightsAs::F32,
            (Some(Self::Stored), _) | (None, Route::Native) => WeightsAs::Stored,
        }
    }
}
