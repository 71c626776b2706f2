//! Vocabularies of SentencePiece's BPE: pieces with scores in place of merges, `▁` for a space, bytes
//! where there is no piece. GGUF files of model `llama` and llama2.c's tokenizers are made of them.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde_json::{Value, json};
use sinterlm_formats::Llama2cTokenizer;
use tokenizers::models::bpe::{BPE, Merges};
use tokenizers::{DecoderWrapper, NormalizerWrapper, Tokenizer as Inner};

use super::marks::TextMarks;
use super::vocabulary::{Kind, Vocabulary};
use super::{Tokenizer, fault, made};
use crate::DataError;

/// The remedy for a file of llama2.c that is none.
const DAMAGED: &str = "export it again with llama2.c's tokenizer.py";

/// What stands for a space.
const SPACE: &str = "\u{2581}";
/// Bytes of the longest piece. SentencePiece makes them of 16 characters; all ways to split one are
/// tried.
const MAX_PIECE_BYTES: usize = 256;

/// A tokenizer that merges two pieces into the one of the highest score first (Kudo and Richardson
/// 2018, <https://arxiv.org/abs/1808.06226>, as llama.cpp does it).
pub(super) fn tokenizer(
    vocabulary: &Vocabulary,
    scores: &[f32],
    add_space_prefix: bool,
) -> Result<Inner, String> {
    let merges = merges(vocabulary, scores)?;
    let unknown = vocabulary
        .entries()
        .find(|(_, _, kind)| *kind == Kind::Unknown);
    let mut model = BPE::builder()
        .vocab_and_merges(vocabulary.ids(), merges)
        .byte_fallback(true)
        .fuse_unk(true);
    if let Some((_, text, _)) = unknown {
        model = model.unk_token(text.to_owned());
    }
    let mut inner = Inner::new(model.build().map_err(|e| e.to_string())?);
    let (normalizer, decoder) = around(add_space_prefix);
    inner
        .with_normalizer(Some(normalizer))
        .with_decoder(Some(decoder));
    Ok(inner)
}

/// What is done to the text before, and to the pieces' texts behind.
fn around(add_space_prefix: bool) -> (NormalizerWrapper, DecoderWrapper) {
    let replace = |from: &str, to: &str| json!({ "type": "Replace", "pattern": { "String": from }, "content": to });
    let mut before = vec![replace(" ", SPACE)];
    let mut behind = vec![
        replace(SPACE, " "),
        json!({ "type": "ByteFallback" }),
        json!({ "type": "Fuse" }),
    ];
    if add_space_prefix {
        before.insert(0, json!({ "type": "Prepend", "prepend": SPACE }));
        behind.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    }
    let before = json!({ "type": "Sequence", "normalizers": before });
    let behind = json!({ "type": "Sequence", "decoders": behind });
    let fixed = "each of these parts is known to `tokenizers`, as a test shows";
    (
        serde_json::from_value(before).expect(fixed),
        serde_json::from_value(behind).expect(fixed),
    )
}

/// All ways to make a piece of two others, those of the highest score first.
fn merges(vocabulary: &Vocabulary, scores: &[f32]) -> Result<Merges, String> {
    let pieces: HashSet<&str> = pieces(vocabulary).map(|(_, text)| text).collect();
    let mut found: Vec<(f32, &str, &str)> = Vec::new();
    for (id, text) in self::pieces(vocabulary) {
        if text.len() > MAX_PIECE_BYTES {
            let len = text.len();
            return Err(format!(
                "token {id} has {len} bytes, a piece has {MAX_PIECE_BYTES} at most"
            ));
        }
        for (left, right) in splits(text, &pieces) {
            found.push((scores[id as usize], left, right));
        }
    }
    // Of equal scores longer beginnings first, as SentencePiece's vocabularies are converted.
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.len().cmp(&a.1.len())));
    let owned = |(_, left, right): (f32, &str, &str)| (left.to_owned(), right.to_owned());
    Ok(found.into_iter().map(owned).collect())
}

/// The pieces that text can become by merging.
fn pieces(vocabulary: &Vocabulary) -> impl Iterator<Item = (u32, &str)> {
    let is_piece = |kind| !matches!(kind, Kind::Control | Kind::Unknown | Kind::Byte);
    let entries = vocabulary.entries();
    entries.filter_map(move |(id, text, kind)| is_piece(kind).then_some((id, text)))
}

/// The ways to make `text` of two pieces.
fn splits<'a>(text: &'a str, pieces: &HashSet<&str>) -> impl Iterator<Item = (&'a str, &'a str)> {
    let cuts = text.char_indices().skip(1);
    let parts = cuts.map(move |(at, _)| text.split_at(at));
    parts.filter(move |(left, right)| pieces.contains(left) && pieces.contains(right))
}

/// llama2.c's `tokenizer.bin`: id 1 begins a text, id 2 ends it, 3 to 258 are the bytes.
pub(super) fn from_llama2c(path: &Path) -> Result<Tokenizer, DataError> {
    let file = Llama2cTokenizer::open(path)?;
    let refuse = |reason: String| fault(path, reason, DAMAGED);
    let (mut texts, mut kinds, mut scores) = (Vec::new(), Vec::new(), Vec::new());
    for (id, token) in file.tokens.into_iter().enumerate() {
        let text = String::from_utf8(token.bytes)
            .map_err(|_| refuse(format!("has token {id} that is not UTF-8")))?;
        let (text, kind) = match id {
            0 => (text, Kind::Unknown),
            1 | 2 => (text.trim().to_owned(), Kind::Control), // written between line breaks
            3..=258 => (text, Kind::Byte),
            _ => (text.replace(' ', SPACE), Kind::Normal),
        };
        texts.push(text);
        kinds.push(kind);
        scores.push(token.score);
    }
    if texts.len() < 3 {
        return Err(refuse("is no tokenizer of llama2.c".to_owned()));
    }
    let vocabulary = Vocabulary::new(texts, kinds).map_err(refuse)?;
    let mut inner = tokenizer(&vocabulary, &scores, true).map_err(refuse)?;
    let marks = TextMarks {
        bos: Some(1),
        eos: Some(2),
        add_bos: true,
        ..TextMarks::default()
    };
    vocabulary.finish(&mut inner, &marks);
    made::wrap(inner, None, marks.eos, path, DAMAGED)
}

/// Whether a `tokenizer.json` puts a space before each text; none where it does not make `▁` of
/// spaces, with nothing else done to the text.
pub(super) fn space_prefix(json: &Value) -> Option<bool> {
    let replaces = |part: &Value| {
        part["type"] == "Replace" && part["pattern"]["String"] == " " && part["content"] == SPACE
    };
    let prepends = |part: &Value| part["type"] == "Prepend" && part["prepend"] == SPACE;
    let (normalizer, pre) = (&json["normalizer"], &json["pre_tokenizer"]);
    if normalizer.is_null() && pre["type"] == "Metaspace" {
        let whole = pre["replacement"] == SPACE && pre["split"] == false;
        return whole.then(|| pre["prepend_scheme"] != "never");
    }
    // A text without spaces is never split at one, as Gemma's would be.
    let splits_nothing = pre["type"] == "Split" && pre["pattern"]["String"] == " ";
    if !pre.is_null() && !splits_nothing {
        return None;
    }
    let parts = normalizer["normalizers"].as_array();
    match parts.map_or(std::slice::from_ref(normalizer), Vec::as_slice) {
        [first, second] if prepends(first) && replaces(second) => Some(true),
        [only] if replaces(only) => Some(false),
        _ => None,
    }
}

/// Scores that let the merges of a `tokenizer.json` happen in their order, or why there are none:
/// a piece has one score, however it is made.
pub(super) fn scores(vocabulary: &Vocabulary, merges: &[(&str, &str)]) -> Result<Vec<f32>, String> {
    let mut ranks: HashMap<String, usize> = HashMap::new();
    let mut last = String::new();
    let runs = leading_runs(merges);
    for (rank, (left, right)) in merges.iter().enumerate() {
        let made = format!("{left}{right}");
        if rank >= runs && made != last && ranks.contains_key(&made) {
            return Err(format!(
                "merges that make `{made}` stand apart, which no score can say"
            ));
        }
        ranks.entry(made.clone()).or_insert(rank);
        last = made;
    }
    let known: HashSet<(&str, &str)> = merges.iter().copied().collect();
    let pieces: HashSet<&str> = pieces(vocabulary).map(|(_, text)| text).collect();
    let mut scores = vec![0.0; vocabulary.len()];
    for (id, text) in self::pieces(vocabulary) {
        if let Some((left, right)) = splits(text, &pieces).find(|pair| !known.contains(pair)) {
            return Err(format!(
                "`{left}` and `{right}` are not merged, which no score can say"
            ));
        }
        let rank = ranks.get(text).copied().unwrap_or(merges.len());
        scores[id as usize] = -(rank as f32);
    }
    Ok(scores)
}

/// How many merges at the beginning make runs of one character, such as Gemma's of spaces, that grow
/// by one character at a time: as long as there is a run to be made longer by one, nothing else is
/// merged, so the order of their other merges does not matter. 0 where some do not.
fn leading_runs(merges: &[(&str, &str)]) -> usize {
    let run = |text: &str| {
        let first = text.chars().next()?;
        text.chars().all(|c| c == first).then_some(first)
    };
    let of_run = |(left, right): &(&str, &str)| run(left).is_some() && run(left) == run(right);
    let count = merges.iter().take_while(|pair| of_run(pair)).count();
    let ranked = merges.iter().enumerate();
    // What begins a run may come later than the others.
    let needed = ranked.filter(|(rank, (left, right))| *rank < count || left == right);
    let ranks: HashMap<(&str, &str), usize> = needed.map(|(rank, pair)| (*pair, rank)).collect();
    let grows = |(left, right): &(&str, &str)| {
        let single = right.chars().next().map_or("", |c| &right[..c.len_utf8()]);
        let shorter = left.len() + right.len() - single.len();
        let longer = [*left, *right, *left].concat();
        let by_one = ranks.get(&(&longer[..shorter], single));
        let begun = ranks.get(&(single, single));
        matches!((by_one, begun), (Some(by_one), Some(begun)) if by_one <= begun)
    };
    if merges[..count].iter().all(grows) {
        count
    } else {
        0
    }
}
