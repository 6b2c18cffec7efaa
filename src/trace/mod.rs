//! Watching a command and everything that it starts, and answering some of its calls in the kernel's
//! place. Linux, without privileges.
//!
//! [`Command`] says what to run and how; [`Command::spawn`] gives a [`Session`], which ends in a
//! [`Trace`]: the processes and, in order, the [`Event`]s. An [`Injection`] chooses what the command
//! sees of randomness, time, directory order and the like. `docs/tracing.md` lists what is seen, what
//! is steered, and the blind spots.
//!
//! One OS thread per run; several runs go side by side. This module knows nothing of compilers.

mod access;
mod arch;
mod calls;
mod command;
mod decode;
mod environment;
mod error;
mod inject;
mod memory;
mod modules;
mod seccomp;
mod spawn;
mod state;
mod syscall;
mod together;
mod tracee;
mod unwind;

pub use access::{
    Access, Address, BlindSpot, Change, Cut, Event, OpenMode, Outcome, Process, ProcessId,
    SeenPath, Trace,
};
pub use command::{Command, Killer, Session, Stdio};
pub use error::{Refusal, Step, TraceError};
pub use inject::{DirOrder, FileTimes, Injection, Steer, Time};
pub use modules::ModuleCache;
pub use syscall::Sys;
pub use tracee::Status;
pub use unwind::{Frame, Line};
