//! Which crates a command line chooses.

use serde_json::Value;

use crate::workspace::{Workspace, verdicts};

/// Members in folders of two levels, one target that is named unlike its package, and a path
/// dependency outside of the workspace.
fn workspace() -> Workspace {
    let package = |name: &str, more: &str| {
        format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n{more}")
    };
    let workspace = Workspace::of(&[
        (
            "Cargo.toml",
            "[workspace]\nresolver = \"2\"\nmembers = [\"crates/*\", \"tools/*\"]\nexclude = [\"outside\"]\n",
        ),
        ("outside/Cargo.toml", &package("outside", "[workspace]\n")),
        (
            "crates/alpha/Cargo.toml",
            &package("alpha", "[lib]\nname = \"first\"\n"),
        ),
        (
            "crates/beta/Cargo.toml",
            &package(
                "beta",
                "[dependencies]\nalpha = { path = \"../alpha\" }\noutside = { path = \"../../outside\" }\n",
            ),
        ),
        ("tools/one/Cargo.toml", &package("one", "")),
        ("tools/one/src/main.rs", "fn main() {}\n"),
        ("tools/two/Cargo.toml", &package("two", "")),
        ("tools/two/src/main.rs", "fn main() {}\n"),
    ]);
    for folder in ["outside", "crates/alpha", "crates/beta", "tools/one"] {
        workspace.write(&format!("{folder}/src/lib.rs"), "pub fn f() {}\n");
    }
    workspace
}

fn ids(report: &Value) -> Vec<&str> {
    verdicts(report).into_iter().map(|(id, _)| id).collect()
}

#[test]
fn patterns_choose_members_and_their_dependencies_come_along() {
    let workspace = workspace();
    let [first, beta, one] = [
        "//crates/alpha:first",
        "//crates/beta:beta",
        "//tools/one:one",
    ];
    let outside = "outside@0.1.0";
    for (patterns, expected) in [
        (&["//..."][..], &[first, beta, one, outside][..]),
        (&["//...", "--no-deps"], &[first, beta, one]),
        (&["//crates/...", "--no-deps"], &[first, beta]),
        (&["//crates/alpha"], &[first]),
        (&["//crates/beta:beta"], &[beta, outside]),
        (&["//...", "-//crates/...", "--no-deps"], &[one]),
        (
            &[
                "//...",
                "-//crates/...",
                "//crates/alpha:first",
                "--no-deps",
            ],
            &[first, one],
        ),
        (&["-//crates/beta:all"], &[first, one]),
        (&["//crates/alpha", "//tools/..."], &[first, one]),
    ] {
        let strategies = ["--strategies=pipelined"];
        let report = workspace.report(&[&strategies, patterns].concat(), 0);
        assert_eq!(ids(&report), expected, "{patterns:?}");
    }
    workspace.assert_nothing_left();
}

#[test]
fn patterns_are_relative_to_the_folder_one_stands_in() {
    let workspace = workspace();
    for (folder, pattern, expected) in [
        (
            "crates",
            "...",
            &["//crates/alpha:first", "//crates/beta:beta"][..],
        ),
        ("crates", "beta", &["//crates/beta:beta"]),
        ("crates/alpha", ":first", &["//crates/alpha:first"]),
        ("tools", "//crates/alpha:first", &["//crates/alpha:first"]),
    ] {
        let mut command = workspace.command(&[
            "--format=json",
            "--quiet",
            "--no-deps",
            "--strategies=pipelined",
            pattern,
        ]);
        let output = command
            .current_dir(workspace.path(folder))
            .output()
            .unwrap();
        let said = crate::workspace::Said::from(output);
        assert_eq!(said.status, Some(0), "{folder} {pattern}: {said:?}");
        assert_eq!(ids(&said.json()), expected, "{folder} {pattern}");
    }
}

#[test]
fn a_pattern_that_chooses_nothing_is_an_error_that_says_what_to_try() {
    let workspace = workspace();
    for (arguments, error) in [
        (
            &["//crates/alhpa:first"][..],
            "no target matches `//crates/alhpa:first`; did you mean //crates/alpha:first, ",
        ),
        (
            &["//...", "-//tool/..."],
            "no target matches `-//tool/...`; did you mean //tools/one",
        ),
        (
            &["//qqq"],
            "no target matches `//qqq`; `//...` means every member of the workspace",
        ),
        (
            &["/crates"],
            "`/crates` is not a target pattern: start at the workspace root with two slashes",
        ),
        (
            &[],
            "no targets named: `svhcheck //...` checks every member",
        ),
        (
            &["//tools/two:two"],
            "nothing to check: none of the chosen targets is a library or proc macro",
        ),
    ] {
        let said = workspace.run(&[&["--quiet"], arguments].concat());
        let message = said.failed(error);
        assert_eq!(message.lines().count(), 1, "{message}");
    }
    workspace.assert_nothing_left();
}
