//! `svhcheck completions` and `svhcheck man`: made from the definition of the command line.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell as Dialect;

use super::Cli;
use super::exit::Exit;
use super::shell::Shell;

/// What the user typed.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "For bash: svhcheck completions bash > ~/.local/share/bash-completion/completions/svhcheck"
)]
pub(super) struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    dialect: Dialect,
}

/// Prints what a shell has to load.
pub(super) fn completions(args: &Completions, shell: &mut Shell) -> anyhow::Result<Exit> {
    let mut text = Vec::new();
    clap_complete::generate(args.dialect, &mut Cli::command(), "svhcheck", &mut text);
    shell.raw(&text)?;
    Ok(Exit::Clean)
}

/// What the user typed.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "To read one: svhcheck man diff | man -l -\nTo install all: svhcheck man --output ~/.local/share/man/man1"
)]
pub(super) struct Pages {
    /// The command whose page it is, such as `baseline write` [default: svhcheck itself]
    #[arg(value_name = "COMMAND", conflicts_with = "output")]
    command: Vec<String>,

    /// Write the pages of all commands into this folder
    #[arg(long, short, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

/// Prints the manual page of one command, or writes those of all.
pub(super) fn pages(args: &Pages, shell: &mut Shell) -> anyhow::Result<Exit> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    if let Some(folder) = &args.output {
        fs_err::create_dir_all(folder)?;
        write_all(&command, folder)?;
        return Ok(Exit::Clean);
    }
    let mut own = &command;
    for name in &args.command {
        let found = visible(own).find(|own| own.get_name() == name);
        own = found.with_context(|| format!("no command `{}`", args.command.join(" ")))?;
    }
    shell.raw(page(own)?.1.as_bytes())?;
    Ok(Exit::Clean)
}

fn visible(command: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    command.get_subcommands().filter(|own| !own.is_hide_set())
}

fn write_all(command: &clap::Command, folder: &Path) -> anyhow::Result<()> {
    let (name, text) = page(command)?;
    fs_err::write(folder.join(name), text)?;
    visible(command).try_for_each(|own| write_all(own, folder))
}

/// The name of a command's file, and its text.
fn page(command: &clap::Command) -> anyhow::Result<(String, String)> {
    let man = clap_mangen::Man::new(command.clone());
    let mut text = Vec::new();
    man.render(&mut text)?;
    // What stands below the options is the exit status, or examples.
    let text = String::from_utf8(text)?.replace(".SH EXTRA\n", ".SH NOTES\n");
    Ok((man.get_filename(), text))
}
