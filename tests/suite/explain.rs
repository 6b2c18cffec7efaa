//! `svhcheck lints` and `svhcheck explain`.

use std::process::Stdio;

use crate::support;
use crate::workspace::{Said, Workspace};

fn run(args: &[&str]) -> Said {
    support::svhcheck().args(args).output().unwrap().into()
}

#[test]
fn lints_are_listed_for_people_and_machines() {
    let human = run(&["lints"]);
    assert!(human.out.contains("\n  svh-unstable  "), "{human:?}");
    let json = run(&["lints", "--format=json"]).json();
    let lints = json["lints"].as_array().unwrap();
    let ids: Vec<&str> = lints
        .iter()
        .map(|own| own["id"].as_str().unwrap())
        .collect();
    assert!(ids.is_sorted());
    for id in ids {
        assert!(human.out.contains(&format!("  {id}  ")), "{id}");
        let page = run(&["explain", id]);
        assert_eq!(page.status, Some(0), "{page:?}");
        assert!(page.out.starts_with(&format!("{id}: ")), "{page:?}");
        assert!(
            page.out
                .lines()
                .skip(1)
                .all(|line| line.chars().count() <= 80),
            "{page:?}"
        );
    }
}

#[test]
fn what_is_no_lint_is_told_with_what_was_meant() {
    run(&["explain", "svh-unstabel"])
        .failed("nothing is called `svh-unstabel`; did you mean `svh-unstable`?");
    run(&["explain", "xyzzy"]).failed("nothing is called `xyzzy`; `svhcheck lints` lists");
    run(&["explain", "E0460"]).failed("`svhcheck explain E0460 FILE` reads");
    assert!(
        run(&["explain", "hazards"])
            .out
            .contains("macro-reads-time")
    );
}

/// rustc itself makes the error: `mid` was compiled against another `leaf` than the one that is
/// there.
#[test]
fn e0460_is_traced_to_the_crate_that_moved() {
    let workspace = Workspace::of(&[
        (
            "leaf.rs",
            "pub const N: u8 = 1;\n#[cfg(other)]\npub const M: u8 = 2;\n",
        ),
        ("mid.rs", "pub const N: u8 = leaf::N;\n"),
        ("top.rs", "pub const N: u8 = mid::N;\n"),
    ]);
    let rustc = |args: &[&str]| {
        let mut rustc = support::scrubbed("rustc");
        rustc.current_dir(workspace.path("")).args([
            "--edition=2024",
            "--crate-type=lib",
            "-L",
            workspace.path("").to_str().unwrap(),
        ]);
        rustc.args(args).output().unwrap()
    };
    assert!(rustc(&["leaf.rs"]).status.success());
    assert!(rustc(&["mid.rs", "--extern=leaf"]).status.success());
    let old = run(&[
        "inspect",
        "--format=json",
        workspace.path("libleaf.rlib").to_str().unwrap(),
    ]);
    assert!(rustc(&["leaf.rs", "--cfg=other"]).status.success());
    let new = run(&[
        "inspect",
        "--format=json",
        workspace.path("libleaf.rlib").to_str().unwrap(),
    ]);
    assert_ne!(old.out, new.out);
    for form in ["human", "json"] {
        let log = rustc(&["top.rs", "--extern=mid", &format!("--error-format={form}")]);
        assert!(!log.status.success());
        let log = String::from_utf8(log.stderr).unwrap();
        workspace.write("log", &log);
        let path = workspace.path("log");
        let said = run(&["explain", "E0460", path.to_str().unwrap()]);
        assert_eq!(said.status, Some(0), "{said:?}\n{log}");
        assert!(
            said.out
                .starts_with("E0460: `mid` needs another build of `leaf` than it finds\n"),
            "{said:?}"
        );
        let svh = |label: &str| {
            let line = said.out.lines().find(|line| line.contains(label));
            let line = line.unwrap_or_else(|| panic!("no {label} in {said:?}"));
            line.split_whitespace().nth(2).unwrap().to_owned()
        };
        let (expected, found) = (svh("expected: SVH"), svh("found:    SVH"));
        assert!(old.out.contains(expected.trim_end_matches(',')), "{said:?}");
        assert!(new.out.contains(found.trim_end_matches(',')), "{said:?}");
        assert!(said.out.contains("look at:  `leaf`\n"), "{said:?}");
    }
    // Standard input does too.
    let mut command = support::svhcheck();
    command.args(["explain", "E0460", "-"]);
    command.stdin(Stdio::from(
        std::fs::File::open(workspace.path("log")).unwrap(),
    ));
    let said: Said = command.output().unwrap().into();
    assert!(said.out.contains("`leaf`"), "{said:?}");
    workspace.write("log", "error[E0308]: mismatched types\n");
    run(&["explain", "E0460", workspace.path("log").to_str().unwrap()])
        .failed("no E0460 is in that log");
}
