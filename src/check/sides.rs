//! The compiles of one crate: each side of a pair is run once, however many strategies share it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fs_err as fs;

use super::Settings;
use super::policy::{self, Doubts};
use crate::artifact;
use crate::artifact::metadata::{CrateRoot, DepKind, Svh};
use crate::attribute::{Answer, Observed};
use crate::plan::strategy::{Pair, Side, possible};
use crate::plan::variation::{Change, Setting, Variation};
use crate::plan::{CommandLine, Stop, Trial};
use crate::project::{Action, TargetKind};
use crate::replay::by_hand::ByHand;
use crate::replay::confine::Confine;
use crate::replay::sight::{Sighting, Watch, What};
use crate::replay::{Outcome, ReplayError, Replayer, Run, Seat};

/// After so many compiles that had to be ended, no more are made: each costs its whole time limit.
const MOST_ENDED: u32 = 2;

/// What one side of a pair gave.
pub(super) struct Made {
    pub(super) observed: Observed,
    pub(super) root: Option<CrateRoot>,
    artifact: Option<PathBuf>,
    /// Keeps the artifact's folder; none for the recorded build.
    run: Option<Run>,
}

impl Made {
    pub(super) fn svh(&self) -> Option<Svh> {
        self.root.as_ref().map(|root| root.svh)
    }

    /// The file that was made.
    pub(super) fn artifact(&self) -> Option<&Path> {
        self.artifact.as_deref()
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
    /// Whether runs see no more than what is declared.
    confined: Cell<bool>,
    /// What confines those that see everything.
    wide: Option<Confine>,
    /// How many compiles had to be ended, and why the last one.
    ended: RefCell<(u32, String)>,
    /// What the sandbox did to them.
    pub(super) doubts: RefCell<Doubts>,
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
        wide: Option<Confine>,
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
        let confined = Cell::new(seat.confine.is_some());
        Ok(Self {
            action,
            replayer,
            settings,
            seat,
            recorded,
            second,
            made: Vec::new(),
            seen,
            confined,
            wide,
            ended: RefCell::default(),
            doubts: RefCell::default(),
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

    /// What the runs are watched for; nothing without a tracer.
    pub(super) fn watch(&self) -> Option<&Watch> {
        self.seat.watch.as_ref()
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
        if let (MOST_ENDED.., why) = &*self.ended.borrow() {
            let answer = Answer::Failed(why.clone());
            return Ok(Made {
                observed: Observed {
                    trial: trial.clone(),
                    answer,
                },
                root: None,
                artifact: None,
                run: None,
            });
        }
        let mut run = self.one(trial, self.confined.get())?;
        if run.confined && !self.confined.get() {
            run = policy::told(run);
        } else if run.confined {
            let vary = self.vary().into_iter();
            let pinned = vary.filter_map(|own| own.change(self.action, Setting::PINNED));
            run = policy::second_look(self, trial, run, pinned.collect())?;
        }
        let root = match &run.outcome {
            Outcome::Made(root) => Some((**root).clone()),
            _ => None,
        };
        let observed = Observed {
            trial: trial.clone(),
            answer: answer(&run.outcome),
        };
        Ok(Made {
            observed,
            root,
            artifact: run.artifact.clone(),
            run: Some(run),
        })
    }

    /// Runs a trial once, in the crate's sandbox or in the wide one.
    pub(super) fn one(&self, trial: &Trial, confined: bool) -> Result<Run, ReplayError> {
        let given_up = self.doubts.borrow().given_up.is_some();
        let confine = match (given_up, confined) {
            (true, _) => &None,
            (_, true) => &self.seat.confine,
            (_, false) => &self.wide,
        };
        let seat = Seat {
            confine: confine.clone(),
            ..self.seat.clone()
        };
        match self.replayer.run(self.action, trial, &seat) {
            Err(ReplayError::Sandbox(why)) if !given_up => {
                self.confined.set(false);
                self.doubts.borrow_mut().given_up = Some(why);
                self.one(trial, false)
            }
            run => Ok(self.note(run?)),
        }
    }

    /// Notes what macros asked in a run.
    fn note(&self, run: Run) -> Run {
        let sightings = run.sightings.iter().cloned();
        self.seen.borrow_mut().extend(sightings);
        if let (true, Outcome::Failed(why)) = (run.was_ended, &run.outcome) {
            let mut ended = self.ended.borrow_mut();
            *ended = (ended.0 + 1, why.clone());
        }
        run
    }

    /// Lets runs from here on see everything, for what the sandbox refused changed the output.
    pub(super) fn leave_sandbox(&self, moved: BTreeSet<What>, sentence: String) {
        self.confined.set(false);
        let said = !sentence.is_empty();
        self.doubts.borrow_mut().moved = said.then_some((moved, sentence));
    }

    /// What a trial gives, for explanations.
    pub(super) fn ask(&self, trial: &Trial) -> Result<Answer, ReplayError> {
        Ok(self.run(trial)?.observed.answer)
    }
}

/// What a run gave, for explanations.
pub(super) fn answer(outcome: &Outcome) -> Answer {
    match outcome {
        Outcome::Made(root) => Answer::Svh(root.svh),
        Outcome::Expanded(digest) => Answer::Expansion(digest.to_string()),
        Outcome::Failed(why) => Answer::Failed(why.clone()),
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
        run: None,
    })
}

/// Copies the artifacts of two sides that differ to `folder`, for a look by hand, each with a script
/// that makes it again.
pub(super) fn keep(action: &Action, folder: &Path, sides: [&Made; 2]) -> Result<(), ReplayError> {
    for (side, name) in sides.into_iter().zip(["metadata", "full"]) {
        let folder = folder.join(name);
        fs::create_dir_all(&folder).map_err(ReplayError::Io)?;
        let by_hand = match &side.run {
            Some(run) => run.by_hand.clone(),
            None => ByHand::recorded(action, &folder.join("work")),
        };
        let script = folder.join("command.sh");
        fs::write(&script, by_hand.script()).map_err(ReplayError::Io)?;
        let executable = Permissions::from_mode(0o755);
        fs::set_permissions(&script, executable).map_err(ReplayError::Io)?;
        let Some(path) = &side.artifact else { continue };
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
