//! Words of commands that are printed to be pasted into a shell.

use std::ffi::OsStr;
use std::fmt::Write;
use std::path::Path;

/// A word as a person types it in a POSIX shell: as it is where nothing in it means anything to the
/// shell, in single quotes, or as `$'..'` where it holds bytes that are no text, which bash, zsh and
/// ksh read.
///
/// # Example
/// ```
/// use sinterlm_run::shell_word;
///
/// assert_eq!(shell_word("runs/first"), "runs/first");
/// assert_eq!(shell_word("r/S 4"), "'r/S 4'");
/// assert_eq!(shell_word("it's"), r"'it'\''s'");
/// ```
pub fn shell_word(word: impl AsRef<OsStr>) -> String {
    let word = word.as_ref();
    match word.to_str() {
        Some(text) if !text.is_empty() && text.chars().all(is_plain) => text.to_owned(),
        Some(text) if !text.chars().any(char::is_control) => {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
        _ => {
            let mut quoted = "$'".to_owned();
            for chunk in word.as_encoded_bytes().utf8_chunks() {
                for character in chunk.valid().chars() {
                    match character {
                        '\'' | '\\' => quoted.extend(['\\', character]),
                        _ if character.is_ascii_control() => escape(&mut quoted, character as u8),
                        _ => quoted.push(character),
                    }
                }
                chunk
                    .invalid()
                    .iter()
                    .for_each(|byte| escape(&mut quoted, *byte));
            }
            quoted + "'"
        }
    }
}

/// [`shell_word`] of a path, which no option parser takes for an option: `./-x` in place of `-x`.
pub fn shell_path(path: &Path) -> String {
    if path.as_os_str().as_encoded_bytes().starts_with(b"-") {
        return shell_word(Path::new(".").join(path));
    }
    shell_word(path)
}

/// Whether a character means nothing to a shell, anywhere in a word.
fn is_plain(character: char) -> bool {
    character.is_alphanumeric() || "_-./:,+@%=".contains(character)
}

/// Three octal digits end by themselves, whatever follows them.
fn escape(quoted: &mut String, byte: u8) {
    write!(quoted, "\\{byte:03o}").expect("writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_shell_gives_every_word_back() {
        use std::os::unix::ffi::OsStrExt;
        use std::process::Command;

        let words: [&[u8]; 14] = [
            b"runs/first",
            b"r/S 4",
            b"it's",
            b"$HOME `x` \"y\" \\",
            b"~",
            b"a*b?[c]",
            b"a;b&c|d>e<f(g)!h#i",
            b"",
            b"line\nbreak\ttab",
            b"m\xe9",
            b"\xff'\\1",
            "ein Märchen".as_bytes(),
            b"x\xe93",
            b"{a,b}",
        ];
        let Ok(probe) = Command::new("bash").args(["-c", "true"]).status() else {
            return; // no bash on this machine
        };
        assert!(probe.success());
        for word in words {
            let script = format!("printf %s {}", shell_word(OsStr::from_bytes(word)));
            let printed = Command::new("bash").args(["-c", &script]).output().unwrap();
            assert_eq!(printed.stdout, word, "{script}");
        }
    }

    #[test]
    fn a_path_is_no_option() {
        assert_eq!(shell_path(Path::new("-x")), "./-x");
        assert_eq!(shell_path(Path::new("/-x y")), "'/-x y'");
    }
}
