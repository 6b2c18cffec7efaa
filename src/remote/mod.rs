//! A remote execution cluster (the Remote Execution API, version 2): reads blobs, and runs actions
//! that the cluster already knows a second time.
//!
//! gRPC is asynchronous, and this is the only module that is: [`Cluster::replay`] blocks, drives
//! everything on the caller's own thread, and hands out plain values. Nothing is ever written to the
//! action cache; what is uploaded are a few hundred bytes for each variant.
//!
//! Messages and their meaning: `build/bazel/remote/execution/v2/remote_execution.proto` of
//! bazelbuild/remote-apis.

mod client;
mod replay;
mod variant;

use std::fmt;
use std::time::Duration;

pub use replay::{Artifact, Cluster, Job, Replayed, Trouble};
pub use variant::Change;

/// A blob of the cluster, by its content.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Blob {
    /// SHA-256 in lower-case hexadecimal digits.
    pub hash: String,
    /// Its length in bytes.
    pub size: i64,
}

impl fmt::Display for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.hash, self.size)
    }
}

/// Which cluster, and how to talk to it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `grpc://HOST:PORT` or `grpcs://HOST:PORT`.
    pub address: String,
    /// Headers of every call, as `NAME=VALUE`. Secrets may be among them: they are never shown.
    pub headers: Vec<String>,
    /// The instance's name, often empty.
    pub instance: String,
    /// Longest time for one action, waiting for a worker included.
    pub deadline: Duration,
    /// Actions in flight.
    pub jobs: usize,
}

/// Why nothing more can be asked of the cluster.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// Not of the form of an address.
    #[error(
        "`{0}` is no address of a cluster: write grpc://HOST:PORT, or grpcs://HOST:PORT for TLS"
    )]
    Address(String),
    /// A header that cannot be sent. Its value is not told.
    #[error(
        "the header `{0}` cannot be sent: write --remote-header NAME=VALUE, in printable ASCII"
    )]
    Header(String),
    /// No connection.
    #[error("cannot reach the cluster at {address}: {why}")]
    Unreachable {
        /// Where.
        address: String,
        /// The reason.
        why: String,
    },
    /// Who we are is not enough.
    #[error(
        "the cluster at {address} refuses us ({why}); pass credentials with --remote-header, such as --remote-header 'authorization=Bearer TOKEN'"
    )]
    Unauthenticated {
        /// Where.
        address: String,
        /// The cluster's words.
        why: String,
    },
    /// A cache without workers.
    #[error("{0} keeps a cache and runs nothing; `--engine remote` needs an executor")]
    CacheOnly(String),
    /// Nobody takes the action.
    #[error("no worker of the cluster takes an action for the platform {platform}: {why}")]
    NoWorker {
        /// What the action asks for.
        platform: String,
        /// The cluster's words, or how long we waited.
        why: String,
    },
    /// It was there a moment ago.
    #[error(
        "the cluster at {address} went away in the middle: {why}; nothing is left behind, run the check again"
    )]
    Lost {
        /// Where.
        address: String,
        /// The reason.
        why: String,
    },
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// The system lacks what a client needs.
    #[error("cannot start a client: {0}")]
    Start(#[from] std::io::Error),
}

/// What went over the network for blobs and actions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Actions that the cluster ran.
    pub actions: u64,
    /// Bytes of blobs that were sent.
    pub sent: u64,
    /// Bytes of blobs that were fetched.
    pub fetched: u64,
}
