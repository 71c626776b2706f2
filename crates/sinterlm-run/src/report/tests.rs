//! The page as text. How it looks is checked in a browser by `cargo xtask interop`.

use std::fs;

use super::*;
use crate::{
    EvalRecord, Event, Gate, MetricsFile, Observer, Provenance, RunEnd, SampleFile, SampleText,
    Section, StepRecord, Summary, ValidFigures,
};

fn log(run: &Path, steps: u64) {
    let mut metrics = MetricsFile::open(run.join("metrics.jsonl")).unwrap();
    for step in 1..=steps {
        let record = StepRecord {
            step,
            tokens: 512 * step,
            loss: 2.0 + 5.0 / (1.0 + step as f64 / 30.0) + 0.1 * (step % 5) as f64,
            lr: 1e-3,
            grad_norm: if step == 40 { 90.0 } else { 0.7 },
            tokens_per_second: 8000.0,
            extra: vec![
                ("memory/resident_bytes".into(), 5e8),
                ("train/<b>odd</b>".into(), 1.0),
            ],
            log: true,
        };
        metrics.on_event(&Event::Step(&record)).unwrap();
    }
    let record = EvalRecord {
        step: steps,
        tokens: 512 * steps,
        figures: vec![
            ("valid/loss".into(), 2.25),
            ("valid/perplexity".into(), 9.4877),
        ],
    };
    metrics.on_event(&Event::Evaluated(&record)).unwrap();
}

fn page(run: &Path) -> String {
    fs::read_to_string(write_report(run).unwrap()).unwrap()
}

#[test]
fn a_finished_run_shows_figures_gates_curves_samples_config_and_provenance() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path();
    log(run, 50);
    fs::write(run.join("config.toml"), "seed = 1 # <&>\n").unwrap();
    fs::write(
        run.join("run.json"),
        r#"{"device":"flex","command_line":["a","--b"]}"#,
    )
    .unwrap();
    let samples = [SampleText {
        prompt: "Once".into(),
        text: " upon</script><script>alert(1)</script>\n\n\u{1b}[0mend".into(),
    }];
    let sampled = Event::Sampled {
        step: 50,
        tokens: 25_600,
        samples: &samples,
    };
    SampleFile::new(run.join("samples.md"))
        .on_event(&sampled)
        .unwrap();
    let mut summary = Summary::new("pretrain");
    (summary.steps, summary.peak_memory_bytes) = (Some(50), Some(1 << 30));
    summary.valid = Some(ValidFigures {
        loss: 2.25,
        ..ValidFigures::default()
    });
    summary.gates = vec![
        Gate::at_most("perplexity", 41.5, 40.0),
        Gate::at_least("accuracy", 0.9, 0.5),
    ];
    summary.write(run.join("summary.json")).unwrap();

    let page = page(run);
    for part in [
        ">finished</span>",
        "<b>2.25</b><span>validation loss",
        "<b>1.00 GiB</b>",
        "<td>41.5</td><td>target 40</td><td><span class=\"badge bad\">failed",
        "<span class=\"badge good\">passed",
        "aria-label=\"Loss\"",
        "aria-label=\"Memory\"",
        "aria-label=\"train/&lt;b&gt;odd&lt;/b&gt;\"",
        "Step 50, 25,600 tokens",
        "<b>Once</b> upon&lt;/script&gt;&lt;script&gt;alert(1)",
        "\u{fffd}[0mend",
        "seed = 1 # &lt;&amp;&gt;",
        "<code>a --b</code>",
    ] {
        assert!(page.contains(part), "no {part} in:\n{page}");
    }
    // Nothing is run or loaded.
    for sign in [
        "<script", "<link", "<img", "http:", "https:", "url(", "@import",
    ] {
        assert!(!page.contains(sign), "{sign}");
    }
}

#[test]
fn an_interrupted_or_empty_run_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let empty = page(dir.path());
    for part in ["No metrics", "no samples", "no config.toml", "no run.json"] {
        assert!(empty.contains(part), "{part}");
    }
    log(dir.path(), 7);
    let mut stale = Summary::new("pretrain");
    stale.steps = Some(5); // of the run before it was made longer
    stale.write(dir.path().join("summary.json")).unwrap();
    let page = page(dir.path());
    assert!(page.contains("not finished, last logged step 7") && page.contains("<svg"));
}

#[test]
fn a_failed_run_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let end = RunEnd::Failed("step 8: <nan>".into());
    let record = dir.path().join("run.json");
    Provenance::collect().finish(record, &end).unwrap();
    log(dir.path(), 7);
    let badge = "<span class=\"badge bad\">failed: step 8: &lt;nan&gt;, last logged step 7</span>";
    assert!(page(dir.path()).contains(badge));
}

/// The page of a run with these lines of metrics.
fn page_of(lines: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("metrics.jsonl"), lines.join("\n")).unwrap();
    page(dir.path())
}

#[test]
fn a_figure_with_a_single_value_is_a_tile_and_no_chart() {
    let line = r#"{"step":9,"tokens":90,"train/loss":2.5,"train/lr":0.001,"train/grad_norm":0.75,"memory/resident_bytes":1048576,"valid/loss":2.25,"valid/perplexity":9.5,"eval/<x>":-1234.4,"eval/count":0,"eval/big":3e40}"#;
    let once = page_of(&[line]);
    for tile in [
        "<b>0.001</b><span>learning rate</span>",
        "<b>0.75</b><span>gradient norm, before clipping</span>",
        "<b>1 MiB</b><span>memory, resident</span>",
        "<b>-1,234</b><span>eval/&lt;x&gt;</span>",
        "<b>0</b><span>eval/count</span>",
        "<b>3.000e40</b><span>eval/big</span>",
        "<b>2.25</b><span>validation loss, nats per token</span>",
    ] {
        assert!(once.contains(tile), "no {tile} in:\n{once}");
    }
    assert!(!once.contains("<svg") && !once.contains("No metrics"));
    assert_eq!(
        once.matches("<b>9.5</b>").count(),
        1,
        "the summary shows it"
    );
    // Two values of one figure are a curve; the others stay tiles.
    let twice = page_of(&[line, r#"{"step":10,"tokens":100,"train/loss":2.25}"#]);
    assert_eq!(twice.matches("<svg").count(), 1);
    assert!(twice.contains("aria-label=\"Loss\"") && twice.contains("eval/count</span>"));
}

/// The labels at the values' axis of a chart.
fn labels(page: &str) -> Vec<&str> {
    let texts = page.split("<text class=\"end\"").skip(1);
    let inner = |text: &str| Some(text.split_once('>')?.1.split_once('<')?.0.len());
    texts
        .filter_map(|text| {
            let start = text.find('>')? + 1;
            Some(&text[start..start + inner(text)?])
        })
        .collect()
}

#[test]
fn axes_fit_values_that_stay_the_same_and_odd_ones() {
    let of = |values: &[&str]| {
        let lines: Vec<_> = (1..)
            .zip(values)
            .map(|(at, value)| format!(r#"{{"step":{at},"tokens":{at}00,"a/b":{value}}}"#))
            .collect();
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        let page = page_of(&lines);
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
        labels(&page)
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(of(&["0", "0", "0"]), ["0", "0.5", "1"]);
    assert_eq!(of(&["20", "20"]), ["0", "10", "20"]);
    assert_eq!(of(&["0", "3", "1"]), ["0", "1", "2", "3"]);
    for values in [
        ["1e300", "-1e300"],
        ["1e-310", "2e-310"],
        ["1e-14", "9e-14"],
        ["1e18", "1.000001e18"],
        ["2", "2.0000100"],
        ["-5", "-5"],
        ["1e308", "3"],
    ] {
        let labels = of(&[values[0], values[1], "null"]);
        let mut distinct = labels.clone();
        distinct.dedup();
        assert!(
            distinct == labels && labels.iter().all(|label| label.len() < 16),
            "{labels:?}"
        );
        assert!(
            values[0] == "1e308" || labels.len() > 1,
            "{values:?} {labels:?}"
        );
    }
}

#[test]
fn values_at_no_tokens_have_an_axis() {
    let line = r#"{"step":0,"tokens":0,"a/b":1}"#;
    let page = page_of(&[line, line]);
    assert!(
        page.contains(">1</text>") && !page.contains("e-10<"),
        "{page}"
    );
}

#[test]
fn a_hundred_thousand_lines_make_no_large_page() {
    let dir = tempfile::tempdir().unwrap();
    let line = r#""tokens":1000,"train/loss":3.25,"train/lr":0.001,"train/grad_norm":0.5}"#;
    let lines: Vec<String> = (0..100_000)
        .map(|step| format!(r#"{{"step":{step},{line}"#))
        .collect();
    fs::write(dir.path().join("metrics.jsonl"), lines.join("\n")).unwrap();
    let page = page(dir.path());
    assert!(
        page.contains("<polyline") && page.len() < 100_000,
        "{} bytes",
        page.len()
    );
}

#[test]
fn sections_of_the_program_stand_in_the_order_of_their_files() {
    let dir = tempfile::tempdir().unwrap();
    let section = |title: &str, columns: &[&str], rows: Vec<Vec<String>>| Section {
        title: title.into(),
        text: "two\nlines <b>".into(),
        columns: columns.iter().map(|name| (*name).into()).collect(),
        rows,
    };
    let later = section("Later", &[], vec![]);
    let rows = vec![vec!["<script>".into(), "12".into()]];
    let data = section("Data & more", &["label", "records"], rows);
    Section::save(dir.path(), "later", &[later]).unwrap();
    Section::save(dir.path(), "data", &[data.clone(), data]).unwrap();
    fs::write(dir.path().join("sections/broken.json"), "[{").unwrap();
    let page = page(dir.path());
    assert_eq!(page.matches("<h2>Data &amp; more</h2>").count(), 2);
    assert!(page.contains("two\nlines &lt;b&gt;"));
    assert!(page.contains("<th>records</th></tr><tr><td>&lt;script&gt;</td><td>12</td></tr>"));
    assert!(page.rfind("Data &amp;") < page.find("<h2>Later</h2>"));
}
