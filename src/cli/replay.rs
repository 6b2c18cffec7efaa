//! What the actions of the Bazel aspect run (`src/bazel/svhcheck.bzl`): one checks a compile and writes
//! its report, the other fails for a bad one. Nobody types these.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args as ClapArgs;

use super::check::{strategies, today, variations};
use super::exit::Exit;
use super::shell::Shell;
use super::signals;
use crate::check::{Engine, Settings, aspect};
use crate::lint::levels::Levels;
use crate::lint::offenders;
use crate::plan::strategy::SideEdits;
use crate::project::bazel::cloned::Cloned;
use crate::report::Command;
use crate::report::action::ActionReport;
use crate::report::human::{self, Detail};

/// Of `replay-action`.
#[derive(Debug, ClapArgs)]
pub(super) struct ActionArgs {
    /// The target
    #[arg(long)]
    label: String,

    /// Where to write the report
    #[arg(long)]
    report: PathBuf,

    /// What holds the crate's metadata
    #[arg(long)]
    made: Vec<PathBuf>,

    /// What dependents were compiled against, if that is something else
    #[arg(long)]
    metadata: Vec<PathBuf>,

    /// A library, and the label of the dependency that it is of
    #[arg(long, num_args = 2, value_names = ["PATH", "LABEL"])]
    dep: Vec<String>,

    /// A file that lists the inputs
    #[arg(long)]
    inputs: PathBuf,

    /// Strategies
    #[arg(long, value_delimiter = ',')]
    strategies: Vec<String>,

    /// Variations
    #[arg(long, value_delimiter = ',')]
    vary: Vec<String>,

    /// The build's own command
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Of `replay-verdict`.
#[derive(Debug, ClapArgs)]
pub(super) struct VerdictArgs {
    /// The report
    report: PathBuf,
    /// What is written for a good crate
    verdict: PathBuf,
}

/// Bazel's own limit ends the action before this one does, if the user has set one.
const TIMEOUT: Duration = Duration::from_secs(3600);

/// Checks one compile. A guilty crate is told in the report and is no failure: Bazel would keep
/// nothing of a failed action.
pub(super) fn action(args: ActionArgs) -> anyhow::Result<Exit> {
    let settings = Settings {
        engine: Engine::Local,
        strategies: strategies(&args.strategies)?,
        edits: SideEdits::default(),
        vary: variations(&args.vary)?,
        runs: 1,
        // Bazel counts an action as one processor.
        jobs: 1,
        triage: false,
        since: None,
        sandbox: None,
        command: Command::default(),
        levels: Levels::new(Vec::new(), Vec::new(), today()),
        offenders: offenders::shipped(),
        inputs: Vec::new(),
        timeout: TIMEOUT,
    };
    let own = Cloned {
        label: args.label,
        made: args.made,
        metadata: args.metadata,
        labels: args
            .dep
            .chunks(2)
            .filter_map(|own| Some((own.first()?.into(), own.get(1)?.clone())))
            .collect(),
        inputs: args.inputs,
        command: args.command,
    };
    let interrupt = signals::watch()?;
    let scratch = tempfile::tempdir().context("cannot make a scratch folder")?;
    let report = aspect::check_action(&own, &settings, scratch.path(), &interrupt)?;
    fs_err::write(&args.report, serde_json::to_vec(&report)?)?;
    Ok(Exit::Clean)
}

/// Tells what a report says, and succeeds if its crate is good.
pub(super) fn verdict(args: &VerdictArgs, shell: &mut Shell) -> anyhow::Result<Exit> {
    let bytes = fs_err::read(&args.report)?;
    let read: ActionReport = serde_json::from_slice(&bytes)
        .with_context(|| format!("{} is no report", args.report.display()))?;
    if read.report.denied() {
        let text = human::render(&read.report, Detail::Quiet, &human::Screen::default());
        shell.out().write_all(text.as_bytes())?;
        return Ok(Exit::Findings);
    }
    fs_err::write(&args.verdict, "")?;
    Ok(Exit::Clean)
}
