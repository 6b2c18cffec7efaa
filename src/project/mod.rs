//! The build systems: each turns a real build into [`Action`]s, the compile commands as they ran.
//!
//! Nothing is re-derived: what is replayed later is what the build ran.

mod area;
pub mod bazel;
pub mod buck2;
pub mod cargo;
pub mod detect;
pub mod directives;
pub mod git;
pub mod layout;
pub mod pattern;
pub mod recorded;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use layout::Layout;

use crate::interrupt::{Ending, Interrupt};
use crate::os_text::normalized;
use crate::rustc::args::Args;

/// How the client of a build server is ended: Bazel and Buck2 call a build off in less.
const CALLED_OFF: Ending = Ending::Ask(Duration::from_secs(10));

/// One rustc command of the build, as it was run.
#[derive(Debug, Clone)]
pub struct Action {
    /// Its label: `//path:target` for workspace members, `name@version` for dependencies; equal
    /// ones (a crate built twice with other features or for the host) get `#2`, `#3`.
    pub id: String,
    /// The package that the crate belongs to.
    pub package: Package,
    /// The target's name.
    pub target: String,
    /// What is made.
    pub kind: TargetKind,
    /// The compiler as the build named it.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Args,
    /// Its whole environment.
    pub env: BTreeMap<OsString, OsString>,
    /// Names of variables that the build gave to this crate (Cargo's own, the build script's
    /// `rustc-env`) or that the compile declared in its dep-info. All others were inherited.
    pub declared_env: BTreeSet<OsString>,
    /// Names of variables that the source itself reads (`env!`, `option_env!`, by dep-info).
    pub dep_env: BTreeSet<OsString>,
    /// Its working directory.
    pub cwd: PathBuf,
    /// Files that the compile declared (dep-info); relative ones are relative to `cwd`.
    pub inputs: BTreeSet<PathBuf>,
    /// The build script's output directory, if the package has one.
    pub out_dir: Option<PathBuf>,
    /// What it made, the fullest artifact with metadata first.
    pub outputs: Vec<PathBuf>,
    /// Size of the outputs in bytes: how much work a replay is, for scheduling.
    pub weight: u64,
    /// Whether the user wants it judged; the others are there to tell whose a macro is.
    pub wanted: bool,
    /// Where the build ran the command in a folder with nothing but its declared inputs: what lies
    /// in that folder. `cwd` is then a folder of ours, which [`Layout::lay`] fills.
    pub layout: Option<Layout>,
    /// The metadata that dependents were compiled against, where another process of the build made
    /// it than the one that made `outputs`.
    pub metadata: Option<SecondProcess>,
    /// How to leave the crate out of pipelining, where that is known.
    pub opt_out: Option<OptOut>,
    /// Where the build clears the environment but for a list: that list. No other variable can reach
    /// the compile.
    pub lets_through: Option<&'static [&'static str]>,
}

/// How to leave a crate out of pipelining.
#[derive(Debug, Clone)]
pub struct OptOut {
    /// What to write into the build's own files, and where.
    pub paste: String,
    /// How many programs, tests and macros link it together with another crate that was compiled
    /// against it: with two SVHs of it, each of them fails with E0460. `None` where the build does
    /// not tell.
    pub breaks: Option<usize>,
}

/// The other of two processes that made a crate.
#[derive(Debug, Clone)]
pub struct SecondProcess {
    /// Its artifact.
    pub output: PathBuf,
    /// Its arguments.
    pub args: Args,
    /// Its environment.
    pub env: BTreeMap<OsString, OsString>,
}

/// A build to record.
#[derive(Debug, Clone)]
pub enum Request {
    /// By Cargo.
    Cargo(cargo::Request),
    /// By Bazel.
    Bazel(bazel::Request),
    /// By Buck2.
    Buck2(buck2::Request),
}

/// Why a build could not be recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// By Cargo.
    #[error(transparent)]
    Cargo(#[from] cargo::CargoError),
    /// By Bazel.
    #[error(transparent)]
    Bazel(#[from] bazel::BazelError),
    /// By Buck2.
    #[error(transparent)]
    Buck2(#[from] buck2::Buck2Error),
}

/// Runs the build and returns its actions, those that the patterns choose.
pub fn record(request: &Request, interrupt: &Interrupt) -> Result<Build, RecordingError> {
    Ok(match request {
        Request::Cargo(request) => cargo::record(request, interrupt)?,
        Request::Bazel(request) => bazel::record(request, interrupt)?,
        Request::Buck2(request) => buck2::record(request, interrupt)?,
    })
}

impl Build {
    /// A build of which nothing is known yet.
    fn empty(root: PathBuf, scratch: tempfile::TempDir, lock: File) -> Self {
        Self {
            root,
            actions: Vec::new(),
            scripts: Vec::new(),
            unseen_scripts: Vec::new(),
            script_compiles: Vec::new(),
            without_metadata: Vec::new(),
            scratch,
            lock,
            notes: Vec::new(),
            bootstrap: false,
        }
    }

    /// The crates to judge.
    pub fn wanted(&self) -> impl Iterator<Item = &Action> {
        self.actions.iter().filter(|action| action.wanted)
    }
}

impl SecondProcess {
    /// Whether it left codegen out, and so a hollow rlib; else it was ended at its metadata.
    pub fn is_hollow(&self) -> bool {
        self.args.leaves_codegen_out()
    }
}

impl Action {
    /// Whether a variable that is set around the build can reach the compile.
    pub fn is_reached_by(&self, name: &OsStr) -> bool {
        self.lets_through
            .is_none_or(|list| list.iter().any(|own| name == *own) || self.env.contains_key(name))
    }

    /// The files that it declared, absolute and without detours.
    pub fn declared_files(&self) -> BTreeSet<PathBuf> {
        let inputs = self.inputs.iter();
        let mut found: BTreeSet<PathBuf> = inputs
            .map(|path| normalized(&self.cwd.join(path)))
            .collect();
        found.extend(self.layout.iter().flat_map(Layout::resolved));
        found
    }

    /// Where Cargo looks for manifests and lock files of the package: it reads them itself, so that
    /// a change of them is a change of the build.
    ///
    /// Other build systems declare all that a compile reads.
    pub fn manifests(&self) -> impl Iterator<Item = PathBuf> {
        let cargo = self.layout.is_none().then_some(&self.package.root);
        let folders = cargo.into_iter().flat_map(|root| root.ancestors());
        folders.flat_map(|folder| ["Cargo.toml", "Cargo.lock"].map(|name| folder.join(name)))
    }

    /// Whether the source itself asks where it lies (`env!("CARGO_MANIFEST_DIR")` and its like).
    pub fn asks_for_place(&self) -> bool {
        self.dep_env.iter().any(|name| is_place(name))
    }
}

/// Whether a variable holds the package's place.
pub fn is_place(name: &OsStr) -> bool {
    const NAMES: [&str; 4] = [
        "CARGO_MANIFEST_DIR",
        "CARGO_MANIFEST_PATH",
        "OUT_DIR",
        "PWD",
    ];
    NAMES.iter().any(|own| name == *own)
}

/// Name and origin of a package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The folder of its manifest.
    pub root: PathBuf,
    /// Whether it is a member of the workspace (else it comes from a registry, git or a path).
    pub member: bool,
    /// What the build system calls it, where that is neither name nor version: a label.
    pub label: Option<String>,
}

impl Package {
    /// As reports name it: `name version`, or its label.
    pub fn shown(&self) -> String {
        let by_version = || format!("{} {}", self.name, self.version);
        self.label.clone().unwrap_or_else(by_version)
    }
}

/// What kind of crate an action makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TargetKind {
    /// A library with metadata: `lib`, `rlib`, `dylib`.
    Lib,
    /// A proc macro.
    ProcMacro,
    /// Everything without metadata that others read: programs, tests, build scripts, C libraries.
    NoMetadata,
}

impl TargetKind {
    /// What a compile with these arguments makes.
    pub(crate) fn of(args: &Args) -> Self {
        let types = args.crate_types();
        let is = |kinds: &[&str]| types.iter().any(|own| kinds.contains(&own.as_str()));
        if args.has("--test") {
            TargetKind::NoMetadata
        } else if is(&["proc-macro"]) {
            TargetKind::ProcMacro
        } else if is(&["lib", "rlib", "dylib"]) {
            TargetKind::Lib
        } else {
            TargetKind::NoMetadata
        }
    }

    /// The word used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            TargetKind::Lib => "lib",
            TargetKind::ProcMacro => "proc-macro",
            TargetKind::NoMetadata => "bin",
        }
    }
}

/// A recorded build.
#[derive(Debug)]
pub struct Build {
    /// Root folder of the workspace.
    pub root: PathBuf,
    /// Every crate with metadata that the build made, sorted by id, wanted or not.
    pub actions: Vec<Action>,
    /// The runs of build scripts whose crates are among `actions`, each under its crate's id.
    /// `inputs` is what the script declared; a folder stands for all in it.
    pub scripts: Vec<Action>,
    /// Build scripts of which no run is known, as (label, why), sorted.
    pub unseen_scripts: Vec<(String, String)>,
    /// The compiles of build scripts of the packages of `actions`, under the package's name and
    /// version: nothing is compared of them, but what they read decides what the script does.
    pub script_compiles: Vec<Action>,
    /// Targets of the build that are not judged, as (label, why), sorted: most have no metadata.
    pub without_metadata: Vec<(String, String)>,
    /// Where replays may write: exists, is empty, on the file system of the build's outputs.
    pub scratch: tempfile::TempDir,
    /// Holds off other checks, which would change the recorded build and clear `scratch`, until
    /// the build is dropped. (Below `scratch`, so that it goes last.)
    pub lock: File,
    /// Things the user should know about the recording, a sentence each.
    pub notes: Vec<String>,
    /// Whether rustc ran with `RUSTC_BOOTSTRAP=1` (see `docs/cargo.md`).
    pub bootstrap: bool,
}

/// Sorts by id and numbers those that share one.
fn number_equal_ids(actions: &mut [Action]) {
    actions.sort_by(|a, b| {
        a.id.cmp(&b.id)
            .then_with(|| a.args.as_slice().cmp(b.args.as_slice()))
    });
    let mut last = String::new();
    let mut count = 1;
    for action in actions {
        if action.id == last {
            count += 1;
            action.id = format!("{}#{count}", action.id);
        } else {
            last.clone_from(&action.id);
            count = 1;
        }
    }
}
