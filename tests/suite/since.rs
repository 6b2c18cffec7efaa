//! `--since`: which crates are checked again after a change.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::support;
use crate::workspace::{Said, Workspace};

/// One strategy is enough here.
const QUICK: &str = "--strategies=quit-on-rmeta";

/// `git ARGS` in the workspace, with nobody's configuration.
fn git(workspace: &Workspace, args: &[&str]) -> String {
    let output = command(workspace).args(args).output().unwrap();
    assert!(output.status.success(), "git {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn command(workspace: &Workspace) -> Command {
    let mut command = Command::new("git");
    command.current_dir(workspace.path(""));
    command.env("GIT_CONFIG_GLOBAL", "/dev/null");
    command.env("GIT_CONFIG_NOSYSTEM", "1");
    for (name, value) in [("NAME", "Somebody"), ("EMAIL", "somebody@example.com")] {
        command.env(format!("GIT_AUTHOR_{name}"), value);
        command.env(format!("GIT_COMMITTER_{name}"), value);
    }
    command
}

fn has_git(test: &str) -> bool {
    let there = Command::new("git").arg("--version").output().is_ok();
    support::require(test, "git", there)
}

fn commit(workspace: &Workspace) {
    git(workspace, &["add", "--all"]);
    git(workspace, &["commit", "--quiet", "--message=all"]);
}

fn manifest(name: &str, rest: &str) -> String {
    format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n{rest}")
}

/// leaf ← mid ← top; mid uses a macro, `scripted` has a build script, `alone` nothing. In a
/// repository, all in one commit.
fn committed() -> Workspace {
    let on = |names: &[&str]| {
        let lines = names
            .iter()
            .map(|name| format!("{name} = {{ path = \"../{name}\" }}\n"));
        "[dependencies]\n".to_owned() + &lines.collect::<String>()
    };
    let own = Workspace::of(&[
        (
            "Cargo.toml",
            "[workspace]\nmembers = [\"alone\", \"leaf\", \"mac\", \"mid\", \"scripted\", \"top\"]\nresolver = \"3\"\n",
        ),
        (".gitignore", "/target\n"),
        ("README.md", "Read me.\n"),
        ("alone/Cargo.toml", &manifest("alone", "")),
        ("alone/src/lib.rs", "pub const N: u8 = 1;\n"),
        ("leaf/Cargo.toml", &manifest("leaf", "")),
        ("leaf/src/lib.rs", "mod deep;\npub use deep::N;\n"),
        ("leaf/src/deep.rs", "pub const N: u8 = 1;\n"),
        (
            "mac/Cargo.toml",
            &manifest("mac", "[lib]\nproc-macro = true\n"),
        ),
        (
            "mac/src/lib.rs",
            "#[proc_macro]\npub fn one(_: proc_macro::TokenStream) -> proc_macro::TokenStream {\n    \"1\".parse().unwrap()\n}\n",
        ),
        ("mid/Cargo.toml", &manifest("mid", &on(&["leaf", "mac"]))),
        (
            "mid/src/lib.rs",
            "pub const N: u8 = leaf::N + mac::one!();\n",
        ),
        ("scripted/Cargo.toml", &manifest("scripted", "")),
        ("scripted/src/lib.rs", "pub const N: &str = env!(\"N\");\n"),
        (
            "scripted/build.rs",
            "mod words;\nfn main() {\n    println!(\"cargo::rerun-if-changed=data\");\n    println!(\"cargo::rustc-env=N={}\", words::N);\n}\n",
        ),
        ("scripted/words.rs", "pub const N: u8 = 1;\n"),
        ("scripted/data/list", "1\n"),
        ("top/Cargo.toml", &manifest("top", &on(&["mid"]))),
        ("top/src/lib.rs", "pub const N: u8 = mid::N;\n"),
    ]);
    let lock = Command::new("cargo")
        .args(["generate-lockfile", "--offline"])
        .current_dir(own.path(""))
        .output();
    assert!(lock.unwrap().status.success());
    git(&own, &["init", "--quiet"]);
    commit(&own);
    own
}

/// The report of a check of what changed since `HEAD`.
fn since(workspace: &Workspace) -> Value {
    workspace.report(&["//...", QUICK, "--since=HEAD"], 0)
}

/// The checked crates.
fn checked(report: &Value) -> Vec<&str> {
    let crates = report["crates"].as_array().unwrap().iter();
    crates.map(|own| own["id"].as_str().unwrap()).collect()
}

fn because<'a>(report: &'a Value, id: &str) -> &'a str {
    let reached = report["since"]["reached"].as_array().unwrap();
    let own = reached.iter().find(|own| own["crate"] == id).unwrap();
    own["because"].as_str().unwrap()
}

const ALL: [&str; 6] = [
    "//alone:alone",
    "//leaf:leaf",
    "//mac:mac",
    "//mid:mid",
    "//scripted:scripted",
    "//top:top",
];

#[test]
fn a_change_reaches_what_depends_on_it_and_nothing_else() {
    if !has_git("since: what depends on a change") {
        return;
    }
    let workspace = committed();
    let report = since(&workspace);
    assert_eq!(checked(&report), [] as [&str; 0], "nothing changed");
    assert_eq!(report["since"]["skipped"], 6);

    // Documentation, tracked or not, is nobody's input.
    workspace.write("README.md", "Read me again.\n");
    workspace.write("leaf/NOTES.md", "New.\n");
    let report = since(&workspace);
    assert_eq!(checked(&report), [] as [&str; 0]);
    let said = workspace.run(&["//...", QUICK, "--since=HEAD"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(
        said.out
            .contains("since HEAD: 0 of 6 crates can have changed\n")
            && said
                .out
                .contains("//alone:alone, //leaf:leaf, //mac:mac and 3 more: no input")
            && said
                .out
                .ends_with("nothing to check: no crate can have changed since HEAD\n"),
        "{said:?}"
    );
    commit(&workspace);

    workspace.write("leaf/src/deep.rs", "pub const N: u8 = 2;\n");
    let report = since(&workspace);
    assert_eq!(checked(&report), ["//leaf:leaf", "//mid:mid", "//top:top"]);
    assert_eq!(
        because(&report, "//leaf:leaf"),
        "`leaf/src/deep.rs` changed"
    );
    assert_eq!(because(&report, "//mid:mid"), "it depends on `//leaf:leaf`");
    // A commit in between changes nothing: what counts is the revision.
    commit(&workspace);
    assert_eq!(checked(&since(&workspace)), [] as [&str; 0]);
    let report = workspace.report(&["//...", QUICK, "--since=HEAD~1"], 0);
    assert_eq!(checked(&report).len(), 3);

    let text = fs::read_to_string(workspace.path("mac/src/lib.rs")).unwrap();
    workspace.write("mac/src/lib.rs", &text.replace("\"1\"", "\"2\""));
    assert_eq!(
        checked(&since(&workspace)),
        ["//mac:mac", "//mid:mid", "//top:top"]
    );
    workspace.assert_nothing_left();
}

#[test]
fn build_scripts_reach_their_crate_through_all_that_they_are_made_of() {
    if !has_git("since: build scripts") {
        return;
    }
    let workspace = committed();
    for (file, text) in [
        ("scripted/words.rs", "pub const N: u8 = 2;\n"),
        ("scripted/data/list", "2\n"),
        ("scripted/data/new", "1\n"),
    ] {
        workspace.write(file, text);
        let report = since(&workspace);
        assert_eq!(checked(&report), ["//scripted:scripted"], "{file}");
        let because = because(&report, "//scripted:scripted");
        assert!(
            because.ends_with("changed, which its build script depends on"),
            "{because}"
        );
        commit(&workspace);
    }
    // What is gone is nobody's input any more, and was.
    fs::remove_file(workspace.path("scripted/build.rs")).unwrap();
    workspace.write(
        "scripted/src/lib.rs",
        "pub const N: Option<&str> = option_env!(\"N\");\n",
    );
    commit(&workspace);
    git(&workspace, &["revert", "--no-edit", "HEAD"]);
    workspace.write(
        "scripted/src/lib.rs",
        "pub const N: Option<&str> = option_env!(\"N\");\n",
    );
    commit(&workspace);
    fs::remove_file(workspace.path("scripted/build.rs")).unwrap();
    let report = since(&workspace);
    assert_eq!(checked(&report), ["//scripted:scripted"]);
    assert_eq!(
        because(&report, "//scripted:scripted"),
        "`scripted/build.rs` is gone"
    );
}

#[test]
fn what_everything_depends_on_reaches_everything() {
    if !has_git("since: what everything depends on") {
        return;
    }
    let workspace = committed();
    for (file, text) in [
        (".cargo/config.toml", "[term]\nquiet = false\n"),
        ("svhcheck.toml", "[levels]\nsvh = \"warn\"\n"),
    ] {
        workspace.write(file, text);
        let report = since(&workspace);
        assert_eq!(checked(&report), ALL, "{file}");
        assert_eq!(report["since"]["all_because"], format!("`{file}` changed"));
        commit(&workspace);
    }
    // A lock file that git does not know tells nothing.
    git(&workspace, &["rm", "--quiet", "--cached", "Cargo.lock"]);
    git(&workspace, &["commit", "--quiet", "--message=no lock"]);
    let report = since(&workspace);
    let why = report["since"]["all_because"].as_str().unwrap();
    assert!(why.starts_with("`Cargo.lock` is not in HEAD"), "{why}");
}

/// The same packages as a registry has them, in a folder that replaces it.
#[test]
fn another_locked_version_reaches_what_uses_it() {
    if !has_git("since: the lock file") {
        return;
    }
    let vendored = |own: &Workspace, name: &str, version: &str, text: &str| {
        let folder = format!("vendor/{name}-{version}");
        let manifest = manifest(name, "").replace("0.1.0", version);
        own.write(&format!("{folder}/Cargo.toml"), &manifest);
        own.write(&format!("{folder}/src/lib.rs"), text);
        let sum = if version == "1.0.0" { '0' } else { '1' };
        let sum = sum.to_string().repeat(64);
        let check = format!("{{\"files\":{{}},\"package\":\"{sum}\"}}");
        own.write(&format!("{folder}/.cargo-checksum.json"), &check);
    };
    let own = Workspace::of(&[
        (
            "Cargo.toml",
            "[workspace]\nmembers = [\"a\", \"b\"]\nresolver = \"3\"\n",
        ),
        (
            ".cargo/config.toml",
            "[source.crates-io]\nreplace-with = \"here\"\n[source.here]\ndirectory = \"vendor\"\n",
        ),
        (".gitignore", "/target\n"),
        (
            "a/Cargo.toml",
            &manifest("a", "[dependencies]\nx = \"1\"\n"),
        ),
        ("a/src/lib.rs", "pub use x::N;\n"),
        (
            "b/Cargo.toml",
            &manifest("b", "[dependencies]\ny = \"1\"\n"),
        ),
        ("b/src/lib.rs", "pub use y::N;\n"),
    ]);
    vendored(&own, "x", "1.0.0", "pub const N: u8 = 1;\n");
    vendored(&own, "x", "1.0.1", "pub const N: u8 = 2;\n");
    vendored(&own, "y", "1.0.0", "pub const N: u8 = 1;\n");
    let cargo = |args: &[&str]| {
        let output = Command::new("cargo")
            .args(args)
            .current_dir(own.path(""))
            .output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    cargo(&["generate-lockfile", "--offline"]);
    // Cargo took the newest; the revision has the older one, and then the lock file is as it was.
    let newest = fs::read_to_string(own.path("Cargo.lock")).unwrap();
    let sum = |digit: &str| digit.repeat(64);
    let older = newest
        .replace("1.0.1", "1.0.0")
        .replace(&sum("1"), &sum("0"));
    assert_ne!(newest, older);
    own.write("Cargo.lock", &older);
    git(&own, &["init", "--quiet"]);
    commit(&own);
    assert_eq!(checked(&since(&own)), [] as [&str; 0]);
    own.write("Cargo.lock", &newest);
    let report = since(&own);
    assert_eq!(checked(&report), ["//a:a", "x@1.0.1"]);
    assert!(because(&report, "x@1.0.1").starts_with("`Cargo.lock` has another version"));
}

#[test]
fn what_cannot_be_told_is_said_in_one_line() {
    if !has_git("since: trouble") {
        return;
    }
    let workspace = committed();
    let run = |rev: &str| workspace.run(&["//...", QUICK, &format!("--since={rev}")]);
    for rev in ["nowhere", "-x", "--help"] {
        let said = run(rev);
        let line = said.failed(&format!("git knows no revision `{rev}`"));
        assert_eq!(line.lines().count(), 1, "{line}");
    }
    assert!(!workspace.area().exists(), "told before the build");

    let clone = Workspace::of(&[]);
    let url = format!("file://{}", workspace.path("").display());
    workspace.write("README.md", "Read me again.\n");
    commit(&workspace);
    git(&clone, &["clone", "--quiet", "--depth=1", &url, "."]);
    let said: Said = clone.run(&["//...", QUICK, "--since=HEAD~1"]);
    said.failed("git knows no revision `HEAD~1` in this shallow clone; fetch it first");
    // What is there can be compared with, however shallow the clone.
    assert_eq!(checked(&since(&clone)), [] as [&str; 0]);

    fs::remove_dir_all(workspace.path(".git")).unwrap();
    let said = run("HEAD");
    said.failed("`--since` needs a git repository around ");
    let without = workspace.path("bin");
    fs::create_dir(&without).unwrap();
    let mut command = workspace.command(&["//...", QUICK, "--since=HEAD"]);
    for tool in ["cargo", "rustc"] {
        let found = Command::new("sh")
            .args(["-c", &format!("command -v {tool}")])
            .output()
            .unwrap();
        let found = String::from_utf8(found.stdout).unwrap();
        std::os::unix::fs::symlink(found.trim(), without.join(tool)).unwrap();
    }
    let said: Said = command.env("PATH", &without).output().unwrap().into();
    said.failed("cannot run `git`, which `--since` asks what changed");
}
