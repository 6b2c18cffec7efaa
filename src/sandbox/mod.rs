//! What a command may see and write, and what enforces it. Linux, without privileges.
//!
//! A [`Policy`] says what; a [`Mechanism`] how: [`namespaces`](Mechanism::Namespaces) shows nothing
//! but what the policy names, [`landlock`](Mechanism::Landlock) forbids the rest,
//! [`none`](Mechanism::None) enforces nothing. [`Mechanism::choose`] tries what this machine
//! allows. A [`Sandbox`] is both, made ready; it is an [`Entry`], which whoever starts the command
//! goes through. `docs/sandbox.md` says what is enforced by which mechanism.

mod disk;
mod landlock;
mod namespaces;
mod none;
mod op;
mod probe;
mod view;

use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use nix::errno::Errno;

use crate::entry::{Entry, Failure};
use op::Op;

pub use disk::DiskWatch;

/// What a command may see and write. Paths mean the same inside and outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Files and folders that may be read and executed. What is not there is left out.
    pub read: Vec<PathBuf>,
    /// Files and folders that may also be written; each must be there.
    pub write: Vec<PathBuf>,
    /// Allows the network.
    pub network: bool,
    /// Gives the command an empty `/tmp` of its own, if the mechanism can.
    pub private_tmp: bool,
    /// Another folder that is empty and its own inside, if the mechanism can: where `TMPDIR` leads.
    /// What lies in it and is named is there all the same. Left out if it is no folder.
    pub temp: Option<PathBuf>,
    /// Bounds on resources.
    pub limits: Limits,
}

/// Bounds on what a command may use. `None` is no bound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Processes and threads at one time, in the sandbox alone.
    pub processes: Option<u32>,
    /// Bytes of a single file. A writer is ended by `SIGXFSZ`.
    pub file_size: Option<u64>,
    /// Bytes by which the folders that may be written grow, together; see [`Sandbox::watch_disk`].
    pub disk: Option<u64>,
    /// Bytes in the private `/tmp`.
    pub tmp_size: Option<u64>,
    /// Bytes of address space of each process.
    pub memory: Option<u64>,
}

impl Policy {
    /// Where a system keeps programs, libraries and what the loader and the linker need.
    pub fn system_paths() -> Vec<PathBuf> {
        let paths = [
            "/bin",
            "/sbin",
            "/usr",
            "/lib",
            "/lib32",
            "/lib64",
            "/libx32",
            "/nix/store",
            "/gnu/store",
            "/etc/alternatives",
            "/etc/ld.so.cache",
            "/etc/ld.so.conf",
            "/etc/ld.so.conf.d",
        ];
        paths.map(PathBuf::from).to_vec()
    }
}

/// What enforces a policy, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mechanism {
    /// Nothing.
    None,
    /// Landlock, a security module for unprivileged programs.
    Landlock,
    /// Name spaces of the command's own.
    Namespaces,
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Landlock => "landlock",
            Self::Namespaces => "namespaces",
        })
    }
}

/// The best mechanism of this machine, and why it is not a better one.
#[derive(Debug)]
pub struct Choice {
    /// The mechanism.
    pub mechanism: Mechanism,
    /// The better ones, best first, with what stands in their way.
    pub refused: Vec<(Mechanism, SandboxError)>,
}

impl Mechanism {
    /// Tries each mechanism, best first. It costs a few milliseconds: ask once.
    pub fn choose() -> Choice {
        let mut refused = Vec::new();
        for mechanism in [Self::Namespaces, Self::Landlock] {
            match mechanism.probe() {
                Ok(()) => return Choice { mechanism, refused },
                Err(error) => refused.push((mechanism, error)),
            }
        }
        Choice {
            mechanism: Self::None,
            refused,
        }
    }

    /// Tries whether this machine allows the mechanism, by entering an ordinary sandbox.
    pub fn probe(self) -> Result<(), SandboxError> {
        let policy = Policy {
            read: Policy::system_paths(),
            private_tmp: true,
            ..Policy::default()
        };
        probe::enter(&Sandbox::prepare(self, &policy)?)
    }
}

/// One line, for a report.
impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sandbox: {}", self.mechanism)?;
        for (mechanism, error) in &self.refused {
            write!(f, "; no {mechanism}: {}", error.brief())?;
        }
        if let Some(lacks) = self.mechanism.lacks() {
            write!(f, "; not enforced: {lacks}")?;
        }
        Ok(())
    }
}

impl Mechanism {
    /// What it does not enforce that namespaces would, for a report.
    pub fn lacks(self) -> Option<String> {
        match self {
            Self::Namespaces => None,
            Self::Landlock => Some(landlock::lacks()),
            Self::None => Some(none::LACKS.to_owned()),
        }
    }
}

/// Why a sandbox cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// A path of the policy cannot be shown.
    #[error("the sandbox cannot hold {}", path.display())]
    Path {
        /// As the policy has it.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A step of entering failed.
    #[error("the sandbox could not {step}{}", hint(*advice))]
    Step {
        /// What was attempted: `mount /usr on /mnt/usr`.
        step: String,
        /// What most likely stands in the way, if that is known.
        advice: Option<&'static str>,
        /// The kernel's answer.
        source: io::Error,
    },
}

fn hint(advice: Option<&'static str>) -> String {
    advice.map_or(String::new(), |advice| format!(": {advice}"))
}

impl SandboxError {
    fn new(step: impl fmt::Display, errno: i32) -> Self {
        Self::Step {
            step: step.to_string(),
            advice: None,
            source: io::Error::from_raw_os_error(errno),
        }
    }

    /// Itself and its cause within a line.
    fn brief(&self) -> String {
        let (Self::Path { source, .. } | Self::Step { source, .. }) = self;
        match source.raw_os_error() {
            Some(errno) => format!("{self} ({:?})", Errno::from_raw(errno)),
            None => format!("{self} ({source})"),
        }
    }
}

/// A policy and a mechanism, ready to be entered any number of times. Cloning it shares it.
#[derive(Debug, Clone)]
pub struct Sandbox {
    mechanism: Mechanism,
    written: Arc<[PathBuf]>,
    disk: Option<u64>,
    inner: Arc<Prepared>,
}

/// What a mechanism makes of a policy.
#[derive(Debug, Default)]
struct Prepared {
    /// `CLONE_NEW*` flags.
    namespaces: i32,
    /// Steps in the first process of the name spaces.
    outer: Vec<Op>,
    /// Steps in the process that executes.
    inner: Vec<Op>,
    /// The definition of a shell function `sandboxed`.
    shell: OsString,
}

impl Sandbox {
    /// Makes ready what the kernel will be asked for. Nothing outlives the processes in the
    /// sandbox: no mount, no file.
    pub fn prepare(mechanism: Mechanism, policy: &Policy) -> Result<Self, SandboxError> {
        let inner = match mechanism {
            Mechanism::None => none::prepare(policy),
            Mechanism::Landlock => landlock::prepare(policy)?,
            Mechanism::Namespaces => namespaces::prepare(policy)?,
        };
        Ok(Self {
            mechanism,
            written: policy.write.clone().into(),
            disk: policy.limits.disk,
            inner: Arc::new(inner),
        })
    }

    /// What enforces it.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// Watches what a run writes, if that is limited, in every mechanism; `stop` is to end the run.
    pub fn watch_disk(&self, stop: impl FnOnce() + Send + 'static) -> Option<DiskWatch> {
        let limit = self.disk?;
        Some(DiskWatch::new(self.written.to_vec(), limit, stop))
    }

    /// Lines of `sh` that define a function `sandboxed`, which runs its arguments as a command in
    /// this sandbox, in the current directory.
    pub fn shell_lines(&self) -> OsString {
        self.inner.shell.clone()
    }
}

fn run(steps: &[Op], first: usize) -> Result<(), Failure> {
    for (number, step) in steps.iter().enumerate() {
        if let Err(errno) = step.run() {
            let step = u16::try_from(first + number).unwrap_or(Failure::NAMESPACES);
            return Err(Failure { step, errno });
        }
    }
    Ok(())
}

#[expect(unsafe_code, reason = "the contract is kept here")]
// SAFETY: `Op::run` makes system calls with values that were prepared, and nothing else; the loop
// around it neither allocates nor panics.
unsafe impl Entry for Sandbox {
    fn namespaces(&self) -> i32 {
        self.inner.namespaces
    }

    fn prepare(&self) -> Result<(), Failure> {
        run(&self.inner.outer, 0)
    }

    fn enter(&self) -> Result<(), Failure> {
        run(&self.inner.inner, self.inner.outer.len())
    }

    fn explain(&self, failure: Failure) -> Box<dyn Error + Send + Sync> {
        Box::new(self.error(failure))
    }
}

impl Sandbox {
    fn error(&self, failure: Failure) -> SandboxError {
        let Failure { step, errno } = failure;
        let mut steps = self.inner.outer.iter().chain(&self.inner.inner);
        let mut error = match steps.nth(usize::from(step)) {
            Some(op) => SandboxError::new(op, errno),
            None => SandboxError::new("make name spaces", errno),
        };
        if let SandboxError::Step { advice, .. } = &mut error
            && self.mechanism == Mechanism::Namespaces
        {
            *advice = advise(step == Failure::NAMESPACES, errno);
        }
        error
    }
}

/// What most likely stands in the way of name spaces.
fn advise(making: bool, errno: i32) -> Option<&'static str> {
    Some(match (making, Errno::from_raw(errno)) {
        (true, Errno::ENOSPC | Errno::EUSERS) => "user.max_user_namespaces is 0 or used up",
        (true, Errno::EPERM) => {
            "user namespaces are forbidden here (kernel.unprivileged_userns_clone, or a container's \
             seccomp profile)"
        }
        (true, Errno::EINVAL) => "the kernel has no user namespaces",
        (false, Errno::ENOSYS) => "Linux 5.12 or newer is needed",
        (false, Errno::EACCES | Errno::EPERM) => {
            "a security module or container restricts user namespaces \
             (kernel.apparmor_restrict_unprivileged_userns, a masked /proc)"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_one_line_with_every_reason() {
        let refuse = |step, advice, errno| SandboxError::Step {
            step: str::to_owned(step),
            advice,
            source: io::Error::from_raw_os_error(errno),
        };
        let choice = Choice {
            mechanism: Mechanism::None,
            refused: vec![
                (
                    Mechanism::Namespaces,
                    refuse("make name spaces", advise(true, 28), 28),
                ),
                (Mechanism::Landlock, refuse("make rules", None, 38)),
            ],
        };
        assert_eq!(
            choice.to_string(),
            "sandbox: none; \
             no namespaces: the sandbox could not make name spaces: \
             user.max_user_namespaces is 0 or used up (ENOSPC); \
             no landlock: the sandbox could not make rules (ENOSYS); not enforced: anything"
        );
    }

    #[test]
    fn no_mechanism_costs_no_step() {
        let sandbox = Sandbox::prepare(Mechanism::None, &Policy::default()).expect("nothing to do");
        assert_eq!(sandbox.namespaces(), 0);
        assert!(sandbox.enter().is_ok());
    }
}
