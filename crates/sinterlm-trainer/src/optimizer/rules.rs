//! The update rules, one tensor at a time.

use burn::tensor::Tensor;
use sinterlm_kernels::{self as kernels, AdamWStep};

use super::config::{OptimizerConfig, OptimizerKind};
use super::group::ParamGroup;
use super::param_state::ParamState;
use super::update::Update;

/// The rule of one parameter with its rates, decided by its path and rank.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule<'a> {
    kind: OptimizerKind,
    config: &'a OptimizerConfig,
    lr_scale: f64,
    weight_decay: f64,
}

impl<'a> Rule<'a> {
    /// Muon takes the matrices inside the blocks, whatever wraps the model; everything else of a Muon
    /// run follows AdamW, low-rank deltas among it. Vectors (biases, norms) are not decayed.
    pub(super) fn of(config: &'a OptimizerConfig, path: &str, rank: usize) -> Self {
        let is_inside = |module: &str| path.split('.').any(|segment| segment == module);
        let hidden_matrix = rank == 2 && is_inside("blocks") && !is_inside("deltas");
        let kind = match config.kind {
            OptimizerKind::Muon if !hidden_matrix => OptimizerKind::AdamW,
            kind => kind,
        };
        let decay = match kind {
            OptimizerKind::Muon => config.muon_weight_decay,
            _ => config.weight_decay,
        };
        Self {
            kind,
            config,
            lr_scale: 1.0,
            weight_decay: if rank >= 2 { decay } else { 0.0 },
        }
    }

    /// With the rates of a group, if any.
    pub(super) fn in_group(self, group: Option<&ParamGroup>) -> Self {
        group.map_or(self, |group| Self {
            lr_scale: group.lr_scale,
            weight_decay: group.weight_decay.unwrap_or(self.weight_decay),
            ..self
        })
    }

    /// The learning rate of a step.
    fn lr(self, update: &Update) -> f64 {
        let peak = match self.kind {
            OptimizerKind::Muon => self.config.muon_lr,
            _ => self.config.peak_lr,
        };
        self.lr_scale * (peak * update.lr_factor)
    }

    /// What the parameter follows.
    pub(super) fn kind(self) -> OptimizerKind {
        self.kind
    }

    pub(super) fn update<const D: usize>(
        self,
        state: ParamState<'_>,
        weight: Tensor<D>,
        grad: Tensor<D>,
        update: &Update,
    ) -> Tensor<D> {
        match self.kind {
            OptimizerKind::AdamW => self.adamw(state, weight, grad, update),
            OptimizerKind::Muon => {
                let ahead = self.muon_momentum(state, grad, update);
                let direction =
                    kernels::orthogonalize(ahead, self.config.muon_steps, update.precision);
                self.muon_apply(weight, direction, update)
            }
            OptimizerKind::Adafactor => self.adafactor(state, weight, grad, update),
            OptimizerKind::Lion => self.lion(state, weight, grad, update),
        }
    }

    fn adamw<const D: usize>(
        self,
        mut state: ParamState<'_>,
        weight: Tensor<D>,
        grad: Tensor<D>,
        update: &Update,
    ) -> Tensor<D> {
        let m = state.take("m", &weight);
        let v = state.take("v", &weight);
        let step = AdamWStep {
            lr: self.lr(update),
            beta1: self.config.beta1,
            beta2: self.config.beta2,
            eps: self.config.eps,
            weight_decay: self.weight_decay,
            step: update.step,
            grad_scale: update.grad_scale,
        };
        let (weight, m, v) = kernels::adamw(weight, grad, m, v, &step);
        state.put("m", m);
        state.put("v", v);
        weight
    }

    /// Whether the parameter follows Muon.
    pub(super) fn is_muon(self) -> bool {
        self.kind == OptimizerKind::Muon
    }

    /// Muon's momentum, a moving average with Nesterov's look ahead as in `torch.optim.Muon`:
    /// the matrix that is to be orthogonalised.
    pub(super) fn muon_momentum<const D: usize>(
        self,
        mut state: ParamState<'_>,
        grad: Tensor<D>,
        update: &Update,
    ) -> Tensor<2> {
        let [rows, cols] = [grad.dims()[0], grad.dims()[1]];
        let average = state.take("momentum", &grad);
        let (momentum, grad_scale) = (self.config.muon_momentum, f64::from(update.grad_scale));
        let (ahead, average) = kernels::muon_momentum(grad, average, momentum, grad_scale);
        state.put("momentum", average);
        ahead.reshape([rows, cols])
    }

    /// Moves a matrix along an orthogonal direction, scaled by `√max(1, rows/cols)`.
    pub(super) fn muon_apply<const D: usize>(
        self,
        weight: Tensor<D>,
        direction: Tensor<2>,
        update: &Update,
    ) -> Tensor<D> {
        let lr = self.lr(update);
        let dims = weight.dims();
        let scale = (dims[0] as f64 / dims[1] as f64).max(1.0).sqrt();
        let keep = 1.0 - lr * self.weight_decay;
        kernels::blend(weight, keep, direction.reshape(dims), -lr * scale)
    }

    fn lion<const D: usize>(
        self,
        mut state: ParamState<'_>,
        weight: Tensor<D>,
        grad: Tensor<D>,
        update: &Update,
    ) -> Tensor<D> {
        let lr = self.lr(update);
        let (beta1, beta2) = (self.config.beta1, self.config.beta2);
        let m = state.take_values("m", &weight);
        let grad = grad.mul_scalar(update.grad_scale);
        let direction = (m.clone().mul_scalar(beta1) + grad.clone().mul_scalar(1.0 - beta1)).sign();
        state.put_values("m", m.mul_scalar(beta2) + grad.mul_scalar(1.0 - beta2));
        weight.mul_scalar(1.0 - lr * self.weight_decay) - direction.mul_scalar(lr)
    }

    /// Factored second moment over matrices, whole for vectors; decay `1 − t^−0.8`, update
    /// clipped to root mean square 1 (sections 4 to 6 of the paper), the given learning rate.
    fn adafactor<const D: usize>(
        self,
        mut state: ParamState<'_>,
        weight: Tensor<D>,
        grad: Tensor<D>,
        update: &Update,
    ) -> Tensor<D> {
        const TINY: f64 = 1e-30; // the paper's eps_1, keeps the square root's argument positive
        let lr = self.lr(update);
        let beta2 = 1.0 - (update.step as f64).powf(-0.8);
        let grad = grad.mul_scalar(update.grad_scale);
        let squares = grad.clone().square().add_scalar(TINY);
        let step = if D == 2 {
            let rows = squares.clone().mean_dim(1);
            let cols = squares.mean_dim(0);
            let old = state.take_values("row", &rows);
            let rows = old.mul_scalar(beta2) + rows.mul_scalar(1.0 - beta2);
            let old = state.take_values("col", &cols);
            let cols = old.mul_scalar(beta2) + cols.mul_scalar(1.0 - beta2);
            state.put_values("row", rows.clone());
            state.put_values("col", cols.clone());
            // v ≈ rows · cols / mean(rows), here as two factors so that no product underflows.
            let row_factor = (rows.clone() / rows.mean_dim(0)).sqrt();
            grad / (row_factor * cols.sqrt())
        } else {
            let old = state.take_values("v", &squares);
            let v = old.mul_scalar(beta2) + squares.mul_scalar(1.0 - beta2);
            state.put_values("v", v.clone());
            grad / v.sqrt()
        };
        let len = step.dims().iter().product::<usize>();
        let rms = (kernels::sum_of_squares(step.clone()) / len as f64).sqrt();
        let step = step.mul_scalar(lr / rms.max(1.0));
        weight.mul_scalar(1.0 - lr * self.weight_decay) - step
    }
}
