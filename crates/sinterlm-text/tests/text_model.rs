//! Models with their text parts: opened, continued, answered.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::fs;
use std::path::PathBuf;

use burn::tensor::Device;
use sinterlm_config::Seed;
use sinterlm_data::{RecordPlace, Tokenizer};
use sinterlm_model::{GptConfig, SampleConfig, save_model};
use sinterlm_text::{
    Conversation, ConversationConfig, OpenOptions, PromptForm, PromptRecord, PromptRecords,
    TextError, TextModel,
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
        form: PromptForm::Text("the dog".to_owned()),
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
