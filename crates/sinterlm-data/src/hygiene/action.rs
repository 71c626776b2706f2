//! What a step does to records, whichever step it is.

use std::borrow::Cow;

use rayon::prelude::*;
use sinterlm_config::Check;

use crate::Record;

/// Why a record goes or changes; reports count records by it.
pub(super) type Reason = Cow<'static, str>;

/// What a step finds in a record that it drops.
#[derive(Debug, PartialEq)]
pub(super) struct Loss {
    pub(super) reason: Reason,
    /// What the example says about this record; may be empty.
    pub(super) detail: String,
}

/// What a step makes of a record's texts.
#[derive(Debug, PartialEq)]
pub(super) struct Edit {
    /// A new text in place of each one that changes, in the order of [`Record::texts`].
    pub(super) texts: Vec<Option<String>>,
    pub(super) reasons: Vec<Reason>,
}

/// Changes a record.
type Editor = Box<dyn Fn(&Record) -> Option<Edit> + Sync>;
/// Judges records.
type Selector = Box<dyn Fn(&[Record]) -> Vec<Option<Loss>>>;

/// A step that is ready to run.
pub(super) enum Action {
    /// Looks at one record after another and changes texts.
    Edit(Editor),
    /// Looks at all records; a loss for each one that goes.
    Select(Selector),
}

impl Action {
    /// A filter that looks at each record alone.
    pub(super) fn filter(judge: impl Fn(&Record) -> Option<Loss> + Sync + 'static) -> Self {
        Self::Select(Box::new(move |records| {
            records.par_iter().map(&judge).collect()
        }))
    }
}

/// An [`Action`] with the identity of what it reads beside the records and its config.
pub(super) struct Ready {
    pub(super) action: Action,
    pub(super) inputs: Option<String>,
}

impl Loss {
    pub(super) fn new(reason: impl Into<Reason>, detail: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            detail: detail.into(),
        }
    }
}

/// A fault unless `share` lies in 0 to 1.
pub(super) fn require_share(check: &mut Check, field: &str, share: Option<f64>) {
    if let Some(share) = share {
        check.require((0.0..=1.0).contains(&share), field, || {
            format!("{share} is not a share from 0 to 1; use 0.3 for 30 %")
        });
    }
}
