//! The strategies: how build systems make a crate, one row each.
//!
//! A row says where the two sides of its pair come from and how each changes the recorded command
//! line. Both SVHs of a pair must agree, or a build that runs the strategy meets E0460. Reasons and
//! peers: `docs/strategies.md`.

use std::ffi::{OsStr, OsString};

use super::{CommandLine, Edit, Stop, Trial};
use crate::project::{Action, TargetKind};

/// How a build system makes a crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strategy {
    /// One compile per crate; two of them must agree where builds share a cache.
    Full,
    /// Cargo: dependents start at the `.rmeta` of the process that goes on to link.
    Pipelined,
    /// rules_rust: a second process, killed when it has written the metadata.
    QuitOnRmeta,
    /// Buck2, rules_rs: a second process with `-Zno-codegen`.
    Hollow,
    /// `cargo check`: metadata alone, never mixed with linked crates.
    Check,
    /// Incremental compilation, cold against warm.
    Incremental,
    /// A persistent worker: one process, as in `Pipelined`.
    Worker,
}

/// Where a side of the pair comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The recorded build's rlib or shared library.
    Recorded,
    /// The `.rmeta` of that same process.
    RecordedMetadata,
    /// A replay of the recorded command line, changed.
    Replay {
        emit: Option<&'static str>,
        add: &'static [&'static str],
        incremental: bool,
        stop: Stop,
    },
}

/// One strategy as data.
#[derive(Debug)]
pub struct Row {
    /// Which.
    pub strategy: Strategy,
    /// Its name in options and reports.
    pub name: &'static str,
    /// The first rustc (1.x) that has what it needs.
    pub since: u32,
    /// Whether `-Z` options are used: on stable, rustc then runs with `RUSTC_BOOTSTRAP=1` on both
    /// sides.
    pub unstable: bool,
    /// Whether proc macros are split too; where not, their pair is that of `full`.
    splits_macros: bool,
    metadata: Source,
    full: Source,
    /// One line for help and docs.
    pub about: &'static str,
}

/// A replay of the recorded command line as it is, stopped when its metadata is written.
const KILLED: Source = Source::Replay {
    emit: None,
    add: &[],
    incremental: false,
    stop: Stop::Metadata,
};

/// The table. `--json=artifacts` is stable since 1.38. That `-Zno-codegen` leaves a hollow rlib and
/// the SVH of the full compile was seen with 1.63, 1.95 and nightly 1.97; older ones were not run.
pub const TABLE: &[Row] = &[
    Row {
        strategy: Strategy::Full,
        name: "full",
        since: 0,
        unstable: false,
        splits_macros: true,
        metadata: KILLED,
        full: Source::Recorded,
        about: "one compile per crate; two builds that share a cache must agree",
    },
    Row {
        strategy: Strategy::Pipelined,
        name: "pipelined",
        since: 38,
        unstable: false,
        splits_macros: false,
        metadata: Source::RecordedMetadata,
        full: Source::Recorded,
        about: "Cargo: the .rmeta and the rlib of one process",
    },
    Row {
        strategy: Strategy::QuitOnRmeta,
        name: "quit-on-rmeta",
        since: 38,
        unstable: false,
        splits_macros: false,
        metadata: KILLED,
        full: Source::Recorded,
        about: "rules_rust: the same command line twice, one killed at its metadata",
    },
    Row {
        strategy: Strategy::Hollow,
        name: "hollow",
        since: 63,
        unstable: true,
        splits_macros: false,
        metadata: Source::Replay {
            emit: None,
            add: &["-Zno-codegen"],
            incremental: false,
            stop: Stop::End,
        },
        full: Source::Recorded,
        about: "Buck2, rules_rs: a hollow rlib by -Zno-codegen against the full one",
    },
    Row {
        strategy: Strategy::Check,
        name: "check",
        since: 0,
        unstable: false,
        splits_macros: false,
        metadata: Source::Replay {
            emit: Some("dep-info,metadata"),
            add: &[],
            incremental: false,
            stop: Stop::End,
        },
        full: Source::Replay {
            emit: Some("dep-info,metadata"),
            add: &[],
            incremental: false,
            stop: Stop::End,
        },
        about: "cargo check: metadata alone, made twice",
    },
    Row {
        strategy: Strategy::Incremental,
        name: "incremental",
        since: 0,
        unstable: false,
        splits_macros: true,
        metadata: Source::Replay {
            emit: None,
            add: &[],
            incremental: true,
            stop: Stop::End,
        },
        full: Source::Replay {
            emit: None,
            add: &[],
            incremental: true,
            stop: Stop::Metadata,
        },
        about: "-Cincremental with a cold cache against a warm one",
    },
    Row {
        strategy: Strategy::Worker,
        name: "worker",
        since: 38,
        unstable: false,
        splits_macros: false,
        metadata: Source::RecordedMetadata,
        full: Source::Recorded,
        about: "a persistent worker: one process, as pipelined (with a sandbox: quit-on-rmeta)",
    },
];

/// What rules_rust and Buck2 users are about to turn on.
pub const DEFAULT: &[Strategy] = &[Strategy::Full, Strategy::QuitOnRmeta, Strategy::Hollow];

impl Strategy {
    /// Its row.
    pub fn row(self) -> &'static Row {
        TABLE
            .iter()
            .find(|row| row.strategy == self)
            .expect("every strategy has a row")
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The strategy called `name`.
    pub fn named(name: &str) -> Option<Self> {
        TABLE
            .iter()
            .find(|row| row.name == name)
            .map(|row| row.strategy)
    }
}

/// What a user's build rules add to one side alone, besides what the strategy itself does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SideEdits {
    /// On the metadata side.
    pub metadata: Vec<Edit>,
    /// On the full side.
    pub full: Vec<Edit>,
}

/// One side of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Side {
    /// The recorded build's rlib or shared library.
    Recorded,
    /// The recorded build's `.rmeta`.
    RecordedMetadata,
    /// A compile to run.
    Replay(Trial),
}

/// Two sides whose SVHs must agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// What dependents compile against.
    pub metadata: Side,
    /// What is linked in the end.
    pub full: Side,
    /// Whether both sides are one process, so that nondeterminism cannot part them.
    pub one_process: bool,
}

/// The pair of `strategy` for `action`.
pub fn pair(action: &Action, strategy: Strategy, edits: &SideEdits) -> Pair {
    let row = strategy.row();
    let row = if action.kind == TargetKind::ProcMacro && !row.splits_macros {
        Strategy::Full.row()
    } else {
        row
    };
    let (mut metadata, mut full) = (edits.metadata.clone(), edits.full.clone());
    // Cargo's build was recorded with it, and Buck2's rules set it. Another build takes another full
    // side.
    let bootstrap = action.env.get(OsStr::new("RUSTC_BOOTSTRAP"));
    if row.unstable && action.layout.is_some() && bootstrap.is_none_or(|own| own != "1") {
        for edits in [&mut metadata, &mut full] {
            edits.push(Edit::Env("RUSTC_BOOTSTRAP".into(), Some("1".into())));
        }
    }
    Pair {
        metadata: side(action, row.metadata, &metadata),
        full: side(action, row.full, &full),
        one_process: row.metadata == Source::RecordedMetadata,
    }
}

fn side(action: &Action, source: Source, edits: &[Edit]) -> Side {
    let source = match source {
        // What the rules add must be compiled; the recorded build did not have it.
        Source::Recorded if !edits.is_empty() => KILLED,
        source => source,
    };
    let (emit, add, incremental, stop) = match source {
        Source::Recorded => return Side::Recorded,
        Source::RecordedMetadata => return Side::RecordedMetadata,
        Source::Replay {
            emit,
            add,
            incremental,
            stop,
        } => (emit, add, incremental, stop),
    };
    let mut command = CommandLine::recorded(action);
    if let Some(emit) = emit {
        command.edit(&Edit::Emit(emit.to_owned()));
    }
    for arg in add {
        command.edit(&Edit::Add(OsString::from(arg)));
    }
    for edit in edits {
        command.edit(edit);
    }
    Side::Replay(Trial {
        stop: possible(stop, &command),
        command,
        changes: Vec::new(),
        incremental,
    })
}

/// Where a command can be stopped: without a metadata artifact there is no notice of it. None is
/// asked for in its stead, as `--emit` is in the SVH.
pub fn possible(stop: Stop, command: &CommandLine) -> Stop {
    if command.args.emit().iter().any(|kind| kind == "metadata") {
        stop
    } else {
        Stop::End
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_lead_back() {
        for row in TABLE {
            assert_eq!(Strategy::named(row.name), Some(row.strategy));
        }
    }
}
