//! `svhcheck verify` foretells what rustc does: a hundred graphs of artifacts, consistent and not,
//! each judged by both.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Mutex;

use serde_json::Value;

use crate::support;

const GRAPHS: usize = 100;

/// A build of a crate: its name, of which there are several builds, and how it is made.
fn build(directory: &Path, krate: &str, build: &str, source: &str, options: &[&str]) {
    let out = directory.join(build);
    fs::create_dir_all(&out).unwrap();
    let file = directory.join(format!("{krate}.rs"));
    fs::write(&file, source).unwrap();
    let extra = format!("-Cextra-filename=-{krate}");
    let mut rustc = support::scrubbed("rustc");
    rustc.current_dir(directory).env(
        "RUSTC_BOOTSTRAP",
        if build.starts_with('b') { "1" } else { "0" },
    );
    rustc.args(["--crate-type=lib", "--edition=2021", &extra, "--out-dir"]);
    let output = rustc.arg(&out).args(options).arg(&file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// `leaf`, `left` and `right` that use it, and `top` that uses both, in builds 1, 2 (another leaf) and
/// b (as for hollow rlibs); `h` is the hollow leaf that belongs to b.
fn builds(directory: &Path) {
    for one in ["1", "2", "b"] {
        let emit: &[&str] = if one == "b" {
            &["--emit=link"]
        } else {
            &["--emit=link,metadata"]
        };
        let body = if one == "2" { "2" } else { "1" };
        let with = |krates: &[&str]| -> Vec<String> {
            let file = |krate: &&str| format!("--extern={krate}={one}/lib{krate}-{krate}.rlib");
            let mut options: Vec<String> = krates.iter().map(file).collect();
            options.push(format!("-Ldependency={one}"));
            options.extend(emit.iter().map(|option| (*option).to_owned()));
            options
        };
        let leaf = format!("pub fn f() -> u32 {{ {body} }}");
        let users = "pub fn f() -> u32 { leaf::f() }";
        let top = "pub fn f() -> u32 { left::f() + right::f() }";
        let make = |krate, source: &str, krates: &[&str]| {
            let options = with(krates);
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            build(directory, krate, one, source, &options);
        };
        make("leaf", &leaf, &[]);
        make("left", users, &["leaf"]);
        make("right", users, &["leaf"]);
        make("top", top, &["left", "right"]);
    }
    let hollow = ["--emit=link", "-Zno-codegen"];
    build(directory, "leaf", "bh", "pub fn f() -> u32 { 1 }", &hollow);
}

/// Numbers by chance, the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// Puts one graph together: for every crate the build of `top`, or something else.
fn assemble(builds: &Path, graph: &Path, chance: &mut Chance) -> String {
    fs::create_dir_all(graph).unwrap();
    let one = ["1", "2", "b"][chance.below(3)];
    let mut story = format!("top {one}");
    let copy = |from: &str, krate: &str, ending: &str| {
        let name = format!("lib{krate}-{krate}.{ending}");
        fs::copy(builds.join(from).join(&name), graph.join(&name)).unwrap();
    };
    copy(one, "top", "rlib");
    for krate in ["left", "right", "leaf"] {
        let what = match chance.below(12) {
            8 => ["1", "2", "b"][chance.below(3)],
            9 => "none",
            10 if one != "b" => "rmeta",
            10 | 11 if krate == "leaf" => "bh",
            _ => one,
        };
        match what {
            "none" => {}
            "rmeta" => copy(one, krate, "rmeta"),
            build => copy(build, krate, "rlib"),
        }
        write!(story, ", {krate} {what}").unwrap();
    }
    story
}

fn link(graph: &Path) -> Output {
    fs::write(
        graph.join("main.rs"),
        "fn main() { println!(\"{}\", top::f()) }",
    )
    .unwrap();
    support::scrubbed("rustc")
        .current_dir(graph)
        .args([
            "--edition=2021",
            "--extern=top=libtop-top.rlib",
            "-Ldependency=.",
            "main.rs",
        ])
        .output()
        .unwrap()
}

fn verify(directory: &Path, args: &[&str]) -> (String, i32) {
    let mut command: Command = support::svhcheck();
    let output = command
        .current_dir(directory)
        .arg("verify")
        .args(args)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr);
    (text, output.status.code().unwrap())
}

#[test]
fn the_verdict_on_a_hundred_graphs_is_what_rustc_then_does() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    builds(at);
    let mut chance = Chance(4);
    let graphs: Vec<_> = (0..GRAPHS)
        .map(|number| {
            let graph = at.join(format!("graph{number}"));
            let story = assemble(at, &graph, &mut chance);
            (graph, story)
        })
        .collect();
    let queue = Mutex::new(graphs.iter());
    let faults = Mutex::new(Vec::new());
    let good = Mutex::new(0);
    let codes = Mutex::new(BTreeSet::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some((graph, story)) = queue.lock().unwrap().next() else {
                        return;
                    };
                    let (text, status) = verify(graph, &["--format=json", "."]);
                    let report: Value = serde_json::from_str(&text).unwrap();
                    let output = link(graph);
                    let said = String::from_utf8_lossy(&output.stderr).into_owned();
                    let foretold = status == 0 && report["consistent"] == true;
                    let findings = report["findings"].as_array().unwrap();
                    // rustc stops at the first error; it must be one of those foretold.
                    let code = ["E0460", "E0463"]
                        .into_iter()
                        .find(|code| said.contains(code));
                    let named = code
                        .is_none_or(|code| findings.iter().any(|finding| finding["code"] == code));
                    *good.lock().unwrap() += usize::from(output.status.success());
                    codes.lock().unwrap().insert(code);
                    if foretold != output.status.success() || !named {
                        let fault = format!("{story}\n{said}\n{text}");
                        faults.lock().unwrap().push(fault);
                    }
                }
            });
        }
    });
    let faults = faults.into_inner().unwrap();
    let good = good.into_inner().unwrap();
    eprintln!(
        "{GRAPHS} graphs, of which rustc links {good}; {} judged wrongly",
        faults.len()
    );
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(
        (20..=80).contains(&good),
        "too one-sided to mean anything: {good}"
    );
    assert_eq!(
        codes.into_inner().unwrap().len(),
        3,
        "E0460, E0463 and another failure"
    );
}

#[test]
fn a_report_names_files_svhs_and_who_is_affected() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    builds(at);
    let graph = at.join("graph");
    fs::create_dir(&graph).unwrap();
    for (from, krate) in [("1", "top"), ("1", "left"), ("1", "right"), ("2", "leaf")] {
        let name = format!("lib{krate}-{krate}.rlib");
        fs::copy(at.join(from).join(&name), graph.join(&name)).unwrap();
    }
    let (text, status) = verify(at, &["graph"]);
    assert_eq!(status, 1);
    for part in [
        "inconsistent: 3 faults\n",
        "stale dependency (E0460): `left` was compiled against another build of `leaf`\n  expected  svh ",
        "  in graph/libleaf-leaf.rlib (rlib)\n  affected  leaf ✗\n            └─ left\n               └─ top\n",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    assert_eq!(verify(at, &["graph"]).0, text);
    // Hollow beside full: rustc compiles against either, and links only the full one.
    let (text, status) = verify(at, &["b", "bh"]);
    assert_eq!(status, 0, "{text}");
    let (text, status) = verify(at, &["1"]);
    assert_eq!(status, 0, "{text}");
    assert!(text.starts_with("consistent"), "{text}");
    let (text, status) = verify(at, &["missing.rlib"]);
    assert_eq!(status, 2, "{text}");
}
