//! What can be wrong with an artifact, each with the next thing to try.

use std::io;
use std::path::PathBuf;

use super::metadata::Fault;
use crate::bytes::Escaped;

/// Why an artifact could not be read. The text begins with the path.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The operating system refused.
    #[error("{}: cannot be opened: {reason}", Escaped::os(.path))]
    Open {
        /// The file.
        path: PathBuf,
        /// Its reason.
        reason: io::Error,
    },
    /// The path is a directory.
    #[error("{0}: is a directory; name the files in it, such as {0}/*.rlib", Escaped::os(.path))]
    Directory {
        /// The directory.
        path: PathBuf,
    },
    /// The path is a device, a pipe or a socket.
    #[error("{}: is not a regular file; save it to one first", Escaped::os(.path))]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The file has no bytes.
    #[error("{}: is empty, so it has no metadata: rustc leaves an empty .rmeta for programs; name the .rmeta or .rlib of a library", Escaped::os(.path))]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file is nothing that rustc writes.
    #[error("{}: is no Rust artifact (it begins {}); name an rlib, an rmeta, a proc macro or a dylib", Escaped::os(.path), Beginning(.start))]
    Unrecognized {
        /// The file.
        path: PathBuf,
        /// Its first bytes.
        start: Vec<u8>,
    },
    /// The archive only names its members.
    #[error("{}: is a thin archive, which holds no metadata itself; name the rlib that it was made of", Escaped::os(.path))]
    ThinArchive {
        /// The file.
        path: PathBuf,
    },
    /// The file is sound but holds no crate metadata.
    #[error("{}: holds no crate metadata; it is {found}", Escaped::os(.path))]
    NoMetadata {
        /// The file.
        path: PathBuf,
        /// What it is instead, and what to name.
        found: &'static str,
    },
    /// The archive or object around the metadata is damaged.
    #[error("{}: {step} at offset {offset:#x}: {reason}", Escaped::os(.path))]
    Container {
        /// The file.
        path: PathBuf,
        /// What was being read.
        step: String,
        /// What is wrong.
        reason: String,
        /// Where, from the start of the file.
        offset: u64,
    },
    /// The metadata is compressed, as dylibs had it before rustc 1.73, and cannot be unpacked.
    #[error("{}: compressed metadata at offset {offset:#x}: {reason}; name the .rmeta or .rlib of the crate", Escaped::os(.path))]
    Compressed {
        /// The file.
        path: PathBuf,
        /// Where the compressed bytes begin.
        offset: usize,
        /// What is wrong.
        reason: String,
    },
    /// The metadata is damaged, or of an unknown version.
    #[error("{}: {fault}{}", Escaped::os(.path), Base(*.base))]
    Metadata {
        /// The file.
        path: PathBuf,
        /// Where the metadata begins in it.
        base: usize,
        /// What is wrong.
        fault: Fault,
    },
}

/// The first bytes of something unknown: as text if they are, else in hexadecimal.
struct Beginning<'a>(&'a [u8]);

impl std::fmt::Display for Beginning<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |b: &u8| matches!(b, b' '..=b'~' | b'\n' | b'\r' | b'\t') || *b >= 0x80;
        if self.0.iter().all(text) {
            let line = self.0.split(|b| *b == b'\n' || *b == b'\r').next();
            return write!(f, "with the text \"{}\"", Escaped(line.unwrap_or_default()));
        }
        f.write_str("with the bytes")?;
        self.0
            .iter()
            .take(8)
            .try_for_each(|b| write!(f, " {b:02x}"))
    }
}

/// Tells where offsets are counted from, if not from the start of the file.
struct Base(usize);

impl std::fmt::Display for Base {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => Ok(()),
            base => write!(
                f,
                " (counted from {base:#x} of the file, where the metadata begins)"
            ),
        }
    }
}
