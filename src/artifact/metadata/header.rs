//! The first bytes of a metadata blob: magic, version, positions and the compiler's name.

use std::ops::Range;

use super::layout::{self, RootPosition};
use super::{Fault, FaultReason, Svh};
use crate::bytes::{Cursor, ReadError};

/// How a blob begins from rustc 1.41 on.
pub(in crate::artifact) const MAGIC: &[u8] = b"rust\0\0\0";

/// How a blob begins up to rustc 1.40.
pub(in crate::artifact) const MAGIC_OLD: &[u8] = b"\0\0\0\0rust\0\0\0";

/// What stands behind every string from `METADATA_VERSION` 6 on.
pub(super) const STRING_SENTINEL: u8 = 0xc1;

/// The end of a blob from rustc 1.80 on.
pub(in crate::artifact) const END_MARKER: &[u8] = b"rust-end-file";

/// A compiler calls itself by no longer name than this.
const MAX_RUSTC: usize = 1024;

/// What the first bytes of a blob say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// `METADATA_VERSION`, the last byte of the magic.
    pub version: u8,
    /// The whole version string of the compiler. Always there in a version that is known; in an
    /// unknown one, if it could be found.
    pub rustc: Option<String>,
    /// Where the root stands, as the header claims; absent in an unknown version.
    pub root: Option<usize>,
    /// Where the part stands that the SVH does not cover (`METADATA_VERSION` 11), if there is one.
    pub(super) trailer: Option<usize>,
    /// The SVH, where it stands here and not in the root (`METADATA_VERSION` 11).
    pub(super) svh: Option<Svh>,
    pub(super) svh_at: Option<Range<usize>>,
    /// The first byte behind the compiler's version string.
    pub(super) body: usize,
    /// Whether strings end in the sentinel byte.
    pub(super) sentinel: bool,
}

impl Header {
    /// Reads the header of `blob`. Of a version that is not known, what can be found.
    pub(super) fn read(blob: &[u8]) -> Result<Self, Fault> {
        let magic = if blob.starts_with(MAGIC_OLD) {
            MAGIC_OLD
        } else {
            MAGIC
        };
        if !blob.starts_with(magic) {
            return Err(value(0, "magic", "no metadata magic"));
        }
        let version = read(blob, magic.len(), "metadata version", Cursor::u8)?;
        let Some(preamble) = layout::preamble(version) else {
            return Ok(Self {
                version,
                rustc: guess_rustc(blob),
                root: None,
                trailer: None,
                svh: None,
                svh_at: None,
                body: magic.len() + 1,
                sentinel: true,
            });
        };
        let root = match preamble.root {
            RootPosition::BigEndian32(at) => {
                u64::from(read(blob, at, "root position", Cursor::u32_be)?)
            }
            RootPosition::LittleEndian64(at) => read(blob, at, "root position", Cursor::u64_le)?,
        };
        let trailer = match preamble.trailer {
            Some(at) => match read(blob, at, "trailer position", Cursor::u64_le)? {
                0 => None, // a stub has none
                position => Some(in_memory(position)),
            },
            None => None,
        };
        let svh = match preamble.svh {
            Some(at) => Some(Svh::new(read(blob, at, "svh", Cursor::u128_le)?)),
            None => None,
        };
        let (rustc, body) = rustc_string(blob, preamble.rustc, preamble.sentinel)?;
        Ok(Self {
            version,
            rustc: Some(rustc),
            root: Some(in_memory(root)),
            trailer,
            svh,
            svh_at: preamble.svh.map(|at| at..at + size_of::<u128>()),
            body,
            sentinel: preamble.sentinel,
        })
    }

    /// `N` of `rustc 1.N.…`, and whether it is a plain release, whose layout is certain.
    pub(super) fn minor(&self) -> Option<(u32, bool)> {
        let version = self.rustc.as_deref()?.strip_prefix("rustc 1.")?;
        let (minor, rest) = version.split_once('.')?;
        let word = rest.split(' ').next().unwrap_or(rest);
        let release = word.bytes().all(|byte| byte.is_ascii_digit());
        Some((minor.parse().ok()?, release))
    }
}

/// The compiler's version string and the position behind it.
fn rustc_string(blob: &[u8], at: usize, sentinel: bool) -> Result<(String, usize), Fault> {
    const FIELD: &str = "rustc version";
    let mut cursor = Cursor::at(blob, at).map_err(|error| unread(FIELD, error))?;
    let length = cursor.leb_usize().map_err(|error| unread(FIELD, error))?;
    if length > MAX_RUSTC {
        return Err(value(at, FIELD, "string of an impossible length"));
    }
    let text = cursor.take(length).map_err(|error| unread(FIELD, error))?;
    let text = std::str::from_utf8(text).map_err(|_| value(at, FIELD, "string is not UTF-8"))?;
    if sentinel {
        let end = cursor.offset();
        let byte = cursor.u8().map_err(|error| unread(FIELD, error))?;
        if byte != STRING_SENTINEL {
            return Err(value(end, FIELD, "no end byte (0xc1) behind a string"));
        }
    }
    Ok((text.to_owned(), cursor.offset()))
}

/// In a version that is not known, tries the places where the string stood so far.
fn guess_rustc(blob: &[u8]) -> Option<String> {
    [40, 16, 12].into_iter().find_map(|at| {
        let (text, _) = rustc_string(blob, at, true).ok()?;
        text.starts_with("rustc ").then_some(text)
    })
}

/// Reads one value at a fixed position.
fn read<'a, T>(
    blob: &'a [u8],
    at: usize,
    field: &'static str,
    read: impl FnOnce(&mut Cursor<'a>) -> Result<T, ReadError>,
) -> Result<T, Fault> {
    let result = Cursor::at(blob, at).and_then(|mut cursor| read(&mut cursor));
    result.map_err(|error| unread(field, error))
}

/// A position as a number that can be compared with a length; too large stays too large.
fn in_memory(position: u64) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}

pub(super) fn unread(field: &'static str, error: ReadError) -> Fault {
    Fault {
        offset: error.offset,
        field,
        element: None,
        reason: FaultReason::Read(error.reason),
    }
}

pub(super) fn value(offset: usize, field: &'static str, what: &'static str) -> Fault {
    Fault {
        offset,
        field,
        element: None,
        reason: FaultReason::Value(what),
    }
}
