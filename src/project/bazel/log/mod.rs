//! Bazel's execution log: what it ran, with the digests by which a cluster knows it.
//!
//! Both forms are read, told apart by their content: the compact one (`--execution_log_compact_file`,
//! Bazel 7.1 and later) and the JSON one (`--execution_log_json_file`). Fields as in
//! `src/main/protobuf/spawn.proto` of Bazel's source.

mod compact;
mod json;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use fs_err::File;

use crate::remote::Blob;

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file ends early or cannot be read.
    #[error("the execution log cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A message that is not one of a log.
    #[error("the execution log is not in the form of `spawn.proto`: {0}")]
    Form(String),
    /// A number that nothing bears.
    #[error("the execution log names entry {0}, which it does not hold")]
    Dangling(u32),
    /// Digests that we cannot make.
    #[error(
        "the cluster's digests are {0}, and svhcheck knows SHA-256 (`--digest_function=sha256`)"
    )]
    Function(String),
}

/// One command that ran, or whose result was taken from a cache.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spawn {
    /// The target that it belongs to.
    pub label: String,
    /// What kind of action.
    pub mnemonic: String,
    /// Variables that the action sets.
    pub env: BTreeMap<String, String>,
    /// Paths of its inputs, relative to the execution root; a folder stands for what is in it.
    pub inputs: BTreeSet<String>,
    /// The files that it made.
    pub outputs: BTreeMap<String, Blob>,
    /// How the cluster knows it; absent where it has nothing to do with one.
    pub action: Option<Blob>,
    /// Whether it may run on a cluster.
    pub remotable: bool,
    /// Whether it succeeded.
    pub succeeded: bool,
}

/// Reads the spawns whose mnemonic is `wanted`.
pub fn read(path: &Path, wanted: &[&str]) -> Result<Vec<Spawn>, LogError> {
    let mut file = BufReader::with_capacity(1 << 16, File::open(path)?);
    let start = file.fill_buf()?.first().copied();
    match start {
        // A log of nothing.
        None => Ok(Vec::new()),
        Some(b'{') => json::read(file, wanted),
        Some(_) => compact::read(file, wanted),
    }
}

/// What a digest function's name must be.
fn expect_sha256(name: &str) -> Result<(), LogError> {
    match name {
        "" | "SHA-256" | "SHA256" | "sha256" => Ok(()),
        other => Err(LogError::Function(other.to_owned())),
    }
}
