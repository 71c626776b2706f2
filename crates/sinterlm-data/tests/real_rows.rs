//! Rows of real records against those of transformers, which `fixtures/real_rows.py` writes.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sinterlm_data::{
    ChatTemplate, PromptTemplate, Prompter, Record, RecordOptions, RenderedRow, Tokenizer,
    read_records,
};

/// Rows that are shown where they differ, of each form.
const SHOWN: usize = 3;

/// A row as transformers has it.
#[derive(Deserialize)]
struct Line {
    file: String,
    number: usize,
    text: String,
    ids: Vec<u32>,
    mask: String,
}

/// Rows of a form, and those that are equal.
#[derive(Debug, Default, PartialEq)]
struct Equal {
    rows: usize,
    texts: usize,
    ids: usize,
    masks: usize,
    /// Conversations that take several rows, as the ids of a prompt are not those of the text behind it.
    parted: usize,
}

/// The folder that the script wrote and the records that it read.
fn at_hand() -> Option<(PathBuf, PathBuf)> {
    let folder = |name: &str| {
        let found = std::env::var_os(name);
        if found.is_none() {
            eprintln!("skipped: {name} is not set; fixtures/real_rows.py says how");
        }
        found.map(PathBuf::from)
    };
    Some((folder("SINTERLM_REAL_ROWS")?, folder("SINTERLM_TEST_DATA")?))
}

fn mask(row: &RenderedRow) -> String {
    let spans = row.spans.iter();
    let tokens = spans.map(|span| {
        let trained = if span.answer.is_some() { "1" } else { "0" };
        trained.repeat(span.tokens.len())
    });
    tokens.collect()
}

fn compared(rows: &Path, data: &Path, cut: &str, form: &str) -> Equal {
    let tokenizer = rows.join(format!("{cut}.tokenizer.json"));
    let tokenizer = Tokenizer::from_file(&tokenizer).unwrap();
    let templates = fs::read_to_string(rows.join("templates.json")).unwrap();
    let templates: BTreeMap<String, String> = serde_json::from_str(&templates).unwrap();
    let template = templates.get(form).map(|source| {
        let mut template = ChatTemplate::new(form, source).unwrap();
        let marks = [("bos_token", "<s>"), ("eos_token", "<|endoftext|>")];
        template.variables = marks
            .map(|(name, mark)| (name.to_owned(), mark.into()))
            .into();
        template
    });
    let form_of = match template {
        Some(_) => PromptTemplate::Chat,
        None => PromptTemplate::Alpaca,
    };
    let prompter = Prompter::new(&form_of, &tokenizer, template.as_ref(), &[]).unwrap();
    let mut records: BTreeMap<String, Vec<Record>> = BTreeMap::new();
    let (mut equal, mut shown) = (Equal::default(), 0);
    for line in fs::read_to_string(rows.join(format!("{cut}.{form}.jsonl")))
        .unwrap()
        .lines()
    {
        let line: Line = serde_json::from_str(line).unwrap();
        let records = records.entry(line.file.clone()).or_insert_with(|| {
            let file = data.join("instruct").join(&line.file);
            read_records(&[file], &RecordOptions::default())
                .unwrap()
                .records
        });
        let made = prompter.render(&records[line.number]).unwrap();
        // The last row holds all the text.
        let row = made.last().unwrap();
        equal.parted += usize::from(made.len() > 1);
        let same = [
            row.text == line.text,
            row.ids == line.ids,
            mask(row) == line.mask,
        ];
        equal.rows += 1;
        equal.texts += usize::from(same[0]);
        equal.ids += usize::from(same[1]);
        equal.masks += usize::from(same[2]);
        if !same[1] && shown < SHOWN {
            shown += 1;
            let first = row
                .ids
                .iter()
                .zip(&line.ids)
                .take_while(|(a, b)| a == b)
                .count();
            let around = |ids: &[u32]| {
                let part = &ids[first.saturating_sub(2)..ids.len().min(first + 3)];
                let part = part.iter().map(|id| tokenizer.decode(&[*id]));
                part.collect::<Vec<_>>()
            };
            eprintln!(
                "  {}: record {}, token {first}: {:?}, transformers {:?}",
                line.file,
                line.number,
                around(&row.ids),
                around(&line.ids)
            );
        }
    }
    eprintln!("{form} with the cut of {cut}: {equal:?}");
    equal
}

#[test]
fn real_records_have_the_texts_ids_and_masks_of_transformers() {
    let Some((rows, data)) = at_hand() else {
        return;
    };
    for cut in ["gpt2", "llama3"] {
        for form in [
            "alpaca", "chatml", "zephyr", "mistral", "llama3", "thinking",
        ] {
            let equal = compared(&rows, &data, cut, form);
            assert!(equal.rows > 1000, "{equal:?}");
            assert_eq!(equal.texts, equal.rows, "{form}");
            // Prompt and answer are tokenised together there, apart here: ids differ where a token
            // would lie across the border.
            let across = match (cut, form) {
                ("gpt2", "llama3") => equal.rows,
                (_, "alpaca") => equal.rows / 20,
                _ => equal.rows / 500,
            };
            assert!(equal.ids + across >= equal.rows, "{form}: {equal:?}");
            assert_eq!(equal.masks, equal.ids, "{form}");
        }
    }
}
