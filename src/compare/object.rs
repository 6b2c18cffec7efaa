//! What differs between the objects of two artifacts: sections, symbols, functions, strings and the
//! paths in debug information.
//!
//! The objects of an archive are taken together: a function that moved to another codegen unit is
//! the same function.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hasher as _};

use object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionKind};

use super::bytes;
use super::text::{self, TextChange, TextGroup};
use crate::bytes::Escaped;

/// What differs between two sets of objects.
#[derive(Debug, Default)]
pub struct Changes {
    /// Sections that differ, by name without what is their function's or constant's own.
    pub sections: Vec<SectionChange>,
    /// Functions in both whose code differs, by symbol.
    pub functions: Vec<FunctionChange>,
    /// Symbols on the left only.
    pub removed: Vec<String>,
    /// Symbols on the right only.
    pub added: Vec<String>,
    /// How many symbols differ only in the hash that is part of them.
    pub rehashed: usize,
    /// Strings in read-only data, by likely cause.
    pub strings: Vec<TextGroup>,
    /// Strings in debug information, such as paths.
    pub debug: Vec<TextGroup>,
    /// Whether debug information is on one side only.
    pub stripped: bool,
    /// Objects that could not be read, and why.
    pub problems: Vec<String>,
}

/// Sections of one kind of name that differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SectionChange {
    /// The name: for `.text._ZN…`, `.text`.
    pub name: String,
    /// How many differ or are on one side only.
    pub count: usize,
    /// Bytes of those, on either side.
    pub sizes: (u64, u64),
}

/// A function whose code differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionChange {
    /// Its symbol on the left.
    pub symbol: String,
    /// Its sizes.
    pub sizes: (usize, usize),
    /// Whether the instructions are equal and only what they refer to differs.
    pub only_references: bool,
}

/// More texts say no more.
const MAX_TEXTS: usize = 20_000;

/// Where a function's code stands.
#[derive(Clone, Copy)]
struct Function<'a> {
    code: &'a [u8],
    /// Which file, and which section of it.
    place: (usize, object::SectionIndex),
    /// From the start of the section.
    start: u64,
}

/// The objects of one side.
struct Side<'a> {
    files: Vec<object::File<'a>>,
    functions: BTreeMap<&'a str, Function<'a>>,
    symbols: BTreeSet<&'a str>,
}

/// Compares the objects of two artifacts, each with the name to call it by.
pub fn compare(left: &[(String, &[u8])], right: &[(String, &[u8])]) -> Changes {
    let mut changes = Changes::default();
    let a = Side::parse(left, &mut changes.problems);
    let b = Side::parse(right, &mut changes.problems);
    let mut removed: BTreeSet<&str> = a.symbols.difference(&b.symbols).copied().collect();
    let mut added: BTreeSet<&str> = b.symbols.difference(&a.symbols).copied().collect();
    let renamed = rehashed(&removed, &added);
    for (one, other) in &renamed {
        removed.remove(one);
        added.remove(other);
    }
    for (name, one) in &a.functions {
        let other = b.functions.get(renamed.get(name).unwrap_or(name));
        if let Some(other) = other
            && let Some(only_references) = differs((&a, one), (&b, other))
        {
            changes.functions.push(FunctionChange {
                symbol: (*name).to_owned(),
                sizes: (one.code.len(), other.code.len()),
                only_references,
            });
        }
    }
    // Those with other instructions tell more.
    changes
        .functions
        .sort_by_key(|change| change.only_references);
    changes.rehashed = renamed.len();
    let owned = |names: BTreeSet<&str>| names.into_iter().map(str::to_owned).collect();
    changes.removed = owned(removed);
    changes.added = owned(added);
    sections(&a, &b, &mut changes);
    changes
}

impl<'a> Side<'a> {
    fn parse(objects: &[(String, &'a [u8])], problems: &mut Vec<String>) -> Self {
        let mut side = Self {
            files: Vec::new(),
            functions: BTreeMap::new(),
            symbols: BTreeSet::new(),
        };
        for (name, data) in objects {
            match object::File::parse(*data) {
                Ok(file) => side.files.push(file),
                Err(error) => {
                    problems.push(format!("{}: {error}", Escaped(name.as_bytes())));
                }
            }
        }
        for (index, file) in side.files.iter().enumerate() {
            for symbol in file.symbols() {
                let name = symbol.name_bytes().ok();
                // Names are text in everything that rustc writes.
                let Some(name) = name.and_then(|name| std::str::from_utf8(name).ok()) else {
                    continue;
                };
                let known = symbol.is_definition() || symbol.is_undefined();
                if !known || name.is_empty() || is_numbered(name) {
                    continue;
                }
                side.symbols.insert(name);
                if let Some(function) = function(file, index, &symbol) {
                    side.functions.entry(name).or_insert(function);
                }
            }
        }
        side
    }
}

/// Names that LLVM counts up, and marks that are no symbols to people.
fn is_numbered(name: &str) -> bool {
    name.starts_with(".L")
        || name.starts_with('$')
        || name.starts_with("GCC_except_table")
        || name.contains("anon.")
}

fn function<'a>(
    file: &object::File<'a>,
    index: usize,
    symbol: &object::Symbol<'a, '_>,
) -> Option<Function<'a>> {
    if symbol.kind() != object::SymbolKind::Text || !symbol.is_definition() {
        return None;
    }
    let section = symbol.section_index()?;
    let content = file.section_by_index(section).ok()?;
    let start = symbol.address().checked_sub(content.address())?;
    let data = content.data().ok()?;
    let from = usize::try_from(start).ok()?;
    let end = match usize::try_from(symbol.size()).ok()? {
        0 => data.len(), // Mach-O and COFF give no sizes, but a section to each function
        size => from.checked_add(size)?,
    };
    Some(Function {
        code: data.get(from..end)?,
        place: (index, section),
        start,
    })
}

/// Symbols that are the same but for the hash in them: the crate's id or its types' changed.
fn rehashed<'a>(
    removed: &BTreeSet<&'a str>,
    added: &BTreeSet<&'a str>,
) -> BTreeMap<&'a str, &'a str> {
    let plain = |names: &BTreeSet<&'a str>| {
        let mut by_name: BTreeMap<String, Vec<&'a str>> = BTreeMap::new();
        for name in names {
            if let Ok(demangled) = rustc_demangle::try_demangle(name) {
                let entry = by_name.entry(format!("{demangled:#}")).or_default();
                entry.push(*name);
            }
        }
        by_name
    };
    let others = plain(added);
    let mut pairs = BTreeMap::new();
    for (name, ones) in plain(removed) {
        // Instances of one generic function have one name; which belongs to which is not known.
        if let Some(others) = others.get(&name)
            && ones.len() == others.len()
        {
            pairs.extend(ones.into_iter().zip(others.iter().copied()));
        }
    }
    pairs
}

/// Whether two functions differ, and if so, whether only in what they refer to.
fn differs((a, one): (&Side, &Function), (b, other): (&Side, &Function)) -> Option<bool> {
    if one.code != other.code {
        // In a linked file calls and addresses are part of the code.
        let linked = a.files[one.place.0].kind() != object::ObjectKind::Relocatable;
        let small = || {
            let regions = bytes::regions(one.code, other.code);
            regions.iter().all(|region| region.left.len() <= 4)
        };
        return Some(linked && one.code.len() == other.code.len() && small());
    }
    (references(a, one) != references(b, other)).then_some(true)
}

/// A number for what the function refers to, in order.
fn references(side: &Side, function: &Function) -> u64 {
    let mut hasher = DefaultHasher::new();
    let file = &side.files[function.place.0];
    let Ok(section) = file.section_by_index(function.place.1) else {
        return 0;
    };
    let range = function.start..function.start + function.code.len() as u64;
    for (offset, relocation) in section.relocations() {
        if !range.contains(&offset) {
            continue;
        }
        hasher.write_u64(offset - function.start);
        hasher.write_i64(relocation.addend());
        let target = match relocation.target() {
            RelocationTarget::Symbol(index) => file.symbol_by_index(index).ok(),
            _ => None,
        };
        let Some(symbol) = target else { continue };
        let name = symbol.name_bytes().unwrap_or_default();
        match std::str::from_utf8(name) {
            Ok(name) if !name.is_empty() && !is_numbered(name) => {
                // The hash in a symbol is told of by itself.
                let end = name.len().saturating_sub("17h0123456789abcdefE".len());
                let legacy = name.is_char_boundary(end) && name[end..].starts_with("17h");
                hasher.write(if legacy {
                    &name.as_bytes()[..end]
                } else {
                    name.as_bytes()
                });
            }
            // A constant without a name is what it holds.
            _ => {
                let section = symbol.section_index();
                let section = section.and_then(|index| file.section_by_index(index).ok());
                let data = section.and_then(|section| section.data().ok());
                // Pooled constants stand in one section, which says nothing about this one.
                hasher.write(data.filter(|data| data.len() <= 4096).unwrap_or_default());
            }
        }
    }
    hasher.finish()
}

/// A section that differs, of one side.
struct Content<'a> {
    hash: u64,
    kind: SectionKind,
    data: &'a [u8],
}

fn sections(a: &Side, b: &Side, changes: &mut Changes) {
    let (mut lefts, mut rights) = (contents(a), contents(b));
    let names: BTreeSet<String> = lefts.keys().chain(rights.keys()).cloned().collect();
    let (mut strings, mut debug) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    for name in names {
        let left = lefts.remove(&name).unwrap_or_default();
        let right = rights.remove(&name).unwrap_or_default();
        let (left, right) = unmatched(left, right);
        if left.is_empty() && right.is_empty() {
            continue;
        }
        let kind = left.first().or(right.first()).map(|content| content.kind);
        match kind {
            Some(
                SectionKind::ReadOnlyData
                | SectionKind::ReadOnlyString
                | SectionKind::ReadOnlyDataWithRel,
            ) => {
                collect(&left, &mut strings.0);
                collect(&right, &mut strings.1);
            }
            Some(SectionKind::DebugString) => {
                split(&left, &mut debug.0);
                split(&right, &mut debug.1);
            }
            _ if name == ".debug_str" || name == ".debug_line_str" => {
                split(&left, &mut debug.0);
                split(&right, &mut debug.1);
            }
            _ => {}
        }
        let size = |contents: &[Content]| contents.iter().map(|c| c.data.len() as u64).sum();
        changes.sections.push(SectionChange {
            name,
            count: left.len().max(right.len()),
            sizes: (size(&left), size(&right)),
        });
    }
    let mut infos = changes
        .sections
        .iter()
        .filter(|s| s.name.contains("debug_info"));
    changes.stripped = infos.any(|s| (s.sizes.0 == 0) != (s.sizes.1 == 0));
    if changes.stripped {
        debug = (Vec::new(), Vec::new()); // that it is not there says all
    }
    changes.strings = text::group(joined(strings.0, strings.1));
    changes.debug = text::group(joined(debug.0, debug.1));
}

/// Every section, by its file and its index there.
fn all_sections(side: &Side) -> Vec<(usize, object::SectionIndex)> {
    let mut found = Vec::new();
    for (number, file) in side.files.iter().enumerate() {
        found.extend(file.sections().map(|section| (number, section.index())));
    }
    found
}

/// All sections by the part of their name that is not a function's or constant's own.
fn contents<'a>(side: &Side<'a>) -> BTreeMap<String, Vec<Content<'a>>> {
    let mut found: BTreeMap<String, Vec<Content>> = BTreeMap::new();
    for (file, index) in all_sections(side) {
        let Ok(section) = side.files[file].section_by_index(index) else {
            continue;
        };
        let skipped = [SectionKind::Metadata, SectionKind::UninitializedData];
        let Ok(name) = section.name() else { continue };
        let relocations = name.starts_with(".rel");
        // Crate metadata is compared as what it is.
        if relocations || name == ".rustc" || skipped.contains(&section.kind()) {
            continue;
        }
        let name = base_name(name);
        let data = section.data().unwrap_or_default();
        let mut hasher = DefaultHasher::new();
        hasher.write(data);
        found.entry(name.to_owned()).or_default().push(Content {
            hash: hasher.finish(),
            kind: section.kind(),
            data,
        });
    }
    found
}

/// `.text` of `.text._ZN4core…`, `.data.rel.ro` of `.data.rel.ro..Lanon.…`.
fn base_name(name: &str) -> &str {
    for base in [
        ".text",
        ".rodata",
        ".data.rel.ro",
        ".data",
        ".bss",
        ".tdata",
        ".tbss",
        ".gcc_except_table",
    ] {
        if let Some(rest) = name.strip_prefix(base)
            && (rest.is_empty() || rest.starts_with('.'))
        {
            return base;
        }
    }
    // Windows: `.text$name`.
    name.split('$').next().unwrap_or(name)
}

/// What has no equal on the other side.
fn unmatched<'a>(
    mut left: Vec<Content<'a>>,
    mut right: Vec<Content<'a>>,
) -> (Vec<Content<'a>>, Vec<Content<'a>>) {
    let mut hashes: BTreeMap<u64, i64> = BTreeMap::new();
    for content in &left {
        *hashes.entry(content.hash).or_default() += 1;
    }
    for content in &right {
        *hashes.entry(content.hash).or_default() -= 1;
    }
    let mut surplus = hashes.clone();
    left.retain(|content| take(&mut surplus, content.hash, 1));
    right.retain(|content| take(&mut hashes, content.hash, -1));
    (left, right)
}

/// Takes one of what is over in the direction of `sign`.
fn take(counts: &mut BTreeMap<u64, i64>, hash: u64, sign: i64) -> bool {
    match counts.get_mut(&hash) {
        Some(count) if *count * sign > 0 => {
            *count -= sign;
            true
        }
        _ => false,
    }
}

fn collect<'a>(contents: &[Content<'a>], texts: &mut Vec<&'a [u8]>) {
    for content in contents {
        let whole = 0..content.data.len();
        texts.extend(
            text::runs(content.data, &whole)
                .into_iter()
                .map(|run| &content.data[run]),
        );
    }
}

fn split<'a>(contents: &[Content<'a>], texts: &mut Vec<&'a [u8]>) {
    for content in contents {
        texts.extend(content.data.split(|byte| *byte == 0));
    }
}

/// Texts of `one` that `other` does not have; both are sorted.
fn only(one: &[&[u8]], other: &[&[u8]]) -> Vec<String> {
    let missing = one.iter().filter(|text| other.binary_search(text).is_err());
    let texts = missing.take(MAX_TEXTS);
    texts
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .collect()
}

/// The texts that are on one side only, paired with those that look like them on the other.
fn joined<'a>(mut left: Vec<&'a [u8]>, mut right: Vec<&'a [u8]>) -> Vec<TextChange> {
    for texts in [&mut left, &mut right] {
        texts.sort_unstable();
        texts.dedup();
    }
    let (lefts, mut rights) = (only(&left, &right), only(&right, &left));
    let mut by_look: BTreeMap<String, Vec<String>> = BTreeMap::new();
    rights.reverse();
    for text in rights {
        by_look.entry(look(&text)).or_default().push(text);
    }
    let mut changes: Vec<TextChange> = Vec::new();
    for text in lefts {
        let right = by_look.get_mut(&look(&text)).and_then(Vec::pop);
        let left = Some(text);
        changes.push(TextChange { left, right });
    }
    let mut rest: Vec<String> = by_look.into_values().flatten().collect();
    rest.sort();
    let single = changes
        .iter()
        .filter(|change| change.right.is_none())
        .count();
    if single == rest.len() {
        // As many are left on both sides: likely the same ones, reworded.
        let mut rest = rest.into_iter();
        for change in changes.iter_mut().filter(|change| change.right.is_none()) {
            change.right = rest.next();
        }
    } else {
        changes.extend(rest.into_iter().map(|text| TextChange {
            left: None,
            right: Some(text),
        }));
    }
    changes
}

/// What texts of one origin share: the end of a path, or the words without their numbers.
fn look(text: &str) -> String {
    let end = match text.rsplit_once('/') {
        Some((_, "")) | None => text,
        Some((_, end)) => end,
    };
    let mut look = String::with_capacity(end.len());
    for c in end.chars() {
        match c {
            '0'..='9' if look.ends_with('0') => {}
            '0'..='9' => look.push('0'),
            c => look.push(c),
        }
    }
    look
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_names_lose_what_is_not_theirs() {
        assert_eq!(base_name(".text._ZN4core3fmt17h0E"), ".text");
        assert_eq!(base_name(".data.rel.ro..Lanon.1.2"), ".data.rel.ro");
        assert_eq!(base_name(".rodata.cst16"), ".rodata");
        assert_eq!(base_name(".debug_str"), ".debug_str");
        assert_eq!(base_name(".text$unlikely"), ".text");
    }

    #[test]
    fn texts_are_paired_with_their_like() {
        let changes = joined(
            vec![b"/a/x.rs", b"same", b"at 123"],
            vec![b"/b/x.rs", b"same", b"at 99", b"new"],
        );
        let pairs: Vec<_> = changes
            .iter()
            .map(|c| (c.left.as_deref(), c.right.as_deref()))
            .collect();
        let expected = [
            (Some("/a/x.rs"), Some("/b/x.rs")),
            (Some("at 123"), Some("at 99")),
            (None, Some("new")),
        ];
        assert_eq!(pairs, expected);
    }
}
