//! Items: which definition, and which property of it, a place in a blob belongs to.

use std::ops::Range;

use super::Places;
use super::header::STRING_SENTINEL;
use super::tables::{self, Column, Form, MAX_ITEMS, Table};
use crate::bytes::Cursor;

/// The versions of which the tables have this form.
const VERSIONS: std::ops::RangeInclusive<u8> = 9..=11;

/// Deeper paths are not written out.
const MAX_DEPTH: usize = 64;

/// What is encoded of a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Property {
    /// Whether it is a function, a struct, a module and so on.
    Kind,
    /// Visibility.
    Visibility,
    /// Parameters and result of a function.
    Signature,
    /// The type, of a field, constant, alias or item.
    Type,
    /// Generics and what is demanded of them.
    Generics,
    /// Whether it is `const`.
    Constness,
    /// Whether it is `async`.
    Asyncness,
    /// Whether it is `unsafe`.
    Safety,
    /// Whether it is a default, of a trait's item.
    Defaultness,
    /// What an impl implements for what.
    Implements,
    /// The value of a constant.
    Constant,
    /// The body.
    Mir,
    /// Whether dependents may inline it though it has no attribute that says so.
    Inlining,
    /// Attributes, documentation among them.
    Attributes,
    /// What attributes mean for code generation.
    Codegen,
    /// `#[stable]`, `#[deprecated]` and their like.
    Stability,
    /// What is in a module, or the fields or associated items.
    Children,
    /// Its name and place in the tree.
    Path,
    /// Where it stands in the source.
    Span,
    /// Something of a table that is not known.
    Other,
}

impl Property {
    /// Its words in output.
    pub fn word(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::Visibility => "visibility",
            Self::Signature => "signature",
            Self::Type => "type",
            Self::Generics => "generics",
            Self::Constness => "constness",
            Self::Asyncness => "asyncness",
            Self::Safety => "safety",
            Self::Defaultness => "defaultness",
            Self::Implements => "implemented trait",
            Self::Constant => "constant value",
            Self::Mir => "MIR",
            Self::Inlining => "inlining",
            Self::Attributes => "attributes",
            Self::Codegen => "code generation attributes",
            Self::Stability => "stability",
            Self::Children => "children",
            Self::Path => "path",
            Self::Span => "span",
            Self::Other => "property not decoded",
        }
    }
}

/// The definitions of a crate and where what is encoded of them stands.
#[derive(Debug)]
pub struct Items {
    keys: Vec<Key>,
    /// By position: what begins there.
    owners: Vec<Owner>,
    /// What is a byte in its table, by item.
    bytes: Vec<(u32, Property, u8)>,
    end: u32,
}

/// A value begins here, or something that belongs to no item.
#[derive(Debug, Clone, Copy)]
struct Owner {
    position: u32,
    item: u32,
    property: Property,
}

/// In the place of an item: none.
const NOBODY: u32 = u32::MAX;

#[derive(Debug)]
struct Key {
    parent: Option<u32>,
    name: String,
}

impl Items {
    /// Finds the tables of `blob`; nothing where they do not have the form that is known.
    pub(super) fn find(blob: &[u8], version: u8, places: &Places) -> Option<Self> {
        VERSIONS
            .contains(&version)
            .then(|| Self::read(blob, places))?
    }

    fn read(blob: &[u8], places: &Places) -> Option<Self> {
        let tables = tables::find(blob, places)?;
        let all = &tables.all;
        // Every definition has a hash of its path: the first table of eight bytes.
        let hashes = all.iter().position(|table| table.width == 8)?;
        let count = all[hashes].count;
        if count == 0 || count > MAX_ITEMS {
            return None;
        }
        let full = || {
            let all = all.iter().enumerate();
            all.filter(|(_, table)| table.count == count)
        };
        let (kinds, _) = full().find(|(_, table)| {
            let kinds = blob.get(table.at..table.at + table.width * table.count);
            table.width == 1 && kinds.is_some_and(|kinds| !kinds.contains(&0))
        })?;
        let (key_table, keys) = full()
            .filter(|(index, table)| *index > kinds && (2..=4).contains(&table.width))
            .find_map(|(index, table)| Some((index, keys(blob, table)?)))?;
        let mut columns = tables.columns(blob, places, hashes, kinds);
        columns[key_table] = Column::of_paths();
        let mut owners = Vec::new();
        let mut bytes = Vec::new();
        for (table, column) in all.iter().zip(&columns).filter(|(t, _)| t.count <= count) {
            match column.form {
                Form::Byte => {
                    let values = (0..table.count).filter_map(|index| {
                        let value = *table.element(blob, index)?.first()?;
                        Some((u32::try_from(index).ok()?, column.property, value))
                    });
                    bytes.extend(values.filter(|(_, _, value)| *value != 0));
                }
                form => {
                    let positions = match form {
                        // Small elements are values themselves, and no positions.
                        Form::Unknown if !(2..=6).contains(&table.width) => None,
                        Form::Unknown => guessed(blob, table, places),
                        form => table.positions(blob, places, form).collect(),
                    };
                    let positions: Vec<(u32, u32)> = positions.unwrap_or_default();
                    owners.extend(positions.into_iter().map(|(position, item)| Owner {
                        position,
                        item,
                        property: column.property,
                    }));
                }
            }
        }
        // What the root itself lists ends the value before it.
        let arrays = tables
            .arrays
            .iter()
            .filter_map(|at| u32::try_from(*at).ok());
        owners.extend(arrays.map(|position| Owner {
            position,
            item: NOBODY,
            property: Property::Other,
        }));
        owners.sort_unstable_by_key(|owner| owner.position);
        bytes.sort_unstable();
        let end = u32::try_from(all.first()?.at).ok()?;
        Some(Self {
            keys,
            owners,
            bytes,
            end,
        })
    }

    /// How many definitions there are; they are numbered from 0 on, which is the crate.
    pub fn count(&self) -> usize {
        self.keys.len()
    }

    /// All values: the item, the property, and where the value stands. Values have no recorded end: each
    /// reaches to the next.
    pub fn values(&self) -> impl Iterator<Item = (u32, Property, Range<usize>)> + '_ {
        self.owners.iter().enumerate().filter_map(|(index, owner)| {
            let mut later = self.owners[index + 1..].iter().map(|other| other.position);
            let end = later.find(|position| *position > owner.position);
            let end = end.unwrap_or(self.end).max(owner.position);
            let range = owner.position as usize..end as usize;
            (owner.item != NOBODY).then_some((owner.item, owner.property, range))
        })
    }

    /// What is no more than a number of its own, such as constness; what has none is zero.
    pub fn bytes(&self) -> &[(u32, Property, u8)] {
        &self.bytes
    }

    /// All definitions, as paths without the crate's name.
    pub fn paths(&self) -> impl Iterator<Item = String> {
        let count = u32::try_from(self.keys.len()).unwrap_or(0);
        (0..count).map(|item| self.path(item))
    }

    /// The definition that this one stands in.
    pub fn parent(&self, item: u32) -> Option<u32> {
        self.keys.get(item as usize)?.parent
    }

    /// The path of a definition.
    pub fn path(&self, item: u32) -> String {
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

/// The keys of all definitions, if that is what the table holds.
fn keys(blob: &[u8], table: &Table) -> Option<Vec<Key>> {
    let mut keys = Vec::new();
    for index in 0..table.count {
        let bytes = table.element(blob, index)?;
        let fold = |value: usize, byte: &u8| (value << 8) | usize::from(*byte);
        let position = bytes.iter().rev().fold(0, fold);
        if position == 0 || position >= table.at {
            return None;
        }
        keys.push(key(blob, position, keys.len())?);
    }
    Some(keys)
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

/// Where the values of a table begin that nobody knows. One table's values are mostly written in the order
/// of the items, and all of them stand before the tables.
fn guessed(blob: &[u8], table: &Table, places: &Places) -> Option<Vec<(u32, u32)>> {
    let read = |form| -> Option<Vec<(u32, u32)>> { table.positions(blob, places, form).collect() };
    let (values, arrays) = (read(Form::Value), read(Form::Array));
    let ordered = |found: &&Vec<(u32, u32)>| found.is_sorted();
    let best = values
        .as_ref()
        .filter(ordered)
        .or(arrays.as_ref().filter(ordered));
    let best = best.cloned();
    best.or(values).or(arrays)
}
