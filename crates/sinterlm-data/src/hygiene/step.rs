//! The steps of `[[hygiene]]`: which there are, and which of them reads what beside the records.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Validate};

use super::action::Ready;
use super::context::CleanContext;
use super::{
    BalanceStep, DecontaminateStep, ExactDuplicatesStep, LanguageStep, LengthStep,
    NearDuplicatesStep, NormaliseStep, PersonalDataStep, QualityStep, WordsStep,
};
use crate::DataError;

/// One step of hygiene; a config lists them in the order in which they run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum HygieneStep {
    /// One form of Unicode, line ends and white space.
    Normalise(NormaliseStep),
    /// Drops records that are too short or too long.
    Length(LengthStep),
    /// Drops records that are hardly prose.
    Quality(QualityStep),
    /// Drops records that contain, or lack, words of a list.
    Words(WordsStep),
    /// Keeps records in given languages.
    Language(LanguageStep),
    /// Drops records whose texts are those of an earlier one.
    ExactDuplicates(ExactDuplicatesStep),
    /// Drops records that are nearly an earlier one.
    NearDuplicates(NearDuplicatesStep),
    /// Replaces e-mail addresses, phone numbers and the like.
    PersonalData(PersonalDataStep),
    /// Drops records that an evaluation set has, too.
    Decontaminate(DecontaminateStep),
    /// Drops records of large classes until all have about the size of the smallest.
    Balance(BalanceStep),
}

impl HygieneStep {
    /// The step's name in a config.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Normalise(_) => "normalise",
            Self::Length(_) => "length",
            Self::Quality(_) => "quality",
            Self::Words(_) => "words",
            Self::Language(_) => "language",
            Self::ExactDuplicates(_) => "exact_duplicates",
            Self::NearDuplicates(_) => "near_duplicates",
            Self::PersonalData(_) => "personal_data",
            Self::Decontaminate(_) => "decontaminate",
            Self::Balance(_) => "balance",
        }
    }

    /// Whether the step changes records and drops none.
    pub(crate) fn is_edit(&self) -> bool {
        matches!(self, Self::Normalise(_) | Self::PersonalData(_))
    }

    /// Reads what the step needs.
    pub(super) fn ready(&self, context: &CleanContext<'_>) -> Result<Ready, DataError> {
        let plain = |action| {
            Ok(Ready {
                action,
                inputs: None,
            })
        };
        match self {
            Self::Normalise(step) => plain(step.action()),
            Self::Length(step) => step.ready(context),
            Self::Quality(step) => plain(step.action()),
            Self::Words(step) => step.ready(),
            Self::Language(step) => plain(step.action()?),
            Self::ExactDuplicates(step) => plain(step.action()),
            Self::NearDuplicates(step) => plain(step.action()),
            Self::PersonalData(step) => plain(step.action()?),
            Self::Decontaminate(step) => step.ready(context),
            Self::Balance(step) => plain(step.action(context.seed)),
        }
    }

    /// The step without the places of files, for fingerprints.
    pub(super) fn without_paths(&self) -> Self {
        match self {
            Self::Words(step) => Self::Words(WordsStep {
                file: None,
                ..step.clone()
            }),
            other => other.clone(),
        }
    }
}

impl Validate for HygieneStep {
    fn validate(&self, check: &mut Check) {
        match self {
            Self::Normalise(step) => step.validate(check),
            Self::Length(step) => step.validate(check),
            Self::Quality(step) => step.validate(check),
            Self::Words(step) => step.validate(check),
            Self::Language(step) => step.validate(check),
            Self::ExactDuplicates(_) => {}
            Self::NearDuplicates(step) => step.validate(check),
            Self::PersonalData(step) => step.validate(check),
            Self::Decontaminate(step) => step.validate(check),
            Self::Balance(step) => step.validate(check),
        }
    }
}
