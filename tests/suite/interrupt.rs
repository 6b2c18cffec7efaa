//! Ctrl-C, a second check in the same place, and compiles that do not end: what is done is
//! reported, and nothing is left running or lying about.

use std::fs;
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::workspace::{Said, Workspace, krate, verdicts, wait_for};

/// A macro that, while there is a file `sleep`, says that it has begun and waits for a process
/// that never ends; a crate that uses it, and one that does not.
fn workspace() -> Workspace {
    let package = |name: &str, more: &str| {
        format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n{more}")
    };
    Workspace::of(&[
        (
            "Cargo.toml",
            "[workspace]\nresolver = \"2\"\nmembers = [\"macros\", \"slow\", \"quick\"]\n",
        ),
        (
            "macros/Cargo.toml",
            &package("macros", "[lib]\nproc-macro = true\n"),
        ),
        (
            "macros/src/lib.rs",
            r#"
            #[proc_macro]
            pub fn slow(_: proc_macro::TokenStream) -> proc_macro::TokenStream {
                let root = std::path::PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap());
                let root = root.parent().unwrap();
                if root.join("sleep").exists() {
                    let mut endless = std::process::Command::new("tail");
                    endless.arg("-f").arg(root.join("sleep"));
                    let mut child = endless.spawn().unwrap();
                    std::fs::write(root.join("begun"), "").unwrap();
                    child.wait().unwrap();
                }
                "pub fn made() {}".parse().unwrap()
            }
            "#,
        ),
        (
            "slow/Cargo.toml",
            &package(
                "slow",
                "[dependencies]\nmacros = { path = \"../macros\" }\n",
            ),
        ),
        ("slow/src/lib.rs", "macros::slow!();\n"),
        ("quick/Cargo.toml", &package("quick", "")),
        ("quick/src/lib.rs", "pub fn f() {}\n"),
    ])
}

/// Starts a check and waits until the macro sleeps.
fn start(workspace: &Workspace, args: &[&str]) -> Child {
    let _ = fs::remove_file(workspace.path("begun"));
    workspace.write("sleep", "");
    let mut command = workspace.command(args);
    // A test that fails must not take half an hour for it.
    command
        .arg("--timeout=60")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    wait_for("the macro to begin", || workspace.path("begun").exists());
    child
}

/// Sends a signal to svhcheck alone, and returns its last words.
fn end(child: Child, signal: Signal) -> Said {
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
    child.wait_with_output().unwrap().into()
}

#[test]
fn an_interrupt_while_recording_leaves_nothing_and_the_next_check_works() {
    let workspace = workspace();
    let child = start(&workspace, &["//..."]);
    let said = end(child, Signal::SIGINT);
    assert_eq!(
        (said.status, said.out.as_str()),
        (Some(130), ""),
        "{said:?}"
    );
    let last = said.err.lines().last().unwrap();
    assert_eq!(
        last,
        "warning: interrupted before there was anything to report"
    );
    workspace.assert_nothing_left();
    fs::remove_file(workspace.path("sleep")).unwrap();
    let report = workspace.report(&["//..."], 0);
    assert_eq!(verdicts(&report).len(), 3);
}

/// Cargo may wait for the network before it says what the workspace is.
#[test]
fn an_interrupt_while_cargo_waits_ends_it() {
    use std::os::unix::fs::PermissionsExt;
    let workspace = workspace();
    let sleep = workspace.path("sleep");
    let begun = workspace.path("begun");
    let (sleep, begun) = (sleep.display(), begun.display());
    let script = format!("#!/bin/sh\ntouch '{begun}'\nexec tail -f '{sleep}'\n");
    workspace.write("bin/cargo", &script);
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(workspace.path("bin/cargo"), mode).unwrap();
    workspace.write("sleep", "");
    let mut command = workspace.command(&["//..."]);
    let mut path = workspace.path("bin").into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    command.env("PATH", path);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    wait_for("cargo to begin", || workspace.path("begun").exists());
    let said = end(child, Signal::SIGTERM);
    assert_eq!(said.status, Some(130), "{said:?}");
    let message = "warning: interrupted before there was anything to report\n";
    assert_eq!(said.err, message);
    workspace.assert_nothing_left();
}

#[test]
fn an_interrupt_while_checking_keeps_what_is_done() {
    let workspace = workspace();
    // What a check that was killed has left.
    workspace.write("target/svhcheck/scratch-killed/run-1/out/file", "");
    workspace.report(&["//..."], 0);
    workspace.assert_nothing_left();

    let judged = |id: &str| {
        let journal = fs::read_to_string(workspace.area().join("verdicts.jsonl")).unwrap();
        journal.contains(&format!("\"id\":\"{id}\""))
    };
    let all_but_one = || judged("//quick:quick") && judged("//macros:macros");
    // A sandbox would keep from us what the macro writes to say that it has begun.
    let args = ["//...", "--sandbox=none"];
    let child = start(&workspace, &[&args[..], &["--format=json"]].concat());
    wait_for("the other verdicts", all_but_one);
    // A second check in the same place says so at once, and does not disturb the first.
    let said = workspace.run(&["//...", "--quiet", "--timeout=1"]);
    let area = workspace.area();
    let message = said.failed(&format!(
        "another svhcheck is at work in {}; wait for it, or ",
        area.display()
    ));
    assert_eq!(message.lines().count(), 1, "{message}");
    let said = end(child, Signal::SIGINT);
    assert_eq!(said.status, Some(130), "{said:?}");
    let report = said.json();
    let done = [("//macros:macros", "safe"), ("//quick:quick", "safe")];
    assert_eq!(verdicts(&report), done);
    assert_eq!(report["summary"]["interrupted"], true);
    let unseen = report["not_checked"].as_array().unwrap();
    let own = unseen
        .iter()
        .find(|own| own["what"] == "//slow:slow")
        .unwrap();
    assert_eq!(own["why"], "the check was interrupted before it was done");
    workspace.assert_nothing_left();

    // For people, and by the signal that CI systems send.
    let child = start(&workspace, &[&args[..], &["--verbose"]].concat());
    wait_for("the other verdicts", all_but_one);
    let said = end(child, Signal::SIGTERM);
    assert_eq!(said.status, Some(130), "{said:?}");
    assert!(
        said.out
            .contains("\ninterrupted: this is what was done until then\n2 crates safe"),
        "{}",
        said.out
    );
    workspace.assert_nothing_left();
}

#[test]
fn a_compile_that_does_not_end_is_ended_and_leaves_its_crate_without_a_verdict() {
    let workspace = workspace();
    let args = ["//slow", "--no-deps", "--strategies=full"];
    workspace.report(&args, 0);
    workspace.write("sleep", "");
    let report = workspace.report(&[&args[..], &["--timeout=1"]].concat(), 2);
    let own = krate(&report, "//slow:slow");
    assert_eq!(own["verdict"], "inconclusive");
    assert_eq!(own["strategies"]["full"]["svh"][0], serde_json::Value::Null);
    let unseen = report["not_checked"].as_array().unwrap();
    let own = unseen
        .iter()
        .find(|own| own["what"] == "//slow:slow")
        .unwrap();
    assert_eq!(own["why"], "rustc was ended after 1 s");
    workspace.assert_nothing_left();
}
