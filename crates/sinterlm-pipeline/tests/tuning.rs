//! Fine-tuning as library functions: new, interrupted, resumed, refused and measured.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use burn::tensor::Device;
use serde_json::Value;
use sinterlm_config::to_toml;
use sinterlm_data::{
    HygieneStep, InstructionTasks, Layout, NearDuplicatesStep, PromptTemplate, RecordsSource,
    SetConfig, SourceConfig, SpamMessages, TokenizerConfig,
};
use sinterlm_model::{GptConfig, load_with_head};
use sinterlm_pipeline::{
    ClassModel, ClassifyConfig, End, GateConfig, Host, InstructConfig, Mode, PipelineError,
    PretrainConfig, RunAt, RunConfig, Stage, Told, TrainableParts, classify, instruct,
};
use sinterlm_run::{Event, ExitStatus, Observer, RunError, StopFlag, StopReason};

/// The config of a base model, as a file in `folder`.
fn base(folder: &Path) -> PathBuf {
    let mut config = PretrainConfig {
        seed: 3,
        gates: Vec::new(),
        tokenizer: TokenizerConfig::Bpe { vocab_size: 300 },
        model: GptConfig {
            vocab_size: 300,
            max_seq_len: 160,
            d_model: 16,
            n_layers: 2,
            n_heads: 2,
            ..GptConfig::default()
        },
        ..PretrainConfig::default()
    };
    config.data.source = SourceConfig::Stories {
        count: 120,
        seed: None,
    };
    config.trainer.max_steps = 4;
    config.schedule.warmup_steps = 1;
    config.sample.max_new_tokens = 2;
    let path = folder.join("base.toml");
    fs::write(&path, to_toml(&config).unwrap()).unwrap();
    path
}

fn tiny_classifier(folder: &Path) -> ClassifyConfig {
    let mut config = ClassifyConfig {
        seed: 5,
        base: Some(base(folder)),
        ..ClassifyConfig::default()
    };
    config.data.source = Some(RecordsSource::Messages(SpamMessages {
        count: 120,
        seed: 1,
    }));
    config.model.dropout = 0.1;
    config.trainer.max_steps = 12;
    config.schedule.warmup_steps = 2;
    config.checkpoint.every_steps = 4;
    config.eval.every_steps = 5;
    config.log.every_steps = 3;
    config
}

fn tiny_instructions(folder: &Path) -> InstructConfig {
    let mut config = InstructConfig {
        seed: 5,
        base: Some(base(folder)),
        ..InstructConfig::default()
    };
    config.data.source = Some(RecordsSource::Instructions(InstructionTasks {
        count: 80,
        seed: 1,
    }));
    config.rows.template = PromptTemplate::PlainInstruction;
    config.rows.truncation = sinterlm_data::Truncation::Drop;
    config.model.dropout = 0.1;
    config.trainer.max_steps = 12;
    config.schedule.warmup_steps = 2;
    config.checkpoint.every_steps = 4;
    config.eval.every_steps = 5;
    config.eval.max_rows = 20;
    config.answers.max_new_tokens = 3;
    config.answers.during = 4;
    config.answers.most = 6;
    config.sample.max_new_tokens = 3;
    config.log.every_steps = 3;
    config
}

/// A host whose base model is cached in `folder`.
fn host(folder: &Path) -> Host {
    let mut host = Host::new(Device::flex(), "flex");
    host.cache_dir = Some(folder.join("cache"));
    host.offline = true;
    host
}

/// A host that stops a run of `kind` after a step.
fn stopping(folder: &Path, kind: &'static str, step: u64) -> Host {
    let mut host = host(folder);
    host.stop = StopFlag::new();
    let stop = host.stop.clone();
    host.with_observer(StopAfter {
        kind,
        step,
        stop,
        is_it: false,
    })
}

struct StopAfter {
    kind: &'static str,
    step: u64,
    stop: StopFlag,
    is_it: bool,
}

impl Observer for StopAfter {
    fn on_event(&mut self, event: &Event<'_>) -> Result<(), RunError> {
        match event {
            Event::Started { kind, .. } => self.is_it = *kind == self.kind,
            Event::Step(record) if self.is_it && record.step == self.step => {
                self.stop.request(StopReason::Request);
            }
            _ => {}
        }
        Ok(())
    }
}

/// The lines of a run's metrics without what time and memory decide.
fn figures(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let mut lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for line in &mut lines {
        let line = line.as_object_mut().unwrap();
        line.retain(|key, _| key != "train/tokens_per_second" && !key.starts_with("memory/"));
    }
    lines
}

type Pipeline<C> = fn(RunAt<C>, &Host) -> Result<End, PipelineError>;

/// Runs a config whole and broken twice, and holds the two against each other.
fn resumed_is_unbroken<C: RunConfig>(folder: &Path, config: &C, pipeline: Pipeline<C>) -> Stage {
    let at = |name: &str| RunAt::resume_or_new(folder.join(name), config.clone());
    let whole = pipeline(at("whole"), &host(folder)).unwrap();
    let whole = whole.stage().unwrap();
    for step in [5, 7] {
        let end = pipeline(at("broken"), &stopping(folder, C::KIND, step)).unwrap();
        assert!(
            matches!(end, End::Stopped { steps, .. } if steps == step),
            "{end:?}"
        );
        assert!(!folder.join("broken/summary.json").exists());
    }
    let end = pipeline(at("broken"), &host(folder)).unwrap();
    let stage = end.stage().unwrap();
    assert_eq!(figures(&stage.dir), figures(&whole.dir));
    assert_eq!(stage.model.fingerprint, whole.model.fingerprint);
    assert_eq!(stage.summary.test, whole.summary.test);
    // Once more: nothing is left to do.
    let again = pipeline(at("broken"), &host(folder)).unwrap();
    assert_eq!(again.stage().unwrap().model, stage.model);
    whole.clone()
}

#[test]
fn an_interrupted_classifier_ends_as_the_unbroken_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = tiny_classifier(folder.path());
    config.gates = vec![GateConfig::at_least("test/accuracy", 2.0)];
    let stage = resumed_is_unbroken(folder.path(), &config, classify);
    let test = stage.summary.test.as_ref().unwrap();
    assert_eq!(test["labels"], serde_json::json!(["ham", "spam"]));
    assert_eq!(test["count"], 12);
    assert!(!stage.summary.gates[0].passed);
    for file in [
        "passport.json",
        "sections/data.json",
        "sections/results.json",
    ] {
        assert!(stage.dir.join(file).is_file(), "{file}");
    }
    let device = Device::flex();
    let (_, head) = load_with_head(&stage.model.path, &device).unwrap();
    assert_eq!(head.labels, ["ham", "spam"]);
    // A model and a checkpoint say which records they were tuned on.
    let passport = fs::read_to_string(stage.dir.join("model/training_data.json")).unwrap();
    let run: Value =
        serde_json::from_str(&fs::read_to_string(stage.dir.join("run.json")).unwrap()).unwrap();
    assert!(
        passport.contains(run["passport"].as_str().unwrap()),
        "{run}"
    );
    let saved = stage
        .dir
        .join("checkpoints/step-00000012/training_data.json");
    assert_eq!(fs::read_to_string(saved).unwrap(), passport);
}

#[test]
fn interrupted_instruction_tuning_ends_as_the_unbroken_one() {
    let folder = tempfile::tempdir().unwrap();
    let stage = resumed_is_unbroken(folder.path(), &tiny_instructions(folder.path()), instruct);
    let test = stage.summary.test.as_ref().unwrap();
    assert_eq!(
        (&test["count"], &test["held_out"]["count"]),
        (&6.into(), &6.into())
    );
    assert!(test["before"]["loss"].as_f64().unwrap() > test["loss"].as_f64().unwrap());
    assert!(stage.summary.valid.as_ref().unwrap().loss > 0.0);
    let form = fs::read_to_string(stage.dir.join("model/prompt_template.json")).unwrap();
    assert!(form.contains("plain_instruction"), "{form}");
}

#[test]
fn packed_rows_are_resumed_and_a_run_can_be_measured_in_epochs() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = tiny_instructions(folder.path());
    config.batches.layout = Layout::Packed;
    config.trainer.max_epochs = Some(2.0);
    config.trainer.micro_batch_size = sinterlm_trainer::MicroBatch::Rows(2);
    let stage = resumed_is_unbroken(folder.path(), &config, instruct);
    let text = fs::read_to_string(stage.dir.join("config.toml")).unwrap();
    let kept: InstructConfig = sinterlm_config::parse(&text, "kept", &[]).unwrap();
    assert_eq!(kept.trainer.max_epochs, None, "turned into steps");
    assert_eq!(stage.summary.steps, Some(kept.trainer.max_steps));
    assert!(kept.weights.is_some() && kept.base.is_none() && kept.data.fingerprint.is_some());
}

#[test]
fn the_config_of_a_run_repeats_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = tiny_classifier(folder.path());
    config.trainable.parts = TrainableParts::LastBlocks;
    let run = |config: ClassifyConfig, name: &str| {
        let out = folder.path().join(name);
        let end = classify(RunAt::New { config, out }, &host(folder.path())).unwrap();
        end.stage().unwrap().clone()
    };
    let first = run(config, "first");
    let text = fs::read_to_string(first.dir.join("config.toml")).unwrap();
    assert!(
        text.contains("train_only = [\"blocks.1\", \"norm\", \"score\"]"),
        "{text}"
    );
    let kept: ClassifyConfig = sinterlm_config::parse(&text, "kept", &[]).unwrap();
    let second = run(kept, "second");
    assert_eq!(second.model.fingerprint, first.model.fingerprint);
}

#[test]
fn records_that_changed_are_refused_on_resume_unless_that_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let train = folder.path().join("train.tsv");
    fs::write(&train, table(60, "message")).unwrap();
    let mut config = tiny_classifier(folder.path());
    config.data.source = Some(RecordsSource::Files {
        train: vec![train.clone()],
        valid: Vec::new(),
        test: Vec::new(),
    });
    config.split.near_threshold = 1.0;
    let out = folder.path().join("run");
    let at = || RunAt::resume_or_new(&out, config.clone());
    let stopped = classify(at(), &stopping(folder.path(), "classify", 5)).unwrap();
    assert!(matches!(stopped, End::Stopped { .. }));
    fs::write(&train, table(62, "message")).unwrap();
    let refused = classify(at(), &host(folder.path())).unwrap_err();
    let text = refused.to_string();
    assert!(
        text.contains("--accept-changed-data") && text.contains("62 records"),
        "{text}"
    );
    let mut accepting = host(folder.path());
    accepting.accept_changed_data = true;
    assert!(classify(at(), &accepting).unwrap().stage().is_some());
}

/// Records of two classes by turns, as a table.
fn table(count: usize, what: &str) -> String {
    let line = |n| format!("{}\t{what} {n} of many\n", ["ham", "spam"][n % 2]);
    (0..count).map(line).collect::<Vec<_>>().concat()
}

/// What a classifier says of a table of records.
fn refused(table: &str, change: impl FnOnce(&mut ClassifyConfig)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let train = folder.path().join("train.tsv");
    fs::write(&train, table).unwrap();
    let mut config = tiny_classifier(folder.path());
    config.data.source = Some(RecordsSource::Files {
        train: vec![train],
        valid: Vec::new(),
        test: Vec::new(),
    });
    config.split.near_threshold = 1.0;
    change(&mut config);
    let out = folder.path().join("run");
    let error = classify(
        RunAt::New {
            config,
            out: out.clone(),
        },
        &host(folder.path()),
    )
    .unwrap_err();
    assert_eq!(error.exit_status(), ExitStatus::Unusable, "{error}");
    assert!(!out.exists(), "nothing is left");
    error.to_string()
}

#[test]
fn records_that_cannot_be_classified_are_refused_by_name() {
    let one = "ham\tone message here\nham\tanother thing there\nham\tsome third words\n";
    let text = refused(one, |_| ());
    assert!(text.contains("all training records are `ham`"), "{text}");
    let two = table(20, "message");
    let two = two.as_str();
    let text = refused(two, |config| {
        config.classes.labels = vec!["ham".into(), "eggs".into()];
    });
    assert!(text.contains("a class `spam` that is not listed"), "{text}");
    let text = refused(two, |config| config.classes.max_tokens = 500);
    assert!(
        text.contains("classes.max_tokens: 500 is above the 160 tokens"),
        "{text}"
    );
    let text = refused(two, |config| {
        config.base = None;
    });
    assert!(text.contains("--model"), "{text}");
}

#[test]
fn given_validation_records_take_their_like_out_of_training() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let many = table(40, "thing");
    let train = write("train.tsv", &(many + "ham\tShared  words\n"));
    let valid = write("valid.tsv", "ham\tshared words\nspam\tother words\n");
    let mut config = tiny_classifier(folder.path());
    config.split.near_threshold = 1.0;
    config.hygiene = vec![HygieneStep::NearDuplicates(NearDuplicatesStep::default())];
    config.data.source = Some(RecordsSource::Files {
        train: vec![train],
        valid: vec![valid],
        test: Vec::new(),
    });
    let notes = Arc::new(Mutex::new(String::new()));
    let heard = Arc::clone(&notes);
    let mut host = host(folder.path()).with_teller(move |what| {
        if let Told::Note(line) | Told::Result(line) = what {
            let mut heard = heard.lock().unwrap();
            heard.push_str(line);
            heard.push('\n');
        }
    });
    let out = folder.path().join("run");
    classify(
        RunAt::New {
            config: config.clone(),
            out,
        },
        &host,
    )
    .unwrap();
    let notes_now = notes.lock().unwrap().clone();
    assert!(
        notes_now.contains("1 training records are nearly the same"),
        "{notes_now}"
    );
    assert!(notes_now.contains("valid 2, test "), "{notes_now}");

    // The same as a plan: nothing is written.
    host.mode = Mode::Plan;
    let out = folder.path().join("plan");
    let end = classify(
        RunAt::New {
            config,
            out: out.clone(),
        },
        &host,
    )
    .unwrap();
    assert_eq!(end, End::Shown);
    assert!(!out.exists());
}

#[test]
fn a_saved_classifier_says_what_its_run_said() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = tiny_classifier(folder.path());
    config.classes.max_tokens = 6;
    let host = host(folder.path());
    let out = folder.path().join("run");
    let end = classify(RunAt::New { config, out }, &host).unwrap();
    let stage = end.stage().unwrap();
    let lines = fs::read_to_string(stage.dir.join("test.jsonl")).unwrap();
    let items: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let texts: Vec<&str> = items
        .iter()
        .map(|item| item["text"].as_str().unwrap())
        .collect();
    let model = ClassModel::open(&stage.dir, None, &host).unwrap();
    let said = model.classify(&texts).unwrap();
    for (item, said) in items.iter().zip(&said) {
        for (label, probability) in &said.probabilities {
            let run = item["probabilities"][label].as_f64().unwrap();
            assert!(
                (run - f64::from(*probability)).abs() < 1e-6,
                "{item}: {said:?}"
            );
        }
    }
    assert!(said.iter().any(|said| said.is_cut), "the limit is kept");
    let predicted = |class: usize| {
        said.iter()
            .filter(|s| s.label == ["ham", "spam"][class])
            .count() as u64
    };
    let confusion = &stage.summary.test.as_ref().unwrap()["confusion"];
    let of_run = |class: usize| {
        confusion[0][class].as_u64().unwrap() + confusion[1][class].as_u64().unwrap()
    };
    assert_eq!(
        [predicted(0), predicted(1)],
        [of_run(0), of_run(1)],
        "the threshold is kept"
    );
}

#[test]
fn what_decides_about_a_model_is_not_what_measures_it() {
    let text = refused(&table(40, "message"), |config| {
        config.eval.best = "test/loss".to_owned();
    });
    assert!(
        text.contains("eval.best") && !text.contains("use test/"),
        "{text}"
    );
    let text = refused(&table(40, "message"), |config| {
        config.split.valid_fraction = 0.0;
    });
    assert!(text.contains("no validation records"), "{text}");
    let text = refused(&table(40, "message"), |config| {
        if let Some(RecordsSource::Files { train, valid, test }) = &mut config.data.source {
            let held_out = train[0].with_file_name("held_out.tsv");
            fs::write(&held_out, table(6, "another text")).unwrap();
            (*valid, *test) = (vec![held_out.clone()], vec![held_out]);
        }
    });
    assert!(
        text.contains("every validation record is nearly the same as a test record"),
        "{text}"
    );
    let text = refused(&table(40, "message"), |config| {
        if let Some(RecordsSource::Files { train, test, .. }) = &mut config.data.source {
            test.clone_from(train);
        }
    });
    assert!(
        text.contains("no training record is left: 40 of them"),
        "{text}"
    );
}

#[test]
fn records_without_an_answer_and_classifiers_are_refused_by_instruction_tuning() {
    let folder = tempfile::tempdir().unwrap();
    let train = folder.path().join("train.tsv");
    fs::write(&train, table(40, "message")).unwrap();
    let out = folder.path().join("run");
    let run = |config: InstructConfig| {
        let out = out.clone();
        let error = instruct(RunAt::New { config, out }, &host(folder.path())).unwrap_err();
        assert_eq!(error.exit_status(), ExitStatus::Unusable, "{error}");
        error.to_string()
    };
    let mut config = tiny_instructions(folder.path());
    config.split.near_threshold = 1.0;
    let files = RecordsSource::Files {
        train: vec![train],
        valid: Vec::new(),
        test: Vec::new(),
    };
    config.data.source = Some(files.clone());
    let text = run(config.clone());
    assert!(
        text.contains("train.tsv") && text.contains("finetune_classifier"),
        "{text}"
    );
    // One file in two sets would be one set.
    config.data.source = None;
    let set = |name: &str| -> SetConfig {
        let source = serde_json::to_value(&files).unwrap();
        serde_json::from_value(serde_json::json!({"name": name, "source": source})).unwrap()
    };
    config.data.sets = vec![set("a"), set("b")];
    let text = run(config);
    assert!(
        text.contains("data.sets.1: reads what data.sets.0 reads"),
        "{text}"
    );
    let classifier = classify(
        RunAt::resume_or_new(
            folder.path().join("classifier"),
            tiny_classifier(folder.path()),
        ),
        &host(folder.path()),
    );
    let mut config = tiny_instructions(folder.path());
    config.weights = Some(classifier.unwrap().stage().unwrap().model.path.clone());
    let text = run(config);
    assert!(text.contains("class head"), "{text}");
}
