//! Hygiene of records: counted steps in the config's order, splits that do not leak, and the passport
//! that says what happened. Reading records belongs to `records`.

mod action;
mod balance;
mod canonical;
mod clean;
mod context;
mod decontaminate;
mod exact;
mod excerpt;
mod labels;
mod language;
mod length;
mod near;
mod near_index;
mod normalise;
mod passport;
mod personal;
mod personal_kinds;
mod quality;
mod shingles;
mod splits;
mod step;
mod strata;
mod word_list;

pub use balance::{BalanceBy, BalanceStep};
pub use clean::{Cleaned, StepExample, StepReport, clean};
pub use context::CleanContext;
pub use decontaminate::DecontaminateStep;
pub use exact::ExactDuplicatesStep;
pub use labels::{LabelConflicts, class_weights, label_conflicts};
pub use language::LanguageStep;
pub use length::LengthStep;
pub use near::NearDuplicatesStep;
pub use normalise::{NormaliseStep, UnicodeForm};
pub use passport::{Passport, PassportSource, PassportSplits, PassportTable};
pub use personal::{OwnPattern, PersonalDataStep};
pub use personal_kinds::PersonalKind;
pub use quality::QualityStep;
pub(crate) use splits::without_leaks;
pub use splits::{SplitConfig, Splits, split_records};
pub use step::HygieneStep;
pub use strata::{SplitShares, Stratify};
pub use word_list::{DropIf, WordsStep};
