//! Buck2 by its log and argument files: the fixture's commands are run as its log says, and what
//! they made is checked for free and by replay. A real Buck2 where there is one.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::support;
use crate::workspace::{Said, Workspace, finding, krate, verdicts};

const LOG: &str = "--what-ran=what-ran.jsonl";

/// The fixture, with the artifacts that its log tells of.
fn built() -> Workspace {
    let workspace = Workspace::fixture("buck2");
    // As Buck2 gathers sources: a link to where they lie.
    let part = workspace.path("lib/leaf/src/parts.rs");
    fs::rename(&part, workspace.path("parts.rs")).unwrap();
    std::os::unix::fs::symlink("../../../parts.rs", &part).unwrap();
    for line in fs::read_to_string(workspace.path("what-ran.jsonl"))
        .unwrap()
        .lines()
    {
        let line: Value = serde_json::from_str(line).unwrap();
        let Some(words) = line["reproducer"]["details"]["command"].as_array() else {
            continue;
        };
        let words: Vec<&str> = words.iter().map(|word| word.as_str().unwrap()).collect();
        let mut command: Command = support::scrubbed(words[0]);
        command.args(&words[1..]).current_dir(workspace.path(""));
        let output = command.env_remove("EXECUTION_ID").output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
    }
    workspace
}

fn reasons<'a>(report: &'a Value, what: &str) -> Vec<&'a str> {
    let list = report["not_checked"].as_array().unwrap().iter();
    let own = list.filter(|entry| entry["what"].as_str().unwrap().contains(what));
    own.map(|entry| entry["why"].as_str().unwrap()).collect()
}

#[test]
fn hollow_and_full_rlibs_are_compared_for_free() {
    let workspace = built();
    let report = workspace.report(&["//...", LOG, "--engine=free"], 1);
    assert_eq!(
        verdicts(&report),
        [
            ("root//lib:leaf", "safe"),
            ("root//lib:mismatch", "flag-mismatch"),
            ("root//lib:run", "safe"),
            ("root//lib:squares", "nondeterministic"),
        ]
    );
    let mismatch = finding(&report, "root//lib:mismatch");
    assert_eq!(mismatch["names"], json!(["RUSTC_BOOTSTRAP"]));
    assert_eq!(mismatch["culprit"]["kind"], "flags");
    assert!(reasons(&report, "leaf (rustc check)")[0].contains("another family"));
    assert!(reasons(&report, "away")[0].contains("did not run here (Re with the digest 9f86"));
    assert!(reasons(&report, "app:app")[0].contains("a program"));
    assert!(reasons(&report, "macros:macros")[0].contains("in one process"));
}

#[test]
fn replays_tell_whose_fault_it_is() {
    if !support::require("replays_tell_whose_fault_it_is", "ptrace", can_trace()) {
        return;
    }
    let workspace = built();
    let said = workspace.run(&["//...", LOG, "--format=json", "--quiet"]);
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(
        !said.out.contains("scratch-"),
        "no path of a folder of ours"
    );
    let report = said.json();
    assert_eq!(
        verdicts(&report),
        [
            ("root//lib:leaf", "safe"),
            ("root//lib:mismatch", "flag-mismatch"),
            ("root//lib:run", "nondeterministic"),
            ("root//lib:squares", "nondeterministic"),
            ("root//macros:macros", "safe"),
        ]
    );
    let mismatch = finding(&report, "root//lib:mismatch");
    assert_eq!(mismatch["names"], json!(["RUSTC_BOOTSTRAP"]));
    let run = finding(&report, "root//lib:run");
    assert_eq!(
        (&run["factor"], &run["names"]),
        (&json!("env"), &json!(["EXECUTION_ID"]))
    );
    let squares = finding(&report, "root//lib:squares");
    assert_eq!(squares["factor"], "randomness");
    assert_eq!(squares["culprit"]["package"], "root//macros:macros");
    assert_eq!(squares["culprit"]["function"], "macros::squares");
    let help = squares["help"].as_str().unwrap();
    assert!(help.contains("`pipelined = False`"), "{help}");
    // What both replays and the build made in folders of their own has one SVH.
    let hollow = &krate(&report, "root//lib:leaf")["strategies"]["hollow"];
    assert_eq!(hollow["svh"][0], hollow["svh"][1]);
}

#[test]
fn patterns_choose_targets_of_the_projects_cell() {
    let workspace = built();
    let common = [LOG, "--engine=free", "--no-deps"];
    for (patterns, expected) in [
        (&["//lib:leaf"][..], &["root//lib:leaf"][..]),
        (
            &["//lib/...", "-//lib:squares", "-//lib:mismatch"],
            &["root//lib:leaf", "root//lib:run"],
        ),
    ] {
        let report = workspace.report(&[patterns, &common].concat(), 0);
        let ids: Vec<&str> = verdicts(&report).into_iter().map(|(id, _)| id).collect();
        assert_eq!(ids, expected);
    }
    let said = workspace.run(&["//lib:laef", LOG]);
    let error = said.failed("no target matches `//lib:laef`");
    assert!(error.contains("//lib:leaf"), "{error}");
}

fn fails(said: &Said, error: &str) -> String {
    let line = said.failed(error).trim_end().to_owned();
    assert_eq!(line.lines().count(), 1, "{line}");
    line
}

#[test]
fn what_cannot_be_read_says_so() {
    let workspace = Workspace::fixture("buck2");
    let run = |args: &[&str]| workspace.run(&[&["//..."], args].concat());
    let error = fails(&run(&["--what-ran=gone"]), "cannot read the log: ");
    assert!(
        error.contains("`gone`") && error.contains("buck2 log what-ran --format json"),
        "{error}"
    );
    workspace.write("table", "\nbuild\troot//lib:leaf\trustc rlib\tlocal\n");
    fails(
        &run(&["--what-ran=table"]),
        "`table`, line 2: this is no JSON of a command that ran",
    );
    workspace.write("none", "");
    fails(
        &run(&["--what-ran=none"]),
        "the log names no compile of rustc",
    );
    // Nothing was built: the artifacts are not there.
    let error = fails(&run(&[LOG]), "none of the artifacts in the log is on disk");
    assert!(error.contains("--materializations=all"), "{error}");
    let log = fs::read_to_string(workspace.path("what-ran.jsonl")).unwrap();
    let away: Vec<&str> = log.lines().filter(|line| line.contains("\"Re\"")).collect();
    workspace.write("away", &away.join("\n"));
    let error = fails(
        &run(&["--what-ran=away"]),
        "none of the 1 compiles in the log ran here",
    );
    assert!(error.contains("--local-only"), "{error}");
    fs::remove_dir_all(workspace.path("buck-out/v2")).unwrap();
    let error = fails(&run(&[LOG]), "no compile in the log can be repeated");
    assert!(error.contains("MPPL-diag.args"), "{error}");
}

#[test]
fn odd_lines_are_skipped_and_counted() {
    let workspace = built();
    let log = fs::read_to_string(workspace.path("what-ran.jsonl")).unwrap();
    workspace.write("odd", &format!("{{\n{log}\u{1b}[31m\n{{\"reason\":1}}\n"));
    let said = workspace.run(&["//lib:leaf", "--no-deps", "--engine=free", "--what-ran=odd"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    let note = "3 lines of the log are not understood and were skipped (the first is line 1)";
    assert!(said.err.contains(note), "{}", said.err);
}

#[test]
fn without_buck2_the_log_is_asked_for() {
    let workspace = Workspace::fixture("buck2");
    let mut command = workspace.command(&["//..."]);
    let said: Said = command
        .env("PATH", workspace.path(""))
        .output()
        .unwrap()
        .into();
    let error = fails(
        &said,
        "this is a Buck2 project, and there is no `buck2` on PATH",
    );
    assert!(error.contains("--what-ran FILE"), "{error}");
}

/// No registry carries Buck2, so this is never demanded.
#[test]
fn a_real_buck2_builds_and_is_asked_what_it_ran() {
    if Command::new("buck2").arg("--version").output().is_err() {
        eprintln!("skipped: a_real_buck2_builds_and_is_asked_what_it_ran needs buck2");
        return;
    }
    let toolchains = "load(\"@prelude//toolchains:demo.bzl\", \"system_demo_toolchains\")\nsystem_demo_toolchains()\n";
    let workspace = Workspace::of(&[
        (".buckroot", ""),
        (
            ".buckconfig",
            "[cells]\n  root = .\n  prelude = prelude\n  toolchains = toolchains\n  none = none\n[cell_aliases]\n  config = prelude\n  fbcode = none\n  fbsource = none\n  buck = none\n[external_cells]\n  prelude = bundled\n[parser]\n  target_platform_detector_spec = target:root//...->prelude//platforms:default\n",
        ),
        ("toolchains/BUCK", toolchains),
        (
            "BUCK",
            "rust_library(name = \"leaf\", srcs = [\"leaf.rs\"], crate_root = \"leaf.rs\", edition = \"2021\")\n",
        ),
        ("leaf.rs", "pub fn leaf() {}\n"),
    ]);
    let report = workspace.report(&["//:leaf"], 0);
    assert!(!verdicts(&report).is_empty(), "{report:#}");
}

fn can_trace() -> bool {
    let mut command = support::svhcheck();
    let output = command.args(["trace", "--", "true"]).output().unwrap();
    output.status.success()
}
