//! The files of llama2.c: weights (`*.bin`) and tokenizers (`tokenizer.bin`).
//!
//! Formats: `legacy_export` and `version1_export` of its `export.py`, read by its `run.c`, and
//! `export` of its `tokenizer.py` (<https://github.com/karpathy/llama2.c>).

use std::{collections::BTreeMap, path::Path, sync::Arc};

use crate::{
    Dtype, FormatError, MappedFile, StoredTensor, TensorSource,
    cursor::Cursor,
    source::{Place, Places},
};

/// The first bytes of files that have a version.
pub(crate) const MAGIC: [u8; 4] = *b"24ka";
/// Where the tensors of a file with a version begin.
const VERSIONED_HEADER_BYTES: u64 = 256;
/// More layers than this count as damage; it bounds what a header can make us allocate.
const MAX_LAYERS: u64 = 10_000;
/// Largest size that tells a legacy header from other bytes: four letters are far above, and no model
/// has a vocabulary, width or context beyond.
const MAX_LEGACY_SIZE: u64 = 1 << 24;
/// Bytes of an F32.
const F32_BYTES: u64 = 4;

/// The sizes in the header of a llama2.c file, in its own words but for the house's spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Llama2cConfig {
    /// Width of the residual stream.
    pub d_model: usize,
    /// Inner width of the feed-forward layers.
    pub d_ff: usize,
    /// Decoder layers.
    pub n_layers: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads.
    pub n_kv_heads: usize,
    /// Tokens.
    pub vocab_size: usize,
    /// Longest context.
    pub max_seq_len: usize,
    /// Whether embedding and output head are one tensor. Legacy files say no by a negative
    /// vocabulary size.
    pub is_tied: bool,
}

/// A llama2.c weight file in F32, legacy or version 1, mapped.
///
/// Tensors have the names of the model that exported them: `tok_embeddings.weight`,
/// `layers.N.attention_norm.weight`, `layers.N.attention.{wq,wk,wv,wo}.weight`,
/// `layers.N.ffn_norm.weight`, `layers.N.feed_forward.{w1,w2,w3}.weight`, `norm.weight`, and
/// `output.weight` unless tied; matrices are `[d_out, d_in]`, rotary pairs lie side by side. The
/// legacy format's RoPE tables follow from the sizes and are passed over.
#[derive(Debug)]
pub struct Llama2cFile {
    config: Llama2cConfig,
    places: Places,
}

impl Llama2cFile {
    /// Maps the file at `path` and checks its size against its header.
    ///
    /// # Errors
    /// [`FormatError::Io`] if the file cannot be opened; [`FormatError::Header`] for sizes that
    /// cannot be and for version 2, which is quantised; [`FormatError::Truncated`] and
    /// [`FormatError::TrailingBytes`] if the file is not exactly as long as its header says.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FormatError> {
        let path = path.as_ref();
        Self::from_map(path, Arc::new(MappedFile::open(path)?))
    }

    /// The same for a file that is mapped or in memory; `path` is for messages.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_map(path: impl AsRef<Path>, map: Arc<MappedFile>) -> Result<Self, FormatError> {
        let path = path.as_ref();
        let (config, data_start, is_legacy) = read_header(path, &map)?;
        let order = if is_legacy {
            legacy_order(&config)
        } else {
            versioned_order(&config)
        };
        let tensors = place_tensors(path, &order, config.n_layers, data_start, map.len() as u64)?;
        let path = path.to_path_buf();
        Ok(Self {
            config,
            places: Places { path, map, tensors },
        })
    }

    /// The sizes in the header.
    pub fn config(&self) -> &Llama2cConfig {
        &self.config
    }
}

impl TensorSource for Llama2cFile {
    fn path(&self) -> &Path {
        &self.places.path
    }

    fn tensor_names(&self) -> Vec<&str> {
        self.places.names()
    }

    fn stored(&self, name: &str) -> Result<StoredTensor, FormatError> {
        self.places.stored(name)
    }
}

/// Whether a file begins as a legacy one can: seven sizes that a model may have. Other files of this
/// extension hold letters, floats or another program's mark there.
pub(crate) fn is_legacy_header(start: &[u8]) -> bool {
    let (sizes, _) = start.as_chunks::<4>();
    let Some(sizes) = sizes.first_chunk::<7>() else {
        return false;
    };
    let [
        d_model,
        d_ff,
        n_layers,
        n_heads,
        n_kv_heads,
        vocab_size,
        max_seq_len,
    ] = sizes.map(|size| u64::from(i32::from_le_bytes(size).unsigned_abs()));
    let negative = |size: &[u8; 4]| i32::from_le_bytes(*size) < 0;
    let signs = sizes
        .iter()
        .enumerate()
        .all(|(at, size)| at == 5 || !negative(size));
    let all = [
        d_model,
        d_ff,
        n_layers,
        n_heads,
        n_kv_heads,
        vocab_size,
        max_seq_len,
    ];
    signs
        && all.iter().all(|size| (1..=MAX_LEGACY_SIZE).contains(size))
        && n_layers <= MAX_LAYERS
        && d_model.is_multiple_of(n_heads)
        && n_heads.is_multiple_of(n_kv_heads)
}

/// Returns the sizes, where the tensors begin, and whether the file is a legacy one.
fn read_header(path: &Path, bytes: &[u8]) -> Result<(Llama2cConfig, u64, bool), FormatError> {
    let mut cursor = Cursor::new(path, bytes);
    let is_legacy = !bytes.starts_with(&MAGIC);
    if !is_legacy {
        cursor.take(MAGIC.len() as u64)?;
        let version = cursor.u32()?;
        if version != 1 {
            return Err(cursor.fault(format!(
                "llama2.c version {version} is not supported, export the model as version 0 or 1"
            )));
        }
    }
    let mut sizes = [0i32; 7];
    for size in &mut sizes {
        *size = i32::from_le_bytes(cursor.array()?);
    }
    let is_tied = if is_legacy {
        sizes[5] > 0
    } else {
        cursor.u8()? != 0
    };
    if is_legacy {
        sizes[5] = sizes[5].saturating_abs();
    }
    if let Some(size) = sizes.iter().find(|size| **size <= 0) {
        return Err(cursor.fault(format!(
            "read as llama2.c weights, the header {sizes:?} holds the size {size}"
        )));
    }
    let [
        d_model,
        d_ff,
        n_layers,
        n_heads,
        n_kv_heads,
        vocab_size,
        max_seq_len,
    ] = sizes.map(|size| size as usize);
    if !d_model.is_multiple_of(n_heads) || !n_heads.is_multiple_of(n_kv_heads) {
        return Err(cursor.fault(format!(
            "{n_kv_heads} key heads, {n_heads} heads and width {d_model} do not divide each other"
        )));
    }
    if n_layers as u64 > MAX_LAYERS {
        return Err(cursor.fault(format!("{n_layers} layers are more than {MAX_LAYERS}")));
    }
    let config = Llama2cConfig {
        d_model,
        d_ff,
        n_layers,
        n_heads,
        n_kv_heads,
        vocab_size,
        max_seq_len,
        is_tied,
    };
    let data_start = if is_legacy {
        cursor.position() as u64
    } else {
        VERSIONED_HEADER_BYTES
    };
    Ok((config, data_start, is_legacy))
}

/// What comes next in the file: tensors of one shape, one after the other.
struct Run {
    /// Without `layers.N.` and `.weight`; empty for numbers that nobody needs.
    name: &'static str,
    /// Whether there is one for each layer.
    is_layered: bool,
    shape: Vec<usize>,
}

fn single(name: &'static str, shape: &[usize]) -> Run {
    Run {
        name,
        is_layered: false,
        shape: shape.into(),
    }
}

fn layered(name: &'static str, shape: &[usize]) -> Run {
    Run {
        name,
        is_layered: true,
        shape: shape.into(),
    }
}

fn attention(c: &Llama2cConfig) -> [Run; 4] {
    let (d, kv) = (c.d_model, c.d_model / c.n_heads * c.n_kv_heads);
    [
        layered("attention.wq", &[d, d]),
        layered("attention.wk", &[kv, d]),
        layered("attention.wv", &[kv, d]),
        layered("attention.wo", &[d, d]),
    ]
}

fn feed_forward(c: &Llama2cConfig) -> [Run; 3] {
    let (d, ff) = (c.d_model, c.d_ff);
    [
        layered("feed_forward.w1", &[ff, d]),
        layered("feed_forward.w2", &[d, ff]),
        layered("feed_forward.w3", &[ff, d]),
    ]
}

fn legacy_order(c: &Llama2cConfig) -> Vec<Run> {
    let d = c.d_model;
    let mut order = vec![
        single("tok_embeddings", &[c.vocab_size, d]),
        layered("attention_norm", &[d]),
    ];
    order.extend(attention(c));
    order.push(layered("ffn_norm", &[d]));
    order.extend(feed_forward(c));
    order.push(single("norm", &[d]));
    order.push(single("", &[2, c.max_seq_len, d / c.n_heads / 2])); // cos and sin
    if !c.is_tied {
        order.push(single("output", &[c.vocab_size, d]));
    }
    order
}

fn versioned_order(c: &Llama2cConfig) -> Vec<Run> {
    let d = c.d_model;
    let mut order = vec![
        layered("attention_norm", &[d]),
        layered("ffn_norm", &[d]),
        single("norm", &[d]),
        single("tok_embeddings", &[c.vocab_size, d]),
    ];
    order.extend(attention(c));
    order.extend(feed_forward(c));
    if !c.is_tied {
        order.push(single("output", &[c.vocab_size, d]));
    }
    order
}

/// Lays the runs out from `data_start` on; they must end where the file ends.
fn place_tensors(
    path: &Path,
    order: &[Run],
    n_layers: usize,
    data_start: u64,
    file_size: u64,
) -> Result<BTreeMap<String, Place>, FormatError> {
    let count = |run: &Run| if run.is_layered { n_layers } else { 1 };
    let size = |run: &Run| {
        let axes = run.shape.iter().map(|n| *n as u64);
        axes.fold(F32_BYTES, u64::saturating_mul)
    };
    let needed = order.iter().fold(data_start, |end, run| {
        end.saturating_add(size(run).saturating_mul(count(run) as u64))
    });
    match file_size.checked_sub(needed) {
        Some(0) => {}
        Some(extra) => {
            let path = path.to_path_buf();
            return Err(FormatError::TrailingBytes { path, extra });
        }
        None => {
            return Err(FormatError::Truncated {
                path: path.to_path_buf(),
                found: file_size,
                needed,
            });
        }
    }
    let mut tensors = BTreeMap::new();
    let mut start = data_start as usize;
    for run in order {
        for layer in 0..count(run) {
            let range = start..start + size(run) as usize;
            start = range.end;
            let name = match run {
                Run { name: "", .. } => continue,
                Run {
                    name,
                    is_layered: true,
                    ..
                } => format!("layers.{layer}.{name}.weight"),
                Run { name, .. } => format!("{name}.weight"),
            };
            let (dtype, shape) = (Dtype::F32.into(), run.shape.clone());
            tensors.insert(
                name,
                Place {
                    dtype,
                    shape,
                    range,
                },
            );
        }
    }
    Ok(tensors)
}

/// A token of a [`Llama2cTokenizer`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ScoredToken {
    /// The token's text; single bytes are written `<0x0A>`, as in sentencepiece.
    pub bytes: Vec<u8>,
    /// Merges with higher scores come first.
    pub score: f32,
}

/// The content of a llama2.c `tokenizer.bin`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Llama2cTokenizer {
    /// Bytes of the longest token, as the header says.
    pub max_token_bytes: usize,
    /// The tokens in the order of their ids.
    pub tokens: Vec<ScoredToken>,
}

impl Llama2cTokenizer {
    /// Reads the file at `path` to its end.
    ///
    /// # Errors
    /// [`FormatError::Io`] if it cannot be opened, [`FormatError::Truncated`] if it ends within a
    /// token, [`FormatError::Header`] for a negative length.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FormatError> {
        let path = path.as_ref();
        Self::from_bytes(path, &MappedFile::open(path)?)
    }

    /// The same for bytes in memory; `path` is for messages.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(path: impl AsRef<Path>, bytes: &[u8]) -> Result<Self, FormatError> {
        let mut cursor = Cursor::new(path.as_ref(), bytes);
        let max_token_bytes = read_length(&mut cursor)? as usize;
        let mut tokens = Vec::new();
        while cursor.remaining() > 0 {
            let score = f32::from_le_bytes(cursor.array()?);
            let length = read_length(&mut cursor)?;
            let bytes = cursor.take(length)?.to_vec();
            tokens.push(ScoredToken { bytes, score });
        }
        Ok(Self {
            max_token_bytes,
            tokens,
        })
    }
}

fn read_length(cursor: &mut Cursor<'_>) -> Result<u64, FormatError> {
    let length = i32::from_le_bytes(cursor.array()?);
    u64::try_from(length).map_err(|_| cursor.fault(format!("{length} is no length")))
}
