//! Which parameters of a model are meant: one notation for freezing, groups of the optimizer and
//! adapters' targets.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::nearest;

use crate::error::ModelError;
use crate::folder::published_names;

/// Patterns that name parameters or whole modules; a parameter is selected if one of them matches.
///
/// A pattern is one or more segments of a path, joined by dots: `blocks.0`, `attn.q`, `wte`, `bias`.
/// It matches wherever these segments follow each other in the parameter's path, with or without the
/// path of a wrapper around the model. `*` stands for any characters within a segment, `?` for one,
/// and the segment `**` for any number of segments. Names of published models count as well:
/// `q_proj`, `c_attn` (which is q, k and v), `model.layers.0`, `lm_head` (which is the embedding in a
/// model whose head is tied).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Selection(pub Vec<String>);

impl Selection {
    /// Selects by these patterns.
    pub fn new<S: Into<String>>(patterns: impl IntoIterator<Item = S>) -> Self {
        Self(patterns.into_iter().map(Into::into).collect())
    }

    /// Whether there is no pattern, so that nothing is selected.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The selected ones among the paths of all parameters of a model.
    ///
    /// # Errors
    /// [`ModelError::NothingSelected`] for a pattern that matches no path.
    ///
    /// # Example
    /// ```
    /// use sinterlm_model::Selection;
    ///
    /// let paths = ["wte.weight", "blocks.0.attn.q.weight", "blocks.0.mlp.up.weight"];
    /// let selected = Selection::new(["q_proj"]).resolve(&paths).unwrap();
    /// assert!(selected.into_iter().eq(["blocks.0.attn.q.weight"]));
    /// let error = Selection::new(["q_prj"]).resolve(&paths).unwrap_err();
    /// assert!(error.to_string().contains("did you mean `q_proj`?"));
    /// ```
    pub fn resolve<S: AsRef<str>>(&self, paths: &[S]) -> Result<BTreeSet<String>, ModelError> {
        let named: Vec<(&str, Vec<String>)> = paths
            .iter()
            .map(|path| (path.as_ref(), names(path.as_ref(), paths)))
            .collect();
        let mut selected = BTreeSet::new();
        for pattern in &self.0 {
            let matching = named
                .iter()
                .filter(|(_, names)| names.iter().any(|name| matches(pattern, name)))
                .map(|(path, _)| (*path).to_owned());
            let mut matching = matching.peekable();
            if matching.peek().is_none() {
                return Err(unknown(pattern, &named));
            }
            selected.extend(matching);
        }
        Ok(selected)
    }
}

/// All names of the parameter at `path`, its own first.
fn names<S: AsRef<str>>(path: &str, all: &[S]) -> Vec<String> {
    let mut names = vec![path.to_owned()];
    let (prefix, core) = core_of(path);
    match core.split_once(".deltas.") {
        // A delta goes with its layer.
        Some((layer, delta)) => {
            let published = published_names(&format!("{layer}.weight"));
            let layers = published
                .iter()
                .filter_map(|name| name.strip_suffix(".weight"));
            names.extend(layers.map(|layer| format!("{layer}.deltas.{delta}")));
        }
        None => names.extend(published_names(core)),
    }
    // A tied head is no parameter of its own.
    let head = format!("{prefix}head.weight");
    if core == "wte.weight" && !all.iter().any(|path| path.as_ref() == head) {
        names.extend(published_names("head.weight"));
        names.push(head);
    }
    names
}

/// The path of a wrapper, with its dot, and the path within the decoder.
fn core_of(path: &str) -> (&str, &str) {
    const ROOTS: [&str; 5] = ["wte", "wpe", "blocks", "norm", "head"];
    let mut at = 0;
    for segment in path.split('.') {
        if ROOTS.contains(&segment) {
            return path.split_at(at);
        }
        at += segment.len() + 1;
    }
    ("", path)
}

fn matches(pattern: &str, name: &str) -> bool {
    let mut pattern: Vec<&str> = pattern.split('.').collect();
    pattern.dedup_by(|a, b| *a == "**" && *b == "**");
    let name: Vec<&str> = name.split('.').collect();
    (0..name.len()).any(|start| begins(&pattern, &name[start..]))
}

/// Whether `name` begins with segments that match the pattern's.
fn begins(pattern: &[&str], name: &[&str]) -> bool {
    match pattern.split_first() {
        None => true,
        Some((&"**", rest)) => (0..=name.len()).any(|skipped| begins(rest, &name[skipped..])),
        Some((segment, rest)) => name.split_first().is_some_and(|(first, behind)| {
            fits(segment.as_bytes(), first.as_bytes()) && begins(rest, behind)
        }),
    }
}

/// `*` and `?` within a segment: on a mismatch, the last `*` takes one character more.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(expected) if *expected == b'?' || *expected == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((at, taken)) = star else {
                    return false;
                };
                star = Some((at, taken + 1));
                (p, t) = (at + 1, taken + 1);
            }
        }
    }
    pattern[p..].iter().all(|left| *left == b'*')
}

/// The fault of a pattern that matches nothing, with the nearest name as long as itself.
fn unknown(pattern: &str, named: &[(&str, Vec<String>)]) -> ModelError {
    let length = pattern.split('.').count();
    let mut known = BTreeSet::new();
    for name in named.iter().flat_map(|(_, names)| names) {
        let segments: Vec<&str> = name.split('.').collect();
        known.extend(segments.windows(length).map(|window| window.join(".")));
    }
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    ModelError::NothingSelected {
        pattern: pattern.to_owned(),
        nearest: nearest(pattern, &known).map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATHS: [&str; 12] = [
        "wte.weight",
        "blocks.0.norm_1.weight",
        "blocks.0.attn.q.weight",
        "blocks.0.attn.q.bias",
        "blocks.0.attn.k.weight",
        "blocks.0.attn.v.weight",
        "blocks.0.attn.out.weight",
        "blocks.0.mlp.up.weight",
        "blocks.1.mlp.up.weight",
        "blocks.10.mlp.up.weight",
        "blocks.10.mlp.down.weight",
        "norm.weight",
    ];

    fn selected(patterns: &[&str], paths: &[&str]) -> Vec<String> {
        let selection = Selection::new(patterns.iter().copied());
        selection.resolve(paths).unwrap().into_iter().collect()
    }

    #[test]
    fn a_pattern_matches_whole_segments_anywhere_in_a_path() {
        for (pattern, expected) in [
            ("blocks.1", &["blocks.1.mlp.up.weight"][..]),
            (
                "blocks.1*.mlp.up",
                &["blocks.1.mlp.up.weight", "blocks.10.mlp.up.weight"],
            ),
            (
                "blocks.1?",
                &["blocks.10.mlp.down.weight", "blocks.10.mlp.up.weight"],
            ),
            ("bias", &["blocks.0.attn.q.bias"]),
            ("norm", &["norm.weight"]),
            ("norm*", &["blocks.0.norm_1.weight", "norm.weight"]),
            ("blocks.**.down", &["blocks.10.mlp.down.weight"]),
            ("attn.q.weight", &["blocks.0.attn.q.weight"]),
        ] {
            assert_eq!(selected(&[pattern], &PATHS), expected, "{pattern}");
        }
        assert_eq!(
            selected(&["blocks", "norm", "wte"], &PATHS).len(),
            PATHS.len()
        );
        assert!(selected(&[], &PATHS).is_empty());
    }

    #[test]
    fn names_of_published_models_and_of_wrappers_count() {
        let wrapped = PATHS.map(|path| format!("lm.{path}"));
        let wrapped: Vec<&str> = wrapped.iter().map(String::as_str).collect();
        for pattern in [
            "blocks.0.attn.q",
            "lm.blocks.0.attn.q",
            "q_proj",
            "model.layers.0.self_attn.q_proj",
        ] {
            let expected = ["lm.blocks.0.attn.q.bias", "lm.blocks.0.attn.q.weight"];
            assert_eq!(selected(&[pattern], &wrapped), expected, "{pattern}");
        }
        assert_eq!(selected(&["c_attn"], &PATHS).len(), 4);
        assert_eq!(
            selected(&["attn.c_proj"], &PATHS),
            ["blocks.0.attn.out.weight"]
        );
        assert_eq!(selected(&["h.10.mlp"], &PATHS).len(), 2);
    }

    #[test]
    fn a_delta_goes_with_its_layer() {
        let paths = [
            "blocks.0.attn.q.weight",
            "blocks.0.attn.q.deltas.0.lora_a",
            "blocks.1.attn.k.deltas.0.lora_b",
        ];
        for pattern in ["attn.q", "q_proj", "model.layers.0", "h.0"] {
            assert_eq!(selected(&[pattern], &paths).len(), 2, "{pattern}");
        }
        assert_eq!(selected(&["deltas"], &paths).len(), 2);
    }

    #[test]
    fn many_wildcards_end_soon() {
        let long = "a".repeat(200);
        assert!(!matches(&format!("{}b", "a*".repeat(50)), &long));
        assert!(matches(&"a*".repeat(50), &long));
        let deep = ["x"; 12].join(".");
        assert!(!matches(&format!("{}y", "**.".repeat(40)), &deep));
        assert!(fits(b"*q*", b"attn_q_proj") && !fits(b"?q", b"q"));
    }

    #[test]
    fn the_head_is_the_embedding_where_it_is_tied() {
        for pattern in ["lm_head", "head"] {
            assert_eq!(selected(&[pattern], &PATHS), ["wte.weight"]);
            let untied = ["wte.weight", "head.weight"];
            assert_eq!(selected(&[pattern], &untied), ["head.weight"]);
        }
    }

    #[test]
    fn a_pattern_without_a_match_is_an_error_that_names_the_nearest() {
        for (pattern, nearest) in [
            ("blocks.2", Some("blocks.0")),
            ("atn.q", Some("attn.q")),
            ("embed_tokns", Some("embed_tokens")),
            ("xyzzy", None),
        ] {
            let error = Selection::new([pattern])
                .resolve(&PATHS)
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(&format!("`{pattern}` matches no parameter")),
                "{error}"
            );
            match nearest {
                Some(name) => assert!(
                    error.contains(&format!("did you mean `{name}`?")),
                    "{error}"
                ),
                None => assert!(!error.contains("did you mean"), "{error}"),
            }
        }
    }
}
