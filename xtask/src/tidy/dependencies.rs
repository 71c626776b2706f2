//! Which crate may use which. A new edge needs a decision record before it is added here.

use crate::metadata::{Dependency, Package};

/// One row: crate, the workspace crates it may use, whether it may use burn.
type Row = (&'static str, &'static [&'static str], bool);

/// Names without the prefix `sinterlm-`; the same table stands in ARCHITECTURE.md.
const TABLE: &[Row] = &[
    ("config", &[], false),
    ("formats", &[], false),
    ("run", &["config", "formats"], false),
    ("kernels", &[], true),
    ("losses", &["kernels"], true),
    ("data", &["config", "formats"], true),
    ("model", &["config", "formats", "kernels"], true),
    (
        "text",
        &["config", "data", "formats", "kernels", "losses", "model"],
        true,
    ),
    (
        "eval",
        &["config", "data", "kernels", "losses", "model", "text"],
        true,
    ),
    ("lora", &["config", "formats", "kernels", "model"], true),
    (
        "trainer",
        &[
            "config", "data", "formats", "kernels", "losses", "model", "run", "text",
        ],
        true,
    ),
    (
        "rlhf",
        &[
            "config", "data", "eval", "formats", "kernels", "losses", "model", "run", "text",
            "trainer",
        ],
        true,
    ),
    (
        "pipeline",
        &[
            "config", "data", "eval", "formats", "kernels", "lora", "losses", "model", "rlhf",
            "run", "text", "trainer",
        ],
        true,
    ),
    (
        "sinterlm",
        &[
            "config", "data", "eval", "formats", "kernels", "lora", "losses", "model", "pipeline",
            "rlhf", "run", "text", "trainer",
        ],
        true,
    ),
    ("testkit", &[], false),
];

/// Packages that use the facade and are used by none.
const LEAVES: &[&str] = &["sinterlm-examples", "sinterlm-benches", "xtask"];

/// burn features that choose a backend; below the facade only `kernels` has one.
const BACKENDS: &[&str] = &[
    "candle", "cpu", "cuda", "flex", "metal", "ndarray", "rocm", "tch", "vulkan", "webgpu", "wgpu",
];

pub(super) fn faults(packages: &[Package]) -> Vec<String> {
    let mut faults = Vec::new();
    for package in packages
        .iter()
        .filter(|package| !LEAVES.contains(&package.name.as_str()))
    {
        let crate_name = short(&package.name);
        let Some((_, allowed, may_use_burn)) = TABLE.iter().find(|row| row.0 == crate_name) else {
            faults.push(format!(
                "{}: not in the table of crates; add its row to ARCHITECTURE.md and xtask/src/tidy/dependencies.rs",
                package.name
            ));
            continue;
        };
        for dependency in package
            .dependencies
            .iter()
            .filter(|dependency| !dependency.is_dev)
        {
            let name = &dependency.name;
            let is_ours = name == "sinterlm" || name.starts_with("sinterlm-");
            if is_ours && !allowed.contains(&short(name)) {
                faults.push(format!(
                    "{}: may not use {name}; move the code, or add the edge by a decision record",
                    package.name
                ));
            }
            if name == "sinterlm-kernels" && dependency.has_default_features {
                faults.push(format!(
                    "{}: turn off {name}'s default features",
                    package.name
                ));
            }
            if name == "sinterlm-run" && crate_name == "trainer" && !dependency.features.is_empty()
            {
                faults.push(format!(
                    "{}: uses {name} without its features",
                    package.name
                ));
            }
            let is_burn = name == "burn" || name.starts_with("burn-");
            if is_burn && !may_use_burn {
                faults.push(format!(
                    "{}: must not know burn, but uses {name}",
                    package.name
                ));
            } else if is_burn && crate_name != "sinterlm" {
                faults.extend(burn_faults(&package.name, dependency));
            }
        }
    }
    faults
}

/// Libraries take burn without its defaults and without a backend.
fn burn_faults(package: &str, burn: &Dependency) -> Vec<String> {
    let mut faults = Vec::new();
    if burn.has_default_features {
        faults.push(format!(
            "{package}: uses {} with default features; turn them off",
            burn.name
        ));
    }
    for feature in burn
        .features
        .iter()
        .filter(|feature| BACKENDS.contains(&feature.as_str()))
    {
        faults.push(format!(
            "{package}: turns on the backend {}/{feature}; only the facade's features may",
            burn.name
        ));
    }
    faults
}

fn short(name: &str) -> &str {
    name.strip_prefix("sinterlm-").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, uses: &[(&str, bool)]) -> Package {
        let dependency = |&(name, is_dev): &(&str, bool)| Dependency {
            name: name.to_owned(),
            is_dev,
            has_default_features: false,
            features: Vec::new(),
        };
        Package {
            name: name.to_owned(),
            dependencies: uses.iter().map(dependency).collect(),
            ..Package::default()
        }
    }

    #[test]
    fn edges_of_the_table_and_dev_dependencies_pass() {
        let losses = package(
            "sinterlm-losses",
            &[("sinterlm-kernels", false), ("sinterlm-data", true)],
        );
        assert!(faults(&[losses]).is_empty());
    }

    #[test]
    fn an_edge_outside_the_table_is_a_fault() {
        let losses = package("sinterlm-losses", &[("sinterlm-data", false)]);
        assert!(faults(&[losses])[0].contains("sinterlm-losses: may not use sinterlm-data"));
    }

    #[test]
    fn a_crate_without_a_row_is_a_fault() {
        assert_eq!(faults(&[package("sinterlm-extra", &[])]).len(), 1);
    }

    #[test]
    fn burn_is_refused_where_it_must_not_be_known() {
        let config = package("sinterlm-config", &[("burn", false)]);
        assert!(faults(&[config])[0].contains("must not know burn"));
    }

    #[test]
    fn a_backend_below_the_facade_is_a_fault() {
        let mut model = package("sinterlm-model", &[("burn", false)]);
        model.dependencies[0].features = vec!["autodiff".to_owned(), "wgpu".to_owned()];
        assert_eq!(faults(std::slice::from_ref(&model)).len(), 1);
        model.dependencies[0].has_default_features = true;
        assert_eq!(faults(&[model]).len(), 2);
    }

    #[test]
    fn the_table_has_no_cycle() {
        for (name, uses, _) in TABLE {
            let earlier = TABLE
                .iter()
                .take_while(|row| row.0 != *name)
                .map(|row| row.0);
            let earlier: Vec<_> = earlier.collect();
            assert!(
                uses.iter().all(|used| earlier.contains(used)),
                "{name} uses a later row"
            );
        }
    }
}
