//! The sandbox of runs: what the runs of one crate may see, and what each of them adds.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::statvfs::statvfs;

use crate::sandbox::{Limits, Mechanism, Policy, Sandbox, SandboxError};

/// Processes and threads at one time. More than the tracer lets a compile make in all, which says
/// why it ends one.
const PROCESSES: u32 = 8192;

/// Bytes of one file. More than any crate's artifact has.
const FILE_SIZE: u64 = 4 << 30;

/// Bytes that a run may write in all, at most; never more than half of what is free.
const DISK: u64 = 8 << 30;

/// Bytes of the private `/tmp`, which lies in memory.
const TMP_SIZE: u64 = 256 << 20;

/// What confines the runs of one crate.
#[derive(Debug, Clone)]
pub struct Confine {
    /// What enforces it.
    pub mechanism: Mechanism,
    /// Files and folders that may be read.
    pub shown: Arc<[PathBuf]>,
}

impl Confine {
    /// The policy of a run that writes these folders; what else it makes goes to `temp`.
    pub(super) fn policy(&self, write: Vec<PathBuf>, temp: Option<PathBuf>) -> Policy {
        let free = write.first().and_then(|folder| statvfs(folder).ok());
        let free = free.map(|own| own.blocks_available().saturating_mul(own.fragment_size()));
        let disk = DISK.min(free.unwrap_or(DISK) / 2);
        Policy {
            read: self.shown.to_vec(),
            write,
            network: false,
            private_tmp: true,
            temp,
            limits: Limits {
                processes: Some(PROCESSES),
                file_size: Some(FILE_SIZE.min(disk)),
                disk: Some(disk),
                tmp_size: Some(TMP_SIZE),
                memory: None,
            },
        }
    }

    /// Makes that policy ready.
    pub(super) fn prepare(&self, policy: &Policy) -> Result<Sandbox, SandboxError> {
        Sandbox::prepare(self.mechanism, policy)
    }

    /// Whether a file outside the run's own folders can be seen.
    pub fn shows(&self, path: &Path) -> bool {
        self.shown.iter().any(|own| path.starts_with(own)) || is_kernels(path)
    }
}

/// Whether a path is one of the kernel's or of a device, of which every sandbox has its own, or of
/// a file that lives in memory only.
pub fn is_kernels(path: &Path) -> bool {
    let in_memory = path.as_os_str().as_encoded_bytes().starts_with(b"/memfd:");
    in_memory
        || ["/proc", "/sys", "/dev"]
            .iter()
            .any(|own| path.starts_with(own))
}
