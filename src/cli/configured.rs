//! Which `svhcheck.toml` counts.

use std::path::{Path, PathBuf};

use crate::config::{self, Config};

/// What was typed about it.
#[derive(Debug, clap::Args)]
pub(super) struct ConfigArgs {
    /// The configuration [default: svhcheck.toml here or above, up to the workspace's root]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Read no configuration
    #[arg(long, conflicts_with = "config")]
    no_config: bool,
}

impl ConfigArgs {
    /// What the configuration for `folder` says, and its file, if there is one.
    pub(super) fn read(&self, folder: &Path) -> anyhow::Result<(Config, Option<PathBuf>)> {
        let file = match &self.config {
            Some(path) => Some(folder.join(path)),
            None if self.no_config => None,
            None => config::find(folder, workspace(folder)),
        };
        let config = file.as_deref().map(config::read).transpose()?;
        Ok((config.unwrap_or_default(), file))
    }
}

/// The folder at which the search for a configuration ends: where the lock file, the workspace of a
/// build system with rules, or the repository is.
fn workspace(folder: &Path) -> &Path {
    const FILES: [&str; 5] = [
        "Cargo.lock",
        "MODULE.bazel",
        "WORKSPACE.bazel",
        "WORKSPACE",
        ".buckconfig",
    ];
    let is_root = |place: &&Path| {
        FILES.iter().any(|name| place.join(name).is_file()) || place.join(".git").exists()
    };
    folder.ancestors().find(is_root).unwrap_or(folder)
}
