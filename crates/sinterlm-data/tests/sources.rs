//! Text sources as a user meets them: what is read from which file, and what each fault says.

#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::fs;
use std::io::Write as _;
use std::path::Path;

use sinterlm_data::{
    ChatTemplate, DataError, InvalidUtf8, TextSource, Tokenizer, fingerprint, read_documents,
};
use tempfile::TempDir;

const STORIES: &str = "Once a cat.\n<|endoftext|>\n\n Then a dog.<|endoftext|>End é.\n";
const EXPECTED: [&str; 3] = ["Once a cat.", "Then a dog.", "End é."];

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

fn read(source: &TextSource) -> Result<Vec<String>, DataError> {
    read_documents(source)?
        .map(|document| Ok(document?.text))
        .collect()
}

fn read_file(name: &str, content: &[u8]) -> Result<Vec<String>, DataError> {
    let folder = folder(&[(name, content)]);
    read(&TextSource::new(vec![folder.path().join(name)]))
}

/// The message for one file, without the temporary folder's path, and its cause.
fn fault(name: &str, content: &[u8]) -> (String, Option<String>) {
    let error = read_file(name, content).unwrap_err();
    let cause = std::error::Error::source(&error).map(ToString::to_string);
    let text = error.to_string();
    let start = text.find(name).unwrap();
    (text[start..].to_owned(), cause)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

#[test]
fn a_git_lfs_pointer_is_not_taken_for_text() {
    let pointer: &[u8] =
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 540000000\n";
    for name in ["x.txt", "x.jsonl", "x.txt.gz", "x.jsonl.zst", "x"] {
        let (said, _) = fault(name, pointer);
        assert!(
            said.contains("is a Git LFS pointer and not the file itself; run git lfs pull"),
            "{said}"
        );
    }
    let about = [pointer, "A text about pointers. ".repeat(60).as_bytes()].concat();
    assert_eq!(read_file("x.txt", &about).unwrap().len(), 1);
}

#[test]
fn a_tokenizer_or_template_that_is_a_git_lfs_pointer_is_called_that() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 9\n";
    for name in ["tokenizer.json", "tokenizer.bin", "x.gguf"] {
        let folder = folder(&[(name, pointer)]);
        let error = Tokenizer::from_file(&folder.path().join(name)).unwrap_err();
        assert!(
            error.to_string().contains("is a Git LFS pointer"),
            "{error}"
        );
    }
    for name in ["chat_template.jinja", "tokenizer_config.json"] {
        let folder = folder(&[(name, pointer)]);
        let error = ChatTemplate::from_folder(folder.path()).unwrap_err();
        assert!(
            error.to_string().contains("is a Git LFS pointer"),
            "{error}"
        );
    }
}

/// Text that does not compress to nothing.
fn long_text() -> String {
    let numbers = (0..40_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_string());
    numbers.collect::<Vec<_>>().join(" ")
}

#[test]
fn text_is_cut_at_separators_and_trimmed() {
    assert_eq!(read_file("a.txt", STORIES.as_bytes()).unwrap(), EXPECTED);
    assert_eq!(
        read_file("a.txt", b"\n only one \r\n").unwrap(),
        ["only one"]
    );
    assert_eq!(
        read_file("no-ending", b"\xef\xbb\xbfmarked").unwrap(),
        ["marked"]
    );
}

#[test]
fn compressed_text_reads_like_plain_text() {
    let stories = STORIES.as_bytes();
    for (name, content) in [("a.txt.gz", gzip(stories)), ("a.zst", zstd(stories))] {
        assert_eq!(read_file(name, &content).unwrap(), EXPECTED, "{name}");
    }
    assert_eq!(read_file("unnamed.txt", &gzip(stories)).unwrap(), EXPECTED);
    let line = br#"{"text": " x "}"#;
    assert_eq!(read_file("a.jsonl.gz", &gzip(line)).unwrap(), ["x"]);
    assert_eq!(read_file("a.jsonl.zst", &zstd(line)).unwrap(), ["x"]);
}

#[test]
fn compressed_files_of_several_parts_are_read_to_the_end() {
    let (one, two) = ("ab".repeat(100_000), "cd".repeat(100_000));
    let joined = [one.as_str(), &two].concat();
    for pack in [gzip, zstd] {
        let parts = [pack(one.as_bytes()), pack(two.as_bytes())].concat();
        assert!(read_file("a.txt", &parts).unwrap() == [joined.as_str()]);
    }
    let skipped = [
        b"\x53\x2a\x4d\x18\x03\x00\x00\x00xyz".as_slice(),
        &zstd(b"after"),
    ]
    .concat();
    assert_eq!(read_file("a.zst", &skipped).unwrap(), ["after"]);
}

#[test]
fn a_folder_is_read_in_the_order_of_names_without_hidden_files() {
    let folder = folder(&[
        ("b.txt", b"2<|endoftext|>3"),
        ("a.jsonl", b"{\"text\": \"1\"}\n"),
        ("c/deep/z.txt", b"5"),
        ("c/a.txt", b"4"),
        ("d.txt", b"6"),
        ("empty.txt", b""),
        (".hidden.txt", b"no"),
        (".git/config", b"no"),
    ]);
    let source = TextSource::new(vec![folder.path().to_owned()]);
    assert_eq!(read(&source).unwrap(), ["1", "2", "3", "4", "5", "6"]);
    let paths = ["d.txt", "b.txt"]
        .map(|name| folder.path().join(name))
        .to_vec();
    assert_eq!(read(&TextSource::new(paths)).unwrap(), ["6", "2", "3"]);
}

#[test]
fn json_lines_give_the_named_field_of_each_line() {
    let lines =
        "{\"id\": 1, \"story\": \"a\\nb\"}\r\n\n{\"story\": \"  \"}\n{\"story\": \"\\u00e9\"}";
    let folder = folder(&[("a.jsonl", lines.as_bytes())]);
    let mut source = TextSource::new(vec![folder.path().join("a.jsonl")]);
    source.text_field = "story".to_owned();
    assert_eq!(read(&source).unwrap(), ["a\nb", "é"]);
}

#[test]
fn json_faults_name_the_line_and_the_remedy() {
    let ok = "{\"text\": \"a\"}\n\n";
    let message = |line: &str| fault("a.jsonl", format!("{ok}{line}\n").as_bytes()).0;
    assert_eq!(
        message("{\"Text\": \"a\", \"id\": 1}"),
        "a.jsonl: line 3 has no field `text`, did you mean `Text`; set data.text_field to the field of the text"
    );
    assert_eq!(
        message("{\"id\": 1, \"story\": \"a\"}"),
        "a.jsonl: line 3 has no field `text`, it has `id`, `story`; set data.text_field to the field of the text"
    );
    assert_eq!(
        message("{\"text\": [1]}"),
        "a.jsonl: line 3, field `text` is an array, not a string; mend the record or choose another data.text_field"
    );
    assert_eq!(
        message("{\"text\": NaN}"),
        "a.jsonl: line 3, field `text` is null or not a number, not a string; mend the record or choose another data.text_field"
    );
    assert_eq!(
        message("[1]"),
        "a.jsonl: line 3 is an array, not an object; each record has to be like {\"text\": \"...\"}"
    );
    let remedy = "each line has to hold one object, or the file one array of objects";
    for (line, place, words) in [
        ("{\"text\": \"a", "column 11", "EOF while parsing a string"),
        ("  {\"text\": \"a\"},", "column 16", "trailing characters"),
        ("{\"text\": \"a\",}", "column 14", "trailing comma"),
        (
            "{\"text\": \"a\" \"b\": 1}",
            "column 14",
            "expected `,` or `}`",
        ),
        ("{'text': 'a'}", "column 2", "key must be a string"),
        ("oh", "column 1", "expected value"),
    ] {
        assert_eq!(
            message(line),
            format!("a.jsonl: line 3, {place} is not valid JSON: {words}; {remedy}")
        );
    }
}

/// The same two records as an array, on one line and on many.
const ARRAYS: [&str; 4] = [
    r#"[{"text": "a [", "n": NaN}, {"text": " b\n"}]"#,
    "\u{feff}[\r\n  {\r\n    \"text\": \"a [\",\r\n    \"n\": [\r\n      -Infinity\r\n    ]\r\n  },\r\n  {\r\n    \
     \"text\": \"b\"\r\n  }\r\n]\r\n",
    "\n\n[{\"text\":\"a [\"}\n,{\"text\":\"b\"}\n\n]\n\n",
    "[{\"text\":\"x\",\"text\":\"a [\"},{\"text\":\"\\u0062\"},{\"text\":\" \"}]",
];

#[test]
fn an_array_of_objects_is_read_as_records_whatever_the_files_name() {
    for text in ARRAYS {
        for name in ["a.json", "a.jsonl", "a.ndjson"] {
            let read = read_file(name, text.as_bytes()).unwrap();
            assert_eq!(read, ["a [", "b"], "{name} {text}");
        }
        let bytes = text.as_bytes();
        assert_eq!(read_file("a.json.gz", &gzip(bytes)).unwrap(), ["a [", "b"]);
        assert_eq!(read_file("a.json.zst", &zstd(bytes)).unwrap(), ["a [", "b"]);
    }
    let records: Vec<_> = (0..20_000)
        .map(|i| format!("{{\"id\": [{i}], \"text\": \"story é {i} {{\"}}"))
        .collect();
    let texts: Vec<_> = (0..20_000).map(|i| format!("story é {i} {{")).collect();
    let array = format!("[{}]", records.join(", "));
    assert!(read_file("long.json", array.as_bytes()).unwrap() == texts);
}

#[test]
fn objects_in_lines_may_be_broken_into_several() {
    let lines = "{\n  \"text\": \"a\",\n  \"more\": [\n    {}\n  ]\n}\n{\n\"text\":\n\"b\"}\n{\"text\": \"c\"}\n";
    assert_eq!(
        read_file("a.json", lines.as_bytes()).unwrap(),
        ["a", "b", "c"]
    );
    assert_eq!(
        fault("a.jsonl", b"{\"text\": \"a\"\n{\"text\": \"b\"}\n").0,
        "a.jsonl: line 2, column 1 is not valid JSON: expected `,` or `}`; each line has to hold one object, or the file one array of objects"
    );
}

#[test]
fn byte_order_marks_blank_lines_and_carriage_returns_are_passed_over() {
    let lines = "\u{feff}{\"text\": \"a\"}\r\n\r\n \t\r\n\u{feff}{\"text\": \"b\"}\r\n\u{a0}\n{\"text\": \"c\"}";
    for name in ["a.jsonl", "a.json"] {
        assert_eq!(read_file(name, lines.as_bytes()).unwrap(), ["a", "b", "c"]);
    }
}

#[test]
fn faults_in_an_array_name_the_record_and_its_line() {
    let message = |text: &str| fault("a.json", text.as_bytes()).0;
    let start = "[\n {\"text\": \"a\"},\n {\n  ";
    assert_eq!(
        message(&format!("{start}\"story\": \"b\"\n }}\n]")),
        "a.json: record 2 (line 3) has no field `text`, it has `story`; set data.text_field to the field of the text"
    );
    assert_eq!(
        message("[{\"text\": \"a\"}, \"b\", 1]"),
        "a.json: record 2 (line 1) is a string, not an object; each record has to be like {\"text\": \"...\"}"
    );
    for (text, words) in [
        (
            format!("{start}\"text\": \"b\"\n  \"id\": 1\n }}\n]"),
            "record 2 (line 5), column 3 is not valid JSON: expected `,` or `}`",
        ),
        (
            format!("{start}\"text\": \"b\"\n }},\n]"),
            "record 2 (line 6), column 1 is not valid JSON: a comma stands before the array's `]`",
        ),
        (
            format!("{start}\"text\": \"b\"\n }}\n {{}}]"),
            "record 2 (line 6), column 2 is not valid JSON: expected `,` or `]`",
        ),
        (
            format!("{start}\"text\": \"b\"\n }}\n"),
            "record 2 (line 6), column 1 is not valid JSON: the file ends before the array's `]`",
        ),
        (
            format!("{start}\"text\": \"b\"\n"),
            "record 2 (line 4), column 13 is not valid JSON: EOF while parsing an object",
        ),
        (
            "[{\"text\": \"a\"}]\n[]".to_owned(),
            "record 1 (line 2), column 1 is not valid JSON: something stands behind the array's end",
        ),
        (
            "[,]".to_owned(),
            "column 2 is not valid JSON: expected value",
        ),
    ] {
        let message = message(&text);
        assert!(message.contains(words), "{message}");
    }
    assert!(message("[]").contains("holds no document"));
}

#[test]
fn half_a_character_is_refused_with_its_place_or_replaced() {
    let line = "{\"text\": \"a\"}\n{\"id\": \"\\udc00\", \"text\": \"b \\ud83d\"}\n";
    assert_eq!(
        fault("a.jsonl", line.as_bytes()).0,
        "a.jsonl: line 2, column 29: `\\ud83d` is half of a character (a lone surrogate); mend the text or set data.invalid_utf8 = \"replace\""
    );
    let folder = folder(&[("a.jsonl", line.as_bytes())]);
    let mut source = TextSource::new(vec![folder.path().to_owned()]);
    source.invalid_utf8 = InvalidUtf8::Replace;
    assert_eq!(read(&source).unwrap(), ["a", "b \u{fffd}"]);
}

#[test]
fn json_reads_alike_wherever_the_buffer_ends() {
    // Gzip's parts are read one by one, so that each ends a piece of what the reader sees.
    for text in ARRAYS {
        for cut in 0..text.len() {
            let (head, tail) = text.as_bytes().split_at(cut);
            let parts = [gzip(head), gzip(tail)].concat();
            assert_eq!(read_file("a.json", &parts).unwrap(), ["a [", "b"], "{cut}");
        }
    }
}

#[test]
fn missing_and_empty_sources_are_named() {
    let folder = folder(&[("blank.txt", b" \n<|endoftext|>\n"), (".hidden", b"x")]);
    let error = |path: &Path| read(&TextSource::new(vec![path.to_owned()])).unwrap_err();
    assert!(matches!(
        error(&folder.path().join("no.txt")),
        DataError::SourceMissing { .. }
    ));
    assert!(matches!(
        error(&folder.path().join("blank.txt")),
        DataError::NoDocuments { .. }
    ));
    assert!(matches!(
        error(folder.path()),
        DataError::NoDocuments { .. }
    ));
    assert!(matches!(
        read(&TextSource::new(Vec::new())),
        Err(DataError::NoPaths)
    ));
    assert_eq!(
        fault("a.txt", b"").0,
        "a.txt: holds no document; give a file or folder with text in it"
    );
    assert!(matches!(
        read_file("a.gz", b""),
        Err(DataError::NoDocuments { .. })
    ));
}

#[test]
fn binary_files_are_refused_with_the_offset() {
    assert_eq!(
        fault("a.txt", b"PAR1\x00").0,
        "a.txt: byte 4 is zero, so this is not UTF-8 text; convert it (from UTF-16, Parquet, zip, ...) or take it out"
    );
    let late = [long_text().as_bytes(), b"\0"].concat();
    let error = read_file("a.txt", &late).unwrap_err();
    assert!(
        matches!(error, DataError::BinaryText { offset, .. } if offset + 1 == late.len() as u64)
    );
}

#[test]
fn invalid_utf8_is_refused_with_its_offset_or_replaced() {
    let text = b"good<|endoftext|>b\xffd".as_slice();
    assert_eq!(
        fault("a.txt", text).0,
        "a.txt: byte 18 (0xff) is not UTF-8; convert the file or set data.invalid_utf8 = \"replace\""
    );
    let (message, _) = fault("a.txt.gz", &gzip(text));
    assert!(message.contains("byte 18"), "{message}");
    let folder = folder(&[("a.txt", text), ("b.jsonl", b"{\"text\": \"\xe9t\"}")]);
    let mut source = TextSource::new(vec![folder.path().to_owned()]);
    source.invalid_utf8 = InvalidUtf8::Replace;
    assert_eq!(read(&source).unwrap(), ["good", "b\u{fffd}d", "\u{fffd}t"]);
}

#[test]
fn cut_or_altered_compressed_files_are_refused() {
    let text = long_text();
    for (name, whole) in [
        ("a.gz", gzip(text.as_bytes())),
        ("a.zst", zstd(text.as_bytes())),
    ] {
        for length in [1, 5, 100, whole.len() / 2, whole.len() - 1] {
            let error = read_file(name, &whole[..length]).unwrap_err();
            assert!(
                matches!(error, DataError::Damaged { .. }),
                "{name} {length}: {error}"
            );
        }
        let mut altered = whole.clone();
        altered[whole.len() / 2] ^= 0x55;
        assert!(read_file(name, &altered).is_err(), "{name}");
    }
    let (message, cause) = fault("a.txt.gz", b"plain");
    assert_eq!(
        message,
        "a.txt.gz: the gzip data is cut off or damaged after 0 bytes of text; fetch or compress the file again"
    );
    assert_eq!(cause.unwrap(), "the first bytes are not those of gzip");
}

#[test]
fn an_iterator_ends_after_its_first_error() {
    let folder = folder(&[("a.jsonl", b"{\"text\": \"1\"}\nbad\n{\"text\": \"3\"}\n")]);
    let source = TextSource::new(vec![folder.path().to_owned()]);
    let kinds: Vec<_> = read_documents(&source)
        .unwrap()
        .map(|item| item.is_ok())
        .collect();
    assert_eq!(kinds, [true, false]);
}

#[test]
fn the_fingerprint_follows_content_and_cutting_but_not_the_name() {
    let folder = folder(&[
        ("one/a.txt", b"same"),
        ("two/b.txt", b"same"),
        ("three/a.txt", b"other"),
        ("four/a.jsonl", b"same"),
        ("five/a.txt", b"sa"),
        ("five/b.txt", b"me"),
    ]);
    let source = |name: &str| TextSource::new(vec![folder.path().join(name)]);
    let one = fingerprint(&source("one")).unwrap();
    assert_eq!(one.len(), 64);
    assert_eq!(one, fingerprint(&source("two")).unwrap());
    let mut others: Vec<_> = ["three", "four", "five"]
        .iter()
        .map(|name| fingerprint(&source(name)).unwrap())
        .collect();
    others.push(
        fingerprint(&TextSource {
            separator: "a".into(),
            ..source("one")
        })
        .unwrap(),
    );
    others.push(
        fingerprint(&TextSource {
            text_field: "a".into(),
            ..source("one")
        })
        .unwrap(),
    );
    let replacing = TextSource {
        invalid_utf8: InvalidUtf8::Replace,
        ..source("one")
    };
    others.push(fingerprint(&replacing).unwrap());
    assert!(others.iter().all(|other| *other != one));
    assert!(fingerprint(&source("none")).is_err());
}

#[cfg(unix)]
#[test]
fn links_to_files_are_followed_and_dangling_ones_named() {
    let folder = folder(&[("a.txt", b"1")]);
    std::os::unix::fs::symlink("a.txt", folder.path().join("b.txt")).unwrap();
    std::os::unix::fs::symlink(".", folder.path().join("loop")).unwrap();
    let source = TextSource::new(vec![folder.path().to_owned()]);
    assert_eq!(read(&source).unwrap(), ["1", "1"]);
    std::os::unix::fs::symlink("gone", folder.path().join("c.txt")).unwrap();
    assert!(matches!(
        read(&source),
        Err(DataError::SourceMissing { .. })
    ));
}

#[test]
fn tinystories_have_the_known_number_of_documents() {
    let Some(data) = std::env::var_os("SINTERLM_TEST_DATA") else {
        eprintln!("skipped: SINTERLM_TEST_DATA is not set");
        return;
    };
    let path = Path::new(&data).join("tinystories/tinystories_valid.txt");
    let text = fs::read_to_string(&path).unwrap();
    let whole: Vec<_> = text
        .split("<|endoftext|>")
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .collect();
    assert!(read(&TextSource::new(vec![path])).unwrap() == whole);
}
