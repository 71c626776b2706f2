//! The progress of preparing text, as plain data.

/// What a preparation is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Fetching files.
    Download,
    /// Reading the text once, to split it and to sample it for the tokenizer.
    Read,
    /// Training the tokenizer; takes seconds and reports no progress inside.
    TrainTokenizer,
    /// Reading the text again and writing its tokens.
    Tokenize,
}

/// How far preparing has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What it is doing.
    pub stage: Stage,
    /// Bytes of text, or of a download, that are done.
    pub done: u64,
    /// Bytes in all, where known.
    pub total: Option<u64>,
}
