//! The report for people: findings in the shape of a compiler error, a table, and what was not
//! looked at.
//!
//! Styled with ANSI codes; whoever prints drops them where they do not belong. Text that comes from
//! the build is escaped, so that a path or a crate's name cannot steer a terminal.

use std::fmt::Write;

use annotate_snippets::{Annotation, AnnotationKind, Level as Said, Renderer, Snippet};

use super::{NotChecked, Report, Verdict};
use crate::bytes::Escaped;
use crate::lint::{Culprit, CulpritKind, Excerpt, Finding, Grade, Level};

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

/// Most columns of a line, where nothing is known of the terminal or it is wider.
pub const WIDTH: usize = 120;
/// Below this, lines are left to the terminal to break.
pub const NARROWEST: usize = 60;

const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

/// The whole report, in lines of `width` columns. What cannot be broken may be longer: paths, a
/// macro's own lines, tables.
pub fn render(report: &Report, detail: Detail, width: usize) -> String {
    let mut out = String::new();
    let written = write_report(&mut out, report, detail, width);
    written.expect("writing to a string does not fail");
    out
}

/// Breaks `text` between words, so that no line is longer than `width`.
fn wrapped(text: &str, width: usize) -> String {
    let options = textwrap::Options::new(width)
        .break_words(false)
        .word_separator(textwrap::WordSeparator::AsciiSpace)
        .word_splitter(textwrap::WordSplitter::NoHyphenation)
        .wrap_algorithm(textwrap::WrapAlgorithm::FirstFit);
    textwrap::fill(text, options)
}

fn write_report(
    out: &mut String,
    report: &Report,
    detail: Detail,
    width: usize,
) -> std::fmt::Result {
    // What fails the check comes first, what follows from it after it.
    for level in [Level::Deny, Level::Warn] {
        if level == Level::Deny || detail != Detail::Quiet {
            for finding in report.findings.iter().filter(|own| own.level == level) {
                write_finding(out, finding, width)?;
            }
        }
    }
    if detail == Detail::Verbose {
        write_crates(out, report)?;
    }
    if detail != Detail::Quiet {
        write_since(out, report, detail)?;
        write_table(out, report)?;
        write_not_checked(out, &report.not_checked, detail, width)?;
        let (rustc, sandbox) = (&report.rustc, &report.sandbox.mechanism);
        writeln!(out, "{}; sandbox: {}", escaped(rustc), escaped(sandbox))?;
    }
    write_last_line(out, report, width)
}

fn write_finding(out: &mut String, finding: &Finding, width: usize) -> std::fmt::Result {
    let level = match finding.level {
        Level::Deny => Said::ERROR,
        Level::Warn => Said::WARNING,
        Level::Allow => return Ok(()),
    };
    let title = format!("{}: {}", escaped(&finding.krate), escaped(&finding.message));
    let mut group = level
        .primary_title(title)
        .id(escaped(&finding.lint))
        .elements(snippets(finding));
    // The renderer sets ` = LABEL: ` before a text, behind the line numbers of the snippets, and
    // continues it in the same column.
    let numbers = snippet_lines(finding)
        .max()
        .map_or(0, |own| own.to_string().len());
    let fit = |label: &str, text: &str| {
        let lead = numbers + " = : ".len() + label.len();
        wrapped(text, width.saturating_sub(lead).max(NARROWEST / 2))
    };
    for (label, text) in notes(finding) {
        let text = match label {
            WRITES => text,
            _ => fit(label, &text),
        };
        group = group.element(Said::NOTE.with_name(label).message(text));
    }
    let help = fit("help", &escaped(&finding.help));
    group = group.element(Said::HELP.message(help));
    // That the default holds is no news.
    if finding.level_source.contains(" because ") {
        let source = fit("level", &escaped(&finding.level_source));
        group = group.element(Said::NOTE.with_name("level").message(source));
    }
    let renderer = Renderer::styled().term_width(width);
    writeln!(out, "{}\n", renderer.render(&[group]))
}

/// The invocation and the line of the macro that asked, where their sources could be read.
fn snippets(finding: &Finding) -> Vec<Snippet<'_, Annotation<'_>>> {
    let invocation = finding
        .expansion
        .as_ref()
        .and_then(|own| own.source.as_ref());
    let culprit = finding.culprit.as_ref().and_then(|own| own.source.as_ref());
    let show = |excerpt: &Excerpt, kind: AnnotationKind| {
        // A saved report may hold anything.
        let boundary = |at: usize| {
            let mut all = excerpt.text.char_indices().map(|(at, _)| at);
            all.rfind(|own| *own <= at).unwrap_or(0)
        };
        let end = |at: usize| {
            if at < excerpt.text.len() {
                boundary(at)
            } else {
                excerpt.text.len()
            }
        };
        let (start, end) = (boundary(excerpt.span[0]), end(excerpt.span[1]));
        let annotation = kind
            .span(start..end.max(start))
            .label(escaped(&excerpt.label));
        let source = excerpt.text.replace(char::is_control, " ");
        let snippet = Snippet::source(source).line_start(excerpt.line);
        snippet.path(escaped(&excerpt.path)).annotation(annotation)
    };
    let invocation = invocation.map(|own| show(own, AnnotationKind::Primary));
    let kind = match invocation {
        Some(_) => AnnotationKind::Context,
        None => AnnotationKind::Primary,
    };
    let culprit = culprit.map(|own| show(own, kind));
    invocation.into_iter().chain(culprit).collect()
}

/// The lines that are shown of sources.
fn snippet_lines(finding: &Finding) -> impl Iterator<Item = usize> {
    let invocation = finding.expansion.as_ref();
    let invocation = invocation.and_then(|own| own.source.as_ref());
    let culprit = finding.culprit.as_ref().and_then(|own| own.source.as_ref());
    invocation.into_iter().chain(culprit).map(|own| own.line)
}

/// The label of lines that are shown as they are.
const WRITES: &str = "writes";

/// What stands below the title, label and text.
fn notes(finding: &Finding) -> Vec<(&'static str, String)> {
    let mut notes = Vec::new();
    // An infected crate's message has said whose fault it is.
    let culprit = finding
        .culprit
        .as_ref()
        .filter(|_| finding.lint != "svh-infected");
    if let Some(culprit) = culprit {
        notes.push(("culprit", escaped(&who(culprit))));
    }
    if let Some(expanded) = &finding.expansion {
        let place = expanded.location.as_deref().unwrap_or_default();
        let invocation = expanded.invocation.as_ref();
        // Else the source line stands above.
        if let Some(invocation) = invocation.filter(|_| expanded.source.is_none()) {
            notes.push(("where", escaped(&format!("{invocation}, {place}"))));
        }
        if !expanded.diff.is_empty() {
            let lines: Vec<String> = expanded.diff.iter().map(|line| diff_line(line)).collect();
            notes.push((WRITES, lines.join("\n")));
        }
    }
    // That the SVHs are unequal stands in the line before, as numbers.
    let seen = finding.evidence.iter();
    let seen = seen.filter(|text| *text != "unequal: rmeta.root.svh");
    notes.extend(seen.map(|text| ("seen", escaped(text))));
    let hints = finding.hints.iter();
    notes.extend(hints.map(|text| ("look here", escaped(text))));
    match finding.grade {
        Grade::Confirmed => {}
        Grade::Hazard => notes.push(("grade", "not confirmed by a run of its own".to_owned())),
        Grade::Harmless => notes.push(("grade", "harmless so far".to_owned())),
    }
    notes
}

fn who(culprit: &Culprit) -> String {
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
    let place = culprit
        .location
        .as_ref()
        .filter(|_| culprit.source.is_none());
    for more in [culprit.function.as_ref(), place].into_iter().flatten() {
        text.push_str(", ");
        text.push_str(more);
    }
    text
}

fn diff_line(line: &str) -> String {
    let color = match line.as_bytes().first() {
        Some(b'-') => RED,
        Some(b'+') => GREEN,
        _ => "",
    };
    format!("{color}{}{PLAIN}", escaped(line))
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
            // Bytes that are equal were not read.
            if own.svh == [None; 2]
                && own.verdict < Verdict::FlagMismatch
                && own.verdict != Verdict::Inconclusive
            {
                writeln!(out, "    {name:14} equal byte by byte")?;
                continue;
            }
            let sign = match own.svh {
                [Some(metadata), Some(full)] if metadata == full => "=",
                [Some(_), Some(_)] => "≠",
                _ => "|",
            };
            let [metadata, full] = own
                .svh
                .map(|svh| svh.map_or_else(|| "none".to_owned(), |svh| svh.to_string()));
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

/// What `--since` left to check, and with `--verbose` why.
fn write_since(out: &mut String, report: &Report, detail: Detail) -> std::fmt::Result {
    let Some(since) = &report.since else {
        return Ok(());
    };
    let revision = escaped(&since.revision);
    if let Some(why) = &since.all_because {
        return writeln!(
            out,
            "since {revision}: all crates, because {}\n",
            escaped(why)
        );
    }
    let (reached, all) = (since.reached.len(), since.reached.len() + since.skipped);
    writeln!(
        out,
        "since {revision}: {reached} of {all} crates can have changed"
    )?;
    if detail == Detail::Verbose {
        for own in &since.reached {
            writeln!(out, "  {}: {}", escaped(&own.krate), escaped(&own.because))?;
        }
    }
    out.push('\n');
    Ok(())
}

/// Strategy × verdict. Columns without a crate are left out, `safe` never.
fn write_table(out: &mut String, report: &Report) -> std::fmt::Result {
    if report.crates.is_empty() {
        return Ok(());
    }
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

fn write_not_checked(
    out: &mut String,
    list: &[NotChecked],
    detail: Detail,
    width: usize,
) -> std::fmt::Result {
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
        let text = wrapped(&format!("{names}: {}", escaped(why)), width - 4);
        writeln!(out, "  {}", text.replace('\n', "\n    "))?;
    }
    out.push('\n');
    Ok(())
}

fn write_last_line(out: &mut String, report: &Report, width: usize) -> std::fmt::Result {
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
    if let (0, Some(since)) = (total, &report.since) {
        let revision = escaped(&since.revision);
        return writeln!(
            out,
            "{GREEN}nothing to check{PLAIN}: no crate can have changed since {revision}"
        );
    }
    if safe == total {
        let text = format!("{GREEN}{total} {crates} safe{PLAIN} under {strategies}");
        return writeln!(out, "{}", wrapped(&text, width));
    }
    let others = Verdict::ALL
        .into_iter()
        .rev()
        .filter(|own| *own != Verdict::Safe && count(*own) > 0);
    let others: Vec<String> = others
        .map(|own| format!("{}{} {}{PLAIN}", color(own), count(own), own.as_str()))
        .collect();
    let others = others.join(", ");
    let text = format!("{safe} of {total} {crates} safe, {others} under {strategies}");
    writeln!(out, "{}", wrapped(&text, width))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::Expanded;

    fn finding(text: &str) -> Finding {
        let source = Excerpt {
            path: text.to_owned(),
            line: 3,
            text: text.to_owned(),
            span: [1, 9_000],
            label: text.to_owned(),
        };
        Finding {
            lint: "svh-unstable".to_owned(),
            level: Level::Deny,
            grade: Grade::Hazard,
            krate: text.to_owned(),
            culprit: Some(Culprit {
                package: Some(text.to_owned()),
                kind: CulpritKind::ProcMacro,
                function: Some(text.to_owned()),
                location: Some(text.to_owned()),
                source: Some(source.clone()),
            }),
            factor: None,
            names: Vec::new(),
            message: text.to_owned(),
            expansion: Some(Expanded {
                invocation: Some(text.to_owned()),
                location: Some(text.to_owned()),
                source: Some(source),
                kind: None,
                diff: vec![text.to_owned()],
            }),
            evidence: vec![text.to_owned()],
            help: text.to_owned(),
            trace: Vec::new(),
            level_source: text.to_owned(),
            accepted: None,
            hints: vec![text.to_owned()],
            aside: None,
        }
    }

    #[test]
    fn no_text_from_a_build_steers_the_terminal() {
        for text in [
            "\x1b]0;title\x07",
            "a\nb\r\x1b[2J",
            "\u{202e}\u{9b}31m",
            &"é".repeat(3000),
            "",
        ] {
            let mut out = String::new();
            write_finding(&mut out, &finding(text), WIDTH).unwrap();
            // Colours are ours: `ESC [ digits m`.
            for part in out.split('\x1b').skip(1) {
                let rest = part.strip_prefix('[').expect("only colours");
                let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
                assert!(rest.starts_with('m'), "{text:?}: {part:?}");
            }
            let bad =
                |c: char| c.is_control() && !"\n\x1b".contains(c) || "\u{202e}\u{9b}".contains(c);
            assert!(!out.contains(bad), "{text:?}: {out:?}");
        }
    }
}
