//! Runs whose numbers go wrong: the post-mortem, the replay of a step, and runs that skip it.

use std::fs;

use crate::harness::{content, copy_of_finished, end, json, metrics, resume, smoke};

/// Rates at which half precision overflows within a few steps.
const EXPLOSION: [&str; 14] = [
    "--set",
    "trainer.precision=f16",
    "--set",
    "optimizer.peak_lr=10",
    "--set",
    "optimizer.muon_lr=10",
    "--set",
    "schedule.warmup_steps=0",
    "--set",
    "log.every_steps=1",
    "--set",
    "trainer.max_steps=200",
    "--set",
    "checkpoint.every_steps=2",
];

#[test]
fn a_run_that_explodes_leaves_a_post_mortem_whose_command_repeats_the_step() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let ended = end(smoke(&run).args(EXPLOSION));
    ended.refused(1, &["is not finite", "nothing was updated"]);
    assert!(ended.err.contains("post-mortem: "), "{}", ended.err);

    let record = json(&run.join("run.json"));
    assert_eq!(record["status"], "failed");
    assert!(record["ended_utc"].as_str() >= record["started_utc"].as_str());
    let told = record["error"].as_str().unwrap();
    assert!(told.contains("is not finite"), "{told}");

    let report = json(&run.join("post-mortem.json"));
    let step = report["step"].as_u64().unwrap();
    let fault = report["fault"].as_str().unwrap();
    assert!(
        ended.err.contains(&format!("step {step}: {fault}")),
        "{}",
        ended.err
    );
    let row = &report["rows"][0];
    assert!(row["text"].as_str().unwrap().len() > 20);
    assert_eq!(row["ids"].as_array().unwrap().len(), 64);
    assert!(row["documents"][1].as_u64() >= row["documents"][0].as_u64());
    let checkpoint = report["last_checkpoint"].as_str().unwrap();
    assert!(fs::exists(checkpoint).unwrap(), "{checkpoint}");
    let way = format!("--resume {} --replay-step {step}", run.display());
    assert!(report["replay"].as_str().unwrap().ends_with(&way));

    let before = content(&run);
    let replayed = end(resume(&run).args(["--replay-step", &step.to_string()])).done();
    let title = format!("step {step}, micro-batch 0: {fault} is not finite");
    assert!(replayed.out.contains(&title), "{}", replayed.out);
    assert!(content(&run) == before, "a replay writes nothing");
}

#[test]
fn a_replay_of_a_sound_step_shows_finite_numbers_alone() {
    let (_folder, run) = copy_of_finished();
    let before = content(&run);
    let replayed = end(resume(&run).args(["--replay-step", "32"])).done();
    let (out, from) = (replayed.out, "step-00000030 (step 30)");
    assert!(
        out.contains(from) && out.contains("all values are finite"),
        "{out}"
    );
    assert!(
        out.contains("blocks.1.mlp.down") && out.contains("wte.weight"),
        "{out}"
    );
    assert!(content(&run) == before, "a replay writes nothing");
}

#[test]
fn a_run_in_f16_logs_its_loss_scale() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    end(smoke(&run).args(["--set", "trainer.precision=f16"])).done();
    let scales: Vec<f64> = metrics(&run)
        .iter()
        .filter_map(|line| line["train/loss_scale"].as_f64())
        .collect();
    assert!(
        scales.len() > 4 && scales.iter().all(|scale| *scale >= 1.0),
        "{scales:?}"
    );
}
