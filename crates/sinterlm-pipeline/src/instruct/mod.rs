//! Instruction tuning: from records with answers to a model that answers, and its figures on records that
//! it never saw. What is measured is in `figures`.

mod answering;
mod config;
mod figures;

use std::sync::Arc;

use sinterlm_config::Seed;
use sinterlm_data::{
    BatchesConfig, Body, Layout, Mixture, PreparedRecords, PromptTemplate, Prompter, Record,
    RowBatches, RowSet, RowsConfig, TrainSet,
};
use sinterlm_model::{Gpt, GptConfig};
use sinterlm_run::SampleText;
use sinterlm_trainer::{NextToken, Sample};

use crate::error::PipelineError;
use crate::host::Host;
use crate::parts::{ModelStore, Parts, Preview};
use crate::run_config::RunAt;
use crate::session::Session;
use crate::stage::End;
use crate::tuning::{TextParts, passport_files, side_files};
use answering::{Answering, Question};
pub use config::{AnswersConfig, InstructConfig};
use figures::{Before, InstructScoring};

/// Validation records that samples answer where the config names no prompts.
const SAMPLES: usize = 3;
/// Tokens of a batch that is scored, about.
const SCORED_TOKENS: usize = 4096;

/// Fine-tunes a model to answer, in a run directory that can be resumed.
///
/// # Errors
/// [`PipelineError`]; its [`exit_status`](PipelineError::exit_status) tells whether anything was begun.
///
/// # Example
/// ```no_run
/// use burn::tensor::Device;
/// use sinterlm_pipeline::{Host, InstructConfig, RunAt, instruct};
///
/// let config = InstructConfig { weights: Some("gpt2".into()), ..InstructConfig::default() };
/// let host = Host::new(Device::flex(), "flex");
/// let end = instruct(RunAt::resume_or_new("runs/answers", config), &host)?;
/// if let Some(stage) = end.stage() {
///     println!("{:?}", stage.summary.test);
/// }
/// # Ok::<(), sinterlm_pipeline::PipelineError>(())
/// ```
pub fn instruct(at: RunAt<InstructConfig>, host: &Host) -> Result<End, PipelineError> {
    let mut session = Session::open(at, host)?;
    if let Some(stage) = session.finished() {
        return Ok(End::Done(stage));
    }
    let parts = instruct_parts(&mut session)?;
    session.train(parts)
}

/// What [`instruct`] trains: prepares the records, loads the model and resolves what the config leaves to
/// the machine.
///
/// # Errors
/// Where records, weights or the machine cannot be used.
pub fn instruct_parts(
    session: &mut Session<InstructConfig>,
) -> Result<Parts<'static, Gpt, NextToken<RowBatches>>, PipelineError> {
    let weights = session.config.weights.clone();
    let start = session.start_folder(weights.as_deref())?;
    let text = TextParts::of(&start)?;
    let config = session.config.clone();
    let prepared = session.prepare_records(
        &config.data,
        &config.hygiene,
        &config.split,
        &text.tokenizer,
    )?;
    session.config.data.fingerprint = Some(prepared.fingerprint.clone());
    if prepared.valid.is_empty() {
        return Err(PipelineError::NoValidation);
    }
    let train = prepared.train.iter().flat_map(|set| &set.records);
    let mut all = train.chain(&prepared.valid).chain(&prepared.test);
    if let Some(record) = all.find(|record| record.label().is_some()) {
        let origin = record.origin.to_string();
        return Err(PipelineError::NoAnswer { origin });
    }
    if let Some(form) = PromptTemplate::of_folder(&start)?
        && form != config.rows.template
    {
        session.host().note(
            "rows.template: the model was tuned in another form before; it is asked in the new one from here on",
        );
    }
    let (template, tokenizer) = (&config.rows.template, &text.tokenizer);
    let prompter = Prompter::new(template, tokenizer, text.chat.as_ref(), &text.begin)?;
    let sets = row_sets(&prepared.train, &prompter, &config.rows, session.host())?;
    let valid = match prepared.valid.as_slice() {
        [] => None,
        records => Some(row_set(
            "valid",
            records,
            &prompter,
            &config.rows,
            session.host(),
        )?),
    };
    let test_rows = match prepared.test.as_slice() {
        [] => None,
        records => Some(row_set(
            "test",
            records,
            &prompter,
            &config.rows,
            session.host(),
        )?),
    };

    let host = session.host().clone();
    let mut side = side_files(&start, tokenizer, &prepared.passport)?;
    // Completions are trained as they stand, and a model of nothing else is asked so.
    let mut records = prepared.train.iter().flat_map(|set| &set.records);
    if !records.all(|record| matches!(record.body, Body::Completion { .. })) {
        let form = serde_json::to_string_pretty(template).expect("a template is plain data");
        side.push((PromptTemplate::FILE.to_owned(), (form + "\n").into_bytes()));
    }
    let store = ModelStore::whole(tokenizer.end_of_text()).with_files(side);
    let decoder = config.model.clone();
    let model = session.starting_model(&decoder, weights.as_deref(), tokenizer, &store)?;
    let frozen = config.trainer.freeze_parameters(model);
    let model = frozen.map_err(PipelineError::Selection)?;
    let decoder = GptConfig {
        max_seq_len: config.rows.max_seq_len,
        ..decoder
    };
    session.fit_to_machine(&model, &decoder)?;

    let rows = sets.iter().flat_map(|(_, set)| set.rows());
    let rows: Vec<Vec<u32>> = rows.map(|row| row.ids.to_vec()).collect();
    // Noise on the embeddings goes through the frozen blocks, too.
    let prefix = if config.loss.neftune_alpha > 0.0 {
        None
    } else {
        session.prefix_cache("train", &model, &rows)?
    };
    let firsts = sets.iter().scan(0, |next, (_, set)| {
        let first = *next;
        *next += set.rows().len();
        Some(first)
    });
    let firsts: Vec<usize> = firsts.collect();

    let config = &session.config;
    let seed = Seed(config.seed);
    let trainer = &config.trainer;
    let end = tokenizer.end_of_text();
    let batches = |sets, mixed: &BatchesConfig, step_rows| {
        RowBatches::new(sets, mixed, config.rows.max_seq_len, step_rows, end, seed)
    };
    let mixed = BatchesConfig {
        mixture: mixture(&prepared.train, &sets, &config.batches.mixture),
        ..config.batches.clone()
    };
    let step_rows = trainer.micro_rows() * trainer.grad_accum_steps as usize;
    let train = batches(
        sets.into_iter().map(|(_, rows)| rows).collect(),
        &mixed,
        step_rows,
    )?;
    tell_packing(&host, &train, &mixed, trainer.micro_rows());

    // Scored once through, rows of like length together.
    let scored = BatchesConfig {
        layout: Layout::Padded,
        group_by_length: true,
        max_epochs: Some(1),
        mixture: Mixture::BySize,
        ..mixed.clone()
    };
    let eval_rows = match config.eval.micro_batch_size {
        0 => (SCORED_TOKENS / config.rows.max_seq_len).max(1),
        rows => rows as usize,
    };
    let scored = |rows: Option<Arc<RowSet>>| {
        rows.map(|rows| batches(vec![rows], &scored, eval_rows))
            .transpose()
    };
    let valid_count = valid.as_ref().map_or(0, |rows| rows.rows().len() as u64);
    let test_count = test_rows
        .as_ref()
        .map_or(0, |rows| rows.rows().len() as u64);
    let (valid, test_rows) = (scored(valid)?, scored(test_rows)?);

    let first = train.batch(0, 2).map(|found| found.batch);
    let preview = Preview {
        decoder,
        rows_per_epoch: train.rows_until(1),
        first: first.expect("batches have no end without max_epochs"),
        scored_rows: [valid_count, valid_count + test_count],
    };
    let answering = Answering {
        tokenizer: text.tokenizer.clone(),
        ends: text.ends.clone(),
        max_new_tokens: config.answers.max_new_tokens,
        context: config.model.max_seq_len,
    };
    let most = |count: usize| if count == 0 { usize::MAX } else { count };
    let questions = |records: &[Record], count: usize| questions(records, count, &prompter);
    let scoring = InstructScoring {
        during: questions(&prepared.valid, config.answers.during)?,
        test: questions(&prepared.test, most(config.answers.most))?,
        held_out: questions(&prepared.held_out, most(config.answers.most))?,
        valid,
        test_rows,
        rows: eval_rows,
        max_rows: config.eval.max_rows,
        answering: answering.clone(),
        precision: trainer.precision,
        normalisation: config.answers.normalisation,
        exact_words: config.answers.exact_words,
        device: host.device.clone(),
        before: config.answers.before.then(|| Before {
            weights: config.weights.clone(),
            host: host.clone(),
        }),
    };
    let prompts = sample_prompts(&prepared, &config.eval.prompts, &prompter)?;
    let sample = sampler(answering, config, prompts);
    let mut objective = NextToken::new(train, trainer, &host.device.clone().autodiff());
    if let Some(cache) = prefix {
        objective = objective.with_prefix(cache, firsts);
    }
    let (files, sections) = passport_files(&prepared);
    let metrics = scoring.metrics();
    let (evaluate, summarise) = scoring.hooks();
    Ok(Parts {
        model,
        objective: objective.with_loss(&config.loss),
        evaluate: Some(evaluate),
        metrics,
        sample: Some(sample),
        summarise,
        store,
        tokenizer: text.tokenizer,
        preview,
        files,
        sections,
    })
}

/// The rows of the sets that have records left, with each set's place in the mixture.
fn row_sets(
    train: &[TrainSet],
    prompter: &Prompter,
    config: &RowsConfig,
    host: &Host,
) -> Result<Vec<(usize, Arc<RowSet>)>, PipelineError> {
    let mut sets = Vec::new();
    for (number, set) in train.iter().enumerate() {
        if !set.records.is_empty() {
            let name = set.name.as_deref().unwrap_or("train");
            sets.push((number, row_set(name, &set.records, prompter, config, host)?));
        }
    }
    Ok(sets)
}

fn row_set(
    name: &str,
    records: &[Record],
    prompter: &Prompter,
    config: &RowsConfig,
    host: &Host,
) -> Result<Arc<RowSet>, PipelineError> {
    let rows = RowSet::build(records, prompter, config)?;
    let counts = rows.counts();
    let left_out = counts.too_long + counts.untrained + counts.refused;
    host.say(format!(
        "rows: {name}: {} of {} tokens, {} trained; {} cut, {left_out} left out",
        counts.rows, counts.tokens, counts.trained_tokens, counts.truncated
    ));
    for example in &counts.examples {
        host.note(format!("rows: {name}: {example}"));
    }
    Ok(Arc::new(rows))
}

/// Shares of the sets: their records count `weight` times each, where the config says nothing else.
fn mixture(train: &[TrainSet], sets: &[(usize, Arc<RowSet>)], given: &Mixture) -> Mixture {
    let weights: Vec<f64> = sets
        .iter()
        .map(|(number, _)| train[*number].weight)
        .collect();
    let are_equal = weights
        .windows(2)
        .all(|pair| (pair[0] - pair[1]).abs() < 1e-12);
    match given {
        // Sets that hygiene left empty are drawn from no more.
        Mixture::Weights(all) if all.len() == train.len() => {
            Mixture::Weights(sets.iter().map(|(number, _)| all[*number]).collect())
        }
        Mixture::Weights(_) => given.clone(),
        Mixture::BySize if are_equal => Mixture::BySize,
        Mixture::BySize => {
            let shares = sets.iter().zip(weights);
            Mixture::Weights(
                shares
                    .map(|((_, rows), weight)| weight * rows.rows().len() as f64)
                    .collect(),
            )
        }
    }
}

/// How full batches are.
fn tell_packing(host: &Host, train: &RowBatches, config: &BatchesConfig, rows: usize) {
    let figures = train.figures(0, rows);
    let padding = 1.0 - figures.tokens as f64 / figures.slots.max(1) as f64;
    host.say(format!(
        "batches: {} a pass, {} rows, {} tokens of which {} trained, {:.1} % padding ({})",
        figures.batches,
        figures.rows,
        figures.tokens,
        figures.trained_tokens,
        100.0 * padding,
        match config.layout {
            Layout::Padded if config.group_by_length => "padded, by length",
            Layout::Padded => "padded",
            Layout::Packed => "packed",
        }
    ));
}

/// The records as questions with the answers that they want.
fn questions(
    records: &[Record],
    count: usize,
    prompter: &Prompter,
) -> Result<Vec<Question>, PipelineError> {
    let mut questions = Vec::new();
    for record in records.iter().take(count) {
        // A conversation may end with a question, which has no answer to compare with.
        let Some(reference) = record.answer() else {
            continue;
        };
        questions.push(Question {
            ids: prompter.prompt_ids(&record.body)?,
            asked: record.question(),
            reference: reference.to_owned(),
            task: record.task.clone(),
        });
    }
    Ok(questions)
}

/// What samples answer: the config's prompts as instructions, else some validation records.
fn sample_prompts(
    prepared: &PreparedRecords,
    prompts: &[String],
    prompter: &Prompter,
) -> Result<Vec<(String, Vec<u32>)>, PipelineError> {
    let own = prompts.iter().map(|prompt| Body::Instruction {
        instruction: prompt.clone(),
        input: String::new(),
        output: String::new(),
    });
    let mut asked: Vec<(String, Vec<u32>)> = Vec::new();
    for (body, prompt) in own.zip(prompts) {
        asked.push((prompt.clone(), prompter.prompt_ids(&body)?));
    }
    if asked.is_empty() {
        let records = [prepared.valid.as_slice(), &prepared.test].concat();
        let questions = questions(&records, SAMPLES, prompter)?;
        asked.extend(
            questions
                .into_iter()
                .map(|question| (question.asked, question.ids)),
        );
    }
    Ok(asked)
}

fn sampler(
    answering: Answering,
    config: &InstructConfig,
    prompts: Vec<(String, Vec<u32>)>,
) -> Sample<'static, Gpt> {
    let (sample, seed) = (config.sample.clone(), Seed(config.seed));
    Box::new(move |model: &Gpt| {
        let ids = prompts.iter().map(|(_, ids)| ids.clone()).collect();
        let written = answering.write(model, ids, &sample, seed);
        let texts: Vec<String> = match written {
            Ok(written) => written.into_iter().map(|answer| answer.text).collect(),
            // A sample is no reason to end a run.
            Err(error) => vec![format!("(no text: {error})"); prompts.len()],
        };
        let samples = prompts.iter().zip(texts);
        samples
            .map(|((prompt, _), text)| SampleText {
                prompt: format!("{prompt}\n-> "),
                text,
            })
            .collect()
    })
}
