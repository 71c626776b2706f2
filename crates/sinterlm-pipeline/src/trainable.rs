//! The `[trainable]` table: which parts of a model fine-tuning trains, in words that need no paths.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Validate};
use sinterlm_model::{GptConfig, Selection};
use sinterlm_trainer::{OptimizerConfig, ParamGroup, TrainerConfig};

/// Which parts of a model are trained. The run resolves it into `trainer.train_only` and
/// `optimizer.groups`, which say the same by paths and may be given themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrainableConfig {
    /// `all`, `last_blocks` (with the final norm and the head) or `head`; of what
    /// `trainer.train_only` and `trainer.freeze` leave.
    pub parts: TrainableParts,
    /// Blocks of `last_blocks`, counted from the last one.
    #[schemars(range(min = 1))]
    pub blocks: usize,
    /// Factor on the learning rate from each block to the one before it, and to the embeddings; 1 = none
    /// (Howard and Ruder 2018, <https://arxiv.org/abs/1801.06146>, take 1/2.6).
    #[schemars(range(min = 0.01, max = 1.0))]
    pub layer_decay: f64,
}

/// The parts of a model that are trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrainableParts {
    /// All.
    #[default]
    All,
    /// The last blocks, the final norm and the head. A head that is the token embedding stays as it is.
    LastBlocks,
    /// The head alone.
    Head,
}

impl Default for TrainableConfig {
    fn default() -> Self {
        Self {
            parts: TrainableParts::All,
            blocks: 1,
            layer_decay: 1.0,
        }
    }
}

impl Validate for TrainableConfig {
    fn validate(&self, check: &mut Check) {
        check.require(self.blocks > 0, "blocks", || {
            "is 0; use parts = \"head\" to train no block".to_owned()
        });
    }
}

impl TrainableConfig {
    /// Puts what the table says of a decoder into the tables that speak of paths, and clears it. `head`
    /// is the path of the head to be trained, if it has parameters of its own.
    pub(crate) fn resolve(
        &mut self,
        decoder: &GptConfig,
        head: Option<&str>,
        trainer: &mut TrainerConfig,
        optimizer: &mut OptimizerConfig,
    ) {
        let layers = decoder.n_layers;
        let own = head.map(str::to_owned);
        let selected: Vec<String> = match self.parts {
            TrainableParts::All => Vec::new(),
            TrainableParts::Head => vec![own.unwrap_or_else(|| "head".to_owned())],
            TrainableParts::LastBlocks => (layers.saturating_sub(self.blocks)..layers)
                .map(|layer| format!("blocks.{layer}"))
                .chain(["norm".to_owned()])
                .chain(own)
                .collect(),
        };
        if !selected.is_empty() {
            trainer.train_only = Selection(selected);
        }
        if self.layer_decay < 1.0 {
            let group = |paths: Vec<String>, below: usize| ParamGroup {
                paths: Selection(paths),
                lr_scale: self.layer_decay.powi(below as i32),
                ..ParamGroup::default()
            };
            let mut embeddings = vec!["wte".to_owned()];
            if decoder.positions == sinterlm_model::Positions::Learned {
                embeddings.push("wpe".to_owned());
            }
            let blocks = (0..layers).map(|layer| (vec![format!("blocks.{layer}")], layers - layer));
            // Groups of the config stand behind: of several that select a parameter the last counts.
            let mut groups = vec![group(embeddings, layers + 1)];
            groups.extend(blocks.map(|(paths, below)| group(paths, below)));
            groups.append(&mut optimizer.groups);
            optimizer.groups = groups;
        }
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(mut table: TrainableConfig, head: Option<&str>) -> (Vec<String>, Vec<f64>) {
        let decoder = GptConfig {
            n_layers: 3,
            ..GptConfig::default()
        };
        let (mut trainer, mut optimizer) = (TrainerConfig::default(), OptimizerConfig::default());
        table.resolve(&decoder, head, &mut trainer, &mut optimizer);
        assert_eq!(table, TrainableConfig::default(), "resolved once");
        let scales = optimizer.groups.iter().map(|group| group.lr_scale);
        (trainer.train_only.0, scales.collect())
    }

    #[test]
    fn words_become_paths() {
        let of = |parts, blocks| TrainableConfig {
            parts,
            blocks,
            ..TrainableConfig::default()
        };
        assert!(resolved(of(TrainableParts::All, 1), None).0.is_empty());
        assert_eq!(
            resolved(of(TrainableParts::Head, 1), Some("score")).0,
            ["score"]
        );
        let (two, _) = resolved(of(TrainableParts::LastBlocks, 2), Some("score"));
        assert_eq!(two, ["blocks.1", "blocks.2", "norm", "score"]);
        let (more, _) = resolved(of(TrainableParts::LastBlocks, 9), None);
        assert_eq!(more, ["blocks.0", "blocks.1", "blocks.2", "norm"]);
    }

    #[test]
    fn rates_decay_from_the_last_block_to_the_embeddings() {
        let table = TrainableConfig {
            layer_decay: 0.5,
            ..TrainableConfig::default()
        };
        assert_eq!(resolved(table, None).1, [0.0625, 0.125, 0.25, 0.5]);
    }
}
