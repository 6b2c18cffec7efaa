//! The verdicts on the planted faults of `fixtures/_projects`, as machines and as people read them.

use std::collections::BTreeSet;

use crate::support;
use crate::workspace::{Said, Workspace, finding, krate, verdicts};

const ALL: &str = "--strategies=full,pipelined,quit-on-rmeta,hollow,check,incremental,worker";

/// Five entries come out equal in two compiles about once in a hundred times; with two runs of the
/// metadata side against the recorded build, a check misses one time in ten thousand.
#[test]
fn a_macro_in_hash_order_is_caught_in_20_of_20_checks() {
    let workspace = Workspace::fixture("hash-order");
    let mut svhs = BTreeSet::new();
    for check in 0..20 {
        let args = ["//...", "--strategies=quit-on-rmeta", "--runs=2"];
        let report = workspace.report(&args, 1);
        let expected = [
            ("//client:client", "infected"),
            ("//handlers-macro:handlers_macro", "safe"),
            ("//handlers:handlers", "nondeterministic"),
        ];
        assert_eq!(verdicts(&report), expected, "check {check}: {report:#}");
        let client = krate(&report, "//client:client");
        assert_eq!(
            client["infected_by"],
            serde_json::json!(["//handlers:handlers"])
        );
        let infected = finding(&report, "//client:client");
        assert_eq!(infected["lint"], "svh-infected");
        assert_eq!(infected["level"], "warn");
        let found = finding(&report, "//handlers:handlers");
        assert_eq!(found["lint"], "svh-unstable");
        assert_eq!(found["grade"], "confirmed");
        assert_eq!(found["factor"], "randomness");
        assert_eq!(found["culprit"]["function"], "handlers_macro::handlers");
        assert_eq!(found["culprit"]["kind"], "proc-macro");
        assert_eq!(found["culprit"]["package"], "handlers-macro 0.1.0");
        let pair = &krate(&report, "//handlers:handlers")["strategies"]["quit-on-rmeta"]["svh"];
        assert_ne!(pair[0], pair[1]);
        svhs.insert(pair[1].to_string());
    }
    assert_eq!(svhs.len(), 1, "the build was recorded once");
    workspace.assert_nothing_left();
}

#[test]
fn triage_compiles_only_what_a_macro_or_script_had_a_say_in() {
    let workspace = Workspace::fixture("hash-order");
    let report = workspace.report(&["//...", "--triage"], 1);
    let expected = [
        ("//client:client", "infected"),
        ("//handlers-macro:handlers_macro", "safe"),
        ("//handlers:handlers", "nondeterministic"),
    ];
    assert_eq!(verdicts(&report), expected);
    let svh = |id: &str| krate(&report, id)["strategies"]["full"]["svh"].clone();
    let macros = svh("//handlers-macro:handlers_macro");
    assert!(macros[0].is_null() && macros[1].is_string(), "{macros}");
    assert!(svh("//handlers:handlers")[0].is_string());
    let not_checked = report["not_checked"].as_array().unwrap().iter();
    let triaged: Vec<&str> = not_checked
        .filter(|own| own["why"].as_str().unwrap().contains("--triage"))
        .map(|own| own["what"].as_str().unwrap())
        .collect();
    // The client's compile loads the macro behind its dependency.
    assert_eq!(triaged, ["//handlers-macro:handlers_macro"]);
    workspace.assert_nothing_left();
}

#[test]
fn a_macro_that_embeds_the_time_is_caught() {
    let workspace = Workspace::fixture("clock");
    let report = workspace.report(&["//..."], 1);
    let expected = [
        ("//stamp-macro:stamp_macro", "safe"),
        ("//stamped:stamped", "nondeterministic"),
    ];
    assert_eq!(verdicts(&report), expected);
    let found = finding(&report, "//stamped:stamped");
    assert_eq!(found["culprit"]["package"], "stamp-macro 0.1.0");
    assert_eq!(found["factor"], "time");
    workspace.assert_nothing_left();
}

#[test]
fn an_undeclared_variable_is_named() {
    let workspace = Workspace::fixture("env-leak");
    let args = ["//...", "--format=json", "--quiet"];
    let mut command = workspace.command(&args);
    command.env("RELEASE_CODENAME", "heron");
    let said = Said::from(command.output().unwrap());
    assert_eq!(said.status, Some(1), "{said:?}");
    let report = said.json();
    let expected = [
        ("//declared:declared", "safe"),
        ("//leak-macro:leak_macro", "safe"),
        ("//local:local", "nondeterministic"),
        ("//remote:remote", "nondeterministic"),
    ];
    assert_eq!(verdicts(&report), expected);
    for (id, name) in [
        ("//local:local", "RELEASE_CODENAME"),
        ("//remote:remote", "EXECUTION_ID"),
    ] {
        let found = finding(&report, id);
        assert_eq!(found["factor"], "env");
        assert_eq!(found["names"], serde_json::json!([name]));
        assert_eq!(found["culprit"]["package"], "leak-macro 0.1.0");
        let message = found["message"].as_str().unwrap();
        assert!(message.contains(name), "{message}");
    }
    // A check that does not vary the environment sees nothing.
    let unvaried = workspace.report(&["//...", "--vary=home,tmpdir"], 0);
    assert_eq!(
        unvaried["variations"],
        serde_json::json!(["home", "tmpdir"])
    );
    assert!(
        verdicts(&unvaried)
            .iter()
            .all(|(_, verdict)| *verdict == "safe")
    );
    workspace.assert_nothing_left();

    // A variable that the environment of the build does not have cannot be guessed.
    let without = Workspace::fixture("env-leak").report(&["//..."], 1);
    assert_eq!(krate(&without, "//local:local")["verdict"], "safe");
    assert_eq!(
        krate(&without, "//remote:remote")["verdict"],
        "nondeterministic"
    );
}

#[test]
fn what_includes_a_generated_file_depends_on_the_place() {
    let workspace = Workspace::fixture("out-dir-include");
    let report = workspace.report(&["//..."], 0);
    let safe = [("//dependent:dependent", "safe"), ("//leaf:leaf", "safe")];
    assert_eq!(verdicts(&report), safe);
    let report = workspace.report(&["//...", "--vary=default,build-path"], 1);
    let moved = [
        ("//dependent:dependent", "infected"),
        ("//leaf:leaf", "nondeterministic"),
    ];
    assert_eq!(verdicts(&report), moved);
    let found = finding(&report, "//leaf:leaf");
    assert_eq!(found["factor"], "build-path");
    assert_eq!(found["names"], serde_json::json!(["OUT_DIR"]));
    assert_eq!(found["culprit"]["kind"], "source");
    assert_eq!(found["culprit"]["package"], "leaf 0.1.0");
    let infected = finding(&report, "//dependent:dependent");
    assert_eq!(infected["names"], serde_json::json!(["//leaf:leaf"]));
    workspace.assert_nothing_left();
}

#[test]
fn a_clean_workspace_is_safe_everywhere_and_gives_the_same_report_twice() {
    let workspace = Workspace::fixture("clean");
    let args = ["//...", ALL, "--vary=default,build-path", "--format=json"];
    let first = workspace.run(&args);
    assert_eq!(first.status, Some(0), "{first:?}");
    let report = first.json();
    let expected = [
        ("//describe-macro:describe_macro", "safe"),
        ("//shapes:shapes", "safe"),
    ];
    assert_eq!(verdicts(&report), expected);
    assert_eq!(report["findings"], serde_json::json!([]));
    for krate in report["crates"].as_array().unwrap() {
        let strategies = krate["strategies"].as_object().unwrap();
        assert_eq!(strategies.len(), 7);
        for (name, own) in strategies {
            assert_eq!(own["verdict"], "safe", "{name}");
            assert_eq!(own["svh"][0], own["svh"][1], "{name}");
        }
    }
    // The program has no metadata; the report says so, and nothing of when and where it was made.
    let unseen = report["not_checked"].as_array().unwrap();
    assert!(unseen.iter().any(|own| own["what"] == "//tool:tool"));
    let place = workspace.path("");
    for telltale in [
        "scratch-",
        "run-",
        place.to_str().unwrap().trim_end_matches('/'),
    ] {
        assert!(!first.out.contains(telltale), "{telltale}: {}", first.out);
    }
    let again = workspace.run(&args);
    assert_eq!(first.out, again.out, "the same bytes");

    // With other profiles for host and target, cargo builds the macro twice, and both are judged.
    let release = workspace.report(&["//...", ALL, "--", "--release"], 0);
    let ids: Vec<&str> = verdicts(&release).iter().map(|(id, _)| *id).collect();
    let macros = "//describe-macro:describe_macro";
    assert_eq!(ids, [macros, &format!("{macros}#2"), "//shapes:shapes"]);
    assert!(
        verdicts(&release)
            .iter()
            .all(|(_, verdict)| *verdict == "safe")
    );
    workspace.assert_nothing_left();
}

#[test]
fn the_example_shows_one_culprit_one_infected_crate_and_the_rest_safe() {
    let workspace = Workspace::fixture("example");
    let said = workspace.run(&["//...", "--verbose"]);
    assert_eq!(said.status, Some(1), "{said:?}");
    for text in [&said.out, &said.err] {
        assert!(
            !text.contains('\u{1b}'),
            "piped, so without colours: {text}"
        );
    }
    for line in [
        "error[svh-unstable]: //commands:commands: its SVH depends on randomness",
        "warning[svh-infected]: //server:server: stable by itself, but it loads `//commands:commands`, whose SVH moves",
        "hollow             4         1                 1",
    ] {
        assert!(
            said.out.lines().any(|own| own == line),
            "no `{line}` in:\n{}",
            said.out
        );
    }
    for safe in [
        "//units:units",
        "//settings:settings",
        "//getters-macro:getters_macro",
    ] {
        let row = said
            .out
            .lines()
            .find(|line| line.starts_with(safe))
            .unwrap();
        assert_eq!(row.split_whitespace().last(), Some("safe"));
    }
    let last = said.out.lines().last().unwrap();
    assert!(
        last.starts_with("4 of 6 crates safe, 1 nondeterministic, 1 infected under "),
        "{last}"
    );

    // Quiet: the culprit and the last line, nothing of cargo or progress.
    let said = workspace.run(&["//...", "--quiet"]);
    assert_eq!(said.err, "");
    assert!(
        said.out
            .starts_with("error[svh-unstable]: //commands:commands")
    );
    assert!(!said.out.contains("warning") && !said.out.contains("strategy"));
    assert_eq!(said.out.lines().last(), Some(last));
}

/// As the README's first command has it: from elsewhere, into another target directory.
#[test]
fn a_workspace_elsewhere_is_named_by_its_manifest() {
    let workspace = Workspace::fixture("bootstrap-mismatch");
    let elsewhere = tempfile::tempdir().unwrap();
    let manifest = workspace.path("Cargo.toml");
    let mut command = support::svhcheck();
    command
        .current_dir(elsewhere.path())
        .env("CARGO_TARGET_DIR", workspace.path("another target"))
        .args(["//...", "--quiet", "--", "--manifest-path"])
        .arg(manifest);
    let said = Said::from(command.output().unwrap());
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(
        said.out
            .starts_with("2 crates safe under full, quit-on-rmeta, hollow")
    );
    assert!(!workspace.path("target").exists());
    assert!(
        workspace
            .path("another target/svhcheck/verdicts.jsonl")
            .exists()
    );
}

#[test]
fn a_macro_that_is_not_judged_itself_is_named_all_the_same() {
    let workspace = Workspace::fixture("hash-order");
    let report = workspace.report(&["//handlers", "--no-deps"], 1);
    assert_eq!(
        verdicts(&report),
        [("//handlers:handlers", "nondeterministic")]
    );
    let found = finding(&report, "//handlers:handlers");
    assert_eq!(found["culprit"]["package"], "handlers-macro 0.1.0");
    assert_eq!(found["culprit"]["function"], "handlers_macro::handlers");
    assert_eq!(found["expansion"]["kind"], "order");
    let place = found["expansion"]["location"].as_str().unwrap();
    assert!(place.ends_with("src/lib.rs:3"), "{place}");
    workspace.assert_nothing_left();
}
