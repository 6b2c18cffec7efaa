//! svhcheck tells which crates of a Rust build compile to the same thing under every way the
//! build may run them, and who is to blame where one does not.
//!
//! This file is the map. The modules stand in layer order, highest first; a module imports only
//! from modules below its own (`tests/tidy.rs` holds the table and fails on an upward path).
//! `docs/architecture.md` is the tour.

pub mod cli;
// Layer 6.
pub mod compare;
// Layer 1.
pub mod artifact;
// Layer 0.
pub mod bytes;
pub mod digest;
