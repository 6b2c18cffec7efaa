//! From what was compared to what is said: verdicts and findings of one crate.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;

use crate::artifact::metadata::{CrateRoot, DepKind, Svh};
use crate::attribute::{Cause, Fault};
use crate::lint::{Culprit, CulpritKind, Excerpt, Finding, Grade};
use crate::os_text;
use crate::plan::strategy::Strategy;
use crate::plan::variation::Variation;
use crate::project::{Action, Build, TargetKind};
use crate::replay::sight::{Sighting, What};
use crate::report::{CrateVerdict, StrategyVerdict, Verdict};

use super::judge::Judged;
use super::policy::Escapes;
use super::scripts::Checked;
use super::words::{OF_GIT, UNTIL, edit_name, help, message};
use super::{excerpt, hazards, traced};

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
    /// What tells an escape.
    pub(super) escapes: Option<Escapes>,
    /// Why runs that should have been in a sandbox were not.
    pub(super) unconfined: Option<String>,
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
        | Fault::Built
        | Fault::SinceRecorded => Verdict::Nondeterministic,
        // Nothing moves as long as nobody sets it.
        Fault::Unset(_) => Verdict::Safe,
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
            let has = |own: &&Compared| own.causes.iter().any(|own| own.fault == cause.fault);
            let everywhere = compared.iter().filter(has).count() == compared.len();
            let strategy = own.filter(|_| !everywhere);
            let strategy = strategy.map(|own| format!("{}: ", own.strategy.name()));
            unknown.insert(format!("{}{why}", strategy.unwrap_or_default()));
            continue;
        }
        let mut finding = writer.finding(cause, own);
        let file = |cause: &Cause| matches!(cause.fault, Fault::File(_));
        if cause.fault == Fault::SinceRecorded && evidence.causes.iter().any(file) {
            // The file that no dependency file names.
            finding.aside = Some("another finding tells of it");
        }
        let key = |own: &Finding| (own.lint.clone(), own.factor.clone(), own.names.clone());
        let same =
            |known: &&mut Finding| known.lint == finding.lint && known.culprit == finding.culprit;
        let undeclared = matches!(cause.fault, Fault::File(_) | Fault::Unset(_));
        // One finding for all that one function reads.
        if let Some(known) = findings.iter_mut().find(same).filter(|_| undeclared) {
            known.names.extend(finding.names);
            known.evidence.extend(finding.evidence);
            known.message = message(&cause.fault, &known.names, None);
            continue;
        }
        // Strategies that share a cause share its finding.
        if !findings.iter().any(|known| key(known) == key(&finding)) {
            findings.push(finding);
        }
    }
    let of_pairs = compared.iter().flat_map(|own| &own.causes);
    let causes: Vec<&Cause> = of_pairs.chain(&evidence.causes).collect();
    findings.extend(hazards::findings(&writer, &causes));
    findings.extend(
        evidence
            .harmless
            .iter()
            .filter(|(own, _)| !hazards::has_lint(**own))
            .map(|(own, settings)| writer.harmless(*own, *settings)),
    );
    findings.extend(evidence.script.findings.iter().cloned());
    findings.extend(writer.escapes(compared));
    if let Some(why) = &evidence.unconfined {
        unknown.insert(format!("its compiles ran without the sandbox: {why}"));
    }
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
    let escapes = evidence.escapes.as_ref();
    let escapes = escapes.is_some_and(|own| own.any(&evidence.sightings));
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
        manifest: manifest(action, build),
        loads: Vec::new(),
    };
    Judged {
        verdict,
        findings,
        root,
        unknown: unknown.into_iter().collect(),
    }
}

/// The package's manifest as the report names it, if it lies in the workspace.
fn manifest(action: &Action, build: &Build) -> Option<String> {
    // Where it ran in a folder of ours, the package lies there too.
    if action.layout.is_some() {
        return None;
    }
    let below = action.package.root.strip_prefix(&build.root).ok()?;
    // Vendored packages lie there too, but are not the user's to change.
    let manifest = action.package.member.then(|| below.join("Cargo.toml"))?;
    Some(manifest.display().to_string())
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
            Fault::Unset(_) => "macro-reads-env",
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
        let trace = self.trace(cause);
        if matches!(cause.fault, Fault::World(..)) {
            evidence.extend(traced::sentences(&trace));
        }
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
            message: message(&cause.fault, &names, compared),
            help: self.help(&cause.fault, culprit.as_ref()),
            culprit,
            factor,
            names,
            expansion: cause.expanded.clone(),
            evidence,
            trace,
            ..Finding::new(id, Grade::Confirmed, &self.action.id)
        }
    }

    /// What to do, and how to live with it until it is done.
    fn help(&self, fault: &Fault, culprit: Option<&Culprit>) -> String {
        let mut seen = self.evidence.sightings.iter();
        if matches!(fault, Fault::File(_))
            && seen.any(|own| own.is_through("git") && is_about(&own.what, fault))
        {
            return OF_GIT.to_owned();
        }
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
            None => {
                return format!(
                    "{advice}; until then, leave it out of pipelining: {}",
                    opt_out.paste
                );
            }
            Some(0) => "nothing here links it with a crate compiled against it".to_owned(),
            Some(1) => "1 target that links it would meet E0460".to_owned(),
            Some(count) => format!("{count} targets that link it would meet E0460"),
        };
        let paste = &opt_out.paste;
        format!("{advice}; until then, leave the crate out of pipelining: {paste} ({breaks})")
    }

    /// What a macro asked for without effect.
    fn harmless(&self, variation: Variation, settings: u32) -> Finding {
        let module = self.asking(variation).map(|own| own.module.clone()).next();
        let name = variation.name();
        Finding {
            culprit: module
                .map(|module| self.culprit_of(&module, &Fault::World(variation, Vec::new()))),
            factor: Some(name.to_owned()),
            message: format!(
                "a macro asks for what `{name}` changes; {settings} other settings changed nothing"
            ),
            evidence: vec![format!(
                "{settings} expansions with all else held still were equal"
            )],
            help: "nothing to do, as far as these runs could tell".to_owned(),
            ..Finding::new("svh-unstable", Grade::Harmless, &self.action.id)
        }
    }

    fn asking(&self, variation: Variation) -> impl Iterator<Item = &Sighting> {
        let asks = move |own: &&Sighting| own.what.variations().contains(&variation);
        self.evidence.sightings.iter().filter(asks)
    }

    /// A path as the report names it: relative to the package or workspace where it lies in one.
    pub(super) fn place(&self, path: &Path) -> String {
        let path = &os_text::normalized(path);
        let roots = [
            &self.action.package.root,
            &self.build.root,
            &self.action.cwd,
        ];
        let inside = roots
            .into_iter()
            .find_map(|root| path.strip_prefix(root).ok());
        shown(inside.unwrap_or(path))
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
            Fault::Unset(name) => {
                let factor = Variation::Env.name().to_owned();
                (Some(factor), lossy(std::slice::from_ref(name)))
            }
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
            Fault::Chance | Fault::Built | Fault::SinceRecorded | Fault::Fails(_) => {
                (None, Vec::new())
            }
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
                source: None,
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
        let seen = self.evidence.sightings.iter().filter(of_module);
        let about = seen.filter(|own| is_about(&own.what, fault));
        // What the code itself asked tells more than what a program did that it started.
        self.culprit_in(module, about.min_by_key(|own| own.program.is_some()))
    }

    /// The package behind what was seen, with its function.
    pub(super) fn culprit_at(&self, seen: &Sighting) -> Culprit {
        self.culprit_in(&seen.module, Some(seen))
    }

    fn culprit_in(&self, module: &Path, seen: Option<&Sighting>) -> Culprit {
        let made_by = self.made(module);
        let library = made_by.is_some_and(|own| own.kind == TargetKind::Lib);
        let (location, source) = self.located(seen);
        Culprit {
            package: self.package_of(module),
            kind: if library {
                CulpritKind::Source
            } else {
                CulpritKind::ProcMacro
            },
            function: seen.and_then(|own| own.function.clone()),
            location,
            source,
        }
    }

    /// Where code asked, and that line.
    pub(super) fn located(&self, seen: Option<&Sighting>) -> (Option<String>, Option<Excerpt>) {
        let Some((own, location)) = seen.and_then(|own| Some((own, own.location.as_ref()?))) else {
            return (None, None);
        };
        let function = own.function.as_deref().map(|name| format!("`{name}` "));
        let label = format!(
            "{}{} here",
            function.unwrap_or_default(),
            traced::words(&own.what, |path| self.place(path))
        );
        let (shown, source) = excerpt::located(self.build, location, label);
        (Some(shown), source)
    }

    /// The compile that made a file.
    pub(super) fn made(&self, module: &Path) -> Option<&Action> {
        let has = |own: &&Action| own.outputs.iter().any(|path| path == module);
        self.build.actions.iter().find(has)
    }

    pub(super) fn package_of(&self, module: &Path) -> Option<String> {
        let action = self.made(module)?;
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
        (what, Fault::World(Variation::BuildPath, _)) => what.is_place(),
        (What::Read(path) | What::List(path), Fault::File(own)) => path == own,
        (What::Variable(name, _), Fault::Unset(own)) => name == own,
        (what, Fault::World(variation, _)) => what.variations().contains(variation),
        _ => false,
    }
}

/// A path relative to a folder, which itself is `.`.
pub(super) fn shown(path: &Path) -> String {
    match path.display().to_string() {
        empty if empty.is_empty() => ".".to_owned(),
        path => path,
    }
}
