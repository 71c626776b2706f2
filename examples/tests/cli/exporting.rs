//! `export`: every format read back, places that are taken, models of the Hub.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::{Ended, content, copy_of_finished, copy_tree, end, finished, json, program};

fn export(model: &Path, to: &Path, further: &[&str]) -> Ended {
    let mut command = program("export");
    command.arg("--model").arg(model).arg("--to").arg(to);
    end(command.args(["--device", "flex", "--quiet"]).args(further))
}

/// The receipt of a folder or of a file.
fn receipt(of: &Path) -> Value {
    let beside = of.with_file_name(format!(
        "{}.receipt.json",
        of.file_name().unwrap().display()
    ));
    json(&if of.is_dir() {
        of.join("receipt.json")
    } else {
        beside
    })
}

#[test]
fn every_format_and_type_is_read_back_and_leaves_a_receipt() {
    let folder = tempfile::tempdir().unwrap();
    let run = &finished().0;
    for (name, dtype, least_correlation) in [
        ("f32", "f32", 1.0 - 1e-9),
        ("f16", "f16", 0.9999),
        ("bf16", "bf16", 0.999),
        ("f32.gguf", "f32", 1.0 - 1e-9),
        ("bf16.gguf", "bf16", 0.999),
        ("q8.gguf", "q8_0", 0.99),
        ("q5.gguf", "q5_1", 0.9),
        ("q4.gguf", "q4_0", 0.8),
    ] {
        let to = folder.path().join(name);
        let ended = export(run, &to, &["--dtype", dtype]).done();
        assert_eq!(ended.out, format!("exported: {}\n", to.display()));
        let receipt = receipt(&to);
        assert_eq!(receipt["passed"], true, "{name}");
        assert_eq!(receipt["dtype"], dtype.to_uppercase());
        let is_gguf = name.to_lowercase().contains(".gguf");
        assert_eq!(receipt["format"], if is_gguf { "gguf" } else { "hf" });
        if dtype == "f32" {
            assert_eq!(receipt["max_difference"], 0.0, "{name}");
            assert_eq!(receipt["greedy_agreement"], 1.0, "{name}");
        } else {
            assert!(receipt["max_difference"].as_f64().unwrap() > 0.0, "{name}");
        }
        let correlation = receipt["correlation"].as_f64().unwrap();
        assert!(correlation >= least_correlation, "{name}: {correlation}");
        let ids = receipt["prompts"].as_array().unwrap();
        assert!(
            ids.iter().all(|prompt| prompt["ids_equal"] == true),
            "{name}"
        );
    }
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 3 + 2 * 5, "nothing else stays: {left:?}");
}

#[test]
fn a_model_survives_the_way_through_a_gguf_and_writes_the_same_text() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let run = &finished().0;
    export(run, &at("first"), &[]).done();
    export(&at("first"), &at("second.gguf"), &[]).done();
    export(&at("second.gguf"), &at("third"), &[]).done();
    for name in [
        "model.safetensors",
        "config.json",
        "tokenizer_config.json",
        "generation_config.json",
    ] {
        let read = |folder: &str| fs::read(at(folder).join(name)).unwrap();
        assert!(read("first") == read("third"), "{name}");
    }
    let text = |model: &Path| {
        let mut command = program("generate");
        command.arg("--model").arg(model);
        let options = "--quiet --temperature 0 --max-new-tokens 12 --prompt Once";
        end(command.args(options.split(' '))).done().out
    };
    assert_eq!(text(&at("third")), text(run));
}

#[test]
fn template_and_marks_travel() {
    let (folder, run) = copy_of_finished();
    let (model, at) = (run.join("model"), |name: &str| folder.path().join(name));
    let template =
        "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}";
    fs::write(model.join("chat_template.jinja"), template).unwrap();
    export(&run, &at("a.gguf"), &[]).done();
    let ended = export(&at("a.gguf"), &at("b"), &["--dtype", "f16"]).done();
    assert_eq!(
        fs::read_to_string(at("b").join("chat_template.jinja")).unwrap(),
        template
    );
    let marks = json(&at("b").join("tokenizer_config.json"));
    assert_eq!(marks["eos_token"], "<|endoftext|>");
    assert_eq!(marks["bos_token"], "<|endoftext|>");
    let receipt = receipt(&at("b"));
    assert_eq!(receipt["has_chat_template"], true);
    let last = receipt["prompts"].as_array().unwrap().last().unwrap();
    assert_eq!(last["text"], "a conversation by the chat template");
    assert_eq!(last["ids_equal"], true, "{}", ended.out);

    // A published folder's files go on as they are, unknown keys and all.
    let config = at("b").join("tokenizer_config.json");
    let mut marks = marks;
    marks["something_new"] = 7.into();
    fs::write(&config, marks.to_string()).unwrap();
    export(&at("b"), &at("c"), &[]).done();
    assert_eq!(
        fs::read_to_string(at("c").join("tokenizer_config.json")).unwrap(),
        marks.to_string()
    );
}

#[test]
fn a_tokenizer_that_a_gguf_does_not_say_is_refused_with_what_to_do() {
    let (folder, run) = copy_of_finished();
    let path = run.join("model/tokenizer.json");
    let mut tokenizer = json(&path);
    // llama.cpp knows no tokens that take the spaces before them.
    let id = tokenizer["model"]["vocab"]["e"].clone();
    let token = serde_json::json!({ "id": id, "content": "e", "lstrip": true, "rstrip": false,
        "single_word": false, "normalized": false, "special": false });
    tokenizer["added_tokens"]
        .as_array_mut()
        .unwrap()
        .push(token);
    fs::write(&path, tokenizer.to_string()).unwrap();
    let to = folder.path().join("a.gguf");
    export(&run, &to, &[]).refused(2, &["other ids", "write a Hugging Face folder instead"]);
    assert!(!to.exists());
    export(&run, &folder.path().join("a"), &[]).done();
}

#[test]
fn a_place_that_is_taken_is_replaced_only_if_it_holds_an_export_and_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let run = &finished().0;
    export(run, &at("a"), &[]).done();
    export(run, &at("a"), &["--dtype", "f16"]).refused(2, &["is there already", "--force"]);
    export(run, &at("a"), &["--dtype", "f16", "--force"]).done();
    assert_eq!(receipt(&at("a"))["dtype"], "F16");
    export(run, &at("a.gguf"), &[]).done();
    export(run, &at("a.gguf"), &[]).refused(2, &["is there already"]);
    export(run, &at("a.gguf"), &["--dtype", "q8_0", "--force"]).done();
    assert_eq!(receipt(&at("a.gguf"))["dtype"], "Q8_0");

    fs::create_dir(at("mine")).unwrap();
    fs::write(at("mine").join("diary.txt"), "dear").unwrap();
    let before = content(folder.path());
    export(run, &at("mine"), &["--force"]).refused(2, &["is no earlier export"]);
    let itself = export(&at("a"), &at("a"), &["--force"]);
    itself.refused(2, &["is the model that is read"]);
    export(run, &at("b"), &["--dtype", "q4_0"]).refused(2, &["--dtype q4_0", "--format gguf"]);
    export(run, &at("b"), &["--dtype", "q9"]).refused(2, &["q9", "use f32, f16"]);
    export(&at("none"), &at("b"), &[]).refused(2, &["none", "does not exist"]);
    assert!(content(folder.path()) == before, "nothing was touched");
}

/// Symbolic links, `..` and paths relative to the working directory lead where they lead.
#[cfg(unix)]
#[test]
fn nothing_is_written_into_the_model_that_is_read_or_its_run() {
    let (folder, run) = copy_of_finished();
    let at = |name: &str| folder.path().join(name);
    copy_tree(&run.join("model"), &at("M"));
    std::os::unix::fs::symlink("M", at("link")).unwrap();
    std::os::unix::fs::symlink("M/new", at("to_new")).unwrap();
    let name = run.file_name().unwrap().to_str().unwrap();
    let all = || [content(&at("M")), content(&run)];
    let before = all();
    for (model, to) in [
        ("M", "M/sub"),
        ("M", "M/sub.gguf"),
        ("M", "link/sub"),
        ("link", "M/deep/sub"),
        ("M", "none/../M/sub"),
        ("M", "to_new"),
        (name, &format!("{name}/sub")),
        (name, &format!("{name}/checkpoints/x.gguf")),
        (&format!("{name}/model"), &format!("{name}/sub")),
    ] {
        let mut command = program("export");
        command.current_dir(folder.path());
        command.args(["--model", model, "--to", to, "--quiet", "--device", "flex"]);
        let ended = end(&mut command);
        let said = if to == "to_new" {
            "is there already"
        } else {
            "is the model that is read"
        };
        ended.refused(2, &[said]);
    }
    assert!(all() == before, "nothing was touched");
}

#[test]
fn force_removes_no_file_that_an_export_did_not_write() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let run = &finished().0;
    export(run, &at("a"), &[]).done();
    fs::write(at("a").join("notes.txt"), "mine").unwrap();
    fs::write(at("thesis.gguf"), "mine, too").unwrap();
    fs::write(at("b.gguf.receipt.json"), "{\"bread\": 3}").unwrap();
    let before = content(folder.path());
    export(run, &at("a"), &["--force"]).refused(2, &["notes.txt", "move it away"]);
    let thesis = export(run, &at("thesis.gguf"), &["--force"]);
    thesis.refused(2, &["thesis.gguf", "is no earlier export"]);
    for further in [&[][..], &["--force"]] {
        let ended = export(run, &at("b.gguf"), further);
        ended.refused(2, &["b.gguf"]);
    }
    assert!(content(folder.path()) == before, "nothing was touched");
    fs::remove_file(at("a").join("notes.txt")).unwrap();
    export(run, &at("a"), &["--force"]).done();
}

#[test]
fn a_tokenizer_of_another_model_is_refused_and_a_missing_one_can_be_named() {
    let (folder, run) = copy_of_finished();
    let tokenizer = run.join("model/tokenizer.json");
    let elsewhere = folder.path().join("elsewhere.json");
    fs::rename(&tokenizer, &elsewhere).unwrap();
    let to = folder.path().join("to");
    export(&run, &to, &[]).refused(2, &["tokenizer.json"]);
    let named = elsewhere.display().to_string();
    export(&run, &to, &["--tokenizer", &named]).done();
    assert!(to.join("tokenizer.json").is_file());
    sinterlm::data::Tokenizer::gpt2().save(&elsewhere).unwrap();
    let other = folder.path().join("other");
    export(&run, &other, &["--tokenizer", &named]).refused(2, &["knows 50257 tokens"]);
}

#[test]
fn a_model_of_the_hub_is_found_in_the_cache_and_told_when_out_of_reach() {
    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
    let folder = tempfile::tempdir().unwrap();
    let repo = folder.path().join("hub/models--some--tiny");
    copy_tree(
        &finished().0.join("model"),
        &repo.join("snapshots").join(COMMIT),
    );
    fs::create_dir_all(repo.join("refs")).unwrap();
    fs::write(repo.join("refs/main"), COMMIT).unwrap();
    let of_hub = |model: &str, to: &str, further: &[&str]| {
        let mut command = program("export");
        command.env("HF_HUB_CACHE", folder.path().join("hub"));
        command.args(["--model", model, "--quiet", "--to"]);
        end(command.arg(folder.path().join(to)).args(further))
    };
    of_hub("some/tiny", "a", &[]).done();
    of_hub(&format!("hub:some/tiny@{COMMIT}"), "b", &["--offline"]).done();
    let source = &receipt(&folder.path().join("b"))["source"];
    assert!(source.as_str().unwrap().contains(COMMIT), "{source}");
    of_hub("some/other", "c", &[])
        .refused(2, &["some/other", "no such path here", "cannot be reached"]);
    of_hub("some/other", "c", &["--offline"])
        .refused(2, &["some/other", "not in the local Hub cache"]);
    of_hub("hub:nonsense", "c", &[]).refused(2, &["nonsense", "owner/name"]);
    let generate = |model: &str| {
        let mut command = program("generate");
        command.env("HF_HUB_CACHE", folder.path().join("hub"));
        let options = "--offline --quiet --max-new-tokens 2 --prompt Once";
        end(command.args(["--model", model]).args(options.split(' ')))
    };
    generate("some/tiny").done();
    generate("some/other").refused(2, &["some/other", "not in the local Hub cache"]);
}

#[test]
fn the_form_that_a_model_was_tuned_in_travels_to_folders() {
    let (folder, run) = copy_of_finished();
    let at = |name: &str| folder.path().join(name);
    let form = "{\"kind\": \"alpaca\"}";
    fs::write(run.join("model/prompt_template.json"), form).unwrap();
    export(&run, &at("first"), &[]).done();
    export(&at("first"), &at("second"), &[]).done();
    for name in ["first", "second"] {
        let copied = json(&at(name).join("prompt_template.json"));
        assert_eq!(copied["kind"], "alpaca", "{name}");
        let receipt = receipt(&at(name));
        assert_eq!(receipt["prompt_template"]["kind"], "alpaca");
        let last = receipt["prompts"].as_array().unwrap().last().unwrap();
        assert_eq!(last["text"], "an instruction in the model's form");
        assert_eq!(last["ids_equal"], true);
    }
    export(&run, &at("first"), &["--force"]).done();
    export(&run, &at("a.gguf"), &[]).done();
    export(&at("a.gguf"), &at("third"), &[]).done();
    assert!(!at("third").join("prompt_template.json").exists());
}
