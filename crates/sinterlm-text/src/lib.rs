#![doc = include_str!("../README.md")]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "unwrap is for tests"))]

mod answer_start;
mod answers;
mod asking;
mod continuing;
mod conversation;
mod device_batch;
mod error;
mod prompt_records;
mod text_files;
mod text_model;

pub use answers::Answer;
pub use continuing::{Continuing, Method, continue_texts};
pub use conversation::{Conversation, ConversationConfig};
pub use device_batch::DeviceBatch;
pub use error::TextError;
pub use prompt_records::{PromptRecord, PromptRecords};
pub use text_files::text_files_of;
pub use text_model::{OpenOptions, TextModel, begin_of};
