//! Checks of the first update of a new run: mistakes in a model or an objective that training would
//! hide for hours. They name the tensor and the remedy.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use sinterlm_kernels as kernels;
use sinterlm_model::PathStack;
use sinterlm_run::RowFacts;

use crate::gradients::Gradients;

/// Smallest learning rate whose update of a value near 1 is seen in f32.
const SEEN_RATE: f64 = 1e-7;

/// Parameters before the first update.
#[derive(Debug)]
pub(crate) struct Before {
    /// By path: a fingerprint of the values, and whether the update has to change them.
    parameters: BTreeMap<String, (u64, bool)>,
}

/// The loss of weights that were just drawn lies near `ln(vocabulary)`: a model that knows nothing
/// spreads its probability evenly.
///
/// Logits of standard deviation σ add about σ²/2; a tenth of the logarithm and a quarter leave room for
/// GPT-2's initialisation up to a width of 4096.
pub(crate) fn check_loss(loss: f64, vocab_size: usize, faults: &mut Vec<String>) {
    let expected = (vocab_size as f64).ln();
    if (loss - expected).abs() > 0.1 * expected + 0.25 {
        faults.push(format!(
            "the loss is {loss:.3}, and that of an untrained model near ln({vocab_size}) = {expected:.3}: check the scale of the initial weights, the head and the targets"
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
    gradients: &Gradients,
    faults: &mut Vec<String>,
) -> Before {
    let mut visit = Visit {
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
    gradients: &'a Gradients,
    faults: &'a mut Vec<String>,
    zero_gradients: Vec<String>,
    has_zero_matrix: bool,
    parameters: BTreeMap<String, (u64, bool)>,
    stack: PathStack,
}

impl ModuleVisitor for Visit<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.stack.path();
        let weight = param.val();
        let is_trainable = weight.is_require_grad();
        let weight = weight.without_autodiff();
        let gradient = self.gradients.get::<D>(param.id);
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
        self.parameters.insert(path, (fingerprint(weight), moves));
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
        let values = param.val().without_autodiff();
        self.found.insert(self.stack.path(), fingerprint(values));
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

/// A hash of the values' bits, side by side in lanes so that it runs at the speed of memory.
fn fingerprint<const D: usize>(tensor: Tensor<D>) -> u64 {
    const LANES: usize = 16;
    const ODD: u32 = 0x9e37_79b1; // from the golden ratio: spreads neighbouring values
    let data = tensor.into_data().convert::<f32>();
    let values = data.as_slice::<f32>().expect("just converted to f32");
    let mut lanes = [1u32; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = lane.wrapping_mul(ODD).wrapping_add(value.to_bits());
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane = lane.wrapping_mul(ODD).wrapping_add(value.to_bits());
    }
    let mix = |hash: u64, lane: &u32| hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(*lane);
    lanes.iter().fold(values.len() as u64, mix)
}
