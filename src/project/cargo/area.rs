//! The folder below the target directory that belongs to svhcheck: recorded builds, scratch, and
//! the lock that keeps two checks apart.

use std::fs::File;
use std::path::{Path, PathBuf};

use fs_err as fs;

use super::CargoError;
use crate::project::recorded;

/// The workspace's recording area.
pub(super) struct Area {
    pub(super) folder: PathBuf,
    /// The area belongs to one check while this is open.
    pub(super) lock: File,
}
impl Area {
    /// Creates and locks the folder, and clears what a killed check left.
    pub(super) fn open(folder: &Path) -> Result<Self, CargoError> {
        let fail = |source| CargoError::TargetDir {
            path: folder.to_path_buf(),
            source,
        };
        std::fs::create_dir_all(folder).map_err(fail)?;
        let lock = File::create(folder.join("lock")).map_err(fail)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(CargoError::Busy(folder.to_path_buf()));
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
    pub(super) fn recording(&self, bootstrap: bool) -> Result<(PathBuf, PathBuf), CargoError> {
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

    pub(super) fn scratch(&self) -> Result<tempfile::TempDir, CargoError> {
        let made = tempfile::Builder::new()
            .prefix(SCRATCH_PREFIX)
            .tempdir_in(&self.folder);
        made.map_err(|source| CargoError::TargetDir {
            path: self.folder.clone(),
            source,
        })
    }
}

const SCRATCH_PREFIX: &str = "scratch-";
