//! `--deps tree`: who needs whom.
//!
//! A dependency table is flat: it names every crate that was loaded. Whose dependency each one is stands
//! in the tables of the others, which are looked for beside the file and in the toolchains.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::Inspection;
use crate::artifact::{self, Completion, CrateDep, CrateRoot, Svh};
use crate::cli::toolchains;

/// The tables of a crate's dependencies, by SVH.
type Tables = BTreeMap<Svh, BTreeSet<Svh>>;

pub(super) fn render(file: &Inspection) -> String {
    let Some(root) = &file.root else {
        return String::new();
    };
    let tables = tables(file, root);
    let mut text = format!("{}  {}\n", root.name, root.svh);
    let mut seen = BTreeSet::new();
    let all: Vec<&CrateDep> = root.deps.iter().collect();
    branch(&mut text, "", &all, &tables, &mut seen);
    let unknown: Vec<String> = root
        .deps
        .iter()
        .filter(|dep| !tables.contains_key(&dep.svh))
        .map(|dep| dep.name.to_string())
        .collect();
    if !unknown.is_empty() {
        let _ = writeln!(
            text,
            "what these need themselves is not known, their files were not found: {}",
            unknown.join(", ")
        );
    }
    text
}

/// Those of `deps` that no other of them needs, each with its own below it.
fn branch(
    text: &mut String,
    indent: &str,
    deps: &[&CrateDep],
    tables: &Tables,
    seen: &mut BTreeSet<Svh>,
) {
    let needed = |dep: &CrateDep| {
        let mut others = deps.iter().filter(|other| other.svh != dep.svh);
        others.any(|other| {
            tables
                .get(&other.svh)
                .is_some_and(|table| table.contains(&dep.svh))
        })
    };
    let direct: Vec<&&CrateDep> = deps.iter().filter(|dep| !needed(dep)).collect();
    for (index, dep) in direct.iter().enumerate() {
        let last = index + 1 == direct.len();
        let fresh = seen.insert(dep.svh);
        let below: Vec<&CrateDep> = match tables.get(&dep.svh) {
            Some(table) => deps
                .iter()
                .copied()
                .filter(|d| table.contains(&d.svh))
                .collect(),
            None => Vec::new(),
        };
        let again = if fresh || below.is_empty() {
            ""
        } else {
            "  (see above)"
        };
        let (mark, next) = if last {
            ("└─", "   ")
        } else {
            ("├─", "│  ")
        };
        let _ = writeln!(text, "{indent}{mark} {}  {}{again}", dep.name, dep.svh);
        if fresh {
            branch(text, &format!("{indent}{next}"), &below, tables, seen);
        }
    }
}

fn tables(file: &Inspection, root: &CrateRoot) -> Tables {
    let parent = file
        .path
        .parent()
        .filter(|path| !path.as_os_str().is_empty());
    let mut directories: Vec<PathBuf> = vec![parent.unwrap_or(Path::new(".")).to_owned()];
    // Cargo puts a copy of what was asked for above the rest.
    directories.push(directories[0].join("deps"));
    directories.extend(toolchains::libraries(std::slice::from_ref(&root.triple)));
    let mut wanted: BTreeMap<Svh, &CrateDep> = root.deps.iter().map(|dep| (dep.svh, dep)).collect();
    let mut found = Tables::new();
    for directory in directories {
        if wanted.is_empty() {
            break;
        }
        let entries = std::fs::read_dir(&directory).into_iter().flatten();
        let mut paths: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        paths.sort();
        for path in paths {
            let stem = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .unwrap_or_default();
            let fits = |dep: &&CrateDep| {
                dep.extra_filename.is_empty() || stem.ends_with(&dep.extra_filename)
            };
            if !stem.starts_with("lib") || !wanted.values().any(fits) {
                continue;
            }
            let Ok(artifact) = artifact::open(&path) else {
                continue;
            };
            let Ok(mut root) = artifact.root() else {
                continue;
            };
            if let Completion::From(_, full) = artifact.complete(&root) {
                root = *full;
            }
            if !root.is_stub && wanted.remove(&root.svh).is_some() {
                found.insert(root.svh, root.deps.iter().map(|dep| dep.svh).collect());
            }
        }
    }
    found
}
