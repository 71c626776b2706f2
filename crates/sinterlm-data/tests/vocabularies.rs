//! The real vocabularies of published families, where they are at hand: our ids against those of
//! `tokenizers`, from their own files and from the GGUF that we write.

#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use sinterlm_data::{ChatMessage, ChatTemplate, TextMarks, Tokenizer};
use sinterlm_formats::{GgufFile, GgufMetadata, write_gguf};

/// `fixtures/vocabulary_ids.json`, see the script beside it.
#[derive(Deserialize)]
struct Published {
    file_chars: usize,
    piece_chars: usize,
    texts: Vec<String>,
    families: BTreeMap<String, Family>,
}

#[derive(Deserialize)]
struct Family {
    sha256: String,
    /// Ids of "a" with what the tokenizer puts around a text.
    around: Vec<u32>,
    /// The family with the same ids, where this one has none of its own.
    r#as: Option<String>,
    #[serde(default)]
    ids: Vec<Vec<u32>>,
    /// Digest of the ids of each real text.
    #[serde(default)]
    files: BTreeMap<String, String>,
    chat: Option<Chat>,
    llama_cpp: LlamaCpp,
}

#[derive(Deserialize)]
struct LlamaCpp {
    marks: Marks,
    /// Where they are others, the ids of a text, by its number.
    ids: BTreeMap<usize, Vec<u32>>,
}

#[derive(Deserialize)]
struct Marks {
    bos: Option<u32>,
    eos: Option<u32>,
    add_bos: bool,
}

#[derive(Deserialize)]
struct Chat {
    text: String,
    ids: Vec<u32>,
}

fn published() -> Published {
    serde_json::from_str(include_str!("../fixtures/vocabulary_ids.json")).unwrap()
}

/// The folder of each family that is at hand.
fn folders(published: &Published) -> Vec<(&str, PathBuf)> {
    let Some(all) = std::env::var_os("SINTERLM_VOCABS") else {
        eprintln!("skipped: set SINTERLM_VOCABS to the folder of gen_vocabularies.py");
        return Vec::new();
    };
    let named = published.families.keys().map(String::as_str);
    let folders = named.map(|name| (name, Path::new(&all).join(name)));
    let (found, missing): (Vec<_>, Vec<_>) = folders.partition(|(_, folder)| folder.is_dir());
    for (name, _) in missing {
        eprintln!("skipped: SINTERLM_VOCABS has no folder {name}");
    }
    found
}

/// Real texts in pieces, none where they are not at hand.
fn pieces(published: &Published, file: &str) -> Option<Vec<String>> {
    let path = Path::new(&std::env::var_os("SINTERLM_TEST_DATA")?).join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let chars: Vec<char> = text.chars().take(published.file_chars).collect();
    let pieces = chars.chunks(published.piece_chars);
    Some(pieces.map(|piece| piece.iter().collect()).collect())
}

fn hex(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn digest(ids: &[u32]) -> String {
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    hex(&bytes)
}

fn read(folder: &Path) -> (Tokenizer, TextMarks) {
    let tokenizer = Tokenizer::from_file(&folder.join("tokenizer.json")).unwrap();
    let marks = TextMarks::from_folder(folder, &tokenizer, &[]).unwrap();
    (tokenizer, marks)
}

/// What a GGUF of this folder's vocabulary has for metadata.
fn metadata(folder: &Path, tokenizer: &Tokenizer, marks: &TextMarks) -> GgufMetadata {
    let mut metadata = tokenizer.to_gguf(marks, tokenizer.vocab_size()).unwrap();
    metadata.insert("general.architecture".to_owned(), "llama".into());
    if let Some(template) = ChatTemplate::from_folder(folder).unwrap() {
        template.to_gguf(&mut metadata);
    }
    metadata
}

fn write(metadata: &GgufMetadata, path: &Path) {
    write_gguf(path, metadata, &[], |_| unreachable!("it has no tensor")).unwrap();
}

/// Where `tokenizer`, made of a folder or of a GGUF, gives other ids.
fn other_ids(
    published: &Published,
    name: &str,
    from_gguf: bool,
    tokenizer: &Tokenizer,
) -> Vec<String> {
    let family = &published.families[name];
    let expected = &published.families[family.r#as.as_deref().unwrap_or(name)];
    let mut faults = Vec::new();
    let mut compare = |what: &str, ours: &[u32], theirs: &[u32]| {
        if ours != theirs {
            let fault =
                format!("{name}, from a GGUF {from_gguf}, {what:?}:\n {ours:?}\n {theirs:?}");
            faults.push(fault);
        }
    };
    for (number, (text, ids)) in published.texts.iter().zip(&expected.ids).enumerate() {
        let ours = tokenizer.encode(text);
        // A GGUF does not say that Qwen's vocabularies want text in form NFC.
        let as_in_llama_cpp = family.llama_cpp.ids.get(&number) == Some(&ours);
        if !(from_gguf && as_in_llama_cpp) {
            compare(text, &ours, ids);
        }
    }
    compare(
        "around",
        &tokenizer.encode_with_template("a"),
        &family.around,
    );
    if let Some(Chat { text, ids }) = &family.chat {
        compare("chat", &tokenizer.encode_with_special(text), ids);
    }
    for (file, expected) in &expected.files {
        let pieces = pieces(published, file).into_iter().flatten();
        let ids: Vec<u32> = pieces.flat_map(|piece| tokenizer.encode(&piece)).collect();
        if !ids.is_empty() && digest(&ids) != *expected {
            faults.push(format!(
                "{name}, from a GGUF {from_gguf}: other ids of {file}"
            ));
        }
    }
    faults
}

/// The faults of one family, from its own files and from the GGUF that we make of them.
fn faults(published: &Published, name: &str, folder: &Path) -> Vec<String> {
    let family = &published.families[name];
    let source = std::fs::read(folder.join("tokenizer.json")).unwrap();
    assert_eq!(hex(&source), family.sha256, "{name}: another file");
    let (tokenizer, marks) = read(folder);
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("vocabulary.gguf");
    write(&metadata(folder, &tokenizer, &marks), &path);
    let file = GgufFile::open(&path).unwrap();
    assert_eq!(TextMarks::from_gguf(&file).unwrap(), marks, "{name}");
    let theirs = &family.llama_cpp.marks;
    assert_eq!(
        (marks.bos, marks.eos, marks.add_bos),
        (theirs.bos, theirs.eos, theirs.add_bos),
        "{name}: llama.cpp takes others"
    );
    let back = Tokenizer::from_gguf(&file).unwrap();
    let mut faults = other_ids(published, name, false, &tokenizer);
    faults.extend(other_ids(published, name, true, &back));
    let template = ChatTemplate::from_gguf(&file).unwrap();
    if let (Some(template), Some(chat)) = (template, &family.chat) {
        let conversation = [
            ChatMessage::new("user", "Hi <b>there</b>!\n"),
            ChatMessage::new("assistant", "Hello."),
            ChatMessage::new("user", "  1234 words, please "),
        ];
        let text = template.render(&conversation, true).unwrap();
        let ids = template.ids(&conversation, true, &back).unwrap();
        if (&text, &ids) != (&chat.text, &chat.ids) {
            faults.push(format!("{name}: another conversation, {text:?} {ids:?}"));
        }
    }
    faults
}

#[test]
fn published_vocabularies_give_the_ids_of_their_own_programs() {
    let published = published();
    let faults: Vec<String> = folders(&published)
        .par_iter()
        .flat_map(|(name, folder)| faults(&published, name, folder))
        .collect();
    let count = faults.len();
    assert!(faults.is_empty(), "{count} differ:\n{}", faults.join("\n"));
}

/// What `gen_vocabularies.py` gives to llama.cpp.
#[test]
#[ignore = "slow: writes 100 MB of vocabularies into the folder SINTERLM_VOCABS_OUT"]
fn published_vocabularies_are_written_for_llama_cpp() {
    let Some(out) = std::env::var_os("SINTERLM_VOCABS_OUT") else {
        eprintln!("skipped: SINTERLM_VOCABS_OUT is not set");
        return;
    };
    let published = published();
    for (name, folder) in folders(&published) {
        let (tokenizer, marks) = read(&folder);
        let path = Path::new(&out).join(format!("{name}.gguf"));
        write(&metadata(&folder, &tokenizer, &marks), &path);
    }
}
