//! The texts by which wrong configs are refused.

use std::path::Path;

use crate::mini::{Run, SMALLEST, refusal};
use insta::assert_snapshot;
use sinterlm_config::load;

#[test]
fn faults_between_values_carry_line_field_and_remedy() {
    let text = "seed = 1

[model]
d_model = 256
n_heads = 6 # too odd

[schedule]
kind = \"cosine\"
warmup_steps = 5000
";
    assert_snapshot!(refusal(text, &[]), @r"
    configs/run.toml: 2 problems
      line 5, model.n_heads: 6 does not divide d_model 256; use 4 or 8
      line 9, schedule.warmup_steps: 5000 is above max_steps 2000; lower it or train longer
    ");
}

#[test]
fn typos_name_the_nearest_key() {
    let text = "sed = 1
[model]
d_model = 64
n_haeds = 4
n-kv-heads = 4
max_steps = 7
colour = 3
[shedule]
kind = \"cosine\"
";
    assert_snapshot!(refusal(text, &[]), @r"
    configs/run.toml: 6 problems
      line 1, sed: unknown key; did you mean seed?
      line 4, model.n_haeds: unknown key; did you mean n_heads?
      line 5, model.n-kv-heads: unknown key; did you mean n_kv_heads?
      line 6, model.max_steps: unknown key here; did you mean trainer.max_steps?
      line 7, model.colour: unknown key; the keys here are d_model, n_heads, n_kv_heads, norm, dropout
      line 8, shedule: unknown key; did you mean schedule?
    ");
}

#[test]
fn wrong_types_say_what_to_write() {
    let text = "seed = -1
[model]
d_model = \"64\"
n_heads = 4.0
norm = 3
dropout = true
[trainer]
max_steps = 1e4
eval_first = \"yes\"
name = 12
[optimizer]
kind = \"adamw\"
betas = 0.9
[data]
sources = 3
weights = [1]
";
    assert_snapshot!(refusal(text, &[]), @r#"
    configs/run.toml: 11 problems
      line 1, seed: -1 is below the minimum 0; raise it
      line 3, model.d_model: "64" is a string; write an integer of at least 8, without quotes
      line 4, model.n_heads: 4.0 is a float; write 4
      line 5, model.norm: 3 is an integer; write "layer_norm" or "rms_norm"
      line 6, model.dropout: true is a boolean; write a number from 0 to 0.9
      line 8, trainer.max_steps: 1e4 is a float; write 10000
      line 9, trainer.eval_first: "yes" is a string; write true or false
      line 10, trainer.name: 12 is an integer; write a string, in quotes
      line 13, optimizer.betas: 0.9 is a float; write a list of 2, each a number, in brackets
      line 15, data.sources: 3 is an integer; write a list, each a table with kind = "local" or "named"
      line 16, data.weights: this is a list; write a table
    "#);
}

#[test]
fn values_out_of_range_are_refused_by_the_schema() {
    let text = "seed = 1
[model]
d_model = 4
n_heads = 0
n_kv_heads = 5_000_000_000
norm = 99999999999999999999999999999999999999999999
dropout = nan
[optimizer]
kind = \"adamw\"
betas = [0.9, 0.95, 0.99]
[schedule]
kind = \"cosine\"
min_ratio = 1.5
[trainer]
max_steps = -99999999999999999999999999999999999999999999
";
    assert_snapshot!(refusal(text, &[]), @r#"
    configs/run.toml: 8 problems
      line 3, model.d_model: 4 is below the minimum 8; raise it
      line 4, model.n_heads: 0 is below the minimum 1; raise it
      line 5, model.n_kv_heads: 5000000000 is not between 0 and 4294967295, which this key holds; change it
      line 6, model.norm: 99999999999999999999999999999999999999999999 is an integer; write "layer_norm" or "rms_norm"
      line 7, model.dropout: nan is below the minimum 0; raise it
      line 10, optimizer.betas: 3 elements; write a list of 2, each a number
      line 13, schedule.min_ratio: 1.5 is above the maximum 1; lower it
      line 15, trainer.max_steps: -99999999999999999999999999999999999999999999 is below the minimum 0; raise it
    "#);
}

#[test]
fn an_empty_file_names_what_is_required() {
    assert_snapshot!(refusal("", &[]), @r"
    configs/run.toml: 2 problems
      top level, seed: required key is missing; write an integer of at least 0
      top level, model: required key is missing; write a table with d_model, n_heads
    ");
    assert_snapshot!(refusal("seed = 1\n\n[model]\nd_model = 64\n", &[]), @r"
    configs/run.toml: 1 problem
      line 3, model.n_heads: required key is missing; write an integer of at least 1
    ");
}

#[test]
fn unknown_names_list_the_allowed_ones() {
    let text = "seed = 1
[model]
d_model = 64
n_heads = 4
norm = \"rms\"
[schedule]
kind = \"cosin\"
warmup_steps = 3
[optimizer]
kind = \"quantum\"
[data]
long = \"keep\"
";
    assert_snapshot!(refusal(text, &[]), @r#"
    configs/run.toml: 4 problems
      line 5, model.norm: "rms" is not known; write "layer_norm" or "rms_norm"
      line 7, schedule.kind: "cosin" is not "constant", "cosine" or "warmup_stable_decay"; did you mean "cosine"?
      line 10, optimizer.kind: "quantum" is not known; write "adamw" or "sgd"
      line 12, data.long: "keep" is a string; write "drop", or a table with one key of cut, split
    "#);
}

#[test]
fn variants_refuse_the_keys_of_others() {
    let text = "seed = 1
[model]
d_model = 64
n_heads = 4
[schedule]
kind = \"warmup_stable_decay\"
warmup_step = 3
min_ratio = 0.1
[optimizer]
kind = \"sgd\"
peak_lr = 1
betas = [1, 2]
[[data.sources]]
kind = \"local\"
paths = []
[[data.sources]]
kind = \"named\"
nam = \"tinystories\"
[[data.sources]]
paths = [3]
[data.long]
cut = { max_tokns = 3 }
split = \"x\"
";
    assert_snapshot!(refusal(text, &[]), @r#"
    configs/run.toml: 8 problems
      line 5, schedule.decay_steps: required key is missing; write an integer of at least 0
      line 7, schedule.warmup_step: unknown key; did you mean warmup_steps?
      line 8, schedule.min_ratio: no key of kind = "warmup_stable_decay"; remove it or set kind to "cosine"
      line 12, optimizer.betas: no key of kind = "sgd"; remove it or set kind to "adamw"
      line 18, data.sources.1.nam: unknown key; did you mean name?
      line 19, data.sources.2.kind: required key is missing; write "local" or "named"
      line 21, data.long: 2 keys; write a table with one key of cut, split
      line 22, data.long.cut.max_tokns: unknown key; did you mean max_tokens?
    "#);
}

#[test]
fn options_stand_in_place_of_the_line() {
    let options = [
        "model.n_haeds=2",
        "model.n_heads=5",
        "trainer.max_steps=many",
        "schedule={kind = \"cosine\", warmup_steps = 5000}",
        "model.dropout.rate=0.5",
        "data.sources.0.kind=local",
        "seed",
        ".x=1",
    ];
    assert_snapshot!(refusal(SMALLEST, &options), @r#"
    configs/run.toml: 7 problems
      --set model.n_haeds=2, model.n_haeds: unknown key; did you mean n_heads?
      --set trainer.max_steps=many, trainer.max_steps: "many" is a string; write an integer of at least 0
      --set schedule={kind = "cosine", warmup_steps = 5000}, schedule.warmup_steps: 5000 is above max_steps 2000; lower it or train longer
      --set model.dropout.rate=0.5, model.dropout: this is a table; write a number from 0 to 0.9
      --set data.sources.0.kind=local, data.sources: this is a table; write a list, each a table with kind = "local" or "named"
      --set seed: no value; write it as KEY=VALUE
      --set .x=1: empty key; write it as TABLE.KEY=VALUE
    "#);
}

#[test]
fn faults_of_keys_not_in_the_file_name_the_table_or_the_default() {
    let text = "seed = 1\n[model]\nd_model = 64\nn_heads = 4\n[trainer]\nmax_steps = 10\n";
    assert_snapshot!(refusal(text, &[]), @r"
    configs/run.toml: 1 problem
      default, schedule.warmup_steps: 100 is above max_steps 10; lower it or train longer
    ");
    let text = format!("{text}eval_first = true\n");
    assert_snapshot!(refusal(&text, &["schedule.kind=cosine"]), @r"
    configs/run.toml: 1 problem
      line 5, trainer.name: missing with eval_first = true; name the run
    ");
}

#[test]
fn syntax_errors_give_line_and_column() {
    assert_snapshot!(refusal("seed = 1\n[model\nd_model = 64\nn_heads = = 3\n", &[]), @r"
    configs/run.toml: 2 problems
      line 2 column 7: unclosed table, expected `]`; correct the TOML
      line 4 column 11: extra `=`, expected nothing; correct the TOML
    ");
    assert_snapshot!(refusal("seed = 1\nseed = 2\n", &[]), @r"
    configs/run.toml: 1 problem
      line 2 column 1: duplicate key; correct the TOML
    ");
}

#[test]
fn a_fault_only_serde_sees_is_placed_too() {
    let text = "seed = 1
[model]
d_model = 64
n_heads = 4
[data]
sources = [{ kind = \"local\", paths = [] }, { kind = \"named\", name = \"x\" }]
weights = { a = 1e999 }
";
    assert_snapshot!(refusal(text, &[]), @r"
    configs/run.toml: 1 problem
      line 7, data.weights.a: floating-point number overflowed; correct the value
    ");
}

#[test]
fn a_missing_file_names_its_neighbour() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pretrain.toml"), SMALLEST).unwrap();
    let message = |name: &str| {
        let path = folder.path().join(name);
        let text = load::<Run>(&path, &[]).unwrap_err().to_string();
        text.replace(&folder.path().display().to_string(), "configs")
    };
    assert_snapshot!(message("pretrian.toml"), @"configs/pretrian.toml: cannot read this config file; there is no such file, did you mean configs/pretrain.toml?");
    assert_snapshot!(message("chat.toml"), @"configs/chat.toml: cannot read this config file; there is no such file, check the path");
    assert!(load::<Run>(&folder.path().join("pretrain.toml"), &[]).is_ok());
    assert!(load::<Run>(Path::new(""), &[]).is_err());
}
