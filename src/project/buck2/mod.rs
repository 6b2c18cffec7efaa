//! Buck2: turns what Buck2 says that it ran into [`Action`](super::Action)s.
//!
//! Commands are those of `buck2 log what-ran`, with the argument files that lie in `buck-out`. A
//! library is made as an rlib and, for pipelining, as a hollow rlib (`-Zno-codegen`); these two must
//! agree, and both come from the same rules. The metadata of `check` is of another family, which is
//! compared with nothing. Facts and their sources: `docs/buck2.md`.

mod actions;
mod command;
mod log;
mod wrapper;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;

use super::area::{Area, AreaError};
use super::pattern::{self, NoMatch, Pattern, PatternError};
use super::{Build, number_equal_ids};
use crate::interrupt::Interrupt;
use crate::rustc::toolchain::ToolchainError;

use actions::Planned;
use log::{How, Log};

/// What to check.
#[derive(Debug, Clone)]
pub struct Request {
    /// Where the user stands.
    pub folder: PathBuf,
    /// Patterns as typed.
    pub patterns: Vec<String>,
    /// A saved log, in whose stead Buck2 is not run.
    pub what_ran: Option<PathBuf>,
    /// Whether crates that no pattern names are judged too.
    pub deps: bool,
    /// Whether Buck2's own progress is silenced.
    pub quiet: bool,
}

/// Why a Buck2 build could not be taken up.
#[derive(Debug, thiserror::Error)]
pub enum Buck2Error {
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// No Buck2.
    #[error(
        "this is a Buck2 project, and there is no `buck2` on PATH: install it, or give the log of a build with `--what-ran FILE` (`buck2 log what-ran --format json > FILE`)"
    )]
    NoBuck2,
    /// A call of it failed.
    #[error("`buck2 {command}` failed ({status})")]
    Failed {
        /// Its command.
        command: &'static str,
        /// How it ended.
        status: String,
    },
    /// The user's build fails; Buck2 has said why.
    #[error("the build fails, so there is nothing to check (Buck2's message is above)")]
    BuildFails,
    /// The saved log cannot be read.
    #[error("cannot read the log: {0}; save one with `buck2 log what-ran --format json`")]
    Log(io::Error),
    /// A file that is no log.
    #[error(
        "`{}`, line {line}: this is no JSON of a command that ran; save the log with `buck2 log what-ran --format json`", .path.display()
    )]
    NoLog {
        /// The file.
        path: PathBuf,
        /// The first line that is not understood.
        line: usize,
    },
    /// No compile in the log.
    #[error(
        "the log names no compile of rustc: a build that is up to date runs none, so take the log of the one that made it (`buck2 log recent`), or `buck2 clean` and build again"
    )]
    NoRust,
    /// No command in the log.
    #[error(
        "none of the {0} compiles in the log ran here, and without that it has no commands: `buck2 build --local-only --no-remote-cache` runs them here"
    )]
    AllAway(usize),
    /// No command can be read.
    #[error("no compile in the log can be repeated; the first, `{label}`: {why}")]
    NoneReadable {
        /// The first compile's target.
        label: String,
        /// What is wrong with it.
        why: String,
    },
    /// The build's outputs are gone.
    #[error(
        "none of the artifacts in the log is on disk (the first is `{}`): run svhcheck in the project in which the build ran, or build with `--materializations=all`", .0.display()
    )]
    NoArtifacts(PathBuf),
    /// A pattern that cannot be read.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// A pattern that no target matches.
    #[error(transparent)]
    NoMatch(#[from] NoMatch),
    /// A compiler of the build does not answer.
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    /// `buck-out` cannot be used.
    #[error("{0}; the project's `buck-out` must be writable")]
    Area(#[from] AreaError),
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Takes up what the build ran: by building, or as the saved log says.
pub fn record(request: &Request, interrupt: &Interrupt) -> Result<Build, Buck2Error> {
    let root = project_root(&request.folder);
    let (text, path) = match &request.what_ran {
        Some(path) => (fs::read(path).map_err(Buck2Error::Log)?, path.clone()),
        None => (
            command::build(request, interrupt)?,
            PathBuf::from("buck2 log what-ran"),
        ),
    };
    let log = Log::parse(&text, &path)?;
    if log.ran.is_empty() {
        return Err(Buck2Error::NoRust);
    }
    if log
        .ran
        .iter()
        .all(|own| matches!(own.how, How::Away { .. }))
    {
        return Err(Buck2Error::AllAway(log.ran.len()));
    }
    let area = Area::open(&root.join("buck-out").join("svhcheck"))?;
    let scratch = area.scratch()?;
    let inherited = inherited();
    let planned = Planned::read(&log, &root, scratch.path(), &inherited)?;
    let mut build = Build::empty(root.clone(), scratch, area.lock);
    if let Some((count, line)) = log.odd {
        let lines = if count == 1 { "line" } else { "lines" };
        build.notes.push(format!(
            "{count} {lines} of the log are not understood and were skipped (the first is line {line})"
        ));
    }
    planned.hand_over(&mut build)?;
    choose(&mut build, request, &root)?;
    number_equal_ids(&mut build.actions);
    let with_scripts = build
        .actions
        .iter()
        .filter(|own| own.wanted && own.out_dir.is_some());
    let unseen = with_scripts.map(|own| {
        let why = "Buck2's runs of build scripts are not repeated yet; what it made was held still";
        (format!("{}: its build script", own.id), why.to_owned())
    });
    build.unseen_scripts = unseen.collect();
    Ok(build)
}

/// Marks what the patterns choose. They name targets of the project's own cell.
fn choose(build: &mut Build, request: &Request, root: &Path) -> Result<(), Buck2Error> {
    let below = request.folder.strip_prefix(root).unwrap_or(Path::new(""));
    let below = below.to_string_lossy();
    let patterns = request
        .patterns
        .iter()
        .map(|text| Pattern::parse(text, &below));
    let patterns: Vec<Pattern> = patterns.collect::<Result<_, _>>()?;
    let cell = own_cell(root);
    let own = |label: &str| -> Option<(String, String)> {
        let rest = label.split_once("//").filter(|(own, _)| *own == cell)?.1;
        let (folder, target) = rest.split_once(':')?;
        Some((folder.to_owned(), target.to_owned()))
    };
    let mut members = Vec::new();
    for (at, action) in build.actions.iter_mut().enumerate() {
        action.wanted = request.deps;
        let target = action.package.label.as_deref().and_then(own);
        action.package.member = target.is_some();
        members.extend(target.map(|target| (at, target)));
    }
    let (places, targets): (Vec<usize>, Vec<_>) = members.into_iter().unzip();
    for (at, chosen) in places
        .into_iter()
        .zip(pattern::select(&patterns, &targets)?)
    {
        build.actions[at].wanted |= chosen;
    }
    Ok(())
}

/// The outermost folder with a `.buckconfig`, up to one with a `.buckroot`: cells may lie inside of
/// each other ("Key concepts: project" in Buck2's documentation).
fn project_root(folder: &Path) -> PathBuf {
    let mut root = folder;
    for above in folder.ancestors() {
        if above.join(".buckconfig").is_file() {
            root = above;
        }
        if above.join(".buckroot").is_file() {
            break;
        }
    }
    root.to_path_buf()
}

/// The name of the cell that the project's root is: `name = .` in its `.buckconfig`.
fn own_cell(root: &Path) -> String {
    let text = fs::read_to_string(root.join(".buckconfig")).unwrap_or_default();
    let mut section = "";
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').trim();
        } else if let ("cells" | "repositories", Some((name, "."))) = (
            section,
            line.split_once('=')
                .map(|(name, place)| (name.trim(), place.trim())),
        ) {
            return name.to_owned();
        }
    }
    "root".to_owned()
}

/// What a compile of Buck2 inherits where the log does not say: as much of our own environment as
/// its wrapper lets through.
fn inherited() -> BTreeMap<OsString, OsString> {
    let all = std::env::vars_os();
    all.filter(|(name, _)| wrapper::lets_through(&name.to_string_lossy()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_inside_belong_to_the_outermost_project() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        let config = "[buildfile]\n name = x\n[cells]\n  prelude = prelude\n  home = .\n";
        fs::write(root.path().join(".buckconfig"), config).unwrap();
        fs::write(root.path().join("a/.buckconfig"), "").unwrap();
        assert_eq!(project_root(&inner), root.path());
        assert_eq!(own_cell(root.path()), "home");
        assert_eq!(own_cell(&root.path().join("a")), "root");
        fs::write(root.path().join("a/.buckroot"), "").unwrap();
        assert_eq!(project_root(&inner), root.path().join("a"));
    }
}
