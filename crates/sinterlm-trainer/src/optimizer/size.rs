//! The memory of an optimizer, known before there is any.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use sinterlm_kernels::{self as kernels, MomentFormat};
use sinterlm_model::{PathStack, is_trainable};

use super::config::{OptimizerConfig, OptimizerKind};
use super::rules::Rule;
use crate::memory::Trained;

/// Bytes that an optimizer needs beside weights and gradients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OptimizerMemory {
    /// What it keeps from step to step.
    pub state: u64,
    /// What it needs within an update: Muon the matrices of its iteration, Lion and Adafactor some
    /// copies of one parameter.
    pub scratch: u64,
    /// What it updates.
    pub trained: Trained,
}

impl OptimizerConfig {
    /// The memory that training this model leads to: every trainable parameter by its own rule.
    pub fn memory_of<M: Module>(&self, model: &M) -> OptimizerMemory {
        let mut sum = Sum {
            config: self,
            memory: OptimizerMemory::default(),
            matrices: Vec::new(),
            stack: PathStack::default(),
        };
        model.visit(&mut sum);
        let scratch = kernels::orthogonalize_all_bytes(&sum.matrices);
        OptimizerMemory {
            scratch: scratch.max(sum.memory.scratch),
            ..sum.memory
        }
    }
}

struct Sum<'a> {
    config: &'a OptimizerConfig,
    memory: OptimizerMemory,
    /// Muon's.
    matrices: Vec<[usize; 2]>,
    stack: PathStack,
}

impl ModuleVisitor for Sum<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !is_trainable(param) {
            return;
        }
        let dims = param.dims();
        let len: usize = dims.iter().product();
        self.memory.trained.add(&self.stack.path(), len as u64);
        // One entry a vector that the rule keeps.
        let kind = Rule::of(self.config, &self.stack.path(), D).kind();
        match kind {
            OptimizerKind::Muon => self.matrices.push([dims[0], dims[1]]),
            OptimizerKind::Lion | OptimizerKind::Adafactor => {
                // Four results of burn's operations at a time.
                self.memory.scratch = self.memory.scratch.max(4 * 4 * len as u64);
            }
            OptimizerKind::AdamW => {}
        }
        let vectors = match kind {
            OptimizerKind::AdamW => vec![len; 2],
            OptimizerKind::Adafactor if D == 2 => dims.to_vec(),
            OptimizerKind::Muon | OptimizerKind::Lion | OptimizerKind::Adafactor => vec![len],
        };
        for len in vectors {
            let values = len as u64;
            self.memory.state += match self.config.format(len) {
                MomentFormat::F32 => 4 * values,
                MomentFormat::Bf16 => 2 * values,
                // Whole blocks of 256 codes, with a scale of four bytes each.
                MomentFormat::Int8 => 260 * values.div_ceil(256),
            };
        }
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.stack.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.stack.exit();
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use sinterlm_config::Seed;
    use sinterlm_model::GptConfig;

    use super::super::{Moments, Optimizer, Update};
    use super::*;

    struct UpdateEach(Optimizer, PathStack);

    impl ModuleVisitor for UpdateEach {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let update = Update {
                step: 1,
                lr_factor: 1.0,
                grad_scale: 1.0,
                precision: sinterlm_kernels::MatmulPrecision::F32,
            };
            let weight = param.val().without_autodiff();
            self.0
                .update(&self.1.path(), weight.clone(), weight, &update);
        }

        fn enter_module(&mut self, name: &str, _container: &str) {
            self.1.enter(name);
        }

        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.1.exit();
        }
    }

    #[test]
    fn the_state_foretold_is_the_state_there_is_after_a_step() {
        let config = GptConfig {
            vocab_size: 61,
            max_seq_len: 16,
            d_model: 64,
            n_layers: 1,
            n_heads: 2,
            ..GptConfig::default()
        };
        let model = config.init(Seed(1), &Device::flex().autodiff());
        for kind in [
            OptimizerKind::AdamW,
            OptimizerKind::Muon,
            OptimizerKind::Lion,
            OptimizerKind::Adafactor,
        ] {
            for moments in [Moments::F32, Moments::Bf16, Moments::Int8] {
                let config = OptimizerConfig {
                    kind,
                    moments,
                    ..OptimizerConfig::default()
                };
                let mut each = UpdateEach(Optimizer::new(config.clone()), PathStack::default());
                model.visit(&mut each);
                let (state, held) = (config.memory_of(&model).state, each.0.state_bytes() as u64);
                assert_eq!(state, held, "{kind:?} {moments:?}");
            }
        }
    }
}
