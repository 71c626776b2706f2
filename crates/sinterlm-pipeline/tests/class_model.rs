//! Classifiers with their tokenizers: texts in, classes out.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use sinterlm_config::Seed;
use sinterlm_data::Tokenizer;
use sinterlm_eval::class_probabilities;
use sinterlm_model::{
    ClassHead, ForwardCtx, Gpt, GptConfig, Pool, Reading, SaveOptions, WithHead, save_model,
    save_with_head,
};
use sinterlm_pipeline::{ClassModel, Host, PipelineError};
use tempfile::TempDir;

const TEXTS: [&str; 4] = [
    "the cat and the dog",
    "",
    "ran",
    "to the other cat, and then",
];

/// An untrained classifier in the folder of a run, with the tokenizer that it was made with.
struct Run {
    folder: TempDir,
    model: WithHead<Gpt>,
    head: ClassHead,
    tokenizer: Tokenizer,
}

impl Run {
    fn made(labels: &[&str], reading: Reading, threshold: Option<f32>) -> Self {
        let device = Device::flex();
        let config = GptConfig {
            vocab_size: 272,
            max_seq_len: 12,
            d_model: 16,
            n_layers: 1,
            n_heads: 2,
            ..GptConfig::default()
        };
        let lm = config.init(Seed(5), &device).without_head();
        let model = WithHead::init(lm, labels.len(), Seed(6), &device);
        let head = ClassHead {
            labels: labels.iter().map(|&label| label.to_owned()).collect(),
            reading,
            threshold,
        };
        let texts = ["the cat and the dog ran to the other cat, and then to the dog"; 4];
        let tokenizer = Tokenizer::train_bpe(texts, 270).unwrap();
        let run = Self {
            folder: tempfile::tempdir().unwrap(),
            model,
            head,
            tokenizer,
        };
        let path = run.path();
        fs::create_dir(&path).unwrap();
        fs::write(run.folder.path().join("run.json"), "{}").unwrap();
        let options = SaveOptions::new(run.tokenizer.end_of_text());
        save_with_head(&path, &run.model, &run.head, &options).unwrap();
        run.tokenizer.save(&path.join("tokenizer.json")).unwrap();
        run
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("model")
    }

    fn open(&self) -> ClassModel {
        open(self.folder.path()).unwrap()
    }

    /// The probabilities of rows of ids.
    fn of_ids(&self, rows: &[Vec<u32>]) -> Vec<f32> {
        let ctx = ForwardCtx::default();
        class_probabilities(&self.model, rows, &self.head.reading, &ctx)
    }
}

fn open(path: &Path) -> Result<ClassModel, Box<PipelineError>> {
    Ok(ClassModel::open(
        path,
        None,
        &Host::new(Device::flex(), "flex"),
    )?)
}

/// The probabilities of texts, behind one another.
fn of_texts(model: &ClassModel, texts: &[&str]) -> Vec<f32> {
    let found = model.classify(texts).unwrap();
    let all = found.iter().flat_map(|found| &found.probabilities);
    all.map(|(_, probability)| *probability).collect()
}

#[test]
fn texts_are_read_behind_what_training_put_before_them() {
    let run = Run::made(&["ham", "spam"], Reading::default(), None);
    let end = run.tokenizer.end_of_text();
    let ids = |text: &str| run.tokenizer.encode(text);
    let ours = TEXTS.map(|text| [vec![end], ids(text)].concat());
    assert_eq!(of_texts(&run.open(), &TEXTS), run.of_ids(&ours));

    // A published tokenizer that puts nothing before a text.
    fs::write(run.path().join("tokenizer_config.json"), "{}").unwrap();
    let theirs = TEXTS.map(|text| {
        if text.is_empty() {
            vec![end]
        } else {
            ids(text)
        }
    });
    let found = of_texts(&run.open(), &TEXTS);
    assert_eq!(found, run.of_ids(&theirs));
    assert_ne!(found, run.of_ids(&ours));
    assert_eq!(of_texts(&run.open(), &[]), [0.0; 0]);
}

#[test]
fn what_does_not_fit_is_cut_on_the_right_and_told() {
    let text = "the dog ran to the cat and then to the other dog and so on";
    for (pool, min_seq, max) in [(Pool::Last, 0, 12), (Pool::LastColumn, 7, 7)] {
        let reading = Reading {
            pool,
            min_seq,
            ..Reading::default()
        };
        let run = Run::made(&["ham", "spam", "other"], reading, None);
        let model = run.open();
        assert_eq!(model.max_tokens(), max);
        let mut ids = vec![run.tokenizer.end_of_text()];
        ids.extend(run.tokenizer.encode(text));
        assert!(ids.len() > 12);
        ids.truncate(max);
        assert_eq!(of_texts(&model, &[text]), run.of_ids(&[ids]), "{pool:?}");
        let cut = model.classify(&[text, "ran"]).unwrap();
        assert_eq!([cut[0].is_cut, cut[1].is_cut], [true, false]);
    }
}

#[test]
fn the_label_is_the_likeliest_or_what_the_threshold_says() {
    let likely = Run::made(&["ham", "spam"], Reading::default(), None).open();
    let found = likely.classify(&TEXTS).unwrap();
    let second = found[0].probabilities[1].1;
    for (found, text) in found.iter().zip(TEXTS) {
        let [(_, ham), (_, spam)] = &found.probabilities[..] else {
            panic!("{found:?}");
        };
        assert_eq!(found.label, if spam > ham { "spam" } else { "ham" });
        assert_eq!(found.text, text);
    }
    for (threshold, label) in [(second, "spam"), (second.next_up(), "ham"), (0.0, "spam")] {
        let run = Run::made(&["ham", "spam"], Reading::default(), Some(threshold));
        let found = run.open().classify(&TEXTS[..1]).unwrap();
        assert_eq!(found[0].label, label, "{threshold}");
        assert_eq!(found[0].probabilities[1], ("spam".to_owned(), second));
    }
}

#[test]
fn a_result_is_an_object_with_each_label_in_its_order() {
    let run = Run::made(&["spam", "ham"], Reading::default(), None);
    let found = run.open().classify(&["ran"]).unwrap();
    let [(_, spam), (_, ham)] = found[0].probabilities[..] else {
        panic!("{found:?}");
    };
    let label = &found[0].label;
    assert_eq!(
        serde_json::to_string(&found[0]).unwrap(),
        format!(
            "{{\"text\":\"ran\",\"label\":\"{label}\",\"probabilities\":{{\"spam\":{spam},\"ham\":{ham}}}}}"
        )
    );
}

#[test]
fn a_model_without_classes_is_refused() {
    let run = Run::made(&["ham", "spam"], Reading::default(), None);
    let folder = tempfile::tempdir().unwrap();
    save_model(folder.path(), &run.model.lm, 0).unwrap();
    let reward = Run::made(&["reward"], Reading::default(), None);
    for path in [folder.path(), reward.folder.path()] {
        let refused = open(path).unwrap_err();
        assert!(
            matches!(*refused, PipelineError::NoClassHead { .. }),
            "{refused}"
        );
    }
}
