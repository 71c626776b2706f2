//! What a bench measured: read from the line that it prints or from a baseline, put together over
//! rounds, written back.
//!
//! A line is JSON such as `{"bench": "train_step/b4_s256_d512_l6_v50257/adamw/f32/flex",
//! "median_seconds": 0.41, "tokens": 1024}`; programs print other lines beside.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Bench id to what was measured.
pub(crate) type Figures = BTreeMap<String, Figure>;

/// One bench's measurements, over all rounds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Figure {
    /// Each timed run; a median alone counts as one.
    pub(crate) seconds: Vec<f64>,
    pub(crate) tokens: Option<f64>,
    /// Floating-point operations of the matrix products of one run.
    pub(crate) flops: Option<f64>,
    /// Operations a second of the fastest matrix product found on the machine.
    pub(crate) product_peak: Option<f64>,
    /// The most memory that a process of the bench used.
    pub(crate) peak_memory_bytes: Option<f64>,
    /// The same step in other programs, by turns with ours; by program.
    pub(crate) peers: Figures,
}

/// The figure in a line that one of our benches, or a peer's script, prints.
pub(crate) fn printed(line: &str) -> Option<(String, Figure)> {
    let value: Value = serde_json::from_str(line.trim()).ok()?;
    Some((value["bench"].as_str()?.to_owned(), Figure::read(&value)?))
}

impl Figure {
    /// Reads a printed line or a row of a baseline.
    pub(crate) fn read(value: &Value) -> Option<Self> {
        let runs = |values: &Vec<Value>| values.iter().map(Value::as_f64).collect::<Option<_>>();
        let seconds = match value["step_seconds"].as_array() {
            Some(values) => runs(values)?,
            None => vec![value["median_seconds"].as_f64()?],
        };
        let peers = value["peers"].as_object().into_iter().flatten();
        Some(Self {
            seconds,
            tokens: value["tokens"].as_f64(),
            flops: value["flops"].as_f64(),
            product_peak: value["product_peak_flops_per_second"].as_f64(),
            peak_memory_bytes: value["peak_memory_bytes"].as_f64(),
            peers: peers
                .filter_map(|(name, row)| Some((name.clone(), Self::read(row)?)))
                .collect(),
        })
    }

    /// A row of a baseline.
    pub(crate) fn write(&self) -> Value {
        let mut row = json!({ "median_seconds": self.median(), "runs": self.seconds.len() });
        let known = [
            ("tokens", self.tokens),
            (
                "tokens_per_second",
                self.tokens_per_second().map(f64::round),
            ),
            ("flops", self.flops),
            ("product_peak_flops_per_second", self.product_peak),
            ("share_of_product_peak", self.share_of_product_peak()),
            ("peak_memory_bytes", self.peak_memory_bytes),
        ];
        for (key, value) in known {
            if let Some(value) = value {
                row[key] = json!(value);
            }
        }
        if !self.peers.is_empty() {
            let peers: Map<String, Value> = self
                .peers
                .iter()
                .map(|(name, figure)| (name.clone(), figure.write()))
                .collect();
            row["peers"] = Value::Object(peers);
        }
        row
    }

    /// Adds another round of the same bench: its runs beside these, the higher of each peak.
    pub(crate) fn merge(&mut self, round: Self) {
        let higher = |a: Option<f64>, b: Option<f64>| a.into_iter().chain(b).reduce(f64::max);
        self.seconds.extend(round.seconds);
        self.tokens = self.tokens.or(round.tokens);
        self.flops = self.flops.or(round.flops);
        self.product_peak = higher(self.product_peak, round.product_peak);
        self.peak_memory_bytes = higher(self.peak_memory_bytes, round.peak_memory_bytes);
        for (name, figure) in round.peers {
            self.peers.entry(name).or_default().merge(figure);
        }
    }

    /// The middle run; of an even number, the upper of the two.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn tokens_per_second(&self) -> Option<f64> {
        Some(self.tokens? / self.median())
    }

    pub(crate) fn share_of_product_peak(&self) -> Option<f64> {
        Some(self.flops? / self.median() / self.product_peak?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_figures_are_read_and_other_lines_ignored() {
        let line = r#"{"bench": "train/step", "median_seconds": 0.5, "tokens": 1024}"#;
        let figure = Figure {
            seconds: vec![0.5],
            tokens: Some(1024.0),
            ..Figure::default()
        };
        assert_eq!(printed(line), Some(("train/step".to_owned(), figure)));
        assert_eq!(printed("running 3 tests"), None);
        assert_eq!(printed(r#"{"bench": "no figure"}"#), None);
    }

    #[test]
    fn the_median_is_taken_over_the_runs_of_all_rounds() {
        let round = |seconds: &[f64], memory| Figure {
            seconds: seconds.to_vec(),
            peak_memory_bytes: Some(memory),
            ..Figure::default()
        };
        let mut figure = Figure::default();
        figure.merge(round(&[3.0, 1.0, 9.0], 5.0));
        figure.merge(round(&[2.0, 2.5], 4.0));
        assert_eq!(figure.median().to_bits(), 2.5_f64.to_bits());
        assert_eq!(figure.peak_memory_bytes, Some(5.0));
    }

    #[test]
    fn a_row_of_a_baseline_is_read_back_with_its_peers() {
        let peer = Figure {
            seconds: vec![4.0],
            ..Figure::default()
        };
        let figure = Figure {
            seconds: vec![2.0],
            tokens: Some(8.0),
            flops: Some(6.0),
            product_peak: Some(4.0),
            peak_memory_bytes: Some(100.0),
            peers: Figures::from([("torch".to_owned(), peer)]),
        };
        let row = figure.write();
        assert_eq!(row["tokens_per_second"], 4.0);
        assert_eq!(row["share_of_product_peak"], 0.75);
        assert_eq!(Figure::read(&row), Some(figure));
    }
}
