//! What a Rust file imports: each path of its `use` lines, and paths from `crate`, `super` or `self`
//! that stand in its code. Which files the paths lead to is told by `modules`.

use super::rust_text::is_word;

/// A path to an item of the same crate or of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Import {
    /// Such as `super`, `native`, `Spec`; the last part of a glob is `*`.
    pub(super) path: Vec<String>,
    /// The name that a `use` gives it.
    pub(super) name: Option<String>,
    /// Whether the `use` passes it on, as `pub use` and `pub(crate) use` do.
    pub(super) is_public: bool,
}

/// The imports of code without comments, literals and tests, in their order.
pub(super) fn imports(code: &str) -> Vec<Import> {
    let tokens = tokens(code);
    let mut imports = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let (token, next) = (tokens[at], tokens.get(at + 1).copied());
        // `use<'a>` lists what a returned type captures.
        if token == "use" && next != Some("<") {
            let is_public = is_public(&tokens[..at]);
            let mut paths = Vec::new();
            at = use_tree(&tokens, at + 1, &[], &mut paths);
            imports.extend(paths.into_iter().map(|(path, name)| Import {
                path,
                name: Some(name),
                is_public,
            }));
        } else if matches!(token, "crate" | "super" | "self") && next == Some("::") {
            let mut path = vec![token.to_owned()];
            at += 1;
            while tokens.get(at) == Some(&"::") && tokens.get(at + 1).is_some_and(|t| is_name(t)) {
                path.push(tokens[at + 1].to_owned());
                at += 2;
            }
            imports.push(Import {
                path,
                name: None,
                is_public: false,
            });
        } else {
            at += 1;
        }
    }
    imports
}

/// Names of the modules that code declares as files of their own, `mod NAME;`.
pub(super) fn declared_modules(code: &str) -> Vec<String> {
    let tokens = tokens(code);
    let declared = tokens.windows(3).filter(|w| w[0] == "mod" && w[2] == ";");
    declared.map(|w| w[1].to_owned()).collect()
}

/// Reads one tree of a `use` up to the sign behind it, and returns that sign's place.
fn use_tree(
    tokens: &[&str],
    mut at: usize,
    before: &[String],
    paths: &mut Vec<(Vec<String>, String)>,
) -> usize {
    let mut path = before.to_vec();
    loop {
        match tokens.get(at).copied() {
            Some("::") => at += 1,
            Some("{") => {
                while !matches!(tokens.get(at), None | Some(&"}")) {
                    at = use_tree(tokens, at + 1, &path, paths);
                }
                return at + 1;
            }
            Some("self") if !path.is_empty() => at += 1, // `a::{self}` is `a`
            Some(part) if part == "*" || is_name(part) => {
                path.push(part.to_owned());
                at += 1;
            }
            _ => break,
        }
        if tokens.get(at) == Some(&"as") {
            let name = tokens.get(at + 1).copied().unwrap_or_default().to_owned();
            paths.push((path, name));
            return at + 2;
        }
    }
    if path.len() > before.len() || tokens[at - 1] == "self" {
        let name = path.last().cloned().unwrap_or_default();
        paths.push((path, name));
    }
    at
}

/// Whether the tokens end in `pub` or `pub(...)`.
fn is_public(tokens: &[&str]) -> bool {
    match tokens.last() {
        Some(&"pub") => true,
        Some(&")") => {
            let open = tokens.iter().rposition(|&token| token == "(");
            open.is_some_and(|open| open > 0 && tokens[open - 1] == "pub")
        }
        _ => false,
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(is_word)
}

/// Words, `::`, and every other sign by itself.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let end = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        tokens.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(code: &str) -> Vec<String> {
        let shown = |import: Import| {
            let mark = if import.is_public { "pub " } else { "" };
            let name = import
                .name
                .map_or(String::new(), |name| format!(" = {name}"));
            format!("{mark}{}{name}", import.path.join("::"))
        };
        imports(code).into_iter().map(shown).collect()
    }

    #[test]
    fn trees_of_use_are_taken_apart() {
        let code = "use a::{self, b::{C, D as E}, f::*};\npub(crate) use super::g; pub use h;";
        let expected = [
            "a = a",
            "a::b::C = C",
            "a::b::D = E",
            "a::f::* = *",
            "pub super::g = g",
            "pub h = h",
        ];
        assert_eq!(found(code), expected);
    }

    #[test]
    fn paths_in_code_count_where_they_begin_in_the_crate() {
        let code = "pub(crate) fn f(x: crate::a::B<self::C>) -> impl D + use<'_> { super::super::e::<F>(self.x, std::g()) }";
        assert_eq!(found(code), ["crate::a::B", "self::C", "super::super::e"]);
    }

    #[test]
    fn modules_in_files_of_their_own_are_found() {
        assert_eq!(
            declared_modules("pub mod a; mod b { mod c; } fn mod_d() {}"),
            ["a", "c"]
        );
    }
}
