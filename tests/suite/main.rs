//! End-to-end tests: each module drives the built program, or a public part of the library, on
//! real files.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a panic is how a test fails, and a skip must be said"
)]

mod artifact;
mod diff;
mod golden;
mod inspect;
mod oracle;
mod support;
mod verify;
