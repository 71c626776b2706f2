//! Rows of a batch as text in which trained tokens stand out.

use sinterlm_data::{Batch, Tokenizer};

/// How trained tokens are marked in the rows of a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RowStyle {
    /// In green, the others dim: for terminals.
    Colours,
    /// In brackets.
    #[default]
    Brackets,
}

impl RowStyle {
    /// How to read a row.
    pub(crate) fn legend(self) -> &'static str {
        match self {
            Self::Colours => "\u{1b}[32min green\u{1b}[0m",
            Self::Brackets => "in [[ ]]",
        }
    }

    fn marks(self, trained: bool) -> [&'static str; 2] {
        match (self, trained) {
            (Self::Colours, true) => ["\u{1b}[32m", "\u{1b}[0m"],
            (Self::Colours, false) => ["\u{1b}[2m", "\u{1b}[0m"],
            (Self::Brackets, true) => ["[[", "]]"],
            (Self::Brackets, false) => ["", ""],
        }
    }
}

/// The tokens of a row with whether each is trained: the first one that is read, then what follows
/// each position. Where nothing is to be predicted, that is the next token read. Padding behind the
/// last token is left out.
fn tokens(batch: &Batch, row: usize) -> Vec<(u32, bool)> {
    let at = row * batch.seq..(row + 1) * batch.seq;
    let (ids, targets) = (&batch.ids[at.clone()], &batch.targets[at.clone()]);
    let weights = &batch.weights[at];
    let mut tokens = vec![(ids[0], false)];
    for (place, (&target, &weight)) in targets.iter().zip(weights).enumerate() {
        match ids.get(place + 1) {
            _ if weight != 0.0 => tokens.push((target, true)),
            Some(&next) => tokens.push((next, false)),
            None => {}
        }
    }
    // Padding is the last token again and again, without a weight.
    let (last, _) = tokens[tokens.len() - 1];
    while tokens.len() > 1 && tokens[tokens.len() - 1] == (last, false) {
        tokens.pop();
    }
    tokens
}

/// The first `most` tokens of a row on one line.
pub(crate) fn show_row(
    batch: &Batch,
    row: usize,
    most: usize,
    tokenizer: &Tokenizer,
    style: RowStyle,
) -> String {
    let tokens = tokens(batch, row);
    let mut text = String::new();
    let shown = &tokens[..tokens.len().min(most)];
    // A run at a time, as characters may be made of several tokens.
    for run in shown.chunk_by(|a, b| a.1 == b.1) {
        let ids: Vec<u32> = run.iter().map(|token| token.0).collect();
        let [before, behind] = style.marks(run[0].1);
        text.push_str(before);
        for c in tokenizer.decode(&ids).chars() {
            // One line; and the text must not be able to steer the terminal.
            if c.is_control() {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
        text.push_str(behind);
    }
    let left = batch.seq.saturating_sub(shown.len());
    if tokens.len() > most {
        text + " ..."
    } else if left > 0 {
        format!("{text} + {left} of padding")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A question of four tokens, an answer of two, and padding.
    fn batch(tokenizer: &Tokenizer) -> Batch {
        let ids = tokenizer.encode("ab\u{1b}");
        let answer = tokenizer.encode("xy\n");
        let all: Vec<u32> = ids.iter().chain(&answer).copied().collect();
        let mut batch = Batch::padded(1, 12, tokenizer.end_of_text());
        for (place, id) in all.iter().enumerate() {
            batch.ids[place] = *id;
            if place > 0 {
                batch.targets[place - 1] = *id;
                batch.weights[place - 1] = if place >= ids.len() { 1.0 } else { 0.0 };
            }
        }
        batch
    }

    #[test]
    fn trained_tokens_are_marked_and_nothing_steers_the_terminal() {
        let tokenizer = Tokenizer::train_bpe(["ab xy"], 260).unwrap();
        let batch = batch(&tokenizer);
        let plain = show_row(&batch, 0, 12, &tokenizer, RowStyle::Brackets);
        assert!(plain.starts_with("ab\\u{1b}[[xy\\n]] + "), "{plain}");
        assert!(plain.ends_with(" of padding"), "{plain}");
        let coloured = show_row(&batch, 0, 12, &tokenizer, RowStyle::Colours);
        assert!(coloured.contains("\u{1b}[32mxy\\n\u{1b}[0m"), "{coloured}");
        assert_eq!(coloured.matches('\u{1b}').count(), 4, "{coloured}");
        let cut = show_row(&batch, 0, 2, &tokenizer, RowStyle::Brackets);
        assert!(cut.ends_with(" ..."), "{cut}");
    }

    #[test]
    fn a_row_without_weights_shows_what_is_read() {
        let tokenizer = Tokenizer::train_bpe(["ab xy"], 260).unwrap();
        let mut batch = batch(&tokenizer);
        batch.weights.fill(0.0);
        let text = show_row(&batch, 0, 12, &tokenizer, RowStyle::Brackets);
        assert!(
            text.starts_with("ab\\u{1b}xy\\n") && !text.contains("[["),
            "{text}"
        );
    }
}
