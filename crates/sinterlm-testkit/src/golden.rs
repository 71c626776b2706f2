//! Reading golden files: the inputs and outputs of a reference implementation.
//! The scripts in `fixtures/` write them; what the tensors mean is theirs to say.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value};

/// A golden file in memory: named tensors, and facts about their making.
///
/// Reads `.safetensors` (f32, f64, i32, i64) and, for small fixtures, `.json` of the form
/// `{"about": {"key": "text"}, "tensors": {"name": {"shape": [2], "values": [1, 2]}}}`. A safetensors
/// file has `about` as JSON text in its metadata.
/// Numbers are held as f64, which keeps f32 and integers up to 2^53 exact.
///
/// Every method panics on what is missing or malformed, with the file's path: a fixture is part of
/// the source.
#[derive(Clone, Debug)]
pub struct Golden {
    path: PathBuf,
    about: Map<String, Value>,
    tensors: BTreeMap<String, (Vec<usize>, Vec<f64>)>,
}

impl Golden {
    /// Reads a whole file.
    ///
    /// # Panics
    /// If it can't be read or is of neither form.
    pub fn load(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let parsed = if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            from_json(&bytes)
        } else {
            from_safetensors(&bytes)
        };
        let (about, tensors) = parsed.unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
        Self {
            path: path.to_owned(),
            about,
            tensors,
        }
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Whether a tensor of this name is there.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The shape of a tensor.
    pub fn shape(&self, name: &str) -> &[usize] {
        &self.tensor(name).0
    }

    /// The values of a tensor, row-major.
    pub fn f64(&self, name: &str) -> &[f64] {
        &self.tensor(name).1
    }

    /// The values of a tensor as f32, row-major: exact where it was stored as f32.
    pub fn f32(&self, name: &str) -> Vec<f32> {
        self.f64(name).iter().map(|&value| value as f32).collect()
    }

    /// The values of a tensor of whole numbers, row-major.
    pub fn i64(&self, name: &str) -> Vec<i64> {
        let whole = |&value: &f64| {
            assert!(
                value.fract() == 0.0,
                "{}: tensor `{name}` holds {value}, which is no whole number",
                self.path.display()
            );
            value as i64
        };
        self.f64(name).iter().map(whole).collect()
    }

    /// The only value of a tensor of one element.
    pub fn scalar(&self, name: &str) -> f64 {
        let values = self.f64(name);
        assert_eq!(
            values.len(),
            1,
            "{}: tensor `{name}` is no scalar",
            self.path.display()
        );
        values[0]
    }

    /// A fact about the file's making, such as `torch` or `script`.
    pub fn about(&self, key: &str) -> &str {
        self.about
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_else(|| {
                panic!(
                    "{}: nothing about `{key}`; there is {:?}",
                    self.path.display(),
                    self.about
                )
            })
    }

    fn tensor(&self, name: &str) -> &(Vec<usize>, Vec<f64>) {
        self.tensors.get(name).unwrap_or_else(|| {
            let names: Vec<_> = self.names().collect();
            panic!(
                "{}: no tensor `{name}`; there are {names:?}",
                self.path.display()
            )
        })
    }
}

type Parts = (Map<String, Value>, BTreeMap<String, (Vec<usize>, Vec<f64>)>);

fn from_safetensors(bytes: &[u8]) -> Result<Parts, String> {
    let fault = |error: safetensors::SafeTensorError| error.to_string();
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(fault)?;
    let about = match header
        .metadata()
        .as_ref()
        .and_then(|metadata| metadata.get("about"))
    {
        Some(text) => serde_json::from_str(text).map_err(|error| format!("about: {error}"))?,
        None => Map::new(),
    };
    let file = SafeTensors::deserialize(bytes).map_err(fault)?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.tensors() {
        let data = view.data();
        let values = match view.dtype() {
            Dtype::F32 => numbers(data, |b| f64::from(f32::from_le_bytes(b))),
            Dtype::F64 => numbers(data, f64::from_le_bytes),
            Dtype::I32 => numbers(data, |b| f64::from(i32::from_le_bytes(b))),
            Dtype::I64 => numbers(data, |b| i64::from_le_bytes(b) as f64),
            other => {
                return Err(format!(
                    "tensor `{name}` is {other:?}; store f32, f64, i32, i64"
                ));
            }
        };
        tensors.insert(name, (view.shape().to_vec(), values));
    }
    Ok((about, tensors))
}

fn numbers<const N: usize>(data: &[u8], read: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    data.as_chunks::<N>()
        .0
        .iter()
        .map(|&bytes| read(bytes))
        .collect()
}

fn from_json(bytes: &[u8]) -> Result<Parts, String> {
    let root: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let about = root["about"].as_object().cloned().unwrap_or_default();
    let mut tensors = BTreeMap::new();
    for (name, tensor) in root["tensors"].as_object().ok_or("no object `tensors`")? {
        let list = |key: &str| {
            let values = tensor[key].as_array()?;
            values.iter().map(Value::as_f64).collect::<Option<Vec<_>>>()
        };
        let parts = list("shape").zip(list("values"));
        let (shape, values) =
            parts.ok_or_else(|| format!("tensor `{name}` needs number lists `shape`, `values`"))?;
        let shape: Vec<usize> = shape.into_iter().map(|axis| axis as usize).collect();
        if shape.iter().product::<usize>() != values.len() {
            return Err(format!(
                "tensor `{name}` is {shape:?} with {} values",
                values.len()
            ));
        }
        tensors.insert(name.clone(), (shape, values));
    }
    Ok((about, tensors))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    #[test]
    fn reads_json() {
        let text = r#"{"about": {"script": "gen_x.py"},
            "tensors": {"ids": {"shape": [1, 2], "values": [3, 4]}}}"#;
        let (_folder, path) = written("x.json", text.as_bytes());
        let golden = Golden::load(path);
        assert_eq!(golden.i64("ids"), [3, 4]);
        assert_eq!(golden.shape("ids"), [1, 2]);
        assert_eq!(golden.about("script"), "gen_x.py");
        assert_eq!(golden.names().collect::<Vec<_>>(), ["ids"]);
    }

    #[test]
    #[should_panic(expected = "tensor `x` is [3] with 2 values")]
    fn refuses_a_shape_that_does_not_fit() {
        let text = r#"{"tensors": {"x": {"shape": [3], "values": [1, 2]}}}"#;
        let (_folder, path) = written("x.json", text.as_bytes());
        Golden::load(path);
    }

    #[test]
    #[should_panic(expected = "cut.safetensors")]
    fn names_the_file_that_is_cut() {
        let (_folder, path) = written("cut.safetensors", &[9, 0, 0, 0, 0, 0, 0, 0, b'{']);
        Golden::load(path);
    }
}
