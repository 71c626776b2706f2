//! Supervised loading: every tensor of a file and every parameter of the model is accounted for
//! before anything is made.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::tensor::{Device, TensorData};
use sinterlm_config::Seed;
use sinterlm_formats::{FormatError, TensorSource, WeightFile};

use super::description::Description;
use super::place::Form;
use super::report::LoadReport;
use super::values::{WeightsAs, values_of};
use crate::error::{ModelError, WeightFaults};
use crate::gpt::Gpt;
use crate::init::{ParamSpec, Values};

/// What a load may pass over, by default nothing, and how it holds the weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Draws parameters that the file lacks from this seed, in place of refusing the file.
    pub fill_missing: Option<Seed>,
    /// Passes over tensors that no parameter takes, in place of refusing the file.
    pub allow_unused: bool,
    /// How weights are held in memory.
    pub weights: WeightsAs,
}

/// Reads weights and what describes them: a Hugging Face folder (also one of our own), with one file
/// or shards, or a GGUF or llama2.c file. Every tensor is accounted for.
///
/// Tensors in f32 stay in the memory map where their order is ours; they are copied when first
/// trained.
///
/// # Errors
/// [`ModelError::Folder`] for an architecture that cannot be read, [`ModelError::Weights`] with all
/// tensors that are missing, unused, misshapen or no floats, [`ModelError::Format`] for a file that
/// cannot be read.
pub fn load_model(path: &Path, device: &Device) -> Result<Gpt, ModelError> {
    load_model_with(path, device, &LoadOptions::default()).map(|(model, _)| model)
}

/// [`load_model`] that may pass over faults or leave weights packed, and reports what was done.
///
/// # Errors
/// As [`load_model`], less what `options` allow.
pub fn load_model_with(
    path: &Path,
    device: &Device,
    options: &LoadOptions,
) -> Result<(Gpt, LoadReport), ModelError> {
    let mut description = Description::read(path)?;
    let source = WeightFile::open(path)?;
    if description.untie_unequal(&source)? {
        warn_untied(&source);
    }
    let specs = description.config.param_specs(device);
    let mut matched = Matched::new(&description, source, &specs, options)?;
    let values = &mut |spec: &ParamSpec| matched.values(spec, device);
    let model = description.config.init_with(device, values)?;
    Ok((model, matched.report))
}

/// Says that a head is read as one of its own, against the config.
pub(super) fn warn_untied(source: &WeightFile) {
    tracing::warn!(
        path = %source.path().display(),
        "the config ties the head to the embedding, but the file holds both with different values: \
         they stay two; set tie_word_embeddings to false to silence this"
    );
}

/// A weights file whose tensors and a model's parameters match.
pub(super) struct Matched {
    source: WeightFile,
    found: Found,
    options: LoadOptions,
    report: LoadReport,
}

impl Matched {
    /// Finds the tensor of each of `specs`, and refuses what `options` do not allow.
    pub(super) fn new(
        description: &Description,
        source: WeightFile,
        specs: &[ParamSpec],
        options: &LoadOptions,
    ) -> Result<Self, ModelError> {
        let mut match_up = MatchUp::new(description, &source);
        for spec in specs {
            match_up.add(spec)?;
        }
        let (found, faults) = match_up.finish()?;
        let mut unfit = faults.unfit;
        let differing = unless(options.allow_unused, &faults.differing);
        unfit.extend(differing.iter().map(|name| {
            format!("`{name}` is taken by no parameter, and is not what the model has in its place")
        }));
        let refused = WeightFaults {
            path: source.path().to_owned(),
            missing: unless(options.fill_missing.is_some(), &faults.missing),
            unused: unless(options.allow_unused, &faults.unused),
            unfit,
            names: source
                .tensor_names()
                .into_iter()
                .map(str::to_owned)
                .collect(),
        };
        if !refused.is_empty() {
            return Err(ModelError::Weights(Box::new(refused)));
        }
        let report = LoadReport {
            path: source.path().to_owned(),
            loaded: found.len(),
            mapped_bytes: 0,
            copied_bytes: 0,
            packed_bytes: 0,
            missing: faults.missing,
            unused: [faults.unused, faults.differing].concat(),
        };
        Ok(Self {
            source,
            found,
            options: *options,
            report,
        })
    }

    /// The values of a parameter.
    pub(super) fn values(
        &mut self,
        spec: &ParamSpec,
        device: &Device,
    ) -> Result<Values, FormatError> {
        let Some((name, form)) = self.found.get(&spec.path) else {
            let seed = self.options.fill_missing.unwrap_or(Seed(0));
            let drawn = TensorData::new(spec.draw(seed), spec.shape.clone());
            return Ok(Values::Numbers(drawn));
        };
        let stored = self.source.stored(name)?;
        let form = (*form, self.options.weights);
        let report = &mut self.report;
        Ok(values_of(stored, form, &spec.shape, device, report))
    }
}

fn unless(allowed: bool, faults: &[String]) -> Vec<String> {
    if allowed { Vec::new() } else { faults.to_vec() }
}

/// Tensor and form of each parameter, by path.
type Found = BTreeMap<String, (String, Form)>;

/// What does not fit, by names in the file's layout.
#[derive(Default)]
struct Faults {
    missing: Vec<String>,
    unused: Vec<String>,
    /// Tensors that would be passed over if they held what the model has in their place.
    differing: Vec<String>,
    unfit: Vec<String>,
}

/// Matching parameters with a file's tensors.
struct MatchUp<'a> {
    description: &'a Description,
    source: &'a dyn TensorSource,
    names: BTreeSet<&'a str>,
    used: BTreeSet<&'a str>,
    found: Found,
    faults: Faults,
}

impl<'a> MatchUp<'a> {
    fn new(description: &'a Description, source: &'a dyn TensorSource) -> Self {
        Self {
            description,
            source,
            names: source.tensor_names().into_iter().collect(),
            used: BTreeSet::new(),
            found: BTreeMap::new(),
            faults: Faults::default(),
        }
    }

    /// Looks for a parameter's tensor and holds its shape and type against what is needed.
    fn add(&mut self, spec: &ParamSpec) -> Result<(), FormatError> {
        let place = self.description.place(&spec.path);
        let find = |name: &str| self.description.find(name, &self.names);
        let mut name = find(&place.name);
        if name.is_none() && spec.path == "wte.weight" && self.description.config.tied_head {
            // Of two names for one tensor, some writers keep the head's.
            name = find(&self.description.place("head.weight").name);
        }
        let Some(name) = name else {
            self.faults.missing.push(place.name);
            return Ok(());
        };
        self.used.insert(name);
        let stored = self.source.stored(name)?;
        let expected = place.form.stored_shape(&spec.shape);
        if stored.shape != expected {
            let found = &stored.shape;
            let fault = format!("`{name}` is {found:?}, the model needs {expected:?}");
            self.faults.unfit.push(fault);
        } else if !stored.dtype.is_float() {
            let fault = format!("`{name}` holds {}, not floats", stored.dtype);
            self.faults.unfit.push(fault);
        }
        let entry = (name.to_owned(), place.form);
        self.found.insert(spec.path.clone(), entry);
        Ok(())
    }

    fn finish(mut self) -> Result<(Found, Faults), FormatError> {
        for name in self.names.difference(&self.used) {
            let Some(in_place) = self.description.in_place_of(name) else {
                self.faults.unused.push((*name).to_owned());
                continue;
            };
            let stored = self.source.stored(name)?;
            if !in_place.equals(&stored, &self.description.config) {
                self.faults.differing.push((*name).to_owned());
            }
        }
        Ok((self.found, self.faults))
    }
}
