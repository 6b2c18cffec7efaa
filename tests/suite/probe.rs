//! `svhcheck probe`: what a compiler is asked, and what is kept of its answers.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support;
use crate::workspace::Said;

fn probe(cache: &Path, args: &[&str]) -> Said {
    let mut command = support::svhcheck();
    command.arg("probe").args(args).env("XDG_CACHE_HOME", cache);
    command.output().unwrap().into()
}

/// A compiler that says who it is, and else does what the script says.
fn compiler(folder: &Path, script: &str) -> PathBuf {
    let path = folder.join("rustc");
    let who = "case \"$1\" in --print) echo /nonexistent; exit;; -vV) exec rustc -vV;; esac";
    fs::write(&path, format!("#!/bin/sh\n{who}\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// By row: whether it moves the SVH.
fn moves(report: &Value) -> Vec<(&str, &str)> {
    let rows = report["rows"].as_array().unwrap().iter();
    rows.map(|row| {
        (
            row["name"].as_str().unwrap(),
            row["moves"].as_str().unwrap(),
        )
    })
    .collect()
}

/// What was measured by other means with rustc 1.95, nightly 1.97 and beta 1.100.
#[test]
fn the_compiler_says_of_known_options_what_is_known_of_them() {
    let cache = tempfile::tempdir().unwrap();
    let said = probe(cache.path(), &["--format=json"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    let report = said.json();
    let found = moves(&report);
    for (name, expected) in [
        ("--emit", "yes"),
        ("--json", "yes"),
        ("-Cmetadata", "yes"),
        ("-Copt-level", "yes"),
        ("-Cdebug-assertions", "yes"),
        ("-Cembed-bitcode", "yes"),
        ("-Cincremental", "yes"),
        ("--remap-path-prefix", "yes"),
        ("-Zallow-features", "yes"),
        ("RUSTC_BOOTSTRAP", "yes"),
        ("(working directory)", "yes"),
        ("-Cextra-filename", "no"),
        ("-Ccodegen-units", "no"),
        ("-Cstrip", "no"),
        ("--out-dir", "no"),
        ("--extern", "no"),
        ("--cap-lints", "no"),
        ("-Zno-codegen", "no"),
        ("SOURCE_DATE_EPOCH", "no"),
        ("--cfg", "where-asked"),
        ("(any other variable)", "where-asked"),
    ] {
        assert!(found.contains(&(name, expected)), "{name}: {found:?}");
    }
}

#[test]
fn answers_are_kept_and_damaged_ones_asked_again() {
    let cache = tempfile::tempdir().unwrap();
    let first = probe(cache.path(), &[]);
    assert_eq!(first.status, Some(0), "{first:?}");
    let folder = cache.path().join("svhcheck/probe");
    let kept: Vec<_> = fs::read_dir(&folder).unwrap().collect();
    let [kept] = kept.as_slice() else {
        panic!("one file for one compiler: {kept:?}");
    };
    let kept = kept.as_ref().unwrap().path();
    // What is kept is what is shown: a kept answer of another kind is seen.
    let text = fs::read_to_string(&kept).unwrap();
    fs::write(&kept, text.replacen("\"yes\"", "\"no\"", 1)).unwrap();
    assert_ne!(probe(cache.path(), &[]).out, first.out);
    for damage in ["{", "{\"rustc\":\"x\",\"rows\":[]}"] {
        fs::write(&kept, damage).unwrap();
        assert_eq!(probe(cache.path(), &[]).out, first.out, "{damage:?}");
        assert_eq!(fs::read_to_string(&kept).unwrap(), text);
    }
    // No place to keep it: it is asked each time.
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "").unwrap();
    assert_eq!(probe(cache.path(), &[]).out, first.out);
}

#[test]
fn a_compiler_that_takes_little_is_told_as_such() {
    let cache = tempfile::tempdir().unwrap();
    // As old compilers do: options that they do not know end them.
    let refuse = "case \"$arg\" in --json=*|-Csymbol-*|-Z*) echo \"error: unknown option '$arg'\" >&2; exit 1;; esac";
    let old = compiler(
        cache.path(),
        &format!("for arg; do {refuse}; done; exec rustc \"$@\""),
    );
    let rustc = old.to_str().unwrap();
    let said = probe(cache.path(), &["--format=json", "--rustc", rustc]);
    assert_eq!(said.status, Some(0), "{said:?}");
    let report = said.json();
    let found = moves(&report);
    for name in ["--json", "-Csymbol-mangling-version", "-Zno-codegen"] {
        assert!(found.contains(&(name, "not-accepted")), "{found:?}");
    }
    assert!(found.contains(&("-Copt-level", "yes")), "{found:?}");
    let human = probe(cache.path(), &["--rustc", rustc]).out;
    assert!(
        human.contains("not accepted (unknown option '--json=artifacts')"),
        "{human}"
    );
}

#[test]
fn what_is_no_compiler_says_so() {
    let cache = tempfile::tempdir().unwrap();
    let said = probe(cache.path(), &["--rustc", "/nonexistent/rustc"]);
    let error = said.failed("cannot run `/nonexistent/rustc`");
    assert!(error.contains("--rustc PATH"), "{error}");
    probe(cache.path(), &["--rustc", "/bin/true"]).failed("`/bin/true -vV` failed");
    let broken = compiler(cache.path(), "echo 'error: no' >&2; exit 1");
    let said = probe(cache.path(), &["--rustc", broken.to_str().unwrap()]);
    let error = said.failed("`rustc ");
    assert!(
        error.contains("cannot compile a crate of a dozen lines: no;"),
        "{error}"
    );
}
