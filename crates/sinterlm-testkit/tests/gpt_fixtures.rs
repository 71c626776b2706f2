//! Holds the golden GPT files against what can be known of them without a model.

use sinterlm_testkit::{Golden, WHOLE_MODEL_F32, assert_close, fixed_index, fixture};

fn files() -> [Golden; 3] {
    ["tied", "untied", "plain"]
        .map(|name| Golden::load(fixture(&format!("gpt_{name}.safetensors"))))
}

/// The loss follows from the logits stored beside it.
#[test]
fn loss_is_the_cross_entropy_of_the_logits() {
    for golden in files() {
        let vocab = golden.shape("logits")[2];
        let per_batch = golden.shape("ids")[1] * golden.shape("ids")[2];
        let (targets, weights) = (golden.i64("targets"), golden.f64("weights"));
        let mut sum = 0.0;
        for (row, logits) in golden.f64("logits").chunks(vocab).enumerate() {
            let log_total = logits.iter().map(|logit| logit.exp()).sum::<f64>().ln();
            sum += weights[row] * (log_total - logits[targets[row] as usize]);
        }
        let count: f64 = weights[..per_batch].iter().sum();
        let actual = [sum, count, sum / count];
        let expected = ["loss_sum", "loss_count", "loss"].map(|name| golden.scalar(name));
        assert_close(&actual, &expected, WHOLE_MODEL_F32, golden.about("variant"));
        assert_close(
            &actual[2..],
            &golden.f64("step.loss")[..1],
            WHOLE_MODEL_F32,
            "first step",
        );
        assert!(count < per_batch as f64, "some targets are ignored");
    }
}

/// The global norm of the stored gradients is the norm that the first step clipped.
#[test]
fn gradients_have_the_norm_of_the_first_step() {
    for golden in files() {
        let gradients = golden.names().filter(|name| name.starts_with("grad."));
        let squares: f64 = gradients
            .flat_map(|name| golden.f64(name))
            .map(|g| g * g)
            .sum();
        let norm = [squares.sqrt()];
        assert_close(
            &norm,
            &golden.f64("step.grad_norm")[..1],
            WHOLE_MODEL_F32,
            "grad_norm",
        );
    }
}

#[test]
fn inputs_are_those_of_the_formula() {
    for golden in files() {
        let ids = fixed_index("batch.ids", golden.shape("ids"), 61);
        assert!(
            golden
                .i64("ids")
                .iter()
                .zip(&ids)
                .all(|(&stored, &made)| stored == made as i64)
        );
    }
}

/// Rows of the table that no batch reads get no gradient and only decay.
#[test]
fn unread_positions_only_decay() {
    for golden in files() {
        let d_model = golden.shape("final.wpe.weight")[1];
        let unread = golden.shape("ids")[2] * d_model..;
        let decay: f64 = golden
            .f64("step.lr")
            .iter()
            .map(|lr| 1.0 - lr * 0.1)
            .product();
        let initial =
            sinterlm_testkit::fixed_weight("wpe.weight", golden.shape("final.wpe.weight"));
        let expected: Vec<f64> = initial[unread.clone()]
            .iter()
            .map(|&w| f64::from(w) * decay)
            .collect();
        let actual = &golden.f64("final.wpe.weight")[unread];
        assert_close(
            actual,
            &expected,
            WHOLE_MODEL_F32,
            "positions beyond the batch",
        );
    }
}
