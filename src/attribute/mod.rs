//! Why two sides of a pair differ: the command line, the world, or the crate itself.
//!
//! Attribution runs nothing: it asks its caller for more compiles through a function, and reasons
//! about their answers. A claim rests on repeats, so that a small map that comes out equal by
//! chance is not taken for a cause.

pub mod expansion;

use std::ffi::OsString;

use crate::artifact::metadata::Svh;
use crate::plan::variation::{Change, Variation};
use crate::plan::{CommandLine, Edit, Trial};

/// How often a claim of sameness is repeated. A crate with two equally likely outputs passes all of
/// them by chance once in 2^(n-1).
const REPEATS: usize = 6;

/// How often a pin must give one output before it is called the factor.
const PIN_REPEATS: usize = 10;

/// What a compile gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Metadata with this SVH.
    Svh(Svh),
    /// No metadata, and why.
    Failed(String),
}

impl Answer {
    /// Whether two answers are the same output: equal SVHs, or both failures.
    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Answer::Svh(one), Answer::Svh(two)) => one == two,
            (Answer::Failed(_), Answer::Failed(_)) => true,
            _ => false,
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

/// Why the two sides differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// What kind of fault it is.
    pub fault: Fault,
    /// What was run and seen, a sentence each.
    pub evidence: Vec<String>,
}

/// The kinds of fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The command lines differ in these, and each side by itself is stable.
    Flags(Vec<Edit>),
    /// The world: a variation, with the variables that matter where they could be told.
    World(Vec<(Variation, Vec<OsString>)>),
    /// The same command in the same world gives different outputs.
    Chance(Option<Variation>),
    /// Every compile now gives one output, and the recorded build gave another.
    SinceRecorded,
    /// Compiles fail that should not; why.
    Fails(String),
}

/// Explains why `metadata` and `full` differ, running what it needs through `run`.
pub fn explain<E>(
    metadata: &Observed,
    full: &Observed,
    run: &mut dyn FnMut(&Trial) -> Result<Answer, E>,
) -> Result<Cause, E> {
    let mut asked = Asked {
        run,
        evidence: Vec::new(),
    };
    let plain = metadata.trial.plain();
    let Some(left) = asked.stable(&plain, REPEATS)? else {
        return asked.chance(&plain);
    };
    if let Answer::Failed(why) = &left
        && !full.answer.same(&left)
    {
        return Ok(asked.cause(Fault::Fails(why.clone())));
    }
    if left.same(&full.answer) {
        if let Answer::Failed(why) = &metadata.answer {
            asked.evidence.push(format!(
                "in the varied environment it does not compile: {why}"
            ));
        }
        return asked.world(metadata, &full.answer);
    }
    let Some(right) = asked.stable(&full.trial.plain(), REPEATS)? else {
        return asked.chance(&full.trial.plain());
    };
    if right.same(&left) {
        let sentence = format!(
            "{} compiles now agree with each other, and not with the recorded one",
            2 * REPEATS
        );
        asked.evidence.push(sentence);
        return Ok(asked.cause(Fault::SinceRecorded));
    }
    asked.flags(&plain, &full.trial.command, &right)
}

struct Asked<'a, E> {
    run: &'a mut dyn FnMut(&Trial) -> Result<Answer, E>,
    evidence: Vec<String>,
}

impl<E> Asked<'_, E> {
    fn cause(self, fault: Fault) -> Cause {
        Cause {
            fault,
            evidence: self.evidence,
        }
    }

    /// The one answer of `times` runs, or `None` as soon as two differ.
    fn stable(&mut self, trial: &Trial, times: usize) -> Result<Option<Answer>, E> {
        let first = (self.run)(trial)?;
        for _ in 1..times {
            if !(self.run)(trial)?.same(&first) {
                return Ok(None);
            }
        }
        Ok(Some(first))
    }

    /// The same trial gave two outputs: does holding one thing still hold the output still?
    fn chance(mut self, trial: &Trial) -> Result<Cause, E> {
        self.evidence.push(
            "the same command line in an unchanged environment gave different SVHs".to_owned(),
        );
        for (change, words) in [
            (
                Change::NoAslr,
                "with address space randomisation switched off",
            ),
            (Change::OneCpu, "bound to one processor"),
        ] {
            let pinned = trial.with(vec![change.clone()]);
            if self.stable(&pinned, PIN_REPEATS)?.is_some() {
                self.evidence.push(format!(
                    "{words}, {PIN_REPEATS} of {PIN_REPEATS} compiles agreed"
                ));
                return Ok(self.cause(Fault::Chance(Some(change.variation()))));
            }
        }
        Ok(self.cause(Fault::Chance(None)))
    }

    /// Plain repeats agree with the other side, so one of the changes did it: which?
    fn world(mut self, metadata: &Observed, right: &Answer) -> Result<Cause, E> {
        self.evidence.push(format!(
            "in an unchanged environment {REPEATS} of {REPEATS} compiles agreed"
        ));
        let changes = &metadata.trial.changes;
        let mut guilty = Vec::new();
        for change in changes {
            if self.moves(metadata, vec![change.clone()], right)? {
                let variables = self.variables(metadata, change, right)?;
                guilty.push((change.variation(), variables));
            }
        }
        if guilty.is_empty() {
            if !self.moves(metadata, changes.clone(), right)? {
                // Not even all together do it again: the first compile was a rare one.
                return self.chance(&metadata.trial.plain());
            }
            self.evidence
                .push("no single variation moved it, all together did".to_owned());
            guilty = changes
                .iter()
                .map(|change| (change.variation(), Vec::new()))
                .collect();
            return Ok(self.cause(Fault::World(guilty)));
        }
        let rest: Vec<Change> = changes
            .iter()
            .filter(|change| {
                !guilty
                    .iter()
                    .any(|(variation, _)| *variation == change.variation())
            })
            .cloned()
            .collect();
        if !rest.is_empty() && (self.run)(&metadata.trial.with(rest))?.same(right) {
            self.evidence.push(
                "with that alone left unchanged, all other variations together moved nothing"
                    .to_owned(),
            );
        }
        Ok(self.cause(Fault::World(guilty)))
    }

    /// Whether the changes alone move the output: with them, without, with them again.
    fn moves(
        &mut self,
        metadata: &Observed,
        changes: Vec<Change>,
        right: &Answer,
    ) -> Result<bool, E> {
        let trial = metadata.trial.with(changes);
        Ok(!(self.run)(&trial)?.same(right)
            && (self.run)(&trial.plain())?.same(right)
            && !(self.run)(&trial)?.same(right))
    }

    /// Which of a change's variables matter: halves that move the output are halved again.
    fn variables(
        &mut self,
        metadata: &Observed,
        change: &Change,
        right: &Answer,
    ) -> Result<Vec<OsString>, E> {
        let edits = match change {
            Change::Env(_, edits) => edits,
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
            let (left, right_half) = part.split_at(part.len() / 2);
            let mut halves = Vec::new();
            for half in [left, right_half] {
                let change = Change::Env(change.variation(), half.to_vec());
                if self.moves(metadata, vec![change], right)? {
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

    /// Both sides are stable and differ: which of the differences between their command lines?
    fn flags(mut self, left: &Trial, right: &CommandLine, answer: &Answer) -> Result<Cause, E> {
        let edits = left.command.towards(right);
        let with = |edits: &[&Edit]| {
            let mut trial = left.clone();
            for edit in edits {
                trial.command.edit(edit);
            }
            trial
        };
        let mut alone = Vec::new();
        for edit in &edits {
            if (self.run)(&with(&[edit]))?.same(answer) {
                alone.push(edit.clone());
            }
        }
        if !alone.is_empty() {
            self.evidence.push(format!(
                "each side, compiled {REPEATS} times, agreed with itself"
            ));
            self.evidence
                .push("with that one difference taken away, the sides agreed".to_owned());
            return Ok(self.cause(Fault::Flags(alone)));
        }
        // Several together: keep those whose absence parts the sides again.
        let mut needed: Vec<&Edit> = edits.iter().collect();
        for edit in &edits {
            let fewer: Vec<&Edit> = needed.iter().copied().filter(|own| *own != edit).collect();
            if fewer.len() < needed.len() && (self.run)(&with(&fewer))?.same(answer) {
                needed = fewer;
            }
        }
        self.evidence.push(format!(
            "each side, compiled {REPEATS} times, agreed with itself"
        ));
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
