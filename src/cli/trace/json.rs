//! The record as one JSON document. Process numbers are our own, so that two equal runs give equal
//! documents; the kernel's are left out.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;

use serde_json::{Map, Value, json};

use super::human::show_address;
use super::text::escape;
use crate::trace::{Access, Event, Frame, Outcome, SeenPath, Status, Trace};

pub(super) fn print(trace: &Trace, out: &mut dyn Write) -> io::Result<()> {
    let processes: Vec<Value> = trace
        .processes
        .iter()
        .map(|process| {
            json!({
                "process": process.id.0,
                "parent": process.parent.map(|parent| parent.0),
                "threads": process.threads,
                "status": process.status.map(status),
            })
        })
        .collect();
    let blind: Vec<Value> = trace
        .blind_spots
        .iter()
        .map(|(process, spot)| json!({"process": process.0, "why": spot.describe()}))
        .collect();
    let document = json!({
        "format": 1,
        "status": status(trace.status),
        "complete": trace.stopped.is_none(),
        "processes": processes,
        "events": trace.events.iter().map(event).collect::<Vec<_>>(),
        "not_seen": blind,
    });
    serde_json::to_writer_pretty(&mut *out, &document)?;
    writeln!(out)
}

fn status(status: Status) -> Value {
    match status {
        Status::Exited(code) => json!({"exited": code}),
        Status::Signaled(signal) => json!({"signal": signal}),
    }
}

/// A string; what is not UTF-8 becomes an object with its bytes in hexadecimal.
fn string(text: impl AsRef<OsStr>) -> Value {
    let text = text.as_ref();
    if let Some(text) = text.to_str() {
        return json!(text);
    }
    let digits = text.as_bytes().iter().map(|byte| format!("{byte:02x}"));
    json!({"hex": digits.collect::<String>(), "shown": escape(text)})
}

fn path(path: &SeenPath) -> Value {
    let mut value = json!({"path": string(&path.absolute)});
    if let Some(target) = &path.target {
        value["target"] = string(target);
    }
    value
}

fn frame(frame: &Frame) -> Value {
    let mut value = json!({"module": string(&*frame.module), "offset": frame.offset});
    if let Some(symbol) = &frame.symbol {
        value["symbol"] = json!(&**symbol);
    }
    if let Some(line) = &frame.line {
        value["line"] = json!(format!("{}:{}", line.file, line.line));
    }
    value
}

fn event(event: &Event) -> Value {
    let (kind, details) = details(&event.access);
    let mut value = Map::new();
    value.insert("process".into(), json!(event.process.0));
    value.insert("thread".into(), json!(event.thread));
    value.insert("kind".into(), json!(kind));
    if let Some(call) = event.call {
        value.insert("call".into(), json!(call.name()));
    }
    if let Value::Object(details) = details {
        value.extend(details);
    }
    match event.outcome {
        // Descriptors and addresses mean nothing to a reader, and differ from run to run.
        Outcome::Done(_) => value.insert("result".into(), json!("ok")),
        Outcome::Failed(number) => value.insert("result".into(), json!(super::text::errno(number))),
        Outcome::Unfinished => value.insert("result".into(), json!("unfinished")),
        Outcome::Unwatched => None,
    };
    if event.injected {
        value.insert("injected".into(), json!(true));
    }
    if !event.frames.is_empty() {
        value.insert("frames".into(), event.frames.iter().map(frame).collect());
    }
    Value::Object(value)
}

fn details(access: &Access) -> (&'static str, Value) {
    let list = |list: &[std::ffi::OsString]| list.iter().map(string).collect::<Value>();
    match access {
        Access::Open { path: file, mode } => {
            let mut value = path(file);
            let flags = [
                (mode.read, "read"),
                (mode.write, "write"),
                (mode.create, "create"),
                (mode.exclusive, "exclusive"),
                (mode.truncate, "truncate"),
                (mode.append, "append"),
                (mode.directory, "directory"),
                (mode.path_only, "path-only"),
            ];
            let flags = flags
                .iter()
                .filter(|(set, _)| *set)
                .map(|(_, name)| json!(name));
            value["mode"] = flags.collect();
            ("open", value)
        }
        Access::Status { path: file } => ("status", path(file)),
        Access::ReadLink { path: file } => ("read-link", path(file)),
        Access::List { path: file } => ("list", path(file)),
        Access::Change { path: file, change } => {
            let mut value = path(file);
            value["change"] = json!(format!("{change:?}"));
            ("change", value)
        }
        Access::Rename { from, to, exchange } => (
            "rename",
            json!({"from": path(from), "to": path(to), "exchange": exchange}),
        ),
        Access::Link { from, to } => ("link", json!({"from": path(from), "to": path(to)})),
        Access::Symlink { says, path: file } => {
            let mut value = path(file);
            value["says"] = string(says);
            ("symlink", value)
        }
        Access::Exec {
            path: file,
            argv,
            env,
            directory,
        } => {
            let mut value = path(file);
            value["argv"] = list(argv);
            value["env"] = list(env);
            value["directory"] = string(directory);
            ("exec", value)
        }
        Access::Enter { path: file } => ("enter", path(file)),
        Access::Root { path: file } => ("root", path(file)),
        Access::Mount { path: file } => ("mount", path(file)),
        Access::Socket { family, kind } => ("socket", json!({"family": family, "type": kind})),
        Access::Connect { address } => ("connect", json!({"address": show_address(address)})),
        Access::Bind { address } => ("bind", json!({"address": show_address(address)})),
        Access::Random { bytes } => ("random", json!({"bytes": bytes})),
        Access::Clock { clock } => ("clock", json!({"clock": clock})),
        Access::Signal { target, signal } => {
            ("signal", json!({"target": target, "signal": signal}))
        }
        Access::Identity => ("identity", Value::Null),
        Access::System => ("system", Value::Null),
        Access::Variable { name, value } => {
            let value = value.as_ref().map(string);
            ("variable", json!({"name": string(name), "value": value}))
        }
        Access::Blind(spot) => ("blind", json!({"why": spot.describe()})),
    }
}
