#![doc = include_str!("../README.md")]

mod batch;
mod causal_lm;
mod checkpointing;
mod context;
mod error;
mod folder;
mod generate;
mod gpt;
mod init;
mod kv_cache;
mod linear;
mod params;
mod probe;
mod weight;

pub use batch::TokenBatch;
pub use causal_lm::{CausalLm, Head};
pub use checkpointing::Checkpointing;
pub use context::{ForwardCtx, Precision};
pub use error::{ModelError, WeightFaults};
pub use folder::{
    LoadOptions, LoadReport, SaveOptions, WeightsAs, find_model, load_model, load_model_with,
    read_config, read_end_ids, save_gguf, save_model, save_model_with,
};
pub use generate::{
    Beam, BeamConfig, Context, Decoder, Finish, Generated, Logits, Overflow, Request, SampleConfig,
    Sampler, Speculated, Token, beam_search, generate, speculative,
};
pub use gpt::{Activation, Gpt, GptConfig, Parameters, Positions, Preset, RopeScaling};
pub use init::{Init, ParamSpec};
pub use kv_cache::KvCache;
pub use linear::{Embedding, Linear, Norm, NormKind};
pub use params::{NamedValues, PathStack, named_values, param_id};
pub use probe::{Probe, TensorSummary};
pub use weight::{PackedWeight, Weight};
