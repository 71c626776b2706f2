//! Special tokens' names in messages: they are text, and no template may turn them into tokens.

use std::collections::HashSet;
use std::ops::Range;

use super::fields::{Json, JsonMap};
use super::jinja::Marked;
use super::{ChatMessage, ChatTemplate};
use crate::{DataError, Tokenizer};

/// A rendered text, and the ranges of it that stand for special tokens' names in messages.
#[derive(Debug)]
pub(crate) struct Rendered {
    pub(crate) text: String,
    pub(crate) ordinary: Vec<Range<usize>>,
    /// Bytes that the template marked as the model's, ascending and apart.
    pub(crate) marks: Vec<Range<usize>>,
}

impl ChatTemplate {
    /// Renders a conversation, and once more with placeholders in place of special tokens' names where
    /// messages hold such: so their places in the text are known.
    pub(crate) fn render_guarded(
        &self,
        messages: &[ChatMessage],
        generation_prompt: bool,
        tokenizer: &Tokenizer,
    ) -> Result<Rendered, DataError> {
        let Marked { text, marks } = self.render_marked(messages, generation_prompt)?;
        let rendered = |ordinary| Rendered {
            text: text.clone(),
            ordinary,
            marks: in_order(marks.clone()),
        };
        let mut texts = TextsOf::default();
        texts.take_messages(&mut messages.to_vec());
        let names = tokenizer.special_names_in(&texts.0);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if names.is_empty() {
            return Ok(rendered(Vec::new()));
        }
        if let Some(mut guard) = Guard::new(&names, &texts.0, &self.source) {
            let mut guarded = messages.to_vec();
            guard.take_messages(&mut guarded);
            let (back, ordinary) = guard.undo(&self.render(&guarded, generation_prompt)?);
            // A template that looks into a message, as for `</think>`, sees a placeholder there.
            if back == text {
                return Ok(rendered(ordinary));
            }
        }
        Err(DataError::Template {
            name: self.name.clone(),
            line: 0,
            fault: format!(
                "the template looks into messages for {}, which is a special token's name in one of them, so text and mark cannot be told apart; take it out of the message",
                names.join(" or ")
            ),
        })
    }
}

/// Ranges ascending and apart, without empty ones: marks may lie in marks.
fn in_order(mut marks: Vec<Range<usize>>) -> Vec<Range<usize>> {
    marks.retain(|mark| !mark.is_empty());
    marks.sort_by_key(|mark| mark.start);
    marks.dedup_by(|next, last| {
        let joins = next.start < last.end;
        if joins {
            last.end = last.end.max(next.end);
        }
        joins
    });
    marks
}

/// Walks through all texts of messages, those of further fields included.
trait Visit {
    /// One text.
    fn take(&mut self, text: &mut String);

    fn take_messages(&mut self, messages: &mut [ChatMessage]) {
        for message in messages {
            self.take(&mut message.role);
            self.take(&mut message.content);
            self.take_map(&mut message.extra);
        }
    }

    fn take_map(&mut self, map: &mut JsonMap) {
        for value in map.values_mut() {
            self.take_json(value);
        }
    }

    fn take_json(&mut self, json: &mut Json) {
        match json {
            Json::Text(text) => self.take(text),
            Json::List(items) => items.iter_mut().for_each(|item| self.take_json(item)),
            Json::Map(map) => self.take_map(map),
            Json::Null | Json::Bool(_) | Json::Int(_) | Json::Float(_) => {}
        }
    }
}

/// All texts, one after another.
#[derive(Default)]
struct TextsOf(String);

impl Visit for TextsOf {
    fn take(&mut self, text: &mut String) {
        self.0.push_str(text);
        self.0.push('\n'); // no name across two texts
    }
}

/// Placeholders for names, of characters that stand nowhere else: a mark, the name's own, the mark.
struct Guard<'a> {
    mark: char,
    stand_ins: Vec<(String, &'a str)>,
}

impl<'a> Guard<'a> {
    /// Guards against `names`, the longest first, in messages whose texts are `texts` and the template
    /// `source`; none where they hold all characters that could stand in.
    fn new(names: &[&'a str], texts: &str, source: &str) -> Option<Self> {
        let used: HashSet<char> = texts.chars().chain(source.chars()).collect();
        // Characters that Python prints as they are and that have no other case: Chinese ones.
        let all = ('\u{4e00}'..='\u{9ffc}').chain('\u{20000}'..='\u{2a6dd}');
        let mut free = all.filter(|c| !used.contains(c));
        let mark = free.next()?;
        let stand_ins = names.iter().map(|name| {
            let own = free.next()?;
            Some((format!("{mark}{own}{mark}"), *name))
        });
        let stand_ins = stand_ins.collect::<Option<_>>()?;
        Some(Self { mark, stand_ins })
    }

    /// Puts the names back, and says where they stand.
    fn undo(&self, text: &str) -> (String, Vec<Range<usize>>) {
        let (mut out, mut ordinary) = (String::with_capacity(text.len()), Vec::new());
        let mut rest = text;
        while let Some(at) = rest.find(self.mark) {
            out.push_str(&rest[..at]);
            let tail = &rest[at..];
            let mut all = self.stand_ins.iter();
            if let Some((stand_in, name)) = all.find(|(s, _)| tail.starts_with(s)) {
                ordinary.push(out.len()..out.len() + name.len());
                out.push_str(name);
                rest = &tail[stand_in.len()..];
            } else {
                // The template cut a stand-in apart.
                rest = &tail[self.mark.len_utf8()..];
            }
        }
        out.push_str(rest);
        (out, ordinary)
    }
}

impl Visit for Guard<'_> {
    fn take(&mut self, text: &mut String) {
        for (stand_in, name) in &self.stand_ins {
            if text.contains(name) {
                *text = text.replace(name, stand_in);
            }
        }
    }
}
