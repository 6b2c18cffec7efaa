//! Every pair of workspaces in `fixtures/_projects` that `expected.toml` there lists: svhcheck must
//! name the fault in `bad` and be silent about `good`. A test each, so that one is run by its name:
//!
//!     cargo test --test fixtures hash-map-2
//!
//! What svhcheck cannot do yet is ignored by name (`since` in the table).

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a panic is how a test fails, and a skip must be said"
)]

#[path = "suite/support.rs"]
#[allow(dead_code, reason = "shared with the suite, which uses all of it")]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::sync::Mutex;

use libtest_mimic::{Arguments, Trial};
use serde::Deserialize;
use serde_json::Value;

use support::{require, root, scrubbed, svhcheck};

/// Longest proc macro, in lines: a fixture shows one fault.
const MAX_LINES: usize = 40;

/// What may move an SVH.
const FACTORS: &[&str] = &[
    "randomness",
    "time",
    "dir-order",
    "build-path",
    "env",
    "home",
    "tmpdir",
    "hostname",
    "user",
    "locale",
    "timezone",
    "umask",
    "cpus",
    "aslr",
    "pid",
    "mtime",
    "inode",
    "kernel",
    "network",
    "threads",
    "undeclared-file",
];

/// One entry of the table, as its head describes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    since: Since,
    #[serde(default)]
    function_since: Since,
    needs: Option<Need>,
    #[serde(default)]
    args: Vec<String>,
    verdict: String,
    #[serde(default)]
    others: BTreeMap<String, String>,
    hermeticity: Option<String>,
    factor: Option<Factor>,
    lint: Option<String>,
    culprit: Option<String>,
    kind: Option<Kind>,
    function: Option<String>,
    rebuilt: u32,
    note: String,
}

/// Whether svhcheck can do it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Since {
    #[default]
    Now,
    Tracer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Need {
    TwoProcessors,
    Git,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    ProcMacro,
    BuildScript,
    Source,
    Flags,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::ProcMacro => "proc-macro",
            Kind::BuildScript => "build-script",
            Kind::Source => "source",
            Kind::Flags => "flags",
        }
    }

    /// The file that holds the fault, from the workspace.
    fn source(self) -> &'static str {
        match self {
            Kind::ProcMacro => "fixture_macro/src/lib.rs",
            Kind::BuildScript => "consumer/build.rs",
            Kind::Source | Kind::Flags => "consumer/src/lib.rs",
        }
    }
}

/// A factor, or several that are all right.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Factor {
    One(String),
    Any(Vec<String>),
}

impl Factor {
    fn names(&self) -> &[String] {
        match self {
            Factor::One(name) => std::slice::from_ref(name),
            Factor::Any(names) => names,
        }
    }
}

fn main() -> ExitCode {
    let table = table();
    let mut trials = Vec::new();
    for (name, expected) in &table {
        let ignored = expected.since == Since::Tracer;
        let trial = |side: &str, run: fn(&str, &Expected) -> Result<(), String>| {
            let (own, expected) = (name.clone(), expected.clone());
            Trial::test(format!("{name}/{side}"), move || Ok(run(&own, &expected)?))
        };
        trials.push(trial("bad", bad).with_ignored_flag(ignored));
        trials.push(trial("good", good));
    }
    trials.push(Trial::test("table", move || Ok(agree(&table)?)));
    trials.push(Trial::test("format", || Ok(tidy()?)));
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    if conclusion.has_failed() {
        return conclusion.exit_code();
    }
    match compare_hits() {
        Ok(()) => ExitCode::SUCCESS,
        Err(difference) => {
            eprintln!(
                "what the lints hit is not what tests/snapshots/hits.txt says; UPDATE=1 writes it anew:\n{difference}"
            );
            ExitCode::FAILURE
        }
    }
}

/// By run (`hash-map-2/bad`), every hit of every lint, shown or not.
static HITS: Mutex<BTreeMap<String, BTreeSet<String>>> = Mutex::new(BTreeMap::new());

/// Workspaces whose further hits hang on the scheduler, or on how the machine counts processors.
const RESTLESS: [&str; 3] = ["aslr-address/", "cpus/", "thread-race/"];

fn note_hits(run: &str, report: &Value) {
    if RESTLESS.iter().any(|own| run.starts_with(own)) {
        return;
    }
    let hit = |finding: &Value| {
        let names = ["crate", "lint", "level", "grade", "factor"];
        let values = names.map(|name| text(&finding[name]));
        values.join(" ").trim_end_matches(" null").to_owned()
    };
    // What did no harm, and what a sandbox refuses without effect, hangs on the machine.
    let told = |finding: &&Value| {
        let note = finding["level"] == "allow";
        finding["grade"] != "harmless" && !(note && finding["lint"] == "sandbox-escape")
    };
    let all = report["findings"].as_array().into_iter().flatten();
    let all = all.filter(told);
    let mut hits = HITS.lock().unwrap();
    hits.insert(run.to_owned(), all.map(hit).collect());
}

/// Whether the runs that were made hit what the snapshot says; the others are kept as they are.
fn compare_hits() -> Result<(), String> {
    let path = root().join("tests/snapshots/hits.txt");
    let known = fs::read_to_string(&path).unwrap_or_default();
    let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in known.lines() {
        let (run, hit) = line.split_once(": ").unwrap_or((line, ""));
        wanted
            .entry(run.to_owned())
            .or_default()
            .insert(hit.to_owned());
    }
    let got = HITS.lock().unwrap();
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        wanted.extend(got.clone());
        wanted.retain(|_, hits| !hits.is_empty());
        let mut text = String::new();
        for (run, hits) in &wanted {
            for hit in hits {
                writeln!(text, "{run}: {hit}").unwrap();
            }
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        return Ok(());
    }
    let mut difference = String::new();
    for (run, hits) in &*got {
        let known = wanted.remove(run).unwrap_or_default();
        for hit in known.difference(hits) {
            writeln!(difference, "-{run}: {hit}").unwrap();
        }
        for hit in hits.difference(&known) {
            writeln!(difference, "+{run}: {hit}").unwrap();
        }
    }
    if difference.is_empty() {
        Ok(())
    } else {
        Err(difference)
    }
}

/// Where the workspaces are.
fn projects() -> PathBuf {
    root().join("fixtures/_projects")
}

fn table() -> BTreeMap<String, Expected> {
    let text = fs::read_to_string(projects().join("expected.toml")).unwrap();
    toml::from_str(&text).unwrap_or_else(|error| panic!("expected.toml: {error}"))
}

/// The fault is found, and named as the table names it.
fn bad(name: &str, expected: &Expected) -> Result<(), String> {
    let Some((output, report)) = check(name, "bad", expected) else {
        return Ok(());
    };
    let mut faults = String::new();
    let mut differs = |what: &str, wanted: &str, got: &str| {
        if wanted != got {
            writeln!(faults, "{what}: expected {wanted}, got {got}").unwrap();
        }
    };
    let consumer = crates(&report)
        .find(|own| own["package"] == "consumer")
        .ok_or_else(|| "the report has no consumer".to_owned())?;
    differs("verdict", &expected.verdict, text(&consumer["verdict"]));
    if let Some(wanted) = &expected.hermeticity {
        differs("hermeticity", wanted, text(&consumer["hermeticity"]));
    }
    for other in crates(&report).filter(|own| own["package"] != "consumer") {
        let id = text(&other["id"]);
        let wanted = expected.others.get(id).map_or("safe", String::as_str);
        differs(id, wanted, text(&other["verdict"]));
    }
    let said: Vec<&Value> = findings(&report).collect();
    if expected.kind.is_none() && expected.lint.is_none() {
        differs("findings", "0", &said.len().to_string());
    } else if !said.iter().any(|finding| fits(finding, expected)) {
        differs("a finding", "as in the table", "none");
    }
    for finding in said {
        let culprit = &finding["culprit"];
        let accused = [text(&culprit["package"]), text(&culprit["kind"])];
        let wanted = [expected.culprit.as_deref(), expected.kind.map(Kind::as_str)];
        let wanted = wanted.map(|own| own.unwrap_or("null"));
        differs("accused", &format!("{wanted:?}"), &format!("{accused:?}"));
    }
    let denied = findings(&report).any(|finding| finding["level"] == "deny");
    let status = if denied { "1" } else { "0" };
    let got = output.status.code().unwrap_or(-1).to_string();
    differs("exit status", status, &got);
    conclude(&faults, &output)
}

/// Whether a finding is the one that the table wants.
fn fits(finding: &Value, expected: &Expected) -> bool {
    let culprit = &finding["culprit"];
    let factor = expected.factor.as_ref().is_none_or(|wanted| {
        let own = text(&finding["factor"]);
        wanted.names().iter().any(|name| name == own)
    });
    let function = expected.function_since == Since::Tracer
        || expected.function.as_ref().is_none_or(|wanted| {
            // A closure belongs to its function.
            let own = text(&culprit["function"]);
            own.split("::{{closure}}").next() == Some(wanted)
        });
    let lint = expected.lint.as_ref();
    factor
        && function
        && lint.is_none_or(|wanted| finding["lint"] == **wanted)
        && expected.culprit.as_deref() == culprit["package"].as_str()
        && expected.kind.map(Kind::as_str) == culprit["kind"].as_str()
}

/// Nothing at all is said.
fn good(name: &str, expected: &Expected) -> Result<(), String> {
    let Some((output, report)) = check(name, "good", expected) else {
        return Ok(());
    };
    let mut faults = String::new();
    if !crates(&report).any(|own| own["package"] == "consumer") {
        writeln!(faults, "the report has no consumer").unwrap();
    }
    for own in crates(&report).filter(|own| own["verdict"] != "safe") {
        writeln!(faults, "{} is {}", own["id"], own["verdict"]).unwrap();
    }
    for finding in findings(&report) {
        writeln!(
            faults,
            "accused: {} {}",
            finding["lint"], finding["message"]
        )
        .unwrap();
    }
    if output.status.code() != Some(0) {
        writeln!(faults, "it ended with {}", output.status).unwrap();
    }
    conclude(&faults, &output)
}

fn conclude(faults: &str, output: &Output) -> Result<(), String> {
    if faults.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{faults}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}

/// Runs svhcheck on a copy of one workspace; nothing where the machine lacks what it needs.
fn check(name: &str, side: &str, expected: &Expected) -> Option<(Output, Value)> {
    let (what, there) = match expected.needs {
        None => ("", true),
        Some(Need::TwoProcessors) => {
            let processors = std::thread::available_parallelism();
            ("two processors", processors.is_ok_and(|own| own.get() > 1))
        }
        Some(Need::Git) => ("git", Command::new("git").arg("--version").output().is_ok()),
    };
    if !require(&format!("{name}/{side}"), what, there) {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let workspace = folder.path().join(name);
    copy(&projects().join(name).join(side), &workspace);
    if expected.needs == Some(Need::Git) {
        commit(&workspace);
    }
    let output = svhcheck()
        .current_dir(&workspace)
        .args(["//...", "--format", "json", "--jobs", "1"])
        .args(&expected.args)
        .args(["--", "--offline", "--locked"])
        .output()
        .unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        let said = String::from_utf8_lossy(&output.stderr);
        panic!("{name}/{side}: no report: {error}\n{said}")
    });
    support::assert_is_report(&report);
    note_hits(&format!("{name}/{side}"), &report);
    Some((output, report))
}

/// Copies a workspace without what a build in place left there.
fn copy(from: &Path, to: &Path) {
    let entries = walkdir::WalkDir::new(from).into_iter();
    for entry in entries.filter_entry(|entry| entry.file_name() != "target") {
        let entry = entry.unwrap();
        let place = to.join(entry.path().strip_prefix(from).unwrap());
        if entry.file_type().is_dir() {
            fs::create_dir_all(place).unwrap();
        } else {
            fs::copy(entry.path(), place).unwrap();
        }
    }
}

/// Makes the workspace a repository with one commit, whatever the user's git is told to do.
fn commit(workspace: &Path) {
    let user = [
        "-c",
        "user.name=fixture",
        "-c",
        "user.email=fixture@example",
    ];
    let commit = ["commit", "-q", "--no-gpg-sign", "--no-verify", "-m", "All"];
    fs::write(workspace.join(".gitignore"), "target\n").unwrap();
    for args in [
        &["init", "-q"][..],
        &["add", "."],
        &[&user[..], &commit[..]].concat(),
    ] {
        let mut git = scrubbed("git");
        for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
            git.env_remove(variable); // set where this runs in a hook
        }
        let output = git.current_dir(workspace).args(args).output().unwrap();
        assert!(output.status.success(), "git {args:?}: {output:?}");
    }
}

fn crates(report: &Value) -> impl Iterator<Item = &Value> {
    report["crates"].as_array().into_iter().flatten()
}

/// What a user sees: all but what is allowed.
fn findings(report: &Value) -> impl Iterator<Item = &Value> {
    let all = report["findings"].as_array().into_iter().flatten();
    all.filter(|finding| finding["level"] != "allow")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("null")
}

/// The table and the folders name the same pairs, and what the table says can be right.
fn agree(table: &BTreeMap<String, Expected>) -> Result<(), String> {
    let mut faults = String::new();
    let entries = fs::read_dir(projects()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let pairs: BTreeSet<String> = paths
        .filter(|path| path.join("bad").is_dir() || path.join("good").is_dir())
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    let named: BTreeSet<String> = table.keys().cloned().collect();
    for name in pairs.symmetric_difference(&named) {
        writeln!(faults, "{name}: not both in the table and a folder").unwrap();
    }
    for page in svhcheck::lint::registry() {
        // What moves has this one where the table names none.
        let is_hit = |own: &Expected| match &own.lint {
            Some(lint) => *lint == page.id,
            None => page.id == "svh-unstable" && own.factor.is_some(),
        };
        if page.removed.is_none() && !table.values().any(is_hit) {
            writeln!(faults, "{}: no pair has this lint", page.id).unwrap();
        }
    }
    for (name, expected) in table {
        for fault in doubts(name, expected) {
            writeln!(faults, "{name}: {fault}").unwrap();
        }
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults)
    }
}

/// What is wrong with an entry, as far as that can be seen without running anything.
fn doubts(name: &str, expected: &Expected) -> Vec<String> {
    let mut found = Vec::new();
    for side in ["bad", "good"] {
        if !projects()
            .join(name)
            .join(side)
            .join("Cargo.lock")
            .is_file()
        {
            found.push(format!("{side} is not a locked workspace"));
        }
    }
    let flags = matches!(expected.kind, Some(Kind::Flags));
    for factor in expected.factor.iter().flat_map(Factor::names) {
        if !flags && !FACTORS.contains(&factor.as_str()) {
            found.push(format!("{factor} is no factor"));
        }
    }
    let moves = expected.verdict == "nondeterministic";
    let still = ["safe", "infected", "inconclusive", "flag-mismatch"];
    if !moves && !still.contains(&expected.verdict.as_str()) {
        found.push(format!(
            "{} is not a verdict that it can have",
            expected.verdict
        ));
    }
    if moves && expected.factor.is_none() {
        found.push("what moves has a factor".to_owned());
    }
    if !flags && expected.culprit.is_some() != expected.kind.is_some() {
        found.push("culprit and kind go together".to_owned());
    }
    if let (Some(function), Some(kind)) = (&expected.function, expected.kind) {
        let source = projects().join(name).join("bad").join(kind.source());
        let source = fs::read_to_string(source).unwrap_or_default();
        let last = function.rsplit("::").next().unwrap_or_default();
        if !source.contains(&format!("fn {last}(")) {
            found.push(format!("{} has no function {last}", kind.source()));
        }
    }
    if !(1..=4).contains(&expected.rebuilt) || expected.note.is_empty() {
        found.push("says nothing of plain builds".to_owned());
    }
    found
}

/// Fixtures are not in the workspace, so that `cargo fmt` does not see them.
fn tidy() -> Result<(), String> {
    let mut sources = Vec::new();
    let mut faults = String::new();
    for name in table().keys() {
        let files = walkdir::WalkDir::new(projects().join(name)).into_iter();
        for entry in files.filter_entry(|entry| entry.file_name() != "target") {
            let path = entry.unwrap().into_path();
            if path.extension().is_none_or(|own| own != "rs") {
                continue;
            }
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            if lines > MAX_LINES {
                writeln!(faults, "{}: {lines} lines", path.display()).unwrap();
            }
            sources.push(path);
        }
    }
    let mut rustfmt = scrubbed("rustfmt");
    let rustfmt = rustfmt
        .args(["--check", "--edition", "2024"])
        .args(&sources);
    let output = rustfmt.output().unwrap();
    if !output.status.success() {
        faults += &String::from_utf8_lossy(&output.stdout);
        faults += &String::from_utf8_lossy(&output.stderr);
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults)
    }
}
