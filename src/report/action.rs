//! The report of one crate that was checked by an action of the user's own build, and how the reports
//! of all become one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Report;

/// What such an action writes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ActionReport {
    /// What the build made of the crate, relative to the execution root.
    pub made: Vec<PathBuf>,
    /// What the crate was given, likewise.
    pub given: Vec<PathBuf>,
    /// A report of the one crate.
    pub report: Report,
}

/// Puts reports together; also says which crates each one was given. Infection is not spread.
///
/// An action knows proc macros by their files only: here their labels are put in.
pub fn merge(mut all: Vec<ActionReport>) -> Option<(Report, BTreeMap<String, BTreeSet<String>>)> {
    let id = |own: &ActionReport| own.report.crates.first().map(|own| own.id.clone());
    all.sort_by(|a, b| (id(a), &a.made).cmp(&(id(b), &b.made)));
    number_equal_ids(&mut all);
    // Metadata for dependents lies beside the library and has its name.
    let stem = |path: &PathBuf| path.with_extension("");
    let mut makers: BTreeMap<PathBuf, String> = BTreeMap::new();
    for own in &all {
        let id = id(own).unwrap_or_default();
        makers.extend(own.made.iter().map(|path| (stem(path), id.clone())));
    }
    let mut direct = BTreeMap::new();
    for own in &mut all {
        let own_id = id(own).unwrap_or_default();
        let mut loads = BTreeSet::new();
        for path in &own.given {
            if let Some(maker) = makers.get(&stem(path)).filter(|maker| **maker != own_id) {
                rename(&mut own.report, &path.display().to_string(), plain(maker));
                loads.insert(maker.clone());
            }
        }
        direct.insert(own_id, loads);
    }
    let mut all = all.into_iter();
    let mut whole = all.next()?.report;
    for own in all {
        // One that found no crate knows no compiler.
        if whole.rustc.is_empty() {
            whole.rustc.clone_from(&own.report.rustc);
        }
        whole.crates.extend(own.report.crates);
        whole.findings.extend(own.report.findings);
        whole.not_checked.extend(own.report.not_checked);
    }
    Some((whole, direct))
}

/// A label without what stands behind it.
fn plain(id: &str) -> &str {
    id.split([' ', '#']).next().unwrap_or(id)
}

fn rename(report: &mut Report, from: &str, to: &str) {
    for finding in &mut report.findings {
        let texts = [&mut finding.message, &mut finding.help].into_iter();
        for text in texts.chain(&mut finding.evidence) {
            *text = text.replace(from, to);
        }
        if let Some(culprit) = &mut finding.culprit
            && let Some(package) = &mut culprit.package
        {
            *package = package.replace(from, to);
        }
    }
}

/// A target may be built in several configurations.
fn number_equal_ids(all: &mut [ActionReport]) {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for own in all {
        let Some(id) = own.report.crates.first().map(|own| own.id.clone()) else {
            continue;
        };
        let count = counts.entry(id.clone()).or_default();
        *count += 1;
        if *count == 1 {
            continue;
        }
        let numbered = format!("{id}#{count}");
        let report = &mut own.report;
        report
            .crates
            .iter_mut()
            .for_each(|own| own.id.clone_from(&numbered));
        report
            .findings
            .iter_mut()
            .for_each(|own| own.krate.clone_from(&numbered));
        let open = report.not_checked.iter_mut().filter(|own| own.what == id);
        open.for_each(|own| own.what.clone_from(&numbered));
    }
}
