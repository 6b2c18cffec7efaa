//! Whether things matter that code asked for and nobody declared.

use std::path::PathBuf;

use super::{Answer, Asked, Cause, Fault, World};
use crate::plan::Trial;
use crate::plan::variation::Change;

/// Files, or variables, of the same code that matter, after which no more of them are tried: git reads
/// and lists everything, and each try is a run and, for a build script, compiles to confirm it.
const ENOUGH: usize = 8;

/// How to try something that code asked for and nobody declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undeclared {
    /// The changes of the world to try, each with words for it.
    pub tries: Vec<(Change, String)>,
    /// Whether a compile that fails counts. (It does not where a declared file is hidden.)
    pub failing_counts: bool,
    /// Whose code asked.
    pub modules: Vec<PathBuf>,
}

/// Tries which undeclared things matter: all at once first, since mostly none does.
pub fn probe_undeclared<E>(
    base: &Trial,
    list: &[(Fault, Undeclared)],
    world: &World<'_>,
    run: &mut dyn FnMut(&Trial) -> Result<Answer, E>,
) -> Result<Vec<Cause>, E> {
    if list.is_empty() {
        return Ok(Vec::new());
    }
    let mut asked = Asked::new(run, world);
    let pinned = base.with(world.pinned());
    let Some(still) = asked.stable(&pinned, 2)? else {
        return Ok(Vec::new());
    };
    let mut with = |changes: &mut dyn Iterator<Item = Change>| {
        let trial = base.with(world.pinned().into_iter().chain(changes).collect());
        asked.ask(&trial).map(|answer| (trial.changes, answer))
    };
    if let [_, _, ..] = list {
        let longest = list.iter().map(|(_, own)| own.tries.len()).max();
        let mut moves = false;
        for nth in 0..longest.unwrap_or(0) {
            let changes = list.iter().filter_map(|(_, own)| own.tries.get(nth));
            let (_, answer) = with(&mut changes.map(|(change, _)| change.clone()))?;
            moves = moves || !answer.same(&still);
        }
        if !moves {
            return Ok(Vec::new());
        }
    }
    let mut causes: Vec<Cause> = Vec::new();
    for (fault, own) in list {
        let alike = |known: &&Cause| {
            let kind = std::mem::discriminant(&known.fault) == std::mem::discriminant(fault);
            kind && known.modules == own.modules
        };
        if causes.iter().filter(alike).count() >= ENOUGH {
            continue;
        }
        for (change, words) in &own.tries {
            let (moved, answer) = with(&mut std::iter::once(change.clone()))?;
            let counts = own.failing_counts || answer.failure().is_none();
            if answer.same(&still) || !counts {
                continue;
            }
            let seen = match &answer {
                Answer::Failed(why) => {
                    format!("{words}, all else held still, it does not compile: {why}")
                }
                _ => format!("{words}, all else held still, its SVH is another"),
            };
            causes.push(Cause {
                modules: own.modules.clone(),
                evidence: vec![seen],
                moved,
                ..Cause::new(fault.clone())
            });
            break;
        }
    }
    Ok(causes)
}
