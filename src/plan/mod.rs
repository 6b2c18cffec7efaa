//! What to run, as data: strategies and variations become trials. Pure; nothing here touches the
//! world.

pub mod strategy;
pub mod variation;

use std::collections::BTreeMap;
use std::ffi::OsString;

use crate::project::Action;
use crate::rustc::args::Args;

use variation::Change;

/// When a trial has shown what it is run for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// When rustc says that the metadata is written. The SVH is complete by then.
    Metadata,
    /// When rustc ends by itself.
    End,
    /// After macro expansion: nothing is compiled, the expanded source is printed.
    Expansion,
}

/// A command line and an environment: the recorded ones, edited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// rustc's arguments, still with the recorded `--out-dir`.
    pub args: Args,
    /// The whole environment.
    pub env: BTreeMap<OsString, OsString>,
}

impl CommandLine {
    /// The command line as it was recorded.
    pub fn recorded(action: &Action) -> Self {
        Self {
            args: action.args.clone(),
            env: action.env.clone(),
        }
    }

    /// Applies one edit.
    pub fn edit(&mut self, edit: &Edit) {
        match edit {
            Edit::Add(arg) => self.args.push_raw(arg.clone()),
            Edit::Remove(args) => {
                let doomed = Args::new(args.clone());
                let doomed = doomed.options();
                self.args.remove(|option| {
                    doomed
                        .iter()
                        .any(|own| (own.name, own.value) == (option.name, option.value))
                });
            }
            Edit::Emit(kinds) => self.args.set("--emit", kinds),
            Edit::Env(name, Some(value)) => {
                self.env.insert(name.clone(), value.clone());
            }
            Edit::Env(name, None) => {
                self.env.remove(name);
            }
        }
    }

    /// The edits, one per option or variable, that each make `self` more like `other`.
    pub fn towards(&self, other: &Self) -> Vec<Edit> {
        let mut edits: Vec<Edit> = self
            .args
            .only_here(&other.args)
            .into_iter()
            .map(Edit::Remove)
            .collect();
        for option in other.args.only_here(&self.args) {
            edits.extend(option.into_iter().map(Edit::Add));
        }
        for (name, value) in &other.env {
            if self.env.get(name) != Some(value) {
                edits.push(Edit::Env(name.clone(), Some(value.clone())));
            }
        }
        for name in self
            .env
            .keys()
            .filter(|name| !other.env.contains_key(*name))
        {
            edits.push(Edit::Env(name.clone(), None));
        }
        edits
    }
}

/// One change of a command line or environment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Edit {
    /// Appends an argument.
    Add(OsString),
    /// Removes an option, given as its arguments.
    Remove(Vec<OsString>),
    /// Sets what is emitted (`dep-info,metadata`).
    Emit(String),
    /// Sets a variable, or removes it.
    Env(OsString, Option<OsString>),
}

/// One planned compile of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// What is run.
    pub command: CommandLine,
    /// When it has shown enough.
    pub stop: Stop,
    /// What is changed about the world.
    pub changes: Vec<Change>,
    /// Whether it runs with `-Cincremental` in the folder that all such trials of a crate share.
    pub incremental: bool,
}

impl Trial {
    /// The same trial in the unchanged world.
    #[must_use]
    pub fn plain(&self) -> Self {
        Self {
            changes: Vec::new(),
            ..self.clone()
        }
    }

    /// The same crate, only expanded: what its macros make, at a fraction of a compile.
    #[must_use]
    pub fn expansion(&self) -> Self {
        let mut trial = Self {
            stop: Stop::Expansion,
            ..self.clone()
        };
        trial.command.edit(&Edit::Add("-Zunpretty=expanded".into()));
        trial
            .command
            .edit(&Edit::Env("RUSTC_BOOTSTRAP".into(), Some("1".into())));
        trial
    }

    /// The same trial with other changes.
    #[must_use]
    pub fn with(&self, changes: Vec<Change>) -> Self {
        Self {
            changes,
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(args: &str, env: &[(&str, &str)]) -> CommandLine {
        CommandLine {
            args: Args::new(args.split(' ').map(OsString::from).collect()),
            env: env
                .iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        }
    }

    #[test]
    fn all_edits_towards_another_line_make_it_that_line() {
        let mut left = line("x.rs -Zno-codegen --cfg a", &[("A", "1"), ("B", "1")]);
        let right = line("x.rs --cfg a -Copt-level=1", &[("B", "2"), ("C", "3")]);
        let edits = left.towards(&right);
        assert_eq!(edits.len(), 5);
        for edit in &edits {
            left.edit(edit);
        }
        assert!(left.towards(&right).is_empty());
    }
}
