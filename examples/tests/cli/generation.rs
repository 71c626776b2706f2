//! `generate` and `chat`: options, several texts, and input that cannot be used.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use sinterlm::data::Tokenizer;

use crate::harness::{Ended, copy_of_finished, end, finished, json, program};

fn generate(arguments: &[&str]) -> Ended {
    let mut command = program("generate");
    command.arg("--model").arg(&finished().0);
    end(command
        .args(["--quiet", "--max-new-tokens", "12"])
        .args(arguments))
}

#[test]
fn help_says_what_sets_the_length_of_a_run_and_what_a_prompt_is() {
    for (name, words) in [
        (
            "pretrain_tinystories",
            &["trainer.budget_minutes", "trainer.max_steps"][..],
        ),
        ("generate", &["Names of special tokens"]),
    ] {
        let help = end(program(name).arg("--help")).done().out;
        for word in words {
            assert!(help.contains(word), "{name}: {help}");
        }
    }
}

/// The answers to lines typed into `chat`.
fn chat(command: &mut Command, lines: &str) -> Ended {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(lines.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap().into()
}

fn chat_program() -> Command {
    let mut command = program("chat");
    command.arg("--model").arg(&finished().0);
    command.args(["--quiet", "--max-new-tokens", "12"]);
    command
}

#[test]
fn sampling_options_out_of_range_are_refused() {
    for (option, value, words) in [
        ("--temperature", "11", "use a number from 0 to 10"),
        ("--top-p", "0", "use a number from 0.000001 to 1"),
        ("--min-p", "nan", "use a number from 0 to 1"),
        ("--repetition-penalty", "0", "use a number from 0.01 to 100"),
        ("--logit-bias", "7", "50256=-10"),
        ("--overflow", "wrap", "slide, error"),
        ("--max-new-tokens", "0", "--max-new-tokens"),
        ("--beams", "0", "--beams"),
        ("--samples", "0", "--samples"),
    ] {
        generate(&["--prompt", "x", option, value]).refused(2, &[option, words]);
    }
    generate(&["--prompt", "x", "--beams", "2", "--draft", "y"]).refused(2, &["--draft"]);
}

#[test]
fn every_sampler_writes_a_text() {
    let options = "--top-k 0 --top-p 0.9 --min-p 0.01 --typical-p 0.95 --repetition-penalty 1.1 \
         --presence-penalty -0.1 --frequency-penalty 0.1 --no-repeat-ngram 3 --logit-bias 5=-1";
    let mut arguments: Vec<&str> = options.split_whitespace().collect();
    arguments.extend(["--prompt", "Once upon"]);
    let ended = generate(&arguments).done();
    assert!(
        ended.out.starts_with("Once upon") && ended.out.len() > 12,
        "{}",
        ended.out
    );
}

#[test]
fn an_empty_prompt_begins_a_text() {
    let ended = generate(&["--prompt", ""]).done();
    assert!(ended.out.trim().len() > 3, "{}", ended.out);
}

#[test]
fn several_prompts_come_whole_and_in_order_as_they_would_alone() {
    let prompts = [
        "--prompt",
        "Once",
        "--prompt",
        "The little dog ran",
        "--temperature",
        "0",
    ];
    let both = generate(&[&prompts[..], &["--logprobs"]].concat()).done();
    let lines: Vec<&str> = both.out.split_inclusive('\n').collect();
    let alone = |prompt| {
        generate(&["--temperature", "0", "--prompt", prompt])
            .done()
            .out
    };
    let texts = alone("Once") + &alone("The little dog ran");
    assert!(both.out.starts_with(&texts), "{}\nnot\n{texts}", both.out);
    let figures = lines.iter().filter(|line| line.split('\t').count() == 4);
    let logprobs = figures.map(|line| line.split('\t').nth(2).unwrap().parse::<f64>().unwrap());
    let logprobs: Vec<f64> = logprobs.collect();
    assert!(
        logprobs.len() > 4 && logprobs.iter().all(|p| *p <= 0.0),
        "{logprobs:?}"
    );
}

#[test]
fn a_draft_model_leaves_the_greedy_text_and_one_beam_finds_it() {
    let greedy = ["--prompt", "Once upon a time", "--temperature", "0"];
    let plain = generate(&greedy).done().out;
    let run = finished().0.display().to_string();
    assert_eq!(
        generate(&[&greedy[..], &["--draft", &run]].concat())
            .done()
            .out,
        plain
    );
    assert_eq!(
        generate(&[&greedy[..2], &["--beams", "1"]].concat())
            .done()
            .out,
        plain
    );
}

#[test]
fn a_stop_string_ends_the_text_before_it() {
    let greedy = ["--prompt", "Once upon a time", "--temperature", "0"];
    let whole = generate(&greedy).done().out;
    let new = whole.trim_end().strip_prefix("Once upon a time").unwrap();
    let middle: String = new.chars().skip(3).take(2).collect();
    let cut = generate(&[&greedy[..], &["--stop", &middle]].concat())
        .done()
        .out;
    let expected = &new[..new.find(&middle).unwrap()];
    assert_eq!(cut, format!("Once upon a time{expected}\n"));
}

#[test]
fn a_prompt_longer_than_the_context_slides_or_is_refused() {
    let long = "a little dog ran and ran. ".repeat(300);
    let refused = generate(&["--prompt", &long, "--overflow", "error"]);
    refused.refused(
        2,
        &["tokens do not fit into the model's context of", "slide"],
    );
    assert!(generate(&["--prompt", &long]).done().out.starts_with(&long));
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let (_folder, run) = copy_of_finished();
    Tokenizer::gpt2()
        .save(&run.join("model/tokenizer.json"))
        .unwrap();
    for name in ["generate", "chat"] {
        let mut command = program(name);
        let ended = end(command.arg("--model").arg(&run));
        ended.refused(2, &["the tokenizer knows 50257 tokens", "another model"]);
    }
}

#[test]
fn a_conversation_is_kept_saved_and_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let (two, none) = (
        folder.path().join("two.json"),
        folder.path().join("none.json"),
    );
    let lines = format!(
        "Hello there\nAnd then?\n/save {}\n/reset\n/save {}\n/dance\n/save\n/help\n/quit\nlost",
        two.display(),
        none.display()
    );
    let ended = chat(
        chat_program().args(["--system", "Be kind.", "--seed", "3"]),
        &lines,
    )
    .done();
    let saved = json(&two);
    let roles: Vec<&str> = saved
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["role"].as_str().unwrap())
        .collect();
    assert_eq!(roles, ["system", "user", "assistant", "user", "assistant"]);
    assert_eq!(saved[0]["content"], "Be kind.");
    assert_eq!(json(&none).as_array().unwrap().len(), 1);
    assert!(ended.out.contains("/reset      forget"), "{}", ended.out);
    for words in ["no command /dance; try /help", "not saved: name a file"] {
        assert!(ended.err.contains(words), "{}", ended.err);
    }
    let again = chat(
        chat_program().args(["--system", "Be kind.", "--seed", "3"]),
        &lines,
    )
    .done();
    assert_eq!(again.out, ended.out);
}

#[test]
fn a_template_that_refuses_a_conversation_is_named_with_its_line() {
    let (_folder, run) = copy_of_finished();
    let template = run.join("model/chat_template.jinja");
    fs::write(
        &template,
        "{# refuses #}\n{{ raise_exception('no users here') }}",
    )
    .unwrap();
    let mut command = program("chat");
    command.arg("--model").arg(&run);
    let ended = chat(&mut command, "Hi\n");
    ended.refused(2, &["chat_template.jinja, line 2: no users here"]);
}

#[test]
fn a_tuned_model_is_talked_to_in_the_form_of_its_training() {
    let (_folder, run) = copy_of_finished();
    let form = "{\"kind\": \"own\", \"with_input\": \"{instruction}{input}\", \
        \"without_input\": \"Once upon a time {instruction}\"}";
    fs::write(run.join("model/prompt_template.json"), form).unwrap();
    let greedy = ["--quiet", "--max-new-tokens", "12", "--temperature", "0"];
    let mut command = program("chat");
    let answer = chat(command.arg("--model").arg(&run).args(greedy), "a dog\n").done();
    let text = generate(&["--temperature", "0", "--prompt", "Once upon a time a dog"]).done();
    assert_eq!(format!("Once upon a time a dog{}", answer.out), text.out);

    let mut command = program("chat");
    command.arg("--model").arg(&run).args(&greedy[1..]);
    let said = chat(&mut command, "/quit\n").done().err;
    assert!(said.contains("the form of its training"), "{said}");
}

#[test]
fn texts_may_begin_with_hyphens() {
    let listed = generate(&["--prompt", "- one"]).done();
    assert!(listed.out.starts_with("- one"), "{}", listed.out);
    let ruled = generate(&["--prompt", "x", "--stop", "---", "--stop", "-"]).done();
    assert!(ruled.out.starts_with('x'), "{}", ruled.out);
    let told = chat(chat_program().args(["--system", "--- be brief"]), "hi\n").done();
    assert!(!told.out.is_empty());
}
