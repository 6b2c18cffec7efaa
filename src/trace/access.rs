//! What a traced run did: the record.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::syscall::Sys;
use super::tracee::Status;
use super::unwind::Frame;

/// Number of a process within its run, in order of birth; the command itself is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(pub u32);

/// One process of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number here.
    pub id: ProcessId,
    /// The process that made it; `None` for the command itself.
    pub parent: Option<ProcessId>,
    /// The kernel's number, which is another one in every run.
    pub pid: i32,
    /// How it ended; `None` if it was not seen to end.
    pub status: Option<Status>,
    /// How many threads it had over its life, its first one included.
    pub threads: u32,
    /// The code of its parent that made it, innermost first; empty unless code is looked up.
    pub made_by: Vec<Frame>,
}

/// Everything recorded of one run.
#[derive(Debug, Clone)]
pub struct Trace {
    /// How the command itself ended.
    pub status: Status,
    /// The processes, in order of birth.
    pub processes: Vec<Process>,
    /// What they did, in the order in which it began.
    pub events: Vec<Event>,
    /// What the tracer could not see, once per process and kind.
    pub blind_spots: Vec<(ProcessId, BlindSpot)>,
    /// Why the run was cut short, if it was.
    pub stopped: Option<Cut>,
}

impl Trace {
    /// Every stack frame in the record, to be given names by
    /// [`ModuleCache::symbolize`](super::ModuleCache::symbolize).
    pub fn frames_mut(&mut self) -> impl Iterator<Item = &mut Frame> {
        let of_events = self.events.iter_mut().flat_map(|event| &mut event.frames);
        let of_births = self
            .processes
            .iter_mut()
            .flat_map(|process| &mut process.made_by);
        of_events.chain(of_births)
    }
}

/// Why a run was cut short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cut {
    /// It was killed through its [`Killer`](super::Killer).
    Killed,
    /// It ran longer than the limit.
    Timeout,
    /// It had more processes at one time than the limit.
    Processes,
}

/// One thing that a process did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Who.
    pub process: ProcessId,
    /// Which of its threads, in order of birth; its first is 1.
    pub thread: u32,
    /// The system call; `None` for what makes none (an environment read).
    pub call: Option<Sys>,
    /// What.
    pub access: Access,
    /// How it ended.
    pub outcome: Outcome,
    /// True if svhcheck chose the answer.
    pub injected: bool,
    /// The code that asked, innermost first; empty unless it was asked for.
    pub frames: Vec<Frame>,
}

/// How an [`Event`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It returned this value.
    Done(i64),
    /// It failed with this error number.
    Failed(i32),
    /// Its end was not waited for, because it does not matter.
    Unwatched,
    /// The thread ended before the call did.
    Unfinished,
}

impl Outcome {
    pub(crate) fn of(value: i64) -> Self {
        match i32::try_from(value) {
            Ok(error @ -4095..=-1) => Self::Failed(-error),
            _ => Self::Done(value),
        }
    }

    /// True unless the call is known to have failed.
    pub fn succeeded(self) -> bool {
        !matches!(self, Self::Failed(_))
    }
}

/// A path as a call named it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeenPath {
    /// As given; empty for a call on an open file.
    pub given: OsString,
    /// The same made absolute with the thread's directories. Symbolic links and `..` are kept. The
    /// kernel's ` (deleted)` marks a directory that is gone.
    pub absolute: PathBuf,
    /// Where the opened file really lies, if that is another path.
    pub target: Option<PathBuf>,
}

impl SeenPath {
    /// The place of the file: the target where it is known, else the absolute path.
    pub fn place(&self) -> &Path {
        self.target.as_deref().unwrap_or(&self.absolute)
    }
}

/// How a file was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent flags of open(2)"
)]
pub struct OpenMode {
    /// For reading.
    pub read: bool,
    /// For writing.
    pub write: bool,
    /// Made if it was not there.
    pub create: bool,
    /// Must not have been there.
    pub exclusive: bool,
    /// Emptied.
    pub truncate: bool,
    /// Written at its end.
    pub append: bool,
    /// Must be a directory.
    pub directory: bool,
    /// Only named, not opened (`O_PATH`).
    pub path_only: bool,
}

/// What a call changed about a file's name or status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "named for the calls")]
pub enum Change {
    MakeDirectory,
    RemoveDirectory,
    Unlink,
    MakeNode,
    Mode,
    Owner,
    Length,
    Times,
    Attribute,
}

/// What a process did, by kind.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// Opened a file.
    Open {
        /// Which.
        path: SeenPath,
        /// How.
        mode: OpenMode,
    },
    /// Asked for a file's status, permission, attributes or file system.
    Status {
        /// Which.
        path: SeenPath,
    },
    /// Read a symbolic link.
    ReadLink {
        /// Which.
        path: SeenPath,
    },
    /// Listed a directory (once per call; an end-of-list call returns 0).
    List {
        /// Which.
        path: SeenPath,
    },
    /// Changed a file's name or status.
    Change {
        /// Which.
        path: SeenPath,
        /// What about it.
        change: Change,
    },
    /// Renamed a file.
    Rename {
        /// Old name.
        from: SeenPath,
        /// New name.
        to: SeenPath,
        /// The two changed places.
        exchange: bool,
    },
    /// Gave a file a second name.
    Link {
        /// Its name.
        from: SeenPath,
        /// The new name.
        to: SeenPath,
    },
    /// Made a symbolic link.
    Symlink {
        /// What it says.
        says: OsString,
        /// Where it lies.
        path: SeenPath,
    },
    /// Executed a program.
    Exec {
        /// Which.
        path: SeenPath,
        /// Its arguments, its own name first.
        argv: Arc<[OsString]>,
        /// Its environment, `NAME=value`.
        env: Arc<[OsString]>,
        /// The directory that it starts in.
        directory: PathBuf,
    },
    /// Changed its working directory.
    Enter {
        /// To this.
        path: SeenPath,
    },
    /// Changed its root directory.
    Root {
        /// To this.
        path: SeenPath,
    },
    /// Changed what is mounted, or watched a path for changes.
    Mount {
        /// Where.
        path: SeenPath,
    },
    /// Made a socket.
    Socket {
        /// `AF_*`.
        family: i32,
        /// `SOCK_*` with its flags.
        kind: i32,
    },
    /// Reached out to an address.
    Connect {
        /// Which.
        address: Address,
    },
    /// Took an address.
    Bind {
        /// Which.
        address: Address,
    },
    /// Asked for random bytes.
    Random {
        /// How many.
        bytes: u64,
    },
    /// Read a clock.
    Clock {
        /// `CLOCK_*`.
        clock: i32,
    },
    /// Asked for a process, thread, user or group number; the call says which.
    Identity,
    /// Asked for the kernel's name, processors or memory, or made an unnamed file; the call says
    /// which.
    System,
    /// Sent a signal.
    Signal {
        /// To this process or thread, as the caller numbers it; to a group or to all if negative.
        target: i32,
        /// Which; 0 only asks whether it could.
        signal: i32,
    },
    /// Read an environment variable (seen at libc's `getenv`).
    Variable {
        /// Its name.
        name: OsString,
        /// Its value, if it was set.
        value: Option<OsString>,
    },
    /// Did what may hide further doings; see [`BlindSpot`].
    Blind(BlindSpot),
}

impl Access {
    /// The path that a call was mainly about.
    pub fn path(&self) -> Option<&SeenPath> {
        match self {
            Self::Open { path, .. }
            | Self::Status { path }
            | Self::ReadLink { path }
            | Self::List { path }
            | Self::Change { path, .. }
            | Self::Rename { from: path, .. }
            | Self::Link { from: path, .. }
            | Self::Symlink { path, .. }
            | Self::Exec { path, .. }
            | Self::Enter { path }
            | Self::Root { path }
            | Self::Mount { path } => Some(path),
            _ => None,
        }
    }
}

/// A socket address.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Address {
    /// A path in the file system.
    Path(OsString),
    /// A name in Linux's abstract name space.
    Abstract(OsString),
    /// An internet address.
    Internet(std::net::SocketAddr),
    /// Another family, by number.
    Other(i32),
}

/// What the tracer cannot see through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum BlindSpot {
    /// A 32-bit or x32 call: not decoded.
    ForeignCall,
    /// `io_uring`: file accesses without system calls.
    IoUring,
    /// It tried to trace, or to reach into another process.
    Ptrace,
    /// It tried to make a process that no tracer follows; that was prevented.
    Untraced,
    /// It changed name spaces: absolute paths may mean something else.
    Namespace,
    /// It opened a file by a handle instead of a path.
    Handle,
    /// The processor has no free debug register: environment reads are not seen.
    Environment,
    /// The vDSO could not be taken away: clock reads may be missed.
    Vdso,
}

impl BlindSpot {
    /// One line for a report.
    pub fn describe(self) -> &'static str {
        match self {
            Self::ForeignCall => "made 32-bit or x32 calls, which are not decoded",
            Self::IoUring => "used io_uring, whose file accesses are not seen",
            Self::Ptrace => "tried to trace or reach into another process",
            Self::Untraced => "tried to start a process out of sight, which was prevented",
            Self::Namespace => "changed name spaces, so its paths may mean something else",
            Self::Handle => "opened a file by handle, whose path is not known",
            Self::Environment => "could not be watched for environment reads",
            Self::Vdso => "kept its vDSO, so its clock reads may be missed",
        }
    }
}

/// Joins a path to a directory, dropping `.` and doubled slashes (`..` stays, since it may leave
/// through a symbolic link).
pub(crate) fn join(base: &Path, given: &OsStr) -> PathBuf {
    base.join(given).components().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_tell_errors_from_addresses() {
        assert_eq!(Outcome::of(-2), Outcome::Failed(2));
        assert_eq!(Outcome::of(3), Outcome::Done(3));
        assert_eq!(Outcome::of(-4096), Outcome::Done(-4096));
        assert!(!Outcome::of(-2).succeeded());
    }

    #[test]
    fn joined_paths_keep_what_may_matter() {
        let join = |given: &str| join(Path::new("/a/b"), OsStr::new(given));
        assert_eq!(join("./c//d/."), Path::new("/a/b/c/d"));
        assert_eq!(join("../c"), Path::new("/a/b/../c"));
        assert_eq!(join("/c"), Path::new("/c"));
        assert_eq!(join(""), Path::new("/a/b"));
    }
}
