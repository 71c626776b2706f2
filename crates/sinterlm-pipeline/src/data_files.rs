//! The files of a run's text as the run found them, so that a resumed one can say what changed.
//! Whether the text changed is told by its fingerprint alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde_json::{Value, json};
use sinterlm_data::SourceConfig;

/// Size and time of change, in seconds since 1970, of each local file of a source.
pub(crate) fn data_files(source: &SourceConfig) -> BTreeMap<String, Value> {
    let mut files = BTreeMap::new();
    if let SourceConfig::Files { train, valid } = source {
        for path in train.iter().chain(valid) {
            collect(path, &mut files);
        }
    }
    files
}

fn collect(path: &Path, files: &mut BTreeMap<String, Value>) {
    if let Ok(entries) = fs::read_dir(path) {
        for entry in entries.flatten() {
            collect(&entry.path(), files);
        }
    } else if let Ok(metadata) = fs::metadata(path) {
        let modified = metadata.modified().ok();
        let seconds =
            modified.and_then(|time| Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs()));
        let fact = json!({"bytes": metadata.len(), "modified": seconds});
        files.insert(path.display().to_string(), fact);
    }
}

/// What is different between the files of the run's record and those of now, a line each.
pub(crate) fn changed_files(before: &Value, now: &BTreeMap<String, Value>) -> Vec<String> {
    let none = serde_json::Map::new();
    let before = before.as_object().unwrap_or(&none);
    let mut lines: Vec<String> = before
        .iter()
        .filter_map(|(path, old)| {
            let what = match now.get(path) {
                None => "is gone".to_owned(),
                Some(new) if new["bytes"] != old["bytes"] => {
                    format!("has {} bytes, had {}", new["bytes"], old["bytes"])
                }
                Some(new) if new != old => "was written to".to_owned(),
                Some(_) => return None,
            };
            Some(format!("{path}: {what}"))
        })
        .collect();
    let new = now.keys().filter(|path| !before.contains_key(*path));
    lines.extend(new.map(|path| format!("{path}: is new")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_that_changed_is_told_with_how() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        for name in ["same", "grown", "gone"] {
            write(name, "text");
        }
        let source = SourceConfig::Files {
            train: vec![folder.path().to_owned()],
            valid: Vec::new(),
        };
        let before = json!(data_files(&source));
        assert!(changed_files(&before, &data_files(&source)).is_empty());
        write("grown", "more text");
        write("new", "text");
        fs::remove_file(folder.path().join("gone")).unwrap();
        let lines = changed_files(&before, &data_files(&source));
        let path = |name: &str| folder.path().join(name).display().to_string();
        assert_eq!(
            lines,
            [
                format!("{}: is gone", path("gone")),
                format!("{}: has 9 bytes, had 4", path("grown")),
                format!("{}: is new", path("new")),
            ]
        );
    }
}
