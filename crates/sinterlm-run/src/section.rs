//! Sections that a program adds to a run's report: a heading, some text, a table.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::RunError;
use crate::json_file::write_json;

/// Folder of a run directory with the sections of its report, a file for each writer.
const FOLDER: &str = "sections";

/// A section of a run's report, as plain text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// Heading.
    pub title: String,
    /// Text in front of the table, which keeps its lines; may be empty.
    pub text: String,
    /// Headings of the table's columns; empty for a section without a table.
    pub columns: Vec<String>,
    /// Cells, row by row.
    pub rows: Vec<Vec<String>>,
}

impl Section {
    /// Saves sections as `sections/NAME.json` in a run directory, in place of those that stood there.
    /// The report shows the files by their names, each one's sections in their order.
    ///
    /// # Errors
    /// [`RunError::Io`] or [`RunError::DiskFull`] if they cannot be written.
    ///
    /// # Example
    /// ```
    /// use sinterlm_run::Section;
    ///
    /// let run = tempfile::tempdir()?;
    /// let rows = vec![vec!["ham".into(), "4825".into()]];
    /// let columns = vec!["label".into(), "records".into()];
    /// let labels = Section { title: "Labels".into(), text: String::new(), columns, rows };
    /// Section::save(run.path(), "data", &[labels])?;
    /// assert!(run.path().join("sections/data.json").exists());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn save(run: &Path, name: &str, sections: &[Self]) -> Result<(), RunError> {
        let folder = run.join(FOLDER);
        std::fs::create_dir_all(&folder)
            .map_err(|source| RunError::io(&folder, "create", source))?;
        write_json(&folder.join(format!("{name}.json")), &sections)
    }

    /// All sections of a run directory. Files that are none are passed over.
    #[cfg(feature = "report")]
    pub(crate) fn read_all(run: &Path) -> Vec<Self> {
        let entries = std::fs::read_dir(run.join(FOLDER)).into_iter().flatten();
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        });
        paths.sort_unstable();
        let texts = paths
            .iter()
            .filter_map(|path| std::fs::read_to_string(path).ok());
        let files = texts.filter_map(|text| serde_json::from_str::<Vec<Self>>(&text).ok());
        files.flatten().collect()
    }
}
