//! The command line: what the user typed becomes calls into the library, and results become text.
//!
//! The only module that prints, and the only user of `anyhow`. One file per command, each with an
//! `Args` struct (what was typed) and a `run` function (what it means).

mod diff;
pub mod exit;
mod inspect;
pub mod shell;
mod toolchains;
mod verify;
mod words;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use exit::Exit;
use shell::Shell;

/// Tells which crates of a Rust build are safe to pipeline, cache and build remotely.
#[derive(Debug, Parser)]
#[command(name = "svhcheck", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// One variant per command; the work is in the file of the same name.
#[derive(Debug, Subcommand)]
enum Command {
    /// Show what an artifact is: its crate, its SVH, its dependencies and their SVHs
    Inspect(inspect::Args),
    /// Tell what differs between two artifacts, or between those of two directories
    Diff(diff::Args),
    /// Foretell from artifacts whether rustc can use them together
    Verify(verify::Args),
}

/// Runs the program with `args` (the program's name first) and returns its exit status.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let mut shell = Shell::new();
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return shell.clap(&error),
    };
    match dispatch(cli, &mut shell) {
        Ok(exit) => exit.into(),
        Err(error) => shell.error(&error),
    }
}

fn dispatch(cli: Cli, shell: &mut Shell) -> anyhow::Result<Exit> {
    match cli.command {
        Command::Inspect(args) => inspect::run(&args, shell),
        Command::Diff(args) => diff::run(&args, shell),
        Command::Verify(args) => verify::run(&args, shell),
    }
}
