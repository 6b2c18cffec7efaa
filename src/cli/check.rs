//! `svhcheck //...`: the main job.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args as ClapArgs;

use super::configured::ConfigArgs;
use super::exit::Exit;
use super::levels::LevelArgs;
use super::outputs::{self, Outputs};
use super::progress::Progress;
use super::shell::Shell;
use super::signals;
use super::system::{Engine, SystemArgs};
use super::trace::sandbox::Wish;
use crate::check::{self, CheckError, Inputs, Settings, Since, aspect};
use crate::config::Config;
use crate::config::baseline::Baseline;
use crate::lint::levels::{Day, Levels};
use crate::lint::offenders;
use crate::plan::Edit;
use crate::plan::strategy::{self, SideEdits, Strategy};
use crate::plan::variation::{self, Variation};
use crate::project::{Request, cargo};
use crate::report::{Command, Report};

/// What was typed.
#[derive(Debug, ClapArgs)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one switch of the command line each"
)]
pub struct Args {
    /// Targets in Bazel's form: //... (all members), //path/..., //path:target; -//path/... takes
    /// away. In a Bazel workspace, any pattern that Bazel knows; in a Buck2 project, targets of its own
    /// cell
    #[arg(value_name = "PATTERN")]
    pub(super) patterns: Vec<String>,

    #[command(flatten)]
    system: SystemArgs,

    /// Ways to make a crate, judged one by one [default: full,quit-on-rmeta,hollow]
    #[arg(long, value_delimiter = ',', value_name = "LIST", value_parser = strategies_help())]
    strategies: Option<Vec<String>>,

    /// What to change about the world between two compiles (`default`, `none`, or names) [default:
    /// default]
    #[arg(long, value_delimiter = ',', value_name = "LIST", value_parser = variations_help())]
    vary: Option<Vec<String>>,

    /// Compiles of each replayed side; more find what rarely shows [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    runs: Option<u16>,

    /// Compiles at one time [default: the processors]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,

    /// Take crates without macro and build script for safe, and compile only the others again
    #[arg(long)]
    triage: bool,

    /// Check only crates whose compile can have changed since a git revision, and what depends on
    /// them
    #[arg(long, value_name = "REV", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    since: Option<String>,

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

    /// Let macros see only what their crate declares, and no network [default: auto]
    #[arg(long, value_enum, value_name = "MECHANISM")]
    sandbox: Option<Wish>,

    #[command(flatten)]
    levels: LevelArgs,

    #[command(flatten)]
    configured: ConfigArgs,

    /// Let the findings pass that this file lists (`svhcheck baseline write` writes it)
    #[arg(long, value_name = "FILE")]
    pub(super) baseline: Option<PathBuf>,

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

    /// At the end: what stands behind it would come under its heading.
    #[command(flatten)]
    remote: super::remote::Args,
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

impl Args {
    /// Whether all crates of the workspace and all that they depend on are checked.
    pub(super) fn is_whole(&self) -> bool {
        self.patterns == ["//..."] && !self.no_deps && self.since.is_none()
    }
}

/// Runs the check and prints its report.
pub fn run(args: Args, shell: &mut Shell) -> anyhow::Result<Exit> {
    args.outputs.check()?;
    let whole = args.is_whole();
    let Some((mut report, config)) = make(&args, shell)? else {
        return Ok(Exit::Interrupted);
    };
    if let Some(path) = args.baseline.or(config.baseline) {
        apply_baseline(&path, whole, args.quiet, &mut report, shell)?;
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

/// Lets known findings pass and says which are there no more.
fn apply_baseline(
    path: &Path,
    whole: bool,
    quiet: bool,
    report: &mut Report,
    shell: &mut Shell,
) -> anyhow::Result<()> {
    let baseline = Baseline::read(path)
        .context("cannot read the baseline; `svhcheck baseline write` writes one")?;
    let name = path.file_name().unwrap_or(path.as_os_str());
    let name = name.to_string_lossy();
    let judged: Vec<String> = report.crates.iter().map(|own| own.id.clone()).collect();
    let judged = judged.iter().map(String::as_str);
    let whole = whole && !report.summary.interrupted;
    let outcome = baseline.apply(&mut report.findings, judged, whole, &name);
    if quiet {
        return Ok(());
    }
    if outcome.known > 0 {
        let findings = if outcome.known == 1 {
            "finding is"
        } else {
            "findings are"
        };
        shell.note(format_args!("{} {findings} known to {name}", outcome.known));
    }
    for known in &outcome.fixed {
        shell.note(format_args!(
            "fixed: {known}; `svhcheck baseline write` takes it out of {name}"
        ));
    }
    Ok(())
}

/// Runs the check, without the baseline; nothing, if it was interrupted before there was anything.
pub(super) fn make(args: &Args, shell: &mut Shell) -> anyhow::Result<Option<(Report, Config)>> {
    if args.patterns.is_empty() {
        bail!("no targets named: `svhcheck //...` checks every member of the workspace");
    }
    let folder = std::env::current_dir().context("cannot tell the current folder")?;
    let (mut config, file) = args.configured.read(&folder)?;
    let (mut settings, notes) = settings(args, &mut config)?;
    settings.since = args.since.clone().map(|revision| Since {
        revision,
        configuration: file,
    });
    if !args.quiet {
        for note in config.notes.iter().chain(&notes) {
            shell.note(note);
        }
    }
    let patterns = args.patterns.iter().map(|own| unmarked(own)).collect();
    let cargo = cargo::Request {
        folder: folder.clone(),
        patterns,
        cargo_args: args.cargo.clone(),
        unstable: settings.strategies.iter().any(|own| own.row().unstable),
        deps: !args.no_deps,
        quiet: args.quiet,
    };
    let request = args.system.request(&folder, cargo)?;
    // Buck2 makes metadata by a hollow rlib.
    if settings.engine == check::Engine::Free && matches!(request, Request::Buck2(_)) {
        settings.strategies = vec![Strategy::Hollow];
    }
    let interrupt = signals::watch()?;
    let progress = Progress::new(args.quiet);
    let checked = match (args.system.engine(), &request) {
        (Engine::BazelAspect, Request::Bazel(bazel)) => aspect::check(bazel, &settings, &interrupt),
        (Engine::Remote, Request::Bazel(bazel)) => {
            let (typed, remote) = (args.vary.as_deref(), &args.remote);
            super::remote::check(
                remote, typed, bazel, &settings, &interrupt, &progress, shell,
            )?
        }
        _ => check::check(&request, &settings, &interrupt, &progress),
    };
    let report = match checked {
        Err(CheckError::Interrupted) => {
            shell.warn("interrupted before there was anything to report");
            return Ok(None);
        }
        report => report?,
    };
    progress.clear();
    for note in progress.notes() {
        shell.note(note);
    }
    Ok(Some((report, config)))
}

/// Strategies by their names.
pub(super) fn strategies(names: &[String]) -> anyhow::Result<Vec<Strategy>> {
    let mut strategies = Vec::new();
    for name in names {
        let strategy = Strategy::named(name).with_context(|| format!("no strategy `{name}`"))?;
        if !strategies.contains(&strategy) {
            strategies.push(strategy);
        }
    }
    Ok(strategies)
}

/// Variations by their names, and by the words for many.
pub(super) fn variations(names: &[String]) -> anyhow::Result<Vec<Variation>> {
    let mut vary = Vec::new();
    for name in names {
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
    Ok(vary)
}

/// What was typed, and what the configuration says where nothing was. With notes for the user.
fn settings(args: &Args, config: &mut Config) -> anyhow::Result<(Settings, Vec<String>)> {
    let names = args.strategies.clone().or(config.strategies.take());
    let names = names.unwrap_or_else(|| DEFAULT_STRATEGIES.split(',').map(str::to_owned).collect());
    let mut strategies = strategies(&names)?;
    let names = args.vary.clone().or(config.vary.take());
    let mut vary = variations(&names.unwrap_or_else(|| vec!["default".to_owned()]))?;
    let engine = args.system.engine().rests_on();
    if engine == check::Engine::Free {
        strategies = vec![Strategy::QuitOnRmeta];
        vary.clear();
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (typed, notes) = args.levels.rules()?;
    let mut rules = std::mem::take(&mut config.rules);
    rules.extend(typed);
    let allowed = std::mem::take(&mut config.allowed);
    let mut offenders = offenders::shipped();
    offenders.append(&mut config.offenders);
    let inputs = std::mem::take(&mut config.inputs).into_iter();
    let sandbox = args.sandbox.map_or(config.sandbox, Wish::mechanism);
    let settings = Settings {
        engine,
        strategies,
        edits: SideEdits {
            metadata: edits(&args.metadata_env, &args.metadata_arg)?,
            full: edits(&args.full_env, &args.full_arg)?,
        },
        vary,
        runs: args.runs.or(config.runs).unwrap_or(1).into(),
        jobs: args.jobs.map_or(cores, usize::from),
        triage: args.triage,
        timeout: Duration::from_secs(args.timeout),
        sandbox,
        command: command(args),
        levels: Levels::new(rules, allowed, today()),
        offenders,
        inputs: inputs
            .map(|(krate, files)| Inputs { krate, files })
            .collect(),
        since: None,
    };
    Ok((settings, notes))
}

/// The day on which svhcheck runs, in UTC.
pub(super) fn today() -> Day {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Day::of_unix_time(since.map_or(0, |own| own.as_secs()))
}

/// What was typed, for the report: without defaults and what only changes how it runs or is shown.
fn command(args: &Args) -> Command {
    let text = |text: &OsString| text.to_string_lossy().into_owned();
    let mut options = args.system.typed();
    if let Some(strategies) = &args.strategies {
        options.push(format!("--strategies={}", strategies.join(",")));
    }
    if let Some(vary) = &args.vary {
        options.push(format!("--vary={}", vary.join(",")));
    }
    if let Some(runs) = args.runs {
        options.push(format!("--runs={runs}"));
    }
    if args.no_deps {
        options.push("--no-deps".to_owned());
    }
    if let Some(revision) = &args.since {
        options.push(format!("--since={revision}"));
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
