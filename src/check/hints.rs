//! Reads the source of whoever is to blame, for the places that explain what the runs have shown.

use std::path::{Path, PathBuf};

use super::excerpt::{self, MAX_SOURCE};
use crate::attribute::hints::{self, Hint};
use crate::lint::{self, CulpritKind, Finding, Grade};
use crate::project::Build;

/// Most places that are named.
const MAX: usize = 3;

/// Adds to a confirmed finding the lines of the culprit's own source that could be it. If it is one
/// alone, in the function that was seen, it is shown where debug information shows none.
pub(super) fn look(build: &Build, finding: &mut Finding) {
    let culprit = finding.culprit.as_ref();
    let (Some(culprit), Some(factor), Grade::Confirmed) =
        (culprit, finding.factor.as_deref(), finding.grade)
    else {
        return;
    };
    let is_code = matches!(
        culprit.kind,
        CulpritKind::ProcMacro | CulpritKind::BuildScript
    );
    let mut actions = build.actions.iter().map(|own| &own.package);
    let package = culprit.package.as_deref().filter(|_| is_code);
    let Some(package) = package
        .and_then(|name| actions.find(|own| format!("{} {}", own.name, own.version) == name))
    else {
        return;
    };
    let own_script = package_of(&finding.krate, build) == Some(package.root.as_path());
    let folder = if culprit.kind == CulpritKind::BuildScript && own_script {
        package.root.join("build.rs")
    } else {
        package.root.join("src")
    };
    // `a::b::{{closure}}` is in `b`.
    let function = culprit
        .function
        .as_deref()
        .and_then(|own| own.rsplit("::").find(|part| !part.starts_with('{')));
    let mut found: Vec<(bool, PathBuf, Hint)> = Vec::new();
    for entry in walkdir::WalkDir::new(folder).sort_by_file_name() {
        let Ok(entry) = entry else { continue };
        let source = entry.path().extension().is_some_and(|own| own == "rs");
        let short = entry.metadata().is_ok_and(|own| own.len() <= MAX_SOURCE);
        if !source || !short || !entry.file_type().is_file() {
            continue;
        }
        let Ok(text) = fs_err::read_to_string(entry.path()) else {
            continue;
        };
        for hint in hints::scan(&text, factor) {
            let elsewhere = hint.function.as_deref() != function;
            found.push((elsewhere, entry.path().to_owned(), hint));
        }
    }
    // What stands in the function that was seen comes first, and if something does, it alone.
    found.sort_by_key(|own| own.0);
    if found.first().is_some_and(|own| !own.0) {
        found.retain(|own| !own.0);
    }
    if let [(false, path, hint)] = found.as_slice()
        && let Some(culprit) = finding.culprit.as_mut().filter(|own| own.source.is_none())
    {
        let label = format!("{} here", hint.words);
        culprit.source = excerpt::line(build, path, hint.line, label);
    }
    let places = found.iter().take(MAX).map(|(_, path, hint)| lint::Hint {
        location: format!("{}:{}", excerpt::named(build, path), hint.line),
        what: hint.words.clone(),
        file: fs_err::canonicalize(path).ok(),
    });
    finding.hints = places.collect();
}

fn package_of<'a>(id: &str, build: &'a Build) -> Option<&'a Path> {
    let mut actions = build.actions.iter();
    let action = actions.find(|own| own.id == id)?;
    Some(&action.package.root)
}
