//! What the manual says, tried: commands of the README and of `docs/`, the recipes of `docs/ci.md`,
//! the manual page and the completions.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{self, require};
use crate::workspace::{Said, Workspace};

/// Commands that are not run, and why. Each must still stand somewhere in the manual.
const NOT_RUN: &[(&str, &str)] = &[
    (
        "svhcheck //... --engine=bazel-aspect",
        "tests/suite/remote_real.rs runs it in a Bazel workspace",
    ),
    (
        "svhcheck //... --engine=remote --remote-executor=grpcs://HOST:PORT",
        "it needs a cluster; tests/suite/remote.rs has one of its own",
    ),
    (
        "svhcheck diff target-1/debug target-2/debug",
        "tests/suite/diff.rs compares two builds",
    ),
    (
        "svhcheck //... --what-ran ran.jsonl",
        "needs Buck2; tests/suite/buck2.rs reads saved logs",
    ),
    (
        "svhcheck probe [--rustc PATH] [--jobs N] [--format human|json]",
        "a synopsis",
    ),
    ("svhcheck parity //...", "needs Bazel"),
    (
        "svhcheck parity --aquery graph.pb",
        "needs the saved action graph of a Bazel build",
    ),
    (
        "svhcheck verify bazel-bin/app/libapp.rlib bazel-bin/lib",
        "needs the output tree of a Bazel build; tests/suite/verify.rs imitates one",
    ),
    (
        "svhcheck trace --sandbox auto --read src --read ~/.rustup --write out -- rustc …",
        "the rest of rustc's command line is left to the reader",
    ),
    ("svhcheck trace -- COMMAND", "stands for any command"),
    (
        "svhcheck trace --format json -o record.json -- make",
        "needs make and a makefile",
    ),
    (
        "svhcheck //... -- --release --features tls",
        "a second build of all, which tests/suite/record.rs tries in small",
    ),
    (
        "svhcheck //... --strategies quit-on-rmeta,hollow,incremental",
        "tests/suite/strategies.rs tries every strategy",
    ),
    (
        "svhcheck trace --stack --inject randomness=1 --inject time=1000000000 -- cargo check",
        "tests/suite/trace_steer.rs steers commands",
    ),
];

/// The commands of a page: indented lines, and the first column of a table.
fn commands(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines() {
        let indented = line
            .strip_prefix("    ")
            .filter(|own| own.starts_with("svhcheck "));
        found.extend(indented.map(str::to_owned));
        if line.starts_with("| `svhcheck ") {
            let words = line.split('`').skip(1).step_by(2);
            let words = words.filter(|own| own.starts_with("svhcheck "));
            found.extend(words.map(str::to_owned));
        }
    }
    found
}

fn git(workspace: &Workspace, args: &[&str]) {
    let mut command = Command::new("git");
    command.current_dir(workspace.path("")).args(args);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null");
    for (name, value) in [("NAME", "Somebody"), ("EMAIL", "somebody@example.com")] {
        command.env(format!("GIT_AUTHOR_{name}"), value);
        command.env(format!("GIT_COMMITTER_{name}"), value);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "git {args:?}: {output:?}");
}

/// The workspace in which the manual's reader sits: two commits, one build, a saved report.
fn readers() -> Workspace {
    let manifest = |name: &str| {
        format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n")
    };
    let own = Workspace::of(&[
        (
            "Cargo.toml",
            "[workspace]\nmembers = [\"crates/server\", \"crates/server/bench\", \"consumer\"]\nresolver = \"3\"\n",
        ),
        (".gitignore", "/target\n"),
        ("crates/server/Cargo.toml", &manifest("server")),
        ("crates/server/src/lib.rs", "pub const N: u8 = 1;\n"),
        ("crates/server/bench/Cargo.toml", &manifest("bench")),
        ("crates/server/bench/src/lib.rs", "pub const N: u8 = 1;\n"),
        ("consumer/Cargo.toml", &manifest("consumer")),
        ("consumer/src/lib.rs", "pub const N: u8 = 1;\n"),
        ("a.rs", ""),
        (
            "LOG",
            "error[E0460]: found possibly newer version of crate `leaf` which `mid` depends on\n",
        ),
    ]);
    let output = support::scrubbed("cargo")
        .args(["build", "--offline", "--workspace"])
        .current_dir(own.path(""))
        .output();
    assert!(output.unwrap().status.success());
    fs::create_dir_all(own.path("a")).unwrap();
    fs::create_dir_all(own.path("b")).unwrap();
    for (name, to) in [
        ("server", ["a.rlib", "a/libx.rlib"]),
        ("consumer", ["b.rlib", "b/libx.rlib"]),
    ] {
        for to in to {
            fs::copy(
                own.path(format!("target/debug/lib{name}.rlib")),
                own.path(to),
            )
            .unwrap();
        }
    }
    let report = support::root().join("tests/data/reports/example.json");
    fs::copy(report, own.path("saved.json")).unwrap();
    git(&own, &["init", "--quiet", "--initial-branch=main"]);
    git(&own, &["add", "--all"]);
    git(&own, &["commit", "--quiet", "--message=first"]);
    own.write("consumer/src/lib.rs", "pub const N: u8 = 2;\n");
    git(&own, &["commit", "--quiet", "--all", "--message=second"]);
    own
}

/// A line of a shell in it, with svhcheck on PATH.
fn sh(workspace: &Workspace, line: &str) -> Said {
    let programs = Path::new(env!("CARGO_BIN_EXE_svhcheck")).parent().unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(
        [programs.to_path_buf(), workspace.path("bin")]
            .into_iter()
            .chain(std::env::split_paths(&path)),
    );
    let mut command = support::scrubbed("bash");
    command.args(["-e", "-o", "pipefail", "-c", line]);
    command
        .current_dir(workspace.path(""))
        .env("PATH", path.unwrap());
    command.output().unwrap().into()
}

#[test]
fn every_command_of_the_manual_runs() {
    let git = Command::new("git").arg("--version").output().is_ok();
    if !require("commands of the manual", "git", git) {
        return;
    }
    let mut pages = vec![support::root().join("README.md")];
    let folder = fs::read_dir(support::root().join("docs")).unwrap();
    pages.extend(folder.map(|entry| entry.unwrap().path()));
    pages.retain(|path| path.extension().is_some_and(|own| own == "md"));
    // These two are generated: help texts, and pages that repeat commands of others.
    pages.retain(|path| !path.ends_with("cli.md") && !path.ends_with("lints.md"));
    let mut all: Vec<String> = Vec::new();
    for page in pages {
        all.extend(commands(&fs::read_to_string(page).unwrap()));
    }
    for (known, why) in NOT_RUN {
        assert!(
            all.iter().any(|own| own == known),
            "{known}: not in the manual ({why})"
        );
    }
    all.retain(|own| !NOT_RUN.iter().any(|(known, _)| known == own));
    // What writes a file comes before what reads it.
    all.sort_by_key(|own| (!own.contains("baseline write"), own.clone()));
    all.dedup();
    assert!(all.len() > 20, "{all:#?}");
    let workspace = readers();
    for line in &all {
        let said = sh(&workspace, line);
        // Findings are a result too; 2 is trouble, 127 no such command. Pages about files that the
        // reader has to bring say so.
        assert!(matches!(said.status, Some(0 | 1)), "{line}: {said:?}");
    }
}

/// The fenced blocks of `docs/ci.md` in one language.
fn recipes(language: &str) -> Vec<String> {
    let text = fs::read_to_string(support::root().join("docs/ci.md")).unwrap();
    let fence = format!("```{language}\n");
    let blocks = text.split(fence.as_str()).skip(1);
    blocks
        .map(|own| own.split("```").next().unwrap().to_owned())
        .collect()
}

/// The scripts of a recipe: every text under these keys, as the service would run it.
fn scripts(value: &serde_yaml_ng::Value, keys: &[&str], found: &mut Vec<String>) {
    use serde_yaml_ng::Value;
    match value {
        Value::Mapping(map) => {
            for (key, value) in map {
                match value {
                    Value::String(text) if keys.iter().any(|own| key == *own) => {
                        found.push(text.clone());
                    }
                    Value::Sequence(list) if keys.iter().any(|own| key == *own) => {
                        found.extend(list.iter().map(|own| own.as_str().unwrap().to_owned()));
                    }
                    _ => scripts(value, keys, found),
                }
            }
        }
        Value::Sequence(list) => list.iter().for_each(|own| scripts(own, keys, found)),
        _ => {}
    }
}

/// Without the service: the YAML is read, and its scripts run as they are, with the variables that
/// the service would set.
#[test]
fn the_recipes_for_services_run() {
    let git = Command::new("git").arg("--version").output().is_ok();
    if !require("recipes of docs/ci.md", "git", git) {
        return;
    }
    let workspace = readers();
    workspace.write(
        "bin/buildkite-agent",
        "#!/bin/sh\necho \"$@\" >> annotated\ncat >> annotated\n",
    );
    sh(&workspace, "chmod +x bin/buildkite-agent");
    let recipes = recipes("yaml");
    let [github, gitlab, buildkite] = &recipes[..] else {
        panic!("three recipes: {recipes:?}");
    };
    let run = |recipe: &str, keys: &[&str], before: &str| -> Said {
        let value: serde_yaml_ng::Value = serde_yaml_ng::from_str(recipe).unwrap();
        let mut lines = Vec::new();
        scripts(&value, keys, &mut lines);
        lines.retain(|own| !own.contains("cargo install"));
        sh(&workspace, &format!("{before}\n{}", lines.join("\n")))
    };
    let there = |name: &str| {
        let text = fs::read_to_string(workspace.path(name)).unwrap();
        assert!(!text.is_empty(), "{name}");
        text
    };

    let before = "BASE=$(git rev-parse HEAD~1); export GITHUB_STEP_SUMMARY=summary";
    let said = run(github, &["run"], before);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(there("svhcheck.sarif").contains("\"2.1.0\""));
    assert!(there("summary").starts_with("## svhcheck: 1 crate safe"));
    // A push has no base.
    let said = run(github, &["run"], "export GITHUB_STEP_SUMMARY=whole");
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(there("whole").starts_with("## svhcheck: 3 crates safe"));

    let before = "CI_MERGE_REQUEST_DIFF_BASE_SHA=$(git rev-parse HEAD~1)";
    let said = run(gitlab, &["script"], before);
    assert_eq!(said.status, Some(0), "{said:?}");
    there("svhcheck.gitlab.json");
    there("svhcheck.junit.xml");

    // Filling in is the upload's part: `$$` stands for `$`.
    let command = buildkite.replace("$$", "$");
    sh(&workspace, "git update-ref refs/remotes/origin/main HEAD~1");
    let said = run(&command, &["command"], "");
    assert_eq!(said.status, Some(0), "{said:?}");
    there("svhcheck.html");
    assert!(!workspace.path("annotated").exists());
    workspace.write("consumer/src/lib.rs", "no Rust\n");
    fs::remove_file(workspace.path("svhcheck.md")).unwrap();
    let said = run(&command, &["command"], "");
    assert_eq!(
        said.status,
        Some(2),
        "what fails keeps its status: {said:?}"
    );
}

#[test]
fn the_hook_lets_a_commit_pass_and_stops_one() {
    let git_there = Command::new("git").arg("--version").output().is_ok();
    if !require("the pre-commit hook", "git", git_there) {
        return;
    }
    let workspace = readers();
    let [hook] = &recipes("sh")[..] else {
        panic!("one hook")
    };
    workspace.write(".git/hooks/pre-commit", hook);
    let commit = "chmod +x .git/hooks/pre-commit; export GIT_CONFIG_GLOBAL=/dev/null; \
                  git -c user.name=N -c user.email=n@example.com commit --all --message=next";
    workspace.write("consumer/src/lib.rs", "pub const N: u8 = 3;\n");
    let said = sh(&workspace, commit);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(
        said.err.contains("1 crate safe") || said.out.contains("1 crate safe"),
        "{said:?}"
    );
    workspace.write("consumer/src/lib.rs", "no Rust\n");
    let said = sh(&workspace, commit);
    assert_eq!(said.status, Some(1), "git: {said:?}");
}

#[test]
fn cargo_finds_it_as_a_subcommand() {
    let workspace = Workspace::of(&[]);
    assert!(Path::new(env!("CARGO_BIN_EXE_cargo-svhcheck")).is_file());
    let said = sh(&workspace, "cargo svhcheck explain svh-unstable");
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(said.out.starts_with("svh-unstable") || said.out.contains("svh-unstable"));
    let said = sh(&workspace, "cargo svhcheck --help");
    assert!(said.out.contains("Usage: cargo svhcheck"), "{said:?}");
    // As a wrapper of rustc, it is the same program.
    let workspace = readers();
    let said = sh(
        &workspace,
        "cargo svhcheck //consumer:consumer --no-deps --strategies full",
    );
    assert!(said.out.contains("1 crate safe under full"), "{said:?}");
}

#[test]
fn every_lint_is_explained() {
    for page in svhcheck::lint::registry() {
        let mut command = support::svhcheck();
        let said: Said = command.args(["explain", &page.id]).output().unwrap().into();
        assert_eq!(said.status, Some(0), "{said:?}");
        assert!(
            said.out.contains(&page.id) && said.out.len() > 200,
            "{said:?}"
        );
    }
}

#[test]
fn completions_and_the_manual_page_know_every_command() {
    let run = |args: &[&str]| -> Said { support::svhcheck().args(args).output().unwrap().into() };
    let names = [
        "inspect", "trace", "diff", "verify", "report", "lints", "explain", "baseline",
    ];
    for shell in ["bash", "zsh", "fish"] {
        let said = run(&["completions", shell]);
        assert_eq!(said.status, Some(0), "{said:?}");
        for name in names.iter().chain(&["since", "color"]) {
            assert!(said.out.contains(name), "{shell}: {name}");
        }
    }
    let workspace = Workspace::of(&[]);
    let said = sh(&workspace, "bash -n <(svhcheck completions bash)");
    assert_eq!(said.status, Some(0), "{said:?}");
    let page = |name: &str| run(&[&["man"], &*name.split(' ').collect::<Vec<_>>()].concat());
    let main = run(&["man"]);
    assert!(main.out.contains(".TH svhcheck 1"), "{}", main.out);
    for name in names.iter().chain(&["baseline write"]) {
        let title = format!(".TH svhcheck-{} 1", name.replace(' ', "-"));
        let said = page(name);
        assert!(said.out.contains(&title), "{name}: {said:?}");
    }
    assert!(page("baseline write").out.contains("\\-\\-since"));
    page("no-such").failed("no command `no-such`");
    page("replay-action").failed("no command `replay-action`");
    let said = sh(&workspace, "svhcheck man --output pages && ls pages");
    let pages: Vec<&str> = said.out.lines().collect();
    assert!(pages.contains(&"svhcheck.1") && pages.contains(&"svhcheck-baseline-write.1"));
    let hidden = |name: &&str| name.contains("replay-") || name.contains("help");
    assert!(!pages.iter().any(hidden), "{pages:?}");
}

#[test]
fn colours_are_where_they_are_wanted() {
    let report = support::root().join("tests/data/reports/example.json");
    let report = report.to_str().unwrap();
    let run = |args: &[&str], vars: &[(&str, &str)]| -> Said {
        let mut command = support::svhcheck();
        for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
            command.env_remove(name);
        }
        command
            .envs(vars.iter().copied())
            .args(["report", report])
            .args(args);
        command.output().unwrap().into()
    };
    let colored = |said: &Said| said.out.contains("\x1b[");
    assert!(!colored(&run(&[], &[])), "no terminal");
    assert!(colored(&run(&["--color=always"], &[("NO_COLOR", "1")])));
    assert!(colored(&run(&[], &[("CLICOLOR_FORCE", "1")])));
    assert!(!colored(&run(
        &["--color=never"],
        &[("CLICOLOR_FORCE", "1")]
    )));
    let json = run(&["--color=always", "--format=json"], &[]);
    assert!(!colored(&json), "not in what programs read");
}

#[test]
fn file_names_are_links_where_the_terminal_has_them() {
    let workspace = Workspace::fixture("undeclared-file/bad");
    let run = |args: &[&str]| -> String {
        let mut command = support::svhcheck();
        for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
            command.env_remove(name);
        }
        command.env("FORCE_HYPERLINK", "1");
        let args = [&["//...", "--quiet", "--strategies=full"], args].concat();
        command.current_dir(workspace.path("")).args(args);
        Said::from(command.output().unwrap()).out
    };
    let linked = run(&["--color=always"]);
    let source = workspace.path("fixture_macro/src/lib.rs");
    let source = source.canonicalize().unwrap();
    let end = format!(
        "{}\x1b\\fixture_macro/src/lib.rs\x1b]8;;\x1b\\:",
        source.display()
    );
    assert!(
        linked.contains("\x1b]8;;file://") && linked.contains(&end),
        "{linked:?}"
    );

    // A pipe gets no escape code, whatever is forced.
    let plain = run(&[]);
    assert_eq!(anstream::adapter::strip_str(&linked).to_string(), plain);
    let json = run(&["--color=always", "--format=json"]);
    assert!(
        !json.contains("]8;;") && !json.contains(source.to_str().unwrap()),
        "{json}"
    );
}

#[test]
fn the_report_for_people_fits_the_terminal() {
    for (name, columns) in [
        ("example", 80),
        ("environment", 100),
        ("place", 80),
        ("flags", 60),
    ] {
        let report = support::root().join(format!("tests/data/reports/{name}.json"));
        let mut command = support::svhcheck();
        command
            .env("COLUMNS", columns.to_string())
            .arg("report")
            .arg(report);
        let said: Said = command.output().unwrap().into();
        for line in said.out.lines() {
            // Sources, and what macros write, are shown as they are.
            let text = line.trim_start_matches(' ');
            let whole = ["= writes", "-", "+"]
                .iter()
                .any(|own| text.starts_with(own));
            let whole = whole || text.starts_with(|c: char| c.is_ascii_digit());
            let fits = line.chars().count() <= columns;
            assert!(fits || whole, "{name}: {line}\n{}", said.out);
        }
    }
}

#[test]
fn a_configuration_is_what_the_schema_says() {
    let schema = fs::read(support::root().join("docs/svhcheck.schema.json")).unwrap();
    let schema: serde_json::Value = serde_json::from_slice(&schema).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let valid = |text: &str| {
        let table: toml::Table = text.parse().unwrap();
        // A date of TOML is a table of its own for serde; the schema has it as text.
        let mut value = serde_json::to_value(&table).unwrap();
        dates(&mut value);
        let faults: Vec<String> = schema
            .iter_errors(&value)
            .map(|own| own.to_string())
            .collect();
        faults
    };
    let template = svhcheck::config::TEMPLATE;
    let uncommented: String = template
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with([' ', '#']) => rest.to_owned() + "\n",
            _ => line.to_owned() + "\n",
        })
        .collect();
    assert_ne!(uncommented, template);
    assert_eq!(valid(&uncommented), [] as [String; 0], "{uncommented}");
    assert_eq!(valid(""), [] as [String; 0]);
    for wrong in [
        "strategies = 1\n",
        "[levls]\n",
        "[levels]\nsvh = \"loud\"\n",
    ] {
        assert_ne!(valid(wrong), [] as [String; 0], "{wrong}");
    }
}

fn dates(value: &mut serde_json::Value) {
    use serde_json::Value;
    if let Some(date) = value.get("$__toml_private_datetime").cloned() {
        *value = date;
        return;
    }
    match value {
        Value::Object(object) => object.values_mut().for_each(dates),
        Value::Array(list) => list.iter_mut().for_each(dates),
        _ => {}
    }
}

#[test]
fn the_page_about_reports_shows_a_real_one() {
    let page = fs::read_to_string(support::root().join("docs/reading-a-report.md")).unwrap();
    let report = support::root().join("tests/data/reports/example.json");
    let mut command = support::svhcheck();
    command.env("COLUMNS", "100").arg("report").arg(report);
    let said: Said = command.output().unwrap().into();
    let indented = said.out.lines().map(|line| match line {
        "" => String::new(),
        line => format!("    {line}"),
    });
    let shown = indented.collect::<Vec<_>>().join("\n");
    assert!(
        page.contains(&shown),
        "docs/reading-a-report.md should show:\n{shown}"
    );
}
