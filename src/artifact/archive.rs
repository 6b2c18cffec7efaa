//! Archives: the members of an rlib, and which of them is the metadata.
//!
//! The dialects (GNU, BSD, Windows, AIX) are the `object` crate's business.

use std::ops::Range;
use std::path::Path;

use object::read::archive::ArchiveFile;

use super::{ArtifactError, object as wrapper};
use crate::bytes::Escaped;

/// The metadata's name in an rlib: since rustc 1.41, and before.
const METADATA_NAMES: [&[u8]; 2] = [b"lib.rmeta", b"rust.metadata.bin"];

/// An archive of this length has no members.
const MAGIC_LENGTH: usize = 8;

/// A file in an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'a> {
    /// Its name, which need not be unique.
    pub name: &'a [u8],
    /// Where its content begins in the archive.
    pub offset: usize,
    /// Its content.
    pub data: &'a [u8],
}

impl Member<'_> {
    /// Where its content stands in the archive.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.data.len()
    }
}

/// The members of the archive `bytes`; of no bytes, none.
pub(super) fn members<'a>(
    path: &'a Path,
    bytes: &'a [u8],
) -> impl Iterator<Item = Result<Member<'a>, ArtifactError>> {
    let failed = |step: String, reason: String, offset: usize| ArtifactError::Container {
        path: path.to_owned(),
        step,
        reason,
        offset: offset as u64,
    };
    let mut archive = match bytes {
        [] => None,
        bytes => Some(
            ArchiveFile::parse(bytes)
                .map(|archive| archive.members())
                .map_err(|error| failed("archive header".to_owned(), error.to_string(), 0)),
        ),
    };
    let (mut number, mut end) = (0, 0);
    std::iter::from_fn(move || {
        let members = match archive.take()? {
            Ok(members) => members,
            Err(error) => return Some(Err(error)),
        };
        let mut members = members;
        let member = match members.next() {
            Some(Ok(member)) => member,
            // The parser takes a symbol table that is cut short for the last of the file.
            None if number == 0 && bytes.len() > MAGIC_LENGTH => {
                let reason = "it is cut short, or not one".to_owned();
                return Some(Err(failed("symbol table".to_owned(), reason, MAGIC_LENGTH)));
            }
            None => return None,
            Some(Err(error)) => {
                let step = format!("archive member {number}");
                return Some(Err(failed(step, error.to_string(), end)));
            }
        };
        let (offset, size) = member.file_range();
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let content = usize::try_from(size)
            .ok()
            .and_then(|size| bytes.get(at..at.checked_add(size)?));
        let Some(data) = content else {
            let step = format!("archive member {number} ({})", Escaped(member.name()));
            let reason = format!("its {size} bytes are cut short");
            return Some(Err(failed(step, reason, at)));
        };
        number += 1;
        end = at + data.len();
        archive = Some(Ok(members));
        Some(Ok(Member {
            name: member.name(),
            offset: at,
            data,
        }))
    })
}

/// Where the metadata blob stands in an rlib.
pub(super) fn metadata_range(path: &Path, bytes: &[u8]) -> Result<Range<usize>, ArtifactError> {
    // Its position among the members changed over time, so all are looked at until it is found.
    for member in members(path, bytes) {
        let member = member?;
        if METADATA_NAMES.contains(&member.name) {
            let inner = wrapper::wrapped_metadata(path, member.data, member.offset)?;
            return Ok(member.offset + inner.start..member.offset + inner.end);
        }
    }
    Err(ArtifactError::NoMetadata {
        path: path.to_owned(),
        found: "an archive without lib.rmeta, such as a staticlib or a C library; name an rlib",
    })
}
