//! All output of the program: standard output for results, standard error for the rest.
//!
//! A closed pipe (`svhcheck … | head`) is a success, as it is for ripgrep and cargo.

use std::io::{self, Write};
use std::process::ExitCode;

use super::color::Color;
use super::exit::Exit;
use crate::bytes::Escaped;
use crate::report::human::{self, Screen};

/// The two output streams. Colours are dropped where the stream is not a terminal.
#[derive(Debug)]
pub struct Shell {
    out: anstream::AutoStream<io::Stdout>,
    err: anstream::AutoStream<io::Stderr>,
}

impl Shell {
    /// The process's own standard streams.
    pub fn new() -> Self {
        Self {
            out: anstream::AutoStream::new(io::stdout(), Color::Auto.into()),
            err: anstream::AutoStream::new(io::stderr(), Color::Auto.into()),
        }
    }

    /// Decides about colours for both streams.
    pub fn color(&mut self, color: Color) {
        self.out = anstream::AutoStream::new(io::stdout(), color.into());
        self.err = anstream::AutoStream::new(io::stderr(), color.into());
    }

    /// What people read on standard output: the terminal's columns, or what `COLUMNS` says, and links
    /// where the terminal has them. Links are escape codes: they are where colours are.
    pub fn screen(&self) -> Screen {
        let named = std::env::var("COLUMNS").ok();
        let named = named.and_then(|own| own.parse().ok());
        let real = || {
            let size = terminal_size::terminal_size_of(io::stdout())?;
            Some(usize::from(size.0.0))
        };
        let width = named.or_else(real).unwrap_or(human::WIDTH);
        let linked = self.out.current_choice() != anstream::ColorChoice::Never
            && supports_hyperlinks::on(supports_hyperlinks::Stream::Stdout);
        let host = || nix::unistd::gethostname().unwrap_or_default();
        Screen {
            width: width.clamp(human::NARROWEST, human::WIDTH),
            links: linked.then(|| host().to_string_lossy().into_owned()),
        }
    }

    /// Where results go. Wrap in a `BufWriter` for anything long.
    pub fn out(&mut self) -> &mut impl Write {
        &mut self.out
    }

    /// Writes bytes as they are: what goes through [`Shell::out`] loses escape sequences where the
    /// stream is not a terminal, and bytes that look like them.
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.flush()?;
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()
    }

    /// Prints `warning: message` on standard error.
    pub fn warn(&mut self, message: impl std::fmt::Display) {
        // Nothing is left to tell the user if standard error itself is gone.
        let _ = writeln!(self.err, "\x1b[1;33mwarning\x1b[0m: {}", shown(message));
    }

    /// Prints `note: message` on standard error.
    pub fn note(&mut self, message: impl std::fmt::Display) {
        let _ = writeln!(self.err, "\x1b[1;36mnote\x1b[0m: {}", shown(message));
    }

    /// Prints an error with its chain of causes and returns the exit status for it.
    pub fn error(&mut self, error: &anyhow::Error) -> ExitCode {
        let broken_pipe = error
            .chain()
            .filter_map(|cause| cause.downcast_ref::<io::Error>())
            .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe);
        if broken_pipe {
            return Exit::Clean.into();
        }
        let mut said = shown(error);
        let _ = writeln!(self.err, "\x1b[1;31merror\x1b[0m: {said}");
        for cause in error.chain().skip(1).map(shown) {
            // Many messages end with their cause; nobody needs it twice.
            if !said.contains(&cause) {
                let _ = writeln!(self.err, "  caused by: {cause}");
                said = cause;
            }
        }
        Exit::Trouble.into()
    }

    /// Prints clap's message: help and version are results, anything else is trouble.
    pub fn clap(&mut self, error: &clap::Error) -> ExitCode {
        let text = error.render();
        if error.use_stderr() {
            let _ = write!(self.err, "{}", text.ansi());
            Exit::Trouble.into()
        } else {
            let _ = write!(self.out, "{}", text.ansi());
            Exit::Clean.into()
        }
    }
}

/// A message fit for a terminal: the folders, names and arguments in it may hold anything.
fn shown(message: impl std::fmt::Display) -> String {
    let message = message.to_string();
    let lines = message
        .lines()
        .map(|line| Escaped(line.as_bytes()).to_string());
    lines.collect::<Vec<_>>().join("\n")
}

impl Default for Shell {
    fn default() -> Self {
        Self::new()
    }
}
