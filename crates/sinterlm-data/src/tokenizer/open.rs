//! Which file a tokenizer is in: a `tokenizer.json`, the folder of one, a GGUF file, llama2.c's.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sinterlm_formats::{GgufFile, refuse_lfs_pointer};

use super::beside::FolderMarks;
use super::made::from_json;
use super::{TOKENIZER, Tokenizer, sentencepiece, tables};
use crate::DataError;

/// The tokenizer that comes with weights, as [`Tokenizer::from_file`] reads it: the `tokenizer.json`
/// of a folder, a folder with `vocab.json` and `merges.txt`, or a GGUF file with a tokenizer in it.
/// None where there is none.
///
/// # Errors
/// [`DataError::Io`] and [`DataError::Format`] where a file cannot be read.
pub fn tokenizer_of(weights: &Path) -> Result<Option<PathBuf>, DataError> {
    if weights.is_dir() {
        let own = weights.join(TOKENIZER);
        let made = || tables::are_in(weights).then(|| weights.to_owned());
        return Ok(own.is_file().then_some(own).or_else(made));
    }
    let holds = starts_as_gguf(weights)?
        && GgufFile::open(weights)?
            .field("tokenizer.ggml.model")
            .is_some();
    Ok(holds.then(|| weights.to_owned()))
}

pub(super) fn from_file(path: &Path) -> Result<Tokenizer, DataError> {
    if path.is_dir() {
        let own = path.join(TOKENIZER);
        return if own.exists() {
            from_file(&own)
        } else {
            tables::from_folder(path)
        };
    }
    if starts_as_gguf(path)? {
        return Tokenizer::from_gguf(&GgufFile::open(path)?);
    }
    if path.extension().is_some_and(|extension| extension == "bin") {
        return sentencepiece::from_llama2c(path);
    }
    let json = std::fs::read_to_string(path).map_err(|source| unreadable(path, source))?;
    refuse_lfs_pointer(path, json.as_bytes())?;
    let folder = path.parent().filter(|_| path.ends_with(TOKENIZER));
    let marks = folder.map(FolderMarks::read).transpose()?;
    from_json(&json, path, marks.as_ref())
}

fn unreadable(path: &Path, source: std::io::Error) -> DataError {
    DataError::Io {
        path: path.to_owned(),
        action: "read the tokenizer",
        source,
    }
}

fn starts_as_gguf(path: &Path) -> Result<bool, DataError> {
    let mut start = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read(&mut start));
    read.map_err(|source| unreadable(path, source))?;
    Ok(start == *b"GGUF")
}
