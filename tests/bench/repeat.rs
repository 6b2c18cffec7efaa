//! How often svhcheck is right: checks of a macro that iterates a map of two entries, which half of
//! all plain rebuilds miss; and compiles of every planted macro in a world held still, whose
//! metadata must be one and the same.
//!
//!     cargo bench --bench repeat [-- CHECKS COMPILES]
//!
//! Target: 200 of 200 and, for each macro, 100 of 100.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program for people, in which a panic is the right error"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

const SVHCHECK: &str = env!("CARGO_BIN_EXE_svhcheck");

/// Every answer of the world, held still.
const STILL: &[&str] = &[
    "randomness=1",
    "time=1262304000",
    "dir-order=sorted",
    "pid=1000",
    "hostname=here",
    "kernel=6.0.0",
    "cpus=2",
    "mtime=1262304000",
    "inode=1",
];

/// What no answer steers, or what no compile of its own can show: threads, the network, and what
/// needs more than one rustc.
const LEFT_OUT: &[&str] = &[
    "thread-race",
    "network-attempt",
    "out-dir-include",
    "out-dir-path",
];

fn main() {
    let mut numbers = env::args()
        .skip(1)
        .filter_map(|arg| arg.parse::<usize>().ok());
    let (checks, compiles) = (numbers.next().unwrap_or(200), numbers.next().unwrap_or(100));
    let scratch = tempfile::tempdir().unwrap();
    let workspace = fixture("hash-map-2", scratch.path());
    let found = (0..checks).filter(|_| is_found(&workspace)).count();
    println!("a map of two entries: found in {found} of {checks} checks\n");
    println!("| macro | equal metadata, of {compiles} | distinct without steering |");
    println!("|---|--:|--:|");
    for name in planted() {
        let workspace = fixture(&name, scratch.path());
        let still = metadata(&workspace, compiles, true);
        let free = metadata(&workspace, 8, false);
        let most = still.values().max().copied().unwrap_or(0);
        println!("| {name} | {most} | {} of 8 |", free.len());
    }
}

/// The pairs of `fixtures/_projects` with a proc macro.
fn planted() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/_projects");
    let mut found: Vec<String> = fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| root.join(name).join("bad/fixture_macro").is_dir())
        .filter(|name| !LEFT_OUT.contains(&name.as_str()))
        .collect();
    found.sort();
    found
}

/// A copy of a faulty workspace.
fn fixture(name: &str, scratch: &Path) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/_projects")
        .join(name);
    let to = scratch.join(name);
    let copied = Command::new("cp")
        .arg("-r")
        .args([&from.join("bad"), &to])
        .status();
    assert!(copied.unwrap().success());
    to
}

fn is_found(workspace: &Path) -> bool {
    let mut command = scrubbed(SVHCHECK);
    command.args([
        "//...",
        "--strategies=quit-on-rmeta",
        "--format=json",
        "--quiet",
    ]);
    let output = command.current_dir(workspace).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let right = |own: &serde_json::Value| {
        own["level"] == "deny"
            && own["factor"] == "randomness"
            && own["culprit"]["function"] == "fixture_macro::order_of_map"
    };
    findings.iter().any(right)
}

/// The distinct metadata of so many compiles of the consumer, with how often each came.
fn metadata(workspace: &Path, compiles: usize, still: bool) -> BTreeMap<Vec<u8>, usize> {
    let built = scrubbed("cargo")
        .args(["build", "-q"])
        .current_dir(workspace)
        .status();
    assert!(built.unwrap().success());
    let deps = workspace.join("target/debug/deps");
    let library = fs::read_dir(&deps)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let is_macro = |path: &PathBuf| path.extension().is_some_and(|own| own == "so");
    let mut library = library.filter(is_macro);
    let (library, out) = (library.next().unwrap(), workspace.join("out.rmeta"));
    let package = workspace.join("consumer");
    let mut found = BTreeMap::new();
    for _ in 0..compiles {
        let mut command = if still {
            // What is left to chance beside the answers: where things lie in memory, and which
            // thread comes first.
            let mut command = scrubbed("taskset");
            command.args(["-c", "0", "setarch", "-R", SVHCHECK, "trace"]);
            command.arg("--output=/dev/null");
            command.args(STILL.iter().flat_map(|own| ["--inject", own]));
            command.args(["--", "rustc"]);
            command
        } else {
            scrubbed("rustc")
        };
        command.args([
            "--edition=2024",
            "--crate-type=lib",
            "--crate-name=consumer",
        ]);
        command
            .args(["--emit=metadata", "consumer/src/lib.rs", "-o"])
            .arg(&out);
        command
            .arg("--extern")
            .arg(format!("fixture_macro={}", library.display()));
        command
            .env("CARGO_MANIFEST_DIR", &package)
            .current_dir(workspace);
        let made = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(made.success(), "{}", workspace.display());
        *found.entry(fs::read(&out).unwrap()).or_default() += 1;
    }
    found
}

/// A command without what `cargo bench` sets for this program.
fn scrubbed(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let own = text.starts_with("CARGO") && text != "CARGO_HOME";
        if own || text.starts_with("RUSTC") || text == "RUST_RECURSION_COUNT" {
            command.env_remove(&name);
        }
    }
    command
}
