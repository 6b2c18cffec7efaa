//! `svhcheck report FILE`: a saved report in other forms.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args as ClapArgs;

use super::exit::Exit;
use super::outputs::{self, Outputs};
use super::shell::Shell;
use crate::report::json;

/// What was typed.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Exit status: 0 whatever the report says, 2 if it cannot be read or written."
)]
pub(super) struct Args {
    /// A report that `--format json` wrote
    file: PathBuf,

    #[command(flatten)]
    outputs: Outputs,

    /// In the form for people: only findings and the last line
    #[arg(long, short, conflicts_with = "verbose")]
    quiet: bool,

    /// In the form for people: every crate with its SVHs
    #[arg(long, short)]
    verbose: bool,
}

/// Reads the report and writes its forms.
pub(super) fn run(args: &Args, shell: &mut Shell) -> anyhow::Result<Exit> {
    args.outputs.check()?;
    let text = fs_err::read(&args.file)?;
    let report =
        json::read(&text).with_context(|| format!("cannot read {}", args.file.display()))?;
    let detail = outputs::detail(args.quiet, args.verbose);
    args.outputs.write(&report, detail, shell)?;
    Ok(Exit::Clean)
}
