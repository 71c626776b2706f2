//! What watching a run costs.
#![cfg(all(feature = "plot", feature = "tensorboard"))]
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::time::{Duration, Instant};

use sinterlm_run::{
    EvalRecord, Event, LossPlot, MetricsFile, Observer, Observers, ProgressLines, RunDir,
    SampleFile, StepRecord, TensorBoard,
};

const STEPS: u64 = 4000;
/// As in the configs; the densest that is sensible is 1.
const LOG_EVERY: u64 = 10;

/// A step of the smallest model of the configs takes 10 ms, of the reference model 1 s.
#[test]
fn observers_take_less_than_a_hundredth_of_a_ten_millisecond_step() {
    let folder = tempfile::tempdir().unwrap();
    let dir = RunDir::create(folder.path().join("run")).unwrap();
    let mut observers = Observers::new()
        .with(ProgressLines::to(std::io::sink()))
        .with(MetricsFile::open(dir.metrics_path()).unwrap())
        .with(SampleFile::new(dir.samples_path()))
        .with(LossPlot::new(dir.loss_plot_path()))
        .with(TensorBoard::create(dir.tensorboard_dir()).unwrap());
    let mut worst = Duration::ZERO;
    let started = Instant::now();
    for step in 1..=STEPS {
        let record = StepRecord {
            step,
            tokens: 512 * step,
            loss: 3.0,
            lr: 1e-3,
            grad_norm: 0.5,
            tokens_per_second: 8000.0,
            extra: vec![("memory/resident_bytes".into(), 5e8)],
            log: step.is_multiple_of(LOG_EVERY),
        };
        let one = Instant::now();
        observers.on_event(&Event::Step(&record)).unwrap();
        worst = worst.max(one.elapsed());
        if step.is_multiple_of(500) {
            let (tokens, loss) = (record.tokens, 3.0);
            let record = EvalRecord {
                step,
                tokens,
                figures: vec![("valid/loss".into(), loss)],
            };
            observers.on_event(&Event::Evaluated(&record)).unwrap();
        }
    }
    let mean = started.elapsed() / STEPS as u32;
    eprintln!("observers: {mean:?} a step on the mean, {worst:?} at worst");
    assert!(mean < Duration::from_micros(100), "{mean:?} a step");
}
