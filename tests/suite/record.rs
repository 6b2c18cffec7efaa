//! Recording the user's build: what is passed on, what is reused, what is kept away.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use crate::support;
use crate::workspace::{Said, Workspace, krate, verdicts};

/// When each record was written, by the crate's name.
fn records(workspace: &Workspace) -> BTreeMap<String, SystemTime> {
    let folder = workspace.area().join("plain/records/format-2");
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let named = |path: PathBuf| {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let name = stem.rsplit_once('-').unwrap().0.to_owned();
        (name, fs::metadata(&path).unwrap().modified().unwrap())
    };
    entries.map(named).collect()
}

#[test]
fn a_second_check_compiles_and_records_only_what_changed() {
    let workspace = Workspace::fixture("bootstrap-mismatch");
    let check = || {
        let said = workspace.run(&["//...", "--strategies=full", "--verbose"]);
        assert_eq!(said.status, Some(0), "{said:?}");
        let compiled = said.err.matches("Compiling").count();
        (compiled, said.out, records(&workspace))
    };
    let (compiled, first, before) = check();
    assert_eq!(compiled, 3, "leaf, mid and app");
    let (compiled, second, same) = check();
    assert_eq!((compiled, &second, &same), (0, &first, &before));

    workspace.write(
        "mid/src/lib.rs",
        "pub fn mid() -> u32 { leaf::leaf() + 2 }\npub fn more() {}\n",
    );
    let (compiled, third, after) = check();
    assert_eq!(compiled, 2, "mid, and app for its sake");
    assert_eq!(before["leaf"], after["leaf"]);
    assert_ne!(before["mid"], after["mid"]);
    assert_ne!(first, third, "the new SVH");
    workspace.assert_nothing_left();
}

/// A wrapper that leaves a trace wherever it is run.
fn wrapper(workspace: &Workspace, name: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let trace = workspace.path(format!("{name}-was-run"));
    let text = format!("#!/bin/sh\ntouch '{}'\nexec \"$@\"\n", trace.display());
    workspace.write(name, &text);
    let path = workspace.path(name);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn wrappers_of_the_user_are_reported_and_not_run() {
    let workspace = Workspace::fixture("bootstrap-mismatch");
    let names = ["env", "env-workspace", "config", "config-workspace"];
    let [env, env_workspace, config, config_workspace] =
        names.map(|name| wrapper(&workspace, name));
    let check = |variables: &[(&str, &PathBuf)]| {
        let mut command = workspace.command(&["//...", "--strategies=full"]);
        command.envs(variables.iter().copied());
        let said = Said::from(command.output().unwrap());
        assert_eq!(said.status, Some(0), "{said:?}");
        let run = names
            .iter()
            .find(|name| workspace.path(format!("{name}-was-run")).exists());
        assert_eq!(run, None);
        let notes = said
            .err
            .lines()
            .filter_map(|line| line.strip_prefix("note: "));
        notes.map(str::to_owned).collect::<Vec<String>>()
    };
    let notes = check(&[
        ("RUSTC_WRAPPER", &env),
        ("RUSTC_WORKSPACE_WRAPPER", &env_workspace),
    ]);
    let note = |path: &PathBuf, variable: &str| {
        format!(
            "{variable}={} is switched off for the recording",
            path.display()
        )
    };
    let expected = [
        note(&env, "RUSTC_WRAPPER"),
        note(&env_workspace, "RUSTC_WORKSPACE_WRAPPER"),
    ];
    assert_eq!(notes, expected);

    fs::remove_dir_all(workspace.path("target")).unwrap();
    let text = format!(
        "[build]\nrustc-wrapper = {config:?}\nrustc-workspace-wrapper = {config_workspace:?}\n"
    );
    workspace.write(".cargo/config.toml", &text);
    let notes = check(&[]);
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(
        notes[0].starts_with("build.rustc-wrapper = ") && notes[0].contains(".cargo/config.toml")
    );
    assert!(notes[1].starts_with("build.rustc-workspace-wrapper = "));

    // sccache's own advice: in the configuration of the home folder.
    fs::remove_dir_all(workspace.path("target")).unwrap();
    fs::remove_file(workspace.path(".cargo/config.toml")).unwrap();
    workspace.write("cargo-home/config.toml", &text);
    let notes = check(&[("CARGO_HOME", &workspace.path("cargo-home"))]);
    assert_eq!(notes.len(), 2, "{notes:?}");

    fs::remove_dir_all(workspace.path("target")).unwrap();
    let notes = check(&[
        ("CARGO_BUILD_RUSTC_WRAPPER", &env),
        ("CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER", &env_workspace),
    ]);
    assert_eq!(notes.len(), 2, "{notes:?}");
    workspace.assert_nothing_left();
}

#[test]
fn it_runs_from_inside_cargo() {
    let workspace = Workspace::fixture("clean");
    // All that cargo set for this test stays, but for where it builds, and more is added that it
    // sets for programs, build scripts and compiles.
    let mut command = Command::new(env!("CARGO_BIN_EXE_svhcheck"));
    command
        .env_remove("CARGO_TARGET_DIR")
        .env("CARGO", "/nonexistent/cargo")
        .env("CARGO_MANIFEST_DIR", support::root())
        .env("CARGO_PKG_VERSION", "99.0.0")
        .env("CARGO_PRIMARY_PACKAGE", "1")
        .env("CARGO_CRATE_NAME", "outer")
        .env(
            "CARGO_MAKEFLAGS",
            "-j --jobserver-fds=98,99 --jobserver-auth=98,99",
        )
        .env("MAKEFLAGS", "-j --jobserver-auth=fifo:/nonexistent")
        .env("OUT_DIR", "/nonexistent/out")
        .env("CARGO_INCREMENTAL", "1")
        .current_dir(workspace.path(""))
        .stdin(Stdio::null())
        .args(["//...", "--format=json", "--jobs=2", "--quiet"]);
    let said = Said::from(command.output().unwrap());
    assert_eq!((said.status, said.err.as_str()), (Some(0), ""), "{said:?}");
    let inside = said.json();
    let outside = workspace.report(&["//..."], 0);
    assert_eq!(inside, outside, "the same build, and the same verdicts");
    let incremental = workspace.area().join("bootstrap/build/debug/incremental");
    let kept = fs::read_dir(incremental).into_iter().flatten().count();
    assert_eq!(kept, 0, "recorded without incremental compilation");
    workspace.assert_nothing_left();
}

#[test]
fn arguments_behind_the_dashes_choose_the_build() {
    let workspace = Workspace::of(&[
        (
            "Cargo.toml",
            "[package]\nname = \"x\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[features]\nextra = []\n\n\
             [profile.slow]\ninherits = \"dev\"\nopt-level = 1\n",
        ),
        (
            "src/lib.rs",
            "#[cfg(feature = \"extra\")]\npub fn extra() {}\n",
        ),
    ]);
    let output = support::scrubbed("rustc").arg("-vV").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let host = text
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .unwrap();
    let mut svhs = Vec::new();
    for (arguments, folder) in [
        (&[][..], "debug"),
        (&["--release"], "release"),
        (&["--features", "extra"], "debug"),
        (&["--profile", "slow"], "slow"),
        (&["--target", host], &format!("{host}/debug")),
    ] {
        let report = workspace.report(
            &[&["//...", "--strategies=full", "--"], arguments].concat(),
            0,
        );
        assert_eq!(verdicts(&report), [("//:x", "safe")], "{arguments:?}");
        let own = &krate(&report, "//:x")["strategies"]["full"]["svh"][0];
        assert!(
            !svhs.contains(own),
            "another build, another crate: {arguments:?}"
        );
        svhs.push(own.clone());
        assert!(
            workspace
                .area()
                .join("plain/build")
                .join(folder)
                .join("libx.rlib")
                .exists()
        );
    }
    // Not so for those that svhcheck sets itself, nor for those that cargo does not know.
    for reserved in ["--target-dir=x", "--message-format=json"] {
        let said = workspace.run(&["//...", "--", reserved]);
        said.failed(&format!(
            "`{reserved}` cannot be passed to cargo: svhcheck sets it"
        ));
    }
    let said = workspace.run(&["//...", "--", "--target-dir", "x"]);
    said.failed("`--target-dir` cannot be passed to cargo");
    assert!(!workspace.path("x").exists());
    let said = workspace.run(&["//...", "--", "--no-such-option"]);
    said.failed("");
    assert!(
        said.err.contains("--no-such-option"),
        "cargo's own message: {}",
        said.err
    );
    workspace.assert_nothing_left();
}
