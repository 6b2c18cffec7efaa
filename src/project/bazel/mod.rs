//! Bazel with rules_rust: runs the user's own `bazel build` and turns the Rust actions of its action
//! graph into [`Action`]s.
//!
//! What runs is read from the graph and from the files that Bazel wrote for it, never derived from
//! rules. Artifacts are found by what actions say that they make. A command runs again in a folder
//! that holds links to exactly its declared inputs (`project::layout`), as it would in Bazel's
//! sandbox or on a cluster. Facts and their sources: `docs/bazel.md`.

mod actions;
pub mod aquery;
pub mod aspect;
pub mod cloned;
mod command;
mod events;
#[cfg(feature = "remote")]
pub mod log;
pub mod pairs;
#[cfg(feature = "remote")]
pub mod remote;
mod scripts;
#[cfg(test)]
mod tests;
mod wrapper;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::area::{Area, AreaError};
use super::{Build, TargetKind};
use crate::artifact;
use crate::artifact::metadata::Svh;
use crate::interrupt::Interrupt;

use actions::Planned;
use aquery::{Graph, GraphError};
use command::{Bazel, Places};
use events::Events;

/// Why a program is not judged.
pub const WITHOUT_METADATA: &str =
    "a program: nothing reads metadata of it, so it has no SVH to compare";

/// What to record.
#[derive(Debug, Clone)]
pub struct Request {
    /// Where the user stands.
    pub folder: PathBuf,
    /// Patterns as typed; Bazel reads them.
    pub patterns: Vec<String>,
    /// The program, where it is not `bazel` or `bazelisk` on PATH.
    pub bazel: Option<PathBuf>,
    /// Flags for `bazel build`.
    pub flags: Vec<OsString>,
    /// Whether crates of other repositories are judged too.
    pub deps: bool,
    /// Whether Bazel's own progress is silenced.
    pub quiet: bool,
}

/// Why a Bazel build could not be recorded.
#[derive(Debug, thiserror::Error)]
pub enum BazelError {
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// No Bazel at all.
    #[error(
        "this is a Bazel workspace, and there is no `bazel` or `bazelisk` on PATH: install one, or name it with `--bazel PATH`"
    )]
    NoBazel,
    /// It could not be started.
    #[error("cannot run `{}`: {source}; name another with `--bazel PATH`", .program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A call of it failed.
    #[error("`bazel {command}` failed ({status}){said}")]
    Failed {
        /// Its command.
        command: &'static str,
        /// How it ended.
        status: String,
        /// Its first error and what to do, or nothing.
        said: String,
    },
    /// `bazel info` does not tell.
    #[error("`bazel info` does not tell `{0}`; is it Bazel 7 or newer?")]
    Info(String),
    /// A pattern stands for nothing.
    #[error("no target matches `{pattern}`: {why}")]
    NoMatch {
        /// The pattern.
        pattern: String,
        /// Bazel's reason.
        why: String,
    },
    /// The user's build fails; Bazel has said why.
    #[error("the build fails, so there is nothing to check (Bazel's message is above)")]
    BuildFails,
    /// There is no Rust behind the patterns.
    #[error(
        "nothing to check: no Rust library or proc macro is among the targets (rules_rust's actions are looked for); `bazel query` lists what a pattern stands for"
    )]
    NoRust,
    /// Everything was kept away from the cluster.
    #[cfg(feature = "remote")]
    #[error("nothing to check on the cluster: `{}`: {}", .0.0, .0.1)]
    NotRemote((String, String)),
    /// The execution log is not understood.
    #[cfg(feature = "remote")]
    #[error(transparent)]
    Log(#[from] log::LogError),
    /// A command of another form than rules_rust's.
    #[error("{0}")]
    Command(String),
    /// The action graph is not understood.
    #[error("{0}; svhcheck knows Bazel 7 to 9")]
    Graph(#[from] GraphError),
    /// The output base cannot be used.
    #[error("{0}; Bazel's output base must be writable")]
    Area(#[from] AreaError),
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Runs the build and returns its actions, those that the patterns choose.
pub fn record(request: &Request, interrupt: &Interrupt) -> Result<Build, BazelError> {
    let bazel = Bazel::new(request, interrupt)?;
    let places = bazel.places()?;
    let area = Area::open(&places.output_base.join("svhcheck"))?;
    let scratch = area.scratch()?;
    let log = scratch.path().join("events.json");
    let mut succeeded = bazel.build(&request.patterns, &log)?;
    let mut events = Events::read(&log)?;
    if let Some((pattern, why)) = events.unmatched.pop() {
        return Err(BazelError::NoMatch { pattern, why });
    }
    let graph = bazel.graph(&request.patterns)?;
    let mut planned = Planned::read(&graph, &places, scratch.path())?;
    if request.deps {
        let missing = planned.missing_dependencies();
        if succeeded && !missing.is_empty() {
            let patterns = [request.patterns.clone(), missing].concat();
            succeeded = bazel.build(&patterns, &log)?;
            events.failed = Events::read(&log)?.failed;
        }
    }
    planned.drop_unmade(&events);
    let mut build = Build::empty(places.workspace, scratch, area.lock);
    planned.hand_over(&mut build, |own| {
        if own.member {
            events.targets.contains(&own.label)
        } else {
            request.deps
        }
    })?;
    if !build
        .actions
        .iter()
        .any(|own| own.kind != TargetKind::NoMetadata && own.wanted)
    {
        return Err(if succeeded {
            BazelError::NoRust
        } else {
            BazelError::BuildFails
        });
    }
    if !succeeded {
        if !build.actions.iter().any(parted) {
            return Err(BazelError::BuildFails);
        }
        build.notes.push(
            "the build fails, and crates in it have two SVHs, which may be why; what it did not make is not checked".to_owned(),
        );
    }
    Ok(build)
}

/// All crates of a graph as [`record`] plans them, whether the build made them or not. `root` is the
/// execution root; what is written goes below `folder`.
pub fn plan(graph: &Graph, root: &Path, folder: &Path) -> Result<Build, BazelError> {
    let places = Places {
        execution_root: root.to_owned(),
        output_base: folder.to_owned(),
        workspace: root.to_owned(),
    };
    let area = Area::open(&folder.join("svhcheck"))?;
    let scratch = area.scratch()?;
    let planned = Planned::read(graph, &places, scratch.path())?;
    let mut build = Build::empty(places.workspace, scratch, area.lock);
    planned.hand_over(&mut build, |_| true)?;
    Ok(build)
}

/// Whether the build itself made two SVHs of a crate. What cannot be read is told when it is judged.
fn parted(action: &super::Action) -> bool {
    let svh = |path: &PathBuf| -> Option<Svh> {
        let artifact = artifact::open(path).ok()?;
        Some(artifact.root().ok()?.svh)
    };
    let (Some(metadata), Some(full)) = (&action.metadata, action.outputs.first()) else {
        return false;
    };
    matches!((svh(&metadata.output), svh(full)), (Some(one), Some(two)) if one != two)
}
