//! Models that were tuned on instructions: asked in the form of their training, and marking texts as the
//! base that they were tuned from.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use serde_json::{Value, json};
use sinterlm_config::Seed;
use sinterlm_data::{
    Body, ChatMessage, Origin, PromptTemplate, Prompter, Record, RecordPlace, TextMarks, Tokenizer,
};
use sinterlm_formats::Dtype;
use sinterlm_model::{
    ClassHead, Gpt, GptConfig, Reading, SampleConfig, SaveOptions, WithHead, save_gguf, save_model,
    save_with_head,
};
use sinterlm_text::{
    Conversation, ConversationConfig, OpenOptions, PromptRecord, PromptRecords, TextError,
    TextModel, text_files_of,
};
use tempfile::TempDir;

fn decoder() -> Gpt {
    let config = GptConfig {
        vocab_size: 272,
        max_seq_len: 256,
        d_model: 16,
        n_layers: 1,
        n_heads: 2,
        ..GptConfig::default()
    };
    config.init(Seed(5), &Device::flex())
}

fn tokenizer() -> Tokenizer {
    let texts = ["the cat and the dog ran to the other cat, and then to the dog"; 4];
    Tokenizer::train_bpe(texts, 270).unwrap()
}

/// An untrained model in a folder.
fn base() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = tokenizer();
    save_model(folder.path(), &decoder(), tokenizer.end_of_text()).unwrap();
    let path = folder.path().join("tokenizer.json");
    tokenizer.save(&path).unwrap();
    folder
}

fn open(path: &Path) -> Result<TextModel, TextError> {
    TextModel::open(path, &OpenOptions::default(), &Device::flex())
}

fn asked(instruction: &str, input: &str) -> Body {
    Body::Instruction {
        instruction: instruction.to_owned(),
        input: input.to_owned(),
        output: " the cat".to_owned(),
    }
}

fn chat(messages: &[(&str, &str)]) -> Body {
    let messages = messages.iter();
    Body::Chat {
        messages: messages
            .map(|(role, text)| ChatMessage::new(role, text))
            .collect(),
    }
}

/// A base that was tuned in a form, as far as its folder shows.
fn tuned(form: &PromptTemplate) -> (TempDir, TextModel) {
    let folder = base();
    let template =
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}<|endoftext|>{% endfor %}<assistant>";
    fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
    form.save(folder.path()).unwrap();
    let model = open(folder.path()).unwrap();
    (folder, model)
}

#[test]
fn a_record_is_asked_as_it_was_trained() {
    let records = [
        asked("the dog", "the cat"),
        asked("the dog", ""),
        chat(&[
            ("user", "the"),
            ("assistant", "cat"),
            ("user", "and"),
            ("assistant", "then"),
        ]),
        Body::Completion {
            prompt: "the dog".to_owned(),
            completion: " ran".to_owned(),
        },
    ];
    for form in [
        PromptTemplate::Alpaca,
        PromptTemplate::PlainInstruction,
        PromptTemplate::Roles,
        PromptTemplate::Chat,
    ] {
        let (_folder, model) = tuned(&form);
        let (template, begin) = (model.template.as_ref(), model.begin());
        let prompter = Prompter::new(&form, &model.tokenizer, template, &begin).unwrap();
        for body in &records {
            let made = Origin::Made {
                name: "test",
                number: 0,
            };
            let rows = prompter.render(&Record::new(body.clone(), made)).unwrap();
            let row = rows.last().unwrap();
            let first = row.spans.iter().rev().take_while(|s| s.answer.is_some());
            let answer = first.last().unwrap().tokens.start;
            assert_eq!(model.ask(body).unwrap(), row.ids[..answer], "{form:?}");
        }
    }
}

#[test]
fn without_a_form_records_are_asked_as_texts_or_by_the_template() {
    let folder = base();
    let model = open(folder.path()).unwrap();
    assert_eq!(model.form, None);
    let ask = |body| model.ask(&body).unwrap();
    let (dog, both) = ("the dog", "the dog\n\nthe cat");
    assert_eq!(ask(asked(dog, "the cat")), model.prompt(both));
    assert_eq!(ask(asked(dog, " ")), model.prompt(dog));
    let plain = model.tokenizer.encode("User: the dog\nAssistant:");
    assert_eq!(ask(chat(&[("user", dog)])), plain);

    let template = "{% for m in messages %}{{ m.role }}={{ m.content }};{% endfor %}";
    fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
    let model = open(folder.path()).unwrap();
    for body in [
        asked(dog, "the cat"),
        chat(&[("user", both)]),
        Body::Completion {
            prompt: both.to_owned(),
            completion: String::new(),
        },
    ] {
        let expected = model.tokenizer.encode(&format!("user={both};"));
        assert_eq!(model.ask(&body).unwrap(), expected);
    }
}

#[test]
fn what_a_form_begins_each_answer_with_is_left_out_of_it() {
    let (_folder, model) = tuned(&PromptTemplate::PlainInstruction);
    let space = model.tokenizer.encode(" ")[0];
    let sample = SampleConfig {
        max_new_tokens: 3,
        ..SampleConfig::default()
    };
    let mut continuing = model.continuing(&sample, Seed(3));
    continuing.logit_bias = vec![(space, 1000.0)];
    let completion = Body::Completion {
        prompt: "the dog".to_owned(),
        completion: String::new(),
    };
    let record = |body| PromptRecord {
        place: RecordPlace {
            record: None,
            line: 1,
        },
        body,
    };
    let prompts = PromptRecords {
        path: "prompts.jsonl".into(),
        records: vec![record(asked("the dog", "the cat")), record(completion)],
    };
    let mut answers = Vec::new();
    let answered = model.answer(&prompts, &continuing, 0, |answer| answers.push(answer));
    answered.unwrap();
    let found: Vec<_> = answers.iter().map(|a| (&*a.prompt, &*a.text)).collect();
    assert_eq!(
        found,
        [("the dog\n\nthe cat", "  "), ("the dog", "   ")],
        "only the first is an answer"
    );

    let config = ConversationConfig {
        sample,
        logit_bias: vec![(space, 1000.0)],
        ..ConversationConfig::default()
    };
    let mut chat = Conversation::new(&model, &config);
    let mut heard = String::new();
    chat.answer("the dog", |piece| heard.push_str(piece))
        .unwrap();
    assert_eq!(heard, "  ");
}

#[test]
fn a_form_that_cannot_be_used_is_refused_by_file() {
    let folder = base();
    PromptTemplate::Chat.save(folder.path()).unwrap();
    let refused = open(folder.path()).unwrap_err().to_string();
    assert!(
        refused.contains("prompt_template.json: is `chat`, and the folder holds no chat template"),
        "{refused}"
    );
    fs::write(folder.path().join(PromptTemplate::FILE), "[]").unwrap();
    let refused = open(folder.path()).unwrap_err().to_string();
    assert!(refused.contains("prompt_template.json: "), "{refused}");
}

#[test]
fn a_classifier_is_refused_with_the_program_that_reads_it() {
    let folder = base();
    let model = WithHead::init(decoder().without_head(), 2, Seed(1), &Device::flex());
    let head = ClassHead {
        labels: vec!["ham".to_owned(), "spam".to_owned()],
        reading: Reading::default(),
        threshold: None,
    };
    save_with_head(folder.path(), &model, &head, &SaveOptions::new(0)).unwrap();
    let refused = open(folder.path()).unwrap_err();
    assert!(
        matches!(refused, TextError::HasClassHead { .. }),
        "{refused}"
    );
    assert!(refused.to_string().contains("`classify`"), "{refused}");
}

/// Changes a folder's `tokenizer.json`, or makes files of it.
fn edit_tokenizer(folder: &Path, change: impl FnOnce(&mut Value)) {
    let path = folder.join("tokenizer.json");
    let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut json);
    fs::write(&path, json.to_string()).unwrap();
}

/// Puts `<|endoftext|>` before each text.
fn with_marks(folder: &Path) {
    edit_tokenizer(folder, |json| {
        let mark = json!({"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}});
        let text = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
        json["post_processor"] = json!({
            "type": "TemplateProcessing",
            "single": [mark, text("A")],
            "pair": [mark, text("A"), mark, text("B")],
            "special_tokens": {
                "<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}
            },
        });
    });
}

fn with_tables(folder: &Path) {
    let path = folder.join("tokenizer.json");
    let json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let merges = json["model"]["merges"].as_array().unwrap().iter();
    let merges: Vec<String> = merges
        .map(|pair| {
            let [left, right] = [0, 1].map(|at| pair[at].as_str().unwrap());
            format!("{left} {right}\n")
        })
        .collect();
    let vocab = json["model"]["vocab"].to_string();
    fs::write(folder.join("vocab.json"), vocab).unwrap();
    fs::write(folder.join("merges.txt"), merges.concat()).unwrap();
    fs::remove_file(path).unwrap();
}

fn with_many_ends(folder: &Path) {
    let path = folder.join("config.json");
    let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    json["eos_token_id"] = json!([0, 65, 66]);
    fs::write(path, json.to_string()).unwrap();
}

/// What inference makes of marks.
fn conclusions(model: &TextModel) -> (Vec<u32>, Vec<u32>, Vec<u32>, Option<String>, u32) {
    let mut ends = model.ends.clone();
    ends.sort_unstable();
    ends.dedup();
    let template = model.template.as_ref();
    let question = [ChatMessage::new("user", "the dog")];
    let asked = template.map(|template| template.render(&question, true).unwrap());
    let end = model.tokenizer.end_of_text();
    (model.begin(), model.prompt("the dog"), ends, asked, end)
}

/// Writes what a run does that was tuned from `path`: weights, tokenizer, the base's files for text.
fn run_from(path: &Path) -> TempDir {
    let source = open(path).unwrap();
    let run = tempfile::tempdir().unwrap();
    let model = run.path().join("model");
    fs::create_dir(&model).unwrap();
    fs::write(run.path().join("run.json"), "{}").unwrap();
    save_model(&model, &source.model, source.tokenizer.end_of_text()).unwrap();
    source
        .tokenizer
        .save(&model.join("tokenizer.json"))
        .unwrap();
    for (name, content) in text_files_of(path, &source.tokenizer).unwrap() {
        fs::write(model.join(name), content).unwrap();
    }
    run
}

/// Changes a folder.
type Change = Box<dyn Fn(&Path)>;

#[test]
fn a_run_marks_texts_as_the_base_that_it_was_tuned_from() {
    let template =
        "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}{{ eos_token }}";
    let put = |name: &'static str, text: &'static str| {
        move |folder: &Path| fs::write(folder.join(name), text).unwrap()
    };
    let cases: [(&str, bool, Vec<Change>); 8] = [
        ("ours", false, vec![]),
        (
            "ours with a template",
            false,
            vec![Box::new(put("chat_template.jinja", template))],
        ),
        (
            "whole",
            true,
            vec![
                Box::new(put(
                    "tokenizer_config.json",
                    r#"{"bos_token": "<|endoftext|>", "eos_token": {"content": "<|endoftext|>"}}"#,
                )),
                Box::new(put("chat_template.jinja", template)),
                Box::new(put(
                    "generation_config.json",
                    r#"{"temperature": 0.6, "eos_token_id": [0, 67]}"#,
                )),
            ],
        ),
        (
            "an older one",
            true,
            vec![
                Box::new(put(
                    "special_tokens_map.json",
                    r#"{"eos_token": "<|endoftext|>"}"#,
                )),
                Box::new(put("chat_template.jinja", template)),
            ],
        ),
        ("marked by its tokenizer", true, vec![Box::new(with_marks)]),
        ("tables", true, vec![Box::new(with_tables)]),
        (
            "ends in the description",
            true,
            vec![
                Box::new(with_marks),
                Box::new(with_many_ends),
                Box::new(put("generation_config.json", r#"{"top_k": 5}"#)),
            ],
        ),
        ("ends of ours", false, vec![Box::new(with_many_ends)]),
    ];
    for (name, is_published, changes) in cases {
        let folder = base();
        for change in changes {
            change(folder.path());
        }
        let source = open(folder.path()).unwrap();
        let is_marked = TextMarks::are_named(folder.path(), &source.tokenizer);
        assert_eq!(is_marked, is_published, "{name}");
        let run = run_from(folder.path());
        let copy = open(&run.path().join("model")).unwrap();
        assert_eq!(conclusions(&copy), conclusions(&source), "{name}");
        // And what is tuned from that run.
        let run = run_from(&run.path().join("model"));
        let copy = open(&run.path().join("model")).unwrap();
        assert_eq!(conclusions(&copy), conclusions(&source), "{name}, twice");
    }
}

#[test]
fn a_run_marks_texts_as_the_gguf_that_it_was_tuned_from() {
    let tokenizer = tokenizer();
    for add_bos in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("base.gguf");
        let marks = TextMarks {
            add_bos,
            eot: Some(66),
            ..TextMarks::of_training(&tokenizer)
        };
        let mut metadata = tokenizer.to_gguf(&marks, 272).unwrap();
        let template = "{{ bos_token }}{{ messages[0].content }}";
        metadata.insert("tokenizer.chat_template".to_owned(), template.into());
        save_gguf(&path, &decoder(), Dtype::F32.into(), metadata).unwrap();
        let source = open(&path).unwrap();
        let run = run_from(&path);
        let copy = open(&run.path().join("model")).unwrap();
        assert_eq!(conclusions(&copy), conclusions(&source), "{add_bos}");
        assert_eq!(copy.begin().len(), usize::from(add_bos));
    }
}

#[test]
fn no_file_of_the_base_is_left_out_or_changed() {
    let folder = base();
    for (name, text) in [
        ("tokenizer_config.json", "{ \"new\": 7 }"),
        ("added_tokens.json", "{}"),
        ("generation_config.json", "{ \"top_k\": 5 }"),
        (PromptTemplate::FILE, "{\"kind\": \"alpaca\"}"),
        ("README.md", "hello"),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let files = text_files_of(folder.path(), &tokenizer()).unwrap();
    let files: Vec<(String, String)> = files
        .into_iter()
        .map(|(name, bytes)| (name, String::from_utf8(bytes).unwrap()))
        .collect();
    let expected = [
        ("tokenizer_config.json", "{ \"new\": 7 }"),
        ("added_tokens.json", "{}"),
        ("generation_config.json", "{ \"top_k\": 5 }"),
    ];
    assert_eq!(files, expected.map(|(n, t)| (n.to_owned(), t.to_owned())));
}
