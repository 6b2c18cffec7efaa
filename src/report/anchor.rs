//! Where a finding stands, for tools that point at files, and what it is recognised by from one
//! run to the next.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use super::Report;
use crate::bytes::Escaped;
use crate::digest::Digest;
use crate::lint::Finding;

/// A file of the workspace, and a line of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Anchor {
    /// Relative to the workspace, with slashes.
    pub(super) file: String,
    /// Counted from one.
    pub(super) line: Option<u32>,
}

/// The best place that is known for a finding: the macro's invocation, the guilty function, the
/// package's manifest, the workspace's. A place in another package than the workspace's own is
/// none, for nobody could open it.
pub(super) fn of(report: &Report, finding: &Finding) -> Anchor {
    let mut crates = report.crates.iter();
    let manifest = crates
        .find(|own| own.id == finding.krate)
        .and_then(|own| own.manifest.as_deref())
        .filter(|own| is_inside(own));
    let invocation = || {
        manifest?;
        parse(finding.expansion.as_ref()?.location.as_deref()?)
    };
    let whole = |file: &str| Anchor {
        file: file.to_owned(),
        line: None,
    };
    invocation()
        .or_else(|| culprit(report, finding))
        .unwrap_or_else(|| whole(manifest.unwrap_or("Cargo.toml")))
}

/// The guilty function, if it lies in the workspace.
pub(super) fn culprit(report: &Report, finding: &Finding) -> Option<Anchor> {
    let culprit = finding.culprit.as_ref()?;
    let package = culprit.package.as_deref()?;
    let is_of = |own: &super::CrateVerdict| {
        own.manifest.is_some() && format!("{} {}", own.package, own.version) == package
    };
    let member = report.crates.iter().any(is_of);
    parse(culprit.location.as_deref().filter(|_| member)?)
}

fn parse(location: &str) -> Option<Anchor> {
    let (file, line) = location.rsplit_once(':')?;
    let line = line.parse().ok().filter(|line| *line > 0)?;
    is_inside(file).then(|| Anchor {
        file: file.to_owned(),
        line: Some(line),
    })
}

/// Whether a path stays where it starts, and can be shown as it is.
fn is_inside(path: &str) -> bool {
    let plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    let shown = Escaped(path.as_bytes()).to_string();
    !path.is_empty() && shown == path && Path::new(path).components().all(plain)
}

/// One fingerprint for each finding, as hexadecimal text; no two are equal. It rests on what is
/// wrong, where and by whom, and on no line number, version or SVH, so that it stays when code
/// moves and dependencies are updated.
pub(super) fn fingerprints(findings: &[&Finding]) -> Vec<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let print = |finding: &&Finding| {
        let culprit = finding.culprit.as_ref();
        let package = culprit.and_then(|own| own.package.as_deref());
        let mut parts = vec![
            "svhcheck/1",
            &finding.lint,
            unversioned(&finding.krate, '@'),
            finding.factor.as_deref().unwrap_or_default(),
            unversioned(package.unwrap_or_default(), ' '),
        ];
        parts.extend(finding.names.iter().map(String::as_str));
        let print = Digest::of(parts.join("\0").as_bytes()).to_string();
        let times = seen.entry(print.clone()).or_default();
        *times += 1;
        match times {
            1 => print,
            again => format!("{print}-{again}"),
        }
    };
    findings.iter().map(print).collect()
}

/// A crate's or package's name without its version.
fn unversioned(id: &str, separator: char) -> &str {
    if id.starts_with("//") {
        return id;
    }
    id.rsplit_once(separator).map_or(id, |(name, _)| name)
}
