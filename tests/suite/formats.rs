//! The forms of a report: each valid by its own standard, the same twice, and unharmed by what a
//! crate may be named.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use pulldown_cmark::{Event, Options, Parser, Tag};
use quick_junit::{NonSuccessKind, TestCaseStatus};
use serde_json::{Value, json};
use svhcheck::report::format::{Format, TABLE};
use svhcheck::report::human::Detail;

use crate::reports;
use crate::support::{self, svhcheck};
use crate::workspace::{Said, Workspace};

fn render(format: Format, report: &Value) -> String {
    format.render(&reports::read(report), Detail::Normal)
}

fn parsed(format: Format, report: &Value) -> Value {
    serde_json::from_str(&render(format, report)).unwrap()
}

#[test]
fn every_form_is_the_same_twice_and_steers_no_terminal() {
    for (name, report) in reports::all() {
        for row in TABLE {
            let text = render(row.format, &report);
            let what = format!("{name} as {}", row.name);
            assert!(text == render(row.format, &report), "{what}: other bytes");
            assert!(text.ends_with('\n'), "{what} ends in no newline");
            let acts = |c: char| c.is_control() && c != '\n' || c == '\u{202e}' || c == '\u{2028}';
            // The form for people has its own colours, and JSON is without loss; its escapes are
            // JSON's.
            if row.format == Format::Human {
                let stripped = anstream::adapter::strip_str(&text).to_string();
                assert!(!stripped.contains(acts), "{what} holds characters that act");
            } else if row.format != Format::Json {
                assert!(!text.contains(acts), "{what} holds characters that act");
            } else {
                assert!(!text.contains(|c: char| c.is_control() && !"\n\u{9b}".contains(c)));
            }
        }
    }
}

#[test]
fn json_is_as_the_schema_has_it_and_comes_back_the_same() {
    for (name, report) in reports::all() {
        support::assert_is_report(&parsed(Format::Json, &report));
        let again = reports::read(&parsed(Format::Json, &report));
        assert_eq!(again, reports::read(&report), "{name}");
    }
}

#[test]
fn sarif_is_as_oasis_has_it() {
    let path = support::root().join("tests/data/sarif-2.1.0.schema.json");
    let text = fs::read_to_string(path).unwrap();
    // A lone bracket in patterns of it is a letter in ECMAScript, and a fault to the validator.
    let text = text.replace("{2}]?$", "{2}\\\\]?$");
    let schema: Value = serde_json::from_str(&text).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    for (name, report) in reports::all() {
        let sarif = parsed(Format::Sarif, &report);
        let faults: Vec<String> = schema
            .iter_errors(&sarif)
            .map(|fault| format!("{name}: {}: {fault}", fault.instance_path()))
            .collect();
        assert!(faults.is_empty(), "{faults:#?}");
        let run = &sarif["runs"][0];
        let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
        let shown = report["findings"].as_array().unwrap().iter();
        let shown = shown.filter(|own| own["level"] != "allow").count();
        let results = run["results"].as_array().unwrap();
        assert_eq!(results.len(), shown, "{name}");
        for result in results {
            if let Some(at) = result["ruleIndex"].as_u64() {
                let rule = &rules[usize::try_from(at).unwrap()];
                assert_eq!(rule["id"], result["ruleId"]);
                assert!(
                    rule["help"]["markdown"]
                        .as_str()
                        .unwrap()
                        .contains("## How to fix it")
                );
            }
        }
    }
}

#[test]
fn sarif_points_at_the_invocation_and_at_the_culprit() {
    let sarif = parsed(Format::Sarif, &reports::example());
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    let place = |location: &Value| {
        let physical = &location["physicalLocation"];
        assert_eq!(physical["artifactLocation"]["uriBaseId"], "%SRCROOT%");
        let uri = physical["artifactLocation"]["uri"]
            .as_str()
            .unwrap()
            .to_owned();
        (uri, physical["region"]["startLine"].as_u64())
    };
    let [guilty, infected] = results.as_slice() else {
        panic!("{results:#?}");
    };
    assert_eq!(guilty["level"], "error");
    let invocation = ("commands/src/lib.rs".to_owned(), Some(3));
    assert_eq!(place(&guilty["locations"][0]), invocation);
    let culprit = ("commands-macro/src/lib.rs".to_owned(), Some(16));
    assert_eq!(place(&guilty["relatedLocations"][0]), culprit);
    assert_eq!(infected["level"], "warning");
    assert_eq!(
        place(&infected["locations"][0]),
        ("server/Cargo.toml".to_owned(), None)
    );
}

/// What an update of a dependency or a line above the invocation changes.
#[test]
fn fingerprints_stay_when_lines_svhs_and_versions_move() {
    let prints = |report: &Value| -> Vec<String> {
        let sarif = parsed(Format::Sarif, report);
        let results = sarif["runs"][0]["results"].as_array().unwrap().clone();
        let print = |own: &Value| {
            own["partialFingerprints"]["svhcheck/v1"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        results.iter().map(print).collect()
    };
    let before = reports::example();
    let mut after = before.clone();
    let finding = &mut after["findings"][0];
    finding["expansion"]["location"] = "commands/src/lib.rs:77".into();
    finding["culprit"]["package"] = "commands-macro 0.2.0".into();
    finding["culprit"]["location"] = "commands-macro/src/lib.rs:160".into();
    finding["evidence"] = json!(["SVH 1 on the metadata side, 2 on the full side"]);
    finding["message"] = "said in other words".into();
    assert_eq!(prints(&before), prints(&after));
    let mut other = before.clone();
    other["findings"][0]["factor"] = "time".into();
    assert_ne!(prints(&before)[0], prints(&other)[0]);
    for (name, report) in reports::all() {
        let all = prints(&report);
        let distinct: BTreeSet<&String> = all.iter().collect();
        assert_eq!(
            distinct.len(),
            all.len(),
            "{name}: no two findings have one fingerprint"
        );
        let gitlab = parsed(Format::Gitlab, &report);
        let gitlab = gitlab.as_array().unwrap().iter();
        let gitlab: Vec<&str> = gitlab
            .map(|own| own["fingerprint"].as_str().unwrap())
            .collect();
        assert_eq!(gitlab, all, "{name}: GitLab and SARIF agree");
    }
}

#[test]
fn junit_has_a_case_for_each_crate_and_strategy() {
    for (name, report) in reports::all() {
        let xml = render(Format::Junit, &report);
        let junit = quick_junit::Report::deserialize_from_str(&xml).unwrap();
        let strategies = report["strategies"].as_array().unwrap().len();
        let crates = report["crates"].as_array().unwrap().len();
        for suite in &junit.test_suites[..strategies] {
            assert_eq!(suite.test_cases.len(), crates, "{name}");
        }
        assert!(
            !xml.contains("time="),
            "{name}: nothing of when it was made"
        );
    }
    let xml = render(Format::Junit, &reports::example());
    let junit = quick_junit::Report::deserialize_from_str(&xml).unwrap();
    assert_eq!((junit.tests, junit.failures, junit.skipped), (42, 5, 5));
    let case = &junit.test_suites[0].test_cases[1];
    assert_eq!(case.name.as_str(), "//commands:commands");
    let TestCaseStatus::NonSuccess {
        kind,
        message,
        description,
        ..
    } = &case.status
    else {
        panic!("{case:?}");
    };
    assert_eq!(*kind, NonSuccessKind::Failure);
    assert_eq!(
        message.as_ref().unwrap().as_str(),
        "its SVH depends on randomness"
    );
    assert!(
        description
            .as_ref()
            .unwrap()
            .contains("commands-macro/src/lib.rs:16")
    );

    // What fails the check fails the test report, though every SVH was equal.
    let (_, script) = reports::saved()
        .into_iter()
        .find(|own| own.0 == "build-script")
        .unwrap();
    let xml = render(Format::Junit, &script);
    let junit = quick_junit::Report::deserialize_from_str(&xml).unwrap();
    assert_eq!(junit.failures, 1);
    assert_eq!(junit.test_suites.last().unwrap().name.as_str(), "findings");
}

#[test]
fn github_gets_a_line_for_each_finding_whatever_it_says() {
    for (name, report) in reports::all() {
        let text = render(Format::Github, &report);
        let shown = report["findings"].as_array().unwrap().iter();
        let shown = shown.filter(|own| own["level"] != "allow").count();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), shown + 1, "{name}");
        for line in &lines {
            let words = ["::error file=", "::warning file=", "::notice title="];
            assert!(words.iter().any(|word| line.starts_with(word)), "{line}");
        }
        assert!(lines.is_sorted_by_key(|line| {
            ["::e", "::w", "::n"]
                .iter()
                .position(|own| line.starts_with(own))
        }));
    }
    let text = render(Format::Github, &reports::example());
    assert!(
        text.starts_with("::error file=commands/src/lib.rs,line=3,title=svh-unstable%3A //commands%3Acommands::its SVH depends on randomness%0Aculprit: proc macro commands-macro 0.1.0"),
        "{text}"
    );
}

#[test]
fn gitlab_gets_what_it_requires() {
    for (name, report) in reports::all() {
        for entry in parsed(Format::Gitlab, &report).as_array().unwrap() {
            let text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
            assert!(
                text(&entry["description"]) && text(&entry["check_name"]),
                "{name}"
            );
            assert!(text(&entry["location"]["path"]), "{name}");
            assert!(entry["location"]["lines"]["begin"].as_u64().unwrap() > 0);
            assert!(
                ["minor", "major"]
                    .iter()
                    .any(|own| entry["severity"] == **own)
            );
        }
    }
}

#[test]
fn markdown_fits_a_comment_and_has_no_markup_but_ours() {
    for (name, report) in reports::all() {
        let text = render(Format::Markdown, &report);
        assert!(text.len() < 60_000, "{name}: {} bytes", text.len());
        for event in Parser::new_ext(&text, Options::ENABLE_TABLES) {
            match event {
                Event::Html(html) | Event::InlineHtml(html) => {
                    let ours = ["<details><summary>Not checked (", "</details>"];
                    assert!(
                        ours.iter().any(|own| html.starts_with(own)),
                        "{name}: {html}"
                    );
                }
                Event::Start(Tag::Link { .. } | Tag::Image { .. }) => panic!("{name}: {event:?}"),
                _ => {}
            }
        }
    }
    let large = render(Format::Markdown, &reports::large(2000));
    assert!(large.contains(" of 2000 crates safe, "), "{large}");
    let mut many = reports::large(400);
    let finding = many["findings"].as_array().unwrap().iter();
    let finding = finding
        .clone()
        .find(|own| own["level"] == "deny")
        .unwrap()
        .clone();
    many["findings"] = Value::Array(vec![finding; 300]);
    let text = render(Format::Markdown, &many);
    let line = text
        .lines()
        .find(|line| line.contains("left out here"))
        .unwrap();
    let left: usize = line
        .trim_start_matches("**")
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(text.matches("### error").count() + left, 300, "{line}");
}

#[test]
fn a_saved_report_is_shown_again_in_several_forms() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("r.json"), reports::example().to_string()).unwrap();
    fs::write(at("r.xml"), "older").unwrap();
    let run = |args: &[&str]| -> Said {
        let mut command = svhcheck();
        command.current_dir(folder.path()).stdin(Stdio::null());
        command.arg("report").args(args).output().unwrap().into()
    };
    let args =
        "r.json --format sarif --output r.sarif --format junit -o r.xml --format html -o r.html";
    let said = run(&args.split(' ').collect::<Vec<_>>());
    assert_eq!((said.status, said.err.as_str()), (Some(0), ""), "{said:?}");
    assert!(
        said.out.contains("4 of 6 crates safe"),
        "for people, since nothing else goes there"
    );
    assert!(!said.out.contains('\u{1b}'), "{}", said.out);
    for (file, format) in [
        ("r.sarif", Format::Sarif),
        ("r.xml", Format::Junit),
        ("r.html", Format::Html),
    ] {
        let text = fs::read_to_string(at(file)).unwrap();
        assert!(text == render(format, &reports::example()), "{file}");
    }
    let mode = |name: &str| fs::metadata(at(name)).unwrap().permissions().mode() & 0o777;
    fs::write(at("plain"), "").unwrap();
    assert_eq!(mode("r.sarif"), mode("plain"), "as any new file");
    let left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|own| own.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 5, "nothing half-written is left: {left:?}");

    // One form to standard output takes the place of the one for people.
    let said = run(&["r.json", "--format", "github"]);
    assert_eq!(said.out, render(Format::Github, &reports::example()));
    let said = run(&[
        "r.json",
        "--format=json",
        "--output=-",
        "--format=human",
        "-o",
        "r.txt",
    ]);
    assert_eq!(said.out, render(Format::Json, &reports::example()));
    assert!(!fs::read_to_string(at("r.txt")).unwrap().contains('\u{1b}'));
}

#[test]
fn what_cannot_be_read_or_written_is_told_and_touches_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("r.json"), reports::example().to_string()).unwrap();
    fs::write(at("newer.json"), "{\"version\": 2}").unwrap();
    fs::write(at("none.json"), "<html>").unwrap();
    let run = |args: &[&str]| -> Said {
        let mut command = svhcheck();
        command.current_dir(folder.path()).stdin(Stdio::null());
        command.arg("report").args(args).output().unwrap().into()
    };
    for (args, error) in [
        (&["missing.json"][..], "failed to open file `missing.json`"),
        (&["none.json"], "cannot read none.json"),
        (&["newer.json"], "cannot read newer.json"),
        (
            &["r.json", "--format=json", "-ono/where"],
            "cannot write no/where: there is no folder no",
        ),
        (
            &["r.json", "--format=json", "-o."],
            "cannot write .: it is a folder",
        ),
        (
            &["r.json", "--format=json", "--format=html"],
            "`--format json` and `--format html` would both go to standard output",
        ),
        (
            &["r.json", "-ox"],
            "`--output x` needs a --format before it",
        ),
    ] {
        let said = run(args);
        assert_eq!(
            (said.status, said.out.as_str()),
            (Some(2), ""),
            "{args:?}: {said:?}"
        );
        assert!(said.err.contains(error), "{args:?}: {}", said.err);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
}

#[test]
fn a_check_writes_all_forms_at_once_and_knows_a_missing_folder_before_it_builds() {
    let workspace = Workspace::fixture("clean");
    let said = workspace.run(&["//...", "--format=json", "-o", "missing/r.json"]);
    said.failed("cannot write missing/r.json");
    assert!(
        !workspace.path("target").exists(),
        "nothing was built for it"
    );

    let args = [
        "//...",
        "--quiet",
        "--format=json",
        "-or.json",
        "--format=markdown",
        "-or.md",
    ];
    let said = workspace.run(&args);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(said.out.starts_with("2 crates safe"), "{}", said.out);
    let report: Value =
        serde_json::from_slice(&fs::read(workspace.path("r.json")).unwrap()).unwrap();
    support::assert_is_report(&report);
    assert_eq!(report["command"]["patterns"], json!(["//..."]));
    let macros = "//describe-macro:describe_macro";
    assert_eq!(report["crates"][1]["loads"], json!([macros]));
    assert_eq!(report["crates"][1]["manifest"], "shapes/Cargo.toml");
    let text = fs::read_to_string(workspace.path("r.md")).unwrap();
    assert!(text.starts_with("## svhcheck: 2 crates safe"), "{text}");
    workspace.assert_nothing_left();
}
