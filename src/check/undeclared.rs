//! How to try whether something matters that code asked for and nobody declared: the same for macros
//! in compiles and for build scripts.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::attribute::{Fault, Undeclared};
use crate::plan::variation::{self, Change, Variation};
use crate::project::Action;
use crate::replay::sight::{Sighting, What};

/// Most files, and most variables, of one crate that are tried one by one. Each has its own number: a
/// script that looks for a compiler reads dozens of variables before it reads the file that matters.
const MAX_TRIED: usize = 16;

/// Places whose files belong to the system, when a program that the code started reads them.
const TOOLS: &[&str] = &["/bin", "/etc", "/opt", "/sbin", "/usr", "/nix/store"];

/// Places that hold no files of anybody.
pub(super) const PSEUDO: &[&str] = &["/dev", "/proc", "/run", "/sys"];

pub(super) fn lies_in(path: &Path, places: &[&str]) -> bool {
    places.iter().any(|place| path.starts_with(place))
}

/// Whether a file or folder that code asked for is of the system, or one of the user's own settings
/// of a program that the code started: that is the tool's, as the tool itself is.
pub(super) fn is_of_system(
    action: &Action,
    workspace: &Path,
    seen: &Sighting,
    path: &Path,
) -> bool {
    let home = action.env.get(OsStr::new("HOME"));
    let in_home = home.is_some_and(|home| path.starts_with(home));
    let of_tool = lies_in(path, TOOLS) || (in_home && !path.starts_with(workspace));
    (seen.program.is_some() && of_tool) || lies_in(path, PSEUDO)
}

/// What code of `action` was seen to ask for, with the ways to try whether it matters; each thing
/// once, with all the code that asked.
pub(super) fn tries<'a>(
    action: &Action,
    seen: impl Iterator<Item = &'a Sighting>,
) -> Vec<(Fault, Undeclared)> {
    let declared = action.declared_files();
    let mut found: Vec<(Fault, Undeclared)> = Vec::new();
    for own in seen {
        let Some((fault, undeclared)) = of(action, &declared, &own.what) else {
            continue;
        };
        let known = found.iter().position(|(known, _)| *known == fault);
        if known.is_none() && !has_room(&found, &fault) {
            continue;
        }
        let at = known.unwrap_or_else(|| {
            found.push((fault, undeclared));
            found.len() - 1
        });
        let modules = &mut found[at].1.modules;
        if !modules.contains(&own.module) {
            modules.push(own.module.clone());
        }
    }
    found
}

/// Whether one more of its kind is tried.
fn has_room(found: &[(Fault, Undeclared)], fault: &Fault) -> bool {
    let is_variable = |own: &Fault| matches!(own, Fault::Unset(_));
    let of_kind = |(own, _): &&(Fault, Undeclared)| is_variable(own) == is_variable(fault);
    found.iter().filter(of_kind).count() < MAX_TRIED
}

fn of(action: &Action, declared: &BTreeSet<PathBuf>, what: &What) -> Option<(Fault, Undeclared)> {
    let (fault, tries, failing_counts) = match what {
        What::Read(path) if holds_own(action, path) => return None,
        What::Read(path) => {
            let hidden = Change::Hide(path.clone());
            let garbled = Change::Garble(path.clone());
            let tries = vec![
                (hidden, "with that file hidden".to_owned()),
                (garbled, "with other content in that file".to_owned()),
            ];
            (Fault::File(path.clone()), tries, true)
        }
        What::List(folder) => {
            let entry = entry_to_hide(action, folder, declared)?;
            let name = entry.file_name()?.to_string_lossy().into_owned();
            let counts = !declared.iter().any(|own| own.starts_with(&entry));
            let words = format!("with its entry `{name}` hidden");
            (
                Fault::File(folder.clone()),
                vec![(Change::Hide(entry), words)],
                counts,
            )
        }
        What::Variable(name, false) if variation::is_free(action, name) => {
            let set = |value: &str| {
                let pair = (name.clone(), Some(value.into()));
                let words = format!("with `{value}` as its value");
                (Change::Env(Variation::Env, vec![pair]), words)
            };
            // A number is taken by most code that expects something of a form.
            let tries = vec![set("1"), set("svhcheck")];
            (Fault::Unset(name.clone()), tries, false)
        }
        _ => return None,
    };
    let undeclared = Undeclared {
        tries,
        failing_counts,
        modules: Vec::new(),
    };
    Some((fault, undeclared))
}

/// Whether something of the build itself is there or below: without it, nothing runs at all.
fn holds_own(action: &Action, path: &Path) -> bool {
    let externs = action.args.externs().into_iter();
    let externs = externs.map(|(_, own)| action.cwd.join(own));
    let own = action.outputs.iter().chain(&action.out_dir).cloned();
    let mut own = own.chain(externs).chain([action.program.clone()]);
    own.any(|own| own.starts_with(path))
}

/// An entry of a listed folder, a file if there is one, that can be hidden without taking a source
/// or the build itself away.
fn entry_to_hide(action: &Action, folder: &Path, declared: &BTreeSet<PathBuf>) -> Option<PathBuf> {
    let mut entries: Vec<PathBuf> = fs_err::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    entries.sort();
    let manifests = ["Cargo.toml", "Cargo.lock", "build.rs"].map(OsStr::new);
    let is_source = |path: &Path| {
        let rust = |own: &&PathBuf| own.extension().is_some_and(|own| own == "rs");
        declared
            .iter()
            .filter(rust)
            .any(|own| own.starts_with(path))
    };
    entries.retain(|path| {
        let manifest = path.file_name().is_some_and(|own| manifests.contains(&own));
        !manifest && !is_source(path) && !holds_own(action, path)
    });
    let file = entries.iter().position(|path| path.is_file());
    let folder = || entries.iter().position(|path| path.is_dir());
    file.or_else(folder).map(|at| entries.swap_remove(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_variables_leave_room_for_a_file() {
        let undeclared = Undeclared {
            tries: Vec::new(),
            failing_counts: false,
            modules: Vec::new(),
        };
        let variable = |nth: usize| Fault::Unset(format!("V{nth}").into());
        let found: Vec<_> = (0..MAX_TRIED)
            .map(|nth| (variable(nth), undeclared.clone()))
            .collect();
        assert!(!has_room(&found, &variable(MAX_TRIED)));
        assert!(has_room(&found, &Fault::File(PathBuf::from("f"))));
    }
}
