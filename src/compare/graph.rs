//! Whether artifacts fit together: what rustc would meet when it loads and links them, foretold from
//! their dependency tables.
//!
//! A crate's table names every crate that was loaded when it was compiled, each with its SVH and the
//! extra part of its file name. rustc looks for `lib<name><extra>*` on its `-L` paths, takes the one
//! with that SVH, and stops with E0460 or E0463 where there is none. The same is done here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::artifact::{Artifact, CrateDep, CrateRoot, DepKind, Kind, Svh};

/// What a file can be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// An rlib with code.
    Rlib,
    /// An rlib with metadata and no code (`-Zno-codegen`): dependents compile, nothing links.
    Hollow,
    /// An `.rmeta` file.
    Metadata,
    /// A dylib, which links.
    Dylib,
    /// A proc macro, which runs in the compiler.
    ProcMacro,
}

impl Form {
    /// Its word in output.
    pub fn word(self) -> &'static str {
        match self {
            Self::Rlib => "rlib",
            Self::Hollow => "hollow rlib",
            Self::Metadata => "rmeta",
            Self::Dylib => "dylib",
            Self::ProcMacro => "proc macro",
        }
    }

    /// What an artifact can be used for, by what it holds.
    pub fn of(artifact: &Artifact, root: &CrateRoot) -> Self {
        match artifact.kind() {
            Kind::Archive => {
                let metadata = |name: &[u8]| name.starts_with(b"lib.rmeta");
                let mut members = artifact.members().map_while(Result::ok);
                // Up to rustc 1.40 the metadata had another name, and hollow rlibs did not exist.
                if members.all(|member| metadata(member.name)) {
                    Self::Hollow
                } else {
                    Self::Rlib
                }
            }
            Kind::Metadata => Self::Metadata,
            _ if root.is_proc_macro == Some(true) => Self::ProcMacro,
            _ => Self::Dylib,
        }
    }

    fn links(self) -> bool {
        matches!(self, Self::Rlib | Self::Dylib)
    }
}

/// An artifact that was read.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its path.
    pub path: PathBuf,
    /// The crate in it, names resolved, completed if the file holds a stub.
    pub root: CrateRoot,
    /// What it can be used for.
    pub form: Form,
    /// Whether it is a stub whose full metadata was not found.
    pub lone_stub: bool,
    /// For a file that Cargo keeps: when it was written. Cargo never uses one that is older than what
    /// it depends on, but leaves it lying about.
    pub kept_since: Option<SystemTime>,
}

impl Node {
    /// Whether Cargo would make this anew before using it, since `dependency` was written later.
    fn is_leftover_beside(&self, dependency: &Node) -> bool {
        let times = self.kept_since.zip(dependency.kept_since);
        times.is_some_and(|(own, other)| other > own)
    }
}

/// What is wrong with a set of artifacts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// E0460: the crate that `user` was compiled against is not there, another build of it is.
    Stale {
        /// Who expects it, by index.
        user: usize,
        /// The dependency's name.
        name: String,
        /// The SVH that it must have.
        expected: Svh,
        /// The builds that are there.
        offered: Vec<usize>,
        /// Whether it is there as metadata, so that compiling works and linking does not.
        at_link: bool,
    },
    /// E0463: no build of the crate is there.
    Missing {
        /// Who expects it.
        user: usize,
        /// The dependency's name.
        name: String,
        /// The beginning of the name that its file must have.
        file: String,
    },
    /// The crate is there, but not in a form that links.
    NotLinkable {
        /// Who needs its code.
        user: usize,
        /// The dependency's name.
        name: String,
        /// What is there instead.
        offered: Vec<usize>,
    },
    /// "only metadata stub found", an error without a code: a stub without the `.rmeta` that completes it.
    LoneStub {
        /// The stub.
        node: usize,
    },
    /// E0514: the crate is there, but of another compiler than the one that it is to be used with.
    OtherCompiler {
        /// Who needs it.
        user: usize,
        /// The dependency's name.
        name: String,
        /// What is there instead.
        offered: Vec<usize>,
    },
    /// E0514: crates of several compilers, which cannot be used together.
    Compilers {
        /// How many artifacts each wrote.
        counts: BTreeMap<String, usize>,
    },
    /// E0464 for whoever looks the crate up by name alone.
    Duplicates {
        /// The crate's name.
        name: String,
        /// Its builds in one directory.
        nodes: Vec<usize>,
    },
}

impl Finding {
    /// Its word in machine output.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Stale { .. } => "stale-dependency",
            Self::Missing { .. } => "missing-crate",
            Self::NotLinkable { .. } => "not-linkable",
            Self::LoneStub { .. } => "lone-stub",
            Self::OtherCompiler { .. } => "other-compiler",
            Self::Compilers { .. } => "mixed-compilers",
            Self::Duplicates { .. } => "duplicate-candidates",
        }
    }

    /// The error of rustc that it foretells, where there is one.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Self::Stale { .. } => Some("E0460"),
            Self::Missing { .. } => Some("E0463"),
            Self::OtherCompiler { .. } | Self::Compilers { .. } => Some("E0514"),
            Self::Duplicates { .. } => Some("E0464"),
            Self::NotLinkable { .. } | Self::LoneStub { .. } => None,
        }
    }

    /// Whether using the artifacts as they are must fail. Duplicates only do where a crate is looked
    /// up without a path, which Cargo and Bazel never do.
    pub fn is_fatal(&self) -> bool {
        !matches!(self, Self::Duplicates { .. })
    }
}

/// What [`verify`] found.
#[derive(Debug)]
pub struct Report {
    /// All findings, sorted: by kind, then by file.
    pub findings: Vec<Finding>,
    /// Dependencies that were found.
    pub satisfied: usize,
    /// Files that Cargo left from earlier builds and does not use any more. What is wrong with them is
    /// no finding.
    pub leftovers: BTreeSet<usize>,
    /// Crates of a standard library that is not on this machine, so nothing is said of them.
    pub unchecked: BTreeSet<String>,
}

/// Crates of the standard library: where no toolchain is at hand, their absence says nothing.
const STANDARD: [&str; 22] = [
    "addr2line",
    "adler2",
    "alloc",
    "cfg_if",
    "compiler_builtins",
    "core",
    "getopts",
    "gimli",
    "hashbrown",
    "libc",
    "memchr",
    "miniz_oxide",
    "object",
    "panic_abort",
    "panic_unwind",
    "proc_macro",
    "rustc_demangle",
    "rustc_std_workspace_alloc",
    "rustc_std_workspace_core",
    "std",
    "std_detect",
    "unwind",
];

/// Joins the dependency tables of `nodes` with the crates present: `nodes` themselves and those of
/// `outside`, the standard libraries.
pub fn verify(nodes: &[Node], outside: &[Node]) -> Report {
    let mut report = Report {
        findings: Vec::new(),
        satisfied: 0,
        leftovers: BTreeSet::new(),
        unchecked: BTreeSet::new(),
    };
    let mut by_name: BTreeMap<&str, Vec<(usize, &Node)>> = BTreeMap::new();
    for (index, node) in nodes.iter().enumerate() {
        if let Some(name) = node.root.name.known() {
            by_name.entry(name).or_default().push((index, node));
        }
    }
    let standard: BTreeSet<Svh> = outside.iter().map(|node| node.root.svh).collect();
    // An rlib and its rmeta have one table; what is wrong with it is said once.
    let mut seen: BTreeSet<(Svh, String, Svh, bool)> = BTreeSet::new();
    for (user, node) in nodes.iter().enumerate() {
        if node.lone_stub {
            report.findings.push(Finding::LoneStub { node: user });
        }
        for dep in &node.root.deps {
            if standard.contains(&dep.svh) {
                report.satisfied += 1;
                continue;
            }
            let name = dep.name.to_string();
            let candidates = by_name.get(name.as_str()).map_or(&[][..], Vec::as_slice);
            let candidates: Vec<(usize, &Node)> = candidates
                .iter()
                .filter(|(_, candidate)| is_candidate(candidate, node, dep, &name))
                .copied()
                .collect();
            match judge(user, node, dep, &name, &candidates) {
                None => report.satisfied += 1,
                Some(Finding::Missing { .. }) if is_standard(dep, &name, outside, node) => {
                    report.unchecked.insert(name);
                }
                // Nothing that is there fits, and something of it is newer: Cargo made that for
                // somebody else, and would make `node` anew.
                Some(finding) if is_of_leftover(&finding, node, nodes) => {
                    report.leftovers.insert(user);
                }
                Some(finding) => {
                    let links = node.form.links();
                    if seen.insert((node.root.svh, name, dep.svh, links)) {
                        report.findings.push(finding);
                    }
                }
            }
        }
    }
    report.findings.extend(compilers(nodes));
    report.findings.extend(duplicates(&by_name));
    // The rlib says all that its rmeta says.
    let said: BTreeSet<(Svh, String)> = report
        .findings
        .iter()
        .filter_map(|finding| match finding {
            Finding::Stale { user, name, .. }
            | Finding::Missing { user, name, .. }
            | Finding::OtherCompiler { user, name, .. } => {
                let node = &nodes[*user];
                node.form.links().then(|| (node.root.svh, name.clone()))
            }
            _ => None,
        })
        .collect();
    report.findings.retain(|finding| match finding {
        Finding::Stale { user, name, .. }
        | Finding::Missing { user, name, .. }
        | Finding::OtherCompiler { user, name, .. } => {
            let node = &nodes[*user];
            node.form.links() || !said.contains(&(node.root.svh, name.clone()))
        }
        _ => true,
    });
    report.findings.sort();
    report
}

fn is_of_leftover(finding: &Finding, user: &Node, nodes: &[Node]) -> bool {
    match finding {
        Finding::Stale { offered, .. } | Finding::OtherCompiler { offered, .. } => {
            let mut offered = offered.iter();
            offered.any(|other| user.is_leftover_beside(&nodes[*other]))
        }
        _ => false,
    }
}

/// Whether rustc would look at this file when it searches for the dependency.
fn is_candidate(candidate: &Node, user: &Node, dep: &CrateDep, name: &str) -> bool {
    let stem = candidate.path.file_stem().unwrap_or_default();
    let stem = stem.to_string_lossy();
    let stem = stem.strip_prefix("lib").unwrap_or(&stem);
    // A proc macro is of the host, whatever the target is.
    let target = candidate.root.triple == user.root.triple || candidate.form == Form::ProcMacro;
    let extra = stem.strip_prefix(name);
    target && extra.is_some_and(|extra| extra.starts_with(&dep.extra_filename))
}

fn is_standard(dep: &CrateDep, name: &str, outside: &[Node], user: &Node) -> bool {
    // With the very toolchain at hand, what is not in it is missing.
    let at_hand = outside
        .iter()
        .any(|node| node.root.rustc == user.root.rustc && node.root.triple == user.root.triple);
    let unknown = dep.name.known().is_none();
    !at_hand && (unknown || STANDARD.contains(&name))
}

/// What is wrong with one dependency.
fn judge(
    user: usize,
    node: &Node,
    dep: &CrateDep,
    name: &str,
    candidates: &[(usize, &Node)],
) -> Option<Finding> {
    let indexes = |wanted: &dyn Fn(&Node) -> bool| -> Vec<usize> {
        let wanted = candidates.iter().filter(|(_, candidate)| wanted(candidate));
        wanted.map(|(index, _)| *index).collect()
    };
    let name = name.to_owned();
    if candidates.is_empty() {
        let file = format!("lib{name}{}", dep.extra_filename);
        return Some(Finding::Missing { user, name, file });
    }
    // Of another compiler's crates rustc reads no more than that.
    let own = |candidate: &Node| candidate.root.rustc == node.root.rustc;
    if indexes(&own).is_empty() {
        let offered = indexes(&|_| true);
        return Some(Finding::OtherCompiler {
            user,
            name,
            offered,
        });
    }
    let right = |candidate: &Node| own(candidate) && candidate.root.svh == dep.svh;
    let matching = indexes(&right);
    let stale = |offered: Vec<usize>, at_link: bool| Finding::Stale {
        user,
        name: name.clone(),
        expected: dep.svh,
        offered,
        at_link,
    };
    if matching.is_empty() {
        return Some(stale(indexes(&own), false));
    }
    let macros = matches!(
        dep.kind,
        DepKind::MacrosOnly | DepKind::UnexportedMacrosOnly
    );
    let usable = |candidate: &Node| candidate.form.links() && right(candidate);
    // Only who has code itself is going to be linked.
    if macros || !node.form.links() || !indexes(&usable).is_empty() {
        return None;
    }
    let runs = |candidate: &Node| candidate.form == Form::ProcMacro && right(candidate);
    if !indexes(&runs).is_empty() {
        return None;
    }
    let full = indexes(&|candidate| own(candidate) && candidate.form.links());
    Some(if full.is_empty() {
        Finding::NotLinkable {
            user,
            name: name.clone(),
            offered: matching,
        }
    } else {
        stale(full, true)
    })
}

/// Compilers whose crates cannot be used together. Cargo keeps those of each that was ever used apart, by
/// their names.
fn compilers(nodes: &[Node]) -> Option<Finding> {
    let mut counts = BTreeMap::new();
    for node in nodes.iter().filter(|node| node.kept_since.is_none()) {
        *counts.entry(node.root.rustc.clone()).or_default() += 1;
    }
    (counts.len() > 1).then_some(Finding::Compilers { counts })
}

/// Builds of one crate in one directory with several SVHs, where Cargo does not tell them apart.
fn duplicates(by_name: &BTreeMap<&str, Vec<(usize, &Node)>>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (name, nodes) in by_name {
        let mut directories: BTreeMap<(&Path, &str), Vec<(usize, &Node)>> = BTreeMap::new();
        for (index, node) in nodes.iter().filter(|(_, node)| node.kept_since.is_none()) {
            let directory = node.path.parent().unwrap_or(Path::new(""));
            let place = (directory, node.root.triple.as_str());
            directories.entry(place).or_default().push((*index, node));
        }
        for nodes in directories.into_values() {
            let svhs: BTreeSet<Svh> = nodes.iter().map(|(_, node)| node.root.svh).collect();
            if svhs.len() > 1 {
                found.push(Finding::Duplicates {
                    name: (*name).to_owned(),
                    nodes: nodes.iter().map(|(index, _)| *index).collect(),
                });
            }
        }
    }
    found
}

/// Who needs `node`, directly: those that list it, without those that only list it because another
/// of their dependencies does. Sorted.
pub fn dependents(nodes: &[Node], node: usize) -> Vec<usize> {
    let lists = |user: &Node, wanted: &Node| {
        let mut deps = user.root.deps.iter();
        deps.any(|dep| dep.svh == wanted.root.svh)
    };
    let wanted = &nodes[node];
    let users: Vec<usize> = (0..nodes.len())
        .filter(|user| nodes[*user].root.svh != wanted.root.svh && lists(&nodes[*user], wanted))
        .collect();
    let between = |user: &usize| {
        let others = users.iter().filter(|other| *other != user);
        let mut others = others.filter(|other| lists(&nodes[*user], &nodes[**other]));
        others.next().is_some()
    };
    let mut direct: Vec<usize> = users
        .iter()
        .copied()
        .filter(|user| !between(user))
        .collect();
    // An rlib stands for its rmeta too.
    let mut seen = BTreeSet::new();
    direct.sort_by_key(|user| (!nodes[*user].form.links(), nodes[*user].path.clone()));
    direct.retain(|user| seen.insert(nodes[*user].root.svh));
    direct
}
