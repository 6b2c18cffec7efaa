//! The build script of one crate: run again in the world as it is and in a varied one. What moves
//! is explained as for compiles, and counts only if the crate's SVH moves with it.

mod say;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::judge::{Judge, SYSTEM, suspects};
use super::sides::Sides;
use crate::attribute::{self, Answer, Cause, Observed, Undeclared, World};
use crate::lint::Finding;
use crate::os_text::normalized;
use crate::plan::variation::{Change, Setting, Variation};
use crate::plan::{CommandLine, Edit, Stop, Trial};
use crate::project::Action;
use crate::project::directives::Directives;
use crate::replay::script::ScriptRun;
use crate::replay::sight::{Sighting, Watch, What};
use crate::replay::{ReplayError, Seat};
use crate::trace::ModuleCache;

/// What was found about a crate's build script.
#[derive(Debug, Default)]
pub(super) struct Checked {
    pub(super) findings: Vec<Finding>,
    /// Whether the crate's SVH moves because the script's output does.
    pub(super) moves: bool,
    /// What could not be found out, a sentence each.
    pub(super) unknown: Vec<String>,
}

/// Most undeclared files of one script that are tried one by one.
const MAX_FILES: usize = 16;

/// A script that takes no longer is run in more settings.
const QUICK: Duration = Duration::from_millis(300);

/// Places whose files belong to the system, when a program that the script started reads them.
const TOOLS: &[&str] = &["/bin", "/etc", "/opt", "/sbin", "/usr", "/nix/store"];

/// Places that hold no files of anybody.
const PSEUDO: &[&str] = &["/dev", "/proc", "/run", "/sys"];

/// Checks the build script of the crate on trial, if it has one.
pub(super) fn check(judge: &Judge<'_>, sides: &Sides<'_>) -> Result<Checked, ReplayError> {
    let mut scripts = judge.build.scripts.iter();
    let script = scripts.find(|own| own.id == judge.action.id);
    let (Some(script), Some(modules)) = (script, judge.modules) else {
        return Ok(Checked::default());
    };
    let trial = ScriptTrial {
        judge,
        sides,
        script,
        seat: Seat {
            incremental: PathBuf::new(),
            slot: judge.slot,
            watch: Some(watch(judge, script, modules)),
        },
    };
    trial.check()
}

fn watch(judge: &Judge<'_>, script: &Action, modules: &ModuleCache) -> Watch {
    let mut known: BTreeSet<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
    known.insert(judge.replayer.toolchain.sysroot.clone());
    known.insert(judge.replayer.scratch.clone());
    if script.layout.is_none() {
        // The programs and the other scripts' outputs, which Cargo itself keeps up to date.
        known.extend(script.program.ancestors().nth(3).map(Path::to_path_buf));
    }
    let var = |name: &str| script.env.get(OsStr::new(name)).map(PathBuf::from);
    let home = var("CARGO_HOME").or_else(|| Some(var("HOME")?.join(".cargo")));
    known.extend(home);
    let mut declared = script.declared_files();
    declared.extend(script.manifests());
    Watch {
        modules: modules.clone(),
        suspects: Arc::new(BTreeSet::from([script.program.clone()])),
        known: Arc::new(known),
        declared: Arc::new(declared),
    }
}

/// A build script on trial.
struct ScriptTrial<'a> {
    judge: &'a Judge<'a>,
    sides: &'a Sides<'a>,
    script: &'a Action,
    seat: Seat,
}

impl ScriptTrial<'_> {
    fn check(&self) -> Result<Checked, ReplayError> {
        let mut checked = Checked::default();
        // The world as it is comes first: whoever writes elsewhere does it again, and must not do
        // it in a world of ours.
        let plain = self.run(&[])?;
        let outputs = match &plain.outputs {
            Ok(outputs) => outputs,
            Err(why) => {
                let why = format!("its build script does not run a second time: {why}");
                checked.unknown.push(why);
                return Ok(checked);
            }
        };
        checked.findings.extend(self.network(&plain.sightings));
        if let Some(finding) = self.writes(&plain.sightings) {
            checked.findings.push(finding);
            let why =
                "its build script was not run in other worlds, for it writes outside of OUT_DIR";
            checked.unknown.push(why.to_owned());
            return Ok(checked);
        }
        let mut vary = self.judge.settings.vary.clone();
        vary.retain(|own| *own != Variation::BuildPath);
        let mut varied = self.run(&self.world(&vary, Setting(1)))?;
        if varied.outputs.is_err() {
            // Tools that it runs may need these to run at all.
            let needed = [Variation::Env, Variation::Home, Variation::Tmpdir];
            vary.retain(|own| !needed.contains(own));
            varied = self.run(&self.world(&vary, Setting(1)))?;
        }
        match &varied.outputs {
            Err(why) => {
                let why = format!("its build script does not run in a varied world: {why}");
                checked.unknown.push(why);
            }
            Ok(other) if other.digest() != outputs.digest() => {
                self.explain(&plain, &varied, &vary, &mut checked)?;
            }
            Ok(other) => {
                checked.findings.extend(self.droppings(outputs, other));
                self.probe(&plain, &varied, &vary, &mut checked)?;
            }
        }
        self.probe_files(&plain, &vary, &mut checked)?;
        Ok(checked)
    }

    fn run(&self, changes: &[Change]) -> Result<ScriptRun, ReplayError> {
        self.judge
            .replayer
            .run_script(self.script, changes, &self.seat)
    }

    fn world(&self, vary: &[Variation], setting: Setting) -> Vec<Change> {
        let vary = vary.iter();
        vary.filter_map(|own| own.change(self.script, setting))
            .collect()
    }

    fn base(&self) -> Trial {
        Trial {
            command: CommandLine::recorded(self.script),
            stop: Stop::End,
            changes: Vec::new(),
            incremental: false,
        }
    }

    /// Which part of the world moves the outputs, whose doing it is, and whether it matters.
    fn explain(
        &self,
        plain: &ScriptRun,
        varied: &ScriptRun,
        vary: &[Variation],
        checked: &mut Checked,
    ) -> Result<(), ReplayError> {
        let observed = |run: &ScriptRun, changes| Observed {
            trial: self.base().with(changes),
            answer: answer(run),
        };
        let full = observed(plain, Vec::new());
        let metadata = observed(varied, self.world(vary, Setting(1)));
        let change = |variation: Variation, setting| variation.change(self.script, setting);
        let world = World {
            vary,
            change: &change,
        };
        let seen = suspects(&plain.sightings);
        let causes = attribute::explain(&metadata, &full, &seen, &world, &mut |trial| {
            Ok::<_, ReplayError>(answer(&self.run(&trial.changes)?))
        })?;
        self.weigh(causes, &world.pinned(), [plain, varied], checked)
    }

    /// Tries more settings of what the script asked for, where chance may have made two runs equal:
    /// connections fail as they do anyway, a short list keeps its order.
    fn probe(
        &self,
        plain: &ScriptRun,
        varied: &ScriptRun,
        vary: &[Variation],
        checked: &mut Checked,
    ) -> Result<(), ReplayError> {
        let quick = plain.took < QUICK;
        let mut seen = suspects(&plain.sightings);
        seen.retain(|own, _| {
            vary.contains(own)
                && match own {
                    Variation::Network => true,
                    Variation::Randomness | Variation::DirOrder => quick,
                    _ => false,
                }
        });
        if seen.is_empty() {
            return Ok(());
        }
        let change = |variation: Variation, setting| variation.change(self.script, setting);
        let world = World {
            vary,
            change: &change,
        };
        let base = self.base();
        let probed = attribute::probe(&base, &base, 1, &seen, &world, &mut |trial| {
            Ok::<_, ReplayError>(answer(&self.run(&trial.changes)?))
        })?;
        self.weigh(probed.causes, &world.pinned(), [plain, varied], checked)
    }

    /// Finds out which causes matter to the crate.
    fn weigh(
        &self,
        causes: Vec<Cause>,
        pinned: &[Change],
        [plain, varied]: [&ScriptRun; 2],
        checked: &mut Checked,
    ) -> Result<(), ReplayError> {
        for cause in causes {
            let moved;
            let (one, other) = if cause.moved.is_empty() {
                (plain, varied)
            } else {
                moved = [self.run(pinned)?, self.run(&cause.moved)?];
                (&moved[0], &moved[1])
            };
            let Some(effect) = self.effect(one, other, checked)? else {
                continue;
            };
            checked.moves |= effect;
            let mut finding = self.finding("build-script-unstable-output", &cause, plain, effect);
            if let (Ok(one), Ok(other)) = (&one.outputs, &other.outputs) {
                finding.evidence.extend(one.differences(other));
            }
            checked.findings.push(finding);
        }
        Ok(())
    }

    /// Whether the crate's SVH moves between what two runs left; `None` if it does not compile.
    fn effect(
        &self,
        one: &ScriptRun,
        other: &ScriptRun,
        checked: &mut Checked,
    ) -> Result<Option<bool>, ReplayError> {
        let first = self.compile(one)?;
        if let Answer::Failed(why) = first {
            let why = format!(
                "it does not compile with what its build script left when run again: {why}"
            );
            checked.unknown.push(why);
            return Ok(None);
        }
        if other.outputs.is_ok() && self.compile(other)?.same(&first) {
            return Ok(Some(false));
        }
        Ok(Some(self.compile(one)?.same(&first)))
    }

    /// Compiles the crate, held still, with what a run left.
    fn compile(&self, run: &ScriptRun) -> Result<Answer, ReplayError> {
        let replayer = self.judge.replayer;
        replayer.put_back(self.script, run)?;
        let recorded = &self.sides.recorded().observed.trial;
        let mut trial = recorded.with(self.judge.pinned(self.sides));
        let out_dir = replayer.out_dir(self.script).into_os_string();
        let mut edits = vec![Edit::Env("OUT_DIR".into(), Some(out_dir))];
        let cfg = |value: &str| vec![OsString::from("--cfg"), OsString::from(value)];
        let before = self.recorded_directives();
        for value in before.values("rustc-cfg") {
            edits.push(Edit::Remove(cfg(value)));
        }
        for (name, _) in before.variables() {
            edits.push(Edit::Env(name.into(), None));
        }
        if let Ok(outputs) = &run.outputs {
            let said = &outputs.directives;
            edits.extend(said.values("rustc-cfg").flat_map(cfg).map(Edit::Add));
            let set = |(name, value): (&str, &str)| Edit::Env(name.into(), Some(value.into()));
            edits.extend(said.variables().map(set));
        }
        for edit in &edits {
            trial.command.edit(edit);
        }
        self.sides.ask(&trial)
    }

    /// What the script said in the recorded build.
    fn recorded_directives(&self) -> Directives {
        let place = self.script.out_dir.as_deref().and_then(Path::parent);
        let said = place.map(|place| fs_err::read(place.join("output")));
        Directives::parse(&said.and_then(Result::ok).unwrap_or_default())
    }

    /// Tries whether the files matter that the script read and did not declare.
    fn probe_files(
        &self,
        plain: &ScriptRun,
        vary: &[Variation],
        checked: &mut Checked,
    ) -> Result<(), ReplayError> {
        let files: Vec<PathBuf> = self.undeclared(&plain.sightings).into_iter().collect();
        if files.is_empty() {
            return Ok(());
        }
        let pinned = self.world(vary, Setting::PINNED);
        let with = |more: &mut dyn Iterator<Item = Change>| {
            let mut changes = pinned.clone();
            changes.extend(more);
            changes
        };
        // All at once first: mostly, none matters.
        let still = self.run(&pinned)?;
        let mut moves = false;
        for change in [Change::Garble, Change::Hide] {
            let changes = with(&mut files.iter().cloned().map(change));
            moves = moves || !answer(&self.run(&changes)?).same(&answer(&still));
        }
        if !moves || still.outputs.is_err() {
            return Ok(());
        }
        let tries = |path: &PathBuf| Undeclared {
            tries: vec![
                (
                    Change::Garble(path.clone()),
                    "with other content in that file".to_owned(),
                ),
                (
                    Change::Hide(path.clone()),
                    "with that file hidden".to_owned(),
                ),
            ],
            failing_counts: true,
            modules: vec![self.script.program.clone()],
        };
        let files: BTreeMap<PathBuf, Undeclared> = files
            .iter()
            .take(MAX_FILES)
            .map(|path| (path.clone(), tries(path)))
            .collect();
        let change = |variation: Variation, setting| variation.change(self.script, setting);
        let world = World {
            vary,
            change: &change,
        };
        let causes = attribute::probe_files(&self.base(), &files, &world, &mut |trial| {
            Ok::<_, ReplayError>(answer(&self.run(&trial.changes)?))
        })?;
        let mut found: Vec<Finding> = Vec::new();
        for cause in causes {
            let Some(effect) = self.effect(&still, &self.run(&cause.moved)?, checked)? else {
                continue;
            };
            let id = "build-script-reads-undeclared-file";
            let finding = self.finding(id, &cause, plain, effect);
            // One finding for all that one function reads.
            let same =
                |own: &&mut Finding| own.culprit == finding.culprit && own.level == finding.level;
            match found.iter_mut().find(same) {
                Some(known) => known.names.extend(finding.names),
                None => found.push(finding),
            }
        }
        for finding in &mut found {
            let names = finding.names.iter().map(|name| format!("`{name}`"));
            let names = names.collect::<Vec<_>>().join(", ");
            finding.message =
                format!("its build script's output depends on {names}, which it does not declare");
        }
        checked.findings.extend(found);
        Ok(())
    }

    /// Files that the script, or a program that it started, read and did not declare.
    fn undeclared(&self, seen: &[Sighting]) -> BTreeSet<PathBuf> {
        let home = self.script.env.get(OsStr::new("HOME"));
        let in_home = |path: &Path| home.is_some_and(|home| path.starts_with(home));
        let in_workspace = |path: &Path| path.starts_with(&self.judge.build.root);
        let undeclared = |own: &Sighting| {
            let What::Read(path) = &own.what else {
                return None;
            };
            // The user's own settings of a tool are the tool's.
            let system = own.program.is_some()
                && (lies_in(path, TOOLS) || (in_home(path) && !in_workspace(path)));
            let elsewhere = !system && !lies_in(path, PSEUDO) && !self.is_known(path, true);
            (elsewhere && path.is_file()).then(|| path.clone())
        };
        seen.iter().filter_map(undeclared).collect()
    }

    fn is_known(&self, path: &Path, reading: bool) -> bool {
        let place = normalized(path);
        let Some(watch) = &self.seat.watch else {
            return false;
        };
        place
            .ancestors()
            .any(|place| watch.known.contains(place) || (reading && watch.declared.contains(place)))
    }
}

fn lies_in(path: &Path, places: &[&str]) -> bool {
    places.iter().any(|place| path.starts_with(place))
}

fn answer(run: &ScriptRun) -> Answer {
    match &run.outputs {
        Ok(outputs) => Answer::Outputs(outputs.digest()),
        Err(why) => Answer::Failed(why.clone()),
    }
}
