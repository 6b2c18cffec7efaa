//! Guesses, from two texts that differ, what made them differ.
//!
//! A label is a hint for people and no evidence: whoever wants to be sure repeats the compile with
//! that one thing changed.

use std::fmt;

use serde::Serialize;

/// Why two texts are likely to differ.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(tag = "cause", rename_all = "kebab-case")]
pub enum Cause {
    /// One source or build directory against another.
    Directory {
        /// The directory on the left, without what both share at their end.
        left: String,
        /// The directory on the right.
        right: String,
    },
    /// The same texts in another order: something iterated over a hash table or listed a directory.
    Order,
    /// A date or a time of day.
    Date,
    /// A count of seconds (or finer) since 1970.
    Timestamp,
    /// A number that differs.
    Counter,
    /// Hexadecimal digits that differ: a hash, an id, a random name.
    Hash,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory { left, right } => write!(f, "another directory: {left} → {right}"),
            Self::Order => f.write_str("the same texts in another order, as of a hash table"),
            Self::Date => f.write_str("a date or time"),
            Self::Timestamp => f.write_str("a time stamp"),
            Self::Counter => f.write_str("a number that counts"),
            Self::Hash => f.write_str("hexadecimal digits: a hash, an id or a random name"),
        }
    }
}

/// A guess why `left` became `right`, if there is one.
pub fn guess(left: &str, right: &str) -> Option<Cause> {
    if left == right {
        return None;
    }
    directory(left, right)
        .or_else(|| date(left, right))
        .or_else(|| number(left, right))
        .or_else(|| hash(left, right))
}

/// Two absolute paths that end alike.
fn directory(left: &str, right: &str) -> Option<Cause> {
    let (left, right) = (path(left)?, path(right)?);
    let mut ends: Vec<_> = left.rsplit('/').zip(right.rsplit('/')).collect();
    ends.truncate(ends.iter().take_while(|(a, b)| a == b).count());
    let shared: usize = ends.iter().map(|(part, _)| part.len() + 1).sum();
    let cut = |path: &str| {
        let end = path.len().saturating_sub(shared);
        match &path[..end] {
            "" => "/".to_owned(),
            directory => directory.to_owned(),
        }
    };
    let (left, right) = (cut(left), cut(right));
    (left != right).then_some(Cause::Directory { left, right })
}

/// The absolute path in `text`, which may have something before it, such as a length.
fn path(text: &str) -> Option<&str> {
    let windows = |at: usize| {
        let bytes = text.as_bytes();
        at > 0 && bytes[at - 1] == b':' && text[..at].len() >= 2
    };
    let start = text.find('/').filter(|at| *at <= 2 || windows(*at))?;
    let path = text[start..].split(['\0', '\n']).next()?;
    let part = |part: &str| !part.is_empty();
    (path.split('/').filter(|p| part(p)).count() >= 2).then_some(path)
}

/// What differs, without what both begin and end with, widened to the whole of its kind.
fn core<'a>(left: &'a str, right: &'a str, fits: impl Fn(u8) -> bool) -> (&'a str, &'a str) {
    let (a, b) = (left.as_bytes(), right.as_bytes());
    let mut start = super::bytes::common_prefix(a, b);
    let ends = a[start..].iter().rev().zip(b[start..].iter().rev());
    let mut end = ends.take_while(|(a, b)| a == b).count();
    while start > 0 && fits(a[start - 1]) {
        start -= 1;
    }
    while end > 0 && fits(a[a.len() - end]) {
        end -= 1;
    }
    let cut = |text: &'a str| text.get(start..text.len() - end).unwrap_or(text);
    (cut(left), cut(right))
}

fn date(left: &str, right: &str) -> Option<Cause> {
    let fits = |b: u8| b.is_ascii_digit() || b"-:. TZ/+".contains(&b);
    let (left, right) = core(left, right, fits);
    (is_date(left) && is_date(right)).then_some(Cause::Date)
}

/// Whether `text` has a date or a time of day in it.
pub fn is_date(text: &str) -> bool {
    let digits =
        |part: &str| matches!(part.len(), 2 | 4) && part.bytes().all(|b| b.is_ascii_digit());
    let three = |by: char| {
        text.split([' ', 'T', 'Z', '.', '+', '(', ')', '"', ','])
            .any(|word| {
                let parts: Vec<_> = word.split(by).collect();
                parts.len() == 3 && parts.iter().all(|part| digits(part))
            })
    };
    three('-') || three(':') || three('/')
}

/// Whether `text` has seconds since 1970 in it, of the years 2001 to 2033.
pub fn has_timestamp(text: &str) -> bool {
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.any(|word| {
        let digits = word.bytes().all(|byte| byte.is_ascii_digit());
        digits && word.len() == 10 && word.starts_with('1')
    })
}

/// Whether `text` is an absolute path.
pub fn is_path(text: &str) -> bool {
    let windows = text
        .get(1..3)
        .is_some_and(|rest| rest == ":\\" || rest == ":/");
    let absolute = windows || (text.starts_with('/') && !text.starts_with("//"));
    absolute && path(text).is_some() && !text.contains([' ', '\n', '*'])
}

fn number(left: &str, right: &str) -> Option<Cause> {
    let (left, right) = core(left, right, |b| b.is_ascii_digit());
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !all_digits(left) || !all_digits(right) {
        return None;
    }
    // From 2001 to 2033, in seconds, and in the finer units.
    let time = |text: &str| [10, 13, 16, 19].contains(&text.len()) && text.starts_with('1');
    Some(if time(left) && time(right) {
        Cause::Timestamp
    } else {
        Cause::Counter
    })
}

fn hash(left: &str, right: &str) -> Option<Cause> {
    let (left, right) = core(left, right, |b| b.is_ascii_hexdigit());
    let fits = |text: &str| text.len() >= 8 && text.bytes().all(|b| b.is_ascii_hexdigit());
    (fits(left) && fits(right)).then_some(Cause::Hash)
}

/// The same texts in another order?
pub fn is_reordered<T: Ord>(left: &[T], right: &[T]) -> bool {
    let sorted = |texts: &[T]| {
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by(|a, b| texts[*a].cmp(&texts[*b]));
        order
    };
    left.len() == right.len()
        && left.len() >= 2
        && left != right
        && (sorted(left).into_iter().zip(sorted(right))).all(|(a, b)| left[a] == right[b])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_by_their_texts() {
        let directory = |left: &str, right: &str| {
            Some(Cause::Directory {
                left: left.to_owned(),
                right: right.to_owned(),
            })
        };
        for (left, right, cause) in [
            (
                "/a/one/src/lib.rs",
                "/b/two/src/lib.rs",
                directory("/a/one", "/b/two"),
            ),
            ("/a/x/lib.rs", "/a/lib.rs", directory("/a/x", "/a")),
            (
                "built 2026-11-20 09:00:01",
                "built 2026-11-20 09:00:02",
                Some(Cause::Date),
            ),
            ("at 09:59:01Z", "at 10:00:02Z", Some(Cause::Date)),
            (
                "built at 1795167811",
                "built at 1795167812",
                Some(Cause::Timestamp),
            ),
            ("name_7", "name_12", Some(Cause::Counter)),
            (
                "x-0123456789abcdef",
                "x-fedcba9876543210",
                Some(Cause::Hash),
            ),
            ("hello there", "hello world", None),
            ("a/b", "a/c", None),
            ("é/b", "è/c", None),
            ("same", "same", None),
        ] {
            assert_eq!(guess(left, right), cause, "{left} {right}");
        }
    }

    #[test]
    fn another_order_has_the_same_texts() {
        assert!(is_reordered(&["a", "b", "b"], &["b", "a", "b"]));
        assert!(!is_reordered(&["a", "b"], &["a", "b"]));
        assert!(!is_reordered(&["a", "b", "b"], &["b", "a", "a"]));
    }
}
