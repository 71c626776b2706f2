//! Texts that are put together of parts have the tokens of whole texts.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::MOST;
use crate::tokenizer::pre::CUTS;
use crate::{
    Body, ChatTemplate, InstructionTasks, Origin, PromptTemplate, Prompter, Record, TaskSplit,
    Tokenizer,
};

/// What cuts, normalizers and added tokens treat in ways of their own.
const PIECES: [&str; 45] = [
    "cé",
    " ",
    " ",
    " ",
    " ",
    "  ",
    "\n",
    "\r\n",
    "\t",
    "\u{b}",
    "\u{a0}",
    "\u{3000}",
    "\u{2028}",
    "\u{85}",
    "a",
    "B",
    "the",
    "The",
    "'s",
    "'LL",
    "'",
    "1",
    "123",
    "!",
    "###",
    "...",
    "$",
    "/",
    "<s>",
    "<|end|>",
    "<s",
    "New York",
    "é",
    "e\u{301}",
    "\u{301}",
    "中",
    "かな",
    "🙂",
    "👩‍👩‍👧",
    "ﬁ",
    "\0",
    "\u{200b}",
    "ـ",
    "שלום",
    "Ġ",
];

fn texts() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(prop::sample::select(&PIECES[..]), 0..40)
        .prop_map(|pieces| pieces.into_iter().map(str::to_owned).collect())
}

/// Byte-level tokenizers with each cut, each normalizer, post-processor and kind of added token.
fn tokenizers() -> Vec<Tokenizer> {
    let text =
        "the cat and the other cat's 123 hats!\n\n### The end of the\nNew York <s> é é 中 ...";
    let trained = Tokenizer::train_bpe([text.repeat(3)], 290).unwrap();
    let trained: Value = serde_json::from_str(&trained.to_json()).unwrap();
    let byte_level = |trims: bool, space: bool| {
        json!({ "type": "ByteLevel", "add_prefix_space": space, "trim_offsets": trims,
                "use_regex": true })
    };
    let template = json!({ "type": "TemplateProcessing", "single": [{ "Sequence": { "id": "A", "type_id": 0 } }],
        "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 0 } }],
        "special_tokens": {} });
    let processors = [
        Value::Null,
        byte_level(true, false),
        json!({ "type": "Sequence", "processors": [byte_level(false, true), template] }),
    ];
    let mut all = vec![Tokenizer::gpt2()];
    for (number, cut) in CUTS.iter().enumerate() {
        let mut json = trained.clone();
        json["pre_tokenizer"] = cut.to_json();
        json["post_processor"] = processors[number % 3].clone();
        if number % 2 == 0 {
            json["normalizer"] = json!({ "type": "NFC" });
        }
        json["model"]["ignore_merges"] = cut.ignores_merges.into();
        let tokens = json["added_tokens"].as_array_mut().unwrap();
        // Each token takes spaces in its own way, some those that another wants.
        let (mut id, kind) = (290, number % 4);
        for (content, special) in [
            ("<s>", true),
            ("<|end|>", true),
            ("New York", false),
            ("ce\u{301}", true),
            (" a", false),
            ("  ", false),
        ] {
            tokens.push(json!({ "id": id, "content": content, "special": special,
                "lstrip": (id + kind) % 3 == 0, "rstrip": (id + kind) % 5 < 2, "single_word": kind == 3,
                "normalized": number % 5 > 1 }));
            id += 1;
        }
        all.push(Tokenizer::from_json(&json.to_string(), "made".as_ref()).unwrap());
    }
    assert!(all.iter().all(|tokenizer| tokenizer.words.is_some()));
    all
}

/// The same tokenizer, which encodes texts as a whole.
fn whole(tokenizer: &Tokenizer) -> Tokenizer {
    let mut whole = tokenizer.clone();
    whole.words = None;
    whole
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn tokens_and_their_starts_are_those_of_whole_texts(pieces in texts(), marked: u64) {
        static ALL: std::sync::LazyLock<Vec<(Tokenizer, Tokenizer)>> = std::sync::LazyLock::new(|| {
            let all = tokenizers().into_iter();
            all.map(|tokenizer| (whole(&tokenizer), tokenizer)).collect()
        });
        let text = pieces.concat();
        let mut end = 0;
        let ranges = pieces.iter().zip(0..).filter_map(|(piece, bit)| {
            end += piece.len();
            (marked >> bit & 1 == 1).then(|| end - piece.len()..end)
        });
        let ordinary: Vec<_> = ranges.collect();
        for (number, (whole, tokenizer)) in ALL.iter().enumerate() {
            prop_assert_eq!(tokenizer.encode(&text), whole.encode(&text), "{}", number);
            prop_assert_eq!(
                tokenizer.encode_with_special(&text), whole.encode_with_special(&text), "{}", number
            );
            prop_assert_eq!(
                tokenizer.encode_with_special_outside(&text, &ordinary),
                whole.encode_with_special_outside(&text, &ordinary), "{} {:?}", number, text
            );
        }
    }
}

/// Records of our own making, and real ones where they are at hand.
fn records() -> Vec<Record> {
    let tasks = InstructionTasks {
        count: 1000,
        seed: 1,
    };
    let mut records = tasks.records(TaskSplit::Train);
    if let Some(data) = std::env::var_os("SINTERLM_TEST_DATA") {
        for file in [
            "alpaca_en_demo.json",
            "alpaca_zh_demo.json",
            "instruction-data.json",
            "lima.json",
        ] {
            let path = std::path::Path::new(&data).join("instruct").join(file);
            let text = std::fs::read_to_string(path).unwrap();
            let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
            records.extend(rows.into_iter().enumerate().map(|(number, row)| {
                let field = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
                let body = Body::Instruction {
                    instruction: field("instruction"),
                    input: field("input"),
                    output: field("output"),
                };
                Record::new(
                    body,
                    Origin::Made {
                        name: "real",
                        number: number as u64,
                    },
                )
            }));
        }
    }
    records
}

#[test]
fn rows_of_every_form_are_those_of_whole_texts() {
    let records = records();
    let source = "{% for m in messages %}<s>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}{% if add_generation_prompt %}<s>assistant\n{% endif %}";
    let chat = ChatTemplate::new("chat", source).unwrap();
    let own = PromptTemplate::Own {
        with_input: "<s>{instruction} | {input} =>".into(),
        without_input: "<s> {instruction} =>".into(),
        answer_start: " ".into(),
        separator: " ; ".into(),
    };
    let forms = [
        PromptTemplate::Alpaca,
        PromptTemplate::PlainInstruction,
        PromptTemplate::Roles,
        PromptTemplate::Chat,
        own,
    ];
    for (number, tokenizer) in tokenizers().into_iter().enumerate() {
        // All with GPT-2's vocabulary.
        let every = if number == 0 { 1 } else { 10 };
        for form in &forms {
            let made =
                |tokenizer: &Tokenizer| Prompter::new(form, tokenizer, Some(&chat), &[]).unwrap();
            let (by_words, whole) = (made(&tokenizer), made(&whole(&tokenizer)));
            for record in records.iter().step_by(every) {
                let rows = by_words.render(record).unwrap();
                assert_eq!(rows, whole.render(record).unwrap(), "{form:?} {record:?}");
            }
        }
    }
}

#[test]
fn a_full_cache_begins_anew_with_the_same_tokens() {
    let tokenizer = Tokenizer::gpt2();
    let words: Vec<String> = (0..MOST as u32 + 10).map(|n| format!("w{n}")).collect();
    let text = words.join(" ");
    assert_eq!(tokenizer.encode(&text), whole(&tokenizer).encode(&text));
    let caches = tokenizer.words.as_ref().unwrap().lock();
    assert!(caches.iter().all(|cache| cache.len() <= MOST));
}

#[test]
fn texts_that_spaces_do_not_part_are_left_whole() {
    let trained = Tokenizer::train_bpe(["a b a b"], 258).unwrap();
    let json: Value = serde_json::from_str(&trained.to_json()).unwrap();
    let is_cut = |change: &dyn Fn(&mut Value)| {
        let mut json = json.clone();
        change(&mut json);
        let made = Tokenizer::from_json(&json.to_string(), "made".as_ref());
        made.unwrap().words.is_some()
    };
    assert!(is_cut(&|_| ()));
    let metaspace = json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false });
    let split = |pattern: &str| json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false });
    let bytes = |space: bool| json!({ "type": "ByteLevel", "add_prefix_space": space, "trim_offsets": true, "use_regex": false });
    let both = |first: Value, second: Value| json!({ "type": "Sequence", "pretokenizers": [first, second] });
    let gpt2 = CUTS[0].patterns[0];
    for pre in [
        bytes(false),
        bytes(true),
        both(metaspace, bytes(false)),
        both(split(r"\w+ \w+"), bytes(false)),
        both(bytes(false), split(gpt2)),
    ] {
        assert!(
            !is_cut(&|json| json["pre_tokenizer"] = pre.clone()),
            "{pre}"
        );
    }
    let known = both(split(gpt2), bytes(false));
    assert!(is_cut(&|json| json["pre_tokenizer"] = known.clone()));
    assert!(!is_cut(
        &|json| json["normalizer"] = json!({ "type": "Lowercase" })
    ));
    assert!(!is_cut(
        &|json| json["post_processor"] = json!({ "type": "ByteLevel",
        "add_prefix_space": true, "trim_offsets": true, "use_regex": true })
    ));
}
