//! Rust text as tokens, with just enough structure: which braces belong to which item.
//!
//! Both sides of the search are read by this one reader: the crate's sources and what rustc
//! printed, which no parser need accept (`/*ERROR*/`, `builtin # …`, a newer edition). It never
//! recurses, so no nesting is too deep for it.

use std::ops::Range;

/// More tokens than this are not looked at; ten megabytes of expansion are about three million.
const MAX_TOKENS: usize = 8_000_000;

/// Longest item header that is read: a guard against text without end.
const MAX_HEADER: usize = 256;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An identifier, keyword or number.
    Word,
    /// A string, character or lifetime.
    Literal,
    /// One character of punctuation, delimiters too.
    Mark(u8),
}

/// One token, by the bytes of its text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    start: u32,
    end: u32,
    /// The token that closes the delimiter which this one opens.
    partner: u32,
    pub(super) kind: Kind,
}

/// A text and its tokens; comments are left out.
#[derive(Debug)]
pub(super) struct Tokens<'a> {
    text: &'a str,
    all: Vec<Token>,
}

impl<'a> Tokens<'a> {
    /// Reads `text`; `None` when it is too long.
    pub(super) fn read(text: &'a str) -> Option<Self> {
        u32::try_from(text.len()).ok()?;
        let mut all: Vec<Token> = Vec::new();
        let mut open: Vec<usize> = Vec::new();
        let mut at = 0;
        while let Some((start, end, kind)) = next(text, at) {
            if all.len() == MAX_TOKENS {
                return None;
            }
            let index = all.len();
            if let Kind::Mark(mark) = kind {
                if matches!(mark, b'(' | b'[' | b'{') {
                    open.push(index);
                } else if let Some(last) = open.last()
                    && closes(all[*last].kind, mark)
                {
                    all[*last].partner = number(index);
                    open.pop();
                }
            }
            all.push(Token {
                start: number(start),
                end: number(end),
                partner: u32::MAX,
                kind,
            });
            at = end;
        }
        Some(Self { text, all })
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn kind(&self, at: usize) -> Option<Kind> {
        self.all.get(at).map(|token| token.kind)
    }

    /// The token's text; nothing beyond the end.
    pub(super) fn text(&self, at: usize) -> &'a str {
        self.slice(at, at + 1)
    }

    /// The text from one token to before another.
    pub(super) fn slice(&self, from: usize, to: usize) -> &'a str {
        let last = to.min(self.len()).checked_sub(1);
        let (Some(first), Some(last)) = (self.all.get(from), last.and_then(|at| self.all.get(at)))
        else {
            return "";
        };
        let range = first.start as usize..last.end as usize;
        self.text.get(range).unwrap_or_default()
    }

    /// Where the tokens from one to before another stand, in bytes of the text.
    pub(super) fn bytes(&self, from: usize, to: usize) -> Range<usize> {
        let start = |at: usize| {
            self.all
                .get(at)
                .map_or(self.text.len(), |own| own.start as usize)
        };
        let end = to.checked_sub(1).and_then(|at| self.all.get(at));
        let from = start(from);
        from..end.map_or(from, |own| own.end as usize).max(from)
    }

    pub(super) fn is(&self, at: usize, mark: u8) -> bool {
        self.kind(at) == Some(Kind::Mark(mark))
    }

    /// The word at a place, without a raw identifier's `r#`.
    pub(super) fn word(&self, at: usize) -> Option<&'a str> {
        (self.kind(at)? == Kind::Word).then(|| bare(self.text(at)))
    }

    /// The token that closes the group opened here; the end, if nothing does.
    pub(super) fn partner(&self, at: usize) -> usize {
        let partner = self.all.get(at).map_or(u32::MAX, |token| token.partner);
        (partner as usize).min(self.len())
    }

    /// The line of a token, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        let before = self.all.get(at).map_or(0, |token| token.start as usize);
        let before = self.text.get(..before).unwrap_or_default();
        1 + before.matches('\n').count()
    }

    /// The first token that ends after a byte of the text.
    pub(super) fn after_byte(&self, byte: usize) -> usize {
        self.all.partition_point(|token| token.end as usize <= byte)
    }

    /// Behind the attributes that begin at `at`.
    pub(super) fn skip_attributes(&self, mut at: usize) -> usize {
        for _ in 0..MAX_HEADER {
            if !self.is(at, b'#') {
                break;
            }
            let bracket = at + 1 + usize::from(self.is(at + 1, b'!'));
            if !self.is(bracket, b'[') {
                break;
            }
            at = self.partner(bracket) + 1;
        }
        at
    }

    /// The item whose header begins at `at`: its keyword and its name; for an `impl`, the name of
    /// the type.
    pub(super) fn item(&self, at: usize) -> Option<(&'a str, &'a str)> {
        let mut at = self.skip_attributes(at);
        for _ in 0..MAX_HEADER {
            let word = self.word(at)?;
            let next = self.word(at + 1);
            match word {
                "pub" if self.is(at + 1, b'(') => at = self.partner(at + 1),
                "extern" if next == Some("crate") => return Some(("crate", self.word(at + 2)?)),
                "extern" if self.kind(at + 1) == Some(Kind::Literal) => at += 1,
                "const" if matches!(next, Some("fn" | "unsafe" | "async" | "extern")) => {}
                "static" if next == Some("mut") => return Some((word, self.word(at + 2)?)),
                "pub" | "unsafe" | "async" | "default" | "safe" | "auto" | "extern" => {}
                "struct" | "enum" | "union" | "fn" | "trait" | "mod" | "type" | "const"
                | "static" => return Some((word, next?)),
                "impl" => return Some((word, self.self_type(at + 1)?)),
                _ => return None,
            }
            at += 1;
        }
        None
    }

    /// The last name of the type that an `impl` is for, reading from behind the keyword.
    fn self_type(&self, from: usize) -> Option<&'a str> {
        let (mut depth, mut name) = (0usize, None);
        for at in from..(from + MAX_HEADER).min(self.len()) {
            match self.kind(at)? {
                Kind::Mark(b'{' | b';') => break,
                Kind::Mark(b'<') => depth += 1,
                // Not the end of an arrow.
                Kind::Mark(b'>') if !self.is(at - 1, b'-') => depth = depth.saturating_sub(1),
                Kind::Word if depth == 0 => match self.text(at) {
                    "where" => break,
                    "for" => name = None,
                    "const" | "dyn" | "mut" | "unsafe" => {}
                    _ => name = self.word(at),
                },
                _ => {}
            }
        }
        name
    }
}

/// An identifier without the `r#` of a raw one.
fn bare(word: &str) -> &str {
    word.strip_prefix("r#").unwrap_or(word)
}

fn number(value: usize) -> u32 {
    u32::try_from(value).expect("the text's length was checked to fit")
}

fn closes(open: Kind, mark: u8) -> bool {
    matches!(
        (open, mark),
        (Kind::Mark(b'('), b')') | (Kind::Mark(b'['), b']') | (Kind::Mark(b'{'), b'}')
    )
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// The token at or after `at`: where it begins and ends, and its kind.
fn next(text: &str, mut at: usize) -> Option<(usize, usize, Kind)> {
    let bytes = text.as_bytes();
    loop {
        let rest = &bytes[at..];
        match rest {
            [] => return None,
            [b'/', b'/', ..] => at += line_end(rest),
            [b'/', b'*', ..] => at += comment_end(rest),
            [byte, ..] if byte.is_ascii_whitespace() => at += 1,
            _ => break,
        }
    }
    let rest = &bytes[at..];
    let (length, kind) = match rest[0] {
        b'"' => (string_end(rest, 0), Kind::Literal),
        b'\'' => (quote_end(rest), Kind::Literal),
        byte if is_word(byte) => word_end(rest),
        byte => (1, Kind::Mark(byte)),
    };
    Some((at, at + length, kind))
}

fn line_end(rest: &[u8]) -> usize {
    let end = rest.iter().position(|byte| *byte == b'\n');
    end.unwrap_or(rest.len())
}

/// Block comments nest.
fn comment_end(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => {
                (depth, at) = (depth - 1, at + 2);
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    rest.len()
}

/// The end of a string whose opening quote stands at `quote`.
fn string_end(rest: &[u8], quote: usize) -> usize {
    let mut at = quote + 1;
    while let Some(byte) = rest.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    rest.len()
}

/// A character or a lifetime.
fn quote_end(rest: &[u8]) -> usize {
    if rest.get(1) == Some(&b'\\') {
        // The longest escape is `\u{10ffff}`, with underscores a little longer.
        let close = rest.iter().take(32).skip(3).position(|byte| *byte == b'\'');
        return close.map_or(2, |at| at + 4);
    }
    // One character and a quote; a character has up to four bytes.
    let width = 1 + rest[1..]
        .iter()
        .skip(1)
        .take_while(|byte| **byte & 0xc0 == 0x80)
        .count();
    if rest.get(1) != Some(&b'\'') && rest.get(1 + width) == Some(&b'\'') {
        return width + 2;
    }
    1 + rest[1..].iter().take_while(|byte| is_word(**byte)).count()
}

/// A word, or the literal or raw identifier whose prefix it is.
fn word_end(rest: &[u8]) -> (usize, Kind) {
    let length = rest.iter().take_while(|byte| is_word(**byte)).count();
    let raw = matches!(&rest[..length], b"r" | b"br" | b"cr");
    match rest.get(length) {
        Some(b'"') if raw => (raw_string_end(rest, length, 0), Kind::Literal),
        Some(b'"') if matches!(&rest[..length], b"b" | b"c") => {
            (string_end(rest, length), Kind::Literal)
        }
        Some(b'\'') if &rest[..length] == b"b" => (1 + quote_end(&rest[1..]), Kind::Literal),
        Some(b'#') if raw => {
            let hashes = rest[length..]
                .iter()
                .take_while(|byte| **byte == b'#')
                .count();
            match rest.get(length + hashes) {
                Some(b'"') => (raw_string_end(rest, length + hashes, hashes), Kind::Literal),
                Some(byte) if hashes == 1 && &rest[..length] == b"r" && is_word(*byte) => {
                    let more = rest[2..].iter().take_while(|byte| is_word(**byte)).count();
                    (2 + more, Kind::Word)
                }
                _ => (length, Kind::Word),
            }
        }
        _ => (length, Kind::Word),
    }
}

fn raw_string_end(rest: &[u8], quote: usize, hashes: usize) -> usize {
    let mut at = quote + 1;
    while at < rest.len() {
        let tail = &rest[at + 1..];
        let closing = tail.iter().take(hashes).take_while(|byte| **byte == b'#');
        if rest[at] == b'"' && closing.count() == hashes {
            return at + 1 + hashes;
        }
        at += 1;
    }
    rest.len()
}

/// An open delimiter on the way to a token.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    /// Where the statement or item begins that the delimiter belongs to.
    pub(super) header: usize,
    /// The delimiter.
    pub(super) open: usize,
    brace: bool,
}

/// Goes through tokens in order and knows what is open.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// What is open, outermost first.
    pub(super) frames: Vec<Frame>,
    /// Where the present statement or item begins.
    pub(super) start: usize,
}

impl Walk {
    /// Takes the token at `at`; tells which brace it opened (`true`) or closed.
    pub(super) fn step(&mut self, tokens: &Tokens<'_>, at: usize) -> Option<(Frame, bool)> {
        let Some(Kind::Mark(mark)) = tokens.kind(at) else {
            return None;
        };
        // Inside parentheses neither a semicolon nor a closing brace ends the statement.
        let statement = |frames: &[Frame]| frames.last().is_none_or(|frame| frame.brace);
        match mark {
            b'(' | b'[' | b'{' if tokens.partner(at) < tokens.len() => {
                let frame = Frame {
                    header: self.start,
                    open: at,
                    brace: mark == b'{',
                };
                self.frames.push(frame);
                if frame.brace {
                    self.start = at + 1;
                    return Some((frame, true));
                }
            }
            b')' | b']' | b'}' => {
                let last = *self.frames.last()?;
                if tokens.partner(last.open) == at {
                    self.frames.pop();
                    let ends = last.brace && statement(&self.frames);
                    self.start = if ends { at + 1 } else { last.header };
                    return last.brace.then_some((last, false));
                }
            }
            b';' if statement(&self.frames) => self.start = at + 1,
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<&str> {
        let tokens = Tokens::read(text).unwrap();
        (0..tokens.len()).map(|at| tokens.text(at)).collect()
    }

    #[test]
    fn reads_what_confuses_readers() {
        assert_eq!(
            texts(r##"'a' 'a b'\'' '\u{1F600}' "q\"}" br#"x"}"# r#type /* /* { */ } */ 'é' // {"##),
            [
                "'a'",
                "'a",
                "b'\\''",
                "'\\u{1F600}'",
                "\"q\\\"}\"",
                "br#\"x\"}\"#",
                "r#type",
                "'é'"
            ]
        );
        assert_eq!(texts("a!=b<'_>"), ["a", "!", "=", "b", "<", "'_", ">"]);
    }

    #[test]
    fn text_without_end_ends() {
        for text in [
            "\"",
            "'",
            "'\\",
            "r#",
            "r#\"",
            "b'",
            "/*",
            "/",
            "{{((",
            "))]]}}",
            "'é",
            "r###\"\"##",
        ] {
            let tokens = Tokens::read(text).unwrap();
            let mut walk = Walk::default();
            for at in 0..tokens.len() {
                walk.step(&tokens, at);
                tokens.item(at);
            }
        }
    }

    #[test]
    fn knows_items_by_their_headers() {
        let item = |text: &'static str| Tokens::read(text).unwrap().item(0);
        assert_eq!(item("pub(crate) const unsafe fn f() {"), Some(("fn", "f")));
        assert_eq!(item("#[a] #![b] pub struct r#A;"), Some(("struct", "A")));
        assert_eq!(
            item("impl<'a, T: Fn() -> u8> self::Ser<T> for my::B<'a, T> where T: X {"),
            Some(("impl", "B"))
        );
        assert_eq!(item("unsafe extern \"C\" fn g()"), Some(("fn", "g")));
        assert_eq!(item("const _: () = {"), Some(("const", "_")));
        assert_eq!(item("static mut S: u8 = 1;"), Some(("static", "S")));
        assert_eq!(item("let x = 1;"), None);
    }
}
