//! Paths in the Hub's cache folder, shared with Python's `huggingface_hub`: `blobs/HASH`,
//! `snapshots/COMMIT/FILE` linking to it, and `refs/BRANCH` naming a commit.

use std::io;
use std::path::{Path, PathBuf};

use super::announced::{Announced, is_commit};
use super::endpoint::Hub;
use super::file::{HubCopy, HubFile, RepoType};
use crate::DataError;

/// One repository's folder in the cache.
pub(super) struct Place {
    root: PathBuf,
    repo: hf_hub::CacheRepo,
}

impl Place {
    /// Refuses names that would lead out of the cache folder or to another address.
    pub(super) fn new(hub: &Hub, file: &HubFile) -> Result<Self, DataError> {
        let is_name = |text: &str| {
            text.split('/')
                .all(|part| !matches!(part, "" | "." | "..") && !part.contains('\\'))
        };
        for (what, text) in [
            ("repo", &file.repo),
            ("revision", &file.revision),
            ("file", &file.file),
        ] {
            if !is_name(text) {
                return Err(DataError::HubName {
                    what,
                    name: text.clone(),
                });
            }
        }
        let repo_type = match file.repo_type {
            RepoType::Model => hf_hub::RepoType::Model,
            RepoType::Dataset => hf_hub::RepoType::Dataset,
        };
        let revision = file.revision.clone();
        let repo = hf_hub::Repo::with_revision(file.repo.clone(), repo_type, revision);
        Ok(Self {
            root: hub.cache_dir.join(repo.folder_name()),
            repo: hf_hub::Cache::new(hub.cache_dir.clone()).repo(repo),
        })
    }

    /// The copy that the cache holds for the file's revision.
    pub(super) fn cached(&self, file: &HubFile) -> Option<HubCopy> {
        // A commit needs no ref, and Python writes none for it.
        let commit = if is_commit(&file.revision) {
            file.revision.clone()
        } else {
            let named =
                std::fs::read_to_string(self.root.join("refs").join(&file.revision)).ok()?;
            Some(named.trim().to_owned()).filter(|commit| is_commit(commit))?
        };
        let path = self.repo.pointer_path(&commit).join(&file.file);
        path.is_file().then_some(HubCopy { path, commit })
    }

    /// Where the bytes of hash `etag` belong.
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.root.join("blobs").join(etag)
    }

    /// Where the list of the repository's files at the file's revision belongs. Python's library passes
    /// over folders that it does not know.
    pub(super) fn listing(&self, file: &HubFile) -> PathBuf {
        let name = format!("{}.json", file.revision.replace('/', "--"));
        self.root.join("listings").join(name)
    }

    /// Links a finished blob to its file name and commit.
    pub(super) fn publish(
        &self,
        file: &HubFile,
        announced: &Announced,
    ) -> Result<HubCopy, DataError> {
        let commit = announced.commit.clone();
        let path = self.repo.pointer_path(&commit).join(&file.file);
        let failed = |source| DataError::Io {
            path: path.clone(),
            action: "write",
            source,
        };
        std::fs::create_dir_all(path.parent().unwrap_or(&self.root)).map_err(failed)?;
        if !path.exists() {
            // A link whose blob was deleted would be in the way.
            let _ = std::fs::remove_file(&path);
            let up = "../".repeat(file.file.split('/').count() + 1);
            let relative = Path::new(&up).join("blobs").join(&announced.etag);
            match link(&relative, &self.blob(&announced.etag), &path) {
                // Another process was faster: the bytes are the same.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                result => result.map_err(failed)?,
            }
        }
        if !is_commit(&file.revision) {
            self.repo.create_ref(&commit).map_err(failed)?;
        }
        Ok(HubCopy { path, commit })
    }
}

#[cfg(unix)]
fn link(relative: &Path, _blob: &Path, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(relative, path)
}

/// Symbolic links need special rights elsewhere: the blob itself takes the file's name.
#[cfg(not(unix))]
fn link(_relative: &Path, blob: &Path, path: &Path) -> io::Result<()> {
    std::fs::rename(blob, path)
}
