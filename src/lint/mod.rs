//! The lints: what svhcheck says of a build, one Markdown page each in `lints/`.
//!
//! A page is the registry entry, the explanation and the documentation in one; nothing about a lint
//! is written twice.

pub mod levels;
pub mod offenders;
pub mod page;
mod pages;

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use page::Page;
use pages::PAGES;

/// All lints, sorted by id.
pub fn registry() -> Vec<Page> {
    PAGES
        .iter()
        .map(|text| Page::parse(text).expect("a test reads every page"))
        .collect()
}

/// What somebody who types a name means by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named<'a> {
    /// A lint.
    Lint(&'a Page),
    /// A group of them.
    Group(&'a str),
    /// A lint that svhcheck had once.
    Removed(&'a Page),
    /// Nothing; what may have been meant.
    Unknown(Option<&'a str>),
}

/// The lint or group called `name`.
pub fn named<'a>(pages: &'a [Page], name: &str) -> Named<'a> {
    if let Some(page) = pages.iter().find(|page| page.id == name) {
        return match page.removed {
            None => Named::Lint(page),
            Some(_) => Named::Removed(page),
        };
    }
    let mut groups = pages.iter().map(|page| page.group.as_str());
    if let Some(group) = groups.find(|group| *group == name) {
        return Named::Group(group);
    }
    let names = pages.iter().flat_map(|page| [&page.id, &page.group]);
    Named::Unknown(closest(name, names.map(String::as_str)))
}

/// The most alike of `names`, if it is like enough to have been meant.
pub fn closest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let rated = names.map(|own| (strsim::jaro_winkler(name, own), own));
    let best = rated.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.8).then_some(best.1)
}

/// What a finding does to the exit status.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Not shown.
    Allow,
    /// Shown.
    Warn,
    /// Shown, and the exit status is 1.
    Deny,
}

/// How sure a finding is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Grade {
    /// It could change the output; no run has shown that it does.
    Hazard,
    /// A run with everything else pinned gave another output.
    Confirmed,
    /// It was seen, and so far changed nothing.
    Harmless,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Allow => "allow",
            Level::Warn => "warn",
            Level::Deny => "deny",
        })
    }
}

/// Whose code is to blame.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Culprit {
    /// Name and version of the package, where it is known.
    pub package: Option<String>,
    /// What of it.
    pub kind: CulpritKind,
    /// The function, where it is known.
    pub function: Option<String>,
    /// File and line, where they are known.
    pub location: Option<String>,
    /// That line, where its file can be read.
    pub source: Option<Excerpt>,
}

/// A place in a culprit's source that can be it. Shown as `src/lib.rs:42 iterates a HashMap`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Hint {
    /// File and line.
    pub location: String,
    /// What that line does.
    pub what: String,
    /// Where the file is on this machine, for links; never saved.
    #[serde(skip)]
    pub file: Option<PathBuf>,
}

impl fmt::Display for Hint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.location, self.what)
    }
}

/// A line of somebody's source.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Excerpt {
    /// Its file, as `location` names it.
    pub path: String,
    /// Its number, from 1.
    pub line: usize,
    /// The line; control characters are replaced.
    pub text: String,
    /// The part of `text` that is meant, in bytes: where it begins, and its end.
    pub span: [usize; 2],
    /// What is to be said of it.
    pub label: String,
    /// Where the file is on this machine, for links; never saved.
    #[serde(skip)]
    pub file: Option<PathBuf>,
}

impl Excerpt {
    /// The line of `text` in which the bytes `span` of it begin. `None` for a span that is not in
    /// `text`, and for lines that are too long to be shown.
    pub fn cut(path: String, text: &str, span: Range<usize>, label: String) -> Option<Self> {
        let before = text.get(..span.start)?;
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let line = text[start..end].trim_end();
        if line.len() > MAX_LINE {
            return None;
        }
        let from = (span.start - start).min(line.len());
        let to = (span.end.min(end) - start).clamp(from, line.len());
        let [lead, meant, rest] =
            [line.get(..from)?, line.get(from..to)?, line.get(to..)?].map(plain);
        Some(Self {
            path,
            line: before.matches('\n').count() + 1,
            span: [lead.len(), lead.len() + meant.len()],
            text: lead + &meant + &rest,
            label,
            file: None,
        })
    }

    /// A line by its number, meant from its first word to its end.
    pub fn line(path: String, text: &str, number: usize, label: String) -> Option<Self> {
        let line = text.lines().nth(number.checked_sub(1)?)?;
        let start =
            line.as_ptr().addr() - text.as_ptr().addr() + line.len() - line.trim_start().len();
        let end = start + line.trim().len();
        (start < end).then(|| Self::cut(path, text, start..end, label))?
    }
}

/// Longest line that is shown, in bytes.
const MAX_LINE: usize = 400;

/// Source on a terminal: tabs as spaces, other control characters as a mark.
fn plain(text: &str) -> String {
    let show = |c: char| match c {
        '\t' => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(show).collect()
}

/// What kind of code is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum CulpritKind {
    /// A proc macro that the crate uses.
    ProcMacro,
    /// A build script.
    BuildScript,
    /// The crate's own source (`env!`, `include!`).
    Source,
    /// The command lines that the build rules made.
    Flags,
    /// The compiler.
    Rustc,
}

/// What a macro wrote differently in two compiles.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Expanded {
    /// The invocation, as `#[derive(X)] on struct Y`, where one alone can be it.
    pub invocation: Option<String>,
    /// File and line of the invocation, relative to the workspace or package.
    pub location: Option<String>,
    /// Its first line.
    pub source: Option<Excerpt>,
    /// `order`, `value`, `time`, `path`, `other`.
    pub kind: Option<String>,
    /// Lines that differ, the first side's with `-`, the second's with `+`; cut short.
    pub diff: Vec<String>,
}

/// One thing that guilty code was seen to ask of the world: a line of the trace.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Traced {
    /// What it asked, as `reads the clock`.
    pub asks: String,
    /// Name and version of the package whose code asked, where it is known.
    pub package: Option<String>,
    /// The innermost function of that code.
    pub function: Option<String>,
    /// File and line of that function, where debug information tells them.
    pub location: Option<String>,
    /// The program that asked, if the code started one.
    pub program: Option<String>,
}

/// What a lint says about one crate.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Finding {
    /// The lint's id.
    pub lint: String,
    /// Its level here.
    pub level: Level,
    /// How sure it is.
    pub grade: Grade,
    /// Id of the crate.
    #[serde(rename = "crate")]
    pub krate: String,
    /// Whose code is to blame, where that is known.
    pub culprit: Option<Culprit>,
    /// What moved the SVH: a variation (`env`), an argument or a variable; `null` where no run
    /// could tell.
    pub factor: Option<String>,
    /// The environment variables or arguments of that factor, where they could be told; sorted.
    pub names: Vec<String>,
    /// One sentence.
    pub message: String,
    /// What the macro wrote differently, where it was looked at.
    pub expansion: Option<Expanded>,
    /// What was run and seen, a sentence each.
    pub evidence: Vec<String>,
    /// What to change.
    pub help: String,
    /// What the guilty code was seen to ask for, where it was watched; cut short.
    #[serde(default)]
    pub trace: Vec<Traced>,
    /// Who set the level, as `deny because svhcheck.toml:12`.
    #[serde(default)]
    pub level_source: String,
    /// Who lets it pass, and why, where it is known and accepted: a baseline, an `[[allow]]` entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<String>,
    /// Where in the culprit's own source to look.
    #[serde(default)]
    pub hints: Vec<Hint>,
    /// Why it is no more than a note, unless somebody raises its level.
    #[serde(skip)]
    pub aside: Option<&'static str>,
}

impl Finding {
    /// A finding of `lint` about `krate` that says nothing yet. Its level is set once all findings
    /// are known ([`levels::Levels::apply`]).
    pub fn new(lint: &str, grade: Grade, krate: &str) -> Self {
        Self {
            lint: lint.to_owned(),
            level: Level::Allow,
            grade,
            krate: krate.to_owned(),
            culprit: None,
            factor: None,
            names: Vec::new(),
            message: String::new(),
            expansion: None,
            evidence: Vec::new(),
            help: String::new(),
            trace: Vec::new(),
            level_source: String::new(),
            accepted: None,
            hints: Vec::new(),
            aside: None,
        }
    }

    /// Who set the level; `None` where the default holds, which is no news.
    pub fn chosen_level(&self) -> Option<&str> {
        Some(self.level_source.as_str()).filter(|own| own.contains(" because "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_are_cut_from_any_text() {
        let cut = |text: &str, span| {
            Excerpt::cut(String::new(), text, span, String::new()).map(|own| {
                (
                    own.line,
                    own.text.clone(),
                    own.text[own.span[0]..own.span[1]].to_owned(),
                )
            })
        };
        let made = |line, text: &str, meant: &str| Some((line, text.to_owned(), meant.to_owned()));
        assert_eq!(cut("a\n\tb!(c)\nd", 3..5), made(2, " b!(c)", "b!"));
        assert_eq!(cut("ä\x1bm!{\n}", 3..8), made(1, "ä\u{fffd}m!{", "m!{"));
        assert_eq!(cut("", 0..0), made(1, "", ""));
        assert_eq!(cut("ä", 1..2), None);
        assert_eq!(cut("a", 2..3), None);
        assert_eq!(cut(&"x".repeat(MAX_LINE + 1), 0..1), None);
        let line = |number| Excerpt::line(String::new(), "a\n  b c \n\n", number, String::new());
        let b = line(2).unwrap();
        assert_eq!((b.line, b.text.as_str(), b.span), (2, "  b c", [2, 5]));
        assert_eq!([line(0), line(3), line(9)], [None, None, None]);
    }

    #[test]
    fn every_page_is_read_and_registered_once() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/lints");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter_map(|name| name.strip_suffix(".md").map(str::to_owned))
            .collect();
        files.sort();
        let ids: Vec<String> = registry().into_iter().map(|page| page.id).collect();
        assert_eq!(ids, files);
    }

    #[test]
    fn every_page_says_what_a_reader_needs() {
        for page in registry().iter().filter(|page| page.removed.is_none()) {
            for title in [
                "What it finds",
                "Why it matters",
                "How to fix it",
                "What it cannot see",
            ] {
                assert!(page.section(title).is_some(), "{}: {title}", page.id);
            }
            assert!(page.text.starts_with(&format!("# {}\n", page.id)));
        }
    }

    #[test]
    fn what_was_removed_keeps_its_name() {
        let page = |text: &str| Page::parse(text).unwrap();
        let head = "since = \"0.1.0\"\nlevel = \"warn\"\ngroup = \"svh\"\nmessage = \"m\"\n";
        let pages = [
            page(&format!("```toml\nid = \"kept\"\n{head}```\n\nText.")),
            page(&format!(
                "```toml\nid = \"gone\"\n{head}removed = \"0.2.0\"\n```\n\nSee `kept`."
            )),
        ];
        assert_eq!(named(&pages, "kept"), Named::Lint(&pages[0]));
        assert_eq!(named(&pages, "gone"), Named::Removed(&pages[1]));
        assert_eq!(named(&pages, "svh"), Named::Group("svh"));
        assert_eq!(named(&pages, "kpet"), Named::Unknown(Some("kept")));
        assert_eq!(named(&pages, "zzz"), Named::Unknown(None));
    }
}
