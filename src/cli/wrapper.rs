//! svhcheck as cargo's `RUSTC_WRAPPER`, while a build is recorded: write the command line down, then
//! become rustc.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context;

use super::shell::Shell;
use crate::project::recorded::{self, RECORD_VAR};

/// The folder for records, if this process is a wrapper.
pub fn folder() -> Option<PathBuf> {
    std::env::var_os(RECORD_VAR).map(PathBuf::from)
}

/// Records the call in `args` (ours first, then rustc) and becomes it. Returns only on failure.
pub fn run(folder: &std::path::Path, args: &[OsString], shell: &mut Shell) -> ExitCode {
    let error = match become_rustc(folder, args) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    shell.error(&error)
}

fn become_rustc(
    folder: &std::path::Path,
    args: &[OsString],
) -> anyhow::Result<std::convert::Infallible> {
    let cwd = std::env::current_dir()?;
    let call = args.get(1..).unwrap_or_default();
    let wrapped = recorded::wrap(folder, call, std::env::vars_os().collect(), cwd)
        .context("cannot record a rustc call")?;
    let mut command = Command::new(&wrapped.program);
    command.args(&wrapped.args).envs(wrapped.set);
    for name in wrapped.remove {
        command.env_remove(name);
    }
    let error = command.exec();
    Err(error).with_context(|| format!("cannot run `{}`", wrapped.program.display()))
}
