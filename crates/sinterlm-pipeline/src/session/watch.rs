//! What watches a run and saves it on its way.

use std::fs::OpenOptions;
use std::path::Path;

use sinterlm_run::{MetricsFile, RunError, SampleFile};
use sinterlm_trainer::{Checkpoints, Hooks, TrainError};

use super::Session;
use crate::error::PipelineError;
use crate::parts::ModelStore;
use crate::post_mortem::PostMortemFile;
use crate::run_config::RunConfig;

impl<C: RunConfig> Session<C> {
    /// Logging, checkpoints and stopping as the config asks; evaluation and samples are the caller's
    /// to add.
    pub(super) fn hooks<'a, M: 'static>(
        &self,
        store: &ModelStore<M>,
    ) -> Result<Hooks<'a, M>, PipelineError> {
        let tables = self.config.tables();
        let mut observers = self.host.progress_observers();
        observers.push(MetricsFile::open(self.dir.metrics_path())?);
        observers.push(PostMortemFile::new(&self.dir, &self.host));
        observers.push(SampleFile::new(self.dir.samples_path()));
        #[cfg(feature = "plot")]
        if tables.log.plot {
            let plot = sinterlm_run::LossPlot::new(self.dir.loss_plot_path());
            observers.push(plot.with_history(self.dir.metrics_path()));
        }
        #[cfg(feature = "tensorboard")]
        if tables.log.tensorboard {
            let folder = self.dir.tensorboard_dir();
            observers.push(sinterlm_run::TensorBoard::create(folder)?);
        }
        self.host.add_observers(&mut observers);
        let (metrics, samples) = (self.dir.metrics_path(), self.dir.samples_path());
        let checkpoints = Checkpoints {
            files: vec![self.dir.config_path(), self.dir.tokenizer_path()],
            keep: tables.checkpoint.keep(),
            background: tables.checkpoint.background,
            ..Checkpoints::new(self.dir.checkpoints_dir(), store.saver())
        };
        Ok(Hooks {
            kind: C::KIND,
            observers,
            log: tables.log.trigger(),
            evaluate: None,
            evaluate_at: tables.eval.trigger(),
            best: tables.eval.best(),
            sample: None,
            sample_at: tables.eval.samples_trigger(),
            checkpoints: Some(checkpoints),
            checkpoint_at: tables.checkpoint.trigger(),
            on_save: Some(Box::new(move |scalars| {
                for (key, file) in [("metrics_bytes", &metrics), ("samples_bytes", &samples)] {
                    flush(file)?;
                    let bytes = file.metadata().map_or(0, |metadata| metadata.len());
                    scalars.insert(key.into(), bytes.into());
                }
                Ok(())
            })),
            stop: Some(self.host.stop.clone()),
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
