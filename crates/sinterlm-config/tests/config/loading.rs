//! What loads, and that it comes back from TOML as it was.

use std::fs;

use crate::mini::{
    AdamW, Data, Long, Model, Norm, Optimizer, Run, SMALLEST, Schedule, Sgd, Source, Trainer, run,
};
use proptest::prelude::*;
use sinterlm_config::{Check, Seed, Validate, load, load_moved, parse, to_toml};

#[test]
fn absent_keys_take_their_defaults() {
    let config = run(SMALLEST, &[]).unwrap();
    assert_eq!(config.trainer, Trainer::default());
    assert_eq!(config.schedule, Schedule::default());
    assert_eq!(config.model.norm, Norm::LayerNorm);
}

#[test]
fn overrides_win_over_the_file_and_over_earlier_ones() {
    let text = "seed = 1
model = { d_model = 64, n_heads = 4 }
[[data.sources]]
kind = \"local\"
paths = [\"a\"]
";
    let options = [
        "seed=2",
        "seed=18446744073709551615",
        "model.norm = rms_norm",
        "trainer.name=a b",
        "schedule.kind=warmup_stable_decay",
        "schedule.decay_steps=10",
        "data.sources.0.paths.0=b",
        "data.long.cut.max_tokens=5",
        "optimizer={kind=\"sgd\", peak_lr=1}",
    ];
    let config = run(text, &options).unwrap();
    assert_eq!(config.seed, Seed(u64::MAX));
    assert_eq!(config.model.norm, Norm::RmsNorm);
    assert_eq!(config.trainer.name.as_deref(), Some("a b"));
    assert_eq!(
        config.schedule,
        Schedule::WarmupStableDecay {
            warmup_steps: 0,
            decay_steps: 10
        }
    );
    assert_eq!(
        config.data.sources,
        [Source::Local {
            paths: vec!["b".into()]
        }]
    );
    assert_eq!(config.data.long, Some(Long::Cut { max_tokens: 5 }));
    assert_eq!(config.optimizer, Optimizer::Sgd(Sgd { peak_lr: 1.0 }));
}

#[test]
fn written_toml_keeps_the_order_of_declaration() {
    let text = to_toml(&run(SMALLEST, &[]).unwrap()).unwrap();
    insta::assert_snapshot!(text, @r#"
    seed = 1

    [model]
    d_model = 64
    n_heads = 4
    norm = "layer_norm"
    dropout = 0.1

    [trainer]
    max_steps = 2000
    eval_first = false

    [schedule]
    kind = "cosine"
    warmup_steps = 100
    min_ratio = 0.1

    [optimizer]
    kind = "adamw"
    peak_lr = 0.001
    betas = [0.9, 0.95]

    [data]
    sources = []

    [data.weights]
    "#);
}

fn any_run() -> impl Strategy<Value = Run> {
    let schedule = prop_oneof![
        Just(Schedule::Constant),
        (0..2000_u64, 0.0..=1.0).prop_map(|(warmup_steps, min_ratio)| Schedule::Cosine {
            warmup_steps,
            min_ratio
        }),
        any::<(u64, u64)>().prop_map(|(warmup_steps, decay_steps)| {
            Schedule::WarmupStableDecay {
                warmup_steps,
                decay_steps,
            }
        }),
    ];
    let optimizer = prop_oneof![
        (any::<f64>(), any::<[f64; 2]>())
            .prop_map(|(peak_lr, betas)| Optimizer::Adamw(AdamW { peak_lr, betas })),
        any::<f64>().prop_map(|peak_lr| Optimizer::Sgd(Sgd { peak_lr })),
    ];
    let source = prop_oneof![
        prop::collection::vec(any::<String>(), 0..3).prop_map(|paths| Source::Local {
            paths: paths.into_iter().map(Into::into).collect()
        }),
        any::<(String, Option<String>)>()
            .prop_map(|(name, revision)| Source::Named { name, revision }),
    ];
    let long = prop_oneof![
        Just(None),
        Just(Some(Long::Drop)),
        any::<u32>().prop_map(|max_tokens| Some(Long::Cut { max_tokens })),
        any::<String>().prop_map(|text| Some(Long::Split(text))),
    ];
    let data = (
        prop::collection::vec(source, 0..3),
        prop::collection::btree_map(any::<String>(), any::<f64>(), 0..3),
        long,
    )
        .prop_map(|(sources, weights, long)| Data {
            sources,
            weights,
            long,
        });
    let norm = prop_oneof![Just(Norm::LayerNorm), Just(Norm::RmsNorm)];
    let model = (1..64_usize, 1..64_usize, any::<bool>(), norm, 0.0..0.9_f32).prop_map(
        |(n_heads, head_dim, grouped, norm, dropout)| Model {
            d_model: 8 * n_heads * head_dim,
            n_heads,
            n_kv_heads: grouped.then_some(1),
            norm,
            dropout,
        },
    );
    let trainer = (2000..u64::MAX, any::<Option<String>>()).prop_map(|(max_steps, name)| Trainer {
        max_steps,
        eval_first: name.is_some(),
        name,
    });
    (any::<u64>(), model, trainer, schedule, optimizer, data).prop_map(
        |(seed, model, trainer, schedule, optimizer, data)| Run {
            seed: Seed(seed),
            model,
            trainer,
            schedule,
            optimizer,
            data,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn parsing_written_toml_gives_the_config_back(config in any_run()) {
        let text = to_toml(&config).unwrap();
        prop_assert_eq!(&run(&text, &[]).unwrap(), &config);
        prop_assert_eq!(to_toml(&config).unwrap(), text);
    }

    #[test]
    fn no_text_and_no_option_panics(text in ".*", option in ".*", key in "[a-z.0-9]*") {
        let _ = run(&text, &[&option]);
        let _ = run(SMALLEST, &[&option, &format!("{key}={text}")]);
    }
}

#[test]
fn keys_that_moved_are_read_from_files_of_earlier_releases() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    let text = "seed = 1\n[model]\nn_heads = 4\n[trainer]\nd_model = 64\nname = \"a\"\n";
    std::fs::write(&path, text).unwrap();
    let moved = [
        ("trainer.d_model", "model.d_model"),
        ("trainer.absent", "model.dropout"),
    ];
    let read: Run = load_moved(&path, &[], &moved).unwrap();
    assert_eq!((read.model.d_model, read.model.n_heads), (64, 4));
    assert_eq!(read.trainer.name.as_deref(), Some("a"));
    // An override of today's key wins over the file's old one.
    let option = ["model.d_model=32".to_owned()];
    let read: Run = load_moved(&path, &option, &moved).unwrap();
    assert_eq!(read.model.d_model, 32);
    // Both at once are refused, as neither is known to be meant.
    std::fs::write(&path, text.replace("[model]", "[model]\nd_model = 128")).unwrap();
    let both = load_moved::<Run>(&path, &[], &moved)
        .unwrap_err()
        .to_string();
    assert!(both.contains("trainer.d_model: unknown key here"), "{both}");
    std::fs::write(&path, text).unwrap();
    // What people write has to use the new key, which the error names.
    let refused = load::<Run>(&path, &[]).unwrap_err().to_string();
    assert!(refused.contains("did you mean model.d_model?"), "{refused}");
}

/// A length in steps or in minutes.
#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Lengths {
    /// Steps.
    steps: u64,
    /// Minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    minutes: Option<f64>,
}

impl Default for Lengths {
    fn default() -> Self {
        Self {
            steps: 100,
            minutes: None,
        }
    }
}

impl Validate for Lengths {
    const EITHER: &'static [(&'static str, &'static str)] = &[("steps", "minutes")];

    fn validate(&self, _check: &mut Check) {}
}

#[test]
fn of_two_keys_for_one_thing_the_last_override_counts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.toml");
    let loaded = |text: &str, set: &[&str]| {
        fs::write(&path, text).unwrap();
        let set: Vec<String> = set.iter().map(|&one| one.to_owned()).collect();
        load::<Lengths>(&path, &set)
    };
    let lengths = |steps, minutes| Lengths { steps, minutes };
    let by_time = "minutes = 9.0\n";
    assert_eq!(loaded(by_time, &[]).unwrap(), lengths(100, Some(9.0)));
    assert_eq!(loaded(by_time, &["steps=5"]).unwrap(), lengths(5, None));
    let both = loaded(by_time, &["steps=5", "minutes=2.0"]).unwrap();
    assert_eq!(both, lengths(100, Some(2.0)));
    assert_eq!(
        loaded("steps = 7\n", &["minutes=2.0"]).unwrap(),
        lengths(100, Some(2.0))
    );
    let refused = loaded("steps = 7\nminutes = 9.0\n", &[]).unwrap_err();
    let text = refused.to_string();
    assert!(
        text.contains("line 1, steps: minutes stands beside it; remove one of the two"),
        "{text}"
    );
    // A value that was written out has all keys, and is no choice of a person's.
    let text = sinterlm_config::to_toml(&lengths(100, Some(9.0))).unwrap();
    assert_eq!(
        parse::<Lengths>(&text, "config", &[]).unwrap(),
        lengths(100, Some(9.0))
    );
}
