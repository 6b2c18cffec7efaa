//! Cargo: runs the user's own `cargo build` with svhcheck as `RUSTC_WRAPPER` and turns what ran
//! into [`Action`]s.
//!
//! The build has a target directory of its own (`<target>/svhcheck/…`), so the user's is never
//! touched, and Cargo's freshness does the rest: a second call compiles, and records, only what
//! changed. What belongs to the current build is what Cargo reports as built or fresh
//! (`compiler-artifact` messages); the command behind each comes from the records.

mod actions;
mod command;
pub mod lock;
mod members;
mod scripts;

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use cargo_metadata::Message;

use super::area::{Area, AreaError};
use super::pattern::{NoMatch, Pattern, PatternError};
use super::recorded::{BOOTSTRAP_VAR, RECORD_VAR, RecordError};
use super::{Build, TargetKind};
use crate::interrupt::Interrupt;
use crate::rustc::toolchain::{Toolchain, ToolchainError};

use actions::Records;
use members::Members;

/// What to record.
#[derive(Debug, Clone)]
pub struct Request {
    /// Where the user stands; the workspace is the one around it.
    pub folder: PathBuf,
    /// Patterns as typed; none means `//...`.
    pub patterns: Vec<String>,
    /// Arguments for `cargo build`, as typed behind `--`.
    pub cargo_args: Vec<OsString>,
    /// Whether rustc must accept `-Z` options in the recorded compiles (for `hollow`).
    pub unstable: bool,
    /// Whether dependencies from registries, git and paths are judged too.
    pub deps: bool,
    /// Whether cargo's own progress is silenced.
    pub quiet: bool,
}

/// Why a Cargo build could not be recorded.
#[derive(Debug, thiserror::Error)]
pub enum CargoError {
    /// cargo could not be started.
    #[error("cannot run `cargo`: {0}; install it, or put it on PATH")]
    Start(io::Error),
    /// cargo does not see a workspace here.
    #[error(
        "no Cargo workspace to check: {0}; run svhcheck inside one, or name it with `-- --manifest-path PATH`"
    )]
    NoWorkspace(String),
    /// `cargo metadata` said something unexpected.
    #[error("cannot read `cargo metadata`: {0}")]
    Metadata(#[from] cargo_metadata::Error),
    /// An argument that svhcheck sets itself.
    #[error("`{0}` cannot be passed to cargo: svhcheck sets it for the recording")]
    Reserved(String),
    /// The user's build fails; cargo and rustc have said why.
    #[error("the build fails, so there is nothing to check (cargo's message is above){hint}")]
    BuildFails {
        /// What else may have caused it, or nothing.
        hint: &'static str,
    },
    /// A bad pattern.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// A pattern without a match.
    #[error(transparent)]
    NoMatch(#[from] NoMatch),
    /// The target directory cannot be used.
    #[error("{}", elsewhere(.0))]
    Area(#[from] AreaError),
    /// A file of the recording could not be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A record is damaged.
    #[error("{source}; remove {} and run again", .folder.display())]
    Record {
        /// What is wrong with it.
        source: RecordError,
        /// The recording area.
        folder: PathBuf,
    },
    /// rustc does not answer.
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    /// Cargo calls a crate fresh of which no record is there.
    #[error("no record of `{id}`, which cargo calls fresh; remove {} and run again", .folder.display())]
    Unrecorded {
        /// The crate.
        id: String,
        /// The recording area.
        folder: PathBuf,
    },
}

/// The root folder of the workspace that a request is about.
pub fn root(request: &Request, interrupt: &Interrupt) -> Result<PathBuf, CargoError> {
    let env = command::scrubbed(std::env::vars_os().collect());
    let metadata = command::metadata(request, &env, interrupt)?;
    Ok(metadata.workspace_root.into_std_path_buf())
}

fn elsewhere(error: &AreaError) -> String {
    match error {
        AreaError::Busy(_) => format!("{error}, or choose another place with CARGO_TARGET_DIR"),
        AreaError::Write { .. } => {
            format!("{error}; choose another place with CARGO_TARGET_DIR")
        }
        AreaError::Io(_) => error.to_string(),
    }
}

/// Runs the build and returns its actions, those that the patterns choose.
pub fn record(request: &Request, interrupt: &Interrupt) -> Result<Build, CargoError> {
    command::reject_reserved(&request.cargo_args)?;
    let env = command::scrubbed(std::env::vars_os().collect());
    let metadata = command::metadata(request, &env, interrupt)?;
    let root = metadata.workspace_root.as_std_path();
    let members = Members::of(&metadata);
    let folder = request.folder.strip_prefix(root).unwrap_or(Path::new(""));
    let patterns = request
        .patterns
        .iter()
        .map(|text| Pattern::parse(text, &folder.to_string_lossy()))
        .collect::<Result<Vec<_>, _>>()?;
    let chosen = members.select(&patterns)?;

    let rustc = env
        .get(OsStr::new("RUSTC"))
        .map_or(PathBuf::from("rustc"), PathBuf::from);
    let toolchain = Toolchain::resolve(&rustc, &env, &request.folder)?;
    let bootstrap = request.unstable && !toolchain.unstable;
    let area = Area::open(&metadata.target_directory.as_std_path().join("svhcheck"))?;
    let (build_dir, records) = area.recording(bootstrap)?;
    let scratch = area.scratch()?;

    let mut notes = command::wrappers_switched_off(&request.folder, &env);
    let mut cargo = command::cargo(&env, &request.folder);
    cargo
        .args(["build", "--message-format=json-render-diagnostics"])
        .args(["--config", "build.incremental=false", "--target-dir"])
        .arg(&build_dir)
        .env("RUSTC_WRAPPER", std::env::current_exe()?)
        .env(RECORD_VAR, &records);
    if bootstrap {
        cargo.env(BOOTSTRAP_VAR, "1");
    }
    if request.quiet {
        cargo.arg("--quiet");
    }
    if !command::chooses_packages(&request.cargo_args) {
        cargo.args(members.package_flags(&chosen));
    }
    cargo.args(&request.cargo_args);
    let script_records = records.with_extension("scripts");
    let (messages, untraced) = match scripts::run(&cargo, &script_records, interrupt)? {
        Ok((messages, true)) => (messages, None),
        Ok((_, false)) => return Err(command::build_fails(bootstrap)),
        Err(why) => (command::run(&mut cargo, interrupt, bootstrap)?, Some(why)),
    };

    let mut build = Build::empty(root.to_path_buf(), scratch, area.lock);
    build.bootstrap = bootstrap;
    let known = Records::read(&records).map_err(|source| CargoError::Record {
        source,
        folder: area.folder.clone(),
    })?;
    let script_env = actions::script_env(&messages);
    for message in &messages {
        let Message::CompilerArtifact(artifact) = message else {
            continue;
        };
        let member = members.find(&artifact.package_id.repr);
        let wanted = match member {
            Some(member) => chosen.contains(&(member.folder.clone(), artifact.target.name.clone())),
            None => request.deps,
        };
        let package = actions::package(&metadata, artifact, member.is_some());
        let id = actions::label(&package, member, artifact);
        if actions::kind(artifact) == TargetKind::NoMetadata {
            if artifact.target.is_custom_build() {
                for record in known.of_target(artifact) {
                    let (id, package) = (id.clone(), package.clone());
                    let compile = actions::action(id, package, artifact, record, None)?;
                    build.script_compiles.push(compile);
                }
            }
            let why = actions::why_no_metadata(artifact);
            build.without_metadata.extend(wanted.then_some((id, why)));
            continue;
        }
        let record = match known.find(artifact) {
            Some(record) => record,
            None if !wanted => continue,
            None => {
                let folder = area.folder.clone();
                return Err(CargoError::Unrecorded { id, folder });
            }
        };
        let script = script_env.get(&artifact.package_id.repr);
        let mut action = actions::action(id, package, artifact, record, script)?;
        action.wanted = wanted;
        build.actions.push(action);
    }
    super::number_equal_ids(&mut build.actions);
    for action in build.actions.iter().filter(|own| own.out_dir.is_some()) {
        let script = scripts::of(action, &script_records);
        let script = script.map_err(|source| CargoError::Record {
            source,
            folder: area.folder.clone(),
        })?;
        match script {
            Some(script) => build.scripts.push(script),
            None => build.unseen_scripts.push((
                format!("build script of {}", action.id),
                untraced.clone().unwrap_or_else(|| {
                    "it ran in an earlier check that could not watch it".to_owned()
                }),
            )),
        }
    }
    build.without_metadata.sort();
    build.without_metadata.dedup();
    build.notes.append(&mut notes);
    Ok(build)
}
