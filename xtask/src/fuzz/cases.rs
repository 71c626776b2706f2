//! One case of the fuzzer: files in a folder of its own and a command line that reads them.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::damage::{self, TEXTS, TOML};
use super::random::Random;
use super::seeds;

/// A command line, run in the case's folder.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) program: &'static str,
    pub(super) options: Vec<(OsString, Option<OsString>)>,
    pub(super) stdin: &'static [u8],
    /// It may ask for more work or memory than there is: running out of them is no fault.
    pub(super) is_hungry: bool,
    /// What was done to it.
    pub(super) words: String,
}

impl Case {
    fn of(program: &'static str, words: &[&str]) -> Self {
        let mut case = Self {
            program,
            options: Vec::new(),
            stdin: b"Once\nupon \xc3\xa9\n/save talk.json\n/reset\n\n/help\n/what\nHi",
            is_hungry: false,
            words: String::new(),
        };
        case.flag("--offline");
        case.set("--device", "flex");
        case.set("--threads", "2");
        for pair in words.chunks(2) {
            case.set(pair[0], pair[1]);
        }
        case
    }

    fn flag(&mut self, name: &str) {
        self.options.push((name.into(), None));
    }

    fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.options.push((name.into(), Some(value.into())));
    }

    pub(super) fn arguments(&self) -> impl Iterator<Item = &OsString> {
        self.options
            .iter()
            .flat_map(|(name, value)| [Some(name), value.as_ref()])
            .flatten()
    }
}

/// The options with values that a program's `--help` lists.
pub(super) fn options_of(help: &str) -> Vec<String> {
    let lines = help
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("--"));
    let with_value = lines.filter_map(|line| line.split_once(" <"));
    with_value.map(|(name, _)| name.to_owned()).collect()
}

/// Makes the files of a case in `folder`, which is empty. `options` are those of each program.
pub(super) fn make(
    folder: &Path,
    seeds: &Path,
    options: &[(&'static str, Vec<String>)],
    random: &mut Random,
) -> Result<Case> {
    let (item, mut case) = reader(random);
    copy(&seeds.join(item), &folder.join(item))?;
    if case.arguments().any(|word| word == "prompts.jsonl") {
        for name in ["hf", "prompts.jsonl"] {
            copy(&seeds.join(name), &folder.join(name))?;
        }
        if item == "hf" {
            case.words = damage::template(&folder.join("hf/tokenizer_config.json"), random)?;
            return Ok(case);
        }
    }
    if case.program == "pretrain_tinystories" {
        for name in ["config.toml", "notes.txt"] {
            copy(&seeds.join(name), &folder.join(name))?;
        }
    }
    let drawn = random.below(10);
    let words = match drawn {
        _ if item == "config.toml" && random.once_in(2) => odd_key(folder, &mut case, random)?,
        0..5 => damaged(&folder.join(item), random)?,
        5 | 6 => odd_path(folder, item, &mut case, random)?,
        7 | 8 => odd_option(&mut case, options, random),
        _ if case.program == "pretrain_tinystories" => odd_key(folder, &mut case, random)?,
        _ => odd_option(&mut case, options, random),
    };
    case.words = format!("{item}: {words}");
    Ok(case)
}

/// What is read, and who reads it.
fn reader(random: &mut Random) -> (&'static str, Case) {
    let pretrain = |words: &[&str]| {
        let start = ["--config", "config.toml", "--out", "out"];
        Case::of("pretrain_tinystories", &[&start[..], words].concat())
    };
    let (item, mut case) = match random.below(12) {
        0..7 => {
            let model = *random.pick(seeds::MODELS);
            let case = match random.below(8) {
                0..3 => Case::of(
                    "export",
                    &["--model", model, "--to", "to.gguf", "--dtype", "f16"],
                ),
                3 => Case::of("export", &["--model", model, "--to", "to"]),
                4 => Case::of("chat", &["--model", model, "--max-new-tokens", "2"]),
                5 => pretrain(&["--model", model, "--train", "notes.txt"]),
                _ => {
                    let few = ["--prompt", "Once", "--max-new-tokens", "2"];
                    Case::of("generate", &[&["--model", model][..], &few].concat())
                }
            };
            let (item, _) = model.split_once('/').unwrap_or((model, ""));
            (item, case)
        }
        7 => {
            let mut case = Case::of("pretrain_tinystories", &["--resume", "run"]);
            if random.once_in(2) {
                case.set("--replay-step", "3");
            } else {
                case.set("--set", "trainer.max_steps=5");
            }
            return ("run", case);
        }
        8 => ("config.toml", pretrain(&[])),
        9 => {
            let words = [
                "--model",
                "hf",
                "--input",
                "prompts.jsonl",
                "--max-new-tokens",
                "2",
            ];
            return (
                *random.pick(&["prompts.jsonl", "hf"]),
                Case::of("generate", &words),
            );
        }
        _ => {
            let item = *random.pick(seeds::TEXTS);
            let option = if random.once_in(4) {
                "--valid"
            } else {
                "--train"
            };
            let mut case = pretrain(&[option, item]);
            if option == "--valid" {
                case.set("--train", "notes.txt");
            }
            (item, case)
        }
    };
    if item == "llama2c" && case.program != "pretrain_tinystories" {
        case.set("--tokenizer", "llama2c/tokenizer.bin");
    }
    case.is_hungry = item == "config.toml"; // an empty one is the whole default run
    if case.program == "pretrain_tinystories" && !random.once_in(4) {
        case.flag("--plan");
    }
    (item, case)
}

/// Copies a file or a folder.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if !from.is_dir() {
        fs::copy(from, to).with_context(|| from.display().to_string())?;
        return Ok(());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// All files below, in order.
fn files(path: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    if !path.is_dir() {
        found.push(path.to_owned());
        return Ok(());
    }
    let mut entries = fs::read_dir(path)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    entries.sort();
    // What only people read.
    entries.retain(|path| {
        !["png", "html", "md"]
            .iter()
            .any(|end| path.extension() == Some(OsStr::new(end)))
    });
    entries.iter().try_for_each(|path| files(path, found))
}

fn damaged(item: &Path, random: &mut Random) -> Result<String> {
    let mut found = Vec::new();
    files(item, &mut found)?;
    let mut words = Vec::new();
    for _ in 0..if random.once_in(4) { 2 } else { 1 } {
        let path = random.pick(&found);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        words.push(format!(
            "{name} with {} damaged",
            damage::file(path, random)?
        ));
    }
    Ok(words.join(", "))
}

/// Puts something odd where a program looks for a file, or the file under an odd name.
fn odd_path(folder: &Path, item: &str, case: &mut Case, random: &mut Random) -> Result<String> {
    let mut found = Vec::new();
    files(&folder.join(item), &mut found)?;
    let part = if random.once_in(2) {
        folder.join(item)
    } else {
        random.pick(&found).clone()
    };
    let remove = || {
        if part.is_dir() {
            fs::remove_dir_all(&part)
        } else {
            fs::remove_file(&part)
        }
    };
    let words = match random.below(10) {
        0 => {
            remove()?;
            "gone"
        }
        1 => {
            remove()?;
            fs::create_dir(&part)?;
            "an empty folder"
        }
        2 => {
            remove()?;
            fs::write(&part, "")?;
            "an empty file"
        }
        3 => {
            remove()?;
            symlink(part.file_name().context("a file has a name")?, &part)?;
            "a link to itself"
        }
        4 => {
            remove()?;
            symlink("/dev/null", &part)?;
            "/dev/null"
        }
        5 => {
            fs::set_permissions(
                &part,
                fs::Permissions::from_mode(if part.is_dir() { 0o500 } else { 0 }),
            )?;
            "without permissions"
        }
        _ => {
            let mut name = odd_name(random);
            if let Some((_, end)) = item.split_once('.').filter(|_| !random.once_in(4)) {
                name.push(".");
                name.push(end);
            }
            return Ok(renamed(folder, item, &name, case));
        }
    };
    Ok(format!("{} is {words}", part.display()))
}

/// Gives the item another name where the system takes it, and names it so in the command line.
fn renamed(folder: &Path, item: &str, name: &OsStr, case: &mut Case) -> String {
    let made = fs::rename(folder.join(item), folder.join(name));
    for (option, value) in &mut case.options {
        let option = option.to_string_lossy();
        let below = value
            .as_ref()
            .and_then(|value| Path::new(value).strip_prefix(item).ok());
        if let Some(below) = below.map(|below| below.as_os_str().to_owned()) {
            let mut new = name.to_owned();
            if !below.is_empty() {
                new.push("/");
                new.push(below);
            }
            *value = Some(new);
        } else if ["--out", "--to"].contains(&&*option) {
            let mut odd = value.take().unwrap_or_default();
            odd.push(name);
            *value = Some(odd);
        }
    }
    format!(
        "named {}{}",
        name.display(),
        if made.is_ok() {
            ""
        } else {
            ", which isn't there"
        }
    )
}

fn odd_name(random: &mut Random) -> OsString {
    let names: &[&[u8]] = &[
        b"caf\xe9",
        b"\xff\xfe",
        b"a b",
        b"it's",
        b"q\"q",
        b"new\nline",
        b"-x",
        b"--set",
        b"tab\t",
        b"a=b",
        b"%s{}",
        b"\xf0\x9f\x98\x80",
        b"$HOME",
        b"`x`",
        b"*",
        b"#",
        b"~",
        b"\\",
        b".",
        b"...",
        b"\x1b[31m",
        b"e\xcc\x81",
        b"a,b",
        b"[x]",
        b"owner/name",
        b"hf.gguf",
        b"",
    ];
    if random.once_in(12) {
        return "x".repeat(*random.pick(&[200, 255, 300, 5000])).into();
    }
    OsStr::from_bytes(random.pick::<&[u8]>(names)).to_owned()
}

/// Gives an option or two odd values. Paths stay within the case's folder.
fn odd_option(
    case: &mut Case,
    options: &[(&'static str, Vec<String>)],
    random: &mut Random,
) -> String {
    let own = options
        .iter()
        .filter(|(program, _)| *program == case.program);
    let names: Vec<&String> = own.flat_map(|(_, names)| names).collect();
    let mut words = Vec::new();
    for _ in 0..=random.below(2) {
        let name = random.pick(&names).as_str();
        let value = odd_value(random);
        words.push(format!(
            "{name} {}",
            value.to_string_lossy().chars().take(20).collect::<String>()
        ));
        case.is_hungry |= HUNGRY.contains(&name);
        let old = case.options.iter_mut().find(|(option, _)| option == name);
        match old {
            Some((_, old)) if !random.once_in(8) => *old = Some(value),
            _ => case.set(name, value),
        }
    }
    words.join(", ")
}

/// Options whose number is an amount of work.
const HUNGRY: &[&str] = &[
    "--max-new-tokens",
    "--samples",
    "--beams",
    "--draft-tokens",
    "--set",
];

fn odd_value(random: &mut Random) -> OsString {
    let values: &[&[u8]] = &[
        b"",
        b" ",
        b"0",
        b"-1",
        b"1",
        b"2",
        b"7",
        b"0.5",
        b"1e999",
        b"NaN",
        b"inf",
        b"-inf",
        b"1e-320",
        b"-0.0",
        b"4294967295",
        b"4294967296",
        b"9223372036854775807",
        b"18446744073709551615",
        b"18446744073709551616",
        b"0x10",
        b"-",
        b"--",
        b"=",
        b"=1",
        b"0=NaN",
        b"1=1e999",
        b"5=3",
        b"5=-100",
        b"4294967295=1",
        b"\xff",
        b"\xc3\xa9\xf0\x9f\x98\x80",
        b"a\nb",
        b"auto",
        b"cpu",
        b"cuda",
        b"cuda:0",
        b"cuda:-1",
        b"cuda:99999999999999999999",
        b"wgpu",
        b"stored",
        b"error",
        b"slide",
        b"hf",
        b"gguf",
        b"q4_0",
        b"q8_0",
        b"bf16",
        b"F32",
        b"notes.txt",
        b"config.toml",
        b"run",
        b"run/model",
        b"missing",
        b"owner/name",
        b"owner/name@x",
        b"http://127.0.0.1:1/x",
        b".",
        b"./",
        b"a/b/c",
        b"--quiet",
        b"-h",
        b"<|endoftext|>",
        b"t",
    ];
    match random.below(12) {
        0 => "x".repeat(100_000).into(),
        1 => (*random.pick(TEXTS))
            .replace('\0', "\u{1}")
            .replace("../..", "..x")
            .into(),
        _ => OsStr::from_bytes(random.pick::<&[u8]>(values)).to_owned(),
    }
}

/// Sets a key or two of the config, most of them real ones.
fn odd_key(folder: &Path, case: &mut Case, random: &mut Random) -> Result<String> {
    const ODD: &[&str] = &[
        "",
        ".",
        "a..b",
        "model",
        "model.",
        ".seed",
        "seed.x",
        "data.source",
        "gates",
        "data.source.kind",
        "é",
    ];
    let config = fs::read_to_string(folder.join("config.toml"))?;
    let (mut table, mut keys) = (String::new(), Vec::new());
    for line in config.lines() {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            table = format!("{name}.");
        } else if let Some((key, _)) = line.split_once(" = ") {
            keys.push(format!("{table}{key}"));
        }
    }
    let mut words = Vec::new();
    for _ in 0..=random.below(2) {
        let key = if random.once_in(10) {
            random.pick(ODD)
        } else {
            random.pick(&keys).as_str()
        };
        let pair = format!("{key}={}", random.pick(TOML));
        words.push(pair.clone());
        case.set("--set", pair);
    }
    case.is_hungry = true;
    Ok(words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_with_values_are_found_in_both_forms_of_help() {
        let help = "Options:\n      --config <FILE>  The file\n      --plan  Stop\n      --set <KEY=VALUE>\n          Override\n";
        assert_eq!(options_of(help), ["--config", "--set"]);
    }
}
