//! The runs of build scripts. They have no wrapper, so cargo runs under the tracer, which stops
//! for nothing but executed programs.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io::{self, BufReader};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use cargo_metadata::Message;
use fs_err as fs;
use nix::sys::signal;
use nix::unistd::Pid;

use super::CargoError;
use crate::interrupt::Interrupt;
use crate::project::directives::Directives;
use crate::project::recorded::{FORMAT, OWN_VARS, Record, RecordError};
use crate::project::{Action, TargetKind};
use crate::rustc::args::Args;
use crate::trace::{self, Access, Event};

/// Runs cargo under the tracer, records the build scripts that it ran into `folder`, and returns
/// its messages and whether it succeeded; the inner error says why it cannot be traced.
pub(super) fn run(
    command: &Command,
    folder: &Path,
    interrupt: &Interrupt,
) -> Result<Result<(Vec<Message>, bool), String>, CargoError> {
    let variables = command.get_envs();
    let mut traced = trace::Command::new(command.get_program())
        .args(command.get_args())
        .envs(variables.filter_map(|(name, value)| Some((name, value?))))
        .stdin(trace::Stdio::Null)
        .stdout(trace::Stdio::Pipe)
        .programs_only();
    if let Some(folder) = command.get_current_dir() {
        traced = traced.current_dir(folder);
    }
    let started = interrupt.start(
        || traced.spawn().map_err(io::Error::other),
        |session| {
            let killer = session.killer();
            Box::new(move || killer.kill())
        },
    );
    let (mut session, registered) = match started {
        Ok(started) => started,
        Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error.into()),
        Err(error) => return Ok(Err(error.to_string())),
    };
    let mut messages = Vec::new();
    if let Some(stdout) = session.stdout.take() {
        for message in Message::parse_stream(BufReader::new(stdout)) {
            messages.push(message?);
        }
    }
    // A tool may have left a server behind (sccache, a JVM); nobody waits for that.
    let cargo = Pid::from_raw(session.pid());
    while signal::kill(cargo, None).is_ok() {
        std::thread::sleep(Duration::from_millis(2));
    }
    session.killer().kill();
    let trace = session.wait().map_err(io::Error::other)?;
    drop(registered);
    fs::create_dir_all(folder)?;
    for event in &trace.events {
        if let Some((name, record)) = record(event) {
            let failed = |source| CargoError::Record {
                source,
                folder: folder.to_path_buf(),
            };
            record.write_as(folder, &name).map_err(failed)?;
        }
    }
    Ok(Ok((messages, trace.status == trace::Status::Exited(0))))
}

/// The record of a build script's start, with the name for it.
fn record(event: &Event) -> Option<(String, Record)> {
    let Access::Exec {
        path,
        argv,
        env,
        directory,
    } = &event.access
    else {
        return None;
    };
    // `…/build/PACKAGE-HASH/build-script-NAME`; what a script itself runs lies elsewhere.
    let program = &path.absolute;
    let name = program.file_name()?.to_str()?;
    let build = program.parent()?.parent()?.file_name()?;
    if !event.outcome.succeeded() || build != "build" || !name.starts_with("build-script-") {
        return None;
    }
    let env: BTreeMap<OsString, OsString> = env
        .iter()
        .filter_map(|pair| {
            let text = pair.as_encoded_bytes();
            let at = text.iter().position(|byte| *byte == b'=')?;
            let part = |bytes: &[u8]| {
                use std::os::unix::ffi::OsStrExt;
                OsStr::from_bytes(bytes).to_owned()
            };
            Some((part(&text[..at]), part(&text[at + 1..])))
        })
        .filter(|(name, _)| !OWN_VARS.iter().any(|own| name == own))
        .collect();
    let name = file_name(Path::new(env.get(OsStr::new("OUT_DIR"))?))?;
    let record = Record {
        format: FORMAT,
        program: program.clone(),
        args: Args::new(argv.get(1..)?.to_vec()),
        env,
        cwd: directory.clone(),
    };
    Some((name, record))
}

/// The record's name: that of the folder around `OUT_DIR`, which cargo makes unique.
fn file_name(out_dir: &Path) -> Option<String> {
    let name = out_dir.parent()?.file_name()?.to_str()?;
    Some(format!("{name}.json"))
}

/// The recorded run of the script behind `action`'s `OUT_DIR`; `None` if there is no record.
pub(super) fn of(action: &Action, folder: &Path) -> Result<Option<Action>, RecordError> {
    let Some(out_dir) = &action.out_dir else {
        return Ok(None);
    };
    let path = file_name(out_dir).map(|name| folder.join(name));
    let Some(path) = path.filter(|path| path.is_file()) else {
        return Ok(None);
    };
    let record = Record::read(&path)?;
    let root = &action.package.root;
    let said = out_dir.parent().map(|place| fs::read(place.join("output")));
    let said = Directives::parse(&said.and_then(Result::ok).unwrap_or_default());
    let mut inputs: BTreeSet<_> = said.watched(root).into_iter().collect();
    if !action.package.member {
        // Nobody edits what came from a registry.
        inputs.insert(root.clone());
    }
    let mut declared: BTreeSet<OsString> = said
        .values("rerun-if-env-changed")
        .map(OsString::from)
        .collect();
    declared.extend(record.env.keys().filter(|own| set_by_cargo(own)).cloned());
    Ok(Some(Action {
        target: "build-script-build".to_owned(),
        kind: TargetKind::NoMetadata,
        program: record.program,
        args: record.args,
        env: record.env,
        declared_env: declared,
        dep_env: BTreeSet::new(),
        cwd: record.cwd,
        inputs,
        outputs: Vec::new(),
        weight: 0,
        ..action.clone()
    }))
}

/// Variables that Cargo sets for build scripts ("Environment variables Cargo sets for build
/// scripts" in The Cargo Book).
fn set_by_cargo(name: &OsStr) -> bool {
    const NAMES: &[&str] = &[
        "CARGO",
        "DEBUG",
        "HOST",
        "LD_LIBRARY_PATH",
        "NUM_JOBS",
        "OPT_LEVEL",
        "OUT_DIR",
        "PROFILE",
        "RUSTC",
        "RUSTC_LINKER",
        "RUSTDOC",
        "RUSTFLAGS",
        "TARGET",
    ];
    let name = name.to_string_lossy();
    NAMES.contains(&&*name) || name.starts_with("CARGO_") || name.starts_with("DEP_")
}
