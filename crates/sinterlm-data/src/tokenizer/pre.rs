//! How text is cut before tokens are merged: the names that llama.cpp has for it, and the patterns
//! that `tokenizer.json` files have. Byte-level vocabularies only.

use serde_json::{Value, json};

/// GPT-2's pattern, in `tokenizers` a part of the byte-level pre-tokenizer.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// A way to cut text. Patterns apply one after the other, each to the pieces of those before; what
/// lies between the matches of one are pieces, too.
#[derive(Debug)]
pub(super) struct Cut {
    /// Values of `tokenizer.ggml.pre`; the first is the one written.
    names: &'static [&'static str],
    patterns: &'static [&'static str],
    /// A piece that is a token as it stands is taken, without merging.
    pub(super) ignores_merges: bool,
    /// Whether a text begins with its mark where the file does not say.
    pub(super) adds_bos: bool,
}

/// After llama.cpp's `llama-vocab.cpp`.
const CUTS: [Cut; 9] = [
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
    pub(super) fn name_of(json: &Value, ignores_merges: bool) -> Result<&'static str, String> {
        let patterns = patterns_of(json)?;
        let same = |cut: &&Cut| cut.patterns == patterns && cut.ignores_merges == ignores_merges;
        let found = CUTS.iter().find(same);
        found.map(|cut| cut.names[0]).ok_or_else(|| {
            format!("llama.cpp has no name for a pre-tokenizer with the patterns {patterns:?}")
        })
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

/// Whether a pre-tokenizer of a `tokenizer.json` makes bytes of the text.
pub(super) fn is_byte_level(json: &Value) -> bool {
    let parts = json["pretokenizers"].as_array();
    json["type"] == "ByteLevel" || parts.is_some_and(|parts| parts.iter().any(is_byte_level))
}

/// The patterns that a byte-level pre-tokenizer of a `tokenizer.json` stands for.
fn patterns_of(json: &Value) -> Result<Vec<&str>, String> {
    let flag = |name: &str| json[name].as_bool().unwrap_or(false);
    let kind = json["type"].as_str().unwrap_or_default();
    match kind {
        "Sequence" => {
            let parts = json["pretokenizers"].as_array().into_iter().flatten();
            let parts: Result<Vec<_>, _> = parts.map(patterns_of).collect();
            Ok(parts?.concat())
        }
        "ByteLevel" if flag("add_prefix_space") => {
            Err("llama.cpp has no byte-level vocabulary with a space before each text".to_owned())
        }
        "ByteLevel" if flag("use_regex") => Ok(vec![GPT2]),
        "ByteLevel" => Ok(Vec::new()),
        "Digits" if flag("individual_digits") => Ok(vec![r"\p{N}"]),
        "Digits" => Ok(vec![r"\p{N}+"]),
        "Split" if json["behavior"] == "Isolated" && !flag("invert") => {
            let pattern = json["pattern"]["Regex"].as_str();
            pattern.map(|pattern| vec![pattern]).ok_or_else(|| {
                "llama.cpp has no name for a pre-tokenizer that splits at a fixed text".to_owned()
            })
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
            let found = Cut::name_of(&cut.to_json(), cut.ignores_merges);
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
        assert_eq!(Cut::name_of(&published, false).unwrap(), "smollm");
    }

    #[test]
    fn what_llama_cpp_has_no_name_for_is_refused() {
        let prefixed = json!({ "type": "ByteLevel", "add_prefix_space": true });
        assert!(
            Cut::name_of(&prefixed, false)
                .unwrap_err()
                .contains("space")
        );
        let other = json!({ "type": "Whitespace" });
        assert!(
            Cut::name_of(&other, false)
                .unwrap_err()
                .contains("Whitespace")
        );
        assert!(Cut::named("nobody").unwrap_err().contains("\"nobody\""));
    }
}
