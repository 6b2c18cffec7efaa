//! Verdicts from actions of the user's own build: svhcheck's aspect sets one beside every compile
//! (`src/bazel/svhcheck.bzl`), each checks its crate as [`super::check`] would, and here their reports
//! become one.

use std::path::Path;

use fs_err as fs;

use super::infection;
use super::{CheckError, Events, Settings, unrecorded};
use crate::interrupt::Interrupt;
use crate::project::bazel::aspect::{self, Orders};
use crate::project::bazel::{self, WITHOUT_METADATA, cloned::Cloned};
use crate::project::{RecordingError, TargetKind};
use crate::report::action::{ActionReport, merge};
use crate::report::{NotChecked, Report, Summary, json};

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
        None => super::check_build(&build, settings, interrupt, &Silent)?,
    };
    Ok(ActionReport {
        made: own.made.clone(),
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
        summary: Summary::default(),
    };
    report.finish();
    report
}

/// Builds with the aspect and puts its reports together.
pub fn check(
    request: &bazel::Request,
    orders: &Orders,
    interrupt: &Interrupt,
) -> Result<Report, CheckError> {
    let recorded = aspect::record(request, orders, interrupt);
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
    report.finish();
    Ok(report)
}
