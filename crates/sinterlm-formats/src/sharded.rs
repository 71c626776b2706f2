//! Several weight files behind one index, as Hugging Face folders hold large models.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{FormatError, SingleFile, StoredTensor, TensorSource, lfs::refuse_lfs_pointer};

/// Longest index that is read, in bytes; that of a model with 100,000 tensors has about 10 MB.
const MAX_INDEX_BYTES: u64 = 100_000_000;

/// The tensors of an index file (`*.index.json`) and all shards that it names, each opened once.
///
/// Tensors that the shards hold beyond the index are served too, as `transformers` loads them.
#[derive(Debug)]
pub struct ShardedFile {
    path: PathBuf,
    shards: Vec<SingleFile>,
    /// Position in `shards` of each tensor.
    places: BTreeMap<String, usize>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl ShardedFile {
    /// Reads the index at `path`, opens its shards and checks that each tensor is where it says.
    ///
    /// Format: the member `weight_map` maps tensors to file names
    /// (<https://huggingface.co/docs/transformers/main/en/models#sharded-checkpoints>); other
    /// members are ignored.
    ///
    /// # Errors
    /// [`FormatError::Header`] for an index that is no such JSON, [`FormatError::HeaderTooLarge`]
    /// for one that is too long, [`FormatError::ShardName`] for a shard that is no plain file name
    /// or an index itself, [`FormatError::LfsPointer`], [`FormatError::MissingShard`], [`FormatError::ShardLacksTensor`],
    /// [`FormatError::DuplicateTensor`] for a tensor that is in two shards and not in the index,
    /// otherwise what the shards' own reader finds.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FormatError> {
        let path = path.as_ref();
        let index = read_index(path)?;
        let mut positions = BTreeMap::new();
        let mut shards: Vec<SingleFile> = Vec::new();
        for shard in index.weight_map.values() {
            if !positions.contains_key(shard.as_str()) {
                positions.insert(shard.as_str(), shards.len());
                shards.push(open_shard(path, shard)?);
            }
        }
        let mut places = BTreeMap::new();
        for (name, shard) in &index.weight_map {
            let position = positions[shard.as_str()];
            if shards[position].stored(name).is_err() {
                return Err(FormatError::ShardLacksTensor {
                    path: path.to_path_buf(),
                    shard: shard.clone(),
                    name: name.clone(),
                });
            }
            places.insert(name.clone(), position);
        }
        for (position, shard) in shards.iter().enumerate() {
            for name in shard.tensor_names() {
                let listed = index.weight_map.contains_key(name);
                if !listed && places.insert(name.to_owned(), position).is_some() {
                    return Err(FormatError::DuplicateTensor {
                        path: path.to_path_buf(),
                        name: name.to_owned(),
                    });
                }
            }
        }
        Ok(Self {
            path: path.to_path_buf(),
            shards,
            places,
        })
    }

    /// The opened shards, in the order in which the index first names them.
    pub fn shards(&self) -> &[SingleFile] {
        &self.shards
    }
}

impl TensorSource for ShardedFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn tensor_names(&self) -> Vec<&str> {
        self.places.keys().map(String::as_str).collect()
    }

    fn stored(&self, name: &str) -> Result<StoredTensor, FormatError> {
        let Some(position) = self.places.get(name) else {
            let known = self.places.keys().map(String::as_str);
            return Err(FormatError::missing_tensor(&self.path, name, known));
        };
        self.shards[*position].stored(name)
    }
}

fn read_index(path: &Path) -> Result<Index, FormatError> {
    let size = fs::metadata(path)
        .map_err(|e| FormatError::io(path, "open", e))?
        .len();
    if size > MAX_INDEX_BYTES {
        return Err(FormatError::HeaderTooLarge {
            path: path.to_path_buf(),
            found: size,
            limit: MAX_INDEX_BYTES,
        });
    }
    let text = fs::read(path).map_err(|e| FormatError::io(path, "read", e))?;
    refuse_lfs_pointer(path, &text)?;
    serde_json::from_slice(&text).map_err(|e| FormatError::header(path, e.to_string()))
}

/// Opens a shard that is named as a plain file beside the index.
fn open_shard(index: &Path, shard: &str) -> Result<SingleFile, FormatError> {
    let is_plain = Path::new(shard)
        .file_name()
        .is_some_and(|name| name == shard)
        && !shard.contains(['/', '\\', ':', '\0']);
    if !is_plain || is_index(Path::new(shard)) {
        return Err(FormatError::ShardName {
            path: index.to_path_buf(),
            shard: shard.to_owned(),
        });
    }
    let path = index.with_file_name(shard);
    if !path.is_file() {
        return Err(FormatError::MissingShard {
            path: index.to_path_buf(),
            shard: shard.to_owned(),
        });
    }
    SingleFile::open(&path)
}

/// Whether a path is that of an index, by its extension.
pub(crate) fn is_index(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "json")
}
