//! Object files: the thin wrapper that rustc puts around the metadata in an rlib, and the shared
//! libraries that carry it in a section.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use object::{FileKind, Object as _, ObjectSection as _, ObjectSymbol as _};

use super::inflate::Packing;
use super::metadata::{END_MARKER, MAGIC};
use super::{ArtifactError, ObjectFormat};
use crate::bytes::Cursor;

/// A section of an object file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section<'a> {
    /// Its name.
    pub name: Cow<'a, str>,
    /// Its content in the file; nothing for a section that has none there, such as `.bss`.
    pub range: Option<Range<usize>>,
    /// Its size in memory.
    pub size: u64,
}

/// The format of an object file, shared library or program.
pub(super) fn format(bytes: &[u8]) -> Option<ObjectFormat> {
    if bytes.starts_with(b"\0asm") {
        return Some(ObjectFormat::Wasm);
    }
    Some(match FileKind::parse(bytes).ok()? {
        FileKind::Elf32 | FileKind::Elf64 => ObjectFormat::Elf,
        FileKind::MachO32 | FileKind::MachO64 => ObjectFormat::MachO,
        FileKind::Coff | FileKind::CoffBig => ObjectFormat::Coff,
        FileKind::Pe32 | FileKind::Pe64 => ObjectFormat::Pe,
        FileKind::Xcoff32 | FileKind::Xcoff64 => ObjectFormat::Xcoff,
        _ => return None,
    })
}

fn parse<'a>(path: &Path, bytes: &'a [u8]) -> Result<object::File<'a>, ArtifactError> {
    object::File::parse(bytes).map_err(|error| ArtifactError::Container {
        path: path.to_owned(),
        step: "object file".to_owned(),
        reason: error.to_string(),
        offset: 0,
    })
}

/// All sections, in the order of the file's own table.
pub(super) fn sections<'a>(
    path: &Path,
    bytes: &'a [u8],
) -> Result<Vec<Section<'a>>, ArtifactError> {
    let file = parse(path, bytes)?;
    let sections = file.sections().map(|section| Section {
        // The name is borrowed from `file`'s tables, which `object` ties to the section.
        name: Cow::Owned(
            String::from_utf8_lossy(section.name_bytes().unwrap_or(b"?")).into_owned(),
        ),
        range: section.file_range().and_then(|range| inside(bytes, range)),
        size: section.size(),
    });
    Ok(sections.collect())
}

/// Variables in writable sections and in thread-local storage.
pub(super) fn variables(path: &Path, bytes: &[u8]) -> Result<Vec<String>, ArtifactError> {
    use object::SectionKind::{Data, Tls, UninitializedData, UninitializedTls};
    let file = parse(path, bytes)?;
    let writable = |symbol: &object::Symbol<'_, '_>| {
        let section = symbol.section_index();
        let section = section.and_then(|index| file.section_by_index(index).ok());
        section.is_some_and(|own| {
            matches!(
                own.kind(),
                Data | Tls | UninitializedData | UninitializedTls
            )
        })
    };
    let mut names: Vec<String> = file
        .symbols()
        .filter(|own| own.size() > 0 && writable(own))
        .filter_map(|own| own.name().ok())
        .map(|name| format!("{:#}", rustc_demangle::demangle(name)))
        .collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// A (position, size) that a file claims, if the file has those bytes.
fn inside(bytes: &[u8], (offset, size): (u64, u64)) -> Option<Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(size).ok()?)?;
    bytes.get(start..end).map(|_| start..end)
}

/// Where the blob stands in `data`, the metadata member of an rlib that begins at `base`.
pub(super) fn wrapped_metadata(
    path: &Path,
    data: &[u8],
    base: usize,
) -> Result<Range<usize>, ArtifactError> {
    let found = match object::File::parse(data) {
        Ok(file) => {
            let section = ["info", ".info", ".rmeta"]
                .iter()
                .find_map(|name| file.section_by_name(name).map(|section| (*name, section)));
            section.and_then(|(name, section)| {
                let range = inside(data, section.file_range()?)?;
                // AIX: a length of four bytes comes first.
                let aix = name.ends_with("info");
                let length = if aix { 4 } else { 0 };
                Some(range.start.checked_add(length)?.min(range.end)..range.end)
            })
        }
        // Bare, as up to rustc 1.53, or in a wrapper of no format that is known here.
        Err(_) => search(data),
    };
    found.ok_or_else(|| ArtifactError::Container {
        path: path.to_owned(),
        step: "archive member lib.rmeta".to_owned(),
        reason: "neither metadata nor an object file with a section of it".to_owned(),
        offset: base as u64,
    })
}

/// From the first magic to the last end marker or, before rustc 1.80, the end.
fn search(data: &[u8]) -> Option<Range<usize>> {
    if data.starts_with(super::metadata::MAGIC_OLD) {
        return Some(0..data.len());
    }
    let start = data.windows(MAGIC.len()).position(|bytes| bytes == MAGIC)?;
    let end = data
        .windows(END_MARKER.len())
        .rposition(|bytes| bytes == END_MARKER)
        .map_or(data.len(), |at| at + END_MARKER.len());
    Some(start..end.max(start))
}

/// How a blob is stored, and where in the shared library.
pub(super) fn metadata_range(
    path: &Path,
    bytes: &[u8],
) -> Result<(Packing, Range<usize>), ArtifactError> {
    let none = |found| ArtifactError::NoMetadata {
        path: path.to_owned(),
        found,
    };
    if format(bytes) == Some(ObjectFormat::Wasm) {
        return Err(none("a WebAssembly program; name an rlib or an rmeta"));
    }
    let file = parse(path, bytes)?;
    let Some(section) = file.section_by_name(".rustc") else {
        return Err(none(match file.kind() {
            object::ObjectKind::Relocatable => {
                "an object file; name the rlib that it is a member of"
            }
            object::ObjectKind::Executable => "a program; name an rlib or an rmeta",
            _ => {
                "a program, a cdylib or a C library; name an rlib, an rmeta, a proc macro or a dylib"
            }
        }));
    };
    let range = section.file_range().and_then(|range| inside(bytes, range));
    let Some(range) = range else {
        return Err(ArtifactError::Container {
            path: path.to_owned(),
            step: "section .rustc".to_owned(),
            reason: "its content is cut short".to_owned(),
            offset: section.file_range().map_or(0, |(offset, _)| offset),
        });
    };
    let start = range.start;
    let (packing, inner) = unwrap_section(path, &bytes[range], start)?;
    Ok((packing, start + inner.start..start + inner.end))
}

/// Where the blob stands in the content of a `.rustc` section: behind a magic of its own and, from
/// rustc 1.70 on, a length.
fn unwrap_section(
    path: &Path,
    section: &[u8],
    base: usize,
) -> Result<(Packing, Range<usize>), ArtifactError> {
    const SNAPPY: &[u8] = b"\xff\x06\0\0sN";
    let failed = |reason: String| ArtifactError::Container {
        path: path.to_owned(),
        step: "section .rustc".to_owned(),
        reason,
        offset: base as u64,
    };
    if section.starts_with(super::metadata::MAGIC_OLD) {
        let head = super::metadata::MAGIC_OLD.len() + 1;
        return Ok((Packing::Deflate, head.min(section.len())..section.len()));
    }
    let Some(after) = section.strip_prefix(MAGIC) else {
        return Err(failed("no metadata magic".to_owned()));
    };
    let mut cursor = Cursor::new(after);
    let version = cursor.u8().map_err(|error| failed(error.to_string()))?;
    let packing = |rest: &[u8]| match version {
        _ if rest.starts_with(SNAPPY) => Packing::Snappy,
        ..=6 => Packing::Deflate,
        _ => Packing::Plain,
    };
    if version <= 6 {
        let start = MAGIC.len() + cursor.offset();
        return Ok((packing(cursor.rest()), start..section.len()));
    }
    let length = match version {
        7..=8 => cursor.u32_be().map(u64::from),
        _ => cursor.u64_le(),
    };
    let length = length.map_err(|error| failed(error.to_string()))?;
    let start = MAGIC.len() + cursor.offset();
    let blob = usize::try_from(length)
        .ok()
        .and_then(|length| start.checked_add(length))
        .filter(|end| *end <= section.len());
    match blob {
        Some(end) => Ok((packing(cursor.rest()), start..end)),
        None => Err(failed(format!(
            "metadata of {length} bytes is cut short at {}",
            section.len() - start
        ))),
    }
}

/// Whether the library exports what rustc looks for in a proc macro.
pub(super) fn is_proc_macro(bytes: &[u8]) -> bool {
    const PREFIXES: [&str; 2] = ["__rustc_proc_macro_decls_", "__rustc_derive_registrar_"];
    object::File::parse(bytes).is_ok_and(|file| {
        file.dynamic_symbols().any(|symbol| {
            let name = symbol.name().unwrap_or_default();
            PREFIXES.iter().any(|prefix| {
                name.trim_start_matches('_')
                    .starts_with(prefix.trim_start_matches('_'))
            })
        })
    })
}

/// The crate's name, by the symbol with which a dylib keeps its metadata section alive.
pub(super) fn crate_of_symbols(bytes: &[u8]) -> Option<String> {
    let file = object::File::parse(bytes).ok()?;
    file.dynamic_symbols().find_map(|symbol| {
        let symbol = symbol.name().ok()?;
        let (name, id) = symbol.strip_prefix("rust_metadata_")?.rsplit_once('_')?;
        let hexadecimal = id.bytes().all(|byte| byte.is_ascii_hexdigit());
        (hexadecimal && !name.is_empty()).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unwrap(head: &str, length: usize) -> Result<(Packing, Range<usize>), String> {
        let bytes = head.split(' ').map(|b| u8::from_str_radix(b, 16).unwrap());
        let mut section: Vec<u8> = bytes.collect();
        section.resize(length, 0);
        unwrap_section(Path::new("pm.so"), &section, 0x1000).map_err(|error| error.to_string())
    }

    #[test]
    fn sections_of_every_form_are_told_apart() {
        // The heads of real `.rustc` sections, by release.
        let compressed = [
            (
                "00 00 00 00 72 75 73 74 00 00 00 04 c5 57 7b 70",
                Packing::Deflate,
                12,
            ), // 1.40
            (
                "72 75 73 74 00 00 00 05 9d 56 09 70 13 d7 19 fe",
                Packing::Deflate,
                8,
            ), // 1.47
            (
                "72 75 73 74 00 00 00 05 ff 06 00 00 73 4e 61 50",
                Packing::Snappy,
                8,
            ), // 1.48
        ];
        for (head, packing, start) in compressed {
            assert_eq!(unwrap(head, 2000), Ok((packing, start..2000)));
        }
        let head = "72 75 73 74 00 00 00 07 00 00 02 a0 ff 06 00 00 73 4e 61 50"; // 1.70
        assert_eq!(unwrap(head, 2000), Ok((Packing::Snappy, 12..12 + 672)));
        let plain = [
            (
                "72 75 73 74 00 00 00 08 00 00 04 df 72 75 73 74 00 00 00 08",
                12,
                1247,
            ), // 1.73
            (
                "72 75 73 74 00 00 00 09 a2 04 00 00 00 00 00 00 72 75 73 74",
                16,
                1186,
            ), // 1.76
            (
                "72 75 73 74 00 00 00 0a 28 04 00 00 00 00 00 00 72 75 73 74",
                16,
                1064,
            ), // 1.95
        ];
        for (head, start, length) in plain {
            let expected = (Packing::Plain, start..start + length);
            assert_eq!(unwrap(head, start + length), Ok(expected.clone()));
            // A linker may pad the section, but nothing may be missing.
            assert_eq!(unwrap(head, start + length + 7), Ok(expected));
            let error = unwrap(head, start + length - 1).unwrap_err();
            assert!(error.contains("is cut short"), "{error}");
        }
        assert!(unwrap("72 75 73 74 00 00 00", 7).is_err());
        assert!(unwrap("7f 45 4c 46", 4).is_err());
    }
}
