//! The built-in instructions: right answers, splits that share nothing, sizes, lengths.

use std::collections::{BTreeMap, HashMap, HashSet};

use sinterlm_data::{
    Body, InstructionTasks, Record, StoryGenerator, TaskSplit, Tokenizer, majority_answers,
};

const TASKS: InstructionTasks = InstructionTasks {
    count: 20_000,
    seed: 3,
};

const SPLITS: [TaskSplit; 4] = [
    TaskSplit::Train,
    TaskSplit::Valid,
    TaskSplit::Test,
    TaskSplit::HeldOut,
];

const FORMATS: [&str; 6] = ["capitals", "quotes", "stop", "json", "dashes", "brackets"];

fn fields(record: &Record) -> (&str, &str, &str, &str) {
    let Body::Instruction {
        instruction,
        input,
        output,
    } = &record.body
    else {
        panic!("{} is no instruction", record.origin)
    };
    let task = record.task.as_deref().expect("each record has a task");
    (task, instruction, input, output)
}

fn content<'a>(instruction: &'a str, input: &'a str) -> &'a str {
    if input.is_empty() { instruction } else { input }
}

/// The operation that `instruction` asks for, by its words.
fn operation_of(instruction: &str) -> &'static str {
    let marks = [
        ("copy", &["copy", "repeat", "same words", "as they are"][..]),
        ("reverse", &["reverse", "backwards", "turn the order"]),
        ("sort", &["sort", "alphabet"]),
        ("first", &["first word", "comes first"]),
        ("last", &["last word", "comes last"]),
        ("opposite", &["opposite", "contrary"]),
        ("plural", &["plural", "more than one"]),
        ("pick", &["which word is a", "find the word that", "pick"]),
    ];
    let text = instruction.to_lowercase();
    let said = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let mut found = marks.iter().filter(|(_, words)| said(words));
    let (name, _) = found.next().unwrap_or_else(|| panic!("{instruction}"));
    assert!(found.next().is_none(), "two operations: {instruction}");
    name
}

/// The answer without its format; none where it is not written in that format.
fn bare(format: &str, output: &str) -> Option<String> {
    let inner = match format {
        "capitals" => {
            let is_upper = !output.chars().any(|letter| letter.is_ascii_lowercase());
            return is_upper.then(|| output.to_lowercase());
        }
        "quotes" => output.strip_prefix('"')?.strip_suffix('"')?,
        "stop" => output.strip_suffix('.')?,
        "json" => {
            let value: serde_json::Value = serde_json::from_str(output).ok()?;
            let object = value.as_object().filter(|object| object.len() == 1)?;
            return object["answer"].as_str().map(str::to_owned);
        }
        "dashes" => {
            let lines: Option<Vec<_>> = output.lines().map(|l| l.strip_prefix("- ")).collect();
            return Some(lines?.join(", "));
        }
        "brackets" => output.strip_prefix('(')?.strip_suffix(')')?,
        _ => output,
    };
    Some(inner.to_owned())
}

/// What the tables say, gathered from records of one task to check others by: plurals, opposites, kinds.
fn pairs(records: &[Record], wanted: &str) -> HashMap<String, String> {
    let mut pairs = HashMap::new();
    for record in records {
        let (task, _, input, output) = fields(record);
        if task != wanted {
            continue;
        }
        for (word, answer) in input.split(", ").zip(output.split(", ")) {
            let before = pairs.insert(word.to_owned(), answer.to_owned());
            assert!(before.is_none_or(|b| b == answer), "{wanted} of {word}");
        }
    }
    pairs
}

/// The answer to an operation, worked out anew.
fn worked_out(
    operation: &str,
    instruction: &str,
    words: &[&str],
    tables: &BTreeMap<&str, HashMap<String, String>>,
) -> Vec<String> {
    let mut own: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    match operation {
        "copy" => {}
        "reverse" => own.reverse(),
        "sort" => own.sort(),
        "first" => own.truncate(1),
        "last" => own = own.split_off(words.len() - 1),
        "opposite" | "plural" => own = own.iter().map(|w| tables[operation][w].clone()).collect(),
        "pick" => {
            own.retain(|word| instruction.contains(&format!(" {}", tables["category"][word])));
        }
        _ => panic!("{operation}"),
    }
    own
}

#[test]
fn each_answer_is_what_another_computation_gives() {
    let train = TASKS.records(TaskSplit::Train);
    let tables = ["opposite", "plural", "category"].map(|task| (task, pairs(&train, task)));
    let tables = BTreeMap::from(tables);
    for (word, other) in &tables["opposite"] {
        assert_eq!(&tables["opposite"][other], word, "opposite of {other}");
    }
    let mut checked: BTreeMap<String, usize> = BTreeMap::new();
    for record in SPLITS.iter().flat_map(|split| TASKS.records(*split)) {
        let (task, instruction, input, output) = fields(&record);
        let words: Vec<&str> = input.split(", ").collect();
        let numbers = || words.iter().map(|word| word.parse::<i64>().unwrap());
        let sums = |sign: &str| {
            let one = |sum: &&str| {
                let (a, b) = sum.split_once(sign).unwrap();
                let (a, b): (i64, i64) = (a.parse().unwrap(), b.parse().unwrap());
                (if sign == " + " { a + b } else { a - b }).to_string()
            };
            words.iter().map(one).collect::<Vec<_>>().join(", ")
        };
        let own = match task {
            "nth" => {
                let at = if instruction.contains("second") { 1 } else { 2 };
                words[at].to_owned()
            }
            "letters" => input.chars().rev().collect(),
            "count" if instruction.contains("letter") => input.replace(' ', "").len().to_string(),
            "count" => (input.matches(',').count() + 1).to_string(),
            "upper" => input.to_uppercase(),
            "lower" => input.to_lowercase(),
            "title" => {
                let mut text = String::new();
                for letter in input.chars() {
                    let is_first = text.is_empty() || text.ends_with(' ');
                    let letter = if is_first {
                        letter.to_ascii_uppercase()
                    } else {
                        letter
                    };
                    text.push(letter);
                }
                text
            }
            "order" => {
                let mut sorted: Vec<i64> = numbers().collect();
                sorted.sort_unstable();
                let texts: Vec<String> = sorted.iter().map(ToString::to_string).collect();
                texts.join(", ")
            }
            "largest" => numbers().max().unwrap().to_string(),
            "smallest" => numbers().min().unwrap().to_string(),
            "add" => sums(" + "),
            "subtract" => sums(" - "),
            "category" => {
                let kinds: Vec<&str> = words.iter().map(|w| &*tables["category"][*w]).collect();
                kinds.join(", ")
            }
            "member" => {
                let word = instruction
                    .split_once("the word ")
                    .map(|(_, rest)| rest.split([' ', '?']).next().unwrap());
                let kind = |word: &&str| instruction.contains(&*tables["category"][*word]);
                let has = word.map_or_else(|| words.iter().any(kind), |w| words.contains(&w));
                if has { "yes" } else { "no" }.to_owned()
            }
            "story" => {
                assert!(input.contains(output), "`{output}` is not in `{input}`");
                output.to_owned()
            }
            "greet" => {
                let name = instruction
                    .trim_end_matches('.')
                    .rsplit(' ')
                    .next()
                    .unwrap();
                assert!(output.contains(name), "{instruction} {output}");
                output.to_owned()
            }
            "help" => {
                let asked = instruction.replace(" my ", " your ");
                let wish = output.strip_prefix("Yes, I will help you ").unwrap();
                assert!(
                    asked.contains(wish.trim_end_matches('.')),
                    "{instruction} {output}"
                );
                output.to_owned()
            }
            "refuse" => "I am sorry, but I cannot help with that.".to_owned(),
            _ => {
                let format = task.rsplit('+').next().unwrap();
                let operation = operation_of(instruction);
                if let Some((wanted, _)) = task.split_once('+') {
                    assert_eq!(operation, wanted);
                }
                let answer = worked_out(operation, instruction, &words, &tables).join(", ");
                let found = bare(format, output);
                assert_eq!(
                    found.as_ref(),
                    Some(&answer),
                    "{task}: {instruction} {input}"
                );
                output.to_owned()
            }
        };
        assert_eq!(own, output, "{task}: {instruction} {input}");
        *checked.entry(task.to_owned()).or_default() += 1;
    }
    assert_eq!(checked.len(), 31 + 8, "{checked:?}");
}

#[test]
fn no_content_stands_in_two_splits() {
    let contents = |split| -> HashSet<String> {
        let records = TASKS.records(split);
        let content = |record: &Record| {
            let (_, instruction, input, _) = fields(record);
            content(instruction, input).to_owned()
        };
        records.iter().map(content).collect()
    };
    let train = contents(TaskSplit::Train);
    let (valid, test) = (contents(TaskSplit::Valid), contents(TaskSplit::Test));
    assert!(train.is_disjoint(&valid) && train.is_disjoint(&test) && valid.is_disjoint(&test));
    assert!(train.is_disjoint(&contents(TaskSplit::HeldOut)));
    // A set of another seed does not bring them in either.
    let other = InstructionTasks { seed: 4, ..TASKS }.records(TaskSplit::Train);
    for record in &other {
        let (_, instruction, input, _) = fields(record);
        assert!(
            !test.contains(content(instruction, input)),
            "{instruction} {input}"
        );
    }
}

#[test]
fn held_out_combinations_are_never_trained_while_their_parts_are() {
    let held: HashSet<String> = TASKS
        .records(TaskSplit::HeldOut)
        .iter()
        .map(|record| fields(record).0.to_owned())
        .collect();
    assert_eq!(held.len(), 8);
    let mut cells: BTreeMap<(String, String), usize> = BTreeMap::new();
    for split in [TaskSplit::Train, TaskSplit::Valid, TaskSplit::Test] {
        for record in TASKS.records(split) {
            let (task, instruction, ..) = fields(&record);
            if FORMATS.contains(&task) {
                let operation = operation_of(instruction);
                let cell = format!("{operation}+{task}");
                assert!(!held.contains(&cell), "{cell} is seen");
                *cells
                    .entry((operation.to_owned(), task.to_owned()))
                    .or_default() += 1;
            }
        }
    }
    assert_eq!(cells.len(), 8 * 6 - 8);
    assert!(cells.values().all(|count| *count >= 50), "{cells:?}");
    for cell in &held {
        let (operation, format) = cell.split_once('+').unwrap();
        let of_operation = cells.keys().filter(|(own, _)| own == operation).count();
        let of_format = cells.keys().filter(|(_, own)| own == format).count();
        assert!(
            of_operation >= 4 && of_format >= 6,
            "{cell}: {of_operation}, {of_format}"
        );
    }
}

#[test]
fn splits_have_their_sizes_and_no_record_twice() {
    let count = |split| -> BTreeMap<String, usize> {
        let mut seen = HashSet::new();
        let mut counts = BTreeMap::new();
        for record in TASKS.records(split) {
            let (task, instruction, input, output) = fields(&record);
            assert!(!output.is_empty() && !instruction.is_empty());
            assert!(
                record.texts().iter().all(|text| text.is_ascii()),
                "{instruction}"
            );
            *counts.entry(task.to_owned()).or_default() += 1;
            let is_new = seen.insert((task.to_owned(), content(instruction, input).to_owned()));
            assert!(
                is_new || split == TaskSplit::Train,
                "{task}: {instruction} {input}"
            );
        }
        counts
    };
    let train = count(TaskSplit::Train);
    assert_eq!(train.values().sum::<usize>(), 20_000);
    assert!(train.values().all(|count| *count >= 200), "{train:?}");
    for (split, families, each) in [
        (TaskSplit::Valid, 31, 10),
        (TaskSplit::Test, 31, 40),
        (TaskSplit::HeldOut, 8, 30),
    ] {
        let counts = count(split);
        assert_eq!(counts.len(), families, "{split:?}");
        assert!(counts.values().all(|count| *count == each), "{counts:?}");
    }
}

#[test]
fn records_follow_from_seed_split_and_number_alone() {
    for split in SPLITS {
        let few = InstructionTasks {
            count: 500,
            ..TASKS
        }
        .records(split);
        let many = TASKS.records(split);
        assert_eq!(few[..], many[..few.len()], "{split:?}");
        let other = InstructionTasks { seed: 4, ..TASKS }.records(split);
        assert_ne!(many, other, "{split:?}");
    }
}

#[test]
fn a_constant_answer_gets_few_families_right() {
    let majority = majority_answers(&TASKS.records(TaskSplit::Test));
    let (right, of) = majority
        .values()
        .fold((0, 0), |(right, of), (_, r, o)| (right + r, of + o));
    println!("majority answer of each family: {right} of {of}");
    assert!(right * 6 < of, "{right} of {of}");
    assert_eq!(majority["refuse"].1, majority["refuse"].2);
    assert!(majority["member"].1 < 30, "{:?}", majority["member"]);
}

#[test]
fn prompts_are_short_in_tokens_of_a_small_vocabulary() {
    let before = "Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n### Instruction:\n";
    let prompt = |record: &Record| {
        let (_, instruction, input, _) = fields(record);
        format!("{before}{instruction}\n\n### Input:\n{input}\n\n### Response:\n")
    };
    let train = TASKS.records(TaskSplit::Train);
    let stories = StoryGenerator::new(1);
    let texts = (0..2000).map(|at| stories.story(at));
    let records = train.iter().map(|record| prompt(record) + fields(record).3);
    let texts: Vec<String> = texts.chain(records).collect();
    let tokenizer = Tokenizer::train_bpe(texts.iter(), 2048).unwrap();
    let lengths = |text: &dyn Fn(&Record) -> String| -> Vec<usize> {
        let count = |record| tokenizer.encode(&text(record)).len();
        let mut lengths: Vec<usize> = train.iter().map(count).collect();
        lengths.sort_unstable();
        lengths
    };
    for (name, lengths, limit) in [
        ("prompt", lengths(&prompt), 160),
        ("answer", lengths(&|record| fields(record).3.to_owned()), 24),
    ] {
        let at = |share: f64| lengths[(share * (lengths.len() - 1) as f64) as usize];
        println!(
            "{name}: median {}, 99 % {}, most {}",
            at(0.5),
            at(0.99),
            at(1.0)
        );
        assert!(at(0.99) <= limit, "{name}: {} tokens", at(0.99));
    }
}

#[test]
fn the_documentation_shows_the_families_as_they_are() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/data.md");
    let page = std::fs::read_to_string(path).unwrap();
    let table = InstructionTasks::default().describe();
    assert!(
        page.contains(&table),
        "docs/data.md lacks this table:\n{table}"
    );
}
