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

/// Findings by kind and code.
fn findings(directory: &Path, args: &[&str]) -> (Vec<(String, Value)>, i32) {
    let args = [&["--format=json"][..], args].concat();
    let (text, status) = verify(directory, &args);
    let report: Value = serde_json::from_str(&text).unwrap();
    let findings = report["findings"].as_array().unwrap().iter();
    let kinds = findings.map(|f| (f["kind"].as_str().unwrap().to_owned(), f["code"].clone()));
    (kinds.collect(), status)
}

fn said(code: &str) -> Value {
    Value::String(code.to_owned())
}

#[test]
fn a_crate_of_another_compiler_is_e0514() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    builds(at);
    let graph = at.join("graph");
    fs::create_dir(&graph).unwrap();
    for krate in ["top", "left", "right", "leaf"] {
        let name = format!("lib{krate}-{krate}.rlib");
        let mut bytes = fs::read(at.join("1").join(&name)).unwrap();
        if krate == "leaf" {
            // Another version in the place of the own one: rustc looks at no more than this.
            let version = b"rustc 1.";
            let mut places = (0..bytes.len()).filter(|p| bytes[*p..].starts_with(version));
            let minor = places.next().unwrap() + version.len();
            let patch = minor + bytes[minor..].iter().position(|b| *b == b'.').unwrap() + 1;
            bytes[patch] = if bytes[patch] == b'9' { b'8' } else { b'9' };
        }
        fs::write(graph.join(name), bytes).unwrap();
    }
    let output = link(&graph);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("E0514"), "{error}");
    let (found, status) = findings(at, &["graph"]);
    assert_eq!(status, 1);
    assert!(
        found.contains(&("other-compiler".to_owned(), said("E0514"))),
        "{found:?}"
    );
    assert!(found.iter().all(|(_, code)| *code == "E0514"), "{found:?}");
    let (text, _) = verify(at, &["graph"]);
    let line = "another compiler (E0514): `left` needs `leaf`, which is there of another rustc only\n  needed by  rustc ";
    assert!(text.contains(line), "{text}");
}

#[test]
fn two_builds_in_one_folder_are_e0464_for_a_lookup_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let source = "pub fn f() -> u32 { 1 }";
    fs::write(at.join("leaf.rs"), source).unwrap();
    for number in ["1", "2"] {
        let output = support::scrubbed("rustc")
            .current_dir(at)
            .args(["--crate-type=lib", "--out-dir=two", "leaf.rs"])
            .arg(format!("-Cmetadata={number}"))
            .arg(format!("-Cextra-filename=-{number}"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    fs::write(
        at.join("main.rs"),
        "extern crate leaf; fn main() { leaf::f(); }",
    )
    .unwrap();
    let mut rustc = support::scrubbed("rustc");
    let output = rustc.current_dir(at).args(["-Ltwo", "main.rs"]).output();
    let error = String::from_utf8_lossy(&output.unwrap().stderr).into_owned();
    assert!(error.contains("E0464"), "{error}");
    // Cargo and Bazel name files, and then nothing is wrong.
    let (found, status) = findings(at, &["two"]);
    assert_eq!(
        (found, status),
        (vec![("duplicate-candidates".to_owned(), said("E0464"))], 0)
    );
    let mut rustc = support::scrubbed("rustc");
    rustc.args(["-Ltwo", "--extern=leaf=two/libleaf-1.rlib", "main.rs"]);
    assert!(rustc.current_dir(at).status().unwrap().success());
}

#[test]
fn a_stub_needs_its_rmeta() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let stub = ["--emit=link,metadata", "-Zembed-metadata=no"];
    build(at, "leaf", "b", "pub fn f() -> u32 { 1 }", &stub);
    let with = ["--extern=leaf=b/libleaf-leaf.rlib"];
    let both = || {
        let mut rustc = support::scrubbed("rustc");
        rustc.current_dir(at).args(["--crate-type=lib", "user.rs"]);
        let output = rustc.args(with).args(["-Lb", "--edition=2021"]).output();
        let error = String::from_utf8_lossy(&output.unwrap().stderr).into_owned();
        (error, findings(at, &["b"]))
    };
    fs::write(at.join("user.rs"), "pub fn g() -> u32 { leaf::f() }").unwrap();
    // A file that is named is not searched for, so its other half is not found by rustc either.
    let (error, (found, status)) = both();
    assert!(error.contains("only metadata stub found"), "{error}");
    assert_eq!((found, status), (vec![], 0), "the whole is there");
    let output = support::scrubbed("rustc")
        .current_dir(at)
        .args(["--crate-type=lib", "--edition=2021", "user.rs", "-Lb"])
        .arg("--extern=leaf=b/libleaf-leaf.rmeta")
        .args(with)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    fs::remove_file(at.join("b/libleaf-leaf.rmeta")).unwrap();
    let (error, (found, status)) = both();
    assert!(error.contains("only metadata stub found"), "{error}");
    assert_eq!(found, [("lone-stub".to_owned(), Value::Null)]);
    assert_eq!(status, 1);
}

fn cargo(at: &Path, args: &[&str]) {
    let mut cargo = support::scrubbed("cargo");
    cargo.current_dir(at).args(args).arg("--offline");
    let output = cargo.env_remove("CARGO_TARGET_DIR").output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn what_cargo_left_from_earlier_builds_is_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    for (name, deps, source) in [
        ("leaf", "", "pub fn f() -> u32 { 1 }"),
        (
            "user",
            "leaf.path = '../leaf'",
            "pub fn g() -> u32 { leaf::f() }",
        ),
    ] {
        fs::create_dir_all(at.join(name).join("src")).unwrap();
        let manifest = format!(
            "[package]\nname = '{name}'\nversion = '0.1.0'\nedition = '2021'\n[dependencies]\n{deps}\n"
        );
        fs::write(at.join(name).join("Cargo.toml"), manifest).unwrap();
        fs::write(at.join(name).join("src/lib.rs"), source).unwrap();
    }
    fs::write(
        at.join("Cargo.toml"),
        "[workspace]\nmembers = ['leaf', 'user']\nresolver = '2'\n",
    )
    .unwrap();
    cargo(at, &["build"]);
    cargo(at, &["check"]);
    let (text, status) = verify(at, &["target/debug"]);
    assert!(status == 0 && !text.contains("set aside"), "{text}");
    // `user` is not built with the new `leaf`: its files are of the build before.
    fs::write(at.join("leaf/src/lib.rs"), "pub fn f() -> u32 { 2 + 3 }").unwrap();
    cargo(at, &["build", "--package=leaf"]);
    let (text, status) = verify(at, &["target/debug"]);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("files of earlier builds set aside"), "{text}");
    // The same files in another order of time, as out of a cache, are what Cargo would use.
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
    for file in fs::read_dir(at.join("target/debug/deps")).unwrap() {
        let path = file.unwrap().path();
        if path.display().to_string().contains("libuser-") {
            let file = fs::File::options().append(true).open(path).unwrap();
            file.set_modified(later).unwrap();
        }
    }
    let (found, status) = findings(at, &["target/debug"]);
    assert_eq!(status, 1);
    assert!(found.contains(&("stale-dependency".to_owned(), said("E0460"))));
    // What Cargo then does is right again.
    fs::write(
        at.join("user/src/lib.rs"),
        "pub fn g() -> u32 { leaf::f() }",
    )
    .unwrap();
    cargo(at, &["clean", "--package=user"]);
    cargo(at, &["build"]);
    assert_eq!(findings(at, &["target/debug"]), (vec![], 0));
}

/// The layout of rules_rust: rlibs and rmeta files by package, hollow rlibs in folders of their own.
#[test]
fn an_output_tree_of_bazel_is_understood() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    builds(at);
    build(
        at,
        "leaf",
        "bh",
        "pub fn f() -> u32 { 1 }",
        &["--emit=link", "-Zno-codegen"],
    );
    let bin = at.join("bazel-out/k8-fastbuild/bin");
    let put = |build: &str, krate: &str, package: &str, ending: &str| {
        let name = format!("lib{krate}-{krate}.{ending}");
        fs::create_dir_all(bin.join(package)).unwrap();
        fs::copy(at.join(build).join(&name), bin.join(package).join(&name)).unwrap();
    };
    for (krate, package) in [
        ("leaf", "base"),
        ("left", "app/l"),
        ("right", "app/r"),
        ("top", "app"),
    ] {
        put("1", krate, package, "rlib");
        put("1", krate, package, "rmeta");
    }
    std::os::unix::fs::symlink("bazel-out/k8-fastbuild/bin", at.join("bazel-bin")).unwrap();
    assert_eq!(findings(at, &["bazel-bin"]), (vec![], 0));
    assert_eq!(findings(at, &["bazel-out"]), (vec![], 0));
    // Pipelined with hollow rlibs: everybody was compiled against the hollow `leaf`.
    fs::remove_dir_all(&bin).unwrap();
    put("bh", "leaf", "base/_meta", "rlib");
    for (krate, package) in [
        ("leaf", "base"),
        ("left", "app/l"),
        ("right", "app/r"),
        ("top", "app"),
    ] {
        put("b", krate, package, "rlib");
    }
    assert_eq!(findings(at, &["bazel-bin"]), (vec![], 0));
    // The full `leaf` without the variable that the hollow one had: it links no more, and rustc says so only
    // when a program is linked.
    put("1", "leaf", "base", "rlib");
    let (text, status) = verify(at, &["bazel-bin"]);
    assert_eq!(status, 1, "{text}");
    let line = "its metadata is there, so this shows when a program is linked";
    assert!(text.contains(line), "{text}");
    fs::remove_file(bin.join("base/libleaf-leaf.rlib")).unwrap();
    let (found, _) = findings(at, &["bazel-bin"]);
    assert!(
        found.iter().all(|(kind, _)| kind == "not-linkable"),
        "{found:?}"
    );
}
