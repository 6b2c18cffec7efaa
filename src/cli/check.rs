//! `svhcheck //...`: the main job.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args as ClapArgs;

use super::exit::Exit;
use super::outputs::{self, Outputs};
use super::progress::Progress;
use super::shell::Shell;
use super::signals;
use super::trace::sandbox::Wish;
use crate::check::{self, CheckError, Settings};
use crate::plan::Edit;
use crate::plan::strategy::{self, SideEdits, Strategy};
use crate::plan::variation::{self, Variation};
use crate::project::cargo::Request;
use crate::report::Command;

/// What was typed.
#[derive(Debug, ClapArgs)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one switch of the command line each"
)]
pub struct Args {
    /// Targets in Bazel's form: //... (all members), //path/..., //path:target; -//path/... takes
    /// away
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,

    /// Ways to make a crate, judged one by one
    #[arg(long, value_delimiter = ',', value_name = "LIST", default_value = DEFAULT_STRATEGIES, value_parser = strategies_help())]
    strategies: Vec<String>,

    /// What to change about the world between two compiles (`default`, `none`, or names)
    #[arg(long, value_delimiter = ',', value_name = "LIST", default_value = "default", value_parser = variations_help())]
    vary: Vec<String>,

    /// Compiles of each replayed side; more find what rarely shows
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,

    /// Compiles at one time [default: the processors]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,

    /// Take crates without macro and build script for safe, and compile only the others again
    #[arg(long)]
    triage: bool,

    /// Judge dependencies from registries, git and paths too (the default)
    #[arg(long, overrides_with = "no_deps")]
    deps: bool,

    /// Judge workspace members alone
    #[arg(long)]
    no_deps: bool,

    /// A variable that your build rules set on the metadata side alone (NAME= unsets it)
    #[arg(long, value_name = "NAME=VALUE")]
    metadata_env: Vec<OsString>,

    /// An argument that your build rules pass to rustc on the metadata side alone
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    metadata_arg: Vec<OsString>,

    /// A variable that your build rules set on the full side alone (NAME= unsets it)
    #[arg(long, value_name = "NAME=VALUE")]
    full_env: Vec<OsString>,

    /// An argument that your build rules pass to rustc on the full side alone
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    full_arg: Vec<OsString>,

    /// End a compile that takes longer
    #[arg(long, default_value_t = 1800, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,

    /// Let macros see only what their crate declares, and no network
    #[arg(long, value_enum, default_value_t = Wish::Auto, value_name = "MECHANISM")]
    sandbox: Wish,

    #[command(flatten)]
    outputs: Outputs,

    /// Only findings and the last line; no progress
    #[arg(long, short, conflicts_with = "verbose")]
    quiet: bool,

    /// Every crate with its SVHs
    #[arg(long, short)]
    verbose: bool,

    /// Arguments for `cargo build`: --release, --features, --target, …
    #[arg(last = true, value_name = "CARGO ARGS")]
    cargo: Vec<OsString>,
}

/// [`strategy::DEFAULT`] as it would be typed.
const DEFAULT_STRATEGIES: &str = "full,quit-on-rmeta,hollow";

fn strategies_help() -> clap::builder::PossibleValuesParser {
    let rows = strategy::TABLE.iter();
    rows.map(|row| clap::builder::PossibleValue::new(row.name).help(row.about))
        .collect::<Vec<_>>()
        .into()
}

fn variations_help() -> clap::builder::PossibleValuesParser {
    use clap::builder::PossibleValue;
    let words = [
        PossibleValue::new("default").help("all but build-path: they cost no further compile"),
        PossibleValue::new("none").help("nothing: plain repeats"),
    ];
    let rows = variation::TABLE
        .iter()
        .map(|(_, name, about)| PossibleValue::new(*name).help(*about));
    words.into_iter().chain(rows).collect::<Vec<_>>().into()
}

/// Runs the check and prints its report.
pub fn run(args: Args, shell: &mut Shell) -> anyhow::Result<Exit> {
    if args.patterns.is_empty() {
        bail!("no targets named: `svhcheck //...` checks every member of the workspace");
    }
    args.outputs.check()?;
    let settings = settings(&args)?;
    let patterns = args.patterns.iter().map(|own| unmarked(own)).collect();
    let request = Request {
        folder: std::env::current_dir().context("cannot tell the current folder")?,
        patterns,
        cargo_args: args.cargo,
        unstable: settings.strategies.iter().any(|own| own.row().unstable),
        deps: !args.no_deps,
        quiet: args.quiet,
    };
    let interrupt = signals::watch()?;
    let progress = Progress::new(args.quiet);
    let report = match check::check(&request, &settings, &interrupt, &progress) {
        Err(CheckError::Interrupted) => {
            shell.warn("interrupted before there was anything to report");
            return Ok(Exit::Interrupted);
        }
        report => report?,
    };
    progress.clear();
    for note in progress.notes() {
        shell.note(note);
    }
    let detail = outputs::detail(args.quiet, args.verbose);
    args.outputs.write(&report, detail, shell)?;
    Ok(if report.summary.interrupted {
        Exit::Interrupted
    } else if report.denied() {
        Exit::Findings
    } else if report.incomplete() {
        Exit::Trouble
    } else {
        Exit::Clean
    })
}

fn settings(args: &Args) -> anyhow::Result<Settings> {
    let mut strategies = Vec::new();
    for name in &args.strategies {
        let strategy = Strategy::named(name).with_context(|| format!("no strategy `{name}`"))?;
        if !strategies.contains(&strategy) {
            strategies.push(strategy);
        }
    }
    let mut vary = Vec::new();
    for name in &args.vary {
        match name.as_str() {
            "default" => vary.extend(Variation::default_set()),
            "none" => vary.clear(),
            name => {
                let variation = Variation::named(name);
                vary.push(variation.with_context(|| format!("no variation `{name}`"))?);
            }
        }
    }
    vary.sort_unstable();
    vary.dedup();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Ok(Settings {
        strategies,
        edits: SideEdits {
            metadata: edits(&args.metadata_env, &args.metadata_arg)?,
            full: edits(&args.full_env, &args.full_arg)?,
        },
        vary,
        runs: args.runs.into(),
        jobs: args.jobs.map_or(cores, usize::from),
        triage: args.triage,
        timeout: Duration::from_secs(args.timeout),
        sandbox: args.sandbox.mechanism(),
        command: command(args),
    })
}

/// What was typed, for the report: without defaults and what only changes how it runs or is shown.
fn command(args: &Args) -> Command {
    let text = |text: &OsString| text.to_string_lossy().into_owned();
    let mut options = Vec::new();
    let strategies = args.strategies.join(",");
    if strategies != DEFAULT_STRATEGIES {
        options.push(format!("--strategies={strategies}"));
    }
    let vary = args.vary.join(",");
    if vary != "default" {
        options.push(format!("--vary={vary}"));
    }
    if args.runs > 1 {
        options.push(format!("--runs={}", args.runs));
    }
    if args.no_deps {
        options.push("--no-deps".to_owned());
    }
    let edits = [
        ("--metadata-env", &args.metadata_env),
        ("--metadata-arg", &args.metadata_arg),
        ("--full-env", &args.full_env),
        ("--full-arg", &args.full_arg),
    ];
    for (name, values) in edits {
        options.extend(values.iter().map(|own| format!("{name}={}", text(own))));
    }
    Command {
        patterns: args.patterns.iter().map(|own| unmarked(own)).collect(),
        options,
        cargo: args.cargo.iter().map(text).collect(),
    }
}

/// A pattern as it was typed.
fn unmarked(pattern: &str) -> String {
    pattern.replacen(super::TAKES_AWAY, "-", 1)
}

fn edits(env: &[OsString], args: &[OsString]) -> anyhow::Result<Vec<Edit>> {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut found = Vec::new();
    for pair in env {
        let bytes = pair.as_bytes();
        let Some(equals) = bytes
            .iter()
            .position(|byte| *byte == b'=')
            .filter(|at| *at > 0)
        else {
            bail!("`{}` is no variable: write NAME=VALUE", pair.display());
        };
        let part = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        let value = Some(part(&bytes[equals + 1..])).filter(|value| !value.is_empty());
        found.push(Edit::Env(part(&bytes[..equals]), value));
    }
    found.extend(args.iter().cloned().map(Edit::Add));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_the_plans() {
        let names: Vec<&str> = strategy::DEFAULT.iter().map(|own| own.name()).collect();
        assert_eq!(DEFAULT_STRATEGIES, names.join(","));
    }
}
