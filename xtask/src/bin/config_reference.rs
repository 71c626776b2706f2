//! Prints `docs/config.md`: every key of every recipe's config. `cargo xtask docs` calls it.
#![allow(
    clippy::print_stdout,
    reason = "a command-line tool prints its results"
)]

use sinterlm::recipes::PretrainConfig;
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
    vec![Recipe {
        example: "pretrain_tinystories",
        keys: describe::<PretrainConfig>(),
    }]
}

fn page(recipes: &[Recipe]) -> String {
    let mut page = String::from(
        "# Config keys\n\nMade by `cargo xtask docs` from the config types; do not edit.\n\
         A key without a default must be given, unless it is optional. Any key can be overridden \
         with `--set path.to.key=value`.\n",
    );
    for recipe in recipes {
        let example = recipe.example;
        page.push_str(&format!(
            "\n## {example}\n\n`configs/{example}.toml`, `configs/smoke/{example}.toml`\n\n\
             | key | value | default | meaning |\n| --- | --- | --- | --- |\n"
        ));
        for key in &recipe.keys {
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
