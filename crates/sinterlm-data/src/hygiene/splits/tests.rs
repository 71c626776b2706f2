//! What stays together, what is shared out, and what is refused.

use super::*;
use crate::Origin;

fn labelled(number: u64, text: String, label: &str) -> Record {
    let body = Body::Labelled {
        text,
        label: label.into(),
    };
    Record::new(
        body,
        Origin::Made {
            name: "test",
            number,
        },
    )
}

/// Messages of which each third is nearly the one before.
fn messages(count: u64) -> Vec<Record> {
    let record = |i: u64| {
        let base = i - u64::from(i % 3 == 2);
        let words: Vec<String> = (0..30).map(|w| format!("m{base}w{w}")).collect();
        let end = if i == base { "" } else { " indeed" };
        labelled(
            i,
            words.join(" ") + end,
            if base.is_multiple_of(4) {
                "spam"
            } else {
                "ham"
            },
        )
    };
    (0..count).map(record).collect()
}

fn numbers(records: &[Record]) -> Vec<u64> {
    let number = |record: &Record| match record.origin {
        Origin::Made { number, .. } => number,
        Origin::File { .. } => panic!("all are made"),
    };
    let mut numbers: Vec<u64> = records.iter().map(number).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn every_record_is_in_one_split_and_no_cluster_in_two() {
    let splits = split_records(messages(900), &SplitConfig::default(), 3).unwrap();
    assert_eq!(splits.clusters, 600);
    let parts = [&splits.train, &splits.valid, &splits.test].map(|part| numbers(part));
    let mut all = parts.concat();
    all.sort_unstable();
    assert_eq!(all, (0..900).collect::<Vec<_>>());
    for pair in (0..300).map(|i| [3 * i + 1, 3 * i + 2]) {
        let holds = |part: &Vec<u64>| pair.map(|number| part.contains(&number));
        assert!(
            parts.iter().any(|part| holds(part) == [true, true]),
            "{pair:?}"
        );
    }
    for stratum in &splits.shares {
        let all = (stratum.train + stratum.valid + stratum.test) as f64;
        assert!(
            (stratum.valid as f64 - 0.1 * all).abs() <= 2.0,
            "{stratum:?}"
        );
        assert!(
            (stratum.test as f64 - 0.1 * all).abs() <= 2.0,
            "{stratum:?}"
        );
    }
}

#[test]
fn the_choice_depends_on_content_and_seed_alone() {
    let config = SplitConfig::default();
    let forward = split_records(messages(300), &config, 3).unwrap();
    let mut records = messages(300);
    records.reverse();
    records.rotate_left(77);
    let shuffled = split_records(records, &config, 3).unwrap();
    assert_eq!(numbers(&forward.valid), numbers(&shuffled.valid));
    assert_eq!(numbers(&forward.test), numbers(&shuffled.test));
    let other = split_records(messages(300), &config, 4).unwrap();
    assert_ne!(numbers(&forward.valid), numbers(&other.valid));
    let own = SplitConfig {
        seed: Some(4),
        ..config
    };
    let own = split_records(messages(300), &own, 3).unwrap();
    assert_eq!(numbers(&own.valid), numbers(&other.valid));
}

#[test]
fn records_with_one_prompt_stay_together() {
    let record = |number: u64| {
        let body = Body::Preference {
            prompt: vec![ChatMessage::new(
                "user",
                &format!("Question {}?", number / 5),
            )],
            chosen: format!("yes {number} and so forth"),
            rejected: format!("no {number} never ever"),
        };
        Record::new(
            body,
            Origin::Made {
                name: "test",
                number,
            },
        )
    };
    let config = SplitConfig {
        valid_fraction: 0.3,
        test_fraction: 0.0,
        ..SplitConfig::default()
    };
    let splits = split_records((0..100).map(record).collect(), &config, 0).unwrap();
    assert_eq!((splits.clusters, splits.valid.len()), (20, 30));
    for number in numbers(&splits.valid) {
        let mates = numbers(&splits.valid)
            .into_iter()
            .filter(|n| n / 5 == number / 5);
        assert_eq!(mates.count(), 5);
    }
    let loose = SplitConfig {
        group_prompts: false,
        ..config
    };
    let splits = split_records((0..100).map(record).collect(), &loose, 0).unwrap();
    assert_eq!(splits.clusters, 100);
}

#[test]
fn tiny_sets_split_or_say_why_not() {
    let two = || {
        vec![
            labelled(0, "a b c".into(), "x"),
            labelled(1, "d e f".into(), "x"),
        ]
    };
    let config = SplitConfig {
        test_fraction: 0.0,
        ..SplitConfig::default()
    };
    let splits = split_records(two(), &config, 0).unwrap();
    assert_eq!((splits.train.len(), splits.valid.len()), (1, 1));
    assert!(
        splits.warnings[0].contains("a classifier needs two classes"),
        "{:?}",
        splits.warnings
    );
    let error = split_records(two(), &SplitConfig::default(), 0).unwrap_err();
    insta::assert_snapshot!(error, @"2 records form 2 groups that have to stay together, too few for 3 splits; give more records, or set a fraction of the split to 0");
    let equal = vec![
        labelled(0, "same".into(), "x"),
        labelled(1, "Same!".into(), "y"),
    ];
    assert!(split_records(equal, &config, 0).is_err());
}

#[test]
fn lengths_and_tasks_are_strata_too() {
    let mut records = messages(40);
    for (i, record) in records.iter_mut().enumerate() {
        record.task = (i < 20).then(|| "sum".into());
    }
    let by = |stratify| {
        let config = SplitConfig {
            stratify,
            test_fraction: 0.0,
            ..SplitConfig::default()
        };
        let splits = split_records(records.clone(), &config, 0).unwrap();
        splits
            .shares
            .into_iter()
            .map(|s| s.stratum)
            .collect::<Vec<_>>()
    };
    assert_eq!(by(Stratify::Task), ["no task", "sum"]);
    assert_eq!(by(Stratify::Length), ["128 to 255 characters"]);
    assert_eq!(by(Stratify::None), ["all"]);
}

#[test]
fn a_cluster_of_most_records_is_reported() {
    let mut records = messages(10);
    let template = "count how many times the letter e stands in the following word and tell me";
    records.extend((10..60).map(|i| labelled(i, format!("{template} x{i}"), "ham")));
    let splits = split_records(records.clone(), &SplitConfig::default(), 0).unwrap();
    assert_eq!(splits.largest_cluster, 50);
    assert!(
        splits
            .warnings
            .iter()
            .any(|w| w.contains("raise near_threshold"))
    );
    let config = SplitConfig {
        near_threshold: 1.0,
        ..SplitConfig::default()
    };
    assert_eq!(
        split_records(records, &config, 0).unwrap().largest_cluster,
        1
    );
}
