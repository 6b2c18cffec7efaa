//! What a compile was seen to ask of the world, and which code asked: the tracer's record, reduced
//! to what macros (or a build script) did.
//!
//! rustc's own doings are left out: only code of the watched files (a macro's shared library, a
//! build script's program) and of processes that it started counts.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::libc;

use super::blame::{callers, own_function};
use super::confine::Confine;
use crate::os_text::normalized;
use crate::plan::variation::{Change, Variation};
use crate::project::is_place;
use crate::trace::{
    Access, Address, BlindSpot, Command, Event, Frame, Injection, ModuleCache, Outcome, ProcessId,
    Steer, Sys, Trace,
};

/// What is watched in a run.
#[derive(Debug, Clone)]
pub struct Watch {
    /// What is known of mapped files, shared by all runs.
    pub modules: ModuleCache,
    /// Files whose code is watched: proc macros' shared libraries, build scripts' programs.
    pub suspects: Arc<BTreeSet<PathBuf>>,
    /// Files and folders whose use by a suspect is no news: the system's and the toolchain's.
    pub known: Arc<BTreeSet<PathBuf>>,
    /// Files that the compile declared. Their content is no news, their times and numbers are.
    pub declared: Arc<BTreeSet<PathBuf>>,
    /// For a build script: the names of the crates that it depends on by itself.
    pub direct: BTreeSet<String>,
}

/// One thing that watched code asked of the world.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sighting {
    /// What.
    pub what: What,
    /// The watched file whose code it was.
    pub module: PathBuf,
    /// The innermost function of that file's own crate, demangled.
    pub function: Option<String>,
    /// File and line of that function, where debug information tells them.
    pub location: Option<String>,
    /// The functions of the code that called that one, innermost first, as far as they are known.
    pub callers: Vec<String>,
    /// The program, if a process that the code started did it.
    pub program: Option<OsString>,
    /// Whether the sandbox refused it.
    pub refused: bool,
}

impl Sighting {
    /// Whether a program of this name did it for the code.
    pub fn is_through(&self, name: &str) -> bool {
        let program = self.program.as_deref().map(Path::new);
        program.and_then(Path::file_name) == Some(OsStr::new(name))
    }
}

/// What code asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Random bytes.
    Random,
    /// The time.
    Clock,
    /// A directory's entries.
    List(PathBuf),
    /// A file's content.
    Read(PathBuf),
    /// A file's status.
    Status(PathBuf),
    /// A file or folder that is not there.
    Missing(PathBuf),
    /// A change to a file.
    Write(PathBuf),
    /// Another program.
    Exec(Vec<OsString>),
    /// The network.
    Network,
    /// A process that is not its own, by a signal or by tracing.
    Process,
    /// Kernel's and host's names.
    Uname,
    /// The number of processors.
    Cpus,
    /// A process or thread number.
    Pid,
    /// A user or group number.
    User,
    /// The working folder's path.
    Folder,
    /// An environment variable, and whether it was set.
    Variable(OsString, bool),
}

impl What {
    /// Whether the answer says where the package lies.
    pub fn is_place(&self) -> bool {
        match self {
            What::Folder => true,
            What::Variable(name, _) => is_place(name),
            _ => false,
        }
    }

    /// The variations that could change the answer.
    pub fn variations(&self) -> &'static [Variation] {
        match self {
            What::Random => &[Variation::Randomness],
            What::Clock => &[Variation::Time],
            What::List(_) => &[Variation::DirOrder],
            What::Status(_) => &[Variation::Mtime, Variation::Inode],
            What::Uname => &[Variation::Hostname, Variation::Kernel],
            What::Cpus => &[Variation::Cpus],
            What::Network => &[Variation::Network],
            What::Pid => &[Variation::Pid],
            _ => &[],
        }
    }
}

impl Watch {
    /// Whether a path is no news: the system's, the toolchain's or, for who reads it, declared.
    pub fn knows(&self, path: &Path, reading: bool) -> bool {
        let place = normalized(path);
        let is_known =
            |own: &Path| self.known.contains(own) || (reading && self.declared.contains(own));
        place.ancestors().any(is_known)
    }

    /// Sets up `command` to be watched, and steered as `changes` say.
    pub(super) fn watch(&self, command: Command, changes: &[Change]) -> Command {
        let mut injection = Injection::new();
        for change in changes {
            injection = match change {
                Change::Steer(_, steer, None) => injection.steer(steer.clone()),
                Change::Steer(_, steer, Some(modules)) => {
                    let modules: BTreeSet<PathBuf> = modules.iter().cloned().collect();
                    let who = move |frames: &[Frame]| responsible(frames, &modules).is_some();
                    injection.steer_for(who, steer.clone())
                }
                Change::Hide(path) => injection.steer(Steer::Absent(path.clone())),
                Change::Garble(path) => {
                    injection.steer(Steer::Content(path.clone(), garbled(path)))
                }
                _ => injection,
            };
        }
        if self.suspects.is_empty() {
            return command.inject(injection).modules(self.modules.clone());
        }
        let known = Arc::clone(&self.known);
        let declared = Arc::clone(&self.declared);
        let suspects = Arc::clone(&self.suspects);
        command
            .inject(injection)
            .modules(self.modules.clone())
            .frames_for(move |access| is_news(access, &known, &declared))
            .suspects(Arc::clone(&self.suspects))
            .variables_for(move |frames| responsible(frames, &suspects).is_some())
    }
}

/// The content of a file behind a line that no parser expects and no copy hides.
fn garbled(path: &Path) -> Arc<[u8]> {
    let mut bytes = b"\x01garbled by svhcheck\x01\n".to_vec();
    // A file that cannot be read any more is garbled all the same.
    bytes.extend(fs_err::read(path).unwrap_or_default());
    bytes.into()
}

/// The socket of the name service's cache, by both names of the folder that it lies in.
const NSCD: &[&str] = &["/run/nscd/socket", "/var/run/nscd/socket"];

/// Whether an access is worth a look at the stack.
fn is_news(access: &Access, known: &BTreeSet<PathBuf>, declared: &BTreeSet<PathBuf>) -> bool {
    let lies_in = |path: &Path, places: &BTreeSet<PathBuf>| {
        let place = normalized(path);
        place.ancestors().any(|place| places.contains(place))
    };
    match access {
        Access::Open { path, mode } if !mode.write && lies_in(&path.absolute, declared) => false,
        Access::Open { path, .. } | Access::Status { path } | Access::ReadLink { path } => {
            !lies_in(&path.absolute, known)
        }
        Access::Socket { .. } | Access::Enter { .. } | Access::Root { .. } => false,
        // glibc asks the name service's cache on this machine whenever a user or host is looked up.
        Access::Connect {
            address: Address::Path(path),
        } => !NSCD.iter().any(|own| path == own),
        _ => true,
    }
}

/// The first frame that is not the C library's, if it is of one of `modules`, with the innermost
/// function of that module's own crate.
fn responsible<'a>(frames: &'a [Frame], modules: &BTreeSet<PathBuf>) -> Option<&'a Frame> {
    let mut frames = frames.iter().skip_while(|frame| is_system(&frame.module));
    frames
        .next()
        .filter(|frame| modules.contains(&*frame.module))
}

/// Whether a module belongs to the system: the C library, the dynamic loader, the vDSO.
fn is_system(module: &Path) -> bool {
    let name = module
        .file_name()
        .unwrap_or(OsStr::new(""))
        .to_string_lossy();
    [
        "libc.so",
        "libc-",
        "libpthread",
        "ld-linux",
        "ld-musl",
        "libgcc_s",
        "[vdso]",
        "linux-vdso",
    ]
    .iter()
    .any(|prefix| name.starts_with(prefix))
}

/// What a sandbox keeps from a run.
pub(super) struct Refusals<'a> {
    pub(super) confine: &'a Confine,
    /// What the run was not to find anyway.
    pub(super) hidden: BTreeSet<&'a Path>,
}

impl Refusals<'_> {
    /// Whether an access failed that would not have failed outside.
    fn made(&self, event: &Event) -> bool {
        if event.outcome.succeeded() {
            return false;
        }
        let there = |path: &Path| {
            let path = normalized(path);
            !self.hidden.contains(&*path)
                && !self.confine.shows(&path)
                && path.symlink_metadata().is_ok()
        };
        match &event.access {
            Access::Open { mode, .. } if mode.write || mode.create => self.write(event),
            Access::Open { path, .. }
            | Access::Status { path }
            | Access::ReadLink { path }
            | Access::Exec { path, .. } => there(&path.absolute),
            Access::Change { .. }
            | Access::Symlink { .. }
            | Access::Rename { .. }
            | Access::Link { .. } => self.write(event),
            _ => false,
        }
    }

    /// Whether a change failed for want of the right or of the folder around.
    fn write(&self, event: &Event) -> bool {
        let Some(path) = event.access.path() else {
            return false;
        };
        match event.outcome {
            Outcome::Failed(libc::EROFS | libc::EACCES | libc::EPERM) => true,
            Outcome::Failed(libc::ENOENT) => {
                let path = normalized(&path.absolute);
                let around = path.parent().unwrap_or(&path);
                !self.confine.shows(around) && around.is_dir()
            }
            _ => false,
        }
    }
}

/// What anybody else (rustc, mostly) was refused.
pub(super) fn missed(trace: &Trace, watch: &Watch, refusals: &Refusals<'_>) -> BTreeSet<What> {
    let watched = owners(trace, &watch.suspects);
    let others = trace.events.iter().filter(|event| {
        !watched.contains_key(&event.process)
            && responsible(&event.frames, &watch.suspects).is_none()
            && refusals.made(event)
    });
    others.filter_map(|event| what(event, true)).collect()
}

/// Everything that watched code asked, sorted, each thing once.
pub(super) fn sightings(
    mut trace: Trace,
    watch: &Watch,
    refusals: Option<&Refusals<'_>>,
) -> Vec<Sighting> {
    let suspects = &watch.suspects;
    let watched: BTreeSet<ProcessId> = owners(&trace, suspects).into_keys().collect();
    trace.events.retain(|event| {
        responsible(&event.frames, suspects).is_some() || watched.contains(&event.process)
    });
    watch.modules.symbolize(trace.frames_mut());
    let owners = owners(&trace, suspects);
    let mut found = BTreeSet::new();
    for event in &trace.events {
        let refused = refusals.is_some_and(|own| own.made(event));
        let Some(what) = what(event, refused) else {
            continue;
        };
        let own = responsible(&event.frames, suspects)
            .map(|frame| (frame.module.to_path_buf(), &event.frames[..]));
        let owner = owners.get(&event.process);
        let (module, frames, program) = match (own, owner) {
            (Some((module, frames)), _) => (module, frames, None),
            (None, Some(owner)) => (
                owner.module.clone(),
                &owner.frames[..],
                Some(owner.program.clone()),
            ),
            (None, None) => continue,
        };
        let program = program.filter(|_| !matches!(what, What::Exec(_)));
        // What a started program reads of the system and of itself says nothing about the macro.
        if program.is_some()
            && !refused
            && matches!(
                what,
                What::Random | What::Status(_) | What::Missing(_) | What::Variable(..) | What::Pid
            )
        {
            continue;
        }
        let frame = own_function(frames, &module, &watch.direct);
        let function = frame
            .and_then(|frame| frame.symbol.as_deref())
            .map(str::to_owned);
        let location = frame
            .and_then(|frame| frame.line.as_ref())
            .map(|line| format!("{}:{}", line.file, line.line));
        found.insert(Sighting {
            what,
            module,
            function,
            location,
            callers: frame.map_or(Vec::new(), |own| callers(frames, own)),
            program,
            refused,
        });
    }
    // What the code wrote itself is its own.
    let own: BTreeSet<PathBuf> = found
        .iter()
        .filter_map(|own| match &own.what {
            What::Write(path) if !own.refused => Some(path.clone()),
            _ => None,
        })
        .collect();
    found.retain(|seen| !matches!(&seen.what, What::Read(path) if own.contains(path)));
    found.into_iter().collect()
}

/// A process that watched code started, or a descendant of one.
struct Owner {
    module: PathBuf,
    frames: Vec<Frame>,
    program: OsString,
}

/// For every process that watched code started: whose it is. What such a process starts is the
/// same code's.
fn owners(trace: &Trace, suspects: &BTreeSet<PathBuf>) -> BTreeMap<ProcessId, Arc<Owner>> {
    let mut found: BTreeMap<ProcessId, Arc<Owner>> = BTreeMap::new();
    for process in &trace.processes {
        let inherited = process
            .parent
            .and_then(|parent| found.get(&parent).cloned());
        if let Some(owner) = inherited {
            found.insert(process.id, owner);
        } else if let Some(frame) = responsible(&process.made_by, suspects) {
            let program = trace.events.iter().find_map(|event| match &event.access {
                Access::Exec { argv, .. } if event.process == process.id => argv.first().cloned(),
                _ => None,
            });
            let owner = Owner {
                module: frame.module.to_path_buf(),
                frames: process.made_by.clone(),
                program: program.unwrap_or_default(),
            };
            found.insert(process.id, Arc::new(owner));
        }
    }
    found
}

/// What an access asks; one that the sandbox refused asks what it would have had outside.
fn what(event: &Event, refused: bool) -> Option<What> {
    let failed = !event.outcome.succeeded() && !refused;
    Some(match &event.access {
        Access::Random { .. } => What::Random,
        Access::Clock { .. } => What::Clock,
        Access::List { path } => What::List(path.place().to_path_buf()),
        Access::Open { path, mode } if mode.write || mode.create => {
            What::Write(path.place().to_path_buf())
        }
        Access::Open { path, .. } | Access::Status { path } | Access::ReadLink { path }
            if failed =>
        {
            What::Missing(path.absolute.clone())
        }
        Access::Open { path, .. } if is_random_device(&path.absolute) => What::Random,
        Access::Open { path, mode } if mode.directory && refused => {
            What::List(path.absolute.clone())
        }
        Access::Open { mode, .. } if mode.directory || mode.path_only => return None,
        Access::Open { path, .. } => match path.absolute.to_str() {
            Some(
                "/proc/sys/kernel/hostname"
                | "/etc/hostname"
                | "/proc/sys/kernel/osrelease"
                | "/proc/version",
            ) => What::Uname,
            Some("/proc/cpuinfo" | "/proc/stat") => What::Cpus,
            _ => What::Read(path.place().to_path_buf()),
        },
        Access::Status { path } => What::Status(path.place().to_path_buf()),
        Access::Change { path, .. } | Access::Symlink { path, .. } => {
            What::Write(path.absolute.clone())
        }
        Access::Rename { to, .. } | Access::Link { to, .. } => What::Write(to.absolute.clone()),
        Access::Exec { argv, .. } if !failed => What::Exec(argv.to_vec()),
        Access::Connect { .. } | Access::Bind { .. } => What::Network,
        Access::Blind(BlindSpot::Ptrace) => What::Process,
        // Its own processes can be reached; that others cannot is what the sandbox is for.
        Access::Signal {
            target,
            signal: 1..,
        } if matches!(target, -1 | 1)
            || matches!(event.outcome, Outcome::Failed(libc::ESRCH | libc::EPERM)) =>
        {
            What::Process
        }
        Access::Identity => match event.call? {
            Sys::Getpid | Sys::Gettid | Sys::Getppid => What::Pid,
            _ => What::User,
        },
        Access::System => match event.call? {
            Sys::Uname => What::Uname,
            Sys::Getcwd => What::Folder,
            Sys::SchedGetaffinity | Sys::Getcpu | Sys::Sysinfo => What::Cpus,
            _ => return None,
        },
        Access::Variable { name, value } => What::Variable(name.clone(), value.is_some()),
        _ => return None,
    })
}

fn is_random_device(path: &Path) -> bool {
    [
        "/dev/urandom",
        "/dev/random",
        "/proc/sys/kernel/random/uuid",
    ]
    .iter()
    .any(|own| path == Path::new(own))
}
