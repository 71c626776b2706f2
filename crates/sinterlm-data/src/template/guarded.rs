//! Rendering that keeps special tokens' names in messages apart from the template's special tokens.

use std::ops::Range;

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
    /// Renders with special tokens' names in messages replaced by placeholders, and puts them back.
    pub(crate) fn render_guarded(
        &self,
        messages: &[ChatMessage],
        generation_prompt: bool,
        tokenizer: &Tokenizer,
    ) -> Result<Rendered, DataError> {
        let names: Vec<&str> = tokenizer.special_names().collect();
        let holds = |message: &ChatMessage| names.iter().any(|name| message.content.contains(name));
        if !messages.iter().any(holds) {
            let Marked { text, marks } = self.render_marked(messages, generation_prompt)?;
            return Ok(Rendered {
                text,
                ordinary: Vec::new(),
                marks: in_order(marks),
            });
        }
        // Private-use characters that no message holds: a mark, the number, the mark.
        let used = |c: char| messages.iter().any(|message| message.content.contains(c));
        let mut private = ('\u{100000}'..='\u{10fffd}').filter(|c| !used(*c));
        let full = "a text does not hold 65,000 kinds of private-use characters";
        let mark = private.next().expect(full);
        let mut guarded = messages.to_vec();
        let mut stand_ins = Vec::new();
        for name in names {
            let stand_in = format!("{mark}{}{mark}", private.next().expect(full));
            for message in &mut guarded {
                message.content = message.content.replace(name, &stand_in);
            }
            stand_ins.push((stand_in, name));
        }
        let Marked { text, marks } = self.render_marked(&guarded, generation_prompt)?;
        let (mut out, mut ordinary) = (String::with_capacity(text.len()), Vec::new());
        // Places behind which the text became longer or shorter: before and after.
        let mut moved = vec![(0, 0)];
        let mut rest = text.as_str();
        while let Some(at) = rest.find(mark) {
            out.push_str(&rest[..at]);
            let tail = &rest[at..];
            if let Some((stand_in, name)) = stand_ins.iter().find(|(s, _)| tail.starts_with(s)) {
                ordinary.push(out.len()..out.len() + name.len());
                out.push_str(name);
                rest = &tail[stand_in.len()..];
            } else {
                // The template cut a stand-in apart.
                rest = &tail[mark.len_utf8()..];
            }
            moved.push((text.len() - rest.len(), out.len()));
        }
        out.push_str(rest);
        let place = |at: usize| {
            let (from, to) = moved[moved.partition_point(|(from, _)| *from <= at) - 1];
            to + at - from
        };
        let marks = in_order(marks).into_iter();
        let marks = marks
            .map(|mark| place(mark.start)..place(mark.end))
            .collect();
        Ok(Rendered {
            text: out,
            ordinary,
            marks,
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
