//! Pretraining: from raw text to a model and its perplexity.

use sinterlm_config::Seed;
use sinterlm_data::{StoreHeader, TrainWindows, ValidWindows};
use sinterlm_model::Gpt;
use sinterlm_run::{EvalRecord, Summary, ValidFigures};
use sinterlm_trainer::NextToken;

use crate::error::PipelineError;
use crate::hooks::{METRICS, Sampling, Scoring, evaluator, sampler};
use crate::host::Host;
use crate::parts::{ModelStore, Parts, Preview, Results};
use crate::recipes::PretrainConfig;
use crate::run_config::RunAt;
use crate::session::Session;
use crate::stage::End;

/// Pretrains a GPT: text to tokenizer to model to perplexity, in a run directory that can be resumed.
///
/// # Errors
/// [`PipelineError`]; its [`exit_status`](PipelineError::exit_status) tells whether anything was begun.
///
/// # Example
/// ```no_run
/// use burn::tensor::Device;
/// use sinterlm_pipeline::{Host, PretrainConfig, RunAt, pretrain};
///
/// let mut config = PretrainConfig::default();
/// config.trainer.max_steps = 200;
/// let host = Host::new(Device::flex(), "flex");
/// let end = pretrain(RunAt::resume_or_new("runs/first", config), &host)?;
/// if let Some(stage) = end.stage() {
///     println!("{}: {:?}", stage.model.path.display(), stage.summary.valid);
/// }
/// # Ok::<(), sinterlm_pipeline::PipelineError>(())
/// ```
pub fn pretrain(at: RunAt<PretrainConfig>, host: &Host) -> Result<End, PipelineError> {
    let mut session = Session::open(at, host)?;
    if let Some(stage) = session.finished() {
        return Ok(End::Done(stage));
    }
    let parts = pretrain_parts(&mut session)?;
    session.train(parts)
}

/// What [`pretrain`] trains: prepares the text, makes or loads the model and resolves what the config
/// leaves to the machine.
///
/// # Errors
/// Where text, weights or the machine cannot be used.
pub fn pretrain_parts(
    session: &mut Session<PretrainConfig>,
) -> Result<Parts<'static, Gpt, NextToken>, PipelineError> {
    let (data, tokenizer) = (
        session.config.data.clone(),
        session.config.tokenizer.clone(),
    );
    let prepared = session.prepare_text(&data, &tokenizer)?;
    session.config.data = prepared.resolved;
    session.config.tokenizer = prepared.resolved_tokenizer;
    let tokenizer = prepared.tokenizer;
    let store = ModelStore::whole(tokenizer.end_of_text());
    let decoder = session.config.model.clone();
    let weights = session.config.weights.as_deref();
    let model = session.starting_model(&decoder, weights, &tokenizer, &store)?;
    let frozen = session.config.trainer.freeze_parameters(model);
    let model = frozen.map_err(PipelineError::Selection)?;
    session.fit_to_machine(&model, &decoder)?;

    let config = &session.config;
    let (seed, seq) = (Seed(config.seed), decoder.max_seq_len);
    let train = TrainWindows::new(prepared.train, seq, seed)?;
    let valid = ValidWindows::new(prepared.valid, seq)?;
    let plain = session.host().device.clone();
    let scoring = Scoring {
        rows: match config.eval.micro_batch_size {
            0 => config.trainer.micro_rows(),
            rows => rows as usize,
        },
        max_rows: config.eval.max_rows,
        precision: config.trainer.precision,
    };
    let preview = Preview {
        decoder,
        rows_per_epoch: train.rows_per_epoch(),
        first: train.batch(0, 2),
        scored_rows: [scoring.rows_during(valid.rows()), valid.rows()],
    };
    let sampling = Sampling {
        prompts: config.eval.prompts.clone(),
        config: config.sample.clone(),
        seed,
    };
    let text = valid.store().header().clone();
    Ok(Parts {
        model,
        objective: NextToken::new(train, &config.trainer, &plain.clone().autodiff())
            .with_loss(&config.loss)
            .untrained(config.weights.is_none()),
        evaluate: Some(evaluator(valid, scoring, plain.clone())),
        metrics: METRICS.map(str::to_owned).to_vec(),
        sample: Some(sampler(sampling, tokenizer.clone())),
        summarise: Box::new(move |record, summary| {
            summarise(record, &text, summary);
            Results::default()
        }),
        store,
        tokenizer,
        preview,
        files: Vec::new(),
        sections: Vec::new(),
    })
}

/// The figures of the last evaluation, as `summary.json` names them.
fn summarise(record: &EvalRecord, text: &StoreHeader, summary: &mut Summary) {
    let loss = record.figure("valid/loss").unwrap_or(f64::NAN);
    summary.valid = Some(ValidFigures {
        loss,
        perplexity: loss.exp(),
        bits_per_byte: record.figure("valid/bits_per_byte"),
        perplexity_per_gpt2_token: record.figure("valid/perplexity_per_gpt2_token"),
        tokens: text.tokens - 1, // the end-of-text before the first document is read, not scored
        bytes: Some(text.text_bytes),
    });
}
