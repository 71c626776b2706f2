//! The crate's one error type.

use std::path::PathBuf;

use thiserror::Error;

use crate::RecordPlace;

/// What can be wrong with text, tokenizers and token stores.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file or folder could not be read or written.
    #[error("{path}: cannot {action}; {remedy}", path = path.display(), remedy = io_remedy(source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, such as `read`.
        action: &'static str,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A file of crate `sinterlm-formats` could not be written or mapped.
    #[error(transparent)]
    Format(#[from] sinterlm_formats::FormatError),
    /// A tokenizer could not be used.
    #[error("{path}: {reason}; {remedy}", path = path.display())]
    Tokenizer {
        /// The file or folder of the tokenizer.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A tokenizer has no form in a GGUF file.
    #[error(
        "the tokenizer cannot be written into a GGUF file: {reason}; write a Hugging Face folder instead"
    )]
    TokenizerExport {
        /// What stands against it.
        reason: String,
    },
    /// Training a tokenizer found less text than its vocabulary needs.
    #[error(
        "tokenizer.vocab_size: the training text yields only {found} tokens, {wanted} were asked for; lower it to {found} or add text"
    )]
    VocabularyTooLarge {
        /// The vocabulary size of the configuration.
        wanted: usize,
        /// The most that the text yields.
        found: usize,
    },
    /// A token store is damaged.
    #[error("{path}: {fault}; delete the file's folder, it is made again from the text", path = path.display())]
    CorruptStore {
        /// The store's file.
        path: PathBuf,
        /// Which check failed.
        fault: String,
    },
    /// A token store was written with another tokenizer.
    #[error(
        "{path}: made with tokenizer {found}, this run's is {expected}; delete the file's folder, it is made again from the text",
        path = path.display()
    )]
    StoreTokenizer {
        /// The store's file.
        path: PathBuf,
        /// Fingerprint (shortened) in the store.
        found: String,
        /// Fingerprint (shortened) of the tokenizer in use.
        expected: String,
    },
    /// The training text is shorter than one window.
    #[error(
        "the training text has {tokens} tokens to predict, one window needs model.max_seq_len = {seq_len}; add text or lower model.max_seq_len to {tokens} or less"
    )]
    TooShort {
        /// Tokens to predict in it.
        tokens: u64,
        /// Length of one window.
        seq_len: usize,
    },
    /// A split has no document.
    #[error("the {split} split holds no document; {remedy}")]
    EmptySplit {
        /// `training` or `validation`.
        split: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// The validation text is the training text.
    #[error("{path}: {fault}; leave the validation text out to hold back a share of the training text, or give another one", path = path.display())]
    SameText {
        /// The validation text.
        path: PathBuf,
        /// How it is the same.
        fault: String,
    },
    /// The text is not the one that the configuration was recorded with.
    #[error(
        "data.fingerprint: the source's content is {found}, this configuration was recorded with {expected}; restore the files or remove the key to accept the new content"
    )]
    SourceChanged {
        /// Fingerprint of the text now.
        found: String,
        /// Fingerprint in the configuration.
        expected: String,
    },
    /// A text source names no file.
    #[error("no path of a text is given; name at least one file or folder")]
    NoPaths,
    /// A path of a text source does not exist.
    #[error("{path}: no such file or folder; check the spelling, relative paths start at the working directory", path = path.display())]
    SourceMissing {
        /// The path.
        path: PathBuf,
    },
    /// A file or folder of a text source cannot be read.
    #[error("{path}: cannot be read; check what it is and that its permissions allow it", path = path.display())]
    SourceRead {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A path of a text source has no document.
    #[error("{path}: holds no document; give a file or folder with text in it", path = path.display())]
    NoDocuments {
        /// The path.
        path: PathBuf,
    },
    /// A file that should hold text has a zero byte.
    #[error(
        "{path}: byte {offset} is zero, so this is not UTF-8 text; convert it (from UTF-16, Parquet, zip, ...) or take it out",
        path = path.display()
    )]
    BinaryText {
        /// The file.
        path: PathBuf,
        /// Offset in the decompressed text, in bytes from 0.
        offset: u64,
    },
    /// A text is not UTF-8.
    #[error(
        "{path}: byte {offset} (0x{byte:02x}) is not UTF-8; convert the file or set data.invalid_utf8 = \"replace\"",
        path = path.display()
    )]
    InvalidUtf8 {
        /// The file.
        path: PathBuf,
        /// Offset in the decompressed text, in bytes from 0.
        offset: u64,
        /// The byte found there.
        byte: u8,
    },
    /// A compressed file cannot be decompressed to its end.
    #[error(
        "{path}: the {format} data is cut off or damaged after {offset} bytes of text; fetch or compress the file again",
        path = path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// `gzip` or `zstd`.
        format: &'static str,
        /// Bytes of decompressed text that were used before.
        offset: u64,
        /// The decoder's reason.
        #[source]
        source: std::io::Error,
    },
    /// A record is not JSON.
    #[error(
        "{path}: {place}, column {column} is not valid JSON: {fault}; each line has to hold one object, or the file one array of objects",
        path = path.display()
    )]
    JsonSyntax {
        /// The file.
        path: PathBuf,
        /// The record, with the line of the fault.
        place: RecordPlace,
        /// The byte of the line, from 1.
        column: u64,
        /// What is wrong.
        fault: String,
    },
    /// A record's text has half of a character that UTF-16 writes as two, which is no text.
    #[error(
        "{path}: {place}, column {column}: `{escape}` is half of a character (a lone surrogate); mend the text or set data.invalid_utf8 = \"replace\"",
        path = path.display()
    )]
    LoneSurrogate {
        /// The file.
        path: PathBuf,
        /// The record, with the line of the fault.
        place: RecordPlace,
        /// The byte of the line, from 1.
        column: u64,
        /// The escape as it is written.
        escape: String,
    },
    /// A record is JSON, but no object.
    #[error(
        "{path}: {place} is {found}, not an object; each record has to be like {{\"text\": \"...\"}}",
        path = path.display()
    )]
    JsonNotObject {
        /// The file.
        path: PathBuf,
        /// The record.
        place: RecordPlace,
        /// What it is, such as `an array`.
        found: &'static str,
    },
    /// A record has no such field.
    #[error("{path}: {place} has no field `{field}`, {hint}; set data.text_field to the field of the text", path = path.display())]
    JsonField {
        /// The file.
        path: PathBuf,
        /// The record.
        place: RecordPlace,
        /// The field asked for.
        field: String,
        /// The nearest field, or the fields that there are.
        hint: String,
    },
    /// A record's text field is no string.
    #[error("{path}: {place}, field `{field}` is {found}, not a string; mend the record or choose another data.text_field", path = path.display())]
    JsonFieldType {
        /// The file.
        path: PathBuf,
        /// The record.
        place: RecordPlace,
        /// The field.
        field: String,
        /// What it holds, such as `a number`.
        found: &'static str,
    },
    /// A name cannot be one of the Hub.
    #[error(
        "hub {what} `{name}`: not a usable name; write it as on the Hub, like `owner/name`, without `..` or empty parts"
    )]
    HubName {
        /// `repo`, `revision` or `file`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A Hub file is not cached and the network is to be left alone.
    #[error(
        "{file}: not in the local Hub cache and this run is offline; run once without --offline and HF_HUB_OFFLINE, or give a local file"
    )]
    HubOffline {
        /// The file.
        file: String,
    },
    /// A Hub file is larger than may be downloaded.
    #[error(
        "{file}: {size_bytes} bytes to download, the limit is {max_bytes}; raise data.max_download_bytes or give a local file"
    )]
    HubTooLarge {
        /// The file.
        file: String,
        /// Its size in bytes.
        size_bytes: u64,
        /// The limit in bytes.
        max_bytes: u64,
    },
    /// The Hub refuses a file.
    #[error(
        "{url}: refused with status {status}; {remedy}", remedy = hub_remedy(*status)
    )]
    HubRefused {
        /// The address.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// A transfer from the Hub kept failing.
    #[error(
        "{url}: failed {attempts} times in a row; check the network and HF_ENDPOINT and run again (what has come is kept), or give a local file"
    )]
    HubTransfer {
        /// The address.
        url: String,
        /// Failures in a row.
        attempts: u32,
        /// The last failure.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A server's answer is not a Hub's.
    #[error("{url}: the server {fault}; check that HF_ENDPOINT is a Hub, or give a local file")]
    HubAnswer {
        /// The address.
        url: String,
        /// What the server does.
        fault: String,
    },
    /// A downloaded file has another hash than announced; it was deleted.
    #[error(
        "{url}: the bytes received hash to {found}, the server announced {expected}; they were deleted, run again or use another HF_ENDPOINT"
    )]
    HubCorrupt {
        /// The address.
        url: String,
        /// Hash announced, in hexadecimal.
        expected: String,
        /// Hash of what came.
        found: String,
    },
    /// A repository of the Hub holds no model that can be loaded.
    #[error("{path}: {fault}; name a repository with weights in safetensors or PyTorch's form, or `hub:owner/name/FILE.gguf`", path = path.display())]
    HubIndex {
        /// The repository, or its index of shards.
        path: PathBuf,
        /// What is wrong.
        fault: String,
    },
    /// A chat template cannot be read, or refuses a conversation.
    #[error("{name}, line {line}: {fault}; check the template and the order of roles")]
    Template {
        /// File that the template is from.
        name: String,
        /// Line of the template, from 1; 0 where it is not known.
        line: usize,
        /// What is wrong.
        fault: String,
    },
    /// Hygiene left no record.
    #[error("{}", left_none(*given, steps))]
    HygieneEmpty {
        /// Records in front of the first step.
        given: u64,
        /// What each step took.
        steps: String,
    },
    /// A step of hygiene cannot run.
    #[error("hygiene step `{step}`: {fault}")]
    HygieneStep {
        /// The step.
        step: &'static str,
        /// What is wrong, and the remedy.
        fault: String,
    },
    /// There are too few records to split.
    #[error(
        "{records} records form {clusters} groups that have to stay together, too few for {wanted} splits; give more records, or set a fraction of the split to 0"
    )]
    SplitTooSmall {
        /// Records to split.
        records: usize,
        /// Groups of near-duplicates or of one prompt.
        clusters: usize,
        /// Splits asked for.
        wanted: usize,
    },
    /// The form of a config is the model's chat template, and there is none.
    #[error(
        "rows.template is chat, and the model has no chat template; use alpaca or another form, or a model that has one"
    )]
    NoChatTemplate,
    /// A form cannot write a record.
    #[error("{form} template: {fault}")]
    Rendering {
        /// Name of the form, or file of the template.
        form: String,
        /// What is wrong, and the remedy where there is one.
        fault: String,
    },
    /// A template has `{% generation %}` marks, and none of them is around an answer.
    #[error(
        "{template}: its {{% generation %}} marks hold no text of this conversation's answers; put them around the answer and the token that ends it, or take them out"
    )]
    NoMarkedAnswer {
        /// File of the template.
        template: String,
    },
    /// A row is too long, and is to be an error.
    #[error(
        "{tokens} tokens, the most are {max}; raise rows.max_seq_len, or set rows.truncation to right, left, middle_of_prompt or drop"
    )]
    RowTooLong {
        /// Tokens of the row.
        tokens: usize,
        /// The limit.
        max: usize,
    },
    /// No token of a record is trained.
    #[error("no token of it is trained{reason}; {remedy}",
        reason = if *cut { ", as what is left of it holds no answer" } else { "" },
        remedy = if *cut {
            "set rows.truncation to middle_of_prompt, or rows.unusable to drop"
        } else {
            "check its weight and rows.labels, or set rows.unusable to drop"
        }
    )]
    NothingTrained {
        /// Whether the row was cut.
        cut: bool,
    },
    /// What is wrong with a record.
    #[error("{origin}: cannot be trained on")]
    InRecord {
        /// Where the record came from.
        origin: String,
        /// The fault.
        #[source]
        source: Box<DataError>,
    },
    /// No record gave a row.
    #[error(
        "none of {records} records gives a row to train on{}; check rows.template and rows.labels",
        if example.is_empty() { String::new() } else { format!(" (the first: {example})") }
    )]
    NoRows {
        /// Records that were read.
        records: usize,
        /// The first of them, with the reason.
        example: String,
    },
    /// A mixture does not fit its sets.
    #[error(
        "mixture.weights has {weights} weights for {sets} sets; give one for each, or leave it out"
    )]
    MixtureWeights {
        /// Weights.
        weights: usize,
        /// Sets.
        sets: usize,
    },
    /// The first record of a file has no known form, or more than one.
    #[error(
        "{path}: {place} has the fields {fields}, {fault}; set data.form to one of alpaca, completion, messages, share_gpt, labelled and preference, and data.fields where a field has another name",
        path = path.display()
    )]
    RecordForm {
        /// The file.
        path: PathBuf,
        /// The record.
        place: RecordPlace,
        /// Its fields.
        fields: String,
        /// Why the form is unknown.
        fault: String,
    },
    /// A record cannot be used.
    #[error(
        "{path}: {place}: {fault}{excerpt}; mend the record, or set data.bad_records = \"skip\" to leave such ones out",
        path = path.display()
    )]
    Record {
        /// The file.
        path: PathBuf,
        /// The record, with the line of the fault.
        place: RecordPlace,
        /// What is wrong with it, with the field.
        fault: String,
        /// How it begins, in words; empty where that is not known.
        excerpt: String,
    },
    /// More records cannot be used than may be left out.
    #[error(
        "more than {limit} records cannot be used; mend the file, set data.form or data.fields, or raise data.max_bad_records"
    )]
    TooManyBadRecords {
        /// The most that may be left out.
        limit: u64,
        /// The last of them.
        #[source]
        last: Box<DataError>,
    },
    /// A file or folder of records has none.
    #[error("{path}: holds no record that can be used; give a file or folder with JSON, CSV, TSV or Parquet", path = path.display())]
    NoRecords {
        /// The path.
        path: PathBuf,
    },
    /// A Parquet file, and this build cannot read any.
    #[error("{path}: is a Parquet file, which needs the feature `parquet`; build with --features parquet, or convert it to JSONL", path = path.display())]
    ParquetFeature {
        /// The file.
        path: PathBuf,
    },
    /// A Parquet file cannot be read.
    #[error("{path}: {fault}; fetch or write the file again, with Snappy or without compression", path = path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: String,
    },
    /// A data set of the Hub has no file of records.
    #[error(
        "{repo}: has no training file in JSON, CSV, TSV or Parquet, among its files are: {files}; name them in data.source.train"
    )]
    HubNoRecords {
        /// The repository.
        repo: String,
        /// Some of its files.
        files: String,
    },
    /// The records are no longer those that a run read.
    #[error(
        "data.fingerprint: the records are not those that the run read ({}); put them back, or remove data.fingerprint to use them as they are",
        sources.join(", ")
    )]
    RecordsChanged {
        /// What was read now.
        sources: Vec<String>,
    },
    /// Two sets of a mixture have a file in common.
    #[error(
        "data.sets.{second}: reads what data.sets.{first} reads, too ({place}); a record belongs to one set"
    )]
    SetsShare {
        /// Number of the set, from 0.
        first: usize,
        /// Number of the other set.
        second: usize,
        /// A record that both have.
        place: String,
    },
    /// Validation and test records are the same.
    #[error(
        "every validation record is nearly the same as a test record, or asks the same; give other ones"
    )]
    ValidIsTest,
    /// Every training record stands together with one that is held out.
    #[error(
        "no training record is left: {leaked} of them are validation or test records, too; give other ones"
    )]
    NothingToTrain {
        /// Records that were left out.
        leaked: u64,
    },
    /// The form beside a model's weights cannot be used.
    #[error("{path}: {fault}; mend the file, or take it out and give prompts as whole texts", path = path.display())]
    FormFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
    /// A record holds no text to classify.
    #[error("{path}, {place}, {field}: {fault}", path = path.display())]
    TextRecord {
        /// The file.
        path: PathBuf,
        /// Where the record stands.
        place: RecordPlace,
        /// The field at fault, or `record` for the record as a whole.
        field: String,
        /// What is wrong and the remedy.
        fault: String,
    },
}

fn left_none(given: u64, steps: &str) -> String {
    match given {
        0 => "there is no record to clean; check the files and the mapping of their fields".into(),
        _ => format!(
            "hygiene left none of {given} records: {steps}; loosen that step or take it out"
        ),
    }
}

fn hub_remedy(status: u16) -> &'static str {
    match status {
        401 | 403 => {
            "it is private, gated or not there: check the name, accept its terms on its page, and set \
             HF_TOKEN to a token of yours that may read it"
        }
        404 => "check repo, revision and file",
        _ => "check repo, revision, file and HF_ENDPOINT",
    }
}

fn io_remedy(source: &std::io::Error) -> &'static str {
    match source.kind() {
        std::io::ErrorKind::StorageFull => "free space or choose another data.cache_dir",
        std::io::ErrorKind::NotFound => "check that the path exists",
        std::io::ErrorKind::PermissionDenied => "check the permissions",
        _ => "check the path and the disk",
    }
}
