//! One crate: its pairs are run and compared, and a difference is explained.

use std::ffi::OsString;

use super::Settings;
use super::sides::{Made, Sides, file_name, keep};
use super::verdict::{self, Compared};
use crate::artifact::metadata::CrateRoot;
use crate::attribute::{self, Answer, Cause, Fault};
use crate::compare;
use crate::lint::Finding;
use crate::plan::strategy::{Pair, Strategy, pair};
use crate::plan::variation::{Change, Setting, Variation};
use crate::project::{Action, Build};
use crate::replay::{ReplayError, Replayer};
use crate::report::CrateVerdict;

/// A crate on trial.
pub(super) struct Judge<'a> {
    pub(super) action: &'a Action,
    pub(super) build: &'a Build,
    pub(super) replayer: &'a Replayer,
    pub(super) settings: &'a Settings,
    /// The worker's number.
    pub(super) slot: usize,
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
        let mut sides = Sides::new(self.action, self.replayer, self.settings, self.slot)?;
        let mut compared: Vec<Compared> = Vec::new();
        for strategy in &self.settings.strategies {
            let pair = pair(self.action, *strategy, &self.settings.edits);
            let next = self.compare(*strategy, &pair, &mut sides, &compared)?;
            compared.push(next);
        }
        let chance = |own: &Compared| {
            own.cause
                .as_ref()
                .is_some_and(|cause| matches!(cause.fault, Fault::Chance(_)))
        };
        let moved =
            self.settings.vary.contains(&Variation::BuildPath) && !compared.iter().any(chance);
        let build_path = if moved {
            self.build_path(&sides)?
        } else {
            None
        };
        let root = sides
            .recorded()
            .root
            .clone()
            .expect("the recorded build made metadata");
        Ok(verdict::sum_up(
            self.action,
            self.build,
            &compared,
            build_path.as_ref(),
            root,
        ))
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
            cause: None,
        };
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
            let area = self
                .replayer
                .scratch
                .parent()
                .unwrap_or(&self.replayer.scratch);
            let folder = area
                .join("evidence")
                .join(file_name(&self.action.id))
                .join(strategy.name());
            keep(&folder, [metadata, full])?;
            // Strategies share sides: what was explained once holds for all.
            let known = before
                .iter()
                .find(|own| own.svh == svh)
                .and_then(|own| own.cause.clone());
            compared.cause = Some(match known {
                Some(cause) => cause,
                None => explain(sides, metadata, full)?,
            });
            break;
        }
        Ok(compared)
    }

    /// Compiles the crate at two other places under one name.
    fn build_path(&self, sides: &Sides<'_>) -> Result<Option<Cause>, ReplayError> {
        let base = &sides.recorded().observed.trial;
        let answers = |remap: bool| -> Result<[Answer; 2], ReplayError> {
            let at = |setting| {
                let mut change = Variation::BuildPath.change(self.action, setting);
                if let Change::BuildPath { remap_out_dir, .. } = &mut change {
                    *remap_out_dir = remap;
                }
                Ok::<_, ReplayError>(sides.run(&base.with(vec![change]))?.observed.answer)
            };
            Ok([at(Setting::First)?, at(Setting::Second)?])
        };
        let [one, two] = answers(false)?;
        match (&one, &two) {
            (Answer::Svh(one), Answer::Svh(two)) if one == two => return Ok(None),
            (Answer::Failed(why), _) | (_, Answer::Failed(why)) => {
                let why =
                    format!("under build-path, a copy of the package does not compile: {why}");
                return Ok(Some(Cause {
                    fault: Fault::Fails(why),
                    evidence: Vec::new(),
                }));
            }
            (Answer::Svh(_), Answer::Svh(_)) => {}
        }
        let mut evidence = vec![
            "compiled at two places, with the sources remapped to one name, it has two SVHs"
                .to_owned(),
        ];
        let mut variables = Vec::new();
        if self.action.out_dir.is_some() {
            let [one, two] = answers(true)?;
            if one == two {
                variables.push(OsString::from("OUT_DIR"));
            }
            let then = if one == two {
                "they agree"
            } else {
                "they still differ"
            };
            evidence.push(format!(
                "with OUT_DIR remapped too (--remap-path-prefix), {then}"
            ));
        }
        Ok(Some(Cause {
            fault: Fault::World(vec![(Variation::BuildPath, variables)]),
            evidence,
        }))
    }
}

fn explain(sides: &Sides<'_>, metadata: &Made, full: &Made) -> Result<Cause, ReplayError> {
    let mut cause = attribute::explain(&metadata.observed, &full.observed, &mut |trial| {
        Ok::<_, ReplayError>(sides.run(trial)?.observed.answer)
    })?;
    if let (Some(left), Some(right)) = (&metadata.root, &full.root) {
        let keys: Vec<String> = compare::roots(left, right)
            .into_iter()
            .map(|difference| difference.key)
            .collect();
        cause
            .evidence
            .insert(0, format!("unequal: {}", keys.join(", ")));
    }
    Ok(cause)
}
