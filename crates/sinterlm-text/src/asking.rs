//! The tokens that a model reads to answer a record: by the form that it was tuned with, else by its
//! chat template, else as plain text.

use std::borrow::Cow;

use sinterlm_data::{Body, ChatTemplate, DataError, PromptTemplate, Prompter};

use crate::text_model::TextModel;

impl TextModel {
    /// The tokens that the model reads to write the answer of a record, whose own last answer is not
    /// looked at.
    ///
    /// A model that was tuned in a [`form`](Self::form) reads exactly what training put before such
    /// an answer. Without one, a model with a chat template reads an instruction or a text as a
    /// message of the user; without either, an instruction or a text is continued, an input behind an
    /// empty line, and a conversation is written as roles and lines.
    ///
    /// # Errors
    /// [`DataError::Template`] and [`DataError::Rendering`] where the template or the form refuses the
    /// record.
    ///
    /// # Example
    /// ```no_run
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::path::Path;
    ///
    /// use burn::tensor::Device;
    /// use sinterlm_data::Body;
    /// use sinterlm_text::{OpenOptions, TextModel};
    ///
    /// let path = Path::new("runs/tuned/model");
    /// let model = TextModel::open(path, &OpenOptions::default(), &Device::flex())?;
    /// let ids = model.ask(&Body::Instruction {
    ///     instruction: "Name a color.".into(),
    ///     input: String::new(),
    ///     output: String::new(),
    /// })?;
    /// println!("{}", model.tokenizer.decode(&ids));
    /// # Ok(())
    /// # }
    /// ```
    pub fn ask(&self, body: &Body) -> Result<Vec<u32>, DataError> {
        self.ask_by(self.template.as_ref(), body)
    }

    /// [`ask`](Self::ask) by another chat template than the model's own.
    pub(crate) fn ask_by(
        &self,
        template: Option<&ChatTemplate>,
        body: &Body,
    ) -> Result<Vec<u32>, DataError> {
        let by = |form: &PromptTemplate, template: Option<&ChatTemplate>, body: &Body| {
            Prompter::new(form, &self.tokenizer, template, &self.begin())?.prompt_ids(body)
        };
        let text = match body {
            Body::Completion { prompt: text, .. } | Body::Labelled { text, .. } => {
                Some(Cow::Borrowed(text.as_str()))
            }
            Body::Instruction {
                instruction, input, ..
            } => Some(joined(instruction, input)),
            Body::Chat { .. } | Body::Preference { .. } => None,
        };
        if let Some(form) = &self.form {
            let ids = by(form, template, body)?;
            // Nothing can be continued from no token at all.
            return Ok(if ids.is_empty() { self.prompt("") } else { ids });
        }
        match (template, text) {
            (Some(_), None) => by(&PromptTemplate::Chat, template, body),
            (Some(_), Some(text)) => by(&PromptTemplate::Chat, template, &instruction(&text)),
            (None, None) => by(&PromptTemplate::Chat, Some(&ChatTemplate::plain()), body),
            (None, Some(text)) => Ok(self.prompt(&text)),
        }
    }
}

/// An instruction without an input.
pub(crate) fn instruction(text: &str) -> Body {
    Body::Instruction {
        instruction: text.to_owned(),
        input: String::new(),
        output: String::new(),
    }
}

/// An instruction and its input as one text.
pub(crate) fn joined<'a>(instruction: &'a str, input: &str) -> Cow<'a, str> {
    if input.trim().is_empty() {
        Cow::Borrowed(instruction)
    } else {
        Cow::Owned(format!("{instruction}\n\n{input}"))
    }
}
