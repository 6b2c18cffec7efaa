//! Numbers in metadata that differ only because of what stands before them: positions and distances of
//! something that moved, and hashes that cover the place of a crate.

use std::ops::Range;

use super::bytes::{self, Region};
use super::text::SENTINEL;
use crate::artifact::Metadata;
use crate::bytes::Cursor;

/// The longest run of numbers side by side that is tried.
const MAX: usize = 12;

/// So far before a differing byte a number may begin.
const BACK: usize = 3;

/// A type that was written before is given by its position plus this (rustc's `SHORTHAND_OFFSET`).
const SHORTHAND: usize = 0x80;

/// Two blobs, and where they differ.
#[derive(Debug)]
pub(super) struct Moves<'a> {
    pub(super) left: &'a [u8],
    pub(super) right: &'a [u8],
    regions: &'a [Region],
    ids: (Option<u64>, Option<u64>),
}

impl<'a> Moves<'a> {
    pub(super) fn new(left: &Metadata<'a>, right: &Metadata<'a>, regions: &'a [Region]) -> Self {
        let id = |metadata: &Metadata| Some(metadata.root().ok()?.stable_crate_id?.0);
        Self {
            left: left.bytes(),
            right: right.bytes(),
            regions,
            ids: (id(left), id(right)),
        }
    }

    /// Whether the region lies in a hash, which begins with the crate's id, on both sides.
    pub(super) fn is_hash(&self, region: &Region) -> bool {
        let hash = |blob: &[u8], range: &Range<usize>, id: Option<u64>| {
            id.is_some_and(|id| is_hash(blob, range, id))
        };
        hash(self.left, &region.left, self.ids.0) && hash(self.right, &region.right, self.ids.1)
    }

    /// Whether the number at this place is a position on the left, and on the right the place where
    /// the same thing stands there.
    pub(super) fn is_position(&self, region: &Region) -> bool {
        let short = region.left.len().max(region.right.len()) <= MAX;
        short
            && starts(region.left.start, region.right.start).any(|(i, j)| {
                let end = self.position(i, j);
                end.is_some_and(|end| end.0 >= region.left.end && end.1 >= region.right.end)
            })
    }

    /// Where the numbers end that begin at `i` and `j`, if they are positions of the same thing.
    fn position(&self, i: usize, j: usize) -> Option<(usize, usize)> {
        let same = |i: Option<usize>, j: Option<usize>| match (i, j) {
            (Some(i), Some(j)) if i != j && i > 0 => bytes::moved(self.regions, i) == Some(j),
            _ => false,
        };
        let (left, right) = (self.left, self.right);
        if let (Some((x, x_end)), Some((y, y_end))) = (leb(left, i), leb(right, j)) {
            // The position itself, that of a type, or how far back it is from about here.
            let moved = same(Some(x), Some(y))
                || same(x.checked_sub(SHORTHAND), y.checked_sub(SHORTHAND))
                || same(i.checked_sub(x), j.checked_sub(y).filter(|_| x != y));
            if moved {
                return Some((x_end, y_end));
            }
        }
        let fixed = |width: &usize| {
            same(
                little_endian(left, i, *width),
                little_endian(right, j, *width),
            )
        };
        let width = (2..=4).find(fixed)?;
        Some((i + width, j + width))
    }

    /// Finds out why the first bytes of `rest`, to which two values are equal, differ, if that is only because
    /// of something elsewhere; the end of what was looked at comes with it. `renumbered` knows which
    /// definition has which number on either side, `shift` is by how much the item stands further
    /// down in its file.
    pub(super) fn explain(
        &self,
        rest: &(Range<usize>, Range<usize>),
        shift: Option<i64>,
        renumbered: impl Fn(usize, usize) -> bool,
    ) -> Option<(Reason, (usize, usize))> {
        let (left, right) = (self.left, self.right);
        let (i, j) = (rest.0.start, rest.1.start);
        let beyond = |end: &(usize, usize)| {
            let inside = end.0 <= rest.0.end && end.1 <= rest.1.end;
            inside && end.0 > i && end.1 > j
        };
        let elsewhere = |end| (Reason::Elsewhere, end);
        let shifted = |x: usize, y: usize| shift.is_some() && distance(x, y) == shift;
        let hash = || {
            Some((
                hash_end(left, i, self.ids.0)?,
                hash_end(right, j, self.ids.1)?,
            ))
        };
        let numbers = |(i, j): (usize, usize), holds: &dyn Fn(usize, usize) -> bool| {
            let ((x, x_end), (y, y_end)) = (leb(left, i)?, leb(right, j)?);
            (holds(x, y)).then_some((x_end, y_end))
        };
        let symbols = |(i, j): (usize, usize)| {
            let ((one, one_end), (other, other_end)) = (symbol(left, i)?, symbol(right, j)?);
            (one == other).then_some((one_end, other_end))
        };
        let spans = |(i, j): (usize, usize)| {
            let ((one, one_end), (other, other_end)) = (span(left, i)?, span(right, j)?);
            let reason = match () {
                () if one == other => Reason::Elsewhere,
                () if one.but_start() == other.but_start() && shifted(one.start, other.start) => {
                    Reason::Lines
                }
                () => return None,
            };
            Some((reason, (one_end, other_end)))
        };
        let at = || starts(i, j);
        let position = || at().filter_map(|(i, j)| self.position(i, j)).find(beyond);
        let number = || at().filter_map(|at| numbers(at, &renumbered)).find(beyond);
        let line = || at().filter_map(|at| numbers(at, &shifted)).find(beyond);
        hash()
            .filter(beyond)
            .or_else(position)
            .or_else(number)
            .map(elsewhere)
            .or_else(|| at().filter_map(spans).find(|(_, end)| beyond(end)))
            .or_else(|| at().filter_map(symbols).find(beyond).map(elsewhere))
            .or_else(|| line().map(|end| (Reason::Lines, end)))
    }
}

/// Why bytes differ that say nothing of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// Something is different elsewhere.
    Elsewhere,
    /// The item stands further up or down in its file.
    Lines,
}

/// Places at which a number may begin that differs at `i` and `j`, the nearest first.
fn starts(i: usize, j: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..=BACK).filter_map(move |back| Some((i.checked_sub(back)?, j.checked_sub(back)?)))
}

/// How far it is from `x` to `y`.
pub(super) fn distance(x: usize, y: usize) -> Option<i64> {
    i64::try_from(y).ok()?.checked_sub(i64::try_from(x).ok()?)
}

/// The end of the string at `at`, such as a constant as it is written in documentation.
pub(super) fn string_end(blob: &[u8], at: usize) -> Option<usize> {
    let mut cursor = Cursor::at(blob, at).ok()?;
    let length = cursor.leb_usize().ok()?;
    cursor.take(length).ok()?;
    (cursor.u8().ok()? == SENTINEL).then_some(cursor.offset())
}

/// A symbol as it is read: its text, or its number in the compiler's list.
#[derive(Debug, PartialEq, Eq)]
enum Symbol<'a> {
    Text(&'a [u8]),
    Predefined(usize),
}

/// The symbol at `at`, and its end. One that was written before is a reference.
fn symbol(blob: &[u8], at: usize) -> Option<(Symbol<'_>, usize)> {
    fn text<'a>(cursor: &mut Cursor<'a>) -> Option<Symbol<'a>> {
        let length = cursor.leb_usize().ok()?;
        let text = cursor.take(length).ok()?;
        (cursor.u8().ok()? == SENTINEL).then_some(Symbol::Text(text))
    }
    let mut cursor = Cursor::at(blob, at).ok()?;
    let symbol = match cursor.u8().ok()? {
        0 => text(&mut cursor)?,
        1 => text(&mut Cursor::at(blob, cursor.leb_usize().ok()?).ok()?)?,
        2 => Symbol::Predefined(cursor.leb_usize().ok()?),
        _ => return None,
    };
    Some((symbol, cursor.offset()))
}

/// A span of this crate, or the place where one stands (rustc's `SpanTag`, since 1.77).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// Bytes from the start of the file.
    pub(super) start: usize,
    length: usize,
    context: Option<usize>,
    file: usize,
}

impl Span {
    fn but_start(self) -> Self {
        Self { start: 0, ..self }
    }
}

/// The span at `at`, and its end. One that was written before is a reference.
pub(super) fn span(blob: &[u8], at: usize) -> Option<(Span, usize)> {
    const LOCAL: u8 = 0;
    const INDIRECT: u8 = 0b11;
    const RELATIVE: u8 = 0b100;
    let mut cursor = Cursor::at(blob, at).ok()?;
    let tag = cursor.u8().ok()?;
    if tag & INDIRECT == INDIRECT {
        let width = usize::from(tag >> 3);
        let number = little_endian(blob, cursor.offset(), width.min(8))?;
        let target = if tag & RELATIVE == 0 {
            number
        } else {
            at.checked_sub(number)?
        };
        // A reference refers to no other.
        if blob.get(target)? & INDIRECT == INDIRECT {
            return None;
        }
        return Some((span(blob, target)?.0, cursor.offset() + width));
    }
    if tag & INDIRECT != LOCAL {
        return None;
    }
    let mut number = || cursor.leb_usize().ok();
    let context = if tag & RELATIVE == 0 {
        Some(number()?)
    } else {
        None
    };
    let start = number()?;
    let length = match usize::from(tag >> 3) {
        31 => number()?,
        length => length,
    };
    let file = number()?;
    let found = Span {
        start,
        length,
        context,
        file,
    };
    Some((found, cursor.offset()))
}

/// Whether `range` lies in a hash of 16 bytes, of which the first eight are the crate's id.
fn is_hash(blob: &[u8], range: &Range<usize>, id: u64) -> bool {
    let id = id.to_le_bytes();
    let last = range.start.saturating_sub(id.len());
    let begins = |at: usize| blob.get(at..at + id.len()) == Some(&id[..]);
    range.len() <= id.len() && (range.end.saturating_sub(2 * id.len())..=last).any(begins)
}

/// The end of the hash that begins with the crate's id, if the byte at `at` is in its second half.
fn hash_end(blob: &[u8], at: usize, id: Option<u64>) -> Option<usize> {
    let id = id?.to_le_bytes();
    let mut starts = at.saturating_sub(2 * id.len() - 1)..(at + 1).saturating_sub(id.len());
    let start = starts.find(|start| blob.get(*start..start + id.len()) == Some(&id[..]))?;
    Some(start + 2 * id.len())
}

fn little_endian(bytes: &[u8], at: usize, width: usize) -> Option<usize> {
    let bytes = bytes.get(at..at + width)?;
    let fold = |value: usize, byte: &u8| (value << 8) | usize::from(*byte);
    Some(bytes.iter().rev().fold(0, fold))
}

fn leb(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let mut cursor = Cursor::at(bytes, at).ok()?;
    let value = cursor.leb_usize().ok()?;
    Some((value, cursor.offset()))
}
