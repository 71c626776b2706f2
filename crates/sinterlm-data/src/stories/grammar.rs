//! The template language of the stories and the surface rules of English: capitals, a/an, spacing.
//!
//! | written | read as |
//! | --- | --- |
//! | `{a\|b\|c}` | one of the alternatives, which nest |
//! | `[a]` | `a` or nothing, evenly |
//! | `<h>` `<h.his>` `<h.said>` | a character by name, pronoun, speech tag |
//! | `<toy>` | a value of the world |
//! | `<?glad>` | a shared phrase of `phrases` |
//! | `<!key=text>` | sets a value, writes nothing |
//! | `<if key:text>` `<no key:text>` | `text` where the value is set, or is not |
//! | `^` | a new paragraph |
//!
//! What cannot be read stays in the text as it stands, where the tests find it.

use super::phrases;
use super::world::{Realm, World, chance, index, one};
use sinterlm_config::KeyRng;

/// Renders templates against a world, which they may change.
#[derive(Debug)]
pub(super) struct Teller<'a> {
    rng: &'a mut KeyRng,
    world: World,
    /// Who was named last: a pronoun in a speech tag can only mean this one.
    focus: Option<usize>,
    /// Who of the cast is known to the reader.
    is_known: Vec<bool>,
    /// Whether a value is being set, whose text stands elsewhere than where it is rendered.
    is_aside: bool,
}

impl<'a> Teller<'a> {
    pub(super) fn new(rng: &'a mut KeyRng, world: World) -> Self {
        let is_known = vec![false; world.cast.len()];
        Self {
            rng,
            world,
            focus: None,
            is_known,
            is_aside: false,
        }
    }

    /// The story `template` tells, as finished text.
    pub(super) fn tell(&mut self, template: &'static str) -> String {
        let mut raw = String::with_capacity(2048);
        self.render(template, &mut raw);
        fix_articles(&fix_plurals(&polish(&raw)))
    }

    fn render(&mut self, template: &'static str, out: &mut String) {
        let mut rest = template;
        while let Some(at) = rest.find(['{', '[', '<']) {
            out.push_str(&rest[..at]);
            let Some(end) = closing(&rest[at..]) else {
                out.push_str(&rest[at..]);
                return;
            };
            let inner = &rest[at + 1..at + end];
            match rest.as_bytes()[at] {
                b'{' => {
                    let options = alternatives(inner);
                    let chosen = options[index(self.rng, options.len())];
                    self.render(chosen, out);
                }
                b'[' => {
                    if chance(self.rng, 0.5) {
                        self.render(inner, out);
                    }
                }
                _ => self.resolve(inner, out),
            }
            rest = &rest[at + end + 1..];
        }
        out.push_str(rest);
    }

    /// Reads what stands between `<` and `>`.
    fn resolve(&mut self, inner: &'static str, out: &mut String) {
        let split = |mark, sign| {
            inner
                .strip_prefix(mark)
                .and_then(|text: &str| text.split_once(sign))
        };
        if let Some((key, value)) = split("!", '=') {
            let mut text = String::new();
            let before = (
                self.focus.take(),
                std::mem::replace(&mut self.is_aside, true),
            );
            self.render(value, &mut text);
            (self.focus, self.is_aside) = before;
            self.world.set(key, text.trim());
        } else if let Some((key, text)) = split("if ", ':') {
            if self.world.slot(key).is_some() {
                self.render(text, out);
            }
        } else if let Some((key, text)) = split("no ", ':') {
            if self.world.slot(key).is_none() {
                self.render(text, out);
            }
        } else {
            let name = inner.trim_start_matches('?');
            let is_capital = name.starts_with(|first: char| first.is_ascii_uppercase());
            let mut text = String::new();
            let is_known = if is_capital {
                self.look_up(&inner.to_ascii_lowercase(), &mut text)
            } else {
                self.look_up(inner, &mut text)
            };
            if !is_known {
                text = format!("<{inner}>");
            }
            let first = text.trim_start().chars().next().filter(|_| is_capital);
            if let Some(first) = first {
                out.push(first.to_ascii_uppercase());
                out.push_str(&text.trim_start()[first.len_utf8()..]);
            } else {
                out.push_str(&text);
            }
        }
    }

    /// Writes a shared phrase, a value of the world or a character; false where `name` is none.
    fn look_up(&mut self, name: &str, out: &mut String) -> bool {
        if let Some(name) = name.strip_prefix('?') {
            let Some(list) = phrases::phrase(name) else {
                return false;
            };
            let options = alternatives(list);
            let chosen = options[index(self.rng, options.len())];
            self.render(chosen.trim(), out);
            return true;
        }
        if let Some(value) = self.world.slot(name) {
            out.push_str(value);
            return true;
        }
        self.speak_of(name, out)
    }

    /// Writes a character as `role` or `role.form`; false where there is no such role or form.
    fn speak_of(&mut self, inner: &str, out: &mut String) -> bool {
        let (role, form) = inner.split_once('.').unwrap_or((inner, "name"));
        let Some(at) = self.world.role(role) else {
            return false;
        };
        let is_first = self.introduces(at, form, out);
        let character = &self.world.cast[at];
        let before = self.focus;
        self.focus = Some(at);
        let lower = form.to_ascii_lowercase();
        if let Some(pronoun) = character.pronoun.form(&lower) {
            let is_capital = form.starts_with('H');
            let mut letters = pronoun.chars();
            out.extend(letters.next().map(|c| {
                if is_capital {
                    c.to_ascii_uppercase()
                } else {
                    c
                }
            }));
            out.push_str(letters.as_str());
            return true;
        }
        match form {
            "name" | "full" if is_first => out.push_str(&self.introduction(at)),
            "kind" => out.push_str(&character.kind),
            "went" => out.push_str(character.went),
            "hands" => out.push_str(character.hands),
            "full" if self.world.slot("wild").is_some() => {
                out.push_str(&character.name);
                out.push_str(" the ");
                out.push_str(&character.kind);
            }
            "name" | "plain" | "full" => out.push_str(&character.name),
            "intro" => {
                out.push_str(&self.intro(at));
            }
            _ => {
                let Some(verbs) = phrases::speech(form) else {
                    return false;
                };
                let tag = self.tag(at, verbs, before == Some(at) && !is_first, is_first);
                out.push_str(&tag);
            }
        }
        true
    }

    /// Whether writing `form` to `out` is the first the reader hears of the one at `at`.
    ///
    /// Speakers within a quote use plain names.
    fn introduces(&mut self, at: usize, form: &str, out: &str) -> bool {
        let is_naming = matches!(form, "name" | "full" | "intro");
        let is_quoted = out.matches('"').count() % 2 == 1;
        if form == "plain" {
            self.is_known[at] = true;
        }
        if self.is_aside || is_quoted || !(is_naming || phrases::speech(form).is_some()) {
            return false;
        }
        !std::mem::replace(&mut self.is_known[at], true)
    }

    /// How someone comes into the story unannounced: *her cousin Mia*, *Pip the mole*, *an old hen*.
    fn introduction(&self, at: usize) -> String {
        let character = &self.world.cast[at];
        match (character.role, self.world.realm) {
            ("h", Realm::Town) => character.name.clone(),
            ("h" | "f" | "r", Realm::Wild) => format!("{} the {}", character.name, character.kind),
            _ => self.intro(at),
        }
    }

    fn intro(&self, at: usize) -> String {
        let owner = self.world.cast[0].pronoun.form("his").unwrap_or_default();
        self.world.cast[at].intro.replace("<h.his>", owner)
    }

    /// A speech tag: *said Tom softly*, *Tom said*, or *he said* where *he* is plain.
    fn tag(&mut self, at: usize, verbs: &str, is_in_focus: bool, is_first: bool) -> String {
        let row = one(self.rng, verbs);
        let (verb, tail) = row
            .split_once(' ')
            .map_or((row, ""), |(verb, tail)| (verb, tail));
        let character = &self.world.cast[at];
        let name = if is_first {
            self.introduction(at)
        } else {
            character.name.clone()
        };
        if is_in_focus && chance(self.rng, 0.6) {
            let he = character.pronoun.form("he").unwrap_or_default();
            let his = character.pronoun.form("his").unwrap_or_default();
            return format!("{he} {verb} {tail}")
                .replace("HIS", his)
                .trim_end()
                .to_owned();
        }
        let his = character.pronoun.form("his").unwrap_or_default();
        let text = if chance(self.rng, 0.6) {
            format!("{verb} {name} {tail}")
        } else {
            format!("{name} {verb} {tail}")
        };
        text.replace("HIS", his).trim_end().to_owned()
    }
}

/// Offset of the bracket that closes the one `text` starts with.
pub(super) fn closing(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' | b'[' | b'<' => depth += 1,
            b'}' | b']' | b'>' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// Splits at each `|` outside all brackets.
fn alternatives(text: &'static str) -> Vec<&'static str> {
    let mut parts = Vec::with_capacity(8);
    let (mut depth, mut start) = (0i32, 0usize);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' | b'[' | b'<' => depth += 1,
            b'}' | b']' | b'>' => depth -= 1,
            b'|' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Single spaces, none before punctuation, a capital after each full stop and at each beginning.
///
/// After `!"` or `?"` a sentence may go on, so there the capital is the template's business.
fn polish(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let (mut is_start, mut is_quote, mut is_spaced) = (true, false, false);
    for letter in raw.replace("...", "\u{2026}").chars() {
        match letter {
            '\u{2026}' => {
                is_start = !opens_quote(&out, is_quote);
                out.push_str(if is_spaced && !out.ends_with('"') {
                    " ..."
                } else {
                    "..."
                });
                is_spaced = false;
            }
            ' ' | '\n' => is_spaced = true,
            '^' => {
                if !out.is_empty() && !out.ends_with('\n') {
                    out.push_str("\n\n");
                }
                (is_start, is_spaced) = (true, false);
            }
            ',' | '.' | '!' | '?' | ';' | ':' => {
                // A phrase that ends in its own stop may stand where the template has one too.
                let is_double = out.ends_with(['.', '!', '?', ',']);
                if !is_double {
                    out.push(letter);
                }
                is_start = is_start || matches!(letter, '.' | '!' | '?');
                is_spaced = false;
            }
            '"' if is_quote => {
                is_start = out.ends_with('.');
                out.push(letter);
                (is_quote, is_spaced) = (false, false);
            }
            _ => {
                if is_spaced
                    && !out.is_empty()
                    && !out.ends_with('\n')
                    && !opens_quote(&out, is_quote)
                {
                    out.push(' ');
                }
                is_spaced = false;
                if letter == '"' {
                    is_quote = true;
                    out.push(letter);
                } else if is_start {
                    out.extend(letter.to_uppercase());
                    is_start = false;
                } else {
                    out.push(letter);
                }
            }
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// Whether `out` ends in the quote that was just opened.
fn opens_quote(out: &str, is_quote: bool) -> bool {
    is_quote && out.ends_with('"')
}

/// Mends the plurals that templates make by adding an *s*.
fn fix_plurals(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for piece in text.split_inclusive(|c: char| !c.is_ascii_alphabetic()) {
        let word = piece.trim_end_matches(|c: char| !c.is_ascii_alphabetic());
        let stem = word.strip_suffix('s').unwrap_or_default();
        let stem_bytes = stem.as_bytes();
        let is_consonant_y = stem.ends_with('y')
            && stem_bytes.len() > 2
            && !b"aeou".contains(&stem_bytes[stem_bytes.len() - 2]);
        let mended = match stem {
            "mouse" => "mice".to_owned(),
            "deer" | "fish" => stem.to_owned(),
            "leaf" | "calf" => format!("{}ves", &stem[..stem.len() - 1]),
            _ if is_consonant_y => format!("{}ies", &stem[..stem.len() - 1]),
            _ if stem.ends_with("ch") || stem.ends_with('x') => format!("{stem}es"),
            _ => word.to_owned(),
        };
        out.push_str(&mended);
        out.push_str(&piece[word.len()..]);
    }
    out
}

/// Makes each *a* or *an* fit the word behind it.
fn fix_articles(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut words = text.split(' ').peekable();
    while let Some(word) = words.next() {
        let head = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let (head, article) = word.split_at(head.len());
        match (article, words.peek()) {
            ("a" | "an", Some(next)) => {
                out.push_str(head);
                out.push_str(if wants_an(next) { "an" } else { "a" });
            }
            ("A" | "An", Some(next)) => {
                out.push_str(head);
                out.push_str(if wants_an(next) { "An" } else { "A" });
            }
            _ => out.push_str(word),
        }
        if words.peek().is_some() {
            out.push(' ');
        }
    }
    out
}

/// Whether `word` starts with a vowel sound.
fn wants_an(word: &str) -> bool {
    let word = word
        .trim_start_matches(|c: char| !c.is_ascii_alphabetic())
        .to_ascii_lowercase();
    if ["uni", "use", "one", "once", "eu", "ukulele"]
        .iter()
        .any(|start| word.starts_with(start))
    {
        return false;
    }
    word.starts_with(['a', 'e', 'i', 'o', 'u'])
        || word.starts_with("hour")
        || word.starts_with("honest")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn articles_follow_the_sound() {
        let text = "A apple, an pear, a honest unicorn, an unicorn and \"a hour\" a one";
        let want = "An apple, a pear, an honest unicorn, a unicorn and \"an hour\" a one";
        assert_eq!(fix_articles(text), want);
    }

    #[test]
    fn plurals_follow_the_stem() {
        let text = "berrys, toys and mouses; finchs (foxs) leafs always.";
        assert_eq!(
            fix_plurals(text),
            "berries, toys and mice; finches (foxes) leaves always."
        );
    }

    #[test]
    fn polish_sets_capitals_and_spaces() {
        let raw =
            " the fox ran . \"stop!\" said <x>,  \"it is late.\" he  stopped.^ \"no,\" he said .";
        let want =
            "The fox ran. \"Stop!\" said <x>, \"it is late.\" He stopped.\n\n\"No,\" he said.";
        assert_eq!(polish(raw), want);
    }

    #[test]
    fn alternatives_split_only_outside_brackets() {
        assert_eq!(alternatives("a|{b|c}|[d|e]"), ["a", "{b|c}", "[d|e]"]);
        assert_eq!(closing("{a{b}c}d"), Some(6));
        assert_eq!(closing("{a"), None);
    }
}
