//! Windows over token stores: what is covered, how often, in which order.

#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::collections::HashSet;

use proptest::prelude::*;
use sinterlm_config::Seed;
use sinterlm_data::{Batch, TokenStore, Tokenizer, TrainWindows, ValidWindows};

fn bytes() -> &'static Tokenizer {
    static BYTES: std::sync::LazyLock<Tokenizer> =
        std::sync::LazyLock::new(|| Tokenizer::train_bpe(["a"], 257).unwrap());
    &BYTES
}

/// A store of one document whose targets are `len` bytes, all different while `len` < 94.
fn store(len: usize) -> TokenStore {
    let text: String = (0..len - 1)
        .map(|i| char::from(33 + (i % 94) as u8))
        .collect();
    let store = TokenStore::from_documents(bytes(), [text]);
    assert_eq!(store.targets(), len as u64);
    store
}

fn rows(batch: &Batch) -> impl Iterator<Item = (&[u32], &[u32])> {
    batch
        .ids
        .chunks(batch.seq)
        .zip(batch.targets.chunks(batch.seq))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_epoch_has_each_target_once_but_for_a_remainder(
        len in 2_usize..90, seq_len in 1_usize..9, seed in any::<u64>(), epoch in 0_u64..4,
    ) {
        prop_assume!(len >= seq_len);
        let windows = TrainWindows::new(store(len), seq_len, Seed(seed)).unwrap();
        let per_epoch = windows.rows_per_epoch();
        prop_assert_eq!(per_epoch, (len / seq_len) as u64);
        let mut stream = vec![0; len + 1];
        windows.store().read(0, &mut stream);
        let mut seen = HashSet::new();
        for row in epoch * per_epoch..(epoch + 1) * per_epoch {
            let batch = windows.batch(row, 1);
            prop_assert_eq!(batch.token_count() as usize, seq_len);
            for (i, (&id, &target)) in batch.ids.iter().zip(&batch.targets).enumerate() {
                prop_assert!(seen.insert(target));
                // All ids differ, so a pair tells its place: the target follows its id.
                let place = stream.iter().position(|&x| x == id).unwrap();
                prop_assert_eq!(stream[place + 1], target);
                prop_assert_eq!(batch.positions[i], i as u32);
            }
        }
        prop_assert!(len - seen.len() < seq_len);
    }

    #[test]
    fn a_batch_depends_on_its_rows_alone(
        len in 20_usize..90, n in 0_u64..50, size in 1_usize..8, seed in any::<u64>(),
    ) {
        let windows = TrainWindows::new(store(len), 4, Seed(seed)).unwrap();
        let together = windows.batch(n, size);
        for (i, (ids, targets)) in rows(&together).enumerate() {
            let alone = windows.batch(n * size as u64 + i as u64, 1);
            prop_assert_eq!(&alone.ids, ids);
            prop_assert_eq!(&alone.targets, targets);
        }
        prop_assert_eq!(windows.batch(n, size), together);
    }

    #[test]
    fn validation_has_each_target_once_in_order(
        len in 1_usize..90, seq_len in 1_usize..12, size in 1_usize..5,
    ) {
        let windows = ValidWindows::new(store(len.max(2)), seq_len).unwrap();
        let len = windows.store().targets() as usize;
        let mut stream = vec![0; len + 1];
        windows.store().read(0, &mut stream);
        let (mut ids, mut targets) = (Vec::new(), Vec::new());
        let mut count = 0.0;
        for batch in windows.batches(size) {
            prop_assert!(batch.rows > 0 && batch.rows <= size);
            count += batch.token_count();
            for (i, &weight) in batch.weights.iter().enumerate() {
                if weight > 0.5 {
                    ids.push(batch.ids[i]);
                    targets.push(batch.targets[i]);
                } else {
                    prop_assert_eq!((batch.ids[i], batch.targets[i]), (0, 0));
                }
            }
        }
        prop_assert_eq!(count as usize, len);
        prop_assert_eq!(&ids[..], &stream[..len]);
        prop_assert_eq!(&targets[..], &stream[1..]);
        prop_assert_eq!(windows.batch(windows.rows(), size).rows, 0);
    }
}

#[test]
fn epochs_differ_in_order_and_grid_and_seeds_differ() {
    let windows = TrainWindows::new(store(90), 8, Seed(7)).unwrap();
    let epoch = windows.rows_per_epoch() as usize;
    let batches: Vec<_> = (0..8).map(|n| windows.batch(n, epoch)).collect();
    let distinct: HashSet<_> = batches
        .iter()
        .flat_map(|b| rows(b).map(|(ids, _)| ids))
        .collect();
    // One grid for all epochs would give 11 windows; there are 8 different ones at most.
    assert!(
        distinct.len() > 33,
        "{} windows in 8 epochs",
        distinct.len()
    );
    let first = &batches[0];
    assert!(batches[1..].iter().all(|batch| batch.ids != first.ids));
    let other = TrainWindows::new(store(90), 8, Seed(8)).unwrap();
    assert_ne!(&other.batch(0, epoch), first);
}

#[test]
fn a_text_shorter_than_a_window_is_refused_with_the_remedy() {
    let error = TrainWindows::new(store(5), 8, Seed(0)).unwrap_err();
    insta::assert_snapshot!(error, @"the training text has 5 tokens to predict, one window needs model.max_seq_len = 8; add text or lower model.max_seq_len to 5 or less");
    assert!(TrainWindows::new(store(8), 8, Seed(0)).is_ok());
    let empty = TokenStore::from_documents(bytes(), ["  "]);
    insta::assert_snapshot!(ValidWindows::new(empty, 8).unwrap_err(), @"the validation split holds no document; give a text with documents in it");
}

#[test]
fn a_row_names_its_place_and_its_documents() {
    // Stream: end, a, b, end, c, end, d, e, f, end: ids 1 to 3 are of document 0, and so on.
    let store = TokenStore::from_documents(bytes(), ["ab", "c", "def"]);
    let of_token = [0, 0, 0, 0, 1, 1, 2, 2, 2, 2];
    for (token, document) in of_token.iter().enumerate() {
        assert_eq!(store.document_of(token as u64), *document, "token {token}");
    }
    let windows = TrainWindows::new(store, 4, Seed(3)).unwrap();
    for n in 0..6 {
        let batch = windows.batch(n, 2);
        for (row, first) in windows.first_tokens(n, 2).enumerate() {
            let mut id = [0];
            windows.store().read(first, &mut id);
            assert_eq!(batch.ids[row * 4], id[0]);
            let last = (first as usize + 3) % 9;
            let expected = [of_token[first as usize], of_token[last]];
            assert_eq!(windows.documents(first), expected);
        }
    }
}
