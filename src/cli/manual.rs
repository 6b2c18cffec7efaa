//! `svhcheck completions` and `svhcheck man`: made from the definition of the command line.

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

/// Prints the manual page: the check with its options, then each command with its own.
pub(super) fn page(shell: &mut Shell) -> anyhow::Result<Exit> {
    let mut text = Vec::new();
    let mut command = Cli::command();
    command.build();
    clap_mangen::Man::new(command.clone()).render(&mut text)?;
    for own in command
        .get_subcommands()
        .filter(|own| own.get_name() != "help")
    {
        let man = clap_mangen::Man::new(own.clone());
        text.extend(format!(".SH {}\n", own.get_name().to_uppercase()).bytes());
        if let Some(about) = own.get_about() {
            // A full stop that begins a line would be a request.
            text.extend(format!("\\&{about}\n.PP\n").bytes());
        }
        man.render_synopsis_section(&mut text)?;
        man.render_options_section(&mut text)?;
    }
    shell.raw(&text)?;
    Ok(Exit::Clean)
}
