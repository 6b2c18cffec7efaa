//! Where the toolchains of this machine keep their libraries: the names of `core`, `std` and their kin
//! are not in metadata but in file names there.

use std::path::{Path, PathBuf};

use crate::artifact::{Artifact, CrateRoot, Names};

/// Finds the names that the roots of `artifacts` miss: in the files themselves, then beside them,
/// then in the toolchains.
pub(super) fn learn_names(names: &mut Names, artifacts: &[&Artifact]) {
    let mut roots: Vec<(&Path, CrateRoot)> = Vec::new();
    for artifact in artifacts {
        // Whoever asks for this very file is told what is wrong with it.
        if let Ok(root) = artifact.root() {
            names.learn(artifact, &root);
            roots.push((artifact.path(), root));
        }
    }
    roots.retain_mut(|(_, root)| !names.resolve(root));
    let mut directories: Vec<PathBuf> = Vec::new();
    for (path, _) in &roots {
        let parent = path.parent().filter(|path| !path.as_os_str().is_empty());
        directories.push(parent.unwrap_or(Path::new(".")).to_owned());
    }
    let mut triples: Vec<String> = roots.iter().map(|(_, root)| root.triple.clone()).collect();
    triples.sort();
    triples.dedup();
    directories.sort();
    directories.dedup();
    directories.extend(libraries(&triples));
    for directory in directories {
        if roots.is_empty() {
            return;
        }
        names.search(&directory, roots.iter().map(|(_, root)| root));
        roots.retain_mut(|(_, root)| !names.resolve(root));
    }
}

/// The directories where the toolchains of this machine, rustup's and the system's, keep the
/// standard library. No rustc is run for this: the right toolchain is known by its crates.
pub(super) fn libraries(triples: &[String]) -> Vec<PathBuf> {
    let rustup = std::env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(std::env::home_dir()?.join(".rustup")));
    let toolchains = rustup.and_then(|rustup| std::fs::read_dir(rustup.join("toolchains")).ok());
    let mut sysroots: Vec<PathBuf> = toolchains
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    sysroots.sort();
    sysroots.extend(["/usr", "/usr/local"].map(PathBuf::from));
    let libraries = |sysroot: &PathBuf| {
        let rustlib = sysroot.join("lib/rustlib");
        let library = |triple: &String| rustlib.join(triple).join("lib");
        triples.iter().map(library).collect::<Vec<_>>()
    };
    sysroots.iter().flat_map(libraries).collect()
}
