//! A build on a remote execution cluster: which compiles it had there, and by which digests the
//! cluster knows them.
//!
//! The build has an output base of its own: what Bazel's local action cache answers never gets into
//! the execution log, and the user's own outputs stay as they are. The cluster's cache answers what
//! has not changed, so little is compiled.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::actions::{configuration, crate_id, is_for_tool, plain_label, target_name};
use super::command::Bazel;
use super::events::Events;
use super::log::{self, Spawn};
use super::{BazelError, Request, WITHOUT_METADATA};
use crate::interrupt::Interrupt;
use crate::project::area::Area;
use crate::project::{Package, TargetKind};
use crate::remote::{Blob, Settings};

/// The crates of a build on a cluster.
#[derive(Debug, Default)]
pub struct Recorded {
    /// Those that are judged, and those that they load, sorted by id.
    pub crates: Vec<Crate>,
    /// Targets that are not judged, as (label, why), sorted.
    pub left_out: Vec<(String, String)>,
    /// Things the user should know, a sentence each.
    pub notes: Vec<String>,
    /// Whether the build fails.
    pub broken: bool,
}

/// One crate, as the cluster made it.
#[derive(Debug)]
pub struct Crate {
    /// Its label, with ` [for tool]` behind it where it is made for a tool of the build.
    pub id: String,
    /// Its package.
    pub package: Package,
    /// Its target's name.
    pub target: String,
    /// What is made.
    pub kind: TargetKind,
    /// The action that made it.
    pub action: Blob,
    /// What holds its metadata, the fullest first.
    pub artifacts: Vec<(String, Blob)>,
    /// Ids of the crates that it was given.
    pub loads: BTreeSet<String>,
    /// Whether the user wants it judged.
    pub wanted: bool,
}

/// The action that makes a crate, and the one that makes its metadata alone.
const MNEMONICS: &[&str] = &["Rustc", "RustcMetadata"];

/// Runs the build on the cluster and reads its execution log.
pub fn record(
    request: &Request,
    cluster: &Settings,
    interrupt: &Interrupt,
) -> Result<Recorded, BazelError> {
    let mut bazel = Bazel::new(request, interrupt)?;
    let area = Area::open(&bazel.places()?.output_base.join("svhcheck"))?;
    let scratch = area.scratch()?;
    let log = scratch.path().join("execution.log");
    let events = scratch.path().join("events.json");
    bazel.startup.push(flag(
        "--output_base=",
        area.folder.join("remote").as_os_str(),
    ));
    // Should nobody be left to end the server, it ends itself.
    bazel.startup.push("--max_idle_secs=60".into());
    let mut build = |form| {
        bazel.flags = build_flags(cluster, form, &log);
        let server = Server(&bazel);
        bazel.run("clean")?;
        let succeeded = bazel.build(&request.patterns, &events);
        drop(server);
        succeeded
    };
    let succeeded = match build("compact") {
        // A Bazel without its zstd library (Debian's) dies of the compact form.
        Err(BazelError::Failed { status, .. }) if status == CRASHED => build("json")?,
        other => other?,
    };
    let mut events = Events::read(&events)?;
    if let Some((pattern, why)) = events.unmatched.pop() {
        return Err(BazelError::NoMatch { pattern, why });
    }
    let mut recorded = sort(log::read(&log, MNEMONICS)?, |label| {
        if label.starts_with("//") {
            events.targets.contains(label)
        } else {
            request.deps
        }
    });
    if !recorded.crates.iter().any(|own| own.wanted) {
        return Err(match (succeeded, recorded.left_out.is_empty()) {
            (false, _) => BazelError::BuildFails,
            (true, true) => BazelError::NoRust,
            (true, false) => BazelError::NotRemote(recorded.left_out.swap_remove(0)),
        });
    }
    recorded.broken = !succeeded;
    if recorded.broken {
        let note = "the build fails; what it did not make is not checked";
        recorded.notes.push(note.to_owned());
    }
    Ok(recorded)
}

/// How a build ends whose server met an error of its own (Bazel's ExitCode.java).
const CRASHED: &str = "exit status: 37";

/// Ends the second server of a workspace.
struct Server<'a>(&'a Bazel<'a>);

impl Drop for Server<'_> {
    fn drop(&mut self) {
        self.0.shut_down();
    }
}

fn flag(name: &str, value: &OsStr) -> std::ffi::OsString {
    let mut flag = std::ffi::OsString::from(name);
    flag.push(value);
    flag
}

/// What makes a build run on the cluster, keep its outputs there, and write down what ran.
fn build_flags(cluster: &Settings, form: &str, log: &Path) -> Vec<std::ffi::OsString> {
    let mut flags = vec![
        format!("--remote_executor={}", cluster.address).into(),
        format!("--remote_instance_name={}", cluster.instance).into(),
        "--remote_download_outputs=minimal".into(),
        // No links to this output base. `clean` takes away those to the user's, behind which `//...` would
        // look for packages here; the user's next build makes them again.
        "--experimental_convenience_symlinks=ignore".into(),
        flag(&format!("--execution_log_{form}_file="), log.as_os_str()),
    ];
    let headers = cluster.headers.iter();
    flags.extend(headers.map(|pair| format!("--remote_header={pair}").into()));
    flags
}

/// Makes crates of spawns; `wanted` says by its label which are judged.
fn sort(spawns: Vec<Spawn>, wanted: impl Fn(&str) -> bool) -> Recorded {
    let mut recorded = Recorded::default();
    let mut made: BTreeMap<String, usize> = BTreeMap::new();
    let target = |label: &str, output: &str| {
        let configuration = configuration(Path::new(output));
        (label.to_owned(), configuration.map(OsStr::to_owned))
    };
    let mut targets = BTreeMap::new();
    let mut inputs: Vec<BTreeSet<String>> = Vec::new();
    let (full, metadata): (Vec<Spawn>, Vec<Spawn>) =
        spawns.into_iter().partition(|own| own.mnemonic == "Rustc");
    for spawn in full {
        let label = plain_label(spawn.label.clone());
        let own = Crate::new(label.clone(), wanted(&label), &spawn);
        match own {
            Ok(own) => {
                let at = recorded.crates.len();
                for (path, _) in &own.artifacts {
                    made.insert(path.clone(), at);
                    targets.insert(target(&label, path), at);
                }
                inputs.push(spawn.inputs);
                recorded.crates.push(own);
            }
            Err((id, why)) if wanted(&label) => recorded.left_out.push((id, why.to_owned())),
            Err(_) => {}
        }
    }
    // Dependents of a pipelined crate take the metadata that another action made, wherever that put it.
    for spawn in metadata {
        let label = plain_label(spawn.label);
        for path in spawn.outputs.into_keys() {
            if let Some(at) = targets.get(&target(&label, &path)) {
                made.entry(path).or_insert(*at);
            }
        }
    }
    let ids: Vec<String> = recorded.crates.iter().map(|own| own.id.clone()).collect();
    for (at, (own, inputs)) in recorded.crates.iter_mut().zip(inputs).enumerate() {
        let given = inputs.iter().filter_map(|path| made.get(path));
        own.loads = given
            .filter(|other| **other != at)
            .map(|other| ids[*other].clone())
            .collect();
    }
    recorded.crates.sort_by(|a, b| a.id.cmp(&b.id));
    recorded.left_out.sort();
    recorded.left_out.dedup();
    recorded
}

impl Crate {
    /// The crate behind a spawn, or its id and why it is none that can be judged.
    fn new(label: String, wanted: bool, spawn: &Spawn) -> Result<Self, (String, &'static str)> {
        let mut outputs = spawn.outputs.keys();
        let id = crate_id(&label, outputs.any(|path| is_for_tool(Path::new(path))));
        let kinds = ["rlib", std::env::consts::DLL_EXTENSION, "rmeta"];
        let rank = |path: &str| {
            let extension = Path::new(path).extension()?;
            kinds.iter().position(|kind| extension == *kind)
        };
        let outputs = spawn.outputs.iter();
        let mut artifacts: Vec<(String, Blob)> = outputs
            .filter(|(path, _)| rank(path).is_some())
            .map(|(path, blob)| (path.clone(), blob.clone()))
            .collect();
        artifacts.sort_by_key(|(path, _)| rank(path));
        let kind = match artifacts.first().and_then(|(path, _)| rank(path)) {
            Some(0) => TargetKind::Lib,
            Some(1) => TargetKind::ProcMacro,
            _ if !spawn.succeeded => return Err((id, "the build did not make it: it failed")),
            _ => return Err((id, WITHOUT_METADATA)),
        };
        let Some(action) = spawn.action.clone().filter(|_| spawn.remotable) else {
            let why = "it did not run on the cluster (a tag or a strategy keeps it here), so it cannot run there again";
            return Err((id, why));
        };
        let var = |name: &str| spawn.env.get(name).cloned();
        Ok(Self {
            target: target_name(&label),
            package: Package {
                name: var("CARGO_PKG_NAME").unwrap_or_else(|| label.clone()),
                version: var("CARGO_PKG_VERSION").unwrap_or_default(),
                root: PathBuf::new(),
                member: label.starts_with("//"),
                label: Some(label),
            },
            id,
            kind,
            action,
            artifacts,
            loads: BTreeSet::new(),
            wanted,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(text: &str) -> Blob {
        Blob {
            hash: text.to_owned(),
            size: 1,
        }
    }

    fn spawn(label: &str, mnemonic: &str, inputs: &[&str], output: &str) -> Spawn {
        let inputs = inputs.iter().map(|own| (*own).to_owned());
        Spawn {
            label: label.to_owned(),
            mnemonic: mnemonic.to_owned(),
            inputs: inputs.collect(),
            outputs: [(output.to_owned(), blob(output))].into(),
            action: Some(blob(label)),
            remotable: true,
            succeeded: true,
            ..Spawn::default()
        }
    }

    #[test]
    fn crates_are_told_from_programs_and_know_what_they_load() {
        let mut kept_here = spawn("@@//c:kept", "Rustc", &[], "o/k8/bin/c/libkept.rlib");
        kept_here.remotable = false;
        let spawns = vec![
            spawn("//a:a", "Rustc", &[], "o/k8/bin/a/liba-1.rlib"),
            spawn(
                "//a:a",
                "RustcMetadata",
                &[],
                "o/k8/bin/a/_meta/liba-1.rmeta",
            ),
            spawn(
                "//a:a",
                "RustcMetadata",
                &[],
                "o/arm/bin/a/_meta/liba-1.rmeta",
            ),
            spawn("//m:m", "Rustc", &[], "o/k8-opt-exec-1/bin/m/libm.so"),
            spawn(
                "//b:b",
                "Rustc",
                &["o/k8/bin/a/_meta/liba-1.rmeta", "b.rs"],
                "o/k8/bin/b/libb.rlib",
            ),
            spawn(
                "//b:bin",
                "Rustc",
                &["o/k8/bin/b/libb.rlib"],
                "o/k8/bin/b/bin",
            ),
            spawn("@@x//:x", "Rustc", &[], "o/k8/bin/x/libx.rlib"),
            kept_here,
        ];
        let found = sort(spawns, |label| label.starts_with("//"));
        let ids: Vec<&str> = found.crates.iter().map(|own| own.id.as_str()).collect();
        assert_eq!(ids, ["//a:a", "//b:b", "//m:m [for tool]", "@@x//:x"]);
        assert_eq!(found.crates[1].loads, ["//a:a".to_owned()].into());
        assert_eq!(found.crates[2].kind, TargetKind::ProcMacro);
        assert!(found.crates[0].wanted && !found.crates[3].wanted);
        let left: Vec<&str> = found.left_out.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(left, ["//b:bin", "//c:kept"]);
    }
}
