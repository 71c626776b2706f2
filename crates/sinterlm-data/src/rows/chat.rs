//! Conversations in a model's chat template: what inference would read before each answer, then the
//! answer as the template writes it.

use std::ops::Range;
use std::sync::Arc;

use super::prompt::{Prompter, is_answer};
use super::rendered::RenderedRow;
use crate::template::Rendered;
use crate::{ChatMessage, ChatTemplate, DataError};

/// A row that answers are added to.
struct Growing {
    row: RenderedRow,
    /// Tokens up to the end of its last answer. What follows is written again with the next prompt.
    answered: usize,
    /// Messages that stand in it.
    messages: usize,
    /// Whether the last answer still lacks the token that ends it.
    is_open: bool,
}

/// What a template writes for an answer: the tokens with where they start, and those to be trained.
struct Answer {
    text: String,
    tokens: Vec<(u32, usize)>,
    trained: Vec<bool>,
    is_open: bool,
}

impl Prompter {
    /// The rows of a conversation. Answers share a row as long as the tokens of one's prompt begin
    /// with all that stands before it; where a template writes earlier messages in another way, a
    /// new row begins.
    pub(super) fn chat_rows(
        &self,
        template: &ChatTemplate,
        messages: &[ChatMessage],
    ) -> Result<Vec<RenderedRow>, DataError> {
        let mut done = Vec::new();
        let mut growing: Option<Growing> = None;
        let answers = (0..messages.len()).filter(|at| is_answer(&messages[*at]));
        for (number, at) in answers.enumerate() {
            let prompt = template.render_guarded(&messages[..at], true, &self.tokenizer)?;
            let tokens = self
                .tokenizer
                .encode_with_special_outside(&prompt.text, &prompt.ordinary);
            let whole = template.render_guarded(&messages[..=at], false, &self.tokenizer)?;
            let last = tokens.last().map(|(id, _)| *id);
            let answer = self.answer(template, &prompt, &whole, last, at)?;
            let continues = |growing: &Growing| {
                let before = &growing.row.ids[..growing.answered];
                prompt.text.starts_with(&growing.row.text)
                    && before.len() <= tokens.len()
                    && before
                        .iter()
                        .eq(tokens.iter().map(|(id, _)| id).take(before.len()))
            };
            if growing.as_ref().is_some_and(|growing| !continues(growing)) {
                done.extend(self.closed(template, growing.take(), &messages[..at], number));
            }
            let mut now = growing.take().unwrap_or_else(|| Growing {
                row: RenderedRow::default(),
                answered: 0,
                messages: 0,
                is_open: false,
            });
            now.row.truncate(now.answered);
            self.add_prompt(template, &mut now, &prompt, &tokens, messages, at, number)?;
            self.mark_prompt(template, &mut now.row, &prompt, &whole, &tokens, number);
            for ((id, _), trained) in answer.tokens.iter().zip(&answer.trained) {
                let of = trained.then_some(number);
                now.row.push([*id], &self.roles.assistant, None, of);
            }
            now.row.text.push_str(&answer.text);
            let last = now.row.spans.iter().rfind(|span| span.answer.is_some());
            now.answered = last.map_or(now.answered, |span| span.tokens.end);
            now.messages = at + 1;
            now.is_open = answer.is_open;
            growing = Some(now);
        }
        let count = messages.iter().filter(|m| is_answer(m)).count();
        if count == 0 {
            return Err(DataError::Rendering {
                form: template.name().to_owned(),
                fault: "the conversation holds no answer of the assistant".to_owned(),
            });
        }
        done.extend(self.closed(template, growing, messages, count));
        let is_trained = |row: &RenderedRow| row.spans.iter().any(|span| span.answer.is_some());
        if template.has_marks() && !done.iter().any(is_trained) {
            return Err(DataError::NoMarkedAnswer {
                template: template.name().to_owned(),
            });
        }
        Ok(done)
    }

    /// The part of a rendered conversation behind the prompt of its last answer.
    fn answer(
        &self,
        template: &ChatTemplate,
        prompt: &Rendered,
        whole: &Rendered,
        before: Option<u32>,
        at: usize,
    ) -> Result<Answer, DataError> {
        let Some(text) = whole.text.strip_prefix(&prompt.text) else {
            let tail = prompt.text.lines().last().unwrap_or_default();
            return Err(DataError::Rendering {
                form: template.name().to_owned(),
                fault: format!(
                    "message {} is not written behind the prompt that generation gives, which ends in {tail:?}",
                    at + 1
                ),
            });
        };
        let from = prompt.text.len();
        let ordinary: Vec<Range<usize>> = whole
            .ordinary
            .iter()
            .filter(|range| range.start >= from)
            .map(|range| range.start - from..range.end - from)
            .collect();
        let tokens = self.tokenizer.encode_behind(before, text, &ordinary);
        if template.has_marks() {
            let trained = marked(&tokens, text.len(), &whole.marks, from);
            return Ok(Answer {
                text: text.to_owned(),
                trained,
                tokens,
                is_open: false,
            });
        }
        // Up to the last special token, behind which a template has nothing but a line's end.
        let end = tokens
            .iter()
            .rposition(|(id, _)| self.tokenizer.is_special(*id))
            .map(|end| end + 1)
            .filter(|end| {
                let behind = tokens.get(*end).map_or(text.len(), |(_, start)| *start);
                text[behind..].trim().is_empty()
            });
        let trained = end.unwrap_or(tokens.len());
        Ok(Answer {
            text: text.to_owned(),
            trained: (0..tokens.len()).map(|at| at < trained).collect(),
            tokens,
            is_open: end.is_none(),
        })
    }

    /// Adds what is new in a prompt. A special token right behind an answer without an end ends it.
    #[allow(
        clippy::too_many_arguments,
        reason = "one step of a loop, with its state"
    )]
    fn add_prompt(
        &self,
        template: &ChatTemplate,
        now: &mut Growing,
        prompt: &Rendered,
        tokens: &[(u32, usize)],
        messages: &[ChatMessage],
        at: usize,
        number: usize,
    ) -> Result<(), DataError> {
        let mut new = &tokens[now.row.ids.len()..];
        if now.is_open
            && let Some(((id, _), rest)) = new.split_first()
            && self.tokenizer.is_special(*id)
        {
            now.row
                .push([*id], &self.roles.assistant, None, Some(number - 1));
            new = rest;
        }
        let parts = if self.by_part {
            // What a template writes behind the end of the answer before is of neither message.
            let mut parts = vec![(self.roles.assistant.clone(), now.row.text.len())];
            parts.extend(self.parts(template, prompt, &messages[..at], now.messages)?);
            parts
        } else {
            vec![(self.roles.prompt.clone(), prompt.text.len())]
        };
        for (id, start) in new {
            let part = parts.iter().find(|(_, end)| start < end);
            let role = part.map_or(&self.roles.assistant, |(role, _)| role);
            now.row.push([*id], role, None, None);
        }
        now.row.text.clone_from(&prompt.text);
        Ok(())
    }

    /// Where the messages of a prompt end; what is behind the last is the answer's header.
    fn parts(
        &self,
        template: &ChatTemplate,
        prompt: &Rendered,
        messages: &[ChatMessage],
        from: usize,
    ) -> Result<Vec<(Arc<str>, usize)>, DataError> {
        let mut parts = Vec::new();
        for at in from..messages.len() {
            let until = template.render_guarded(&messages[..=at], false, &self.tokenizer)?;
            // An earlier answer may be written in another way while it is the last message.
            let found = prompt.text.starts_with(&until.text);
            if !found && !is_answer(&messages[at]) {
                return Err(DataError::Rendering {
                    form: template.name().to_owned(),
                    fault: format!(
                        "message {} is written in another way once others follow, so that weights by role cannot be told",
                        at + 1
                    ),
                });
            }
            if found {
                parts.push((messages[at].role.as_str().into(), until.text.len()));
            }
        }
        Ok(parts)
    }

    /// Trains what a template marks in front of the answer, such as its header.
    fn mark_prompt(
        &self,
        template: &ChatTemplate,
        row: &mut RenderedRow,
        prompt: &Rendered,
        whole: &Rendered,
        tokens: &[(u32, usize)],
        number: usize,
    ) {
        let end = prompt.text.len();
        let crosses = |mark: &&Range<usize>| mark.start < end && end < mark.end;
        let Some(mark) = whole.marks.iter().find(crosses) else {
            return;
        };
        debug_assert!(template.has_marks(), "only marked templates give marks");
        let first = tokens.partition_point(|(_, start)| *start < mark.start);
        let ids = row.ids[first..].to_vec();
        row.truncate(first);
        row.push(ids, &self.roles.assistant, None, Some(number));
    }

    /// A row that gets no more messages; its last answer ends as it would if the user went on, else
    /// with the end of a text.
    fn closed(
        &self,
        template: &ChatTemplate,
        growing: Option<Growing>,
        messages: &[ChatMessage],
        answers: usize,
    ) -> Option<RenderedRow> {
        let mut growing = growing?;
        if growing.is_open {
            let mut more = messages[..growing.messages].to_vec();
            more.push(ChatMessage::new("user", "x"));
            let row = &growing.row;
            let next = template.render_guarded(&more, false, &self.tokenizer).ok();
            let next = next.and_then(|next| {
                let behind = next.text.strip_prefix(&row.text)?;
                let before = row.ids.last().copied();
                let tokens = self.tokenizer.encode_behind(before, behind, &[]);
                tokens.first().map(|(id, _)| *id)
            });
            let end = next.filter(|id| self.tokenizer.is_special(*id));
            let end = end.unwrap_or(self.tokenizer.end_of_text());
            growing
                .row
                .push([end], &self.roles.assistant, None, Some(answers - 1));
        }
        Some(growing.row)
    }
}

/// The tokens of a text that starts at byte `from` of a whole one and that reach into a mark.
fn marked(tokens: &[(u32, usize)], len: usize, marks: &[Range<usize>], from: usize) -> Vec<bool> {
    let mut end = len;
    let mut next = len;
    let mut trained: Vec<bool> = tokens
        .iter()
        .rev()
        .map(|(_, start)| {
            // Tokens of one character start at the same byte.
            if *start < next {
                (end, next) = (next, *start);
            }
            let overlaps = |mark: &Range<usize>| mark.start < end + from && start + from < mark.end;
            marks.iter().any(overlaps)
        })
        .collect();
    trained.reverse();
    trained
}
