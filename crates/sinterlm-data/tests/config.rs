//! The `[data]` and `[tokenizer]` sections as a user writes them.

#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Validate, parse, to_toml};
use sinterlm_data::{DataConfig, SourceConfig, TokenizerConfig};

#[derive(Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Run {
    data: DataConfig,
    tokenizer: TokenizerConfig,
}

impl Validate for Run {
    fn validate(&self, check: &mut Check) {
        check.section("data", &self.data);
        check.section("tokenizer", &self.tokenizer);
    }
}

fn run(text: &str) -> Run {
    parse(text, "run.toml", &[]).unwrap()
}

#[test]
fn every_kind_can_be_written_and_read_back() {
    for text in [
        "",
        "data.source = { kind = 'auto' }\ntokenizer = { kind = 'gpt2' }",
        "data.source = { kind = 'files', train = ['a.txt'] }",
        "data.source = { kind = 'files', train = ['a'], valid = ['b'] }\ndata.invalid_utf8 = 'replace'",
        "data.source = { kind = 'hub', repo = 'o/n', file = 'f', valid_file = 'v' }",
        "data.source = { kind = 'stories' }\ntokenizer = { kind = 'bpe', vocab_size = 512 }",
        "data.source = { kind = 'stories', count = 9, seed = 1 }",
        "tokenizer = { kind = 'file', path = 'tokenizer.json' }\ndata.cache_dir = 'c'",
    ] {
        let value = run(text);
        assert_eq!(run(&to_toml(&value).unwrap()), value, "{text}");
    }
    assert_eq!(run(""), Run::default());
    let stories = run("data.source = { kind = 'stories' }").data.source;
    assert_eq!(
        stories,
        SourceConfig::Stories {
            count: 20_000,
            seed: None
        }
    );
}

#[test]
fn faults_name_the_key_and_the_remedy() {
    let text = "[data]\nvalid_fraction = 0.9\nseparater = 'x'\n[data.source]\nkind = 'files'\ntrain = []\n[tokenizer]\nkind = 'bpe'\nvocab_size = 100\n";
    let error = parse::<Run>(text, "run.toml", &[]).unwrap_err();
    insta::assert_snapshot!(error, @r"
    run.toml: 2 problems
      line 3, data.separater: unknown key; did you mean separator?
      line 9, tokenizer.vocab_size: 100 is below the minimum 257; raise it
    ");
    let text = "[data]\nvalid_fraction = 0.9\ntext_field = ''\n[data.source]\nkind = 'hub'\nrepo = 'name'\nfile = 'f'\n[tokenizer]\nkind = 'file'\npath = ''\n";
    let error = parse::<Run>(text, "run.toml", &[]).unwrap_err();
    insta::assert_snapshot!(error, @r#"
    run.toml: 4 problems
      line 2, data.valid_fraction: 0.9 is not above 0 and up to 0.5; use 0.05
      line 3, data.text_field: is empty; name the field that holds the text, such as "text"
      line 6, data.source.repo: `name` is no data set of the Hub; write it as owner/name
      line 10, tokenizer.path: is empty; give the path of a tokenizer.json
    "#);
}
