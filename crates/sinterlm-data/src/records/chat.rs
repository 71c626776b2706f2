//! Conversations in records: OpenAI's messages, ShareGPT's turns, and dialogues written into one text.

use super::columns::{Fault, wrong_type};
use crate::source::kind;
use crate::{ChatMessage, Json, JsonMap};

/// The messages of a field's list.
pub(super) fn messages(name: &str, value: Json) -> Result<Vec<ChatMessage>, Fault> {
    let Json::List(items) = value else {
        return Err(wrong_type(name, &value, "a list of messages"));
    };
    let numbered = items.into_iter().enumerate();
    numbered
        .map(|(number, item)| {
            let at = format!("{name}.{number}");
            match item {
                Json::Map(map) => message(&at, map),
                other => Err(wrong_type(&at, &other, "a message")),
            }
        })
        .collect()
}

/// One message: `role` and `content`, or `from` and `value`.
pub(super) fn message(at: &str, mut map: JsonMap) -> Result<ChatMessage, Fault> {
    let (role_name, content_name) = if map.get("role").is_some() || map.get("from").is_none() {
        ("role", "content")
    } else {
        ("from", "value")
    };
    let role = match map.take(role_name) {
        Some(Json::Text(role)) if !role.trim().is_empty() => role,
        Some(other) => return Err(wrong_type(&format!("{at}.{role_name}"), &other, "a role")),
        None => return Err(format!("`{at}` has no `{role_name}`")),
    };
    let content = match map.take(content_name) {
        Some(content) => self::content(&format!("{at}.{content_name}"), content)?,
        // A call of a tool may come without any text.
        None if map.get("tool_calls").is_some() => String::new(),
        None => return Err(format!("`{at}` has no `{content_name}`")),
    };
    Ok(ChatMessage {
        role: if role_name == "from" {
            usual_role(role)
        } else {
            role
        },
        content,
        extra: map,
    })
}

/// OpenAI's name of a role that ShareGPT calls otherwise; roles that nobody knows stay.
fn usual_role(role: String) -> String {
    match &*role.to_lowercase() {
        "human" => "user".into(),
        "gpt" | "chatgpt" | "bing" | "bard" | "model" => "assistant".into(),
        "observation" | "function_response" => "tool".into(),
        _ => role,
    }
}

/// The text of a content: a string, nothing, or a list of text parts.
fn content(at: &str, value: Json) -> Result<String, Fault> {
    match value {
        Json::Text(text) => Ok(text),
        Json::Null => Ok(String::new()),
        Json::List(parts) => parts
            .into_iter()
            .enumerate()
            .map(|(number, part)| {
                let at = format!("{at}.{number}");
                match part {
                    Json::Text(text) => Ok(text),
                    Json::Map(mut part) => {
                        match (part.get("type").and_then(Json::as_str), part.get("text")) {
                            (Some("text") | None, Some(Json::Text(_))) => {
                                let text = part.take("text");
                                Ok(text
                                    .as_ref()
                                    .and_then(Json::as_str)
                                    .unwrap_or_default()
                                    .to_owned())
                            }
                            (Some(other), _) if other != "text" => Err(format!(
                                "`{at}` is a part of type `{other}`; only text can be read"
                            )),
                            _ => Err(format!("`{at}` is a part without `text`")),
                        }
                    }
                    other => Err(wrong_type(&at, &other, "a part of a text")),
                }
            })
            .collect(),
        other => Err(format!("`{at}` is {}, not a string", kind(&other))),
    }
}

/// Whether a message is an answer that can be learnt.
pub(super) fn is_answer(message: &ChatMessage) -> bool {
    let calls = message.extra.get("tool_calls");
    let has_calls = matches!(calls, Some(Json::List(calls)) if !calls.is_empty());
    message.role == "assistant" && (!message.content.trim().is_empty() || has_calls)
}

/// The turns of a dialogue in one text, as Anthropic's hh-rlhf writes them: each behind a blank line
/// and `Human:` or `Assistant:`. None where the text does not begin so.
pub(super) fn dialogue(text: &str) -> Option<Vec<ChatMessage>> {
    const HUMAN: &str = "\n\nHuman:";
    const ASSISTANT: &str = "\n\nAssistant:";
    let start = text.trim_start();
    let (mut role, mut rest) = match start.strip_prefix(HUMAN.trim_start()) {
        Some(rest) => ("user", rest),
        None => ("assistant", start.strip_prefix(ASSISTANT.trim_start())?),
    };
    let mut turns = Vec::new();
    loop {
        let next = [(HUMAN, "user"), (ASSISTANT, "assistant")].into_iter();
        let next = next.filter_map(|(mark, role)| Some((rest.find(mark)?, mark, role)));
        let Some((end, mark, next_role)) = next.min() else {
            turns.push(ChatMessage::new(role, rest.trim()));
            return Some(turns);
        };
        turns.push(ChatMessage::new(role, rest[..end].trim()));
        (role, rest) = (next_role, &rest[end + mark.len()..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Vec<ChatMessage>, Fault> {
        messages("messages", serde_json::from_str(json).unwrap())
    }

    #[test]
    fn contents_may_be_texts_parts_or_nothing_beside_a_call() {
        let read = read(
            r#"[{"role":"developer","content":[{"type":"text","text":"a"},{"text":"b"},"c"]},
                {"role":"assistant","content":null,"tool_calls":[{"id":1}],"name":"x"},
                {"role":"assistant","tool_calls":[]}]"#,
        )
        .unwrap();
        let contents: Vec<(&str, &str)> = read.iter().map(|m| (&*m.role, &*m.content)).collect();
        assert_eq!(
            contents,
            [("developer", "abc"), ("assistant", ""), ("assistant", "")]
        );
        let names: Vec<&str> = read[1].extra.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["tool_calls", "name"]);
        let answers: Vec<bool> = read.iter().map(is_answer).collect();
        assert_eq!(answers, [false, true, false]);
    }

    #[test]
    fn roles_get_their_usual_names_and_unknown_ones_stay() {
        let read = read(
            r#"[{"from":"human","value":"a"},{"from":"gpt","value":"b"},{"from":"observation","value":"c"},
                {"from":"Narrator","value":"d"},{"role":"human","content":"e"}]"#,
        )
        .unwrap();
        let roles: Vec<&str> = read.iter().map(|m| &*m.role).collect();
        assert_eq!(roles, ["user", "assistant", "tool", "Narrator", "human"]);
    }

    #[test]
    fn faults_of_messages_name_the_place_in_the_record() {
        for (json, fault) in [
            (
                r#"{"role":"user"}"#,
                "field `messages` is an object, not a list of messages",
            ),
            ("[1]", "field `messages.0` is a number, not a message"),
            (r#"[{"role":"user"}]"#, "`messages.0` has no `content`"),
            (r#"[{"content":"a"}]"#, "`messages.0` has no `role`"),
            (
                r#"[{"role":"user","content":7}]"#,
                "`messages.0.content` is a number, not a string",
            ),
            (
                r#"[{"role":"user","content":[{"type":"image_url","image_url":""}]}]"#,
                "`messages.0.content.0` is a part of type `image_url`; only text can be read",
            ),
        ] {
            assert_eq!(read(json).unwrap_err(), fault);
        }
    }

    #[test]
    fn a_dialogue_in_one_text_falls_into_its_turns() {
        let turns =
            dialogue("\n\nHuman: a: Human: b\n\nAssistant:\n\nHuman: c\nd\n\nAssistant: e ")
                .unwrap();
        let turns: Vec<(&str, &str)> = turns.iter().map(|m| (&*m.role, &*m.content)).collect();
        let expected = [
            ("user", "a: Human: b"),
            ("assistant", ""),
            ("user", "c\nd"),
            ("assistant", "e"),
        ];
        assert_eq!(turns, expected);
        assert_eq!(dialogue("An answer.\n\nHuman: a"), None);
    }
}
