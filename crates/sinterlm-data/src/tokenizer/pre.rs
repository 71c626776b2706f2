//! How text is cut before tokens are merged: llama.cpp's names for the ways to cut, and their
//! patterns in `tokenizer.json` files. Byte-level vocabularies only.

use serde_json::{Value, json};

/// GPT-2's pattern, in `tokenizers` a part of the byte-level pre-tokenizer.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// DeepSeek V3's and V4's patterns.
const DEEPSEEK_V3: [&str; 3] = [
    r"\p{N}{1,3}",
    "[一-龥぀-ゟ゠-ヿ]+",
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##,
];
/// Patterns that leave nothing of a text between their matches.
const WHOLE: [&str; 5] = [GPT2, LLAMA3, QWEN2, TEKKEN, GPT4O];

/// A way to cut text. Patterns apply one after the other, each to the pieces of those before; what
/// lies between the matches of one are pieces, too.
#[derive(Debug)]
pub(super) struct Cut {
    /// Values of `tokenizer.ggml.pre`; the first is the one written.
    names: &'static [&'static str],
    pub(super) patterns: &'static [&'static str],
    /// A piece that is a token as it stands is taken, without merging.
    pub(super) ignores_merges: bool,
    /// Whether a text begins with its mark where the file does not say.
    pub(super) adds_bos: bool,
}

/// After llama.cpp's `llama-vocab.cpp`.
pub(super) const CUTS: [Cut; 10] = [
    Cut::new(
        &[
            "gpt-2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "exaone4",
        ],
        &[GPT2],
    ),
    Cut::new(
        &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
            "mellum2",
        ],
        &[r"\p{N}", GPT2],
    ),
    Cut {
        ignores_merges: true,
        adds_bos: true,
        ..Cut::new(
            &[
                "llama-bpe",
                "llama3",
                "llama-v3",
                "falcon3",
                "falcon-h1",
                "pixtral",
                "midm-2.0",
                "lfm2",
            ],
            &[LLAMA3],
        )
    },
    Cut::new(&["dbrx", "smaug-bpe", "glm4", "chatglm-bpe"], &[LLAMA3]),
    Cut::new(
        &[
            "qwen2",
            "deepseek-r1-qwen",
            "kormo",
            "f2llmv2",
            "megrez",
            "stablelm2",
            "hunyuan",
            "solar-open",
            "grok-2",
        ],
        &[QWEN2],
    ),
    Cut {
        ignores_merges: true,
        adds_bos: true,
        ..Cut::new(&["tekken"], &[TEKKEN])
    },
    Cut::new(&["gpt-4o", "llama4", "kanana2"], &[GPT4O]),
    Cut::new(&["deepseek-v3", "hunyuan-dense", "joyai-llm"], &DEEPSEEK_V3),
    Cut::new(
        &["falcon"],
        &[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
    ),
    Cut::new(
        &["default"],
        &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    ),
];

impl Cut {
    const fn new(names: &'static [&'static str], patterns: &'static [&'static str]) -> Self {
        Self {
            names,
            patterns,
            ignores_merges: false,
            adds_bos: false,
        }
    }

    /// The one with this name in a GGUF file.
    pub(super) fn named(name: &str) -> Result<&'static Self, String> {
        let found = CUTS.iter().find(|cut| cut.names.contains(&name));
        found.ok_or_else(|| {
            let known: Vec<&str> = CUTS.iter().flat_map(|cut| cut.names).copied().collect();
            let known = known.join(", ");
            format!("cuts text in a way that is not known, `tokenizer.ggml.pre` is {name:?}; known are {known}")
        })
    }

    /// llama.cpp's name for the pre-tokenizer of a `tokenizer.json`, or what it has none for.
    ///
    /// `merges_anyway` computes whether the vocabulary's ids are the same with and without
    /// `ignores_merges`; it is called where llama.cpp has the patterns only with the other setting.
    pub(super) fn name_of(
        json: &Value,
        ignores_merges: bool,
        merges_anyway: impl FnOnce() -> bool,
    ) -> Result<&'static str, String> {
        let patterns = patterns_of(json)?;
        let alike: Vec<&Cut> = CUTS.iter().filter(|cut| cut.patterns == patterns).collect();
        let exact = alike
            .iter()
            .find(|cut| cut.ignores_merges == ignores_merges);
        match (exact, alike.first()) {
            (Some(cut), _) => Ok(cut.names[0]),
            (None, Some(cut)) if merges_anyway() => Ok(cut.names[0]),
            (None, Some(cut)) => Err(format!(
                "llama.cpp knows its pre-tokenizer as {:?}, with `ignore_merges` {}, which changes what some tokens come of",
                cut.names[0], cut.ignores_merges
            )),
            (None, None) => Err(format!(
                "llama.cpp has no name for a pre-tokenizer with the patterns {patterns:?}"
            )),
        }
    }

    /// The pre-tokenizer as in a `tokenizer.json`.
    pub(super) fn to_json(&self) -> Value {
        let (patterns, use_regex) = match self.patterns {
            [before @ .., GPT2] => (before, true),
            all => (all, false),
        };
        let split = |pattern: &&str| {
            json!({ "type": "Split", "pattern": { "Regex": pattern },
                    "behavior": "Isolated", "invert": false })
        };
        let byte_level = json!({ "type": "ByteLevel", "add_prefix_space": false,
                                 "trim_offsets": true, "use_regex": use_regex });
        if patterns.is_empty() {
            return byte_level;
        }
        let mut parts: Vec<Value> = patterns.iter().map(split).collect();
        parts.push(byte_level);
        json!({ "type": "Sequence", "pretokenizers": parts })
    }
}

/// Whether a pre-tokenizer of a `tokenizer.json` always cuts in front of a space that something else
/// than white space stands before, and cuts the parts before and behind as if each were a whole text.
///
/// All known cuts do. None of their patterns matches a space behind something else; none looks at what
/// stands before a match, and behind one only `\s+(?!\S)` does, which ends in white space.
pub(super) fn cuts_at_spaces(json: &Value) -> bool {
    let parts = json["pretokenizers"].as_array();
    let parts = parts.map_or(std::slice::from_ref(json), Vec::as_slice);
    // Behind it no pattern sees a space.
    let Some((last, before)) = parts.split_last() else {
        return false;
    };
    last["type"] == "ByteLevel"
        && !before.iter().any(is_byte_level)
        && patterns_of(json).is_ok_and(|patterns| CUTS.iter().any(|cut| cut.patterns == patterns))
}

/// Whether a pre-tokenizer of a `tokenizer.json` makes bytes of the text.
pub(super) fn is_byte_level(json: &Value) -> bool {
    let parts = json["pretokenizers"].as_array();
    json["type"] == "ByteLevel" || parts.is_some_and(|parts| parts.iter().any(is_byte_level))
}

/// The patterns that a byte-level pre-tokenizer of a `tokenizer.json` stands for.
fn patterns_of(json: &Value) -> Result<Vec<String>, String> {
    let flag = |name: &str| json[name].as_bool().unwrap_or(false);
    let kind = json["type"].as_str().unwrap_or_default();
    let only = |pattern: &str| Ok(vec![pattern.to_owned()]);
    match kind {
        "Sequence" => {
            let parts = json["pretokenizers"].as_array().into_iter().flatten();
            let parts: Result<Vec<_>, _> = parts.map(patterns_of).collect();
            Ok(parts?.concat())
        }
        "ByteLevel" if flag("add_prefix_space") => {
            Err("llama.cpp has no byte-level vocabulary with a space before each text".to_owned())
        }
        "ByteLevel" if flag("use_regex") => only(GPT2),
        "ByteLevel" => Ok(Vec::new()),
        "Digits" if flag("individual_digits") => only(r"\p{N}"),
        "Digits" => only(r"\p{N}+"),
        "Split" => {
            let pattern = json["pattern"]["Regex"].as_str().ok_or_else(|| {
                "llama.cpp has no name for a pre-tokenizer that splits at a fixed text".to_owned()
            })?;
            // Some files spell line breaks in a pattern as what they are.
            let pattern = pattern.replace('\r', r"\r").replace('\n', r"\n");
            let isolates = json["behavior"] == "Isolated" && !flag("invert");
            // To take away all but the matches is the same where they are the whole text.
            let keeps = json["behavior"] == "Removed" && flag("invert");
            if isolates || (keeps && WHOLE.contains(&pattern.as_str())) {
                Ok(vec![pattern])
            } else {
                let behavior = &json["behavior"];
                Err(format!(
                    "llama.cpp has no name for a pre-tokenizer that splits with behavior {behavior}"
                ))
            }
        }
        _ => Err(format!(
            "llama.cpp has no name for the pre-tokenizer {kind}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use tokenizers::{
        OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, PreTokenizerWrapper,
    };

    use super::*;

    #[test]
    fn each_cut_is_known_by_its_own_json() {
        for cut in &CUTS {
            let found = Cut::name_of(&cut.to_json(), cut.ignores_merges, || false);
            assert_eq!(found.unwrap(), cut.names[0]);
            for name in cut.names {
                assert_eq!(Cut::named(name).unwrap().names, cut.names, "one place only");
            }
        }
    }

    #[test]
    fn each_cut_parts_words_numbers_and_marks_in_its_own_way() {
        for (name, expected) in [
            ("gpt-2", "HelloWorld|12345| it|'s|\n\n| end"),
            ("smollm", "HelloWorld|1|2|3|4|5| it|'s|\n\n| end"),
            ("llama-bpe", "HelloWorld|123|45| it|'s|\n\n| end"),
            ("qwen2", "HelloWorld|1|2|3|4|5| it|'s|\n\n| end"),
            ("tekken", "Hello|World|1|2|3|4|5| it|'s|\n\n| end"),
            ("gpt-4o", "Hello|World|123|45| it's|\n\n| end"),
            ("deepseek-v3", "HelloWorld|123|45| it|'s|\n\n| end"),
            ("falcon", "HelloWorld|123|45| it|'|s|\n\n| end"),
            ("default", "HelloWorld|123|45| it|'|s|\n\n| end"),
        ] {
            let cut = Cut::named(name).unwrap().to_json();
            let cut: PreTokenizerWrapper = serde_json::from_value(cut).unwrap();
            let text = "HelloWorld12345 it's\n\n end";
            let mut pieces = PreTokenizedString::from(text);
            cut.pre_tokenize(&mut pieces).unwrap();
            let pieces = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte);
            let pieces: Vec<&str> = pieces.iter().map(|(_, at, _)| &text[at.0..at.1]).collect();
            assert_eq!(pieces.join("|"), expected, "{name}");
        }
    }

    #[test]
    fn spellings_of_one_cut_have_one_name() {
        let published = json!({ "type": "Sequence", "pretokenizers": [
            { "type": "Digits", "individual_digits": true },
            { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        ]});
        assert_eq!(Cut::name_of(&published, false, || false).unwrap(), "smollm");
    }

    #[test]
    fn a_split_that_removes_nothing_is_one_that_keeps_all() {
        let split = |pattern: &str| {
            json!({ "type": "Split", "pattern": { "Regex": pattern },
                    "behavior": "Removed", "invert": true })
        };
        let name = Cut::name_of(&split(GPT4O), false, || false);
        assert_eq!(name.unwrap(), "gpt-4o");
        let error = Cut::name_of(&split(r"\p{N}"), false, || false).unwrap_err();
        assert!(error.contains("Removed"), "{error}");
    }

    #[test]
    fn line_breaks_in_a_pattern_may_be_spelt_as_they_are() {
        let mut published = Cut::named("deepseek-v3").unwrap().to_json();
        let pattern = &mut published["pretokenizers"][2]["pattern"]["Regex"];
        let spelt = pattern.as_str().unwrap().replace(r"\r\n", "\r\n");
        *pattern = spelt.into();
        let name = Cut::name_of(&published, false, || false);
        assert_eq!(name.unwrap(), "deepseek-v3");
    }

    #[test]
    fn the_other_way_with_merges_counts_only_where_it_changes_nothing() {
        let gpt4o = Cut::named("gpt-4o").unwrap().to_json();
        assert_eq!(Cut::name_of(&gpt4o, true, || true).unwrap(), "gpt-4o");
        let error = Cut::name_of(&gpt4o, true, || false).unwrap_err();
        assert!(error.contains("ignore_merges"), "{error}");
        // Of these patterns llama.cpp knows both ways.
        let llama3 = Cut::named("dbrx").unwrap().to_json();
        assert_eq!(Cut::name_of(&llama3, true, || false).unwrap(), "llama-bpe");
        assert_eq!(Cut::name_of(&llama3, false, || false).unwrap(), "dbrx");
    }

    #[test]
    fn what_llama_cpp_has_no_name_for_is_refused() {
        let prefixed = json!({ "type": "ByteLevel", "add_prefix_space": true });
        assert!(
            Cut::name_of(&prefixed, false, || true)
                .unwrap_err()
                .contains("space")
        );
        let other = json!({ "type": "Whitespace" });
        assert!(
            Cut::name_of(&other, false, || true)
                .unwrap_err()
                .contains("Whitespace")
        );
        assert!(Cut::named("nobody").unwrap_err().contains("\"nobody\""));
    }
}
