//! The record in the manner of `strace -f`: one line per call, with the kernel's process numbers.

use std::io::{self, Write};

use super::human::show_address;
use super::text::{errno, quote};
use crate::trace::{Access, Event, Outcome, SeenPath, Trace};

pub(super) fn print(trace: &Trace, out: &mut dyn Write) -> io::Result<()> {
    for event in &trace.events {
        let process = &trace.processes[event.process.0 as usize - 1];
        let call = event.call.map_or("getenv", |call| call.name());
        let end = match event.outcome {
            Outcome::Done(value) => value.to_string(),
            Outcome::Failed(number) => format!("-1 {}", errno(number)),
            Outcome::Unwatched | Outcome::Unfinished => "?".to_owned(),
        };
        let injected = if event.injected { " (INJECTED)" } else { "" };
        writeln!(
            out,
            "[pid {}] {call}({}) = {end}{injected}",
            process.pid,
            arguments(event)
        )?;
    }
    Ok(())
}

fn arguments(event: &Event) -> String {
    let given = |path: &SeenPath| quote(&path.given);
    match &event.access {
        Access::Open { path, mode } => {
            let access = match (mode.path_only, mode.read, mode.write) {
                (true, _, _) => "O_PATH",
                (_, true, true) => "O_RDWR",
                (_, false, true) => "O_WRONLY",
                _ => "O_RDONLY",
            };
            let flags = [
                (mode.create, "|O_CREAT"),
                (mode.exclusive, "|O_EXCL"),
                (mode.truncate, "|O_TRUNC"),
                (mode.append, "|O_APPEND"),
                (mode.directory, "|O_DIRECTORY"),
            ];
            let flags: String = flags
                .iter()
                .filter(|(set, _)| *set)
                .map(|(_, name)| *name)
                .collect();
            format!("{}, {access}{flags}", given(path))
        }
        Access::Rename { from, to, .. } | Access::Link { from, to } => {
            format!("{}, {}", given(from), given(to))
        }
        Access::Symlink { says, path } => format!("{}, {}", quote(says), given(path)),
        Access::Exec {
            path, argv, env, ..
        } => {
            let argv: Vec<String> = argv.iter().map(quote).collect();
            format!("{}, [{}], {} vars", given(path), argv.join(", "), env.len())
        }
        Access::Socket { family, kind } => format!("{family}, {kind:#x}"),
        Access::Connect { address } | Access::Bind { address } => show_address(address),
        Access::Random { bytes } => bytes.to_string(),
        Access::Clock { clock } => clock.to_string(),
        Access::Signal { target, signal } => format!("{target}, {signal}"),
        Access::Variable { name, .. } => quote(name),
        Access::Identity | Access::System | Access::Blind(_) => String::new(),
        other => match other.path() {
            Some(path) if path.given.is_empty() => quote(&path.absolute),
            Some(path) => given(path),
            None => String::new(),
        },
    }
}
