//! Whose `env!("CARGO_MANIFEST_DIR")` it is: the crate's own, or that of a `macro_rules!` macro which
//! another crate exports.

use std::path::PathBuf;

use super::expand::sources;
use crate::artifact::metadata::CrateDep;
use crate::project::{Action, Build, is_place};

/// The library of the one loaded crate whose source spells out a variable that `action` reads for
/// its place and does not spell out itself. Only a text search: with none or several, nobody is
/// named.
pub(super) fn exporter(action: &Action, build: &Build, loaded: &[CrateDep]) -> Option<PathBuf> {
    let names: Vec<String> = action
        .dep_env
        .iter()
        .filter(|name| is_place(name))
        .map(|name| format!("env!(\"{}\"", name.to_string_lossy()))
        .collect();
    if spells_out(action, &names) {
        return None;
    }
    let exporters: Vec<&Action> = build
        .actions
        .iter()
        .filter(|own| {
            loaded
                .iter()
                .any(|dep| dep.extra_filename == own.args.extra_filename())
        })
        .filter(|own| spells_out(own, &names))
        .collect();
    match exporters.as_slice() {
        [only] => only.outputs.first().cloned(),
        _ => None,
    }
}

fn spells_out(action: &Action, names: &[String]) -> bool {
    sources(action).any(|(_, text)| names.iter().any(|name| text.contains(name.as_str())))
}
