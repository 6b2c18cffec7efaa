//! End-to-end tests: each module drives the built program, or a public part of the library, on
//! real files.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a panic is how a test fails, and a skip must be said"
)]

mod artifact;
mod bazel;
mod browser;
mod buck2;
mod check;
#[cfg(feature = "remote")]
mod cluster;
mod diff;
mod explain;
mod formats;
mod golden;
mod hostile;
mod html;
mod inspect;
mod interrupt;
mod levels;
mod manual;
mod oracle;
mod parity;
mod patterns;
mod probe;
mod record;
#[cfg(feature = "remote")]
mod remote;
#[cfg(feature = "remote")]
mod remote_real;
mod reports;
mod sandbox;
mod sandbox_hostile;
mod since;
mod strategies;
mod support;
mod trace;
mod trace_steer;
mod trouble;
mod verify;
mod workspace;
