//! The report for people: findings in the shape of a compiler error, a table, and what was not
//! looked at.
//!
//! Styled with ANSI codes; whoever prints drops them where they do not belong. Text that comes from
//! the build is escaped, so that a path or a crate's name cannot steer a terminal.

use std::fmt::Write;

use super::{NotChecked, Report, Verdict};
use crate::bytes::Escaped;
use crate::lint::{CulpritKind, Finding, Grade, Level};

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Findings at deny level and the last line.
    Quiet,
    /// Findings, table, what was not checked in short.
    Normal,
    /// Also each safe crate, and all that was not checked.
    Verbose,
}

/// Text from the build, fit for a terminal.
fn escaped(text: &str) -> String {
    Escaped(text.as_bytes()).to_string()
}

const RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[1;33m";
const GREEN: &str = "\x1b[1;32m";
const BLUE: &str = "\x1b[1;34m";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

/// The whole report.
pub fn render(report: &Report, detail: Detail) -> String {
    let mut out = String::new();
    let written = write_report(&mut out, report, detail);
    written.expect("writing to a string does not fail");
    out
}

fn write_report(out: &mut String, report: &Report, detail: Detail) -> std::fmt::Result {
    // What fails the check comes first, what follows from it after it.
    for level in [Level::Deny, Level::Warn] {
        if level == Level::Deny || detail != Detail::Quiet {
            for finding in report.findings.iter().filter(|own| own.level == level) {
                write_finding(out, finding)?;
            }
        }
    }
    if detail == Detail::Verbose {
        write_crates(out, report)?;
    }
    if detail != Detail::Quiet {
        write_table(out, report)?;
        write_not_checked(out, &report.not_checked, detail)?;
    }
    write_last_line(out, report)
}

fn write_finding(out: &mut String, finding: &Finding) -> std::fmt::Result {
    let (color, word) = match finding.level {
        Level::Deny => (RED, "error"),
        Level::Warn => (YELLOW, "warning"),
        Level::Allow => return Ok(()),
    };
    let krate = escaped(&finding.krate);
    writeln!(
        out,
        "{color}{word}[{}]{PLAIN}{BOLD}: {krate}: {}{PLAIN}",
        finding.lint,
        escaped(&finding.message)
    )?;
    let mut line = |label: &str, text: &str| {
        writeln!(
            out,
            "  {BLUE}={PLAIN} {BOLD}{label}{PLAIN}: {}",
            escaped(text)
        )
    };
    // An infected crate's message has said whose fault it is.
    let culprit = finding
        .culprit
        .as_ref()
        .filter(|_| finding.lint != "svh-infected");
    if let Some(culprit) = culprit {
        let kind = match culprit.kind {
            CulpritKind::ProcMacro => "proc macro",
            CulpritKind::BuildScript => "build script of",
            CulpritKind::Source => "source of",
            CulpritKind::Flags => "the build rules",
            CulpritKind::Rustc => "rustc",
        };
        let package = culprit.package.as_deref().unwrap_or_default();
        let mut text = format!("{kind} {package}").trim().to_owned();
        if culprit.package.is_none() && culprit.kind == CulpritKind::ProcMacro {
            text.push_str(", which one was not told");
        }
        for more in [&culprit.function, &culprit.location].into_iter().flatten() {
            text.push_str(", ");
            text.push_str(more);
        }
        line("culprit", &text)?;
    }
    if let Some(expanded) = &finding.expansion {
        let place = expanded.location.as_deref().unwrap_or_default();
        if let Some(invocation) = &expanded.invocation {
            line("where", &format!("{invocation}, {place}"))?;
        }
    }
    for evidence in &finding.evidence {
        line("seen", evidence)?;
    }
    for hint in &finding.hints {
        line("look here", hint)?;
    }
    let grade = match finding.grade {
        Grade::Confirmed => None,
        Grade::Hazard => Some("not confirmed by a run of its own"),
        Grade::Harmless => Some("harmless so far"),
    };
    if let Some(grade) = grade {
        line("grade", grade)?;
    }
    line("help", &finding.help)?;
    if !finding.level_source.ends_with("by default") {
        line("level", &finding.level_source)?;
    }
    if let Some(expanded) = &finding.expansion {
        for text in &expanded.diff {
            let color = match text.as_bytes().first() {
                Some(b'-') => RED,
                Some(b'+') => GREEN,
                _ => "",
            };
            writeln!(out, "  {BLUE}|{PLAIN} {color}{}{PLAIN}", escaped(text))?;
        }
    }
    out.push('\n');
    Ok(())
}

fn write_crates(out: &mut String, report: &Report) -> std::fmt::Result {
    let width = report
        .crates
        .iter()
        .map(|own| escaped(&own.id).chars().count())
        .max()
        .unwrap_or(0);
    for krate in &report.crates {
        let id = escaped(&krate.id);
        let (color, verdict) = (color(krate.verdict), krate.verdict.as_str());
        writeln!(out, "{id:width$}  {color}{verdict}{PLAIN}")?;
        for (name, own) in &krate.strategies {
            let [metadata, full] = own
                .svh
                .map(|svh| svh.map_or_else(|| "none".to_owned(), |svh| svh.to_string()));
            let sign = if metadata == full { "=" } else { "≠" };
            writeln!(out, "    {name:14} {metadata} {sign} {full}")?;
        }
    }
    out.push('\n');
    Ok(())
}

fn color(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Safe => GREEN,
        Verdict::Inconclusive | Verdict::Infected => YELLOW,
        Verdict::FlagMismatch | Verdict::Nondeterministic => RED,
    }
}

/// Strategy × verdict. Columns without a crate are left out, `safe` never.
fn write_table(out: &mut String, report: &Report) -> std::fmt::Result {
    let shown: Vec<Verdict> = Verdict::ALL
        .into_iter()
        .filter(|verdict| {
            let some = |own: &std::collections::BTreeMap<String, usize>| {
                own.get(verdict.as_str()).is_some_and(|n| *n > 0)
            };
            *verdict == Verdict::Safe || report.summary.strategies.values().any(some)
        })
        .collect();
    write!(out, "{BOLD}{:14}{PLAIN}", "strategy")?;
    for verdict in &shown {
        write!(out, "  {BOLD}{:>4}{PLAIN}", verdict.as_str())?;
    }
    out.push('\n');
    for name in &report.strategies {
        write!(out, "{name:14}")?;
        for verdict in &shown {
            let counts = report.summary.strategies.get(name);
            let count = counts
                .and_then(|own| own.get(verdict.as_str()))
                .copied()
                .unwrap_or(0);
            let width = verdict.as_str().len().max(4);
            let color = if count > 0 { color(*verdict) } else { "" };
            write!(out, "  {color}{count:>width$}{PLAIN}")?;
        }
        out.push('\n');
    }
    out.push('\n');
    Ok(())
}

fn write_not_checked(out: &mut String, list: &[NotChecked], detail: Detail) -> std::fmt::Result {
    if list.is_empty() {
        return Ok(());
    }
    writeln!(out, "{BOLD}not checked{PLAIN}")?;
    let mut by_why: Vec<(&str, Vec<&str>)> = Vec::new();
    for entry in list {
        match by_why.iter_mut().find(|(why, _)| *why == entry.why) {
            Some((_, what)) => what.push(&entry.what),
            None => by_why.push((&entry.why, vec![&entry.what])),
        }
    }
    for (why, what) in by_why {
        let shown = if detail == Detail::Verbose {
            what.len()
        } else {
            3
        };
        let mut names = what
            .iter()
            .take(shown)
            .map(|own| escaped(own))
            .collect::<Vec<_>>()
            .join(", ");
        if what.len() > shown {
            write!(names, " and {} more", what.len() - shown)?;
        }
        writeln!(out, "  {names}: {}", escaped(why))?;
    }
    out.push('\n');
    Ok(())
}

fn write_last_line(out: &mut String, report: &Report) -> std::fmt::Result {
    let count = |verdict: Verdict| {
        report
            .summary
            .verdicts
            .get(verdict.as_str())
            .copied()
            .unwrap_or(0)
    };
    let total = report.summary.crates;
    let crates = if total == 1 { "crate" } else { "crates" };
    let safe = count(Verdict::Safe);
    let strategies = report.strategies.join(", ");
    if report.summary.interrupted {
        writeln!(
            out,
            "{YELLOW}interrupted{PLAIN}: this is what was done until then"
        )?;
    }
    if safe == total {
        return writeln!(
            out,
            "{GREEN}{total} {crates} safe{PLAIN} under {strategies} ({})",
            escaped(&report.rustc)
        );
    }
    let others = Verdict::ALL
        .into_iter()
        .rev()
        .filter(|own| *own != Verdict::Safe && count(*own) > 0);
    let others: Vec<String> = others
        .map(|own| format!("{}{} {}{PLAIN}", color(own), count(own), own.as_str()))
        .collect();
    writeln!(
        out,
        "{safe} of {total} {crates} safe, {} under {strategies} ({})",
        others.join(", "),
        escaped(&report.rustc)
    )
}
