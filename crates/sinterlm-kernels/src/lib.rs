#![doc = include_str!("../README.md")]

mod adamw;
mod attention;
mod blend;
#[cfg(feature = "flex")]
mod buffer;
mod cached_attention;
#[cfg(test)]
mod check;
mod dropout;
mod dtype;
mod embedding;
mod exp;
mod gelu;
mod host;
mod isa;
mod lanes;
mod layer_norm;
mod layout;
mod linear;
mod linear_cross_entropy;
mod moments;
mod muon;
mod orthogonalize;
mod packed;
mod precision;
#[cfg(feature = "flex")]
mod product;
mod reduce;
mod relu_squared;
mod rms_norm;
mod rope;
mod route;
mod softmax_row;
mod swiglu;

pub use adamw::{AdamWStep, adamw};
pub use attention::{AttentionOptions, attention_at, causal_attention};
pub use blend::blend;
pub use cached_attention::{CachedRows, KeyValues};
pub use dropout::dropout;
pub use embedding::embedding;
pub use gelu::{GeluKind, gelu};
pub use host::{keep_threads_awake, release_freed_memory, run_on_pool, thread_buffer_bytes};
pub use isa::{Isa, set_max_isa};
pub use layer_norm::layer_norm;
pub use layout::RowLayout;
pub use linear::{FEW_ROWS, linear};
pub use linear_cross_entropy::{CrossEntropyOptions, linear_cross_entropy, linear_logprobs};
pub use moments::{Moment, MomentCodes, MomentFormat, MomentKind};
pub use muon::muon_momentum;
pub use orthogonalize::{orthogonalize, orthogonalize_all, orthogonalize_all_bytes};
pub use packed::{PackedFormat, PackedMatrix, packed_linear};
pub use precision::MatmulPrecision;
pub use reduce::{add_in_place, fingerprint, sum_of_squares};
pub use relu_squared::relu_squared;
pub use rms_norm::rms_norm;
pub use rope::rope;
pub use route::{Route, with_route};
pub use softmax_row::{log_sum_exp, softmax_in_place, softmax_of_part, softmax_sums};
pub use swiglu::swiglu;
