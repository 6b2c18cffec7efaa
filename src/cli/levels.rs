//! `--deny`, `--warn` and `--allow`, in the order in which they were typed.

use anyhow::bail;
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::lint::levels::{Levels, Rule};
use crate::lint::{self, Level, Named};

/// What was typed: the last word about a lint counts, whichever option it is.
#[derive(Debug, Default)]
pub(super) struct LevelArgs(Vec<(Level, String)>);

const OPTIONS: [(Level, &str, &str); 3] = [
    (
        Level::Deny,
        "deny",
        "Fail for what a lint or group finds (`svhcheck lints` lists them); of several such options the last counts",
    ),
    (
        Level::Warn,
        "warn",
        "Show what a lint or group finds, and do not fail for it",
    ),
    (
        Level::Allow,
        "allow",
        "Do not show what a lint or group finds",
    ),
];

impl clap::Args for LevelArgs {
    fn augment_args(command: Command) -> Command {
        OPTIONS
            .into_iter()
            .fold(command, |command, (_, name, help)| {
                let arg = Arg::new(name).long(name).value_name("LINT").help(help);
                command.arg(arg.action(ArgAction::Append))
            })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for LevelArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut found: Vec<(usize, Level, String)> = Vec::new();
        for (level, name, _) in OPTIONS {
            let places = matches.indices_of(name).into_iter().flatten();
            let values = matches.get_many::<String>(name).into_iter().flatten();
            found.extend(places.zip(values).map(|(at, own)| (at, level, own.clone())));
        }
        found.sort();
        Ok(Self(
            found
                .into_iter()
                .map(|(_, level, own)| (level, own))
                .collect(),
        ))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl LevelArgs {
    /// The rules, with notes about names of lints that are no more.
    pub(super) fn rules(&self) -> anyhow::Result<(Vec<Rule>, Vec<String>)> {
        let pages = lint::registry();
        let (mut rules, mut notes) = (Vec::new(), Vec::new());
        for (level, name) in &self.0 {
            match Levels::doubt(&pages, name) {
                None => {}
                Some(said) if matches!(lint::named(&pages, name), Named::Removed(_)) => {
                    notes.push(said);
                }
                Some(said) => bail!("--{level} {name}: {said}"),
            }
            rules.push(Rule {
                target: name.clone(),
                krate: None,
                level: *level,
                source: format!("--{level} {name}"),
            });
        }
        Ok((rules, notes))
    }
}
