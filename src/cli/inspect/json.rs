//! `--format json`: an array with an object for each file, in the order of the arguments.

use serde::Serialize;

use super::{Inspection, Stub};
use crate::artifact::{CrateDep, CrateRoot};
use crate::bytes::Escaped;

#[derive(Serialize)]
struct File<'a> {
    path: String,
    kind: &'static str,
    size: usize,
    rustc: Option<&'a str>,
    metadata_version: Option<u8>,
    metadata: Option<Extent>,
    #[serde(rename = "crate")]
    krate: Option<Crate<'a>>,
    stub: Option<Completion>,
    dependencies: Vec<Dependency<'a>>,
    members: Vec<Member>,
    problems: &'a [String],
}

#[derive(Serialize)]
struct Extent {
    offset: usize,
    size: usize,
}

/// A name that could not be found reads `sym#` and the compiler's index of it.
#[derive(Serialize)]
struct Crate<'a> {
    name: String,
    svh: String,
    stable_crate_id: Option<String>,
    extra_filename: Option<&'a str>,
    triple: &'a str,
    target_json: Option<&'a str>,
    is_proc_macro: Option<bool>,
    edition: Option<String>,
    panic_strategy: Option<String>,
    panic_in_drop: Option<String>,
    symbol_mangling: Option<String>,
    flags: std::collections::BTreeMap<String, bool>,
}

#[derive(Serialize)]
struct Completion {
    status: &'static str,
    path: String,
}

#[derive(Serialize)]
struct Dependency<'a> {
    name: String,
    svh: String,
    host_svh: Option<String>,
    kind: String,
    extra_filename: &'a str,
    is_private: Option<bool>,
    linkage: Option<String>,
}

#[derive(Serialize)]
struct Member {
    name: String,
    offset: usize,
    size: usize,
}

/// The whole array, with a newline at its end.
pub(super) fn render(inspections: &[Inspection]) -> serde_json::Result<String> {
    let files: Vec<_> = inspections.iter().map(file).collect();
    let mut text = serde_json::to_string_pretty(&files)?;
    text.push('\n');
    Ok(text)
}

fn file(file: &Inspection) -> File<'_> {
    let root = file.root.as_ref();
    File {
        path: Escaped::os(&file.path).to_string(),
        kind: file.label(),
        size: file.size,
        rustc: file.rustc.as_deref(),
        metadata_version: file.metadata_version,
        metadata: file.metadata.as_ref().map(|range| Extent {
            offset: range.start,
            size: range.len(),
        }),
        krate: root.map(krate),
        stub: file.stub.as_ref().map(|stub| {
            let (status, path) = match stub {
                Stub::CompletedFrom(path) => ("completed-from", path),
                Stub::Missing(path) => ("missing", path),
                Stub::OfAnotherBuild(path) => ("of-another-build", path),
                Stub::Unreadable(path) => ("unreadable", path),
            };
            let path = Escaped::os(path).to_string();
            Completion { status, path }
        }),
        dependencies: root.map_or_else(Vec::new, |root| root.deps.iter().map(dependency).collect()),
        members: file.members.iter().map(member).collect(),
        problems: &file.problems,
    }
}

fn krate(root: &CrateRoot) -> Crate<'_> {
    Crate {
        name: root.name.to_string(),
        svh: root.svh.to_string(),
        stable_crate_id: text(root.stable_crate_id.as_ref()),
        extra_filename: root.extra_filename.as_deref(),
        triple: &root.triple,
        target_json: root.target_json.as_deref(),
        is_proc_macro: root.is_proc_macro,
        edition: text(root.edition.as_ref()),
        panic_strategy: text(root.panic_strategy.as_ref()),
        panic_in_drop: text(root.panic_in_drop.as_ref()),
        symbol_mangling: text(root.symbol_mangling.as_ref()),
        flags: (root.flags.iter())
            .map(|(flag, value)| (flag.to_string(), *value))
            .collect(),
    }
}

fn dependency(dep: &CrateDep) -> Dependency<'_> {
    Dependency {
        name: dep.name.to_string(),
        svh: dep.svh.to_string(),
        host_svh: text(dep.host_svh.as_ref()),
        kind: dep.kind.to_string(),
        extra_filename: &dep.extra_filename,
        is_private: dep.is_private,
        linkage: text(dep.linkage.as_ref()),
    }
}

fn member(member: &super::Member) -> Member {
    Member {
        name: Escaped(&member.name).to_string(),
        offset: member.range.start,
        size: member.range.len(),
    }
}

fn text(value: Option<&impl ToString>) -> Option<String> {
    value.map(ToString::to_string)
}
