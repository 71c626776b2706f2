//! The module tree of a crate as far as it lies in files: which file a path leads to. Tests are left
//! out, whether in a file of their own or not.

use std::collections::BTreeMap;

use super::imports::{Import, declared_modules, imports};
use super::rust_text::{code_only, without_tests};

/// A module that is a file.
#[derive(Debug)]
pub(super) struct Module {
    /// The file's path in the repository.
    pub(super) file: String,
    /// Where it stands in the crate; empty for the root.
    pub(super) place: Vec<String>,
    pub(super) imports: Vec<Import>,
}

/// The modules of the crate whose root is the file `root`, each before those that it declares.
pub(super) fn modules(root: &str, sources: &BTreeMap<String, String>) -> Vec<Module> {
    let mut found = Vec::new();
    walk(root, &[], sources, &mut found);
    found
}

fn walk(file: &str, place: &[String], sources: &BTreeMap<String, String>, found: &mut Vec<Module>) {
    let Some(source) = sources.get(file) else {
        return;
    };
    let code = without_tests(&code_only(source));
    found.push(Module {
        file: file.to_owned(),
        place: place.to_vec(),
        imports: imports(&code),
    });
    let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
    let below = match name {
        "lib.rs" | "main.rs" | "mod.rs" => folder.to_owned(),
        _ => format!("{folder}/{}", name.trim_end_matches(".rs")),
    };
    for child in declared_modules(&code) {
        let place = [place, std::slice::from_ref(&child)].concat();
        for file in [
            format!("{below}/{child}.rs"),
            format!("{below}/{child}/mod.rs"),
        ] {
            walk(&file, &place, sources, found);
        }
    }
}

/// The full path, from the crate's root, of what a module imports; none for other crates.
pub(super) fn full_path(modules: &[Module], from: &Module, path: &[String]) -> Option<Vec<String>> {
    let mut full = from.place.clone();
    let mut rest = path;
    match path.first()?.as_str() {
        "crate" => (full, rest) = (Vec::new(), &path[1..]),
        "self" => rest = &path[1..],
        "super" => {
            while rest.first().is_some_and(|part| part == "super") {
                full.pop();
                rest = &rest[1..];
            }
        }
        child => {
            let place = [&from.place[..], &[child.to_owned()]].concat();
            modules.iter().find(|module| module.place == place)?;
        }
    }
    full.extend_from_slice(rest);
    Some(full)
}

/// The module that holds the item of a full path, whichever others pass it on.
pub(super) fn owner<'a>(modules: &'a [Module], full: &[String]) -> &'a Module {
    let mut full = full.to_vec();
    let mut passed: Vec<(&[String], String)> = Vec::new();
    loop {
        let (module, rest) = innermost(modules, &full);
        let Some(name) = rest.first() else {
            return module;
        };
        if passed.contains(&(&module.place, name.clone())) {
            return module; // names that lead to each other
        }
        passed.push((&module.place, name.clone()));
        let import = module
            .imports
            .iter()
            .find(|import| import.name.as_ref() == Some(name));
        let Some(next) = import.and_then(|import| full_path(modules, module, &import.path)) else {
            return module;
        };
        full = [&next[..], &rest[1..]].concat();
    }
}

/// The innermost module on a path, and what of the path lies in it.
fn innermost<'a, 'b>(modules: &'a [Module], full: &'b [String]) -> (&'a Module, &'b [String]) {
    let on_path = modules
        .iter()
        .filter(|module| full.starts_with(&module.place));
    let module = on_path
        .max_by_key(|module| module.place.len())
        .expect("the root's place is empty, so it begins every path");
    (module, &full[module.place.len()..])
}
