//! The bag of words on the SMS Spam Collection: the figures that `docs/metrics.md` gives.

#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::collections::HashSet;
use std::path::Path;

use sinterlm_config::{Permutation, Seed, Stream};
use sinterlm_eval::{ClassReport, bag_of_words};

/// Different messages of the shared data with 1 for spam, or none where the data is missing.
fn messages() -> Option<Vec<(String, usize)>> {
    let data = std::env::var_os("SINTERLM_TEST_DATA")?;
    let path = Path::new(&data).join("sms_spam/SMSSpamCollection_train.tsv");
    let text = std::fs::read_to_string(path).unwrap();
    let mut seen = HashSet::new();
    let rows = text.lines().filter_map(|line| line.split_once('\t'));
    let rows = rows.filter(|(_, text)| {
        let words = text.to_lowercase();
        seen.insert(words.split_whitespace().collect::<Vec<_>>().join(" "))
    });
    let rows = rows.map(|(label, text)| (text.to_owned(), usize::from(label == "spam")));
    Some(rows.collect())
}

#[test]
fn the_bag_of_words_reaches_its_figure_on_five_splits() {
    let Some(messages) = messages() else {
        eprintln!("SINTERLM_TEST_DATA is not set: nothing was tested");
        return;
    };
    let labels = ["ham".to_owned(), "spam".to_owned()];
    let mut figures = Vec::new();
    for split in 0..5 {
        let (mut train, mut test) = (Vec::new(), Vec::new());
        // Each class is split by itself, so that both sides hold the same share of it.
        for class in 0..2 {
            let of_class: Vec<&(String, usize)> =
                messages.iter().filter(|m| m.1 == class).collect();
            let order = Permutation::new(
                Seed(split).key(Stream::Split, 0, 0, class as u64),
                of_class.len() as u64,
            );
            for i in 0..of_class.len() {
                let (text, class) = of_class[order.index(i as u64) as usize];
                let side = if i * 5 < of_class.len() {
                    &mut test
                } else {
                    &mut train
                };
                side.push((&**text, *class));
            }
        }
        let truth: Vec<usize> = test.iter().map(|(_, class)| *class).collect();
        let texts: Vec<&str> = test.iter().map(|(text, _)| *text).collect();
        let probabilities = bag_of_words(&train, &texts, 2);
        let report = ClassReport::of(&labels, &truth, &probabilities);
        println!("{report:?}");
        figures.push(report.balanced_accuracy.unwrap());
    }
    let mean = figures.iter().sum::<f64>() / 5.0;
    assert!((0.96..0.98).contains(&mean), "{mean}: {figures:?}");
}
