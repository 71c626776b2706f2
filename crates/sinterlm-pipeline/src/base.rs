//! The small base model that fine-tuning starts from where no weights are given: pretrained once, kept in
//! the cache.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use sinterlm_config::{load_moved, to_toml};

use crate::error::PipelineError;
use crate::host::{Host, Mode};
use crate::pretrain::pretrain;
use crate::recipes::PretrainConfig;
use crate::run_config::{RunAt, RunConfig};
use crate::stage::{End, Stage, hex};
use crate::weights::absolute;

/// Cache folder where the host names none.
const DEFAULT_CACHE: &str = ".sinterlm-cache";

/// The model of the pretraining config `file`: found in the cache, or trained now as a run of its own
/// there. A run that was stopped is resumed.
///
/// The cache holds one run for each content of the config, so a changed config trains another base.
///
/// # Errors
/// As [`pretrain`]; [`PipelineError::BaseStopped`] where a signal ends its training, and
/// [`PipelineError::BaseMissing`] where only a plan is wanted and there is no base yet.
pub fn trained_base(file: &Path, host: &Host) -> Result<Stage, PipelineError> {
    let config: PretrainConfig = load_moved(file, &[], PretrainConfig::MOVED)?;
    let dir = place(&config, host)?;
    if let Some(stage) = Stage::of_run(&dir) {
        host.say(format!("base: {}", dir.display()));
        return Ok(stage);
    }
    if host.mode != Mode::Run {
        let file = file.to_owned();
        return Err(PipelineError::BaseMissing { file });
    }
    host.say(format!(
        "base: none yet, training it once by {} in {}",
        file.display(),
        dir.display()
    ));
    let mut host = host.clone();
    host.program = None; // it resumes runs of its own
    match pretrain(RunAt::resume_or_new(&dir, config), &host)? {
        End::Done(stage) => Ok(stage),
        End::Stopped { reason, .. } => Err(PipelineError::BaseStopped { reason, dir }),
        End::Shown => unreachable!("the host runs what it is given, as asked above"),
    }
}

/// The run directory of a base in the cache.
fn place(config: &PretrainConfig, host: &Host) -> Result<PathBuf, PipelineError> {
    let cache = config.data.cache_dir.as_deref();
    let cache = cache.or(host.cache_dir.as_deref());
    let cache = cache.unwrap_or(Path::new(DEFAULT_CACHE));
    let digest = hex(&Sha256::digest(to_toml(config)?));
    absolute(&cache.join("bases").join(&digest[..16]))
}
