//! Messages and advice: what is said of a fault.

use super::verdict::Compared;
use crate::attribute::Fault;
use crate::lint::{Culprit, CulpritKind};
use crate::plan::Edit;
use crate::plan::variation::Variation;

/// The argument or variable that an edit is about.
pub(super) fn edit_name(edit: &Edit) -> String {
    match edit {
        Edit::Add(arg) => arg.to_string_lossy().into_owned(),
        Edit::Remove(args) => args
            .iter()
            .map(|arg| arg.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" "),
        Edit::Emit(kinds) => format!("--emit={kinds}"),
        Edit::Env(name, _) => name.to_string_lossy().into_owned(),
    }
}

/// Most names that a sentence holds; the finding has them all.
const MAX_NAMED: usize = 6;

/// Names in a sentence.
pub(super) fn listed(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match names.len().saturating_sub(MAX_NAMED) {
        0 | 1 => quoted.join(", "),
        more => format!("{} and {more} more", quoted[..MAX_NAMED].join(", ")),
    }
}

pub(super) fn message(fault: &Fault, names: &[String], compared: Option<&Compared>) -> String {
    let quoted = listed(names);
    match fault {
        Fault::World(Variation::BuildPath, _) => "its SVH depends on where it is built".to_owned(),
        Fault::World(variation, _) if names.is_empty() => match variation {
            Variation::Randomness => "its SVH depends on randomness".to_owned(),
            Variation::Time => "its SVH depends on the time".to_owned(),
            Variation::DirOrder => {
                "its SVH depends on the order in which a directory is listed".to_owned()
            }
            Variation::Hostname => "its SVH depends on the host's name".to_owned(),
            Variation::Kernel => "its SVH depends on the kernel's release".to_owned(),
            Variation::Cpus => "its SVH depends on the number of processors".to_owned(),
            Variation::Pid => "its SVH depends on a process number".to_owned(),
            Variation::Mtime => "its SVH depends on the time of a file".to_owned(),
            Variation::Inode => "its SVH depends on an inode number".to_owned(),
            Variation::Aslr => "its SVH depends on addresses in memory".to_owned(),
            Variation::Threads => "its SVH depends on the order in which threads run".to_owned(),
            other => format!("its SVH depends on `{}`", other.name()),
        },
        Fault::Unset(_) => format!(
            "its SVH depends on {quoted}, which is not set here and which it does not declare"
        ),
        Fault::World(..) | Fault::File(_) => {
            format!("its SVH depends on {quoted}, which it does not declare")
        }
        Fault::Together(_) => "its SVH depends on several things together".to_owned(),
        Fault::Chance => "the same command line gives different SVHs".to_owned(),
        Fault::Built => "the build made two SVHs of it with one command line".to_owned(),
        Fault::SinceRecorded => {
            "compiled again, it gives another SVH than when the build was recorded".to_owned()
        }
        Fault::Flags(_) => {
            let strategy = compared.map_or("the strategy", |own| own.strategy.name());
            format!("{quoted} differs between the two sides of `{strategy}` and moves the SVH")
        }
        Fault::Fails(why) => why.clone(),
    }
}

/// How to live with a crate that is not mended yet.
pub(super) const UNTIL: &str =
    "until then, leave the crate out of pipelining (rules_rust: `disable_pipelining = True`)";

/// What helps where git reads for a macro.
pub(super) const OF_GIT: &str = "hand the revision over in a variable that the macro declares (`option_env!` in its output), for what git says changes with each commit and edit; or do without the macro";

pub(super) fn help(fault: &Fault, culprit: Option<&Culprit>) -> String {
    let who = match culprit {
        Some(Culprit {
            package: Some(package),
            kind: CulpritKind::ProcMacro,
            ..
        }) => format!("`{package}`"),
        _ => "the macro or source that does it".to_owned(),
    };
    match fault {
        Fault::Flags(_) => "pass it on both sides, or on neither".to_owned(),
        Fault::World(Variation::BuildPath, names) if names.is_empty() => {
            "an absolute path is in the crate's data: use a path relative to the package, or build at one fixed path".to_owned()
        }
        Fault::World(Variation::BuildPath, _) => {
            "the crate includes a file by its absolute OUT_DIR path: remap the target directory on every side (--remap-path-prefix), or build at one fixed path".to_owned()
        }
        Fault::World(Variation::Env, _) | Fault::Unset(_) => format!(
            "declare the variable where it is read (`env!`, `option_env!`, `proc_macro::tracked_env`, or `cargo::rustc-env` from a build script), or make {who} do without it"
        ),
        Fault::World(Variation::Randomness, _) => format!(
            "let {who} iterate a BTreeMap or sort, where it iterates a HashMap or HashSet, and use no random numbers; {UNTIL}"
        ),
        Fault::World(Variation::Time, _) => format!(
            "let {who} take the time from a declared variable (SOURCE_DATE_EPOCH), or leave it out; {UNTIL}"
        ),
        Fault::World(Variation::DirOrder, _) => format!("let {who} sort what it lists; {UNTIL}"),
        Fault::World(variation, _) => format!(
            "let {who} do without what `{}` changes; {UNTIL}", variation.name()
        ),
        Fault::File(_) => format!(
            "declare it: `include_str!`/`include_bytes!` in the macro's output, `proc_macro::tracked_path`, or an input of the target in your build rules; or make {who} do without it"
        ),
        Fault::Built => format!(
            "check it without `--engine free` to learn what moves it; {UNTIL}"
        ),
        Fault::SinceRecorded => format!(
            "something changed in between that no dependency file names, such as the date or an undeclared file: make {who} do without it"
        ),
        _ => format!(
            "look in {who} for threads that race, addresses that are printed, and state that outlives a call; {UNTIL}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_sentence_holds_few_names() {
        let names: Vec<String> = (0..20).map(|nth| format!("f{nth}")).collect();
        assert_eq!(listed(&names[..2]), "`f0`, `f1`");
        assert_eq!(
            listed(&names),
            "`f0`, `f1`, `f2`, `f3`, `f4`, `f5` and 14 more"
        );
    }

    #[test]
    fn every_factor_has_a_sentence() {
        for (variation, name, _) in crate::plan::variation::TABLE {
            let fault = Fault::World(*variation, Vec::new());
            let text = message(&fault, &[], None) + &help(&fault, None);
            assert!(text.starts_with("its SVH depends on"), "{name}: {text}");
        }
        let file = Fault::File(PathBuf::from("a"));
        assert!(message(&file, &["a".to_owned()], None).contains("`a`"));
    }
}
