//! Published data sets, found through `SINTERLM_TEST_DATA`, and files that other libraries wrote.

#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::path::PathBuf;

use sinterlm_data::{BadRecords, Body, RecordForm, RecordOptions, RecordSet, read_records};

/// A published file; none, with a word about it, where there is no such folder.
fn published(name: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("SINTERLM_TEST_DATA") else {
        eprintln!("skipped: SINTERLM_TEST_DATA is not set");
        return None;
    };
    Some(PathBuf::from(folder).join(name))
}

fn read(path: PathBuf, options: &RecordOptions) -> RecordSet {
    read_records(&[path], options).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_published_set_is_read_whole_in_the_form_it_has() {
    for (name, form, count) in [
        ("instruct/alpaca_en_demo.json", RecordForm::Alpaca, 899),
        ("instruct/alpaca_zh_demo.json", RecordForm::Alpaca, 1000),
        ("instruct/instruction-data.json", RecordForm::Alpaca, 1000),
        ("instruct/identity.json", RecordForm::Alpaca, 91),
        ("instruct/lima.json", RecordForm::Alpaca, 1029),
        (
            "instruct/dolly_hhrlhf_train_small.jsonl",
            RecordForm::Completion,
            1000,
        ),
        ("preference/dpo_en_demo.json", RecordForm::Preference, 249),
        (
            "preference/instruction-data-with-preference.json",
            RecordForm::Preference,
            1000,
        ),
        (
            "preference/pku_saferlhf_pairs.jsonl",
            RecordForm::Preference,
            4250,
        ),
        (
            "preference/pku_saferlhf_realign_dpo_5k.json",
            RecordForm::Preference,
            4250,
        ),
        (
            "sms_spam/SMSSpamCollection_train.tsv",
            RecordForm::Labelled,
            4481,
        ),
    ] {
        let Some(path) = published(name) else { return };
        let set = read(path, &RecordOptions::default());
        assert_eq!((set.form, set.records.len()), (form, count), "{name}");
    }
}

#[test]
fn the_two_files_of_one_set_of_pairs_hold_the_same_pairs() {
    let pairs = |name| {
        let set = read(published(name)?, &RecordOptions::default());
        let mut texts: Vec<Vec<String>> = set
            .records
            .iter()
            .map(|record| record.texts().into_iter().map(str::to_owned).collect())
            .collect();
        texts.sort();
        Some(texts)
    };
    let listed = pairs("preference/pku_saferlhf_realign_dpo_5k.json");
    assert_eq!(listed, pairs("preference/pku_saferlhf_pairs.jsonl"));
}

#[test]
fn dialogues_that_part_early_or_end_without_an_answer_are_left_out() {
    let Some(path) = published("preference/hh_rlhf_harmless_base_test.jsonl") else {
        return;
    };
    let options = RecordOptions {
        bad_records: BadRecords::Skip,
        ..RecordOptions::default()
    };
    let set = read(path, &options);
    assert_eq!(
        (set.form, set.records.len()),
        (RecordForm::Preference, 1819)
    );
    let count = |what: &str| {
        set.skipped
            .iter()
            .filter(|(_, why)| why.contains(what))
            .count()
    };
    assert_eq!(
        (count("part before"), count("is empty"), set.skipped_count),
        (5, 4, 9)
    );
    let Body::Preference { prompt, .. } = &set.records[0].body else {
        panic!("{:?}", set.records[0]);
    };
    assert_eq!(
        prompt[0].content,
        "what are some pranks with a pen i can do?"
    );
    assert_eq!(prompt[1].role, "assistant");
}

#[test]
fn the_spam_collection_keeps_its_quotes_and_classes() {
    let Some(path) = published("sms_spam/SMSSpamCollection_train.tsv") else {
        return;
    };
    let set = read(path, &RecordOptions::default());
    let count = |of: &dyn Fn(&sinterlm_data::Record) -> bool| {
        set.records.iter().filter(|record| of(record)).count()
    };
    assert_eq!(count(&|record| record.label() == Some("ham")), 3892);
    assert_eq!(count(&|record| record.label() == Some("spam")), 589);
    let texts: usize = set
        .records
        .iter()
        .map(|record| record.texts()[0].len())
        .sum();
    // All bytes but the labels, one tab and one line end for each record.
    assert_eq!(texts, 380_537 - 3892 * 3 - 589 * 4 - 2 * 4481);
}

#[test]
fn sets_with_judgements_want_to_know_what_to_learn() {
    let Some(path) = published("preference/kto_en_demo.json") else {
        return;
    };
    let fault = read_records(std::slice::from_ref(&path), &RecordOptions::default()).unwrap_err();
    assert!(
        fault.to_string().contains("messages or labelled"),
        "{fault}"
    );
    let options = RecordOptions {
        form: RecordForm::Messages,
        ..RecordOptions::default()
    };
    assert_eq!(read(path, &options).records.len(), 299);
    for (name, count) in [
        ("safety/beavertails_30k_test.jsonl", 2321),
        ("safety/chatgpt_refusals_quora.jsonl", 733),
        ("safety/gptfuzz_labelled.jsonl", 1088),
        ("safety/harmbench_response.jsonl", 458),
        ("safety/jbb_artifacts.jsonl", 1272),
        ("safety/saferlhf_mini.jsonl", 2724),
        ("safety/xstest_completions.jsonl", 1833),
        ("safety/xstest_response_harm.jsonl", 367),
        ("safety/xstest_response_refusal.jsonl", 370),
    ] {
        let path = published(name).unwrap();
        let fault =
            read_records(std::slice::from_ref(&path), &RecordOptions::default()).unwrap_err();
        assert!(
            fault.to_string().contains("completion or labelled"),
            "{fault}"
        );
        let mut options = RecordOptions {
            form: RecordForm::Labelled,
            bad_records: BadRecords::Skip,
            ..RecordOptions::default()
        };
        options.fields.text = Some("response".into());
        let set = read(path, &options);
        assert_eq!(
            set.records.len() + set.skipped_count as usize,
            count,
            "{name}"
        );
        assert!(set.skipped_count < 12, "{name}: {}", set.skipped_count);
    }
}

#[test]
fn an_index_of_sets_is_no_set() {
    let Some(path) = published("instruct/dataset_info.json") else {
        return;
    };
    let fault = read_records(&[path], &RecordOptions::default())
        .unwrap_err()
        .to_string();
    assert!(
        fault.contains("`alpaca_en_demo`") && fault.contains("no form has them all"),
        "{fault}"
    );
}

#[cfg(feature = "parquet")]
mod parquet {
    use std::path::Path;

    use super::*;
    use sinterlm_data::DataError;

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fixtures")
            .join(name)
    }

    #[test]
    fn classes_of_a_parquet_file_have_their_names() {
        let set = read(fixture("labels.parquet"), &RecordOptions::default());
        let labels: Vec<_> = set
            .records
            .iter()
            .map(|r| (r.label().unwrap(), r.texts()[0]))
            .collect();
        assert_eq!(
            labels,
            [
                ("ham", "Say \"hi\"\t"),
                ("spam", "WIN 字🙂"),
                ("ham", "Later")
            ]
        );
        assert!(
            set.records[2]
                .origin
                .to_string()
                .ends_with("labels.parquet: record 3")
        );
    }

    #[test]
    fn conversations_of_a_parquet_file_have_no_fields_that_are_null() {
        let set = read(fixture("chats.parquet"), &RecordOptions::default());
        assert_eq!((set.form, set.records.len()), (RecordForm::Messages, 2));
        let Body::Chat { messages } = &set.records[0].body else {
            panic!("{:?}", set.records[0]);
        };
        let texts: Vec<_> = messages.iter().map(|m| (&*m.role, &*m.content)).collect();
        assert_eq!(
            texts,
            [("user", "1 + 1?"), ("assistant", ""), ("assistant", "2")]
        );
        let calls = serde_json::to_string(&messages[1].extra).unwrap();
        assert_eq!(calls, r#"{"tool_calls":[{"id":"1","name":"add"}]}"#);
        assert!(messages[2].extra.is_empty());
    }

    #[test]
    fn a_damaged_parquet_file_is_told() {
        let mut bytes = std::fs::read(fixture("labels.parquet")).unwrap();
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("cut.parquet");
        bytes.truncate(bytes.len() - 9);
        std::fs::write(&path, bytes).unwrap();
        let fault = read_records(&[path], &RecordOptions::default()).unwrap_err();
        assert!(matches!(fault, DataError::Parquet { .. }), "{fault}");
    }
}

#[test]
#[ignore = "slow: reads half a million records and prints how long that takes"]
fn half_a_million_instructions_are_read_within_a_minute() {
    let Some(path) = published("instruct/alpaca_en_demo.json") else {
        return;
    };
    let text = std::fs::read_to_string(path).unwrap();
    let records: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("many.jsonl");
    let mut lines = String::new();
    for record in records.iter().cycle().take(500_000) {
        lines.push_str(&record.to_string());
        lines.push('\n');
    }
    std::fs::write(&path, &lines).unwrap();
    let start = std::time::Instant::now();
    let set = read(path, &RecordOptions::default());
    let seconds = start.elapsed().as_secs_f64();
    eprintln!(
        "{seconds:.1} s, {:.0} MB/s",
        lines.len() as f64 / 1e6 / seconds
    );
    assert_eq!(set.records.len(), 500_000);
    assert!(seconds < 60.0, "{seconds} s");
}
