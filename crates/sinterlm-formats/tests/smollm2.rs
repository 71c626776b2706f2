//! A real model file: each of its tensors decodes to the reference's bytes.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::{env, fmt::Write as _, path::Path};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use sinterlm_formats::{GgufFile, TensorSource, sha256_file};

#[derive(Deserialize)]
struct Fixture {
    sha256: String,
    tensors: Vec<(String, String, Vec<usize>, String)>,
}

#[test]
fn every_tensor_of_smollm2_decodes_to_the_reference_bytes() {
    let Some(path) = env::var_os("SINTERLM_SMOLLM2") else {
        eprintln!("skipped: SINTERLM_SMOLLM2 does not name SmolLM2-135M-Instruct.Q4_1.gguf");
        return;
    };
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/smollm2.json");
    let fixture: Fixture = serde_json::from_slice(&std::fs::read(fixture).unwrap()).unwrap();
    assert_eq!(sha256_file(&path).unwrap(), fixture.sha256, "another file");
    let file = GgufFile::open(&path).unwrap();
    assert_eq!(
        file.require("general.architecture")
            .unwrap()
            .text()
            .unwrap(),
        "llama"
    );
    let tokens = file
        .require("tokenizer.ggml.tokens")
        .unwrap()
        .texts()
        .unwrap();
    assert_eq!(tokens.len(), 49_152);
    assert_eq!(file.tensor_names().len(), fixture.tensors.len());
    for (name, dtype, shape, digest) in &fixture.tensors {
        let stored = file.stored(name).unwrap();
        assert_eq!(
            (&stored.dtype.to_string(), &stored.shape),
            (dtype, shape),
            "{name}"
        );
        let mut hasher = Sha256::new();
        let values = stored.to_f32().unwrap();
        values.chunks(1 << 16).for_each(|chunk| {
            hasher.update(
                chunk
                    .iter()
                    .flat_map(|x| x.to_le_bytes())
                    .collect::<Vec<_>>(),
            );
        });
        let mut hex = String::new();
        hasher
            .finalize()
            .iter()
            .for_each(|byte| write!(hex, "{byte:02x}").unwrap());
        assert_eq!(&hex, digest, "{name}");
    }
}
