//! Verdicts from actions of the user's own build: svhcheck's aspect sets one beside every compile
//! (`src/bazel/svhcheck.bzl`), each checks its crate as [`super::check`] would, and here their reports
//! become one.

use std::path::Path;

use fs_err as fs;

use super::infection;
use super::{CheckError, Events, Settings, unless_broken, unrecorded};
use crate::interrupt::Interrupt;
use crate::lint::{self, Finding};
use crate::project::bazel::aspect::{self, Orders};
use crate::project::bazel::{self, WITHOUT_METADATA, cloned::Cloned};
use crate::project::{RecordingError, TargetKind};
use crate::report::action::{ActionReport, merge};
use crate::report::{Enforced, NotChecked, Report, Summary, json};

/// Nobody follows a single action.
struct Silent;

impl Events for Silent {}

/// What an action of the aspect does: checks one compile of the build. What is written goes below
/// `scratch`.
pub fn check_action(
    own: &Cloned,
    settings: &Settings,
    scratch: &Path,
    interrupt: &Interrupt,
) -> Result<ActionReport, CheckError> {
    let build = own.build(scratch).map_err(RecordingError::from)?;
    let given = Cloned::given(&build);
    let program = build
        .wanted()
        .find(|own| own.kind == TargetKind::NoMetadata);
    let report = match program {
        Some(program) => without_metadata(&program.id, settings),
        None => super::check_build(build, None, settings, interrupt, &Silent)?,
    };
    Ok(ActionReport {
        made: [own.made.clone(), own.metadata.clone()].concat(),
        given,
        report,
    })
}

/// The report of a shared library that is none of Rust's, which a file's name does not tell.
fn without_metadata(id: &str, settings: &Settings) -> Report {
    let mut report = Report {
        version: json::VERSION,
        rustc: String::new(),
        strategies: settings
            .strategies
            .iter()
            .map(|own| own.name().to_owned())
            .collect(),
        variations: settings
            .vary
            .iter()
            .map(|own| own.name().to_owned())
            .collect(),
        crates: Vec::new(),
        findings: Vec::new(),
        not_checked: vec![NotChecked {
            what: id.to_owned(),
            why: WITHOUT_METADATA.to_owned(),
        }],
        sandbox: Enforced {
            mechanism: "none".to_owned(),
            why: None,
        },
        summary: Summary::default(),
        command: None,
        since: None,
    };
    report.finish();
    report
}

/// Builds with the aspect and puts its reports together.
pub fn check(
    request: &bazel::Request,
    settings: &Settings,
    interrupt: &Interrupt,
) -> Result<Report, CheckError> {
    let strategies: Vec<&str> = settings.strategies.iter().map(|own| own.name()).collect();
    let vary: Vec<&str> = settings.vary.iter().map(|own| own.name()).collect();
    let orders = Orders {
        strategies: strategies.join(","),
        vary: if vary.is_empty() {
            "none".to_owned()
        } else {
            vary.join(",")
        },
    };
    let recorded = aspect::record(request, &orders, interrupt);
    let recorded = recorded.map_err(|error| unrecorded(error, interrupt))?;
    let mut all: Vec<ActionReport> = Vec::new();
    for path in &recorded.files {
        let report = serde_json::from_slice(&fs::read(path)?);
        all.push(report.map_err(|source| CheckError::ActionReport {
            path: path.clone(),
            source,
        })?);
    }
    let (mut report, direct) = merge(all).ok_or(CheckError::Nothing)?;
    let findings = std::mem::take(&mut report.findings);
    let crates = std::mem::take(&mut report.crates).into_iter();
    let said = crates.map(|own| {
        let findings = findings.iter().filter(|finding| finding.krate == own.id);
        let findings = findings.cloned().collect();
        (own, findings)
    });
    let wanted = |id: &str| {
        let label = id.split([' ', '#']).next().unwrap_or(id);
        if label.starts_with("//") {
            recorded.targets.contains(label)
        } else {
            request.deps
        }
    };
    for (verdict, findings) in infection::infect(&direct, said.collect()) {
        if wanted(&verdict.id) {
            report.crates.push(verdict);
            report.findings.extend(findings);
        }
    }
    if report.crates.is_empty() {
        return Err(CheckError::Nothing);
    }
    let failed = recorded.failed.into_iter();
    report
        .not_checked
        .extend(failed.map(|(what, why)| NotChecked { what, why }));
    // Where the action made less of a finding than its page does, it had a reason. Who is infected was
    // found here, and nobody has set its level.
    let pages = lint::registry();
    let page = |finding: &Finding| pages.iter().find(|page| page.id == finding.lint);
    let whole = |finding: &&mut Finding| {
        finding.level_source.is_empty()
            || page(finding).is_none_or(|own| own.level == finding.level)
    };
    settings
        .levels
        .apply(report.findings.iter_mut().filter(whole));
    report.command = Some(settings.command.clone());
    report.finish();
    unless_broken(report, recorded.broken)
}
