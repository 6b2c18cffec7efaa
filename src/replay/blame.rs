//! Whose function it was: of the frames behind a call, the one that a person would look at.

use std::collections::BTreeSet;
use std::path::Path;

use crate::trace::Frame;

/// The innermost frame of the module's own code: not of std, which is linked into every module.
pub(super) fn own_function<'a>(
    frames: &'a [Frame],
    module: &Path,
    direct: &BTreeSet<String>,
) -> Option<&'a Frame> {
    let stem = module.file_stem().unwrap_or_default().to_string_lossy();
    if stem.starts_with("build-script-") {
        return script_function(frames, module, &stem.replace('-', "_"), direct);
    }
    let stem = stem.strip_prefix("lib").unwrap_or(&stem);
    let crate_name = stem.rsplit_once('-').map_or(stem, |(name, _)| name);
    let named = || {
        frames
            .iter()
            .filter(|frame| &*frame.module == module)
            .filter_map(|frame| Some((frame, crate_of(frame.symbol.as_deref()?))))
    };
    let own = named().find(|(_, name)| *name == crate_name);
    let foreign = || named().find(|(_, name)| !RUNTIME.contains(name));
    own.or_else(foreign).map(|(frame, _)| frame)
}

/// For a build script of the crate `own`: its own function, or that of the package that it called
/// to do the work. What that package asked others to do for it is still its doing, and so is what it
/// lends from them.
fn script_function<'a>(
    frames: &'a [Frame],
    module: &Path,
    own: &str,
    direct: &BTreeSet<String>,
) -> Option<&'a Frame> {
    let named = || {
        frames
            .iter()
            .filter(|frame| &*frame.module == module)
            .filter_map(|frame| Some((frame, crate_of(frame.symbol.as_deref()?))))
            // `_start` and `main` are nobody's, and so is what C libraries are made of.
            .filter(|(frame, _)| frame.symbol.as_ref().is_some_and(|own| own.contains("::")))
            .filter(|(_, name)| !RUNTIME.contains(name))
            .filter(|(frame, name)| *name == own || !is_hashed(frame))
    };
    let (first, inner) = named().next()?;
    if inner == own {
        return Some(first);
    }
    let called: Vec<&str> = named()
        .take_while(|(_, name)| *name != own)
        .map(|(_, name)| name)
        .collect();
    let mut outermost = called.iter().rev();
    let called = outermost
        .find(|own| direct.contains(**own))
        .or(called.last())?;
    named()
        .find(|(_, name)| name == called)
        .map(|(frame, _)| frame)
}

/// Whether a function was made for a map or set in hash order (symbols of the v0 mangling tell): who
/// chose that type is to blame, not who fills it.
fn is_hashed(frame: &Frame) -> bool {
    let symbol = frame.symbol.as_deref().unwrap_or_default();
    ["RandomState", "HashMap<", "HashSet<"]
        .iter()
        .any(|name| symbol.contains(name))
}

/// Crates of the runtime, which are never to blame for what they are asked to do.
const RUNTIME: &[&str] = &[
    "std",
    "core",
    "alloc",
    "proc_macro",
    "hashbrown",
    "std_detect",
    "__rustc",
    "getrandom",
    "rand",
    "rand_core",
    "rand_chacha",
];

/// Most callers that are told.
const MAX_CALLERS: usize = 4;

/// The functions of the same code that called `own`, without the standard library's.
pub(super) fn callers(frames: &[Frame], own: &Frame) -> Vec<String> {
    let outer = frames.iter().skip_while(|frame| !std::ptr::eq(*frame, own));
    let mut names: Vec<String> = outer
        .skip(1)
        .filter(|frame| frame.module == own.module)
        .filter_map(|frame| frame.symbol.as_deref())
        .filter(|name| name.contains("::") && !name.contains(" as core::ops::"))
        .filter(|name| !RUNTIME.contains(&crate_of(name)))
        .map(str::to_owned)
        .take(MAX_CALLERS)
        .collect();
    names.dedup();
    names
}

/// The crate of a demangled symbol: `<a::B as c::D>::f` is of `a`, and so is `<[u8] as a::C>::f`,
/// whose type is nobody's.
pub fn crate_of(symbol: &str) -> &str {
    let first = first_crate(symbol);
    match symbol.split_once(" as ") {
        Some((_, of_trait)) if !first.1 => first_crate(of_trait).0,
        _ => first.0,
    }
}

/// The first word of a path or type, and whether it is a crate (a path goes on behind it).
fn first_crate(text: &str) -> (&str, bool) {
    let mut start = text.trim_start_matches(['<', '&', '*', '(', '[']);
    while let Some(rest) = ["mut ", "const ", "dyn "]
        .iter()
        .find_map(|own| start.strip_prefix(own))
    {
        start = rest.trim_start_matches(['<', '&', '*', '(', '[']);
    }
    let end = start.find(|c: char| !c.is_alphanumeric() && c != '_');
    let (name, rest) = start.split_at(end.unwrap_or(start.len()));
    (name, rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The function to blame in a build script that depends on `direct`; frames innermost first.
    fn blamed(direct: &[&str], symbols: &[&str]) -> Option<String> {
        let module = Path::new("/t/build-script-build");
        let frame = |symbol: &&str| Frame {
            module: module.into(),
            offset: 0,
            symbol: Some((*symbol).into()),
            line: None,
        };
        let frames: Vec<Frame> = symbols.iter().map(frame).collect();
        let direct = direct.iter().map(|own| (*own).to_owned()).collect();
        let own = own_function(&frames, module, &direct)?;
        own.symbol.as_deref().map(str::to_owned)
    }

    #[test]
    fn a_script_is_to_blame_for_what_it_asks_itself() {
        let frames = [
            "std::env::var",
            "build_script_build::look",
            "build_script_build::main",
        ];
        assert_eq!(blamed(&[], &frames).unwrap(), "build_script_build::look");
    }

    #[test]
    fn a_package_is_to_blame_for_what_it_was_called_for() {
        let frames = [
            "std::env::var",
            "low::read",
            "high::tell",
            "build_script_build::main",
        ];
        assert_eq!(blamed(&["high"], &frames).unwrap(), "high::tell");
        // Without the script's own dependencies, the outermost.
        assert_eq!(blamed(&[], &frames).unwrap(), "high::tell");
        // What a dependency lends from its own works for it.
        let frames = ["git::run", "emitter::emit", "build_script_build::main"];
        assert_eq!(blamed(&["git"], &frames).unwrap(), "git::run");
    }

    #[test]
    fn who_chose_a_map_is_to_blame_for_its_order() {
        let frames = [
            "std::hash::random::RandomState::new",
            "json::de::map::<std::collections::HashMap<u8, u8>>",
            "build_script_build::main",
        ];
        assert_eq!(
            blamed(&["json"], &frames).unwrap(),
            "build_script_build::main"
        );
    }

    #[test]
    fn symbols_tell_their_crate() {
        assert_eq!(crate_of("hash_macro::five"), "hash_macro");
        assert_eq!(crate_of("<a::B as core::fmt::Debug>::fmt"), "a");
        assert_eq!(crate_of("<&mut x::Y as z::Z>::f"), "x");
        assert_eq!(crate_of("getrandom"), "getrandom");
        let into = "<[&str; 5] as core::convert::Into<std::collections::HashSet<&str>>>::into";
        assert_eq!(crate_of(into), "core");
        assert_eq!(crate_of("<u32 as x::Y<a::B>>::f"), "x");
        assert_eq!(crate_of("<*const dyn x::Y>::f"), "x");
        assert_eq!(crate_of("<(a::B, u8) as c::D>::f"), "a");
        assert_eq!(crate_of(""), "");
    }
}
