//! What a macro wrote differently, and which invocation of it.
//!
//! Two texts that `rustc -Zunpretty=expanded` printed for one crate are compared; the differing
//! lines are shortened ([`diff`]), and the place leads back to the invocation in the crate's own
//! source ([`place`]). Nothing is run or read from disk, no nesting or length of a text makes it
//! fail, and the answer never depends on how fast the machine is.

mod align;
mod diff;
mod invocation;
mod names;
mod place;

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use place::{Candidate, Crate, Place};

/// So many differing pieces are traced to their invocations.
const MAX_PIECES: usize = 32;

/// So many invocations are listed.
const MAX_LISTED: usize = 8;

/// A source file of the crate.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Its path, as it is to be shown. Paths of one crate are all relative to one folder, or all
    /// absolute.
    pub path: &'a Path,
    /// What it holds.
    pub text: &'a str,
}

/// What is known of the macro that is to blame; nothing, if all is empty.
#[derive(Debug, Clone, Copy, Default)]
pub struct Suspect<'a> {
    /// The crate that defines it.
    pub package: Option<&'a str>,
    /// The name under which the user's crate imports that crate, where it is another.
    pub import: Option<&'a str>,
    /// Functions of it that were on the stack (`hash_macro::five`).
    pub functions: &'a [String],
}

impl Suspect<'_> {
    fn is_known(&self) -> bool {
        self.package.is_some() || self.import.is_some() || !self.functions.is_empty()
    }
}

/// How two expansions of one crate differ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expansion {
    /// Whether they differ at all.
    pub differs: bool,
    /// Lines that only the first has. Where whole regions have nothing in common, all of both is
    /// counted.
    pub removed: usize,
    /// Lines that only the second has.
    pub added: usize,
    /// At most twelve lines of the piece that the invocation wrote, or of the first. Control
    /// characters are left in.
    pub excerpt: Vec<Line>,
    /// What kind of difference it is; `None` without one.
    pub kind: Option<Kind>,
    /// The invocation whose output differs, if it can be told.
    pub invocation: Option<Invocation>,
    /// Further invocations whose output differs too, as they come in the expansion; not all, if
    /// they are many.
    pub also: Vec<Invocation>,
    /// Where it cannot be told: those that it may be.
    pub candidates: Vec<Invocation>,
}

/// One line of an excerpt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Whose it is.
    pub sign: Sign,
    /// The line, without its end; cut (`…`) where it is long.
    pub text: String,
}

/// Which expansion has a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// The first.
    Removed,
    /// The second.
    Added,
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Sign::Removed => "-",
            Sign::Added => "+",
        })
    }
}

/// Kinds of difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The same words in another order.
    Order,
    /// A number, a string or the number in a name is another.
    Value,
    /// A date or a time.
    Time,
    /// An absolute path.
    Path,
    /// Anything else.
    Other,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Order => "order",
            Kind::Value => "value",
            Kind::Time => "time",
            Kind::Path => "path",
            Kind::Other => "other",
        })
    }
}

/// A macro invocation in the crate's source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// `#[derive(X)] on struct Y`, `#[attr] on fn f`, `m!(…)`.
    pub text: String,
    /// The path of its [`Source`].
    pub file: PathBuf,
    /// Its line, from 1.
    pub line: usize,
    /// The macro's path, in bytes of the [`Source`]'s text.
    pub span: Range<usize>,
}

/// Compares two expansions of a crate. The first of `sources` is the crate's root.
pub fn compare(
    first: &str,
    second: &str,
    sources: &[Source<'_>],
    suspect: &Suspect<'_>,
) -> Expansion {
    if first == second {
        return Expansion::default();
    }
    let diff = diff::compare(first, second);
    let mut found = Expansion {
        differs: true,
        removed: diff.removed,
        added: diff.added,
        ..Expansion::default()
    };
    let mut shown = 0;
    if let Some(mut sides) = Crate::read(first, sources, suspect) {
        let places = diff.hunks.iter().take(MAX_PIECES).map(|hunk| Place {
            byte: diff.byte(hunk),
            missing: hunk.left.is_empty(),
        });
        let answers: Vec<Vec<Candidate>> = places.map(|place| sides.candidates(place)).collect();
        let mut told: Vec<(usize, Candidate)> = Vec::new();
        for (piece, answer) in answers.iter().enumerate() {
            if let [one] = answer.as_slice()
                && !told.iter().any(|(_, known)| known == one)
            {
                told.push((piece, *one));
            }
        }
        // The first of those that fit the suspect best.
        if let Some(best) = told.iter().map(|(_, one)| one.fit).max() {
            told.retain(|(_, one)| one.fit == best);
            shown = told[0].0;
            found.invocation = Some(sides.show(told[0].1));
            let more = told.iter().skip(1).take(MAX_LISTED);
            found.also = more.map(|(_, one)| sides.show(*one)).collect();
        } else if let Some(piece) = answers.iter().position(|answer| !answer.is_empty()) {
            shown = piece;
            let listed = answers[piece].iter().take(MAX_LISTED);
            found.candidates = listed.map(|one| sides.show(*one)).collect();
        } else {
            found.candidates = sides
                .only()
                .map(|one| sides.show(one))
                .into_iter()
                .collect();
        }
    }
    found.excerpt = diff.excerpt(shown);
    found.kind = Some(diff.kind(shown));
    found
}

#[cfg(test)]
mod tests;
