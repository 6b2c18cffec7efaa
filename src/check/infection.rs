//! Who is infected: a crate that is stable by itself but loads one that is not.
//!
//! rustc writes the SVHs of all loaded crates, direct or not, into a crate's metadata; a dependency's
//! SVH always enters the SVH of the crates that load it (`docs/strategies.md`). A proc macro's
//! metadata lists nothing, so what it was given (`--extern`) counts for it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::lint::{Culprit, CulpritKind, Finding, Grade};
use crate::project::{Action, Build, TargetKind};
use crate::report::{CrateVerdict, Verdict};

use super::judge::Judged;

/// Marks infected crates, strategy by strategy, and adds their findings.
pub(super) fn spread(build: &Build, mut judged: Vec<Judged>) -> Vec<Said> {
    judged.sort_by(|a, b| a.verdict.id.cmp(&b.verdict.id));
    let direct = judged.iter().filter_map(|own| {
        let actions = &build.actions;
        let action = actions.iter().find(|action| action.id == own.verdict.id)?;
        Some((own.verdict.id.clone(), direct(build, action, own)))
    });
    let direct: BTreeMap<String, BTreeSet<String>> = direct.collect();
    let loads = close(&direct);
    let said = judged.into_iter().map(|mut own| {
        own.verdict.loads = given(build, &own.verdict.id, &loads);
        (own.verdict, own.findings)
    });
    infect(&direct, said.collect())
}

/// What is said of a crate.
pub(super) type Said = (CrateVerdict, Vec<Finding>);

/// The same, where it is known which crates each one loads directly.
pub(super) fn infect(
    direct: &BTreeMap<String, BTreeSet<String>>,
    mut said: Vec<Said>,
) -> Vec<Said> {
    let loads = close(direct);
    let verdicts: BTreeMap<String, BTreeMap<String, Verdict>> = said
        .iter()
        .map(|(verdict, _)| {
            let strategies = verdict.strategies.iter();
            (
                verdict.id.clone(),
                strategies
                    .map(|(name, own)| (name.clone(), own.verdict))
                    .collect(),
            )
        })
        .collect();
    for (verdict, findings) in &mut said {
        let mut by = BTreeSet::new();
        for (name, strategy) in &mut verdict.strategies {
            let guilty = |id: &&String| {
                verdicts
                    .get(*id)
                    .and_then(|own| own.get(name))
                    .is_some_and(|own| own.is_guilty())
            };
            let sources: Vec<&String> = loads
                .get(&verdict.id)
                .into_iter()
                .flatten()
                .filter(guilty)
                .collect();
            if !sources.is_empty() && strategy.verdict == Verdict::Safe {
                strategy.verdict = Verdict::Infected;
            }
            by.extend(sources.into_iter().cloned());
        }
        verdict.infected_by = by.into_iter().collect();
        let worst = verdict.strategies.values().map(|own| own.verdict).max();
        verdict.verdict = worst.map_or(verdict.verdict, |worst| worst.max(verdict.verdict));
        if verdict.verdict == Verdict::Infected {
            findings.push(finding(&verdict.id, &verdict.infected_by));
        }
    }
    said
}

/// For each crate, every crate that it loads, directly or through others.
fn close(direct: &BTreeMap<String, BTreeSet<String>>) -> BTreeMap<String, BTreeSet<String>> {
    direct
        .keys()
        .map(|id| {
            let mut found: BTreeSet<String> = BTreeSet::new();
            let mut open = vec![id];
            while let Some(next) = open.pop() {
                for dep in direct.get(next).into_iter().flatten() {
                    if found.insert(dep.clone()) {
                        open.push(dep);
                    }
                }
            }
            (id.clone(), found)
        })
        .collect()
}

/// The judged crates that a crate loads and was given by name.
fn given(build: &Build, id: &str, loads: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let Some(action) = build.actions.iter().find(|action| action.id == id) else {
        return Vec::new();
    };
    let externs = action.args.externs();
    let is_given = |other: &&Action| {
        let outputs = || other.outputs.iter();
        let stem = |path: &Path| outputs().any(|output| output.file_stem() == path.file_stem());
        externs.iter().any(|(_, path)| stem(path))
    };
    let judged = |id: &&String| loads.contains_key(*id);
    let loaded = loads.get(id).into_iter().flatten().filter(judged);
    let loaded: BTreeSet<&str> = loaded.map(String::as_str).collect();
    let others = build
        .actions
        .iter()
        .filter(|own| loaded.contains(own.id.as_str()));
    let mut found: Vec<String> = others.filter(is_given).map(|own| own.id.clone()).collect();
    found.sort();
    found
}

fn direct(build: &Build, action: &Action, judged: &Judged) -> BTreeSet<String> {
    let externs = action.args.externs();
    build
        .actions
        .iter()
        .filter(|other| other.id != action.id)
        .filter(|other| {
            let name = other.args.crate_name();
            let extra = other.args.extra_filename();
            let in_table = judged.root.deps.iter().any(|dep| {
                dep.extra_filename == extra && dep.name.known().is_none_or(|own| Some(own) == name)
            });
            let given = externs.iter().any(|(_, path)| {
                other
                    .outputs
                    .iter()
                    .any(|output| output.file_stem() == path.file_stem())
            });
            in_table || (action.kind == TargetKind::ProcMacro && given)
        })
        .map(|other| other.id.clone())
        .collect()
}

fn finding(id: &str, by: &[String]) -> Finding {
    let guilty = by
        .iter()
        .map(|own| format!("`{own}`"))
        .collect::<Vec<_>>()
        .join(", ");
    Finding {
        culprit: Some(Culprit {
            package: by.first().cloned(),
            kind: CulpritKind::Source,
            function: None,
            location: None,
            source: None,
        }),
        names: by.to_vec(),
        message: format!("stable by itself, but it loads {guilty}, whose SVH moves"),
        evidence: vec![
            "every compile of it against the recorded dependencies gave one SVH".to_owned(),
            format!(
                "its metadata records the SVH of {guilty}; it was not compiled against another"
            ),
        ],
        help: format!("nothing is wrong here: fix {guilty}"),
        ..Finding::new("svh-infected", Grade::Hazard, id)
    }
}
