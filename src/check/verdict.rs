//! From what was compared to what is said: verdicts and findings of one crate.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;

use crate::artifact::metadata::{CrateRoot, DepKind, Svh};
use crate::attribute::{Cause, Fault};
use crate::lint::{self, Culprit, CulpritKind, Finding, Grade, Level};
use crate::plan::Edit;
use crate::plan::strategy::Strategy;
use crate::plan::variation::Variation;
use crate::project::{Action, Build, TargetKind, is_place};
use crate::replay::sight::{Sighting, What};
use crate::report::{CrateVerdict, StrategyVerdict, Verdict};

use super::judge::Judged;
use super::scripts::Checked;

/// A pair that was compared.
pub(super) struct Compared {
    pub(super) strategy: Strategy,
    pub(super) one_process: bool,
    pub(super) svh: [Option<Svh>; 2],
    /// Why it differs; empty if it does not.
    pub(super) causes: Vec<Cause>,
}

/// What else is known of a crate.
#[derive(Default)]
pub(super) struct Evidence {
    /// What moves the SVH although no pair showed it.
    pub(super) causes: Vec<Cause>,
    /// What macros asked for without effect, and how many settings were tried.
    pub(super) harmless: BTreeMap<Variation, u32>,
    /// What macros asked of the world.
    pub(super) sightings: Vec<Sighting>,
    /// What was found about its build script.
    pub(super) script: Checked,
    /// Whether runs were watched.
    pub(super) watched: bool,
}

impl Compared {
    pub(super) fn is_nondeterministic(&self) -> bool {
        self.causes
            .iter()
            .any(|cause| verdict(&cause.fault) == Verdict::Nondeterministic)
    }

    fn verdict(&self) -> Verdict {
        self.causes
            .iter()
            .map(|cause| verdict(&cause.fault))
            .max()
            .unwrap_or(Verdict::Safe)
    }
}

fn verdict(fault: &Fault) -> Verdict {
    match fault {
        Fault::Flags(_) => Verdict::FlagMismatch,
        Fault::World(..)
        | Fault::Together(_)
        | Fault::File(_)
        | Fault::Chance
        | Fault::SinceRecorded => Verdict::Nondeterministic,
        Fault::Fails(_) => Verdict::Inconclusive,
    }
}

pub(super) fn sum_up(
    action: &Action,
    build: &Build,
    compared: &[Compared],
    evidence: &Evidence,
    root: CrateRoot,
) -> Judged {
    let mut unstable = compared.iter().any(Compared::is_nondeterministic);
    unstable |= evidence
        .causes
        .iter()
        .any(|cause| verdict(&cause.fault) == Verdict::Nondeterministic);
    unstable |= evidence.script.moves;
    let writer = Writer {
        action,
        build,
        evidence,
        root: &root,
    };
    let mut findings: Vec<Finding> = Vec::new();
    let mut unknown: BTreeSet<String> = evidence.script.unknown.iter().cloned().collect();
    let of_pairs = compared
        .iter()
        .flat_map(|own| own.causes.iter().map(move |cause| (cause, Some(own))));
    for (cause, own) in of_pairs.chain(evidence.causes.iter().map(|cause| (cause, None))) {
        if let Fault::Fails(why) = &cause.fault {
            let strategy = own.map(|own| format!("{}: ", own.strategy.name()));
            unknown.insert(format!("{}{why}", strategy.unwrap_or_default()));
            continue;
        }
        let finding = writer.finding(cause, own);
        let key = |own: &Finding| (own.lint.clone(), own.factor.clone(), own.names.clone());
        // Strategies that share a cause share its finding.
        if !findings.iter().any(|known| key(known) == key(&finding)) {
            findings.push(finding);
        }
    }
    findings.extend(
        evidence
            .harmless
            .iter()
            .map(|(own, settings)| writer.harmless(*own, *settings)),
    );
    findings.extend(evidence.script.findings.iter().cloned());
    let strategies = compared.iter().map(|own| {
        let verdict = match own.verdict() {
            // Nondeterminism is the crate's, not the strategy's: a pair that came out equal while
            // another did not was lucky. One process cannot part from itself.
            Verdict::Safe if unstable && !own.one_process => Verdict::Nondeterministic,
            verdict => verdict,
        };
        (
            own.strategy.name().to_owned(),
            StrategyVerdict {
                verdict,
                svh: own.svh,
            },
        )
    });
    let strategies: BTreeMap<_, _> = strategies.collect();
    // What was asked for and could not be done leaves the crate open.
    let fails = |cause: &Cause| matches!(cause.fault, Fault::Fails(_));
    let open = evidence
        .causes
        .iter()
        .any(fails)
        .then_some(Verdict::Inconclusive);
    let worst = strategies.values().map(|own| own.verdict).chain(open).max();
    let verdict = worst.unwrap_or(Verdict::Safe);
    let escapes = evidence.sightings.iter().any(is_escape);
    let hermeticity = if escapes { "escapes" } else { "hermetic" };
    let verdict = CrateVerdict {
        id: action.id.clone(),
        package: action.package.name.clone(),
        version: action.package.version.clone(),
        target: action.target.clone(),
        kind: action.kind.as_str().to_owned(),
        verdict,
        strategies,
        infected_by: Vec::new(),
        hermeticity: evidence.watched.then(|| hermeticity.to_owned()),
    };
    Judged {
        verdict,
        findings,
        root,
        unknown: unknown.into_iter().collect(),
    }
}

/// Whether it reaches beyond what the crate declared.
fn is_escape(seen: &Sighting) -> bool {
    matches!(
        seen.what,
        What::Read(_) | What::List(_) | What::Write(_) | What::Exec(_) | What::Network
    )
}

/// Writes the findings of one crate.
pub(super) struct Writer<'a> {
    pub(super) action: &'a Action,
    pub(super) build: &'a Build,
    pub(super) evidence: &'a Evidence,
    pub(super) root: &'a CrateRoot,
}

impl Writer<'_> {
    fn finding(&self, cause: &Cause, compared: Option<&Compared>) -> Finding {
        let id = match &cause.fault {
            Fault::Flags(_) => "svh-flag-mismatch",
            Fault::File(_) => "macro-reads-undeclared-file",
            Fault::World(Variation::BuildPath, _) => "absolute-path-in-metadata",
            _ => "svh-unstable",
        };
        let (factor, names) = self.factor(&cause.fault);
        let macros = self.loaded_macros();
        let culprit = self.culprit(cause, &macros);
        let mut evidence = cause.evidence.clone();
        if let Some([Some(metadata), Some(full)]) = compared.map(|own| own.svh)
            && metadata != full
        {
            evidence.insert(
                0,
                format!("SVH {metadata} on the metadata side, {full} on the full side"),
            );
        }
        evidence.extend(self.asked(cause));
        let unnamed = culprit
            .as_ref()
            .is_none_or(|culprit| culprit.package.is_none());
        if unnamed && macros.len() > 1 {
            evidence.push(format!(
                "the crate loads {} proc macros: {}",
                macros.len(),
                macros.join(", ")
            ));
        }
        Finding {
            lint: id.to_owned(),
            level: lint::page(id).map_or(Level::Deny, |page| page.level),
            grade: Grade::Confirmed,
            krate: self.action.id.clone(),
            message: message(&cause.fault, &names, compared),
            help: self.help(&cause.fault, culprit.as_ref()),
            culprit,
            factor,
            names,
            expansion: cause.expanded.clone(),
            evidence,
        }
    }

    /// What to do, and how to live with it until it is done.
    fn help(&self, fault: &Fault, culprit: Option<&Culprit>) -> String {
        let text = help(fault, culprit);
        let Some(opt_out) = self.action.opt_out.as_ref() else {
            return text;
        };
        if matches!(fault, Fault::Flags(_)) {
            return text;
        }
        let advice = text.strip_suffix(UNTIL).unwrap_or(&text);
        let advice = advice.trim_end_matches("; ");
        let breaks = match opt_out.breaks {
            0 => "nothing here links it with a crate compiled against it".to_owned(),
            1 => "1 target that links it would meet E0460".to_owned(),
            count => format!("{count} targets that link it would meet E0460"),
        };
        format!("{advice}; {UNTIL}: {} ({breaks})", opt_out.paste)
    }

    /// What a macro asked for without effect.
    fn harmless(&self, variation: Variation, settings: u32) -> Finding {
        let module = self.asking(variation).map(|own| own.module.clone()).next();
        let name = variation.name();
        Finding {
            lint: "svh-unstable".to_owned(),
            level: Level::Allow,
            grade: Grade::Harmless,
            krate: self.action.id.clone(),
            culprit: module
                .map(|module| self.culprit_of(&module, &Fault::World(variation, Vec::new()))),
            factor: Some(name.to_owned()),
            names: Vec::new(),
            expansion: None,
            message: format!(
                "a macro asks for what `{name}` changes; {settings} other settings changed nothing"
            ),
            evidence: vec![format!(
                "{settings} expansions with all else held still were equal"
            )],
            help: "nothing to do, as far as these runs could tell".to_owned(),
        }
    }

    fn asking(&self, variation: Variation) -> impl Iterator<Item = &Sighting> {
        let asks = move |own: &&Sighting| own.what.variations().contains(&variation);
        self.evidence.sightings.iter().filter(asks)
    }

    /// What the guilty code was seen to ask for, in words.
    fn asked(&self, cause: &Cause) -> Vec<String> {
        let Fault::World(variation, _) = &cause.fault else {
            return Vec::new();
        };
        let mut found: Vec<String> = self
            .asking(*variation)
            .filter(|own| cause.modules.contains(&own.module))
            .map(|own| {
                let who = self.package_of(&own.module).unwrap_or_default();
                let place = own
                    .function
                    .as_ref()
                    .map(|name| format!(" in `{name}`"))
                    .unwrap_or_default();
                let program = own
                    .program
                    .as_ref()
                    .map(|own| format!(", through `{}`", own.display()));
                format!(
                    "{who} {}{place}{}",
                    self.words(&own.what),
                    program.unwrap_or_default()
                )
            })
            .collect();
        found.dedup();
        found.truncate(4);
        found
    }

    fn words(&self, what: &What) -> String {
        match what {
            What::Random => "asks for random bytes".to_owned(),
            What::Clock => "reads the clock".to_owned(),
            What::List(path) => format!("lists `{}`", self.place(path)),
            What::Read(path) => format!("reads `{}`", self.place(path)),
            What::Status(path) => format!("looks at the status of `{}`", self.place(path)),
            What::Missing(path) => format!("looks for `{}`", self.place(path)),
            What::Write(path) => format!("writes `{}`", self.place(path)),
            What::Exec(argv) => {
                let words = argv
                    .iter()
                    .map(|own| own.to_string_lossy())
                    .collect::<Vec<_>>();
                format!("runs `{}`", words.join(" "))
            }
            What::Network => "uses the network".to_owned(),
            What::Uname => "asks for the host's or kernel's name".to_owned(),
            What::Cpus => "counts processors".to_owned(),
            What::Pid => "asks for a process or thread number".to_owned(),
            What::User => "asks for the user's number".to_owned(),
            What::Variable(name, _) => format!("reads the variable `{}`", name.display()),
        }
    }

    /// A path as the report names it: relative to the package or workspace where it lies in one.
    fn place(&self, path: &Path) -> String {
        let roots = [
            &self.action.package.root,
            &self.build.root,
            &self.action.cwd,
        ];
        let inside = roots
            .into_iter()
            .find_map(|root| path.strip_prefix(root).ok());
        inside.unwrap_or(path).display().to_string()
    }

    /// The factor's name, and the variables, arguments or files of it.
    pub(super) fn factor(&self, fault: &Fault) -> (Option<String>, Vec<String>) {
        let lossy = |names: &[OsString]| {
            names
                .iter()
                .map(|name| name.to_string_lossy().into_owned())
                .collect()
        };
        match fault {
            Fault::World(variation, names) => (Some(variation.name().to_owned()), lossy(names)),
            Fault::Together(list) => {
                let names: Vec<&str> = list.iter().map(|own| own.name()).collect();
                (Some(names.join("+")), Vec::new())
            }
            Fault::File(path) => (Some("undeclared-file".to_owned()), vec![self.place(path)]),
            Fault::Flags(edits) => {
                let mut names: Vec<String> = edits.iter().map(edit_name).collect();
                names.sort();
                names.dedup();
                (Some(names.join(" ")), names)
            }
            // All else was held still; what is left is the order in which things run.
            Fault::Chance if self.evidence.watched => {
                (Some(Variation::Threads.name().to_owned()), Vec::new())
            }
            Fault::Chance | Fault::SinceRecorded | Fault::Fails(_) => (None, Vec::new()),
        }
    }

    /// Whose code it is: as the runs showed, or as far as elimination goes.
    fn culprit(&self, cause: &Cause, macros: &[String]) -> Option<Culprit> {
        if let Some(module) = cause.modules.first() {
            return Some(self.culprit_of(module, &cause.fault));
        }
        let named = |package: Option<String>, kind| {
            Some(Culprit {
                package,
                kind,
                function: None,
                location: None,
            })
        };
        let own = self.action.package.shown();
        match &cause.fault {
            Fault::Flags(_) => named(None, CulpritKind::Flags),
            Fault::World(Variation::BuildPath, _) if self.action.asks_for_place() => {
                named(Some(own), CulpritKind::Source)
            }
            _ => match macros {
                [] => named(Some(own), CulpritKind::Source),
                [only] => named(Some(only.clone()), CulpritKind::ProcMacro),
                _ => named(None, CulpritKind::ProcMacro),
            },
        }
    }

    /// The package behind a macro's file, with the function that asked for what matters.
    fn culprit_of(&self, module: &Path, fault: &Fault) -> Culprit {
        let of_module = |own: &&Sighting| own.module == module && own.function.is_some();
        let mut seen = self.evidence.sightings.iter().filter(of_module);
        let seen = seen.find(|own| is_about(&own.what, fault));
        let made = |own: &&Action| own.outputs.iter().any(|path| path == module);
        let made_by = self.build.actions.iter().find(made);
        let library = made_by.is_some_and(|own| own.kind == TargetKind::Lib);
        Culprit {
            package: self.package_of(module),
            kind: if library {
                CulpritKind::Source
            } else {
                CulpritKind::ProcMacro
            },
            function: seen.and_then(|own| own.function.clone()),
            location: seen.and_then(|own| Some(self.line(made_by, own.location.as_ref()?))),
        }
    }

    /// A line of source as the report names it: relative to the workspace or the package, so that
    /// it is the same on every machine.
    fn line(&self, owner: Option<&Action>, location: &str) -> String {
        let path = Path::new(location);
        let roots = [Some(&self.build.root), owner.map(|own| &own.package.root)];
        let inside = roots
            .into_iter()
            .flatten()
            .find_map(|root| path.strip_prefix(root).ok());
        let shown = inside.or_else(|| {
            if path.is_absolute() {
                path.file_name().map(Path::new)
            } else {
                None
            }
        });
        shown.unwrap_or(path).display().to_string()
    }

    fn package_of(&self, module: &Path) -> Option<String> {
        let has = |own: &&Action| own.outputs.iter().any(|path| path == module);
        let action = self.build.actions.iter().find(has)?;
        Some(action.package.shown())
    }

    /// Packages of the proc macros that the crate loads, as `name version`, sorted.
    fn loaded_macros(&self) -> Vec<String> {
        let mut found: BTreeSet<String> = BTreeSet::new();
        for dep in self
            .root
            .deps
            .iter()
            .filter(|dep| dep.kind == DepKind::MacrosOnly)
        {
            let made = |own: &&Action| {
                own.kind == TargetKind::ProcMacro && own.args.extra_filename() == dep.extra_filename
            };
            let action = self.build.actions.iter().find(made);
            let package = action.map(|own| own.package.shown());
            found.insert(package.unwrap_or_else(|| dep.name.to_string()));
        }
        found.into_iter().collect()
    }
}

/// Whether what code asked for is what a fault is about.
pub(super) fn is_about(what: &What, fault: &Fault) -> bool {
    match (what, fault) {
        (What::Variable(name, _), Fault::World(_, names)) if !names.is_empty() => {
            names.contains(name)
        }
        (What::Variable(name, _), Fault::World(Variation::BuildPath, _)) => is_place(name),
        (What::Read(path) | What::List(path), Fault::File(own)) => path == own,
        (what, Fault::World(variation, _)) => what.variations().contains(variation),
        _ => false,
    }
}

/// The argument or variable that an edit is about.
fn edit_name(edit: &Edit) -> String {
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

pub(super) fn message(fault: &Fault, names: &[String], compared: Option<&Compared>) -> String {
    let quoted = names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
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
        Fault::World(..) | Fault::File(_) => {
            format!("its SVH depends on {quoted}, which it does not declare")
        }
        Fault::Together(_) => "its SVH depends on several things together".to_owned(),
        Fault::Chance => "the same command line gives different SVHs".to_owned(),
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
const UNTIL: &str = "until then, leave the crate out of pipelining";

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
        Fault::World(Variation::Env, _) => format!(
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
