#![doc = include_str!("../README.md")]

mod batch;
mod cached_reading;
mod causal_lm;
mod checkpointing;
mod context;
mod error;
mod folder;
mod generate;
mod gpt;
mod head;
mod init;
mod kv_cache;
mod linear;
mod low_rank;
mod params;
mod prefix_cache;
mod probe;
mod reading;
mod row_tokens;
mod selection;
mod weight;
mod with_head;

pub use batch::TokenBatch;
pub use causal_lm::CausalLm;
pub use checkpointing::Checkpointing;
pub use context::{Adapters, ForwardCtx, Precision};
pub use error::{ModelError, WeightFaults};
pub use folder::{
    ClassHead, LoadOptions, LoadReport, SaveOptions, WeightsAs, find_model, has_class_head,
    load_model, load_model_with, load_with_head, read_config, read_end_ids, save_gguf, save_model,
    save_model_with, save_with_head,
};
pub use generate::{
    Beam, BeamConfig, Context, Decoder, Finish, Generated, Logits, Overflow, Request, SampleConfig,
    Sampler, Speculated, Token, beam_search, generate, speculative,
};
pub use gpt::{Activation, Gpt, GptConfig, Parameters, Positions, Preset, RopeScaling};
pub use head::Head;
pub use init::{Init, ParamSpec};
pub use kv_cache::KvCache;
pub use linear::{Embedding, Linear, Norm, NormKind};
pub use low_rank::LowRank;
pub use params::{NamedValues, PathStack, is_trainable, named_values, param_id};
pub use prefix_cache::{PrefixCache, PrefixOf};
pub use probe::{Probe, TensorSummary};
pub use reading::{Pool, Reading};
pub use selection::Selection;
pub use weight::{PackedWeight, Weight};
pub use with_head::WithHead;
