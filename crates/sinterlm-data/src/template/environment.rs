//! Jinja as Hugging Face sets it up: block trimming, Python's string methods and spellings, and the
//! functions that templates call.

use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value};

use super::json;

/// The one template of an environment.
pub(super) const NAME: &str = "chat_template";

/// Instructions that a template may take: published ones take thousands for a conversation.
const FUEL: u64 = 50_000_000;

/// An environment that holds `source`.
pub(super) fn with_template(source: &str) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_fuel(Some(FUEL));
    environment.set_formatter(write_like_python);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_filter("tojson", json::tojson);
    environment.add_function("raise_exception", |message: String| {
        Err::<Value, _>(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_template_owned(NAME, without_generation_tags(source))?;
    Ok(environment)
}

/// Python prints `True`, `False` and `None`.
fn write_like_python(out: &mut Output, state: &State, value: &Value) -> Result<(), Error> {
    if value.is_none() {
        return Ok(out.write_str("None")?);
    }
    if value.kind() == ValueKind::Bool {
        return Ok(out.write_str(if value.is_true() { "True" } else { "False" })?);
    }
    minijinja::escape_formatter(out, state, value)
}

/// `{% generation %}` marks what an assistant writes and prints nothing: here a block that is
/// always taken, as Jinja has no such tag.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(open) = rest.find("{%") {
        let Some(len) = rest[open..].find("%}") else {
            break;
        };
        let tag = &rest[open + 2..open + len];
        out.push_str(&rest[..open + 2]);
        let word = tag.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        match word {
            "generation" => out.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => out.push_str(&tag.replace("endgeneration", "endif")),
            _ => out.push_str(tag),
        }
        out.push_str("%}");
        rest = &rest[open + len + 2..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_tags_become_blocks_and_nothing_else_changes() {
        let source = "a {%- generation -%} {{ generation }} {% endgeneration %}{% if x %}{% b";
        assert_eq!(
            without_generation_tags(source),
            "a {%- if true -%} {{ generation }} {% endif %}{% if x %}{% b"
        );
    }
}
