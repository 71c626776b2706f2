//! Which run configs must exist: each belongs to an example, and what can be run can be smoke-run.

use std::path::{Path, PathBuf};

use super::paths::slashed;

pub(super) fn faults(files: &[PathBuf], examples: &[String]) -> Vec<String> {
    let configs: Vec<String> = files
        .iter()
        .filter(|path| path.starts_with("configs") && path.extension() == Some("toml".as_ref()))
        .map(|path| slashed(path))
        .collect();
    let mut faults = Vec::new();
    for config in &configs {
        let stem = Path::new(config)
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy();
        if !examples.iter().any(|example| is_variant(&stem, example)) {
            faults.push(format!(
                "{config}: no example is called `{stem}`; name it after one, as NAME.toml or NAME_variant.toml"
            ));
        }
    }
    for example in examples {
        let (full, smoke) = (
            format!("configs/{example}.toml"),
            format!("configs/smoke/{example}.toml"),
        );
        let (has_full, has_smoke) = (configs.contains(&full), configs.contains(&smoke));
        if has_full && !has_smoke {
            faults.push(format!("{full}: its 30-second form {smoke} is missing"));
        } else if has_smoke && !has_full {
            faults.push(format!("{smoke}: its full form {full} is missing"));
        }
    }
    faults
}

fn is_variant(stem: &str, example: &str) -> bool {
    let rest = stem.strip_prefix(example);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(configs: &[&str]) -> Vec<String> {
        let files: Vec<PathBuf> = configs.iter().map(PathBuf::from).collect();
        faults(&files, &["pretrain".to_owned(), "generate".to_owned()])
    }

    #[test]
    fn configs_of_examples_and_their_variants_pass() {
        let configs = [
            "configs/pretrain.toml",
            "configs/pretrain_gpu.toml",
            "configs/smoke/pretrain.toml",
        ];
        assert!(found(&configs).is_empty());
    }

    #[test]
    fn a_config_without_an_example_is_a_fault() {
        assert!(found(&["configs/pretraining.toml"])[0].contains("no example"));
    }

    #[test]
    fn full_and_smoke_form_need_each_other() {
        assert!(found(&["configs/pretrain.toml"])[0].contains("30-second form"));
        assert!(found(&["configs/smoke/pretrain.toml"])[0].contains("full form"));
    }
}
