//! Which build system a folder belongs to.

use std::path::{Path, PathBuf};

/// The build systems that svhcheck knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum System {
    /// Bazel.
    Bazel,
    /// Buck2.
    Buck2,
    /// Cargo.
    Cargo,
}

/// The files that mark a workspace, in the order in which they count where several lie in one
/// folder: a repository with rules beside its manifests is built by the rules.
const MARKERS: &[(&str, System)] = &[
    ("MODULE.bazel", System::Bazel),
    ("WORKSPACE.bazel", System::Bazel),
    ("WORKSPACE", System::Bazel),
    (".buckconfig", System::Buck2),
    ("Cargo.toml", System::Cargo),
];

/// The workspace around `folder`: the nearest folder with a marker, and which system's it is.
/// A `Cargo.toml` marks a package and not yet a workspace, so a Bazel or Buck2 workspace around
/// it wins: crates in a monorepo keep their manifests.
pub fn detect(folder: &Path) -> Option<(System, PathBuf)> {
    let found = |system: &dyn Fn(System) -> bool| {
        folder.ancestors().find_map(|folder| {
            let mut markers = MARKERS.iter().filter(|(_, own)| system(*own));
            let marker = markers.find(|(name, _)| folder.join(name).is_file())?;
            Some((marker.1, folder.to_path_buf()))
        })
    };
    found(&|system| system != System::Cargo).or_else(|| found(&|_| true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_workspace_wins_and_manifests_inside_one_do_not() {
        let root = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let folder = root.path().join(name);
            std::fs::create_dir_all(&folder).unwrap();
            folder
        };
        let mark = |name: &str| std::fs::write(root.path().join(name), "").unwrap();
        let inner = folder("bazel/crate/src");
        mark("bazel/WORKSPACE");
        mark("bazel/crate/Cargo.toml");
        assert_eq!(
            detect(&inner),
            Some((System::Bazel, root.path().join("bazel")))
        );
        let buck = folder("bazel/buck/a");
        mark("bazel/buck/.buckconfig");
        assert_eq!(
            detect(&buck),
            Some((System::Buck2, root.path().join("bazel/buck")))
        );
        let cargo = folder("cargo/a");
        mark("cargo/Cargo.toml");
        assert_eq!(
            detect(&cargo),
            Some((System::Cargo, root.path().join("cargo")))
        );
        // A folder of that name marks nothing.
        folder("cargo/a/WORKSPACE");
        assert_eq!(detect(&cargo).unwrap().0, System::Cargo);
    }
}
