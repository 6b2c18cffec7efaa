//! The bound on all that a run writes together. The kernel has none for a folder (`RLIMIT_FSIZE` is
//! about one file), so the folders are measured while the run goes on.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Time between two measurements: at a gigabyte a second, a tenth of one is written over the limit.
const PERIOD: Duration = Duration::from_millis(100);

/// What a name costs at least, so that empty files without number count too.
const LEAST: u64 = 4096;

/// Measures the folders of a run until it is dropped.
#[derive(Debug)]
pub struct DiskWatch {
    exceeded: Arc<AtomicBool>,
    done: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl DiskWatch {
    /// Calls `stop` once, as soon as the folders hold `limit` bytes more than now.
    pub(super) fn new(
        folders: Vec<PathBuf>,
        limit: u64,
        stop: impl FnOnce() + Send + 'static,
    ) -> Self {
        let exceeded = Arc::new(AtomicBool::new(false));
        let found = Arc::clone(&exceeded);
        let (done, end) = mpsc::channel::<()>();
        let before = size(&folders);
        let thread = std::thread::spawn(move || {
            while end.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                if size(&folders).saturating_sub(before) > limit {
                    found.store(true, Ordering::Relaxed);
                    stop();
                    return;
                }
            }
        });
        Self {
            exceeded,
            done: Some(done),
            thread: Some(thread),
        }
    }

    /// True if the limit was reached.
    pub fn exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Relaxed)
    }
}

impl Drop for DiskWatch {
    fn drop(&mut self) {
        drop(self.done.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Bytes that the folders take up; a file with several names counts once.
fn size(folders: &[PathBuf]) -> u64 {
    let mut seen = BTreeSet::new();
    let mut bytes = 0;
    for folder in folders {
        let walk = walkdir::WalkDir::new(folder).same_file_system(true);
        // What vanishes meanwhile takes up nothing.
        for metadata in walk
            .into_iter()
            .flatten()
            .flat_map(|entry| entry.metadata())
        {
            if seen.insert((metadata.dev(), metadata.ino())) {
                bytes += (metadata.blocks() * 512).max(LEAST);
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_small_files_add_up_and_names_of_one_do_not() {
        let folder = tempfile::tempdir().expect("a place to write");
        let folders = [folder.path().to_path_buf()];
        let empty = size(&folders);
        for number in 0..10 {
            std::fs::write(folder.path().join(number.to_string()), "").expect("a new file");
        }
        assert_eq!(size(&folders) - empty, 10 * LEAST);
        std::fs::hard_link(folder.path().join("0"), folder.path().join("same")).expect("a link");
        assert_eq!(size(&folders) - empty, 10 * LEAST);
    }
}
