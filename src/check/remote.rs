//! Verdicts from a cluster: each crate's own action runs there again, in another environment and at
//! another place, and what it makes is compared by digest. An SVH is read only where digests differ.
//!
//! All changes are made at once. Only a crate that moved, or failed, pays for finding out which of
//! them did it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::artifact::metadata::{CrateRoot, Svh};
use crate::artifact::{self, ArtifactError};
use crate::attribute::Fault;
use crate::interrupt::Interrupt;
use crate::lint::{Culprit, CulpritKind, Finding, Grade, offenders};
use crate::plan::strategy::Strategy;
use crate::plan::variation::Variation;
use crate::project::TargetKind;
use crate::project::bazel::{self, remote::Crate, remote::Recorded};
use crate::remote::{Artifact, Blob, Change, Cluster, Job, Replayed, Settings, Traffic, Trouble};
use crate::report::{
    CrateVerdict, Enforced, NotChecked, Report, StrategyVerdict, Summary, Verdict, json,
};

use super::infection::{self, Said};
use super::{CheckError, Events, unless_broken, unrecorded, words};

/// What a cluster can vary, and how.
pub const VARIATIONS: &[(Variation, Change)] = &[
    (Variation::Env, Change::Environment),
    (Variation::BuildPath, Change::Place),
];

/// What to check on which cluster.
#[derive(Debug)]
pub struct Request<'a> {
    /// The build.
    pub bazel: &'a bazel::Request,
    /// The cluster.
    pub cluster: &'a Settings,
    /// Which of [`VARIATIONS`] are made.
    pub vary: &'a [Variation],
}

/// What was found, and what it cost.
#[derive(Debug)]
pub struct Checked {
    /// The report.
    pub report: Report,
    /// What the replays sent and fetched; the build itself is Bazel's.
    pub traffic: Traffic,
    /// Things the user should know, a sentence each.
    pub notes: Vec<String>,
}

/// Builds on the cluster and checks the crates there.
pub fn check(
    request: &Request<'_>,
    settings: &super::Settings,
    interrupt: &Interrupt,
    events: &dyn Events,
) -> Result<Checked, CheckError> {
    // Before the build, so that want of a cluster is told at once.
    let cluster = Cluster::connect(request.cluster)?;
    let recorded = bazel::remote::record(request.bazel, request.cluster, interrupt);
    let mut recorded = recorded.map_err(|error| unrecorded(error, interrupt))?;
    let notes = std::mem::take(&mut recorded.notes);
    let wanted: Vec<&Crate> = recorded.crates.iter().filter(|own| own.wanted).collect();
    events.counted(wanted.len());
    let bench = Bench {
        cluster: &cluster,
        recorded: &recorded,
        wanted,
        request,
        settings,
        interrupt,
    };
    let judged = bench.judge(events)?;
    events.finished();
    let report = unless_broken(bench.report(judged)?, recorded.broken)?;
    Ok(Checked {
        report,
        traffic: cluster.traffic(),
        notes,
    })
}

struct Bench<'a> {
    cluster: &'a Cluster,
    recorded: &'a Recorded,
    wanted: Vec<&'a Crate>,
    request: &'a Request<'a>,
    settings: &'a super::Settings,
    interrupt: &'a Interrupt,
}

/// What was seen of one crate.
enum Seen {
    /// Every run made what the build had made, byte by byte, or at least with its SVH.
    Stable([Option<Svh>; 2]),
    /// An SVH moved.
    Moved([Option<Svh>; 2], Fault, Vec<String>),
    /// No verdict.
    Unknown(String),
    /// A shared library that is none of Rust's: a file's name does not tell.
    Program,
}

/// What one way of running a crate again came to.
#[derive(Clone)]
enum Tried {
    Equal([Option<Svh>; 2]),
    Moved([Option<Svh>; 2]),
    Trouble(String),
    Program,
}

impl Bench<'_> {
    fn judge(&self, events: &dyn Events) -> Result<Vec<Seen>, CheckError> {
        let all = self.changes();
        let everyone = (0..self.wanted.len()).map(|at| (at, all.clone()));
        let first = self.run(&everyone.collect::<Vec<_>>(), Some(events))?;
        // For those that did not come out equal: the plain repeat, and then each change alone.
        let unequal = |tried: &Tried| !matches!(tried, Tried::Equal(_));
        let open = (0..first.len()).filter(|at| !all.is_empty() && unequal(&first[*at]));
        let plain: Vec<(usize, Vec<Change>)> = open.map(|at| (at, Vec::new())).collect();
        let tried = self.run(&plain, None)?;
        let mut alone: BTreeMap<(usize, Vec<Change>), Tried> =
            plain.into_iter().zip(tried).collect();
        let still = alone.iter().filter(|(_, tried)| !unequal(tried));
        let still = still.filter(|_| all.len() > 1);
        let each: Vec<(usize, Vec<Change>)> = still
            .flat_map(|((at, _), _)| all.iter().map(|change| (*at, vec![*change])))
            .collect();
        let tried = self.run(&each, None)?;
        alone.extend(each.into_iter().zip(tried));
        let mut seen = Vec::new();
        for (at, first) in first.into_iter().enumerate() {
            let mut take = |changes: &[Change]| alone.remove(&(at, changes.to_vec()));
            seen.push(judge(first, &all, &mut take));
        }
        Ok(seen)
    }

    fn changes(&self) -> Vec<Change> {
        let own = VARIATIONS.iter();
        let own = own.filter(|(variation, _)| self.request.vary.contains(variation));
        own.map(|(_, change)| *change).collect()
    }

    /// Runs crates again, each with its changes; results stand in the order of `tries`.
    fn run(
        &self,
        tries: &[(usize, Vec<Change>)],
        events: Option<&dyn Events>,
    ) -> Result<Vec<Tried>, CheckError> {
        let mut jobs = Vec::new();
        for (at, changes) in tries {
            let own = self.wanted[*at];
            jobs.push(Job {
                action: own.action.clone(),
                outputs: own.artifacts.iter().cloned().collect(),
                changes: changes.clone(),
                runs: self.settings.runs,
            });
        }
        let mut results: Vec<Option<Result<Replayed, Trouble>>> = Vec::new();
        results.resize_with(jobs.len(), || None);
        self.cluster
            .replay(jobs, self.interrupt, |number, result| {
                if let Some(events) = events {
                    events.judged(&spoken(
                        self.wanted[tries[number].0],
                        &Seen::Stable([None; 2]),
                    ));
                }
                results[number] = Some(result);
            })?;
        let mut found = Vec::new();
        for ((at, _), result) in tries.iter().zip(results) {
            found.push(match result {
                Some(Ok(replayed)) => self.compare(self.wanted[*at], &replayed)?,
                Some(Err(trouble)) => Tried::Trouble(trouble.to_string()),
                None => Tried::Trouble("the cluster gave no answer".to_owned()),
            });
        }
        Ok(found)
    }

    /// Reads SVHs where digests differ.
    fn compare(&self, own: &Crate, replayed: &Replayed) -> Result<Tried, CheckError> {
        let mut last = [None; 2];
        for run in &replayed.runs {
            // One process made them all: the fullest speaks for the others.
            let fullest = own.artifacts.iter();
            let mut fullest =
                fullest.filter_map(|(path, _)| run.iter().find(|own| own.path == *path));
            let Some(Artifact { path, before, now }) = fullest.next() else {
                continue;
            };
            let mut svh = [None; 2];
            for (side, blob) in svh.iter_mut().zip([before, now]) {
                match self.root(path, blob)? {
                    Ok(root) => *side = Some(root.svh),
                    Err(tried) => return Ok(tried),
                }
            }
            if svh[0] != svh[1] {
                return Ok(Tried::Moved(svh));
            }
            last = svh;
        }
        Ok(Tried::Equal(last))
    }

    /// What an artifact says of its crate, or why that is not known.
    fn root(&self, path: &str, blob: &Blob) -> Result<Result<CrateRoot, Tried>, CheckError> {
        let Some(bytes) = self.cluster.fetch(blob)? else {
            let why = Trouble::Expired { what: "output" };
            return Ok(Err(Tried::Trouble(why.to_string())));
        };
        let artifact = artifact::from_bytes(Path::new(path), bytes);
        Ok(artifact.root().map_err(|error| match error {
            ArtifactError::NoMetadata { .. } => Tried::Program,
            error => Tried::Trouble(error.to_string()),
        }))
    }

    /// The compiler's version, out of the smallest artifact that can be read.
    fn rustc(&self) -> Result<String, CheckError> {
        let artifacts = self.wanted.iter().flat_map(|own| &own.artifacts);
        let mut artifacts: Vec<&(String, Blob)> = artifacts.collect();
        artifacts.sort_by_key(|(_, blob)| blob.size);
        for (path, blob) in artifacts.into_iter().take(3) {
            if let Ok(root) = self.root(path, blob)? {
                return Ok(root.rustc);
            }
        }
        Ok("unknown rustc".to_owned())
    }

    fn report(&self, seen: Vec<Seen>) -> Result<Report, CheckError> {
        let mut not_checked: Vec<NotChecked> = Vec::new();
        let mut add = |what: &str, why: &str| {
            not_checked.push(NotChecked {
                what: what.to_owned(),
                why: why.to_owned(),
            });
        };
        for (what, why) in &self.recorded.left_out {
            add(what, why);
        }
        add(
            "randomness, time and all else that a cluster cannot vary",
            "only chance varied them; `--engine local` varies them one by one",
        );
        let mut said: Vec<Said> = Vec::new();
        for (own, seen) in self.wanted.iter().zip(seen) {
            match &seen {
                Seen::Unknown(why) => add(&own.id, why),
                Seen::Program => {
                    add(&own.id, bazel::WITHOUT_METADATA);
                    continue;
                }
                Seen::Stable(_) | Seen::Moved(..) => {}
            }
            let findings = match &seen {
                Seen::Moved(svh, fault, evidence) => vec![self.finding(own, *svh, fault, evidence)],
                _ => Vec::new(),
            };
            said.push((spoken(own, &seen), findings));
        }
        let direct = self.recorded.crates.iter();
        let direct = direct
            .map(|own| (own.id.clone(), own.loads.clone()))
            .collect();
        let own = VARIATIONS.iter().map(|(own, _)| *own);
        let own = own.filter(|own| self.request.vary.contains(own));
        let mut report = Report {
            version: json::VERSION,
            rustc: self.rustc()?,
            strategies: vec![Strategy::Full.name().to_owned()],
            variations: own.map(|own| own.name().to_owned()).collect(),
            crates: Vec::new(),
            findings: Vec::new(),
            not_checked,
            sandbox: Enforced {
                mechanism: "none".to_owned(),
                why: Some("the cluster's own way to run actions".to_owned()),
            },
            summary: Summary::default(),
            command: Some(self.settings.command.clone()),
            since: None,
        };
        for (verdict, findings) in infection::infect(&direct, said) {
            report.crates.push(verdict);
            report.findings.extend(findings);
        }
        for finding in &mut report.findings {
            offenders::advise(&self.settings.offenders, finding);
        }
        self.settings.levels.apply(&mut report.findings);
        report.finish();
        Ok(report)
    }

    fn finding(
        &self,
        own: &Crate,
        svh: [Option<Svh>; 2],
        fault: &Fault,
        evidence: &[String],
    ) -> Finding {
        let id = match fault {
            Fault::World(Variation::BuildPath, _) => "absolute-path-in-metadata",
            _ => "svh-unstable",
        };
        let culprit = self.culprit(own);
        let mut seen = Vec::new();
        if let [Some(before), Some(now)] = svh {
            seen.push(format!(
                "SVH {before} in the build, {now} when the cluster ran it again"
            ));
        }
        seen.extend(evidence.iter().cloned());
        let macros = self.macros(own);
        if macros.len() > 1 {
            let names: Vec<&str> = macros.iter().copied().collect();
            seen.push(format!(
                "the crate loads {} proc macros: {}",
                names.len(),
                names.join(", ")
            ));
        }
        Finding {
            message: match fault {
                Fault::World(Variation::Env, _) => {
                    "its SVH depends on variables that its action does not set".to_owned()
                }
                fault => words::message(fault, &[], None),
            },
            help: words::help(fault, Some(&culprit)),
            culprit: Some(culprit),
            factor: match fault {
                Fault::World(variation, _) => Some(variation.name().to_owned()),
                Fault::Together(list) => {
                    let names: Vec<&str> = list.iter().map(|own| own.name()).collect();
                    Some(names.join("+"))
                }
                _ => None,
            },
            evidence: seen,
            ..Finding::new(id, Grade::Confirmed, &own.id)
        }
    }

    /// Labels of the proc macros that a crate was given.
    fn macros(&self, own: &Crate) -> BTreeSet<&str> {
        let macros = self.recorded.crates.iter();
        let macros = macros.filter(|other| other.kind == TargetKind::ProcMacro);
        let given = macros.filter(|other| own.loads.contains(&other.id));
        given
            .filter_map(|other| other.package.label.as_deref())
            .collect()
    }

    /// As far as elimination goes: nobody watches on a cluster.
    fn culprit(&self, own: &Crate) -> Culprit {
        let macros = self.macros(own);
        let (package, kind) = match macros.len() {
            0 => (Some(own.package.shown()), CulpritKind::Source),
            1 => (
                macros.first().map(|own| (*own).to_owned()),
                CulpritKind::ProcMacro,
            ),
            _ => (None, CulpritKind::ProcMacro),
        };
        Culprit {
            package,
            kind,
            function: None,
            location: None,
            source: None,
        }
    }
}

/// What the runs of a crate say together: all changes at once first, then each alone.
fn judge(first: Tried, all: &[Change], alone: &mut dyn FnMut(&[Change]) -> Option<Tried>) -> Seen {
    let svh = match first {
        Tried::Equal(svh) => return Seen::Stable(svh),
        Tried::Program => return Seen::Program,
        Tried::Moved(svh) => Some(svh),
        Tried::Trouble(_) => None,
    };
    let why = match first {
        Tried::Trouble(why) => why,
        _ => String::new(),
    };
    let same = "run again as it is, with no change at all";
    // With nothing to change, the first run was the plain repeat.
    let repeat = if all.is_empty() { None } else { alone(&[]) };
    match (&repeat, svh) {
        (Some(Tried::Moved(svh)), _) => {
            return Seen::Moved(
                *svh,
                Fault::Chance,
                vec![format!("{same}, it gave another SVH")],
            );
        }
        (None, Some(svh)) => {
            return Seen::Moved(
                svh,
                Fault::Chance,
                vec![format!("{same}, it gave another SVH")],
            );
        }
        (Some(Tried::Trouble(why)), _) => return Seen::Unknown(why.clone()),
        (None, None) => return Seen::Unknown(why),
        (Some(Tried::Program), _) => return Seen::Program,
        (Some(Tried::Equal(_)), _) => {}
    }
    let rows = || VARIATIONS.iter().filter(|(_, change)| all.contains(change));
    let unmoved = format!("{same}, it gave the SVH of the build");
    for (variation, change) in rows() {
        // One change was all changes.
        let tried = match (all.len(), svh) {
            (1, Some(svh)) => Some(Tried::Moved(svh)),
            (1, None) => Some(Tried::Trouble(why.clone())),
            _ => alone(&[*change]),
        };
        match tried {
            Some(Tried::Moved(svh)) => {
                let moved = format!(
                    "{} and else as it is, it gave another SVH",
                    words_for(*change)
                );
                let fault = Fault::World(*variation, Vec::new());
                return Seen::Moved(svh, fault, vec![unmoved, moved]);
            }
            Some(Tried::Trouble(why)) if svh.is_none() => {
                return Seen::Unknown(format!("{}: {why}", words_for(*change)));
            }
            _ => {}
        }
    }
    match svh {
        Some(svh) => {
            let list = rows().map(|(variation, _)| *variation).collect();
            Seen::Moved(svh, Fault::Together(list), vec![unmoved])
        }
        None => Seen::Unknown(format!("in another environment at another place: {why}")),
    }
}

fn words_for(change: Change) -> &'static str {
    match change {
        Change::Environment => "in another environment",
        Change::Place => "at another place",
    }
}

/// A crate's verdict by itself.
fn spoken(own: &Crate, seen: &Seen) -> CrateVerdict {
    let (verdict, svh) = match seen {
        Seen::Stable(svh) => (Verdict::Safe, *svh),
        Seen::Moved(svh, ..) => (Verdict::Nondeterministic, *svh),
        Seen::Unknown(_) | Seen::Program => (Verdict::Inconclusive, [None; 2]),
    };
    let strategy = StrategyVerdict { verdict, svh };
    CrateVerdict {
        id: own.id.clone(),
        package: own.package.name.clone(),
        version: own.package.version.clone(),
        target: own.target.clone(),
        kind: own.kind.as_str().to_owned(),
        verdict,
        strategies: [(Strategy::Full.name().to_owned(), strategy)].into(),
        infected_by: Vec::new(),
        hermeticity: None,
        manifest: None,
        loads: own.loads.iter().cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &[Change] = &[Change::Environment, Change::Place];

    /// Judges a crate that moved under all changes at once, given what each run alone came to.
    fn judged(first: Tried, same: &Tried, each: &[Tried]) -> Seen {
        judge(first, ALL, &mut |changes| match changes {
            [] => Some(same.clone()),
            [change] => each.get(ALL.iter().position(|own| own == change)?).cloned(),
            _ => None,
        })
    }

    #[test]
    fn the_smallest_change_that_moves_a_crate_is_named() {
        let (equal, moved) = (|| Tried::Equal([None; 2]), || Tried::Moved([None; 2]));
        let fault = |seen| match seen {
            Seen::Moved(_, fault, _) => Some(fault),
            _ => None,
        };
        assert!(matches!(judged(equal(), &equal(), &[]), Seen::Stable(_)));
        assert_eq!(fault(judged(moved(), &moved(), &[])), Some(Fault::Chance));
        let place = fault(judged(moved(), &equal(), &[equal(), moved()]));
        assert_eq!(place, Some(Fault::World(Variation::BuildPath, Vec::new())));
        let both = fault(judged(moved(), &equal(), &[equal(), equal()]));
        let list = vec![Variation::Env, Variation::BuildPath];
        assert_eq!(both, Some(Fault::Together(list)));
        let plain = judge(moved(), &[], &mut |_| None);
        assert_eq!(fault(plain), Some(Fault::Chance));
    }

    #[test]
    fn trouble_of_the_plain_repeat_is_told_before_that_of_a_change() {
        let trouble = |text: &str| Tried::Trouble(text.to_owned());
        let unknown = |seen| match seen {
            Seen::Unknown(why) => why,
            _ => String::new(),
        };
        let own = unknown(judged(trouble("varied"), &trouble("plain"), &[]));
        assert_eq!(own, "plain");
        let equal = Tried::Equal([None; 2]);
        let each = [equal.clone(), trouble("deeper")];
        let own = unknown(judged(trouble("varied"), &equal, &each));
        assert_eq!(own, "at another place: deeper");
        let own = unknown(judged(
            trouble("varied"),
            &equal,
            &[equal.clone(), equal.clone()],
        ));
        assert_eq!(own, "in another environment at another place: varied");
    }
}
