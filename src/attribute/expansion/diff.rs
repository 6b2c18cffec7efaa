//! What differs between two long texts: by lines, shortened, and of what kind.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use similar::{Algorithm, DiffOp, capture_diff_slices};

use super::align;
use super::{Kind, Line, Sign};
use crate::attribute::tokens::{self, Tokens};

/// Where more lines than this lie between the first and the last difference, they are one piece.
const MAX_LINES: usize = 1_000_000;

/// Between two anchors, so many lines of both sides together are compared exactly: that algorithm
/// is quadratic.
const MAX_EXACT: usize = 512;

/// Longest excerpt.
const MAX_EXCERPT: usize = 12;

/// Pieces so close to the first are shown with it.
const NEAR: usize = 20;

/// Longest line of an excerpt, in characters.
const MAX_WIDTH: usize = 120;

/// What is shown before the differing part of a longer line.
const LEAD: usize = 30;

/// The kind of a difference is told from so many bytes of it.
const MAX_JUDGED: usize = 1 << 20;

/// Lines that stand in for each other; either range may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hunk {
    pub(super) left: Range<usize>,
    pub(super) right: Range<usize>,
}

/// How two texts differ.
#[derive(Debug)]
pub(super) struct Diff<'a> {
    left: Vec<&'a str>,
    right: Vec<&'a str>,
    /// Where in the left text the first of `left` begins.
    base: usize,
    pub(super) hunks: Vec<Hunk>,
    pub(super) removed: usize,
    pub(super) added: usize,
}

/// Compares by lines.
pub(super) fn compare<'a>(left: &'a str, right: &'a str) -> Diff<'a> {
    let base = common_start(left, right);
    let (one, two) = (&left[base..], &right[base..]);
    let tail = common_end(one, two);
    let (one, two) = (&one[..one.len() - tail], &two[..two.len() - tail]);
    let (removed, added) = (one.lines().count(), two.lines().count());
    let mut diff = Diff {
        left: one.lines().take(MAX_LINES).collect(),
        right: two.lines().take(MAX_LINES).collect(),
        base,
        hunks: Vec::new(),
        removed,
        added,
    };
    let whole = Hunk {
        left: 0..diff.left.len(),
        right: 0..diff.right.len(),
    };
    if removed > MAX_LINES || added > MAX_LINES {
        diff.hunks = vec![whole];
    } else {
        diff.hunks = hunks(&diff.left, &diff.right);
        diff.removed = diff.hunks.iter().map(|hunk| hunk.left.len()).sum();
        diff.added = diff.hunks.iter().map(|hunk| hunk.right.len()).sum();
        // Only line ends differ.
        if diff.hunks.is_empty() && left != right {
            diff.hunks = vec![whole];
        }
    }
    diff
}

/// The length of the whole lines that both begin with.
fn common_start(left: &str, right: &str) -> usize {
    let equal = equal_bytes(left.bytes(), right.bytes());
    if equal == left.len() && equal == right.len() {
        return equal;
    }
    let line = left.as_bytes()[..equal].iter().rposition(|b| *b == b'\n');
    line.map_or(0, |at| at + 1)
}

/// The length of the whole lines that both end with.
fn common_end(left: &str, right: &str) -> usize {
    let equal = equal_bytes(left.bytes().rev(), right.bytes().rev());
    let from = left.len() - equal;
    let line = left.as_bytes()[from..].iter().position(|b| *b == b'\n');
    // What stands before the first line end may be the rest of a line that differs.
    line.map_or(0, |at| equal - at - 1)
}

fn equal_bytes(left: impl Iterator<Item = u8>, right: impl Iterator<Item = u8>) -> usize {
    left.zip(right).take_while(|(a, b)| a == b).count()
}

/// Anchors first; what lies between two of them is compared exactly where it is short.
fn hunks(left: &[&str], right: &[&str]) -> Vec<Hunk> {
    let mut known: HashMap<&str, u32> = HashMap::new();
    let mut numbers = left.iter().chain(right).map(|line| {
        let next = u32::try_from(known.len() + 1).expect("MAX_LINES is less");
        *known.entry(line).or_insert(next)
    });
    let one: Vec<u32> = numbers.by_ref().take(left.len()).collect();
    let two: Vec<u32> = numbers.collect();
    let anchors = align::pairs(&one, &two, &[1, 1, 1], &|_| true);
    let mut found: Vec<Hunk> = Vec::new();
    let mut add = |left: Range<usize>, right: Range<usize>| match found.last_mut() {
        Some(last) if last.left.end == left.start && last.right.end == right.start => {
            (last.left.end, last.right.end) = (left.end, right.end);
        }
        _ if left.is_empty() && right.is_empty() => {}
        _ => found.push(Hunk { left, right }),
    };
    let (mut i, mut j) = (0, 0);
    for (a, b) in anchors.into_iter().chain([(one.len(), two.len())]) {
        if a - i + b - j <= MAX_EXACT {
            for op in capture_diff_slices(Algorithm::Myers, &one[i..a], &two[j..b]) {
                if !matches!(op, DiffOp::Equal { .. }) {
                    let (old, new) = (op.old_range(), op.new_range());
                    add(i + old.start..i + old.end, j + new.start..j + new.end);
                }
            }
        } else {
            add(i..a, j..b);
        }
        (i, j) = (a + 1, b + 1);
    }
    found
}

impl<'a> Diff<'a> {
    fn sides(&self, hunk: &Hunk) -> (&[&'a str], &[&'a str]) {
        (
            &self.left[hunk.left.clone()],
            &self.right[hunk.right.clone()],
        )
    }

    /// Where the difference begins in the left text.
    pub(super) fn byte(&self, hunk: &Hunk) -> usize {
        let lines = self.left.first().map_or(0, |first| first.as_ptr() as usize);
        let start = match self.left.get(hunk.left.start) {
            Some(line) => line.as_ptr() as usize - lines,
            None => self
                .left
                .last()
                .map_or(0, |last| last.as_ptr() as usize - lines + last.len()),
        };
        let equal = match self.sides(hunk) {
            ([one, ..], [two, ..]) => equal_bytes(one.bytes(), two.bytes()),
            _ => 0,
        };
        self.base + start + equal
    }

    /// At most a dozen lines, from the piece at `from` on.
    pub(super) fn excerpt(&self, from: usize) -> Vec<Line> {
        let mut end = self.hunks.get(from).map_or(0, |hunk| hunk.left.start);
        let near = self.hunks.iter().skip(from).take(MAX_EXCERPT);
        let near: Vec<&Hunk> = near
            .take_while(|hunk| {
                let near = hunk.left.start <= end + NEAR;
                end = hunk.left.end;
                near
            })
            .collect();
        // Half for each side; what one side leaves, the other takes.
        let half = MAX_EXCERPT / 2;
        let all_added: usize = near.iter().map(|hunk| hunk.right.len()).sum();
        let mut removed = half.max(MAX_EXCERPT.saturating_sub(all_added));
        let all_removed: usize = near.iter().map(|hunk| hunk.left.len()).sum();
        let mut added = half.max(MAX_EXCERPT.saturating_sub(all_removed));
        let mut lines: Vec<Line> = Vec::new();
        for hunk in near {
            let (left, right) = self.sides(hunk);
            for (room, sign, own, other) in [
                (&mut removed, Sign::Removed, left, right),
                (&mut added, Sign::Added, right, left),
            ] {
                let shown = own.len().min(*room);
                *room -= shown;
                lines.extend(own.iter().take(shown).enumerate().map(|(at, line)| Line {
                    sign,
                    text: shorten(line, other.get(at).copied()),
                }));
            }
        }
        let indent = |line: &Line| line.text.len() - line.text.trim_start_matches(' ').len();
        let filled = lines.iter().filter(|line| !line.text.trim().is_empty());
        let common = filled.map(indent).min().unwrap_or(0);
        for line in &mut lines {
            line.text = line.text.get(common..).unwrap_or_default().to_owned();
        }
        lines
    }

    /// What kind of difference the piece at `at` is.
    pub(super) fn kind(&self, at: usize) -> Kind {
        let removed = joined(self.hunks.iter().flat_map(|hunk| self.sides(hunk).0));
        let added = joined(self.hunks.iter().flat_map(|hunk| self.sides(hunk).1));
        // Without a differing line, only line ends differ.
        if self.removed + self.added > 0 && same_words(&removed, &added) {
            return Kind::Order;
        }
        let Some((left, right)) = self.hunks.get(at).map(|hunk| self.sides(hunk)) else {
            return Kind::Other;
        };
        let (left, right) = (joined(left.iter()), joined(right.iter()));
        if left != right && same_words(&left, &right) {
            return Kind::Order;
        }
        values(&left, &right).unwrap_or(Kind::Other)
    }
}

/// The lines as one text, or the beginning of it.
fn joined<'a>(lines: impl Iterator<Item = &'a &'a str>) -> String {
    let mut text = String::new();
    for line in lines {
        if text.len() + line.len() > MAX_JUDGED {
            break;
        }
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// The same words as often, in whatever order. Words rather than lines: the printer breaks lines
/// where they become too long, and a list may stand in a string.
fn same_words(left: &str, right: &str) -> bool {
    let mut count: BTreeMap<&str, i64> = BTreeMap::new();
    for (text, one) in [(left, 1), (right, -1)] {
        for word in text.split(|c: char| !c.is_alphanumeric() && c != '_') {
            *count.entry(word).or_default() += one;
        }
    }
    count.remove("");
    !count.is_empty() && count.values().all(|sum| *sum == 0)
}

/// The kind, if nothing but values differ: literals, numbers, and names that hold a number.
fn values(left: &str, right: &str) -> Option<Kind> {
    let (one, two) = (Tokens::read(left)?, Tokens::read(right)?);
    if one.len() != two.len() {
        return None;
    }
    let mut kinds = Vec::new();
    for at in 0..one.len() {
        let (a, b) = (one.text(at), two.text(at));
        if a != b {
            let kind = one.kind(at).filter(|kind| two.kind(at) == Some(*kind))?;
            let numbered = |text: &str| text.bytes().any(|byte| byte.is_ascii_digit());
            if kind != tokens::Kind::Literal && !(numbered(a) && numbered(b)) {
                return None;
            }
            kinds.push((a, b));
        }
    }
    let all = |test: &dyn Fn(&str) -> bool| kinds.iter().any(|(a, b)| test(a) && test(b));
    if kinds.is_empty() {
        None
    } else if all(&is_time) {
        Some(Kind::Time)
    } else if all(&has_path) {
        Some(Kind::Path)
    } else {
        Some(Kind::Value)
    }
}

/// A date, a time of day, or what today counts since 1970.
fn is_time(text: &str) -> bool {
    let shape: Vec<u8> = text
        .bytes()
        .map(|byte| if byte.is_ascii_digit() { b'0' } else { byte })
        .collect();
    let holds = |pattern: &[u8]| shape.windows(pattern.len()).any(|part| part == pattern);
    if holds(b"0000-00-00") || holds(b"00:00:00") || holds(b"0000/00/00") {
        return true;
    }
    let digits: String = text
        .trim_matches('"')
        .chars()
        .filter(|c| *c != '_')
        .take_while(char::is_ascii_digit)
        .collect();
    // Seconds, or thousandths, millionths, milliardths of them; between 2020 and 2036.
    matches!(digits.len(), 10 | 13 | 16 | 19) && ("16".."21").contains(&&digits[..2])
}

/// Holds an absolute path, after a quote, a space or the like.
fn has_path(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.windows(3).any(|part| {
        let before = part[0].is_ascii_alphanumeric() || b"/_.<>*-".contains(&part[0]);
        let after = part[2].is_ascii_alphanumeric() || b"_.".contains(&part[2]);
        !before && part[1] == b'/' && after
    })
}

/// A long line, cut around the place where it leaves the other.
fn shorten(line: &str, other: Option<&str>) -> String {
    if line.chars().nth(MAX_WIDTH).is_none() {
        return line.to_owned();
    }
    let other = other.unwrap_or_default();
    let equal = line.chars().zip(other.chars());
    let equal = equal.take_while(|(a, b)| a == b).count();
    let skipped = equal.saturating_sub(LEAD);
    let mut text = String::new();
    if skipped > 0 {
        text.push('…');
    }
    let mut rest = line.chars().skip(skipped);
    text.extend(rest.by_ref().take(MAX_WIDTH - 2));
    if rest.next().is_some() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(left: &str, right: &str) -> (Vec<String>, Kind) {
        let diff = compare(left, right);
        let lines = diff.excerpt(0).into_iter();
        let lines = lines.map(|line| format!("{}{}", line.sign, line.text));
        (lines.collect(), diff.kind(0))
    }

    fn kind(left: &str, right: &str) -> Kind {
        shown(left, right).1
    }

    #[test]
    fn equal_texts_have_no_pieces() {
        for text in ["", "a", "a\n", "\n\n"] {
            assert!(compare(text, text).hunks.is_empty(), "{text:?}");
        }
    }

    #[test]
    fn pieces_are_small_and_counted() {
        let diff = compare("a\nb\nc\nd\n", "a\nx\nc\nd\ne\n");
        assert_eq!((diff.removed, diff.added), (1, 2));
        let starts: Vec<usize> = diff.hunks.iter().map(|hunk| diff.byte(hunk)).collect();
        assert_eq!(starts, [2, 7]);
        let diff = compare("a", "a\n");
        assert_eq!((diff.hunks.len(), diff.removed, diff.added), (1, 0, 0));
        let diff = compare("a\nx", "a\ny\nx");
        assert_eq!((diff.removed, diff.added), (0, 1));
    }

    #[test]
    fn long_lines_are_cut_around_the_difference() {
        let long = |middle: &str| format!("{}{middle}{}", "é".repeat(500), "z".repeat(500));
        let (lines, _) = shown(&long("1"), &long("2"));
        for (line, middle) in lines.iter().zip(["1", "2"]) {
            assert!(line.contains(&format!("é{middle}z")), "{line}");
            assert!(line.chars().count() <= MAX_WIDTH + 1, "{line}");
        }
    }

    fn numbers(of: impl Iterator<Item = usize>) -> String {
        let lines: Vec<String> = of.map(|n| format!("    {n}\n")).collect();
        lines.concat()
    }

    #[test]
    fn an_excerpt_is_short_and_shows_both_sides() {
        let text = |from: usize| numbers(from..from + 50);
        let (lines, _) = shown(&text(100), &text(200));
        assert_eq!(lines.len(), MAX_EXCERPT);
        assert_eq!((lines[0].as_str(), lines[6].as_str()), ("-100", "+200"));
        let (lines, _) = shown("x\n", &text(200));
        assert_eq!(lines.len(), MAX_EXCERPT);
        // What moved is shown where it was and where it came.
        let (piece, rest) = (numbers(100..110), numbers(200..215));
        let (lines, kind) = shown(&format!("{piece}{rest}"), &format!("{rest}{piece}"));
        assert_eq!(kind, Kind::Order);
        let added = lines.iter().filter(|line| line.starts_with('+')).count();
        assert_eq!((lines.len(), added), (MAX_EXCERPT, 6));
    }

    #[test]
    fn kinds_are_told_apart() {
        assert_eq!(kind("[2, 0, 1]", "[0, 1, 2]"), Kind::Order);
        assert_eq!(
            kind("f(a);\nf(b);\nf(c);", "f(b);\nf(c);\nf(a);"),
            Kind::Order
        );
        assert_eq!(kind("#[doc = \"a; b\"]", "#[doc = \"b; a\"]"), Kind::Order);
        assert_eq!(kind("0xfd17u64", "0x1451u64"), Kind::Value);
        assert_eq!(kind("*b\"\\x9c\\xc7\"", "*b\"q\\\\\"\";"), Kind::Other);
        assert_eq!(kind("*b\"\\x9c\\xc7\"", "*b\"q\\\\\""), Kind::Value);
        assert_eq!(kind("let __f_9e6a = 1;", "let __f_ae3a4 = 1;"), Kind::Value);
        assert_eq!(
            kind("\"2026-11-20T07:08:22Z\"", "\"2027-12-25T07:08:22Z\""),
            Kind::Time
        );
        assert_eq!(kind("1763622502u64", "1795158502u64"), Kind::Time);
        assert_eq!(
            kind("include(\"/a/b\")", "include(\"/tmp/x/b\")"),
            Kind::Path
        );
        assert_eq!(kind("\"</b>\"", "\"</i>\""), Kind::Value);
        assert_eq!(kind("fn a() {}", "fn b() {}"), Kind::Other);
        assert_eq!(kind("a", ""), Kind::Other);
        assert_eq!(kind("a", "a\n"), Kind::Other);
    }

    #[test]
    fn what_moved_everywhere_ends_soon() {
        let (left, right) = (numbers(0..30_000), numbers((0..30_000).rev()));
        assert!(compare(&left, &right).removed > 29_000);
        let left = numbers((0..10_000).map(|n| n % 7));
        let right = numbers((0..10_000).map(|n| n % 5));
        compare(&left, &right);
    }
}
