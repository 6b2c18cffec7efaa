//! The report: what was found about every crate, and one file per format that renders it.

pub mod action;
mod anchor;
pub mod format;
pub mod github;
pub mod gitlab;
pub mod html;
pub mod human;
pub mod json;
pub mod junit;
pub mod markdown;
pub mod sarif;
mod words;

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::artifact::metadata::Svh;
use crate::lint::{Finding, Level};
use crate::os_text;
use crate::plan::variation;

/// What is said of a crate, and of a crate under one strategy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Verdict {
    /// Both SVHs of every pair agreed.
    Safe,
    /// No verdict could be reached; the finding or note says why.
    Inconclusive,
    /// Innocent, but a crate that it loads is not safe.
    Infected,
    /// The two command lines of a pair differ in something that the SVH covers.
    FlagMismatch,
    /// The same command line gave different SVHs.
    Nondeterministic,
}

impl Verdict {
    /// All verdicts, mildest first.
    pub const ALL: [Self; 5] = [
        Self::Safe,
        Self::Inconclusive,
        Self::Infected,
        Self::FlagMismatch,
        Self::Nondeterministic,
    ];

    /// Its name, as in the JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Safe => "safe",
            Self::Inconclusive => "inconclusive",
            Self::Infected => "infected",
            Self::FlagMismatch => "flag-mismatch",
            Self::Nondeterministic => "nondeterministic",
        }
    }

    /// Whether the crate itself is at fault, or its build rules.
    pub fn is_guilty(self) -> bool {
        matches!(self, Self::FlagMismatch | Self::Nondeterministic)
    }
}

/// A crate under one strategy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StrategyVerdict {
    /// The verdict.
    pub verdict: Verdict,
    /// SVH of the metadata side and of the full side, as the first pair of compiles gave them;
    /// `null` where a side made none.
    #[cfg_attr(test, schemars(with = "[Option<json::schema::Svh>; 2]"))]
    pub svh: [Option<Svh>; 2],
}

/// One crate of the build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CrateVerdict {
    /// `//path:target` or `name@version`.
    pub id: String,
    /// The package's name.
    pub package: String,
    /// The package's version.
    pub version: String,
    /// The target's name.
    pub target: String,
    /// `lib` or `proc-macro`.
    pub kind: String,
    /// The worst of the strategies.
    pub verdict: Verdict,
    /// By strategy.
    pub strategies: BTreeMap<String, StrategyVerdict>,
    /// Ids of the guilty crates that it loads, directly or through others; sorted.
    pub infected_by: Vec<String>,
    /// `hermetic` or `escapes`; `null` where accesses were not watched.
    pub hermeticity: Option<String>,
    /// The package's manifest, relative to the workspace; `null` where it lies elsewhere.
    #[serde(default)]
    pub manifest: Option<String>,
    /// Ids of the judged crates that it loads and was given by name (`--extern`); sorted.
    #[serde(default)]
    pub loads: Vec<String>,
}

/// What confined the compiles.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enforced {
    /// `namespaces`, `landlock` or `none`.
    pub mechanism: String,
    /// Why it is not `namespaces` and what it does not enforce, in a line.
    pub why: Option<String>,
}

/// Something that the report says nothing about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NotChecked {
    /// What.
    pub what: String,
    /// Why not.
    pub why: String,
}

impl NotChecked {
    /// An entry.
    pub fn new(what: &str, why: &str) -> Self {
        Self {
            what: what.to_owned(),
            why: why.to_owned(),
        }
    }
}

/// What `--since` made of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Since {
    /// The revision, as it was typed.
    pub revision: String,
    /// Its commit.
    pub commit: String,
    /// Why all crates were checked; `null` if only some were.
    pub all_because: Option<String>,
    /// The crates whose compile can have changed, sorted by id.
    pub reached: Vec<Reached>,
    /// How many crates were left out.
    pub skipped: usize,
}

/// A crate whose compile can have changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Reached {
    /// Its id.
    #[serde(rename = "crate")]
    pub krate: String,
    /// What can have changed it, in a few words.
    pub because: String,
}

/// Counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Summary {
    /// Crates that were judged.
    pub crates: usize,
    /// Crates by verdict; every verdict has its entry.
    pub verdicts: BTreeMap<String, usize>,
    /// The same for each strategy.
    pub strategies: BTreeMap<String, BTreeMap<String, usize>>,
    /// Whether the check was interrupted: crates may be missing.
    pub interrupted: bool,
}

/// The command line of a check, without what only changes how it is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Command {
    /// The targets.
    pub patterns: Vec<String>,
    /// svhcheck's own options.
    pub options: Vec<String>,
    /// What stood behind `--`, for `cargo build`.
    pub cargo: Vec<String>,
}

impl Command {
    /// The command as one line of a shell.
    pub fn line(&self) -> String {
        self.line_for(&self.patterns, &[])
    }

    /// The same for one crate alone; for a dependency, which no pattern names, the whole check.
    pub fn line_of(&self, id: &str) -> String {
        if !id.starts_with("//") {
            return self.line();
        }
        // The second build of a crate has the first one's target. What changed is no question of
        // one that is known to be at fault.
        let target = id.split('#').next().unwrap_or(id).to_owned();
        let mut own = self.clone();
        own.options.retain(|option| !option.starts_with("--since="));
        own.line_for(&[target], &["--no-deps".to_owned()])
    }

    fn line_for(&self, patterns: &[String], more: &[String]) -> String {
        let mut options = self.options.clone();
        options.extend(
            more.iter()
                .filter(|own| !self.options.contains(own))
                .cloned(),
        );
        let end = (!self.cargo.is_empty()).then(|| "--".to_owned());
        let words = patterns
            .iter()
            .chain(&options)
            .chain(&end)
            .chain(&self.cargo);
        words.fold("svhcheck".to_owned(), |line, word| {
            line + " " + &os_text::word(word.as_bytes()).to_string_lossy()
        })
    }
}

/// Everything that a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Report {
    /// Version of this form ([`json::VERSION`]).
    pub version: u32,
    /// `rustc --version` of the compiler that was run.
    pub rustc: String,
    /// Strategies that were judged, in the order in which they were asked for.
    pub strategies: Vec<String>,
    /// Variations that were applied.
    pub variations: Vec<String>,
    /// What confined the compiles that load macros.
    pub sandbox: Enforced,
    /// Every judged crate, sorted by id.
    pub crates: Vec<CrateVerdict>,
    /// Findings, sorted by crate, the most telling of each first.
    pub findings: Vec<Finding>,
    /// What was not looked at, sorted.
    pub not_checked: Vec<NotChecked>,
    /// Counts.
    pub summary: Summary,
    /// What to type to make this report again; `null` in reports of older versions.
    #[serde(default)]
    pub command: Option<Command>,
    /// Which crates `--since` left to be checked; absent without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Since>,
}

/// The order of findings: by crate; of one crate, by level; what moves the SVH by itself before what
/// an undeclared input moves, and factors in the order in which variations are listed.
fn order(finding: &Finding) -> (&str, Reverse<Level>, bool, usize, &str, &[String]) {
    let factor = finding.factor.as_deref();
    let mut factors = variation::TABLE.iter().map(|(_, name, _)| Some(*name));
    let rank = factors.position(|own| own == factor).unwrap_or(usize::MAX);
    let inner = finding.lint.starts_with("svh-");
    let level = Reverse(finding.level);
    (
        &finding.krate,
        level,
        !inner,
        rank,
        &finding.lint,
        &finding.names,
    )
}

impl Report {
    /// Sorts everything and counts.
    pub fn finish(&mut self) {
        self.crates.sort_by(|a, b| a.id.cmp(&b.id));
        self.findings.sort_by(|a, b| order(a).cmp(&order(b)));
        self.not_checked.sort();
        self.not_checked.dedup();
        let count = |verdicts: &mut dyn Iterator<Item = Verdict>| {
            let mut counts: BTreeMap<String, usize> = Verdict::ALL
                .iter()
                .map(|verdict| (verdict.as_str().to_owned(), 0))
                .collect();
            for verdict in verdicts {
                *counts.entry(verdict.as_str().to_owned()).or_default() += 1;
            }
            counts
        };
        self.summary.crates = self.crates.len();
        self.summary.verdicts = count(&mut self.crates.iter().map(|own| own.verdict));
        self.summary.strategies = self
            .strategies
            .iter()
            .map(|name| {
                let mut own = self
                    .crates
                    .iter()
                    .filter_map(|krate| Some(krate.strategies.get(name)?.verdict));
                (name.clone(), count(&mut own))
            })
            .collect();
    }

    /// Whether a finding is at deny level.
    pub fn denied(&self) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.level == Level::Deny)
    }

    /// Whether some crate has no verdict.
    pub fn incomplete(&self) -> bool {
        self.crates
            .iter()
            .any(|krate| krate.verdict == Verdict::Inconclusive)
    }
}
