//! The command line: what the user typed becomes calls into the library, and results become text.
//!
//! The only module that prints, and the only user of `anyhow`. One file per command, each with an
//! `Args` struct (what was typed) and a `run` function (what it means).

mod baseline;
pub mod check;
mod color;
mod configured;
mod diff;
pub mod exit;
mod explain;
mod init;
mod inspect;
mod levels;
mod lints;
mod manual;
mod outputs;
mod parity;
mod probe;
pub mod progress;
#[cfg_attr(not(feature = "remote"), path = "no_remote.rs")]
mod remote;
mod replay;
mod report;
pub mod shell;
pub mod signals;
mod system;
mod toolchains;
mod trace;
mod verify;
mod words;
pub mod wrapper;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use exit::Exit;
use shell::Shell;

/// Tells which crates of a Rust build are safe to pipeline, cache and build remotely.
#[derive(Debug, Parser)]
#[command(
    name = "svhcheck",
    version,
    about,
    args_conflicts_with_subcommands = true
)]
#[command(
    after_help = "Exit status: 0 nothing found, 1 findings, 2 svhcheck could not check, 130 interrupted."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    check: check::Args,

    #[expect(clippy::doc_markdown, reason = "help has no Markdown")]
    /// Colours in what people read: auto (as the terminal, NO_COLOR and CLICOLOR_FORCE have it),
    /// always or never [default: auto]
    #[arg(
        long,
        global = true,
        help_heading = None, // not that of what was flattened before it
        value_enum,
        default_value = "auto",
        hide_default_value = true,
        hide_possible_values = true,
        value_name = "WHEN"
    )]
    color: color::Color,
}

/// One variant per command; the work is in the file of the same name. Without one, targets are
/// checked.
#[derive(Debug, Subcommand)]
enum Command {
    /// Show what an artifact is: its crate, its SVH, its dependencies and their SVHs
    Inspect(inspect::Args),
    /// Run a command and show what it reads, writes and asks of the system
    Trace(trace::Args),
    /// Tell what differs between two artifacts, or between those of two directories
    Diff(diff::Args),
    /// Foretell from artifacts whether rustc can use them together
    Verify(verify::Args),
    /// Check one compile of a build (what the Bazel aspect's actions run)
    #[command(hide = true)]
    ReplayAction(replay::ActionArgs),
    /// Fail if a report tells of a guilty crate (the aspect's validation)
    #[command(hide = true)]
    ReplayVerdict(replay::VerdictArgs),
    /// Show a saved report again, in any form
    Report(report::Args),
    /// List the lints with their levels and groups
    Lints(lints::Args),
    /// Show a lint's page, or tell what an error of rustc (E0460, E0463) is about
    Explain(explain::Args),
    /// Write a commented svhcheck.toml
    Init(init::Args),
    /// Write down what is found now, so that only new findings fail
    Baseline(baseline::Args),
    /// Ask a rustc which arguments and variables move an SVH
    Probe(probe::Args),
    /// Compare the two command lines of each crate in a pipelined Bazel build, without building
    Parity(parity::Args),
    /// Print a shell's completions
    Completions(manual::Completions),
    /// Print a manual page, or write those of all commands
    Man(manual::Pages),
}

/// Runs the program with `args` (the program's name first) and returns its exit status.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let mut shell = Shell::new();
    if let Some(folder) = wrapper::folder() {
        return wrapper::run(&folder, &args, &mut shell);
    }
    let cli = match Cli::try_parse_from(mark_exclusions(args)) {
        Ok(cli) => cli,
        Err(error) => return shell.clap(&error),
    };
    shell.color(cli.color);
    match dispatch(cli, &mut shell) {
        Ok(exit) => exit.into(),
        Err(error) => shell.error(&error),
    }
}

fn dispatch(cli: Cli, shell: &mut Shell) -> anyhow::Result<Exit> {
    match cli.command {
        None => check::run(cli.check, shell),
        Some(Command::Inspect(args)) => inspect::run(&args, shell),
        Some(Command::Trace(args)) => trace::run(args, shell),
        Some(Command::Diff(args)) => diff::run(&args, shell),
        Some(Command::Verify(args)) => verify::run(&args, shell),
        Some(Command::ReplayAction(args)) => replay::action(args),
        Some(Command::ReplayVerdict(args)) => replay::verdict(&args, shell),
        Some(Command::Report(args)) => report::run(&args, shell),
        Some(Command::Lints(args)) => lints::run(&args, shell),
        Some(Command::Explain(args)) => explain::run(&args, shell),
        Some(Command::Init(args)) => init::run(&args, shell),
        Some(Command::Baseline(args)) => baseline::run(args, shell),
        Some(Command::Probe(args)) => probe::run(&args, shell),
        Some(Command::Parity(args)) => parity::run(&args, shell),
        Some(Command::Completions(args)) => manual::completions(&args, shell),
        Some(Command::Man(args)) => manual::pages(&args, shell),
    }
}

/// Stands before a pattern that takes away, in the place of its dash. No argument of the operating
/// system can hold it.
const TAKES_AWAY: char = '\0';

/// Marks patterns that take away (`-//x`): clap would read them as options.
fn mark_exclusions(args: Vec<OsString>) -> Vec<OsString> {
    let ours = args.iter().take_while(|arg| *arg != "--").count();
    let mark =
        |(at, arg): (usize, OsString)| match arg.to_str().and_then(|arg| arg.strip_prefix('-')) {
            Some(pattern) if at < ours && pattern.starts_with("//") => {
                format!("{TAKES_AWAY}{pattern}").into()
            }
            _ => arg,
        };
    args.into_iter().enumerate().map(mark).collect()
}
