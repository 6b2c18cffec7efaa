//! What several forms say in the same words: who is to blame, the sum, text that is cut.

use super::{Report, Verdict};
use crate::bytes::Escaped;
use crate::lint::{Culprit, CulpritKind, Finding, Grade, Level};

/// Longest text from the build that is shown in one piece. Names of crates and paths are far
/// shorter; what is longer is there to do harm.
const MAX_CHARS: usize = 400;

/// Text from the build without control characters, cut if it is absurdly long.
pub(super) fn shown(text: &str) -> String {
    cut(&Escaped(text.as_bytes()).to_string(), MAX_CHARS)
}

/// At most `chars` characters of `text`, with an ellipsis where something is missing.
pub(super) fn cut(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// `1 crate`, `2 crates`.
pub(super) fn crates(count: usize) -> String {
    let word = if count == 1 { "crate" } else { "crates" };
    format!("{count} {word}")
}

/// Whose code it is, as far as it is known.
pub(super) fn culprit(culprit: &Culprit) -> String {
    let package = culprit.package.as_deref().map(shown);
    let mut text = match (culprit.kind, package) {
        (CulpritKind::ProcMacro, Some(package)) => format!("proc macro {package}"),
        (CulpritKind::ProcMacro, None) => "a proc macro, which one was not told".to_owned(),
        (CulpritKind::BuildScript, Some(package)) => format!("build script of {package}"),
        (CulpritKind::BuildScript, None) => "a build script".to_owned(),
        (CulpritKind::Source, Some(package)) => format!("source of {package}"),
        (CulpritKind::Source, None) => "the crate's own source".to_owned(),
        (CulpritKind::Flags, _) => "the build rules".to_owned(),
        (CulpritKind::Rustc, _) => "rustc".to_owned(),
    };
    for more in [&culprit.function, &culprit.location].into_iter().flatten() {
        text.push_str(", ");
        text.push_str(&shown(more));
    }
    text
}

/// Whose fault a finding is. An infected crate's message has said so.
pub(super) fn culprit_of(finding: &Finding) -> Option<String> {
    let own = finding.culprit.as_ref();
    own.filter(|_| finding.lint != "svh-infected").map(culprit)
}

/// A finding in plain lines below its title: who, what was seen, what helps.
pub(super) fn lines(title: String, finding: &Finding) -> String {
    let mut lines = vec![title];
    let culprit = culprit_of(finding);
    lines.extend(culprit.map(|own| format!("culprit: {own}")));
    let seen = finding.evidence.iter();
    lines.extend(seen.map(|own| format!("seen: {}", shown(own))));
    lines.push(format!("help: {}", shown(&finding.help)));
    lines.join("\n")
}

/// How sure a finding is.
pub(super) fn grade(grade: Grade) -> &'static str {
    match grade {
        Grade::Confirmed => "confirmed by a run of its own",
        Grade::Hazard => "not confirmed by a run of its own",
        Grade::Harmless => "harmless so far",
    }
}

/// The findings that are shown, what fails the check first; of one level, in the report's order.
pub(super) fn findings(report: &Report) -> Vec<&Finding> {
    let of = |level| report.findings.iter().filter(move |own| own.level == level);
    of(Level::Deny).chain(of(Level::Warn)).collect()
}

/// How many crates have a verdict.
pub(super) fn count(report: &Report, verdict: Verdict) -> usize {
    let crates = report.crates.iter();
    crates.filter(|own| own.verdict == verdict).count()
}

/// The report in one line.
pub(super) fn in_short(report: &Report) -> String {
    let total = report.crates.len();
    let safe = count(report, Verdict::Safe);
    let mut parts = vec![if safe == total {
        format!("{} safe", crates(total))
    } else {
        format!("{safe} of {} safe", crates(total))
    }];
    for verdict in Verdict::ALL.into_iter().rev() {
        let count = count(report, verdict);
        if verdict != Verdict::Safe && count > 0 {
            parts.push(format!("{count} {}", verdict.as_str()));
        }
    }
    if report.summary.interrupted {
        parts.push("interrupted before all were judged".to_owned());
    }
    parts.join(", ")
}
