//! The file of activations: what it holds, when it is computed anew, and what becomes of a broken one.
#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor};
use sinterlm_config::Seed;
use sinterlm_model::{
    ForwardCtx, Gpt, GptConfig, ModelError, Precision, PrefixCache, PrefixOf, TokenBatch,
};
use sinterlm_testkit::{WHOLE_MODEL_F32, assert_close};

const WIDTH: usize = 16;

fn config() -> GptConfig {
    GptConfig {
        vocab_size: 50,
        max_seq_len: 3000,
        d_model: WIDTH,
        n_layers: 3,
        n_heads: 2,
        ..GptConfig::default()
    }
}

fn model() -> Gpt {
    config().init(Seed(1), &Device::flex())
}

/// The same model with another value in one parameter.
fn changed(changed: &str) -> Gpt {
    let made = config().init_from(&Device::flex(), |spec| {
        let mut values = spec.draw(Seed(1));
        if spec.path == changed {
            values[0] += 0.5;
        }
        Ok::<_, std::convert::Infallible>(values)
    });
    made.unwrap()
}

fn of(model: &Gpt) -> PrefixOf<'_> {
    PrefixOf {
        model,
        blocks: 2,
        precision: Precision::F32,
    }
}

fn rows() -> Vec<Vec<u32>> {
    // Too many tokens for one batch, and lengths that go up and down.
    [3, 1500, 5, 2900, 3]
        .map(|len| (0..len).map(|at| (7 * at + len) % 50).collect())
        .to_vec()
}

/// The cache, and whether it was computed.
fn opened(path: &Path, of: &PrefixOf<'_>, rows: &[Vec<u32>]) -> (PrefixCache, bool) {
    let mut is_new = false;
    let cache = PrefixCache::open_or_fill(path, of, rows, |_, _| {
        is_new = true;
        ControlFlow::Continue(())
    });
    (cache.unwrap().unwrap(), is_new)
}

fn place(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("made/rows.prefix")
}

fn values(x: Tensor<3>) -> Vec<f32> {
    x.into_data().try_into_vec().unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    entries.map(|e| name(e).into_string().unwrap()).collect()
}

#[test]
fn rows_lie_side_by_side_as_each_is_alone_and_zeros_follow() {
    let (folder, model, rows) = (tempfile::tempdir().unwrap(), model(), rows());
    let device = Device::flex();
    let path = place(&folder);
    let (cache, _) = opened(&path, &of(&model), &rows);
    let size = fs::metadata(&path).unwrap().len();
    assert_eq!(size, PrefixCache::size_bytes(&rows, WIDTH));
    assert_eq!(cache.rows(), 5);
    for (number, row) in rows.iter().enumerate() {
        assert_eq!(cache.row_tokens(number), row.len());
        let alone = TokenBatch::dense(row, 1, &device);
        let alone = values(model.prefix(&alone, 2, &ForwardCtx::default()));
        let found = values(cache.hidden([[number]], row.len(), &device));
        assert_close(&found, &alone, WHOLE_MODEL_F32, "one row");
    }
    let packed = values(cache.hidden([vec![2, 0], vec![4], vec![]], 9, &device));
    let alone = |number: usize| values(cache.hidden([[number]], rows[number].len(), &device));
    let expected = [
        alone(2),
        alone(0),
        vec![0.0; WIDTH],
        alone(4),
        vec![0.0; (6 + 9) * WIDTH],
    ];
    assert_eq!(packed, expected.concat());
}

#[test]
fn it_is_computed_anew_for_other_rows_weights_precision_or_blocks_alone() {
    let (folder, model, rows) = (tempfile::tempdir().unwrap(), model(), rows());
    let path = place(&folder);
    let is_new = |of: &PrefixOf<'_>, rows: &[Vec<u32>]| opened(&path, of, rows).1;
    let again = || is_new(&of(&model), &rows);
    assert!(again() && !again());
    // What is read behind these blocks, and dropout, are nothing to it.
    let behind = changed("blocks.2.attn.q.weight");
    assert!(!is_new(&of(&behind), &rows));
    assert!(!is_new(&of(&model.clone().with_dropout(0.1)), &rows));
    for path in ["wte.weight", "wpe.weight", "blocks.1.mlp.down.bias"] {
        let other = changed(path);
        assert!(is_new(&of(&other), &rows), "{path}");
        assert!(!is_new(&of(&other), &rows), "{path}");
    }
    assert!(again() && !again());
    let fewer = PrefixOf {
        blocks: 1,
        ..of(&model)
    };
    let rounded = PrefixOf {
        precision: Precision::Bf16,
        ..of(&model)
    };
    assert!(is_new(&fewer, &rows) && is_new(&rounded, &rows));
    // As many tokens, at other places.
    let mut moved = rows.clone();
    moved.swap(0, 2);
    assert!(again() && is_new(&of(&model), &moved));
    let joined = vec![[rows[0].clone(), rows[2].clone()].concat(), rows[1].clone()];
    let split = vec![rows[0].clone(), rows[2].clone(), rows[1].clone()];
    assert!(is_new(&of(&model), &joined) && is_new(&of(&model), &split));
    assert_eq!(names(path.parent().unwrap()), ["rows.prefix"]);
}

#[test]
fn a_computation_that_is_cut_off_leaves_nothing_and_begins_again() {
    let (folder, model, rows) = (tempfile::tempdir().unwrap(), model(), rows());
    let path = place(&folder);
    let mut told = Vec::new();
    let stopped = PrefixCache::open_or_fill(&path, &of(&model), &rows, |done, total| {
        told.push((done, total));
        match told.len() {
            3 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    });
    assert!(stopped.unwrap().is_none());
    assert_eq!(told, [(0, 4411), (11, 4411), (1511, 4411)]);
    assert!(names(path.parent().unwrap()).is_empty());
    // What a killed process leaves.
    fs::write(path.with_file_name(".staging-1-0-rows.prefix"), "half").unwrap();
    assert!(opened(&path, &of(&model), &rows).1);
    assert_eq!(names(path.parent().unwrap()), ["rows.prefix"]);
    assert!(!opened(&path, &of(&model), &rows).1);
}

#[test]
fn a_damaged_file_is_found_and_computed_anew() {
    let (folder, model, rows) = (tempfile::tempdir().unwrap(), model(), rows());
    let path = place(&folder);
    opened(&path, &of(&model), &rows);
    let whole = fs::read(&path).unwrap();
    let middle = whole.len() / 2;
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let damaged = [
        flipped(middle),
        flipped(0),
        flipped(whole.len() - 1),
        whole[..middle].to_vec(),
        whole[..whole.len() - 4].to_vec(),
        whole[..40].to_vec(),
        Vec::new(),
        [&whole[..], &[0; 4]].concat(),
    ];
    for bytes in damaged {
        // Not in place: a file that is mapped keeps its bytes so.
        fs::remove_file(&path).unwrap();
        fs::write(&path, &bytes).unwrap();
        assert!(opened(&path, &of(&model), &rows).1);
        assert!(fs::read(&path).unwrap() == whole);
    }
}

#[test]
fn rows_that_the_model_cannot_read_are_an_error() {
    let (folder, model) = (tempfile::tempdir().unwrap(), model());
    let path = place(&folder);
    let error = |row: Vec<u32>| {
        let rows = [vec![1], row];
        let go_on = |_, _| ControlFlow::Continue(());
        PrefixCache::open_or_fill(&path, &of(&model), &rows, go_on).unwrap_err()
    };
    let long = error(vec![1; 3001]);
    let [tokens, context] = [3001, 3000];
    assert!(
        matches!(long, ModelError::ContextFull { tokens: t, context: c } if [t, c] == [tokens, context])
    );
    assert!(matches!(
        error(vec![50]),
        ModelError::TokenOutOfRange { id: 50, .. }
    ));
    fs::create_dir_all(&path).unwrap();
    assert!(error(vec![1]).to_string().contains("rows.prefix: cannot "));
}

#[test]
#[should_panic(expected = "row 2 ends behind the 9 tokens")]
fn rows_that_do_not_fit_into_a_row_of_the_batch_are_a_mistake() {
    let (folder, model, rows) = (tempfile::tempdir().unwrap(), model(), rows());
    let (cache, _) = opened(&place(&folder), &of(&model), &rows);
    let _ = cache.hidden([[0, 2], [2, 2]], 9, &Device::flex());
}
