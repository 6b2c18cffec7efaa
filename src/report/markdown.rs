//! A summary in GitHub's Markdown, for a comment on a change: never longer than such a comment may
//! be, whatever was found.

use std::fmt::{self, Write};

use super::words::{self, shown};
use super::{Report, Verdict};
use crate::lint::{Finding, Level};

/// Most bytes. GitHub takes 65,536 characters, GitLab a million.
const MAX_BYTES: usize = 60_000;

/// Kept for what stands behind the findings.
const TAIL_BYTES: usize = 12_000;

/// Most crates or reasons of one list.
const MAX_LISTED: usize = 20;

/// Most reasons for what was not checked. With the cuts below, these and all behind them stay under
/// [`TAIL_BYTES`] even where every character takes six bytes.
const MAX_REASONS: usize = 10;

/// Most lines of an expansion's difference.
const MAX_DIFF: usize = 30;

/// The summary.
pub fn render(report: &Report) -> String {
    let mut out = String::new();
    write_all(&mut out, report).expect("writing to a string does not fail");
    out
}

fn write_all(out: &mut String, report: &Report) -> fmt::Result {
    write_head(out, report)?;
    let findings = words::findings(report);
    // Infected crates are told with the crate that infects them.
    let (infected, own): (Vec<&Finding>, Vec<&Finding>) = findings
        .into_iter()
        .partition(|own| own.lint == "svh-infected");
    let mut left = own.len();
    for finding in own {
        let end = out.len();
        write_finding(out, finding, &infected)?;
        if out.len() > MAX_BYTES - TAIL_BYTES {
            out.truncate(end);
            break;
        }
        left -= 1;
    }
    if left > 0 {
        let noun = if left == 1 { "finding" } else { "findings" };
        writeln!(
            out,
            "**{left} more {noun}** left out here; the other forms have all.\n"
        )?;
    }
    write_tail(out, report)
}

fn write_head(out: &mut String, report: &Report) -> fmt::Result {
    writeln!(out, "## svhcheck: {}\n", words::in_short(report))?;
    let names = Verdict::ALL.map(Verdict::as_str).join(" | ");
    let rule = "--:|".repeat(Verdict::ALL.len());
    writeln!(out, "| strategy | {names} |\n|---|{rule}")?;
    for strategy in report.strategies.iter().take(MAX_LISTED) {
        write!(out, "| {} |", code(&words::cut(strategy, 40)))?;
        for verdict in Verdict::ALL {
            let strategies = report
                .crates
                .iter()
                .filter_map(|own| own.strategies.get(strategy));
            match strategies.filter(|own| own.verdict == verdict).count() {
                0 => out.push_str(" |"),
                count => write!(out, " {count} |")?,
            }
        }
        out.push('\n');
    }
    out.push('\n');
    Ok(())
}

fn write_finding(out: &mut String, finding: &Finding, infected: &[&Finding]) -> fmt::Result {
    let word = match finding.level {
        Level::Deny => "error",
        Level::Warn | Level::Allow => "warning",
    };
    let (krate, lint) = (code(&finding.krate), code(&finding.lint));
    let message = prose(&finding.message);
    writeln!(out, "### {word}: {krate}\n\n{lint}: {message}\n")?;
    let mut item = |label: &str, text: &str| writeln!(out, "- **{label}**: {text}");
    if let Some(culprit) = words::culprit_of(finding) {
        item("culprit", &code(&culprit))?;
    }
    if let Some(expanded) = &finding.expansion
        && let Some(invocation) = &expanded.invocation
    {
        let place = expanded.location.as_deref();
        let place = place.map(|own| format!(", {}", code(own)));
        let text = code(invocation) + &place.unwrap_or_default();
        item("where", &text)?;
    }
    for evidence in finding.evidence.iter().take(MAX_LISTED) {
        item("seen", &prose(evidence))?;
    }
    for hint in finding.hints.iter().take(MAX_LISTED) {
        item("look here", &code(&hint.to_string()))?;
    }
    item("help", &prose(&finding.help))?;
    if let Some(source) = finding.chosen_level() {
        item("level", &code(source))?;
    }
    let follows: Vec<&str> = infected
        .iter()
        .filter(|own| own.names.contains(&finding.krate))
        .map(|own| own.krate.as_str())
        .collect();
    if !follows.is_empty() {
        let count = words::crates(follows.len());
        item("infects", &format!("{count}: {}", list(&follows)))?;
    }
    let diff = finding.expansion.iter().flat_map(|own| &own.diff);
    let diff: Vec<String> = diff.take(MAX_DIFF).map(|line| shown(line)).collect();
    if !diff.is_empty() {
        let diff = diff.join("\n");
        let fence = "`".repeat(longest_run(&diff).max(2) + 1);
        writeln!(out, "\n{fence}diff\n{diff}\n{fence}")?;
    }
    out.push('\n');
    Ok(())
}

fn write_tail(out: &mut String, report: &Report) -> fmt::Result {
    let count = report.not_checked.len();
    if count > 0 {
        writeln!(out, "<details><summary>Not checked ({count})</summary>\n")?;
        for own in report.not_checked.iter().take(MAX_REASONS) {
            let (what, why) = (words::cut(&own.what, 60), words::cut(&own.why, 100));
            writeln!(out, "- {}: {}", code(&what), prose(&why))?;
        }
        if count > MAX_REASONS {
            writeln!(out, "- and {} more", count - MAX_REASONS)?;
        }
        writeln!(out, "\n</details>\n")?;
    }
    out.push_str(&prose(&words::cut(&report.rustc, 80)));
    if let Some(command) = &report.command {
        write!(out, " · {}", code(&command.line()))?;
    }
    out.push('\n');
    Ok(())
}

fn list(names: &[&str]) -> String {
    let first = names.iter().take(MAX_LISTED);
    let first = first.map(|own| code(&words::cut(own, 80)));
    let text = first.collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MAX_LISTED) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

/// Text as a code span, in which nothing has a meaning. A bar would end a table's cell all the same.
fn code(text: &str) -> String {
    let text = shown(text).replace('|', "¦");
    let ticks = "`".repeat(longest_run(&text) + 1);
    // One space each side is taken away again, and keeps backticks apart.
    let pad = if text.starts_with('`') || text.ends_with('`') || text.trim().is_empty() {
        " "
    } else {
        ""
    };
    format!("{ticks}{pad}{text}{pad}{ticks}")
}

/// A sentence of ours that quotes the build's words in backticks: these become code spans, in the
/// rest no character acts.
fn prose(text: &str) -> String {
    let text = shown(text);
    let pieces: Vec<&str> = text.split('`').collect();
    // An odd backtick is one of the build's own; then none can be trusted.
    if pieces.len().is_multiple_of(2) {
        return plain(&text);
    }
    let mut out = String::new();
    for (at, piece) in pieces.into_iter().enumerate() {
        if at % 2 == 1 && !piece.is_empty() {
            out.push_str(&code(piece));
        } else {
            out.push_str(&plain(piece));
        }
    }
    out
}

/// Text in which no character acts: Markdown's, HTML's, mentions and references.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '@' => out.push_str("&#64;"),
            '#' => out.push_str("&#35;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '!' | '|' | '~' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out.replace("://", "&#58;//").replace("www.", "www&#46;")
}

fn longest_run(text: &str) -> usize {
    let runs = text.split(|c| c != '`').map(str::len);
    runs.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builds_words_do_not_act() {
        assert_eq!(code("a"), "`a`");
        assert_eq!(code("a`b``c"), "```a`b``c```");
        assert_eq!(code("`"), "`` ` ``");
        assert_eq!(code("a|b"), "`a¦b`");
        assert_eq!(
            prose("it reads `X<y>` & @me"),
            "it reads `X<y>` &amp; &#64;me"
        );
        assert_eq!(prose("odd ` <b>"), "odd \\` &lt;b&gt;");
        assert_eq!(prose("see https://x"), "see https&#58;//x");
    }
}
