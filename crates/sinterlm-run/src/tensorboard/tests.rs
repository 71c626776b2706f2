//! Event files as written, record by record. What TensorBoard makes of them is checked by
//! `cargo xtask interop`.

use super::*;
use crate::{EvalRecord, StepRecord, utc::test_clock::set_back};

fn step(step: u64) -> StepRecord {
    StepRecord {
        step,
        tokens: 64 * step,
        loss: 2.5,
        lr: 1e-3,
        grad_norm: 0.5,
        tokens_per_second: 800.0,
        extra: vec![("memory/resident_bytes".into(), 1e9)],
        log: true,
    }
}

fn started(step: u64) -> Event<'static> {
    Event::Started {
        kind: "pretrain",
        max_steps: 9,
        step,
        tokens: 0,
        parameters: 1,
    }
}

/// The messages of a file, checksums left out.
fn messages(path: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(path).unwrap();
    let mut rest = bytes.as_slice();
    let mut found = Vec::new();
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        found.push(rest[12..12 + length].to_vec());
        rest = &rest[16 + length..];
    }
    found
}

fn holds(message: &[u8], part: &[u8]) -> bool {
    message.windows(part.len()).any(|window| window == part)
}

#[test]
fn records_have_the_bytes_that_tensorflow_writes() {
    // tests/fixtures/gen_tfevents.py wrote the fixture with the message classes of TensorBoard and
    // the checksum of package google-crc32c.
    let time = |message: Message| message.double(1, 1.5);
    let version = time(Message::default()).text(3, "brain.Event:2");
    let start = time(Message::default())
        .int(2, 301)
        .message(7, Message::default().int(1, 1));
    let value = Message::default().text(1, "train/loss").float(2, 2.5);
    let scalar = time(Message::default())
        .int(2, 300)
        .message(5, Message::default().message(1, value));
    let written = [version, start, scalar].map(Message::into_record).concat();
    let fixture = include_bytes!("../../tests/fixtures/events.tfevents");
    assert_eq!(written, fixture);
}

#[test]
fn every_figure_and_sample_is_an_event() {
    let folder = tempfile::tempdir().unwrap();
    let mut board = TensorBoard::create(folder.path().join("tensorboard")).unwrap();
    board.on_event(&started(0)).unwrap();
    board.on_event(&Event::Step(&step(1))).unwrap();
    let silent = StepRecord {
        log: false,
        ..step(2)
    };
    board.on_event(&Event::Step(&silent)).unwrap();
    let evaluated = EvalRecord {
        step: 2,
        tokens: 128,
        figures: vec![
            ("valid/loss".into(), 2.25),
            ("valid/perplexity".into(), 9.5),
        ],
    };
    board.on_event(&Event::Evaluated(&evaluated)).unwrap();
    let samples = [SampleText {
        prompt: "Once".into(),
        text: "upon *a* time".into(),
    }];
    let sampled = Event::Sampled {
        step: 2,
        tokens: 128,
        samples: &samples,
    };
    board.on_event(&sampled).unwrap();

    let found = messages(&board.path);
    assert_eq!(found.len(), 5, "version, start, step, evaluation, samples");
    for name in ["train/lr", "train/grad_norm", "memory/resident_bytes"] {
        assert!(holds(&found[2], name.as_bytes()), "{name}");
    }
    assert!(holds(
        &found[3],
        &[b"valid/loss".as_slice(), &[0x15], &2.25f32.to_le_bytes()].concat()
    ));
    assert!(holds(&found[3], b"valid/perplexity"));
    assert!(holds(&found[4], b"**Once** upon \\*a\\* time"));
}

#[test]
fn a_resumed_run_marks_the_first_step_to_come_in_a_later_file() {
    let folder = tempfile::tempdir().unwrap();
    // As if the clock had gone back since the first file was made.
    fs::write(folder.path().join(format!("{PREFIX}9999999998.host")), "").unwrap();
    let mut board = TensorBoard::create(folder.path()).unwrap();
    let name = board.path.file_name().unwrap().to_str().unwrap();
    assert_eq!(name, format!("{PREFIX}9999999999.sinterlm"));
    board.on_event(&started(300)).unwrap();
    let start = &messages(&board.path)[1];
    // Step 301 as a varint in field 2; a session log with status 1 in field 7.
    assert!(holds(start, &[0x10, 0xad, 0x02]) && holds(start, &[0x3a, 0x02, 0x08, 0x01]));
}

#[test]
fn events_after_a_clock_was_set_back_are_no_earlier_than_those_before() {
    let folder = tempfile::tempdir().unwrap();
    let mut board = TensorBoard::create(folder.path()).unwrap();
    board.on_event(&Event::Step(&step(1))).unwrap();
    set_back(7200, || board.on_event(&Event::Step(&step(2))).unwrap());
    board.on_event(&Event::Step(&step(3))).unwrap();
    let file = fs::read_dir(folder.path()).unwrap().next().unwrap();
    let times: Vec<f64> = messages(&file.unwrap().path())
        .iter()
        .map(|message| f64::from_le_bytes(message[1..9].try_into().unwrap()))
        .collect();
    assert_eq!(times.len(), 4);
    assert!(times.is_sorted() && times[0] > 1e9, "{times:?}");
}
