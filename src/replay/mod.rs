//! Runs trials: stages a folder for each, starts rustc in it, stops it when it has shown enough and
//! reads what it made.
//!
//! A failing rustc is a fact in the [`Run`], not an error; an error means that svhcheck could not
//! do its own part.

pub mod blame;
pub mod by_hand;
pub mod confine;
pub mod launch;
pub mod script;
pub mod sight;
pub mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
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
use crate::sandbox::{Mechanism, Policy, Sandbox};
use crate::trace::{self, TraceError};

use by_hand::ByHand;
use confine::Confine;
use launch::{End, Launch};
use sight::{Sighting, Watch, What};
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
    /// What confines watched runs; `None` for no sandbox.
    pub confine: Option<Confine>,
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
    /// What the sandbox refused to rustc itself.
    pub missed: BTreeSet<What>,
    /// Whether it failed by rustc's own decision, and not because somebody ended it.
    pub failed_by_itself: bool,
    /// Whether it was ended for taking too much of something.
    pub was_ended: bool,
    /// Whether it ran in a sandbox.
    pub confined: bool,
    /// How to repeat it by hand.
    pub by_hand: ByHand,
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
    /// The sandbox could not be made or entered: why, down to the kernel's answer.
    #[error("{0}")]
    Sandbox(String),
    /// A file of the run could not be made or read.
    #[error(transparent)]
    Io(io::Error),
    /// An artifact could not be read.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
}

impl ReplayError {
    /// A sandbox that failed, with its causes in one sentence.
    fn sandbox(error: &dyn std::error::Error) -> Self {
        let causes = std::iter::successors(Some(error), |error| error.source());
        let causes: Vec<String> = causes.map(ToString::to_string).collect();
        Self::Sandbox(causes.join(": "))
    }

    /// A run of `program` that did not start.
    fn start(source: io::Error, confined: bool, program: &Path) -> Self {
        match source.kind() {
            io::ErrorKind::Interrupted => Self::Interrupted,
            // Without the sandbox the same start has worked, or will say what is wrong with it.
            _ if confined => Self::sandbox(&source),
            _ => Self::Start {
                program: program.to_owned(),
                source,
            },
        }
    }
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
        let mut staged =
            Staged::new(action, trial, folder.path(), incremental).map_err(ReplayError::Io)?;
        let expansion = folder.path().join("expanded.rs");
        let mut write = vec![folder.path().to_path_buf()];
        if let Some(cache) = incremental {
            fs::create_dir_all(cache).map_err(ReplayError::Io)?;
            write.push(cache.to_path_buf());
        }
        let sandbox = self.sandbox(seat, &mut staged, write)?;
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
        let confined = sandbox.is_some();
        let ended = match &seat.watch {
            Some(watch) => {
                let boxed = sandbox.as_ref().map(|(sandbox, _)| sandbox.clone());
                launch.run_watched(watch, seat.confine.as_ref().zip(boxed), &self.interrupt)
            }
            None => launch.run_unwatched(&self.interrupt),
        };
        let ended = ended.map_err(|source| ReplayError::start(source, confined, program))?;
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
        // A signal may be one that was sent on purpose.
        let failed_by_itself =
            matches!(&ended.end, End::Status(false, how) if how.starts_with(EXIT));
        let was_ended = matches!(ended.end, End::TimedOut | End::Processes | End::Disk);
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
            End::Disk => (
                failed("rustc was ended: it wrote more than a compile may".to_owned()),
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
            missed: ended.missed,
            failed_by_itself,
            was_ended,
            confined,
            by_hand: ByHand {
                program: self.toolchain.rustc.clone(),
                args: staged.args,
                env: staged.env,
                cwd: staged.cwd,
                folder: folder.path().to_path_buf(),
                changes: trial.changes.clone(),
                sandbox,
            },
            folder,
        })
    }
}

/// How a status is told that a program ended with, rather than a signal.
const EXIT: &str = "exit status";

impl Replayer {
    /// The sandbox of one run, which writes to `write`, and to an empty temporary folder.
    fn sandbox(
        &self,
        seat: &Seat,
        staged: &mut Staged,
        mut write: Vec<PathBuf>,
    ) -> Result<Option<(Sandbox, Policy)>, ReplayError> {
        let (Some(confine), Some(_)) = (&seat.confine, &seat.watch) else {
            return Ok(None);
        };
        let variable = OsStr::new("TMPDIR");
        let mut temp = staged.env.get(variable).map(PathBuf::from);
        let own = |path: &PathBuf| write.iter().any(|folder| path.starts_with(folder));
        match confine.mechanism {
            Mechanism::None => return Ok(None),
            Mechanism::Namespaces => {}
            // No folder can be empty there for one alone. Its name stays from run to run, for who
            // lets it into the output.
            Mechanism::Landlock if !temp.as_ref().is_some_and(own) => {
                let folder = self.scratch.join(format!("temp-{}", seat.slot));
                empty(&folder).map_err(ReplayError::Io)?;
                staged.env.insert(variable.into(), folder.clone().into());
                write.push(folder);
                temp = None;
            }
            Mechanism::Landlock => temp = None,
        }
        let policy = confine.policy(write, temp);
        let sandbox = confine.prepare(&policy);
        let sandbox = sandbox.map_err(|error| ReplayError::sandbox(&error))?;
        Ok(Some((sandbox, policy)))
    }
}

/// Makes a folder anew.
fn empty(folder: &Path) -> io::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)
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
        let mut lines = text.lines();
        let first = lines.find(|line| !line.starts_with('{') && !line.trim().is_empty())?;
        // Rust's panics name their thread and its number first, and what is wrong in the next line.
        match first.split_once(" panicked at ") {
            Some((head, place)) if head.starts_with("thread '") => {
                let said = lines.next().unwrap_or_default();
                Some(format!("panicked at {place} {said}").trim_end().to_owned())
            }
            _ => Some(first.to_owned()),
        }
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
        let panic = b"\nthread 'main' (2) panicked at build.rs:3:5:\nno such file\nnote: run with";
        assert_eq!(first_error(panic), "panicked at build.rs:3:5: no such file");
        let silent = b"thread 'a b' panicked at src/lib.rs:1:1:";
        assert_eq!(first_error(silent), "panicked at src/lib.rs:1:1:");
    }
}
