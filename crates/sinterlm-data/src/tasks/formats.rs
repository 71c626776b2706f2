//! Formats in which the answer to an operation can be asked for, and the combinations that are
//! never trained on.

use sinterlm_config::KeyRng;

use super::words::pick;

/// A format: its name, how it is asked for and how words are written in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Format {
    pub(super) name: &'static str,
    phrases: &'static [&'static str],
    pub(super) write: fn(&[String]) -> String,
}

impl Format {
    /// A sentence that asks for this format.
    pub(super) fn phrase(&self, rng: &mut KeyRng) -> &'static str {
        pick::<&str>(rng, self.phrases)
    }
}

/// All formats.
pub(super) const FORMATS: &[Format] = &[
    Format {
        name: "capitals",
        phrases: &[
            "Answer in capital letters.",
            "Use capital letters only.",
            "Write the answer in capitals.",
        ],
        write: |words| plain(words).to_ascii_uppercase(),
    },
    Format {
        name: "quotes",
        phrases: &[
            "Put the answer in quotes.",
            "Answer in quotation marks.",
            "Write quotes around the answer.",
        ],
        write: |words| format!("\"{}\"", plain(words)),
    },
    Format {
        name: "stop",
        phrases: &[
            "End with a full stop.",
            "Put a full stop at the end.",
            "Close the answer with a full stop.",
        ],
        write: |words| format!("{}.", plain(words)),
    },
    Format {
        name: "json",
        phrases: &[
            "Answer as JSON.",
            "Give the answer as a JSON object.",
            "Write the answer in JSON.",
        ],
        write: |words| format!("{{\"answer\": \"{}\"}}", plain(words)),
    },
    Format {
        name: "dashes",
        phrases: &[
            "Answer as a list with dashes.",
            "Write each word on its own line after a dash.",
            "Use a line with a dash for each word.",
        ],
        write: |words| format!("- {}", words.join("\n- ")),
    },
    Format {
        name: "brackets",
        phrases: &[
            "Put the answer in brackets.",
            "Answer in brackets.",
            "Write brackets around the answer.",
        ],
        write: |words| format!("({})", plain(words)),
    },
];

/// Combinations of an operation and a format that no training record has. Each operation and each
/// format is trained on in several others.
pub(super) const HELD_OUT: &[(&str, &str)] = &[
    ("sort", "capitals"),
    ("reverse", "quotes"),
    ("first", "json"),
    ("last", "dashes"),
    ("opposite", "stop"),
    ("plural", "brackets"),
    ("pick", "json"),
    ("reverse", "capitals"),
];

/// Words as they are written where no format is asked for: in small letters, with commas.
pub(super) fn plain(words: &[String]) -> String {
    words.join(", ")
}
