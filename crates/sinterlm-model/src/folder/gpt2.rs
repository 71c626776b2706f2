//! Where each parameter of the decoder lies in a GPT-2 weights file of `transformers`, which
//! stores linear weights as `[d_in, d_out]` and q, k, v side by side in one tensor.

/// One parameter's place in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Tensor name without the `transformer.` prefix.
    pub(crate) name: String,
    /// Stored transposed, `[d_in, d_out]`.
    pub(crate) transposed: bool,
    /// Which third of a fused q, k, v tensor it is.
    pub(crate) third: Option<usize>,
}

/// The place of the parameter at `path`.
///
/// # Panics
/// If the decoder has no such parameter.
pub(crate) fn place(path: &str) -> Place {
    let plain = |name: &str| Place {
        name: name.to_owned(),
        transposed: false,
        third: None,
    };
    match path {
        "wte.weight" | "wpe.weight" => return plain(path),
        "norm.weight" => return plain("ln_f.weight"),
        "norm.bias" => return plain("ln_f.bias"),
        "head.weight" => return plain("lm_head.weight"),
        _ => {}
    }
    let mut parts = path
        .strip_prefix("blocks.")
        .expect("a decoder path")
        .splitn(2, '.');
    let layer = parts.next().expect("splitn gives at least one part");
    let rest = parts.next().expect("blocks have named parts");
    let (module, leaf) = rest.rsplit_once('.').expect("leaves are weight or bias");
    let (name, third) = match module {
        "norm_1" => ("ln_1", None),
        "norm_2" => ("ln_2", None),
        "attn.q" => ("attn.c_attn", Some(0)),
        "attn.k" => ("attn.c_attn", Some(1)),
        "attn.v" => ("attn.c_attn", Some(2)),
        "attn.out" => ("attn.c_proj", None),
        "mlp.up" => ("mlp.c_fc", None),
        "mlp.down" => ("mlp.c_proj", None),
        other => unreachable!("the decoder has no module `{other}`"),
    };
    let transposed = leaf == "weight" && !module.starts_with("norm");
    Place {
        name: format!("h.{layer}.{name}.{leaf}"),
        transposed,
        third,
    }
}

/// The transpose of a row-major `[rows, cols]` matrix.
pub(crate) fn transpose(values: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for col in 0..cols {
        out.extend((0..rows).map(|row| values[row * cols + col]));
    }
    out
}
