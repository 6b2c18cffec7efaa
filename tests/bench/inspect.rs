//! `svhcheck inspect` of many artifacts in one call against `rustc -Zls=root` once per file, the
//! only way to read an SVH before. Run with `cargo bench --bench inspect`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for developers, whose output is its result"
)]

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use svhcheck::artifact;

/// The fastest of several rounds is the least disturbed one.
const ROUNDS: usize = 5;

fn main() {
    let rustc = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()
        .unwrap();
    let sysroot = PathBuf::from(String::from_utf8(rustc.stdout).unwrap().trim());
    // The compiler itself and not rustup's proxy, which would cost it as much again.
    let rustc = sysroot.join("bin/rustc");
    let own = std::env::current_exe().unwrap();
    let own = own.parent().unwrap();
    // `target/release/deps`, and what tests have left in `target/debug/deps`.
    let debug = own.join("../../debug/deps");
    let library = sysroot.join("lib/rustlib/x86_64-unknown-linux-gnu/lib");
    for (name, directories) in [
        ("sysroot", vec![library.clone()]),
        ("own dependencies", vec![own.to_owned()]),
        ("all", vec![library, own.to_owned(), debug]),
    ] {
        let entries = directories
            .iter()
            .filter_map(|at| std::fs::read_dir(at).ok());
        let mut files: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                path.extension()
                    .is_some_and(|e| e == "rlib" || e == "rmeta")
            })
            .collect();
        files.sort();
        // rustc panics on stubs, which would slow it down: neither side is given any.
        files.retain(|path| {
            let root = artifact::open(path).and_then(|artifact| artifact.root());
            root.is_ok_and(|root| !root.is_stub)
        });
        let mut rounds: Vec<(Duration, Duration)> = Vec::new();
        for _ in 0..ROUNDS {
            let ours = time(|| {
                let mut svhcheck = Command::new(env!("CARGO_BIN_EXE_svhcheck"));
                run(svhcheck.arg("inspect").args(&files));
            });
            let theirs = time(|| {
                for file in &files {
                    let mut rustc = Command::new(&rustc);
                    run(rustc.env("RUSTC_BOOTSTRAP", "1").arg("-Zls=root").arg(file));
                }
            });
            rounds.push((ours, theirs));
        }
        let ours = rounds.iter().map(|(ours, _)| *ours).min().unwrap();
        let theirs = rounds.iter().map(|(_, theirs)| *theirs).min().unwrap();
        println!(
            "{name}: {} files; svhcheck inspect, one call {:.1} ms; rustc -Zls=root, one call a file {:.0} ms; ratio {:.0}",
            files.len(),
            ours.as_secs_f64() * 1e3,
            theirs.as_secs_f64() * 1e3,
            theirs.as_secs_f64() / ours.as_secs_f64()
        );
    }
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn run(command: &mut Command) {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(status.unwrap().success(), "{command:?}");
}
