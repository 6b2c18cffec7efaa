//! SARIF 2.1.0, for code scanning and editors.
//!
//! Facts are from the OASIS standard "Static Analysis Results Interchange Format (SARIF) Version
//! 2.1.0 Plus Errata 01"; numbers in comments are its sections.

use serde_json::{Value, json};

use super::anchor::{self, Anchor};
use super::words::{self, shown};
use super::{Report, Verdict};
use crate::lint::{self, Finding, Level, page::Page};

/// Stands for the workspace's folder, which whoever reads the file knows best (3.14.14).
const ROOT: &str = "%SRCROOT%";

/// The report as one SARIF log of one run.
pub fn render(report: &Report) -> String {
    let mut findings = words::findings(report);
    // 3.35: what is accepted stays in the log, so that its alert is closed and not lost.
    findings.extend(report.findings.iter().filter(|own| own.accepted.is_some()));
    let pages = lint::registry();
    let rules: Vec<Value> = pages.iter().map(rule).collect();
    let fingerprints = anchor::fingerprints(&findings);
    let results: Vec<Value> = findings
        .iter()
        .zip(fingerprints)
        .map(|(finding, print)| {
            let mut result = result(report, finding, &print);
            if let Some(at) = pages.iter().position(|page| page.id == finding.lint) {
                result["ruleIndex"] = json!(at);
            }
            result
        })
        .collect();
    let notes = report.not_checked.iter().map(|own| {
        let text = format!("not checked: {}: {}", shown(&own.what), shown(&own.why));
        json!({ "level": "note", "message": message(&text) })
    });
    let mut invocation = json!({
        "executionSuccessful": !report.summary.interrupted,
        "toolExecutionNotifications": notes.collect::<Vec<_>>(),
    });
    if let Some(command) = &report.command {
        invocation["commandLine"] = json!(shown(&command.line()));
    }
    let log = json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "svhcheck",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "shortDescription": { "text": env!("CARGO_PKG_DESCRIPTION") },
                "rules": rules,
            }},
            "automationDetails": { "id": "svhcheck/" },
            "columnKind": "unicodeCodePoints",
            "originalUriBaseIds": { ROOT: { "description": { "text": "the workspace" } } },
            "invocations": [invocation],
            "results": results,
            "properties": {
                "rustc": shown(&report.rustc),
                "strategies": all_shown(&report.strategies),
                "variations": all_shown(&report.variations),
                "verdicts": verdicts(report),
            },
        }],
    });
    let mut text = serde_json::to_string_pretty(&log).expect("the keys are texts");
    text.push('\n');
    text
}

fn verdicts(report: &Report) -> Value {
    let count = |own: Verdict| (own.as_str().to_owned(), json!(words::count(report, own)));
    Value::Object(Verdict::ALL.into_iter().map(count).collect())
}

/// A lint as a rule (3.49).
fn rule(page: &Page) -> Value {
    json!({
        "id": page.id,
        "shortDescription": { "text": page.message },
        "fullDescription": { "text": page.section("What it finds").unwrap_or(&page.message) },
        "help": { "text": page.text, "markdown": page.text },
        "defaultConfiguration": { "level": level(page.level) },
        "properties": { "tags": [page.group] },
    })
}

fn result(report: &Report, finding: &Finding, print: &str) -> Value {
    let place = anchor::of(report, finding);
    let mut location = json!({
        "physicalLocation": physical(&place),
        "logicalLocations": [{ "fullyQualifiedName": shown(&finding.krate), "kind": "module" }],
    });
    if let Some(invocation) = finding
        .expansion
        .as_ref()
        .and_then(|own| own.invocation.as_ref())
    {
        location["message"] = message(&shown(invocation));
    }
    let mut result = json!({
        "ruleId": shown(&finding.lint),
        "level": level(finding.level),
        "message": message(&text(finding)),
        "locations": [location],
        // 3.27.17: the version is part of the name, so that another way to count may come.
        "partialFingerprints": { "svhcheck/v1": print },
        "properties": {
            "crate": shown(&finding.krate),
            "grade": words::grade(finding.grade),
            "factor": finding.factor.as_deref().map(shown),
            "names": all_shown(&finding.names),
            "levelSource": shown(&finding.level_source),
        },
    });
    if let Some(why) = &finding.accepted {
        let why = shown(why);
        let word = json!({ "kind": "external", "status": "accepted", "justification": why });
        result["suppressions"] = json!([word]);
    }
    let culprit = anchor::culprit(report, finding).filter(|own| *own != place);
    if let (Some(place), Some(culprit)) = (culprit, &finding.culprit) {
        let said = message(&words::culprit(culprit));
        let related = json!({ "physicalLocation": physical(&place), "message": said });
        result["relatedLocations"] = json!([related]);
    }
    result
}

fn all_shown(texts: &[String]) -> Vec<String> {
    texts.iter().map(|own| shown(own)).collect()
}

/// All that a finding says, in lines.
fn text(finding: &Finding) -> String {
    let mut lines = vec![format!(
        "{}: {}",
        shown(&finding.krate),
        shown(&finding.message)
    )];
    let culprit = words::culprit_of(finding);
    lines.extend(culprit.map(|own| format!("Culprit: {own}")));
    lines.extend(
        finding
            .evidence
            .iter()
            .map(|own| format!("Seen: {}", shown(own))),
    );
    let hints = finding.hints.iter();
    lines.extend(hints.map(|own| format!("Look here: {}", shown(&own.to_string()))));
    lines.push(format!("Grade: {}", words::grade(finding.grade)));
    lines.push(format!("Help: {}", shown(&finding.help)));
    lines.join("\n")
}

/// A message. `[text](target)` would be a link (3.11.6), and the text is not ours.
fn message(text: &str) -> Value {
    json!({ "text": text.replace("](", "] (") })
}

fn physical(place: &Anchor) -> Value {
    let mut location = json!({
        "artifactLocation": { "uri": uri(&place.file), "uriBaseId": ROOT },
    });
    if let Some(line) = place.line {
        location["region"] = json!({ "startLine": line });
    }
    location
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Deny => "error",
        Level::Warn => "warning",
        Level::Allow => "note",
    }
}

/// A relative path as a URI reference (RFC 3986, 2.3 and 3.3): a colon too is encoded, since in the
/// first segment it would end a scheme's name.
fn uri(path: &str) -> String {
    let encoded = path.bytes().map(|byte| match byte {
        b'/' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    encoded.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_uris() {
        assert_eq!(uri("a/src/lib.rs"), "a/src/lib.rs");
        assert_eq!(uri("a:b/ü #?%\n"), "a%3Ab/%C3%BC%20%23%3F%25%0A");
    }
}
