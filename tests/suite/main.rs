//! End-to-end tests: each module drives the built program, or a public part of the library, on
//! real files.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a panic is how a test fails, and a skip must be said"
)]

mod artifact;
mod bazel;
mod check;
mod diff;
mod golden;
mod inspect;
mod interrupt;
mod oracle;
mod patterns;
mod record;
mod sandbox;
mod sandbox_hostile;
mod strategies;
mod support;
mod trace;
mod trace_steer;
mod trouble;
mod verify;
mod workspace;
