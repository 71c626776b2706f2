//! The kinds of personal data that are known, and how each is told from what looks like it.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A kind of personal data.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum PersonalKind {
    /// Keys and tokens of well-known services, JSON web tokens and private keys in PEM.
    ApiKey,
    /// E-mail addresses.
    Email,
    /// Card numbers: an issuer's prefix and length, and a valid check digit (Luhn, ISO/IEC 7812-1).
    Card,
    /// Addresses of IP version 6.
    Ipv6,
    /// Addresses of IP version 4.
    Ipv4,
    /// Phone numbers: of 8 to 15 digits with a leading `+`, `0` or bracket, or in North American groups.
    Phone,
}

static API_KEY: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?x)
        \b(?: sk-[A-Za-z0-9_-]{20,} | gh[pousr]_[A-Za-z0-9]{36,} | github_pat_[A-Za-z0-9_]{22,}
        | glpat-[A-Za-z0-9_-]{20,} | (?:AKIA|ASIA)[0-9A-Z]{16} | AIza[0-9A-Za-z_-]{35}
        | xox[abeprs]-[A-Za-z0-9-]{10,} | hf_[A-Za-z0-9]{30,} | npm_[A-Za-z0-9]{36}
        | [spr]k_(?:live|test)_[0-9A-Za-z]{16,}
        | eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,} )
        | -----BEGIN\ [A-Z\ ]*PRIVATE\ KEY-----(?s:.*?)(?:-----END\ [A-Z\ ]*PRIVATE\ KEY-----|\z)",
    )
});
static EMAIL: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"[\w.%+'-]*[\w%+-]@(?:[\p{Alphabetic}\d](?:[\p{Alphabetic}\d-]*[\p{Alphabetic}\d])?\.)+\p{Alphabetic}{2,}",
    )
});
static CARD: LazyLock<Regex> = LazyLock::new(|| pattern(r"[0-9](?:[ -]?[0-9]){12,}"));
static IPV6: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:[0-9A-Fa-f]*(?:(?:\.[0-9]{1,3}){3})?"));
static IPV4: LazyLock<Regex> = LazyLock::new(|| pattern(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}"));
static PHONE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?:\+[0-9]|\([0-9]|[0-9])[0-9]*(?:[ ./()-]{0,2}[0-9]+)*(?:[ ]?\))?")
});
static NORTH_AMERICAN: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^(?:1[-. ])?[2-9][0-9]{2}[-. ][2-9][0-9]{2}[-. ][0-9]{4}$"));
static DATE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^[0-9]{1,2}[-./ ][0-9]{1,2}[-./ ](?:[0-9]{4}|[0-9]{2})$"));

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is written here and compiles, as a test shows")
}

impl PersonalKind {
    /// All kinds, those that win where two overlap first.
    pub const ALL: [Self; 6] = [
        Self::ApiKey,
        Self::Email,
        Self::Card,
        Self::Ipv6,
        Self::Ipv4,
        Self::Phone,
    ];

    /// What stands in its place unless the config says otherwise.
    pub fn replacement(self) -> &'static str {
        match self {
            Self::ApiKey => "[KEY]",
            Self::Email => "[EMAIL]",
            Self::Card => "[CARD]",
            Self::Ipv6 | Self::Ipv4 => "[IP]",
            Self::Phone => "[PHONE]",
        }
    }

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::ApiKey => "API key",
            Self::Email => "e-mail",
            Self::Card => "card number",
            Self::Ipv6 => "IPv6 address",
            Self::Ipv4 => "IPv4 address",
            Self::Phone => "phone number",
        }
    }

    /// The places of this kind in a text, in order.
    pub(super) fn find(self, text: &str) -> Vec<Range<usize>> {
        let matches = |regex: &Regex| -> Vec<Range<usize>> {
            regex.find_iter(text).map(|found| found.range()).collect()
        };
        match self {
            Self::ApiKey => matches(&API_KEY),
            Self::Email => matches(&EMAIL),
            Self::Card => matches(&CARD)
                .into_iter()
                .filter_map(|at| card(text, at))
                .collect(),
            Self::Ipv6 => matches(&IPV6)
                .into_iter()
                .filter_map(|at| ipv6(text, at))
                .collect(),
            Self::Ipv4 => matches(&IPV4)
                .into_iter()
                .filter(|at| is_ipv4(text, at))
                .collect(),
            Self::Phone => matches(&PHONE)
                .into_iter()
                .filter_map(|at| phone(text, at))
                .collect(),
        }
    }
}

fn before(text: &str, at: &Range<usize>) -> Option<char> {
    text[..at.start].chars().next_back()
}

fn after(text: &str, at: &Range<usize>) -> Option<char> {
    text[at.end..].chars().next()
}

/// The card number within a run of digits, which may go on with others behind a space.
fn card(text: &str, run: Range<usize>) -> Option<Range<usize>> {
    if before(text, &run).is_some_and(char::is_alphanumeric) {
        return None;
    }
    let mut groups: Vec<Range<usize>> = Vec::new();
    for (i, c) in text[run.clone()].char_indices() {
        let at = run.start + i;
        match groups.last_mut() {
            _ if !c.is_ascii_digit() => {}
            Some(group) if group.end == at => group.end += 1,
            _ => groups.push(at..at + 1),
        }
    }
    let spans = (0..groups.len()).flat_map(|first| {
        let groups = &groups;
        // A card has at most five groups; the bound keeps long lists of numbers linear.
        let ends = (first..groups.len().min(first + 6)).rev();
        ends.map(move |last| groups[first].start..groups[last].end)
    });
    spans.into_iter().find(|span| {
        let digits: Vec<u8> = digits(&text[span.clone()]).take(20).collect();
        is_card(&digits)
    })
}

fn digits(text: &str) -> impl Iterator<Item = u8> {
    text.bytes()
        .filter(u8::is_ascii_digit)
        .map(|byte| byte - b'0')
}

fn is_card(digits: &[u8]) -> bool {
    if digits.len() < 13 {
        return false;
    }
    let prefix = digits[..2]
        .iter()
        .fold(0, |sum, digit| 10 * sum + u32::from(*digit));
    let has_length = match prefix {
        40..=49 => matches!(digits.len(), 13 | 16 | 19),
        51..=55 | 22..=27 => digits.len() == 16,
        34 | 37 => digits.len() == 15,
        30 | 36 | 38 | 39 => digits.len() == 14,
        35 | 50 | 56..=69 => matches!(digits.len(), 16..=19),
        _ => false,
    };
    let sum = digits.iter().rev().enumerate().map(|(i, digit)| {
        let digit = u32::from(*digit) << (i % 2);
        if digit > 9 { digit - 9 } else { digit }
    });
    has_length && sum.sum::<u32>() % 10 == 0
}

fn is_ipv4(text: &str, at: &Range<usize>) -> bool {
    let is_free = |c: Option<char>, follows: bool| match c {
        Some('.') => follows && !text[at.end + 1..].starts_with(|c: char| c.is_ascii_digit()),
        Some(c) => !c.is_alphanumeric() && c != '_',
        None => true,
    };
    text[at.clone()].parse::<Ipv4Addr>().is_ok()
        && is_free(before(text, at), false)
        && is_free(after(text, at), true)
}

fn ipv6(text: &str, mut at: Range<usize>) -> Option<Range<usize>> {
    // A colon behind an address is a mark of the sentence.
    if text[at.clone()].ends_with(':') && !text[at.clone()].ends_with("::") {
        at.end -= 1;
    }
    let found = &text[at.clone()];
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    // `abc::def` of a program parses as an address; a real one hardly lacks a digit.
    let has_digit = found.bytes().any(|byte| byte.is_ascii_digit());
    let is_address = has_digit && found.parse::<Ipv6Addr>().is_ok();
    (is_address && !is_word(before(text, &at)) && !is_word(after(text, &at))).then_some(at)
}

fn phone(text: &str, at: Range<usize>) -> Option<Range<usize>> {
    let joins = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | ',' | '$' | '£' | '€');
    if before(text, &at).is_some_and(joins) {
        return None;
    }
    let found = &text[at.clone()];
    let numbers: Vec<u8> = digits(found).take(16).collect();
    let is_one_digit = numbers.iter().all(|digit| *digit == numbers[0]);
    if !(8..=15).contains(&numbers.len()) || is_one_digit || DATE.is_match(found) {
        return None;
    }
    let start = found.trim_start_matches('(');
    // A decimal number begins with `0.`.
    let is_marked = found.starts_with('+')
        || (found.starts_with('(') && found.contains(')'))
        || (start.starts_with('0') && !start.starts_with("0.") && !found.contains("--"));
    (is_marked || NORTH_AMERICAN.is_match(found)).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(kind: PersonalKind, text: &str) -> Vec<&str> {
        kind.find(text).into_iter().map(|at| &text[at]).collect()
    }

    #[test]
    fn addresses_are_found_in_sentences() {
        let text = "Write to j.o'neil+x@mail.example.co.uk. Or müller@exämple.de, not a@b or @me.";
        assert_eq!(
            found(PersonalKind::Email, text),
            ["j.o'neil+x@mail.example.co.uk", "müller@exämple.de"]
        );
    }

    #[test]
    fn cards_need_prefix_length_and_check_digit() {
        let card = |text| found(PersonalKind::Card, text);
        assert_eq!(
            card("pay 4111 1111 1111 1111 2025 now"),
            ["4111 1111 1111 1111"]
        );
        assert_eq!(card("5500-0000-0000-0004"), ["5500-0000-0000-0004"]);
        assert_eq!(
            card("378282246310005 and 6011111111111117."),
            ["378282246310005", "6011111111111117"]
        );
        assert!(card("4111 1111 1111 1112").is_empty());
        assert!(card("isbn 9780306406157, id x4111111111111111").is_empty());
        assert!(card("1234567890123456789012345678901234567890").is_empty());
    }

    #[test]
    fn network_addresses_are_no_versions_times_or_programs() {
        let v4 = |text| found(PersonalKind::Ipv4, text);
        assert_eq!(
            v4("host 192.168.0.1, or 8.8.8.8."),
            ["192.168.0.1", "8.8.8.8"]
        );
        assert!(v4("1.2.3.4.5 and 300.1.1.1 and v1.2.3.4 and 01.2.3.4").is_empty());
        let v6 = |text| found(PersonalKind::Ipv6, text);
        assert_eq!(
            v6("at 2001:db8::ff00:42:8329 or ::1: yes"),
            ["2001:db8::ff00:42:8329", "::1"]
        );
        assert_eq!(v6("[::ffff:192.0.2.1]"), ["::ffff:192.0.2.1"]);
        assert!(v6("12:30:45, std::vec, abc::def, a: b").is_empty());
    }

    #[test]
    fn phone_numbers_are_no_dates_prices_or_counts() {
        let phone = |text| found(PersonalKind::Phone, text);
        assert_eq!(phone("call 08452810075over18's"), ["08452810075"]);
        assert_eq!(
            phone("+49 (0)30 1234-567, (555) 123-4567, 212-555-0123"),
            ["+49 (0)30 1234-567", "(555) 123-4567", "212-555-0123"]
        );
        let none = "01/02/2024 2024-01-15 1990-2000 0.12345678 123456789 £0800000012 1,000,000 00000000 87121";
        assert!(phone(none).is_empty(), "{:?}", phone(none));
    }

    #[test]
    fn keys_of_known_shapes_are_found() {
        let long = "a1B2c3D4e5F6g7H8i9J0".repeat(2);
        for key in [
            format!("sk-{long}"),
            format!("ghp_{}", &long[..36]),
            format!("hf_{}", &long[..34]),
            "AKIAIOSFODNN7EXAMPLE".to_owned(),
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3.SflKxwRJSMeKKF2QT4".to_owned(),
            "-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----".to_owned(),
        ] {
            let text = format!("key={key}\n");
            assert_eq!(found(PersonalKind::ApiKey, &text), [key.as_str()]);
        }
        assert!(
            found(
                PersonalKind::ApiKey,
                "task-force sk-short risk-a1B2c3D4e5F6g7H8i9J0"
            )
            .is_empty()
        );
    }
}
