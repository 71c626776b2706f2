//! Reading records: forms, tables, compression, and what is told of rows that cannot be used.

#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::io::Write;
use std::path::PathBuf;

use sinterlm_data::{
    BadRecords, Body, ChatMessage, DataError, InvalidUtf8, LabelColumn, RecordForm, RecordOptions,
    RecordSet, TableHeader, read_records,
};
use tempfile::TempDir;

fn write(folder: &TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn read_with(
    name: &str,
    content: impl AsRef<[u8]>,
    options: &RecordOptions,
) -> Result<RecordSet, DataError> {
    let folder = TempDir::new().unwrap();
    read_records(&[write(&folder, name, content)], options)
}

fn read(name: &str, content: impl AsRef<[u8]>) -> RecordSet {
    read_with(name, content, &RecordOptions::default()).unwrap()
}

/// The fault of a file, without the folder's name.
fn fault_with(name: &str, content: impl AsRef<[u8]>, options: &RecordOptions) -> String {
    let text = read_with(name, content, options).unwrap_err().to_string();
    text[text.find(name).unwrap_or(0)..].to_owned()
}

fn fault(name: &str, content: impl AsRef<[u8]>) -> String {
    fault_with(name, content, &RecordOptions::default())
}

fn skipping() -> RecordOptions {
    RecordOptions {
        bad_records: BadRecords::Skip,
        ..RecordOptions::default()
    }
}

fn labelled(set: &RecordSet) -> Vec<(&str, &str)> {
    let records = set.records.iter();
    records
        .map(|record| match &record.body {
            Body::Labelled { text, label } => (&**label, &**text),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn chat(roles_and_texts: &[(&str, &str)]) -> Vec<ChatMessage> {
    let pairs = roles_and_texts.iter();
    pairs
        .map(|(role, text)| ChatMessage::new(role, text))
        .collect()
}

#[test]
fn alpaca_records_become_instructions_and_those_with_a_history_conversations() {
    let set = read(
        "a.json",
        r#"[{"instruction": "Add.", "input": "1 1", "output": "2", "text": NaN},
            {"instruction": "Hi", "output": "Hello"},
            {"instruction": "Hi", "input": null, "output": "Yes", "history": []},
            {"instruction": "And", "input": "2 2", "output": "4", "system": "Be brief.",
             "history": [["1 1", "2"]]}]"#,
    );
    assert_eq!(set.form, RecordForm::Alpaca);
    let bodies: Vec<&Body> = set.records.iter().map(|record| &record.body).collect();
    let instruction = |instruction: &str, input: &str, output: &str| Body::Instruction {
        instruction: instruction.into(),
        input: input.into(),
        output: output.into(),
    };
    assert_eq!(*bodies[0], instruction("Add.", "1 1", "2"));
    assert_eq!(*bodies[1], instruction("Hi", "", "Hello"));
    assert_eq!(*bodies[2], instruction("Hi", "", "Yes"));
    let messages = chat(&[
        ("system", "Be brief."),
        ("user", "1 1"),
        ("assistant", "2"),
        ("user", "And\n\n2 2"),
        ("assistant", "4"),
    ]);
    assert_eq!(*bodies[3], Body::Chat { messages });
    assert!(
        set.records[3]
            .origin
            .to_string()
            .ends_with("a.json: record 4 (line 4)")
    );
}

#[test]
fn conversations_are_read_from_messages_and_from_sharegpt() {
    let openai = read(
        "m.jsonl",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"}]}\n",
    );
    let share = read(
        "s.jsonl",
        r#"{"conversations":[{"from":"human","value":"a"},{"from":"gpt","value":"b"}],"system":""}"#,
    );
    let messages = chat(&[("user", "a"), ("assistant", "b")]);
    assert_eq!(openai.records[0].body, Body::Chat { messages });
    assert_eq!(openai.form, RecordForm::Messages);
    assert_eq!(share.form, RecordForm::ShareGpt);
    assert_eq!(openai.fingerprint, share.fingerprint);
}

#[test]
fn pairs_of_answers_are_read_in_every_form() {
    let expected = Body::Preference {
        prompt: chat(&[("user", "q")]),
        chosen: "good".into(),
        rejected: "bad".into(),
    };
    for json in [
        r#"{"prompt":"q","chosen":"good","rejected":"bad"}"#,
        r#"{"prompt":"q","response":["good","bad"]}"#,
        r#"{"prompt":[{"role":"user","content":"q"}],
            "chosen":[{"role":"assistant","content":"good"}],"rejected":[{"role":"assistant","content":"bad"}]}"#,
        r#"{"chosen":[{"role":"user","content":"q"},{"role":"assistant","content":"good"}],
            "rejected":[{"role":"user","content":"q"},{"role":"assistant","content":"bad"}],"prompt":"q"}"#,
        r#"{"chosen":"\n\nHuman: q\n\nAssistant: good","rejected":"\n\nHuman: q\n\nAssistant: bad"}"#,
        r#"{"prompt":"\n\nHuman: q\n\nAssistant:","chosen":"good","rejected":"bad"}"#,
        r#"{"conversations":[{"from":"human","value":"q"}],
            "chosen":{"from":"gpt","value":"good"},"rejected":{"from":"gpt","value":"bad"}}"#,
        r#"{"prompt":"q","response_0":"bad","response_1":"good","better_response_id":1}"#,
        r#"{"prompt":"q","response_0":"good","response_1":"bad","safer_response_id":0}"#,
        r#"{"instruction":"q","input":"","output":"x","chosen":"good","rejected":"bad"}"#,
    ] {
        let set = read("p.json", json);
        assert_eq!(set.records[0].body, expected, "{json}");
        assert_eq!(set.form, RecordForm::Preference);
    }
    let mut options = RecordOptions::default();
    options.fields.preferred = Some("safer_response_id".into());
    let json = r#"{"prompt":"q","response_0":"good","response_1":"bad","better_response_id":1,"safer_response_id":0}"#;
    assert_eq!(
        read_with("p.json", json, &options).unwrap().records[0].body,
        expected
    );
}

#[test]
fn a_field_goes_by_another_name_where_the_config_says_so() {
    let mut options = RecordOptions {
        form: RecordForm::Labelled,
        ..RecordOptions::default()
    };
    options.fields.text = Some("answer".into());
    options.fields.label = Some("safe".into());
    options.fields.task = Some("set".into());
    options.fields.weight = Some("w".into());
    let json = r#"{"text":"x","answer":"y","safe":true,"set":7,"w":0.5}"#;
    let set = read_with("l.jsonl", json, &options).unwrap();
    assert_eq!(labelled(&set), [("true", "y")]);
    assert_eq!(set.records[0].task.as_deref(), Some("7"));
    assert!((set.records[0].weight - 0.5).abs() < f32::EPSILON);
    let heavy = fault_with("l.jsonl", json.replace("0.5", "-1"), &options);
    assert!(heavy.contains("field `w` is no weight"), "{heavy}");
}

#[test]
fn a_tsv_file_has_no_quotes_and_its_text_may_hold_tabs() {
    let set = read(
        "SMSSpamCollection",
        "\u{feff}ham\tSay \"hi\r\nspam\tWIN\t\"now\"\t\u{1f600}\r\n\r\nham\t\"\n",
    );
    let expected = [
        ("ham", "Say \"hi"),
        ("spam", "WIN\t\"now\"\t\u{1f600}"),
        ("ham", "\""),
    ];
    assert_eq!(labelled(&set), expected);
    assert_eq!(set.form, RecordForm::Labelled);
    assert!(set.records[2].origin.to_string().ends_with(": line 4"));
    let last = RecordOptions {
        label_column: LabelColumn::Last,
        ..RecordOptions::default()
    };
    let set = read_with("t.tsv", "a\tb\tham\nc\tspam\n", &last).unwrap();
    assert_eq!(labelled(&set), [("ham", "a\tb"), ("spam", "c")]);
}

#[test]
fn columns_are_found_by_their_names_or_numbers() {
    let set = read("t.tsv", "id\tLabel\tText\n1\tham\ta\tb\n2\tspam\tc\n");
    assert_eq!(labelled(&set), [("ham", "a\tb"), ("spam", "c")]);
    let set = read("t.csv", "v1,v2,\nham,\"a, \"\"b\"\"\nc\",\nspam,d,\n");
    assert_eq!(labelled(&set), [("ham", "a, \"b\"\nc"), ("spam", "d")]);
    assert!(set.records[1].origin.to_string().ends_with(": line 4"));
    let mut options = RecordOptions {
        header: TableHeader::No,
        ..RecordOptions::default()
    };
    options.fields.text = Some("3".into());
    options.fields.label = Some("1".into());
    let set = read_with("t.csv", "ham,1,a\nspam,2,b\n", &options).unwrap();
    assert_eq!(labelled(&set), [("ham", "a"), ("spam", "b")]);
    let set = read("t.csv", "instruction,input,output\nAdd.,1 1,2\n");
    assert_eq!(set.form, RecordForm::Alpaca);
    let unnamed = fault("t.csv", "ham,1,a\nspam,2,b\n");
    assert!(
        unnamed.contains("line 1 has the fields 3 columns without names"),
        "{unnamed}"
    );
}

#[test]
fn rows_with_stray_quotes_are_named_and_cost_no_other_row() {
    let content = "label,text\nham,a\nspam,\"b\nham,c\nspam,\"d\"e\nham,f\n";
    let first = fault("t.csv", content);
    let stray =
        "line 3: something stands between a closing quote and the next comma; it begins with";
    assert!(first.contains(&format!("{stray} `spam,\"b`")), "{first}");
    let open = fault("t.csv", "label,text\nham,\"a\nspam,b\n");
    assert!(
        open.contains("line 2: a quote opens a cell and none closes it"),
        "{open}"
    );
    let set = read_with("t.csv", content, &skipping()).unwrap();
    assert_eq!(labelled(&set), [("ham", "a"), ("ham", "c"), ("ham", "f")]);
    assert_eq!(set.skipped_count, 2);
    let short = fault("t.csv", "label,text\nham\n");
    assert!(
        short.contains("line 2: 1 cells, the first row has 2"),
        "{short}"
    );
    let no_tab = fault("t.tsv", "ham\ta\nspam b\n");
    assert!(
        no_tab.contains("line 2: no tab ends the first cell; it begins with `spam b`"),
        "{no_tab}"
    );
}

#[test]
fn damaged_lines_are_left_out_and_the_lines_between_them_are_read() {
    let good = |n: u32| format!("{{\"prompt\": \"{n}\", \"completion\": \"x\"}}\n");
    let mut content = String::new();
    for (number, bad) in [
        "{\"prompt\": \"1\", \"completion\": \"x\"\n", // no brace
        "{\"prompt\": \"a\n",                          // an open string
        "not json at all\n",
        "[1, 2]\n",
        "{\"prompt\": \"a\"}\n",
        "{\"prompt\": \"a\", \"completion\": \" \"}\n",
        "{\"prompt\": \"a\", \"completion\": 3}\n",
        "{\"prompt\": \"\\ud800\", \"completion\": \"x\"}\n",
        "{\"prompt\": [{\"a\": 1}, \"completion\": {\n  \"b\": 2\n}}\n",
    ]
    .into_iter()
    .enumerate()
    {
        content.push_str(bad);
        content.push_str(&good(number as u32));
    }
    // The first line decides on the format and the form.
    content.insert_str(0, &good(100));
    let mut bytes = content.into_bytes();
    bytes.extend_from_slice(b"{\"prompt\": \"\xff\", \"completion\": \"x\"}\n");
    bytes.extend_from_slice(good(9).as_bytes());
    let set = read_with("c.jsonl", &bytes, &skipping()).unwrap();
    let prompts: Vec<&str> = set.records.iter().map(|record| record.texts()[0]).collect();
    assert_eq!(
        prompts,
        ["100", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
    );
    assert_eq!(set.skipped_count, 10);
    let reasons: Vec<String> = set
        .skipped
        .iter()
        .map(|(origin, reason)| {
            let origin = origin.to_string();
            format!("{}: {reason}", &origin[origin.rfind("line").unwrap()..])
        })
        .collect();
    insta::assert_snapshot!(reasons.join("\n"));
}

#[test]
fn an_array_goes_on_behind_a_bad_record_whose_end_is_known() {
    let json = r#"[{"prompt":"a","completion":"b"}, 7, {"prompt":oh,"completion":"b"}, {"prompt":"c","completion":"d"}]"#;
    let set = read_with("c.json", json, &skipping()).unwrap();
    assert_eq!((set.records.len(), set.skipped_count), (2, 2));
    let cut = fault_with("c.json", &json[..json.len() - 1], &skipping());
    assert!(
        cut.contains("the file ends before the array's `]`"),
        "{cut}"
    );
    let broken = fault_with("c.json", json.replace("oh", "{"), &skipping());
    assert!(broken.contains("record 3 (line 1)"), "{broken}");
}

#[test]
fn too_many_bad_records_stop_the_reading() {
    let content = "{\"prompt\":\"a\",\"completion\":\"b\"}\n{}\n{}\n{}\n";
    let options = RecordOptions {
        max_bad_records: 2,
        ..skipping()
    };
    let fault = fault_with("c.jsonl", content, &options);
    assert!(
        fault.contains("more than 2 records cannot be used"),
        "{fault}"
    );
    let three = RecordOptions {
        max_bad_records: 3,
        ..skipping()
    };
    assert_eq!(
        read_with("c.jsonl", content, &three).unwrap().skipped_count,
        3
    );
}

#[test]
fn faults_name_file_line_field_and_the_nearest_name() {
    let faults: Vec<String> = [
        (
            "a.json",
            r#"[{"instruction":"a","output":"b"},{"instruction":"a","Output":"b"}]"#,
        ),
        (
            "a.json",
            r#"[{"instruction":"a","output":"b"},{"instruction":"a","output":null}]"#,
        ),
        (
            "a.json",
            r#"[{"instruction":"a","output":"b"},{"instruction":["a"],"output":"b"}]"#,
        ),
        ("a.json", r#"[{"instruction":" ","output":"b"}]"#),
        (
            "a.json",
            r#"[{"instruction":"a","output":"b","history":[["c"]]}]"#,
        ),
        (
            "m.json",
            r#"[{"messages":[{"role":"user","content":"a"}]}]"#,
        ),
        (
            "p.json",
            r#"[{"prompt":"q","response_0":"a","response_1":"b","better_response_id":-1}]"#,
        ),
        (
            "p.json",
            r#"[{"prompt":"q","response_0":"a","response_1":"b"}]"#,
        ),
        ("p.json", r#"[{"chosen":"a","rejected":"b"}]"#),
        ("p.json", r#"[{"prompt":"q","chosen":"a","rejected":""}]"#),
        ("l.json", r#"[{"text":"a","label":{"x":1}}]"#),
        ("l.json", r#"[{"text":"a","kind":"x"}]"#),
        ("e.json", "[]"),
        ("e.jsonl", ""),
        ("e.tsv", "\n"),
        ("h.tsv", "label\ttext\n"),
        ("b.jsonl", "\0"),
    ]
    .iter()
    .map(|(name, json)| fault(name, json))
    .collect();
    insta::assert_snapshot!(faults.join("\n"));
}

#[test]
fn compressed_files_and_folders_are_read_like_plain_ones() {
    let content =
        "{\"prompt\":\"a\",\"completion\":\"b\"}\n{\"prompt\":\"c\",\"completion\":\"d\"}\n";
    let plain = read("c.jsonl", content);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(content.as_bytes()).unwrap();
    let zipped = read("c.jsonl.gz", gzip.finish().unwrap());
    assert_eq!(plain.fingerprint, zipped.fingerprint);
    let zstd = ruzstd::encoding::compress_to_vec(
        content.as_bytes(),
        ruzstd::encoding::CompressionLevel::Fastest,
    );
    assert_eq!(plain.fingerprint, read("data", zstd).fingerprint);

    let folder = TempDir::new().unwrap();
    write(&folder, "README.md", "# Not a record");
    write(&folder, "b.json", r#"[{"prompt":"c","completion":"d"}]"#);
    write(&folder, "a.jsonl", r#"{"prompt":"a","completion":"b"}"#);
    let paths = [folder.path().to_owned()];
    let set = read_records(&paths, &RecordOptions::default()).unwrap();
    assert_eq!(set.fingerprint, plain.fingerprint);
    let capped = RecordOptions {
        max_records: Some(1),
        task: Some("t".into()),
        ..RecordOptions::default()
    };
    let set = read_records(&paths, &capped).unwrap();
    assert_eq!(
        (set.records.len(), set.records[0].task.as_deref()),
        (1, Some("t"))
    );
}

#[test]
fn odd_characters_and_a_very_long_row_are_kept_as_they_are() {
    let long = "字\u{1f600}".repeat(500_000);
    let json = format!("{{\"text\":\"{long}\\u0000\\u202e\",\"label\":1}}");
    let set = read("l.jsonl", json);
    let expected = format!("{long}\0\u{202e}");
    assert!(labelled(&set) == [("1", &*expected)]);
    let lone = RecordOptions {
        invalid_utf8: InvalidUtf8::Replace,
        ..RecordOptions::default()
    };
    let set = read_with("l.jsonl", r#"{"text":"a\ud83d","label":"x"}"#, &lone).unwrap();
    assert_eq!(labelled(&set), [("x", "a\u{fffd}")]);
    let bytes = b"ham\ta\nham\t\xff\n";
    let set = read_with("l.tsv", bytes, &lone).unwrap();
    assert_eq!(labelled(&set)[1], ("ham", "\u{fffd}"));
    let fault = fault("l.tsv", bytes);
    assert!(
        fault.contains("line 2: byte 10 of the file (0xff) is not UTF-8"),
        "{fault}"
    );
}

#[test]
#[cfg(not(feature = "parquet"))]
fn a_parquet_file_needs_its_feature_and_says_so() {
    assert!(fault("x.parquet", b"PAR1....PAR1").contains("needs the feature `parquet`"));
}
