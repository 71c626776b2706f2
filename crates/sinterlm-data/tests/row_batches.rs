//! Rows as batches: each row once an epoch, batch n whichever were read before, packing.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;
use sinterlm_config::Seed;
use sinterlm_data::{
    BatchesConfig, Body, Layout, Mixture, Origin, PromptTemplate, Prompter, Record, RowBatches,
    RowPlace, RowSet, RowsConfig, Tokenizer,
};

const MAX: usize = 48;

/// Rows of the lengths given, at least three tokens each.
fn set(lengths: &[usize]) -> Arc<RowSet> {
    let records: Vec<Record> = (0..)
        .zip(lengths)
        .map(|(number, len)| {
            let body = Body::Completion {
                prompt: " a".into(),
                completion: " b".repeat(len - 2),
            };
            Record::new(
                body,
                Origin::Made {
                    name: "test",
                    number,
                },
            )
        })
        .collect();
    let config = RowsConfig {
        max_seq_len: MAX,
        ..RowsConfig::default()
    };
    let prompter = Prompter::new(&PromptTemplate::Alpaca, &Tokenizer::gpt2(), None, &[]).unwrap();
    Arc::new(RowSet::build(&records, &prompter, &config).unwrap())
}

fn batches(sets: Vec<Arc<RowSet>>, config: &BatchesConfig, step: usize, seed: u64) -> RowBatches {
    RowBatches::new(sets, config, MAX, step, 50_256, Seed(seed)).unwrap()
}

fn packed() -> BatchesConfig {
    BatchesConfig {
        layout: Layout::Packed,
        ..BatchesConfig::default()
    }
}

fn places(batches: &RowBatches, rows: usize) -> Vec<RowPlace> {
    let all = (0..).map_while(|n| batches.batch(n, rows));
    all.flat_map(|batch| batch.places.into_iter().flatten())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn an_epoch_holds_each_row_once_and_a_batch_is_itself_whenever_it_is_read(
        lengths in prop::collection::vec(3_usize..=MAX, 1..120),
        is_packed: bool, group_by_length: bool, rows in 1_usize..7, step in 1_usize..20, seed: u64,
    ) {
        let layout = if is_packed { Layout::Packed } else { Layout::Padded };
        let config = BatchesConfig { layout, group_by_length, max_epochs: Some(2), ..BatchesConfig::default() };
        let set = set(&lengths);
        let made = batches(vec![set.clone()], &config, step, seed);
        let mut seen = HashMap::new();
        for place in places(&made, rows) {
            *seen.entry(place).or_insert(0) += 1;
        }
        prop_assert_eq!(seen.len(), lengths.len());
        prop_assert!(seen.values().all(|times| *times == 2), "{:?}", seen);
        // The first epoch alone has each once.
        let first = made.rows_until(1);
        let of_first = places(&made, 1);
        let one = BatchesConfig { max_epochs: Some(1), ..config.clone() };
        let one = batches(vec![set.clone()], &one, step, seed);
        let alone = places(&one, rows);
        prop_assert_eq!(&of_first[..lengths.len()], alone.as_slice());
        prop_assert_eq!(one.total_rows(), Some(first));
        // Read from the end, by another object.
        let other = batches(vec![set], &config, step, seed);
        let count = made.total_rows().unwrap().div_ceil(rows as u64);
        for n in (0..count).rev() {
            prop_assert_eq!(other.batch(n, rows), made.batch(n, rows));
        }
        prop_assert!(made.batch(count, rows).is_none());
    }

    #[test]
    fn targets_shift_inside_segments_and_padding_weighs_nothing(
        lengths in prop::collection::vec(3_usize..=MAX, 1..60), is_packed: bool, seed: u64,
    ) {
        let layout = if is_packed { Layout::Packed } else { Layout::Padded };
        let config = BatchesConfig { layout, ..BatchesConfig::default() };
        let made = batches(vec![set(&lengths)], &config, 4, seed);
        let got = made.batch(0, 3).unwrap();
        let batch = &got.batch;
        prop_assert!(batch.seq <= MAX);
        let mut tokens = 0.0;
        for (number, row) in got.places.iter().enumerate() {
            let mut at = number * batch.seq;
            for (segment, place) in row.iter().enumerate() {
                let data = made.row(*place);
                let end = at + data.ids.len();
                prop_assert_eq!(&batch.ids[at..end], &*data.ids);
                prop_assert_eq!(&batch.targets[at..end - 1], &data.ids[1..]);
                let expected: Vec<f32> = data.weights().skip(1).collect();
                prop_assert_eq!(&batch.weights[at..end - 1], expected.as_slice());
                prop_assert_eq!(batch.weights[end - 1].to_bits(), 0);
                prop_assert!(batch.segments[at..end].iter().all(|s| *s == segment as u32));
                let positions: Vec<u32> = (0..data.ids.len() as u32).collect();
                prop_assert_eq!(&batch.positions[at..end], positions.as_slice());
                tokens += data.trained_tokens() as f64;
                at = end;
            }
            prop_assert_eq!(batch.lengths[number] as usize, at - number * batch.seq);
            let padding = at..(number + 1) * batch.seq;
            prop_assert!(batch.weights[padding].iter().all(|w| *w == 0.0));
        }
        prop_assert!((batch.token_count() - tokens).abs() < 1e-6);
    }
}

/// Over more than one group, steps of other sizes than a group's divisors included.
#[test]
fn groups_join_without_a_gap() {
    let lengths: Vec<usize> = (0..9000).map(|at| 3 + at * 7 % 40).collect();
    let set = set(&lengths);
    for config in [packed(), BatchesConfig::default()] {
        let config = BatchesConfig {
            max_epochs: Some(1),
            ..config
        };
        let made = batches(vec![set.clone()], &config, 30, 5);
        let mut seen: Vec<usize> = places(&made, 6).iter().map(|place| place.row).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..9000).collect::<Vec<_>>());
        // A micro-batch of another size cuts the same sequence.
        assert_eq!(places(&made, 6), places(&made, 30));
    }
}

#[test]
fn steps_of_like_lengths_have_less_padding_and_packed_rows_least() {
    let lengths: Vec<usize> = (0..5000).map(|at| 3 + at * at % 45).collect();
    let set = set(&lengths);
    let share = |config: &BatchesConfig| {
        let figures = batches(vec![set.clone()], config, 8, 1).figures(0, 8);
        assert_eq!(figures.tokens, lengths.iter().sum::<usize>() as u64);
        figures.padding_share()
    };
    let in_order = BatchesConfig {
        group_by_length: false,
        ..BatchesConfig::default()
    };
    let (random, grouped, full) = (
        share(&in_order),
        share(&BatchesConfig::default()),
        share(&packed()),
    );
    assert!(random > 0.3, "{random}");
    assert!(grouped < 0.15, "{grouped}");
    assert!(full < 0.1 && full < grouped, "{full}");
}

#[test]
fn figures_are_those_of_the_batches() {
    let lengths: Vec<usize> = (0..50).map(|at| 3 + at % 40).collect();
    for config in [packed(), BatchesConfig::default()] {
        let config = BatchesConfig {
            max_epochs: Some(1),
            ..config
        };
        let made = batches(vec![set(&lengths)], &config, 4, 2);
        let figures = made.figures(0, 4);
        let all: Vec<_> = (0..).map_while(|n| made.batch(n, 4)).collect();
        assert_eq!(figures.batches, all.len() as u64);
        let slots: usize = all.iter().map(|b| b.batch.ids.len()).sum();
        assert_eq!(figures.slots, slots as u64);
        let trained: f64 = all.iter().map(|b| b.batch.token_count()).sum();
        assert!((figures.trained_tokens as f64 - trained).abs() < 1e-6);
    }
}

#[test]
fn a_mixture_draws_by_its_weights_and_wants_one_for_each_set() {
    let sets = vec![set(&[5; 300]), set(&[9; 100])];
    let config = BatchesConfig {
        mixture: Mixture::Weights(vec![1.0, 1.0]),
        max_epochs: Some(1),
        ..BatchesConfig::default()
    };
    let made = batches(sets.clone(), &config, 4, 2);
    let drawn = places(&made, 4);
    let of_second = drawn.iter().filter(|place| place.set == 1).count();
    assert_eq!((drawn.len(), of_second), (400, 200));
    let config = BatchesConfig {
        mixture: Mixture::Weights(vec![1.0]),
        ..config
    };
    let error = RowBatches::new(sets, &config, MAX, 4, 0, Seed(1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "mixture.weights has 1 weights for 2 sets; give one for each, or leave it out"
    );
}
