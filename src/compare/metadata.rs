//! What differs between two metadata blobs, and what the differing bytes are.

use std::ops::Range;

use super::bytes::{self, Region};
use super::cause::{self, Cause};
use super::items;
use super::moved::Moves;
use super::text::{self, TextChange, TextGroup};
use crate::artifact::metadata::Places;
use crate::artifact::{Fault, Metadata};

/// What differing bytes are, as far as the format is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Magic, version, compiler.
    Header,
    /// The crate's own SVH.
    Svh,
    /// The SVH of a dependency.
    DependencySvh,
    /// The rest of the dependency table.
    Dependencies,
    /// What the SVH does not cover.
    Unhashed,
    /// A text.
    Text,
    /// A position or distance that differs only because something before it has another length.
    Position,
    /// A hash that begins with the crate's id: of a macro expansion or of a definition's path.
    Hash,
    /// The root: counts and places of tables.
    Root,
    /// None of these: items, bodies, spans, hashes.
    Other,
}

impl Part {
    /// All of them, in the order of output.
    pub const ALL: [Self; 10] = [
        Self::Header,
        Self::Svh,
        Self::DependencySvh,
        Self::Dependencies,
        Self::Unhashed,
        Self::Text,
        Self::Position,
        Self::Hash,
        Self::Root,
        Self::Other,
    ];

    /// Its word in output.
    pub fn word(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Svh => "svh",
            Self::DependencySvh => "dependency-svh",
            Self::Dependencies => "dependencies",
            Self::Unhashed => "unhashed",
            Self::Text => "text",
            Self::Position => "position",
            Self::Hash => "hash",
            Self::Root => "root",
            Self::Other => "other",
        }
    }
}

/// How much of a part differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// What.
    pub part: Part,
    /// In how many places.
    pub regions: usize,
    /// So many bytes, of the side that has more.
    pub bytes: usize,
}

/// What differs between two blobs.
#[derive(Debug)]
pub struct Changes {
    /// Sizes of the blobs.
    pub sizes: (usize, usize),
    /// The differing stretches with what they are, in order.
    pub regions: Vec<(Region, Part)>,
    /// The same, added up.
    pub tallies: Vec<Tally>,
    /// Texts that differ, by likely cause.
    pub texts: Vec<TextGroup>,
    /// The items that differ, with the property; nothing where their tables are not decoded.
    pub items: Option<items::Changes>,
    /// Whether only SVHs (the crate's own or those of dependencies) and what follows from
    /// them differ.
    pub svh_alone: bool,
    /// Why the parts could not be told apart, if they could not.
    pub fault: Option<Fault>,
}

/// More changed texts are not looked at one by one.
const MAX_TEXTS: usize = 20_000;

/// Another order is looked for in no more bytes than these.
const MAX_REORDER: usize = 1 << 20;

/// Around the differing texts, for those that happen to stand in the same place.
const REORDER_MARGIN: usize = 256;

/// Whether nothing but SVHs differs.
pub fn is_svh_alone(left: &Metadata, right: &Metadata) -> bool {
    let (Ok(l), Ok(r)) = (left.places(), right.places()) else {
        return false;
    };
    // SVHs have one length: where anything else does, it shows at once.
    let (a, b) = (left.bytes(), right.bytes());
    let alike = a.len() == b.len();
    alike && {
        let regions = bytes::regions(a, b);
        let mut parts = regions.iter().map(|region| decoded(&l, &r, region));
        !regions.is_empty() && parts.all(|part| part.is_some_and(is_svh))
    }
}

fn is_svh(part: Part) -> bool {
    matches!(part, Part::Svh | Part::DependencySvh)
}

/// Compares two blobs.
pub fn compare(left: &Metadata, right: &Metadata) -> Changes {
    let (a, b) = (left.bytes(), right.bytes());
    let regions = bytes::regions(a, b);
    let (places, fault) = match (left.places(), right.places()) {
        (Ok(left), Ok(right)) => (Some((left, right)), None),
        (Err(fault), _) | (_, Err(fault)) => (None, Some(fault)),
    };
    let moves = Moves::new(left, right, &regions);
    let sentinel = left.header().version >= 6 && right.header().version >= 6;
    let mut texts: Vec<TextChange> = Vec::new();
    let mut seen = (0, 0);
    let mut parts = Vec::with_capacity(regions.len());
    for region in &regions {
        let part = places.as_ref().and_then(|(l, r)| decoded(l, r, region));
        if let Some(part) = part {
            parts.push(part);
            continue;
        }
        if moves.is_hash(region) {
            parts.push(Part::Hash);
            continue;
        }
        // Inside of texts that have been shown, each further difference needs no search of its own.
        if region.left.end <= seen.0 && region.right.end <= seen.1 {
            parts.push(Part::Text);
            continue;
        }
        if moves.is_position(region) {
            parts.push(Part::Position);
            continue;
        }
        let lefts = text::strings(a, &region.left, sentinel);
        let rights = text::strings(b, &region.right, sentinel);
        if lefts.is_empty() && rights.is_empty() {
            parts.push(match &places {
                Some((l, _)) if within(&l.root, &region.left) => Part::Root,
                _ => Part::Other,
            });
            continue;
        }
        parts.push(Part::Text);
        // Two regions in one string are one change.
        let fresh = |ranges: &[Range<usize>], seen: usize| -> Vec<Range<usize>> {
            let ranges = ranges.iter().filter(|range| range.end > seen);
            ranges.cloned().collect()
        };
        let (lefts, rights) = (fresh(&lefts, seen.0), fresh(&rights, seen.1));
        seen.0 = lefts.last().map_or(seen.0, |range| range.end);
        seen.1 = rights.last().map_or(seen.1, |range| range.end);
        if texts.len() < MAX_TEXTS {
            texts.extend(text::pair(&shown(a, &lefts), &shown(b, &rights)));
        }
    }
    // Where nothing but SVHs differs, no item does.
    let of_items = |part: &Part| matches!(part, Part::Other | Part::Text | Part::Root);
    let items = if parts.iter().any(of_items) {
        items::compare(left, right, &moves)
    } else {
        None
    };
    let regions: Vec<_> = regions.into_iter().zip(parts).collect();
    let mut texts = text::group(texts);
    if sentinel && !texts.is_empty() && is_reordered(a, b, &regions) {
        let changes = texts.into_iter().flat_map(|group| group.changes);
        texts = vec![TextGroup {
            cause: Some(Cause::Order),
            changes: changes.collect(),
        }];
    }
    Changes {
        sizes: (a.len(), b.len()),
        tallies: tallies(&regions),
        items,
        svh_alone: !regions.is_empty() && regions.iter().all(|(_, part)| is_svh(*part)),
        regions,
        texts,
        fault,
    }
}

/// Whether both sides have the same strings, but in another order, where their texts differ.
fn is_reordered(a: &[u8], b: &[u8], regions: &[(Region, Part)]) -> bool {
    let mut texts = regions.iter().filter(|(_, part)| *part == Part::Text);
    let Some((first, _)) = texts.next() else {
        return false;
    };
    let last = texts.next_back().map_or(first, |(region, _)| region);
    // A text begins before the byte in which it differs.
    let widen = |start: usize, end: usize, length: usize| {
        start.saturating_sub(REORDER_MARGIN)..(end + REORDER_MARGIN).min(length)
    };
    let left = widen(first.left.start, last.left.end, a.len());
    let right = widen(first.right.start, last.right.end, b.len());
    if left.len().max(right.len()) > MAX_REORDER {
        return false;
    }
    cause::is_reordered(&text::all_strings(a, &left), &text::all_strings(b, &right))
}

fn shown<'a>(blob: &'a [u8], ranges: &[Range<usize>]) -> Vec<&'a str> {
    let text = |range: &Range<usize>| std::str::from_utf8(&blob[range.clone()]).ok();
    ranges.iter().filter_map(text).collect()
}

fn tallies(regions: &[(Region, Part)]) -> Vec<Tally> {
    let tally = |part: Part| {
        let mut tally = Tally {
            part,
            regions: 0,
            bytes: 0,
        };
        for (region, _) in regions.iter().filter(|(_, other)| *other == part) {
            tally.regions += 1;
            tally.bytes += region.left.len().max(region.right.len());
        }
        tally
    };
    let all = Part::ALL.into_iter().map(tally);
    all.filter(|tally| tally.regions > 0).collect()
}

/// The part that a region lies in, by what the decoder knows.
fn decoded(left: &Places, right: &Places, region: &Region) -> Option<Part> {
    let either = |place: fn(&Places) -> &Range<usize>| {
        within(place(left), &region.left) && within(place(right), &region.right)
    };
    let dependency = || {
        let mut svhs = left.dependency_svhs.iter();
        svhs.any(|svh| within(svh, &region.left))
    };
    let unhashed = |places: &Places, range: &Range<usize>| {
        let unhashed = places.unhashed.as_ref();
        unhashed.is_some_and(|unhashed| within(unhashed, range))
    };
    if either(|places| &places.svh) {
        Some(Part::Svh)
    } else if either(|places| &places.header) {
        Some(Part::Header)
    } else if either(|places| &places.dependencies) {
        Some(if dependency() {
            Part::DependencySvh
        } else {
            Part::Dependencies
        })
    } else if unhashed(left, &region.left) && unhashed(right, &region.right) {
        Some(Part::Unhashed)
    } else {
        None
    }
}

fn within(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end && outer.contains(&inner.start)
}
