//! What a config says about its own values; where they stand in a file is `load`'s.

/// What a config section checks about itself after it was deserialised.
///
/// Ranges that the schema states (`#[schemars(range(..))]`) are held by the loader already.
pub trait Validate {
    /// Pairs of keys, by their dotted paths from the root, of which a config has one: an override of
    /// either takes the other out, and a file with both is refused. Looked at in the config that is
    /// loaded, not in its sections.
    const EITHER: &'static [(&'static str, &'static str)] = &[];

    /// Reports each value that cannot work, alone or with others, to `check`.
    fn validate(&self, check: &mut Check);
}

/// One wrong value: where it stands, what is wrong and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Dotted path of the key from the root of the config, empty for the config as a whole.
    pub path: String,
    /// What is wrong and the remedy, lower case, values included.
    pub message: String,
}

/// Collector of faults, which knows the section being checked.
///
/// ```
/// use sinterlm_config::{Check, Validate};
/// struct Model { d_model: usize, n_heads: usize }
/// impl Validate for Model {
///     fn validate(&self, check: &mut Check) {
///         check.require(self.d_model % self.n_heads == 0, "n_heads", || {
///             format!("{} does not divide d_model {}", self.n_heads, self.d_model)
///         });
///     }
/// }
/// let faults = Check::of(&Model { d_model: 256, n_heads: 6 });
/// assert_eq!(faults[0].path, "n_heads");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Check {
    section: Vec<String>,
    faults: Vec<Fault>,
}

impl Check {
    /// All faults that `value` finds in itself, for configs made in code rather than loaded.
    pub fn of<T: Validate>(value: &T) -> Vec<Fault> {
        let mut check = Self::default();
        value.validate(&mut check);
        check.faults
    }

    /// Reports a fault of `field`, a key relative to the current section (`n_heads`,
    /// `sources.0.path`, empty for the section itself).
    pub fn fault(&mut self, field: &str, message: impl Into<String>) {
        let path = match (self.section.is_empty(), field.is_empty()) {
            (true, _) => field.to_owned(),
            (false, true) => self.section.join("."),
            (false, false) => format!("{}.{field}", self.section.join(".")),
        };
        self.faults.push(Fault {
            path,
            message: message.into(),
        });
    }

    /// Reports a fault of `field` unless `ok`.
    pub fn require(&mut self, ok: bool, field: &str, message: impl FnOnce() -> String) {
        if !ok {
            self.fault(field, message());
        }
    }

    /// Checks a nested section, whose faults get `field` in front of their paths.
    pub fn section<T: Validate>(&mut self, field: &str, value: &T) {
        self.section.push(field.to_owned());
        value.validate(self);
        self.section.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Leaf(u32);
    impl Validate for Leaf {
        fn validate(&self, check: &mut Check) {
            check.require(self.0 > 0, "size", || format!("{} is not above 0", self.0));
        }
    }

    struct Root(Vec<Leaf>);
    impl Validate for Root {
        fn validate(&self, check: &mut Check) {
            for (i, leaf) in self.0.iter().enumerate() {
                check.section(&format!("leaves.{i}"), leaf);
            }
            check.fault("", "no good");
        }
    }

    #[test]
    fn nested_faults_carry_the_whole_path() {
        let faults = Check::of(&Root(vec![Leaf(1), Leaf(0)]));
        let paths: Vec<&str> = faults.iter().map(|fault| fault.path.as_str()).collect();
        assert_eq!(paths, ["leaves.1.size", ""]);
        assert_eq!(faults[0].message, "0 is not above 0");
    }
}
