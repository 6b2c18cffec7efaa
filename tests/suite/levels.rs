//! Levels, `svhcheck.toml` and the baseline, as a team meets them.

use std::fs;

use serde_json::Value;

use crate::support;
use crate::workspace::{Said, Workspace};

/// A workspace with a macro that returns the time, a tidy one, and crates that use them.
fn planted(guilty: &[bool]) -> Workspace {
    let mut members = vec!["\"stamp\"".to_owned()];
    members.extend((0..guilty.len()).map(|own| format!("\"c{own:02}\"")));
    let manifest = format!(
        "[workspace]\nmembers = [{}]\nresolver = \"3\"\n",
        members.join(", ")
    );
    let own = Workspace::of(&[
        ("Cargo.toml", &manifest),
        (
            "stamp/Cargo.toml",
            "[package]\nname = \"stamp\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[lib]\nproc-macro = true\n",
        ),
        (
            "stamp/src/lib.rs",
            "use proc_macro::TokenStream;
#[proc_macro]
pub fn now(_: TokenStream) -> TokenStream {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    format!(\"{}\", now.unwrap().as_nanos() as u64).parse().unwrap()
}
#[proc_macro]
pub fn never(_: TokenStream) -> TokenStream {
    \"0\".parse().unwrap()
}
",
        ),
    ]);
    for (number, guilty) in guilty.iter().enumerate() {
        let name = format!("c{number:02}");
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[dependencies]\nstamp = {{ path = \"../stamp\" }}\n"
        );
        own.write(&format!("{name}/Cargo.toml"), &manifest);
        plant(&own, number, *guilty);
    }
    own
}

fn plant(workspace: &Workspace, number: usize, guilty: bool) {
    let name = if guilty { "now" } else { "never" };
    let text = format!("pub const AT: u64 = stamp::{name}!();\n");
    workspace.write(&format!("c{number:02}/src/lib.rs"), &text);
}

/// One strategy is enough here.
const QUICK: &str = "--strategies=quit-on-rmeta";

fn denied(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().unwrap();
    let denied = findings.iter().filter(|own| own["level"] == "deny");
    denied.map(|own| own["crate"].as_str().unwrap()).collect()
}

/// A run whose report goes to standard output and whose notes are kept.
fn noted(workspace: &Workspace, args: &[&str]) -> Said {
    workspace.run(&[&["//...", "--format=json", QUICK], args].concat())
}

/// A command other than a check.
fn other(workspace: &Workspace, args: &[&str]) -> Said {
    let mut command = support::svhcheck();
    command.env_remove("EXECUTION_ID");
    command.current_dir(workspace.path("")).args(args);
    command.output().unwrap().into()
}

#[test]
fn a_tree_with_ten_faults_lives_with_them_and_fails_for_the_eleventh() {
    let mut guilty = [true; 11];
    guilty[10] = false;
    let workspace = planted(&guilty);
    let report = workspace.report(&["//...", QUICK], 1);
    assert_eq!(denied(&report).len(), 10, "{report:#}");

    let said = other(&workspace, &["baseline", "write", QUICK]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(
        said.err
            .contains("note: wrote svhcheck-baseline.toml: 10 findings\n"),
        "{said:?}"
    );
    let written = || fs::read_to_string(workspace.path("svhcheck-baseline.toml")).unwrap();
    let lines = |text: &str| text.lines().filter(|line| line.starts_with("  {")).count();
    let first = written();
    assert_eq!(lines(&first), 10);
    assert!(first.contains(
        "  { crate = \"//c00:c00\", lint = \"svh-unstable\", factor = \"time\", culprit = \"stamp\" },\n"
    ));
    let place = workspace.path("");
    assert!(!first.contains(place.to_str().unwrap()), "{first}");

    let baseline = "--baseline=svhcheck-baseline.toml";
    let said = noted(&workspace, &[baseline]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(
        said.err
            .contains("10 findings are known to svhcheck-baseline.toml"),
        "{said:?}"
    );

    plant(&workspace, 10, true);
    let report = workspace.report(&["//...", QUICK, baseline], 1);
    assert_eq!(denied(&report), ["//c10:c10"]);

    plant(&workspace, 10, false);
    plant(&workspace, 3, false);
    let said = noted(&workspace, &[baseline]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(
        said.err
            .contains("fixed: svh-unstable //c03:c03 (time); `svhcheck baseline write`"),
        "{said:?}"
    );
    // A part of the tree keeps what is known of the rest.
    let said = other(&workspace, &["baseline", "write", "//c03/...", QUICK]);
    assert!(said.err.contains("9 findings, 10 before\n"), "{said:?}");
    let shrunk = written();
    let kept: Vec<&str> = first
        .lines()
        .filter(|line| !line.contains("//c03:c03"))
        .collect();
    let shrunk: Vec<&str> = shrunk.lines().collect();
    assert_eq!(shrunk, kept, "a line went, and nothing moved");
    workspace.assert_nothing_left();
}

#[test]
fn the_configuration_is_found_obeyed_and_named() {
    let workspace = planted(&[true, true, true]);
    workspace.write(
        "svhcheck.toml",
        "strategies = [\"quit-on-rmeta\"]

[levels]
svh = \"warn\"

[[crate]]
match = \"//c01\"
levels = { svh-unstable = \"deny\" }

[[allow]]
lint = \"svh-unstable\"
crate = \"//c02\"
reason = \"it is being rewritten\"
expires = 2020-01-31
",
    );
    let source = |report: &Value, id: &str| {
        let findings = report["findings"].as_array().unwrap();
        let own = findings
            .iter()
            .find(|own| own["crate"] == id && own["lint"] == "svh-unstable");
        own.unwrap()["level_source"].as_str().unwrap().to_owned()
    };
    let report = workspace.report(&["//..."], 1);
    assert_eq!(report["strategies"], serde_json::json!(["quit-on-rmeta"]));
    assert_eq!(denied(&report), ["//c01:c01"]);
    assert_eq!(source(&report, "//c00:c00"), "warn because svhcheck.toml:4");
    assert_eq!(source(&report, "//c01:c01"), "deny because svhcheck.toml:8");
    assert_eq!(
        source(&report, "//c02:c02"),
        "warn because svhcheck.toml:4; svhcheck.toml:11 allowed it until 2020-01-31: it is being rewritten"
    );
    // What is typed wins, the last word counts, and a reason holds.
    let text = fs::read_to_string(workspace.path("svhcheck.toml")).unwrap();
    let text = text.replace("expires = 2020-01-31", "expires = 9999-12-31");
    workspace.write("svhcheck.toml", &text);
    let args = ["//...", "--allow=svh", "--deny=svh-unstable"];
    let report = workspace.report(&args, 1);
    assert_eq!(denied(&report), ["//c00:c00", "//c01:c01"]);
    assert_eq!(
        source(&report, "//c00:c00"),
        "deny because --deny svh-unstable"
    );
    assert_eq!(
        source(&report, "//c02:c02"),
        "allow because svhcheck.toml:11: it is being rewritten"
    );
    workspace.report(&["//...", "--deny=svh-unstable", "--allow=svh"], 0);
    let report = workspace.report(&["//...", "--no-config", QUICK], 1);
    assert_eq!(denied(&report).len(), 3);

    workspace.write("svhcheck.toml", "[levls]\n");
    let said = workspace.run(&["//..."]);
    said.failed("");
    assert!(
        said.err
            .contains("svhcheck.toml:1:2: unknown key `levls`; did you mean `levels`?"),
        "{said:?}"
    );
    let said = workspace.run(&["//...", "--no-config", "--deny=svh-unstabel"]);
    said.failed("--deny svh-unstabel: no lint or group is called `svh-unstabel`; did you mean `svh-unstable`?");
}

#[test]
fn declared_inputs_are_no_news() {
    let workspace = Workspace::fixture("undeclared-file/bad");
    let report = workspace.report(&["//...", QUICK], 1);
    let names = report["findings"].as_array().unwrap();
    let names = names.iter().find(|own| own["level"] == "deny").unwrap();
    let file = names["names"][0].as_str().unwrap().to_owned();
    let folder = if workspace.path(&file).is_file() {
        ""
    } else {
        "consumer/"
    };
    let text = format!("[[inputs]]\ncrate = \"consumer\"\nfiles = [\"{folder}{file}\"]\n");
    workspace.write("svhcheck.toml", &text);
    let report = workspace.report(&["//...", QUICK], 0);
    assert_eq!(report["summary"]["verdicts"]["nondeterministic"], 0);
}

#[test]
fn init_writes_a_file_once() {
    let workspace = Workspace::of(&[]);
    let init = |args: &[&str]| other(&workspace, &[&["init"], args].concat());
    assert_eq!(init(&[]).status, Some(0));
    let text = fs::read_to_string(workspace.path("svhcheck.toml")).unwrap();
    assert!(text.contains("#[[allow]]\n"), "{text}");
    init(&[]).failed("`svhcheck.toml` is there already");
    assert_eq!(init(&["other.toml"]).status, Some(0));
}

/// A shared cache or a second action puts another build of a dependency in place.
#[test]
fn an_artifact_that_was_replaced_behind_its_dependents_is_named() {
    let package = |name: &str, deps: &str| {
        format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[dependencies]\n{deps}"
        )
    };
    let workspace = Workspace::of(&[
        (
            "Cargo.toml",
            "[workspace]\nmembers = [\"leaf\", \"mid\"]\nresolver = \"3\"\n",
        ),
        ("leaf/Cargo.toml", &package("leaf", "")),
        ("leaf/src/lib.rs", "pub const N: u8 = 1;\n"),
        (
            "mid/Cargo.toml",
            &package("mid", "leaf = { path = \"../leaf\" }\n"),
        ),
        ("mid/src/lib.rs", "pub const N: u8 = leaf::N;\n"),
    ]);
    workspace.write("other.rs", "pub const N: u8 = 2;\n");
    workspace.report(&["//...", QUICK], 0);
    let artifacts = walkdir::WalkDir::new(workspace.area()).into_iter();
    let rlib = artifacts
        .map(|entry| entry.unwrap().into_path())
        .find(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.starts_with("libleaf-") && name.ends_with(".rlib")
        })
        .unwrap();
    let times = [rlib.clone(), rlib.with_extension("rmeta")]
        .map(|path| (fs::metadata(&path).unwrap().modified().unwrap(), path));
    let name = rlib.file_stem().unwrap().to_str().unwrap();
    let extra = name.strip_prefix("libleaf").unwrap();
    let status = support::scrubbed("rustc")
        .args(["--crate-name=leaf", "--edition=2024", "--crate-type=lib"])
        .arg("--emit=metadata,link")
        .arg(format!("-Cextra-filename={extra}"))
        .arg(format!("-Cmetadata={extra}"))
        .arg("--out-dir")
        .arg(rlib.parent().unwrap())
        .arg(workspace.path("other.rs"))
        .status()
        .unwrap();
    assert!(status.success());
    // Cargo would notice newer files.
    for (time, path) in times {
        let file = fs::File::options().append(true).open(path).unwrap();
        file.set_modified(time).unwrap();
    }
    let said = workspace.run(&["//...", "--format=json", "--quiet", QUICK]);
    let report = said.json();
    let findings = report["findings"].as_array().unwrap();
    let stale = findings
        .iter()
        .find(|own| own["lint"] == "stale-dependency-svh");
    let stale = stale.unwrap_or_else(|| panic!("{report:#}"));
    assert_eq!(stale["crate"], "//mid:mid");
    assert_eq!(stale["level"], "deny");
    assert_eq!(stale["names"], serde_json::json!(["leaf"]));
    let seen = stale["evidence"][0].as_str().unwrap();
    assert!(seen.contains("of `//leaf:leaf`"), "{seen}");
}
