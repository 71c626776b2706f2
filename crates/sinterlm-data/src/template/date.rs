//! `strftime` for templates that give the model the date, in English and UTC.

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
];

/// The date and time that many seconds after 1970 began, by a format like `%d %b %Y`: Python's
/// `strftime` with the GNU C library, in the locale "C".
///
/// # Errors
/// For directives that are not known, which Python leaves to the machine's C library.
pub(super) fn format(unix_seconds: u64, format: &str) -> Result<String, String> {
    let (days, second) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let date = Date::new(days, second);
    let mut out = String::new();
    let mut characters = format.chars();
    while let Some(c) = characters.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut directive = characters.next();
        let mut padding = None;
        if let Some(flag @ ('-' | '_' | '0' | '^' | '#')) = directive {
            padding = Some(flag);
            directive = characters.next();
        }
        let unknown = || {
            let flag = padding.map(String::from).unwrap_or_default();
            let directive = directive.map(String::from).unwrap_or_default();
            format!("strftime_now does not know %{flag}{directive}")
        };
        let piece = date.directive(directive.ok_or_else(unknown)?);
        let (piece, pads) = piece.ok_or_else(unknown)?;
        // The fraction of a second is Python's own, which takes no padding.
        if padding.is_some() && directive == Some('f') {
            return Err(unknown());
        }
        match (padding, pads) {
            (None, _) | (Some('-' | '_' | '0'), None) => out.push_str(&piece),
            (Some('-'), Some(_)) => out.push_str(unpadded(&piece)),
            (Some('_'), Some(_)) => out.push_str(&padded(&piece, ' ')),
            (Some('0'), Some(_)) => out.push_str(&padded(&piece, '0')),
            (Some('^'), None) => out.push_str(&piece.to_uppercase()),
            _ => return Err(unknown()),
        }
    }
    Ok(out)
}

/// A number without what fills it up.
fn unpadded(piece: &str) -> &str {
    let digits = piece.trim_start_matches(['0', ' ']);
    if digits.is_empty() { "0" } else { digits }
}

fn padded(piece: &str, with: char) -> String {
    let digits = unpadded(piece);
    let missing = piece.len() - digits.len();
    with.to_string().repeat(missing) + digits
}

/// A time of a day, taken apart.
struct Date {
    days: u64,
    second: u64,
    year: u64,
    month: u64,
    day: u64,
    /// From 1.
    day_of_year: u64,
    /// Sunday is 0.
    weekday: u64,
}

impl Date {
    fn new(days: u64, second: u64) -> Self {
        let (year, month, day) = civil(days);
        Self {
            days,
            second,
            year,
            month,
            day,
            day_of_year: days - first_day(year) + 1,
            weekday: (days + 4) % 7, // 1970 began on a Thursday
        }
    }

    /// A directive's text and, where it is a number, what fills it up.
    fn directive(&self, directive: char) -> Option<(String, Option<char>)> {
        let number = |value: u64, width: usize| Some((format!("{value:0width$}"), Some('0')));
        let spaced = |value: u64| Some((format!("{value:2}"), Some(' ')));
        let text = |text: &str| Some((text.to_owned(), None));
        let (hour, minute) = (self.second / 3600, self.second / 60 % 60);
        let hour_of_half = (hour + 11) % 12 + 1;
        let month = MONTHS[self.month as usize - 1];
        let day = DAYS[(self.days % 7) as usize];
        match directive {
            'Y' => number(self.year, 1),
            'y' => number(self.year % 100, 2),
            'C' => number(self.year / 100, 2),
            'm' => number(self.month, 2),
            'B' => text(month),
            'b' | 'h' => text(&month[..3]),
            'd' => number(self.day, 2),
            'e' => spaced(self.day),
            'j' => number(self.day_of_year, 3),
            'A' => text(day),
            'a' => text(&day[..3]),
            'w' => number(self.weekday, 1),
            'u' => number((self.weekday + 6) % 7 + 1, 1),
            'U' => number((self.day_of_year + 6 - self.weekday) / 7, 2),
            'W' => number((self.day_of_year + 6 - (self.weekday + 6) % 7) / 7, 2),
            'G' => number(self.iso_week().0, 1),
            'g' => number(self.iso_week().0 % 100, 2),
            'V' => number(self.iso_week().1, 2),
            'H' => number(hour, 2),
            'k' => spaced(hour),
            'I' => number(hour_of_half, 2),
            'l' => spaced(hour_of_half),
            'M' => number(minute, 2),
            'S' => number(self.second % 60, 2),
            'f' => text("000000"),
            'p' => text(if hour < 12 { "AM" } else { "PM" }),
            'P' => text(if hour < 12 { "am" } else { "pm" }),
            's' => number(self.days * 86_400 + self.second, 1),
            'F' => self.all("%Y-%m-%d"),
            'D' | 'x' => self.all("%m/%d/%y"),
            'T' | 'X' => self.all("%H:%M:%S"),
            'R' => self.all("%H:%M"),
            'r' => self.all("%I:%M:%S %p"),
            'c' => self.all("%a %b %e %H:%M:%S %Y"),
            // Python's time has no zone where none is asked for.
            'z' | 'Z' => text(""),
            'n' => text("\n"),
            't' => text("\t"),
            '%' => text("%"),
            _ => None,
        }
    }

    /// Several directives.
    fn all(&self, format: &str) -> Option<(String, Option<char>)> {
        let written = self::format(self.days * 86_400 + self.second, format);
        written.ok().map(|text| (text, None))
    }

    /// The year and the number of the week by ISO 8601: weeks belong to the year of their Thursday.
    fn iso_week(&self) -> (u64, u64) {
        let thursday = self.days + 3 - (self.weekday + 6) % 7;
        let (year, ..) = civil(thursday);
        (year, (thursday - first_day(year)) / 7 + 1)
    }
}

/// The first day of a year, in days after 1970 began.
fn first_day(year: u64) -> u64 {
    let before = year - 1;
    let leap_days = before / 4 - before / 100 + before / 400;
    before * 365 + leap_days - 719_162
}

/// Year, month and day of a number of days after 1970 began, by the Gregorian calendar (Hinnant,
/// `civil_from_days`, <https://howardhinnant.github.io/date_algorithms.html>).
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let of_era = z % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153; // months from March
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_by_python() {
        let text = format(951_782_399, "%A %a %d %B %b %Y %y-%m %H:%M:%S %%");
        assert_eq!(
            text.unwrap(),
            "Monday Mon 28 February Feb 2000 00-02 23:59:59 %"
        );
        assert_eq!(format(951_782_400, "%d %b").unwrap(), "29 Feb");
        assert_eq!(format(0, "%Y-%m-%d").unwrap(), "1970-01-01");
        assert!(format(0, "%Q").unwrap_err().contains("%Q"));
    }
}
