//! Where in a macro's or build script's own source to look for what the runs have shown.
//!
//! Source proves nothing, so this only ever adds a line to what was seen: the file is read by the
//! token reader of the expansions, which takes any text and never recurses (`syn` overflows the stack
//! on a deeply nested expression). Names of types are followed no further than the file.

use std::collections::BTreeSet;

use super::tokens::{Kind, Tokens, Walk};

/// A line worth a look.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hint {
    /// From 1.
    pub line: usize,
    /// What stands there, as `iterates a HashMap`.
    pub words: String,
    /// The function around it.
    pub function: Option<String>,
}

/// What is looked for: a path (`A::b`, or `.b` for a method) that is called, the factors that it
/// explains, and what it does.
const CALLS: &[(&str, &[&str], &str)] = &[
    ("thread_rng", RANDOM, "uses random numbers"),
    ("rand::random", RANDOM, "uses random numbers"),
    ("rand::rng", RANDOM, "uses random numbers"),
    ("OsRng", RANDOM, "uses random numbers"),
    ("getrandom", RANDOM, "asks for random bytes"),
    ("getrandom::fill", RANDOM, "asks for random bytes"),
    ("Uuid::new_v4", RANDOM, "makes a random UUID"),
    ("SystemTime::now", TIME, "reads the clock"),
    ("Instant::now", TIME, "reads the clock"),
    ("Utc::now", TIME, "reads the clock"),
    ("Local::now", TIME, "reads the clock"),
    ("OffsetDateTime::now_utc", TIME, "reads the clock"),
    ("env::var", ENV, "reads a variable"),
    ("env::var_os", ENV, "reads a variable"),
    ("env::vars", ENV, "reads all variables"),
    ("env::vars_os", ENV, "reads all variables"),
    (
        "env::temp_dir",
        &["tmpdir"],
        "asks for the temporary folder",
    ),
    ("read_dir", LIST, "lists a folder"),
    ("WalkDir::new", LIST, "lists folders"),
    ("glob", LIST, "lists folders"),
    (
        "env::current_dir",
        &["build-path"],
        "asks for the working folder",
    ),
    (".modified", &["mtime"], "reads a file's time"),
    (".mtime", &["mtime"], "reads a file's time"),
    (".ino", &["inode"], "reads a file's number"),
    ("process::id", &["pid"], "asks for the process number"),
    ("available_parallelism", &["cpus"], "counts processors"),
    ("TcpStream::connect", &["network"], "uses the network"),
    ("UdpSocket::bind", &["network"], "uses the network"),
    ("thread::spawn", &["threads"], "starts a thread"),
    ("fs::read", FILE, "reads a file"),
    ("read_to_string", FILE, "reads a file"),
    ("File::open", FILE, "opens a file"),
];

const RANDOM: &[&str] = &["randomness"];
const TIME: &[&str] = &["time"];
const ENV: &[&str] = &["env", "home", "user", "locale", "timezone", "build-path"];
const LIST: &[&str] = &["dir-order", "undeclared-file"];
const FILE: &[&str] = &["undeclared-file", "hostname", "kernel", "cpus", "inode"];

/// How the entries of a map or set are taken one after another.
const ITERATIONS: [&str; 9] = [
    "iter",
    "iter_mut",
    "into_iter",
    "keys",
    "into_keys",
    "values",
    "values_mut",
    "into_values",
    "drain",
];

/// Lines of a source file that could explain why an output moves with `factor`.
pub fn scan(text: &str, factor: &str) -> Vec<Hint> {
    let Some(tokens) = Tokens::read(text) else {
        return Vec::new();
    };
    let maps = if factor == "randomness" {
        hash_names(&tokens)
    } else {
        BTreeSet::new()
    };
    let mut found = BTreeSet::new();
    let mut programs = BTreeSet::new();
    let mut walk = Walk::default();
    for at in 0..tokens.len() {
        let hint = |words: &str| Hint {
            line: tokens.line(at),
            words: words.to_owned(),
            function: function(&tokens, &walk),
        };
        let of_factor = CALLS.iter().filter(|own| own.1.contains(&factor));
        for (path, _, words) in of_factor {
            if is_call(&tokens, at, path) {
                found.insert(hint(words));
            }
        }
        if let Some(kind) = iterated(&tokens, at, &maps) {
            found.insert(hint(&format!("iterates a {kind}")));
        }
        if is_call(&tokens, at, "Command::new") {
            programs.insert(hint("starts a program"));
        }
        walk.step(&tokens, at);
    }
    // A program that is started may do anything; it is where to look if nothing else is.
    let found = if found.is_empty() { programs } else { found };
    found.into_iter().collect()
}

/// Whether a call of `path` begins at a token.
fn is_call(tokens: &Tokens<'_>, at: usize, path: &str) -> bool {
    let (method, path) = match path.strip_prefix('.') {
        Some(path) => (true, path),
        None => (false, path),
    };
    let behind_dot = at > 0 && tokens.is(at - 1, b'.');
    // The definition of a function is no call of it.
    let defined = at > 0 && tokens.word(at - 1) == Some("fn");
    if behind_dot != method || defined {
        return false;
    }
    let mut at = at;
    for (index, word) in path.split("::").enumerate() {
        if index > 0 {
            if !(tokens.is(at, b':') && tokens.is(at + 1, b':')) {
                return false;
            }
            at += 2;
        }
        if tokens.word(at) != Some(word) {
            return false;
        }
        at += 1;
    }
    tokens.is(at, b'(') || (path == "OsRng" && !tokens.is(at, b';'))
}

/// Names of variables, fields and parameters that are hash maps or sets, with which of them.
fn hash_names<'a>(tokens: &Tokens<'a>) -> BTreeSet<(&'a str, &'a str)> {
    let mut found = BTreeSet::new();
    for at in 0..tokens.len() {
        let Some(kind @ ("HashMap" | "HashSet")) = tokens.word(at) else {
            continue;
        };
        if let Some(name) = name_before(tokens, at) {
            found.insert((name, kind));
        }
    }
    found
}

/// The name that a type or an initial value belongs to: `NAME: &mut a::HashMap<`,
/// `let NAME = HashMap::new()`, `let NAME = x.collect::<HashMap<`.
fn name_before<'a>(tokens: &Tokens<'a>, at: usize) -> Option<&'a str> {
    const FAR: usize = 64;
    let mut place = at;
    // Over the path, references and generic brackets to the colon or the equals sign.
    for _ in 0..FAR {
        place = place.checked_sub(1)?;
        let double = tokens.is(place, b':') && place > 0 && tokens.is(place - 1, b':');
        match tokens.kind(place)? {
            Kind::Mark(b':') if double => place -= 1,
            Kind::Mark(b':') => return tokens.word(place.checked_sub(1)?),
            Kind::Mark(b'=') => return let_before(tokens, place),
            Kind::Mark(b';' | b'{' | b'}' | b',') => return None,
            Kind::Mark(b')') if tokens.partner(place) == tokens.len() => {}
            _ => {}
        }
    }
    None
}

/// The name of `let [mut] NAME [: type] =`.
fn let_before<'a>(tokens: &Tokens<'a>, equals: usize) -> Option<&'a str> {
    const FAR: usize = 32;
    let start = (1..FAR).find_map(|back| {
        let at = equals.checked_sub(back)?;
        (tokens.word(at) == Some("let")).then_some(at)
    })?;
    match tokens.word(start + 1)? {
        "mut" => tokens.word(start + 2),
        name => Some(name),
    }
}

/// Which map or set is iterated at a token, if one is: `NAME.keys()`, `for x in &NAME {`.
fn iterated<'a>(
    tokens: &Tokens<'_>,
    at: usize,
    maps: &BTreeSet<(&'a str, &'a str)>,
) -> Option<&'a str> {
    let word = tokens.word(at)?;
    let (_, kind) = maps.iter().find(|(name, _)| *name == word)?;
    let method = tokens.is(at + 1, b'.')
        && tokens
            .word(at + 2)
            .is_some_and(|own| ITERATIONS.contains(&own))
        && tokens.is(at + 3, b'(');
    let mut before = at;
    while before > 0
        && (tokens.is(before - 1, b'&')
            || tokens.is(before - 1, b'.')
            || matches!(tokens.word(before - 1), Some("mut" | "self")))
    {
        before -= 1;
    }
    let looped = before > 0 && tokens.word(before - 1) == Some("in") && tokens.is(at + 1, b'{');
    (method || looped).then_some(*kind)
}

/// The innermost function around the present token.
fn function(tokens: &Tokens<'_>, walk: &Walk) -> Option<String> {
    let mut frames = walk.frames.iter().rev();
    frames.find_map(|frame| match tokens.item(frame.header) {
        Some(("fn", name)) => Some(name.to_owned()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, factor: &str) -> Vec<String> {
        scan(text, factor)
            .into_iter()
            .map(|own| {
                format!(
                    "{} {} in {}",
                    own.line,
                    own.words,
                    own.function.unwrap_or_default()
                )
            })
            .collect()
    }

    #[test]
    fn iteration_over_hash_maps_is_found_and_lookups_are_not() {
        let text = "
use std::collections::{HashMap, HashSet};
struct S { names: std::collections::HashSet<String>, list: Vec<u8> }
fn a(map: &mut HashMap<u8, Vec<u8>>) { for (k, v) in map.iter() { f(k, v) } map.get(&1); }
impl S { fn b(&self) { for n in &self.names { f(n) } for l in &self.list { f(l) } } }
fn c() { let mut seen = HashSet::new(); seen.insert(1); let all = x.collect::<HashMap<_, _>>(); all.into_keys(); }
fn d() { let seen: Vec<u8> = Vec::new(); seen.len(); }
";
        let expected = [
            "4 iterates a HashMap in a",
            "5 iterates a HashSet in b",
            "6 iterates a HashMap in c",
        ];
        assert_eq!(lines(text, "randomness"), expected);
        assert!(lines(text, "time").is_empty());
    }

    #[test]
    fn calls_are_found_in_code_alone() {
        let text = "
fn a() { let t = std::time::SystemTime::now(); }
// SystemTime::now()
const S: &str = \"SystemTime::now()\";
fn b() { Command::new(\"date\"); }
fn now() { meta.modified(); std::env::var(\"X\"); }
";
        assert_eq!(lines(text, "time"), ["2 reads the clock in a"]);
        assert_eq!(lines(text, "mtime"), ["6 reads a file's time in now"]);
        assert_eq!(lines(text, "env"), ["6 reads a variable in now"]);
        assert_eq!(lines(text, "hostname"), ["5 starts a program in b"]);
    }

    #[test]
    fn no_nesting_is_too_deep() {
        let deep = format!("fn a() {{ {}SystemTime::now() }}", "(".repeat(200_000));
        assert_eq!(lines(&deep, "time").len(), 1);
    }
}
