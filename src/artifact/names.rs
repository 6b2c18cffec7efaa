//! Crate names that metadata leaves out.
//!
//! A name that is also a word of the compiler (`core`, `std`, but also `libc` and `quote`) is
//! written as an index into the compiler's list, which changes with every release. The index is
//! turned back into the name by finding the crate itself: file names, member names and symbols all
//! spell it out, and what is learned from one file holds for all that the same compiler wrote.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::{Artifact, CrateName, CrateRoot, Kind, metadata::Svh, object, open};

/// What the indexes of each compiler mean, as far as it was learned.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// By the whole version string of the compiler. Nothing for an index with two answers, of which
    /// one must be a renamed file.
    learned: BTreeMap<String, BTreeMap<u32, Option<String>>>,
}

impl Names {
    /// Learns the name of the crate in `artifact`, whose root is `root`.
    pub fn learn(&mut self, artifact: &Artifact, root: &CrateRoot) {
        let CrateName::Predefined(index) = root.name else {
            return;
        };
        if let Some(name) = own_name(artifact, root) {
            self.insert(&root.rustc, index, &name);
        }
    }

    fn insert(&mut self, rustc: &str, index: u32, name: &str) {
        let indexes = self.learned.entry(rustc.to_owned()).or_default();
        let entry = indexes
            .entry(index)
            .or_insert_with(|| Some(name.to_owned()));
        if entry.as_deref() != Some(name) {
            *entry = None;
        }
    }

    /// Puts the names that are known into `root`; true if none is missing then.
    pub fn resolve(&self, root: &mut CrateRoot) -> bool {
        let Some(indexes) = self.learned.get(&root.rustc) else {
            return root.unresolved().next().is_none();
        };
        let deps = root.deps.iter_mut().map(|dep| &mut dep.name);
        let mut complete = true;
        for name in std::iter::once(&mut root.name).chain(deps) {
            if let CrateName::Predefined(index) = name {
                match indexes.get(index).cloned().flatten() {
                    Some(known) => *name = CrateName::Known(known),
                    None => complete = false,
                }
            }
        }
        complete
    }

    /// Learns the names that `roots` miss from the crates they depend on, as far as those stand in
    /// `directory`: their files end in the dependency's extra filename and have its SVH.
    pub fn search<'a>(&mut self, directory: &Path, roots: impl IntoIterator<Item = &'a CrateRoot>) {
        let mut wanted: BTreeMap<Svh, Wanted> = BTreeMap::new();
        for root in roots {
            let learned = self.learned.get(&root.rustc);
            for dep in &root.deps {
                if let CrateName::Predefined(index) = dep.name
                    && !dep.extra_filename.is_empty()
                    && !learned.is_some_and(|learned| learned.contains_key(&index))
                {
                    let (rustc, extra) = (root.rustc.as_str(), dep.extra_filename.as_str());
                    wanted.insert(
                        dep.svh,
                        Wanted {
                            rustc,
                            extra,
                            index,
                        },
                    );
                }
            }
        }
        if wanted.is_empty() {
            return;
        }
        for path in artifacts_in(directory) {
            let Some(stem) = path.file_stem().and_then(OsStr::to_str) else {
                continue; // no crate is called that
            };
            if !wanted.values().any(|wanted| stem.ends_with(wanted.extra)) {
                continue;
            }
            let Ok(root) = open(&path).and_then(|artifact| artifact.root()) else {
                continue; // whoever asks for this very file is told why
            };
            if let Some(found) = wanted.get(&root.svh)
                && found.rustc == root.rustc
                && let Some(name) = name_in_stem(stem, found.extra)
            {
                self.insert(found.rustc, found.index, &name);
                wanted.remove(&root.svh);
            }
        }
    }
}

/// A dependency whose name is missing.
struct Wanted<'a> {
    rustc: &'a str,
    extra: &'a str,
    index: u32,
}

/// The files in `directory` that may hold metadata, sorted: which of a crate's files is read must
/// not depend on the file system. None if there is no such directory.
fn artifacts_in(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    let mut files: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let ending = path.extension().and_then(OsStr::to_str);
            ending.is_some_and(|e| ["rmeta", "rlib", "so", "dylib", "dll"].contains(&e))
        })
        .collect();
    files.sort();
    files
}

impl CrateRoot {
    /// The indexes, its own or of dependencies, that still stand for names.
    pub fn unresolved(&self) -> impl Iterator<Item = u32> {
        let names = std::iter::once(&self.name).chain(self.deps.iter().map(|dep| &dep.name));
        names.filter_map(|name| match name {
            CrateName::Predefined(index) => Some(*index),
            CrateName::Known(_) => None,
        })
    }
}

/// The crate's name as its file spells it, surest evidence first.
fn own_name(artifact: &Artifact, root: &CrateRoot) -> Option<String> {
    let stem = artifact.path().file_stem()?.to_str()?;
    let extra = root.extra_filename.as_deref().unwrap_or_default();
    let by_stem = || name_in_stem(stem, extra);
    if extra.is_empty() {
        // Then the stem may be anything: `-o` renames freely.
        name_in_members(artifact, extra)
            .or_else(|| name_in_symbols(artifact))
            .or_else(by_stem)
    } else {
        by_stem()
            .or_else(|| name_in_members(artifact, extra))
            .or_else(|| name_in_symbols(artifact))
    }
}

/// `serde` of `libserde-0123`, whose extra filename is `-0123`.
fn name_in_stem(stem: &str, extra: &str) -> Option<String> {
    let stem = stem.strip_suffix(extra)?;
    let name = stem.strip_prefix("lib").filter(|name| !name.is_empty());
    is_name(name.unwrap_or(stem)).map(str::to_owned)
}

/// Object files in an rlib are named `<crate><extra>.<crate>.<stable crate id>-cgu.<n>.rcgu.o`.
fn name_in_members(artifact: &Artifact, extra: &str) -> Option<String> {
    artifact.members().map_while(Result::ok).find_map(|member| {
        let member = std::str::from_utf8(member.name).ok()?;
        let mut parts = member.strip_suffix(".rcgu.o")?.split('.');
        let (first, name) = (parts.next()?, parts.next()?);
        let rest = first.strip_prefix(name)?;
        // A stub does not know its extra filename.
        (extra.is_empty() || rest == extra).then_some(())?;
        is_name(name).map(str::to_owned)
    })
}

fn name_in_symbols(artifact: &Artifact) -> Option<String> {
    match artifact.kind() {
        Kind::Object(_) => object::crate_of_symbols(artifact.bytes()),
        _ => None,
    }
}

fn is_name(text: &str) -> Option<&str> {
    let fits = |c: char| c.is_alphanumeric() || c == '_';
    (!text.is_empty() && text.chars().all(fits)).then_some(text)
}
