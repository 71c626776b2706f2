//! Types beyond those of the miniature run: untagged, flattened, recursive, narrow ones.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, Validate, describe, parse};

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Shapes {
    #[serde(default)]
    every: Option<Every>,
    #[serde(default)]
    count: Option<Count>,
    #[serde(default)]
    sets: BTreeMap<String, Set>,
    #[serde(default)]
    tree: Option<Box<Tree>>,
    #[serde(default)]
    pair: Option<(u8, String)>,
    #[serde(flatten)]
    shared: Shared,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Every {
    Steps(u8),
    Named(String),
    Window { first: u8, last: u8 },
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Count {
    Exact(u64),
    Word(Word),
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Word {
    Auto,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Set {
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    share: f32,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Tree {
    left: Option<Box<Tree>>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Shared {
    #[serde(default)]
    level: i32,
}

impl Validate for Shapes {
    fn validate(&self, _: &mut Check) {}
}

fn refusal(text: &str) -> String {
    let refused = parse::<Shapes>(text, "x", &[]);
    refused.expect_err("this config is wrong").to_string()
}

#[test]
fn each_form_of_an_untagged_value_loads() {
    let every = |text: &str| parse::<Shapes>(text, "x", &[]).unwrap().every.unwrap();
    assert_eq!(every("every = 3"), Every::Steps(3));
    assert_eq!(every("every = \"epoch\""), Every::Named("epoch".to_owned()));
    assert_eq!(
        every("every = { first = 1, last = 2 }"),
        Every::Window { first: 1, last: 2 }
    );
}

#[test]
fn an_untagged_value_is_refused_by_its_nearest_form() {
    insta::assert_snapshot!(refusal("every = 300"), @r"
    x: 1 problem
      line 1, every: 300 is not between 0 and 255, which this key holds; change it
    ");
    insta::assert_snapshot!(refusal("every = { first = 1, lst = 2 }"), @r"
    x: 1 problem
      line 1, every.lst: unknown key; did you mean last?
    ");
    insta::assert_snapshot!(refusal("every = true"), @r"
    x: 1 problem
      line 1, every: true is a boolean; write an integer of at least 0, or a string, or a table with first, last
    ");
}

#[test]
fn a_count_or_a_word_takes_both_and_names_both() {
    assert!(parse::<Shapes>("count = 3", "x", &[]).is_ok());
    assert!(parse::<Shapes>("count = 3", "x", &["count=auto".to_owned()]).is_ok());
    insta::assert_snapshot!(refusal("count = \"aut\""), @r#"
    x: 1 problem
      line 1, count: "aut" is not "auto"; did you mean "auto"?
    "#);
    insta::assert_snapshot!(refusal("count = \"8\""), @r#"
    x: 1 problem
      line 1, count: "8" is a string; write "auto", or an integer of at least 0, without quotes
    "#);
    insta::assert_snapshot!(refusal("count = \"most\""), @r#"
    x: 1 problem
      line 1, count: "most" is a string; write "auto", or an integer of at least 0
    "#);
    insta::assert_snapshot!(refusal("count = -1"), @r"
    x: 1 problem
      line 1, count: -1 is below the minimum 0; raise it
    ");
}

#[test]
fn free_keys_are_taken_and_what_they_hold_is_checked() {
    insta::assert_snapshot!(refusal("[sets.a]\nshare = 0.5\n[sets.b]\nshare = 1\n[sets.c]\nshre = 0.1"), @r"
    x: 2 problems
      line 4, sets.b.share: 1 is not below 1; lower it
      line 6, sets.c.shre: unknown key; did you mean share?
    ");
}

#[test]
fn flattened_keys_are_known_and_unknown_ones_refused_all_the_same() {
    assert_eq!(
        parse::<Shapes>("level = -3", "x", &[])
            .unwrap()
            .shared
            .level,
        -3
    );
    insta::assert_snapshot!(refusal("levle = -3"), @r"
    x: 1 problem
      line 1, levle: unknown key; did you mean level?
    ");
    insta::assert_snapshot!(refusal("level = -3_000_000_000"), @r"
    x: 1 problem
      line 1, level: -3000000000 is not between -2147483648 and 2147483647, which this key holds; change it
    ");
}

#[test]
fn a_type_that_holds_itself_ends() {
    assert!(parse::<Shapes>("tree = { left = { left = {} } }", "x", &[]).is_ok());
    assert!(
        describe::<Shapes>()
            .iter()
            .any(|key| key.path == "tree.left")
    );
}

#[test]
fn tuples_are_left_to_serde_and_still_placed() {
    assert!(parse::<Shapes>("pair = [1, \"a\"]", "x", &[]).is_ok());
    insta::assert_snapshot!(refusal("\n\npair = [1, 2]"), @r"
    x: 1 problem
      line 3, pair.1: invalid type: integer `2`, expected a string; correct the value
    ");
}

#[test]
fn lines_count_after_a_byte_order_mark_and_with_carriage_returns() {
    insta::assert_snapshot!(refusal("\u{feff}level = 1\r\n# 文\r\nlevle = 3\r\n"), @r"
    x: 1 problem
      line 3, levle: unknown key; did you mean level?
    ");
    insta::assert_snapshot!(refusal("level = 1\r\n\"文\" = = 3\r\n"), @r"
    x: 1 problem
      line 2 column 7: extra `=`, expected nothing; correct the TOML
    ");
}
