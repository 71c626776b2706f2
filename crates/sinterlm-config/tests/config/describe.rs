//! The generated documentation of a config's keys.

use sinterlm_config::describe;

#[test]
fn every_key_is_described_once_in_the_order_of_declaration() {
    let text: Vec<String> = describe::<crate::mini::Run>()
        .into_iter()
        .map(|key| {
            let default = match (key.required, key.default) {
                (true, None) => "required".to_owned(),
                (_, default) => default.unwrap_or_else(|| "-".to_owned()),
            };
            format!(
                "{} | {} | {default} | {}",
                key.path,
                key.kind,
                key.doc.replace('\n', " ")
            )
        })
        .collect();
    insta::assert_snapshot!(text.join("\n"), @r#"
    seed | an integer of at least 0 | required | The one seed.
    model | a table with d_model, n_heads | required | The network.
    model.d_model | an integer of at least 8 | required | Width.
    model.n_heads | an integer of at least 1 | required | Attention heads; divides `d_model`.
    model.n_kv_heads | an integer of at least 0 | - | Heads of keys and values; all heads where absent.
    model.norm | "layer_norm" or "rms_norm" | "layer_norm" | Form of the normalisation. - `layer_norm`: With mean and bias. - `rms_norm`: Scale alone.
    model.dropout | a number from 0 to 0.9 | 0.1 | Share of activations dropped.
    trainer | a table | - | Length of training.
    trainer.max_steps | an integer of at least 0 | 2000 | Optimizer steps.
    trainer.eval_first | true or false | false | Evaluates before the first step.
    trainer.name | a string | - | Name of the run; made up where absent.
    schedule | a table with kind = "constant", "cosine" or "warmup_stable_decay" | - | Learning rate over time.
    schedule.kind | "constant", "cosine" or "warmup_stable_decay" | "cosine" | Which of these it is; decides about the other keys. - `constant`: Always the peak. - `cosine`: Down a half cosine. - `warmup_stable_decay`: Up, level, down.
    schedule.warmup_steps | an integer of at least 0 | 100 | With kind = cosine, warmup_stable_decay: Steps up to the peak.
    schedule.min_ratio | a number from 0 to 1 | 0.1 | With kind = cosine: Last rate over peak rate.
    schedule.decay_steps | an integer of at least 0 | required | With kind = warmup_stable_decay: Steps down to zero.
    optimizer | a table with kind = "adamw" or "sgd" | - | Update rule.
    optimizer.kind | "adamw" or "sgd" | "adamw" | Which of these it is; decides about the other keys. - `adamw`: Adam with decoupled decay. - `sgd`: Plain descent.
    optimizer.peak_lr | a number | 0.001 | Greatest learning rate.
    optimizer.betas | a list of 2, each a number | [0.9, 0.95] | With kind = adamw: Decay rates of the two moments.
    data | a table | - | Where texts come from.
    data.sources | a list, each a table with kind = "local" or "named" | [] | Sources, read in order.
    data.sources.*.kind | "local" or "named" | required | Which of these it is; decides about the other keys. - `local`: Files on this machine. - `named`: A data set by name.
    data.sources.*.paths | a list, each a string | required | With kind = local: Files or folders.
    data.sources.*.name | a string | required | With kind = named: Its name.
    data.sources.*.revision | a string | - | With kind = named: Its revision.
    data.weights | a table | - | Share of each named set.
    data.long | "drop", or a table with one key of cut, split | - | What to do with long texts.
    data.long.cut | a table with max_tokens | - | Cut them.
    data.long.cut.max_tokens | an integer of at least 0 | required | Greatest length in tokens.
    data.long.split | a string | - | Split them at this text.
    "#);
}
