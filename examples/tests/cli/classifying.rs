//! `classify`: texts in every form, and what cannot be read.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use sinterlm::burn::tensor::Device;
use sinterlm::config::Seed;
use sinterlm::data::Tokenizer;
use sinterlm::model::{ClassHead, GptConfig, Reading, SaveOptions, WithHead, save_with_head};
use tempfile::TempDir;

use crate::harness::{Ended, end, finished, program};

/// A folder with an untrained classifier in `model`.
fn classifier(threshold: Option<f32>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::flex();
    let config = GptConfig {
        vocab_size: 272,
        max_seq_len: 16,
        d_model: 16,
        n_layers: 1,
        n_heads: 2,
        ..GptConfig::default()
    };
    let lm = config.init(Seed(5), &device).without_head();
    let model = WithHead::init(lm, 2, Seed(6), &device);
    let head = ClassHead {
        labels: vec!["ham".to_owned(), "spam".to_owned()],
        reading: Reading::default(),
        threshold,
    };
    let texts = ["the cat and the dog ran to the other cat, and then to the dog"; 4];
    let tokenizer = Tokenizer::train_bpe(texts, 270).unwrap();
    let path = folder.path().join("model");
    fs::create_dir(&path).unwrap();
    let options = SaveOptions::new(tokenizer.end_of_text());
    save_with_head(&path, &model, &head, &options).unwrap();
    tokenizer.save(&path.join("tokenizer.json")).unwrap();
    folder
}

fn classify(folder: &Path, further: &[&str]) -> Command {
    let mut command = program("classify");
    command.arg("--model").arg(folder.join("model"));
    command.args(["--device", "flex"]).args(further);
    command
}

fn lines(ended: &Ended) -> Vec<Value> {
    let lines = ended.out.lines();
    lines.map(|l| serde_json::from_str(l).unwrap()).collect()
}

#[test]
fn every_form_of_input_gives_an_object_a_line_in_order() {
    let folder = classifier(None);
    let path = folder.path();
    let texts = ["the cat, then", "a dog"];
    let two = ["--text", texts[0], "--text", texts[1]];
    let ended = end(&mut classify(path, &two)).done();
    let expected = lines(&ended);
    assert_eq!(expected.len(), 2);
    for (found, text) in expected.iter().zip(texts) {
        assert_eq!(found["text"], text);
        let [ham, spam] =
            ["ham", "spam"].map(|label| found["probabilities"][label].as_f64().unwrap());
        assert!((ham + spam - 1.0).abs() < 1e-6);
        assert_eq!(found["label"], if spam > ham { "spam" } else { "ham" });
        assert_eq!(found.as_object().unwrap().len(), 3);
    }
    assert!(ended.err.contains("classes: ham, spam"), "{}", ended.err);

    for (name, content) in [
        (
            "a.jsonl",
            "{\"text\": \"the cat, then\"}\n{\"sms\": \"a dog\", \"label\": \"?\"}\n",
        ),
        (
            "a.json",
            "[{\"text\": \"the cat, then\"}, {\"text\": \"a dog\"}]",
        ),
        ("a.csv", "text\n\"the cat, then\"\na dog\n"),
        ("a.tsv", "ham\tthe cat, then\nspam\ta dog\n"),
        ("a.txt", "the cat, then\r\n\r\na dog"),
    ] {
        let input = path.join(name);
        fs::write(&input, content).unwrap();
        let options = ["--quiet", "--input", input.to_str().unwrap()];
        let ended = end(&mut classify(path, &options)).done();
        assert_eq!(
            (lines(&ended), &*ended.err),
            (expected.clone(), ""),
            "{name}"
        );

        let last = ["--text", texts[1], "--input", input.to_str().unwrap()];
        let all = lines(&end(&mut classify(path, &last)).done());
        assert_eq!(all[0], expected[1], "{name}");
        assert_eq!(all[1..], expected, "{name}");
        if ["a.jsonl", "a.json", "a.txt"].contains(&name) {
            let mut command = classify(path, &["--quiet"]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let mut stdin = child.stdin.take().unwrap();
            stdin.write_all(content.as_bytes()).unwrap();
            drop(stdin);
            let ended = Ended::from(child.wait_with_output().unwrap()).done();
            assert_eq!(lines(&ended), expected, "{name} on stdin");
        }
    }
}

#[test]
fn the_threshold_of_the_model_decides() {
    for (threshold, label) in [(0.0, "spam"), (1.0, "ham")] {
        let folder = classifier(Some(threshold));
        let ended = end(&mut classify(folder.path(), &["--text", "a dog"])).done();
        assert_eq!(lines(&ended)[0]["label"], label);
    }
}

#[test]
fn texts_that_are_cut_are_counted() {
    let folder = classifier(None);
    let long = "a dog ran to ".repeat(10);
    let options = ["--quiet", "--text", "a dog", "--text", &long];
    let ended = end(&mut classify(folder.path(), &options)).done();
    assert_eq!(lines(&ended)[1]["text"], *long, "the text is told whole");
    let note = "cut: 1 of 2 texts are longer than the 16 tokens that are read of each\n";
    assert_eq!(ended.err, note);
}

#[test]
fn labels_are_those_of_the_description() {
    let folder = classifier(None);
    let path = folder.path().join("model/config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["id2label"] = json!({"0": "LABEL_0", "1": "LABEL_1"});
    fs::write(&path, config.to_string()).unwrap();
    let ended = end(&mut classify(folder.path(), &["--text", "a dog"])).done();
    let found = &lines(&ended)[0];
    assert!(found["probabilities"]["LABEL_1"].is_f64(), "{found}");
}

#[test]
fn what_cannot_be_classified_is_refused_before_anything_is() {
    let folder = classifier(None);
    let input = folder.path().join("bad.jsonl");
    for (content, words) in [
        (
            "{\"text\": \"a\"}\n{\"text\": 7}\n",
            "bad.jsonl, line 2, text: is a number",
        ),
        (
            "{\"text\": \"a\"}\n{\"body\": \"b\"}\n",
            "bad.jsonl, line 2, text: is missing",
        ),
        ("", "bad.jsonl: holds no"),
    ] {
        fs::write(&input, content).unwrap();
        let options = ["--quiet", "--input", input.to_str().unwrap()];
        let ended = end(&mut classify(folder.path(), &options));
        ended.refused(2, &[words]);
        assert_eq!(ended.out, "");
    }
    let mut command = program("classify");
    command.arg("--model").arg(&finished().0);
    end(command.args(["--text", "a"])).refused(2, &["no class head"]);
    let mut command = program("generate");
    command.arg("--model").arg(folder.path().join("model"));
    end(command.args(["--prompt", "a"])).refused(2, &["class head", "`classify`"]);
}
