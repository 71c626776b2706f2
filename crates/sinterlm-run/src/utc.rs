//! The present time in UTC, in the two forms that runs use.

use std::time::{SystemTime, UNIX_EPOCH};

/// The present time as `2026-01-31T08:15:00Z`.
pub fn utc_now() -> String {
    let [year, month, day, hour, minute, second] = utc_parts(unix_seconds());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The present time as it stands in folder names, `20260131T081500Z`: no sign that a file system
/// refuses.
pub(crate) fn utc_now_compact() -> String {
    utc_now().replace(['-', ':'], "")
}

fn unix_seconds() -> u64 {
    // A clock before 1970 is not set; any time will do then.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
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
