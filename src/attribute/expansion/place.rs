//! Which invocation wrote a place of the expansion.
//!
//! Three things must agree. The module: rustc prints files as inline modules. The neighbours: the
//! tokens that stand before and behind the invocation in the source stand before and behind its
//! output. The name: where the culprit is known, its own macros go before others.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use super::align::{self, Pairs};
use super::invocation::{self, Child, Form, Found, Site};
use super::names::{Fit, fit};
use super::{Invocation, Source, Suspect};
use crate::attribute::tokens::{Kind, Tokens, Walk};

/// Sources beyond this many bytes are not read.
const MAX_SOURCES: usize = 64 << 20;

/// So many files that no `mod` leads to are compared with the whole expansion.
const MAX_STRAY: usize = 8;

/// As many names of a header are looked at.
const MAX_HEADER: usize = 64;

/// Between an invocation and what stands beside it, so many attributes may vanish.
const NEAR: usize = 16;

/// A place of the expansion where the two sides differ.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Byte of the left text.
    pub(super) byte: usize,
    /// The left side has nothing there.
    pub(super) missing: bool,
}

/// An invocation that may have written a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) fit: Fit,
    file: usize,
    site: usize,
    /// Its neighbours in the source were found right beside its output.
    tight: bool,
}

struct File<'a> {
    path: &'a Path,
    tokens: Tokens<'a>,
    found: Found,
    /// How well each of its sites fits; `None` if it cannot be the cause.
    fits: Vec<Option<Fit>>,
    /// The modules it lies in; `None` if no `mod` leads to it (`include!`).
    module: Option<Vec<String>>,
    /// Its tokens, and the expansion's at the same place.
    pairs: Option<Pairs>,
}

/// A module of the expansion.
struct Module<'a> {
    name: &'a str,
    parent: Option<usize>,
    open: usize,
    close: usize,
}

/// A crate's sources beside its expansion.
pub(super) struct Crate<'a> {
    files: Vec<File<'a>>,
    expansion: Tokens<'a>,
    modules: Vec<Module<'a>>,
    /// How many files were compared that no `mod` leads to.
    stray: usize,
}

impl<'a> Crate<'a> {
    /// Reads all texts; `None` if the expansion is too long.
    pub(super) fn read(
        expansion: &'a str,
        sources: &[Source<'a>],
        suspect: &Suspect<'_>,
    ) -> Option<Self> {
        let expansion = Tokens::read(expansion)?;
        let modules = modules(&expansion);
        let mut files = Vec::new();
        let mut room = MAX_SOURCES;
        for source in sources {
            let Some(rest) = room.checked_sub(source.text.len()) else {
                continue;
            };
            let Some(tokens) = Tokens::read(source.text) else {
                continue;
            };
            room = rest;
            let found = invocation::collect(&tokens);
            let sites = found.sites.iter();
            let fits = sites.map(|site| fit(site, &found.uses, suspect)).collect();
            files.push(File {
                path: source.path,
                tokens,
                found,
                fits,
                module: None,
                pairs: None,
            });
        }
        let mut this = Self {
            files,
            expansion,
            modules,
            stray: 0,
        };
        // Without its root, no file's module is known.
        if this.files.first().map(|file| file.path) == sources.first().map(|root| root.path) {
            this.find_modules();
        }
        Some(this)
    }

    /// Follows `mod` from the root, which is the first file.
    fn find_modules(&mut self) {
        let known: BTreeMap<PathBuf, usize> = self
            .files
            .iter()
            .enumerate()
            .map(|(at, file)| (plain(file.path), at))
            .collect();
        let mut open = Vec::new();
        if let Some(root) = self.files.first_mut() {
            root.module = Some(Vec::new());
            open.push(0);
        }
        while let Some(at) = open.pop() {
            let file = &self.files[at];
            let module = file.module.clone().unwrap_or_default();
            let mut next = Vec::new();
            for child in &file.found.children {
                let paths = child_paths(file.path, at == 0, child);
                if let Some(file) = paths.iter().find_map(|path| known.get(&plain(path))) {
                    let mut module = module.clone();
                    module.extend(child.modules.iter().cloned());
                    module.push(child.name.clone());
                    next.push((*file, module));
                }
            }
            for (file, module) in next {
                // A file that two modules name belongs to the first.
                if self.files[file].module.is_none() {
                    self.files[file].module = Some(module);
                    open.push(file);
                }
            }
        }
    }

    /// The invocations that may have written a place: one, if it can be told.
    pub(super) fn candidates(&mut self, place: Place) -> Vec<Candidate> {
        let at = self.expansion.after_byte(place.byte);
        let modules = self.modules_at(at);
        let mut found = Vec::new();
        for file in 0..self.files.len() {
            for (site, fit) in self.fitting(file, &modules) {
                if !self.align(file) {
                    break;
                }
                if let Some(tight) = self.covers(file, site, at, place.missing) {
                    found.push(Candidate {
                        fit,
                        file,
                        site,
                        tight,
                    });
                }
            }
        }
        let best = found.iter().map(|candidate| candidate.fit).max();
        found.retain(|candidate| Some(candidate.fit) == best);
        self.by_context(&mut found, at);
        self.innermost(&mut found);
        found
    }

    /// The file's sites that could be meant in a module of the expansion.
    fn fitting(&self, at: usize, modules: &[&str]) -> Vec<(usize, Fit)> {
        let file = &self.files[at];
        let inside = |site: &Site| match &file.module {
            Some(own) => {
                let own = own.iter().chain(&site.modules);
                let deep = own.clone().count() <= modules.len();
                deep && own.zip(modules).all(|(a, b)| a == b)
            }
            None => true,
        };
        let sites = file.found.sites.iter().zip(&file.fits).enumerate();
        sites
            .filter(|(_, (site, _))| !site.in_rules && inside(site))
            .filter_map(|(index, (_, fit))| Some((index, (*fit)?)))
            .filter(|(_, fit)| file.module.is_some() || *fit >= Fit::Likely)
            .collect()
    }

    /// The only invocation in the crate that is certainly the suspect's, `macro_rules!` bodies
    /// included: a guess for a place that none covers.
    pub(super) fn only(&self) -> Option<Candidate> {
        let mut own = self.files.iter().enumerate().flat_map(|(file, read)| {
            let fits = read.fits.iter().enumerate();
            fits.filter_map(move |(site, fit)| {
                Some(Candidate {
                    fit: fit.filter(|fit| *fit >= Fit::Own)?,
                    file,
                    site,
                    tight: false,
                })
            })
        });
        let first = own.next()?;
        own.next().is_none().then_some(first)
    }

    pub(super) fn show(&self, candidate: Candidate) -> Invocation {
        let file = &self.files[candidate.file];
        let site = &file.found.sites[candidate.site];
        Invocation {
            text: invocation::text(site, &file.tokens),
            file: file.path.to_path_buf(),
            line: file.tokens.line(site.at),
            span: invocation::span(site, &file.tokens),
        }
    }

    fn site(&self, candidate: Candidate) -> &Site {
        &self.files[candidate.file].found.sites[candidate.site]
    }

    /// The names of the modules around a token of the expansion.
    fn modules_at(&self, at: usize) -> Vec<&'a str> {
        let around = |module: &Module<'_>| module.open < at && at <= module.close;
        // In order of their braces: the last one around it is the innermost.
        let mut next = self.modules.iter().rposition(around);
        let mut names = Vec::new();
        while let Some(module) = next.map(|index| &self.modules[index]) {
            names.push(module.name);
            next = module.parent;
        }
        names.reverse();
        names
    }

    /// Whether a module of the expansion has this path.
    fn is_at(&self, module: &Module<'_>, path: &[String]) -> bool {
        let mut next = Some(module);
        for name in path.iter().rev() {
            match next {
                Some(module) if module.name == name => {
                    next = module.parent.map(|index| &self.modules[index]);
                }
                _ => return false,
            }
        }
        next.is_none() && !path.is_empty()
    }

    /// Finds the tokens of a file in the expansion, within its module.
    fn align(&mut self, at: usize) -> bool {
        if self.files[at].pairs.is_some() {
            return true;
        }
        let region = match &self.files[at].module {
            Some(path) => {
                let mut modules = self.modules.iter();
                let module = modules.find(|module| self.is_at(module, path));
                module.map_or(0..self.expansion.len(), |module| {
                    module.open + 1..module.close
                })
            }
            None if self.stray == MAX_STRAY => return false,
            None => {
                self.stray += 1;
                0..self.expansion.len()
            }
        };
        let file = &self.files[at];
        let mut known: HashMap<&str, u32> = HashMap::new();
        let source: Vec<u32> = (0..file.tokens.len())
            .map(|at| {
                let next = u32::try_from(known.len() + 1).expect("MAX_TOKENS is less") * 2;
                let telling = u32::from(is_telling(&file.tokens, at));
                *known.entry(file.tokens.text(at)).or_insert(next + telling)
            })
            .collect();
        let printed: Vec<u32> = region
            .clone()
            .map(|at| known.get(self.expansion.text(at)).copied().unwrap_or(0))
            .collect();
        let pairs = align_tokens(&file.found, &source, &printed);
        let pairs = pairs.into_iter().map(|(a, b)| (a, b + region.start));
        self.files[at].pairs = Some(pairs.collect());
        true
    }

    /// Whether the place lies between what stands before and behind the site; and whether these
    /// neighbours are close.
    fn covers(&self, file: usize, site: usize, at: usize, missing: bool) -> Option<bool> {
        let file = &self.files[file];
        let pairs = file.pairs.as_ref()?;
        let range = &file.found.sites[site].range;
        let first = pairs.partition_point(|(source, _)| *source < range.start);
        let last = pairs.partition_point(|(source, _)| *source < range.end);
        let before = first.checked_sub(1).map(|index| pairs[index]);
        let behind = pairs.get(last).copied();
        if before.is_none() && behind.is_none() && file.module.is_none() {
            return None; // nothing ties the file to the place
        }
        let after = before.is_none_or(|(_, printed)| printed < at);
        let ahead = behind.is_none_or(|(_, printed)| at < printed || (missing && at == printed));
        let near = |from: usize, to: usize| {
            let attributes = &file.found.attributes;
            let first = attributes.partition_point(|own| own.start < from);
            let inside = attributes[first..].iter().take_while(|own| own.end <= to);
            // More of them than this, and it is not close any more.
            let skipped: usize = inside.take(NEAR).map(ExactSizeIterator::len).sum();
            to - from <= 2 + skipped
        };
        let tight = before.is_some_and(|(source, _)| near(source + 1, range.start))
            && behind.is_some_and(|(source, _)| near(range.end, source));
        (after && ahead).then_some(tight)
    }

    /// One invocation inside of all others: it is meant if its neighbours are close, since then
    /// the outer ones left its surroundings as they were. `include!(env!(…))` is one thing.
    fn innermost(&self, found: &mut Vec<Candidate>) {
        let inside = |one: &Candidate, other: &Candidate| {
            let (a, b) = (&self.site(*one).range, &self.site(*other).range);
            one.file == other.file && b.start <= a.start && a.end <= b.end
        };
        let inner = found
            .iter()
            .find(|one| one.tight && found.iter().all(|other| inside(one, other)));
        let outer = found.iter().find(|outer| {
            let including = |path: &[String]| path.iter().any(|name| name.starts_with("include"));
            including(&self.site(**outer).path) && found.iter().all(|one| inside(one, outer))
        });
        if let Some(one) = inner.or(outer).copied() {
            *found = vec![one];
        }
    }

    /// Those that the names around the place speak for: the item or trait of a derive or an
    /// attribute; the constant or variable that a macro gives its value, which it cannot leave.
    fn by_context(&self, found: &mut Vec<Candidate>, at: usize) {
        let bangs = found
            .iter()
            .filter(|one| self.site(**one).form == Form::Bang);
        // The two kinds of evidence cannot be weighed against each other.
        if found.len() < 2 || ![0, found.len()].contains(&bangs.count()) {
            return;
        }
        let names = self.names_around(at);
        let holds = |name: &str| usize::from(names.contains(name));
        let score = |candidate: &Candidate| {
            let site = self.site(*candidate);
            if site.form == Form::Bang {
                return site.value_of.as_deref().map_or(1, |name| 2 * holds(name));
            }
            let target = site.target.as_ref().map_or(0, |(_, name)| holds(name));
            let derived = site.path.last().filter(|_| site.form == Form::Derive);
            target + derived.map_or(0, |name| holds(name))
        };
        let best = found.iter().map(score).max();
        found.retain(|candidate| Some(score(candidate)) == best);
    }

    /// The names in the headers of everything that is open at a token of the expansion.
    fn names_around(&self, at: usize) -> BTreeSet<&'a str> {
        let mut walk = Walk::default();
        for token in 0..at {
            walk.step(&self.expansion, token);
        }
        let mut headers: Vec<_> = walk.frames.iter().map(|f| f.header..f.open).collect();
        headers.push(walk.start..at);
        headers.dedup_by_key(|header| header.start);
        // A hostile text may open a million; the innermost tell.
        let headers = headers.into_iter().rev().take(MAX_HEADER);
        headers
            .flat_map(|header| header.take(MAX_HEADER))
            .filter_map(|token| self.expansion.word(token))
            .collect()
    }
}

/// Names tell a place; marks and numbers do not.
fn is_telling(tokens: &Tokens<'_>, at: usize) -> bool {
    let text = tokens.text(at);
    match tokens.kind(at) {
        Some(Kind::Word) => !text.starts_with(|first: char| first.is_ascii_digit()),
        Some(Kind::Literal) => true,
        _ => false,
    }
}

/// Ranges without those that lie in an earlier one: nested a million deep, they would take long.
fn outermost(ranges: &[Range<usize>]) -> impl Iterator<Item = Range<usize>> {
    let mut end = 0;
    ranges.iter().filter_map(move |range| {
        let outer = range.start >= end;
        end = end.max(range.end);
        outer.then(|| range.clone())
    })
}

/// Pairs the tokens of a source with the printed ones: first what is surely printed as it is
/// written, then, between that, the arguments of macros too, which often are not.
fn align_tokens(found: &Found, source: &[u32], printed: &[u32]) -> Pairs {
    let mut masked = source.to_vec();
    for range in outermost(&found.arguments) {
        masked[range].fill(0);
    }
    // Attributes are left out, so that what stands around them is side by side as it is printed.
    let mut dropped = vec![false; source.len()];
    for range in outermost(&found.attributes) {
        dropped[range].fill(true);
    }
    let kept: Vec<usize> = (0..source.len()).filter(|at| !dropped[*at]).collect();
    let pick = |from: &[u32]| -> Vec<u32> { kept.iter().map(|at| from[*at]).collect() };
    let (masked, full) = (pick(&masked), pick(source));
    let worth = |gram: &[u32]| gram.iter().any(|token| token % 2 == 1);
    let sure = align::pairs(&masked, printed, &[6, 4, 3, 2, 2], &worth);
    let mut pairs = Pairs::new();
    let (mut i, mut j) = (0, 0);
    for (a, b) in sure.into_iter().chain([(full.len(), printed.len())]) {
        let more = align::pairs(&full[i..a], &printed[j..b], &[4, 3, 2], &worth);
        pairs.extend(more.into_iter().map(|(c, d)| (i + c, j + d)));
        pairs.push((a, b));
        (i, j) = (a + 1, b + 1);
    }
    pairs.pop();
    pairs.into_iter().map(|(a, b)| (kept[a], b)).collect()
}

/// The modules that a text spells out.
fn modules<'a>(tokens: &Tokens<'a>) -> Vec<Module<'a>> {
    let mut walk = Walk::default();
    let mut open: Vec<usize> = Vec::new();
    let mut found: Vec<Module<'a>> = Vec::new();
    for at in 0..tokens.len() {
        match walk.step(tokens, at) {
            Some((frame, true)) => {
                if let Some(("mod", name)) = tokens.item(frame.header) {
                    let parent = open.last().copied();
                    open.push(found.len());
                    found.push(Module {
                        name,
                        parent,
                        open: at,
                        close: tokens.partner(at),
                    });
                }
            }
            Some((frame, false)) => {
                open.pop_if(|last| found[*last].open == frame.open);
            }
            None => {}
        }
    }
    found
}

/// The files that a `mod` may mean, as the reference says (items/modules).
fn child_paths(file: &Path, root: bool, child: &Child) -> Vec<PathBuf> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let own = root || file.file_name().is_some_and(|name| name == "mod.rs");
    let mut base = folder.to_path_buf();
    if !own && let Some(stem) = file.file_stem() {
        base.push(stem);
    }
    if let Some(path) = &child.path {
        if child.modules.is_empty() {
            return vec![folder.join(path)];
        }
        base.extend(&child.modules);
        return vec![base.join(path)];
    }
    base.extend(&child.modules);
    let name = &child.name;
    vec![
        base.join(format!("{name}.rs")),
        base.join(name).join("mod.rs"),
    ]
}

/// A path without `.` and, by its words alone, without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if plain.file_name().is_some() => {
                plain.pop();
            }
            _ => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_lie_where_the_reference_says() {
        let child = |modules: &[&str], path: Option<&str>| Child {
            name: "c".to_owned(),
            modules: modules.iter().map(|name| (*name).to_owned()).collect(),
            path: path.map(str::to_owned),
        };
        let first =
            |file: &str, root, child: &Child| plain(&child_paths(Path::new(file), root, child)[0]);
        let plain_child = child(&[], None);
        assert_eq!(first("src/x.rs", true, &plain_child), Path::new("src/c.rs"));
        assert_eq!(
            first("src/x.rs", false, &plain_child),
            Path::new("src/x/c.rs")
        );
        assert_eq!(
            first("src/x/mod.rs", false, &child(&["in"], None)),
            Path::new("src/x/in/c.rs")
        );
        let named = child(&[], Some("../o.rs"));
        assert_eq!(first("src/x/y.rs", false, &named), Path::new("src/o.rs"));
        let deep = child(&["in"], Some("o.rs"));
        assert_eq!(first("src/x.rs", false, &deep), Path::new("src/x/in/o.rs"));
    }
}
