//! The report for people: findings in the shape of a compiler error, a table, and what was not
//! looked at.
//!
//! Styled with ANSI codes; whoever prints drops them where they do not belong. Text that comes from
//! the build is escaped, so that a path or a crate's name cannot steer a terminal.

mod finding;

use std::fmt::Write;

use super::{NotChecked, Report, Verdict};
use crate::bytes::Escaped;
use crate::lint::Level;

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

/// What the text is shown on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Screen {
    /// Columns of a line. What cannot be broken may be longer: paths, a macro's own lines, tables.
    pub width: usize,
    /// The host for links to files, where there are links.
    pub links: Option<String>,
}

impl Default for Screen {
    fn default() -> Self {
        Self {
            width: WIDTH,
            links: None,
        }
    }
}

/// The whole report.
pub fn render(report: &Report, detail: Detail, screen: &Screen) -> String {
    let mut out = String::new();
    let written = write_report(&mut out, report, detail, screen);
    written.expect("writing to a string does not fail");
    out
}

/// Breaks `text` between words, so that no line is longer than `width`.
fn wrapped(text: &str, width: usize) -> String {
    hanging(text, width, "")
}

/// The same, with `indent` before all lines but the first.
fn hanging(text: &str, width: usize, indent: &str) -> String {
    let options = textwrap::Options::new(width)
        .subsequent_indent(indent)
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
    screen: &Screen,
) -> std::fmt::Result {
    let width = screen.width;
    // What fails the check comes first, what follows from it after it.
    for level in [Level::Deny, Level::Warn] {
        if level == Level::Deny || detail != Detail::Quiet {
            for finding in report.findings.iter().filter(|own| own.level == level) {
                finding::write(out, finding, screen)?;
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
