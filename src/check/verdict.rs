//! From what was compared to what is said: verdicts and findings of one crate.

use std::collections::BTreeSet;

use crate::artifact::metadata::{CrateRoot, DepKind, Svh};
use crate::attribute::{Cause, Fault};
use crate::lint::{self, Culprit, CulpritKind, Finding, Grade, Level};
use crate::plan::Edit;
use crate::plan::strategy::Strategy;
use crate::plan::variation::Variation;
use crate::project::{Action, Build, TargetKind};
use crate::report::{CrateVerdict, StrategyVerdict, Verdict};

use super::judge::Judged;

/// A pair that was compared.
pub(super) struct Compared {
    pub(super) strategy: Strategy,
    pub(super) one_process: bool,
    pub(super) svh: [Option<Svh>; 2],
    pub(super) cause: Option<Cause>,
}

impl Fault {
    fn verdict(&self) -> Verdict {
        match self {
            Fault::Flags(_) => Verdict::FlagMismatch,
            Fault::World(_) | Fault::Chance(_) | Fault::SinceRecorded => Verdict::Nondeterministic,
            Fault::Fails(_) => Verdict::Inconclusive,
        }
    }
}

pub(super) fn sum_up(
    action: &Action,
    build: &Build,
    compared: &[Compared],
    build_path: Option<&Cause>,
    root: CrateRoot,
) -> Judged {
    let causes = || {
        compared
            .iter()
            .filter_map(|own| own.cause.as_ref())
            .chain(build_path)
    };
    let unstable = causes().any(|cause| cause.fault.verdict() == Verdict::Nondeterministic);
    let mut findings: Vec<Finding> = Vec::new();
    let mut unknown = BTreeSet::new();
    for own in compared {
        if let Some(cause) = &own.cause {
            add(
                &mut findings,
                &mut unknown,
                action,
                build,
                &root,
                cause,
                Some(own),
            );
        }
    }
    if let Some(cause) = build_path {
        add(
            &mut findings,
            &mut unknown,
            action,
            build,
            &root,
            cause,
            None,
        );
    }
    let strategies = compared.iter().map(|own| {
        let verdict = match &own.cause {
            Some(cause) => cause.fault.verdict(),
            // Nondeterminism is the crate's, not the strategy's: a pair that came out equal while
            // another did not was lucky. One process cannot part from itself.
            None if unstable && !own.one_process => Verdict::Nondeterministic,
            None => Verdict::Safe,
        };
        (
            own.strategy.name().to_owned(),
            StrategyVerdict {
                verdict,
                svh: own.svh,
            },
        )
    });
    let strategies: std::collections::BTreeMap<_, _> = strategies.collect();
    let verdict = strategies
        .values()
        .map(|own| own.verdict)
        .max()
        .unwrap_or(Verdict::Safe);
    let verdict = CrateVerdict {
        id: action.id.clone(),
        package: action.package.name.clone(),
        version: action.package.version.clone(),
        target: action.target.clone(),
        kind: action.kind.as_str().to_owned(),
        verdict,
        strategies,
        infected_by: Vec::new(),
        hermeticity: None,
    };
    Judged {
        verdict,
        findings,
        root,
        unknown: unknown.into_iter().collect(),
    }
}

/// Adds what a cause says: a finding, or why there is no verdict. Strategies that share a cause
/// share its finding.
fn add(
    findings: &mut Vec<Finding>,
    unknown: &mut BTreeSet<String>,
    action: &Action,
    build: &Build,
    root: &CrateRoot,
    cause: &Cause,
    compared: Option<&Compared>,
) {
    if let Fault::Fails(why) = &cause.fault {
        let strategy = compared
            .map(|own| format!("{}: ", own.strategy.name()))
            .unwrap_or_default();
        unknown.insert(format!("{strategy}{why}"));
        return;
    }
    let finding = finding(action, build, root, cause, compared);
    if !findings.iter().any(|own| {
        (&own.lint, &own.factor, &own.names) == (&finding.lint, &finding.factor, &finding.names)
    }) {
        findings.push(finding);
    }
}

fn finding(
    action: &Action,
    build: &Build,
    root: &CrateRoot,
    cause: &Cause,
    compared: Option<&Compared>,
) -> Finding {
    let id = if matches!(cause.fault, Fault::Flags(_)) {
        "svh-flag-mismatch"
    } else {
        "svh-unstable"
    };
    let page = lint::page(id);
    let (factor, names) = factor(&cause.fault);
    let macros = loaded_macros(action, build, root);
    let culprit = culprit(action, &cause.fault, &macros);
    let mut evidence = cause.evidence.clone();
    if let Some([Some(metadata), Some(full)]) = compared.map(|own| own.svh) {
        evidence.insert(
            0,
            format!("SVH {metadata} on the metadata side, {full} on the full side"),
        );
    }
    if culprit
        .as_ref()
        .is_none_or(|culprit| culprit.package.is_none())
        && macros.len() > 1
    {
        evidence.push(format!(
            "the crate loads {} proc macros: {}",
            macros.len(),
            macros.join(", ")
        ));
    } else if let [only] = macros.as_slice() {
        evidence.push(format!("the crate loads one proc macro: {only}"));
    }
    Finding {
        lint: id.to_owned(),
        level: page.as_ref().map_or(Level::Deny, |page| page.level),
        grade: Grade::Confirmed,
        krate: action.id.clone(),
        message: message(&cause.fault, &names, compared),
        help: help(&cause.fault, &names, culprit.as_ref()),
        culprit,
        factor,
        names,
        evidence,
    }
}

/// The factor's name, and the variables or arguments of it.
fn factor(fault: &Fault) -> (Option<String>, Vec<String>) {
    match fault {
        Fault::World(list) => {
            let factor = list
                .iter()
                .map(|(variation, _)| variation.name())
                .collect::<Vec<_>>()
                .join("+");
            let names = list.iter().flat_map(|(_, names)| names);
            (
                Some(factor),
                names
                    .map(|name| name.to_string_lossy().into_owned())
                    .collect(),
            )
        }
        Fault::Chance(factor) => (factor.map(|own| own.name().to_owned()), Vec::new()),
        Fault::Flags(edits) => {
            let mut names: Vec<String> = edits.iter().map(edit_name).collect();
            names.sort();
            names.dedup();
            (Some(names.join(" ")), names)
        }
        Fault::SinceRecorded | Fault::Fails(_) => (None, Vec::new()),
    }
}

/// The argument or variable that an edit is about.
fn edit_name(edit: &Edit) -> String {
    let list = |args: &[std::ffi::OsString]| {
        args.iter()
            .map(|arg| arg.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    };
    match edit {
        Edit::Add(arg) => arg.to_string_lossy().into_owned(),
        Edit::Remove(args) => list(args),
        Edit::Emit(kinds) => format!("--emit={kinds}"),
        Edit::Env(name, _) => name.to_string_lossy().into_owned(),
    }
}

fn message(fault: &Fault, names: &[String], compared: Option<&Compared>) -> String {
    let quoted = names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    match fault {
        Fault::World(list) if list.iter().all(|(own, _)| *own == Variation::BuildPath) => {
            "its SVH depends on where it is built".to_owned()
        }
        Fault::World(list) if names.is_empty() => {
            let what = list
                .iter()
                .map(|(own, _)| format!("`{}`", own.name()))
                .collect::<Vec<_>>();
            format!("its SVH depends on {}", what.join(", "))
        }
        Fault::World(_) => format!("its SVH depends on {quoted}, which it does not declare"),
        Fault::Chance(Some(factor)) => {
            format!(
                "the same command line gives different SVHs; the difference comes from `{}`",
                factor.name()
            )
        }
        Fault::Chance(None) => "the same command line gives different SVHs".to_owned(),
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

fn help(fault: &Fault, names: &[String], culprit: Option<&Culprit>) -> String {
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
        Fault::World(list) if list.iter().all(|(own, _)| *own == Variation::BuildPath) => {
            if names.is_empty() {
                "an absolute path is in the crate's data: use a path relative to the package"
                    .to_owned()
            } else {
                "the crate includes a file by its absolute OUT_DIR path: remap the target directory on every side (--remap-path-prefix), or build at one fixed path".to_owned()
            }
        }
        Fault::World(list) if list.iter().any(|(own, _)| *own == Variation::Env) => format!(
            "declare the variable where it is read (`env!`, `option_env!`, `proc_macro::tracked_env`, or `cargo::rustc-env` from a build script), or make {who} do without it"
        ),
        Fault::SinceRecorded => format!(
            "something changed in between that no dependency file names, such as the date or an undeclared file: make {who} do without it"
        ),
        _ => format!(
            "look in {who} for iteration over HashMap or HashSet, random numbers, time, process ids, directory order; until it is fixed, leave the crate out of pipelining"
        ),
    }
}

/// Packages of the proc macros that the crate loads, as `name version`, sorted.
fn loaded_macros(action: &Action, build: &Build, root: &CrateRoot) -> Vec<String> {
    let named = |outputs: &str| {
        build
            .actions
            .iter()
            .find(|own| own.kind == TargetKind::ProcMacro && own.args.extra_filename() == outputs)
    };
    let mut found: BTreeSet<String> = BTreeSet::new();
    for dep in root
        .deps
        .iter()
        .filter(|dep| dep.kind == DepKind::MacrosOnly)
    {
        let package = named(&dep.extra_filename)
            .map(|own| format!("{} {}", own.package.name, own.package.version));
        found.insert(package.unwrap_or_else(|| dep.name.to_string()));
    }
    found.remove(&format!(
        "{} {}",
        action.package.name, action.package.version
    ));
    found.into_iter().collect()
}

/// Whose code it is, as far as elimination goes.
fn culprit(action: &Action, fault: &Fault, macros: &[String]) -> Option<Culprit> {
    let named = |package: Option<String>, kind| {
        Some(Culprit {
            package,
            kind,
            function: None,
            location: None,
        })
    };
    let own = format!("{} {}", action.package.name, action.package.version);
    match fault {
        Fault::Flags(_) => named(None, CulpritKind::Flags),
        Fault::World(list)
            if list.iter().any(|(own, _)| *own == Variation::BuildPath) && macros.is_empty() =>
        {
            named(Some(own), CulpritKind::Source)
        }
        Fault::World(list) if names_out_dir(list) => named(Some(own), CulpritKind::Source),
        _ => match macros {
            [] => named(Some(own), CulpritKind::Source),
            [only] => named(Some(only.clone()), CulpritKind::ProcMacro),
            _ => named(None, CulpritKind::ProcMacro),
        },
    }
}

fn names_out_dir(list: &[(Variation, Vec<std::ffi::OsString>)]) -> bool {
    list.iter()
        .any(|(_, names)| names.iter().any(|name| name == "OUT_DIR"))
}
