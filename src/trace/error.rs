//! Why a run could not be traced. What the traced command itself does wrong is never an error here.

use std::ffi::OsString;
use std::fmt;
use std::io;

/// svhcheck could not trace the command.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// No file of that name is executable along the child's `PATH`.
    #[error("`{}` was not found along PATH", .0.display())]
    NotFound(OsString),
    /// An argument or variable holds a NUL byte, which no program can be given.
    #[error("{0} holds a NUL byte")]
    Nul(&'static str),
    /// The kernel refuses `ptrace`.
    #[error("tracing is not permitted here ({reason}); {}", reason.advice())]
    NotPermitted {
        /// What stands in the way, as far as it can be told.
        reason: Refusal,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The child failed in one of the steps between `fork` and `exec`.
    #[error("could not start `{}`: {step}", program.display())]
    Start {
        /// The program that was to run.
        program: OsString,
        /// The step that failed.
        step: Step,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The surroundings that were asked for could not be entered.
    #[error("could not start `{}` in its sandbox", program.display())]
    Enter {
        /// The program that was to run.
        program: OsString,
        /// What failed, as their maker tells it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A request of the tracer itself failed.
    #[error("the tracer failed to {what}")]
    Os {
        /// What was attempted.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The tracer's thread panicked: a bug in svhcheck.
    #[error("the tracer's thread panicked; every traced process was killed")]
    Panicked,
}

impl TraceError {
    pub(crate) fn os(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Os { what, source }
    }
}

/// The step between `fork` and `exec` that failed in the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Connecting standard input, output or error.
    Stdio,
    /// Entering the working directory.
    Directory,
    /// Turning address randomisation off.
    Personality,
    /// Entering the sandbox.
    Enter,
    /// `prctl(PR_SET_NO_NEW_PRIVS)`.
    NoNewPrivileges,
    /// Installing the seccomp filter.
    Filter,
    /// `execve` itself.
    Exec,
}

impl Step {
    const ALL: [Self; 7] = [
        Self::Stdio,
        Self::Directory,
        Self::Personality,
        Self::Enter,
        Self::NoNewPrivileges,
        Self::Filter,
        Self::Exec,
    ];

    /// The number under which the child reports the step through its pipe.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stdio => "its standard streams could not be connected",
            Self::Directory => "its working directory could not be entered",
            Self::Personality => "address randomisation could not be turned off",
            Self::Enter => "its sandbox could not be entered",
            Self::NoNewPrivileges => "PR_SET_NO_NEW_PRIVS was refused",
            Self::Filter => {
                "the seccomp filter was refused (a container's own profile may forbid seccomp: \
                 try `--security-opt seccomp=unconfined`)"
            }
            Self::Exec => "the program could not be executed",
        })
    }
}

/// What stands in the way of `ptrace`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Yama's `ptrace_scope` has this value.
    Yama(u8),
    /// Another tracer already holds the child, because it traces svhcheck with its children.
    Traced,
    /// The kernel lacks `PTRACE_GET_SYSCALL_INFO` (Linux 5.3).
    OldKernel,
    /// Most likely a container's seccomp profile or another security module.
    Container,
}

impl Refusal {
    /// The next thing to try.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Yama(3..) => {
                "kernel.yama.ptrace_scope=3 can only be lowered by a restart of the machine"
            }
            Self::Yama(_) => {
                "try `sysctl kernel.yama.ptrace_scope=1`, or give svhcheck CAP_SYS_PTRACE"
            }
            Self::Traced => "do not run svhcheck under strace, gdb or another tracer",
            Self::OldKernel => "Linux 5.3 or newer is needed",
            Self::Container => {
                "in a container, try `--cap-add=SYS_PTRACE` or `--security-opt seccomp=unconfined`"
            }
        }
    }

    /// Tells why attaching to `pid` was refused.
    pub(crate) fn diagnose(pid: i32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let tracer = status
            .lines()
            .find_map(|line| line.strip_prefix("TracerPid:"))
            .and_then(|rest| rest.trim().parse::<i32>().ok());
        if tracer.is_some_and(|tracer| tracer != 0) {
            return Self::Traced;
        }
        let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope")
            .ok()
            .and_then(|text| text.trim().parse::<u8>().ok());
        match scope {
            Some(scope) if scope >= 2 => Self::Yama(scope),
            _ => Self::Container,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Yama(scope) => write!(f, "kernel.yama.ptrace_scope is {scope}"),
            Self::Traced => f.write_str("another tracer follows svhcheck's children"),
            Self::OldKernel => f.write_str("PTRACE_GET_SYSCALL_INFO is missing"),
            Self::Container => f.write_str("the kernel refused PTRACE_SEIZE"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_survive_the_pipe() {
        for step in Step::ALL {
            assert_eq!(Step::from_code(step.code()), Some(step));
        }
        assert_eq!(Step::from_code(200), None);
    }
}
