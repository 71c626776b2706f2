//! Activations behind the frozen blocks of a decoder, computed once for each row and kept in a file.
//! What is frozen is the decoder's to say, which rows make a batch the caller's.

use std::io;
use std::ops::{ControlFlow, Range};
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use sha2::{Digest, Sha256};
use sinterlm_formats::{
    FormatError, MappedFile, create_dir_synced, remove_stale_staging, write_file_atomic,
};

use crate::batch::TokenBatch;
use crate::context::{ForwardCtx, Precision};
use crate::error::ModelError;
use crate::gpt::Gpt;
use crate::reading::Reading;

/// What a file begins with; the number is that of its form.
const MAGIC: &[u8; 8] = b"sltmpfx1";
/// Bytes before the numbers: magic, key, and zeros up to where numbers lie well in memory.
const HEADER: usize = 64;
/// Bytes of a SHA-256: of the key in the header, of the numbers at the end of the file.
const DIGEST: usize = 32;
/// Bytes of a number.
const NUMBER: usize = 4;

/// Which activations are kept: those behind the first `blocks` blocks of `model`.
#[derive(Clone, Copy, Debug)]
pub struct PrefixOf<'a> {
    /// The decoder, on the device to compute on.
    pub model: &'a Gpt,
    /// At most [`Gpt::frozen_prefix`] where the model is trained.
    pub blocks: usize,
    /// Number format of the matrix products, that of training.
    pub precision: Precision,
}

/// The activations of many rows behind the first blocks of a decoder, in a file that is mapped into
/// memory.
///
/// The file belongs to the rows, to the values of the weights that it was computed with and to the
/// precision; what does not fit is computed anew. Each row is read by itself, from position 0. Numbers
/// are f32, so that a step with them has the bits of the step without, where the products of both have
/// the same shapes.
///
/// # Example
/// ```
/// use std::ops::ControlFlow;
///
/// use burn::tensor::Device;
/// use sinterlm_config::Seed;
/// use sinterlm_model::{CausalLm, ForwardCtx, Precision, Preset, PrefixCache, PrefixOf, TokenBatch};
///
/// let device = Device::flex();
/// let model = Preset::Tiny.config().init(Seed(1), &device);
/// let of = PrefixOf { model: &model, blocks: 1, precision: Precision::F32 };
/// let rows = [vec![1, 2, 3], vec![4, 5, 6]];
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("rows.prefix");
/// let cache = PrefixCache::open_or_fill(&path, &of, &rows, |_, _| ControlFlow::Continue(()))?;
/// let cache = cache.expect("it was not stopped");
///
/// let tokens = TokenBatch::dense(&rows.concat(), 2, &device);
/// let known = cache.attach(tokens.clone(), [[0], [1]]);
/// let [a, b] = [tokens, known].map(|tokens| model.hidden(&tokens, &ForwardCtx::default(), None));
/// assert_eq!(a.into_data(), b.into_data());
/// # Ok::<(), sinterlm_model::ModelError>(())
/// ```
#[derive(Debug)]
pub struct PrefixCache {
    file: MappedFile,
    /// The numbers of each row, in bytes of the file.
    places: Vec<Range<usize>>,
    blocks: usize,
    d_model: usize,
}

impl PrefixCache {
    /// Bytes of the file for these rows.
    pub fn size_bytes<R: AsRef<[u32]>>(rows: &[R], d_model: usize) -> u64 {
        let tokens: usize = rows.iter().map(|row| row.as_ref().len()).sum();
        (HEADER + tokens * d_model * NUMBER + DIGEST) as u64
    }

    /// Opens the cache of these rows at `path`. Where there is none, or one of other rows, weights or
    /// precision, or a damaged one, it is computed and replaces what is there; the file appears when
    /// it is whole.
    ///
    /// `progress` is told how many of how many tokens are done, before each batch, and may stop
    /// it: then the result is `None`, and nothing was written.
    ///
    /// # Errors
    /// [`ModelError::ContextFull`] and [`ModelError::TokenOutOfRange`] for rows that the model cannot read;
    /// [`ModelError::Format`] where the file cannot be read or written.
    ///
    /// # Panics
    /// If the model has fewer blocks than `of` names.
    pub fn open_or_fill<R: AsRef<[u32]>>(
        path: &Path,
        of: &PrefixOf<'_>,
        rows: &[R],
        mut progress: impl FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<Option<Self>, ModelError> {
        check(of.model, rows)?;
        let key = key(of, rows);
        let size = Self::size_bytes(rows, of.model.config().d_model);
        let file = match find(path, &key, size)? {
            Some(file) => file,
            None => match fill(path, &key, of, rows, &mut progress)? {
                ControlFlow::Continue(()) => MappedFile::open(path)?,
                ControlFlow::Break(()) => return Ok(None),
            },
        };
        let d_model = of.model.config().d_model;
        let mut places = vec![0..0; rows.len()];
        let mut at = HEADER;
        for number in Reading::default().batches(rows).concat() {
            let end = at + rows[number].as_ref().len() * d_model * NUMBER;
            places[number] = at..end;
            at = end;
        }
        Ok(Some(Self {
            file,
            places,
            blocks: of.blocks,
            d_model,
        }))
    }

    /// How many rows it holds.
    pub fn rows(&self) -> usize {
        self.places.len()
    }

    /// How many tokens a row has.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row_tokens(&self, number: usize) -> usize {
        self.places[number].len() / (self.d_model * NUMBER)
    }

    /// The activations of a batch, `[batch, seq, d_model]`: in each of its rows the rows of the cache
    /// with these numbers side by side, as in a packed batch, then zeros as padding.
    ///
    /// # Panics
    /// If there is no such row, or a row of the batch is longer than `seq`.
    pub fn hidden<Row: IntoIterator<Item = usize>>(
        &self,
        rows: impl IntoIterator<Item = Row>,
        seq: usize,
        device: &Device,
    ) -> Tensor<3> {
        let width = seq * self.d_model;
        let mut values: Vec<f32> = Vec::new();
        let mut count = 0;
        for row in rows {
            count += 1;
            let end = count * width;
            values.reserve(width);
            for number in row {
                let bytes = &self.file[self.places[number].clone()];
                assert!(
                    values.len() + bytes.len() / NUMBER <= end,
                    "prefix cache: row {number} ends behind the {seq} tokens of its row in the batch"
                );
                let numbers = bytes.as_chunks::<NUMBER>().0.iter();
                values.extend(numbers.map(|bytes| f32::from_le_bytes(*bytes)));
            }
            values.resize(end, 0.0);
        }
        Tensor::from_data(TensorData::new(values, [count, seq, self.d_model]), device)
    }

    /// A batch with what is known of it: `rows` names the rows of the cache that lie in each of its
    /// rows, as for [`hidden`](Self::hidden).
    ///
    /// # Panics
    /// As [`hidden`](Self::hidden), and if there are not as many rows as in the batch.
    #[must_use]
    pub fn attach<Row: IntoIterator<Item = usize>>(
        &self,
        tokens: TokenBatch,
        rows: impl IntoIterator<Item = Row>,
    ) -> TokenBatch {
        let hidden = self.hidden(rows, tokens.layout.seq, &tokens.ids.device());
        tokens.with_prefix(self.blocks, hidden)
    }
}

/// Refuses rows that the model cannot read.
fn check<R: AsRef<[u32]>>(model: &Gpt, rows: &[R]) -> Result<(), ModelError> {
    let (context, vocab_size) = (model.config().max_seq_len, model.config().vocab_size);
    for row in rows {
        let ids = row.as_ref();
        if ids.len() > context {
            let tokens = ids.len();
            return Err(ModelError::ContextFull { tokens, context });
        }
        if let Some(&id) = ids.iter().find(|id| **id as usize >= vocab_size) {
            return Err(ModelError::TokenOutOfRange { id, vocab_size });
        }
    }
    Ok(())
}

/// What the activations depend on.
fn key<R: AsRef<[u32]>>(of: &PrefixOf<'_>, rows: &[R]) -> [u8; DIGEST] {
    let mut key = Sha256::new();
    of.model.digest_prefix(of.blocks, of.precision, &mut key);
    for row in rows {
        let ids = row.as_ref();
        key.update((ids.len() as u64).to_le_bytes());
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        key.update(&bytes);
    }
    key.finalize().into()
}

/// The file at `path`, if it is whole and has that key.
fn find(path: &Path, key: &[u8; DIGEST], size: u64) -> Result<Option<MappedFile>, ModelError> {
    if !path.exists() {
        return Ok(None);
    }
    let file = MappedFile::open(path)?;
    let path = path.display();
    if !file.starts_with(&header(key)) {
        tracing::info!("{path}: of other rows, weights or another precision; computing it anew");
        return Ok(None);
    }
    let is_whole = file.len() as u64 == size && {
        let (content, digest) = file.split_at(file.len() - DIGEST);
        Sha256::digest(&content[HEADER..])[..] == *digest
    };
    if !is_whole {
        tracing::warn!("{path}: the file is damaged; computing it anew");
    }
    Ok(is_whole.then_some(file))
}

fn header(key: &[u8; DIGEST]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..MAGIC.len()].copy_from_slice(MAGIC);
    header[MAGIC.len()..][..DIGEST].copy_from_slice(key);
    header
}

/// Computes the activations of all rows and writes the file, unless `progress` stops it.
fn fill<R: AsRef<[u32]>>(
    path: &Path,
    key: &[u8; DIGEST],
    of: &PrefixOf<'_>,
    rows: &[R],
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, ModelError> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let folder = folder.unwrap_or(Path::new("."));
    create_dir_synced(folder).map_err(|source| FormatError::Io {
        path: folder.to_path_buf(),
        action: "create",
        source,
    })?;
    // What a killed run left may be large.
    remove_stale_staging(folder)?;
    let ctx = ForwardCtx::evaluation(of.precision);
    let (device, reading) = (of.model.device(), Reading::default());
    let total: usize = rows.iter().map(|row| row.as_ref().len()).sum();
    let mut done = 0;
    let mut outcome = ControlFlow::Continue(());
    let written = write_file_atomic(path, |out| {
        out.write_all(&header(key))?;
        let mut digest = Sha256::new();
        for batch in reading.batches(rows) {
            outcome = progress(done as u64, total as u64);
            if outcome.is_break() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let ids = batch.iter().map(|&number| rows[number].as_ref());
            let ids: Vec<&[u32]> = ids.filter(|ids| !ids.is_empty()).collect();
            if ids.is_empty() {
                continue;
            }
            let hidden = of
                .model
                .prefix(&reading.batch(&ids, &device), of.blocks, &ctx);
            let [_, seq, d_model] = hidden.dims();
            let hidden = hidden.without_autodiff().into_data().convert::<f32>();
            let hidden = hidden.as_slice::<f32>().expect("just converted to f32");
            for (row, ids) in hidden.chunks_exact(seq * d_model).zip(&ids) {
                let numbers = row[..ids.len() * d_model].iter();
                let bytes: Vec<u8> = numbers.flat_map(|number| number.to_le_bytes()).collect();
                digest.update(&bytes);
                out.write_all(&bytes)?;
                done += ids.len();
            }
        }
        out.write_all(&digest.finalize())
    });
    match outcome {
        ControlFlow::Break(()) => Ok(outcome),
        ControlFlow::Continue(()) => Ok(written.map(|()| outcome)?),
    }
}
