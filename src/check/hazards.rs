//! What macros were seen to do, a finding for each: whether or not it matters to the SVH.
//!
//! `svh-unstable` and its like say what moves a crate. These say what could, and how far it was
//! tried; their pages are at `allow`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::verdict::{self, Writer};
use crate::attribute::{Cause, Fault};
use crate::lint::{Finding, Grade};
use crate::plan::variation::Variation;
use crate::replay::sight::{Sighting, What};

/// A kind of access: its lint, and the variation that tries it.
struct Hazard {
    lint: &'static str,
    tries: Option<Variation>,
    help: &'static str,
}

const RANDOM: Hazard = Hazard {
    lint: "macro-reads-randomness",
    tries: Some(Variation::Randomness),
    help: "use BTreeMap or a hasher without a seed in macros",
};
const TIME: Hazard = Hazard {
    lint: "macro-reads-time",
    tries: Some(Variation::Time),
    help: "leave the clock alone in macros",
};
const LIST: Hazard = Hazard {
    lint: "macro-lists-directory",
    tries: Some(Variation::DirOrder),
    help: "sort what is listed, and declare the folder",
};
const WRITE: Hazard = Hazard {
    lint: "macro-writes-file",
    tries: None,
    help: "return tokens, or move the work into a build script, which has OUT_DIR",
};
const SPAWN: Hazard = Hazard {
    lint: "macro-spawns-process",
    tries: None,
    help: "do the work in the macro, or in a build script that declares what it needs",
};
const NETWORK: Hazard = Hazard {
    lint: "macro-uses-network",
    tries: Some(Variation::Network),
    help: "keep what it fetches in the package",
};

/// Variations whose accesses have a lint of their own.
pub(super) fn has_lint(variation: Variation) -> bool {
    [RANDOM, TIME, LIST, NETWORK]
        .iter()
        .any(|own| own.tries == Some(variation))
}

/// Findings about the accesses themselves; `causes` are what is known to move the SVH.
pub(super) fn findings(writer: &Writer<'_>, causes: &[&Cause]) -> Vec<Finding> {
    let mut groups: BTreeMap<(&str, PathBuf), (Hazard, Vec<&Sighting>)> = BTreeMap::new();
    for seen in &writer.evidence.sightings {
        let Some(hazard) = hazard(seen) else {
            continue;
        };
        let key = (hazard.lint, seen.module.clone());
        let group = groups.entry(key).or_insert_with(|| (hazard, Vec::new()));
        group.1.push(seen);
    }
    let groups = groups.into_values();
    groups
        .map(|(hazard, seen)| finding(writer, causes, &hazard, &seen))
        .collect()
}

fn hazard(seen: &Sighting) -> Option<Hazard> {
    Some(match &seen.what {
        What::Random => RANDOM,
        What::Clock => TIME,
        What::List(_) => LIST,
        What::Write(path) if !lies_in_system(path) => WRITE,
        What::Exec(_) => SPAWN,
        What::Network => NETWORK,
        _ => return None,
    })
}

fn lies_in_system(path: &Path) -> bool {
    ["/dev", "/proc", "/sys"]
        .iter()
        .any(|own| path.starts_with(own))
}

fn finding(writer: &Writer<'_>, causes: &[&Cause], hazard: &Hazard, seen: &[&Sighting]) -> Finding {
    let names: BTreeSet<String> = seen.iter().filter_map(|own| name(writer, own)).collect();
    let about = seen.iter().find(|own| own.function.is_some());
    let culprit = writer.culprit_at(about.unwrap_or(&seen[0]));
    let who = culprit.package.clone().unwrap_or_default();
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let what = match hazard.lint {
        "macro-reads-randomness" => "asks for random bytes".to_owned(),
        "macro-reads-time" => "reads the clock".to_owned(),
        "macro-uses-network" => "uses the network".to_owned(),
        "macro-lists-directory" => format!("lists {}", quoted.join(", ")),
        "macro-writes-file" => format!("writes files in {}", quoted.join(", ")),
        _ => format!("runs {}", quoted.join(", ")),
    };
    let (grade, evidence) = grade(writer, causes, hazard, seen);
    Finding {
        culprit: Some(culprit),
        factor: hazard.tries.map(|own| own.name().to_owned()),
        names: names.into_iter().collect(),
        message: format!("the macro `{who}` {what}"),
        evidence: vec![evidence],
        help: hazard.help.to_owned(),
        ..Finding::new(hazard.lint, grade, &writer.action.id)
    }
}

/// What a sighting is about, without names that are others in every run or on every machine.
fn name(writer: &Writer<'_>, seen: &Sighting) -> Option<String> {
    match &seen.what {
        What::List(path) => Some(shown(writer, path)),
        // A file's own name may be made up.
        What::Write(path) => Some(written(writer, path.parent()?)),
        What::Exec(argv) => {
            let name = Path::new(argv.first()?).file_name()?;
            Some(name.to_string_lossy().into_owned())
        }
        _ => None,
    }
}

fn written(writer: &Writer<'_>, folder: &Path) -> String {
    let scratch = writer.build.scratch.path();
    let temp = writer.action.env.get(OsStr::new("TMPDIR"));
    let temp = temp.map_or(Path::new("/tmp"), Path::new);
    let inside = folder.starts_with(&writer.build.root);
    if folder.starts_with(scratch) || (folder.starts_with(temp) && !inside) {
        return "the temporary folder".to_owned();
    }
    shown(writer, folder)
}

fn shown(writer: &Writer<'_>, path: &Path) -> String {
    let roots = [&writer.action.package.root, &writer.build.root];
    let inside = roots.iter().find_map(|root| path.strip_prefix(root).ok());
    let outside = || "a folder outside of the workspace".to_owned();
    inside.map_or_else(outside, verdict::shown)
}

/// How far it was tried whether it matters.
fn grade(
    writer: &Writer<'_>,
    causes: &[&Cause],
    hazard: &Hazard,
    seen: &[&Sighting],
) -> (Grade, String) {
    let by_this = |cause: &&&Cause| {
        let asked = match &cause.fault {
            Fault::World(variation, _) => Some(*variation) == hazard.tries,
            Fault::File(path) => seen
                .iter()
                .any(|own| matches!(&own.what, What::List(own) if own == path)),
            _ => false,
        };
        let theirs = seen.iter().any(|own| cause.modules.contains(&own.module));
        asked && (cause.modules.is_empty() || theirs)
    };
    if causes.iter().any(|cause| by_this(&cause)) {
        let said = "the crate's SVH moves with it, as another finding says";
        return (Grade::Confirmed, said.to_owned());
    }
    let harmless = &writer.evidence.harmless;
    let tried = hazard.tries.and_then(|own| harmless.get(&own)).copied();
    if let Some(tried) = tried.filter(|own| *own > 0) {
        let settings = if tried == 1 { "setting" } else { "settings" };
        let said = format!("{tried} other {settings} changed nothing");
        return (Grade::Harmless, said);
    }
    let said = "seen while the crate was compiled; whether it matters was not tried";
    (Grade::Hazard, said.to_owned())
}
