//! The time of day.

use std::time::{SystemTime, UNIX_EPOCH};

/// The time that a chat template is told; 1970 where the clock is before that.
pub(crate) fn unix_seconds() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}
