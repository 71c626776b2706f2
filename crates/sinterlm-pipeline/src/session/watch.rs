//! What watches a run and saves it on its way.

use std::fs::OpenOptions;
use std::path::Path;

use anyhow::Result;
use sinterlm::model::{Gpt, save_model};
use sinterlm::run::{
    LossPlot, MetricsFile, Observers, Options, ProgressBar, RunError, SampleFile, TensorBoard,
};
use sinterlm::trainer::{Checkpoints, Hooks, TrainError};

use super::Session;
use crate::post_mortem::PostMortemFile;

impl Session {
    /// Logging, checkpoints and stopping as the config asks; evaluation and samples are the
    /// caller's to add.
    ///
    /// # Errors
    /// Where a file of the directory cannot be opened.
    pub fn hooks(&self, kind: &'static str, options: &Options) -> Result<Hooks<'static, Gpt>> {
        let mut observers = Observers::new()
            .with(ProgressBar::new(options.quiet))
            .with(MetricsFile::open(self.dir.metrics_path())?)
            .with(PostMortemFile::new(&self.dir))
            .with(SampleFile::new(self.dir.samples_path()));
        if self.config.log.plot {
            let plot = LossPlot::new(self.dir.loss_plot_path());
            observers.push(plot.with_history(self.dir.metrics_path()));
        }
        if self.config.log.tensorboard {
            observers.push(TensorBoard::create(self.dir.tensorboard_dir())?);
        }
        let (metrics, samples) = (self.dir.metrics_path(), self.dir.samples_path());
        let end_of_text = self.end_of_text;
        let checkpoints = Checkpoints {
            files: vec![self.dir.config_path(), self.dir.tokenizer_path()],
            keep: self.config.checkpoint.keep(),
            background: self.config.checkpoint.background,
            ..Checkpoints::new(self.dir.checkpoints_dir(), move |folder, model| {
                Ok(save_model(folder, model, end_of_text)?)
            })
        };
        Ok(Hooks {
            kind,
            parameters: self.config.model.parameters().total,
            observers,
            log: self.config.log.trigger(),
            evaluate: None,
            evaluate_at: self.config.eval.trigger(),
            sample: None,
            sample_at: self.config.eval.samples_trigger(),
            checkpoints: Some(checkpoints),
            checkpoint_at: self.config.checkpoint.trigger(),
            on_save: Some(Box::new(move |scalars| {
                for (key, file) in [("metrics_bytes", &metrics), ("samples_bytes", &samples)] {
                    flush(file)?;
                    scalars.insert(key.into(), MetricsFile::len_bytes(file).into());
                }
                Ok(())
            })),
            stop: Some(self.stop.clone()),
        })
    }
}

/// Brings what was appended to a file to the disk: a checkpoint that outlives a power cut relies on
/// it. A file that is not there has nothing to bring.
fn flush(path: &Path) -> Result<(), TrainError> {
    let Ok(file) = OpenOptions::new().append(true).open(path) else {
        return Ok(());
    };
    Ok(file.sync_all().map_err(|source| RunError::Io {
        path: path.to_owned(),
        action: "flush",
        source,
    })?)
}
