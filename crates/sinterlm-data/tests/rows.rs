//! Records as rows: parity with transformers, borders, masks, truncation and what is left out.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::collections::BTreeMap;

use serde::Deserialize;
use sinterlm_data::{
    Body, ChatMessage, ChatTemplate, DataError, Json, LabelsConfig, MaskPolicy, Origin,
    PromptTemplate, Prompter, Record, RenderedRow, RowSet, RowsConfig, Tokenizer, Truncation,
    Unusable,
};

#[derive(Deserialize)]
struct Fixture {
    tokenizer: serde_json::Value,
    variables: BTreeMap<String, Json>,
    templates: BTreeMap<String, String>,
    conversations: BTreeMap<String, Vec<ChatMessage>>,
    cases: Vec<Case>,
    alpaca: Vec<Alpaca>,
}

#[derive(Deserialize)]
struct Case {
    template: String,
    conversation: String,
    messages: usize,
    text: String,
    ids: Vec<u32>,
    mask: String,
    prompt_ids: Vec<u32>,
}

#[derive(Deserialize)]
struct Alpaca {
    instruction: String,
    input: String,
    output: String,
    prompt: String,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("../fixtures/rows.json")).unwrap()
}

impl Fixture {
    fn tokenizer(&self) -> Tokenizer {
        Tokenizer::from_json(&self.tokenizer.to_string(), "rows".as_ref()).unwrap()
    }

    fn template(&self, name: &str, with_marks: bool) -> ChatTemplate {
        let mut source = self.templates[name].clone();
        if !with_marks {
            for tag in ["{% generation %}", "{%- generation %}"] {
                source = source.replace(tag, if tag.contains('-') { "{#- -#}" } else { "" });
            }
            source = source.replace("{% endgeneration %}", "");
            source = source.replace("{%- endgeneration %}", "");
        }
        let mut template = ChatTemplate::new(name, &source).unwrap();
        template.variables = self.variables.clone();
        template
    }

    fn prompter(&self, name: &str, with_marks: bool) -> Prompter {
        let template = self.template(name, with_marks);
        let tokenizer = self.tokenizer();
        Prompter::new(&PromptTemplate::Chat, &tokenizer, Some(&template), &[]).unwrap()
    }
}

fn record(body: Body) -> Record {
    let origin = Origin::Made {
        name: "test",
        number: 7,
    };
    Record::new(body, origin)
}

fn chat(messages: &[ChatMessage]) -> Record {
    let messages = messages.to_vec();
    record(Body::Chat { messages })
}

fn asked(instruction: &str, input: &str, output: &str) -> Record {
    record(Body::Instruction {
        instruction: instruction.into(),
        input: input.into(),
        output: output.into(),
    })
}

fn mask(row: &RenderedRow) -> String {
    let spans = row.spans.iter();
    let tokens = spans.map(|span| {
        let trained = if span.answer.is_some() { "1" } else { "0" };
        trained.repeat(span.tokens.len())
    });
    tokens.collect()
}

fn trained_text(row: &RenderedRow, tokenizer: &Tokenizer) -> String {
    let spans = row.spans.iter().filter(|span| span.answer.is_some());
    let parts = spans.map(|span| tokenizer.decode(&row.ids[span.tokens.clone()]));
    parts.collect::<Vec<_>>().join("|")
}

/// With marks the mask is the template's, without them the turn's: both are transformers' with marks.
#[test]
fn texts_ids_and_masks_equal_those_of_transformers() {
    let fixture = fixture();
    let mut compared = 0;
    for with_marks in [true, false] {
        for case in fixture.cases.iter().filter(|c| c.template != "thinking") {
            let name = format!(
                "{}, {}, marks {with_marks}",
                case.template, case.conversation
            );
            let messages = &fixture.conversations[&case.conversation];
            let prompter = fixture.prompter(&case.template, with_marks);
            let rows = prompter.render(&chat(messages)).unwrap();
            assert_eq!(rows.len(), 1, "{name}");
            assert_eq!(rows[0].text, case.text, "{name}");
            assert_eq!(rows[0].ids, case.ids, "{name}");
            assert_eq!(mask(&rows[0]), case.mask, "{name}");
            let prompt = prompter.prompt_ids(&chat(messages).body).unwrap();
            assert_eq!(prompt, case.prompt_ids, "{name}");
            compared += 1;
        }
    }
    assert_eq!(compared, 24);
}

#[test]
fn a_template_that_rewrites_answers_gives_a_row_for_each_as_inference_would_write_it() {
    let fixture = fixture();
    for with_marks in [true, false] {
        let prompter = fixture.prompter("thinking", with_marks);
        for (name, messages) in &fixture.conversations {
            let rows = prompter.render(&chat(messages)).unwrap();
            let cases = fixture.cases.iter();
            let cases = cases.filter(|c| c.template == "thinking" && c.conversation == *name);
            let cases: Vec<&Case> = cases.collect();
            assert_eq!(rows.len(), cases.len(), "{name}");
            for (row, case) in rows.iter().zip(cases) {
                assert_eq!(row.text, case.text, "{name}, {}", case.messages);
                assert_eq!(row.ids, case.ids, "{name}, {}", case.messages);
                assert!(row.ids.starts_with(&case.prompt_ids));
                // Only the last answer: the earlier ones have rows of their own.
                let len = case.prompt_ids.len();
                let last = "0".repeat(len) + &case.mask[len..];
                assert_eq!(mask(row), last, "{name}, {}", case.messages);
            }
        }
    }
}

#[test]
fn alpacas_prompt_is_the_published_one() {
    let fixture = fixture();
    let tokenizer = fixture.tokenizer();
    let begin = tokenizer.special("<s>").unwrap();
    let prompter = Prompter::new(&PromptTemplate::Alpaca, &tokenizer, None, &[begin]).unwrap();
    for case in &fixture.alpaca {
        let record = asked(&case.instruction, &case.input, &case.output);
        let prompt = prompter.prompt_ids(&record.body).unwrap();
        assert_eq!(tokenizer.decode(&prompt), format!("<s>{}", case.prompt));
        let row = &prompter.render(&record).unwrap()[0];
        assert_eq!(row.text, format!("{}{}", case.prompt, case.output));
        assert_eq!(&row.ids[..prompt.len()], prompt);
        let answer = tokenizer.encode(&case.output);
        let end = row.ids.len() - 1;
        assert_eq!(
            &row.ids[prompt.len()..end],
            answer,
            "special names are text"
        );
        assert_eq!(row.ids[end], tokenizer.end_of_text());
        assert_eq!(
            mask(row),
            "0".repeat(prompt.len()) + &"1".repeat(answer.len() + 1)
        );
    }
    assert_eq!(fixture.alpaca.len(), 3);
}

#[test]
fn every_form_writes_every_kind_of_record() {
    let fixture = fixture();
    let tokenizer = fixture.tokenizer();
    let own = PromptTemplate::Own {
        with_input: "<|im_start|>{instruction}/{input}=".into(),
        without_input: "<|im_start|>{instruction}=".into(),
        answer_start: " ".into(),
        separator: ";".into(),
    };
    let talk = [
        ChatMessage::new("system", "Be kind."),
        ChatMessage::new("user", "a <|im_start|>"),
        ChatMessage::new("assistant", "b"),
        ChatMessage::new("user", "c"),
        ChatMessage::new("assistant", "d"),
        ChatMessage::new("user", "left"),
    ];
    let bodies = [
        asked("do", "this", "done").body,
        Body::Chat {
            messages: talk.to_vec(),
        },
        Body::Completion {
            prompt: "once".into(),
            completion: " upon".into(),
        },
        Body::Preference {
            prompt: vec![ChatMessage::new("user", "p")],
            chosen: "good".into(),
            rejected: "bad".into(),
        },
        Body::Labelled {
            text: "win <s>".into(),
            label: "spam".into(),
        },
    ];
    let forms = [
        (
            PromptTemplate::PlainInstruction,
            [
                "Instruction: do\nInput: this\nResponse:[ done</s>]",
                "Instruction: Be kind.\n\na <|im_start|>\nResponse:[ b</s>]Instruction: c\nResponse:[ d</s>]",
                "once[ upon</s>]",
                "Instruction: p\nResponse:[ good</s>]",
                "win <s>",
            ],
        ),
        (
            PromptTemplate::Roles,
            [
                "<|user|>\ndo\n\nthis\n<|assistant|>\n[done</s>]",
                "<|user|>\nBe kind.\n\na <|im_start|>\n<|assistant|>\n[b</s>]\n<|user|>\nc\n<|assistant|>\n[d</s>]",
                "once[ upon</s>]",
                "<|user|>\np\n<|assistant|>\n[good</s>]",
                "win <s>",
            ],
        ),
        (
            PromptTemplate::Chat,
            [
                "<s><|start_header_id|>user<|end_header_id|>\n\ndo\n\nthis<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n[done<|eot_id|>]",
                "<s><|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\na <|im_start|><|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n[b<|eot_id|>]<|start_header_id|>user<|end_header_id|>\n\nc<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n[d<|eot_id|>]",
                "once[ upon</s>]",
                "<s><|start_header_id|>user<|end_header_id|>\n\np<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n[good<|eot_id|>]",
                "win <s>",
            ],
        ),
        (
            own,
            [
                "<|im_start|>do/this=[ done</s>]",
                "<|im_start|>Be kind.\n\na <|im_start|>=[ b</s>];<|im_start|>c=[ d</s>]",
                "once[ upon</s>]",
                "<|im_start|>p=[ good</s>]",
                "win <s>",
            ],
        ),
    ];
    let llama = fixture.template("llama3", false);
    let marks = |row: &RenderedRow| {
        let mark = tokenizer.special("<|im_start|>").unwrap();
        row.ids.iter().filter(|id| **id == mark).count()
    };
    for (form, expected) in forms {
        let prompter = Prompter::new(&form, &tokenizer, Some(&llama), &[]).unwrap();
        for (body, expected) in bodies.iter().zip(expected) {
            let rows = prompter.render(&record(body.clone())).unwrap();
            assert_eq!(rows.len(), 1);
            let parts = rows[0].spans.iter().map(|span| {
                let text = tokenizer.decode(&rows[0].ids[span.tokens.clone()]);
                if span.answer.is_some() {
                    format!("[{text}]")
                } else {
                    text
                }
            });
            assert_eq!(parts.collect::<String>(), expected, "{form:?}");
            // A message's own is text; the form's is a token.
            let own = expected.matches("<|im_start|>").count();
            let in_message = usize::from(expected.contains("a <|im_start|>"));
            assert_eq!(marks(&rows[0]), own - in_message, "{form:?}");
        }
    }
}

#[test]
fn the_begin_of_a_text_is_there_once() {
    let fixture = fixture();
    let tokenizer = fixture.tokenizer();
    let begin = tokenizer.special("<s>").unwrap();
    let own = PromptTemplate::Own {
        with_input: String::new(),
        without_input: "<s>{instruction}=".into(),
        answer_start: String::new(),
        separator: String::new(),
    };
    let prompter = Prompter::new(&own, &tokenizer, None, &[begin]).unwrap();
    let ids = prompter.prompt_ids(&asked("x", "", "y").body).unwrap();
    assert_eq!(tokenizer.decode(&ids), "<s>x=");
}

/// The template writes the mark that ends an answer in front of the message that follows.
#[test]
fn an_end_before_the_next_message_belongs_to_the_answer() {
    let fixture = fixture();
    let tokenizer = fixture.tokenizer();
    let source = "{% for m in messages %}{% if not loop.first %}<|im_end|>{% endif %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<|im_end|><assistant>{% endif %}";
    let template = ChatTemplate::new("late", source).unwrap();
    let prompter = Prompter::new(&PromptTemplate::Chat, &tokenizer, Some(&template), &[]).unwrap();
    let talk = &fixture.conversations["long"][..4];
    let rows = prompter.render(&chat(talk)).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        trained_text(&rows[0], &tokenizer),
        "1<|im_end|>|```\n  2\n```<|im_end|>"
    );
    // A template without any end gets the end of a text.
    let source = source.replace("<|im_end|>", "\n");
    let template = ChatTemplate::new("endless", &source).unwrap();
    let prompter = Prompter::new(&PromptTemplate::Chat, &tokenizer, Some(&template), &[]).unwrap();
    let rows = prompter.render(&chat(&talk[..2])).unwrap();
    assert_eq!(trained_text(&rows[0], &tokenizer), "1</s>");
}

#[test]
fn marks_that_hold_no_answer_are_an_error_whatever_the_policy() {
    let fixture = fixture();
    let source = "{% for m in messages %}<{{ m.role }}>{% if m.role == 'model' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";
    let template = ChatTemplate::new("unmarked.jinja", source).unwrap();
    let tokenizer = fixture.tokenizer();
    let prompter = Prompter::new(&PromptTemplate::Chat, &tokenizer, Some(&template), &[]).unwrap();
    let config = RowsConfig {
        unusable: Unusable::Drop,
        ..RowsConfig::default()
    };
    let records = [chat(&fixture.conversations["one"])];
    let error = RowSet::build(&records, &prompter, &config).unwrap_err();
    assert_eq!(error.to_string(), "test: record 7: cannot be trained on");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        source.starts_with("unmarked.jinja: its {% generation %} marks hold no text"),
        "{source}"
    );
}

#[test]
fn a_template_that_begins_answers_otherwise_is_refused() {
    let fixture = fixture();
    let source = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<assistant><think>\n{% endif %}";
    let template = ChatTemplate::new("r1.jinja", source).unwrap();
    let tokenizer = fixture.tokenizer();
    let prompter = Prompter::new(&PromptTemplate::Chat, &tokenizer, Some(&template), &[]).unwrap();
    let error = prompter
        .render(&chat(&fixture.conversations["one"]))
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("message 2 is not written behind the prompt"),
        "{error}"
    );
    let messages = [ChatMessage::new("user", "hm")];
    let error = prompter.render(&chat(&messages)).unwrap_err();
    assert!(
        error.to_string().contains("no answer of the assistant"),
        "{error}"
    );
}

fn weights(labels: &LabelsConfig, record: &Record, form: &PromptTemplate) -> Vec<(String, f32)> {
    let fixture = fixture();
    let tokenizer = fixture.tokenizer();
    let template = fixture.template("zephyr", false);
    let prompter = Prompter::new(form, &tokenizer, Some(&template), &[]).unwrap();
    let prompter = prompter.with_parts();
    let row = &prompter.render(record).unwrap()[0];
    let weights = labels.token_weights(row, record);
    let tokens: Vec<(u32, f32)> = row.ids.iter().copied().zip(weights).collect();
    let runs = tokens.chunk_by(|a, b| a.1.to_bits() == b.1.to_bits());
    runs.map(|run| {
        let ids: Vec<u32> = run.iter().map(|token| token.0).collect();
        (tokenizer.decode(&ids), run[0].1)
    })
    .collect()
}

#[test]
fn weights_come_from_roles_fields_tasks_and_records() {
    let runs = |pairs: &[(&str, f32)]| -> Vec<(String, f32)> {
        pairs
            .iter()
            .map(|(text, weight)| ((*text).to_owned(), *weight))
            .collect()
    };
    let talk = chat(&fixture().conversations["long"][..4]);
    let labels = LabelsConfig {
        train: MaskPolicy::LastTurn,
        ..LabelsConfig::default()
    };
    let found = weights(&labels, &talk, &PromptTemplate::Chat);
    assert_eq!(found[1], ("```\n  2\n```</s>".to_owned(), 1.0));
    assert_eq!(found.len(), 3);
    let labels = LabelsConfig {
        roles: [("user".to_owned(), 0.25), ("assistant".to_owned(), 2.0)].into(),
        ..LabelsConfig::default()
    };
    let found = weights(&labels, &talk, &PromptTemplate::Chat);
    assert_eq!(
        found[..4],
        runs(&[
            ("<|user|>\none</s>\n", 0.25),
            ("<|assistant|>\n", 0.0),
            ("1</s>", 2.0),
            ("\n", 0.0)
        ])[..]
    );
    let mut one = asked("do", "this", "done");
    one.task = Some("sort".into());
    one.weight = 0.5;
    let labels = LabelsConfig {
        prompt_weight: Some(0.1),
        fields: [(sinterlm_data::Field::Input, 0.0)].into(),
        tasks: [("sort".to_owned(), 4.0)].into(),
        ..LabelsConfig::default()
    };
    let found = weights(&labels, &one, &PromptTemplate::PlainInstruction);
    let expected = runs(&[
        ("Instruction: do\nInput: ", 0.2),
        ("this", 0.0),
        ("\nResponse:", 0.2),
        (" done</s>", 2.0),
    ]);
    assert_eq!(found, expected);
    let labels = LabelsConfig {
        train: MaskPolicy::All,
        ..LabelsConfig::default()
    };
    let found = weights(&labels, &one, &PromptTemplate::PlainInstruction);
    assert_eq!(found.len(), 1, "{found:?}");
}

fn set(records: &[Record], config: &RowsConfig) -> Result<RowSet, DataError> {
    let prompter = Prompter::new(
        &PromptTemplate::PlainInstruction,
        &Tokenizer::gpt2(),
        None,
        &[],
    )
    .unwrap();
    RowSet::build(records, &prompter, config)
}

#[test]
fn what_is_left_out_is_counted_and_named() {
    let mut silent = asked("a", "", "b");
    silent.weight = 0.0;
    let refused = chat(&[ChatMessage::new("assistant", "first")]);
    let long = asked(&"word ".repeat(50), "", "b");
    let records = [asked("a", "", "b"), silent, refused, long];
    let mut config = RowsConfig {
        max_seq_len: 20,
        unusable: Unusable::Drop,
        truncation: Truncation::Drop,
        ..RowsConfig::default()
    };
    let rows = set(&records, &config).unwrap();
    let counts = rows.counts();
    assert_eq!((counts.records, counts.rows), (4, 1));
    assert_eq!(
        (counts.untrained, counts.refused, counts.too_long),
        (1, 1, 1)
    );
    assert_eq!(counts.trained_tokens, 2);
    assert_eq!(
        counts.examples[0],
        "test: record 7: no token of it is trained"
    );
    // Cut on the right the answer is gone.
    config.truncation = Truncation::Right;
    let rows = set(&records, &config).unwrap();
    assert_eq!((rows.counts().truncated, rows.counts().untrained), (1, 2));
    config.truncation = Truncation::MiddleOfPrompt;
    let rows = set(&records, &config).unwrap();
    assert_eq!((rows.counts().truncated, rows.counts().untrained), (1, 1));
    let row = &rows.rows()[1];
    assert_eq!(
        (row.ids.len(), row.trained_tokens(), row.record),
        (20, 2, 3)
    );
    config.unusable = Unusable::Error;
    let error = set(&records[1..], &config).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        source.contains("no token of it is trained; check its weight"),
        "{source}"
    );
    config.unusable = Unusable::Drop;
    let error = set(&records[1..3], &config).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("none of 2 records gives a row"),
        "{error}"
    );
}

#[test]
fn nothing_behind_the_last_trained_token_is_kept() {
    let fixture = fixture();
    let prompter = fixture.prompter("chatml", true);
    let records = [chat(&fixture.conversations["one"])];
    let rows = RowSet::build(&records, &prompter, &RowsConfig::default()).unwrap();
    let row = &rows.rows()[0];
    let tokenizer = fixture.tokenizer();
    assert!(tokenizer.decode(&row.ids).ends_with("side.<|im_end|>"));
    assert_eq!(row.weights().count(), row.ids.len());
}
