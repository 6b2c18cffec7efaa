//! A folder in which a command finds its declared inputs and nothing else, laid out as links to
//! where they lie: what a sandbox or a cluster would give it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};

use fs_err as fs;

/// What lies in the folder.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    /// Where the build keeps them: Bazel's execution root.
    pub source: PathBuf,
    /// Files and folders, relative to it.
    pub entries: BTreeSet<PathBuf>,
    /// Entries under another name: where they are seen, and where they are kept.
    pub aliases: BTreeMap<PathBuf, PathBuf>,
    /// The folder in it in which the command runs; empty for the folder itself.
    pub working: PathBuf,
}

impl Layout {
    /// Lays out the folder in which a command runs in `cwd`, unless it was done before.
    ///
    /// An entry that is not on disk is left out: it is one of the names that Bazel has for sets of
    /// files, or the command will miss it as it would have missed it in the build.
    pub fn lay(&self, cwd: &Path) -> io::Result<()> {
        let depth = self.working.components().count();
        let folder = cwd.ancestors().nth(depth).unwrap_or(cwd);
        let done = folder.with_extension("laid");
        if done.exists() {
            return Ok(());
        }
        fs::create_dir_all(folder)?;
        let mut last = PathBuf::new();
        let own = self.entries.iter().map(|entry| (entry, entry));
        for (entry, kept) in own.chain(&self.aliases) {
            // What lies in a folder that is an entry itself is there already; and nothing must be
            // made behind a link, which leads to the build's own files.
            let inside = entry
                .ancestors()
                .skip(1)
                .any(|above| self.entries.contains(above) || self.aliases.contains_key(above));
            let plain = entry
                .components()
                .all(|part| matches!(part, Component::Normal(_)));
            if inside || !plain {
                continue;
            }
            // Straight to the file: what lies between may not be seen from a sandbox.
            let Ok(source) = self.source.join(kept).canonicalize() else {
                continue;
            };
            let link = folder.join(entry);
            if let Some(parent) = link.parent().filter(|parent| *parent != last) {
                fs::create_dir_all(parent)?;
                parent.clone_into(&mut last);
            }
            fs::os::unix::fs::symlink(source, link)?;
        }
        fs::create_dir_all(cwd)?;
        fs::write(done, "")
    }

    /// The folder of the command that runs in `cwd` which holds all places where it is laid out.
    pub fn home(&self, cwd: &Path) -> PathBuf {
        // PLACE/execroot/NAME/working
        let depth = self.working.components().count() + 2;
        cwd.ancestors().nth(depth).unwrap_or(cwd).to_path_buf()
    }

    /// The entries where they really lie: whoever resolves the links finds declared files there.
    pub fn resolved(&self) -> BTreeSet<PathBuf> {
        let kept = self.entries.iter().chain(self.aliases.values());
        let sources = kept.map(|entry| self.source.join(entry));
        sources
            .filter_map(|source| source.canonicalize().ok())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_entries_are_there_and_nothing_is_made_behind_a_link() {
        let root = tempfile::tempdir().unwrap();
        let source = root.path().join("source");
        for (path, text) in [("a/in", "1"), ("a/out", "2"), ("tree/x", "3")] {
            let path = source.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let entries = ["a/in", "tree", "tree/x", "gone", "../source/a/out"];
        let layout = Layout {
            source: source.clone(),
            entries: entries.map(PathBuf::from).into(),
            aliases: [("run/a/other".into(), "a/out".into())].into(),
            working: "run/a".into(),
        };
        let folder = root.path().join("place/main");
        layout.lay(&folder.join("run/a")).unwrap();
        layout.lay(&folder.join("run/a")).unwrap();
        assert_eq!(fs::read(folder.join("a/in")).unwrap(), b"1");
        assert_eq!(fs::read(folder.join("tree/x")).unwrap(), b"3");
        assert_eq!(fs::read(folder.join("run/a/other")).unwrap(), b"2");
        assert!(!folder.join("a/out").exists() && !folder.join("gone").exists());
        assert_eq!(fs::read_dir(source.join("tree")).unwrap().count(), 1);
        assert_eq!(layout.resolved().len(), 4);
    }
}
