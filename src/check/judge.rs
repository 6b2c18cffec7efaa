//! One crate: its pairs are run and compared, a difference is explained, and what its macros were
//! seen to ask for is tried.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::policy::{Declared, Escapes};
use super::sides::{Made, Sides, file_name, keep};
use super::verdict::{self, Compared, Evidence};
use super::{Engine, Settings, artifacts, expand, place, scripts, undeclared};
use crate::artifact::metadata::{CrateDep, CrateRoot, Svh};
use crate::attribute::{self, Answer, Cause, Fault, Probed, Suspects, World};
use crate::compare;
use crate::lint::Finding;
use crate::plan::Edit;
use crate::plan::strategy::{Pair, Strategy, pair};
use crate::plan::variation::{Change, Setting, Variation};
use crate::project::{Action, Build, TargetKind};
use crate::replay::sight::{Sighting, Watch, What};
use crate::replay::{ReplayError, Replayer, Seat};
use crate::report::CrateVerdict;
use crate::rustc::args::Args;
use crate::sandbox::Mechanism;
use crate::trace::ModuleCache;

/// A crate on trial.
pub(super) struct Judge<'a> {
    pub(super) action: &'a Action,
    pub(super) build: &'a Build,
    pub(super) replayer: &'a Replayer,
    pub(super) settings: &'a Settings,
    /// What the tracer knows of mapped files; `None` where tracing is forbidden.
    pub(super) modules: Option<&'a ModuleCache>,
    /// The worker's number.
    pub(super) slot: usize,
    /// What confines runs.
    pub(super) mechanism: Mechanism,
}

/// A crate that was judged by itself; whether others infect it is seen later.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) verdict: CrateVerdict,
    pub(super) findings: Vec<Finding>,
    /// The recorded crate's root, with the crates that it loads.
    pub(super) root: CrateRoot,
    /// Why something has no verdict, a sentence each.
    pub(super) unknown: Vec<String>,
}

impl Judge<'_> {
    pub(super) fn judge(&self) -> Result<Judged, ReplayError> {
        let declared = Declared::of(self.action, self.build, self.replayer);
        let seat = self.seat(&declared);
        let wide = seat
            .confine
            .is_some()
            .then(|| declared.wide(self.mechanism));
        let mut sides = Sides::new(self.action, self.replayer, self.settings, seat, wide)?;
        // Without a macro, nothing but rustc runs, and there is nobody to watch.
        if !sides.loads_macros() {
            sides.stop_watching();
        }
        let mut compared: Vec<Compared> = Vec::new();
        if self.settings.triage && self.runs_rustc_alone(&sides) {
            return Ok(self.taken_for_safe(&sides));
        }
        for strategy in &self.settings.strategies {
            let pair = pair(self.action, *strategy, &self.settings.edits);
            let next = self.compare(*strategy, &pair, &mut sides, &compared)?;
            compared.push(next);
        }
        let mut evidence = Evidence::default();
        let causes = || compared.iter().flat_map(|own| &own.causes);
        if self.settings.engine == Engine::Free {
            return Ok(verdict::sum_up(
                self.action,
                self.build,
                &compared,
                &evidence,
                sides.into_root(),
            ));
        }
        let restless = causes().any(|cause| matches!(cause.fault, Fault::Chance | Fault::Fails(_)));
        if !restless {
            let explained: BTreeSet<Variation> = causes().filter_map(Cause::variation).collect();
            let probed = self.probe(&sides, &explained)?;
            evidence.harmless = probed.harmless;
            evidence.causes.extend(probed.causes);
            evidence.causes.extend(self.probe_undeclared(&sides)?);
            self.expand(&sides, &mut evidence.causes)?;
            if !explained.contains(&Variation::BuildPath) {
                evidence.causes.extend(self.probe_place(&sides)?);
            }
        }
        // Behind the pairs: a crate's own restlessness would be taken for its script's.
        evidence.script = scripts::check(self, &sides)?;
        let doubts = std::mem::take(&mut *sides.doubts.borrow_mut());
        evidence.escapes = Some(Escapes {
            declared,
            moved: doubts.moved,
        });
        evidence.unconfined = doubts.given_up;
        evidence.sightings = sides.seen();
        evidence.watched = self.modules.is_some();
        let of_artifact = artifacts::look(self, &sides, &evidence.script)?;
        let root = sides.into_root();
        let mut judged = verdict::sum_up(self.action, self.build, &compared, &evidence, root);
        judged.findings.extend(of_artifact);
        Ok(judged)
    }

    /// Whether nothing but rustc had a say in the crate: no macro, no build script, no place that
    /// it asked for, nothing that the build rules do on one side only.
    fn runs_rustc_alone(&self, sides: &Sides<'_>) -> bool {
        let edits = &self.settings.edits;
        !sides.loads_macros()
            && !self
                .build
                .scripts
                .iter()
                .any(|own| own.id == self.action.id)
            && !self.action.asks_for_place()
            && self.action.out_dir.is_none()
            && edits.metadata.is_empty()
            && edits.full.is_empty()
    }

    /// A crate that is not compiled a second time.
    fn taken_for_safe(&self, sides: &Sides<'_>) -> Judged {
        let one = |strategy: &Strategy| Compared {
            strategy: *strategy,
            one_process: pair(self.action, *strategy, &self.settings.edits).one_process,
            svh: [None, sides.recorded().svh()],
            causes: Vec::new(),
        };
        let compared: Vec<Compared> = self.settings.strategies.iter().map(one).collect();
        let root = sides.recorded().root.clone();
        let root = root.expect("the recorded build made metadata");
        let evidence = Evidence {
            watched: self.modules.is_some(),
            ..Evidence::default()
        };
        let mut judged = verdict::sum_up(self.action, self.build, &compared, &evidence, root);
        let why = "taken for safe without a second compile, since nothing but rustc ran (--triage)";
        judged.unknown.push(why.to_owned());
        judged
    }

    /// What the crate's runs share.
    fn seat(&self, declared: &Declared) -> Seat {
        let incremental = self.replayer.scratch.join("incremental");
        Seat {
            incremental: incremental.join(file_name(&self.action.id)),
            slot: self.slot,
            watch: self.modules.map(|modules| self.watch(modules)),
            confine: (self.mechanism != Mechanism::None).then(|| declared.confine(self.mechanism)),
        }
    }

    fn watch(&self, modules: &ModuleCache) -> Watch {
        let macros = self
            .build
            .actions
            .iter()
            .filter(|own| own.kind == TargetKind::ProcMacro);
        let mut known: BTreeSet<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
        known.insert(self.replayer.toolchain.sysroot.clone());
        known.insert(self.replayer.scratch.clone());
        known.extend(
            self.action
                .args
                .out_dir()
                .map(|path| self.action.cwd.join(path)),
        );
        let mut declared = self.action.declared_files();
        declared.extend(self.action.out_dir.clone());
        declared.extend(self.action.manifests());
        declared.extend(self.settings.inputs_of(&self.action.id).cloned());
        Watch {
            modules: modules.clone(),
            suspects: Arc::new(macros.flat_map(|own| own.outputs.iter().cloned()).collect()),
            known: Arc::new(known),
            declared: Arc::new(declared),
            direct: BTreeSet::new(),
        }
    }

    /// Runs the sides of a pair (or takes what another strategy ran), compares, explains.
    fn compare(
        &self,
        strategy: Strategy,
        pair: &Pair,
        sides: &mut Sides<'_>,
        before: &[Compared],
    ) -> Result<Compared, ReplayError> {
        let mut compared = Compared {
            strategy,
            one_process: pair.one_process,
            svh: [None, None],
            causes: Vec::new(),
        };
        let built = self.action.metadata.as_ref().map(|own| {
            if own.is_hollow() {
                Strategy::Hollow
            } else {
                Strategy::QuitOnRmeta
            }
        });
        if built == Some(strategy)
            && let Some(causes) = self.compare_built(strategy, sides, before, &mut compared.svh)?
        {
            compared.causes = causes;
            return Ok(compared);
        }
        for repeat in 0..self.settings.runs.max(1) {
            sides.make(pair, repeat)?;
            let [metadata, full] = sides.pair(pair, repeat);
            let svh = [metadata.svh(), full.svh()];
            if repeat == 0 {
                compared.svh = svh;
            }
            if svh[0].is_some() && svh[0] == svh[1] {
                continue;
            }
            compared.svh = svh;
            self.keep(strategy, [metadata, full])?;
            // What was explained for one strategy holds for all, unless it is about its flags.
            let known = before
                .iter()
                .find(|own| own.svh == svh || own.is_nondeterministic());
            compared.causes = match known {
                Some(known) => known.causes.clone(),
                None => self.explain(sides, metadata, full)?,
            };
            break;
        }
        Ok(compared)
    }

    /// Compares what two processes of the recorded build made, where it made metadata by itself.
    /// `None` where there is nothing to compare, or nothing to say of it.
    fn compare_built(
        &self,
        strategy: Strategy,
        sides: &Sides<'_>,
        before: &[Compared],
        svh: &mut [Option<Svh>; 2],
    ) -> Result<Option<Vec<Cause>>, ReplayError> {
        let (Some(metadata), full) = (sides.second(), sides.recorded()) else {
            return Ok(None);
        };
        *svh = [metadata.svh(), full.svh()];
        if svh[0] == svh[1] {
            return Ok((self.settings.engine == Engine::Free).then(Vec::new));
        }
        self.keep(strategy, [metadata, full])?;
        let built = "the build itself made both, in two processes".to_owned();
        if self.settings.engine == Engine::Free {
            let (one, two) = (&metadata.observed.trial, &full.observed.trial);
            let mut edits = one.command.towards(&two.command);
            // What makes the metadata side that, and where things lie, moves nothing by itself.
            edits.retain(|edit| !is_plumbing(edit));
            let mut cause = Cause::new(if edits.is_empty() {
                Fault::Built
            } else {
                Fault::Flags(edits)
            });
            cause.evidence.push(built);
            return Ok(Some(vec![cause]));
        }
        let known = before.iter().find(|own| own.is_nondeterministic());
        let mut causes = match known {
            Some(known) => known.causes.clone(),
            None => self.explain(sides, metadata, full)?,
        };
        for cause in &mut causes {
            cause.evidence.push(built.clone());
            // `-Zno-codegen` fails without `RUSTC_BOOTSTRAP`, so they are found together.
            if let Fault::Flags(edits) = &mut cause.fault
                && edits.iter().any(|edit| !is_plumbing(edit))
            {
                edits.retain(|edit| !is_plumbing(edit));
            }
        }
        Ok(Some(causes))
    }

    /// Keeps the artifacts of two sides that differ, for a look by hand.
    fn keep(&self, strategy: Strategy, sides: [&Made; 2]) -> Result<(), ReplayError> {
        let scratch = &self.replayer.scratch;
        let area = scratch.parent().unwrap_or(scratch);
        let folder = area.join("evidence").join(file_name(&self.action.id));
        keep(self.action, &folder.join(strategy.name()), sides)
    }

    fn explain(
        &self,
        sides: &Sides<'_>,
        metadata: &Made,
        full: &Made,
    ) -> Result<Vec<Cause>, ReplayError> {
        // Where replays have a folder of their own, the recorded compile had another.
        if self.action.layout.is_some()
            && let Some(cause) = self.moves_with_place(sides)?
        {
            return Ok(vec![cause]);
        }
        let suspects = suspects(&sides.seen());
        let mut causes = self.in_world(sides, |world| {
            attribute::explain(
                &metadata.observed,
                &full.observed,
                &suspects,
                world,
                &mut |trial| sides.ask(trial),
            )
        })?;
        for cause in &mut causes {
            if let Fault::World(_, names) = &cause.fault
                && cause.modules.is_empty()
            {
                cause.modules = askers(
                    &sides.seen(),
                    |what| matches!(what, What::Variable(name, _) if names.contains(name)),
                );
            }
        }
        self.expand(sides, &mut causes)?;
        if let (Some(left), Some(right)) = (&metadata.root, &full.root) {
            let differences = compare::roots(left, right).into_iter();
            let keys: Vec<String> = differences.map(|difference| difference.key).collect();
            for cause in &mut causes {
                if cause.fault == Fault::SinceRecorded
                    && let Some(why) = replaced(left, right)
                {
                    cause.fault = Fault::Fails(why);
                }
                cause
                    .evidence
                    .insert(0, format!("unequal: {}", keys.join(", ")));
            }
        }
        Ok(causes)
    }

    /// Looks at what the macros behind the causes write differently.
    fn expand(&self, sides: &Sides<'_>, causes: &mut [Cause]) -> Result<(), ReplayError> {
        for cause in causes {
            cause.expanded =
                expand::look(self.action, self.build, sides, self.pinned(sides), cause)?;
        }
        Ok(())
    }

    fn in_world<T>(&self, sides: &Sides<'_>, then: impl FnOnce(&World<'_>) -> T) -> T {
        let vary = sides.vary();
        let change = |variation: Variation, setting| variation.change(self.action, setting);
        then(&World {
            vary: &vary,
            change: &change,
        })
    }

    /// A world in which everything is held still.
    pub(super) fn pinned(&self, sides: &Sides<'_>) -> Vec<Change> {
        let vary = sides.vary().into_iter();
        vary.filter_map(|own| own.change(self.action, Setting::PINNED))
            .collect()
    }

    /// Tries what macros were seen to ask for and no pair has shown to matter.
    fn probe(
        &self,
        sides: &Sides<'_>,
        explained: &BTreeSet<Variation>,
    ) -> Result<Probed, ReplayError> {
        let vary = sides.vary();
        let mut suspects = suspects(&sides.seen());
        suspects.retain(|own, _| vary.contains(own) && !explained.contains(own));
        if suspects.is_empty() {
            return Ok(Probed::default());
        }
        let base = &sides.recorded().observed.trial;
        self.in_world(sides, |world| {
            let (expansion, compared) = (base.expansion(), sides.settings_run());
            attribute::probe(&expansion, base, compared, &suspects, world, &mut |trial| {
                sides.ask(trial)
            })
        })
    }

    /// Tries which of the files, folders and variables matter that macros asked for and did not
    /// declare.
    fn probe_undeclared(&self, sides: &Sides<'_>) -> Result<Vec<Cause>, ReplayError> {
        let Some(watch) = sides.watch() else {
            return Ok(Vec::new());
        };
        let seen = sides.seen();
        let foreign = |own: &&Sighting| match &own.what {
            What::Read(path) | What::List(path) => {
                let declared = own.program.is_some() && watch.knows(path, true);
                !declared && !undeclared::is_of_system(self.action, &self.build.root, own, path)
            }
            _ => own.program.is_none(),
        };
        let seen = seen.iter().filter(foreign);
        let tries = undeclared::tries(self.action, seen);
        let base = &sides.recorded().observed.trial;
        self.in_world(sides, |world| {
            attribute::probe_undeclared(base, &tries, world, &mut |trial| sides.ask(trial))
        })
    }

    /// Whether the expanded source spells out where the package, its `OUT_DIR` or the folder lies
    /// in which it is compiled.
    fn leaks_place(&self, sides: &Sides<'_>) -> Result<bool, ReplayError> {
        let expanded = sides.expanded(&sides.recorded().observed.trial.expansion())?;
        let places = [
            Some(&self.action.package.root),
            Some(&self.action.cwd),
            self.action.out_dir.as_ref(),
        ];
        let mut places = places
            .into_iter()
            .flatten()
            .map(|path| path.as_os_str().as_bytes());
        Ok(places.any(|place| {
            expanded
                .windows(place.len().max(1))
                .any(|part| part == place)
        }))
    }

    /// Whether the SVH of a crate that runs in a folder of ours depends on where that lies: the build
    /// runs it in another folder for each action.
    fn moves_with_place(&self, sides: &Sides<'_>) -> Result<Option<Cause>, ReplayError> {
        let base = &sides.recorded().observed.trial;
        let at = |name: &str| {
            let mut changes = self.pinned(sides);
            changes.push(Change::BuildPath {
                name: name.into(),
                remap_out_dir: true,
            });
            sides.ask(&base.with(changes))
        };
        let [one, again, two] = [at("place-a")?, at("place-a")?, at("another-place-bb")?];
        if !one.same(&again) || one.same(&two) || one.failure().is_some() {
            return Ok(None);
        }
        let mut cause = Cause::new(Fault::World(Variation::BuildPath, Vec::new()));
        let sentence = "run in two folders that hold the same inputs it has two SVHs, run twice in one it has one";
        cause.evidence.push(sentence.to_owned());
        cause.modules = askers(&sides.seen(), What::is_place);
        Ok(Some(cause))
    }

    /// Compiles the crate at two other places under one name, if it or a macro asked for its place.
    fn probe_place(&self, sides: &Sides<'_>) -> Result<Option<Cause>, ReplayError> {
        let asked = self.settings.vary.contains(&Variation::BuildPath);
        if !asked && !asks_for_place(self.action, &sides.seen()) {
            return Ok(None);
        }
        let base = &sides.recorded().observed.trial;
        if !asked && !self.leaks_place(sides)? {
            return Ok(None);
        }
        let answers = |remap: bool| -> Result<[Answer; 2], ReplayError> {
            let at = |setting| {
                let mut changes = self.pinned(sides);
                changes.extend(Variation::BuildPath.change(self.action, setting).map(
                    |own| match own {
                        Change::BuildPath { name, .. } => Change::BuildPath {
                            name,
                            remap_out_dir: remap,
                        },
                        other => other,
                    },
                ));
                sides.ask(&base.with(changes))
            };
            Ok([at(Setting(1))?, at(Setting(2))?])
        };
        let [one, two] = answers(true)?;
        let moved = "compiled at two places, with sources and OUT_DIR remapped to one name each, it has two SVHs";
        if let Some(why) = one.failure().or(two.failure()) {
            let why = format!("under build-path, a copy of the package does not compile: {why}");
            return Ok(asked.then(|| Cause::new(Fault::Fails(why))));
        }
        let (variables, sentence) = if !one.same(&two) {
            (Vec::new(), moved)
        } else if !asked || self.action.out_dir.is_none() {
            return Ok(None);
        } else {
            let [one, two] = answers(false)?;
            if one.same(&two) {
                return Ok(None);
            }
            let sentence = "compiled at two places it has two SVHs; with OUT_DIR remapped too (--remap-path-prefix), one";
            (vec![OsString::from("OUT_DIR")], sentence)
        };
        let mut cause = Cause::new(Fault::World(Variation::BuildPath, variables));
        cause.evidence.push(sentence.to_owned());
        cause.modules = askers(&sides.seen(), What::is_place);
        if cause.modules.is_empty() && self.action.asks_for_place() {
            let loaded = sides.recorded().root.as_ref();
            let loaded = loaded.map(|root| root.deps.as_slice()).unwrap_or_default();
            cause
                .modules
                .extend(place::exporter(self.action, self.build, loaded));
        }
        Ok(Some(cause))
    }
}

/// Whether an edit is only about where dependencies and outputs lie, or leaves codegen out.
fn is_plumbing(edit: &Edit) -> bool {
    let words = match edit {
        Edit::Add(arg) => vec![arg.clone()],
        Edit::Remove(args) => args.clone(),
        Edit::Emit(_) | Edit::Env(..) => return false,
    };
    let args = Args::new(words);
    args.options().iter().all(|option| {
        let place = ["--extern", "--library-path", "--out-dir"].contains(&option.name);
        place || option.leaves_codegen_out()
    })
}

/// Files that every program reads.
pub(super) const SYSTEM: &[&str] = &[
    "/dev/null",
    "/dev/tty",
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/lib",
    "/lib64",
    "/proc/self",
    "/sys/fs/cgroup",
    "/usr/lib",
    "/usr/lib64",
];

/// Why a compile now has to differ from the recorded one: an artifact was replaced behind it.
fn replaced(now: &CrateRoot, recorded: &CrateRoot) -> Option<String> {
    if now.stable_crate_id != recorded.stable_crate_id {
        let why = "its artifact is not what the recorded command made: something wrote over it";
        return Some(why.to_owned());
    }
    let other = now.deps.iter().find(|own| {
        let same =
            |dep: &&CrateDep| (&dep.name, &dep.extra_filename) == (&own.name, &own.extra_filename);
        recorded
            .deps
            .iter()
            .find(same)
            .is_some_and(|dep| dep.svh != own.svh)
    })?;
    Some(format!(
        "it was compiled against another build of `{}` than the one that is there",
        other.name
    ))
}

fn asks_for_place(action: &Action, seen: &[Sighting]) -> bool {
    action.asks_for_place() || seen.iter().any(|own| own.what.is_place())
}

/// Whose code asked for something.
fn askers(seen: &[Sighting], wanted: impl Fn(&What) -> bool) -> Vec<PathBuf> {
    let asks = seen.iter().filter(|own| wanted(&own.what));
    let modules: BTreeSet<PathBuf> = asks.map(|own| own.module.clone()).collect();
    modules.into_iter().collect()
}

/// By variation, whose code asked for what it changes.
pub(super) fn suspects(seen: &[Sighting]) -> Suspects {
    let mut found = Suspects::new();
    for own in seen {
        for variation in own.what.variations() {
            let modules = found.entry(*variation).or_default();
            if !modules.contains(&own.module) {
                modules.push(own.module.clone());
            }
        }
    }
    found
}
