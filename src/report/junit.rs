//! `JUnit` XML: a test case for each crate under each strategy.
//!
//! A guilty crate is a failure, one without a verdict an error, an infected one is skipped with its
//! reason: it will pass once the guilty one does. Findings that fail the check although every
//! strategy was equal (a build script that writes into the sources) are cases of a suite of their
//! own.

use quick_junit::{NonSuccessKind, Report as Junit, TestCase, TestCaseStatus, TestSuite};

use super::words::{self, shown};
use super::{CrateVerdict, Report, StrategyVerdict, Verdict};
use crate::lint::{Finding, Level};

/// The report as XML, without times: nothing of when it was made.
pub fn render(report: &Report) -> String {
    let mut junit = Junit::new("svhcheck");
    for strategy in &report.strategies {
        let mut suite = TestSuite::new(shown(strategy));
        for krate in &report.crates {
            if let Some(own) = krate.strategies.get(strategy) {
                let mut case = TestCase::new(shown(&krate.id), status(report, krate, own));
                case.set_classname(format!("svhcheck.{}", shown(strategy)));
                suite.add_test_case(case);
            }
        }
        junit.add_test_suite(suite);
    }
    let others = others(report);
    if !others.test_cases.is_empty() {
        junit.add_test_suite(others);
    }
    junit
        .to_string()
        .expect("XML is written to memory as UTF-8")
}

fn status(report: &Report, krate: &CrateVerdict, own: &StrategyVerdict) -> TestCaseStatus {
    let findings: Vec<&Finding> = words::findings(report)
        .into_iter()
        .filter(|finding| finding.krate == krate.id)
        .collect();
    match own.verdict {
        Verdict::Safe => TestCaseStatus::success(),
        Verdict::Infected => {
            let mut status = TestCaseStatus::skipped();
            let by: Vec<String> = krate.infected_by.iter().map(|own| shown(own)).collect();
            status.set_message(format!("infected by {}", by.join(", ")));
            status
        }
        Verdict::Inconclusive => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            let why = report.not_checked.iter().filter(|own| own.what == krate.id);
            let why: Vec<String> = why.map(|own| shown(&own.why)).collect();
            status.set_message("no verdict").set_type("inconclusive");
            status.set_description(why.join("\n"));
            status
        }
        Verdict::FlagMismatch | Verdict::Nondeterministic => {
            let mut lines: Vec<String> = findings.iter().map(|own| text(own)).collect();
            let [metadata, full] = own
                .svh
                .map(|svh| svh.map_or_else(|| "none".to_owned(), |svh| svh.to_string()));
            lines.push(format!("SVH: metadata side {metadata}, full side {full}"));
            let message = findings.first().map(|own| shown(&own.message));
            let message = message.unwrap_or_else(|| own.verdict.as_str().to_owned());
            failure(&message, own.verdict.as_str(), &lines)
        }
    }
}

/// What fails the check and no strategy's case.
fn others(report: &Report) -> TestSuite {
    let mut suite = TestSuite::new("findings");
    for finding in &report.findings {
        let mut crates = report.crates.iter();
        let krate = crates.find(|own| own.id == finding.krate);
        let told =
            krate.is_some_and(|own| own.strategies.values().any(|own| own.verdict.is_guilty()));
        if finding.level == Level::Deny && !told {
            let message = shown(&finding.message);
            let status = failure(&message, &finding.lint, &[text(finding)]);
            let mut case = TestCase::new(shown(&finding.krate), status);
            case.set_classname(format!("svhcheck.{}", shown(&finding.lint)));
            suite.add_test_case(case);
        }
    }
    suite
}

fn failure(message: &str, kind: &str, lines: &[String]) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    status.set_message(message).set_type(shown(kind));
    status.set_description(lines.join("\n\n"));
    status
}

fn text(finding: &Finding) -> String {
    let title = format!("{}: {}", shown(&finding.lint), shown(&finding.message));
    words::lines(title, finding)
}
