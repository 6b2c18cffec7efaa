//! Items: which definition, and which property of it, a place in a blob belongs to.
//!
//! Behind its lists of arrays the root has some seventy tables, one for each property, each with a place
//! for every definition. Their number and order change with every release, but they stand back to
//! back, and the distance from one to the next is the size of the one before. That chain checks
//! itself, so the tables are *found* and not assumed; where it is not found, nothing is said.

use super::Places;
use super::header::STRING_SENTINEL;
use crate::bytes::Cursor;

/// The versions of which the tables have this form.
const VERSIONS: std::ops::RangeInclusive<u8> = 9..=11;

/// A shorter chain could be chance.
const MIN_TABLES: usize = 40;

/// More definitions than the largest crates have.
const MAX_ITEMS: usize = 1 << 20;

/// Deeper paths are not written out.
const MAX_DEPTH: usize = 64;

/// What is encoded of a definition, as far as its table is known by its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Property {
    /// Attributes, documentation among them.
    Attributes,
    /// What is in a module, or the fields or associated items.
    Children,
    /// Visibility.
    Visibility,
    /// Where it stands in the source.
    Span,
    /// Generics and what is demanded of them.
    Generics,
    /// Type, signature, constant or body (MIR): tables whose order is not known.
    Content,
    /// Its name and place in the tree.
    Path,
}

impl Property {
    /// Its words in output.
    pub fn word(self) -> &'static str {
        match self {
            Self::Attributes => "attributes",
            Self::Children => "children",
            Self::Visibility => "visibility",
            Self::Span => "span",
            Self::Generics => "generics",
            Self::Content => "type, signature or body",
            Self::Path => "path",
        }
    }
}

/// The definitions of a crate and where what is encoded of them begins.
#[derive(Debug)]
pub struct Items {
    keys: Vec<Key>,
    /// By position: what begins there.
    owners: Vec<Owner>,
    end: u32,
}

#[derive(Debug, Clone, Copy)]
struct Owner {
    position: u32,
    item: u32,
    property: Property,
}

#[derive(Debug)]
struct Key {
    parent: Option<u32>,
    name: String,
}

/// A table: position in the blob, bytes of an element, number of elements.
#[derive(Debug, Clone, Copy)]
struct Table {
    at: usize,
    width: usize,
    count: usize,
}

impl Items {
    /// Finds the tables of `blob`; nothing where they do not have the form that is known.
    pub(super) fn find(blob: &[u8], version: u8, places: &Places) -> Option<Self> {
        VERSIONS
            .contains(&version)
            .then(|| Self::read(blob, places))?
    }

    fn read(blob: &[u8], places: &Places) -> Option<Self> {
        let tables = chain(blob, places)?;
        // Every definition has a hash of its path: the first table of eight bytes.
        let hashes = tables.iter().find(|table| table.width == 8)?;
        let count = hashes.count;
        if count == 0 || count > MAX_ITEMS {
            return None;
        }
        let full = tables
            .iter()
            .enumerate()
            .filter(|(_, table)| table.count == count);
        let (kinds, _) = full.clone().find(|(_, table)| {
            let kinds = blob.get(table.at..table.at + table.width * table.count);
            table.width == 1 && kinds.is_some_and(|kinds| !kinds.contains(&0))
        })?;
        let (key_table, keys) = full
            .filter(|(index, table)| *index > kinds && (2..=4).contains(&table.width))
            .find_map(|(index, table)| Some((index, keys(blob, table)?)))?;
        let mut owners = Vec::new();
        for (index, table) in tables.iter().enumerate() {
            // Small elements are values themselves, and no positions.
            if table.width < 2 || table.width > 6 || table.count > count {
                continue;
            }
            let property = if index == key_table {
                Property::Path
            } else {
                property(&tables, kinds, index)
            };
            let Some(positions) = positions(blob, table, places) else {
                continue;
            };
            owners.extend(positions.into_iter().map(|(position, item)| Owner {
                position,
                item,
                property,
            }));
        }
        owners.sort_unstable_by_key(|owner| owner.position);
        let end = u32::try_from(tables.first()?.at).ok()?;
        Some(Self { keys, owners, end })
    }

    /// The item and the property that the byte at `position` belongs to.
    pub fn owner(&self, position: usize) -> Option<(String, Property)> {
        let position = u32::try_from(position).ok().filter(|at| *at < self.end)?;
        let after = self
            .owners
            .partition_point(|owner| owner.position <= position);
        let owner = self.owners.get(after.checked_sub(1)?)?;
        Some((self.path(owner.item), owner.property))
    }

    /// All definitions, as paths without the crate's name.
    pub fn paths(&self) -> impl Iterator<Item = String> {
        let count = u32::try_from(self.keys.len()).unwrap_or(0);
        (0..count).map(|item| self.path(item))
    }

    fn path(&self, item: u32) -> String {
        let mut parts = Vec::new();
        let mut at = Some(item);
        while let Some(key) = at.and_then(|at| self.keys.get(at as usize)) {
            if key.parent.is_none() || parts.len() >= MAX_DEPTH {
                break;
            }
            parts.push(key.name.as_str());
            at = key.parent;
        }
        parts.push("crate");
        parts.reverse();
        parts.join("::")
    }
}

/// The longest chain of tables that the root holds.
fn chain(blob: &[u8], places: &Places) -> Option<Vec<Table>> {
    let mut best: Vec<(usize, usize, usize)> = Vec::new();
    let mut best_at = 0;
    let end = places.root.end.min(blob.len());
    for start in places.root.start..end {
        let Ok(mut cursor) = Cursor::at(blob.get(..end)?, start) else {
            break;
        };
        let mut rows: Vec<(usize, usize, usize)> = Vec::new();
        let mut row = || -> Option<(usize, usize, usize)> {
            Some((
                cursor.leb_usize().ok()?,
                cursor.leb_usize().ok()?,
                cursor.leb_usize().ok()?,
            ))
        };
        while let Some((width, count, distance)) = row() {
            let size = rows.last().map(|(width, count, _)| width * count);
            if width > 16 || count > MAX_ITEMS || size.is_some_and(|size| size != distance) {
                break;
            }
            rows.push((width, count, distance));
        }
        if rows.len() > best.len() {
            best = rows;
            best_at = start;
        }
        // The chain is the longest by far; what begins inside of it is only shorter.
        if best.len() >= MIN_TABLES && start > best_at + 3 {
            break;
        }
    }
    if best.len() < MIN_TABLES {
        return None;
    }
    let start = first_table(blob, places, best_at, best[0].2)?;
    let mut at = start;
    let mut tables = Vec::with_capacity(best.len());
    for (width, count, _) in best {
        tables.push(Table { at, width, count });
        at = at.checked_add(width * count)?;
    }
    (at <= places.root.start).then_some(tables)
}

/// Where the first table stands: its distance is counted from the last of the arrays before it, so
/// those are read over. There may be no proc macros between, whose list is not described here.
fn first_table(blob: &[u8], places: &Places, chain: usize, distance: usize) -> Option<usize> {
    let (at, mut previous) = places.lists?;
    let mut cursor = Cursor::at(blob, at).ok()?;
    while cursor.offset() + 1 < chain {
        if cursor.leb_usize().ok()? > 0 {
            previous = previous.checked_add(cursor.leb_usize().ok()?)?;
        }
    }
    let none = cursor.offset() + 1 == chain && cursor.u8().ok()? == 0;
    none.then(|| previous.checked_add(distance))?
}

/// The keys of all definitions, if that is what the table holds.
fn keys(blob: &[u8], table: &Table) -> Option<Vec<Key>> {
    let mut keys = Vec::new();
    for index in 0..table.count {
        let position = element(blob, table, index)?;
        let key = key(blob, position, keys.len())?;
        keys.push(key);
    }
    Some(keys)
}

fn element(blob: &[u8], table: &Table, index: usize) -> Option<usize> {
    let at = table.at + index * table.width;
    let bytes = blob.get(at..at + table.width)?;
    let fold = |value: usize, byte: &u8| (value << 8) | usize::from(*byte);
    let position = bytes.iter().rev().fold(0, fold);
    (position > 0 && position < table.at).then_some(position)
}

/// `DefKey`: the parent, the kind of path segment, its name if it has one, and a number that tells
/// segments of one name apart.
fn key(blob: &[u8], position: usize, index: usize) -> Option<Key> {
    let mut cursor = Cursor::at(blob, position).ok()?;
    let parent = match cursor.u8().ok()? {
        0 => None,
        1 => Some(u32::try_from(cursor.leb_usize().ok()?).ok()?),
        _ => return None,
    };
    // The crate alone has no parent, and it comes first.
    if parent.is_none() != (index == 0) || parent.is_some_and(|p| p as usize > MAX_ITEMS) {
        return None;
    }
    let tag = cursor.u8().ok()?;
    let name = match tag {
        0 => "crate".to_owned(),
        1 => "{impl}".to_owned(),
        2 => "{extern}".to_owned(),
        3 => "{use}".to_owned(),
        4 => "{asm}".to_owned(),
        5..=8 => symbol(blob, &mut cursor)?,
        9 => "{closure}".to_owned(),
        10 => "{constructor}".to_owned(),
        11 => "{constant}".to_owned(),
        12..=24 => format!("{{segment {tag}}}"),
        _ => return None,
    };
    if (tag == 0) != (index == 0) {
        return None;
    }
    let number = if tag > 11 {
        0
    } else {
        cursor.leb_usize().ok()?
    };
    let numbered = number > 0 || tag == 1;
    let name = if numbered {
        format!("{name}#{number}")
    } else {
        name
    };
    Some(Key { parent, name })
}

fn symbol(blob: &[u8], cursor: &mut Cursor) -> Option<String> {
    let string = |cursor: &mut Cursor| -> Option<String> {
        let length = cursor.leb_usize().ok()?;
        let text = cursor.take(length).ok()?;
        let text = std::str::from_utf8(text).ok()?.to_owned();
        (cursor.u8().ok()? == STRING_SENTINEL && text.len() <= 255).then_some(text)
    };
    match cursor.u8().ok()? {
        0 => string(cursor),
        1 => string(&mut Cursor::at(blob, cursor.leb_usize().ok()?).ok()?),
        2 => Some(format!("sym#{}", cursor.leb_usize().ok()?)),
        _ => None,
    }
}

/// Where the values of a table begin, by item. An element is a position, or a position and a length whose
/// bytes alternate; which, is told by all of them being positions before the tables.
fn positions(blob: &[u8], table: &Table, places: &Places) -> Option<Vec<(u32, u32)>> {
    let read = |step: usize, ordered: bool| -> Option<Vec<(u32, u32)>> {
        let mut found = Vec::new();
        let mut previous = 0;
        for index in 0..table.count {
            let at = table.at + index * table.width;
            let bytes = blob.get(at..at + table.width)?;
            let fold = |value: usize, byte: &u8| (value << 8) | usize::from(*byte);
            let position = bytes.iter().step_by(step).rev().fold(0, fold);
            if position == 0 {
                continue;
            }
            // One table's values are mostly written in the order of the items.
            let inside = position >= places.header.end && position < table.at;
            if !inside || (ordered && position < previous) {
                return None;
            }
            previous = position;
            found.push((u32::try_from(position).ok()?, u32::try_from(index).ok()?));
        }
        Some(found)
    };
    let ordered = read(1, true).or_else(|| read(2, true));
    ordered
        .or_else(|| read(1, false))
        .or_else(|| read(2, false))
}

/// The property of a table, by its distance from that of the kinds: the order around it has not
/// changed since 1.76.
fn property(tables: &[Table], kinds: usize, index: usize) -> Property {
    // A table of one byte, safety, stood behind the visibility in some releases.
    let safety = tables.get(kinds + 2).is_some_and(|table| table.width == 1);
    let extra = usize::from(safety);
    match index {
        _ if index + 3 == kinds => Property::Attributes,
        _ if index + 2 == kinds || index + 1 == kinds => Property::Children,
        _ if index == kinds + 1 => Property::Visibility,
        _ if index == kinds + 2 + extra || index == kinds + 3 + extra => Property::Span,
        _ if index == kinds + 8 + extra || index == kinds + 9 + extra => Property::Generics,
        _ => Property::Content,
    }
}
