//! A record as it is written: text, tokens and what each token is.

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A row of tokens with the parts that it consists of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RenderedRow {
    /// The text, without what only stands as tokens: the begin and the end of a text.
    pub text: String,
    /// The tokens.
    pub ids: Vec<u32>,
    /// The parts, in order and without gaps.
    pub spans: Vec<Span>,
}

/// A part of a [`RenderedRow`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Who speaks; in a text with a class `text`. Prompts of chat templates and of completions are
    /// `prompt`, unless [`Prompter::with_parts`](crate::Prompter::with_parts) asks for more.
    pub role: Arc<str>,
    /// The field of an instruction record that the part is from; none for what a template adds, and
    /// in prompts where it was not asked for.
    pub field: Option<Field>,
    /// Number of the answer, from 0, that the part belongs to: what the model has to write, up to the
    /// token that ends its turn. None for what it reads.
    pub answer: Option<usize>,
    /// The tokens.
    pub tokens: Range<usize>,
}

/// A field of an instruction record.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// What is asked.
    Instruction,
    /// What the instruction is about.
    Input,
    /// The answer.
    Output,
}

impl RenderedRow {
    /// Adds tokens of one kind.
    pub(super) fn push(
        &mut self,
        ids: impl IntoIterator<Item = u32>,
        role: &Arc<str>,
        field: Option<Field>,
        answer: Option<usize>,
    ) {
        let begin = self.ids.len();
        self.ids.extend(ids);
        let end = self.ids.len();
        match self.spans.last_mut() {
            _ if begin == end => {}
            Some(last) if last.role == *role && last.field == field && last.answer == answer => {
                last.tokens.end = end;
            }
            _ => self.spans.push(Span {
                role: role.clone(),
                field,
                answer,
                tokens: begin..end,
            }),
        }
    }

    /// Takes away the tokens from a place on; the text stays.
    pub(super) fn truncate(&mut self, len: usize) {
        self.ids.truncate(len);
        self.spans.retain_mut(|span| {
            span.tokens.end = span.tokens.end.min(len);
            span.tokens.start < span.tokens.end
        });
    }

    /// Number of answers in the row.
    pub fn answers(&self) -> usize {
        let numbers = self.spans.iter().filter_map(|span| span.answer);
        numbers.max().map_or(0, |last| last + 1)
    }
}
