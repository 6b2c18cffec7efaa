//! The report of one crate that was checked by an action of the user's own build, and how the reports
//! of all become one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Report;

/// What such an action writes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ActionReport {
    /// What the build made of the crate, its metadata included, relative to the execution root.
    pub made: Vec<PathBuf>,
    /// What the crate was given, likewise.
    pub given: Vec<PathBuf>,
    /// A report of the one crate.
    pub report: Report,
}

/// Puts reports together; also says which crates each one was given. Infection is not spread.
pub fn merge(mut all: Vec<ActionReport>) -> Option<(Report, BTreeMap<String, BTreeSet<String>>)> {
    let id = |own: &ActionReport| own.report.crates.first().map(|own| own.id.clone());
    all.sort_by(|a, b| (id(a), &a.made).cmp(&(id(b), &b.made)));
    number_equal_ids(&mut all);
    let mut makers: BTreeMap<&PathBuf, String> = BTreeMap::new();
    for own in &all {
        let id = id(own).unwrap_or_default();
        makers.extend(own.made.iter().map(|path| (path, id.clone())));
    }
    let mut direct = BTreeMap::new();
    for own in &all {
        let own_id = id(own).unwrap_or_default();
        let makers = own.given.iter().filter_map(|path| makers.get(path));
        let loads: BTreeSet<String> = makers.filter(|own| **own != own_id).cloned().collect();
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
