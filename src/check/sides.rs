//! The compiles of one crate: each side of a pair is run once, however many strategies share it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use fs_err as fs;

use super::Settings;
use crate::artifact;
use crate::artifact::metadata::{CrateRoot, DepKind, Svh};
use crate::attribute::{Answer, Observed};
use crate::plan::strategy::{Pair, Side, possible};
use crate::plan::variation::{Change, Setting, Variation};
use crate::plan::{CommandLine, Stop, Trial};
use crate::project::{Action, TargetKind};
use crate::replay::sight::Sighting;
use crate::replay::{Outcome, ReplayError, Replayer, Run, Seat};

/// What one side of a pair gave.
pub(super) struct Made {
    pub(super) observed: Observed,
    pub(super) root: Option<CrateRoot>,
    artifact: Option<PathBuf>,
    /// Keeps the artifact's folder.
    _run: Option<Run>,
}

impl Made {
    pub(super) fn svh(&self) -> Option<Svh> {
        self.root.as_ref().map(|root| root.svh)
    }
}

/// Runs compiles of one crate and remembers them.
pub(super) struct Sides<'a> {
    action: &'a Action,
    replayer: &'a Replayer,
    settings: &'a Settings,
    seat: Seat,
    /// The recorded build's rlib or shared library, and its `.rmeta`.
    recorded: [Made; 2],
    /// The recorded build's metadata, where a process of its own made it.
    second: Option<Made>,
    made: Vec<(Key, Made)>,
    /// What macros asked in any of the runs.
    seen: RefCell<BTreeSet<Sighting>>,
}

/// What tells one run from another: its trial before variation, whether it is varied, its number.
#[derive(PartialEq, Eq, Clone)]
struct Key(Trial, bool, usize);

impl<'a> Sides<'a> {
    pub(super) fn new(
        action: &'a Action,
        replayer: &'a Replayer,
        settings: &'a Settings,
        seat: Seat,
    ) -> Result<Self, ReplayError> {
        let command = CommandLine::recorded(action);
        let read = |path: Option<&PathBuf>| {
            let path = path.map_or(Path::new(""), PathBuf::as_path);
            recorded(action, command.clone(), path)
        };
        let recorded = [read(action.outputs.first())?, read(action.outputs.last())?];
        let second = action.metadata.as_ref().map(|second| {
            let command = CommandLine {
                args: second.args.clone(),
                env: second.env.clone(),
            };
            self::recorded(action, command, &second.output)
        });
        let second = second.transpose()?;
        let seen = RefCell::default();
        Ok(Self {
            action,
            replayer,
            settings,
            seat,
            recorded,
            second,
            made: Vec::new(),
            seen,
        })
    }

    /// The recorded build's own side.
    pub(super) fn recorded(&self) -> &Made {
        &self.recorded[0]
    }

    /// The recorded crate's root.
    pub(super) fn into_root(self) -> CrateRoot {
        let [full, _] = self.recorded;
        full.root.expect("the recorded build made metadata")
    }

    /// The recorded build's metadata, where a process of its own made it.
    pub(super) fn second(&self) -> Option<&Made> {
        self.second.as_ref()
    }

    /// What macros asked of the world in all runs so far, sorted.
    pub(super) fn seen(&self) -> Vec<Sighting> {
        self.seen.borrow().iter().cloned().collect()
    }

    /// Whether the recorded compile loaded a proc macro.
    pub(super) fn loads_macros(&self) -> bool {
        let root = self.recorded().root.as_ref();
        root.is_some_and(|root| root.deps.iter().any(|dep| dep.kind == DepKind::MacrosOnly))
    }

    /// Runs without the tracer from here on.
    pub(super) fn stop_watching(&mut self) {
        self.seat.watch = None;
    }

    /// The expanded source of the crate; empty if it does not expand.
    pub(super) fn expanded(&self, trial: &Trial) -> Result<Vec<u8>, ReplayError> {
        let made = self.run(trial)?;
        match (&made.observed.answer, &made.artifact) {
            (Answer::Expansion(_), Some(path)) => fs::read(path).map_err(ReplayError::Io),
            _ => Ok(Vec::new()),
        }
    }

    /// Whether runs were watched and steered.
    pub(super) fn watched(&self) -> bool {
        self.seat.watch.is_some()
    }

    /// The variations that hold for every run: all that were chosen, but for the one that needs
    /// compiles of its own, and for those that need the tracer where there is none.
    pub(super) fn vary(&self) -> Vec<Variation> {
        let possible = |own: &&Variation| {
            **own != Variation::BuildPath && (self.watched() || !own.is_steered())
        };
        self.settings
            .vary
            .iter()
            .filter(possible)
            .copied()
            .collect()
    }

    /// How many settings of every variation the runs so far were made in.
    pub(super) fn settings_run(&self) -> u32 {
        let varied = self.made.iter().filter(|(key, _)| key.1).count();
        u32::try_from(varied).unwrap_or(u32::MAX - 1)
    }

    /// Makes sure that the `repeat`-th run of both sides is there. The metadata side runs in a
    /// varied world, the full side in the plain one.
    pub(super) fn make(&mut self, pair: &Pair, repeat: usize) -> Result<(), ReplayError> {
        for (side, varied) in [(&pair.metadata, true), (&pair.full, false)] {
            let Side::Replay(base) = side else { continue };
            let key = Key(base.clone(), varied, repeat);
            if self.made.iter().any(|(own, _)| *own == key) {
                continue;
            }
            let cache = &self.seat.incremental;
            // The metadata side is the cold one; the full side follows in the same cache.
            if base.incremental && varied && cache.exists() {
                fs::remove_dir_all(cache).map_err(ReplayError::Io)?;
            }
            let changes = if varied { self.changes() } else { Vec::new() };
            let made = self.run(&base.with(changes))?;
            self.made.push((key, made));
        }
        Ok(())
    }

    /// The sides of a pair that was made.
    pub(super) fn pair(&self, pair: &Pair, repeat: usize) -> [&Made; 2] {
        [(&pair.metadata, true), (&pair.full, false)].map(|(side, varied)| match side {
            Side::Recorded => &self.recorded[0],
            Side::RecordedMetadata => &self.recorded[1],
            Side::Replay(base) => {
                let key = Key(base.clone(), varied, repeat);
                let found = self.made.iter().find(|(own, _)| *own == key);
                &found.expect("`make` was called for this pair").1
            }
        })
    }

    /// Every variation, in another setting for each varied run.
    fn changes(&self) -> Vec<Change> {
        let setting = Setting(self.settings_run() + 1);
        let vary = self.vary().into_iter();
        vary.filter_map(|own| own.change(self.action, setting))
            .collect()
    }

    /// Runs a trial, whether or not one like it was run.
    pub(super) fn run(&self, trial: &Trial) -> Result<Made, ReplayError> {
        let mut run = self.replayer.run(self.action, trial, &self.seat)?;
        self.seen
            .borrow_mut()
            .extend(std::mem::take(&mut run.sightings));
        let (answer, root) = match &run.outcome {
            Outcome::Made(root) => (Answer::Svh(root.svh), Some((**root).clone())),
            Outcome::Expanded(digest) => (Answer::Expansion(digest.to_string()), None),
            Outcome::Failed(why) => (Answer::Failed(why.clone()), None),
        };
        let observed = Observed {
            trial: trial.clone(),
            answer,
        };
        Ok(Made {
            observed,
            root,
            artifact: run.artifact.clone(),
            _run: Some(run),
        })
    }

    /// What a trial gives, for explanations.
    pub(super) fn ask(&self, trial: &Trial) -> Result<Answer, ReplayError> {
        Ok(self.run(trial)?.observed.answer)
    }
}

fn recorded(action: &Action, command: CommandLine, path: &Path) -> Result<Made, ReplayError> {
    // What explanations repeat in the recorded side's stead needs no more than its metadata.
    let stop = match action.kind {
        TargetKind::Lib => Stop::Metadata,
        TargetKind::ProcMacro | TargetKind::NoMetadata => Stop::End,
    };
    let trial = Trial {
        stop: possible(stop, &command),
        command,
        changes: Vec::new(),
        incremental: false,
    };
    let artifact = artifact::open(path)?;
    let mut root = artifact.root()?;
    if let artifact::Completion::From(_, full) = artifact.complete(&root) {
        root = *full;
    }
    let observed = Observed {
        trial,
        answer: Answer::Svh(root.svh),
    };
    Ok(Made {
        observed,
        root: Some(root),
        artifact: Some(path.to_path_buf()),
        _run: None,
    })
}

/// Copies the artifacts of two sides that differ to `folder`, for a look by hand.
pub(super) fn keep(folder: &Path, sides: [&Made; 2]) -> Result<(), ReplayError> {
    for (side, name) in sides.into_iter().zip(["metadata", "full"]) {
        let Some(path) = &side.artifact else { continue };
        let folder = folder.join(name);
        fs::create_dir_all(&folder).map_err(ReplayError::Io)?;
        if let Some(file) = path.file_name() {
            fs::copy(path, folder.join(file)).map_err(ReplayError::Io)?;
        }
    }
    Ok(())
}

/// A crate's id as a file name.
pub(super) fn file_name(id: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "-_.@#".contains(c) {
            c
        } else {
            '_'
        }
    };
    id.trim_start_matches('/')
        .chars()
        .map(plain)
        .take(200)
        .collect()
}
