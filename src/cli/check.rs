//! `svhcheck //...`: the main job.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args as ClapArgs, ValueEnum};

use super::exit::Exit;
use super::progress::Progress;
use super::shell::Shell;
use super::signals;
use crate::check::{self, CheckError, Settings, aspect};
use crate::plan::Edit;
use crate::plan::strategy::{self, SideEdits, Strategy};
use crate::plan::variation::{self, Variation};
use crate::project::bazel::aspect::Orders;
use crate::project::detect::{self, System};
use crate::project::{Request, bazel, cargo};
use crate::report::human::Detail;
use crate::report::{human, json};

/// What was typed.
#[derive(Debug, ClapArgs)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one switch of the command line each"
)]
pub struct Args {
    /// Targets in Bazel's form: //... (all members), //path/..., //path:target; -//path/... takes
    /// away. In a Bazel workspace, any pattern that Bazel knows
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,

    /// Whose the workspace is [default: the nearest MODULE.bazel, WORKSPACE or .buckconfig above, else
    /// Cargo]
    #[arg(long, value_enum, value_name = "NAME")]
    build_system: Option<BuildSystem>,

    /// What verdicts rest on
    #[arg(long, value_enum, default_value_t = Engine::Local)]
    engine: Engine,

    /// The Bazel to run [default: bazel or bazelisk on PATH]
    #[arg(long, value_name = "PATH")]
    bazel: Option<PathBuf>,

    /// A flag for `bazel build`, such as --bazel-flag=--config=ci; once for each
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    bazel_flag: Vec<OsString>,

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

    /// Form of the report
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,

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
    #[cfg(feature = "remote")]
    #[command(flatten)]
    remote: super::remote::Args,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Human,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BuildSystem {
    Bazel,
    Buck2,
    Cargo,
}

impl From<System> for BuildSystem {
    fn from(system: System) -> Self {
        match system {
            System::Bazel => Self::Bazel,
            System::Buck2 => Self::Buck2,
            System::Cargo => Self::Cargo,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engine {
    /// Compiles repeated here, in varied worlds
    Local,
    /// What a pipelined Bazel build made twice by itself; nothing is compiled again
    Free,
    /// Compiles repeated by actions of the Bazel build itself, in its sandbox or on its cluster
    BazelAspect,
    /// Bazel's own actions, run again on the remote execution cluster of the build
    #[cfg(feature = "remote")]
    Remote,
}

impl Engine {
    /// Whether it can check a Cargo build.
    fn expect_cargo(self) -> anyhow::Result<()> {
        match self {
            Self::Local => Ok(()),
            Self::Free => bail!(
                "`--engine free` needs a pipelined Bazel build: Cargo makes metadata and library in one process"
            ),
            Self::BazelAspect => bail!("`--engine bazel-aspect` needs a Bazel workspace"),
            #[cfg(feature = "remote")]
            Self::Remote => {
                bail!("`--engine remote` needs a Bazel workspace: Cargo builds on no cluster")
            }
        }
    }
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
    let settings = settings(&args)?;
    let unmark = |own: &String| own.replacen(super::TAKES_AWAY, "-", 1);
    let patterns: Vec<String> = args.patterns.iter().map(unmark).collect();
    let folder = std::env::current_dir().context("cannot tell the current folder")?;
    let detected = || detect::detect(&folder).map(|(system, _)| system.into());
    let system = args.build_system.or_else(detected);
    let request = match system.unwrap_or(BuildSystem::Cargo) {
        BuildSystem::Cargo => {
            args.engine.expect_cargo()?;
            Request::Cargo(cargo::Request {
                folder,
                patterns,
                cargo_args: args.cargo,
                unstable: settings.strategies.iter().any(|own| own.row().unstable),
                deps: !args.no_deps,
                quiet: args.quiet,
            })
        }
        BuildSystem::Bazel => {
            if !args.cargo.is_empty() {
                bail!(
                    "what stands behind `--` is for Cargo, and this is a Bazel workspace: use `--bazel-flag=FLAG`, or `--build-system cargo`"
                );
            }
            Request::Bazel(bazel::Request {
                folder,
                patterns,
                bazel: args.bazel,
                flags: args.bazel_flag,
                deps: !args.no_deps,
                quiet: args.quiet,
            })
        }
        BuildSystem::Buck2 => bail!(
            "this is a Buck2 project, which this version cannot check; `--build-system bazel` or `--build-system cargo` takes it for another"
        ),
    };
    let interrupt = signals::watch()?;
    let progress = Progress::new(args.quiet);
    let checked = match (args.engine, &request) {
        (Engine::BazelAspect, Request::Bazel(bazel)) => {
            let orders = Orders {
                strategies: args.strategies.join(","),
                vary: args.vary.join(","),
            };
            aspect::check(bazel, &orders, &interrupt)
        }
        #[cfg(feature = "remote")]
        (Engine::Remote, Request::Bazel(bazel)) => {
            let (typed, remote) = (&args.vary, &args.remote);
            super::remote::check(
                remote, typed, bazel, &settings, &interrupt, &progress, shell,
            )?
        }
        _ => check::check(&request, &settings, &interrupt, &progress),
    };
    let report = match checked {
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
    let text = match args.format {
        Format::Json => json::render(&report),
        Format::Human => {
            let detail = match (args.quiet, args.verbose) {
                (true, _) => Detail::Quiet,
                (_, true) => Detail::Verbose,
                _ => Detail::Normal,
            };
            human::render(&report, detail)
        }
    };
    shell.out().write_all(text.as_bytes())?;
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

fn settings(args: &Args) -> anyhow::Result<Settings> {
    let mut strategies = strategies(&args.strategies)?;
    let mut vary = variations(&args.vary)?;
    if args.engine == Engine::Free {
        strategies = vec![Strategy::QuitOnRmeta];
        vary.clear();
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Ok(Settings {
        engine: match args.engine {
            Engine::Free => check::Engine::Free,
            _ => check::Engine::Local,
        },
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
    })
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
