//! Strategies against each other, and what the user's build rules do on one side alone.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use crate::support;
use crate::workspace::{Workspace, finding, krate, verdicts};

const SEVEN: [&str; 7] = [
    "full",
    "pipelined",
    "quit-on-rmeta",
    "hollow",
    "check",
    "incremental",
    "worker",
];

/// Whether `rustc` is one on which `RUSTC_BOOTSTRAP` moves the SVH.
fn stable() -> bool {
    let output = support::scrubbed("rustc")
        .arg("--version")
        .output()
        .unwrap();
    let version = String::from_utf8(output.stdout).unwrap();
    !version.contains("nightly") && !version.contains("-dev")
}

#[test]
fn only_strategies_of_one_process_are_safe_with_a_macro_in_hash_order() {
    let workspace = Workspace::fixture("hash-order");
    let strategies = format!("--strategies={}", SEVEN.join(","));
    let report = workspace.report(&["//...", &strategies, "--runs=2"], 1);
    assert_eq!(report["strategies"], json!(SEVEN));
    for (id, elsewhere) in [
        ("//handlers:handlers", "nondeterministic"),
        ("//client:client", "infected"),
        ("//handlers-macro:handlers_macro", "safe"),
    ] {
        for strategy in SEVEN {
            let one_process = ["pipelined", "worker"].contains(&strategy);
            let expected = if one_process { "safe" } else { elsewhere };
            let own = &krate(&report, id)["strategies"][strategy];
            assert_eq!(own["verdict"], expected, "{id} {strategy}");
        }
    }
    let counts = |strategy: &str| &report["summary"]["strategies"][strategy];
    assert_eq!(counts("worker")["safe"], 3);
    assert_eq!(counts("check")["infected"], 1);

    // Alone, too: the one that Cargo runs finds nothing.
    let report = workspace.report(&["//...", "--strategies=pipelined"], 0);
    assert!(
        verdicts(&report)
            .iter()
            .all(|(_, verdict)| *verdict == "safe")
    );
    workspace.assert_nothing_left();
}

#[test]
fn an_unknown_strategy_or_variation_is_a_usage_error_with_the_known_ones() {
    let workspace = Workspace::of(&[]);
    for (argument, known) in [
        ("--strategies=holow", "hollow"),
        ("--vary=weather", "timezone"),
    ] {
        let said = workspace.run(&["//...", argument]);
        assert_eq!((said.status, said.out.as_str()), (Some(2), ""));
        assert!(
            said.err.contains("invalid value") && said.err.contains(known),
            "{}",
            said.err
        );
    }
    let said = workspace.run(&["//...", "--metadata-env=RUSTC_BOOTSTRAP"]);
    said.failed("`RUSTC_BOOTSTRAP` is no variable: write NAME=VALUE");
}

#[test]
fn a_variable_on_one_side_is_named() {
    if !support::require(
        "a_variable_on_one_side_is_named",
        "a stable rustc",
        stable(),
    ) {
        return;
    }
    let workspace = Workspace::fixture("bootstrap-mismatch");
    let clean = workspace.report(&["//..."], 0);
    let safe = [("//leaf:leaf", "safe"), ("//mid:mid", "safe")];
    assert_eq!(verdicts(&clean), safe);
    for (args, strategies) in [
        // The recorded build has the variable for `hollow`; the full side is made without it.
        (&["--full-env=RUSTC_BOOTSTRAP="][..], 3),
        (
            &[
                "--strategies=quit-on-rmeta",
                "--metadata-env=RUSTC_BOOTSTRAP=1",
            ],
            1,
        ),
        (&["--strategies=check", "--full-env=RUSTC_BOOTSTRAP=1"], 1),
    ] {
        let report = workspace.report(&[&["//..."], args].concat(), 1);
        let mismatch = [
            ("//leaf:leaf", "flag-mismatch"),
            ("//mid:mid", "flag-mismatch"),
        ];
        assert_eq!(verdicts(&report), mismatch, "{args:?}");
        for (id, _) in mismatch {
            let found = finding(&report, id);
            assert_eq!(found["lint"], "svh-flag-mismatch");
            assert_eq!(found["factor"], "RUSTC_BOOTSTRAP", "{args:?}");
            assert_eq!(found["names"], json!(["RUSTC_BOOTSTRAP"]));
            assert_eq!(found["culprit"]["kind"], "flags");
            assert_eq!(found["culprit"]["package"], Value::Null);
            let own = krate(&report, id)["strategies"].as_object().unwrap();
            assert_eq!(own.len(), strategies);
            for pair in own.values() {
                assert_ne!(pair["svh"][0], pair["svh"][1]);
            }
        }
    }
    // On both sides it does no harm.
    let both = [
        "--metadata-env=RUSTC_BOOTSTRAP=1",
        "--full-env=RUSTC_BOOTSTRAP=1",
    ];
    let report = workspace.report(&[&["//...", "--strategies=full"], &both[..]].concat(), 0);
    assert_eq!(verdicts(&report), safe);
    workspace.assert_nothing_left();
}

#[test]
fn an_argument_on_one_side_is_named_and_harmless_ones_are_not() {
    let workspace = Workspace::fixture("bootstrap-mismatch");
    let args = [
        "//leaf",
        "--strategies=full",
        "--metadata-arg=--cfg=harmless",
        "--metadata-arg=-Coverflow-checks=off",
    ];
    let report = workspace.report(&args, 1);
    let found = finding(&report, "//leaf:leaf");
    assert_eq!(found["lint"], "svh-flag-mismatch");
    let names = found["names"].as_array().unwrap();
    assert!(
        names
            .iter()
            .all(|name| name.as_str().unwrap().contains("overflow-checks")),
        "{names:?}"
    );
}

/// What svhcheck foretells of the fixture, driven into rustc: `mid` is compiled against the hollow
/// `leaf`, the program is linked with the full one.
#[test]
fn rustc_fails_with_e0460_where_a_flag_mismatch_was_foretold() {
    let name = "rustc_fails_with_e0460_where_a_flag_mismatch_was_foretold";
    if !support::require(name, "a stable rustc", stable()) {
        return;
    }
    let workspace = Workspace::fixture("bootstrap-mismatch");
    for (full_has_it, options, status) in [
        (
            false,
            &["--strategies=hollow", "--full-env=RUSTC_BOOTSTRAP="][..],
            1,
        ),
        (true, &["--strategies=hollow"], 0),
    ] {
        let report = workspace.report(&[&["//..."], options].concat(), status);
        let verdict = &krate(&report, "//leaf:leaf")["verdict"];
        let linked = link(&workspace, full_has_it);
        let said = String::from_utf8_lossy(&linked.stderr);
        if full_has_it {
            assert_eq!(*verdict, "safe");
            assert!(linked.status.success(), "{said}");
        } else {
            assert_eq!(*verdict, "flag-mismatch");
            assert!(
                said.contains("E0460") && said.contains("`leaf`"),
                "rustc says: {said}"
            );
        }
    }
}

/// Builds leaf, mid and app as a build with hollow rlibs does, and returns what linking said.
fn link(workspace: &Workspace, full_has_it: bool) -> Output {
    let [hollow, full] = ["hollow", "full"].map(|kind| {
        let folder = workspace.path(format!("by-hand-{full_has_it}/{kind}"));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    });
    let rustc = |krate: &str, out: &Path, from: &Path, bootstrap: bool, more: &[&str]| -> Output {
        let is_app = krate == "app";
        let mut command = support::scrubbed("rustc");
        if bootstrap {
            command.env("RUSTC_BOOTSTRAP", "1");
        }
        let kind = if is_app { "bin" } else { "lib" };
        let main = if is_app { "main" } else { "lib" };
        command
            .current_dir(workspace.path(""))
            .args(["--edition=2021", "--emit=link", "--crate-name", krate])
            .args(["--crate-type", kind, "-Cmetadata=x"])
            .arg("-L")
            .arg(dependency(from))
            .arg("--out-dir")
            .arg(out)
            .args(more)
            .arg(format!("{krate}/src/{main}.rs"));
        command.output().unwrap()
    };
    let extern_ = |krate: &str, folder: &Path| {
        format!("--extern={krate}={}/lib{krate}.rlib", folder.display())
    };
    let must = |output: Output| assert!(output.status.success(), "{output:?}");
    must(rustc("leaf", &hollow, &hollow, true, &["-Zno-codegen"]));
    let on_hollow = extern_("leaf", &hollow);
    must(rustc("mid", &full, &hollow, full_has_it, &[&on_hollow]));
    must(rustc("leaf", &full, &full, full_has_it, &[]));
    rustc("app", &full, &full, full_has_it, &[&extern_("mid", &full)])
}

fn dependency(folder: &Path) -> PathBuf {
    PathBuf::from(format!("dependency={}", folder.display()))
}
