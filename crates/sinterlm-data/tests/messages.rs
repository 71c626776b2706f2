//! The built-in messages: shares of the classes, no near-copies, and no word list that decides.

use std::collections::{HashMap, HashSet};

use sinterlm_data::{Body, Record, SpamMessages};

const MESSAGES: SpamMessages = SpamMessages {
    count: 5_000,
    seed: 3,
};

fn text(record: &Record) -> &str {
    let Body::Labelled { text, .. } = &record.body else {
        panic!("{} has no label", record.origin)
    };
    text
}

fn words(record: &Record) -> HashSet<String> {
    let letters = |c: char| !c.is_ascii_alphanumeric();
    let words = text(record).split(letters).filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase).collect()
}

fn is_spam(record: &Record) -> bool {
    record.label() == Some("spam")
}

#[test]
fn one_message_in_seven_is_spam_and_none_is_odd() {
    let records = MESSAGES.records();
    assert_eq!(records.len(), 5_000);
    let spam = records.iter().filter(|record| is_spam(record)).count();
    assert!((640..790).contains(&spam), "{spam} of 5000");
    let mut seen = HashSet::new();
    for record in &records {
        let text = text(record);
        assert!(text.is_ascii() && !text.contains(['{', '}', '|']), "{text}");
        assert!((10..=260).contains(&text.len()), "{text}");
        assert!(seen.insert(text), "twice: {text}");
    }
}

#[test]
fn messages_follow_from_seed_and_number() {
    let many = MESSAGES.records();
    let few = SpamMessages {
        count: 700,
        ..MESSAGES
    }
    .records();
    assert_eq!(few[..], many[..700]);
    assert_ne!(
        many,
        SpamMessages {
            seed: 4,
            ..MESSAGES
        }
        .records()
    );
}

#[test]
fn few_messages_are_near_copies_of_another() {
    let sets: Vec<_> = MESSAGES.records().iter().map(words).collect();
    let (train, test) = sets.split_at(4_000);
    let near = |own: &&HashSet<String>| {
        train.iter().any(|other| {
            let common = own.intersection(other).count();
            common as f64 >= 0.8 * (own.len() + other.len() - common) as f64
        })
    };
    let copies = test.iter().filter(near).count();
    println!("{copies} of 1000 messages have a near-copy (Jaccard 0.8 of words) among 4000 others");
    assert!(copies <= 50, "{copies} near-copies");
}

/// Balanced accuracy of naive Bayes on words (multinomial over presence, Laplace 1).
fn naive_bayes(train: &[Record], test: &[Record]) -> f64 {
    let mut counts: HashMap<String, [f64; 2]> = HashMap::new();
    let (mut total, mut of_class) = ([0.0; 2], [0.0; 2]);
    for record in train {
        let class = usize::from(is_spam(record));
        of_class[class] += 1.0;
        for word in words(record) {
            counts.entry(word).or_default()[class] += 1.0;
            total[class] += 1.0;
        }
    }
    let size = counts.len() as f64;
    let mut right = [[0.0; 2]; 2];
    for record in test {
        let score = |class: usize| -> f64 {
            let own = words(record);
            let logs = own.iter().filter_map(|word| counts.get(word));
            let logs = logs.map(|count| ((count[class] + 1.0) / (total[class] + size)).ln());
            f64::ln(of_class[class]) + logs.sum::<f64>()
        };
        let class = usize::from(is_spam(record));
        right[class][0] += f64::from(u8::from((score(1) > score(0)) == is_spam(record)));
        right[class][1] += 1.0;
    }
    f64::midpoint(right[0][0] / right[0][1], right[1][0] / right[1][1])
}

#[test]
fn words_alone_decide_most_messages_but_not_all() {
    for seed in 1..=3 {
        let records = SpamMessages { count: 5_000, seed }.records();
        let (train, test) = records.split_at(4_000);
        let score = naive_bayes(train, test);
        println!("naive Bayes, seed {seed}: balanced accuracy {score:.4}");
        assert!((0.88..0.975).contains(&score), "{score}");
    }
}
