//! Which arguments and variables move an SVH: the user's own rustc is asked, by some 60 compiles of
//! a crate of a dozen lines ([`table`]). What it answered is kept for each compiler ([`cache`]).
//!
//! What is known of rustc 1.95 and later by other means stands in `docs/parity.md`.

pub mod cache;
pub mod table;
pub mod tiny;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use tiny::Tiny;

use crate::artifact::ArtifactError;
use crate::interrupt::Interrupt;
use crate::rustc::args::{INPUT, Opt};
use crate::rustc::toolchain::{Toolchain, ToolchainError};

pub use table::Kind;

/// What a compile with something added gave, beside one without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The same SVH.
    Same,
    /// Another SVH.
    Other,
    /// The compiler does not take it, or fails with it.
    NotAccepted,
    /// It made nothing with metadata.
    NoMetadata,
}

/// One try of a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// What was added, as typed.
    pub what: String,
    /// What came of it.
    pub answer: Answer,
    /// What the compiler said, where it did not accept it.
    pub said: Option<String>,
}

/// What a row comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moves {
    /// Some value moved the SVH.
    Yes,
    /// No value that was tried did.
    No,
    /// It did where the source asks for it, and not where it does not.
    WhereAsked,
    /// The compiler takes none of the values.
    NotAccepted,
}

/// One row of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The option or variable.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Whether it moves the SVH.
    pub moves: Moves,
    /// The single tries.
    pub tried: Vec<Tried>,
}

/// What a compiler answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    /// `rustc --version`.
    pub rustc: String,
    /// In the order of [`table::TABLE`].
    pub rows: Vec<Asked>,
}

/// Why a compiler could not be probed.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// It does not answer at all.
    #[error("{0}; name another with `--rustc PATH`")]
    Toolchain(#[from] ToolchainError),
    /// Its plainest compile fails.
    #[error(
        "`{rustc}` cannot compile a crate of a dozen lines: {said}; `--rustc PATH` names another compiler"
    )]
    Reference {
        /// The compiler.
        rustc: String,
        /// Its first error.
        said: String,
    },
    /// The same compile gave two SVHs.
    #[error(
        "`{0}` gives one crate two SVHs when it is compiled twice, so nothing can be told by comparing"
    )]
    Restless(String),
    /// What it wrote cannot be read.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// Files could not be written or a compile not be started.
    #[error("cannot run the probe's compiles: {0}")]
    Io(#[source] io::Error),
}

impl From<io::Error> for ProbeError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::Interrupted => Self::Interrupted,
            _ => Self::Io(error),
        }
    }
}

impl Probed {
    /// The row of an option or variable.
    pub fn row(&self, name: &str) -> Option<&Asked> {
        self.rows.iter().find(|row| row.name == name)
    }
}

/// The name by which the table knows an option: codegen and unstable options have one each,
/// whatever their value. `None` for an input file.
pub fn key(option: &Opt<'_>) -> Option<String> {
    let short = |prefix: &str| {
        let text = option.value.map(OsStr::to_string_lossy).unwrap_or_default();
        let name = text.split('=').next().unwrap_or_default();
        // rustc takes both spellings.
        Some(format!("{prefix}{}", name.replace('_', "-")))
    };
    match option.name {
        INPUT => None,
        "--codegen" => short("-C"),
        "--unstable" => short("-Z"),
        "--library-path" => Some("-L".to_owned()),
        "--deny" => Some("-D".to_owned()),
        "--allow" => Some("-A".to_owned()),
        "-g" => Some("-Cdebuginfo".to_owned()),
        "-O" => Some("-Copt-level".to_owned()),
        name => Some(name.to_owned()),
    }
}

/// Runs every row of the table, `jobs` compiles at one time.
pub fn probe(
    toolchain: &Toolchain,
    jobs: usize,
    interrupt: &Interrupt,
) -> Result<Probed, ProbeError> {
    let tiny = Tiny::new(toolchain, interrupt)?;
    let all = table::TABLE.iter().flat_map(|row| {
        let whats = row.tries.iter();
        whats.map(|what| (row.name, row.kind, *what))
    });
    let queue = Mutex::new(all);
    let next = || lock(&queue).next();
    let done: Mutex<BTreeMap<(&str, &str), Tried>> = Mutex::default();
    let failed: Mutex<Option<ProbeError>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some((name, kind, what)) = next().filter(|_| lock(&failed).is_none()) {
                    match tiny.attempt(kind, what) {
                        Ok(tried) => drop(lock(&done).insert((name, what), tried)),
                        Err(error) => drop(lock(&failed).get_or_insert(error)),
                    }
                }
            });
        }
    });
    if let Some(error) = lock(&failed).take() {
        return Err(error);
    }
    let mut done = lock(&done);
    let rows = table::TABLE.iter().map(|row| {
        let tried = row.tries.iter().map(|what| done.remove(&(row.name, *what)));
        let tried: Vec<Tried> = tried.flatten().collect();
        Asked {
            name: row.name.to_owned(),
            kind: row.kind,
            moves: sum_up(row.kind, &tried),
            tried,
        }
    });
    Ok(Probed {
        rustc: toolchain.version.clone(),
        rows: rows.collect(),
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sum_up(kind: Kind, tried: &[Tried]) -> Moves {
    let some = |answer: Answer| tried.iter().any(|own| own.answer == answer);
    match (some(Answer::Other), some(Answer::Same)) {
        (true, true) if kind == Kind::AskedBySource => Moves::WhereAsked,
        (true, _) => Moves::Yes,
        (false, true) => Moves::No,
        (false, false) => Moves::NotAccepted,
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::rustc::args::Args;

    fn keys(text: &str) -> Vec<Option<String>> {
        let args = Args::new(text.split(' ').map(OsString::from).collect());
        args.options().iter().map(key).collect()
    }

    #[test]
    fn every_spelling_of_an_option_leads_to_its_row() {
        let found = keys(
            "-Copt-level=3 -C opt_level=3 --codegen=opt-level=3 -O -Zno-codegen -Z no_codegen \
             -Lx -L dependency=y --cfg a --json=artifacts x.rs -Dwarnings -g",
        );
        let found: Vec<&str> = found
            .iter()
            .map(|own| own.as_deref().unwrap_or(""))
            .collect();
        let expected = [
            "-Copt-level",
            "-Copt-level",
            "-Copt-level",
            "-Copt-level",
            "-Zno-codegen",
            "-Zno-codegen",
            "-L",
            "-L",
            "--cfg",
            "--json",
            "",
            "-D",
            "-Cdebuginfo",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn rows_are_named_once_and_as_options_are() {
        let mut names: Vec<&str> = table::TABLE.iter().map(|row| row.name).collect();
        for row in table::TABLE {
            let is_argument = matches!(row.kind, Kind::Argument | Kind::Unstable);
            for what in row.tries.iter().filter(|_| is_argument) {
                assert!(keys(what).contains(&Some(row.name.to_owned())), "{what}");
            }
        }
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
