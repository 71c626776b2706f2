//! Where chat templates are found, what they are told, and what hostile ones can do.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::path::Path;

use sinterlm_data::{ChatMessage, ChatTemplate, DataError, Tokenizer};

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn rendered(folder: &Path) -> String {
    let template = ChatTemplate::from_folder(folder).unwrap().unwrap();
    template.render(&[], false).unwrap()
}

fn render(source: &str) -> Result<String, DataError> {
    ChatTemplate::new("test", source)?.render(&[ChatMessage::new("user", "hi")], false)
}

const MARKS: &str = "{{ bos_token }}|{{ eos_token }}|{{ cls_token }}|{{ image_token }}|\
    {{ additional_special_tokens }}";

#[test]
fn tokens_of_the_special_tokens_map_are_told() {
    let map = r#"{"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false},
        "cls_token": "[CLS]", "additional_special_tokens": ["<a>", {"content": "<b>"}]}"#;
    let files = [
        (
            "tokenizer_config.json",
            r#"{"eos_token": "<e>", "image_token": "<i>"}"#,
        ),
        ("special_tokens_map.json", map),
        ("chat_template.jinja", MARKS),
    ];
    // The map's names hold, as in transformers.
    let found = folder(&files);
    assert_eq!(rendered(found.path()), "<s>|</s>|[CLS]|<i>|['<a>', '<b>']");
    // A folder with `added_tokens_decoder` is read without the map.
    let config = r#"{"eos_token": "<e>", "added_tokens_decoder": {},
        "extra_special_tokens": {"image_token": "<i>"}, "add_bos_token": true}"#;
    let found = folder(&[("tokenizer_config.json", config), files[1], files[2]]);
    assert_eq!(rendered(found.path()), "|<e>||<i>|");
}

#[test]
fn the_default_of_several_templates_is_taken() {
    for entry in [
        r#"{"tool_use": "no", "default": "yes"}"#,
        r#"[{"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes"}]"#,
    ] {
        let config = format!("{{\"chat_template\": {entry}}}");
        let found = folder(&[("tokenizer_config.json", &config)]);
        assert_eq!(rendered(found.path()), "yes");
    }
    let config = r#"{"chat_template": {"tool_use": "a", "rag": "b"}}"#;
    let found = folder(&[("tokenizer_config.json", config)]);
    let error = ChatTemplate::from_folder(found.path()).unwrap_err();
    assert!(
        error.to_string().contains("\"tool_use\", \"rag\""),
        "{error}"
    );
}

#[test]
fn json_that_is_no_object_is_named() {
    for text in ["[]", "null", "\"chat_template\"", "3"] {
        let found = folder(&[("tokenizer_config.json", text)]);
        let error = ChatTemplate::from_folder(found.path()).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("tokenizer_config.json, line 1: is no JSON object"),
            "{error}"
        );
        std::fs::write(found.path().join("tokenizer.json"), "{}").unwrap();
        let error = Tokenizer::from_file(found.path()).unwrap_err().to_string();
        assert!(error.contains("is no JSON object"), "{error}");
    }
}

#[test]
fn fields_of_messages_keep_their_order_and_thoughts_have_both_names() {
    let message = r#"{"role": "assistant", "content": "x", "tool_calls": [{"z": 1, "a": {"y": 2.0, "b": null}}],
        "reasoning": "hm"}"#;
    let message: ChatMessage = serde_json::from_str(message).unwrap();
    let source = "{{ messages[0].tool_calls|tojson }} {{ messages[0] }}";
    let template = ChatTemplate::new("order", source).unwrap();
    assert_eq!(
        template
            .render(std::slice::from_ref(&message), false)
            .unwrap(),
        "[{\"z\": 1, \"a\": {\"y\": 2.0, \"b\": null}}] {'thinking': 'hm', 'role': 'assistant', \
         'content': 'x', 'tool_calls': [{'z': 1, 'a': {'y': 2.0, 'b': None}}], 'reasoning': 'hm', \
         'reasoning_content': 'hm'}"
    );
    let again = serde_json::to_string(&message).unwrap();
    assert!(
        again.contains(r#"[{"z":1,"a":{"y":2.0,"b":null}}]"#),
        "{again}"
    );
}

/// Each of these would take all memory, the whole stack or for ever.
#[test]
fn hostile_templates_end_in_errors() {
    let open = "(".repeat(100_000);
    let minus = "-".repeat(100_000);
    let not = "not ".repeat(100_000);
    let sum = "1+".repeat(100_000);
    let filters = "|abs".repeat(100_000);
    let blocks = "{% if true %}".repeat(100_000);
    for source in [
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% macro m(f) %}{% for x in [1] %}{{ [f(f)] }}{% endfor %}{% endmacro %}{{ m(m) }}",
        "{% set ns = namespace(s='x') %}{% for i in range(100) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(100) %}{% set ns.l = ns.l + ns.l %}{% endfor %}",
        "{% set ns = namespace(l=[]) %}{% for i in range(100000) %}{% set ns.l = [ns.l] %}{% endfor %}",
        "{% set ns = namespace() %}{% for i in range(100000) %}{% set ns.l = namespace(l=ns.l) %}{% endfor %}",
        "{% set ns = namespace(f='') %}{% for i in range(100000) %}{% set ns.f = [ns.f].count %}{% endfor %}",
        "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{{ 'x' * 10 ** 15 }}",
        "{{ [0] * 10 ** 15 }}",
        "{{ 2 ** (10 ** 9) }}",
        "{{ -2 ** 127 * -1 - 1 - 2 ** 126 * 4 }}",
        "{{ 'x'.center(10 ** 12) }}",
        "{{ '{:1000000000000}'.format(1) }}",
        "{{ '%1000000000000d' % 1 }}",
        "{{ '%.1000000000000f' % 1 }}",
        "{{ 'a'|indent(10 ** 12) }}",
        "{{ 1.5|round(-(10 ** 30)) ~ range(10 ** 18) }}",
        "{{ [1]|batch(10 ** 12, 0)|list }}",
        "{{ [1]|slice(10 ** 12)|list }}",
        "{{ ('ab' * 1000000).replace('', 'x' * 1000000) }}",
        "{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns }}",
        &format!("{{{{ {open} }}}}"),
        &format!("{{{{ {minus}1 }}}}"),
        &format!("{{{{ {not}1 }}}}"),
        &format!("{{{{ {sum}1 }}}}"),
        &format!("{{{{ 1{filters} }}}}"),
        &blocks,
    ] {
        let shown: String = source.chars().take(80).collect();
        assert!(render(source).is_err(), "{shown}");
    }
    // What is only deep enough for people works.
    let deep = "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{% endif %}{{ n }}{% endmacro %}{{ m(100)|length }}";
    assert_eq!(render(deep).unwrap(), "193");
    let sum = "1+".repeat(200);
    assert_eq!(render(&format!("{{{{ {sum}1 }}}}")).unwrap(), "201");
}

#[test]
fn what_cannot_be_rendered_alike_is_named() {
    for (source, named) in [
        (
            "{{ [1]|map('string') }}",
            "printing a generator is not supported",
        ),
        ("{{ lipsum() }}", "lipsum() is random"),
        ("{{ [1]|random }}", "the filter 'random' is not supported"),
        (
            "{{ 'a'.encode() }}",
            "the attribute 'encode' of str is not supported",
        ),
        ("{% include 'a' %}", "{% include %} is not supported"),
        ("{{ 'ab' is sameas 'ab' }}", "'sameas' of two equal values"),
        ("{{ 2 ** 200 }}", "more than 127 bits"),
        (
            "a\n{{ 1 }}\n{{ 'x' + 1 }}",
            "test, line 3: unsupported operand type(s) for +: 'str' and 'int'",
        ),
    ] {
        let error = render(source).unwrap_err().to_string();
        assert!(error.contains(named), "{source}: {error}");
    }
}
