//! `svhcheck diff` of large rlibs: the `object` crate, which svhcheck itself uses, compiled twice. Run
//! with `cargo bench --bench diff`. Where diffoscope is installed it gets the same pairs, for a few minutes.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for developers, whose output is its result"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// The fastest of several rounds is the least disturbed one.
const ROUNDS: usize = 5;

/// diffoscope may not take longer.
const MOST_SECONDS: &str = "300";

const FEATURES: [&str; 9] = [
    "read",
    "std",
    "elf",
    "coff",
    "pe",
    "macho",
    "archive",
    "read_core",
    "unaligned",
];

fn main() {
    let work = tempfile::tempdir().unwrap();
    let at = work.path();
    let sources = sources();
    for place in ["one", "another-place"] {
        for (name, source) in ["object", "memchr"].into_iter().zip(&sources) {
            copy(source, &at.join(place).join(name));
        }
    }
    compile(at, "one", "memchr", "out", &["-g", "--emit=metadata,link"]);
    compile(
        at,
        "one",
        "object",
        "path/one",
        &["-g", "--emit=metadata,link"],
    );
    compile(
        at,
        "another-place",
        "object",
        "path/two",
        &["-g", "--emit=metadata,link"],
    );
    compile(at, "one", "object", "svh/one", &["--emit=metadata,link"]);
    compile(at, "one", "object", "svh/two", &["--emit=link"]);
    for (what, pair) in [
        ("another source path, debug", "path"),
        ("the SVH alone", "svh"),
    ] {
        let files = ["one", "two"].map(|side| at.join(pair).join(side).join("libobject-o.rlib"));
        measure(what, &files);
    }
}

fn measure(what: &str, files: &[PathBuf; 2]) {
    let size = std::fs::metadata(&files[0]).unwrap().len();
    let svhcheck = env!("CARGO_BIN_EXE_svhcheck");
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let (output, time) = timed(Command::new(svhcheck).arg("diff").args(files));
        assert_eq!(output.status.code(), Some(1));
        best = best.min(time);
    }
    // GNU time tells the memory on its last line.
    let (output, _) = timed(
        Command::new("/usr/bin/time")
            .args(["-f", "%M", svhcheck, "diff"])
            .args(files),
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let memory = String::from_utf8_lossy(&output.stderr)
        .lines()
        .last()
        .unwrap_or_default()
        .to_owned();
    println!(
        "{what}: {size} bytes; {:.1} ms, {memory} KiB, {} lines; {}",
        best.as_secs_f64() * 1e3,
        text.lines().count(),
        text.lines().next().unwrap_or_default()
    );
    let mut diffoscope = Command::new("timeout");
    diffoscope
        .arg(MOST_SECONDS)
        .args(["diffoscope"])
        .args(files);
    if Command::new("diffoscope")
        .arg("--version")
        .output()
        .is_err()
    {
        println!("  diffoscope is not installed");
        return;
    }
    let (output, time) = timed(&mut diffoscope);
    let lines = output.stdout.split(|byte| *byte == b'\n').count();
    let stopped = match output.status.code() {
        Some(124) => " (stopped there)",
        _ => "",
    };
    let text = String::from_utf8_lossy(&output.stdout);
    // Named, it is told as such or in figures; paths and dumps may hold the three letters.
    let artifact = svhcheck::artifact::open(&files[0]).unwrap();
    let svh = artifact.root().unwrap().svh.to_string();
    let named = ["strict version", &*svh]
        .iter()
        .any(|word| text.to_lowercase().contains(word));
    println!(
        "  diffoscope: {:.1} s{stopped}, {lines} lines, SVH named: {named}; {:.0} times as long",
        time.as_secs_f64(),
        time.as_secs_f64() / best.as_secs_f64()
    );
}

/// Where cargo keeps the sources of `object` and `memchr`.
fn sources() -> [PathBuf; 2] {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(manifest)
        .exec()
        .unwrap();
    ["object", "memchr"].map(|name| {
        let package = metadata
            .packages
            .iter()
            .find(|package| package.name.as_str() == name);
        package.unwrap().manifest_path.parent().unwrap().into()
    })
}

fn copy(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry.unwrap();
        let to = to.join(entry.path().strip_prefix(from).unwrap());
        if entry.file_type().is_dir() {
            std::fs::create_dir_all(to).unwrap();
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn compile(at: &Path, place: &str, krate: &str, out: &str, options: &[&str]) {
    let mut rustc = Command::new("rustc");
    rustc
        .current_dir(at)
        .args(["--crate-type=lib", "--cap-lints=allow"]);
    rustc
        .arg("--crate-name")
        .arg(krate)
        .arg(at.join(place).join(krate).join("src/lib.rs"));
    let features = if krate == "object" {
        &FEATURES[..]
    } else {
        &["std", "alloc"]
    };
    rustc.arg(if krate == "object" {
        "--edition=2024"
    } else {
        "--edition=2021"
    });
    rustc.args(
        features
            .iter()
            .map(|feature| format!("--cfg=feature=\"{feature}\"")),
    );
    rustc.args([
        "-Cmetadata=o",
        "-Cextra-filename=-o",
        "-Lout",
        "--out-dir",
        out,
    ]);
    if krate == "object" {
        rustc.arg("--extern=memchr=out/libmemchr-o.rlib");
    }
    let output = rustc.args(options).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn timed(command: &mut Command) -> (Output, Duration) {
    let start = Instant::now();
    let output = command.output().unwrap();
    (output, start.elapsed())
}
