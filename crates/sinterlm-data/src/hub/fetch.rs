//! One file of the Hub: from the cache, else by a download into it.

use super::endpoint::Hub;
use super::file::{HubCopy, HubFile};
use super::layout::Place;
use super::transfer;
use crate::DataError;

impl Hub {
    /// The cached copy of a file, as it is. Never uses the network.
    pub fn cached(&self, file: &HubFile) -> Option<HubCopy> {
        Place::new(self, file).ok()?.cached(file)
    }

    /// The cached copy of a file, or else a download of it into the cache.
    ///
    /// A cached branch is taken without asking the Hub for a newer one. An interrupted download
    /// resumes where it stopped, in a later run, too; where another process downloads the file,
    /// this one waits for it. Only a file of the announced size and hash (SHA-256, or Git's for
    /// small text files) enters the cache. `progress` receives the bytes so far and their total.
    ///
    /// # Errors
    /// - [`DataError::HubName`]: the name of repository, revision or file is not possible
    /// - [`DataError::HubOffline`]: not cached, and the network must not be used
    /// - [`DataError::HubTooLarge`]: larger than `max_bytes`; nothing was downloaded
    /// - [`DataError::HubRefused`]: the Hub has no such file, or access to it is denied
    /// - [`DataError::HubTransfer`]: there was no connection, or it kept failing or stalling
    /// - [`DataError::HubAnswer`], [`DataError::HubCorrupt`]: the server contradicts itself; the
    ///   bytes received are deleted
    /// - [`DataError::Io`]: the cache cannot be written
    pub fn fetch(
        &self,
        file: &HubFile,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<HubCopy, DataError> {
        let place = Place::new(self, file)?;
        if let Some(copy) = place.cached(file) {
            return Ok(copy);
        }
        if self.is_offline {
            return Err(DataError::HubOffline {
                file: file.to_string(),
            });
        }
        let announced = transfer::announce(self, file)?;
        if let Some(max_bytes) = file.max_bytes
            && announced.size_bytes > max_bytes
        {
            let size_bytes = announced.size_bytes;
            return Err(DataError::HubTooLarge {
                file: file.to_string(),
                size_bytes,
                max_bytes,
            });
        }
        transfer::download(
            self,
            file,
            &announced,
            &place.blob(&announced.etag),
            progress,
        )?;
        place.publish(file, &announced)
    }
}
