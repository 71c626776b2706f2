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
    /// A cached branch is not asked for news. A download that broke off goes on where it stopped,
    /// also in a later run, and one that another process is at is waited for. Only a file of the
    /// announced size and hash (SHA-256, or Git's for small text files) enters the cache.
    /// `progress` receives the bytes that are there and their total.
    ///
    /// # Errors
    /// - [`DataError::HubName`]: repository, revision or file cannot be such names
    /// - [`DataError::HubOffline`]: not cached, and the network is left alone
    /// - [`DataError::HubTooLarge`]: larger than `max_bytes`; nothing was downloaded
    /// - [`DataError::HubRefused`]: the Hub answers that there is no such file, or none for us
    /// - [`DataError::HubTransfer`]: no connection, or it kept breaking off or stalling
    /// - [`DataError::HubAnswer`], [`DataError::HubCorrupt`]: the server contradicts itself; what
    ///   came is deleted
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
