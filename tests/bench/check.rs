//! What a whole check costs beside the build that it checks: a plain clean `cargo build`, the recorded
//! build, and the check with everything in it, one after the other in one run.
//!
//!     cargo bench --bench check [-- WORKSPACE]
//!
//! Target: a check at most 2.0 times the plain build in dev, 1.7 times in release.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program for people, in which a panic is the right error"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn main() {
    let named = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let workspace = named.map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    println!("| profile | plain build | recorded build | whole check | check / plain |");
    println!("|---|--:|--:|--:|--:|");
    for profile in ["dev", "release"] {
        let target = tempfile::tempdir().unwrap();
        let plain = timed(
            cargo(&workspace, &target.path().join("plain")).arg(format!("--profile={profile}")),
        );
        let checked = target.path().join("checked");
        let check = timed(&mut svhcheck(&workspace, &checked, profile));
        // The same again: nothing is compiled for the recording, the rest is the same work.
        let again = timed(&mut svhcheck(&workspace, &checked, profile));
        let recorded = check.saturating_sub(again);
        println!(
            "| {profile} | {:.1} s | {:.1} s | {:.1} s | {:.2} |",
            plain.as_secs_f64(),
            recorded.as_secs_f64(),
            check.as_secs_f64(),
            check.as_secs_f64() / plain.as_secs_f64()
        );
    }
}

fn cargo(workspace: &Path, target: &Path) -> Command {
    let mut command = scrubbed("cargo");
    command
        .arg("build")
        .current_dir(workspace)
        .env("CARGO_TARGET_DIR", target);
    command
}

fn svhcheck(workspace: &Path, target: &Path, profile: &str) -> Command {
    let mut command = scrubbed(env!("CARGO_BIN_EXE_svhcheck"));
    command
        .args(["//...", "--quiet", "--", &format!("--profile={profile}")])
        .current_dir(workspace)
        .env("CARGO_TARGET_DIR", target);
    command
}

/// A program without what the outer cargo set.
fn scrubbed(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars() {
        let toolchain = ["CARGO_HOME", "RUSTUP_HOME"].contains(&name.as_str());
        if (name.starts_with("CARGO") || name.starts_with("RUST")) && !toolchain {
            command.env_remove(name);
        }
    }
    command
}

fn timed(command: &mut Command) -> Duration {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let status = command.status().unwrap();
    assert!(
        matches!(status.code(), Some(0 | 1)),
        "{command:?} failed: {status}"
    );
    start.elapsed()
}
