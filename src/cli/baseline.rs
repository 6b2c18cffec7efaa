//! `svhcheck baseline`: what a tree has when svhcheck comes to it.

use std::path::PathBuf;

use anyhow::{Context as _, bail};

use super::check;
use super::exit::Exit;
use super::shell::Shell;
use crate::config::baseline::{Baseline, NAME};

/// What the user typed.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Check, and write down what is found: later, only what is new fails
    Write(Write),
}

#[derive(Debug, clap::Args)]
struct Write {
    #[command(flatten)]
    check: Box<check::Args>,
}

/// Checks and writes.
pub(super) fn run(args: Args, shell: &mut Shell) -> anyhow::Result<Exit> {
    let Command::Write(Write { mut check }) = args.command;
    if check.patterns.is_empty() {
        check.patterns.push("//...".to_owned());
    }
    let whole = check.is_whole();
    let Some((report, config)) = check::make(&check, shell)? else {
        return Ok(Exit::Interrupted);
    };
    if report.summary.interrupted {
        bail!(
            "interrupted: nothing was written, for what was not checked would be taken for fixed"
        );
    }
    let path = check.baseline.or(config.baseline);
    let path = path.unwrap_or_else(|| PathBuf::from(NAME));
    let mut baseline = Baseline::of(&report.findings);
    let mut before = 0;
    if path.exists() {
        let old = Baseline::read(&path)?;
        before = old.len();
        if !whole {
            let judged = report.crates.iter().map(|own| own.id.as_str());
            baseline.keep_unjudged(&old, judged);
        }
    }
    fs_err::write(&path, baseline.render()).context("cannot write the baseline")?;
    let was = if before > 0 {
        format!(", {before} before")
    } else {
        String::new()
    };
    let count = baseline.len();
    let findings = if count == 1 { "finding" } else { "findings" };
    shell.note(format_args!(
        "wrote {}: {count} {findings}{was}",
        path.display()
    ));
    Ok(Exit::Clean)
}
