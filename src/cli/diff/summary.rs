//! Two directories for people: which crates changed by themselves, which only because of them, and what
//! is on one side only.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::directories::File;
use super::human::{self, listed, plural};
use crate::artifact::Svh;
use crate::bytes::Escaped;
use crate::compare::artifacts::{Comparison, Verdict};

/// Crates that changed by themselves, of which each has two lines.
const MAX_OWN: usize = 10;

/// Reasons that are somebody else's.
const MAX_REASONS: usize = 8;

/// Files of one side only.
const MAX_ALONE: usize = 6;

/// Names in a line.
const MAX_NAMES: usize = 8;

/// What was compared, and what could not be.
pub(super) struct Sides<'a> {
    pub(super) compared: &'a [(&'a File, &'a File, Comparison<'a>)],
    pub(super) lefts: &'a [&'a File],
    pub(super) rights: &'a [&'a File],
    /// Files that are no artifacts, by their ending.
    pub(super) skipped: usize,
}

/// A pair, and how many more there are of the same crate: its rlib and its rmeta differ alike.
struct Entry<'a> {
    pair: &'a (&'a File, &'a File, Comparison<'a>),
    more: usize,
}

impl Sides<'_> {
    /// Each pair with everything that differs.
    pub(super) fn full(&self) -> String {
        let mut text = String::new();
        let differing = |pair: &&(&File, &File, Comparison)| pair.2.verdict != Verdict::Identical;
        for (one, other, comparison) in self.compared.iter().filter(differing) {
            text += &human::file(&one.artifact, &other.artifact, comparison, true);
            text.push('\n');
        }
        self.alone(&mut text, usize::MAX);
        self.total(&mut text);
        text
    }

    /// At most a screen, what tells most first.
    pub(super) fn screen(&self) -> String {
        let mut text = String::new();
        let (own, because) = self.sorted();
        for entry in own.iter().take(MAX_OWN) {
            own_line(&mut text, entry);
        }
        more(
            &mut text,
            own.len(),
            MAX_OWN,
            "crates that differ by themselves",
        );
        for (roots, names) in because.iter().take(MAX_REASONS) {
            let names: Vec<String> = names.iter().cloned().collect();
            let _ = writeln!(
                text,
                "{}: {}",
                human::because(roots),
                listed(&names, MAX_NAMES)
            );
        }
        more(&mut text, because.len(), MAX_REASONS, "such reasons");
        self.alone(&mut text, MAX_ALONE);
        self.total(&mut text);
        text
    }

    /// The crates that differ by themselves, and those that do because of others, by these.
    fn sorted(&self) -> (Vec<Entry<'_>>, BTreeMap<Vec<String>, BTreeSet<String>>) {
        let mut own: Vec<Entry> = Vec::new();
        let mut because: BTreeMap<Vec<String>, BTreeSet<String>> = BTreeMap::new();
        let mut seen: BTreeMap<(Svh, Svh), usize> = BTreeMap::new();
        let follows = self.followers();
        for pair in self.compared {
            let comparison = &pair.2;
            match &comparison.verdict {
                Verdict::Identical | Verdict::SameSvh => continue,
                Verdict::Dependency { .. } => {
                    let name = comparison
                        .roots
                        .0
                        .as_ref()
                        .map(|root| root.name.to_string());
                    let name = Escaped(name.unwrap_or_default().as_bytes()).to_string();
                    because
                        .entry(roots(comparison, &follows))
                        .or_default()
                        .insert(name);
                    continue;
                }
                _ => {}
            }
            let roots = comparison.roots.0.as_ref().zip(comparison.roots.1.as_ref());
            let svhs = roots.map(|(a, b)| (a.svh, b.svh));
            if let Some(first) = svhs.and_then(|svhs| seen.get(&svhs)) {
                own[*first].more += 1;
                continue;
            }
            if let Some(svhs) = svhs {
                seen.insert(svhs, own.len());
            }
            own.push(Entry { pair, more: 0 });
        }
        own.sort_by_key(|entry| match entry.pair.2.verdict {
            Verdict::Own { alone } => u8::from(alone),
            Verdict::Bytes => 2,
            _ => 3,
        });
        (own, because)
    }

    /// SVHs, of the left, of the crates that differ because of a dependency.
    fn followers(&self) -> BTreeSet<Svh> {
        let follows = |pair: &&(&File, &File, Comparison)| {
            matches!(pair.2.verdict, Verdict::Dependency { .. })
        };
        let pairs = self.compared.iter().filter(follows);
        pairs
            .filter_map(|pair| Some(pair.2.roots.0.as_ref()?.svh))
            .collect()
    }

    fn alone(&self, text: &mut String, most: usize) {
        let lefts = self.lefts.iter().map(|file| ("left", file));
        let rights = self.rights.iter().map(|file| ("right", file));
        let both: Vec<_> = lefts.chain(rights).collect();
        for (side, file) in both.iter().take(most) {
            let _ = writeln!(text, "on the {side} only: {}", Escaped::os(&file.path));
        }
        more(text, both.len(), most, "files on one side only");
    }

    fn total(&self, text: &mut String) {
        let count = |wanted: Verdict| {
            let mut pairs = self.compared.iter().map(|(.., comparison)| comparison);
            let found = pairs.by_ref().filter(|found| found.verdict == wanted);
            found.count()
        };
        let (equal, harmless) = (count(Verdict::Identical), count(Verdict::SameSvh));
        let other = self.compared.len() - equal - harmless;
        let _ = write!(
            text,
            "{}: {other} differ",
            plural(self.compared.len(), "pair", "pairs")
        );
        for (count, what) in [
            (harmless, "same SVH, harmless byte differences"),
            (equal, "the same bytes"),
        ] {
            if count > 0 {
                let _ = write!(text, ", {count} {what}");
            }
        }
        let _ = writeln!(
            text,
            "; {} on one side only; {} not looked at, by their ending",
            self.lefts.len() + self.rights.len(),
            plural(self.skipped, "file", "files")
        );
    }
}

/// Of the dependencies that differ, those that do by themselves as far as is known here.
fn roots(comparison: &Comparison, follows: &BTreeSet<Svh>) -> Vec<String> {
    let changed = || {
        let deps = comparison.deps.iter();
        deps.filter_map(|dep| {
            let (left, right) = (dep.left.as_ref()?, dep.right.as_ref()?);
            (left.svh != right.svh).then_some((&dep.name, left.svh))
        })
    };
    let own = changed().filter(|(_, svh)| !follows.contains(svh));
    let mut names: Vec<String> = own.map(|(name, _)| name.clone()).collect();
    if names.is_empty() {
        names = changed().map(|(name, _)| name.clone()).collect();
    }
    names.sort();
    names
}

fn own_line(text: &mut String, entry: &Entry) {
    let (one, other, comparison) = entry.pair;
    let path = Escaped::os(&one.path).to_string();
    let name = one.root.as_ref().map(|root| root.name.to_string());
    let name = name.map_or(path.clone(), |name| Escaped(name.as_bytes()).to_string());
    let _ = write!(text, "{name}: {}\n  {path}", human::sentence(comparison));
    if one.path != other.path {
        let _ = write!(text, " → {}", Escaped::os(&other.path));
    }
    if entry.more > 0 {
        let _ = write!(
            text,
            "  (and {})",
            plural(entry.more, "other file", "other files")
        );
    }
    text.push('\n');
}

fn more(text: &mut String, count: usize, most: usize, what: &str) {
    if count > most {
        let _ = writeln!(
            text,
            "… and {} more {what} (--full shows all)",
            count - most
        );
    }
}
