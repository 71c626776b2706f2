//! Numbers and texts by Python's format specifications, as in `'{:>8.3f}'`.

use super::fault::Fault;
use super::machine::Budget;
use super::print;
use super::value::Value;

/// Digits behind the point that are asked for at most.
const MAX_PRECISION: usize = 1000;

/// `format(value, spec)`
pub(super) fn format(value: &Value, spec: &str, budget: &mut Budget) -> Result<String, Fault> {
    if spec.is_empty() {
        return print::text(value);
    }
    let spec = Spec::parse(spec)?;
    budget.spend(spec.width)?;
    match value {
        Value::Str(text) => spec.text(text),
        Value::Int(_) | Value::Bool(_) => spec.whole(value.as_int().unwrap_or_default()),
        Value::Float(number) => spec.float(*number),
        other => Err(Fault::new(format!(
            "unsupported format string passed to {}.__format__",
            other.type_name()
        ))),
    }
}

#[derive(Debug)]
struct Spec {
    fill: char,
    align: Option<char>,
    sign: char,
    is_alternate: bool,
    zero: bool,
    width: usize,
    grouping: Option<char>,
    precision: Option<usize>,
    kind: Option<char>,
}

impl Spec {
    fn parse(text: &str) -> Result<Self, Fault> {
        let invalid = || Fault::new(format!("invalid format specifier '{text}'"));
        let mut rest: &[char] = &text.chars().collect::<Vec<_>>();
        let is_align = |c: &char| matches!(c, '<' | '>' | '=' | '^');
        let mut spec = Self {
            fill: ' ',
            align: None,
            sign: '-',
            is_alternate: false,
            zero: false,
            width: 0,
            grouping: None,
            precision: None,
            kind: None,
        };
        if rest.get(1).is_some_and(is_align) {
            (spec.fill, spec.align) = (rest[0], Some(rest[1]));
            rest = &rest[2..];
        } else if rest.first().is_some_and(is_align) {
            spec.align = Some(rest[0]);
            rest = &rest[1..];
        }
        let mut take = |wanted: &[char]| {
            let found = rest.first().copied().filter(|c| wanted.contains(c))?;
            rest = &rest[1..];
            Some(found)
        };
        if let Some(sign) = take(&['+', '-', ' ']) {
            spec.sign = sign;
        }
        spec.is_alternate = take(&['#']).is_some();
        if take(&['0']).is_some() {
            spec.zero = true;
            if spec.align.is_none() {
                spec.fill = '0';
            }
        }
        let digits = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'];
        let number = |take: &mut dyn FnMut(&[char]) -> Option<char>| {
            let mut found = None;
            while let Some(digit) = take(&digits) {
                let value = digit.to_digit(10).unwrap_or_default() as usize;
                found = Some(usize::min(found.unwrap_or(0) * 10 + value, 1 << 40));
            }
            found
        };
        spec.width = number(&mut take).unwrap_or(0);
        spec.grouping = take(&[',', '_']);
        if take(&['.']).is_some() {
            let precision = number(&mut take).ok_or_else(invalid)?;
            if precision > MAX_PRECISION {
                return Err(Fault::new("a precision above 1000 is not supported"));
            }
            spec.precision = Some(precision);
        }
        match rest {
            [] => {}
            [kind] => spec.kind = Some(*kind),
            _ => return Err(invalid()),
        }
        Ok(spec)
    }

    fn unknown(&self, kind: &str) -> Fault {
        let code = self.kind.unwrap_or(' ');
        Fault::new(format!(
            "unknown format code '{code}' for object of type '{kind}'"
        ))
    }

    fn text(&self, text: &str) -> Result<String, Fault> {
        if !matches!(self.kind, None | Some('s')) {
            return Err(self.unknown("str"));
        }
        if self.sign != '-' || self.is_alternate || self.grouping.is_some() {
            return Err(Fault::new(
                "a sign or grouping is not allowed in a string's format",
            ));
        }
        if self.align == Some('=') {
            return Err(Fault::new(
                "'=' alignment not allowed in string format specifier",
            ));
        }
        let cut: String = match self.precision {
            Some(len) => text.chars().take(len).collect(),
            None => text.to_owned(),
        };
        Ok(self.padded("", &cut, '<'))
    }

    fn whole(&self, number: i128) -> Result<String, Fault> {
        let kind = self.kind.unwrap_or('d');
        if matches!(kind, 'e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%') {
            return self.float(number as f64);
        }
        if self.precision.is_some() {
            return Err(Fault::new(
                "precision not allowed in integer format specifier",
            ));
        }
        let size = number.unsigned_abs();
        let (mark, digits) = match kind {
            'd' | 'n' => ("", size.to_string()),
            'b' => ("0b", format!("{size:b}")),
            'o' => ("0o", format!("{size:o}")),
            'x' => ("0x", format!("{size:x}")),
            'X' => ("0X", format!("{size:X}")),
            'c' => {
                let code = u32::try_from(number).ok().and_then(char::from_u32);
                let c = code.ok_or_else(|| Fault::new("%c arg not in range(0x110000)"))?;
                return Ok(self.padded("", &c.to_string(), '<'));
            }
            _ => return Err(self.unknown("int")),
        };
        let every = if kind == 'd' { 3 } else { 4 };
        if self.grouping == Some(',') && kind != 'd' || self.grouping.is_some() && kind == 'n' {
            return Err(Fault::new(format!("cannot specify grouping with '{kind}'")));
        }
        let mut prefix = self.sign_of(number < 0).to_owned();
        if self.is_alternate {
            prefix.push_str(mark);
        }
        Ok(self.number(&prefix, &self.grouped(&digits, every)?))
    }

    fn float(&self, number: f64) -> Result<String, Fault> {
        let size = number.abs();
        let precision = self.precision.unwrap_or(6);
        let digits = match self.kind {
            Some('f' | 'F') => fixed(size, precision, self.is_alternate),
            Some('%') => fixed(size * 100.0, precision, self.is_alternate) + "%",
            Some('e' | 'E') => exponent(size, precision, self.is_alternate),
            Some('g' | 'G' | 'n') => general(size, precision, self.is_alternate),
            None => match self.precision {
                None if self.is_alternate => {
                    return Err(Fault::new("'#' without a type is not supported for floats"));
                }
                None => print::float(size),
                Some(precision) => with_fraction(size, precision),
            },
            Some(_) => return Err(self.unknown("float")),
        };
        let digits = match self.kind {
            Some('E' | 'G' | 'F') => digits.to_uppercase(),
            _ => digits,
        };
        let is_negative = number.is_sign_negative() && !number.is_nan();
        let digits = match digits.find(|c: char| !c.is_ascii_digit()) {
            Some(at) if at > 0 => self.grouped(&digits[..at], 3)? + &digits[at..],
            Some(_) => digits,
            None => self.grouped(&digits, 3)?,
        };
        Ok(self.number(self.sign_of(is_negative), &digits))
    }

    fn sign_of(&self, is_negative: bool) -> &'static str {
        match (is_negative, self.sign) {
            (true, _) => "-",
            (false, '+') => "+",
            (false, ' ') => " ",
            _ => "",
        }
    }

    fn grouped(&self, digits: &str, every: usize) -> Result<String, Fault> {
        let Some(sign) = self.grouping else {
            return Ok(digits.to_owned());
        };
        if self.fill == '0' && self.width > 0 {
            return Err(Fault::new("grouping with zeros in front is not supported"));
        }
        let mut out = String::new();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(every) {
                out.push(sign);
            }
            out.push(digit);
        }
        Ok(out)
    }

    fn number(&self, prefix: &str, digits: &str) -> String {
        self.padded(prefix, digits, if self.zero { '=' } else { '>' })
    }

    fn padded(&self, prefix: &str, text: &str, default: char) -> String {
        let len = prefix.chars().count() + text.chars().count();
        let missing = self.width.saturating_sub(len);
        let fill = |count: usize| std::iter::repeat_n(self.fill, count).collect::<String>();
        let before = match self.align.unwrap_or(default) {
            '<' => 0,
            '^' => missing / 2,
            '=' => return [prefix, &fill(missing), text].concat(),
            _ => missing,
        };
        [&fill(before), prefix, text, &fill(missing - before)].concat()
    }
}

/// `nan`, `inf`, or nothing for a number with digits.
fn special(number: f64) -> Option<String> {
    (!number.is_finite()).then(|| print::float(number))
}

/// `%f`
pub(super) fn fixed(number: f64, precision: usize, is_alternate: bool) -> String {
    let point = if is_alternate && precision == 0 {
        "."
    } else {
        ""
    };
    special(number).unwrap_or_else(|| format!("{number:.precision$}{point}"))
}

/// `%e`
pub(super) fn exponent(number: f64, precision: usize, is_alternate: bool) -> String {
    special(number).unwrap_or_else(|| {
        let (digits, power) = parts(number, precision);
        let point = if is_alternate && precision == 0 {
            "."
        } else {
            ""
        };
        format!("{digits}{point}{}", power_text(power))
    })
}

/// Digits with a point, and the power of ten.
fn parts(number: f64, precision: usize) -> (String, i32) {
    let text = format!("{number:.precision$e}");
    let (digits, power) = text.split_once('e').expect("written with an exponent");
    (
        digits.to_owned(),
        power.parse().expect("a power is a whole number"),
    )
}

fn power_text(power: i32) -> String {
    format!("e{}{:02}", if power < 0 { '-' } else { '+' }, power.abs())
}

/// `%g`
pub(super) fn general(number: f64, precision: usize, is_alternate: bool) -> String {
    if let Some(text) = special(number) {
        return text;
    }
    let precision = precision.max(1);
    let (digits, power) = parts(number, precision - 1);
    let is_plain = (-4..precision as i32).contains(&power);
    let digits = if is_plain {
        format!("{number:.*}", (precision as i32 - 1 - power) as usize)
    } else {
        digits
    };
    let digits = match (is_alternate, digits.contains('.')) {
        (true, false) => digits + ".",
        (false, true) => digits
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned(),
        _ => digits,
    };
    if is_plain {
        digits
    } else {
        digits + &power_text(power)
    }
}

/// A float without a type but with a precision: as `%g`, with a digit behind the point.
fn with_fraction(number: f64, precision: usize) -> String {
    if let Some(text) = special(number) {
        return text;
    }
    let precision = precision.max(1);
    let (_, power) = parts(number, precision - 1);
    // One digit must be left behind the point.
    if power >= precision as i32 - 1 && power >= 0 && precision as i32 <= power + 1 {
        let (digits, power) = parts(number, precision - 1);
        let digits = if digits.contains('.') {
            digits.trim_end_matches('0').trim_end_matches('.')
        } else {
            &digits
        };
        return format!("{digits}{}", power_text(power));
    }
    let text = general(number, precision, false);
    if text.contains(['.', 'e']) {
        text
    } else {
        text + ".0"
    }
}
