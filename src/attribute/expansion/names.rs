//! What macros are called: those of the language, and those of the suspect.

use std::collections::BTreeMap;

use super::Suspect;
use super::invocation::{Form, Site};

/// How well an invocation's name fits the suspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    /// It comes from another crate, which may hand the suspect's macros on.
    Elsewhere,
    /// Its origin cannot be told.
    Unknown,
    /// It comes from a crate whose name begins the suspect's, or has the name of its function.
    Likely,
    /// It comes from the suspect, or both of the above.
    Own,
    /// It comes from the suspect and has the name of the function.
    Exact,
}

/// How well a site's name fits the suspect; `None` if it cannot be the cause.
pub(super) fn fit(
    site: &Site,
    uses: &BTreeMap<String, Vec<String>>,
    suspect: &Suspect<'_>,
) -> Option<Fit> {
    let mut path = site.path.clone();
    if let Some(full) = path.first().and_then(|first| uses.get(first)) {
        path.splice(..1, full.iter().cloned());
    }
    let relative = |name: &str| matches!(name, "crate" | "self" | "super");
    let origin = match path.as_slice() {
        [first, _, ..] if !relative(first) => Some(first.as_str()),
        _ => None,
    };
    let name = path.last()?.as_str();
    if origin.is_none_or(|origin| matches!(origin, "std" | "core" | "alloc"))
        && is_builtin(site.form, name, suspect.is_known())
    {
        return None;
    }
    let origin = origin.map(normal);
    let suspects = [suspect.package, suspect.import];
    let suspects: Vec<String> = suspects.into_iter().flatten().map(normal).collect();
    let named = suspect.functions.iter().any(|own| names(own, name));
    let own = origin.as_ref().is_some_and(|own| suspects.contains(own));
    // Macro crates are named for the crate that hands them on: `serde`, `serde_derive`.
    let kin = origin
        .as_ref()
        .is_some_and(|own| own.len() > 2 && suspects.iter().any(|name| name.starts_with(own)));
    if site.helper && origin.is_none() && !named {
        return None;
    }
    if !suspect.is_known() {
        return Some(Fit::Unknown);
    }
    Some(match (own, kin, named) {
        (true, _, true) => Fit::Exact,
        (true, _, false) | (_, true, true) => Fit::Own,
        (_, true, _) | (_, _, true) => Fit::Likely,
        _ if origin.is_none() => Fit::Unknown,
        _ => Fit::Elsewhere,
    })
}

fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// Whether a function of the macro crate has the macro's name, or holds it: a derive's function is
/// often `derive_` and its trait.
fn names(function: &str, name: &str) -> bool {
    let flat = |text: &str| text.replace('_', "").to_lowercase();
    let wanted = flat(name);
    // The first is the crate.
    function.split("::").skip(1).any(|part| {
        part == name || (wanted.len() > 3 && part != "main" && flat(part).contains(&wanted))
    })
}

/// What the standard library brings, and what it makes does not change from run to run. Without a
/// suspect, what reads the environment or a file may be the cause.
fn is_builtin(form: Form, name: &str, suspected: bool) -> bool {
    match form {
        Form::Derive => matches!(
            name,
            "Clone"
                | "Copy"
                | "Debug"
                | "Default"
                | "Eq"
                | "Hash"
                | "Ord"
                | "PartialEq"
                | "PartialOrd"
                | "CoercePointee"
        ),
        Form::Attribute => matches!(name, "test" | "derive_const"),
        Form::Bang => match name {
            "env" | "option_env" | "include" | "include_str" | "include_bytes" | "file" => {
                suspected
            }
            _ => matches!(
                name,
                "addr_of"
                    | "addr_of_mut"
                    | "asm"
                    | "assert"
                    | "assert_eq"
                    | "assert_ne"
                    | "cfg"
                    | "column"
                    | "compile_error"
                    | "concat"
                    | "dbg"
                    | "debug_assert"
                    | "debug_assert_eq"
                    | "debug_assert_ne"
                    | "eprint"
                    | "eprintln"
                    | "format"
                    | "format_args"
                    | "global_asm"
                    | "line"
                    | "macro_rules"
                    | "matches"
                    | "module_path"
                    | "naked_asm"
                    | "offset_of"
                    | "panic"
                    | "pin"
                    | "print"
                    | "println"
                    | "ready"
                    | "stringify"
                    | "thread_local"
                    | "todo"
                    | "unimplemented"
                    | "unreachable"
                    | "vec"
                    | "write"
                    | "writeln"
            ),
        },
    }
}

/// Keywords that may stand before a negation.
pub(super) fn is_keyword(word: &str) -> bool {
    matches!(
        word,
        "if" | "while"
            | "match"
            | "return"
            | "in"
            | "else"
            | "break"
            | "as"
            | "let"
            | "mut"
            | "move"
            | "ref"
            | "yield"
            | "loop"
            | "impl"
    )
}

/// Attributes of the language and of tools: they are no macros, or macros that decide nothing.
pub(super) fn is_builtin_attribute(name: &str) -> bool {
    matches!(
        name,
        "allow"
            | "automatically_derived"
            | "bench"
            | "cfg"
            | "clippy"
            | "cold"
            | "coverage"
            | "crate_name"
            | "crate_type"
            | "debugger_visualizer"
            | "deny"
            | "deprecated"
            | "derive"
            | "diagnostic"
            | "doc"
            | "expect"
            | "export_name"
            | "feature"
            | "forbid"
            | "global_allocator"
            | "ignore"
            | "inline"
            | "instruction_set"
            | "link"
            | "link_name"
            | "link_ordinal"
            | "link_section"
            | "macro_export"
            | "macro_use"
            | "miri"
            | "must_use"
            | "naked"
            | "no_implicit_prelude"
            | "no_link"
            | "no_main"
            | "no_mangle"
            | "no_std"
            | "non_exhaustive"
            | "panic_handler"
            | "path"
            | "proc_macro"
            | "proc_macro_attribute"
            | "proc_macro_derive"
            | "recursion_limit"
            | "repr"
            | "rust_analyzer"
            | "rustc"
            | "rustdoc"
            | "rustfmt"
            | "should_panic"
            | "target_feature"
            | "track_caller"
            | "type_length_limit"
            | "unsafe"
            | "used"
            | "warn"
            | "windows_subsystem"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_name_macros() {
        assert!(names("m::five", "five"));
        assert!(names("m::derive_my_trait::{{closure}}", "MyTrait"));
        assert!(!names("five::other", "five"));
        assert!(!names("m::run", "five"));
    }
}
