//! `generate` and `chat` with weights in files of other programs: GGUF with its own tokenizer and
//! template, llama2.c with one beside it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sinterlm::burn::tensor::Device;
use sinterlm::config::Seed;
use sinterlm::data::{ChatTemplate, TextMarks, Tokenizer};
use sinterlm::formats::{Dtype, GgufMetadata};
use sinterlm::model::{Activation, GptConfig, NormKind, Positions, save_gguf, save_model};
use tempfile::TempDir;

use crate::harness::{Ended, end, program};

const PROMPT: &str = "The cat and the dog";

/// An untrained model of Llama's kind: as a folder of ours and as GGUF files, one without text parts.
struct Files {
    folder: TempDir,
}

impl Files {
    fn made() -> Self {
        let config = GptConfig {
            vocab_size: 288,
            max_seq_len: 64,
            d_model: 32,
            n_layers: 2,
            n_heads: 4,
            n_kv_heads: 2,
            d_ff: 48,
            positions: Positions::Rope,
            norm: NormKind::RmsNorm,
            qkv_bias: false,
            attn_out_bias: false,
            mlp_bias: false,
            activation: Activation::Swiglu,
            ..GptConfig::default()
        };
        let model = config.init(Seed(5), &Device::flex());
        let texts = ["the cat and the dog ran to the other cat, and then to the dog"; 4];
        let tokenizer = Tokenizer::train_bpe(texts, 270).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("own");
        fs::create_dir(&own).unwrap();
        save_model(&own, &model, tokenizer.end_of_text()).unwrap();
        tokenizer.save(&own.join("tokenizer.json")).unwrap();
        let bare = folder.path().join("bare.gguf");
        let dtype = Dtype::F32.into();
        save_gguf(&bare, &model, dtype, GgufMetadata::new()).unwrap();
        let marks = TextMarks::of_training(&tokenizer);
        let mut metadata = tokenizer.to_gguf(&marks, config.vocab_size).unwrap();
        let refuses = "{{ raise_exception('the template of the file') }}";
        let template = ChatTemplate::new("here", refuses).unwrap();
        template.to_gguf(&mut metadata);
        let whole = folder.path().join("whole.gguf");
        save_gguf(&whole, &model, dtype, metadata).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn command(name: &str, model: &Path) -> Command {
    let mut command = program(name);
    command.arg("--model").arg(model);
    command.args(["--quiet", "--max-new-tokens", "30", "--temperature", "0"]);
    command
}

fn text(model: &Path) -> String {
    end(command("generate", model).args(["--prompt", PROMPT]))
        .done()
        .out
}

fn chat(model: &Path) -> Ended {
    let mut command = command("chat", model);
    let streams = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = streams.stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"Hello\n").unwrap();
    child.wait_with_output().unwrap().into()
}

#[test]
fn a_gguf_continues_as_the_folder_it_was_written_from() {
    let files = Files::made();
    let expected = text(&files.path("own"));
    assert!(expected.len() > PROMPT.len() + 10, "{expected}");
    assert_eq!(text(&files.path("whole.gguf")), expected);
}

#[test]
fn a_gguf_brings_its_chat_template() {
    let files = Files::made();
    let ended = chat(&files.path("whole.gguf"));
    ended.refused(2, &["whole.gguf, line 1: the template of the file"]);
    assert!(chat(&files.path("own")).done().out.len() > 1);
}

#[test]
fn a_file_without_a_tokenizer_asks_for_one_and_takes_it() {
    let files = Files::made();
    let bare = files.path("bare.gguf");
    let ended = end(command("generate", &bare).args(["--prompt", PROMPT]));
    ended.refused(
        2,
        &["bare.gguf: the file holds no tokenizer", "--tokenizer"],
    );
    for tokenizer in ["whole.gguf", "own", "own/tokenizer.json"] {
        let mut command = command("generate", &bare);
        command.args(["--prompt", PROMPT, "--tokenizer"]);
        let ended = end(command.arg(files.path(tokenizer))).done();
        assert!(ended.out.starts_with(PROMPT), "{}", ended.out);
    }
}

#[test]
fn a_cut_gguf_is_refused() {
    let files = Files::made();
    let path = files.path("whole.gguf");
    let bytes = fs::read(&path).unwrap();
    for len in [3, 40, bytes.len() / 3, bytes.len() - 40] {
        fs::write(&path, &bytes[..len]).unwrap();
        end(command("generate", &path).args(["--prompt", PROMPT])).refused(2, &["whole.gguf"]);
    }
}

/// The text is that of llama2.c itself.
#[test]
fn a_llama2c_file_with_its_tokenizer_writes_the_text_of_llama2c() {
    let Some(data) = std::env::var_os("SINTERLM_TEST_DATA") else {
        eprintln!("skipped: SINTERLM_TEST_DATA is not set");
        return;
    };
    let folder = Path::new(&data).join("weights_tiny_llama");
    let stored = fs::read_to_string(folder.join("aidreams260K_greedy.json")).unwrap();
    let stored: serde_json::Value = serde_json::from_str(&stored).unwrap();
    let expected = stored["greedy_text"].as_str().unwrap().trim();
    let text = |prompt: &str| {
        let mut command = program("generate");
        command.args(["--quiet", "--temperature", "0", "--max-new-tokens", "127"]);
        command.arg("--model").arg(folder.join("aidreams260K.bin"));
        command.arg("--tokenizer").arg(folder.join("tok512.bin"));
        end(command.args(["--prompt", prompt])).done().out
    };
    assert_eq!(text("").trim(), expected);
    // Cut before a space: the next token's own space is not lost.
    let (cut, _) = expected.match_indices(' ').nth(5).unwrap();
    let (prompt, next) = expected.split_at(cut);
    let continued = text(prompt);
    assert!(
        continued.starts_with(&[prompt, &next[..10]].concat()),
        "{continued}"
    );
}
