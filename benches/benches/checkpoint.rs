//! What a checkpoint of the reference model costs: the time that one save in the background takes
//! from the steps around it, and the time from a checkpoint on the disk to a trainer that can step. Runs
//! only when it is named: `cargo bench -- checkpoint`.
//!
//! `--folder=DIR` says where to write, about a gigabyte; a temporary folder otherwise. `--steps=N`
//! is the number of steps around the save, 8 unless told.
#![allow(clippy::print_stdout, reason = "a bench reports on stdout")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use std::{env, fs, process};

use anyhow::{Context, Result};
use serde_json::json;
use sinterlm::burn::tensor::Device;
use sinterlm::kernels::run_on_pool;
use sinterlm::model::{Gpt, load_model, save_model};
use sinterlm::run::{
    Event, Observer, Observers, RunError, StopFlag, StopReason, peak_memory_bytes,
};
use sinterlm::trainer::{Checkpoints, Hooks, Keep, Objective, Trainer, Trigger, find_checkpoint};
use sinterlm_benches::{Case, StepCase, is_named, median, option, reference_model};

fn main() -> Result<()> {
    let case = StepCase::new(4, 256, &reference_model());
    let id = case.id().replace("train_step/", "checkpoint/");
    if !is_named(&id) {
        return Ok(());
    }
    let above = option("folder").map_or_else(env::temp_dir, PathBuf::from);
    let folder = above.join(format!("sinterlm-checkpoint-{}", process::id()));
    let result = run_on_pool(None, || measure(&case, &id, &folder));
    let _ = fs::remove_dir_all(&folder); // nothing may be there, after an early fault
    result
}

fn measure(case: &StepCase, id: &str, folder: &Path) -> Result<()> {
    let steps: usize = option("steps").map_or(Ok(8), |count| count.parse())?;
    let mut trainer = case.trainer(None);
    timed_steps(&mut trainer, 1, None)?; // warm
    let plain = median(&timed_steps(&mut trainer, steps, None)?);
    let memory = peak_memory_bytes();
    timed_steps(&mut trainer, 2, Some(folder))?; // a process keeps the memory of its first save
    // The first of these steps ends with a save; the next are made beside it.
    let beside = timed_steps(&mut trainer, steps + 1, Some(folder))?;
    let cost = beside.iter().sum::<f64>() - beside.len() as f64 * plain;
    let share = cost / (100.0 * plain);
    let more_memory = peak_memory_bytes().zip(memory).map(|(now, was)| now - was);
    println!(
        "{}",
        json!({
            "bench": format!("{id}/save"),
            "median_seconds": cost,
            "step_with_copy_seconds": beside[1],
            "plain_step_seconds": plain,
            "share_at_one_in_100_steps": share,
            "more_memory_bytes": more_memory,
        })
    );
    drop(trainer);

    let started = Instant::now();
    let bytes = read_all(folder)?;
    let reading = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let (found, _) = find_checkpoint(folder);
    let found = found.context("the run above has saved")?;
    let model = load_model(&found.path, &Device::flex().autodiff())?;
    let mut trainer = case.trainer(Some(model));
    trainer.resume(found)?;
    let resuming = started.elapsed().as_secs_f64();
    println!(
        "{}",
        json!({
            "bench": format!("{id}/resume"),
            "median_seconds": resuming,
            "reading_seconds": reading, // most likely from the system's cache
            "bytes": bytes,
        })
    );
    println!(
        "\none save costs {cost:.2} s: {:.2} % of 100 steps of {plain:.2} s; a step is ready {resuming:.2} s after the start, of which {reading:.2} s are reading {} MB",
        100.0 * share,
        bytes / 1_000_000
    );
    Ok(())
}

/// Notes when each step ends, and asks for the end after enough of them.
struct Watch {
    ends: Arc<Mutex<Vec<Instant>>>,
    enough: usize,
    stop: StopFlag,
}

impl Observer for Watch {
    fn on_event(&mut self, event: &Event<'_>) -> Result<(), RunError> {
        if let Event::Step(_) = event {
            let mut ends = self.ends.lock().expect("nothing panics while it is held");
            ends.push(Instant::now());
            if ends.len() >= self.enough {
                self.stop.request(StopReason::Request);
            }
        }
        Ok(())
    }
}

/// Seconds of each of `steps` steps. With a folder the first is followed by a save, whose time
/// counts to the second.
fn timed_steps<O: Objective<Gpt>>(
    trainer: &mut Trainer<Gpt, O>,
    steps: usize,
    folder: Option<&Path>,
) -> Result<Vec<f64>> {
    let stop = StopFlag::new();
    let ends = Arc::new(Mutex::new(Vec::new()));
    let watch = Watch {
        ends: Arc::clone(&ends),
        enough: steps,
        stop: stop.clone(),
    };
    let mut hooks = Hooks {
        observers: Observers::new().with(watch),
        checkpoints: folder.map(|folder| Checkpoints {
            keep: Keep {
                last: 1,
                ..Keep::default()
            },
            ..Checkpoints::new(folder, |folder, model: &Gpt| {
                Ok(save_model(folder, model, 0)?)
            })
        }),
        checkpoint_at: Trigger {
            every_steps: trainer.steps() + 1, // and not again before the run ends
            ..Trigger::default()
        },
        stop: Some(stop),
        ..Hooks::default()
    };
    let started = Instant::now();
    trainer.run(&mut hooks)?;
    let ends = ends.lock().expect("the run is over").clone();
    let starts = std::iter::once(started).chain(ends.iter().copied());
    Ok(starts
        .zip(&ends)
        .map(|(start, end)| (*end - start).as_secs_f64())
        .collect())
}

/// Reads every file of the checkpoints and gives their size.
fn read_all(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for checkpoint in fs::read_dir(folder)? {
        for file in fs::read_dir(checkpoint?.path())? {
            bytes += fs::read(file?.path())?.len() as u64;
        }
    }
    Ok(bytes)
}
