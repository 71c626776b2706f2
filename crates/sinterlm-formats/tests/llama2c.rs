//! llama2.c files: each tensor where the exporter puts it, and no header misleads.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]
#![allow(clippy::float_cmp, reason = "what is stored comes back to the bit")]

use std::{env, fs, path::PathBuf, sync::Arc};

use sinterlm_formats::{FormatError, Llama2cFile, Llama2cTokenizer, TensorSource, WeightFile};

/// Width 8, inner width 12, 2 layers, 4 heads, 2 key heads, 5 tokens, context 3.
const SIZES: [i32; 7] = [8, 12, 2, 4, 2, 5, 3];

fn bytes_of(sizes: [i32; 7]) -> Vec<u8> {
    sizes.iter().flat_map(|n| n.to_le_bytes()).collect()
}

/// `header`, then `count` floats that count up.
fn file(header: &[u8], count: usize) -> Vec<u8> {
    let mut bytes = header.to_vec();
    (0..count).for_each(|i| bytes.extend((i as f32).to_le_bytes()));
    bytes
}

fn open(bytes: Vec<u8>) -> Result<Llama2cFile, FormatError> {
    Llama2cFile::from_map("x.bin", Arc::new(bytes.into()))
}

fn message(bytes: Vec<u8>) -> String {
    open(bytes).unwrap_err().to_string()
}

/// Checks that the tensor is `shape` and begins with the number `first`.
fn check(file: &Llama2cFile, name: &str, shape: &[usize], first: usize) {
    let stored = file.stored(name).unwrap();
    assert_eq!(stored.shape, shape, "{name}");
    let values = stored.to_f32().unwrap();
    assert_eq!(values[0], first as f32, "{name}");
    assert_eq!(values.len(), shape.iter().product::<usize>(), "{name}");
}

#[test]
fn legacy_tensors_lie_where_the_exporter_puts_them() {
    // Embedding 40, norms 16, wq 128, wk and wv 64 each, wo 128, norms 16, w1 to w3 192 each, norm
    // 8, tables 2 * 3.
    let file_tied = open(file(&bytes_of(SIZES), 1046)).unwrap();
    assert!(file_tied.config().is_tied);
    assert_eq!(file_tied.config().vocab_size, 5);
    check(&file_tied, "tok_embeddings.weight", &[5, 8], 0);
    check(&file_tied, "layers.1.attention_norm.weight", &[8], 48);
    check(&file_tied, "layers.0.attention.wq.weight", &[8, 8], 56);
    check(&file_tied, "layers.1.attention.wk.weight", &[4, 8], 216);
    check(&file_tied, "layers.0.attention.wv.weight", &[4, 8], 248);
    check(&file_tied, "layers.1.attention.wo.weight", &[8, 8], 376);
    check(&file_tied, "layers.1.ffn_norm.weight", &[8], 448);
    check(&file_tied, "layers.1.feed_forward.w1.weight", &[12, 8], 552);
    check(&file_tied, "layers.0.feed_forward.w2.weight", &[8, 12], 648);
    check(&file_tied, "layers.0.feed_forward.w3.weight", &[12, 8], 840);
    check(&file_tied, "norm.weight", &[8], 1032);
    assert!(file_tied.stored("output.weight").is_err());
    let mut untied = SIZES;
    untied[5] = -5;
    let file_untied = open(file(&bytes_of(untied), 1086)).unwrap();
    assert!(!file_untied.config().is_tied);
    check(&file_untied, "output.weight", &[5, 8], 1046);
}

#[test]
fn version_1_tensors_lie_where_the_exporter_puts_them() {
    let header = |is_tied: u8, version: u8| {
        let mut header = b"24ka".to_vec();
        header.extend([version, 0, 0, 0]);
        header.extend(bytes_of(SIZES));
        header.push(is_tied);
        header.resize(256, 0);
        header
    };
    let tied = open(file(&header(1, 1), 1040)).unwrap();
    check(&tied, "layers.1.attention_norm.weight", &[8], 8);
    check(&tied, "layers.0.ffn_norm.weight", &[8], 16);
    check(&tied, "norm.weight", &[8], 32);
    check(&tied, "tok_embeddings.weight", &[5, 8], 40);
    check(&tied, "layers.0.attention.wq.weight", &[8, 8], 80);
    check(&tied, "layers.1.feed_forward.w3.weight", &[12, 8], 944);
    let untied = open(file(&header(0, 1), 1080)).unwrap();
    check(&untied, "output.weight", &[5, 8], 1040);
    assert!(message(file(&header(1, 2), 1040)).contains("version 2 is not supported"));
}

#[test]
fn a_header_that_does_not_fit_the_file_is_refused() {
    let short = open(file(&bytes_of(SIZES), 1045)).unwrap_err();
    assert!(
        matches!(short, FormatError::Truncated { needed: 4212, .. }),
        "{short}"
    );
    let long = open(file(&bytes_of(SIZES), 1047)).unwrap_err();
    assert!(
        matches!(long, FormatError::TrailingBytes { extra: 4, .. }),
        "{long}"
    );
    let with = |at: usize, size: i32| {
        let mut sizes = SIZES;
        sizes[at] = size;
        message(file(&bytes_of(sizes), 100))
    };
    assert!(with(0, 0).contains("holds the size 0"));
    assert!(with(2, -1).contains("holds the size -1"));
    assert!(with(3, 3).contains("do not divide"));
    assert!(with(2, i32::MAX).contains("layers are more than"));
    assert!(with(0, 1 << 30).contains("its header needs"));
    assert!(with(5, i32::MIN).contains("its header needs"));
    assert!(message(vec![1; 27]).contains("the file has 27 bytes"));
}

#[test]
fn a_tokenizer_is_read_to_its_end() {
    let mut bytes = 3i32.to_le_bytes().to_vec();
    for (score, text) in [(0.0f32, "<s>"), (-1.5, "▁")] {
        bytes.extend(score.to_le_bytes());
        bytes.extend((text.len() as i32).to_le_bytes());
        bytes.extend(text.as_bytes());
    }
    let tokenizer = Llama2cTokenizer::from_bytes("tok.bin", &bytes).unwrap();
    assert_eq!(tokenizer.max_token_bytes, 3);
    assert_eq!(tokenizer.tokens.len(), 2);
    assert_eq!(tokenizer.tokens[1].bytes, "▁".as_bytes());
    assert_eq!(tokenizer.tokens[1].score, -1.5);
    for n in [0, 3, 5, 11, 14, bytes.len() - 1] {
        let cut = Llama2cTokenizer::from_bytes("tok.bin", &bytes[..n]);
        assert!(
            matches!(cut, Err(FormatError::Truncated { .. })),
            "{n} bytes"
        );
    }
    bytes[8..12].copy_from_slice(&(-1i32).to_le_bytes());
    let error = Llama2cTokenizer::from_bytes("tok.bin", &bytes).unwrap_err();
    assert!(error.to_string().contains("-1 is no length"));
}

#[test]
fn a_trained_model_and_its_tokenizer_are_read() {
    let Some(data) = env::var_os("SINTERLM_TEST_DATA") else {
        eprintln!("skipped: SINTERLM_TEST_DATA is not set");
        return;
    };
    let folder = PathBuf::from(data).join("weights_tiny_llama");
    let WeightFile::Llama2c(file) = WeightFile::open(folder.join("aidreams260K.bin")).unwrap()
    else {
        panic!("a legacy file is known by its extension");
    };
    let c = *file.config();
    assert_eq!((c.d_model, c.d_ff, c.n_layers, c.n_heads), (64, 172, 4, 4));
    assert_eq!(
        (c.n_kv_heads, c.vocab_size, c.max_seq_len, c.is_tied),
        (4, 512, 128, true)
    );
    assert_eq!(file.tensor_names().len(), 4 * 9 + 2);
    for name in file.tensor_names() {
        let values = file.to_f32(name).unwrap();
        let mean_square = values.iter().map(|x| x * x).sum::<f32>() / values.len() as f32;
        assert!(
            (1e-4..100.0).contains(&mean_square),
            "{name}: {mean_square}"
        );
    }
    let path = folder.join("tok512.bin");
    let tokenizer = Llama2cTokenizer::open(&path).unwrap();
    assert_eq!(tokenizer.tokens.len(), 512);
    let longest = tokenizer.tokens.iter().map(|token| token.bytes.len()).max();
    assert!(longest <= Some(tokenizer.max_token_bytes));
    let sizes = tokenizer
        .tokens
        .iter()
        .map(|token| 8 + token.bytes.len() as u64);
    assert_eq!(4 + sizes.sum::<u64>(), fs::metadata(path).unwrap().len());
}
