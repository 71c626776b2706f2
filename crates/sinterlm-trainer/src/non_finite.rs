//! What is done about a step whose values are not finite, as a config says it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happens to a step whose loss or gradient is infinite or not a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnNonFinite {
    /// The run ends with an error.
    #[default]
    Stop,
    /// The step is done without an update and its data passed over.
    Skip,
}
