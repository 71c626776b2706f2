//! Parameters with rates of their own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Validate};
use sinterlm_model::Selection;

/// Parameters that are updated at another rate, or decay otherwise, than the rest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ParamGroup {
    /// Which ones: parts of paths, `["blocks.0", "wte"]`.
    pub paths: Selection,
    /// Factor on their learning rate.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub lr_scale: f64,
    /// Their weight decay, also of vectors; absent: as without the group.
    #[schemars(range(min = 0.0, max = 1.0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
}

impl Default for ParamGroup {
    fn default() -> Self {
        Self {
            paths: Selection::default(),
            lr_scale: 1.0,
            weight_decay: None,
        }
    }
}

impl Validate for ParamGroup {
    fn validate(&self, check: &mut Check) {
        check.require(!self.paths.is_empty(), "paths", || {
            "selects nothing; name parts of paths, as in [\"wte\"]".to_owned()
        });
        check.require(self.lr_scale > 0.0, "lr_scale", || {
            "0 trains nothing; name these parameters in trainer.freeze".to_owned()
        });
    }
}
