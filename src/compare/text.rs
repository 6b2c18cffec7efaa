//! Texts inside of binary data: which ones a differing region touches, and how two lists of them
//! differ.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use super::cause::{self, Cause};
use crate::bytes::Cursor;

/// A text at a differing place, on both sides; absent where one side has none there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TextChange {
    /// On the left.
    pub left: Option<String>,
    /// On the right.
    pub right: Option<String>,
}

/// Texts that differ for the same reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextGroup {
    /// A guess why.
    pub cause: Option<Cause>,
    /// The changes, in the order of the file.
    pub changes: Vec<TextChange>,
}

/// No longer text is looked for around a difference; a longer one is shown in part.
const MAX_TEXT: usize = 4096;

/// Shorter runs of letters happen by chance.
const MIN_RUN: usize = 8;

/// rustc ends every string in metadata with this byte, from release 1.59 on.
pub(super) const SENTINEL: u8 = 0xc1;

/// Lists longer than this are not aligned but compared by place.
const MAX_ALIGNED: usize = 2000;

/// Causes told apart.
const MAX_GROUPS: usize = 64;

/// Aligning may not take longer.
const DEADLINE: Duration = Duration::from_millis(20);

/// The strings of metadata that `region` touches. `sentinel` says whether strings end in one.
pub fn strings(blob: &[u8], region: &Range<usize>, sentinel: bool) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    if sentinel {
        let mut at = enclosing(blob, region.start).map_or(region.start, |string| {
            found.push(string.clone());
            string.end + 1
        });
        while at < region.end {
            match string_at(blob, at) {
                Some(string) if string.len() > 1 => {
                    at = string.end + 1;
                    found.push(string);
                }
                _ => at += 1,
            }
        }
    }
    if found.is_empty() {
        found = runs(blob, region);
    }
    found
}

/// All strings of metadata in `span`, in their order.
pub fn all_strings<'a>(blob: &'a [u8], span: &Range<usize>) -> Vec<&'a [u8]> {
    let ranges = string_ranges(blob, span);
    ranges.into_iter().map(|range| &blob[range]).collect()
}

fn string_ranges(blob: &[u8], span: &Range<usize>) -> Vec<Range<usize>> {
    let (mut found, mut at) = (Vec::new(), span.start);
    while at < span.end {
        match string_at(blob, at) {
            Some(string) if string.len() > 1 => {
                at = string.end + 1;
                found.push(string);
            }
            _ => at += 1,
        }
    }
    found
}

/// Texts that tie metadata to a place or a time: where each stands, what it is, and the text, in the
/// order of the blob, each text once.
pub fn telling(blob: &[u8], sentinel: bool) -> Vec<(usize, &'static str, &str)> {
    let whole = 0..blob.len();
    let ranges = if sentinel {
        string_ranges(blob, &whole)
    } else {
        runs(blob, &whole)
    };
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for range in ranges {
        let Ok(text) = std::str::from_utf8(&blob[range.clone()]) else {
            continue;
        };
        let what = match () {
            () if cause::is_path(text) => "path",
            () if cause::is_date(text) => "date",
            () if cause::has_timestamp(text) => "time",
            () => continue,
        };
        if seen.insert(text) {
            found.push((range.start, what, text));
        }
    }
    found
}

/// The longest string that holds the byte at `position`, its length byte included.
fn enclosing(blob: &[u8], position: usize) -> Option<Range<usize>> {
    let mut found = None;
    // A byte that no text has ends the search: no string reaches over it, but for the length.
    for start in (position.saturating_sub(MAX_TEXT)..=position).rev() {
        if let Some(string) = string_at(blob, start)
            && string.len() > 1
            && (start..string.end).contains(&position)
        {
            found = Some(string);
        }
        let byte = blob.get(start)?;
        if start < position && is_never_text(*byte) {
            break;
        }
    }
    found
}

/// The content of a string whose length stands at `at`.
fn string_at(blob: &[u8], at: usize) -> Option<Range<usize>> {
    let mut cursor = Cursor::at(blob, at).ok()?;
    let length = cursor.leb_usize().ok()?;
    if length == 0 || length > MAX_TEXT {
        return None;
    }
    let start = cursor.offset();
    let text = cursor.take(length).ok()?;
    let sound = cursor.u8() == Ok(SENTINEL) && std::str::from_utf8(text).is_ok();
    (sound && !text.iter().any(|byte| is_never_text(*byte))).then(|| start..start + length)
}

fn is_never_text(byte: u8) -> bool {
    (byte < b' ' && !b"\t\n\r".contains(&byte)) || byte == 0x7f
}

/// Runs of printable ASCII that `region` touches, whole also where they reach beyond it.
pub fn runs(blob: &[u8], region: &Range<usize>) -> Vec<Range<usize>> {
    let is_print = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t' | b'\n');
    let before = &blob[region.start.saturating_sub(MAX_TEXT)..region.start];
    let start = region.start - before.iter().rev().take_while(|b| is_print(b)).count();
    let after = &blob[region.end..blob.len().min(region.end + MAX_TEXT)];
    let end = region.end + after.iter().take_while(|byte| is_print(byte)).count();
    let mut found = Vec::new();
    let mut at = start;
    for run in blob[start..end].split(|byte| !is_print(byte)) {
        let letters = run.iter().filter(|b| b.is_ascii_alphanumeric()).count();
        // What is mostly punctuation is code or numbers.
        if run.len() >= MIN_RUN && 2 * letters > run.len() {
            found.push(at..at + run.len());
        }
        at += run.len() + 1;
    }
    found
}

/// Pairs the texts of one region.
pub fn pair(left: &[&str], right: &[&str]) -> Vec<TextChange> {
    let change = |left: Option<&&str>, right: Option<&&str>| TextChange {
        left: left.map(|text| (*text).to_owned()),
        right: right.map(|text| (*text).to_owned()),
    };
    let by_place = |left: &[&str], right: &[&str]| -> Vec<TextChange> {
        (0..left.len().max(right.len()))
            .filter(|index| left.get(*index) != right.get(*index))
            .map(|index| change(left.get(index), right.get(index)))
            .collect()
    };
    if left.len() == right.len() || left.len().max(right.len()) > MAX_ALIGNED {
        return by_place(left, right);
    }
    let deadline = std::time::Instant::now() + DEADLINE;
    let steps = similar::capture_diff_slices_deadline(
        similar::Algorithm::Myers,
        left,
        right,
        Some(deadline),
    );
    let mut changes = Vec::new();
    for step in steps {
        let (tag, old, new) = step.as_tag_tuple();
        if tag != similar::DiffTag::Equal {
            changes.extend(by_place(&left[old], &right[new]));
        }
    }
    changes
}

/// Sorts changes by their likely cause, those with the most changes first. Equal changes count once.
pub fn group(mut changes: Vec<TextChange>) -> Vec<TextGroup> {
    let side = |side: fn(&TextChange) -> &Option<String>| -> Vec<&str> {
        changes.iter().filter_map(|c| side(c).as_deref()).collect()
    };
    let (lefts, rights) = (side(|change| &change.left), side(|change| &change.right));
    if cause::is_reordered(&lefts, &rights) {
        let cause = Some(Cause::Order);
        return vec![TextGroup { cause, changes }];
    }
    let mut seen = BTreeSet::new();
    changes.retain(|change| seen.insert(change.clone()));
    let mut groups: Vec<TextGroup> = Vec::new();
    for change in changes {
        let cause = match (&change.left, &change.right) {
            (Some(left), Some(right)) => cause::guess(left, right),
            _ => None,
        };
        match groups.iter().position(|group| group.cause == cause) {
            Some(index) => groups[index].changes.push(change),
            // Every directory is a cause of its own; many of them say no more than some.
            None if groups.len() >= MAX_GROUPS => groups[MAX_GROUPS - 1].changes.push(change),
            None => groups.push(TextGroup {
                cause,
                changes: vec![change],
            }),
        }
    }
    for group in &mut groups {
        let side = |side: fn(&TextChange) -> &Option<String>| -> Vec<&str> {
            group
                .changes
                .iter()
                .filter_map(|c| side(c).as_deref())
                .collect()
        };
        let (lefts, rights) = (side(|c| &c.left), side(|c| &c.right));
        if group.cause.is_none() && cause::is_reordered(&lefts, &rights) {
            group.cause = Some(Cause::Order);
        }
    }
    groups.sort_by_key(|group| (group.cause.is_none(), usize::MAX - group.changes.len()));
    groups
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn the_string_around_a_difference_is_found() {
        let blob = b"\0\x05hello\xc1\x03abc\xc1\xff\x01built at 12345\x02";
        let text = |region: Range<usize>| -> Vec<&[u8]> {
            let ranges = strings(blob, &region, true);
            ranges.into_iter().map(|range| &blob[range]).collect()
        };
        assert_eq!(text(3..4), [b"hello"]);
        assert_eq!(text(1..2), [b"hello"], "its length differs");
        assert_eq!(text(3..10), [&b"hello"[..], b"abc"]);
        assert_eq!(text(25..26), [b"built at 12345"]);
        assert!(strings(b"\x01\x02\x03\x04", &(1..2), true).is_empty());
        assert!(strings(b"", &(0..0), true).is_empty());
    }

    #[test]
    fn changes_are_sorted_by_cause() {
        let change = |left: &str, right: &str| TextChange {
            left: Some(left.to_owned()),
            right: Some(right.to_owned()),
        };
        let groups = group(vec![
            change("hello", "world"),
            change("/a/x/lib.rs", "/b/x/lib.rs"),
            change("/a/x/m.rs", "/b/x/m.rs"),
        ]);
        assert_eq!(groups.len(), 2);
        assert_eq!(groups[0].changes.len(), 2);
        assert!(groups[1].cause.is_none());
        let groups = group(vec![change("a", "b"), change("b", "a")]);
        assert_eq!(groups[0].cause, Some(Cause::Order));
    }

    #[test]
    fn lists_of_other_lengths_are_aligned() {
        let changes = pair(&["a", "b", "c"], &["a", "c"]);
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].left.as_deref(), Some("b"));
        assert_eq!(changes[0].right, None);
    }
}
