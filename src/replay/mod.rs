//! Runs trials: stages a folder for each, starts rustc in it, stops it when it has shown enough and
//! reads what it made.
//!
//! A failing rustc is a fact in the [`Run`], not an error; an error means that svhcheck could not
//! do its own part.

pub mod launch;
pub mod script;
pub mod sight;
pub mod stage;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fs_err as fs;

use crate::artifact::metadata::CrateRoot;
use crate::artifact::{self, ArtifactError};
use crate::digest::Digest;
use crate::interrupt::Interrupt;
use crate::plan::{Stop, Trial};
use crate::project::Action;
use crate::rustc::toolchain::Toolchain;
use crate::trace::{self, TraceError};

use launch::{End, Launch};
use sight::{Sighting, Watch};
use stage::Staged;

/// What all replays of a check share.
#[derive(Debug)]
pub struct Replayer {
    /// The compiler.
    pub toolchain: Toolchain,
    /// Where runs get their folders.
    pub scratch: PathBuf,
    /// How long one compile may take.
    pub timeout: Duration,
    /// Ends everything.
    pub interrupt: Interrupt,
}

/// What the runs of one crate share.
#[derive(Debug, Clone)]
pub struct Seat {
    /// The cache that its incremental compiles share.
    pub incremental: PathBuf,
    /// The worker's number, so that runs bound to one processor do not share it.
    pub slot: usize,
    /// What is watched; `None` where the system forbids tracing.
    pub watch: Option<Watch>,
}

/// How a trial came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It made metadata.
    Made(Box<CrateRoot>),
    /// It printed the expanded source, of this digest.
    Expanded(Digest),
    /// rustc did not; the text says how it ended and its first error.
    Failed(String),
}

/// A trial that was run.
#[derive(Debug)]
pub struct Run {
    /// What came of it.
    pub outcome: Outcome,
    /// The artifact (or expansion) that was read, if there is one. It lives in `folder`.
    pub artifact: Option<PathBuf>,
    /// What macros asked of the world.
    pub sightings: Vec<Sighting>,
    /// The run's folder; gone with the run.
    pub folder: tempfile::TempDir,
}

/// Whether this system lets us trace, found out by tracing `program --version`.
pub fn can_trace(program: &Path, env: &BTreeMap<OsString, OsString>) -> Result<(), TraceError> {
    let command = trace::Command::new(program)
        .args(["--version"])
        .envs(env)
        .stdin(trace::Stdio::Null)
        .stdout(trace::Stdio::Null)
        .stderr(trace::Stdio::Null);
    command.run().map(|_| ())
}

/// Why a trial could not be run.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// The compiler could not be started.
    #[error("cannot run `{}`: {source}", .program.display())]
    Start {
        /// The compiler.
        program: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The disk is full: no verdict would mean anything.
    #[error("no space left below {}: free some, or put the target directory elsewhere with CARGO_TARGET_DIR", .0.display())]
    DiskFull(PathBuf),
    /// A file of the run could not be made or read.
    #[error(transparent)]
    Io(io::Error),
    /// An artifact could not be read.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
}

impl Replayer {
    /// Runs one trial.
    pub fn run(&self, action: &Action, trial: &Trial, seat: &Seat) -> Result<Run, ReplayError> {
        let result = self.run_inner(action, trial, seat);
        result.map_err(|error| self.told(error))
    }

    /// Names a full disk and an interrupt for what they are.
    fn told(&self, error: ReplayError) -> ReplayError {
        match error {
            // By kind: errors that name their file hold no number.
            ReplayError::Io(source) if source.kind() == io::ErrorKind::StorageFull => {
                self.disk_full()
            }
            ReplayError::Io(source) if source.kind() == io::ErrorKind::Interrupted => {
                ReplayError::Interrupted
            }
            error => error,
        }
    }

    /// Names the folder around the scratch folder, which will be gone.
    fn disk_full(&self) -> ReplayError {
        let area = self.scratch.parent().unwrap_or(&self.scratch);
        ReplayError::DiskFull(area.to_path_buf())
    }

    fn run_inner(&self, action: &Action, trial: &Trial, seat: &Seat) -> Result<Run, ReplayError> {
        let folder = tempfile::Builder::new()
            .prefix("run-")
            .tempdir_in(&self.scratch)
            .map_err(ReplayError::Io)?;
        let incremental = trial.incremental.then_some(seat.incremental.as_path());
        let staged =
            Staged::new(action, trial, folder.path(), incremental).map_err(ReplayError::Io)?;
        let expansion = folder.path().join("expanded.rs");
        let stdout = match trial.stop {
            Stop::Expansion => Some(File::create(&expansion).map_err(ReplayError::Io)?),
            Stop::Metadata | Stop::End => None,
        };
        // Bazel may use several compilers in one build, and names each by its own file.
        let program = match action.layout {
            Some(_) => &action.program,
            None => &self.toolchain.rustc,
        };
        let launch = Launch {
            program,
            staged: &staged,
            changes: &trial.changes,
            stop_at_metadata: trial.stop == Stop::Metadata,
            stdout,
            timeout: self.timeout,
            slot: seat.slot,
        };
        let ended = match &seat.watch {
            Some(watch) => launch.run_watched(watch, &self.interrupt),
            None => launch.run_unwatched(&self.interrupt),
        };
        let ended = ended.map_err(|source| match source.kind() {
            io::ErrorKind::Interrupted => ReplayError::Interrupted,
            _ => ReplayError::Start {
                program: program.clone(),
                source,
            },
        })?;
        if self.interrupt.is_set() {
            return Err(ReplayError::Interrupted);
        }
        if String::from_utf8_lossy(&ended.stderr).contains("No space left on device (os error 28)")
        {
            return Err(self.disk_full());
        }
        // The scratch folder has another name each time, and is gone when the text is read.
        let own = folder.path().to_string_lossy().into_owned();
        let failed = |why: String| {
            let why = why.replace(&own, "SCRATCH");
            Outcome::Failed(why.chars().take(WHY).collect())
        };
        let (outcome, artifact) = match ended.end {
            End::TimedOut => (
                failed(format!(
                    "rustc was ended after {} s",
                    self.timeout.as_secs()
                )),
                None,
            ),
            End::Processes => (
                failed("rustc was ended: it started processes without end".to_owned()),
                None,
            ),
            End::Status(false, how) => (
                failed(format!(
                    "rustc failed ({how}): {}",
                    first_error(&ended.stderr)
                )),
                None,
            ),
            End::Status(true, _) if trial.stop == Stop::Expansion => {
                let digest = Digest::of_file(&expansion).map_err(ReplayError::Io)?;
                (Outcome::Expanded(digest), Some(expansion))
            }
            End::Status(true, _) | End::Stopped => match made(&staged.outputs) {
                Some(path) => match artifact::open(&path)?.root() {
                    Ok(root) => (Outcome::Made(Box::new(root)), Some(path)),
                    Err(error) => (failed(error.to_string()), None),
                },
                None => (failed("rustc ended without metadata".to_owned()), None),
            },
        };
        Ok(Run {
            outcome,
            artifact,
            sightings: ended.sightings,
            folder,
        })
    }
}

/// How much is told of a failure, in characters.
const WHY: usize = 400;

/// The first output that is there and not empty.
fn made(outputs: &[PathBuf]) -> Option<PathBuf> {
    outputs
        .iter()
        .find(|path| fs::metadata(path).is_ok_and(|meta| meta.len() > 0))
        .cloned()
}

/// The first error message of rustc's JSON (or plain) standard error, in one line.
pub fn first_error(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let message = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        let error = value.get("level")?.as_str()?.starts_with("error");
        error
            .then(|| value.get("message")?.as_str().map(str::to_owned))
            .flatten()
    };
    let json = text.lines().find_map(message);
    let plain = || {
        text.lines()
            .find(|line| !line.starts_with('{') && !line.trim().is_empty())
            .map(str::to_owned)
    };
    let found = json
        .or_else(plain)
        .unwrap_or_else(|| "it said nothing".to_owned());
    found.split('\n').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_is_found_in_json_and_in_plain_text() {
        let json = br#"{"$message_type":"diagnostic","message":"unused","level":"warning"}
{"$message_type":"diagnostic","message":"cannot find `x`\nin this scope","level":"error"}"#;
        assert_eq!(first_error(json), "cannot find `x`");
        assert_eq!(first_error(b"\nLLVM is sad\n"), "LLVM is sad");
        assert_eq!(first_error(b""), "it said nothing");
    }
}
