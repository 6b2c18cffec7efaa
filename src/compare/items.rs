//! Which items of two crates differ, and in which property.
//!
//! Items are joined by path, and their values compared one by one. Most bytes that differ in a value say
//! nothing about the item: positions of what moved, numbers of definitions behind a new one, lines behind
//! a new line. Those are told apart here.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::bytes;
use super::moved::{self, Moves, Reason};
use crate::artifact::Metadata;
use crate::artifact::metadata::{Items, Property};

/// What is different.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Properties of items that are on both sides: by path, then by property.
    pub changed: Vec<ItemChange>,
    /// Items on the left only, without what stands inside of them.
    pub removed: Vec<String>,
    /// Items on the right only.
    pub added: Vec<String>,
}

/// A property of an item that differs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ItemChange {
    /// The item's path, such as `crate::module::item`.
    pub path: String,
    /// What of it.
    pub property: Property,
    /// On which sides it has the property at all.
    pub sides: Sides,
}

/// Where something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sides {
    /// On both, but not the same.
    Both,
    /// On the left only.
    Left,
    /// On the right only.
    Right,
}

/// Compares the items of two blobs; nothing where one side's tables are not decoded.
pub(super) fn compare(left: &Metadata, right: &Metadata, moves: &Moves) -> Option<Changes> {
    let sides = (left.items()?, right.items()?);
    let join = Join::new(&sides.0, &sides.1);
    let comparison = Comparison {
        moves,
        values: (values(&sides.0, moves.left), values(&sides.1, moves.right)),
        join,
    };
    let mut changed = BTreeSet::new();
    for (item, partner) in comparison.join.pairs() {
        comparison.item(item, partner, &mut |property, sides_of| {
            changed.insert(ItemChange {
                path: sides.0.path(item),
                property,
                sides: sides_of,
            });
        });
    }
    let alone = |items: &Items, partners: &[Option<u32>]| -> Vec<String> {
        let missing = |item: u32| partners.get(item as usize).is_some_and(Option::is_none);
        let count = u32::try_from(partners.len()).unwrap_or(0);
        let outer = |item: &u32| !items.parent(*item).is_some_and(missing);
        let alone = (0..count).filter(|item| missing(*item)).filter(outer);
        let mut paths: Vec<String> = alone.map(|item| items.path(item)).collect();
        paths.sort();
        paths
    };
    Some(Changes {
        changed: changed.into_iter().collect(),
        removed: alone(&sides.0, &comparison.join.right_of),
        added: alone(&sides.1, &comparison.join.left_of),
    })
}

/// Which item of one side is which of the other.
struct Join {
    right_of: Vec<Option<u32>>,
    left_of: Vec<Option<u32>>,
}

impl Join {
    fn new(left: &Items, right: &Items) -> Self {
        // A type and a function may have one path: the first of one side is the first of the other.
        let mut by_path: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for (path, item) in left.paths().zip(0..) {
            by_path.entry(path).or_default().push(item);
        }
        for items in by_path.values_mut() {
            items.reverse();
        }
        let mut right_of = vec![None; left.count()];
        let mut left_of = vec![None; right.count()];
        for (path, item) in right.paths().zip(0_u32..) {
            let partner = by_path.get_mut(&path).and_then(Vec::pop);
            if let Some(partner) = partner {
                right_of[partner as usize] = Some(item);
                left_of[item as usize] = Some(partner);
            }
        }
        Self { right_of, left_of }
    }

    fn pairs(&self) -> impl Iterator<Item = (u32, u32)> {
        let pairs = self.right_of.iter().zip(0..);
        pairs.filter_map(|(partner, item)| Some((item, (*partner)?)))
    }

    /// Whether `x` is the number of an item on the left that has the number `y` on the right.
    fn renumbers(&self, x: usize, y: usize) -> bool {
        let partner = self.right_of.get(x).copied().flatten();
        x != y && partner.is_some_and(|partner| partner as usize == y)
    }
}

/// What is known of an item: places of values, and numbers.
#[derive(Default)]
struct Values {
    ranges: Vec<(Property, Range<usize>)>,
    bytes: Vec<(Property, u8)>,
}

fn values(items: &Items, blob: &[u8]) -> Vec<Values> {
    let mut found: Vec<Values> = Vec::new();
    found.resize_with(items.count(), Values::default);
    for (item, property, mut range) in items.values() {
        if property == Property::Constant
            && let Some(end) = moved::string_end(blob, range.start)
        {
            range.end = range.end.min(end);
        }
        if let Some(values) = found.get_mut(item as usize) {
            values.ranges.push((property, range));
        }
    }
    for (item, property, byte) in items.bytes() {
        if let Some(values) = found.get_mut(*item as usize) {
            values.bytes.push((*property, *byte));
        }
    }
    for values in &mut found {
        // Stable: values of one property stay in the order of the blob.
        values.ranges.sort_by_key(|(property, _)| *property);
    }
    found
}

struct Comparison<'a> {
    moves: &'a Moves<'a>,
    values: (Vec<Values>, Vec<Values>),
    join: Join,
}

impl Comparison<'_> {
    /// Tells `say` of each property in which two items differ.
    fn item(&self, left: u32, right: u32, say: &mut impl FnMut(Property, Sides)) {
        let (a, b) = (
            &self.values.0[left as usize],
            &self.values.1[right as usize],
        );
        if a.bytes != b.bytes {
            let of = |values: &[(Property, u8)], property| -> Vec<u8> {
                let values = values.iter().filter(|(other, _)| *other == property);
                values.map(|(_, byte)| *byte).collect()
            };
            for (property, _) in a.bytes.iter().chain(&b.bytes) {
                if of(&a.bytes, *property) != of(&b.bytes, *property) {
                    say(*property, Sides::Both);
                }
            }
        }
        let shift = self.shift(a, b);
        let (mut i, mut j) = (0, 0);
        loop {
            let next = (a.ranges.get(i), b.ranges.get(j));
            let of = |values: &[(Property, Range<usize>)], from: usize, property| {
                let rest = values.get(from..).unwrap_or_default();
                rest.iter()
                    .take_while(|(other, _)| *other == property)
                    .count()
            };
            let property = match next {
                (Some((a, _)), Some((b, _))) => *a.min(b),
                (Some((one, _)), None) | (None, Some((one, _))) => *one,
                (None, None) => return,
            };
            let counts = (of(&a.ranges, i, property), of(&b.ranges, j, property));
            match counts {
                (_, 0) => say(property, Sides::Left),
                (0, _) => say(property, Sides::Right),
                (one, other) => {
                    let pairs = a.ranges[i..i + one].iter().zip(&b.ranges[j..j + other]);
                    let mut moved = false;
                    let differ = pairs.fold(one != other, |differ, ((_, a), (_, b))| {
                        let difference = self.value(a, b, shift);
                        moved |= difference == Difference::Lines;
                        differ || difference == Difference::Own
                    });
                    if differ {
                        say(property, Sides::Both);
                    } else if moved {
                        say(Property::Span, Sides::Both);
                    }
                }
            }
            i += counts.0;
            j += counts.1;
        }
    }

    /// What differs between two values.
    fn value(&self, left: &Range<usize>, right: &Range<usize>, shift: Option<i64>) -> Difference {
        let (Some(a), Some(b)) = (
            self.moves.left.get(left.clone()),
            self.moves.right.get(right.clone()),
        ) else {
            return Difference::None;
        };
        if a == b {
            return Difference::None;
        }
        let mut found = Difference::None;
        let (mut i, mut j) = (0, 0);
        loop {
            let (one, other) = (
                a.get(i..).unwrap_or_default(),
                b.get(j..).unwrap_or_default(),
            );
            let same = bytes::common_prefix(one, other);
            if same == one.len() && same == other.len() {
                return found;
            }
            (i, j) = (i + same, j + same);
            let rest = (left.start + i..left.end, right.start + j..right.end);
            let renumbered = |x, y| self.join.renumbers(x, y);
            let Some((reason, end)) = self.moves.explain(&rest, shift, renumbered) else {
                return Difference::Own;
            };
            if reason == Reason::Lines {
                found = Difference::Lines;
            }
            (i, j) = (end.0 - left.start, end.1 - right.start);
        }
    }

    /// By how much the item stands further down in its file, if it does.
    fn shift(&self, left: &Values, right: &Values) -> Option<i64> {
        let start = |blob: &[u8], values: &Values| {
            let mut spans = values.ranges.iter();
            let (_, range) = spans.find(|(property, _)| *property == Property::Span)?;
            Some(moved::span(blob, range.start)?.0.start)
        };
        let (x, y) = (
            start(self.moves.left, left)?,
            start(self.moves.right, right)?,
        );
        moved::distance(x, y).filter(|shift| *shift != 0)
    }
}

/// What differs between two values of a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Difference {
    /// Nothing, or what only follows from something elsewhere.
    None,
    /// Lines, as the whole item moved.
    Lines,
    /// Something of its own.
    Own,
}
