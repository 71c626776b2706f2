//! Our fields and the names that files give them. What is made of their values belongs to `body`.

use crate::source::{hint, kind};
use crate::{FieldNames, Json, JsonMap, JsonRecord, RecordForm};

/// A field that records may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Instruction,
    Input,
    Output,
    History,
    System,
    Prompt,
    Completion,
    Messages,
    Text,
    Label,
    Chosen,
    Rejected,
    /// PKU-SafeRLHF's two answers in their order.
    Response0,
    Response1,
    Preferred,
    Task,
    Weight,
}

impl Field {
    const ALL: [Self; 17] = [
        Self::Instruction,
        Self::Input,
        Self::Output,
        Self::History,
        Self::System,
        Self::Prompt,
        Self::Completion,
        Self::Messages,
        Self::Text,
        Self::Label,
        Self::Chosen,
        Self::Rejected,
        Self::Response0,
        Self::Response1,
        Self::Preferred,
        Self::Task,
        Self::Weight,
    ];

    /// Those that a record of a form may have.
    fn of(form: RecordForm) -> &'static [Self] {
        match form {
            RecordForm::Auto => &Self::ALL,
            RecordForm::Alpaca => &[
                Self::Instruction,
                Self::Input,
                Self::Output,
                Self::History,
                Self::System,
                Self::Task,
                Self::Weight,
            ],
            RecordForm::Completion => &[Self::Prompt, Self::Completion, Self::Task, Self::Weight],
            RecordForm::Messages | RecordForm::ShareGpt => {
                &[Self::Messages, Self::System, Self::Task, Self::Weight]
            }
            RecordForm::Labelled => &[Self::Text, Self::Label, Self::Task, Self::Weight],
            RecordForm::Preference => &[
                Self::Prompt,
                Self::Chosen,
                Self::Rejected,
                Self::Response0,
                Self::Response1,
                Self::Preferred,
                Self::Completion,
                Self::Messages,
                Self::Instruction,
                Self::Input,
                Self::History,
                Self::System,
                Self::Task,
                Self::Weight,
            ],
        }
    }

    /// The usual names, the most usual first.
    fn usual(self) -> &'static [&'static str] {
        match self {
            Self::Instruction => &["instruction"],
            Self::Input => &["input", "context"],
            Self::Output => &["output", "response"],
            Self::History => &["history"],
            Self::System => &["system"],
            Self::Prompt => &["prompt", "question"],
            Self::Completion => &["completion", "response", "answer"],
            Self::Messages => &["messages", "conversations", "conversation"],
            Self::Text => &["text", "sms", "message", "sentence", "content", "v2"],
            Self::Label => &["label", "category", "class", "target", "v1"],
            Self::Chosen => &["chosen"],
            Self::Rejected => &["rejected"],
            Self::Response0 => &["response_0"],
            Self::Response1 => &["response_1"],
            Self::Preferred => &["better_response_id", "safer_response_id"],
            Self::Task | Self::Weight => &[],
        }
    }

    fn configured(self, names: &FieldNames) -> Option<&str> {
        let name = match self {
            Self::Instruction => &names.instruction,
            Self::Input => &names.input,
            Self::Output => &names.output,
            Self::System => &names.system,
            Self::Prompt => &names.prompt,
            Self::Completion => &names.completion,
            Self::Messages => &names.messages,
            Self::Text => &names.text,
            Self::Label => &names.label,
            Self::Chosen => &names.chosen,
            Self::Rejected => &names.rejected,
            Self::Preferred => &names.preferred,
            Self::Task => &names.task,
            Self::Weight => &names.weight,
            Self::History | Self::Response0 | Self::Response1 => return None,
        };
        name.as_deref()
    }

    /// The names to look for: the configured one alone, or else the usual ones.
    fn names(self, names: &FieldNames) -> Vec<&str> {
        match self.configured(names) {
            Some(name) => vec![name],
            None => self.usual().to_vec(),
        }
    }
}

/// The names of the fields that a file's records may have.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    names: Vec<(Field, String)>,
    /// Whether the config names one by a number, as those of a table without a header.
    pub(super) are_numbered: bool,
}

impl Columns {
    pub(super) fn new(form: RecordForm, names: &FieldNames) -> Self {
        let fields = Field::of(form).iter();
        let is_number = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
        let configured = |field: &Field| field.configured(names).is_some_and(is_number);
        Self {
            are_numbered: fields.clone().any(configured),
            names: fields
                .flat_map(|&field| {
                    let names = field.names(names).into_iter();
                    names.map(move |name| (field, name.to_owned()))
                })
                .collect(),
        }
    }

    /// All names, some of them twice.
    pub(super) fn wanted(&self) -> Vec<&str> {
        self.names.iter().map(|(_, name)| &**name).collect()
    }

    /// The names of one field.
    pub(super) fn of(&self, field: Field) -> impl Iterator<Item = &str> {
        let own = self.names.iter().filter(move |(own, _)| *own == field);
        own.map(|(_, name)| &**name)
    }

    pub(super) fn is_wanted(&self, name: &str) -> bool {
        self.names.iter().any(|(_, own)| own == name)
    }
}

/// What is wrong with a record's content.
pub(super) type Fault = String;

/// The fields of one record, taken one after another.
#[derive(Debug)]
pub(super) struct Row<'a> {
    fields: JsonMap,
    others: Vec<String>,
    columns: &'a Columns,
    /// Names of the fields that were taken.
    taken: Vec<&'a str>,
}

impl<'a> Row<'a> {
    pub(super) fn new(record: JsonRecord, columns: &'a Columns) -> Self {
        Self {
            fields: record.fields,
            others: record.others,
            columns,
            taken: Vec::new(),
        }
    }

    /// The name and value of a field; none where there is none or it is null.
    pub(super) fn take(&mut self, field: Field) -> Option<(&'a str, Json)> {
        let columns = self.columns;
        let is_there = |name: &&str| {
            self.fields
                .get(name)
                .is_some_and(|value| *value != Json::Null)
        };
        let name = columns.of(field).find(is_there)?;
        self.taken.push(name);
        Some((name, self.fields.take(name)?))
    }

    /// Whether a field is there and not null.
    pub(super) fn has(&self, field: Field) -> bool {
        let mut names = self.columns.of(field);
        names.any(|name| {
            self.fields
                .get(name)
                .is_some_and(|value| *value != Json::Null)
        })
    }

    /// The string in a field that has to be there.
    pub(super) fn text(&mut self, field: Field) -> Result<String, Fault> {
        self.named_text(field).map(|(_, text)| text)
    }

    /// The string in a field that has to be there and to hold more than white space.
    pub(super) fn filled(&mut self, field: Field) -> Result<String, Fault> {
        let (name, text) = self.named_text(field)?;
        if text.trim().is_empty() {
            return Err(format!("field `{name}` is empty"));
        }
        Ok(text)
    }

    fn named_text(&mut self, field: Field) -> Result<(&'a str, String), Fault> {
        match self.take(field) {
            Some((name, Json::Text(text))) => Ok((name, text)),
            Some((name, other)) => Err(wrong_type(name, &other, "a string")),
            None => Err(self.missing(field)),
        }
    }

    /// The string in a field, empty where there is none.
    pub(super) fn optional_text(&mut self, field: Field) -> Result<String, Fault> {
        match self.take(field) {
            Some((_, Json::Text(text))) => Ok(text),
            Some((name, other)) => Err(wrong_type(name, &other, "a string")),
            None => Ok(String::new()),
        }
    }

    /// The fault of a record that lacks a field.
    pub(super) fn missing(&self, field: Field) -> Fault {
        let mut candidates = self.columns.of(field);
        if let Some(name) = candidates.find(|name| self.fields.get(name).is_some()) {
            return format!("field `{name}` is null");
        }
        let wanted = self.columns.of(field).next().unwrap_or_default();
        let mut names = self.others.clone();
        names.extend(self.taken.iter().map(|name| (*name).to_owned()));
        names.extend(self.fields.iter().map(|(name, _)| name.to_owned()));
        let others = hint(names, wanted);
        format!("no field `{wanted}`, {others} (data.fields gives a field another name)")
    }
}

/// The fault of a value of another kind than the one wanted.
pub(super) fn wrong_type(name: &str, value: &Json, wanted: &str) -> Fault {
    format!("field `{name}` is {}, not {wanted}", kind(value))
}
