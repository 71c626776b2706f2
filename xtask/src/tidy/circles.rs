//! No circle of imports between the files of a crate: each file can be read after those that it
//! imports. What a parent calls as `child::f()` is no import, nor is a `pub use` of its own children.

use std::collections::BTreeMap;

use super::imports::Import;
use super::modules::{Module, full_path, modules, owner};

/// What a file imports from others: the names by the other file's number.
type Imports = BTreeMap<usize, Vec<String>>;

/// The circles of all packages; `sources` holds Rust files by their path.
pub(super) fn faults(sources: &BTreeMap<String, String>) -> Vec<String> {
    let mut faults = Vec::new();
    for root in sources.keys() {
        let Some(folder) = root
            .strip_suffix("/src/lib.rs")
            .or(root.strip_suffix("/src/main.rs"))
        else {
            continue;
        };
        for circle in circles(folder, &modules(root, sources)) {
            let fault = format!(
                "{folder}: a circle of imports; move what its files share into a file of its own\n{circle}"
            );
            faults.push(fault);
        }
    }
    faults
}

/// The shortest circle through each file that is on one, every circle once: a line for each import.
fn circles(folder: &str, modules: &[Module]) -> Vec<String> {
    let graph: Vec<Imports> = modules.iter().map(|from| edges(modules, from)).collect();
    let mut seen: Vec<Vec<usize>> = Vec::new();
    let mut shown = Vec::new();
    for start in 0..modules.len() {
        let Some(circle) = shortest_circle(&graph, start) else {
            continue;
        };
        let mut files = circle.clone();
        files.sort_unstable();
        if seen.contains(&files) {
            continue;
        }
        seen.push(files);
        let next = circle.iter().cycle().skip(1);
        let file = |number: &usize| modules[*number].file[folder.len() + 1..].to_owned();
        let lines = circle.iter().zip(next).map(|(from, to)| {
            let names = graph[*from][to].join(", ");
            format!("  {} imports {names} from {}", file(from), file(to))
        });
        shown.push(lines.collect::<Vec<_>>().join("\n"));
    }
    shown
}

fn edges(modules: &[Module], from: &Module) -> Imports {
    let mut edges = Imports::new();
    for Import {
        path, is_public, ..
    } in &from.imports
    {
        let Some(mut full) = full_path(modules, from, path) else {
            continue;
        };
        if full.last().is_some_and(|part| part == "*") {
            full.pop();
        }
        let to = owner(modules, &full);
        let is_own_child = to.place.len() > from.place.len() && to.place.starts_with(&from.place);
        if to.place == from.place || (*is_public && is_own_child) {
            continue;
        }
        let number = modules.iter().position(|module| module.place == to.place);
        let names = edges.entry(number.expect("an owner is one of the modules"));
        let names = names.or_default();
        let name = path.last().cloned().unwrap_or_default();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    edges
}

/// The files of the shortest circle through `start`, which is the first of them.
fn shortest_circle(graph: &[Imports], start: usize) -> Option<Vec<usize>> {
    let mut ways = vec![vec![start]];
    let mut reached = vec![false; graph.len()];
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            let last = *way.last()?;
            for &to in graph[last].keys() {
                if to == start {
                    return Some(way);
                }
                if !std::mem::replace(&mut reached[to], true) {
                    longer.push([&way[..], &[to]].concat());
                }
            }
        }
        ways = longer;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(sources: &[(&str, &str)]) -> Vec<String> {
        let file = |(name, text): &(&str, &str)| (format!("x/src/{name}"), (*text).to_owned());
        faults(&sources.iter().map(file).collect())
    }

    #[test]
    fn a_circle_is_told_file_by_file() {
        let faults = found(&[
            ("lib.rs", "mod a; mod b; mod c; pub use a::A;"),
            ("a.rs", "use crate::b::{B, f};"),
            ("b.rs", "fn b(x: crate::c::C) {}"),
            ("c.rs", "use std::fmt; use crate::A;"),
        ]);
        let expected = "x: a circle of imports; move what its files share into a file of its own\n  \
            src/a.rs imports B, f from src/b.rs\n  \
            src/b.rs imports C from src/c.rs\n  \
            src/c.rs imports A from src/a.rs";
        assert_eq!(faults, [expected]);
    }

    #[test]
    fn a_parent_that_imports_from_a_child_which_imports_from_it_is_a_circle() {
        let lib = ("lib.rs", "mod p;");
        let child = ("p/child.rs", "use super::{Own, Passed};");
        let parent = |import| {
            let text = format!("mod child; {import} use std::x as Passed; struct Own;");
            found(&[lib, child, ("p/mod.rs", text.as_str())]).len()
        };
        assert_eq!(parent("use child::Part;"), 1);
        assert_eq!(parent("pub use child::Part;"), 0);
        assert_eq!(parent(""), 0);
    }

    #[test]
    fn an_item_belongs_to_the_file_that_defines_it() {
        let faults = found(&[
            ("main.rs", "mod p; mod q;"),
            (
                "p.rs",
                "mod item; pub(crate) use item::Item; use crate::q::Q;",
            ),
            ("p/item.rs", "pub(crate) struct Item;"),
            ("q.rs", "use crate::p::Item;"),
        ]);
        assert!(faults.is_empty(), "{faults:?}");
    }

    #[test]
    fn tests_may_import_from_everywhere() {
        let faults = found(&[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use crate::b::B;"),
            (
                "b.rs",
                "#[cfg(test)]\nuse crate::a::A;\n#[cfg(test)]\nmod tests { use crate::a::A; }",
            ),
        ]);
        assert!(faults.is_empty(), "{faults:?}");
    }
}
