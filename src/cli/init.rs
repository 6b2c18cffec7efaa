//! `svhcheck init`: a configuration to begin with.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::exit::Exit;
use super::shell::Shell;
use crate::config::{NAME, TEMPLATE};

/// What the user typed.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to write it
    #[arg(value_name = "FILE", default_value = NAME)]
    path: PathBuf,
}

/// Writes the file, which must not be there yet.
pub(super) fn run(args: &Args, shell: &mut Shell) -> anyhow::Result<Exit> {
    write(&args.path).with_context(|| {
        let path = args.path.display();
        if args.path.exists() {
            format!("`{path}` is there already; nothing was written")
        } else {
            format!("cannot write `{path}`")
        }
    })?;
    shell.note(format_args!("wrote {}", args.path.display()));
    Ok(Exit::Clean)
}

fn write(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).open(path)?;
    file.write_all(TEMPLATE.as_bytes())
}
