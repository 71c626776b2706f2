//! The report's HTML, section by section.

use std::{collections::BTreeSet, fmt::Write as _, time::Duration};

use serde_json::Value;

use super::{
    chart::{Chart, MAX_POINTS, Series},
    content::Content,
    html::escaped,
};
use crate::{
    curves::{short, thinned},
    readable::{duration, thousands},
};

/// Title, unit, and curves of the charts that stand first: figure, name, class.
type Known = (&'static str, &'static str, &'static [[&'static str; 3]]);

const KNOWN: &[Known] = &[
    (
        "Loss",
        "nats per token",
        &[
            ["train/loss", "training", "train"],
            ["valid/loss", "validation", "valid"],
        ],
    ),
    ("Learning rate", "", &[["train/lr", "", "other"]]),
    (
        "Gradient norm",
        "before clipping",
        &[["train/grad_norm", "", "other"]],
    ),
    (
        "Speed",
        "tokens per second",
        &[["train/tokens_per_second", "", "other"]],
    ),
    ("Memory", "MiB resident", &[[RESIDENT, "", "other"]]),
];

/// The figure that is logged in bytes and drawn in MiB.
const RESIDENT: &str = "memory/resident_bytes";

/// What [`figures`] shows the last value of.
const SHOWN_ABOVE: [&str; 6] = [
    "train/loss",
    "train/tokens_per_second",
    "valid/loss",
    "valid/perplexity",
    "valid/bits_per_byte",
    "valid/perplexity_per_gpt2_token",
];

const MIB: f64 = (1u64 << 20) as f64;

pub(super) fn render(report: &Content) -> String {
    let name = escaped(&report.name);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{name}</title><style>\n{}</style></head>\n<body><main>\n",
        include_str!("style.css")
    );
    let parts = [
        head, figures, gates, charts, samples, sections, config, provenance,
    ];
    for section in parts {
        section(report, &mut page);
        page.push('\n');
    }
    page.push_str(
        "<footer>Written by sinterlm. Figures are explained in docs/metrics.md.</footer>\n",
    );
    page.push_str("</main></body></html>\n");
    page
}

fn head(report: &Content, page: &mut String) {
    let fact = |key: &str| {
        report
            .provenance
            .as_ref()
            .and_then(|facts| facts[key].as_str())
    };
    let badge = if report.summary.is_some() {
        "<span class=\"badge good\">finished</span>".to_owned()
    } else {
        let steps = thousands(report.curves.steps);
        let (class, how) = match fact("status") {
            Some("failed") => (
                "bad",
                format!("failed: {}", fact("error").unwrap_or_default()),
            ),
            _ => ("wait", "not finished".to_owned()),
        };
        let how = escaped(&how);
        format!("<span class=\"badge {class}\">{how}, last logged step {steps}</span>")
    };
    let kind = report.summary.as_ref().map(|summary| summary.kind.as_str());
    let words = [kind, fact("device"), fact("started_utc")];
    let words: Vec<String> = words.into_iter().flatten().map(escaped).collect();
    let name = escaped(&report.name);
    put(
        page,
        format_args!(
            "<h1>{name}</h1><p class=\"under\">{badge} {}</p>",
            words.join(" · ")
        ),
    );
}

/// A figure, rounded according to its size.
fn figure(value: f64) -> String {
    let sign = if value < 0.0 { "-" } else { "" };
    match value.abs() {
        1e15.. => format!("{value:.3e}"),
        1000.0.. => format!("{sign}{}", thousands(value.abs().round() as u64)),
        100.0..1000.0 => short((value * 10.0).round() / 10.0),
        10.0..100.0 => short((value * 100.0).round() / 100.0),
        _ => short(value),
    }
}

fn size(bytes: u64) -> String {
    match bytes as f64 / MIB {
        mib if mib < 1024.0 => format!("{mib:.0} MiB"),
        mib => format!("{:.2} GiB", mib / 1024.0),
    }
}

/// The figures of the summary, or those of the last lines of the metrics.
fn figures(report: &Content, page: &mut String) {
    let last = |name: &str| report.curves.get(name).last().map(|point| point.value);
    let summary = report.summary.as_ref();
    let valid = summary.and_then(|summary| summary.valid.as_ref());
    let tokens = summary.and_then(|summary| summary.tokens);
    let of_valid = |own: Option<f64>, name: &str| own.or_else(|| last(name));
    let seconds = summary.and_then(|summary| summary.seconds);
    let seconds = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let peak = summary.and_then(|summary| summary.peak_memory_bytes);
    let speed = summary.and_then(|summary| summary.tokens_per_second);
    let number = |value: f64| thousands(value.round() as u64);
    let rows: [(&str, Option<String>); 10] = [
        (
            "validation loss, nats per token",
            of_valid(valid.map(|v| v.loss), "valid/loss").map(figure),
        ),
        (
            "perplexity",
            of_valid(valid.map(|v| v.perplexity), "valid/perplexity").map(figure),
        ),
        (
            "bits per byte",
            of_valid(valid.and_then(|v| v.bits_per_byte), "valid/bits_per_byte").map(figure),
        ),
        (
            "perplexity per GPT-2 token",
            of_valid(
                valid.and_then(|v| v.perplexity_per_gpt2_token),
                "valid/perplexity_per_gpt2_token",
            )
            .map(figure),
        ),
        ("training loss, last logged", last("train/loss").map(figure)),
        (
            "steps",
            Some(thousands(
                summary.and_then(|s| s.steps).unwrap_or(report.curves.steps),
            )),
        ),
        (
            "tokens",
            tokens
                .map(thousands)
                .or_else(|| Some(number(report.curves.get("train/loss").last()?.tokens))),
        ),
        ("time", seconds.map(duration)),
        (
            "tokens per second",
            speed
                .or_else(|| last("train/tokens_per_second"))
                .map(number),
        ),
        ("peak memory", peak.map(size)),
    ];
    page.push_str("<div class=\"figures\">");
    for (name, value) in rows {
        if let Some(value) = value {
            tile(page, name, &value);
        }
    }
    page.push_str("</div>");
    for (name, value) in [
        ("Test", summary.and_then(|s| s.test.as_ref())),
        ("Before", summary.and_then(|s| s.before.as_ref())),
        ("After", summary.and_then(|s| s.after.as_ref())),
    ] {
        if let Some(value) = value {
            put(page, format_args!("<h2>{name}</h2>"));
            facts(page, value);
        }
    }
}

fn gates(report: &Content, page: &mut String) {
    let Some(summary) = report
        .summary
        .as_ref()
        .filter(|summary| !summary.gates.is_empty())
    else {
        return;
    };
    page.push_str("<h2>Gates</h2><div class=\"card\"><table>");
    for gate in &summary.gates {
        let (class, word) = if gate.passed {
            ("good", "passed")
        } else {
            ("bad", "failed")
        };
        let (name, value, target) = (escaped(&gate.name), figure(gate.value), figure(gate.target));
        put(
            page,
            format_args!(
                "<tr><th>{name}</th><td>{value}</td><td>target {target}</td>\
                 <td><span class=\"badge {class}\">{word}</span></td></tr>"
            ),
        );
    }
    page.push_str("</table></div>");
}

/// A value and its name.
fn tile(page: &mut String, name: &str, value: &str) {
    let name = escaped(name);
    put(
        page,
        format_args!("<div><b>{value}</b><span>{name}</span></div>"),
    );
}

/// The known charts, then one for each further figure. One that has a single value is a tile.
fn charts(report: &Content, page: &mut String) {
    let points = |figure: &str| thinned(report.curves.get(figure), MAX_POINTS);
    let (mut tiles, mut drawn) = (String::new(), String::new());
    let mut rest: BTreeSet<&str> = report.curves.names().collect();
    for (title, unit, curves) in KNOWN {
        for [figure, ..] in *curves {
            rest.remove(figure);
        }
        let count = |[figure, ..]: &[&str; 3]| report.curves.get(figure).len();
        if curves.iter().all(|curve| count(curve) <= 1) {
            for [figure, ..] in *curves {
                let name = [&*title.to_lowercase(), unit].join(", ");
                single(report, figure, name.trim_end_matches(", "), &mut tiles);
            }
            continue;
        }
        let series = curves.iter().map(|[figure, name, class]| {
            let mut points = points(figure);
            if *figure == RESIDENT {
                for point in &mut points {
                    point.mean /= MIB;
                    point.low /= MIB;
                    point.high /= MIB;
                }
            }
            Series {
                name,
                class,
                points,
            }
        });
        let is_loss = *title == "Loss";
        let chart = Chart {
            title,
            unit,
            series: series.collect(),
            from_zero: !is_loss,
            is_wide: is_loss,
        };
        drawn.extend(chart.render());
    }
    for figure in rest {
        if report.curves.get(figure).len() == 1 {
            single(report, figure, figure, &mut tiles);
            continue;
        }
        let class = if figure.starts_with("valid/") {
            "valid"
        } else {
            "other"
        };
        let series = Series {
            name: "",
            class,
            points: points(figure),
        };
        let chart = Chart {
            title: figure,
            unit: "",
            series: vec![series],
            from_zero: false,
            is_wide: false,
        };
        drawn.extend(chart.render());
    }
    if report.curves.names().next().is_none() {
        page.push_str("<h2>Curves</h2><p class=\"none\">No metrics were logged.</p>");
    }
    if !tiles.is_empty() {
        let heading = "<h2>Figures with a single value</h2>";
        put(
            page,
            format_args!("{heading}<div class=\"figures\">{tiles}</div>"),
        );
    }
    if !drawn.is_empty() {
        put(
            page,
            format_args!("<h2>Curves</h2><div class=\"charts\">{drawn}</div>"),
        );
    }
}

/// The tile of a figure's only value, if it has one and [`figures`] does not show it.
fn single(report: &Content, figure_name: &str, name: &str, tiles: &mut String) {
    let [point] = report.curves.get(figure_name) else {
        return;
    };
    if SHOWN_ABOVE.contains(&figure_name) {
        return;
    }
    if figure_name == RESIDENT {
        tile(tiles, "memory, resident", &size(point.value as u64));
    } else {
        tile(tiles, name, &figure(point.value));
    }
}

fn samples(report: &Content, page: &mut String) {
    page.push_str("<h2>Samples</h2>");
    if report.samples.is_empty() {
        page.push_str("<p class=\"none\">The model wrote no samples.</p>");
    }
    for (age, section) in report.samples.iter().rev().enumerate() {
        let open = if age == 0 { " open" } else { "" };
        let heading = escaped(&section.heading);
        put(
            page,
            format_args!("<details class=\"card\"{open}><summary>{heading}</summary>"),
        );
        for sample in &section.samples {
            let (prompt, text) = (escaped(&sample.prompt), escaped(&sample.text));
            put(
                page,
                format_args!("<div class=\"text\"><b>{prompt}</b>{text}</div>"),
            );
        }
        page.push_str("</details>");
    }
}

/// What the program itself adds.
fn sections(report: &Content, page: &mut String) {
    for section in &report.sections {
        let (title, text) = (escaped(&section.title), escaped(&section.text));
        put(page, format_args!("<h2>{title}</h2><div class=\"card\">"));
        if !text.is_empty() {
            put(page, format_args!("<div class=\"text\">{text}</div>"));
        }
        if !section.columns.is_empty() {
            page.push_str("<table class=\"columns\"><tr>");
            for name in &section.columns {
                put(page, format_args!("<th>{}</th>", escaped(name)));
            }
            page.push_str("</tr>");
            for row in &section.rows {
                page.push_str("<tr>");
                for cell in row {
                    put(page, format_args!("<td>{}</td>", escaped(cell)));
                }
                page.push_str("</tr>");
            }
            page.push_str("</table>");
        }
        page.push_str("</div>");
    }
}

fn config(report: &Content, page: &mut String) {
    page.push_str("<h2>Config</h2>");
    match &report.config {
        Some(text) => put(
            page,
            format_args!(
                "<details class=\"card\"><summary>config.toml: running it again repeats the run\
                 </summary><pre>{}</pre></details>",
                escaped(text)
            ),
        ),
        None => page.push_str("<p class=\"none\">There is no config.toml.</p>"),
    }
}

fn provenance(report: &Content, page: &mut String) {
    page.push_str("<h2>Provenance</h2>");
    match &report.provenance {
        Some(value) => facts(page, value),
        None => page.push_str("<p class=\"none\">There is no run.json.</p>"),
    }
}

/// A table of an object's fields.
fn facts(page: &mut String, value: &Value) {
    page.push_str("<div class=\"card\"><table>");
    for (key, value) in value.as_object().into_iter().flatten() {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Array(words) if words.iter().all(Value::is_string) => {
                let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
                words.join(" ")
            }
            other => other.to_string(),
        };
        let (key, text) = (escaped(key), escaped(&text));
        put(
            page,
            format_args!("<tr><th>{key}</th><td><code>{text}</code></td></tr>"),
        );
    }
    page.push_str("</table></div>");
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments)
        .expect("writing to a String cannot fail");
}
