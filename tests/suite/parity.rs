//! `svhcheck parity` on action graphs: as Bazel wrote them, and with differences put in.

use serde_json::{Value, json};

use crate::support;
use crate::workspace::{Said, Workspace, finding, krate, verdicts};

fn parity(workspace: &Workspace, args: &[&str]) -> Said {
    let mut command = support::svhcheck();
    command.current_dir(workspace.path("")).arg("parity");
    command.args(args).output().unwrap().into()
}

/// A recorded graph.
fn recorded(name: &str) -> String {
    let path = support::root().join("fixtures/_aquery").join(name);
    path.to_str().unwrap().to_owned()
}

/// The two actions of one crate, with more for the metadata.
fn actions(target: u32, name: &str, args: &[&str], env: &[(&str, &str)]) -> Vec<Value> {
    let action = |mnemonic: &str, args: &[&str], env: &[(&str, &str)]| {
        let wrapper = [
            "process_wrapper",
            "--subst",
            "pwd=${pwd}",
            "--",
            "bin/rustc",
        ];
        let name = format!("--crate-name={name}");
        let own = [
            "lib.rs",
            &name,
            "--crate-type=rlib",
            "--error-format=json",
            "--json=artifacts",
            "--codegen=metadata=-1",
            "--remap-path-prefix=${pwd}=.",
            "--emit=dep-info,link,metadata",
            "--edition=2021",
        ];
        let env: Vec<Value> = env
            .iter()
            .map(|(key, value)| json!({"key": key, "value": value}))
            .collect();
        let arguments: Vec<&str> = [&wrapper[..], &own[..], args].concat();
        json!({
            "targetId": target,
            "configurationId": 1,
            "mnemonic": mnemonic,
            "arguments": arguments,
            "environmentVariables": env,
        })
    };
    vec![
        action("Rustc", &[], &[]),
        action("RustcMetadata", args, env),
    ]
}

/// A crate's name, and what its metadata has more: arguments and variables.
type Planted<'a> = (&'a str, &'a [&'a str], &'a [(&'a str, &'a str)]);

/// Saves a graph of `crates` and returns the file's name.
fn graph(workspace: &Workspace, crates: &[Planted<'_>]) -> String {
    let numbered = || crates.iter().zip(1..);
    let targets =
        numbered().map(|((name, ..), id)| json!({"id": id, "label": format!("@@//lib:{name}")}));
    let targets: Vec<Value> = targets.collect();
    let actions: Vec<Value> = numbered()
        .flat_map(|((name, args, env), id)| actions(id, name, args, env))
        .collect();
    let graph = json!({"artifacts": [], "actions": actions, "targets": targets});
    workspace.write("graph.json", &graph.to_string());
    "graph.json".to_owned()
}

#[test]
fn what_rules_rust_writes_agrees() {
    let workspace = Workspace::of(&[]);
    let file = recorded("pipe.app_lib.pb");
    let said = parity(&workspace, &["--format=json", "--aquery", &file]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert_eq!(verdicts(&said.json()), [("//app:app_lib", "safe")]);
}

#[test]
fn a_difference_that_the_svh_covers_is_found_and_others_are_not() {
    let workspace = Workspace::of(&[]);
    let file = graph(
        &workspace,
        &[
            ("same", &[], &[]),
            (
                "harmless",
                &["-Zno-codegen", "-Ldependency=x/_meta", "-Copt-level=0"],
                &[],
            ),
            ("level", &["--codegen=opt-level=3"], &[]),
            ("features", &["-Zallow-features="], &[]),
            ("untabled", &["-Cno-vectorize-loops"], &[]),
            ("cache", &["-Cincremental=/x/y"], &[]),
            ("bootstrap", &[], &[("RUSTC_BOOTSTRAP", "1")]),
            ("named", &[], &[("RUSTC_BOOTSTRAP", "named")]),
        ],
    );
    let said = parity(&workspace, &["--format=json", "--aquery", &file]);
    assert_eq!(said.status, Some(1), "{said:?}");
    let report = said.json();
    for (name, culprit) in [
        ("level", "-Copt-level"),
        ("features", "-Zallow-features"),
        ("untabled", "-Cno-vectorize-loops"),
        ("cache", "-Cincremental"),
        ("bootstrap", "RUSTC_BOOTSTRAP"),
        ("named", "RUSTC_BOOTSTRAP"),
    ] {
        let id = format!("//lib:{name}");
        let finding = finding(&report, &id);
        assert_eq!(finding["lint"], "svh-flag-mismatch");
        assert_eq!(finding["grade"], "hazard");
        assert_eq!(finding["culprit"]["kind"], "flags");
        assert_eq!(finding["names"], json!([culprit]));
        assert_eq!(krate(&report, &id)["verdict"], "flag-mismatch");
    }
    for name in ["same", "harmless"] {
        let verdict = &krate(&report, &format!("//lib:{name}"))["verdict"];
        assert_eq!(verdict, "safe", "{name}: {report:#}");
    }
    assert_eq!(report["findings"].as_array().unwrap().len(), 6);
    let again = parity(&workspace, &["--format=json", "--aquery", &file]);
    assert_eq!(again.out, said.out);
}

#[test]
fn what_cannot_be_known_without_the_crate_is_said() {
    let workspace = Workspace::of(&[]);
    let file = graph(
        &workspace,
        &[
            ("cfg", &["--cfg=extra"], &[]),
            ("variable", &[], &[("STAMP", "1\u{1b}[2J")]),
            ("path", &["-Zself-profile=/tmp/x"], &[]),
            ("unknown", &["-Cnonsense=1"], &[]),
        ],
    );
    let said = parity(&workspace, &["--aquery", &file]);
    assert_eq!(
        said.status,
        Some(2),
        "nothing found, and not all known: {said:?}"
    );
    for text in [
        "`--cfg=extra` for the metadata, no `--cfg` for the whole: it moves the SVH if the source asks",
        "it moves the SVH if the source or a macro reads it",
        "it names files or folders, so it was not tried",
        "unknown codegen option: `nonsense`",
        "0 of 4 crates safe, 4 inconclusive",
    ] {
        assert!(said.words().contains(text), "{text}: {}", said.out);
    }
    assert!(!said.out.contains("\u{1b}[2J"));
}

#[test]
fn what_cannot_be_compared_says_so() {
    let workspace = Workspace::of(&[(
        "Cargo.toml",
        "[package]\nname = \"x\"\nversion = \"0.1.0\"\n",
    )]);
    let fails = |args: &[&str], error: &str| {
        let said = parity(&workspace, args);
        let line = said.failed(error).trim_end();
        assert_eq!(line.lines().count(), 1, "{line}");
        line.to_owned()
    };
    fails(
        &["//..."],
        "`parity` compares the two compiles of a crate, and Cargo makes",
    );
    let plain = recorded("plain.app_lib.pb");
    fails(
        &["--aquery", &plain],
        "nothing to compare: each crate in this action graph",
    );
    fails(
        &["--aquery", "Cargo.toml"],
        "`Cargo.toml` is no action graph",
    );
    fails(
        &["--aquery", "gone.pb"],
        "cannot read the action graph: failed to open file `gone.pb`",
    );
    workspace.write("empty.json", r#"{"artifacts": [{"id": 1}]}"#);
    fails(
        &["--aquery", "empty.json"],
        "no Rust compile in this action graph",
    );
    workspace.write(".buckconfig", "");
    fails(&["//..."], "`parity` reads Bazel's action graph, and Buck2");
}
