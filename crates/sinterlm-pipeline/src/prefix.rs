//! What frozen first blocks make of each row, computed once for a run and kept in its directory until it
//! is done.

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use burn::module::Module;
use sinterlm_model::{Gpt, PrefixCache, PrefixOf};

use crate::error::PipelineError;
use crate::host::Mode;
use crate::run_config::RunConfig;
use crate::session::{PREFIXES, Session};

impl<C: RunConfig> Session<C> {
    /// The activations behind the frozen first blocks of `model`, of all `rows`; none where none are
    /// frozen, or where a plan only says what they take. Each name is a file of its own.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub(crate) fn prefix_cache(
        &self,
        name: &str,
        model: &Gpt,
        rows: &[Vec<u32>],
    ) -> Result<Option<Arc<PrefixCache>>, PipelineError> {
        let blocks = model.frozen_prefix();
        if blocks == 0 || rows.is_empty() {
            return Ok(None);
        }
        let host = self.host();
        let config = model.config();
        let bytes = PrefixCache::size_bytes(rows, config.d_model) as f64 / f64::from(1 << 20);
        host.say(format!(
            "prefix: the first {blocks} of {} blocks are frozen: computed once for {} rows of {name}, {bytes:.1} MiB",
            config.n_layers,
            rows.len()
        ));
        if host.mode != Mode::Run {
            return Ok(None);
        }
        let path = self.prefix_folder().join(format!("{name}.bin"));
        std::fs::create_dir_all(self.prefix_folder()).map_err(|source| PipelineError::File {
            path: self.prefix_folder(),
            action: "cannot be made",
            source,
        })?;
        let of = PrefixOf {
            model: &model.clone().valid(),
            blocks,
            precision: self.config.tables().trainer.precision,
        };
        let cache = PrefixCache::open_or_fill(&path, &of, rows, |_, _| ControlFlow::Continue(()))?;
        Ok(cache.map(Arc::new))
    }

    /// Removes the caches: a run that is done needs them no more.
    pub(crate) fn remove_prefixes(&self) -> Result<(), PipelineError> {
        let path = self.prefix_folder();
        match std::fs::remove_dir_all(&path) {
            Err(source) if source.kind() != ErrorKind::NotFound => Err(PipelineError::File {
                path,
                action: "cannot be removed",
                source,
            }),
            _ => Ok(()),
        }
    }

    fn prefix_folder(&self) -> PathBuf {
        self.dir().join(PREFIXES)
    }
}
