//! GitLab's code quality report: a JSON list as "Code Quality report format" in GitLab's
//! documentation has it.

use serde_json::{Value, json};

use super::Report;
use super::anchor;
use super::words::{self, shown};
use crate::lint::{Finding, Level};

/// The list of findings.
pub fn render(report: &Report) -> String {
    let findings = words::findings(report);
    let fingerprints = anchor::fingerprints(&findings);
    let entry = |(finding, print): (&&Finding, String)| -> Value {
        let place = anchor::of(report, finding);
        let mut said = format!("{}: {}", shown(&finding.krate), shown(&finding.message));
        if let Some(culprit) = words::culprit_of(finding) {
            said = format!("{said} ({culprit})");
        }
        json!({
            "check_name": shown(&finding.lint),
            "description": said,
            "fingerprint": print,
            "severity": match finding.level {
                Level::Deny => "major",
                Level::Warn => "minor",
                Level::Allow => "info",
            },
            // A line is required.
            "location": { "path": place.file, "lines": { "begin": place.line.unwrap_or(1) } },
        })
    };
    let entries: Vec<Value> = findings.iter().zip(fingerprints).map(entry).collect();
    let mut text = serde_json::to_string_pretty(&entries).expect("the keys are texts");
    text.push('\n');
    text
}
