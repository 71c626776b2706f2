//! Models with their text parts: opened, continued, answered.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::fs;
use std::path::PathBuf;

use burn::tensor::Device;
use sinterlm_config::Seed;
use sinterlm_data::{Body, RecordPlace, Tokenizer};
use sinterlm_model::{GptConfig, SampleConfig, save_model};
use sinterlm_text::{
    Conversation, ConversationConfig, Method, OpenOptions, PromptRecord, PromptRecords, TextError,
    TextModel,
};
use tempfile::TempDir;

/// An untrained model as the `model` folder of a run directory.
struct Run(TempDir);

impl Run {
    fn made(vocab_size: usize) -> Self {
        let run = Self(tempfile::tempdir().unwrap());
        let config = GptConfig {
            vocab_size,
            max_seq_len: 32,
            d_model: 16,
            n_layers: 1,
            n_heads: 2,
            ..GptConfig::default()
        };
        let model = config.init(Seed(5), &Device::flex());
        let texts = ["the cat and the dog ran to the other cat, and then to the dog"; 4];
        let tokenizer = Tokenizer::train_bpe(texts, 270).unwrap();
        fs::create_dir(run.model()).unwrap();
        save_model(&run.model(), &model, tokenizer.end_of_text()).unwrap();
        tokenizer.save(&run.model().join("tokenizer.json")).unwrap();
        run
    }

    fn model(&self) -> PathBuf {
        self.0.path().join("model")
    }

    fn open(&self) -> Result<TextModel, TextError> {
        TextModel::open(&self.model(), &OpenOptions::default(), &Device::flex())
    }
}

fn config() -> SampleConfig {
    SampleConfig {
        max_new_tokens: 6,
        ..SampleConfig::default()
    }
}

#[test]
fn a_model_folder_is_opened_and_its_texts_depend_on_the_seed() {
    let run = Run::made(272);
    let model = run.open().unwrap();
    assert_eq!(model.path, run.model());
    let text = |seed| {
        model
            .continue_text("the cat", &config(), Seed(seed))
            .unwrap()
    };
    assert_eq!(text(1), text(1));
    assert_ne!(text(1), text(2));
}

#[test]
fn a_tokenizer_of_another_model_and_a_missing_one_are_refused() {
    let run = Run::made(260);
    let refused = run.open().unwrap_err();
    let TextError::OtherTokenizer { knows, holds, .. } = refused else {
        panic!("{refused}");
    };
    assert_eq!((knows, holds), (270, 260));
    fs::remove_file(run.model().join("tokenizer.json")).unwrap();
    let refused = run.open().unwrap_err().to_string();
    assert!(refused.contains("tokenizer.json"), "{refused}");
}

#[test]
fn answers_are_those_of_one_batch_however_many_there_are() {
    let run = Run::made(272);
    let model = run.open().unwrap();
    // More than are answered at a time, each with draws of its own.
    let record = None;
    let records = (1..=300).map(|line| PromptRecord {
        place: RecordPlace { record, line },
        body: Body::Completion {
            prompt: "the dog".to_owned(),
            completion: String::new(),
        },
    });
    let prompts = PromptRecords {
        path: "prompts.jsonl".into(),
        records: records.collect(),
    };
    let continuing = model.continuing(&config(), Seed(3));
    let mut answers = Vec::new();
    let answered = model.answer(&prompts, &continuing, 0, |answer| answers.push(answer));
    answered.unwrap();
    let ids = vec![model.prompt("the dog"); 300];
    let mut texts = vec![String::new(); 300];
    let all = continuing.texts(&model.model, ids, |row, piece| texts[row].push_str(piece));
    all.unwrap();
    let answers: Vec<String> = answers.into_iter().map(|answer| answer.text).collect();
    assert_eq!(answers, texts);
    assert_ne!(texts[0], texts[299]);
}

#[test]
fn a_message_that_is_refused_is_taken_back() {
    let run = Run::made(272);
    let template = "{% if messages|length > 1 %}{{ raise_exception('enough') }}{% endif %}the";
    fs::write(run.model().join("chat_template.jinja"), template).unwrap();
    let model = run.open().unwrap();
    let config = ConversationConfig {
        sample: config(),
        ..ConversationConfig::default()
    };
    let mut chat = Conversation::new(&model, &config);
    let mut heard = String::new();
    chat.answer("Hello", |piece| heard.push_str(piece)).unwrap();
    assert_eq!(chat.messages[1].content, heard.trim());
    let refused = chat.answer("And now?", |_| ()).unwrap_err();
    assert!(matches!(refused, TextError::Data(_)), "{refused}");
    assert_eq!(chat.messages.len(), 2);
}

#[test]
fn a_faulty_template_stops_only_what_uses_it() {
    let run = Run::made(272);
    let named =
        r#"{"chat_template": [{"name": "a", "template": "x"}, {"name": "b", "template": "y"}]}"#;
    for (file, text) in [
        ("chat_template.jinja", "{% if %}"),
        ("tokenizer_config.json", named),
    ] {
        let path = run.model().join(file);
        fs::write(&path, text).unwrap();
        let model = run.open().unwrap();
        model.continue_text("the cat", &config(), Seed(1)).unwrap();
        let mut chat = Conversation::new(&model, &ConversationConfig::default());
        let refused = chat.answer("Hello", |_| ()).unwrap_err();
        assert!(matches!(refused, TextError::Template(_)), "{refused}");
        assert!(refused.to_string().contains(file), "{refused}");
        let prompts = PromptRecords {
            path: "prompts.jsonl".into(),
            records: Vec::new(),
        };
        let continuing = model.continuing(&config(), Seed(3));
        let refused = model.answer(&prompts, &continuing, 0, |_| ()).unwrap_err();
        assert!(matches!(refused, TextError::Template(_)), "{refused}");
        fs::remove_file(path).unwrap();
    }
}

/// Adds a special token to the run's tokenizer, which the model has a row for.
fn with_special_token(run: &Run, id: u32, name: &str) {
    let path = run.model().join("tokenizer.json");
    let mut json: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let mut token = json["added_tokens"][0].clone();
    token["id"] = id.into();
    token["content"] = name.into();
    json["added_tokens"].as_array_mut().unwrap().push(token);
    fs::write(&path, json.to_string()).unwrap();
}

#[test]
fn the_name_of_a_special_token_stops_a_text_where_it_comes() {
    let run = Run::made(272);
    with_special_token(&run, 271, "<|stop|>");
    let model = run.open().unwrap();
    let mut continuing = model.continuing(&config(), Seed(3));
    continuing.logit_bias = vec![(271, 1000.0)];
    let mut tokens = |stop: &str, method| {
        continuing.stops = vec![stop.to_owned()];
        continuing.method = method;
        let ids = vec![model.prompt("the dog")];
        let mut text = String::new();
        let done = continuing.texts(&model.model, ids, |_, piece| text.push_str(piece));
        assert_eq!(text, "");
        done.unwrap()[0].tokens.len()
    };
    for method in [Method::Sample, Method::Draft(&model.model, 2)] {
        assert_eq!(tokens("<|stop|>", method), 1, "{method:?}");
        assert_eq!(tokens("<|other|>", method), 6, "{method:?}");
    }

    let config = ConversationConfig {
        sample: config(),
        stops: vec!["<|stop|>".to_owned()],
        logit_bias: vec![(271, 1000.0)],
        ..ConversationConfig::default()
    };
    let mut chat = Conversation::new(&model, &config);
    let mut heard = String::new();
    chat.answer("Hello", |piece| heard.push_str(piece)).unwrap();
    assert_eq!(heard, "");
}

#[test]
fn a_folder_with_vocab_and_merges_alone_is_opened() {
    let run = Run::made(272);
    let whole = run.open().unwrap();
    let json: serde_json::Value = serde_json::from_str(&whole.tokenizer.to_json()).unwrap();
    let merges = json["model"]["merges"].as_array().unwrap().iter();
    let merges: Vec<String> = merges
        .map(|pair| {
            format!(
                "{} {}\n",
                pair[0].as_str().unwrap(),
                pair[1].as_str().unwrap()
            )
        })
        .collect();
    let put = |name: &str, text: String| fs::write(run.model().join(name), text).unwrap();
    put("vocab.json", json["model"]["vocab"].to_string());
    put("merges.txt", merges.concat());
    put(
        "tokenizer_config.json",
        r#"{"tokenizer_class": "GPT2Tokenizer"}"#.to_owned(),
    );
    fs::remove_file(run.model().join("tokenizer.json")).unwrap();
    let model = run.open().unwrap();
    let text = "the cat <|endoftext|> ran";
    assert_eq!(model.tokenizer.encode(text), whole.tokenizer.encode(text));
    assert_eq!(model.ends, whole.ends);
}
