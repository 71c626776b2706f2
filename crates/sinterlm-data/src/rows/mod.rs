//! From records to the rows that a model trains on, and from rows to batches: `prompt` and `chat` write
//! and tokenise, `labels` weighs, `truncation` cuts, `row_set` keeps, `order`, `packing` and `batches`
//! put together. Where records come from and how they are cleaned is left to others.

mod batches;
mod chat;
mod config;
mod fixed;
mod form_file;
mod labels;
mod order;
mod packing;
mod prompt;
mod rendered;
mod row_set;
mod truncation;
mod weights;

pub use batches::{BatchFigures, RowBatch, RowBatches};
pub use config::{BatchesConfig, Layout, Mixture, PromptTemplate, RowsConfig, Unusable};
pub use labels::{LabelsConfig, MaskPolicy};
pub use order::RowPlace;
pub use prompt::Prompter;
pub use rendered::{Field, RenderedRow, Span};
pub use row_set::{Row, RowCounts, RowSet};
pub use truncation::Truncation;
pub use weights::WeightRun;
