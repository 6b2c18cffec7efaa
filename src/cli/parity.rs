//! `svhcheck parity`: whether the two actions of each crate have command lines that agree.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args as ClapArgs;

use super::configured::ConfigArgs;
use super::exit::Exit;
use super::levels::LevelArgs;
use super::outputs::{self, Outputs};
use super::shell::Shell;
use super::{check, probe as asking, signals};
use crate::check::parity::parity;
use crate::interrupt::Interrupt;
use crate::lint::levels::Levels;
use crate::probe::tiny::Tiny;
use crate::project::bazel::aquery::Graph;
use crate::project::bazel::pairs::{self, Pairs};
use crate::project::bazel::{self, BazelError};
use crate::project::detect::{self, System};
use crate::report::Report;
use crate::rustc::toolchain::Toolchain;

/// What was typed.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// Targets, in any form that Bazel knows
    #[arg(value_name = "PATTERN", required_unless_present = "aquery")]
    patterns: Vec<String>,

    /// Read an action graph that `bazel aquery` saved (`--output=streamed_proto`, `proto` or
    /// `jsonproto`), and run no Bazel
    #[arg(long, value_name = "FILE", conflicts_with = "patterns")]
    aquery: Option<PathBuf>,

    /// The compiler to ask what moves an SVH [default: the build's own if it is there, else rustc
    /// on PATH]
    #[arg(long, value_name = "PATH")]
    rustc: Option<PathBuf>,

    /// The Bazel to run [default: bazel or bazelisk on PATH]
    #[arg(long, value_name = "PATH")]
    bazel: Option<PathBuf>,

    /// A flag for `bazel aquery`, such as --bazel-flag=--config=ci; once for each
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    bazel_flag: Vec<OsString>,

    #[command(flatten)]
    levels: LevelArgs,

    #[command(flatten)]
    configured: ConfigArgs,

    #[command(flatten)]
    outputs: Outputs,

    /// Only findings and the last line
    #[arg(long, short, conflicts_with = "verbose")]
    quiet: bool,

    /// Every crate, and all that was not compared
    #[arg(long, short)]
    verbose: bool,
}

/// Compares and prints the report.
pub(super) fn run(args: &Args, shell: &mut Shell) -> anyhow::Result<Exit> {
    args.outputs.check()?;
    let interrupt = signals::watch()?;
    let report = match compare(args, shell, &interrupt) {
        Err(_) if interrupt.is_set() => return Ok(Exit::Interrupted),
        report => report?,
    };
    let detail = outputs::detail(args.quiet, args.verbose);
    args.outputs.write(&report, detail, shell)?;
    Ok(if report.denied() {
        Exit::Findings
    } else if report.incomplete() {
        Exit::Trouble
    } else {
        Exit::Clean
    })
}

fn compare(args: &Args, shell: &mut Shell, interrupt: &Interrupt) -> anyhow::Result<Report> {
    let levels = levels(args, shell)?;
    let (graph, root) = graph(args, interrupt)?;
    let pairs = pairs::pairs(&graph).map_err(BazelError::from)?;
    if pairs.split.is_empty() && pairs.whole.is_empty() && pairs.unknown.is_empty() {
        bail!("no Rust compile in this action graph (rules_rust's actions are looked for)");
    }
    if pairs.split.is_empty() {
        bail!(
            "nothing to compare: each crate in this action graph is made by one action, so pipelined compilation is off; turn it on with `--@rules_rust//rust/settings:pipelined_compilation=True`"
        );
    }
    let toolchain = toolchain(args, &pairs, root, shell)?;
    let probed = asking::ask(&toolchain, None, interrupt)?;
    let tiny = Tiny::new(&toolchain, interrupt)?;
    Ok(parity(&pairs, &probed, &tiny, &levels)?)
}

/// What the configuration and the command line say of levels.
fn levels(args: &Args, shell: &mut Shell) -> anyhow::Result<Levels> {
    let folder = std::env::current_dir().context("cannot tell the current folder")?;
    let (config, _) = args.configured.read(&folder)?;
    let (typed, notes) = args.levels.rules()?;
    if !args.quiet {
        for note in config.notes.iter().chain(&notes) {
            shell.note(note);
        }
    }
    let rules = config.rules.into_iter().chain(typed).collect();
    Ok(Levels::new(rules, config.allowed, check::today()))
}

/// The saved graph, or the workspace's with the folder to which its paths are relative.
fn graph(args: &Args, interrupt: &Interrupt) -> anyhow::Result<(Graph, Option<PathBuf>)> {
    if let Some(file) = &args.aquery {
        return Ok((Graph::open(file)?, None));
    }
    let folder = std::env::current_dir().context("cannot tell the current folder")?;
    match detect::detect(&folder).map(|(system, _)| system) {
        Some(System::Bazel) => {}
        Some(System::Buck2) => bail!(
            "`parity` reads Bazel's action graph, and Buck2 shows no commands before it runs them: `svhcheck //... --what-ran FILE` compares what it ran"
        ),
        Some(System::Cargo) => bail!(
            "`parity` compares the two compiles of a crate, and Cargo makes metadata and library in one; `svhcheck //...` checks the workspace"
        ),
        None => bail!(
            "no MODULE.bazel or WORKSPACE here or above: run this in a Bazel workspace, or name a saved action graph with `--aquery FILE`"
        ),
    }
    let request = bazel::Request {
        folder,
        patterns: args.patterns.clone(),
        bazel: args.bazel.clone(),
        flags: args.bazel_flag.clone(),
        deps: true,
        quiet: args.quiet,
    };
    let (graph, root) = pairs::graph(&request, interrupt)?;
    Ok((graph, Some(root)))
}

/// The compiler that was named, or the build's own, or the one on PATH.
fn toolchain(
    args: &Args,
    pairs: &Pairs,
    root: Option<PathBuf>,
    shell: &mut Shell,
) -> anyhow::Result<Toolchain> {
    if args.rustc.is_some() {
        return asking::toolchain(args.rustc.clone());
    }
    let named = pairs.split.first().map(|pair| &pair.full.program);
    let own = named.and_then(|program| Some(root?.join(program)));
    if let Some(own) = own.filter(|program| program.is_file()) {
        return asking::toolchain(Some(own));
    }
    let found = asking::toolchain(None)?;
    shell.note(format!(
        "the build's own compiler is not here; asked was {}, `--rustc PATH` names another",
        found.version
    ));
    Ok(found)
}
