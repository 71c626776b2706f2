//! Longest common subsequences of two sequences of tokens, in one bit a pair of places.

use std::collections::HashMap;

/// The table of lengths of common subsequences, by prefixes of `rows` and `columns`.
///
/// The length grows by 0 or 1 from one column to the next; bit `j` of row `i` is 0 where it grows
/// at column `j` (Hyyrö 2004). A row comes from the one before by one addition of long integers,
/// so that a row of 64 columns costs a few machine instructions.
pub(crate) struct LcsTable {
    rows: Vec<Vec<u64>>,
    columns: usize,
}

impl LcsTable {
    /// The whole table.
    pub(crate) fn new(rows: &[u32], columns: &[u32]) -> Self {
        let mut table = Vec::with_capacity(rows.len() + 1);
        each_row(rows, columns, |row| table.push(row.to_vec()));
        Self {
            rows: table,
            columns: columns.len(),
        }
    }

    /// Places in `rows` of one longest common subsequence with `columns`, in rising order.
    ///
    /// Of several it is the one that rouge-score reads out: from the end, a match is always taken,
    /// else a column is left only where that leads to the longer rest.
    pub(crate) fn places(&self, rows: &[u32], columns: &[u32]) -> Vec<usize> {
        let (mut i, mut j) = (rows.len(), self.columns);
        let mut places = Vec::new();
        // Lengths at (i, j) and (i − 1, j), which change by a bit as `j` falls.
        let mut here = self.length(i, j);
        let mut above = self.length(i.saturating_sub(1), j);
        while i > 0 && j > 0 {
            let grows_here = self.grows(i, j - 1);
            let grows_above = self.grows(i - 1, j - 1);
            if rows[i - 1] == columns[j - 1] {
                places.push(i - 1);
                i -= 1;
                j -= 1;
                here = above - grows_above;
                above = self.length(i.saturating_sub(1), j);
            } else if here - grows_here > above {
                j -= 1;
                here -= grows_here;
                above -= grows_above;
            } else {
                i -= 1;
                here = above;
                above = self.length(i.saturating_sub(1), j);
            }
        }
        places.reverse();
        places
    }

    fn grows(&self, row: usize, column: usize) -> u64 {
        1 - (self.rows[row][column / 64] >> (column % 64) & 1)
    }

    fn length(&self, row: usize, columns: usize) -> u64 {
        zeros(&self.rows[row], columns)
    }
}

/// The length alone, with memory for one row.
pub(crate) fn lcs_length(rows: &[u32], columns: &[u32]) -> u64 {
    let mut length = 0;
    each_row(rows, columns, |row| length = zeros(row, columns.len()));
    length
}

/// Calls `see` with each row of the table, the empty prefix first.
fn each_row(rows: &[u32], columns: &[u32], mut see: impl FnMut(&[u64])) {
    let mut places: HashMap<u32, Vec<usize>> = HashMap::new();
    for (place, &token) in columns.iter().enumerate() {
        places.entry(token).or_default().push(place);
    }
    let words = columns.len().div_ceil(64);
    let mut row = vec![u64::MAX; words];
    let mut matches = vec![0_u64; words];
    see(&row);
    for token in rows {
        let places = places.get(token).map_or(&[][..], Vec::as_slice);
        for &place in places {
            matches[place / 64] |= 1 << (place % 64);
        }
        let mut carry = false;
        for (bits, &same) in row.iter_mut().zip(&matches) {
            let taken = *bits & same;
            let (sum, first) = bits.overflowing_add(taken);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            carry = first || second;
            *bits = sum | (*bits & !same);
        }
        for &place in places {
            matches[place / 64] = 0;
        }
        see(&row);
    }
}

/// Zeros among the first `count` bits.
fn zeros(bits: &[u64], count: usize) -> u64 {
    let whole: u64 = bits[..count / 64]
        .iter()
        .map(|word| u64::from(word.count_zeros()))
        .sum();
    let rest = count % 64;
    let last = if rest == 0 {
        0
    } else {
        u64::from((!bits[count / 64] & ((1 << rest) - 1)).count_ones())
    };
    whole + last
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The textbook's table.
    fn plain(rows: &[u32], columns: &[u32]) -> Vec<Vec<u64>> {
        let mut table = vec![vec![0; columns.len() + 1]; rows.len() + 1];
        for i in 1..=rows.len() {
            for j in 1..=columns.len() {
                table[i][j] = if rows[i - 1] == columns[j - 1] {
                    table[i - 1][j - 1] + 1
                } else {
                    table[i - 1][j].max(table[i][j - 1])
                };
            }
        }
        table
    }

    fn draw(seed: u64, length: usize, kinds: u64) -> Vec<u32> {
        let mut rng = sinterlm_config::KeyRng::new(seed);
        (0..length)
            .map(|_| (rng.next_f32() * kinds as f32) as u32)
            .collect()
    }

    #[test]
    fn the_table_of_bits_holds_the_lengths_of_the_plain_one() {
        for (seed, (n, m, kinds)) in (0..).zip([
            (0, 5, 2),
            (5, 0, 2),
            (64, 64, 2),
            (40, 130, 5),
            (130, 65, 20),
            (9, 200, 3),
        ]) {
            let (rows, columns) = (draw(2 * seed, n, kinds), draw(2 * seed + 1, m, kinds));
            let (table, plain) = (LcsTable::new(&rows, &columns), plain(&rows, &columns));
            for (i, row) in plain.iter().enumerate() {
                let found: Vec<u64> = (0..=m).map(|j| table.length(i, j)).collect();
                assert_eq!(&found, row, "case {seed}, row {i}");
            }
            assert_eq!(lcs_length(&rows, &columns), plain[n][m]);
            let places = table.places(&rows, &columns);
            assert_eq!(places.len() as u64, plain[n][m]);
            let mut rest = columns.iter();
            assert!(
                places
                    .iter()
                    .all(|&place| rest.any(|token| *token == rows[place]))
            );
        }
    }
}
