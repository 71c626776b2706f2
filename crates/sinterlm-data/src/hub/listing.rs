//! Which files a repository of the Hub has. What they are for is the caller's to know.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::announced::is_commit;
use super::endpoint::Hub;
use super::file::{HubFile, RepoType};
use super::layout::Place;
use super::transfer;
use crate::DataError;

/// The files of a repository at one commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubListing {
    /// The commit, 40 hexadecimal digits.
    pub commit: String,
    /// The paths of its files, sorted.
    pub files: Vec<String>,
}

/// What the Hub answers, as far as it matters here.
#[derive(Deserialize)]
struct Answer {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

impl Hub {
    /// The files of a repository, from the cache or else from the Hub.
    ///
    /// As with [`fetch`](Self::fetch), a branch whose listing is cached is taken without asking for a
    /// newer one.
    ///
    /// # Errors
    /// Those of [`fetch`](Self::fetch), but for those of a file's bytes.
    pub fn files(
        &self,
        repo: &str,
        repo_type: RepoType,
        revision: &str,
    ) -> Result<HubListing, DataError> {
        let whole = HubFile {
            repo: repo.to_owned(),
            repo_type,
            revision: revision.to_owned(),
            // Stands for the listing itself, whose place takes its name from it.
            file: "files".to_owned(),
            max_bytes: None,
        };
        let cached = Place::new(self, &whole)?.listing(&whole);
        if let Some(listing) = read(&cached) {
            return Ok(listing);
        }
        if self.is_offline {
            let file = format!("the list of files of {repo}@{revision}");
            return Err(DataError::HubOffline { file });
        }
        let (url, bytes) = transfer::listing(self, &whole)?;
        let unusable = |fault: String| DataError::HubAnswer {
            url: url.clone(),
            fault,
        };
        let answer: Answer = serde_json::from_slice(&bytes)
            .map_err(|error| unusable(format!("sends no list of files ({error})")))?;
        if !is_commit(&answer.sha) {
            return Err(unusable("names no commit of the repository".to_owned()));
        }
        let mut files: Vec<String> = answer
            .siblings
            .into_iter()
            .map(|one| one.rfilename)
            .collect();
        files.sort();
        let listing = HubListing {
            commit: answer.sha,
            files,
        };
        let failed = |source| DataError::Io {
            path: cached.clone(),
            action: "write",
            source,
        };
        std::fs::create_dir_all(cached.parent().unwrap_or(&cached)).map_err(failed)?;
        let json = serde_json::to_vec(&listing).expect("texts can be written as JSON");
        sinterlm_formats::write_file_atomic(&cached, |file| file.write_all(&json))?;
        Ok(listing)
    }
}

/// A listing in the cache; none where there is none or it was damaged.
fn read(path: &Path) -> Option<HubListing> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}
