//! The content of a run directory, as far as it can be read.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{
    Section, Summary,
    curves::Curves,
    samples::{SampleSection, read_sections},
};

/// What a run directory holds.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) name: String,
    pub(super) config: Option<String>,
    pub(super) provenance: Option<Value>,
    pub(super) summary: Option<Summary>,
    pub(super) curves: Curves,
    pub(super) samples: Vec<SampleSection>,
    pub(super) sections: Vec<Section>,
}

impl Content {
    pub(super) fn read(run: &Path) -> Self {
        let text = |name: &str| fs::read_to_string(run.join(name)).ok();
        let json = |name: &str| serde_json::from_str(&text(name)?).ok();
        let curves = Curves::read(&run.join("metrics.jsonl"));
        let full = fs::canonicalize(run).unwrap_or_else(|_| run.to_path_buf());
        // A summary of fewer steps was written before the run was lengthened.
        let summary = json("summary.json").and_then(|value| serde_json::from_value(value).ok());
        let summary = summary.filter(|s: &Summary| s.steps.is_none_or(|at| at >= curves.steps));
        Self {
            name: full
                .file_name()
                .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
            config: text("config.toml"),
            provenance: json("run.json"),
            summary,
            curves,
            samples: text("samples.md").map_or_else(Vec::new, |text| read_sections(&text)),
            sections: Section::read_all(run),
        }
    }
}
