//! From a configuration to stores: splits, the cache, damage, kills and messages.

#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::fs;
use std::path::{Path, PathBuf};

use sinterlm_config::Seed;
use sinterlm_data::{
    DataConfig, DataError, Prepared, SourceConfig, Stage, TokenStore, Tokenizer, TokenizerConfig,
    prepare,
};
use tempfile::TempDir;

struct Bench {
    folder: TempDir,
    data: DataConfig,
    tokenizer: TokenizerConfig,
}

impl Bench {
    /// Forty stories in one file, some of them twice, no validation text.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let stories: Vec<_> = (0..40)
            .map(|i| format!("Tom saw {} cats.\nHe was glad — 谢谢.", i % 37))
            .collect();
        let path = folder.path().join("train.txt");
        fs::write(&path, stories.join("\n<|endoftext|>\n")).unwrap();
        let data = DataConfig {
            source: SourceConfig::Files {
                train: vec![path],
                valid: vec![],
            },
            valid_fraction: 0.2,
            cache_dir: Some(folder.path().join("cache")),
            ..DataConfig::default()
        };
        Self {
            folder,
            data,
            tokenizer: TokenizerConfig::Bpe { vocab_size: 270 },
        }
    }

    fn prepare(&self) -> Result<Prepared, DataError> {
        prepare(&self.data, &self.tokenizer, Seed(3), true, &mut |_| ())
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// The only folder in the cache.
    fn cached(&self) -> PathBuf {
        let cache = self.folder.path().join("cache");
        let folders: Vec<_> = fs::read_dir(cache)
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        assert_eq!(folders.len(), 1, "{folders:?}");
        folders[0].clone()
    }

    fn message(&self, error: &DataError) -> String {
        let text = error
            .to_string()
            .replace(&self.folder.path().display().to_string(), "DIR");
        match text.find("cache/") {
            Some(at) => text.replace(&text[at + 6..at + 38], "KEY"),
            None => text,
        }
    }
}

fn ids(store: &TokenStore) -> Vec<u32> {
    let mut ids = vec![0; store.header().tokens as usize];
    store.read(0, &mut ids);
    ids
}

fn documents(prepared: &Prepared, store: &TokenStore) -> Vec<String> {
    let ids = ids(store);
    let end = prepared.tokenizer.end_of_text();
    assert_eq!((ids[0], ids[ids.len() - 1]), (end, end));
    let parts = ids[1..ids.len() - 1].split(|&id| id == end);
    parts.map(|ids| prepared.tokenizer.decode(ids)).collect()
}

#[test]
fn every_document_is_on_one_side_and_repeats_stay_together() {
    let prepared = Bench::new().prepare().unwrap();
    let (train, valid) = (
        documents(&prepared, &prepared.train),
        documents(&prepared, &prepared.valid),
    );
    assert_eq!(train.len() + valid.len(), 40);
    assert!(!valid.is_empty());
    assert!(train.iter().all(|text| !valid.contains(text)));
    let mut all: Vec<_> = train.iter().chain(&valid).cloned().collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 37);
}

#[test]
fn the_header_holds_what_the_figures_need() {
    for tokenizer in [
        TokenizerConfig::Bpe { vocab_size: 270 },
        TokenizerConfig::Gpt2,
    ] {
        let prepared = Bench {
            tokenizer,
            ..Bench::new()
        }
        .prepare()
        .unwrap();
        let valid = documents(&prepared, &prepared.valid);
        let header = prepared.valid.header();
        let gpt2 = Tokenizer::gpt2();
        let tokens: usize = valid.iter().map(|text| gpt2.encode(text).len() + 1).sum();
        assert_eq!(header.gpt2_tokens, Some(tokens as u64));
        assert_eq!(
            header.text_bytes,
            valid.iter().map(String::len).sum::<usize>() as u64
        );
        assert_eq!(header.documents, valid.len() as u64);
        assert_eq!(header.token_bytes, 2);
        assert_eq!(header.source, prepared.fingerprints.source);
        assert_eq!(prepared.train.header().gpt2_tokens, None);
    }
}

#[test]
fn the_second_start_reads_no_text_and_gives_the_same() {
    let bench = Bench::new();
    let first = bench.prepare().unwrap();
    assert!(!first.report.is_cached);
    let mut stages = Vec::new();
    let mut note = |progress: sinterlm_data::Progress| stages.push(progress.stage);
    let second = prepare(&bench.data, &bench.tokenizer, Seed(3), true, &mut note).unwrap();
    assert!(second.report.is_cached);
    assert!(stages.is_empty());
    assert_eq!(ids(&first.train), ids(&second.train));
    assert_eq!(first.valid.header(), second.valid.header());
    assert_eq!(first.report.text, second.report.text);
    assert_eq!(first.fingerprints, second.fingerprints);

    // The resolved configuration finds the same folder.
    let again = Bench {
        data: second.resolved,
        ..bench
    }
    .prepare()
    .unwrap();
    assert!(again.report.is_cached);
}

#[test]
fn progress_names_each_stage_and_reaches_its_total() {
    let bench = Bench::new();
    let mut seen = Vec::new();
    prepare(&bench.data, &bench.tokenizer, Seed(3), true, &mut |p| {
        seen.push(p);
    })
    .unwrap();
    let stages: Vec<_> = seen.iter().map(|p| p.stage).collect();
    assert_eq!(
        stages,
        [Stage::Read, Stage::TrainTokenizer, Stage::Tokenize]
    );
    assert_eq!(Some(seen[2].done), seen[2].total);
}

#[test]
fn given_validation_text_removes_its_documents_from_training() {
    let bench = Bench::new();
    let train = bench.file("t.txt", "one one\n<|endoftext|>\ntwo\n<|endoftext|>three");
    let valid = bench.file("v.txt", "one   one<|endoftext|>four");
    let source = SourceConfig::Files {
        train: vec![train.clone()],
        valid: vec![valid],
    };
    let data = DataConfig {
        source,
        ..bench.data.clone()
    };
    let prepared = prepare(&data, &TokenizerConfig::Gpt2, Seed(0), true, &mut |_| ()).unwrap();
    assert_eq!(documents(&prepared, &prepared.train), ["two", "three"]);
    assert_eq!(documents(&prepared, &prepared.valid), ["one   one", "four"]);
    assert_eq!(prepared.train.header().dropped_documents, 1);
    assert!(
        prepared
            .report
            .text
            .contains("1 training documents left out")
    );
}

/// The message for training and validation text, with a tokenizer that is trained on it.
fn fault(bench: &Bench, train: &[&Path], valid: &[&Path]) -> String {
    let owned = |paths: &[&Path]| paths.iter().map(|path| (*path).to_owned()).collect();
    let source = SourceConfig::Files {
        train: owned(train),
        valid: owned(valid),
    };
    let data = DataConfig {
        source,
        ..bench.data.clone()
    };
    let bpe = TokenizerConfig::Bpe { vocab_size: 300 };
    bench.message(&prepare(&data, &bpe, Seed(0), true, &mut |_| ()).unwrap_err())
}

#[test]
fn validation_text_that_is_the_training_text_is_called_that() {
    let bench = Bench::new();
    let train = bench.file("t.txt", "one one\n<|endoftext|>\ntwo\n<|endoftext|>three");
    insta::assert_snapshot!(fault(&bench, &[&train], &[&train]), @"DIR/t.txt: given as training text and as validation text; leave the validation text out to hold back a share of the training text, or give another one");
    let again = train.parent().unwrap().join(".").join("t.txt");
    let linked = fault(&bench, &[&train], &[&again]);
    assert!(
        linked.contains("given as training text and as validation text"),
        "{linked}"
    );
    let copy = bench.file("v.txt", &fs::read_to_string(&train).unwrap());
    insta::assert_snapshot!(fault(&bench, &[&train], &[&copy]), @"DIR/v.txt: the validation text holds the same as the training text, DIR/t.txt; leave the validation text out to hold back a share of the training text, or give another one");
    let more = bench.file(
        "m.txt",
        "three<|endoftext|>two<|endoftext|>one one<|endoftext|>four",
    );
    insta::assert_snapshot!(fault(&bench, &[&train], &[&more]), @"the training split holds no document; give text that the validation text does not hold as well");
}

#[test]
fn a_text_without_separators_is_cut_in_two() {
    let bench = Bench::new();
    let lines: Vec<_> = (0..100).map(|i| format!("line {i}")).collect();
    let path = bench.file("lone.txt", &lines.join("\n"));
    let source = SourceConfig::Files {
        train: vec![path],
        valid: vec![],
    };
    let prepared = Bench {
        data: DataConfig {
            source,
            ..bench.data.clone()
        },
        ..bench
    }
    .prepare();
    let prepared = prepared.unwrap();
    let (train, valid) = (
        documents(&prepared, &prepared.train),
        documents(&prepared, &prepared.valid),
    );
    assert_eq!(format!("{}\n{}", train[0], valid[0]), lines.join("\n"));
    assert!((15..=25).contains(&valid[0].lines().count()));
}

#[test]
fn changed_content_is_refused_where_a_fingerprint_is_recorded() {
    let bench = Bench {
        tokenizer: TokenizerConfig::Gpt2,
        ..Bench::new()
    };
    let resolved = bench.prepare().unwrap().resolved;
    bench.file("train.txt", "something<|endoftext|>else");
    assert!(!bench.prepare().unwrap().report.is_cached);
    let error = Bench {
        data: resolved,
        ..bench
    }
    .prepare()
    .unwrap_err();
    assert!(matches!(error, DataError::SourceChanged { .. }));
    assert!(
        error
            .to_string()
            .starts_with("data.fingerprint: the source's content is ")
    );
}

/// What a file of the cache looks like after the damage, and the message that names it.
fn damaged(file: &str, damage: fn(&mut Vec<u8>)) -> String {
    let bench = Bench::new();
    let first = bench.prepare().unwrap();
    // Read now: the damage goes through to the mapped file.
    let expected = ids(&first.train);
    let path = bench.cached().join(file);
    let mut bytes = fs::read(&path).unwrap();
    damage(&mut bytes);
    fs::write(&path, bytes).unwrap();
    let error = TokenStore::open(&path, &first.tokenizer).unwrap_err();
    let second = bench.prepare().unwrap();
    assert!(!second.report.is_cached);
    assert!(
        second.report.text.contains("made again"),
        "{}",
        second.report.text
    );
    assert_eq!(expected, ids(&second.train));
    assert!(bench.prepare().unwrap().report.is_cached);
    bench.message(&error)
}

#[test]
fn damaged_stores_are_named_and_made_again() {
    insta::assert_snapshot!(damaged("train.tokens", |b| b.truncate(b.len() - 10)), @"DIR/cache/KEY/train.tokens: holds 1324 bytes of token ids where its header says 1334; delete the file's folder, it is made again from the text");
    insta::assert_snapshot!(damaged("valid.tokens", |b| b.truncate(100)), @"DIR/cache/KEY/valid.tokens: is cut off within its header, after 100 bytes; delete the file's folder, it is made again from the text");
    insta::assert_snapshot!(damaged("train.tokens", |b| b[60] ^= 1), @"DIR/cache/KEY/train.tokens: its header does not match its checksum; delete the file's folder, it is made again from the text");
    insta::assert_snapshot!(damaged("train.tokens", |b| *b.last_mut().unwrap() ^= 1), @"DIR/cache/KEY/train.tokens: the token ids do not match their checksum; delete the file's folder, it is made again from the text");
    insta::assert_snapshot!(damaged("train.tokens", |b| b[0] = 0), @"DIR/cache/KEY/train.tokens: is no token store; delete the file's folder, it is made again from the text");
}

#[test]
fn a_store_of_another_tokenizer_is_refused() {
    let bench = Bench::new();
    let prepared = bench.prepare().unwrap();
    let other = Tokenizer::train_bpe(["another text"], 260).unwrap();
    let error = TokenStore::open(&bench.cached().join("train.tokens"), &other).unwrap_err();
    let text = bench.message(&error);
    let text = text.replace(&prepared.tokenizer.fingerprint()[..12], "OURS");
    insta::assert_snapshot!(text.replace(&other.fingerprint()[..12], "OTHER"), @"DIR/cache/KEY/train.tokens: made with tokenizer OURS, this run's is OTHER; delete the file's folder, it is made again from the text");
    // The same in the cache folder: made again.
    other.save(&bench.cached().join("tokenizer.json")).unwrap();
    let again = bench.prepare().unwrap();
    assert_eq!(
        again.tokenizer.fingerprint(),
        prepared.tokenizer.fingerprint()
    );
}

#[test]
fn a_killed_preparation_leaves_nothing_that_counts_as_whole() {
    let bench = Bench::new();
    let whole = bench.prepare().unwrap();
    let folder = bench.cached();
    // Killed while writing: a staging folder of a process that is gone, ids without a header.
    let cache = folder.parent().unwrap();
    let staging = cache.join(".staging-1-0-dead");
    fs::rename(&folder, &staging).unwrap();
    let tokens = staging.join("train.tokens");
    let mut bytes = fs::read(&tokens).unwrap();
    bytes[..1024].fill(0);
    fs::write(&tokens, bytes).unwrap();
    assert!(TokenStore::open(&tokens, &whole.tokenizer).is_err());
    let again = bench.prepare().unwrap();
    assert!(!again.report.is_cached);
    assert_eq!(ids(&again.train), ids(&whole.train));
    assert!(!staging.exists());
}

#[test]
fn a_failing_preparation_leaves_the_cache_empty() {
    let bench = Bench {
        tokenizer: TokenizerConfig::Bpe { vocab_size: 5000 },
        ..Bench::new()
    };
    let error = bench.prepare().unwrap_err();
    assert!(matches!(error, DataError::VocabularyTooLarge { .. }));
    let left = fs::read_dir(bench.folder.path().join("cache"))
        .unwrap()
        .count();
    assert_eq!(left, 0);
}

#[test]
fn generated_stories_need_no_file_and_resolve_their_seed() {
    let bench = Bench::new();
    let source = SourceConfig::Stories {
        count: 30,
        seed: None,
    };
    let data = DataConfig {
        source,
        ..bench.data.clone()
    };
    let prepared = prepare(&data, &bench.tokenizer, Seed(11), true, &mut |_| ()).unwrap();
    let resolved = SourceConfig::Stories {
        count: 30,
        seed: Some(11),
    };
    assert_eq!(prepared.resolved.source, resolved);
    let documents = prepared.train.header().documents + prepared.valid.header().documents;
    assert_eq!(documents, 30);
    assert!(
        prepared
            .report
            .text
            .starts_with("30 generated stories (seed 11)")
    );
}

#[test]
fn missing_files_are_named_before_anything_is_written() {
    let bench = Bench::new();
    let source = SourceConfig::Files {
        train: vec![Path::new("no/such.txt").into()],
        valid: vec![],
    };
    let data = DataConfig {
        source,
        ..bench.data.clone()
    };
    let error = prepare(&data, &bench.tokenizer, Seed(0), true, &mut |_| ()).unwrap_err();
    assert!(error.to_string().contains("no/such.txt"), "{error}");
    assert!(!bench.folder.path().join("cache").exists());
}

#[test]
fn tiny_stories_are_counted_as_tiktoken_counts_them() {
    let Some(folder) = std::env::var_os("SINTERLM_TEST_DATA") else {
        eprintln!("skipped: SINTERLM_TEST_DATA is not set");
        return;
    };
    let folder = Path::new(&folder).join("tinystories");
    let path = |name| vec![folder.join(name)];
    let bench = Bench::new();
    let data = DataConfig {
        source: SourceConfig::Files {
            train: path("tinystories_train.txt"),
            valid: path("tinystories_valid.txt"),
        },
        ..bench.data.clone()
    };
    let tokenizer = TokenizerConfig::Bpe { vocab_size: 512 };
    let prepared = prepare(&data, &tokenizer, Seed(0), true, &mut |_| ()).unwrap();
    let text = fs::read_to_string(folder.join("tinystories_valid.txt")).unwrap();
    let stories: Vec<_> = text
        .split("<|endoftext|>")
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .collect();
    let gpt2 = tiktoken_rs::r50k_base_singleton();
    let header = prepared.valid.header();
    assert_eq!((header.documents, stories.len()), (274, 274));
    assert_eq!(
        header.text_bytes as usize,
        stories.iter().map(|text| text.len()).sum::<usize>()
    );
    let tokens: usize = stories
        .iter()
        .map(|text| gpt2.encode_ordinary(text).len() + 1)
        .sum();
    assert_eq!(header.gpt2_tokens, Some(tokens as u64));
    assert_eq!(documents(&prepared, &prepared.valid), stories);
    assert_eq!(prepared.train.header().documents, 3342);
    assert_eq!(prepared.train.header().dropped_documents, 0);

    let start = std::time::Instant::now();
    assert!(
        prepare(&data, &tokenizer, Seed(0), true, &mut |_| ())
            .unwrap()
            .report
            .is_cached
    );
    eprintln!(
        "second start: {:?}; {}",
        start.elapsed(),
        prepared.report.text
    );
}
