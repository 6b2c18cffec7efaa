//! `svhcheck trace`: what any command reads, writes, asks and starts.

mod human;
mod json;
pub(super) mod sandbox;
mod strace;
mod text;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::{Args as ClapArgs, ValueEnum};

use super::exit::Exit;
use super::shell::Shell;
use crate::trace::{
    Access, Command, Cut, DirOrder, FileTimes, Injection, ModuleCache, Status, Stdio, Steer, Time,
    Trace,
};

/// Show what a command reads, writes, asks and starts
///
/// The command's standard output goes to standard error, unless the record goes to a file.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// How to print the record
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Write the record here instead of to standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Answer in the kernel's place (may be repeated)
    ///
    /// randomness=SEED, time=SECONDS (the wall clock stands there), time=+SECONDS or -SECONDS (it
    /// is shifted), time=from:SECONDS (it runs from there), dir-order=sorted|reversed|SEED,
    /// pid=FIRST, hostname=NAME, kernel=RELEASE, cpus=COUNT, mtime=SECONDS, mtime=seed:SEED,
    /// inode=SEED, network=ERRNO (connections to other hosts fail with it)
    #[arg(long, value_name = "WHAT=VALUE", value_parser = parse_steer)]
    inject: Vec<Steer>,
    /// Show the code behind reads of randomness, clocks, environment and the like
    #[arg(long)]
    stack: bool,
    /// Kill the command and all that it started after this many seconds
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    #[command(flatten)]
    sandbox: sandbox::Options,
    /// The command and its arguments
    #[arg(required = true, last = true)]
    command: Vec<OsString>,
}

/// How to print the record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Grouped by process, for reading
    #[default]
    Human,
    /// One JSON document
    Json,
    /// One line per call, in the manner of strace -f
    Strace,
}

pub(crate) fn run(args: Args, shell: &mut Shell) -> anyhow::Result<Exit> {
    let [program, rest @ ..] = args.command.as_slice() else {
        bail!("no command was given");
    };
    let mut output = match &args.output {
        Some(path) => {
            let made = fs_err::File::create(path)?;
            Some(BufWriter::new(made.into_parts().0))
        }
        None => None,
    };
    let modules = ModuleCache::new();
    let mut injection = Injection::new();
    for steer in args.inject {
        injection = injection.steer(steer);
    }
    let mut command = Command::new(program)
        .args(rest)
        .envs(std::env::vars_os())
        .modules(modules.clone())
        .inject(injection);
    if output.is_none() {
        // The record has standard output to itself.
        let stderr = std::io::stderr().as_fd().try_clone_to_owned();
        let stderr = stderr.context("could not copy standard error")?;
        command = command.stdout(Stdio::File(File::from(stderr)));
    }
    if args.stack {
        command = command.frames_for(is_question).variables_for(|_| true);
    }
    if let Some(seconds) = args.timeout {
        command = command.timeout(Duration::from_secs(seconds));
    }
    if let Some(sandbox) = args.sandbox.prepare(shell)? {
        command = command.enter(sandbox);
    }
    let mut trace = match command.run() {
        Ok(trace) => trace,
        Err(error) => return Err(args.sandbox.explain(error)),
    };
    if args.stack {
        modules.symbolize(trace.frames_mut());
    }
    if let Some(file) = &mut output {
        print(args.format, &trace, file)?;
        file.flush()?;
    } else {
        let mut out = BufWriter::new(shell.out());
        print(args.format, &trace, &mut out)?;
        out.flush()?;
    }
    match trace.stopped {
        Some(Cut::Timeout) => shell.warn("the command was killed: its time was up"),
        Some(_) => shell.warn("the command was killed"),
        None if trace.status != Status::Exited(0) => {
            shell.note(format!("the command {}", text::status(trace.status)));
        }
        None => {}
    }
    Ok(Exit::Clean)
}

fn print(format: Format, trace: &Trace, out: &mut dyn Write) -> std::io::Result<()> {
    match format {
        Format::Human => human::print(trace, out),
        Format::Json => json::print(trace, out),
        Format::Strace => strace::print(trace, out),
    }
}

/// True for what a build's result may depend on without a file saying so.
fn is_question(access: &Access) -> bool {
    matches!(
        access,
        Access::Random { .. }
            | Access::Clock { .. }
            | Access::Identity
            | Access::System
            | Access::List { .. }
            | Access::Exec { .. }
            | Access::Socket { .. }
            | Access::Connect { .. }
            | Access::Bind { .. }
    )
}

/// Reads `WHAT=VALUE`.
fn parse_steer(text: &str) -> anyhow::Result<Steer> {
    let (what, value) = text
        .split_once('=')
        .ok_or_else(|| anyhow!("expected WHAT=VALUE"))?;
    let name = || OsStr::from_bytes(value.as_bytes()).to_owned();
    Ok(match what {
        "randomness" => Steer::Randomness(value.parse()?),
        "time" => Steer::Time(parse_time(value)?),
        "dir-order" => Steer::DirOrder(match value {
            "sorted" => DirOrder::Sorted,
            "reversed" => DirOrder::Reversed,
            seed => DirOrder::Shuffled(seed.parse()?),
        }),
        "pid" => Steer::Pid(value.parse()?),
        "hostname" => Steer::Host(name()),
        "kernel" => Steer::Kernel(name()),
        "cpus" => Steer::Cpus(value.parse()?),
        "mtime" => Steer::FileTimes(match value.strip_prefix("seed:") {
            Some(seed) => FileTimes::Seeded(seed.parse()?),
            None => FileTimes::Fixed(value.parse()?),
        }),
        "network" => Steer::Network(value.parse()?),
        "inode" => Steer::Inode(value.parse()?),
        _ => bail!("`{what}` cannot be injected"),
    })
}

fn parse_time(value: &str) -> anyhow::Result<Time> {
    let seconds = |text: &str| {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = part.len() <= 9 && part.bytes().all(|byte| byte.is_ascii_digit());
        anyhow::ensure!(digits, "`{text}` is no number of seconds");
        anyhow::Ok(Duration::new(
            whole.parse()?,
            format!("{part:0<9}").parse()?,
        ))
    };
    Ok(match value.as_bytes().first() {
        Some(b'+' | b'-') => Time::Shifted(value.parse()?),
        _ => match value.strip_prefix("from:") {
            Some(start) => Time::From(seconds(start)?),
            None => Time::Fixed(seconds(value)?),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steering_is_read_from_words() {
        let read = |text| parse_steer(text).ok();
        assert_eq!(read("randomness=7"), Some(Steer::Randomness(7)));
        assert_eq!(read("time=+60"), Some(Steer::Time(Time::Shifted(60))));
        assert_eq!(read("time=-60"), Some(Steer::Time(Time::Shifted(-60))));
        let day = Duration::from_secs(86400);
        assert_eq!(read("time=86400"), Some(Steer::Time(Time::Fixed(day))));
        assert_eq!(read("time=from:86400"), Some(Steer::Time(Time::From(day))));
        assert_eq!(
            read("dir-order=reversed"),
            Some(Steer::DirOrder(DirOrder::Reversed))
        );
        assert_eq!(read("hostname=a=b"), Some(Steer::Host("a=b".into())));
        let moment = Duration::new(7, 50_000_000);
        assert_eq!(read("time=7.05"), Some(Steer::Time(Time::Fixed(moment))));
        assert_eq!(read("time=7.x"), None);
        assert_eq!(read("weather=fine"), None);
        assert_eq!(read("cpus"), None);
    }
}
