//! The lower layers of the report for people: members, objects, bytes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::human::{Text, cut, listed, plural};
use crate::artifact::metadata::Property;
use crate::artifact::{Artifact, Section};
use crate::bytes::Escaped;
use crate::cli::words::grouped;
use crate::compare::artifacts::Comparison;
use crate::compare::bytes::{self, Region};
use crate::compare::items::{self, Sides};
use crate::compare::{archive, object};

impl Text {
    pub(super) fn items(&mut self, changes: &items::Changes) {
        let mut lines: Vec<String> = Vec::new();
        let shown = |path: &str| Escaped(path.as_bytes()).to_string();
        lines.extend(
            changes
                .removed
                .iter()
                .map(|path| format!("- {}", shown(path))),
        );
        lines.extend(
            changes
                .added
                .iter()
                .map(|path| format!("+ {}", shown(path))),
        );
        // One line for an item; one that only stands on another line tells least.
        let mut properties: BTreeMap<&str, Vec<(Property, Sides)>> = BTreeMap::new();
        for change in &changes.changed {
            let entry = properties.entry(&change.path).or_default();
            entry.push((change.property, change.sides));
        }
        let telling = |list: &[(Property, Sides)]| {
            let rank = |property: Property| match property {
                Property::Span | Property::Other => 2,
                // What is inside of it is told of by itself.
                Property::Children => 1,
                _ => 0,
            };
            list.iter().map(|(property, _)| rank(*property)).min()
        };
        let mut properties: Vec<_> = properties.into_iter().collect();
        properties.sort_by_key(|(_, list)| telling(list));
        lines.extend(properties.iter().map(|(path, list)| {
            let words = list.iter().map(|(property, sides)| match sides {
                Sides::Both => property.word().to_owned(),
                Sides::Left => format!("{} on the left only", property.word()),
                Sides::Right => format!("{} on the right only", property.word()),
            });
            format!("{}  {}", shown(path), words.collect::<Vec<_>>().join(", "))
        }));
        if lines.is_empty() {
            return;
        }
        let mut parts = Vec::new();
        for (count, what) in [
            (properties.len(), "changed"),
            (changes.removed.len(), "on the left only"),
            (changes.added.len(), "on the right only"),
        ] {
            if count > 0 {
                parts.push(format!("{} {what}", grouped(count)));
            }
        }
        self.row("items", &parts.join(", "));
        self.list(1, &lines, Clone::clone);
    }

    pub(super) fn members(&mut self, changes: &archive::Changes) {
        let (left, right) = changes.counts;
        let counts = if left == right {
            left.to_string()
        } else {
            format!("{left} → {right}")
        };
        let mut parts = vec![format!("{} equal", changes.equal)];
        let random = changes
            .renamed
            .iter()
            .filter(|renamed| renamed.random)
            .count();
        for (count, what) in [
            (changes.changed.len(), "with other content"),
            (random, "with another random name"),
            (changes.renamed.len() - random, "renamed"),
            (changes.removed.len(), "on the left only"),
            (changes.added.len(), "on the right only"),
        ] {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        if changes.reordered {
            parts.push("in another order".to_owned());
        }
        self.row("members", &format!("{counts}: {}", parts.join(", ")));
        let name = |name: &[u8]| Escaped(name).to_string();
        let mut lines: Vec<String> = Vec::new();
        lines.extend(
            changes
                .removed
                .iter()
                .map(|m| format!("- {}  {} bytes", name(m.name), grouped(m.data.len()))),
        );
        lines.extend(
            changes
                .added
                .iter()
                .map(|m| format!("+ {}  {} bytes", name(m.name), grouped(m.data.len()))),
        );
        let renamed = changes
            .renamed
            .iter()
            .filter(|renamed| !renamed.random || self.entries == usize::MAX);
        lines.extend(
            renamed.map(|renamed| format!("{} → {}", name(renamed.left), name(renamed.right))),
        );
        if self.entries == usize::MAX {
            lines.extend(changes.changed.iter().map(|(left, right)| {
                format!(
                    "≠ {}  {} → {} bytes",
                    name(left.name),
                    grouped(left.data.len()),
                    grouped(right.data.len())
                )
            }));
        }
        self.list(1, &lines, Clone::clone);
    }

    pub(super) fn objects(&mut self, changes: &object::Changes) {
        if !changes.sections.is_empty() {
            let sections: Vec<_> = changes.sections.iter().map(section).collect();
            let most = if self.entries == usize::MAX {
                usize::MAX
            } else {
                8
            };
            self.row("sections", &listed(&sections, most));
        }
        if !changes.functions.is_empty() {
            let references = changes
                .functions
                .iter()
                .filter(|f| f.only_references)
                .count();
            let code = changes.functions.len() - references;
            let line = match (code, references) {
                (code, 0) => format!("{} with other code", grouped(code)),
                (0, references) => format!(
                    "{} with equal code that refers to something else",
                    grouped(references)
                ),
                (code, references) => format!(
                    "{} with other code; {} with equal code that refers to something else",
                    grouped(code),
                    grouped(references)
                ),
            };
            self.row("functions", &line);
            let shown: Vec<_> = changes
                .functions
                .iter()
                .filter(|function| !function.only_references || self.entries == usize::MAX)
                .collect();
            self.list(1, &shown, |function| {
                let (left, right) = function.sizes;
                let sizes = if left == right {
                    format!("{} bytes", grouped(left))
                } else {
                    format!("{} → {} bytes", grouped(left), grouped(right))
                };
                format!("{}  {sizes}", cut(&demangled(&function.symbol)))
            });
        }
        if !changes.removed.is_empty() || !changes.added.is_empty() || changes.rehashed > 0 {
            let mut parts = Vec::new();
            for (count, what) in [
                (changes.removed.len(), "on the left only"),
                (changes.added.len(), "on the right only"),
                (changes.rehashed, "with another hash in their name"),
            ] {
                if count > 0 {
                    parts.push(format!("{} {what}", grouped(count)));
                }
            }
            self.row("symbols", &parts.join(", "));
            let one = changes.removed.iter().map(|symbol| ("-", symbol));
            let other = changes.added.iter().map(|symbol| ("+", symbol));
            let both: Vec<_> = one.chain(other).collect();
            self.list(1, &both, |(sign, symbol)| {
                format!("{sign} {}", cut(&demangled(symbol)))
            });
        }
        for (label, groups) in [
            ("constants", &changes.strings),
            ("debug info", &changes.debug),
        ] {
            let count: usize = groups.iter().map(|group| group.changes.len()).sum();
            if count > 0 {
                self.row(label, &plural(count, "text differs", "texts differ"));
                self.texts(1, groups);
            }
        }
        for problem in &changes.problems {
            self.row("not read", problem);
        }
    }
}

fn section(change: &object::SectionChange) -> String {
    let name = Escaped(change.name.as_bytes());
    match change.count {
        1 => format!("{name} ({} → {})", change.sizes.0, change.sizes.1),
        count => format!("{name} ×{count}"),
    }
}

fn demangled(symbol: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(symbol))
}

/// With `--full`: the bytes of everything that differs, side by side: of the metadata, then of members
/// or sections.
pub(super) fn hunks(text: &mut String, left: &Artifact, right: &Artifact, comparison: &Comparison) {
    if let (Some(changes), Ok(a), Ok(b)) = (&comparison.metadata, left.metadata(), right.metadata())
    {
        let _ = writeln!(text, "metadata bytes");
        for (region, part) in &changes.regions {
            hunk(text, (a.bytes(), b.bytes()), region, part.word());
        }
    }
    let members = comparison.members.iter();
    for (one, other) in members.flat_map(|members| &members.changed) {
        // What it holds has been shown.
        if !one.name.starts_with(b"lib.rmeta") {
            let title = format!("bytes of {}", Escaped(one.name));
            stretch(text, &title, (one.data, other.data));
        }
    }
    let others = right.sections().unwrap_or_default();
    let bytes = |artifact: &'_ Artifact, section: &Section| {
        let range = section.range.clone()?;
        artifact.bytes().get(range).map(<[u8]>::to_vec)
    };
    for section in left.sections().unwrap_or_default() {
        let other = others.iter().find(|other| other.name == section.name);
        let other = other.filter(|_| section.name != ".rustc");
        if let (Some(a), Some(b)) = (bytes(left, &section), other.and_then(|s| bytes(right, s))) {
            let title = format!("bytes of section {}", Escaped(section.name.as_bytes()));
            stretch(text, &title, (&a, &b));
        }
    }
}

/// All places in which two stretches differ.
fn stretch(text: &mut String, title: &str, (left, right): (&[u8], &[u8])) {
    let regions = bytes::regions(left, right);
    if !regions.is_empty() {
        let _ = writeln!(text, "{title}");
    }
    for region in &regions {
        hunk(text, (left, right), region, "");
    }
}

fn hunk(text: &mut String, sides: (&[u8], &[u8]), Region { left, right }: &Region, what: &str) {
    let place = format!(
        "  {:#x}+{} → {:#x}+{}  {what}",
        left.start,
        left.len(),
        right.start,
        right.len(),
    );
    let _ = writeln!(text, "{}", place.trim_end());
    for (sign, bytes, range) in [("-", sides.0, left), ("+", sides.1, right)] {
        let bytes = bytes.get(range.clone()).unwrap_or_default();
        for line in bytes.chunks(16) {
            let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            let letters: String = line
                .iter()
                .map(|byte| match byte {
                    b' '..=b'~' => char::from(*byte),
                    _ => '.',
                })
                .collect();
            let _ = writeln!(text, "    {sign} {:47}  {letters}", hex.join(" "));
        }
    }
}
