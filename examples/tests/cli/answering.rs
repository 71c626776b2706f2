//! `generate --input`: prompts and conversations in, one JSON object a line out.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sinterlm::data::Tokenizer;
use tempfile::TempDir;

use crate::harness::{Ended, copy_of_finished, end, finished, json as read_json, program};

fn answer(model: &Path, records: &str, further: &[&str]) -> (Ended, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("prompts.jsonl");
    fs::write(&input, records).unwrap();
    let mut command = program("generate");
    command.arg("--model").arg(model).arg("--input").arg(input);
    let greedy = ["--quiet", "--max-new-tokens", "12", "--temperature", "0"];
    (end(command.args(greedy).args(further)), folder)
}

fn lines(ended: Ended) -> Vec<Value> {
    let lines = ended.done().out;
    let lines = lines.lines();
    lines.map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// What the model writes after a prompt.
fn continued(model: &Path, prompt: &str) -> String {
    let mut command = program("generate");
    command.arg("--model").arg(model).args(["--prompt", prompt]);
    let greedy = ["--quiet", "--max-new-tokens", "12", "--temperature", "0"];
    let text = end(command.args(greedy)).done().out;
    let text = text.strip_suffix('\n').unwrap();
    text.strip_prefix(prompt).unwrap().to_owned()
}

#[test]
fn every_form_is_answered_in_order_and_texts_are_continued_without_a_template() {
    let run: &PathBuf = &finished().0;
    let records = "{\"prompt\": \"Once upon a time\"}\n\n\
        {\"instruction\": \"The little dog\", \"input\": \"\"}\n\
        {\"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}\n\
        {\"prompt\": \"One day\", \"id\": 7}\n";
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().display().to_string();
    let (ended, _input) = answer(run, records, &["--out", &out]);
    let answers = lines(ended);
    let prompts: Vec<&Value> = answers.iter().map(|answer| &answer["prompt"]).collect();
    let expected = ["Once upon a time", "The little dog", "Hello", "One day"];
    assert_eq!(prompts, expected);
    for at in [0, 1, 3] {
        assert_eq!(answers[at]["text"], continued(run, expected[at]), "{at}");
        assert_eq!(answers[at]["ended_by_eos"], false);
        assert_eq!(answers[at].as_object().unwrap().len(), 3);
    }
    let summary = read_json(&folder.path().join("summary.json"));
    assert!(summary["tokens"].as_u64() > Some(12), "{summary}");
}

#[test]
fn prompts_go_through_the_chat_template_of_the_model() {
    let (_folder, run) = copy_of_finished();
    let template =
        "<|endoftext|>{% for m in messages %}{{ m.role[:0] }}{% endfor %}Once upon a time";
    fs::write(run.join("model/chat_template.jinja"), template).unwrap();
    let (ended, _input) = answer(&run, "{\"prompt\": \"Hello\"}\n", &[]);
    let text = continued(&finished().0, "Once upon a time");
    let expected = json!({"prompt": "Hello", "text": text, "ended_by_eos": false});
    assert_eq!(lines(ended), [expected]);

    let refuses =
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}x";
    fs::write(run.join("model/chat_template.jinja"), refuses).unwrap();
    let records =
        "{\"prompt\": \"Hello\"}\n{\"messages\": [{\"role\": \"system\", \"content\": \"a\"}]}\n";
    let (ended, _input) = answer(&run, records, &[]);
    ended.refused(2, &["prompts.jsonl, line 2, messages: ", "no system"]);
    assert_eq!(ended.out, "");
}

#[test]
fn many_prompts_keep_their_order_and_end_where_the_model_ends_them() {
    let run = &finished().0;
    let tokenizer = Tokenizer::from_file(&run.join("tokenizer.json")).unwrap();
    let ends = format!("{}=1000", tokenizer.end_of_text());
    let record = |number| format!("{{\"prompt\": \"The cat saw {number} birds\"}}\n");
    let records: String = (0..300).map(record).collect();
    let (ended, _input) = answer(run, &records, &["--logit-bias", &ends]);
    let answers = lines(ended);
    assert_eq!(answers.len(), 300);
    for (number, answer) in answers.iter().enumerate() {
        let prompt = format!("The cat saw {number} birds");
        let expected = json!({"prompt": prompt, "text": "", "ended_by_eos": true});
        assert_eq!(*answer, expected);
    }
}

#[test]
fn records_that_cannot_be_answered_are_refused_by_line_and_field_before_any_is() {
    let run = &finished().0;
    let long = "a little dog ran and ran. ".repeat(60);
    let (fine, long) = (
        "{\"prompt\": \"Once\"}",
        format!("{{\"prompt\": \"{long}\"}}"),
    );
    for (bad, words) in [
        (
            "{\"prompt\": 7}",
            "line 2, prompt: is a number; write a text",
        ),
        ("{\"text\": \"Once\"}", "line 2, record: has none of prompt"),
        (
            "{\"messages\": [{\"role\": \"user\"}]}",
            "line 2, messages.0.content: is missing",
        ),
        (&long, "line 2, prompt: "),
    ] {
        let records = format!("{fine}\n{bad}\n");
        let (ended, _input) = answer(run, &records, &["--overflow", "error"]);
        ended.refused(2, &["prompts.jsonl, ", words]);
        assert_eq!(ended.out, "");
    }
    let mut command = program("generate");
    let missing = end(command
        .arg("--model")
        .arg(run)
        .args(["--input", "nowhere.jsonl"]));
    missing.refused(2, &["nowhere.jsonl: no such file"]);
    let (ended, _input) = answer(run, fine, &["--prompt", "Once"]);
    ended.refused(2, &["--input", "--prompt"]);
}

/// The finished run as if it had been tuned in a form, with what tells apart how it is asked.
fn tuned(form: &str) -> (TempDir, PathBuf) {
    let (folder, run) = copy_of_finished();
    fs::write(run.join("model/prompt_template.json"), form).unwrap();
    (folder, run)
}

#[test]
fn a_tuned_model_is_asked_in_the_form_of_its_training_and_prompts_are_continued() {
    let own = json!({
        "kind": "own",
        "with_input": "Once upon a time {instruction} saw {input}",
        "without_input": "Once upon a time {instruction}",
    });
    let (_folder, run) = tuned(&own.to_string());
    let records = "{\"instruction\": \"a dog\", \"input\": \"a cat\"}\n{\"prompt\": \"a dog\"}\n\
        {\"messages\": [{\"role\": \"user\", \"content\": \"a dog\"}]}\n\
        {\"prompt\": \"One day\", \"completion\": \"a dog\"}\n";
    let (ended, _input) = answer(&run, records, &[]);
    let answers = lines(ended);
    let base = &finished().0;
    for (answer, prompt, asked) in [
        (
            &answers[0],
            "a dog\n\na cat",
            "Once upon a time a dog saw a cat",
        ),
        (&answers[1], "a dog", "Once upon a time a dog"),
        (&answers[2], "a dog", "Once upon a time a dog"),
        (&answers[3], "One day", "One day"),
    ] {
        assert_eq!(answer["prompt"], prompt);
        assert_eq!(answer["text"], continued(base, asked), "{asked}");
    }
    assert_eq!(continued(&run, "a dog"), continued(base, "a dog"));

    let (_folder, run) = tuned("{\"kind\": \"own\"}");
    let (ended, _input) = answer(&run, records, &[]);
    ended.refused(2, &["prompt_template.json: missing field `with_input`"]);
}
