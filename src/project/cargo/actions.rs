//! From cargo's messages and the records to actions.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use cargo_metadata::{Artifact, Message};
use fs_err as fs;

use super::CargoError;
use super::members::Member;
use crate::project::recorded::{Record, RecordError};
use crate::project::{Action, Package, TargetKind};
use crate::rustc::depinfo::DepInfo;

pub(super) fn kind(artifact: &Artifact) -> TargetKind {
    use cargo_metadata::CrateType::{DyLib, Lib, ProcMacro, RLib};
    // Test harnesses of libraries are programs.
    if artifact.executable.is_some() || artifact.profile.test {
        return TargetKind::NoMetadata;
    }
    let types = &artifact.target.crate_types;
    if types.contains(&ProcMacro) {
        TargetKind::ProcMacro
    } else if types.iter().any(|kind| matches!(kind, Lib | RLib | DyLib)) {
        TargetKind::Lib
    } else {
        TargetKind::NoMetadata
    }
}

pub(super) fn why_no_metadata(artifact: &Artifact) -> String {
    let kind = artifact
        .target
        .kind
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    format!("{kind}: nothing reads metadata of it, so it has no SVH to compare")
}

pub(super) fn package(
    metadata: &cargo_metadata::Metadata,
    artifact: &Artifact,
    member: bool,
) -> Package {
    let known = metadata
        .packages
        .iter()
        .find(|package| package.id == artifact.package_id);
    let root = artifact
        .manifest_path
        .parent()
        .map(|root| root.as_std_path().to_path_buf());
    Package {
        name: known.map_or_else(
            || artifact.target.name.clone(),
            |package| package.name.to_string(),
        ),
        version: known
            .map(|package| package.version.to_string())
            .unwrap_or_default(),
        root: root.unwrap_or_default(),
        member,
        label: None,
    }
}

pub(super) fn label(package: &Package, member: Option<&Member>, artifact: &Artifact) -> String {
    match member {
        Some(member) => format!("//{}:{}", member.folder, artifact.target.name),
        None if artifact.target.is_custom_build() => {
            format!(
                "{}@{}:{}",
                package.name, package.version, artifact.target.name
            )
        }
        None => format!("{}@{}", package.name, package.version),
    }
}

/// Variables that build scripts set for their own packages, by package id.
pub(super) fn script_env(messages: &[Message]) -> BTreeMap<String, BTreeSet<OsString>> {
    let mut found: BTreeMap<String, BTreeSet<OsString>> = BTreeMap::new();
    for message in messages {
        if let Message::BuildScriptExecuted(script) = message {
            let names = script.env.iter().map(|(name, _)| OsString::from(name));
            found
                .entry(script.package_id.repr.clone())
                .or_default()
                .extend(names);
        }
    }
    found
}

/// All records of the recording.
pub(super) struct Records(Vec<Record>);

impl Records {
    pub(super) fn read(folder: &Path) -> Result<Self, RecordError> {
        let mut paths: Vec<PathBuf> = fs::read_dir(folder)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        paths.retain(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        });
        paths.sort();
        let read = paths.iter().map(|path| Record::read(path));
        Ok(Self(read.collect::<Result<_, _>>()?))
    }

    /// The command behind an artifact. Cargo names the `deps/` file of most (its hash is unique);
    /// members' own libraries are named by a second, hash-less name with the same content.
    pub(super) fn find(&self, artifact: &Artifact) -> Option<&Record> {
        let files: Vec<&Path> = artifact
            .filenames
            .iter()
            .map(|path| path.as_std_path())
            .collect();
        let outputs = |record: &Record| record.outputs();
        if let Some(named) = self.0.iter().find(|record| {
            outputs(record)
                .iter()
                .any(|path| files.contains(&path.as_path()))
        }) {
            return Some(named);
        }
        self.of_target(artifact).find(|record| {
            outputs(record)
                .iter()
                .any(|path| files.iter().any(|file| same_file(path, file)))
        })
    }

    /// The compiles of a target, those of earlier builds too: one for each set of features and each
    /// profile. Of a build script, Cargo tells no more.
    pub(super) fn of_target(&self, artifact: &Artifact) -> impl Iterator<Item = &Record> {
        let root = artifact.manifest_path.parent();
        let root = root.map(|own| own.as_std_path().as_os_str().to_owned());
        let name = artifact.target.name.replace('-', "_");
        self.0.iter().filter(move |record| {
            let folder = record.env.get(OsStr::new("CARGO_MANIFEST_DIR"));
            record.args.crate_name() == Some(&name) && folder == root.as_ref()
        })
    }
}

/// Whether two paths lead to one content (cargo hard-links, and copies where it cannot).
fn same_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (Ok(one), Ok(two)) = (fs::metadata(a), fs::metadata(b)) else {
        return false;
    };
    if (one.dev(), one.ino()) == (two.dev(), two.ino()) {
        return true;
    }
    one.len() == two.len() && matches!((fs::read(a), fs::read(b)), (Ok(one), Ok(two)) if one == two)
}

pub(super) fn action(
    id: String,
    package: Package,
    artifact: &Artifact,
    record: &Record,
    script: Option<&BTreeSet<OsString>>,
) -> Result<Action, CargoError> {
    let dep_info = match record.dep_info().map(fs::read) {
        Some(Ok(text)) => DepInfo::parse(&text),
        Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => DepInfo::default(),
    };
    let dep_env: BTreeSet<OsString> = dep_info.env.keys().map(OsString::from).collect();
    let mut declared = dep_env.clone();
    declared.extend(script.into_iter().flatten().cloned());
    declared.extend(record.env.keys().filter(|name| set_by_cargo(name)).cloned());
    let outputs = record.outputs();
    let weight = outputs
        .iter()
        .filter_map(|path| fs::metadata(path).ok())
        .map(|meta| meta.len())
        .sum();
    Ok(Action {
        id,
        package,
        target: artifact.target.name.clone(),
        kind: kind(artifact),
        program: record.program.clone(),
        args: record.args.clone(),
        out_dir: record.env.get(OsStr::new("OUT_DIR")).map(PathBuf::from),
        env: record.env.clone(),
        declared_env: declared,
        dep_env,
        cwd: record.cwd.clone(),
        inputs: dep_info.files,
        outputs,
        weight,
        wanted: true,
        layout: None,
        metadata: None,
        opt_out: None,
        lets_through: None,
    })
}

/// Variables that Cargo sets for a compile ("Environment variables Cargo sets for crates" in The
/// Cargo Book), and those without which the compiler itself does not run.
fn set_by_cargo(name: &OsStr) -> bool {
    const NAMES: &[&str] = &[
        "CARGO",
        "CARGO_CRATE_NAME",
        "CARGO_PRIMARY_PACKAGE",
        "CARGO_TARGET_TMPDIR",
        "DYLD_FALLBACK_LIBRARY_PATH",
        "LD_LIBRARY_PATH",
        "OUT_DIR",
        "RUSTC_BOOTSTRAP",
    ];
    let name = name.to_string_lossy();
    NAMES.contains(&&*name)
        || ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
}
