//! What every test here needs: the program under test in a scrubbed environment, and a way to
//! skip by name what this machine cannot run.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `svhcheck`, without the variables that the outer cargo set: they would hide faults that a user
/// meets (cargo, rustc and svhcheck read them).
pub(crate) fn svhcheck() -> Command {
    scrubbed(env!("CARGO_BIN_EXE_svhcheck"))
}

/// Any program in that scrubbed environment.
pub(crate) fn scrubbed(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let toolchain = ["RUSTUP_HOME", "CARGO_HOME"].contains(&&*text);
        if (text.starts_with("CARGO") || text.starts_with("RUST")) && !toolchain {
            command.env_remove(&name);
        }
    }
    command
}

/// True if `there`; otherwise says which test is skipped for want of `what`, or fails where
/// `SVHCHECK_TEST_REQUIRE=all` asks for everything (as `.ci/run` does).
pub(crate) fn require(test: &str, what: &str, there: bool) -> bool {
    assert!(
        there || std::env::var_os("SVHCHECK_TEST_REQUIRE").is_none_or(|v| v != "all"),
        "{test} needs {what}, and SVHCHECK_TEST_REQUIRE=all is set"
    );
    if !there {
        eprintln!("skipped: {test} needs {what}");
    }
    there
}

/// The `lib` directories of the installed toolchains' sysroots for their own host, sorted.
pub(crate) fn sysroot_libs() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for toolchain in ["stable", "nightly"] {
        let output = scrubbed("rustc")
            .arg(format!("+{toolchain}"))
            .args(["--print", "sysroot"])
            .output();
        let Ok(output) = output else { continue };
        if output.status.success() {
            let sysroot = String::from_utf8_lossy(&output.stdout);
            found.push(PathBuf::from(sysroot.trim()));
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Fails unless a report is as `docs/report.schema.json` has it. Readers must pass over names that
/// they do not know; we must document all that we write, so here unknown ones are faults.
pub(crate) fn assert_is_report(report: &Value) {
    let path = root().join("docs/report.schema.json");
    let mut schema: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    close(&mut schema);
    let schema = jsonschema::validator_for(&schema).unwrap();
    let faults = schema.iter_errors(report);
    let faults: Vec<String> = faults
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

fn close(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.contains_key("properties") {
                object.insert("additionalProperties".to_owned(), false.into());
            }
            object.values_mut().for_each(close);
        }
        Value::Array(list) => list.iter_mut().for_each(close),
        _ => {}
    }
}
