//! Reads and plans the action graph of a Bazel workspace with 300 crates, as `svhcheck //...` does before it
//! compiles anything, and compares the command lines in it. Run with `cargo bench --bench bazel`, as root:
//! the graph is that of a real Bazel, in the system that `.ci/bazel-root make target/bazel-root` makes
//! (`SVHCHECK_BAZEL_ROOT` names another).

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for developers, whose output is its result"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use svhcheck::project::bazel::{self, aquery::Graph};

const CRATES: usize = 300;

/// The fastest of several rounds is the least disturbed one.
const ROUNDS: usize = 5;

/// Names the graph that a child of ours is to plan: memory is that of a process with one graph.
const PLAN: &str = "SVHCHECK_BENCH_PLAN";

fn main() {
    if let Some(graph) = std::env::var_os(PLAN) {
        return plan(Path::new(&graph));
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = std::env::var_os("SVHCHECK_BAZEL_ROOT").map(PathBuf::from);
    let root = root.unwrap_or_else(|| here.join("target/bazel-root"));
    assert!(
        root.join(".complete").exists(),
        "no Bazel: `.ci/bazel-root make {}` makes one",
        root.display()
    );
    let work = tempfile::tempdir().unwrap();
    let workspace = work.path().join("workspace");
    write_workspace(&here.join("fixtures/_projects/bazel"), &workspace);
    for (name, flag) in [("not pipelined", ""), ("pipelined", "--config=pipelined")] {
        let graph = work.path().join("graph.pb");
        aquery(here, &root, work.path(), flag, &graph);
        let size = fs::metadata(&graph).unwrap().len();
        let own = std::env::current_exe().unwrap();
        let planned = fastest(|| {
            let output = Command::new(&own).env(PLAN, &graph).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            let text = String::from_utf8(output.stdout).unwrap();
            let mut words = text.split_whitespace().map(|own| own.parse().unwrap());
            [(); 3].map(|()| words.next().unwrap())
        });
        let [micros, kilobytes, crates] = planned;
        println!(
            "{name}: {:.1} MB, {crates} crates; read and planned in {:.1} ms, {:.1} MB",
            megabytes(size),
            Duration::from_micros(micros).as_secs_f64() * 1e3,
            megabytes(kilobytes * 1024)
        );
        if name == "pipelined" {
            // The first round asks the compiler and keeps its answers.
            let [micros] = fastest(|| {
                let start = Instant::now();
                let status = Command::new(env!("CARGO_BIN_EXE_svhcheck"))
                    .args(["parity", "--aquery"])
                    .arg(&graph)
                    .stdout(Stdio::null())
                    .stderr(Stdio::null()) // That the build's compiler is not here.
                    .status();
                assert!(status.unwrap().success());
                [u64::try_from(start.elapsed().as_micros()).unwrap()]
            });
            let time = Duration::from_micros(micros).as_secs_f64();
            println!("{name}: svhcheck parity {:.1} ms", time * 1e3);
        }
    }
}

/// The round with the least first number.
fn fastest<const N: usize>(mut round: impl FnMut() -> [u64; N]) -> [u64; N] {
    (0..ROUNDS).map(|_| round()).min().unwrap()
}

#[expect(clippy::cast_precision_loss, reason = "for reading")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Plans a graph; prints the time in microseconds, the peak of resident memory in KiB, and the crates.
fn plan(path: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let graph = Graph::open(path).unwrap();
    let build = bazel::plan(&graph, folder.path(), folder.path()).unwrap();
    let time = start.elapsed().as_micros();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|own| own.strip_prefix("VmHWM:"));
    let peak = peak.unwrap().trim().trim_end_matches(" kB");
    println!("{time} {peak} {}", build.actions.len());
}

/// Each crate depends on up to six before it, and so has all before it among its inputs.
fn write_workspace(fixture: &Path, folder: &Path) {
    fs::create_dir_all(folder.join("toolchain")).unwrap();
    for name in [
        ".bazelrc",
        "MODULE.bazel",
        "BUILD.bazel",
        "toolchain/BUILD.bazel",
        "toolchain/sysroot.bzl",
    ] {
        fs::copy(fixture.join(name), folder.join(name)).unwrap();
    }
    for n in 0..CRATES {
        let at = folder.join(format!("c{n}"));
        fs::create_dir(&at).unwrap();
        let before = (1..=3).filter_map(|back| n.checked_sub(back));
        let deps: BTreeSet<usize> = before.chain([n / 2, n / 3, n / 7]).collect();
        let deps = deps.iter().filter(|own| **own < n);
        let deps = deps.fold(String::new(), |mut text, own| {
            write!(text, "\"//c{own}\", ").unwrap();
            text
        });
        let rule = format!(
            "load(\"@rules_rust//rust:defs.bzl\", \"rust_library\")\n\
             rust_library(name = \"c{n}\", srcs = [\"lib.rs\"], deps = [{deps}], \
             visibility = [\"//visibility:public\"])\n"
        );
        fs::write(at.join("BUILD.bazel"), rule).unwrap();
        fs::write(at.join("lib.rs"), "").unwrap();
    }
}

/// Saves the workspace's action graph. The question is `svhcheck //...`'s own.
fn aquery(here: &Path, root: &Path, work: &Path, flag: &str, graph: &Path) {
    let sysroot = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()
        .unwrap();
    let sysroot = String::from_utf8(sysroot.stdout).unwrap();
    let sysroot = sysroot.trim();
    let command = format!(
        "bazel aquery {flag} --output_groups=+build_metadata --output=streamed_proto \
         'mnemonic(\"^(Rustc|RustcMetadata|CargoBuildScriptRun)$\", deps(//...))' >{}",
        graph.display()
    );
    let output = Command::new(here.join(".ci/bazel-root"))
        .arg("run")
        .args([root, Path::new(sysroot), work])
        .args(["--", "env", "-i", "USER=root"])
        .arg(format!("PATH={sysroot}/bin:/usr/bin:/bin"))
        .arg(format!("HOME={}", work.join("home").display()))
        .args(["bash", "-c", &command])
        .env("FOLDER", work.join("workspace"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}
