//! `--format json`: one object.

use serde::Serialize;

use crate::artifact::{Artifact, CrateDep, CrateRoot};
use crate::bytes::Escaped;
use crate::compare::artifacts::{Comparison, DepChange, Verdict};
use crate::compare::bytes::Region;
use crate::compare::cause::Cause;
use crate::compare::items::{ItemChange, Sides};
use crate::compare::metadata::{self, Part};
use crate::compare::text::{TextChange, TextGroup};
use crate::compare::{Difference, archive, object};

/// Of longer lists the first entries are given, and the whole length.
const MAX_ENTRIES: usize = 1000;

#[derive(Serialize)]
pub(super) struct Pair<'a> {
    left: Side<'a>,
    right: Side<'a>,
    verdict: &'static str,
    sentence: String,
    same_bytes: bool,
    same_svh: bool,
    fields: Vec<Field<'a>>,
    dependencies: Dependencies<'a>,
    metadata: Option<Metadata<'a>>,
    members: Option<Members>,
    objects: Option<Objects<'a>>,
    problems: &'a [String],
}

#[derive(Serialize)]
struct Side<'a> {
    path: String,
    size: usize,
    #[serde(rename = "crate")]
    krate: Option<String>,
    svh: Option<String>,
    rustc: Option<&'a str>,
}

#[derive(Serialize)]
struct Field<'a> {
    key: &'a str,
    left: &'a str,
    right: &'a str,
}

#[derive(Serialize)]
struct Dependencies<'a> {
    equal: usize,
    differing: Vec<Dependency<'a>>,
}

#[derive(Serialize)]
struct Dependency<'a> {
    name: &'a str,
    left: Option<Entry<'a>>,
    right: Option<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    svh: String,
    extra_filename: &'a str,
    kind: String,
    is_private: Option<bool>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    left_size: usize,
    right_size: usize,
    svh_alone: bool,
    parts: Vec<Tally>,
    texts: Vec<Texts<'a>>,
    regions: List<Place>,
    /// Absent where the tables of items are not decoded.
    items: Option<Items<'a>>,
    not_decoded: Option<String>,
}

#[derive(Serialize)]
struct Items<'a> {
    changed: List<Item<'a>>,
    removed: List<&'a str>,
    added: List<&'a str>,
}

#[derive(Serialize)]
struct Item<'a> {
    path: &'a str,
    property: &'static str,
    sides: &'static str,
}

#[derive(Serialize)]
struct Tally {
    part: &'static str,
    regions: usize,
    bytes: usize,
}

#[derive(Serialize)]
struct Place {
    part: &'static str,
    left: [usize; 2],
    right: [usize; 2],
}

#[derive(Serialize)]
struct Texts<'a> {
    #[serde(flatten)]
    cause: Option<&'a Cause>,
    changes: List<Change<'a>>,
}

#[derive(Serialize)]
struct Change<'a> {
    left: Option<&'a str>,
    right: Option<&'a str>,
}

#[derive(Serialize)]
struct List<T> {
    count: usize,
    first: Vec<T>,
}

#[derive(Serialize)]
struct Members {
    left: usize,
    right: usize,
    equal: usize,
    reordered: bool,
    removed: Vec<String>,
    added: Vec<String>,
    changed: Vec<String>,
    renamed: Vec<Renamed>,
}

#[derive(Serialize)]
struct Renamed {
    left: String,
    right: String,
    random: bool,
}

#[derive(Serialize)]
struct Objects<'a> {
    sections: Vec<Section<'a>>,
    functions: List<Function<'a>>,
    removed_symbols: List<&'a str>,
    added_symbols: List<&'a str>,
    rehashed_symbols: usize,
    constants: Vec<Texts<'a>>,
    debug_info: Vec<Texts<'a>>,
    not_read: &'a [String],
}

#[derive(Serialize)]
struct Section<'a> {
    name: &'a str,
    count: usize,
    left_size: u64,
    right_size: u64,
}

#[derive(Serialize)]
struct Function<'a> {
    symbol: &'a str,
    name: String,
    left_size: usize,
    right_size: usize,
    only_references: bool,
}

/// The object for two files, with a newline at its end.
pub(super) fn file(
    left: &Artifact,
    right: &Artifact,
    comparison: &Comparison,
) -> serde_json::Result<String> {
    let mut text = serde_json::to_string_pretty(&pair(left, right, comparison))?;
    text.push('\n');
    Ok(text)
}

/// The object for two files.
pub(super) fn pair<'a>(left: &Artifact, right: &Artifact, comparison: &'a Comparison) -> Pair<'a> {
    Pair {
        left: side(left, comparison.roots.0.as_ref()),
        right: side(right, comparison.roots.1.as_ref()),
        verdict: word(&comparison.verdict),
        sentence: super::human::sentence(comparison),
        same_bytes: comparison.verdict == Verdict::Identical,
        same_svh: comparison.same_svh(),
        fields: comparison.fields.iter().map(field).collect(),
        dependencies: Dependencies {
            equal: comparison.deps_equal,
            differing: comparison.deps.iter().map(dependency).collect(),
        },
        metadata: comparison.metadata.as_ref().map(metadata),
        members: comparison.members.as_ref().map(members),
        objects: comparison.objects.as_ref().map(objects),
        problems: &comparison.problems,
    }
}

/// The verdict's word in machine output.
pub(super) fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Identical => "identical",
        Verdict::SameSvh => "same-svh",
        Verdict::Dependency { .. } => "dependency-svh",
        Verdict::Own { .. } => "own-content",
        Verdict::Compiler => "different-rustc",
        Verdict::Crate => "different-crate",
        Verdict::Bytes => "bytes",
    }
}

fn side<'a>(artifact: &Artifact, root: Option<&'a CrateRoot>) -> Side<'a> {
    Side {
        path: Escaped::os(artifact.path()).to_string(),
        size: artifact.bytes().len(),
        krate: root.map(|root| root.name.to_string()),
        svh: root.map(|root| root.svh.to_string()),
        rustc: root.map(|root| root.rustc.as_str()),
    }
}

fn field(difference: &Difference) -> Field<'_> {
    Field {
        key: &difference.key,
        left: &difference.left,
        right: &difference.right,
    }
}

fn dependency(change: &DepChange) -> Dependency<'_> {
    fn entry(dep: &CrateDep) -> Entry<'_> {
        Entry {
            svh: dep.svh.to_string(),
            extra_filename: &dep.extra_filename,
            kind: dep.kind.to_string(),
            is_private: dep.is_private,
        }
    }
    Dependency {
        name: &change.name,
        left: change.left.as_ref().map(entry),
        right: change.right.as_ref().map(entry),
    }
}

fn metadata(changes: &metadata::Changes) -> Metadata<'_> {
    let place = |(Region { left, right }, part): &(Region, Part)| Place {
        part: part.word(),
        left: [left.start, left.end],
        right: [right.start, right.end],
    };
    Metadata {
        left_size: changes.sizes.0,
        right_size: changes.sizes.1,
        svh_alone: changes.svh_alone,
        parts: (changes.tallies.iter())
            .map(|tally| Tally {
                part: tally.part.word(),
                regions: tally.regions,
                bytes: tally.bytes,
            })
            .collect(),
        texts: changes.texts.iter().map(texts).collect(),
        regions: list(&changes.regions, place),
        items: changes.items.as_ref().map(|items| Items {
            changed: list(&items.changed, item),
            removed: list(&items.removed, String::as_str),
            added: list(&items.added, String::as_str),
        }),
        not_decoded: changes.fault.as_ref().map(ToString::to_string),
    }
}

fn item(change: &ItemChange) -> Item<'_> {
    Item {
        path: &change.path,
        property: change.property.word(),
        sides: match change.sides {
            Sides::Both => "both",
            Sides::Left => "left",
            Sides::Right => "right",
        },
    }
}

fn texts(group: &TextGroup) -> Texts<'_> {
    fn change(change: &TextChange) -> Change<'_> {
        Change {
            left: change.left.as_deref(),
            right: change.right.as_deref(),
        }
    }
    Texts {
        cause: group.cause.as_ref(),
        changes: list(&group.changes, change),
    }
}

fn list<'a, T, U>(items: &'a [T], map: impl Fn(&'a T) -> U) -> List<U> {
    List {
        count: items.len(),
        first: items.iter().take(MAX_ENTRIES).map(map).collect(),
    }
}

fn members(changes: &archive::Changes) -> Members {
    let name = |name: &[u8]| Escaped(name).to_string();
    Members {
        left: changes.counts.0,
        right: changes.counts.1,
        equal: changes.equal,
        reordered: changes.reordered,
        removed: changes
            .removed
            .iter()
            .map(|member| name(member.name))
            .collect(),
        added: changes
            .added
            .iter()
            .map(|member| name(member.name))
            .collect(),
        changed: changes
            .changed
            .iter()
            .map(|(left, _)| name(left.name))
            .collect(),
        renamed: (changes.renamed.iter())
            .map(|renamed| Renamed {
                left: name(renamed.left),
                right: name(renamed.right),
                random: renamed.random,
            })
            .collect(),
    }
}

fn objects(changes: &object::Changes) -> Objects<'_> {
    fn function(change: &object::FunctionChange) -> Function<'_> {
        Function {
            symbol: &change.symbol,
            name: format!("{:#}", rustc_demangle::demangle(&change.symbol)),
            left_size: change.sizes.0,
            right_size: change.sizes.1,
            only_references: change.only_references,
        }
    }
    Objects {
        sections: (changes.sections.iter())
            .map(|section| Section {
                name: &section.name,
                count: section.count,
                left_size: section.sizes.0,
                right_size: section.sizes.1,
            })
            .collect(),
        functions: list(&changes.functions, function),
        removed_symbols: list(&changes.removed, String::as_str),
        added_symbols: list(&changes.added, String::as_str),
        rehashed_symbols: changes.rehashed,
        constants: changes.strings.iter().map(texts).collect(),
        debug_info: changes.debug.iter().map(texts).collect(),
        not_read: &changes.problems,
    }
}
