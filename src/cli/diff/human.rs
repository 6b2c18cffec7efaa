//! `--format human`: the verdict in one sentence, then layer by layer why, on one screen.

use std::fmt::Write as _;

use super::contents;
use crate::artifact::{Artifact, CrateDep};
use crate::bytes::Escaped;
use crate::cli::words::grouped;
use crate::compare::artifacts::{Comparison, DepChange, Depth, Verdict};
use crate::compare::cause::Cause;
use crate::compare::metadata::{self, Part};
use crate::compare::text::{TextChange, TextGroup};

/// A screen.
const MAX_LINES: usize = 40;

/// Entries of a list that are shown, fewer where everything together is longer than a screen.
const MAX_ENTRIES: usize = 5;

/// Dependencies named in a sentence.
const MAX_NAMES: usize = 4;

/// Columns of a text that is shown.
const MAX_WIDTH: usize = 100;

/// Column of the values.
const LABEL: usize = 14;

/// One pair of files.
pub(super) fn file(
    left: &Artifact,
    right: &Artifact,
    comparison: &Comparison,
    full: bool,
) -> String {
    if full {
        let mut text = Text::new(usize::MAX).all(left, right, comparison);
        contents::hunks(&mut text, left, right, comparison);
        return text;
    }
    let texts = (1..=MAX_ENTRIES)
        .rev()
        .map(|entries| Text::new(entries).all(left, right, comparison));
    let mut shortest = String::new();
    for text in texts {
        shortest = text;
        if shortest.lines().count() <= MAX_LINES {
            return shortest;
        }
    }
    let mut lines: Vec<&str> = shortest.lines().take(MAX_LINES - 1).collect();
    let rest = "… (--full shows the rest)";
    lines.push(rest);
    lines.join("\n") + "\n"
}

/// The verdict, as a sentence without a period.
pub(super) fn sentence(comparison: &Comparison) -> String {
    match &comparison.verdict {
        Verdict::Identical => "the same bytes".to_owned(),
        Verdict::SameSvh => "same SVH, harmless byte differences".to_owned(),
        Verdict::Dependency { names, alone } => {
            let own = if *alone {
                ""
            } else {
                "; its own metadata differs as well"
            };
            because(names) + own
        }
        Verdict::Own { alone } => {
            let code = comparison.objects.as_ref().map_or(0, |objects| {
                let other = objects.functions.iter().filter(|f| !f.only_references);
                other.count()
            });
            let why = match (alone, code) {
                (true, 0) if comparison.depth != Depth::Roots => {
                    "; nothing else in the metadata does: a compiler option or variable that the SVH covers (such as --emit or RUSTC_BOOTSTRAP), or source that leaves no trace in it"
                }
                (false, _) | (true, 0) => "",
                (true, _) => "; in the metadata nothing else does, but code differs",
            };
            format!("SVH differs, own content{why}")
        }
        Verdict::Compiler => "different rustc".to_owned(),
        Verdict::Crate => match (&comparison.roots.0, &comparison.roots.1) {
            (Some(left), Some(right)) if left.name != right.name => {
                format!("different crates, `{}` and `{}`", left.name, right.name)
            }
            (Some(left), _) => format!(
                "two instances of crate `{}`: other -Cmetadata, as for another version, feature set or place of its package",
                left.name
            ),
            _ => "different crates".to_owned(),
        },
        Verdict::Bytes => {
            "different bytes; there is no crate metadata on both sides, so no SVHs to compare"
                .to_owned()
        }
    }
}

/// That the SVH differs because those of `dependencies` do.
pub(super) fn because(dependencies: &[String]) -> String {
    let names = dependencies
        .iter()
        .map(|name| format!("`{}`", Escaped(name.as_bytes())));
    let names: Vec<_> = names.collect();
    let (word, verb) = match names.len() {
        1 => ("dependency", "has"),
        _ => ("dependencies", "have"),
    };
    let names = listed(&names, MAX_NAMES);
    format!("SVH differs because {word} {names} {verb} another SVH")
}

pub(super) fn listed(items: &[String], most: usize) -> String {
    let shown = items.len().min(most);
    let mut text = items[..shown].join(", ");
    if items.len() > shown {
        let _ = write!(text, " and {} more", items.len() - shown);
    }
    text
}

/// The report as it grows.
pub(super) struct Text {
    text: String,
    pub(super) entries: usize,
}

impl Text {
    fn new(entries: usize) -> Self {
        let text = String::new();
        Self { text, entries }
    }

    fn all(mut self, left: &Artifact, right: &Artifact, comparison: &Comparison) -> String {
        self.line(0, &sentence(comparison));
        let sides = [(left, &comparison.roots.0), (right, &comparison.roots.1)];
        let paths = sides.map(|(artifact, _)| Escaped::os(artifact.path()).to_string());
        let width = paths
            .iter()
            .map(|path| path.chars().count())
            .max()
            .unwrap_or(0);
        for ((artifact, root), path) in sides.iter().zip(&paths) {
            let svh = root.as_ref().map_or(String::new(), |root| {
                format!("{}  svh {}", root.name, root.svh)
            });
            let size = grouped(artifact.bytes().len());
            let line = format!("{path:width$}  {size:>12} bytes  {svh}");
            self.line(1, line.trim_end());
        }
        if comparison.verdict == Verdict::Identical {
            return self.text;
        }
        // Of two crates or compilers everything differs, for that one reason.
        let akin = !matches!(comparison.verdict, Verdict::Compiler | Verdict::Crate);
        if akin {
            self.causes(comparison);
        }
        self.fields(comparison);
        self.dependencies(comparison);
        if let Some(changes) = &comparison.metadata {
            self.metadata(changes, akin);
        } else if comparison.depth == Depth::Everything
            && comparison.roots.0.is_some()
            && comparison.roots.1.is_some()
        {
            self.row("metadata", "equal");
        }
        if let Some(members) = &comparison.members {
            self.members(members);
        }
        if let Some(objects) = &comparison.objects {
            self.objects(objects);
        }
        self.text
    }

    pub(super) fn line(&mut self, depth: usize, line: &str) {
        let _ = writeln!(self.text, "{:1$}{line}", "", 2 * depth);
    }

    pub(super) fn row(&mut self, label: &str, value: &str) {
        let _ = writeln!(self.text, "{label:LABEL$}{value}");
    }

    /// The first entries, each on a line, and how many there are besides.
    pub(super) fn list<T>(&mut self, depth: usize, items: &[T], line: impl Fn(&T) -> String) {
        // Saying that one is left out takes as much room as that one.
        let shown = if items.len() == self.entries.saturating_add(1) {
            items.len()
        } else {
            items.len().min(self.entries)
        };
        for item in &items[..shown] {
            self.line(depth, &line(item));
        }
        if items.len() > shown {
            let rest = grouped(items.len() - shown);
            self.line(depth, &format!("… and {rest} more"));
        }
    }

    /// The causes of all texts that differ, wherever they stand.
    fn causes(&mut self, comparison: &Comparison) {
        let mut causes: Vec<(&Cause, Vec<String>)> = Vec::new();
        let add = |groups: &[TextGroup], place: &str| {
            let groups: Vec<(Cause, usize)> = groups
                .iter()
                .filter_map(|group| Some((group.cause.clone()?, group.changes.len())))
                .collect();
            groups
                .into_iter()
                .map(|(cause, count)| (cause, format!("{} in {place}", grouped(count))))
                .collect::<Vec<_>>()
        };
        let mut found: Vec<(Cause, String)> = Vec::new();
        if let Some(changes) = &comparison.metadata {
            found.extend(add(&changes.texts, "the metadata"));
        }
        if let Some(objects) = &comparison.objects {
            found.extend(add(&objects.strings, "constants"));
            found.extend(add(&objects.debug, "debug information"));
        }
        for (cause, place) in &found {
            match causes.iter_mut().find(|(other, _)| *other == cause) {
                Some((_, places)) => places.push(place.clone()),
                None => causes.push((cause, vec![place.clone()])),
            }
        }
        if let Some(members) = &comparison.members
            && members.renamed.iter().any(|renamed| renamed.random)
        {
            self.row(
                "likely cause",
                "-Cincremental, which puts random names on objects",
            );
        }
        if comparison
            .objects
            .as_ref()
            .is_some_and(|objects| objects.stripped)
        {
            self.row(
                "likely cause",
                "debug information is on one side only, as after `strip` or -Cstrip",
            );
        }
        let shown = causes.len().min(self.entries);
        for (cause, places) in &causes[..shown] {
            let line = format!("{cause}  (texts: {})", places.join(", "));
            self.row("likely cause", &Escaped(line.as_bytes()).to_string());
        }
        if causes.len() > shown {
            self.row("", &format!("… and {} more", causes.len() - shown));
        }
    }

    fn fields(&mut self, comparison: &Comparison) {
        // The SVHs stand above.
        let fields = comparison.fields.iter();
        let fields: Vec<_> = fields
            .filter(|field| field.key != "rmeta.root.svh")
            .collect();
        if fields.is_empty() {
            return;
        }
        self.row(
            "root",
            &plural(fields.len(), "other field differs", "other fields differ"),
        );
        let names = |key: &str| {
            key.trim_start_matches("rmeta.")
                .trim_start_matches("root.")
                .to_owned()
        };
        let width = fields
            .iter()
            .map(|field| names(&field.key).len())
            .max()
            .unwrap_or(0);
        self.list(1, &fields, |field| {
            let side = |text: &str| match text {
                "" => "(none)".to_owned(),
                text => cut(text),
            };
            format!(
                "{:width$}  {} → {}",
                names(&field.key),
                side(&field.left),
                side(&field.right)
            )
        });
    }

    fn dependencies(&mut self, comparison: &Comparison) {
        if comparison.deps.is_empty() {
            if comparison.deps_equal > 0 {
                let equal = comparison.deps_equal;
                self.row("dependencies", &format!("{equal}, all equal"));
            }
            return;
        }
        let (equal, other) = (comparison.deps_equal, comparison.deps.len());
        let differ = plural(other, "differs", "differ");
        self.row("dependencies", &format!("{differ}, {equal} equal"));
        let width = comparison
            .deps
            .iter()
            .map(|dep| dep.name.chars().count())
            .max()
            .unwrap_or(0);
        self.list(1, &comparison.deps, |dep| dependency(dep, width));
    }

    fn metadata(&mut self, changes: &metadata::Changes, akin: bool) {
        let regions = changes.regions.iter().map(|(region, _)| region);
        let bytes: usize = regions.map(|r| r.left.len().max(r.right.len())).sum();
        let (left, right) = changes.sizes;
        let sizes = if left == right {
            format!("{} bytes", grouped(left))
        } else {
            format!("{} → {} bytes", grouped(left), grouped(right))
        };
        let places = plural(changes.regions.len(), "place differs", "places differ");
        let share = permille(bytes, left.max(right));
        self.row(
            "metadata",
            &format!("{sizes}; {places}, {} bytes ({share})", grouped(bytes)),
        );
        let width = changes
            .tallies
            .iter()
            .map(|tally| grouped(tally.regions).len())
            .max()
            .unwrap_or(0);
        for tally in &changes.tallies {
            let places = if tally.regions == 1 {
                "place "
            } else {
                "places"
            };
            let bytes = if tally.bytes == 1 { "byte " } else { "bytes" };
            let line = format!(
                "{:>width$} {places} {:>9} {bytes}  {}",
                grouped(tally.regions),
                grouped(tally.bytes),
                meaning(tally.part)
            );
            self.line(1, &line);
            if tally.part == Part::Text && (akin || self.entries == usize::MAX) {
                self.texts(2, &changes.texts);
            }
        }
        if let Some(items) = changes.items.as_ref().filter(|_| akin) {
            self.items(items);
        }
        if let Some(fault) = &changes.fault {
            self.line(1, &format!("the parts are not told apart: {fault}"));
        }
    }

    pub(super) fn texts(&mut self, depth: usize, groups: &[TextGroup]) {
        let all = self.entries == usize::MAX;
        // A cause that is named has been told; one example of it is enough.
        let most = |group: &TextGroup| match group.cause {
            Some(Cause::Directory { .. }) if !all => 1,
            _ => self.entries,
        };
        // One of each cause tells more than many of one.
        let longest = groups.iter().map(most).max().unwrap_or(0);
        let longest = longest.min(groups.iter().map(|g| g.changes.len()).max().unwrap_or(0));
        let nth = |n: usize| {
            let groups = groups.iter().filter(move |group| n < most(group));
            groups.filter_map(move |group| group.changes.get(n))
        };
        let shown: Vec<&TextChange> = (0..longest).flat_map(nth).take(self.entries).collect();
        let rest = groups.iter().map(|g| g.changes.len()).sum::<usize>() - shown.len();
        for change in shown {
            self.line(depth, &text_change(change));
        }
        if rest > 0 {
            self.line(depth, &format!("… and {} more", grouped(rest)));
        }
    }
}

fn dependency(dep: &DepChange, width: usize) -> String {
    let name = Escaped(dep.name.as_bytes());
    match (&dep.left, &dep.right) {
        (Some(left), None) => format!("{name:width$}  on the left only, svh {}", left.svh),
        (None, Some(right)) => format!("{name:width$}  on the right only, svh {}", right.svh),
        (Some(left), Some(right)) if left.svh != right.svh => {
            format!("{name:width$}  svh {} → {}", left.svh, right.svh)
        }
        (Some(left), Some(right)) => {
            let mut parts: Vec<String> = Vec::new();
            let mut part = |what: &str, value: fn(&CrateDep) -> String| {
                let (left, right) = (value(left), value(right));
                if left != right {
                    parts.push(format!("{what} {left} → {right}"));
                }
            };
            part("extra filename", |dep| {
                Escaped(dep.extra_filename.as_bytes()).to_string()
            });
            part("kind", |dep| dep.kind.to_string());
            part("private", |dep| {
                format!("{:?}", dep.is_private == Some(true))
            });
            part("linkage", |dep| {
                dep.linkage.map_or("none".to_owned(), |l| l.to_string())
            });
            part("host svh", |dep| {
                dep.host_svh
                    .map_or("none".to_owned(), |svh| svh.to_string())
            });
            format!("{name:width$}  same SVH, {}", parts.join(", "))
        }
        (None, None) => String::new(),
    }
}

/// What a part is, in words.
fn meaning(part: Part) -> &'static str {
    match part {
        Part::Header => "header (version, compiler, positions)",
        Part::Svh => "the crate's SVH",
        Part::DependencySvh => "SVHs of dependencies",
        Part::Dependencies => "dependency table",
        Part::Unhashed => "names of files, which the SVH does not cover",
        Part::Text => "texts",
        Part::Position => "positions, moved by a change of length before them",
        Part::Hash => "hashes of macro expansions or paths of definitions",
        Part::Root => "root (counts and places of tables)",
        Part::Other => "not decoded (items, bodies, spans, hashes)",
    }
}

fn text_change(change: &TextChange) -> String {
    let quoted = |text: &String| format!("\"{}\"", Escaped(text.as_bytes()));
    match (&change.left, &change.right) {
        (Some(left), Some(right)) => {
            let (left, right) = around(left, right);
            format!("{} → {}", quoted(&left), quoted(&right))
        }
        (Some(left), None) => format!("- {}", quoted(&cut(left))),
        (None, Some(right)) => format!("+ {}", quoted(&cut(right))),
        (None, None) => String::new(),
    }
}

/// Both texts, cut to what surrounds the first difference if they are long.
fn around(left: &str, right: &str) -> (String, String) {
    let half = MAX_WIDTH / 2;
    let same = left
        .chars()
        .zip(right.chars())
        .take_while(|(a, b)| a == b)
        .count();
    let cut = |text: &str| {
        let length = text.chars().count();
        let start = if length <= half {
            0
        } else {
            same.saturating_sub(half / 3).min(length - half)
        };
        let shown: String = text.chars().skip(start).take(half).collect();
        let before = if start > 0 { "…" } else { "" };
        let after = if start + half < length { "…" } else { "" };
        format!("{before}{shown}{after}")
    };
    (cut(left), cut(right))
}

pub(super) fn cut(text: &str) -> String {
    let shown: String = text.chars().take(MAX_WIDTH).collect();
    let more = if shown.len() < text.len() { "…" } else { "" };
    format!("{}{more}", Escaped(shown.as_bytes()))
}

pub(super) fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

fn permille(part: usize, whole: usize) -> String {
    let tenths = part * 1000 / whole.max(1);
    match tenths {
        0 => "under 0.1 %".to_owned(),
        tenths => format!("{}.{} %", tenths / 10, tenths % 10),
    }
}
