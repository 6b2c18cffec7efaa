//! `svhcheck probe`: which arguments and variables move an SVH.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args as ClapArgs, ValueEnum};

use super::exit::Exit;
use super::shell::Shell;
use super::signals;
use crate::bytes::Escaped;
use crate::interrupt::Interrupt;
use crate::probe::{Answer, Moves, ProbeError, Probed, Tried, cache};
use crate::rustc::toolchain::Toolchain;

/// What was typed.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// The compiler to ask [default: rustc on PATH]
    #[arg(long, value_name = "PATH")]
    rustc: Option<PathBuf>,

    /// Compiles at one time [default: the processors]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,

    /// Form of the answer
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Human,
    Json,
}

/// Asks the compiler, or what it answered before, and prints the answer.
pub(super) fn run(args: &Args, shell: &mut Shell) -> anyhow::Result<Exit> {
    let interrupt = signals::watch()?;
    let toolchain = toolchain(args.rustc.clone())?;
    let probed = match ask(&toolchain, args.jobs, &interrupt) {
        Err(ProbeError::Interrupted) => return Ok(Exit::Interrupted),
        probed => probed?,
    };
    let text = match args.format {
        Format::Json => serde_json::to_string_pretty(&probed)? + "\n",
        Format::Human => human(&probed),
    };
    shell.out().write_all(text.as_bytes())?;
    Ok(Exit::Clean)
}

/// The compiler that was named, or the one on PATH.
pub(super) fn toolchain(named: Option<PathBuf>) -> anyhow::Result<Toolchain> {
    let folder = std::env::current_dir().context("cannot tell the current folder")?;
    let program = named.unwrap_or_else(|| "rustc".into());
    let env = std::env::vars_os().collect();
    let found = Toolchain::resolve(&program, &env, &folder);
    Ok(found.map_err(ProbeError::from)?)
}

/// What the compiler answered before, or answers now.
pub(super) fn ask(
    toolchain: &Toolchain,
    jobs: Option<u16>,
    interrupt: &Interrupt,
) -> Result<Probed, ProbeError> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let jobs = jobs.map_or(cores, usize::from);
    let env: BTreeMap<_, _> = std::env::vars_os().collect();
    let folder = cache::folder(&env);
    cache::kept_or_probed(folder.as_deref(), toolchain, jobs, interrupt)
}

fn human(probed: &Probed) -> String {
    let width = probed
        .rows
        .iter()
        .map(|row| row.name.len())
        .max()
        .unwrap_or(0);
    let mut text = format!(
        "\x1b[1mwhat moves an SVH of {}\x1b[0m\n",
        Escaped(probed.rustc.as_bytes())
    );
    for row in &probed.rows {
        let moves = match row.moves {
            Moves::Yes => "\x1b[1;31mmoves\x1b[0m           ",
            Moves::No => "\x1b[1;32mdoes not\x1b[0m        ",
            Moves::WhereAsked => "\x1b[1;33mif source asks\x1b[0m  ",
            Moves::NotAccepted => "not accepted    ",
        };
        let tried: Vec<String> = row.tried.iter().map(tried).collect();
        let tried = tried.join("; ");
        let _ = writeln!(text, "{moves}{:width$}  {tried}", row.name);
    }
    text
}

fn tried(tried: &Tried) -> String {
    let answer = match tried.answer {
        Answer::Same => "same",
        Answer::Other => "other",
        Answer::NotAccepted => "not accepted",
        Answer::NoMetadata => "no metadata",
    };
    let said = tried.said.as_ref().map(|said| format!(" ({said})"));
    format!("{}: {answer}{}", tried.what, said.unwrap_or_default())
}
