//! `svhcheck diff`: what differs between two artifacts, most telling first.

mod contents;
mod directories;
mod human;
mod json;
mod summary;

use std::io::Write as _;
use std::path::PathBuf;

use super::exit::Exit;
use super::shell::Shell;
use super::toolchains;
use crate::artifact::{self, Artifact, Names};
use crate::compare::artifacts::{self, Comparison, Depth, Verdict};

/// What the user typed.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// An artifact (rlib, rmeta, proc macro, dylib, object file), or a directory of them
    #[arg(value_name = "A")]
    left: PathBuf,

    /// The artifact or directory to compare it with
    #[arg(value_name = "B")]
    right: PathBuf,

    /// The form of the output
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,

    /// Show everything that differs, and the bytes
    #[arg(long)]
    full: bool,

    /// Compare SVHs and dependencies only; exit with 0 if the SVH is the same
    #[arg(long)]
    svh_only: bool,
}

/// The form of the output.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// For people
    Human,
    /// One object
    Json,
}

/// Compares and prints.
pub(super) fn run(args: &Args, shell: &mut Shell) -> anyhow::Result<Exit> {
    match (args.left.is_dir(), args.right.is_dir()) {
        (false, false) => {}
        (true, true) => return directories::run(args, shell),
        _ => anyhow::bail!(
            "one is a directory and the other is not; name two files or two directories"
        ),
    }
    let left = artifact::open(&args.left)?;
    let right = artifact::open(&args.right)?;
    let names = names(&[&left, &right]);
    let comparison = artifacts::compare(&left, &right, &names, args.depth());
    let text = match args.format {
        Format::Json => json::file(&left, &right, &comparison)?,
        Format::Human => human::file(&left, &right, &comparison, args.full),
    };
    let out = shell.out();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    for problem in &comparison.problems {
        shell.error(&anyhow::anyhow!("{problem}"));
    }
    // Without an SVH on both sides that question has no answer.
    if args.svh_only && comparison.verdict == Verdict::Bytes {
        anyhow::bail!("one of the files has no SVH to compare");
    }
    Ok(exit(args, &comparison))
}

impl Args {
    fn depth(&self) -> Depth {
        if self.svh_only {
            Depth::Roots
        } else {
            Depth::Everything
        }
    }
}

/// The names that the roots of these files need and do not have.
fn names(artifacts: &[&Artifact]) -> Names {
    let mut names = Names::default();
    toolchains::learn_names(&mut names, artifacts);
    names
}

fn exit(args: &Args, comparison: &Comparison) -> Exit {
    let same = match comparison.verdict {
        Verdict::Identical => true,
        _ => args.svh_only && comparison.same_svh(),
    };
    if !comparison.problems.is_empty() {
        Exit::Trouble
    } else if same {
        Exit::Clean
    } else {
        Exit::Findings
    }
}
