//! The build systems: each turns a real build into [`Action`]s, the compile commands as they ran.
//!
//! Nothing is re-derived: what is replayed later is what the build ran.

pub mod cargo;
pub mod directives;
pub mod git;
pub mod pattern;
pub mod recorded;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::PathBuf;

use crate::os_text::normalized;
use crate::rustc::args::Args;

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
}

impl Build {
    /// The crates to judge.
    pub fn wanted(&self) -> impl Iterator<Item = &Action> {
        self.actions.iter().filter(|action| action.wanted)
    }
}

impl Action {
    /// The files that it declared, absolute and without detours.
    pub fn declared_files(&self) -> BTreeSet<PathBuf> {
        let inputs = self.inputs.iter();
        inputs
            .map(|path| normalized(&self.cwd.join(path)))
            .collect()
    }

    /// Where Cargo looks for manifests and lock files of the package: it reads them itself, so that
    /// a change of them is a change of the build.
    pub fn manifests(&self) -> impl Iterator<Item = PathBuf> {
        let folders = self.package.root.ancestors();
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
    /// Targets of the build without metadata, as (label, why it is not judged), sorted.
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
