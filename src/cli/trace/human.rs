//! The record for reading: one paragraph per process, one line per thing it did; what is repeated
//! is said once, with a count.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::text::{errno, escape, outcome, status, word};
use crate::trace::{Access, Address, Change, Event, Frame, Outcome, Process, SeenPath, Trace};

/// Frames shown of a stack.
const FRAMES: usize = 8;

pub(super) fn print(trace: &Trace, out: &mut dyn Write) -> io::Result<()> {
    for process in &trace.processes {
        let events: Vec<&Event> = trace
            .events
            .iter()
            .filter(|event| event.process == process.id)
            .collect();
        heading(process, out)?;
        let mut previous: Option<(String, &[Frame], u32)> = None;
        for event in events {
            let Some(line) = line(event) else { continue };
            match &mut previous {
                Some((same, frames, count)) if *same == line && **frames == *event.frames => {
                    *count += 1;
                }
                _ => {
                    flush(previous.take(), out)?;
                    previous = Some((line, &event.frames, 1));
                }
            }
        }
        flush(previous, out)?;
        writeln!(out)?;
    }
    for (process, spot) in &trace.blind_spots {
        writeln!(out, "not seen: process {} {}", process.0, spot.describe())?;
    }
    Ok(())
}

fn heading(process: &Process, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "process {}", process.id.0)?;
    if let Some(parent) = process.parent {
        write!(out, ", child of {}", parent.0)?;
    }
    if process.threads > 1 {
        write!(out, ", {} threads", process.threads)?;
    }
    match process.status {
        Some(end) => writeln!(out, ", {}", status(end)),
        None => writeln!(out, ", end not seen"),
    }
}

fn flush(line: Option<(String, &[Frame], u32)>, out: &mut dyn Write) -> io::Result<()> {
    let Some((line, frames, count)) = line else {
        return Ok(());
    };
    match count {
        1 => writeln!(out, "  {line}")?,
        count => writeln!(out, "  {line} ({count} times)")?,
    }
    for frame in frames.iter().take(FRAMES) {
        writeln!(out, "             at {}", describe(frame))?;
    }
    if frames.len() > FRAMES {
        writeln!(out, "             and {} more", frames.len() - FRAMES)?;
    }
    Ok(())
}

fn describe(frame: &Frame) -> String {
    let module = frame.module.file_name().unwrap_or(frame.module.as_os_str());
    let place = frame.line.as_ref();
    let place = place.map_or(String::new(), |place| {
        format!(" ({}:{})", escape(&*place.file), place.line)
    });
    match &frame.symbol {
        Some(symbol) => format!("{} in {}{place}", escape(&**symbol), escape(module)),
        None => format!("{}+{:#x}{place}", escape(module), frame.offset),
    }
}

/// One event as a line; `None` for what says nothing to a reader.
fn line(event: &Event) -> Option<String> {
    let failed = matches!(event.outcome, Outcome::Failed(_));
    let (verb, rest) = match &event.access {
        Access::Open { path, mode } => {
            let verb = match (failed, mode.write, mode.create) {
                (true, _, _) if event.outcome == Outcome::Failed(nix::libc::ENOENT) => "misses",
                (true, false, _) => "cannot read",
                (true, true, _) => "cannot write",
                (_, _, true) => "creates",
                (_, true, _) => "writes",
                (_, false, _) if mode.path_only => "names",
                (_, false, _) if mode.directory => "enters",
                (_, false, _) => "reads",
            };
            (verb, with_target(path))
        }
        Access::Status { path } if failed => ("misses", show(path)),
        Access::Status { path } => ("looks at", show(path)),
        Access::ReadLink { path } => ("link", show(path)),
        Access::List { .. } if event.outcome == Outcome::Done(0) => return None,
        Access::List { path } => ("lists", show(path)),
        Access::Change { path, change } => (verb_of(*change), show(path)),
        Access::Rename { from, to, exchange } => {
            let arrow = if *exchange { "<->" } else { "->" };
            ("renames", format!("{} {arrow} {}", show(from), show(to)))
        }
        Access::Link { from, to } => ("links", format!("{} -> {}", show(from), show(to))),
        Access::Symlink { says, path } => {
            ("links", format!("{} to say {}", show(path), escape(says)))
        }
        Access::Exec { path, argv, .. } => {
            let words: Vec<String> = argv.iter().skip(1).map(|arg| word(arg)).collect();
            (
                "executes",
                format!("{} {}", show(path), words.join(" "))
                    .trim_end()
                    .to_owned(),
            )
        }
        Access::Enter { path } => ("goes to", show(path)),
        Access::Root { path } => ("root is", show(path)),
        Access::Mount { path } => ("mounts", show(path)),
        Access::Socket { family, .. } => ("socket", format!("of family {family}")),
        Access::Connect { address } => ("connects", show_address(address)),
        Access::Bind { address } => ("binds", show_address(address)),
        Access::Random { bytes } => ("random", format!("{bytes} bytes")),
        Access::Clock { clock } => ("clock", format!("number {clock}")),
        Access::Signal { target, signal } => {
            ("signals", format!("process {target} with signal {signal}"))
        }
        Access::Identity => ("asks", event.call.map_or("", |call| call.name()).to_owned()),
        Access::System => ("asks", event.call.map_or("", |call| call.name()).to_owned()),
        Access::Variable {
            name,
            value: Some(_),
        } => ("variable", escape(name)),
        Access::Variable { name, value: None } => ("variable", format!("{} (unset)", escape(name))),
        Access::Blind(spot) => ("hides", spot.describe().to_owned()),
    };
    let mut line = format!("{verb:<11} {rest}");
    match outcome(event.outcome) {
        Some(error) if verb != "misses" || error != errno(nix::libc::ENOENT) => {
            let _ = write!(line, " ({error})");
        }
        _ => {}
    }
    if event.injected {
        line.push_str(" [chosen]");
    }
    Some(line)
}

fn verb_of(change: Change) -> &'static str {
    match change {
        Change::MakeDirectory => "makes dir",
        Change::RemoveDirectory => "removes dir",
        Change::Unlink => "removes",
        Change::MakeNode => "makes node",
        Change::Mode => "sets mode",
        Change::Owner => "sets owner",
        Change::Length => "cuts",
        Change::Times => "sets times",
        Change::Attribute => "attributes",
    }
}

fn show(path: &SeenPath) -> String {
    escape(&path.absolute)
}

fn with_target(path: &SeenPath) -> String {
    match &path.target {
        Some(target) => format!("{} -> {}", show(path), escape(target)),
        None => show(path),
    }
}

pub(super) fn show_address(address: &Address) -> String {
    match address {
        Address::Path(path) => escape(path),
        Address::Abstract(name) => format!("@{}", escape(name)),
        Address::Internet(address) => address.to_string(),
        Address::Other(family) => format!("an address of family {family}"),
    }
}
