//! How problems and kinds of values are worded; finding the problems is `walk`'s.

use toml::de::{DeInteger, DeValue};

use crate::document::article;
use crate::rules::{Bounds, Kind};

/// The name among `known` that `name` most likely means, none where nothing is near.
///
/// # Example
/// ```
/// assert_eq!(sinterlm_config::nearest("d_modle", &["d_model", "d_ff"]), Some("d_model"));
/// ```
pub fn nearest<'n>(name: &str, known: &[&'n str]) -> Option<&'n str> {
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let name = plain(name);
    known
        .iter()
        .map(|known| {
            let candidate = plain(known);
            let length = name.chars().count().max(candidate.chars().count());
            let distance = strsim::osa_distance(&name, &candidate);
            let shorter = name.len().min(candidate.len());
            let part = shorter >= 4 && (candidate.contains(&name) || name.contains(&candidate));
            (distance, part || distance <= (length / 3).max(1), *known)
        })
        .filter(|(_, near, _)| *near)
        .min_by_key(|(distance, ..)| *distance)
        .map(|(.., known)| known)
}

pub(crate) fn unknown_name(name: &str, known: &[&str]) -> String {
    let shown = toml::Value::from(name);
    match nearest(name, known) {
        Some(meant) => format!(
            "{shown} is not {}; did you mean \"{meant}\"?",
            one_of(known)
        ),
        None => format!("{shown} is not known; write {}", one_of(known)),
    }
}

pub(crate) fn out_of_range(
    value: &DeValue,
    bounds: Bounds,
    limits: (i128, i128),
) -> Option<String> {
    let (shown, number, fits) = match value {
        DeValue::Integer(integer) => {
            let digits = integer.as_str();
            let beyond = if digits.starts_with('-') {
                i128::MIN
            } else {
                i128::MAX
            };
            let exact = i128::from_str_radix(digits, integer.radix()).unwrap_or(beyond);
            (
                integer.to_string(),
                exact as f64,
                limits.0 <= exact && exact <= limits.1,
            )
        }
        DeValue::Float(float) => (float.to_string(), float.as_str().parse().ok()?, true),
        _ => return None,
    };
    // Nan holds against no bound.
    let breaks = |bound: Option<f64>, holds: fn(&f64, &f64) -> bool| {
        bound.filter(|bound| !holds(&number, bound))
    };
    let message = if let Some(min) = breaks(bounds.min, f64::ge) {
        format!("below the minimum {min}; raise it")
    } else if let Some(max) = breaks(bounds.max, f64::le) {
        format!("above the maximum {max}; lower it")
    } else if let Some(above) = breaks(bounds.above, f64::gt) {
        format!("not above {above}; raise it")
    } else if let Some(below) = breaks(bounds.below, f64::lt) {
        format!("not below {below}; lower it")
    } else if fits {
        return None;
    } else {
        format!(
            "not between {} and {}, which this key holds; change it",
            limits.0, limits.1
        )
    };
    Some(format!("{shown} is {message}"))
}

pub(crate) fn has_type(value: &DeValue, kind: &Kind) -> bool {
    match kind {
        Kind::Any => true,
        Kind::Boolean => value.is_bool(),
        Kind::Number { integer, .. } => value.is_integer() || (!integer && value.is_float()),
        Kind::Text { .. } => value.is_str(),
        Kind::List { .. } => value.is_array(),
        Kind::Table { .. } | Kind::Tagged { .. } | Kind::OneKey { .. } => value.is_table(),
        Kind::Either(kinds) => kinds.iter().any(|kind| has_type(value, kind)),
    }
}

pub(crate) fn wrong_type(found: &DeValue, kind: &Kind) -> String {
    let what = is_a(found);
    let expected = expected(kind);
    match found {
        // Before the quotes: only a float written without a fraction can be meant.
        DeValue::Float(float) if has_type(&DeValue::Integer(DeInteger::default()), kind) => {
            match float.as_str().parse::<f64>() {
                Ok(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
                    format!("{what}; write {number}")
                }
                _ => format!("{what}; write {expected}"),
            }
        }
        DeValue::String(text)
            if DeValue::parse(text).is_ok_and(|inner| has_type(inner.get_ref(), kind)) =>
        {
            format!("{what}; write {expected}, without quotes")
        }
        DeValue::String(_) | DeValue::Array(_) | DeValue::Table(_) => {
            format!("{what}; write {expected}")
        }
        _ => match kind {
            Kind::Text { allowed } if allowed.is_empty() => {
                format!("{what}; write {expected}, in quotes")
            }
            Kind::List { item, .. } if has_type(found, item) => {
                format!("{what}; write {expected}, in brackets")
            }
            _ => format!("{what}; write {expected}"),
        },
    }
}

/// `"6" is a string`; lists and tables are not shown.
pub(crate) fn is_a(value: &DeValue) -> String {
    let shown = match value {
        DeValue::String(text) => toml::Value::from(&**text).to_string(),
        DeValue::Integer(integer) => integer.to_string(),
        DeValue::Float(float) => float.to_string(),
        DeValue::Boolean(boolean) => boolean.to_string(),
        DeValue::Datetime(date) => date.to_string(),
        DeValue::Array(_) | DeValue::Table(_) => "this".to_owned(),
    };
    format!("{shown} is {}", article(value))
}

/// What belongs in a place, such as `an integer from 1 to 8`.
pub(crate) fn expected(kind: &Kind) -> String {
    match kind {
        Kind::Any => "any value".to_owned(),
        Kind::Boolean => "true or false".to_owned(),
        Kind::Number {
            integer, bounds, ..
        } => {
            format!(
                "{}{}",
                if *integer { "an integer" } else { "a number" },
                range(*bounds)
            )
        }
        Kind::Text { allowed } if allowed.is_empty() => "a string".to_owned(),
        Kind::Text { allowed } => one_of(
            &allowed
                .iter()
                .map(|named| named.name.as_str())
                .collect::<Vec<_>>(),
        ),
        Kind::List { item, min, max } => {
            let count = match (min, max) {
                (0, None) => String::new(),
                (min, None) => format!(" of at least {min}"),
                (min, Some(max)) if min == max => format!(" of {min}"),
                (min, Some(max)) => format!(" of {min} to {max}"),
            };
            match &**item {
                Kind::Any => format!("a list{count}"),
                item => format!("a list{count}, each {}", expected(item)),
            }
        }
        Kind::Table { keys, .. } => {
            let required = keys.iter().filter(|key| key.required);
            let names: Vec<&str> = required.map(|key| key.name.as_str()).collect();
            match names.as_slice() {
                [] => "a table".to_owned(),
                names => format!("a table with {}", names.join(", ")),
            }
        }
        Kind::Tagged { tag, variants } => {
            let names: Vec<&str> = variants
                .iter()
                .map(|variant| variant.name.as_str())
                .collect();
            format!("a table with {tag} = {}", one_of(&names))
        }
        Kind::OneKey { keys } => {
            let names: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
            format!("a table with one key of {}", names.join(", "))
        }
        Kind::Either(kinds) => kinds.iter().map(expected).collect::<Vec<_>>().join(", or "),
    }
}

fn range(bounds: Bounds) -> String {
    match bounds {
        Bounds {
            min: Some(min),
            max: Some(max),
            ..
        } => format!(" from {min} to {max}"),
        Bounds {
            min,
            max,
            above,
            below,
        } => {
            let parts = [
                ("of at least", min),
                ("above", above),
                ("of at most", max),
                ("below", below),
            ];
            let parts: Vec<String> = parts
                .into_iter()
                .filter_map(|(word, bound)| bound.map(|bound| format!("{word} {bound}")))
                .collect();
            if parts.is_empty() {
                String::new()
            } else {
                format!(" {}", parts.join(" and "))
            }
        }
    }
}

/// `"a", "b" or "c"`.
pub(crate) fn one_of(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}
