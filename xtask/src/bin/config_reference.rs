//! Prints `docs/config.md`: every key of every recipe's config. `cargo xtask docs` calls it.
#![allow(
    clippy::print_stdout,
    reason = "a command-line tool prints its results"
)]

use sinterlm::recipes::{ClassifyConfig, InstructConfig, PretrainConfig};
use sinterlm_config::{KeyDoc, describe};

fn main() {
    print!("{}", page(&recipes()));
}

/// One pipeline's config.
struct Recipe {
    /// The example that reads it, which names `configs/NAME.toml`.
    example: &'static str,
    keys: Vec<KeyDoc>,
}

/// The configs of the facade's recipes, in the order of the pipelines.
fn recipes() -> Vec<Recipe> {
    let recipe = |example, keys| Recipe { example, keys };
    vec![
        recipe("pretrain_tinystories", describe::<PretrainConfig>()),
        recipe("finetune_classifier", describe::<ClassifyConfig>()),
        recipe("finetune_instructions", describe::<InstructConfig>()),
    ]
}

fn page(recipes: &[Recipe]) -> String {
    let mut page = String::from(
        "# Config keys\n\nMade by `cargo xtask docs` from the config types; do not edit.\n\
         A key without a default must be given, unless it is optional. Any key can be overridden \
         with `--set path.to.key=value`.\n",
    );
    let mut shown: Vec<&KeyDoc> = Vec::new();
    for recipe in recipes {
        let example = recipe.example;
        page.push_str(&format!(
            "\n## {example}\n\n`configs/{example}.toml`, `configs/smoke/{example}.toml`\n\n\
             | key | value | default | meaning |\n| --- | --- | --- | --- |\n"
        ));
        let is_new = |key: &&KeyDoc| !shown.contains(key);
        let (new, same): (Vec<&KeyDoc>, Vec<&KeyDoc>) = recipe.keys.iter().partition(is_new);
        for key in &new {
            let default = match &key.default {
                Some(default) => format!("`{default}`"),
                None if key.required => "required".to_owned(),
                None => "-".to_owned(),
            };
            let cells = [&format!("`{}`", key.path), &key.kind, &default, &key.doc];
            page.push_str(&format!(
                "| {} |\n",
                cells.map(|cell| cell_text(cell)).join(" | ")
            ));
        }
        // Most tables are those of the recipes above.
        let tables = same.iter().filter(|key| !key.path.contains('.'));
        let tables: Vec<String> = tables.map(|key| format!("`{}`", key.path)).collect();
        if !tables.is_empty() {
            let tables = tables.join(", ");
            page.push_str(&format!(
                "\nAs above, with keys that are not listed here: {tables}.\n"
            ));
        }
        shown.extend(&recipe.keys);
    }
    page
}

/// A cell holds one line, and no bar of its own.
fn cell_text(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}
