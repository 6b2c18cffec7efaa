//! The build script of one crate: run again in the world as it is and in a varied one. What moves
//! is explained as for compiles, and counts only if the crate's SVH moves with it.

mod contain;
mod say;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::judge::{Judge, SYSTEM, suspects};
use super::policy::{self, Declared, cargo_home};
use super::sides::Sides;
use super::undeclared;
use super::words::listed;
use crate::attribute::{self, Answer, Cause, Fault, Observed, World};
use crate::lint::{Culprit, Finding};
use crate::plan::variation::{Change, Setting, Variation};
use crate::plan::{CommandLine, Edit, Stop, Trial};
use crate::project::Action;
use crate::project::directives::Directives;
use crate::replay::confine::Confine;
use crate::replay::script::ScriptRun;
use crate::replay::sight::{Sighting, Watch, What};
use crate::replay::{ReplayError, Replayer, Seat};
use crate::sandbox::Mechanism;
use crate::trace::ModuleCache;

/// What was found about a crate's build script.
#[derive(Debug, Default)]
pub(super) struct Checked {
    pub(super) findings: Vec<Finding>,
    /// Whether the crate's SVH moves because the script's output does.
    pub(super) moves: bool,
    /// What could not be found out, a sentence each.
    pub(super) unknown: Vec<String>,
    /// The code that let a compiler make objects.
    pub(super) compiler: Option<Culprit>,
}

/// Most undeclared files of one script that are tried one by one.
const MAX_FILES: usize = 16;

/// A script that takes no longer is run in more settings.
const QUICK: Duration = Duration::from_millis(300);

/// Checks the build script of the crate on trial, if it has one.
pub(super) fn check(judge: &Judge<'_>, sides: &Sides<'_>) -> Result<Checked, ReplayError> {
    let mut scripts = judge.build.scripts.iter();
    let script = scripts.find(|own| own.id == judge.action.id);
    let (Some(script), Some(modules)) = (script, judge.modules) else {
        return Ok(Checked::default());
    };
    let watch = watch(judge, script, modules);
    let declared = Declared::of_script(script, judge.build, judge.replayer, &watch.known);
    let narrow = (judge.mechanism != Mechanism::None).then(|| declared.confine(judge.mechanism));
    let trial = ScriptTrial {
        judge,
        sides,
        script,
        declared,
        confine: RefCell::new(narrow),
        watch,
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
        let target = script.program.ancestors().nth(4);
        known.extend(target.map(|own| own.join(".rustc_info.json")));
    }
    known.extend(cargo_home(script));
    let mut declared = script.declared_files();
    declared.extend(script.manifests());
    declared.extend(judge.settings.inputs_of(&judge.action.id).cloned());
    let compiles = judge.build.script_compiles.iter();
    let direct = compiles
        .filter(|own| own.package == script.package)
        .flat_map(|own| own.args.externs())
        .map(|(name, _)| name);
    Watch {
        direct: direct.collect(),
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
    declared: Declared,
    /// What confines its runs; changed once, if the first run was refused something.
    confine: RefCell<Option<Confine>>,
    watch: Watch,
}

impl ScriptTrial<'_> {
    fn check(&self) -> Result<Checked, ReplayError> {
        let mut checked = Checked::default();
        // The world as it is comes first: whoever writes elsewhere may do it again, and must not do
        // it in a world of ours.
        let Some((plain, escaped)) = self.first(&mut checked)? else {
            return Ok(checked);
        };
        checked.findings.extend(self.network(&plain.sightings));
        checked.compiler = self.compiler(&plain.sightings);
        let writes = self.writes(&plain.sightings);
        let outputs = match &plain.outputs {
            Ok(outputs) => outputs,
            Err(why) => {
                let mut why = format!("its build script does not run a second time: {why}");
                if let Some(path) = policy::refused_write(&plain.sightings) {
                    why.push_str(&policy::told_refused("it", path));
                }
                checked.unknown.push(why);
                checked.findings.extend(writes);
                checked.findings.extend(self.escapes(&escaped, &[]));
                return Ok(checked);
            }
        };
        if let Some(finding) = writes {
            checked.findings.push(finding);
        }
        if !plain.confined && self.writes(&plain.sightings).is_some() {
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
        self.probe_undeclared(&plain, &vary, &mut checked)?;
        self.probe_place(&plain, &mut checked)?;
        let more = self.escapes(&escaped, &checked.findings);
        checked.findings.extend(more);
        Ok(checked)
    }

    fn run(&self, changes: &[Change]) -> Result<ScriptRun, ReplayError> {
        let seat = Seat {
            incremental: PathBuf::new(),
            slot: self.judge.slot,
            watch: Some(self.watch.clone()),
            confine: self.confine.borrow().clone(),
        };
        self.judge.replayer.run_script(self.script, changes, &seat)
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
            let mut finding = self.finding(&cause, plain, effect);
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
        if let Some(why) = first.failure() {
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

    /// Runs the script in a copy of its package, if what it leaves spells out where that lies.
    fn probe_place(&self, plain: &ScriptRun, checked: &mut Checked) -> Result<(), ReplayError> {
        let name = OsStr::new("elsewhere");
        let change = Change::BuildPath {
            name: name.to_owned(),
            remap_out_dir: false,
        };
        // A laid out folder has no package of its own to copy.
        if self.script.layout.is_some() || !plain.names(&self.script.package.root) {
            return Ok(());
        }
        let moved = self.run(&[change])?;
        if moved.outputs.is_err() || answer(&moved).same(&answer(plain)) {
            return Ok(());
        }
        let remaps = Replayer::remaps(self.script, &moved, name);
        let [here, there] = [plain, &moved].map(|run| self.compile_with(run, &remaps));
        let (here, there) = (here?, there?);
        if [&here, &there].iter().any(|own| own.failure().is_some()) {
            return Ok(());
        }
        let effect = !here.same(&there);
        let mut cause = Cause::new(Fault::World(Variation::BuildPath, Vec::new()));
        let sentence = "with its package in another folder, its output is another";
        cause.evidence.push(sentence.to_owned());
        checked.moves |= effect;
        let mut finding = self.finding(&cause, plain, effect);
        if let (Ok(one), Ok(other)) = (&plain.outputs, &moved.outputs) {
            finding.evidence.extend(one.differences(other));
        }
        checked.findings.push(finding);
        Ok(())
    }

    /// Compiles the crate, held still, with what a run left.
    fn compile(&self, run: &ScriptRun) -> Result<Answer, ReplayError> {
        self.compile_with(run, &[])
    }

    fn compile_with(&self, run: &ScriptRun, options: &[OsString]) -> Result<Answer, ReplayError> {
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
        let lib = |value: &str| vec![OsString::from("-l"), OsString::from(value)];
        for value in before.values("rustc-link-lib") {
            edits.push(Edit::Remove(lib(value)));
        }
        for (name, _) in before.variables() {
            edits.push(Edit::Env(name.into(), None));
        }
        if let Ok(outputs) = &run.outputs {
            let said = &outputs.directives;
            edits.extend(said.values("rustc-cfg").flat_map(cfg).map(Edit::Add));
            edits.extend(said.values("rustc-link-lib").flat_map(lib).map(Edit::Add));
            let set = |(name, value): (&str, &str)| Edit::Env(name.into(), Some(value.into()));
            edits.extend(said.variables().map(set));
        }
        edits.extend(options.iter().cloned().map(Edit::Add));
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

    /// Tries whether the files, folders and variables matter that the script asked for and did not
    /// declare.
    fn probe_undeclared(
        &self,
        plain: &ScriptRun,
        vary: &[Variation],
        checked: &mut Checked,
    ) -> Result<(), ReplayError> {
        let seen = plain.sightings.iter();
        let tries = undeclared::tries(self.script, seen.filter(|own| self.is_undeclared(own)));
        let change = |variation: Variation, setting| variation.change(self.script, setting);
        let world = World {
            vary,
            change: &change,
        };
        let causes = attribute::probe_undeclared(&self.base(), &tries, &world, &mut |trial| {
            Ok::<_, ReplayError>(answer(&self.run(&trial.changes)?))
        })?;
        if causes.is_empty() {
            return Ok(());
        }
        let still = self.run(&world.pinned())?;
        let mut found: Vec<Finding> = Vec::new();
        for cause in causes {
            let Some(effect) = self.effect(&still, &self.run(&cause.moved)?, checked)? else {
                continue;
            };
            // Nothing moves as long as nobody sets the variable.
            checked.moves |= effect && !matches!(cause.fault, Fault::Unset(_));
            let finding = self.finding(&cause, plain, effect);
            // One finding for all that one function reads.
            let same = |own: &&mut Finding| {
                own.lint == finding.lint
                    && own.culprit == finding.culprit
                    && own.grade == finding.grade
            };
            match found.iter_mut().find(same) {
                Some(known) => known.names.extend(finding.names),
                None => found.push(finding),
            }
        }
        for finding in &mut found {
            let names = listed(&finding.names);
            let unset = match finding.factor.as_deref() {
                Some("env") => "not set here and ",
                _ => "",
            };
            finding.message = format!(
                "its build script's output depends on {names}, which is {unset}not declared"
            );
        }
        checked.findings.extend(found);
        Ok(())
    }

    /// Whether the script, or a program that it started, asked for something that it did not
    /// declare.
    fn is_undeclared(&self, seen: &Sighting) -> bool {
        let path = match &seen.what {
            What::Variable(..) => return true,
            What::Read(path) if path.is_file() => path,
            What::List(path) => path,
            _ => return false,
        };
        let workspace = &self.judge.build.root;
        !undeclared::is_of_system(self.script, workspace, seen, path)
            && !self.watch.knows(path, true)
    }
}

fn answer(run: &ScriptRun) -> Answer {
    match &run.outputs {
        Ok(outputs) => Answer::Outputs(outputs.digest()),
        Err(why) if !run.ended_by_itself => Answer::Ended(why.clone()),
        Err(why) => Answer::Failed(why.clone()),
    }
}
