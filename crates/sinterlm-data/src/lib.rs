#![doc = include_str!("../README.md")]

mod batch;
mod config;
mod corpus;
mod digest;
mod error;
mod hub;
mod hygiene;
mod prepare;
mod prepare_records;
mod progress;
mod records;
mod rows;
mod source;
mod split;
mod store;
mod stories;
mod tasks;
mod template;
mod text_folder;
mod tokenizer;
mod windows;

pub use batch::Batch;
pub use config::{DataConfig, InvalidUtf8, SourceConfig, TokenizerConfig};
pub use error::DataError;
pub use hub::{Hub, HubCopy, HubFile, HubListing, HubModel, HubToken, RepoType};
pub use hygiene::{
    BalanceBy, BalanceStep, CleanContext, Cleaned, DecontaminateStep, DropIf, ExactDuplicatesStep,
    HygieneStep, LabelConflicts, LanguageStep, LengthStep, NearDuplicatesStep, NormaliseStep,
    OwnPattern, Passport, PassportSource, PassportSplits, PassportTable, PersonalDataStep,
    PersonalKind, QualityStep, SplitConfig, SplitShares, Splits, StepExample, StepReport, Stratify,
    UnicodeForm, WordsStep, class_weights, clean, label_conflicts, split_records,
};
pub use prepare::{Fingerprints, Prepared, SourceReport, prepare};
pub use prepare_records::{PreparedRecords, RecordPlan, TrainSet, prepare_records};
pub use progress::{Progress, Stage};
pub use records::{
    BadRecords, Body, FieldNames, LabelColumn, LoadedSet, Origin, Record, RecordForm,
    RecordOptions, RecordSet, RecordsConfig, RecordsSource, SetConfig, TableHeader, TextRecord,
    load_records, read_records, read_texts, read_texts_from, records_hash,
};
pub use rows::{
    BatchFigures, BatchesConfig, Field, LabelsConfig, Layout, MaskPolicy, Mixture, PromptTemplate,
    Prompter, RenderedRow, Row, RowBatch, RowBatches, RowCounts, RowPlace, RowSet, RowsConfig,
    Span, Truncation, Unusable, WeightRun,
};
pub use source::{
    Document, Documents, JsonRecord, JsonRecords, RecordPlace, TextSource, fingerprint,
    read_documents,
};
pub use store::{StoreHeader, TokenStore};
pub use stories::StoryGenerator;
pub use tasks::{InstructionTasks, PreferenceTasks, SpamMessages, TaskSplit, majority_answers};
pub use template::{ChatMessage, ChatTemplate, EncodedChat, Json, JsonMap, Turn};
pub use text_folder::{
    TEXT_FILES, copy_text_files, has_text_files, made_text_files, save_text_files,
};
pub use tokenizer::{END_OF_TEXT, TextMarks, TextStream, Tokenizer, tokenizer_of};
pub use windows::{TrainWindows, ValidWindows};
