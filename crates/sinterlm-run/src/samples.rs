//! `samples.md`: what the model wrote, by step.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::{Event, Observer, RunError, SampleText, appended, readable::thousands};

const HEADING: &str = "## Step ";

/// The texts of one step, as read back.
#[cfg(feature = "report")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SampleSection {
    /// `Step 60, 30,720 tokens`.
    pub(crate) heading: String,
    pub(crate) samples: Vec<SampleText>,
}

/// Appends generated texts to a Markdown file, one section a step.
#[derive(Debug)]
pub struct SampleFile {
    path: PathBuf,
}

impl SampleFile {
    /// Writes to `path`; the file is created with the first texts.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_path_buf(),
        }
    }

    /// Cuts the file at `path` back to the length that a checkpoint recorded, as a resumed run will
    /// write again what followed.
    ///
    /// A missing file stays missing; one that is shorter stays as it is, with a warning.
    ///
    /// # Errors
    /// [`RunError::Io`] if the file cannot be changed.
    pub fn cut_back(path: impl AsRef<Path>, bytes: u64) -> Result<(), RunError> {
        let path = path.as_ref();
        if !path.exists() {
            return Ok(());
        }
        appended::cut_back(path, bytes, "texts")
    }

    /// Like [`cut_back`](Self::cut_back) for a checkpoint that recorded no length: removes the
    /// sections of steps after `step`.
    ///
    /// # Errors
    /// [`RunError::Io`] if the file cannot be read or changed.
    pub fn cut_back_to_step(path: impl AsRef<Path>, step: u64) -> Result<(), RunError> {
        let path = path.as_ref();
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(RunError::io(path, "read", e)),
        };
        match first_section_after(&text, step) {
            Some(end) => Self::cut_back(path, end as u64),
            None => Ok(()),
        }
    }
}

impl Observer for SampleFile {
    fn on_event(&mut self, event: &Event<'_>) -> Result<(), RunError> {
        let Event::Sampled {
            step,
            tokens,
            samples,
        } = event
        else {
            return Ok(());
        };
        let text = render(*step, *tokens, samples);
        let append = || {
            let mut file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(&self.path)?;
            file.write_all(text.as_bytes())
        };
        append().map_err(|e| RunError::io(&self.path, "write", e))
    }
}

fn render(step: u64, tokens: u64, samples: &[SampleText]) -> String {
    let mut text = format!("{HEADING}{step}, {} tokens\n\n", thousands(tokens));
    for sample in samples {
        for (title, part) in [("Prompt", &sample.prompt), ("Written", &sample.text)] {
            text.push_str(title);
            text.push_str(":\n\n");
            for line in part.lines() {
                // An indented line is no heading, whatever the model writes.
                text.push_str("    ");
                text.push_str(line);
                text.push('\n');
            }
            text.push('\n');
        }
    }
    text
}

/// The sections of a sample file, in order; unknown lines are skipped.
#[cfg(feature = "report")]
pub(crate) fn read_sections(text: &str) -> Vec<SampleSection> {
    let mut sections: Vec<SampleSection> = Vec::new();
    let mut is_prompt = true;
    for line in text.lines() {
        if line.starts_with(HEADING) {
            sections.push(SampleSection {
                heading: line.trim_start_matches(['#', ' ']).to_owned(),
                samples: Vec::new(),
            });
        }
        let Some(section) = sections.last_mut() else {
            continue;
        };
        match line {
            "Prompt:" => {
                is_prompt = true;
                section.samples.push(SampleText {
                    prompt: String::new(),
                    text: String::new(),
                });
            }
            "Written:" => is_prompt = false,
            _ => {
                let found = line.strip_prefix("    ").zip(section.samples.last_mut());
                if let Some((line, sample)) = found {
                    let part = if is_prompt {
                        &mut sample.prompt
                    } else {
                        &mut sample.text
                    };
                    if !part.is_empty() {
                        part.push('\n');
                    }
                    part.push_str(line);
                }
            }
        }
    }
    sections
}

/// Where the first section of a step beyond `step` begins.
fn first_section_after(text: &str, step: u64) -> Option<usize> {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let number = line
            .strip_prefix(HEADING)
            .and_then(|rest| rest.split(',').next());
        if number
            .and_then(|n| n.parse::<u64>().ok())
            .is_some_and(|found| found > step)
        {
            return Some(start);
        }
        start += line.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_checkpoint_is_cut_whatever_the_model_wrote() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("samples.md");
        let samples = [SampleText {
            prompt: "Once".into(),
            text: " upon\n## Step 9, 1 tokens\n".into(),
        }];
        let write = |step| {
            let event = Event::Sampled {
                step,
                tokens: 1000 * step,
                samples: &samples,
            };
            SampleFile::new(&path).on_event(&event).unwrap();
        };
        write(5);
        let at_checkpoint = fs::read_to_string(&path).unwrap();
        assert!(at_checkpoint.starts_with("## Step 5, 5,000 tokens\n\nPrompt:\n\n    Once\n"));
        write(10);
        SampleFile::cut_back_to_step(&path, 5).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), at_checkpoint);
        // The last texts of a run that ended at its checkpoint are of the checkpoint's step.
        write(5);
        SampleFile::cut_back(&path, at_checkpoint.len() as u64).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), at_checkpoint);
        let absent = dir.path().join("absent");
        SampleFile::cut_back_to_step(&absent, 5).unwrap();
        SampleFile::cut_back(&absent, 5).unwrap();
        assert!(!absent.exists());
    }
}
