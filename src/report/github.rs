//! Annotations for the log of a GitHub workflow.
//!
//! The form and its escapes are from GitHub's "Workflow commands for GitHub Actions" and from
//! `packages/core/src/command.ts` of its toolkit. GitHub shows the first ten errors and ten
//! warnings of a step, so what fails the check comes first.

use super::Report;
use super::anchor;
use super::words::{self, shown};
use crate::lint::{Finding, Level};

/// A line for each finding, and one with the sum.
pub fn render(report: &Report) -> String {
    let findings = words::findings(report).into_iter();
    let mut lines: Vec<String> = findings.map(|own| annotation(report, own)).collect();
    let strategies: Vec<String> = report.strategies.iter().map(|own| shown(own)).collect();
    let sum = format!(
        "{} under {}",
        words::in_short(report),
        strategies.join(", ")
    );
    lines.push(format!("::notice title=svhcheck::{}", data(&sum)));
    lines.join("\n") + "\n"
}

fn annotation(report: &Report, finding: &Finding) -> String {
    let command = match finding.level {
        Level::Deny => "error",
        Level::Warn => "warning",
        Level::Allow => "notice",
    };
    let place = anchor::of(report, finding);
    let line = place.line.map(|line| format!(",line={line}"));
    let title = format!("{}: {}", shown(&finding.lint), shown(&finding.krate));
    format!(
        "::{command} file={}{},title={}::{}",
        property(&place.file),
        line.unwrap_or_default(),
        property(&title),
        data(&words::lines(shown(&finding.message), finding))
    )
}

/// Text behind the second pair of colons.
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// The value of a property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_end_its_place() {
        assert_eq!(data("50%\r\n::error::x"), "50%25%0D%0A::error::x");
        assert_eq!(property("a:b,c\n%"), "a%3Ab%2Cc%0A%25");
    }
}
