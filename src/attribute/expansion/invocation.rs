//! The macro invocations of a source file, and what its names stand for.

use std::collections::BTreeMap;
use std::ops::Range;

use super::names::{is_builtin_attribute, is_keyword};
use crate::attribute::tokens::{Frame, Tokens, Walk};

/// More invocations of one file are not collected.
const MAX_SITES: usize = 20_000;

/// A path has no more segments, and a `use` tree no more levels.
const MAX_PATH: usize = 16;

/// How far the end of an item is looked for.
const MAX_ITEM: usize = 512;

/// Longest arguments of a macro that are shown.
const MAX_ARGUMENTS: usize = 40;

/// How a macro is invoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Derive,
    Attribute,
    Bang,
}

/// One invocation.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) form: Form,
    /// The macro's path as it is written; a leading `::` is left out.
    pub(super) path: Vec<String>,
    /// Where it is written.
    pub(super) at: usize,
    /// The tokens whose place the output takes: of a derive, the end of the item that stays before
    /// it; of an attribute, the item too.
    pub(super) range: Range<usize>,
    /// Keyword and name of the item that a derive or an attribute is for.
    pub(super) target: Option<(String, String)>,
    /// The constant, static or `let` whose value it is part of.
    pub(super) value_of: Option<String>,
    /// The modules of the file that it stands in.
    pub(super) modules: Vec<String>,
    /// Stands in the body of a `macro_rules!`.
    pub(super) in_rules: bool,
    /// An attribute that may also belong to one of the item's derives.
    pub(super) helper: bool,
}

/// A module that is declared to lie in another file.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) name: String,
    /// The modules of this file that the declaration stands in.
    pub(super) modules: Vec<String>,
    /// What `#[path = "…"]` says.
    pub(super) path: Option<String>,
}

/// What one file holds.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) sites: Vec<Site>,
    pub(super) children: Vec<Child>,
    /// What `use` and `extern crate` name, by the name it has here.
    pub(super) uses: BTreeMap<String, Vec<String>>,
    /// Tokens of attributes, in order: rustc prints few of them.
    pub(super) attributes: Vec<Range<usize>>,
    /// Tokens of macros' arguments that look like arguments, not like items.
    pub(super) arguments: Vec<Range<usize>>,
}

/// Reads a file's invocations, its module declarations and its imports.
pub(super) fn collect(tokens: &Tokens<'_>) -> Found {
    let mut reader = Reader {
        tokens,
        found: Found::default(),
        modules: Vec::new(),
        rules_end: 0,
        imports_end: 0,
        path: None,
    };
    let mut walk = Walk::default();
    let mut attributes_end = 0;
    for at in 0..tokens.len() {
        if let Some((frame, opened)) = walk.step(tokens, at) {
            reader.module(frame, opened);
        }
        if tokens.is(at, b'#') && at >= attributes_end {
            attributes_end = tokens.skip_attributes(at);
            if attributes_end > at {
                reader.attributes(at, attributes_end);
            }
        } else if tokens.is(at, b'!') {
            reader.bang(at, walk.start);
        } else {
            reader.item(at);
        }
        if reader.found.sites.len() > MAX_SITES {
            break;
        }
    }
    reader.found
}

struct Reader<'a> {
    tokens: &'a Tokens<'a>,
    found: Found,
    /// Open modules, with the brace that opened each.
    modules: Vec<(usize, String)>,
    /// The end of the `macro_rules!` body that is being read.
    rules_end: usize,
    /// The end of the `use` that was read last.
    imports_end: usize,
    /// `#[path]` of the item that comes.
    path: Option<String>,
}

impl Reader<'_> {
    fn modules(&self) -> Vec<String> {
        self.modules.iter().map(|(_, name)| name.clone()).collect()
    }

    fn module(&mut self, frame: Frame, opened: bool) {
        if opened {
            if let Some(("mod", name)) = self.tokens.item(frame.header)
                && self.modules.len() < MAX_PATH
            {
                self.modules.push((frame.open, name.to_owned()));
            }
        } else if self.modules.last().is_some_and(|(at, _)| *at == frame.open) {
            self.modules.pop();
        }
    }

    /// `mod name;`, `use …;`, `extern crate a as b;`
    fn item(&mut self, at: usize) {
        let tokens = self.tokens;
        match tokens.word(at) {
            Some("mod") if tokens.is(at + 2, b';') && self.found.children.len() < MAX_SITES => {
                if let Some(name) = tokens.word(at + 1) {
                    let child = Child {
                        name: name.to_owned(),
                        modules: self.modules(),
                        path: self.path.take(),
                    };
                    self.found.children.push(child);
                }
            }
            // `use<'a>` in a type is another thing.
            Some("use") if !tokens.is(at + 1, b'<') && at >= self.imports_end => {
                self.imports_end = self.imports(at + 1);
            }
            Some("crate") if tokens.word(at.wrapping_sub(1)) == Some("extern") => {
                if let Some(name) = tokens.word(at + 1) {
                    let own = match tokens.word(at + 2) {
                        Some("as") => tokens.word(at + 3).unwrap_or(name),
                        _ => name,
                    };
                    let path = vec![name.to_owned()];
                    self.found.uses.insert(own.to_owned(), path);
                }
            }
            _ => {}
        }
    }

    /// The tree of a `use`, without recursion; returns where it ends.
    fn imports(&mut self, from: usize) -> usize {
        let tokens = self.tokens;
        let mut prefix: Vec<String> = Vec::new();
        let mut levels: Vec<usize> = Vec::new();
        let mut add = |path: &[String], name: &str| {
            if !path.is_empty() && self.found.uses.len() < MAX_SITES {
                self.found.uses.insert(name.to_owned(), path.to_vec());
            }
        };
        let mut at = from;
        while at < tokens.len() {
            let base = levels.last().copied().unwrap_or(0);
            if let Some(word) = tokens.word(at) {
                if prefix.len() >= MAX_PATH {
                    break;
                }
                match (word, tokens.word(at + 1)) {
                    ("as", Some(alias)) => {
                        add(&prefix, alias);
                        prefix.truncate(base);
                        at += 1;
                    }
                    // `a::{self}` is `a`.
                    ("self", _) if !prefix.is_empty() => {}
                    _ => prefix.push(word.to_owned()),
                }
            } else if tokens.is(at, b'{') {
                levels.push(prefix.len());
            } else if tokens.is(at, b',') || tokens.is(at, b'}') || tokens.is(at, b';') {
                // Behind a group or an alias nothing is left to add.
                let grouped = tokens.is(at.wrapping_sub(1), b'}');
                let whole = tokens.word(at.wrapping_sub(1));
                if !grouped && (prefix.len() > base || whole == Some("self")) {
                    let name = prefix.last().cloned().unwrap_or_default();
                    add(&prefix, &name);
                }
                if tokens.is(at, b'}') {
                    levels.pop();
                }
                prefix.truncate(levels.last().copied().unwrap_or(0));
                if tokens.is(at, b';') {
                    break;
                }
            } else if tokens.is(at, b'*') {
                prefix.truncate(base);
            } else if !tokens.is(at, b':') {
                break;
            }
            at += 1;
        }
        at
    }

    /// The macro whose `!` stands at `bang`, in the statement that begins at `start`.
    fn bang(&mut self, bang: usize, start: usize) {
        let tokens = self.tokens;
        let Some(name) = tokens.word(bang.wrapping_sub(1)) else {
            return;
        };
        if name == "macro_rules" {
            let body = bang + 2;
            self.rules_end = self.rules_end.max(tokens.partner(body));
            return;
        }
        let group = [b'(', b'[', b'{'];
        if is_keyword(name) || !group.iter().any(|mark| tokens.is(bang + 1, *mark)) {
            return;
        }
        let mut first = bang - 1;
        let mut path = vec![name.to_owned()];
        while path.len() < MAX_PATH
            && first >= 3
            && tokens.is(first - 1, b':')
            && tokens.is(first - 2, b':')
            && let Some(segment) = tokens.word(first - 3)
        {
            path.insert(0, segment.to_owned());
            first -= 3;
        }
        let end = tokens.partner(bang + 1) + 1;
        if !tokens.is(bang + 1, b'{') {
            self.found.arguments.push(bang + 1..end.min(tokens.len()));
        }
        self.add(Form::Bang, path, first, first..end, None);
        let value_of = match (tokens.word(start), tokens.item(start)) {
            (_, Some(("const" | "static", name))) => Some(name),
            (Some("let"), _) if tokens.word(start + 1) == Some("mut") => tokens.word(start + 2),
            (Some("let"), _) => tokens.word(start + 1),
            _ => None,
        };
        if let Some(site) = self.found.sites.last_mut() {
            site.value_of = value_of.map(str::to_owned);
        }
    }

    fn add(
        &mut self,
        form: Form,
        path: Vec<String>,
        at: usize,
        range: Range<usize>,
        target: Option<(String, String)>,
    ) {
        let site = Site {
            form,
            path,
            at,
            range,
            target,
            value_of: None,
            modules: self.modules(),
            in_rules: at < self.rules_end,
            helper: false,
        };
        self.found.sites.push(site);
    }

    /// All attributes of one thing.
    fn attributes(&mut self, first: usize, end: usize) {
        let tokens = self.tokens;
        self.path = None;
        self.found.attributes.push(first..end.min(tokens.len()));
        let target = tokens.item(end);
        let item_end = target.map_or(end, |_| item_end(tokens, end));
        let mut derives = false;
        let mut open = Vec::new();
        let mut at = first;
        while at < end {
            // Inner attributes (`#![…]`) are no macros.
            if tokens.is(at + 1, b'[') {
                open.push(at + 2..tokens.partner(at + 1));
                at = tokens.partner(at + 1) + 1;
            } else {
                at = tokens.partner(at + 2) + 1;
            }
        }
        open.reverse();
        while let Some(content) = open.pop() {
            let (path, behind) = read_path(tokens, content.start, content.end);
            let group = behind + 1..tokens.partner(behind).min(content.end);
            let owned = |(word, name): (&str, &str)| (word.to_owned(), name.to_owned());
            match path.first().map(String::as_str) {
                Some("derive") if path.len() == 1 && tokens.is(behind, b'(') => {
                    derives = true;
                    for part in parts(tokens, group) {
                        let (path, _) = read_path(tokens, part.start, part.end);
                        if !path.is_empty() {
                            let range = item_end.saturating_sub(1).max(end)..item_end;
                            self.add(Form::Derive, path, part.start, range, target.map(owned));
                        }
                    }
                }
                Some("cfg_attr") if tokens.is(behind, b'(') => {
                    let mut inner: Vec<_> = parts(tokens, group).into_iter().skip(1).collect();
                    inner.reverse();
                    open.extend(inner);
                }
                Some("path") if path.len() == 1 && tokens.is(behind, b'=') => {
                    let text = tokens.text(behind + 1);
                    self.path = text
                        .strip_prefix('"')
                        .and_then(|text| text.strip_suffix('"'))
                        .map(str::to_owned);
                }
                Some(name) if target.is_some() && !is_builtin_attribute(name) => {
                    let helper = derives && path.len() == 1;
                    let range = first..item_end;
                    let target = target.map(owned);
                    self.add(Form::Attribute, path, content.start, range, target);
                    if let Some(site) = self.found.sites.last_mut() {
                        site.helper = helper;
                    }
                }
                _ => {}
            }
        }
    }
}

/// A path from `at`, and where it ends.
fn read_path(tokens: &Tokens<'_>, mut at: usize, end: usize) -> (Vec<String>, usize) {
    let mut path = Vec::new();
    while at < end && path.len() < MAX_PATH {
        if let Some(word) = tokens.word(at) {
            path.push(word.to_owned());
        } else if !tokens.is(at, b':') {
            break;
        }
        at += 1;
    }
    (path, at)
}

/// What stands between the commas of a group.
fn parts(tokens: &Tokens<'_>, group: Range<usize>) -> Vec<Range<usize>> {
    let (mut found, mut from, mut at) = (Vec::new(), group.start, group.start);
    while at < group.end {
        if tokens.is(at, b',') {
            found.push(from..at);
            from = at + 1;
        }
        at = past(tokens, at);
    }
    if from < group.end {
        found.push(from..group.end);
    }
    found
}

/// The next token behind a token or the group that it opens.
fn past(tokens: &Tokens<'_>, at: usize) -> usize {
    let opens = [b'(', b'[', b'{'].iter().any(|mark| tokens.is(at, *mark));
    if opens {
        tokens.partner(at) + 1
    } else {
        at + 1
    }
}

/// Behind the item that begins at `at`.
fn item_end(tokens: &Tokens<'_>, from: usize) -> usize {
    let mut at = from;
    for _ in 0..MAX_ITEM {
        if at >= tokens.len() {
            break;
        }
        let ends = tokens.is(at, b';') || tokens.is(at, b'{');
        at = past(tokens, at);
        if ends {
            break;
        }
    }
    at.min(tokens.len())
}

/// Where the macro's path is written; of `m!`, with its mark.
pub(super) fn span(site: &Site, tokens: &Tokens<'_>) -> Range<usize> {
    let (_, behind) = read_path(tokens, site.at, site.range.end.max(site.at + 1));
    let mark = usize::from(site.form == Form::Bang);
    tokens.bytes(site.at, behind.max(site.at + 1) + mark)
}

/// The invocation as a reader would write it.
pub(super) fn text(site: &Site, tokens: &Tokens<'_>) -> String {
    let path = site.path.join("::");
    let target = match &site.target {
        Some((word, name)) => format!(" on {word} {name}"),
        None => String::new(),
    };
    match site.form {
        Form::Derive => format!("#[derive({path})]{target}"),
        Form::Attribute => {
            let (_, behind) = read_path(tokens, site.at, site.range.end);
            let arguments = arguments(tokens, behind);
            format!("#[{path}{arguments}]{target}")
        }
        Form::Bang => {
            let (_, behind) = read_path(tokens, site.at, site.range.end);
            let arguments = arguments(tokens, behind + 1);
            let space = if tokens.is(behind + 1, b'{') { " " } else { "" };
            format!("{path}!{space}{arguments}")
        }
    }
}

/// A group as it is written, or with `…` for what it holds.
fn arguments(tokens: &Tokens<'_>, at: usize) -> String {
    let whole = match tokens.text(at) {
        "(" | "[" | "{" => tokens.slice(at, tokens.partner(at) + 1),
        _ => return String::new(),
    };
    if whole.len() <= MAX_ARGUMENTS && !whole.contains('\n') {
        return whole.to_owned();
    }
    match tokens.text(at) {
        "(" => "(…)".to_owned(),
        "[" => "[…]".to_owned(),
        _ => "{ … }".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(source: &str) -> Vec<String> {
        let tokens = Tokens::read(source).unwrap();
        let found = collect(&tokens);
        let texts = found.sites.iter().map(|site| {
            let modules = site.modules.join("::");
            let line = tokens.line(site.at);
            format!("{line} {modules}: {}", text(site, &tokens))
        });
        texts.collect()
    }

    #[test]
    fn finds_every_form() {
        let source = "\
mod a { mod b {
  #[derive(Debug, m::Ser)] #[cfg_attr(x, derive(Y), m::attr(1))] pub struct S { #[field] x: u8 }
} }
#[m::main(flavor = \"x\")] async fn go() { if !(x) { vec![m::five!(1)] } }
m::items! {
  a }
fn f() -> bool { a != (b) }";
        assert_eq!(
            shown(source),
            [
                "2 a::b: #[derive(Debug)] on struct S",
                "2 a::b: #[derive(m::Ser)] on struct S",
                "2 a::b: #[derive(Y)] on struct S",
                "2 a::b: #[m::attr(1)] on struct S",
                "4 : #[m::main(flavor = \"x\")] on fn go",
                "4 : vec![m::five!(1)]",
                "4 : m::five!(1)",
                "5 : m::items! { … }",
            ]
        );
    }

    #[test]
    fn follows_imports_and_modules() {
        let source = "pub use m::{five, traced as watch, deep::{self, Ser}, all::*};
            use ::n; extern crate o as p; #[path = \"q.rs\"] mod r; mod s { pub mod t; }";
        let found = collect(&Tokens::read(source).unwrap());
        let uses: Vec<String> = found
            .uses
            .iter()
            .map(|(name, path)| format!("{name}={}", path.join("::")))
            .collect();
        assert_eq!(
            uses,
            [
                "Ser=m::deep::Ser",
                "deep=m::deep",
                "five=m::five",
                "n=n",
                "p=o",
                "watch=m::traced"
            ]
        );
        let children: Vec<_> = found
            .children
            .iter()
            .map(|child| {
                (
                    child.name.as_str(),
                    child.modules.len(),
                    child.path.as_deref(),
                )
            })
            .collect();
        assert_eq!(children, [("r", 0, Some("q.rs")), ("t", 1, None)]);
    }

    #[test]
    fn bodies_of_rules_are_marked() {
        let source = "macro_rules! l { () => { m::five!() } } l!();";
        let found = collect(&Tokens::read(source).unwrap());
        let sites = found.sites.iter();
        let sites: Vec<_> = sites.map(|site| (&*site.path[0], site.in_rules)).collect();
        assert_eq!(sites, [("m", true), ("l", false)]);
    }

    #[test]
    fn odd_text_ends() {
        for text in [
            "use a::{{{",
            "use",
            "#[",
            "#[derive(",
            "m!",
            "m!(",
            "mod",
            "#",
            "!",
            "extern crate",
            "use a as",
            "#!",
        ] {
            collect(&Tokens::read(text).unwrap());
        }
    }
}
