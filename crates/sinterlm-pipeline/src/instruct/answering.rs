//! Writes answers to prompts that are tokens already.

use std::sync::Arc;

use sinterlm_config::Seed;
use sinterlm_data::Tokenizer;
use sinterlm_model::{CausalLm, Finish, SampleConfig};
use sinterlm_text::{Continuing, TextError};

/// Prompts that are answered side by side before the next ones are begun.
const BATCH: usize = 256;

/// A prompt with the answer that it wants.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub ids: Vec<u32>,
    /// In words.
    pub asked: String,
    pub reference: String,
    pub task: Option<Arc<str>>,
}

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub text: String,
    /// Its tokens, without the one that ended it.
    pub ids: Vec<u32>,
    pub ended_by_eos: bool,
}

/// How answers are written.
#[derive(Clone, Debug)]
pub(super) struct Answering {
    pub tokenizer: Tokenizer,
    pub ends: Vec<u32>,
    pub max_new_tokens: usize,
    /// Tokens that the model reads at once.
    pub context: usize,
}

impl Answering {
    /// The likeliest answers to questions.
    pub(super) fn answers<M: CausalLm>(
        &self,
        model: &M,
        questions: &[Question],
    ) -> Result<Vec<Written>, TextError> {
        let config = SampleConfig::greedy(self.max_new_tokens);
        let mut written = Vec::with_capacity(questions.len());
        for some in questions.chunks(BATCH) {
            let ids = some.iter().map(|question| question.ids.clone()).collect();
            written.extend(self.write(model, ids, &config, Seed(0))?);
        }
        Ok(written)
    }

    /// Continues prompts. One that leaves no room for an answer loses its beginning.
    pub(super) fn write<M: CausalLm>(
        &self,
        model: &M,
        mut prompts: Vec<Vec<u32>>,
        config: &SampleConfig,
        seed: Seed,
    ) -> Result<Vec<Written>, TextError> {
        let room = self.context.saturating_sub(config.max_new_tokens).max(1);
        for ids in &mut prompts {
            let over = ids.len().saturating_sub(room);
            ids.drain(..over);
        }
        let continuing = Continuing {
            ends: self.ends.clone(),
            config: config.clone(),
            seed,
            ..Continuing::new(&self.tokenizer)
        };
        let mut texts = vec![String::new(); prompts.len()];
        let done = continuing.texts(model, prompts, |row, piece| texts[row].push_str(piece))?;
        let answers = texts.into_iter().zip(done).map(|(text, generated)| {
            let ended_by_eos = generated.finish == Finish::Stop;
            let mut ids: Vec<u32> = generated.tokens.iter().map(|token| token.id).collect();
            if ended_by_eos {
                ids.pop();
            }
            Written {
                text: text.trim().to_owned(),
                ids,
                ended_by_eos,
            }
        });
        Ok(answers.collect())
    }
}
