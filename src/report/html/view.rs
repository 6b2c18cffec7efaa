//! What the page shows, made out of the report: texts harmless and cut, lists ordered and limited.

use std::collections::BTreeMap;

use serde::Serialize;

use super::spread::{self, Spread};
use crate::lint::{self, Excerpt, Finding, Level};
use crate::report::words::{self, shown};
use crate::report::{CrateVerdict, Report, Verdict};

/// With more findings, each is folded, so that all are seen at once.
const MAX_OPEN: usize = 6;

/// Most findings in full. What else there is stands in the matrix, and in the JSON.
const MAX_FINDINGS: usize = 500;

/// Most lines of an expansion's difference.
const MAX_DIFF: usize = 200;

/// How much of a list is shown unfolded.
const MAX_LISTED: usize = 12;

#[derive(Serialize)]
pub(super) struct View {
    title: String,
    headline: String,
    lead: String,
    interrupted: bool,
    rustc: String,
    strategies: Vec<String>,
    variations: Vec<String>,
    command: Option<String>,
    parts: Vec<Part>,
    findings: Vec<Card>,
    harmless: Vec<Line>,
    rows: Vec<Row>,
    spreads: Vec<Spread>,
    spreads_more: usize,
    unchecked: Vec<Unchecked>,
    unchecked_total: usize,
    lints: Vec<Lint>,
}

/// One verdict's share of the crates, in thousandths.
#[derive(Serialize)]
struct Part {
    verdict: &'static str,
    count: usize,
    x: usize,
    width: usize,
}

/// A finding.
#[derive(Serialize)]
struct Card {
    id: String,
    open: bool,
    level: &'static str,
    word: &'static str,
    lint: String,
    krate: String,
    message: String,
    culprit: Option<String>,
    invocation: Option<String>,
    place: Option<String>,
    factor: Option<String>,
    names: Vec<String>,
    grade: &'static str,
    help: String,
    infects: Option<String>,
    spread: Option<String>,
    sources: Vec<Source>,
    diff: Vec<DiffLine>,
    evidence: Vec<String>,
    hints: Vec<String>,
    /// Who set the level, if it is not the default.
    level_source: Option<String>,
    trace: Vec<TraceLine>,
    svhs: Vec<Pair>,
    command: Option<String>,
}

/// A line of source, with the part that is meant.
#[derive(Serialize)]
struct Source {
    place: String,
    line: usize,
    before: String,
    meant: String,
    behind: String,
    label: String,
}

#[derive(Serialize)]
struct DiffLine {
    class: &'static str,
    text: String,
}

#[derive(Serialize)]
struct TraceLine {
    asks: String,
    package: String,
    function: String,
    location: String,
    program: Option<String>,
}

#[derive(Serialize)]
struct Pair {
    strategy: String,
    metadata: String,
    full: String,
    differ: bool,
}

#[derive(Serialize)]
struct Line {
    krate: String,
    message: String,
}

/// A crate in the matrix.
#[derive(Serialize)]
struct Row {
    id: String,
    kind: String,
    verdict: &'static str,
    cells: Vec<&'static str>,
    note: String,
    finding: Option<String>,
}

/// What was not checked for one reason.
#[derive(Serialize)]
struct Unchecked {
    why: String,
    first: Vec<String>,
    rest: Vec<String>,
}

#[derive(Serialize)]
struct Lint {
    id: String,
    message: String,
    parts: Vec<Section>,
}

#[derive(Serialize)]
struct Section {
    title: &'static str,
    paragraphs: Vec<String>,
}

impl View {
    pub(super) fn of(report: &Report) -> Self {
        // Infected crates are told with those that infect them.
        let cards: Vec<&Finding> = words::findings(report)
            .into_iter()
            .filter(|own| own.lint != "svh-infected")
            .take(MAX_FINDINGS)
            .collect();
        let (spreads, spreads_more) = spread::all(report);
        let mut anchors: BTreeMap<&str, String> = BTreeMap::new();
        for (at, finding) in cards.iter().enumerate() {
            let first = || format!("finding-{}", at + 1);
            anchors.entry(&finding.krate).or_insert_with(first);
        }
        let open = cards.len() <= MAX_OPEN;
        let crates: BTreeMap<&str, &CrateVerdict> = report
            .crates
            .iter()
            .map(|own| (own.id.as_str(), own))
            .collect();
        let findings = cards.iter().enumerate().map(|(at, finding)| {
            let krate = crates.get(finding.krate.as_str()).copied();
            let mut card = card(report, finding, krate);
            card.id = format!("finding-{}", at + 1);
            card.open = open;
            if let Some(spread) = spreads.iter().find(|own| own.of == finding.krate) {
                card.infects = Some(spread.count.clone());
                card.spread = Some(spread.id.clone());
            }
            card
        });
        let harmless = report
            .findings
            .iter()
            .filter(|own| own.level == Level::Allow);
        let (headline, lead) = headline(report);
        let list = |texts: &[String]| texts.iter().map(|own| shown(own)).collect::<Vec<_>>();
        Self {
            title: format!("svhcheck: {}", words::in_short(report)),
            headline,
            lead,
            interrupted: report.summary.interrupted,
            rustc: shown(&report.rustc),
            strategies: list(&report.strategies),
            variations: list(&report.variations),
            command: report.command.as_ref().map(|own| shown(&own.line())),
            parts: parts(report),
            findings: findings.collect(),
            harmless: harmless
                .take(MAX_FINDINGS)
                .map(|own| Line {
                    krate: shown(&own.krate),
                    message: shown(&own.message),
                })
                .collect(),
            rows: rows(report, &anchors),
            spreads,
            spreads_more,
            unchecked: unchecked(report),
            unchecked_total: report.not_checked.len(),
            lints: lints(report),
        }
    }
}

fn headline(report: &Report) -> (String, String) {
    let count = |verdict| words::count(report, verdict);
    let total = report.crates.len();
    let guilty = count(Verdict::FlagMismatch) + count(Verdict::Nondeterministic);
    let infected = count(Verdict::Infected);
    let open = count(Verdict::Inconclusive);
    let denied = report
        .findings
        .iter()
        .filter(|own| own.level == Level::Deny)
        .count();
    let are = |count| if count == 1 { "is" } else { "are" };
    let all = words::crates(total);
    let headline = match (guilty, open) {
        _ if total == 0 => "No crate was judged".to_owned(),
        (0, 0) if denied > 0 => format!("{all} stable, but not without faults"),
        (0, 0) => format!("{all} safe"),
        (0, open) => format!("{open} of {all} without a verdict"),
        (guilty, _) => format!("{guilty} of {all} {} to blame", are(guilty)),
    };
    let mut parts = Vec::new();
    if infected > 0 {
        let whom = if guilty == 1 { "it" } else { "them" };
        let crates = words::crates(infected);
        parts.push(format!("{crates} {} infected by {whom}", are(infected)));
    }
    if guilty + infected + open > 0 {
        let safe = count(Verdict::Safe);
        parts.push(format!("{safe} {} safe", are(safe)));
    }
    let strategies: Vec<String> = report.strategies.iter().map(|own| shown(own)).collect();
    parts.push(format!("judged under {}", strategies.join(", ")));
    let mut lead = parts.join("; ");
    if let Some(first) = lead.get(..1) {
        lead = first.to_uppercase() + &lead[1..];
    }
    (headline, lead + ".")
}

fn parts(report: &Report) -> Vec<Part> {
    let total = report.crates.len().max(1);
    let mut before = 0;
    let present = Verdict::ALL.into_iter().rev().filter_map(|verdict| {
        let count = words::count(report, verdict);
        (count > 0).then(|| {
            // A single guilty crate of thousands must be seen.
            let width = (count * 1000 / total).max(4);
            let part = Part {
                verdict: verdict.as_str(),
                count,
                x: before,
                width,
            };
            before += width;
            part
        })
    });
    let mut parts: Vec<Part> = present.collect();
    if let Some(last) = parts.last_mut() {
        last.width = 1000_usize.saturating_sub(last.x);
    }
    parts
}

fn card(report: &Report, finding: &Finding, krate: Option<&CrateVerdict>) -> Card {
    let word = match finding.level {
        Level::Deny => "error",
        Level::Warn | Level::Allow => "warning",
    };
    let expanded = finding.expansion.as_ref();
    let text = |text: &Option<String>| text.as_deref().map(shown);
    let plain = |own: &Option<String>| text(own).unwrap_or_default();
    let diff = expanded.iter().flat_map(|own| &own.diff).take(MAX_DIFF);
    // SVHs say something where they are about the SVH; a script that writes elsewhere has none.
    let guilty = krate.filter(|own| own.verdict.is_guilty());
    Card {
        id: String::new(),
        open: false,
        level: match finding.level {
            Level::Deny => "deny",
            Level::Warn | Level::Allow => "warn",
        },
        word,
        lint: shown(&finding.lint),
        krate: shown(&finding.krate),
        message: shown(&finding.message),
        culprit: words::culprit_of(finding),
        invocation: expanded.and_then(|own| text(&own.invocation)),
        place: expanded.and_then(|own| text(&own.location)),
        factor: text(&finding.factor),
        names: finding
            .names
            .iter()
            .take(MAX_LISTED)
            .map(|own| shown(own))
            .collect(),
        grade: words::grade(finding.grade),
        help: shown(&finding.help),
        infects: None,
        spread: None,
        sources: sources(finding),
        diff: diff
            .map(|line| DiffLine {
                class: match line.as_bytes().first() {
                    Some(b'+') => "add",
                    Some(b'-') => "del",
                    _ => "same",
                },
                text: shown(line),
            })
            .collect(),
        evidence: finding.evidence.iter().map(|own| shown(own)).collect(),
        hints: finding
            .hints
            .iter()
            .map(|own| shown(&own.to_string()))
            .collect(),
        level_source: finding.chosen_level().map(shown),
        trace: finding
            .trace
            .iter()
            .map(|own| TraceLine {
                asks: shown(&own.asks),
                package: plain(&own.package),
                function: plain(&own.function),
                location: plain(&own.location),
                program: text(&own.program),
            })
            .collect(),
        svhs: guilty.map(svhs).unwrap_or_default(),
        command: report
            .command
            .as_ref()
            .map(|own| shown(&own.line_of(&finding.krate))),
    }
}

/// The invocation, and the line of the guilty code that asked.
fn sources(finding: &Finding) -> Vec<Source> {
    let expanded = finding.expansion.iter().flat_map(|own| &own.source);
    let culprit = finding.culprit.iter().flat_map(|own| &own.source);
    let source = |own: &Excerpt| {
        let [start, end] = own.span;
        // A saved report may hold any numbers; then all of the line is meant.
        let parts = own.text.split_at_checked(start).and_then(|(before, rest)| {
            let (meant, behind) = rest.split_at_checked(end.checked_sub(start)?)?;
            Some([before, meant, behind])
        });
        let [before, meant, behind] = parts.unwrap_or(["", &own.text, ""]).map(shown);
        Source {
            place: shown(&own.path),
            line: own.line,
            before,
            meant,
            behind,
            label: shown(&own.label),
        }
    };
    expanded.chain(culprit).map(source).collect()
}

fn svhs(krate: &CrateVerdict) -> Vec<Pair> {
    let pair = |(strategy, own): (&String, &crate::report::StrategyVerdict)| {
        let [metadata, full] = own
            .svh
            .map(|svh| svh.map_or_else(|| "none".to_owned(), |svh| svh.to_string()));
        Pair {
            strategy: shown(strategy),
            differ: metadata != full,
            metadata,
            full,
        }
    };
    krate.strategies.iter().map(pair).collect()
}

/// The matrix, the worst crates first.
fn rows(report: &Report, anchors: &BTreeMap<&str, String>) -> Vec<Row> {
    let mut crates: Vec<&CrateVerdict> = report.crates.iter().collect();
    crates.sort_by(|a, b| b.verdict.cmp(&a.verdict).then_with(|| a.id.cmp(&b.id)));
    let row = |own: &CrateVerdict| {
        let cell = |name: &String| {
            let strategy = own.strategies.get(name);
            strategy.map_or("none", |own| own.verdict.as_str())
        };
        // Where all SVHs are one, it is shown; else who is behind it, or that there are two.
        let mut all = own.strategies.values().flat_map(|own| own.svh);
        let first = all.next().flatten();
        let note = if !own.infected_by.is_empty() {
            let by = own.infected_by.iter().take(MAX_LISTED).map(|id| shown(id));
            by.collect::<Vec<_>>().join(" ")
        } else if all.all(|svh| svh == first) {
            first.map(|svh| svh.to_string()).unwrap_or_default()
        } else {
            "several SVHs".to_owned()
        };
        Row {
            id: shown(&own.id),
            kind: shown(&own.kind),
            verdict: own.verdict.as_str(),
            cells: report.strategies.iter().map(cell).collect(),
            note,
            finding: anchors.get(own.id.as_str()).cloned(),
        }
    };
    crates.into_iter().map(row).collect()
}

fn unchecked(report: &Report) -> Vec<Unchecked> {
    let mut by_why: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for own in &report.not_checked {
        by_why.entry(&own.why).or_default().push(shown(&own.what));
    }
    by_why
        .into_iter()
        .map(|(why, mut first)| {
            let rest = first.split_off(first.len().min(MAX_LISTED));
            Unchecked {
                why: shown(why),
                first,
                rest,
            }
        })
        .collect()
}

/// The pages of the lints that the report speaks of.
fn lints(report: &Report) -> Vec<Lint> {
    let spoke = |id: &str| {
        let shown = |own: &&Finding| own.level > Level::Allow;
        report
            .findings
            .iter()
            .filter(shown)
            .any(|own| own.lint == id)
    };
    let pages = lint::registry().into_iter().filter(|page| spoke(&page.id));
    let lint = |page: lint::page::Page| {
        let section = |title: &'static str| Section {
            title,
            paragraphs: paragraphs(page.section(title).unwrap_or_default()),
        };
        let parts = [
            "What it finds",
            "Why it matters",
            "How to fix it",
            "What it cannot see",
        ]
        .map(section)
        .into_iter()
        .filter(|own| !own.paragraphs.is_empty())
        .collect();
        Lint {
            id: page.id.clone(),
            message: page.message.clone(),
            parts,
        }
    };
    pages.map(lint).collect()
}

fn paragraphs(text: &str) -> Vec<String> {
    let paragraphs = text.split("\n\n").map(|own| own.replace('\n', " "));
    paragraphs.filter(|own| !own.trim().is_empty()).collect()
}
