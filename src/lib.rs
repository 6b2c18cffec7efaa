//! svhcheck tells which crates of a Rust build compile to the same thing under every way the
//! build may run them, and who is to blame where one does not.
//!
//! This file is the map. The modules stand in layer order, highest first; a module imports only
//! from modules below its own (`tests/tidy.rs` holds the table and fails on an upward path).
//! `docs/architecture.md` is the tour.

// The command line: the only module that prints.
pub mod cli;

// The straight line from a build to a report.
pub mod check;

// svhcheck.toml, and the baseline.
pub mod config;

// What was found, and its renderers.
pub mod report;

// Why two compiles differ.
pub mod attribute;

// What svhcheck says of a build: one page per lint.
pub mod lint;

// Two compiles, or two artifacts: what is unequal.
pub mod compare;

// A trial becomes a run.
pub mod replay;

// Strategies, variations and trials, as data.
pub mod plan;

// Build systems become actions.
pub mod project;

// What a command does, and answering its calls; Linux.
pub mod trace;

// What a command may see and write, and what enforces it; Linux.
pub mod sandbox;

// Which arguments and variables move an SVH: a compiler is asked.
pub mod probe;

// File formats: archives, objects, metadata.
pub mod artifact;

// rustc's command line, dep-info and identity.
pub mod rustc;

// Leaves.
pub mod bytes;
pub mod digest;
pub mod entry;
pub mod interrupt;
pub mod os_text;
