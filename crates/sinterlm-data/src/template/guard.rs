//! Special tokens' names in messages: they are text, and no template may turn them into tokens.

use super::fields::{Json, JsonMap};
use super::{ChatMessage, Rendered};

/// Walks through all texts of messages, those of further fields included.
pub(super) trait Visit {
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
pub(super) struct TextsOf(pub(super) String);

impl Visit for TextsOf {
    fn take(&mut self, text: &mut String) {
        self.0.push_str(text);
        self.0.push('\n'); // no name across two texts
    }
}

/// Placeholders for names: private-use characters that no message holds, a mark, the name's own, the
/// mark.
pub(super) struct Guard<'a> {
    mark: char,
    stand_ins: Vec<(String, &'a str)>,
}

impl<'a> Guard<'a> {
    /// Guards against `names`, the longest first, in messages whose texts are `texts`.
    pub(super) fn new(names: &[&'a str], texts: &str) -> Self {
        let full = "a text does not hold 65,000 kinds of private-use characters";
        let mut private = ('\u{100000}'..='\u{10fffd}').filter(|c| !texts.contains(*c));
        let mark = private.next().expect(full);
        let stand_in = |name: &&'a str| {
            let own = private.next().expect(full);
            (format!("{mark}{own}{mark}"), *name)
        };
        Self {
            mark,
            stand_ins: names.iter().map(stand_in).collect(),
        }
    }

    /// Puts the names back, and says where they stand.
    pub(super) fn undo(&self, text: &str) -> Rendered {
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
        Rendered {
            text: out,
            ordinary,
        }
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
