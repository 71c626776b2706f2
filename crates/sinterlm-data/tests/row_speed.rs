//! How long records take to become rows.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::path::Path;
use std::time::Instant;

use sinterlm_data::{
    Body, PromptTemplate, Prompter, Record, RecordOptions, RowSet, RowsConfig, Tokenizer,
    read_records,
};

const RECORDS: usize = 50_000;
/// One word in so many is met in no other record: as in 50,000 real ones, of which most words that were
/// not met before are in the first few thousand.
const NEW_WORDS: usize = 30;

/// Real Alpaca records over and over, each time with other new words.
fn records() -> Option<Vec<Record>> {
    let data = std::env::var_os("SINTERLM_TEST_DATA")?;
    let file = Path::new(&data).join("instruct/alpaca_en_demo.json");
    let read = read_records(&[file], &RecordOptions::default()).unwrap();
    let mut records: Vec<Record> = read.records.into_iter().cycle().take(RECORDS).collect();
    let mut number = 0;
    for record in &mut records {
        let Body::Instruction { output, .. } = &mut record.body else {
            continue;
        };
        let words = output.split(' ').map(|word| {
            number += 1;
            if number % NEW_WORDS == 0 {
                format!("{word}{:x}", number * 7919)
            } else {
                word.to_owned()
            }
        });
        *output = words.collect::<Vec<_>>().join(" ");
    }
    Some(records)
}

#[test]
#[ignore = "slow: renders and tokenises 50,000 records five times and prints how long that takes"]
fn half_a_million_alpaca_records_are_rows_within_a_minute() {
    let Some(records) = records() else {
        eprintln!("skipped: SINTERLM_TEST_DATA is not set");
        return;
    };
    let config = RowsConfig::default();
    let mut rates: Vec<f64> = (0..5)
        .map(|_| {
            // A tokenizer that has met no word yet.
            let json = Tokenizer::gpt2().to_json();
            let tokenizer = Tokenizer::from_json(&json, "gpt2".as_ref()).unwrap();
            let end = tokenizer.end_of_text();
            let prompter =
                Prompter::new(&PromptTemplate::Alpaca, &tokenizer, None, &[end]).unwrap();
            let start = Instant::now();
            let set = RowSet::build(&records, &prompter, &config).unwrap();
            let seconds = start.elapsed().as_secs_f64();
            let counts = set.counts();
            let rate = RECORDS as f64 * 60.0 / seconds;
            eprintln!(
                "{seconds:.2} s, {} tokens, {rate:.0} records a minute",
                counts.tokens
            );
            rate
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    assert!(rates[2] >= 500_000.0, "{:.0} records a minute", rates[2]);
}
