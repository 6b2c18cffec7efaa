//! The folder among the build's outputs that belongs to svhcheck: recorded builds, scratch, and the
//! lock that keeps two checks apart.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;

use super::recorded;

/// Why the area cannot be used. What could be done about it, its owner adds.
#[derive(Debug, thiserror::Error)]
pub enum AreaError {
    /// It cannot be written.
    #[error("cannot write below {}: {source}", .path.display())]
    Write {
        /// The folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Two at once in one place.
    #[error("another svhcheck is at work in {}; wait for it", .0.display())]
    Busy(PathBuf),
    /// What a killed check left cannot be cleared.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The workspace's recording area.
pub(super) struct Area {
    pub(super) folder: PathBuf,
    /// The area belongs to one check while this is open.
    pub(super) lock: File,
}
impl Area {
    /// Creates and locks the folder, and clears what a killed check left.
    pub(super) fn open(folder: &Path) -> Result<Self, AreaError> {
        let fail = |source| AreaError::Write {
            path: folder.to_path_buf(),
            source,
        };
        std::fs::create_dir_all(folder).map_err(fail)?;
        let lock = File::create(folder.join("lock")).map_err(fail)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(AreaError::Busy(folder.to_path_buf()));
            }
            Err(std::fs::TryLockError::Error(source)) => return Err(fail(source)),
        }
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry
                .file_name()
                .to_string_lossy()
                .starts_with(SCRATCH_PREFIX)
            {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(Self {
            folder: folder.to_path_buf(),
            lock,
        })
    }

    /// The target directory of the recorded build and the folder of its records. Builds with and
    /// without `RUSTC_BOOTSTRAP` do not share one: cargo could not tell their outputs apart.
    pub(super) fn recording(&self, bootstrap: bool) -> Result<(PathBuf, PathBuf), AreaError> {
        let folder = self
            .folder
            .join(if bootstrap { "bootstrap" } else { "plain" });
        let form = format!("format-{}", recorded::FORMAT);
        let records = folder.join("records").join(&form);
        // Outputs without records of today's form would be fresh for cargo and unknown to us.
        if !records.is_dir() && folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&records)?;
        Ok((folder.join("build"), records))
    }

    pub(super) fn scratch(&self) -> Result<tempfile::TempDir, AreaError> {
        let made = tempfile::Builder::new()
            .prefix(SCRATCH_PREFIX)
            .tempdir_in(&self.folder);
        made.map_err(|source| AreaError::Write {
            path: self.folder.clone(),
            source,
        })
    }
}

const SCRATCH_PREFIX: &str = "scratch-";
