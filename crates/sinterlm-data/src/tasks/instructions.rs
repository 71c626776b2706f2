//! The set of instructions: its families, how often each is drawn, and its four splits.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinterlm_config::{Check, KeyRng, Seed, Stream, Validate, stable_hash};

use super::Question;
use super::families;
use super::formats::{FORMATS, Format, HELD_OUT, plain};
use super::operations::{OPERATIONS, Operation};
use super::talk;
use super::words::pick;
use crate::stories::world::{chance, index};
use crate::{Body, Origin, Record};

/// Name of the set in the origins of its records.
const NAME: &str = "instructions";

/// Test records of each family.
const TEST_PER_TASK: usize = 40;

/// Validation records of each family.
const VALID_PER_TASK: usize = 10;

/// Records of each combination that is held out.
const HELD_OUT_PER_TASK: usize = 30;

/// Instructions of our own making, each with the one right answer, which is short.
///
/// A family is a task's name; the families are operations on lists of words (copy, reverse, sort,
/// ...), output formats (`capitals`, `json`, ...: an operation whose answer is wanted in that format),
/// letters, case, numbers, kinds of things, membership, questions about a scene of
/// [`StoryGenerator`](crate::StoryGenerator), greetings, harmless requests and harmful ones that are
/// declined. Words come from small closed tables, so that a model of a few million parameters learns
/// them in minutes.
///
/// What is asked about (the input, or the instruction where there is none) belongs by its hash to
/// training, validation or test, whatever the seed and the family: no content of a test record is
/// seen in training. [`TaskSplit::HeldOut`] has combinations of an operation and a format of which
/// training has none, while it has each of the two in several others; their contents are those of
/// the test split.
///
/// Training records follow from the seed and their number alone; so do the others, drawn in turn for
/// each family and without repeats. They belong to this version of the crate: a later one may make
/// others.
///
/// ```
/// use sinterlm_data::{InstructionTasks, TaskSplit};
/// let tasks = InstructionTasks { count: 100, seed: 1 };
/// assert_eq!(tasks.records(TaskSplit::Train).len(), 100);
/// assert!(tasks.records(TaskSplit::Test).len() >= 500);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InstructionTasks {
    /// Number of training records. The other splits have fixed sizes.
    #[schemars(range(min = 1))]
    pub count: u64,
    /// Seed of the records.
    pub seed: u64,
}

impl Default for InstructionTasks {
    fn default() -> Self {
        Self {
            count: 40_000,
            seed: 1,
        }
    }
}

impl Validate for InstructionTasks {
    fn validate(&self, check: &mut Check) {
        check.require(self.count > 0, "count", || {
            "is 0; ask for at least one training record, such as 40000".into()
        });
    }
}

/// A part of [`InstructionTasks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskSplit {
    /// What is trained on.
    Train,
    /// To choose by, of the families of training.
    Valid,
    /// To report, of the families of training.
    Test,
    /// To report apart: operations in formats never combined in training.
    HeldOut,
}

/// Draws a question.
type Draw = fn(&mut KeyRng) -> Question;

/// How the questions of a family are made.
#[derive(Clone, Copy, Debug)]
enum Make {
    Alone(Draw),
    Plain(Operation),
    Formatted(Format),
    Combined(Operation, Format),
}

impl Make {
    fn question(self, rng: &mut KeyRng) -> Question {
        match self {
            Self::Alone(make) => make(rng),
            Self::Plain(operation) => {
                let asked = (operation.ask)(rng);
                Question {
                    instruction: asked.instruction,
                    input: asked.input,
                    output: plain(&asked.answer),
                }
            }
            Self::Formatted(format) => loop {
                let operation = *pick(rng, OPERATIONS);
                if !HELD_OUT.contains(&(operation.name, format.name)) {
                    return combined(rng, operation, format);
                }
            },
            Self::Combined(operation, format) => combined(rng, operation, format),
        }
    }
}

fn combined(rng: &mut KeyRng, operation: Operation, format: Format) -> Question {
    let asked = (operation.ask)(rng);
    let wish = format.phrase(rng);
    let instruction = if chance(rng, 0.3) {
        format!("{wish} {}", asked.instruction)
    } else {
        format!("{} {wish}", asked.instruction)
    };
    Question {
        instruction,
        input: asked.input,
        output: (format.write)(&asked.answer),
    }
}

/// A family with its share of the training records.
#[derive(Clone, Debug)]
struct Family {
    task: Arc<str>,
    weight: usize,
    make: Make,
}

/// The families of training, validation and test.
fn families() -> Vec<Family> {
    let family = |task: &str, weight, make| Family {
        task: task.into(),
        weight,
        make,
    };
    let mut families = Vec::new();
    for operation in OPERATIONS {
        let weight = match operation.name {
            "sort" => 6,
            "reverse" | "opposite" | "plural" => 3,
            _ => 2,
        };
        families.push(family(operation.name, weight, Make::Plain(*operation)));
    }
    for format in FORMATS {
        families.push(family(format.name, 6, Make::Formatted(*format)));
    }
    let others: [(&str, usize, Draw); 17] = [
        ("nth", 2, families::nth),
        ("letters", 3, families::letters),
        ("count", 2, families::count),
        ("upper", 3, families::upper),
        ("lower", 3, families::lower),
        ("title", 3, families::title),
        ("order", 4, families::order),
        ("largest", 3, families::largest),
        ("smallest", 3, families::smallest),
        ("add", 6, families::add),
        ("subtract", 6, families::subtract),
        ("category", 2, families::category),
        ("member", 4, families::member),
        ("story", 4, families::story),
        ("greet", 2, talk::greet),
        ("help", 2, talk::help),
        ("refuse", 2, talk::refuse),
    ];
    let other = |(task, weight, make)| family(task, weight, Make::Alone(make));
    families.extend(others.into_iter().map(other));
    families
}

/// The combinations that are held out.
fn held_out() -> Vec<Family> {
    let find = |(of, with): &(&str, &str)| {
        let operation = OPERATIONS.iter().find(|operation| operation.name == *of)?;
        let format = FORMATS.iter().find(|format| format.name == *with)?;
        Some(Family {
            task: format!("{of}+{with}").into(),
            weight: 1,
            make: Make::Combined(*operation, *format),
        })
    };
    HELD_OUT.iter().filter_map(find).collect()
}

/// The split that a question about `content` belongs to: a tenth is for test, a twentieth for
/// validation.
fn split_of(content: &str) -> TaskSplit {
    match stable_hash(content.as_bytes()) % 20 {
        0 | 1 => TaskSplit::Test,
        2 => TaskSplit::Valid,
        _ => TaskSplit::Train,
    }
}

impl InstructionTasks {
    /// The records of `split` in their order; each has its family as task.
    pub fn records(&self, split: TaskSplit) -> Vec<Record> {
        match split {
            TaskSplit::Train => self.train(),
            TaskSplit::Valid => self.in_turn(split, &families(), VALID_PER_TASK),
            TaskSplit::Test => self.in_turn(split, &families(), TEST_PER_TASK),
            TaskSplit::HeldOut => self.in_turn(split, &held_out(), HELD_OUT_PER_TASK),
        }
    }

    fn train(&self) -> Vec<Record> {
        let families = families();
        let spread = families
            .iter()
            .flat_map(|family| std::iter::repeat_n(family, family.weight));
        let spread: Vec<&Family> = spread.collect();
        let draw = |number| {
            let mut rng = self.rng(TaskSplit::Train, number);
            let family = spread[index(&mut rng, spread.len())];
            let question = draw(&mut rng, family, TaskSplit::Train);
            record(family, question, number)
        };
        (0..self.count).map(draw).collect()
    }

    /// `per_task` records of each family, no two of a family about the same.
    fn in_turn(&self, split: TaskSplit, families: &[Family], per_task: usize) -> Vec<Record> {
        let mut contents = HashSet::new();
        let numbers = 0..(per_task * families.len()) as u64;
        let draw = |number| {
            let family = &families[number as usize % families.len()];
            let mut rng = self.rng(split, number);
            loop {
                // Combinations that are held out are about what no training record is about.
                let of = if split == TaskSplit::HeldOut {
                    TaskSplit::Test
                } else {
                    split
                };
                let question = draw(&mut rng, family, of);
                if contents.insert((family.task.clone(), question.content().to_owned())) {
                    return record(family, question, number);
                }
            }
        };
        numbers.map(draw).collect()
    }

    fn rng(&self, split: TaskSplit, number: u64) -> KeyRng {
        let site = stable_hash(NAME.as_bytes());
        KeyRng::new(Seed(self.seed).key(Stream::Records, number, split as u64, site))
    }

    /// A table in Markdown of the families with an example each: records of each split, and the share
    /// of the test records that the most frequent answer of the family would get right.
    pub fn describe(&self) -> String {
        let train = self.records(TaskSplit::Train);
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for task in train.iter().filter_map(|record| record.task.as_deref()) {
            *counts.entry(task).or_default() += 1;
        }
        let mut text = String::from(
            "| task | train | test | majority | instruction | input | answer |\n\
             | --- | ---: | ---: | ---: | --- | --- | --- |\n",
        );
        for split in [TaskSplit::Test, TaskSplit::HeldOut] {
            let records = self.records(split);
            let majority = majority_answers(&records);
            let tasks = match split {
                TaskSplit::HeldOut => held_out(),
                _ => families(),
            };
            for (family, record) in tasks.iter().zip(&records) {
                let Some((_, right, of)) = majority.get(&family.task) else {
                    continue;
                };
                let trained = counts.get(&*family.task).copied().unwrap_or(0);
                let share = 100.0 * *right as f64 / *of as f64;
                let [instruction, input, output] = record.texts()[..] else {
                    continue;
                };
                let code = |text: &str| match text {
                    "" => String::new(),
                    _ => format!("`{}`", text.replace('\n', "⏎")),
                };
                let _ = writeln!(
                    text,
                    "| {} | {trained} | {of} | {share:.0} % | {instruction} | {} | {} |",
                    family.task,
                    code(input),
                    code(output)
                );
            }
        }
        text
    }
}

/// The most frequent answer of each task, how many of the records have it and of how many: what
/// could be had without reading the question.
pub fn majority_answers(records: &[Record]) -> BTreeMap<Arc<str>, (String, usize, usize)> {
    let mut answers: BTreeMap<Arc<str>, BTreeMap<&str, usize>> = BTreeMap::new();
    for record in records {
        if let (Some(task), Body::Instruction { output, .. }) = (&record.task, &record.body) {
            let of_task = answers.entry(task.clone()).or_default();
            *of_task.entry(output).or_default() += 1;
        }
    }
    let most = |(task, counts): (Arc<str>, BTreeMap<&str, usize>)| {
        let of = counts.values().sum();
        let most = counts.into_iter().max_by_key(|(_, count)| *count)?;
        Some((task, (most.0.to_owned(), most.1, of)))
    };
    answers.into_iter().filter_map(most).collect()
}

/// An answer to some question of family `task` that is not `right`; none where no such question is
/// found in many draws, as all have the same answer.
pub(super) fn other_answer(rng: &mut KeyRng, task: &str, right: &str) -> Option<String> {
    let all = families().into_iter().chain(held_out());
    let family = all.into_iter().find(|family| &*family.task == task)?;
    let answers = (0..100).map(|_| family.make.question(rng).output);
    answers.into_iter().find(|answer| answer != right)
}

/// A question of `family` whose content belongs to `split`.
fn draw(rng: &mut KeyRng, family: &Family, split: TaskSplit) -> Question {
    loop {
        let question = family.make.question(rng);
        if split_of(question.content()) == split {
            return question;
        }
    }
}

fn record(family: &Family, question: Question, number: u64) -> Record {
    let body = Body::Instruction {
        instruction: question.instruction,
        input: question.input,
        output: question.output,
    };
    Record {
        task: Some(family.task.clone()),
        ..Record::new(body, Origin::Made { name: NAME, number })
    }
}
