//! Tokenizers in the metadata of GGUF files, both ways. Byte-level BPE (`gpt2`) and SentencePiece's
//! BPE (`llama`); llama.cpp's meaning of the keys counts.

use serde_json::{Value, json};
use sinterlm_formats::{GgufFile, GgufMetadata, GgufValue, TensorSource};
use tokenizers::models::bpe::{BPE, Merges};
use tokenizers::{DecoderWrapper, ModelWrapper, PreTokenizerWrapper, Tokenizer as Inner};

use super::marks::{OTHER_KIND, TextMarks};
use super::pre::{self, Cut};
use super::vocabulary::{Kind, Vocabulary};
use super::{Tokenizer, fault, made, sentencepiece};
use crate::DataError;

/// The remedy for lists that do not fit together.
const DAMAGED: &str =
    "convert the model to GGUF again, or name its tokenizer.json as its tokenizer";
const NO_END: &str =
    "set `tokenizer.ggml.eos_token_id` in it, or name the model's tokenizer.json as its tokenizer";

pub(super) fn read(file: &GgufFile) -> Result<Tokenizer, DataError> {
    let path = file.path();
    let refuse = |reason: String| fault(path, reason, DAMAGED);
    let unknown = |reason: String| fault(path, reason, OTHER_KIND);
    let key = |name: &str| file.field(&format!("tokenizer.ggml.{name}"));
    let model = key("model").map(|field| field.text()).transpose()?;
    let marks = TextMarks::from_gguf(file)?;
    let vocabulary = match model {
        Some("gpt2" | "llama") => vocabulary(file, &marks)?,
        Some(other) => {
            let reason = format!(
                "has a tokenizer of another kind, `tokenizer.ggml.model` is {other:?}; known are gpt2, llama"
            );
            return Err(unknown(reason));
        }
        None => {
            return Err(unknown(
                "has no tokenizer, `tokenizer.ggml.model` is missing".to_owned(),
            ));
        }
    };
    let mut inner = if model == Some("gpt2") {
        let pre = key("pre").map(|field| field.text()).transpose()?;
        if pre.is_none() {
            tracing::warn!(path = %path.display(), "the file does not say how its tokenizer cuts text; llama.cpp's default is taken");
        }
        let cut = Cut::named(pre.unwrap_or("default")).map_err(unknown)?;
        let merges = file.require("tokenizer.ggml.merges")?.texts()?;
        byte_level(&vocabulary, merges, cut).map_err(refuse)?
    } else {
        let scores = file.require("tokenizer.ggml.scores")?.floats()?;
        if scores.len() != vocabulary.len() {
            let (scores, tokens) = (scores.len(), vocabulary.len());
            return Err(refuse(format!("has {scores} scores for {tokens} tokens")));
        }
        let prefix = key("add_space_prefix")
            .map(|field| field.flag())
            .transpose()?;
        sentencepiece::tokenizer(&vocabulary, &scores, prefix.unwrap_or(true)).map_err(refuse)?
    };
    vocabulary.finish(&mut inner, &marks);
    let tokenizer = made::wrap(inner, None, marks.eos, path, NO_END)?;
    for (id, text, kind) in vocabulary.entries() {
        if kind == Kind::Control && tokenizer.encode(text) == [id] {
            return Err(refuse(format!(
                "has the control token {text:?} that ordinary text becomes, too"
            )));
        }
    }
    Ok(tokenizer)
}

/// The tokens with their kinds; where the file has none, the marks are control tokens.
fn vocabulary(file: &GgufFile, marks: &TextMarks) -> Result<Vocabulary, DataError> {
    let refuse = |reason: String| fault(file.path(), reason, DAMAGED);
    let texts = file.require("tokenizer.ggml.tokens")?.texts()?.to_vec();
    let all = [
        marks.bos,
        marks.eos,
        marks.eot,
        marks.padding,
        marks.unknown,
    ];
    if let Some(id) = all
        .into_iter()
        .flatten()
        .find(|id| *id as usize >= texts.len())
    {
        let tokens = texts.len();
        return Err(refuse(format!(
            "names {id} as a mark and has {tokens} tokens"
        )));
    }
    let kinds = if let Some(field) = file.field("tokenizer.ggml.token_type") {
        let kind = |number: i64| {
            Kind::from_number(number)
                .ok_or_else(|| refuse(format!("has a token of the unknown type {number}")))
        };
        let kinds: Result<_, _> = field.ints()?.into_iter().map(kind).collect();
        kinds?
    } else {
        let mut kinds = vec![Kind::Normal; texts.len()];
        for id in [marks.bos, marks.eos, marks.eot].into_iter().flatten() {
            kinds[id as usize] = Kind::Control;
        }
        kinds
    };
    Vocabulary::new(texts, kinds).map_err(refuse)
}

fn byte_level(vocabulary: &Vocabulary, merges: &[String], cut: &Cut) -> Result<Inner, String> {
    let pair = |(rank, merge): (usize, &String)| {
        // The first part may be a space itself.
        let mut places = merge.char_indices().skip(1);
        let found = places.find(|(_, c)| *c == ' ');
        let (at, _) =
            found.ok_or_else(|| format!("has merge {rank} that is no pair, {merge:?}"))?;
        Ok((merge[..at].to_owned(), merge[at + 1..].to_owned()))
    };
    let merges: Result<Merges, String> = merges.iter().enumerate().map(pair).collect();
    let model = BPE::builder()
        .vocab_and_merges(vocabulary.ids(), merges?)
        .ignore_merges(cut.ignores_merges);
    let mut inner = Inner::new(model.build().map_err(|e| e.to_string())?);
    let decoder = json!({ "type": "ByteLevel", "add_prefix_space": false,
                          "trim_offsets": true, "use_regex": true });
    let fixed = "each of these parts is known to `tokenizers`, as a test shows";
    let cut: PreTokenizerWrapper = serde_json::from_value(cut.to_json()).expect(fixed);
    let decoder: DecoderWrapper = serde_json::from_value(decoder).expect(fixed);
    inner
        .with_pre_tokenizer(Some(cut))
        .with_decoder(Some(decoder));
    Ok(inner)
}

/// The metadata of a tokenizer, or why llama.cpp could not use it.
pub(super) fn write(
    tokenizer: &Tokenizer,
    marks: &TextMarks,
    vocab_size: usize,
) -> Result<GgufMetadata, String> {
    if tokenizer.vocab_size() > vocab_size {
        let knows = tokenizer.vocab_size();
        return Err(format!("it knows {knows} tokens, the model {vocab_size}"));
    }
    let json: Value =
        serde_json::from_str(&tokenizer.to_json()).expect("a tokenizer is written as JSON");
    let model = &json["model"];
    let kind = model["type"].as_str().unwrap_or_default();
    if kind != "BPE" {
        return Err(format!("its model is {kind}, not BPE"));
    }
    for option in ["dropout", "continuing_subword_prefix", "end_of_word_suffix"] {
        let value = &model[option];
        if !value.is_null() && value != "" && value.as_f64() != Some(0.0) {
            return Err(format!("its model has {option} {value}"));
        }
    }
    let flag = |name: &str| model[name].as_bool().unwrap_or(false);
    let merges: Vec<(&str, &str)> = model["merges"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|pair| Some((pair[0].as_str()?, pair[1].as_str()?)))
        .collect();
    let mut metadata = GgufMetadata::new();
    let mut put = |key: &str, value: GgufValue| {
        metadata.insert(format!("tokenizer.ggml.{key}"), value);
    };
    let vocabulary = if pre::is_byte_level(&json["pre_tokenizer"]) {
        for normalizer in normalizers(&json["normalizer"]) {
            if normalizer["type"] != "NFC" {
                return Err(format!(
                    "it changes text before cutting it, by {normalizer}"
                ));
            }
            tracing::warn!("llama.cpp does not bring text into form NFC, as this tokenizer does");
        }
        put("model", "gpt2".into());
        let merges_anyway = || merges_anyway(&tokenizer.inner);
        let pre = Cut::name_of(&json["pre_tokenizer"], flag("ignore_merges"), merges_anyway);
        put("pre", pre?.into());
        let merges = merges.iter().map(|(left, right)| format!("{left} {right}"));
        put("merges", merges.collect::<Vec<String>>().into());
        listed(&json, vocab_size, false)?
    } else {
        let prefix = sentencepiece::space_prefix(&json).filter(|_| flag("byte_fallback"));
        let prefix = prefix.ok_or("it is neither byte-level nor like SentencePiece's")?;
        put("model", "llama".into());
        put("add_space_prefix", prefix.into());
        let vocabulary = listed(&json, vocab_size, true)?;
        put(
            "scores",
            sentencepiece::scores(&vocabulary, &merges)?.into(),
        );
        vocabulary
    };
    let (texts, kinds) = vocabulary.into_parts();
    put("tokens", texts.into());
    put("token_type", kinds.into());
    marks.write(&mut metadata);
    Ok(metadata)
}

/// What a `tokenizer.json` does to text before it is cut, one thing after the other.
fn normalizers(json: &Value) -> Vec<&Value> {
    match json["normalizers"].as_array() {
        Some(parts) => parts.iter().flat_map(normalizers).collect(),
        None if json.is_null() => Vec::new(),
        None => vec![json],
    }
}

/// Whether each token that a text may be as a whole comes of merging, so that taking it without
/// merging changes no ids.
fn merges_anyway(tokenizer: &Inner) -> bool {
    let mut other = tokenizer.clone();
    if let ModelWrapper::BPE(model) = tokenizer.get_model() {
        let mut model = model.clone();
        model.ignore_merges = !model.ignore_merges;
        other.with_model(model);
    }
    let ids = |tokenizer: &Inner, text: &str| {
        let encoding = tokenizer.encode_fast(text, false).ok()?;
        Some(encoding.get_ids().to_vec())
    };
    let all = 0..tokenizer.get_vocab_size(true) as u32;
    all.filter_map(|id| tokenizer.decode(&[id], false).ok())
        .all(|text| ids(tokenizer, &text) == ids(&other, &text))
}

/// All tokens of a `tokenizer.json` in the order of their ids, gaps and the model's further rows
/// filled up.
fn listed(json: &Value, vocab_size: usize, has_bytes: bool) -> Result<Vocabulary, String> {
    let unused = |id: usize| (format!("[PAD{id}]"), Kind::Unused);
    let mut tokens: Vec<(String, Kind)> = (0..vocab_size).map(unused).collect();
    let vocab = json["model"]["vocab"].as_object().into_iter().flatten();
    for (text, id) in vocab {
        let is_byte =
            has_bytes && text.len() == 6 && text.starts_with("<0x") && text.ends_with('>');
        let kind = if is_byte { Kind::Byte } else { Kind::Normal };
        place(&mut tokens, id, (text.clone(), kind))?;
    }
    for token in json["added_tokens"].as_array().into_iter().flatten() {
        let kind = match token["special"].as_bool() {
            _ if has_bytes && token["content"] == json["model"]["unk_token"] => Kind::Unknown,
            Some(true) => Kind::Control,
            _ => Kind::UserDefined,
        };
        let text = token["content"].as_str().unwrap_or_default();
        place(&mut tokens, &token["id"], (text.to_owned(), kind))?;
    }
    let (texts, kinds) = tokens.into_iter().unzip();
    Vocabulary::new(texts, kinds)
}

fn place(tokens: &mut [(String, Kind)], id: &Value, token: (String, Kind)) -> Result<(), String> {
    match id.as_u64().and_then(|id| tokens.get_mut(id as usize)) {
        Some(place) => *place = token,
        None => return Err(format!("its token {:?} has the id {id}", token.0)),
    }
    Ok(())
}
