//! Checks of the first update of a new run: mistakes in a model or an objective that training would
//! hide for hours. They name the tensor and the remedy.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use sinterlm_kernels as kernels;
use sinterlm_model::PathStack;
use sinterlm_run::RowFacts;

use crate::gradients::Gradients;
use crate::trainable::Trainable;

/// Smallest learning rate whose update of a value near 1 is seen in f32.
const SEEN_RATE: f64 = 1e-7;

/// Parameters before the first update.
#[derive(Debug)]
pub(crate) struct Before {
    /// By path: a fingerprint of the values, and whether the update has to change them.
    parameters: BTreeMap<String, (u64, bool)>,
}

/// The loss of a model that has learned nothing lies near the logarithm of its choices, `expected`: it
/// spreads its probability evenly over the vocabulary, or over classes.
///
/// Logits of standard deviation σ add about σ²/2; a tenth of the logarithm and a quarter leave room for
/// GPT-2's initialisation up to a width of 4096.
pub(crate) fn check_loss(loss: f64, expected: f64, faults: &mut Vec<String>) {
    if (loss - expected).abs() > 0.1 * expected + 0.25 {
        faults.push(format!(
            "the loss is {loss:.3}, and that of an untrained model near ln({:.0}) = {expected:.3}: check the scale of the initial weights, the head and the targets",
            expected.exp()
        ));
    }
}

/// Each row has a token to train on.
pub(crate) fn check_rows(micro: usize, rows: &[RowFacts], faults: &mut Vec<String>) {
    for row in rows.iter().filter(|row| row.trained_tokens == 0) {
        faults.push(format!(
            "row {} of micro-batch {micro} has no token with a loss weight above zero: check masks and truncation",
            row.row
        ));
    }
}

/// Each trainable tensor has a gradient that is not all zero, each frozen one none.
///
/// Where a trainable matrix is all zero, as LoRA's B at the start, what lies behind it has a gradient
/// of zero by design; then only missing gradients count.
pub(crate) fn check_gradients<M: Module>(
    model: &M,
    trainable: &Trainable,
    gradients: &Gradients,
    faults: &mut Vec<String>,
) -> Before {
    let mut visit = Visit {
        trainable,
        gradients,
        faults,
        zero_gradients: Vec::new(),
        has_zero_matrix: false,
        parameters: BTreeMap::new(),
        stack: PathStack::default(),
    };
    model.visit(&mut visit);
    if !visit.has_zero_matrix {
        for path in visit.zero_gradients {
            visit.faults.push(format!(
                "{path}: its gradient is all zero; freeze it, or look for what cuts it off from the loss"
            ));
        }
    }
    Before {
        parameters: visit.parameters,
    }
}

/// The update changed each trainable tensor with a gradient and nothing else. `lr` below 1e-7 proves
/// nothing, since f32 may not show it.
pub(crate) fn check_update<M: Module>(
    model: &M,
    before: &Before,
    lr: f64,
    faults: &mut Vec<String>,
) {
    let mut after = Fingerprints::default();
    model.visit(&mut after);
    for (path, now) in after.found {
        let Some((then, moves)) = before.parameters.get(&path) else {
            continue;
        };
        if *then == now && *moves && lr >= SEEN_RATE {
            faults.push(format!(
                "{path}: the optimizer left it as it was; check the optimizer's groups and rates"
            ));
        } else if *then != now && !moves {
            faults.push(format!(
                "{path}: the optimizer changed it though it is frozen or has no gradient; check the optimizer's groups"
            ));
        }
    }
}

struct Visit<'a> {
    trainable: &'a Trainable,
    gradients: &'a Gradients,
    faults: &'a mut Vec<String>,
    zero_gradients: Vec<String>,
    has_zero_matrix: bool,
    parameters: BTreeMap<String, (u64, bool)>,
    stack: PathStack,
}

impl ModuleVisitor for Visit<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !param.is_initialized() {
            return; // packed: nothing can change it
        }
        let path = self.stack.path();
        let is_trainable = self.trainable.has(&path);
        let weight = param.val().without_autodiff();
        let gradient = self.gradients.get::<D>(&path);
        let has_gradient = gradient.clone().is_some_and(|gradient| !is_zero(gradient));
        match (is_trainable, gradient) {
            (true, None) => self.faults.push(format!(
                "{path}: no gradient; freeze it, or make the loss depend on it"
            )),
            (true, Some(_)) if !has_gradient => self.zero_gradients.push(path.clone()),
            (false, Some(_)) => self.faults.push(format!(
                "{path}: is frozen and has a gradient; detach it from the loss, or train it"
            )),
            _ => {}
        }
        self.has_zero_matrix |= D > 1 && is_trainable && is_zero(weight.clone());
        let moves = is_trainable && has_gradient;
        self.parameters
            .insert(path, (kernels::fingerprint(weight), moves));
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.stack.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.stack.exit();
    }
}

#[derive(Default)]
struct Fingerprints {
    found: BTreeMap<String, u64>,
    stack: PathStack,
}

impl ModuleVisitor for Fingerprints {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !param.is_initialized() {
            return;
        }
        let values = param.val().without_autodiff();
        self.found
            .insert(self.stack.path(), kernels::fingerprint(values));
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.stack.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.stack.exit();
    }
}

fn is_zero<const D: usize>(tensor: Tensor<D>) -> bool {
    // Squares of tiny values vanish in f32, the values themselves don't.
    kernels::sum_of_squares(tensor.clone()) == 0.0 && tensor.abs().max().into_scalar::<f32>() == 0.0
}

#[cfg(test)]
mod tests {
    use burn::module::ModuleMapper;
    use burn::tensor::Device;
    use sinterlm_config::Seed;
    use sinterlm_kernels::MatmulPrecision;
    use sinterlm_model::{CausalLm, ForwardCtx, Gpt, GptConfig, TokenBatch, param_id};

    use super::*;
    use crate::optimizer::{Optimizer, OptimizerConfig, Update};

    /// A tiny model whose blocks start as `zeroed` says, and its gradients.
    fn model(zeroed: &str) -> (Gpt, Gradients) {
        let device = Device::flex().autodiff();
        let config = GptConfig {
            vocab_size: 20,
            max_seq_len: 8,
            d_model: 16,
            n_layers: 1,
            n_heads: 2,
            ..GptConfig::default()
        };
        let model = config.init_from(&device, |spec| {
            let mut values = spec.draw(Seed(3));
            if spec.path == zeroed {
                values.fill(0.0);
            }
            Ok::<_, std::convert::Infallible>(values)
        });
        let model = model.unwrap();
        let tokens = TokenBatch::dense(&[1, 2, 3, 4, 5, 6, 7, 8], 1, &device);
        let hidden = model.hidden(&tokens, &ForwardCtx::default(), None);
        let loss = (hidden.powi_scalar(3)).sum() + model.head().linear.weight.val().sum();
        let mut gradients = Gradients::default();
        gradients.accumulate(&model, &Trainable::of(&model), &mut loss.backward());
        (model, gradients)
    }

    /// Freezes one parameter.
    struct Freeze(&'static str);

    impl ModuleMapper for Freeze {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let freezes = param.id == param_id(self.0);
            if freezes {
                param.set_require_grad(false)
            } else {
                param
            }
        }
    }

    fn faults_of(model: &Gpt, gradients: &Gradients) -> Vec<String> {
        let mut faults = Vec::new();
        check_gradients(model, &Trainable::of(model), gradients, &mut faults);
        faults
    }

    #[test]
    fn a_sound_model_has_no_fault() {
        let (model, gradients) = model("");
        assert_eq!(faults_of(&model, &gradients), [""; 0]);
    }

    #[test]
    fn a_tensor_without_gradient_and_a_frozen_one_with_it_are_named() {
        let (model, mut gradients) = model("");
        gradients.remove::<2>("blocks.0.mlp.up.weight");
        let faults = faults_of(&model, &gradients);
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].starts_with("blocks.0.mlp.up.weight: no gradient; freeze it"));

        let frozen = model.map(&mut Freeze("blocks.0.mlp.up.weight"));
        assert_eq!(faults_of(&frozen, &gradients), [""; 0]);
        let frozen = frozen.map(&mut Freeze("wte.weight"));
        let faults = faults_of(&frozen, &gradients);
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].starts_with("wte.weight: is frozen and has a gradient"));
    }

    #[test]
    fn a_gradient_of_zero_is_a_fault_unless_a_matrix_of_zeros_explains_it() {
        // Zero biases alone explain nothing: they are in every model.
        let (sound, mut gradients) = model("");
        let path = "blocks.0.attn.out.bias";
        let gradient = gradients.remove::<1>(path).unwrap();
        gradients.register(path, gradient.zeros_like());
        let faults = faults_of(&sound, &gradients);
        assert!(faults[0].starts_with("blocks.0.attn.out.bias: its gradient is all zero"));

        let (zeroed, gradients) = model("blocks.0.mlp.down.weight");
        let up = gradients.get::<2>("blocks.0.mlp.up.weight").unwrap();
        assert!(is_zero(up));
        assert_eq!(faults_of(&zeroed, &gradients), [""; 0]);
    }

    #[test]
    fn an_update_that_misses_a_tensor_or_moves_a_frozen_one_is_named() {
        let update = Update {
            step: 1,
            lr_factor: 1.0,
            grad_scale: 1.0,
            precision: MatmulPrecision::F32,
        };
        let step = |forgotten: Option<&str>, frozen: Option<&'static str>, lr: f64| {
            let (mut model, mut gradients) = model("");
            if let Some(path) = frozen {
                model = model.map(&mut Freeze(path));
            }
            let mut faults = Vec::new();
            let before = check_gradients(&model, &Trainable::of(&model), &gradients, &mut faults);
            if let Some(path) = forgotten {
                gradients.remove::<2>(path);
            }
            let mut optimizer = Optimizer::new(OptimizerConfig::default());
            let model = optimizer.step(model, gradients, &update);
            faults.clear();
            check_update(&model, &before, lr, &mut faults);
            faults
        };
        assert_eq!(step(None, None, 6e-4), [""; 0]);
        let forgotten = step(Some("wpe.weight"), None, 6e-4);
        assert_eq!(forgotten.len(), 1, "{forgotten:?}");
        assert!(forgotten[0].starts_with("wpe.weight: the optimizer left it"));
        assert_eq!(
            step(Some("wpe.weight"), None, 1e-9),
            [""; 0],
            "too small a rate to see"
        );
        // The optimizer goes by gradients, and this one has one by mistake.
        let moved = step(None, Some("wpe.weight"), 6e-4);
        assert!(
            moved[0].starts_with("wpe.weight: the optimizer changed it"),
            "{moved:?}"
        );
    }

    #[test]
    fn an_untrained_loss_is_near_the_logarithm_of_the_vocabulary() {
        let faults = |loss| {
            let mut faults = Vec::new();
            check_loss(loss, 50257f64.ln(), &mut faults);
            faults.len()
        };
        assert_eq!([10.9, 11.6, 10.0].map(faults), [0; 3]);
        assert_eq!([12.5, 8.0, 0.0].map(faults), [1; 3]);
    }

    #[test]
    fn a_row_without_a_trained_token_is_named() {
        let row = |row, trained_tokens| RowFacts {
            row,
            trained_tokens,
            ..RowFacts::default()
        };
        let mut faults = Vec::new();
        check_rows(1, &[row(0, 3), row(1, 0)], &mut faults);
        assert_eq!(faults.len(), 1);
        assert!(faults[0].starts_with("row 1 of micro-batch 1 has no token"));
    }
}
