#![doc = include_str!("../README.md")]

mod batch;
mod causal_lm;
mod checkpointing;
mod context;
mod error;
mod folder;
mod generate;
mod gpt;
mod gpt2_names;
mod init;
mod kv_cache;
mod linear;
mod params;

pub use batch::TokenBatch;
pub use causal_lm::{CausalLm, Head};
pub use checkpointing::Checkpointing;
pub use context::{ForwardCtx, Precision};
pub use error::ModelError;
pub use folder::{find_model, load_model, read_config, save_model};
pub use generate::{
    Beam, BeamConfig, Context, Decoder, Finish, Generated, Logits, Overflow, Request, SampleConfig,
    Sampler, Speculated, Token, beam_search, generate, speculative,
};
pub use gpt::{Activation, Gpt, GptConfig, MemoryEstimate, Parameters, Preset};
pub use init::{Init, ParamSpec};
pub use kv_cache::KvCache;
pub use linear::{Embedding, LayerNorm, Linear};
pub use params::{NamedValues, PathStack, named_values, param_id};
