//! Rules about the source itself, as tests: the layer table, file length, where `unsafe` may stand,
//! what may lie at the top level, and that generated documentation is fresh.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// The layers, highest first. A module may name (`crate::…`) only modules of lower rows; modules
/// of one row do not import each other, except where `main.rs` reaches the library.
const LAYERS: &[&[&str]] = &[
    &["cli"],
    &["check", "config"],
    &["report"],
    &["attribute"],
    &["lint"],
    &["compare"],
    &["replay"],
    &["plan"],
    &["project"],
    &["trace", "sandbox", "probe"],
    &["artifact", "rustc", "remote"],
    &["digest", "bytes", "entry", "interrupt", "os_text"],
];

/// Modules in which `unsafe` may be expected (with a reason each).
const UNSAFE_ALLOWED: &[&str] = &[
    "src/trace/",
    "src/sandbox/",
    "src/entry.rs",
    "src/artifact/mod.rs",
];

/// Longest file in lines; longer ones are listed with a reason.
const MAX_LINES: usize = 600;
const LONG_FILES: &[(&str, &str)] = &[];

/// What the top level holds besides dot-files.
const TOP_LEVEL: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "README.md",
    "docs",
    "fixtures",
    "lints",
    "src",
    "target",
    "tests",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` with one of `extensions`, as (path from the root, text), sorted.
fn files(folder: &str, extensions: &[&str]) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = walkdir::WalkDir::new(root().join(folder))
        .into_iter()
        .filter_entry(|entry| entry.file_name() != "target")
        .filter_map(Result::ok)
        .filter(|entry| {
            let extension = entry.path().extension().and_then(|e| e.to_str());
            entry.file_type().is_file() && extension.is_some_and(|e| extensions.contains(&e))
        })
        .map(|entry| {
            let name: PathBuf = entry.path().strip_prefix(root()).unwrap().to_path_buf();
            let text = fs::read_to_string(entry.path()).unwrap();
            (name.to_str().unwrap().to_owned(), text)
        })
        .collect();
    found.sort();
    found
}

/// The code of a line, without comments (documentation links may point upwards).
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or("")
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&module))
}

#[test]
fn modules_import_only_from_lower_layers() {
    let mut faults = Vec::new();
    for (name, text) in files("src", &["rs"]) {
        let module = name["src/".len()..]
            .split(['/', '.'])
            .next()
            .unwrap()
            .to_owned();
        if ["main", "lib", "bin"].contains(&module.as_str()) {
            continue;
        }
        let Some(own) = layer_of(&module) else {
            faults.push(format!("{name}: module `{module}` has no row in LAYERS"));
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            for (at, _) in code(line).match_indices("crate::") {
                let rest = &code(line)[at + "crate::".len()..];
                let target: String = rest
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                if target != module && layer_of(&target).is_none_or(|layer| layer <= own) {
                    faults.push(format!(
                        "{name}:{}: `{module}` may not import `crate::{target}`: see LAYERS",
                        number + 1
                    ));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_map_lists_modules_in_layer_order() {
    let map = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let order: Vec<usize> = map
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .map(|module| layer_of(module).unwrap_or_else(|| panic!("{module} is in no layer")))
        .collect();
    assert!(
        order.is_sorted(),
        "src/lib.rs lists its modules highest layer first"
    );
}

#[test]
fn files_are_short_and_end_in_a_newline() {
    let mut faults = Vec::new();
    for folder in ["src", "tests"] {
        for (name, text) in files(folder, &["rs"]) {
            let listed = LONG_FILES.iter().any(|(long, _)| *long == name);
            let lines = text.lines().count();
            if lines > MAX_LINES && !listed {
                faults.push(format!(
                    "{name}: {lines} lines, more than {MAX_LINES}: split it"
                ));
            }
            if !text.ends_with('\n') || text.contains('\r') {
                faults.push(format!(
                    "{name}: ends without a newline or has carriage returns"
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn unsafe_stands_only_where_allowed() {
    let mut faults = Vec::new();
    for (name, text) in files("src", &["rs"]) {
        let allowed = UNSAFE_ALLOWED.iter().any(|prefix| name.starts_with(prefix));
        let found = text.lines().position(|line| {
            // A keyword in quotes is a word that is looked for, not one that is used.
            let unquoted = code(line).split('"').step_by(2);
            unquoted
                .flat_map(|code| code.split(|c: char| !c.is_alphanumeric() && c != '_'))
                .any(|w| w == "unsafe" || w == "unsafe_code")
        });
        if let (false, Some(line)) = (allowed, found) {
            faults.push(format!(
                "{name}:{}: unsafe outside UNSAFE_ALLOWED",
                line + 1
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_top_level_holds_nothing_else() {
    let mut extra = BTreeSet::new();
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.starts_with('.') && !TOP_LEVEL.contains(&name.as_str()) {
            extra.insert(name);
        }
    }
    assert!(extra.is_empty(), "unexpected at the top level: {extra:?}");
}

/// Documentation that is written by a program: path and text.
fn generated() -> Vec<(&'static str, String)> {
    vec![
        ("docs/cli.md", cli_doc()),
        ("docs/lints.md", lints_doc()),
        ("docs/svhcheck.schema.json", config_schema()),
    ]
}

/// The JSON schema of `svhcheck.toml`.
fn config_schema() -> String {
    let schema = svhcheck::config::schema();
    serde_json::to_string_pretty(&schema).unwrap() + "\n"
}

/// The help of the program and of each of its commands.
fn cli_doc() -> String {
    let help = |args: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_svhcheck"))
            .args(args)
            .arg("--help")
            .env("COLUMNS", "100")
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let main = help(&[]);
    let commands = main.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands = commands.take_while(|line| !line.is_empty());
    let names = commands
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help");
    let mut text =
        format!("# Command line\n\nGenerated from the program itself.\n\n```text\n{main}```\n");
    for name in names {
        let help = help(&[name]);
        write!(text, "\n## svhcheck {name}\n\n```text\n{help}```\n").unwrap();
    }
    text
}

/// Every lint's page, with its data as a table.
fn lints_doc() -> String {
    let mut text = "# Lints\n\nGenerated from `lints/`.\n\n| lint | level | group | finds |\n|---|---|---|---|\n".to_owned();
    let pages = svhcheck::lint::registry();
    for page in &pages {
        let (id, level, group, finds) = (&page.id, page.level, &page.group, &page.message);
        writeln!(text, "| [{id}](#{id}) | {level} | {group} | {finds} |").unwrap();
    }
    for page in &pages {
        // Each page's own headings go one level down.
        let prose = page
            .text
            .replace("\n## ", "\n### ")
            .replacen("# ", "## ", 1);
        writeln!(text, "\n{prose}").unwrap();
    }
    text
}

#[test]
fn generated_docs_are_fresh() {
    let mut stale = Vec::new();
    for (name, text) in generated() {
        let path = root().join(name);
        if fs::read_to_string(&path).unwrap_or_default() == text {
            continue;
        }
        if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
            fs::write(&path, text).unwrap();
        } else {
            stale.push(name);
        }
    }
    assert!(
        stale.is_empty(),
        "stale: {stale:?}; run `UPDATE=1 cargo test --test tidy`"
    );
}
