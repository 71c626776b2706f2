//! What a model that answers is measured by: the loss of answers on validation records during the run, and
//! the answers that it writes to test records at its end.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::Device;
use serde_json::{Value, json};
use sinterlm_config::Seed;
use sinterlm_data::RowBatches;
use sinterlm_eval::{
    Answer, ExactMatch, Generated, GenerationReport, Interval, Normalisation, Rouge, loss_over,
};
use sinterlm_model::{ForwardCtx, Gpt, Precision, load_model};
use sinterlm_run::{EvalRecord, Section, Summary, ValidFigures};
use sinterlm_text::TextError;
use sinterlm_trainer::{Evaluate, Scope, TrainError};

use super::answering::{Answering, Question, Written};
use crate::host::Host;
use crate::parts::{Results, Summarise};

/// Test records that the report shows.
const EXAMPLES: usize = 12;

/// What is scored, and how.
pub(super) struct InstructScoring {
    pub valid: Option<RowBatches>,
    pub test_rows: Option<RowBatches>,
    /// Rows of a scored batch, and most that are scored during the run; 0 = all.
    pub rows: usize,
    pub max_rows: u64,
    /// Validation records that are answered during the run.
    pub during: Vec<Question>,
    pub test: Vec<Question>,
    pub held_out: Vec<Question>,
    pub answering: Answering,
    pub precision: Precision,
    pub normalisation: Normalisation,
    pub exact_words: usize,
    pub device: Device,
    pub before: Option<Before>,
}

/// The model that the run started from, to be scored as well.
pub(super) struct Before {
    pub weights: Option<PathBuf>,
    pub host: Host,
}

/// Figures of answers to a set of questions.
struct Scores {
    exact: Option<ExactMatch>,
    rouge_l: Option<Interval>,
    generation: GenerationReport,
    loss: Option<f64>,
    answers: Vec<Written>,
}

/// The figures of the end.
struct Last {
    valid_tokens: f64,
    test: Option<Scores>,
    held_out: Option<Scores>,
    before: Option<(Scores, Option<Scores>)>,
}

/// Figures by name, and at the end all that is known.
type Scored = (Vec<(String, f64)>, Option<Last>);
/// A figure in words.
type InWords<'a> = &'a dyn Fn(&Scores) -> String;
type Hooks = (Evaluate<'static, Gpt>, Summarise<'static>);

impl InstructScoring {
    /// Names of the figures.
    pub(super) fn metrics(&self) -> Vec<String> {
        let mut names = Vec::new();
        if self.valid.is_some() {
            names.extend(["valid/loss", "valid/perplexity"]);
        }
        if !self.during.is_empty() {
            names.extend(["valid/exact_match", "valid/ended_by_eos"]);
        }
        if self.test_rows.is_some() {
            names.push("test/loss");
        }
        if !self.test.is_empty() {
            names.extend(["test/exact_match", "test/rouge_l", "test/ended_by_eos"]);
        }
        if !self.held_out.is_empty() {
            names.extend([
                "held_out/exact_match",
                "held_out/rouge_l",
                "held_out/ended_by_eos",
            ]);
        }
        names.into_iter().map(str::to_owned).collect()
    }

    /// The hook that scores, and the one that tells of its last figures.
    pub(super) fn hooks(self) -> Hooks {
        let results: Arc<Mutex<Option<Last>>> = Arc::default();
        let kept = Arc::clone(&results);
        let questions = [self.test.clone(), self.held_out.clone()];
        let evaluate = Box::new(move |model: &Gpt, scope: Scope| {
            let (figures, last) = self.score(model, scope).map_err(failed)?;
            if let Some(last) = last {
                *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
            }
            Ok(figures)
        });
        let summarise = Box::new(move |record: &EvalRecord, summary: &mut Summary| {
            let results = results
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            results.map_or_else(Results::default, |last| {
                last.tell(&questions, record, summary)
            })
        });
        (evaluate, summarise)
    }

    fn score(&self, model: &Gpt, scope: Scope) -> Result<Scored, TextError> {
        let mut figures = Vec::new();
        let mut add = |name: String, value: Option<f64>| {
            figures.extend(value.map(|value| (name, value)));
        };
        let most = match (scope, self.max_rows) {
            (Scope::Final, _) | (_, 0) => u64::MAX,
            (Scope::During, most) => most,
        };
        let mut valid_tokens = 0.0;
        if let Some(valid) = &self.valid {
            let total = self.loss_of(model, valid, most);
            valid_tokens = total.1;
            let loss = total.0;
            add("valid/loss".into(), loss);
            add("valid/perplexity".into(), loss.map(f64::exp));
        }
        if !self.during.is_empty() {
            let scores = self.scores(model, &self.during, None)?;
            let exact = scores.exact.map(|exact| exact.all.exact_match);
            add("valid/exact_match".into(), exact);
            add("valid/ended_by_eos".into(), scores.generation.ended_by_eos);
        }
        if scope == Scope::During {
            return Ok((figures, None));
        }
        let (test, held_out) = self.tested(model)?;
        for (name, scores) in [("test", &test), ("held_out", &held_out)] {
            let Some(scores) = scores else { continue };
            add(format!("{name}/loss"), scores.loss);
            let exact = scores.exact.as_ref().map(|exact| exact.all.exact_match);
            add(format!("{name}/exact_match"), exact);
            add(
                format!("{name}/rouge_l"),
                scores.rouge_l.as_ref().map(|rouge| rouge.value),
            );
            add(
                format!("{name}/ended_by_eos"),
                scores.generation.ended_by_eos,
            );
        }
        let before = match (&self.before, &test) {
            (Some(before), Some(_)) => self.score_before(before)?,
            _ => None,
        };
        let results = Last {
            valid_tokens,
            test,
            held_out,
            before,
        };
        Ok((figures, Some(results)))
    }

    /// Nats per trained token over at most so many rows, and the weight of these tokens.
    fn loss_of(&self, model: &Gpt, batches: &RowBatches, most: u64) -> (Option<f64>, f64) {
        let ctx = ForwardCtx::evaluation(self.precision);
        let count = most.div_ceil(self.rows as u64);
        let numbers = 0..count;
        let some = numbers.map_while(|n| Some(batches.batch(n, self.rows)?.batch));
        let mut tokens = 0.0;
        let some = some.inspect(|batch| tokens += batch.token_count());
        let total = loss_over(model, some, &ctx, &self.device);
        (total.mean(), tokens)
    }

    fn tested(&self, model: &Gpt) -> Result<(Option<Scores>, Option<Scores>), TextError> {
        let of = |questions: &[Question], rows: Option<&RowBatches>| {
            if questions.is_empty() {
                return Ok(None);
            }
            let loss = rows.and_then(|rows| self.loss_of(model, rows, u64::MAX).0);
            self.scores(model, questions, loss).map(Some)
        };
        Ok((
            of(&self.test, self.test_rows.as_ref())?,
            of(&self.held_out, None)?,
        ))
    }

    /// The figures of the model that the run started from; none where it is gone.
    fn score_before(&self, before: &Before) -> Result<Option<(Scores, Option<Scores>)>, TextError> {
        let Some(path) = &before.weights else {
            return Ok(None);
        };
        let model = match load_model(path, &self.device) {
            Ok(model) => model,
            Err(error) => {
                before
                    .host
                    .note(format!("the model of the start is not scored: {error}"));
                return Ok(None);
            }
        };
        let (test, held_out) = self.tested(&model)?;
        Ok(test.map(|test| (test, held_out)))
    }

    fn scores(
        &self,
        model: &Gpt,
        questions: &[Question],
        loss: Option<f64>,
    ) -> Result<Scores, TextError> {
        let answers = self.answering.answers(model, questions)?;
        let pairs = || questions.iter().zip(&answers);
        let short = |question: &Question| {
            let words = question.reference.split_whitespace().count();
            self.exact_words == 0 || words <= self.exact_words
        };
        let compared: Vec<Answer<'_>> = pairs()
            .filter(|(question, _)| short(question))
            .map(|(question, written)| Answer {
                task: question.task.as_deref(),
                reference: &question.reference,
                text: &written.text,
            })
            .collect();
        let rouge: Vec<f64> = pairs()
            .map(|(question, written)| {
                Rouge::of(&question.reference, &written.text, true)
                    .rouge_l
                    .f1
            })
            .collect();
        let generated: Vec<Generated<'_>> = answers
            .iter()
            .map(|written| Generated {
                text: &written.text,
                ids: &written.ids,
                ended_by_eos: written.ended_by_eos,
            })
            .collect();
        Ok(Scores {
            exact: ExactMatch::of(&compared, self.normalisation),
            rouge_l: Interval::bootstrap(rouge.into_iter().enumerate(), Seed(0)),
            generation: GenerationReport::of(&generated),
            loss,
            answers,
        })
    }
}

fn failed(error: TextError) -> TrainError {
    match error {
        TextError::Model(error) => error.into(),
        other => TrainError::Evaluation(other.to_string()),
    }
}

impl Scores {
    /// As `summary.json` names them.
    fn value(&self) -> Value {
        let mut value = json!({"count": self.generation.count});
        let mut put = |name: &str, figure: Option<f64>| {
            if let Some(figure) = figure {
                value[name] = figure.into();
            }
        };
        put("loss", self.loss);
        if let Some(exact) = &self.exact {
            put("exact_match", Some(exact.all.exact_match));
            put("exact_match_low", Some(exact.all.exact_match_low));
            put("exact_match_high", Some(exact.all.exact_match_high));
            put("majority", Some(exact.all.majority));
        }
        if let Some(rouge) = &self.rouge_l {
            put("rouge_l", Some(rouge.value));
            put("rouge_l_low", Some(rouge.low));
            put("rouge_l_high", Some(rouge.high));
        }
        let report = &self.generation;
        put("ended_by_eos", report.ended_by_eos);
        put("empty_rate", report.empty_rate);
        put("distinct_1", report.distinct_1);
        put("distinct_2", report.distinct_2);
        put("repetition", report.repetition);
        put("mean_words", report.mean_words);
        if let Some(exact) = &self.exact {
            value["exact_match_count"] = exact.all.count.into();
            if !exact.tasks.is_empty() {
                let tasks: BTreeMap<&String, Value> = exact
                    .tasks
                    .iter()
                    .map(|(task, figures)| (task, json!(figures)))
                    .collect();
                value["tasks"] = json!(tasks);
            }
        }
        value
    }
}

impl Last {
    fn tell(
        self,
        [test, held_out]: &[Vec<Question>; 2],
        record: &EvalRecord,
        summary: &mut Summary,
    ) -> Results {
        if let Some(loss) = record.figure("valid/loss") {
            summary.valid = Some(ValidFigures {
                loss,
                perplexity: loss.exp(),
                tokens: self.valid_tokens as u64,
                ..ValidFigures::default()
            });
        }
        let mut sections = Vec::new();
        let Some(after) = &self.test else {
            return Results::default();
        };
        let mut value = after.value();
        if let Some(scores) = &self.held_out {
            value["held_out"] = scores.value();
        }
        if let Some((before, of_held_out)) = &self.before {
            let mut start = before.value();
            if let Some(scores) = of_held_out {
                start["held_out"] = scores.value();
            }
            value["before"] = start;
        }
        summary.test = Some(value);
        let before = self.before.as_ref();
        sections.push(figures_section("Test", after, before.map(|both| &both.0)));
        sections.extend(tasks_section("Test: exact match by task", after));
        if let Some(scores) = &self.held_out {
            let start = before.and_then(|both| both.1.as_ref());
            sections.push(figures_section("Held-out combinations", scores, start));
            sections.extend(tasks_section("Held-out combinations by task", scores));
        }
        sections.push(examples(
            "Test: answers",
            test,
            after,
            before.map(|both| &both.0),
        ));
        if let Some(scores) = &self.held_out {
            let start = before.and_then(|both| both.1.as_ref());
            sections.push(examples(
                "Held-out combinations: answers",
                held_out,
                scores,
                start,
            ));
        }
        let starts = before.map(|both| (&both.0, both.1.as_ref()));
        let of_test = items(test, after, starts.map(|both| both.0));
        let mut files = vec![("answers.jsonl".to_owned(), of_test)];
        if let Some(scores) = &self.held_out {
            let start = starts.and_then(|both| both.1);
            let lines = items(held_out, scores, start);
            files.push(("answers-held-out.jsonl".to_owned(), lines));
        }
        Results { sections, files }
    }
}

/// The questions with what was wanted and answered, as JSON, a line each.
fn items(questions: &[Question], after: &Scores, before: Option<&Scores>) -> Vec<u8> {
    let mut lines = Vec::new();
    for (at, question) in questions.iter().enumerate() {
        let mut item = json!({
            "prompt": question.asked,
            "reference": question.reference,
            "text": after.answers[at].text,
            "ended_by_eos": after.answers[at].ended_by_eos,
        });
        if let Some(task) = &question.task {
            item["task"] = (**task).into();
        }
        if let Some(before) = before {
            item["before"] = json!(before.answers[at].text);
        }
        lines.extend(format!("{item}\n").into_bytes());
    }
    lines
}

fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{:.1} %", 100.0 * value))
}

fn figures_section(title: &str, after: &Scores, before: Option<&Scores>) -> Section {
    let mut columns = vec!["figure".to_owned()];
    columns.extend(before.map(|_| "before".to_owned()));
    columns.push("after".to_owned());
    let exact = |scores: &Scores| {
        scores.exact.as_ref().map_or_else(
            || "-".to_owned(),
            |exact| {
                let all = &exact.all;
                format!(
                    "{} ({} to {}, of {})",
                    percent(Some(all.exact_match)),
                    percent(Some(all.exact_match_low)),
                    percent(Some(all.exact_match_high)),
                    all.count
                )
            },
        )
    };
    let number =
        |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
    let figures: [(&str, InWords<'_>); 9] = [
        ("exact match (Wilson, 95 %)", &exact),
        (
            "of which the most frequent answer of each task gets",
            &|s| percent(s.exact.as_ref().map(|exact| exact.all.majority)),
        ),
        ("ROUGE-L", &|s| {
            number(s.rouge_l.as_ref().map(|rouge| rouge.value))
        }),
        ("loss of answers, nats a token", &|s| number(s.loss)),
        ("ended by the model itself", &|s| {
            percent(s.generation.ended_by_eos)
        }),
        ("empty answers", &|s| percent(s.generation.empty_rate)),
        ("distinct pairs of words", &|s| {
            number(s.generation.distinct_2)
        }),
        ("repeated runs of four tokens", &|s| {
            percent(s.generation.repetition)
        }),
        ("words of an answer, mean", &|s| {
            number(s.generation.mean_words)
        }),
    ];
    let rows = figures.iter().map(|(name, figure)| {
        let mut row = vec![(*name).to_owned()];
        row.extend(before.map(figure));
        row.push(figure(after));
        row
    });
    Section {
        title: title.to_owned(),
        text: format!(
            "{} records that neither training nor any choice has seen, answered greedily.",
            after.generation.count
        ),
        columns,
        rows: rows.collect(),
    }
}

fn tasks_section(title: &str, scores: &Scores) -> Option<Section> {
    let exact = scores.exact.as_ref()?;
    if exact.tasks.is_empty() {
        return None;
    }
    let rows = exact.tasks.iter().map(|(task, figures)| {
        vec![
            task.clone(),
            figures.count.to_string(),
            percent(Some(figures.exact_match)),
            format!(
                "{} to {}",
                percent(Some(figures.exact_match_low)),
                percent(Some(figures.exact_match_high))
            ),
            percent(Some(figures.majority)),
        ]
    });
    let columns = [
        "task",
        "records",
        "exact match",
        "interval",
        "most frequent answer",
    ];
    Some(Section {
        title: title.to_owned(),
        text: String::new(),
        columns: columns.map(str::to_owned).to_vec(),
        rows: rows.collect(),
    })
}

/// Some questions with what was wanted and what was answered, spread over the set.
fn examples(
    title: &str,
    questions: &[Question],
    after: &Scores,
    before: Option<&Scores>,
) -> Section {
    let mut columns = vec!["asked".to_owned(), "wanted".to_owned()];
    columns.extend(before.map(|_| "before".to_owned()));
    columns.push("after".to_owned());
    let short = |text: &str| -> String {
        let mut short: String = text.chars().take(200).collect();
        if short.len() < text.len() {
            short.push_str(" ...");
        }
        short
    };
    let step = questions.len().div_ceil(EXAMPLES).max(1);
    let rows = (0..questions.len()).step_by(step).map(|at| {
        let mut row = vec![short(&questions[at].asked), short(&questions[at].reference)];
        row.extend(before.map(|scores| short(&scores.answers[at].text)));
        row.push(short(&after.answers[at].text));
        row
    });
    Section {
        title: title.to_owned(),
        text: String::new(),
        columns,
        rows: rows.collect(),
    }
}
