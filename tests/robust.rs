//! Damaged artifacts: every golden one cut at every offset and with every byte of its first 4 KiB
//! changed. Nothing may panic, take long, or allocate much more than the file has bytes.
//!
//! A test of its own, because it counts what is allocated.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use svhcheck::artifact::{self, Artifact, Names};
use svhcheck::compare::artifacts::{self, Depth};

thread_local! {
    /// Bytes in use, and the most there were.
    static IN_USE: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

struct Counting;

#[expect(unsafe_code, reason = "an allocator has no safe interface")]
// SAFETY: everything is passed on to the system's allocator; counting touches no memory of its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = IN_USE.try_with(|count| {
            let now = count.get().0.saturating_add(layout.size());
            count.set((now, count.get().1.max(now)));
        });
        // SAFETY: the caller's promises are those that the system's allocator wants.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let _ = IN_USE.try_with(|count| {
            let (now, most) = count.get();
            count.set((now.saturating_sub(layout.size()), most));
        });
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that `work` had allocated at a time.
fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = IN_USE.get().0;
    IN_USE.set((before, before));
    let result = work();
    (result, IN_USE.get().1 - before)
}

/// What a reader has whatever the file is: the buffers of the snappy decoder.
const CONSTANT: usize = 512 << 10;

/// Every n-th cut of a larger file: all of its hundred thousands would take minutes.
const SMALL: usize = 64 << 10;

fn goldens() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/_artifacts");
    let files = walkdir::WalkDir::new(root).sort_by_file_name();
    let files = files.into_iter().map(|entry| entry.unwrap().into_path());
    let wanted = ["rlib", "rmeta", "so"];
    let found: Vec<PathBuf> = files
        .filter(|path| {
            path.extension()
                .is_some_and(|e| wanted.iter().any(|w| e == *w))
        })
        .collect();
    assert!(found.len() >= 24);
    found
}

/// Reads all there is, whatever comes of it.
fn read(path: &Path, open: impl Fn() -> Artifact) {
    let limit = Duration::from_secs(1);
    // A busy machine may stop a thread for a second; not twice.
    let slow = timed_read(path, &open()) > limit && timed_read(path, &open()) > limit;
    assert!(!slow, "{}", path.display());
}

fn timed_read(path: &Path, artifact: &Artifact) -> Duration {
    let start = Instant::now();
    let ((), most) = peak(|| {
        let _ = artifact.members().count();
        let _ = artifact.sections();
        let _ = artifact.metadata_range();
        if let Ok(root) = artifact.root() {
            let mut names = Names::default();
            names.learn(artifact, &root);
        }
        if let Ok(metadata) = artifact.metadata() {
            let _ = metadata.places();
            let _ = metadata.items();
        }
    });
    let size = artifact.bytes().len();
    let bound = 4 * size + CONSTANT;
    assert!(
        most <= bound,
        "{}: {most} bytes allocated for {size}",
        path.display(),
    );
    start.elapsed()
}

/// Runs `each` on every golden file, two at a time.
fn each_golden(each: impl Fn(&Path, &[u8]) + Sync) {
    let files = goldens();
    let queue = std::sync::Mutex::new(files.iter());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(path) = queue.lock().unwrap().next() else {
                        return;
                    };
                    each(path, &fs::read(path).unwrap());
                }
            });
        }
    });
}

#[test]
fn every_cut_is_survived() {
    let directory = tempfile::tempdir().unwrap();
    each_golden(|path, bytes| {
        // One file that gets shorter and shorter: copying it each time would take most of the time.
        let name = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap();
        let copy = directory
            .path()
            .join(name.display().to_string().replace('/', "-"));
        fs::write(&copy, bytes).unwrap();
        let file = fs::File::options().write(true).open(&copy).unwrap();
        let step = if bytes.len() > SMALL { 499 } else { 1 };
        for end in (0..bytes.len()).rev().step_by(step) {
            file.set_len(end as u64).unwrap();
            read(path, || artifact::open(&copy).unwrap());
        }
    });
}

#[test]
fn every_changed_byte_is_survived() {
    each_golden(|path, bytes| {
        let mut damaged = bytes.to_vec();
        for at in 0..bytes.len().min(4096) {
            // One bit, and the largest number.
            for change in [1, 0xff ^ bytes[at]] {
                damaged[at] = bytes[at] ^ change;
                if bytes.len() <= SMALL || at % 211 == 0 {
                    read(path, || artifact::from_bytes(path, damaged.clone()));
                }
            }
            damaged[at] = bytes[at];
        }
    });
}

#[test]
fn the_comparison_survives_what_is_damaged() {
    each_golden(|path, bytes| {
        if bytes.len() > SMALL {
            return;
        }
        let whole = artifact::from_bytes(path, bytes.to_vec());
        let names = Names::default();
        for at in (0..bytes.len()).step_by(41) {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 0xff;
            let damaged = artifact::from_bytes(path, damaged);
            let cut = artifact::from_bytes(path, bytes[..at].to_vec());
            for other in [damaged, cut] {
                let comparison = artifacts::compare(&whole, &other, &names, Depth::Everything);
                assert_ne!(comparison.verdict, artifacts::Verdict::Identical);
            }
        }
    });
}
