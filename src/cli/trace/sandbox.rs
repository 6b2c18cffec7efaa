//! `svhcheck trace --sandbox`: the options that make a policy.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::shell::Shell;
use crate::sandbox::{Limits, Mechanism, Policy, Sandbox};
use crate::trace::{Step, TraceError};

/// Processes and threads at one time: more than a parallel build has, fewer than a machine bears.
const PROCESSES: u32 = 4096;

/// Bytes of the private `/tmp`, which lies in memory.
const TMP_SIZE: u64 = 1 << 30;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Run the command where it sees the system's programs and libraries and what --read and
    /// --write name, without network
    #[arg(long, value_enum, value_name = "MECHANISM")]
    sandbox: Option<Wish>,
    /// A file or folder that may be read in the sandbox (may be repeated)
    #[arg(long, value_name = "PATH", requires = "sandbox")]
    read: Vec<PathBuf>,
    /// A file or folder that may also be written (may be repeated)
    #[arg(long, value_name = "PATH", requires = "sandbox")]
    write: Vec<PathBuf>,
    /// Allow the network in the sandbox
    #[arg(long, requires = "sandbox")]
    network: bool,
}

/// What is to enforce it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Wish {
    /// The best that this machine allows
    Auto,
    /// User, mount, PID, network, UTS and IPC name spaces: other files are not there
    Namespaces,
    /// Landlock: other files are refused
    Landlock,
    /// Nothing is enforced
    None,
}

impl Wish {
    /// The mechanism; `None` for the best.
    pub(in crate::cli) fn mechanism(self) -> Option<Mechanism> {
        match self {
            Self::Auto => None,
            Self::Namespaces => Some(Mechanism::Namespaces),
            Self::Landlock => Some(Mechanism::Landlock),
            Self::None => Some(Mechanism::None),
        }
    }
}

impl Options {
    /// The sandbox that was asked for, if any. Says what it is, and why it is not a better one.
    pub(super) fn prepare(&self, shell: &mut Shell) -> anyhow::Result<Option<Sandbox>> {
        let Some(wish) = self.sandbox else {
            return Ok(None);
        };
        let mechanism = wish.mechanism().unwrap_or_else(|| {
            let choice = Mechanism::choose();
            if choice.refused.is_empty() {
                shell.note(&choice);
            } else {
                shell.warn(&choice);
            }
            choice.mechanism
        });
        let mut read = Policy::system_paths();
        read.extend_from_slice(&self.read);
        let policy = Policy {
            read,
            write: self.write.clone(),
            network: self.network,
            private_tmp: true,
            temp: std::env::var_os("TMPDIR").map(PathBuf::from),
            limits: Limits {
                processes: Some(PROCESSES),
                tmp_size: Some(TMP_SIZE),
                ..Limits::default()
            },
        };
        Ok(Some(Sandbox::prepare(mechanism, &policy)?))
    }

    /// Adds to a failed start what most likely is its reason.
    pub(super) fn explain(&self, error: TraceError) -> anyhow::Error {
        let unseen = match &error {
            TraceError::Start { step, .. } => matches!(step, Step::Exec | Step::Directory),
            _ => false,
        };
        let error = anyhow::Error::from(error);
        if unseen && self.sandbox.is_some_and(|wish| wish != Wish::None) {
            error.context("the program and the working directory must be in --read or --write")
        } else {
            error
        }
    }
}
