//! What a crate declared, what its macros wanted beyond that, and whether it matters: the sandbox of
//! a crate's runs, and a second look at those that it may have disturbed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::attribute::Answer;
use crate::lint::{Finding, Grade};
use crate::os_text::normalized;
use crate::plan::Trial;
use crate::plan::variation::Change;
use crate::project::{Action, Build};
use crate::replay::confine::{Confine, is_kernels};
use crate::replay::sight::{Sighting, What};
use crate::replay::{Outcome, ReplayError, Replayer, Run};
use crate::rustc::args::INPUT;
use crate::sandbox::{Choice, Mechanism, Policy, SandboxError};

use super::sides::Sides;

/// Most paths that one finding names.
pub(super) const MAX_PATHS: usize = 8;

/// What confines the runs of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) mechanism: Mechanism,
    /// What is not enforced and why, in a line.
    pub(super) why: Option<String>,
}

/// Chooses the mechanism: the one that is wanted, or the best that can be had.
pub(super) fn choose(
    wish: Option<Mechanism>,
    tracer: Result<(), &str>,
) -> Result<Chosen, SandboxError> {
    if let Err(why) = tracer {
        // Runs that are not traced are not confined either.
        return match wish {
            Some(Mechanism::Namespaces | Mechanism::Landlock) => Err(SandboxError::Step {
                step: "be entered without the tracer".to_owned(),
                advice: None,
                source: std::io::Error::other(why.to_owned()),
            }),
            _ => Ok(Chosen {
                mechanism: Mechanism::None,
                why: Some(format!("no run can be traced: {why}")),
            }),
        };
    }
    Ok(match wish {
        None => {
            let choice = Mechanism::choose();
            Chosen {
                mechanism: choice.mechanism,
                why: weaker(&choice),
            }
        }
        Some(mechanism) => {
            mechanism.probe()?;
            Chosen {
                mechanism,
                why: mechanism
                    .lacks()
                    .map(|lacks| format!("chosen by --sandbox; not enforced: {lacks}")),
            }
        }
    })
}

fn weaker(choice: &Choice) -> Option<String> {
    let line = choice.to_string();
    let start = format!("sandbox: {}; ", choice.mechanism);
    line.strip_prefix(&start).map(str::to_owned)
}

/// What one crate declared, as far as Cargo knows it.
#[derive(Debug, Clone)]
pub(super) struct Declared {
    shown: Arc<[PathBuf]>,
    /// What rustc itself may look at besides: sources of dependencies, for what came out of their
    /// `macro_rules!`. Macros have no business there.
    beside: Arc<[PathBuf]>,
    /// Where runs write.
    scratch: PathBuf,
    temp: PathBuf,
}

impl Declared {
    pub(super) fn of(action: &Action, build: &Build, replayer: &Replayer) -> Self {
        let mut shown = Self::common(action, build, replayer);
        let absolute = |path: &Path| normalized(&action.cwd.join(path));
        for option in action.args.options() {
            let Some(value) = option.value else { continue };
            match option.name {
                INPUT => shown.push(absolute(Path::new(value))),
                "--library-path" => {
                    let text = value.to_string_lossy();
                    let path = text.split_once('=').map_or(&*text, |(_, path)| path);
                    shown.push(absolute(Path::new(path)));
                }
                _ => {}
            }
        }
        let externs = action.args.externs().into_iter();
        shown.extend(externs.map(|(_, path)| absolute(&path)));
        shown.extend(action.out_dir.clone());
        // Where its build script's output lies when that is tried.
        shown.push(replayer.out_dir(action));
        Self {
            beside: sources(action, build).into(),
            ..Self::new(shown, action, replayer)
        }
    }

    /// What a build script declared; `known` are places that Cargo keeps up to date for it.
    pub(super) fn of_script(
        script: &Action,
        build: &Build,
        replayer: &Replayer,
        known: &BTreeSet<PathBuf>,
    ) -> Self {
        let mut shown = Self::common(script, build, replayer);
        let cargo = cargo_home(script);
        let known = known.iter().filter(|path| {
            let own = |own: &PathBuf| own == *path;
            !cargo.as_ref().is_some_and(own) && **path != replayer.scratch && !is_kernels(path)
        });
        shown.extend(known.cloned());
        // Not the credentials, which lie beside them.
        let parts = ["bin", "config", "config.toml", "git", "registry"].iter();
        shown.extend(
            cargo
                .iter()
                .flat_map(|home| parts.clone().map(|name| home.join(name))),
        );
        Self::new(shown, script, replayer)
    }

    /// What every run sees.
    fn common(action: &Action, build: &Build, replayer: &Replayer) -> Vec<PathBuf> {
        let mut shown = Policy::system_paths();
        shown.push(replayer.toolchain.sysroot.clone());
        match &action.layout {
            // The links, and what they lead to.
            Some(layout) => {
                let toolchain = &replayer.toolchain.sysroot;
                shown.push(layout.home(&action.cwd));
                shown.push(action.program.clone());
                let files = layout.resolved().into_iter();
                shown.extend(files.filter(|path| !path.starts_with(toolchain)));
                return shown;
            }
            None => shown.push(action.package.root.clone()),
        }
        shown.extend(action.declared_files());
        // Cargo itself reads these: a change of them is a change of the build.
        let manifests = action.manifests();
        shown.extend(manifests.filter(|path| path.starts_with(&build.root)));
        shown
    }

    fn new(mut shown: Vec<PathBuf>, action: &Action, replayer: &Replayer) -> Self {
        // By both names, where a link leads to them.
        let real: Vec<PathBuf> = shown
            .iter()
            .filter_map(|path| path.canonicalize().ok())
            .collect();
        shown.extend(real);
        shown.sort();
        shown.dedup();
        let temp = action.env.get(OsStr::new("TMPDIR"));
        Self {
            shown: shown.into(),
            beside: Arc::default(),
            scratch: replayer.scratch.clone(),
            temp: temp.map_or_else(|| PathBuf::from("/tmp"), PathBuf::from),
        }
    }

    /// What confines the crate's runs.
    pub(super) fn confine(&self, mechanism: Mechanism) -> Confine {
        let all = self.shown.iter().chain(self.beside.iter());
        Confine {
            mechanism,
            shown: all.cloned().collect(),
        }
    }

    /// What confines a second look: every file may be read, and still none be written outside the
    /// run's folder, no other machine reached and no other process. So nothing that a hostile macro
    /// is refused is given to it by failing.
    pub(super) fn wide(&self, mechanism: Mechanism) -> Confine {
        // The root of name spaces is put together in a folder that is not shown.
        let aside = ["/mnt", "/media", "/srv", "/opt"].iter().map(Path::new);
        let mut aside = aside.filter(|path| path.is_dir());
        let aside = aside.find(|path| !self.shown.iter().any(|own| own.starts_with(path)));
        let own = |path: &Path| is_kernels(path) || path == Path::new("/tmp");
        let mut shown: Vec<PathBuf> = entries(Path::new("/"))
            .chain(entries(Path::new("/tmp")))
            .filter(|path| !own(path) && Some(&**path) != aside)
            .collect();
        shown.extend_from_slice(&self.shown);
        Confine {
            mechanism,
            shown: shown.into(),
        }
    }

    fn covers(&self, path: &Path) -> bool {
        let path = normalized(path);
        let own = |own: &PathBuf| path.starts_with(own);
        self.shown.iter().any(own) || path.starts_with(&self.scratch) || is_kernels(&path)
    }

    /// Whether something reaches beyond what the crate declared.
    pub(super) fn is_escape(&self, seen: &Sighting) -> bool {
        match &seen.what {
            What::Network | What::Process => true,
            What::Write(path) => !self.may_write(path),
            What::Status(path) => {
                let path = normalized(path);
                // The folders on the way to what is shown are there in every sandbox.
                !self.covers(&path) && !self.shown.iter().any(|own| own.starts_with(&path))
            }
            What::Read(path) | What::List(path) => !self.covers(path),
            What::Exec(argv) => {
                let program = argv.first().map_or(Path::new(""), Path::new);
                seen.refused || (program.is_absolute() && !self.covers(program))
            }
            _ => false,
        }
    }

    /// Whether a path is the run's own, or a temporary file that it took away again.
    fn may_write(&self, path: &Path) -> bool {
        let path = normalized(path);
        let passing = || {
            let below = path.strip_prefix(&self.temp).ok()?;
            let first = self.temp.join(below.components().next()?);
            Some(first.symlink_metadata().is_err())
        };
        path.starts_with(&self.scratch) || is_kernels(&path) || passing() == Some(true)
    }
}

/// Where the sources of all that a crate depends on lie.
fn sources(action: &Action, build: &Build) -> Vec<PathBuf> {
    let made: BTreeMap<&Path, &Action> = build
        .actions
        .iter()
        .flat_map(|own| own.outputs.iter().map(move |path| (&**path, own)))
        .collect();
    let mut reached: BTreeMap<&str, &Action> = BTreeMap::new();
    let mut next = vec![action];
    while let Some(action) = next.pop() {
        let externs = action.args.externs().into_iter();
        let paths = externs.map(|(_, path)| normalized(&action.cwd.join(path)));
        for dependency in paths.filter_map(|path| made.get(&*path)) {
            if reached.insert(&dependency.id, dependency).is_none() {
                next.push(dependency);
            }
        }
    }
    // Registries as a whole: a mount for each of hundreds of packages costs more than the compile.
    let cargo = cargo_home(action).unwrap_or_default();
    let caches = ["registry", "git"].map(|name| cargo.join(name));
    let roots = reached.values().map(|own| own.package.root.clone());
    let elsewhere = roots.filter(|root| !caches.iter().any(|cache| root.starts_with(cache)));
    let mut found: Vec<PathBuf> = elsewhere.collect();
    found.extend(caches);
    found
}

/// Where Cargo keeps registries, and its own programs.
pub(super) fn cargo_home(action: &Action) -> Option<PathBuf> {
    let var = |name: &str| action.env.get(OsStr::new(name)).map(PathBuf::from);
    var("CARGO_HOME").or_else(|| Some(var("HOME")?.join(".cargo")))
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs_err::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path()))
}

/// What the sandbox of one crate's runs did to them.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// Refusals that were looked at.
    judged: BTreeSet<What>,
    /// Refusals that changed the output, and how that showed.
    pub(super) moved: Option<(BTreeSet<What>, String)>,
    /// Why runs are not confined any more.
    pub(super) given_up: Option<String>,
}

/// Looks again at a run that the sandbox may have disturbed, in one that hides nothing. Where it did,
/// the crate's runs stay in the wide one from here on; returns the run that counts.
pub(super) fn second_look(
    sides: &Sides<'_>,
    trial: &Trial,
    run: Run,
    pinned: Vec<Change>,
) -> Result<Run, ReplayError> {
    let fresh = |of: &mut dyn Iterator<Item = &What>| -> BTreeSet<What> {
        let doubts = sides.doubts.borrow();
        let fresh = of.filter(|what| !doubts.judged.contains(what));
        // A write that was refused and not missed is contained; nobody tries it outside.
        let wanted = fresh.filter(|what| !matches!(what, What::Network | What::Write(_)));
        wanted.cloned().collect()
    };
    let refused = run.sightings.iter().filter(|own| own.refused);
    let wanted = fresh(&mut refused.map(|own| &own.what));
    let missed = fresh(&mut run.missed.iter());
    let forget = || {
        let mut doubts = sides.doubts.borrow_mut();
        doubts.judged.extend(wanted.iter().chain(&missed).cloned());
    };
    // Where rustc itself missed something, no macro is to be blamed.
    let leave = |sentence: String| {
        if missed.is_empty() && !wanted.is_empty() {
            sides.leave_sandbox(wanted.clone(), sentence);
        } else {
            sides.leave_sandbox(BTreeSet::new(), String::new());
        }
    };
    if let Outcome::Failed(why) = &run.outcome {
        if !run.failed_by_itself {
            return Ok(run);
        }
        let outside = sides.one(trial, false)?;
        if matches!(outside.outcome, Outcome::Failed(_)) {
            forget();
            return Ok(told(outside));
        }
        leave(format!(
            "in the sandbox, without it, the crate does not compile: {why}"
        ));
        return Ok(outside);
    }
    if wanted.is_empty() && missed.is_empty() {
        return Ok(run);
    }
    let still = trial.with(pinned);
    let answer = |confined| -> Result<Answer, ReplayError> {
        Ok(super::sides::answer(&sides.one(&still, confined)?))
    };
    let (inside, outside) = (answer(true)?, answer(false)?);
    let both = !inside.is_ended() && !outside.is_ended();
    if both && inside.same(&outside) {
        forget();
        return Ok(run);
    }
    if both && outside.same(&answer(false)?) && inside.same(&answer(true)?) {
        let sentence = "in the sandbox, without it, all else held still, the output is another";
        leave(sentence.to_owned());
    } else {
        // It moves by itself or does not end, so nobody can tell; chance is judged where nothing is refused.
        sides.leave_sandbox(BTreeSet::new(), String::new());
    }
    Ok(told(sides.one(trial, false)?))
}

/// Adds to a failure what the sandbox refused even to a run that saw everything. One that was ended did
/// not fail of that.
pub(super) fn told(mut run: Run) -> Run {
    let refused = refused_write(&run.sightings).filter(|_| !run.was_ended);
    let more = refused.map(|path| told_refused("a macro", path));
    if let (Outcome::Failed(why), Some(more)) = (&mut run.outcome, more) {
        why.push_str(&more);
    }
    run
}

/// The first file that a run was not allowed to write.
pub(super) fn refused_write(seen: &[Sighting]) -> Option<&Path> {
    seen.iter().find_map(|own| match &own.what {
        What::Write(path) if own.refused => Some(&**path),
        _ => None,
    })
}

/// Goes behind the reason of a failure.
pub(super) fn told_refused(who: &str, path: &Path) -> String {
    // Where it lies is this machine's own, and said by the escape.
    let name = path.file_name().unwrap_or(path.as_os_str()).display();
    format!("; {who} was refused to write `{name}`, which `--sandbox none` allows")
}

/// What is known of a crate's escapes.
pub(super) struct Escapes {
    pub(super) declared: Declared,
    /// Refusals that changed the output, and how that showed.
    pub(super) moved: Option<(BTreeSet<What>, String)>,
}

impl Escapes {
    /// Whether anything reached beyond what was declared.
    pub(super) fn any(&self, seen: &[Sighting]) -> bool {
        self.moved.is_some() || seen.iter().any(|own| self.declared.is_escape(own))
    }

    /// The finding about one package's escapes of one grade; `template` has crate and culprit.
    pub(super) fn finding(
        &self,
        template: Finding,
        grade: Grade,
        paths: BTreeSet<String>,
        sentences: Vec<String>,
    ) -> Finding {
        let (message, help) = match grade {
            Grade::Confirmed => (
                "a macro reaches beyond what the crate declares, and the output depends on it",
                "declare what it needs among the inputs of the target, or make the macro do without it",
            ),
            Grade::Hazard => (
                "a macro writes files that are not the compile's own",
                "make the macro write to OUT_DIR or nowhere: a sandbox or a remote machine refuses it, or throws it away",
            ),
            Grade::Harmless => (
                "a macro reaches beyond what the crate declares, without effect so far",
                "nothing to do, as far as these runs could tell; a sandbox refuses it",
            ),
        };
        let mut names: Vec<String> = paths.into_iter().collect();
        names.truncate(MAX_PATHS);
        let mut evidence = sentences;
        evidence.dedup();
        evidence.truncate(MAX_PATHS);
        if grade == Grade::Confirmed
            && let Some((_, sentence)) = &self.moved
            && !sentence.is_empty()
        {
            evidence.push(sentence.clone());
        }
        Finding {
            grade,
            names,
            message: message.to_owned(),
            evidence,
            help: help.to_owned(),
            ..template
        }
    }

    /// How sure it is that an escape matters; `proven` are files of which a run has shown it.
    pub(super) fn grade(&self, seen: &Sighting, proven: &BTreeSet<&Path>, network: bool) -> Grade {
        let moved = self
            .moved
            .as_ref()
            .is_some_and(|(moved, _)| moved.contains(&seen.what));
        match &seen.what {
            _ if moved => Grade::Confirmed,
            What::Read(path) | What::List(path) if proven.contains(&**path) => Grade::Confirmed,
            What::Network if network => Grade::Confirmed,
            What::Write(_) | What::Process => Grade::Hazard,
            _ => Grade::Harmless,
        }
    }
}
