//! The members of a workspace, as patterns see them.

use std::collections::BTreeSet;
use std::path::Path;

use crate::project::pattern::{NoMatch, Pattern, select};

/// A workspace member: its folder relative to the root (`a/b`, empty for the root) and targets.
pub(super) struct Member {
    id: String,
    name: String,
    pub(super) folder: String,
    targets: Vec<String>,
}

pub(super) struct Members(Vec<Member>);

impl Members {
    pub(super) fn of(metadata: &cargo_metadata::Metadata) -> Self {
        let root = metadata.workspace_root.as_std_path();
        let mut members: Vec<Member> = metadata
            .workspace_packages()
            .into_iter()
            .map(|package| {
                let folder = package.manifest_path.as_std_path().parent().unwrap_or(root);
                let folder = relative(folder, root);
                let targets = package.targets.iter().map(|target| target.name.clone());
                Member {
                    id: package.id.repr.clone(),
                    name: package.name.to_string(),
                    folder,
                    targets: targets.collect(),
                }
            })
            .collect();
        members.sort_by(|a, b| a.folder.cmp(&b.folder));
        Self(members)
    }

    pub(super) fn find(&self, id: &str) -> Option<&Member> {
        self.0.iter().find(|member| member.id == id)
    }

    /// The (folder, target) pairs that the patterns choose.
    pub(super) fn select(
        &self,
        patterns: &[Pattern],
    ) -> Result<BTreeSet<(String, String)>, NoMatch> {
        let targets: Vec<(String, String)> = self
            .0
            .iter()
            .flat_map(|member| {
                member
                    .targets
                    .iter()
                    .map(|name| (member.folder.clone(), name.clone()))
            })
            .collect();
        let flags = select(patterns, &targets)?;
        Ok(targets
            .into_iter()
            .zip(flags)
            .filter(|(_, flag)| *flag)
            .map(|(pair, _)| pair)
            .collect())
    }

    /// `--package` for each member with a chosen target, or `--workspace` for all.
    pub(super) fn package_flags(&self, chosen: &BTreeSet<(String, String)>) -> Vec<String> {
        let wanted: Vec<&Member> = self
            .0
            .iter()
            .filter(|member| chosen.iter().any(|(folder, _)| *folder == member.folder))
            .collect();
        if wanted.len() == self.0.len() {
            return vec!["--workspace".to_owned()];
        }
        wanted
            .iter()
            .map(|member| format!("--package={}", member.name))
            .collect()
    }
}

/// `path` relative to `root` with forward slashes; a member outside the root keeps `../`-free
/// absolute form.
fn relative(path: &Path, root: &Path) -> String {
    path.strip_prefix(root)
        .unwrap_or(path)
        .to_string_lossy()
        .into_owned()
}
