//! The place that an export goes to: where it really is, and what is there already.

use std::fs;
use std::io::{ErrorKind, Read, Result};
use std::path::{Component, Path, PathBuf};

use serde_json::Value;
use sinterlm_data::{PromptTemplate, TEXT_FILES};

/// Name of the receipt in a folder; beside a file it is the file's name with this behind a dot.
pub(crate) const RECEIPT: &str = "receipt.json";
/// The files of an exported folder beside those for text.
const MODEL_FILES: [&str; 4] = [
    "config.json",
    "model.safetensors",
    PromptTemplate::FILE,
    RECEIPT,
];
/// The first bytes of a GGUF file.
const GGUF: [u8; 4] = *b"GGUF";
/// Links that are followed, as many as Linux follows.
const MAX_LINKS: usize = 40;

/// What is at a place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Nothing.
    No,
    /// An earlier export and nothing else.
    ByExport,
    /// Something else.
    ByOther,
    /// An earlier export, and a file that no export writes.
    BesideStranger(PathBuf),
}

impl Taken {
    /// What is where a folder is to be. Links are no exports: they would be replaced themselves.
    pub(crate) fn by_folder(to: &Path) -> Result<Self> {
        let Some(kind) = kind_of(to)? else {
            return Ok(Self::No);
        };
        if !kind.is_dir() || !is_receipt(&to.join(RECEIPT))? {
            return Ok(Self::ByOther);
        }
        for entry in fs::read_dir(to)? {
            let entry = entry?;
            let name = entry.file_name();
            let mut known = MODEL_FILES.iter().chain(&TEXT_FILES);
            if !known.any(|known| name == **known) || !entry.file_type()?.is_file() {
                return Ok(Self::BesideStranger(entry.path()));
            }
        }
        Ok(Self::ByExport)
    }

    /// What is where a GGUF and its receipt are to be. A GGUF of another program is replaced, too.
    pub(crate) fn by_file(to: &Path, receipt: &Path) -> Result<Self> {
        let receipt_is_free = kind_of(receipt)?.is_none();
        if !receipt_is_free && !is_receipt(receipt)? {
            return Ok(Self::BesideStranger(receipt.to_owned()));
        }
        let Some(kind) = kind_of(to)? else {
            return Ok(if receipt_is_free {
                Self::No
            } else {
                Self::ByExport
            });
        };
        if !kind.is_file() {
            return Ok(Self::ByOther);
        }
        let mut start = Vec::new();
        fs::File::open(to)?.take(4).read_to_end(&mut start)?;
        Ok(if start == GGUF {
            Self::ByExport
        } else {
            Self::ByOther
        })
    }
}

/// Whether a receipt of ours is at `path`.
fn is_receipt(path: &Path) -> Result<bool> {
    if kind_of(path)?.is_none_or(|kind| !kind.is_file()) {
        return Ok(false);
    }
    let json: Value = serde_json::from_slice(&fs::read(path)?).unwrap_or_default();
    Ok(json["kind"] == "export")
}

/// What lies at `path` itself, a link being one; none where nothing does.
fn kind_of(path: &Path) -> Result<Option<fs::FileType>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata.file_type())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where a path leads that need not be there yet: from the root of the file system, with links, also
/// those to nothing, and `..` followed.
pub(crate) fn resolved(path: &Path) -> PathBuf {
    follow(path, &mut 0)
}

fn follow(path: &Path, links: &mut usize) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut at = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                at.pop();
            }
            Component::Normal(name) => {
                let next = at.join(name);
                at = match fs::read_link(&next) {
                    Ok(target) if *links < MAX_LINKS => {
                        *links += 1;
                        follow(&at.join(target), links)
                    }
                    _ => next,
                };
            }
            other => at.push(other),
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_path_that_is_not_there_yet_is_followed() {
        use std::os::unix::fs::symlink;

        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("a/b")).unwrap();
        symlink("a/b", root.join("to_b")).unwrap();
        symlink("a/new", root.join("to_nothing")).unwrap();
        symlink("round", root.join("round")).unwrap();
        for (path, expected) in [
            ("a/new/deep", "a/new/deep"),
            ("to_b/new", "a/b/new"),
            ("to_b/../x", "a/x"),
            ("none/../a/x", "a/x"),
            ("to_nothing/x", "a/new/x"),
            ("./a/./x/", "a/x"),
        ] {
            assert_eq!(resolved(&root.join(path)), root.join(expected), "{path}");
        }
        resolved(&root.join("round")); // ends
        assert!(resolved(Path::new("x")).is_absolute());
    }

    #[test]
    fn only_what_an_export_left_counts_as_one() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let write = |name: &str, text: &str| fs::write(at(name), text).unwrap();
        let by_folder = |name: &str| Taken::by_folder(&at(name)).unwrap();
        let receipt = r#"{"kind": "export"}"#;
        assert_eq!(by_folder("x"), Taken::No);
        fs::create_dir(at("x")).unwrap();
        write("x/config.json", "{}");
        assert_eq!(by_folder("x"), Taken::ByOther);
        write("x/receipt.json", "{\"kind\": \"of a shop\"}");
        assert_eq!(by_folder("x"), Taken::ByOther);
        write("x/receipt.json", receipt);
        write("x/tokenizer.json", "{}");
        assert_eq!(by_folder("x"), Taken::ByExport);
        fs::create_dir(at("x/merges.txt")).unwrap();
        assert_eq!(by_folder("x"), Taken::BesideStranger(at("x/merges.txt")));
        fs::remove_dir(at("x/merges.txt")).unwrap();
        write("x/diary.txt", "dear");
        assert_eq!(by_folder("x"), Taken::BesideStranger(at("x/diary.txt")));

        let by_file = || Taken::by_file(&at("m.gguf"), &at("m.gguf.receipt.json")).unwrap();
        assert_eq!(by_file(), Taken::No);
        write("m.gguf", "thesis");
        assert_eq!(by_file(), Taken::ByOther);
        write("m.gguf", "GGUF..");
        assert_eq!(by_file(), Taken::ByExport);
        write("m.gguf.receipt.json", "{}");
        assert_eq!(by_file(), Taken::BesideStranger(at("m.gguf.receipt.json")));
        write("m.gguf.receipt.json", receipt);
        assert_eq!(by_file(), Taken::ByExport);
    }
}
