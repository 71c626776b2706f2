//! Pretraining as a library function: new, interrupted, resumed and watched.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use burn::tensor::Device;
use serde_json::Value;
use sinterlm_config::{parse, to_toml};
use sinterlm_data::{SourceConfig, TokenizerConfig};
use sinterlm_model::GptConfig;
use sinterlm_pipeline::{
    End, GateConfig, Host, Mode, PipelineError, PretrainConfig, RunAt, Session, Told, pretrain,
    pretrain_parts,
};
use sinterlm_run::{Event, ExitStatus, Observer, RunError, StopFlag, StopReason};

/// A run of seconds on built-in stories.
fn tiny() -> PretrainConfig {
    let mut config = PretrainConfig {
        seed: 3,
        tokenizer: TokenizerConfig::Bpe { vocab_size: 300 },
        model: GptConfig {
            vocab_size: 300,
            max_seq_len: 32,
            d_model: 16,
            n_layers: 1,
            n_heads: 2,
            ..GptConfig::default()
        },
        ..PretrainConfig::default()
    };
    config.data.source = SourceConfig::Stories {
        count: 120,
        seed: None,
    };
    config.trainer.max_steps = 12;
    config.schedule.warmup_steps = 2;
    config.checkpoint.every_steps = 4;
    config.eval.every_steps = 5;
    config.sample.max_new_tokens = 4;
    config.log.every_steps = 3;
    config
}

/// A host whose text is cached in `folder`.
fn host(folder: &Path) -> Host {
    let mut host = Host::new(Device::flex(), "flex");
    host.cache_dir = Some(folder.join("cache"));
    host.offline = true;
    host
}

fn new_run(folder: &Path, config: PretrainConfig) -> RunAt<PretrainConfig> {
    let out = folder.join("run");
    RunAt::New { config, out }
}

/// Asks a run to stop after a step.
struct StopAfter(u64, StopFlag);

impl Observer for StopAfter {
    fn on_event(&mut self, event: &Event<'_>) -> Result<(), RunError> {
        if let Event::Step(record) = event
            && record.step == self.0
        {
            self.1.request(StopReason::Request);
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

#[test]
fn an_interrupted_run_ends_as_the_unbroken_one() {
    let folder = tempfile::tempdir().unwrap();
    let whole = RunAt::resume_or_new(folder.path().join("whole"), tiny());
    let whole = pretrain(whole, &host(folder.path())).unwrap();
    let whole = whole.stage().unwrap();
    let gate = &whole.summary.gates[0];
    assert_eq!(
        (gate.name.as_str(), gate.target),
        ("perplexity_per_gpt2_token", 40.0)
    );
    assert!(!gate.passed, "twelve steps teach no language");

    let broken = folder.path().join("broken");
    for step in [5, 7] {
        let mut host = host(folder.path());
        host.stop = StopFlag::new();
        let stop = host.stop.clone();
        let host = host.with_observer(StopAfter(step, stop));
        let end = pretrain(RunAt::resume_or_new(&broken, tiny()), &host).unwrap();
        let (reason, dir) = (StopReason::Request, broken.clone());
        let stopped = End::Stopped {
            reason,
            steps: step,
            dir,
        };
        assert_eq!(end, stopped);
        assert!(!broken.join("summary.json").exists());
    }
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    let host = host(folder.path()).with_teller(move |what| {
        if let Told::Result(line) = what {
            heard.lock().unwrap().push(line.to_owned());
        }
    });
    let end = pretrain(RunAt::resume_or_new(&broken, tiny()), &host).unwrap();
    let stage = end.stage().unwrap();
    assert_eq!(figures(&stage.dir), figures(&whole.dir));
    let weights = |stage: &Path| fs::read(stage.join("model/model.safetensors")).unwrap();
    assert!(
        weights(&stage.dir) == weights(&whole.dir),
        "the weights differ"
    );
    assert_eq!(stage.model.fingerprint, whole.model.fingerprint);
    assert_eq!(stage.summary.valid, whole.summary.valid);
    assert!(told.lock().unwrap()[0].starts_with("resume: from "));

    // Once more: nothing is left to do.
    told.lock().unwrap().clear();
    let again = pretrain(RunAt::resume_or_new(&broken, tiny()), &host).unwrap();
    let again = again.stage().unwrap();
    assert_eq!((&again.dir, &again.model), (&stage.dir, &stage.model));
    assert_eq!(again.summary.steps, Some(12));
    assert!(told.lock().unwrap()[1].starts_with("this run is finished: "));
}

#[test]
fn a_gate_on_an_unknown_metric_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = tiny();
    let unknown = GateConfig::at_most("valid/perplexty", 40.0);
    config.gates.push(unknown);
    let refused = pretrain(new_run(folder.path(), config), &host(folder.path())).unwrap_err();
    let text = refused.to_string();
    for words in [
        "gates.1.metric",
        "\"valid/perplexty\"",
        "use valid/loss, valid/perplexity",
    ] {
        assert!(text.contains(words), "{text}");
    }
    assert_eq!(refused.exit_status(), ExitStatus::Unusable);
    assert!(!folder.path().join("run").exists());
}

#[test]
fn a_config_made_in_code_is_checked_as_a_file_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = tiny();
    config.trainer.max_grad_norm = -1.0;
    config.model.n_heads = 3;
    let refused = pretrain(new_run(folder.path(), config), &host(folder.path())).unwrap_err();
    assert!(matches!(refused, PipelineError::Config(_)));
    let text = refused.to_string();
    assert!(
        text.contains("max_grad_norm") && text.contains("n_heads"),
        "{text}"
    );
    assert!(!folder.path().join("run").exists());
}

#[test]
fn a_metric_of_the_users_own_is_logged_and_held_against_its_gate() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = tiny();
    config.trainer.max_steps = 3;
    config.gates = vec![GateConfig::at_least("valid/double_loss", 2.0)];
    let host = host(folder.path());
    let mut session = Session::open(new_run(folder.path(), config), &host).unwrap();
    let mut parts = pretrain_parts(&mut session).unwrap();
    let mut evaluate = parts.evaluate.take().unwrap();
    parts.metrics.push("valid/double_loss".to_owned());
    parts.evaluate = Some(Box::new(move |model, scope| {
        let mut figures = evaluate(model, scope)?;
        let loss = figures[0].1;
        figures.push(("valid/double_loss".to_owned(), 2.0 * loss));
        Ok(figures)
    }));
    let end = session.train(parts).unwrap();
    let stage = end.stage().unwrap();
    let gate = &stage.summary.gates[0];
    let loss = stage.summary.valid.as_ref().unwrap().loss;
    assert_eq!(gate.value.to_bits(), (2.0 * loss).to_bits());
    assert!(gate.passed);
    let lines = figures(&stage.dir);
    assert_eq!(lines.last().unwrap()["valid/double_loss"], gate.value);
}

#[test]
fn a_plan_tells_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let told = Arc::new(Mutex::new(String::new()));
    let heard = Arc::clone(&told);
    let mut host = host(folder.path()).with_teller(move |what| {
        if let Told::Result(line) = what {
            heard.lock().unwrap().push_str(line);
        }
    });
    host.mode = Mode::Plan;
    let end = pretrain(new_run(folder.path(), tiny()), &host).unwrap();
    assert_eq!(end, End::Shown);
    let told = told.lock().unwrap();
    assert!(
        told.contains("plan: 12 steps of ") && told.contains("[["),
        "{told}"
    );
    assert!(!folder.path().join("run").exists());
}

#[test]
fn gates_are_kept_as_written_and_absent_ones_are_the_default() {
    let old: PretrainConfig = parse("seed = 4\n[trainer]\nmax_steps = 500\n", "old", &[]).unwrap();
    assert_eq!(old.gates, PretrainConfig::default().gates);
    let least = GateConfig::at_least("valid/loss", 1.0);
    for gates in [Vec::new(), vec![least.clone()], vec![least.clone(), least]] {
        let config = PretrainConfig { gates, ..tiny() };
        let text = to_toml(&config).unwrap();
        assert_eq!(
            parse::<PretrainConfig>(&text, "new", &[]).unwrap(),
            config,
            "{text}"
        );
    }
    let faulty = "[[gates]]\nmetric = \"valid/loss\"\n";
    let refused = parse::<PretrainConfig>(faulty, "faulty", &[]).unwrap_err();
    let text = refused.to_string();
    assert!(
        text.contains("line 1, gates.0: 0 targets; give one of"),
        "{text}"
    );
}
