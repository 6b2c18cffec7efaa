//! The straight line: discover, plan, replay, read, compare, judge, attribute, report.

mod artifacts;
pub mod aspect;
mod escapes;
mod excerpt;
mod expand;
mod hazards;
mod hints;
mod infection;
mod judge;
pub mod parity;
mod place;
mod policy;
#[cfg(feature = "remote")]
pub mod remote;
mod scripts;
mod sides;
mod since;
mod traced;
mod undeclared;
mod verdict;
mod words;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fs_err::File;

use crate::interrupt::Interrupt;
use crate::lint::levels::{CrateGlob, Levels};
use crate::lint::offenders::{self, Offender};
use crate::plan::strategy::{SideEdits, Strategy};
use crate::plan::variation::Variation;
use crate::project::bazel::BazelError;
use crate::project::git::GitError;
use crate::project::{self, Action, Build, RecordingError};
use crate::replay::{self, ReplayError, Replayer};
use crate::report::{self, CrateVerdict, Enforced, NotChecked, Report, Summary, Verdict, json};
use crate::rustc::toolchain::{Toolchain, ToolchainError};
use crate::sandbox::{Mechanism, SandboxError};
use crate::trace::ModuleCache;

use judge::{Judge, Judged};

/// What verdicts rest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// What the build made twice by itself: nothing is compiled again.
    Free,
    /// Compiles repeated here.
    Local,
}

/// How to check, once the build is recorded.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What verdicts rest on.
    pub engine: Engine,
    /// The strategies, in the order in which they are reported.
    pub strategies: Vec<Strategy>,
    /// What the user's build rules do on one side only.
    pub edits: SideEdits,
    /// The variations.
    pub vary: Vec<Variation>,
    /// Compiles of each replayed side.
    pub runs: usize,
    /// Compiles at one time.
    pub jobs: usize,
    /// Whether crates in which nothing but rustc ran are taken for safe.
    pub triage: bool,
    /// Longest time for one compile.
    pub timeout: Duration,
    /// What confines compiles; `None` for the best that can be had.
    pub sandbox: Option<Mechanism>,
    /// What was typed, for the report to say how to repeat it.
    pub command: report::Command,
    /// The level of each finding.
    pub levels: Levels,
    /// Crates that are known to be at fault.
    pub offenders: Vec<Offender>,
    /// Files that the user declares, although the build does not.
    pub inputs: Vec<Inputs>,
    /// Check only what can have changed since then.
    pub since: Option<Since>,
}

/// What `--since` asks for.
#[derive(Debug, Clone)]
pub struct Since {
    /// The git revision, as it was typed.
    pub revision: String,
    /// The configuration that holds, if there is one: another one may judge otherwise.
    pub configuration: Option<PathBuf>,
}

/// Files that crates may read although the build does not declare them.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// The crates.
    pub krate: CrateGlob,
    /// The files, absolute; a folder stands for all in it.
    pub files: BTreeSet<PathBuf>,
}

impl Settings {
    /// The files that are declared for a crate.
    fn inputs_of(&self, id: &str) -> impl Iterator<Item = &PathBuf> {
        let of_crate = self.inputs.iter().filter(move |own| own.krate.matches(id));
        of_crate.flat_map(|own| &own.files)
    }
}

/// Why a check came to no report.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The build could not be recorded.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// rustc does not answer.
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    /// A compile could not be repeated.
    #[error("while checking `{id}`: {source}")]
    Replay {
        /// The crate.
        id: String,
        /// What went wrong.
        source: ReplayError,
    },
    /// The sandbox that was asked for cannot be had.
    #[error("no compile can run in the sandbox that `--sandbox` asks for: {0}")]
    Sandbox(#[from] SandboxError),
    /// Interrupted before there was anything to report.
    #[error("interrupted")]
    Interrupted,
    /// Of other build systems' builds nothing is known of another time.
    #[error(
        "`--since` needs a Cargo build: leave it out, or check the workspace with `--build-system cargo`"
    )]
    SinceCargo,
    /// git does not tell what changed.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The compiler lacks what a strategy needs.
    #[error(
        "`{strategy}` needs rustc 1.{since} or newer, and this is {version}; leave it out with `--strategies`"
    )]
    TooOld {
        /// The strategy.
        strategy: &'static str,
        /// The first minor release that has it.
        since: u32,
        /// The compiler.
        version: String,
    },
    /// The cluster.
    #[cfg(feature = "remote")]
    #[error(transparent)]
    Remote(crate::remote::RemoteError),
    /// An action of the aspect left no report.
    #[error(
        "{} is no report of this svhcheck: {source}; Bazel may have it from another version, `bazel clean` makes it anew", .path.display()
    )]
    ActionReport {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The journal could not be written.
    #[error(transparent)]
    Journal(#[from] io::Error),
    /// Nothing was made twice.
    #[error(
        "nothing to compare for free: this build makes no crate's metadata in a process of its own, so pipelined compilation is off; turn it on with `--bazel-flag=--@rules_rust//rust/settings:pipelined_compilation=True`, or build the `[metadata]` and `[rlib]` of Buck2's targets, or leave `--engine free` out"
    )]
    NotPipelined,
    /// The patterns choose only targets without metadata.
    #[error(
        "nothing to check: none of the chosen targets is a library or proc macro, and only these have an SVH"
    )]
    Nothing,
}

#[cfg(feature = "remote")]
impl From<crate::remote::RemoteError> for CheckError {
    fn from(error: crate::remote::RemoteError) -> Self {
        match error {
            crate::remote::RemoteError::Interrupted => Self::Interrupted,
            error => Self::Remote(error),
        }
    }
}

/// What happens during a check, for whoever shows it. Every method may be left out.
pub trait Events: Sync {
    /// The build is recorded.
    fn recorded(&self, _build: &Build) {}
    /// This many crates will be judged.
    fn counted(&self, _crates: usize) {}
    /// Work on a crate begins.
    fn started(&self, _id: &str) {}
    /// A crate has its verdict.
    fn judged(&self, _verdict: &CrateVerdict) {}
    /// No more crates will be judged.
    fn finished(&self) {}
}

/// Records the build and checks its crates.
pub fn check(
    request: &project::Request,
    settings: &Settings,
    interrupt: &Interrupt,
    events: &dyn Events,
) -> Result<Report, CheckError> {
    // A revision that is not there is told before a long build.
    let since = settings.since.as_ref();
    let since = since.map(|own| since::Scope::open(request, own, interrupt));
    let since = since.transpose();
    let since = since.map_err(|error| unless_interrupted(error, interrupt))?;
    let build = project::record(request, interrupt);
    let build = build.map_err(|error| unrecorded(error, interrupt))?;
    check_build(build, since, settings, interrupt, events)
}

/// What an interrupt ends seems to have failed.
fn unless_interrupted(error: CheckError, interrupt: &Interrupt) -> CheckError {
    if interrupt.is_set() {
        CheckError::Interrupted
    } else {
        error
    }
}

/// Why there is no recorded build.
fn unrecorded(error: impl Into<RecordingError>, interrupt: &Interrupt) -> CheckError {
    unless_interrupted(error.into().into(), interrupt)
}

/// A build that `fails` is an error, but for one with a guilty crate, which may be why: a pipelined one
/// ends with E0460.
fn unless_broken(report: Report, fails: bool) -> Result<Report, CheckError> {
    let guilty = |own: &CrateVerdict| own.verdict == Verdict::Nondeterministic;
    if fails && !report.crates.iter().any(guilty) {
        return Err(RecordingError::from(BazelError::BuildFails).into());
    }
    Ok(report)
}

/// Checks the crates of a recorded build, or those in the scope of `--since`.
fn check_build(
    mut build: Build,
    since: Option<since::Scope>,
    settings: &Settings,
    interrupt: &Interrupt,
    events: &dyn Events,
) -> Result<Report, CheckError> {
    let first = build.wanted().next().ok_or(CheckError::Nothing)?;
    if settings.engine == Engine::Free && !build.wanted().any(|own| own.metadata.is_some()) {
        return Err(CheckError::NotPipelined);
    }
    let toolchain = Toolchain::resolve(&first.program, &first.env, &first.cwd)?;
    let too_old = |own: &&Strategy| toolchain.release < (1, own.row().since, 0);
    if let Some(strategy) = settings.strategies.iter().find(too_old) {
        return Err(CheckError::TooOld {
            strategy: strategy.name(),
            since: strategy.row().since,
            version: toolchain.version,
        });
    }
    let tracer = replay::can_trace(&toolchain.rustc, &first.env);
    let since = since.map(|own| own.narrow(&mut build, settings, interrupt));
    let since = since.transpose();
    let since = since.map_err(|error| unless_interrupted(error, interrupt))?;
    let tracer = tracer
        .map(|()| ModuleCache::new())
        .map_err(|error| error.to_string());
    let possible = tracer.as_ref().map(|_| ()).map_err(String::as_str);
    let chosen = policy::choose(settings.sandbox, possible)?;
    events.recorded(&build);
    events.counted(build.wanted().count());
    let bench = Bench {
        build: &build,
        toolchain: &toolchain,
        settings,
        tracer: &tracer,
        chosen: &chosen,
        since,
    };
    let judged = bench.judge_all(interrupt, events)?;
    events.finished();
    Ok(bench.report(judged, interrupt.is_set()))
}

/// What judging needs.
struct Bench<'a> {
    build: &'a Build,
    toolchain: &'a Toolchain,
    settings: &'a Settings,
    /// What the tracer knows of mapped files, or why there is no tracer.
    tracer: &'a Result<ModuleCache, String>,
    /// What confines runs.
    chosen: &'a policy::Chosen,
    /// What `--since` left to do.
    since: Option<since::Narrowed>,
}

impl Bench<'_> {
    /// Judges every crate, the largest first, `jobs` at a time. An interrupt keeps what is done.
    fn judge_all(
        &self,
        interrupt: &Interrupt,
        events: &dyn Events,
    ) -> Result<Vec<Judged>, CheckError> {
        let replayer = Replayer {
            toolchain: self.toolchain.clone(),
            scratch: self.build.scratch.path().to_path_buf(),
            timeout: self.settings.timeout,
            interrupt: interrupt.clone(),
        };
        let mut queue: Vec<&Action> = self.build.wanted().collect();
        queue.retain(|own| self.is_judged(own));
        queue.sort_by(|a, b| a.weight.cmp(&b.weight).then_with(|| b.id.cmp(&a.id)));
        let queue = Mutex::new(queue);
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let (sender, results) = mpsc::channel();
        let mut journal = File::create(self.journal_path())?;
        std::thread::scope(|scope| {
            for slot in 0..self.settings.jobs.max(1) {
                let (sender, replayer, next) = (sender.clone(), &replayer, &next);
                scope.spawn(move || {
                    while let Some(action) = next().filter(|_| !interrupt.is_set()) {
                        events.started(&action.id);
                        let judged = Judge {
                            action,
                            build: self.build,
                            replayer,
                            settings: self.settings,
                            modules: self.tracer.as_ref().ok(),
                            slot,
                            mechanism: self.chosen.mechanism,
                        };
                        let judged = judged.judge();
                        let failed = judged.is_err();
                        if sender.send((&action.id, judged)).is_err() || failed {
                            break;
                        }
                    }
                });
            }
            drop(sender);
            let mut done = Vec::new();
            let mut failure = None;
            for (id, result) in results {
                match result {
                    Ok(judged) => {
                        let line =
                            serde_json::to_string(&judged.verdict).map_err(io::Error::from)?;
                        writeln!(journal, "{line}")?;
                        events.judged(&judged.verdict);
                        done.push(judged);
                    }
                    Err(ReplayError::Interrupted) => {}
                    Err(source) => {
                        // One crate that cannot be checked for want of disk or compiler means that
                        // none can; end the others' compiles too.
                        interrupt.trigger();
                        failure.get_or_insert(CheckError::Replay {
                            id: id.clone(),
                            source,
                        });
                    }
                }
            }
            failure.map_or(Ok(done), Err)
        })
    }

    /// Whether there is something to judge a crate by.
    fn is_judged(&self, action: &Action) -> bool {
        self.settings.engine != Engine::Free || action.metadata.is_some()
    }

    /// Where verdicts are written as they come, one JSON object a line.
    fn journal_path(&self) -> PathBuf {
        let area = self
            .build
            .scratch
            .path()
            .parent()
            .unwrap_or(&self.build.root);
        area.join("verdicts.jsonl")
    }

    fn report(&self, judged: Vec<Judged>, interrupted: bool) -> Report {
        let names = |list: &[Variation]| list.iter().map(|own| own.name().to_owned()).collect();
        let strategies = self.settings.strategies.iter();
        let mut report = Report {
            version: json::VERSION,
            rustc: self.toolchain.version.clone(),
            strategies: strategies.map(|own| own.name().to_owned()).collect(),
            variations: names(&self.settings.vary),
            crates: Vec::new(),
            findings: Vec::new(),
            not_checked: self.not_checked(&judged),
            sandbox: Enforced {
                mechanism: self.chosen.mechanism.to_string(),
                why: self.chosen.why.clone(),
            },
            summary: Summary {
                interrupted,
                ..Summary::default()
            },
            command: Some(self.settings.command.clone()),
            since: self.since.as_ref().map(|own| own.report.clone()),
        };
        for (verdict, findings) in infection::spread(self.build, judged) {
            report.crates.push(verdict);
            report.findings.extend(findings);
        }
        let wanted: BTreeSet<&str> = self.build.wanted().map(|own| own.id.as_str()).collect();
        let mut fit = artifacts::fit(self.build);
        fit.retain(|own| wanted.contains(own.krate.as_str()));
        report.findings.extend(fit);
        for finding in &mut report.findings {
            hints::look(self.build, finding);
            offenders::advise(&self.settings.offenders, finding);
        }
        self.settings.levels.apply(&mut report.findings);
        report.finish();
        report
    }

    fn not_checked(&self, judged: &[Judged]) -> Vec<NotChecked> {
        let entry = NotChecked::new;
        let without = self.build.without_metadata.iter();
        let mut found: Vec<NotChecked> = without.map(|(what, why)| entry(what, why)).collect();
        for action in self.build.wanted() {
            if !self.is_judged(action) {
                let why = "the build made it in one process, so there was nothing to compare for free; `--engine local` compiles it again";
                found.push(entry(&action.id, why));
            } else if !judged.iter().any(|judged| judged.verdict.id == action.id) {
                found.push(entry(
                    &action.id,
                    "the check was interrupted before it was done",
                ));
            }
        }
        for own in judged {
            let unknown = own.unknown.iter();
            found.extend(unknown.map(|why| entry(&own.verdict.id, why)));
        }
        if self.settings.engine == Engine::Free {
            let why = "nothing was compiled again: what came out equal by chance is not seen; `--engine local` varies the world";
            found.push(entry("randomness, time and all else that can vary", why));
            return found;
        }
        if let Err(why) = self.tracer {
            let what = "randomness, time, directory order and undeclared files";
            found.push(entry(
                what,
                &format!("only chance varied them, and nobody watched: {why}"),
            ));
        }
        let scripts = self.build.unseen_scripts.iter();
        found.extend(scripts.map(|(what, why)| entry(what, why)));
        if let Some(why) = &self.chosen.why {
            let what = format!("containment beyond `{}`", self.chosen.mechanism);
            found.push(entry(&what, why));
        }
        if let Some(own) = &self.since {
            let why = own.why_skipped();
            found.extend(own.skipped.iter().map(|id| entry(id, &why)));
        }
        if !self.settings.vary.contains(&Variation::BuildPath) {
            let why = "varied only for crates that ask for their place; `--vary default,build-path` does it for all";
            found.push(entry("the build path", why));
        }
        found
    }
}
