//! The present time in UTC, in the forms that runs use. The only place that reads the wall clock:
//! all durations are measured by clocks that can't be set.

use std::{
    sync::OnceLock,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// The present time as `2026-01-31T08:15:00Z`.
pub fn utc_now() -> String {
    let [year, month, day, hour, minute, second] = utc_parts(unix_time() as u64);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The present time as it stands in folder names, `20260131T081500Z`: no sign that a file system
/// refuses.
pub(crate) fn utc_now_compact() -> String {
    utc_now().replace(['-', ':'], "")
}

/// The present time in seconds since 1970. Within a process it is never less than it was at its
/// first reading plus the time that has passed since, so that no run ends before it began when the
/// clock is set back.
pub(crate) fn unix_time() -> f64 {
    static FIRST: OnceLock<(f64, Instant)> = OnceLock::new();
    let wall = wall_time();
    let (first, at) = FIRST.get_or_init(|| (wall, Instant::now()));
    wall.max(first + at.elapsed().as_secs_f64())
}

fn wall_time() -> f64 {
    // A clock before 1970 is not set; any time will do then.
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let wall = since.map_or(0.0, |time| time.as_secs_f64());
    #[cfg(test)]
    let wall = wall + f64::from(test_clock::offset_seconds());
    wall
}

/// A clock that tests may set.
#[cfg(test)]
pub(crate) mod test_clock {
    use std::cell::Cell;

    thread_local!(static OFFSET: Cell<i32> = const { Cell::new(0) });

    pub(crate) fn offset_seconds() -> i32 {
        OFFSET.get()
    }

    /// Sets the clock back for this thread, while `work` runs.
    pub(crate) fn set_back<R>(seconds: i32, work: impl FnOnce() -> R) -> R {
        OFFSET.set(-seconds);
        let result = work();
        OFFSET.set(0);
        result
    }
}

/// Year, month, day, hour, minute, second of a Unix time.
///
/// Days to dates after Hinnant's `civil_from_days`,
/// <https://howardhinnant.github.io/date_algorithms.html>, for times from 1970 on.
fn utc_parts(unix: u64) -> [u64; 6] {
    let (days, second_of_day) = (unix / 86_400, unix % 86_400);
    let shifted = days + 719_468; // days since 0000-03-01
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    [
        year,
        month,
        day,
        second_of_day / 3600,
        second_of_day / 60 % 60,
        second_of_day % 60,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_seconds_become_their_dates() {
        // Reference values by `date -u -d @SECONDS`.
        assert_eq!(utc_parts(0), [1970, 1, 1, 0, 0, 0]);
        assert_eq!(utc_parts(951_827_696), [2000, 2, 29, 12, 34, 56]);
        assert_eq!(utc_parts(1_735_689_599), [2024, 12, 31, 23, 59, 59]);
        assert_eq!(utc_parts(4_107_542_400), [2100, 3, 1, 0, 0, 0]);
    }

    #[test]
    fn the_folder_form_has_only_digits_and_letters() {
        let text = utc_now_compact();
        assert_eq!(text.len(), "20260131T081500Z".len());
        assert!(text.chars().all(|c| c.is_ascii_alphanumeric()));
    }
}
