//! The form that a model was tuned with, in a file beside its weights, so that inference asks as
//! training did.

use std::io::ErrorKind;
use std::path::Path;

use sinterlm_config::Check;
use sinterlm_formats::write_file_atomic;

use super::config::PromptTemplate;
use crate::DataError;

impl PromptTemplate {
    /// Name of the file in a model folder.
    pub const FILE: &str = "prompt_template.json";

    /// What each answer begins with in this form, which is no part of the answer; often empty.
    pub fn answer_start(&self) -> &str {
        match self {
            Self::PlainInstruction => " ",
            Self::Own { answer_start, .. } => answer_start,
            Self::Alpaca | Self::Roles | Self::Chat => "",
        }
    }

    /// Writes the form into a model folder that is there.
    ///
    /// # Errors
    /// [`DataError::Format`] where the file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), DataError> {
        let text = serde_json::to_string_pretty(self).expect("a form is plain data") + "\n";
        let path = folder.join(Self::FILE);
        Ok(write_file_atomic(path, |out| {
            out.write_all(text.as_bytes())
        })?)
    }

    /// The form of a model folder; none where the folder names none.
    ///
    /// # Errors
    /// [`DataError::Io`] where the file cannot be read, [`DataError::FormFile`] where it holds no
    /// usable form.
    pub fn of_folder(folder: &Path) -> Result<Option<Self>, DataError> {
        let path = folder.join(Self::FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            // A file of weights is no folder and has nothing in it.
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                return Ok(None);
            }
            Err(source) => {
                return Err(DataError::Io {
                    path,
                    action: "read the form of the prompts",
                    source,
                });
            }
        };
        let unusable = |fault: String| DataError::FormFile {
            path: path.clone(),
            fault,
        };
        let form: Self = serde_json::from_str(&text).map_err(|e| unusable(e.to_string()))?;
        // The check names keys as a run's config has them.
        let faults = Check::of(&form).into_iter().map(|fault| {
            let key = fault.path.trim_start_matches("template.");
            format!("{key} {}", fault.message)
        });
        let faults: Vec<String> = faults.collect();
        if faults.is_empty() {
            Ok(Some(form))
        } else {
            Err(unusable(faults.join("; ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn own() -> PromptTemplate {
        PromptTemplate::Own {
            with_input: "Q: {instruction}\n{input}\nA:".into(),
            without_input: "Q: {instruction}\nA:".into(),
            answer_start: " ".into(),
            separator: "\n".into(),
        }
    }

    #[test]
    fn every_form_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(PromptTemplate::of_folder(folder.path()).unwrap(), None);
        for form in [
            PromptTemplate::Alpaca,
            PromptTemplate::PlainInstruction,
            PromptTemplate::Roles,
            PromptTemplate::Chat,
            own(),
        ] {
            form.save(folder.path()).unwrap();
            let read = PromptTemplate::of_folder(folder.path()).unwrap();
            assert_eq!(read, Some(form));
        }
    }

    #[test]
    fn a_file_that_holds_no_usable_form_is_named_with_the_fault() {
        let folder = tempfile::tempdir().unwrap();
        for (text, words) in [
            ("{\"kind\": \"alpaka\"}", "unknown variant `alpaka`"),
            ("{\"kind\": \"alpaca\"", "line 1 column 17"),
            (
                "{\"kind\": \"own\", \"with_input\": \"{instruction} {input}\", \
                  \"without_input\": \"hm\"}",
                "without_input has no {instruction}; write it where",
            ),
        ] {
            fs::write(folder.path().join(PromptTemplate::FILE), text).unwrap();
            let refused = PromptTemplate::of_folder(folder.path()).unwrap_err();
            let refused = refused.to_string();
            assert!(refused.contains("prompt_template.json: "), "{refused}");
            assert!(refused.contains(words), "{refused}");
        }
    }
}
