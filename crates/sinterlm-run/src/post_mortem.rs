//! What is known of a step whose loss or gradient is not finite: plain data, its file and its table.
//! The trainer finds it out.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::{Serialize, Serializer};

use sinterlm_formats::write_file_atomic;

use crate::RunError;

/// One step looked at closely: the first micro-batch with a fault, or the last one where all is well.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PostMortem {
    /// The optimizer step, counted from 1.
    pub step: u64,
    /// Its micro-batch that is described here, counted from 0.
    pub micro_batch: u64,
    /// What is not finite, "the loss" or "the gradient of PATH"; empty where all is finite.
    pub fault: String,
    /// The first activation of the forward pass that is not finite, with its rows.
    pub first_activation: Option<TensorFacts>,
    /// The micro-batch's share of the loss of the step, nats.
    pub loss: f64,
    /// Number format of the matrix products.
    pub precision: String,
    /// What the loss was multiplied by before the backward pass; the gradients below are scaled by
    /// it.
    pub loss_scale: f64,
    /// The newest checkpoint on the disk; it is from before the step.
    #[serde(serialize_with = "as_text")]
    pub last_checkpoint: Option<PathBuf>,
    /// The command that computes the step again.
    pub replay: Option<String>,
    /// Parameters with values that are not finite.
    pub weights: Vec<TensorFacts>,
    /// Named activations in the order of the forward pass, the loss last.
    pub activations: Vec<TensorFacts>,
    /// Gradients by parameter.
    pub gradients: Vec<TensorFacts>,
    /// Rows of the micro-batch.
    pub rows: Vec<RowFacts>,
}

/// A path as JSON can hold it: bytes that are no text become marks.
#[allow(clippy::ref_option, reason = "serde hands it so")]
fn as_text<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref()
        .map(|path| path.to_string_lossy())
        .serialize(serializer)
}

/// A tensor in a few figures.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct TensorFacts {
    /// Path of the parameter or of the part whose output it is.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Number format it is stored in.
    pub dtype: String,
    /// Smallest finite value; not a number where there is none.
    pub min: f64,
    /// Largest finite value; not a number where there is none.
    pub max: f64,
    /// Values that are infinite or not a number.
    pub not_finite: usize,
    /// Rows of the batch with such values, each with the first position that has one; for
    /// activations.
    pub rows: Vec<[usize; 2]>,
}

/// A row of a batch and where it comes from.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RowFacts {
    /// Row of the micro-batch, from 0.
    pub row: usize,
    /// Place of its first token in the training text's stream of tokens.
    pub first_token: Option<u64>,
    /// Numbers of the documents with its first and last token, from 0.
    pub documents: Option<[u64; 2]>,
    /// Tokens that carry loss.
    pub trained_tokens: usize,
    /// Input ids.
    pub ids: Vec<u32>,
    /// Their text, where a tokenizer is at hand.
    pub text: Option<String>,
}

impl PostMortem {
    /// Replaces the file at `path` by this as JSON, with one line for each tensor and row.
    ///
    /// # Errors
    /// [`RunError::Io`] or [`RunError::DiskFull`].
    pub fn write(&self, path: &Path) -> Result<(), RunError> {
        let text = self.to_json();
        Ok(write_file_atomic(path, |out| {
            out.write_all(text.as_bytes())
        })?)
    }

    fn to_json(&self) -> String {
        let serde_json::Value::Object(fields) =
            serde_json::to_value(self).expect("plain data is always JSON")
        else {
            unreachable!("a struct is an object");
        };
        let field = |(name, value): (String, serde_json::Value)| match value {
            serde_json::Value::Array(items) if !items.is_empty() => {
                let lines: Vec<String> = items.iter().map(|item| format!("  {item}")).collect();
                format!(" \"{name}\": [\n{}\n ]", lines.join(",\n"))
            }
            value => format!(" \"{name}\": {value}"),
        };
        let fields: Vec<String> = fields.into_iter().map(field).collect();
        format!("{{\n{}\n}}\n", fields.join(",\n"))
    }
}

impl fmt::Display for PostMortem {
    /// Prints a table for terminals; only the file holds the rows of the batch.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = match self.fault.as_str() {
            "" => "all values are finite".to_owned(),
            fault => format!("{fault} is not finite"),
        };
        writeln!(
            f,
            "step {}, micro-batch {}: {fault}; loss {:.6}, products in {}, loss scale {}",
            self.step, self.micro_batch, self.loss, self.precision, self.loss_scale
        )?;
        for (title, tensors) in [
            ("weights that are not finite", &self.weights),
            ("activations", &self.activations),
            ("gradients", &self.gradients),
        ] {
            if tensors.is_empty() {
                continue;
            }
            writeln!(f, "{title:<32} {:>13} {:>13}  not finite", "min", "max")?;
            for tensor in tensors {
                writeln!(f, "  {tensor}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for TensorFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<30} {:>13.5e} {:>13.5e}  {}",
            self.name, self.min, self.max, self.not_finite
        )?;
        for [row, position] in &self.rows {
            write!(f, ", row {row} from position {position}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn example() -> PostMortem {
        let bad = TensorFacts {
            name: "blocks.1.mlp".into(),
            shape: vec![2, 8, 4],
            dtype: "f32".into(),
            min: f64::NAN,
            max: f64::NAN,
            not_finite: 12,
            rows: vec![[1, 3]],
        };
        PostMortem {
            step: 7,
            fault: "the loss".into(),
            first_activation: Some(bad.clone()),
            loss: f64::INFINITY,
            activations: vec![bad.clone(), bad],
            rows: vec![RowFacts {
                ids: vec![1, 2],
                text: Some("a \"quote\"".into()),
                ..RowFacts::default()
            }],
            ..PostMortem::default()
        }
    }

    #[test]
    fn the_file_is_json_with_a_line_for_each_tensor_and_row() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("post-mortem.json");
        example().write(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["step"], 7);
        assert!(json["loss"].is_null(), "infinite");
        assert_eq!(json["first_activation"]["rows"][0][1], 3);
        assert_eq!(json["rows"][0]["text"], "a \"quote\"");
        assert_eq!(json["activations"].as_array().unwrap().len(), 2);
        let lines = text.lines().filter(|line| line.contains("blocks.1.mlp"));
        assert_eq!(lines.count(), 3, "{text}");
    }

    #[test]
    fn the_table_names_the_rows_and_positions() {
        let table = example().to_string();
        assert!(table.starts_with("step 7, micro-batch 0: the loss is not finite"));
        assert!(table.contains("12, row 1 from position 3"), "{table}");
        let fine = PostMortem::default().to_string();
        assert!(fine.contains("all values are finite"), "{fine}");
    }
}
