//! Why a crate's SVH moves: the command line, the world, or the crate itself.
//!
//! Attribution runs nothing: it asks its caller for more compiles through a function, and reasons
//! about their answers. The method: hold everything still and see the output stand still; let one
//! thing go at a time; then hold only the suspected code's own calls, and see it stand again. A
//! claim rests on repeats, so that what comes out equal by chance is not taken for a cause.

pub mod expansion;
pub mod hints;
mod tokens;
mod undeclared;

pub use undeclared::{Undeclared, probe_undeclared};

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::artifact::metadata::Svh;
use crate::lint::Expanded;
use crate::plan::variation::{Change, Setting, Variation};
use crate::plan::{CommandLine, Edit, Trial};

/// How often a claim of sameness is repeated. What has two equally likely outputs passes by chance
/// once in 2^(n-1), before anything else is claimed about it.
const REPEATS: usize = 3;

/// How often a fresh compile in the world as it is must agree, where nothing is held still.
const FREE_REPEATS: usize = 6;

/// What is said when all is held still and the output moves.
const RESTLESS: &str = "with everything held still that can be held, its SVH still moves: what is left is the order in which threads run";

/// What a compile gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Metadata with this SVH.
    Svh(Svh),
    /// The source with its macros expanded, as a digest.
    Expansion(String),
    /// What a build script left, as a digest.
    Outputs(String),
    /// Nothing, and why.
    Failed(String),
    /// Nothing, for svhcheck ended it, and why: it took too long or too much, which a busy machine can
    /// do to any compile.
    Ended(String),
}

impl Answer {
    /// Whether two answers are the same output: equal, or both failures, or one that says nothing.
    pub fn same(&self, other: &Self) -> bool {
        let failures = matches!((self, other), (Answer::Failed(_), Answer::Failed(_)));
        self == other || failures || self.is_ended() || other.is_ended()
    }

    /// Whether it says nothing.
    pub fn is_ended(&self) -> bool {
        matches!(self, Answer::Ended(_))
    }

    /// Why there is no output, if there is none.
    pub fn failure(&self) -> Option<&str> {
        match self {
            Answer::Failed(why) | Answer::Ended(why) => Some(why),
            _ => None,
        }
    }
}

/// One side that was run, or the recorded build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The compile; for the recorded build, a replay of its command line in an unchanged world.
    pub trial: Trial,
    /// What it gave.
    pub answer: Answer,
}

/// Why an output moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// What kind of fault it is.
    pub fault: Fault,
    /// The files whose code did it, as far as runs could tell.
    pub modules: Vec<PathBuf>,
    /// What was run and seen, a sentence each.
    pub evidence: Vec<String>,
    /// The world in which it moved.
    pub moved: Vec<Change>,
    /// What the macro wrote differently there, once somebody has looked.
    pub expanded: Option<Expanded>,
}

impl Cause {
    /// A cause without evidence yet.
    pub fn new(fault: Fault) -> Self {
        Self {
            fault,
            modules: Vec::new(),
            evidence: Vec::new(),
            moved: Vec::new(),
            expanded: None,
        }
    }

    /// The variation that moves the output, if it is one.
    pub fn variation(&self) -> Option<Variation> {
        match self.fault {
            Fault::World(variation, _) => Some(variation),
            _ => None,
        }
    }
}

/// The kinds of fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The command lines differ in these, and each side by itself is stable.
    Flags(Vec<Edit>),
    /// A variation, with the variables that matter where they could be told.
    World(Variation, Vec<OsString>),
    /// Several variations, but only together.
    Together(Vec<Variation>),
    /// A file or folder that the compile did not declare.
    File(PathBuf),
    /// A variable that nobody declared, and that is not set in this build.
    Unset(OsString),
    /// The same command, everything held still that can be held, gives different outputs.
    Chance,
    /// Two processes of the recorded build, with the same command, made different outputs. Nothing
    /// was compiled again to learn why.
    Built,
    /// Every compile now gives one output, and the recorded build gave another.
    SinceRecorded,
    /// Compiles fail that should not; why.
    Fails(String),
}

/// The world of a crate's compiles: what can be varied, and how.
pub struct World<'a> {
    /// The variations that count.
    pub vary: &'a [Variation],
    /// What a variation's setting does; `None` for the world as it is.
    pub change: &'a dyn Fn(Variation, Setting) -> Option<Change>,
}

impl World<'_> {
    /// Everything held still.
    pub fn pinned(&self) -> Vec<Change> {
        self.all(Setting::PINNED)
    }

    /// Every variation in one setting.
    pub fn all(&self, setting: Setting) -> Vec<Change> {
        self.vary
            .iter()
            .filter_map(|own| (self.change)(*own, setting))
            .collect()
    }

    /// Everything held still but one.
    fn only(&self, variation: Variation, setting: Setting) -> Vec<Change> {
        let pick = |own: &Variation| {
            let setting = if *own == variation {
                setting
            } else {
                Setting::PINNED
            };
            (self.change)(*own, setting)
        };
        self.vary.iter().filter_map(pick).collect()
    }
}

/// Who was seen to ask for what a variation changes: files of code.
pub type Suspects = BTreeMap<Variation, Vec<PathBuf>>;

/// Explains why `metadata` and `full` differ, running what it needs through `run`. There is always
/// at least one cause.
pub fn explain<E>(
    metadata: &Observed,
    full: &Observed,
    suspects: &Suspects,
    world: &World<'_>,
    run: &mut dyn FnMut(&Trial) -> Result<Answer, E>,
) -> Result<Vec<Cause>, E> {
    for side in [&metadata.answer, &full.answer] {
        if let Answer::Ended(why) = side {
            return Ok(vec![Cause::new(Fault::Fails(why.clone()))]);
        }
    }
    let mut asked = Asked::new(run, world);
    let causes = asked.explain(metadata, full, suspects)?;
    // What was found by trying each way in turn stands; what is left when nothing was found does not.
    let left = |own: &Cause| !matches!(own.fault, Fault::World(..) | Fault::Fails(_));
    match asked.ended {
        Some(why) if causes.iter().all(left) => Ok(vec![Cause::new(Fault::Fails(why))]),
        _ => Ok(causes),
    }
}

/// What trying the suspected variations showed, for a crate whose compiles agreed so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Probed {
    /// Variations that move the SVH after all.
    pub causes: Vec<Cause>,
    /// Variations that moved nothing, and how many settings were tried.
    pub harmless: BTreeMap<Variation, u32>,
}

/// Tries every suspected variation on a crate whose compiles agreed so far, among them one in each of
/// the settings up to `compared`. `expansion` and `base` are its compiles; the first is cheap and
/// shows what macros make, the second confirms.
pub fn probe<E>(
    expansion: &Trial,
    base: &Trial,
    compared: u32,
    suspects: &Suspects,
    world: &World<'_>,
    run: &mut dyn FnMut(&Trial) -> Result<Answer, E>,
) -> Result<Probed, E> {
    let mut probed = Probed::default();
    let mut asked = Asked::new(run, world);
    let left = |variation: &Variation| compared + 1..=variation.settings();
    if suspects.keys().all(|own| left(own).is_empty()) {
        probed.harmless = suspects.keys().map(|own| (*own, compared)).collect();
        return Ok(probed);
    }
    let still = asked.ask(&expansion.with(world.pinned()))?;
    if still.failure().is_some() {
        return Ok(probed);
    }
    for (variation, modules) in suspects {
        let mut moved = false;
        for setting in left(variation).map(Setting) {
            let changed = expansion.with(world.only(*variation, setting));
            moved = !asked.ask(&changed)?.same(&still);
            if moved {
                break;
            }
        }
        if moved {
            let pinned = base.with(world.pinned());
            let Some(svh) = asked.stable(&pinned, REPEATS)? else {
                asked.evidence.push(RESTLESS.to_owned());
                probed
                    .causes
                    .push(asked.take(Fault::Chance, modules.clone()));
                return Ok(probed);
            };
            if let Some(cause) = asked.mover(&pinned, &svh, *variation, modules)? {
                probed.causes.push(cause);
                continue;
            }
        }
        if asked.ended.is_some() {
            continue; // It was not seen to be harmless.
        }
        let tried = variation.settings().max(compared);
        probed.harmless.insert(*variation, tried);
    }
    Ok(probed)
}

struct Asked<'a, 'w, E> {
    run: &'a mut dyn FnMut(&Trial) -> Result<Answer, E>,
    world: &'a World<'w>,
    evidence: Vec<String>,
    /// Why the last run was ended that was.
    ended: Option<String>,
}

impl<'a, 'w, E> Asked<'a, 'w, E> {
    fn new(run: &'a mut dyn FnMut(&Trial) -> Result<Answer, E>, world: &'a World<'w>) -> Self {
        Self {
            run,
            world,
            evidence: Vec::new(),
            ended: None,
        }
    }

    fn ask(&mut self, trial: &Trial) -> Result<Answer, E> {
        let answer = (self.run)(trial)?;
        if let Answer::Ended(why) = &answer {
            self.ended = Some(why.clone());
        }
        Ok(answer)
    }

    /// The causes, as far as no run was ended.
    fn explain(
        &mut self,
        metadata: &Observed,
        full: &Observed,
        suspects: &Suspects,
    ) -> Result<Vec<Cause>, E> {
        if let Answer::Failed(why) = &metadata.answer {
            self.evidence.push(format!(
                "in the varied environment it does not compile: {why}"
            ));
        }
        let base = metadata.trial.with(self.world.pinned());
        let Some(still) = self.stable(&base, REPEATS)? else {
            self.evidence.push(RESTLESS.to_owned());
            return Ok(vec![self.cause(Fault::Chance)]);
        };
        match &still {
            Answer::Ended(_) => return Ok(Vec::new()), // Nothing can be told by comparing with it.
            Answer::Failed(why) if !full.answer.same(&still) => {
                return Ok(vec![self.cause(Fault::Fails(why.clone()))]);
            }
            _ => {}
        }
        let mut causes = self.movers(&base, &still, suspects, suspects)?;
        if causes.is_empty() {
            let others: Suspects = self
                .world
                .vary
                .iter()
                .map(|own| (*own, Vec::new()))
                .collect();
            causes = self.movers(&base, &still, &others, suspects)?;
        }
        if !causes.is_empty() {
            return Ok(causes);
        }
        let Some(right) = self.stable(&full.trial.with(self.world.pinned()), REPEATS)? else {
            return Ok(vec![self.cause(Fault::Chance)]);
        };
        if !right.same(&still) {
            return Ok(vec![self.flags(&base, &full.trial.command, &right)?]);
        }
        let together = metadata.trial.with(self.world.all(Setting(1)));
        if self.moves(&together, &base, &still, false)? {
            self.evidence
                .push("no single variation moved it, all together did".to_owned());
            return Ok(vec![self.cause(Fault::Together(self.world.vary.to_vec()))]);
        }
        let plain = metadata.trial.plain();
        match self.stable(&plain, FREE_REPEATS)? {
            Some(answer) if !answer.same(&full.answer) => {
                let sentence = format!(
                    "{FREE_REPEATS} compiles now agree with each other, and not with the recorded one"
                );
                self.evidence.push(sentence);
                Ok(vec![self.cause(Fault::SinceRecorded)])
            }
            _ => {
                self.evidence.push(
                    "held still it stands still, left alone it moves, and no single variation moves it"
                        .to_owned(),
                );
                Ok(vec![self.cause(Fault::Chance)])
            }
        }
    }

    fn cause(&mut self, fault: Fault) -> Cause {
        self.take(fault, Vec::new())
    }

    fn take(&mut self, fault: Fault, modules: Vec<PathBuf>) -> Cause {
        let evidence = std::mem::take(&mut self.evidence);
        Cause {
            modules,
            evidence,
            ..Cause::new(fault)
        }
    }

    /// The one answer of `times` runs, or `None` as soon as two differ.
    fn stable(&mut self, trial: &Trial, times: usize) -> Result<Option<Answer>, E> {
        let first = self.ask(trial)?;
        if first.failure().is_some() {
            return Ok(Some(first)); // It may have taken all the time that one compile has.
        }
        for _ in 1..times {
            if !self.ask(trial)?.same(&first) {
                return Ok(None);
            }
        }
        Ok(Some(first))
    }

    /// Whether `trial` moves the output that stands still in `base`, each time, and back; to one and
    /// the same other output if `steady`.
    fn moves(
        &mut self,
        trial: &Trial,
        base: &Trial,
        still: &Answer,
        steady: bool,
    ) -> Result<bool, E> {
        let moved = self.ask(trial)?;
        if moved.same(still) {
            return Ok(false);
        }
        for _ in 0..REPEATS {
            if !self.ask(base)?.same(still) {
                return Ok(false);
            }
            let again = self.ask(trial)?;
            if again.same(still) || (steady && !again.same(&moved)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The variations among `tried` that move the output, each with the code that does it.
    fn movers(
        &mut self,
        base: &Trial,
        still: &Answer,
        tried: &Suspects,
        suspects: &Suspects,
    ) -> Result<Vec<Cause>, E> {
        let before = std::mem::take(&mut self.evidence);
        let mut causes = Vec::new();
        for variation in tried.keys().filter(|own| self.world.vary.contains(own)) {
            let modules = suspects.get(variation).map_or(&[][..], Vec::as_slice);
            if let Some(mut cause) = self.mover(base, still, *variation, modules)? {
                cause.evidence.splice(0..0, before.iter().cloned());
                causes.push(cause);
            }
        }
        self.evidence = before;
        Ok(causes)
    }

    /// Whether `variation` moves the output, and which of `modules` makes it.
    fn mover(
        &mut self,
        base: &Trial,
        still: &Answer,
        variation: Variation,
        modules: &[PathBuf],
    ) -> Result<Option<Cause>, E> {
        for setting in (1..=variation.settings()).map(Setting) {
            let changes = self.world.only(variation, setting);
            let trial = base.with(changes.clone());
            if !self.moves(&trial, base, still, !variation.is_free())? {
                continue;
            }
            let name = variation.name();
            self.evidence.push(format!("with all else held still, another `{name}` gives another SVH, and the first `{name}` the first SVH again"));
            let edit = changes
                .iter()
                .find(|own| own.variation() == Some(variation));
            let names = match edit {
                Some(edit) => self.variables(base, edit, still)?,
                None => Vec::new(),
            };
            let guilty = self.guilty(base, still, variation, setting, modules)?;
            let cause = self.take(Fault::World(variation, names), guilty);
            return Ok(Some(Cause {
                moved: changes,
                ..cause
            }));
        }
        Ok(None)
    }

    /// Which code's own calls make the difference: with only that code's answers held still, the
    /// rest moving, the output stands still.
    fn guilty(
        &mut self,
        base: &Trial,
        still: &Answer,
        variation: Variation,
        setting: Setting,
        modules: &[PathBuf],
    ) -> Result<Vec<PathBuf>, E> {
        let limited = |setting, module: &PathBuf| match (self.world.change)(variation, setting) {
            Some(Change::Steer(variation, steer, _)) => {
                Some(Change::Steer(variation, steer, Some(vec![module.clone()])))
            }
            _ => None,
        };
        let mut alone = Vec::new();
        for module in modules {
            // All moves but this module's calls …
            let Some(held) = limited(Setting::PINNED, module) else {
                break;
            };
            let mut changes = self.world.only(variation, setting);
            changes.push(held);
            let answer = self.ask(&base.with(changes))?;
            if !answer.is_ended() && answer.same(still) {
                alone.push(module.clone());
            }
        }
        if !alone.is_empty() {
            self.evidence
                .push("with only this code's own calls held still, the SVH stood still".to_owned());
            return Ok(alone);
        }
        for module in modules {
            // … or nothing moves but this module's calls.
            let Some(moved) = limited(setting, module) else {
                break;
            };
            let mut changes = self.world.pinned();
            changes.push(moved);
            if !self.ask(&base.with(changes))?.same(still) {
                alone.push(module.clone());
            }
        }
        if !alone.is_empty() {
            self.evidence
                .push("with only this code's own calls changed, the SVH moved".to_owned());
            return Ok(alone);
        }
        Ok(modules.to_vec())
    }

    /// Which of a change's variables matter: halves that move the output are halved again.
    fn variables(
        &mut self,
        base: &Trial,
        change: &Change,
        still: &Answer,
    ) -> Result<Vec<OsString>, E> {
        let (variation, edits) = match change {
            Change::Env(variation, edits) => (*variation, edits),
            Change::Folder(_, variable, _) => return Ok(vec![OsString::from(variable)]),
            _ => return Ok(Vec::new()),
        };
        let mut found = Vec::new();
        let mut open = vec![edits.clone()];
        while let Some(part) = open.pop() {
            if part.len() == 1 {
                found.extend(part.into_iter().map(|(name, _)| name));
                continue;
            }
            let (left, right) = part.split_at(part.len() / 2);
            let mut halves = Vec::new();
            for half in [left, right] {
                let mut changes = base.changes.clone();
                changes.push(Change::Env(variation, half.to_vec()));
                if self.moves(&base.with(changes), base, still, true)? {
                    halves.push(half.to_vec());
                }
            }
            if halves.is_empty() {
                // Only together do they move it.
                found.extend(part.into_iter().map(|(name, _)| name));
            }
            open.extend(halves);
        }
        found.sort();
        Ok(found)
    }

    /// Both sides stand still and differ: which of the differences between their command lines?
    fn flags(&mut self, left: &Trial, right: &CommandLine, answer: &Answer) -> Result<Cause, E> {
        let edits = left.command.towards(right);
        let with = |edits: &[&Edit]| {
            let mut trial = left.clone();
            for edit in edits {
                trial.command.edit(edit);
            }
            trial
        };
        self.evidence
            .push("each side, held still and repeated, agreed with itself".to_owned());
        let mut alone = Vec::new();
        for edit in &edits {
            if self.ask(&with(&[edit]))?.same(answer) {
                alone.push(edit.clone());
            }
        }
        if !alone.is_empty() {
            self.evidence
                .push("with that one difference taken away, the sides agreed".to_owned());
            return Ok(self.cause(Fault::Flags(alone)));
        }
        // Several together: keep those whose absence parts the sides again.
        let mut needed: Vec<&Edit> = edits.iter().collect();
        for edit in &edits {
            let fewer: Vec<&Edit> = needed.iter().copied().filter(|own| *own != edit).collect();
            if fewer.len() < needed.len() && self.ask(&with(&fewer))?.same(answer) {
                needed = fewer;
            }
        }
        self.evidence.push(
            "with all of these differences taken away, the sides agreed; with fewer, not"
                .to_owned(),
        );
        let needed = needed.into_iter().cloned().collect();
        Ok(self.cause(Fault::Flags(needed)))
    }
}

#[cfg(test)]
mod tests;
