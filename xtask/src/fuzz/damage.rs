//! Damages one file: bytes of any, fields of those whose structure is known.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::random::Random;

/// Texts that have broken parsers.
pub(super) const TEXTS: &[&str] = &[
    "",
    " ",
    "\0",
    "\u{feff}",
    "\r\n",
    "\u{202e}",
    "é😀",
    "\"",
    "'",
    "{",
    "}",
    "[[[[",
    "]]",
    "{{",
    "{%",
    "\\ud800",
    "NaN",
    "-Infinity",
    "1e999",
    "-1",
    "0",
    "18446744073709551616",
    "null",
    "<|endoftext|>",
    "<s>",
    "<|",
    "\\",
    "//",
    "../..",
    "\u{fffd}",
    "---",
    "=",
    "a.b.c",
    "#",
    "\u{1F468}\u{200D}\u{1F469}",
];
/// Templates that fail, loop or ask for too much.
const TEMPLATES: &[&str] = &[
    "{% for m in messages %}",
    "{{ 1 / 0 }}{{ 1 // 0 }}{{ 1 % 0 }}",
    "{% for i in range(100000) %}{% for j in range(100000) %}{{ i }}{% endfor %}{% endfor %}",
    "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    "{{ 'x' * 9000000000 }}",
    "{{ [1] * 9000000000 }}",
    "{{ 2 ** 100000 }}{{ 2 ** -1 }}",
    "{{ -9223372036854775807 - 10 }}{{ 9223372036854775807 * 9 }}",
    "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
    "{{ messages[99].content }}{{ messages[-99] }}{{ messages['x'] }}",
    "{{ raise_exception('no') }}",
    "{{ '%*d' % 5 }}{{ '%(x)s' % 1 }}{{ '%' % 1 }}",
    "{{ '%9000000000d' % 3 }}",
    "{{ '%.9000000000f' % 3 }}",
    "{{ 'a'.split('') }}",
    "{{ 'a'.center(9000000000) }}{{ 'a'.ljust(9000000000) }}{{ 'a'.zfill(9000000000) }}",
    "{{ 'a' | indent(9000000000) }}{{ 'a' | center(9000000000) }}",
    "{{ 'é'[0:1] }}{{ 'é😀'[::-1] }}{{ 'abc'[::0] }}{{ 'é😀'[-9:9:-2] }}",
    "{{ messages | tojson(indent=9000000000) }}{{ messages | tojson(indent=-1) }}",
    "{{ strftime_now('%Q%') }}{{ strftime_now('%-') }}{{ strftime_now('%999999d') }}",
    "{% include 'x' %}{% extends 'x' %}{% import 'x' as y %}",
    "{{ ((((((((((((((((1)))))))))))))))) }}{{ messages | batch(0) | list }}",
    "{{ messages | slice(0) | list }}{{ range(1, 5, 0) | list }}",
    "{{ 'é' | truncate(-1) }}{{ 'éa' | truncate(1, true, '') }}{{ 'é b' | wordwrap(0) }}",
    "{{ 'é'.replace('', 'x') }}{{ 'é'.find('') }}{{ 'a'.rfind('é', 9) }}{{ 'é'.count('') }}",
    "{{ 1.5 | round(9999) }}{{ 1e308 | round(-400) }}{{ 'a' | int(base=99) }}",
    "{% set ns = namespace(a=[]) %}{% set ns.a = ns %}{{ ns }}",
    "{{ none.x.y }}{{ x.y.z() }}{{ messages() }}",
    "\0{{ '\0' }}",
];

/// Damages the file in a way that its name and the draws decide; returns words for it.
pub(super) fn file(path: &Path, random: &mut Random) -> Result<&'static str> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    let is_structured = !random.once_in(3);
    let (bytes, words) = if is_structured && name.ends_with(".json") {
        (json_text(&bytes, random), "a field")
    } else if is_structured && name.ends_with(".jsonl") {
        (json_lines(&bytes, random), "a record")
    } else if is_structured && name.ends_with(".safetensors") {
        (safetensors(&bytes, random), "the header")
    } else if is_structured && name.ends_with(".toml") {
        (toml_line(&bytes, random), "a line")
    } else if is_structured && name.ends_with(".gguf") {
        (gguf(bytes, random), "the metadata")
    } else {
        raw(bytes, random)
    };
    fs::write(path, bytes)?;
    Ok(words)
}

/// Gives a model folder another template; returns it.
pub(super) fn template(config: &Path, random: &mut Random) -> Result<String> {
    let mut value: Value = serde_json::from_slice(&fs::read(config)?)?;
    let template = match random.below(4) {
        // What users' templates are made of, cut anywhere.
        0 => {
            let whole = value["chat_template"].as_str().unwrap_or_default();
            let (start, end) = whole.split_at(random.below(whole.len()));
            format!("{start}{}{end}", random.pick(TEXTS))
        }
        _ => format!("{}{}", random.pick(TEMPLATES), random.pick(TEMPLATES)),
    };
    value["chat_template"] = template.as_str().into();
    fs::write(config, value.to_string())?;
    Ok(template)
}

/// Numbers at the edges of their types, of 4 or 8 bytes.
fn edge(random: &mut Random) -> Vec<u8> {
    if random.once_in(2) {
        let numbers = [
            0,
            1,
            u32::MAX,
            i32::MAX as u32,
            i32::MIN as u32,
            13,
            f32::NAN.to_bits(),
        ];
        random.pick(&numbers).to_le_bytes().to_vec()
    } else {
        let numbers = [
            0,
            u64::MAX,
            i64::MAX as u64,
            i64::MIN as u64,
            1 << 32,
            u64::MAX / 2 - 7,
            1 << 40,
        ];
        random.pick(&numbers).to_le_bytes().to_vec()
    }
}

/// Damages that any file can have.
fn raw(mut bytes: Vec<u8>, random: &mut Random) -> (Vec<u8>, &'static str) {
    // Headers and lengths stand in front.
    let span = if random.once_in(2) {
        bytes.len().min(256)
    } else {
        bytes.len()
    };
    let at = random.below(span);
    let words = match random.below(9) {
        0 => {
            for _ in 0..=random.below(8) {
                if let Some(byte) = bytes.get_mut(random.below(span)) {
                    *byte = random.next() as u8;
                }
            }
            "bytes"
        }
        1 => {
            bytes.truncate(at);
            "its end cut off"
        }
        2 => {
            bytes.drain(..at);
            "its beginning cut off"
        }
        3 => {
            overwrite(&mut bytes, at, &edge(random));
            "a number"
        }
        4 => {
            let text = random.pick(TEXTS).as_bytes().to_vec();
            bytes.splice(at..at, text);
            "a text put in"
        }
        5 => {
            let chunk = bytes[at..(at + random.below(4096)).min(bytes.len())].to_vec();
            let times = 1 + random.below(50);
            bytes.splice(at..at, chunk.repeat(times));
            "a part repeated"
        }
        6 => {
            bytes.clear();
            "nothing left"
        }
        7 => {
            let invalid: &[&[u8]] = &[b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\xf5\x80\x80\x80"];
            let invalid = random.pick(invalid).to_vec();
            bytes.splice(at..at, invalid);
            "invalid UTF-8"
        }
        _ => {
            let other: &[&[u8]] = &[
                b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
                b"<!DOCTYPE html><html>",
                b"PK\x03\x04",
                b"GGUF\x03\0\0\0",
                b"\x1f\x8b\x08",
                b"\x28\xb5\x2f\xfd",
                b"\x80\x02}q\0.",
                b"{}",
                b"[]",
                b"null",
            ];
            bytes = random.pick(other).to_vec();
            "another kind of file"
        }
    };
    (bytes, words)
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    for (old, new) in bytes.iter_mut().skip(at).zip(with) {
        *old = *new;
    }
}

fn json_text(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let Ok(mut value) = serde_json::from_slice::<Value>(bytes) else {
        return bytes.to_vec();
    };
    for _ in 0..=random.below(3) {
        json_value(&mut value, random);
    }
    value
        .to_string()
        .replace("\"@", "")
        .replace("@\"", "")
        .into_bytes()
}

fn json_lines(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    let mut lines: Vec<Vec<u8>> = text.lines().map(|line| line.as_bytes().to_vec()).collect();
    let at = random.below(lines.len());
    if let Some(line) = lines.get_mut(at) {
        *line = json_text(line, random);
    }
    lines.join(&b'\n')
}

/// Walks to a random place and changes what stands there.
fn json_value(value: &mut Value, random: &mut Random) {
    let is_here = random.once_in(4);
    match value {
        Value::Object(map) if !map.is_empty() && !is_here => {
            let keys: Vec<String> = map.keys().cloned().collect();
            let key = random.pick(&keys);
            match random.below(8) {
                0 => {
                    map.remove(key);
                }
                1 => {
                    let moved = map.remove(key).unwrap_or_default();
                    map.insert((*random.pick(TEXTS)).to_owned(), moved);
                }
                2 => {
                    map[key] = map[random.pick(&keys)].clone();
                }
                _ if key == "chat_template" => map[key] = (*random.pick(TEMPLATES)).into(),
                _ => json_value(&mut map[key], random),
            }
        }
        Value::Array(list) if !list.is_empty() && !is_here => {
            let at = random.below(list.len());
            let other = random.below(list.len());
            match random.below(6) {
                0 => {
                    list.remove(at);
                }
                1 => list.push(list[at].clone()),
                2 => list.swap(at, other),
                _ => json_value(&mut list[at], random),
            }
        }
        _ => *value = odd_json(value, random),
    }
}

/// Another value in place of `old`. A text between `"@` and `@"` comes out bare: no valid JSON.
fn odd_json(old: &Value, random: &mut Random) -> Value {
    let number = old.as_f64().unwrap_or(7.0);
    let values = [
        Value::Null,
        json!(true),
        json!(-1),
        json!(0),
        json!(1),
        json!(1e308),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(number + 1.0),
        json!(number as u64 * 2),
        json!(number as u64 + 1),
        json!(1_u64 << 40),
        json!(0.5),
        json!([]),
        json!({}),
        json!([old]),
        json!({"x": old}),
        json!("@NaN@"),
        json!("@1e999@"),
        json!("@-Infinity@"),
        json!(format!("@{}@", "[".repeat(100_000))),
        json!(format!("@{}1{}@", "[".repeat(100), "]".repeat(100))),
        json!("x".repeat(100_000)),
        json!(*random.pick(TEXTS)),
        json!(*random.pick(TEXTS)),
    ];
    random.pick(&values).clone()
}

/// Changes the header and keeps its length right.
fn safetensors(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let Some((len, rest)) = bytes.split_first_chunk() else {
        return bytes.to_vec();
    };
    let len = (u64::from_le_bytes(*len) as usize).min(rest.len());
    let (header, data) = rest.split_at(len);
    let header = json_text(header, random);
    [&(header.len() as u64).to_le_bytes(), &header[..], data].concat()
}

/// Changes a value, or repeats, removes or moves a line.
fn toml_line(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if lines.is_empty() {
        lines.push(String::new());
    }
    let (at, other) = (random.below(lines.len()), random.below(lines.len()));
    match random.below(6) {
        0 => lines.insert(other, lines[at].clone()),
        1 => {
            lines.remove(at);
        }
        2 => lines.swap(at, other),
        _ => {
            if let Some((key, _)) = lines[at].split_once(" = ") {
                lines[at] = format!("{key} = {}", random.pick(TOML));
            }
        }
    }
    lines.join("\n").into_bytes()
}

/// Values of keys, right and wrong.
pub(super) const TOML: &[&str] = &[
    "",
    "0",
    "-1",
    "1",
    "2",
    "3",
    "1e999",
    "nan",
    "inf",
    "-inf",
    "1e-320",
    "1e308",
    "0.5",
    "-0.0",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551616",
    "true",
    "\"\"",
    "\"x\"",
    "x",
    "'",
    "[]",
    "{}",
    "[1, 2]",
    "[\"x\"]",
    "[[[[[[[[",
    "{a = {b = 1}}",
    "\"\"\"\nx",
    "1979-05-27",
    "\"rope\"",
    "\"rms_norm\"",
    "\"swiglu\"",
    "\"alibi\"",
    "\"none\"",
    "\"bf16\"",
    "\"adamw\"",
    "\"cosine\"",
    "\"constant\"",
    "\"gpt2\"",
    "\"byte\"",
    "\"file\"",
    "\"files\"",
    "\"hub\"",
    "\"skip\"",
    "\"replace\"",
    "\"\\u0000\"",
    "\"{text\"",
    "\"/dev/null\"",
    "0x7fffffffffffffff",
    "\"error\"",
];

/// Changes bytes behind a key of the metadata: its value's type, length or beginning.
fn gguf(mut bytes: Vec<u8>, random: &mut Random) -> Vec<u8> {
    let metadata = &bytes[..bytes.len().min(65_536)];
    let starts = [
        &b"general."[..],
        b"llama.",
        b"tokenizer.",
        b"blk.",
        b"token_embd",
        b"output",
    ];
    let keys: Vec<usize> = (0..metadata.len())
        .filter(|&at| starts.iter().any(|start| metadata[at..].starts_with(start)))
        .collect();
    if keys.is_empty() {
        return raw(bytes, random).0;
    }
    let key = *random.pick(&keys);
    let length = key
        .checked_sub(8)
        .and_then(|at| metadata[at..].first_chunk());
    let end = key + length.map_or(8, |length| u64::from_le_bytes(*length) as usize % 256);
    match random.below(6) {
        0 => overwrite(&mut bytes, key.saturating_sub(8), &edge(random)), // its own length
        1 => overwrite(&mut bytes, key + random.below(12), b"x"),         // its name
        2 => overwrite(&mut bytes, end, &[random.below(14) as u8]),       // the type
        _ => {
            let skipped = *random.pick(&[4, 4, 8, 12, 16]);
            overwrite(&mut bytes, end + skipped, &edge(random));
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_header_keeps_its_length_and_its_data() {
        let file = [&13_u64.to_le_bytes()[..], br#"{"a":{"b":1}}data"#].concat();
        for case in 0..50 {
            let damaged = safetensors(&file, &mut Random::of(1, case));
            let (len, rest) = damaged.split_first_chunk().unwrap();
            assert!(rest.len() >= u64::from_le_bytes(*len) as usize);
            assert!(damaged.ends_with(b"data"));
        }
    }

    #[test]
    fn every_damage_bears_every_file_and_repeats_itself() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "a.json",
            "a.jsonl",
            "a.safetensors",
            "a.toml",
            "a.gguf",
            "a.txt",
        ] {
            for text in [
                "",
                "{",
                r#"{"a": [1, {"b": "c"}]}"#,
                "x = 1\ny = 2",
                "general.x",
            ] {
                let path = folder.path().join(name);
                for case in 0..100 {
                    let damaged = || {
                        fs::write(&path, text).unwrap();
                        file(&path, &mut Random::of(3, case)).unwrap();
                        fs::read(&path).unwrap()
                    };
                    assert_eq!(damaged(), damaged());
                }
            }
        }
    }
}
