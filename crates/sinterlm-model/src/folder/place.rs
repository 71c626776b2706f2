//! Where and in which form a parameter of the decoder lies in a weights file. Which family puts it
//! where is left to the families' tables.

use std::borrow::Cow;

/// One parameter's place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Tensor name as the family writes it.
    pub(crate) name: String,
    /// How the file's tensor relates to the parameter.
    pub(crate) form: Form,
}

/// How a tensor in a file relates to the decoder's parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The same values in the same order.
    Plain,
    /// `[d_in, d_out]` in place of `[d_out, d_in]`.
    Transposed,
    /// One third of a tensor that holds q, k and v side by side along `d_out`; where transposed,
    /// `d_out` is its last axis.
    Third {
        /// 0 for q, 1 for k, 2 for v.
        index: usize,
        transposed: bool,
    },
    /// The rows of each head in another order: rotation pairs neighbours in place of halves, so that
    /// row `(head, pair, half)` of the file is ours `(head, half, pair)`.
    Neighbours { heads: usize },
}

impl Place {
    pub(crate) fn plain(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            form: Form::Plain,
        }
    }
}

impl Form {
    /// Shape in the file of a parameter of `shape`.
    pub(crate) fn stored_shape(self, shape: &[usize]) -> Vec<usize> {
        let mut stored = shape.to_vec();
        if let Self::Third { .. } = self {
            stored[0] *= 3;
        }
        if let Self::Transposed
        | Self::Third {
            transposed: true, ..
        } = self
        {
            stored.reverse();
        }
        stored
    }

    /// The values of a parameter of `shape` out of those of the file's tensor.
    pub(crate) fn restore(self, stored: Cow<'_, [f32]>, shape: &[usize]) -> Vec<f32> {
        match (self, shape) {
            (Self::Transposed, &[rows, cols]) => transpose(&stored, rows, [cols, rows]),
            (
                Self::Third {
                    index,
                    transposed: true,
                },
                &[rows, cols],
            ) => transpose(&stored[index * rows..], 3 * rows, [cols, rows]),
            (Self::Plain | Self::Transposed, _) => stored.into_owned(),
            (Self::Third { .. } | Self::Neighbours { .. }, _) => {
                let row_len = shape[1..].iter().product::<usize>();
                self.rows(&stored, shape[0], row_len).into_owned()
            }
        }
    }

    /// Whether rows of the parameter are whole rows of the file's tensor.
    pub(crate) fn keeps_rows(self) -> bool {
        match self {
            Self::Plain | Self::Neighbours { .. } => true,
            Self::Transposed => false,
            Self::Third { transposed, .. } => !transposed,
        }
    }

    /// A parameter's `count` rows of `len` elements or bytes out of the file's, where they are rows
    /// there: in place if they follow each other.
    pub(crate) fn rows<T: Copy>(self, stored: &[T], count: usize, len: usize) -> Cow<'_, [T]> {
        match self {
            Self::Plain | Self::Transposed => Cow::Borrowed(stored),
            Self::Third { index, .. } => {
                Cow::Borrowed(&stored[index * count * len..][..count * len])
            }
            Self::Neighbours { heads } => {
                let mut rows = Vec::with_capacity(count * len);
                for row in 0..count {
                    let row = neighbour(row, count / heads);
                    rows.extend_from_slice(&stored[row * len..][..len]);
                }
                Cow::Owned(rows)
            }
        }
    }

    /// Puts the values of a parameter of `shape` into the file's tensor, which is empty before its
    /// first one.
    pub(crate) fn store(self, values: Vec<f32>, shape: &[usize], stored: &mut Vec<f32>) {
        if matches!(self, Self::Third { .. } | Self::Neighbours { .. }) {
            stored.resize(self.stored_shape(shape).iter().product(), 0.0);
        }
        match (self, shape) {
            (Self::Transposed, &[rows, cols]) => *stored = transpose(&values, cols, [rows, cols]),
            (
                Self::Third {
                    index,
                    transposed: true,
                },
                &[rows, cols],
            ) => {
                let turned = transpose(&values, cols, [rows, cols]);
                let lines = stored
                    .chunks_exact_mut(3 * rows)
                    .zip(turned.chunks_exact(rows));
                for (line, turned) in lines {
                    line[index * rows..][..rows].copy_from_slice(turned);
                }
            }
            (Self::Third { index, .. }, _) => {
                stored[index * values.len()..][..values.len()].copy_from_slice(&values);
            }
            (Self::Neighbours { heads }, _) => {
                let cols = shape[1..].iter().product::<usize>();
                for (row, values) in values.chunks_exact(cols).enumerate() {
                    let row = neighbour(row, shape[0] / heads);
                    stored[row * cols..][..cols].copy_from_slice(values);
                }
            }
            (Self::Plain | Self::Transposed, _) => *stored = values,
        }
    }
}

/// Where row `(head, half, pair)` of ours lies in a file that has `(head, pair, half)`.
fn neighbour(row: usize, head_dim: usize) -> usize {
    let (head, at) = (row / head_dim, row % head_dim);
    let (half, pair) = (at / (head_dim / 2), at % (head_dim / 2));
    head * head_dim + 2 * pair + half
}

/// Number of the block, module and leaf of a path such as `blocks.3.attn.q.weight`; `None` outside
/// the blocks.
pub(super) fn in_block(path: &str) -> Option<(&str, &str, &str)> {
    let (layer, rest) = path.strip_prefix("blocks.")?.split_once('.')?;
    let (module, leaf) = rest.rsplit_once('.')?;
    Some((layer, module, leaf))
}

/// The transpose of a `[rows, cols]` matrix whose rows begin `stride` values apart, in tiles that
/// stay in the cache.
fn transpose(values: &[f32], stride: usize, [rows, cols]: [usize; 2]) -> Vec<f32> {
    const TILE: usize = 32;
    let mut out = vec![0.0; rows * cols];
    for first_row in (0..rows).step_by(TILE) {
        for first_col in (0..cols).step_by(TILE) {
            for row in first_row..rows.min(first_row + TILE) {
                for col in first_col..cols.min(first_col + TILE) {
                    out[col * rows + row] = values[row * stride + col];
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(len: usize) -> Vec<f32> {
        (0..len).map(|i| i as f32).collect()
    }

    fn third(index: usize, transposed: bool) -> Form {
        Form::Third { index, transposed }
    }

    #[test]
    fn neighbours_become_halves_head_by_head() {
        // Two heads of width 4: pairs (0, 1) and (2, 3) of the file become (0, 2) and (1, 3).
        let form = Form::Neighbours { heads: 2 };
        let bias = form.restore(counted(8).into(), &[8]);
        assert_eq!(bias, [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
        let rows: Vec<f32> = (0..8)
            .flat_map(|row| [row as f32, 10.0 + row as f32])
            .collect();
        let matrix = form.restore(rows.into(), &[8, 2]);
        assert_eq!(matrix[..6], [0.0, 10.0, 2.0, 12.0, 1.0, 11.0]);
    }

    #[test]
    fn each_form_comes_back_from_the_file() {
        for (form, shape) in [
            (Form::Plain, vec![3, 5]),
            (Form::Transposed, vec![70, 41]),
            (third(1, true), vec![4, 6]),
            (third(2, false), vec![4, 6]),
            (third(2, false), vec![4]),
            (Form::Neighbours { heads: 3 }, vec![18, 2]),
        ] {
            let len = shape.iter().product();
            let mut stored = Vec::new();
            form.store(counted(len), &shape, &mut stored);
            assert_eq!(
                form.restore(stored.into(), &shape),
                counted(len),
                "{form:?}"
            );
        }
    }

    #[test]
    fn a_transposed_matrix_and_thirds_lie_as_in_gpt2() {
        let mut stored = Vec::new();
        Form::Transposed.store(counted(6), &[2, 3], &mut stored);
        assert_eq!(stored, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        let mut fused = Vec::new(); // [d_in 2, 3 * d_out 2]
        for index in 0..3 {
            let values = counted(4).iter().map(|x| x + 10.0 * index as f32).collect();
            third(index, true).store(values, &[2, 2], &mut fused);
        }
        let wanted = [
            0.0, 2.0, 10.0, 12.0, 20.0, 22.0, 1.0, 3.0, 11.0, 13.0, 21.0, 23.0,
        ];
        assert_eq!(fused, wanted);
    }
}
