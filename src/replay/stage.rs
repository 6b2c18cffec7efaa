//! Lays out a run's folder and makes its command concrete: outputs go into the folder, dependencies
//! are read where the recorded build left them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::os_text::replace_all;
use crate::plan::Trial;
use crate::plan::variation::Change;
use crate::project::Action;
use crate::project::layout::Layout;
use crate::rustc::args::{Args, replace_paths};

/// A command that is ready to run.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) args: Args,
    pub(super) env: BTreeMap<OsString, OsString>,
    pub(super) cwd: PathBuf,
    /// Where the command leaves metadata, in the order in which it is to be looked for.
    pub(super) outputs: Vec<PathBuf>,
}

/// The name that the moved sources keep under [`Change::BuildPath`].
pub(super) const REMAPPED: &str = "/svhcheck/sources";

/// The same for `OUT_DIR`.
const REMAPPED_OUT_DIR: &str = "/svhcheck/build";

impl Staged {
    pub(super) fn new(
        action: &Action,
        trial: &Trial,
        folder: &Path,
        incremental: Option<&Path>,
    ) -> io::Result<Self> {
        let out_dir = folder.join("out");
        fs::create_dir(&out_dir)?;
        let mut args = trial.command.args.clone();
        args.set("--out-dir", &out_dir);
        if let Some(folder) = incremental {
            let mut option = OsString::from("incremental=");
            option.push(folder);
            args.push("--codegen", option);
        }
        let stopped = trial.stop == crate::plan::Stop::Metadata;
        let mut outputs = args.artifacts(&out_dir);
        // A compile that is stopped has no more than its `.rmeta`; one that ran to its end is read
        // from what dependents would link.
        if stopped || !args.emit().iter().any(|kind| kind == "link") {
            outputs.reverse();
        }
        let mut staged = Self {
            args,
            env: trial.command.env.clone(),
            cwd: action.cwd.clone(),
            outputs,
        };
        if let Some(layout) = &action.layout {
            layout.lay(&staged.cwd)?;
        }
        for change in &trial.changes {
            staged.apply(action, change, folder)?;
        }
        Ok(staged)
    }

    /// A build script's run. It finds `out_dir` as its `OUT_DIR`.
    pub(super) fn script(
        script: &Action,
        changes: &[Change],
        folder: &Path,
        out_dir: &Path,
    ) -> io::Result<Self> {
        let mut staged = Self {
            args: script.args.clone(),
            env: script.env.clone(),
            cwd: script.cwd.clone(),
            outputs: Vec::new(),
        };
        if let Some(layout) = &script.layout {
            layout.lay(&staged.cwd)?;
        }
        staged.env.insert("OUT_DIR".into(), out_dir.into());
        // Else a look at the state of a repository writes to it.
        staged.env.insert("GIT_OPTIONAL_LOCKS".into(), "0".into());
        for change in changes {
            match change {
                Change::BuildPath { name, .. } => {
                    staged.move_package(script, &folder.join(name), None)?;
                    // It may lie in the package, and stays.
                    staged.env.insert("OUT_DIR".into(), out_dir.into());
                }
                change => staged.apply(script, change, folder)?,
            }
        }
        Ok(staged)
    }

    fn apply(&mut self, action: &Action, change: &Change, folder: &Path) -> io::Result<()> {
        match change {
            Change::Env(_, edits) => {
                for (name, value) in edits {
                    match value {
                        Some(value) => self.env.insert(name.clone(), value.clone()),
                        None => self.env.remove(name),
                    };
                }
            }
            Change::Folder(_, variable, name) => {
                let path = folder.join(name);
                fs::create_dir(&path)?;
                if *variable == "HOME" {
                    self.keep_tools();
                }
                self.env.insert((*variable).into(), path.into());
            }
            Change::BuildPath {
                name,
                remap_out_dir,
            } => {
                self.move_compile(action, &folder.join(name), *remap_out_dir)?;
            }
            Change::Steer(..)
            | Change::Hide(_)
            | Change::Garble(_)
            | Change::Umask(_)
            | Change::OneCpu
            | Change::NoAslr => {}
        }
        Ok(())
    }

    /// Cargo and rustup find their own by `HOME`, unless told otherwise: they are the build's tools,
    /// wherever its home is. (A cargo without them would fetch its registry again.)
    fn keep_tools(&mut self) {
        let Some(home) = self.env.get(OsStr::new("HOME")).map(PathBuf::from) else {
            return;
        };
        for (variable, folder) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
            let place = home.join(folder);
            if place.is_dir() && !self.env.contains_key(OsStr::new(variable)) {
                self.env.insert(variable.into(), place.into());
            }
        }
    }

    /// Copies the package and its `OUT_DIR` below `place` and lets rustc work there. The sources keep
    /// one name through `--remap-path-prefix`; `OUT_DIR` only if asked.
    fn move_compile(
        &mut self,
        action: &Action,
        place: &Path,
        remap_out_dir: bool,
    ) -> io::Result<()> {
        if let Some(layout) = &action.layout {
            return self.lay_elsewhere(layout, place.file_name().unwrap_or_default());
        }
        self.move_package(action, place, action.out_dir.as_deref())?;
        let mut remap = |from: &Path, to: &str| {
            let mut value = from.as_os_str().to_owned();
            value.push("=");
            value.push(to);
            self.args.push("--remap-path-prefix", value);
        };
        remap(&place.join(SOURCES), REMAPPED);
        if remap_out_dir {
            remap(&place.join("build"), REMAPPED_OUT_DIR);
        }
        Ok(())
    }

    /// Copies the package (and `out_dir`) below `place` and lets the command work there.
    fn move_package(
        &mut self,
        action: &Action,
        place: &Path,
        out_dir: Option<&Path>,
    ) -> io::Result<()> {
        let package = &action.package.root;
        // Cargo compiles members from the workspace root: the part of the path below it stays.
        let (base, below) = match package.strip_prefix(&action.cwd) {
            Ok(below) => (action.cwd.as_path(), below),
            Err(_) => (package.as_path(), Path::new("")),
        };
        let sources = place.join(SOURCES);
        // Neither OUT_DIR, which moves by itself, nor our own area, which would be copied into itself.
        let area = place.ancestors().nth(3);
        let except: Vec<&Path> = action.out_dir.as_deref().into_iter().chain(area).collect();
        copy_tree(package, &sources.join(below), &except)?;
        let mut moves = vec![(base.to_path_buf(), sources.clone())];
        if let Some(out_dir) = out_dir {
            let target = place.join("build").join("out");
            copy_tree(out_dir, &target, &[])?;
            // First: it may lie below the sources.
            moves.insert(0, (out_dir.to_path_buf(), target));
        }
        self.args.replace_paths_except(&moves, DEPENDENCIES);
        for (name, value) in &mut self.env {
            if moves_with_package(name)
                && let Some(changed) = replace_paths(value, &moves)
            {
                *value = changed;
            }
        }
        if let Ok(below) = self.cwd.strip_prefix(base) {
            self.cwd = sources.join(below);
        }
        Ok(())
    }
}

/// Where the sources of a package lie that was moved.
pub(super) const SOURCES: &str = "sources";

impl Staged {
    /// Lays the folder out at another place, the same for each run of the crate that is given that
    /// name. Everything moves there, and what the build remaps stays remapped: the command names
    /// the folder in full wherever it names it.
    fn lay_elsewhere(&mut self, layout: &Layout, place: &OsStr) -> io::Result<()> {
        let from = self.cwd.clone();
        let (Some(own), Some(name)) = (from.ancestors().nth(2), from.file_name()) else {
            return Ok(());
        };
        let to = own.join(place).join("execroot").join(name);
        layout.lay(&to)?;
        let change = |text: &OsStr| replace_all(text, from.as_os_str(), to.as_os_str());
        self.args = Args::new(self.args.as_slice().iter().map(|arg| change(arg)).collect());
        for value in self.env.values_mut() {
            *value = change(value);
        }
        self.cwd = to;
        Ok(())
    }
}

/// Options whose paths lead to dependencies, which stay where they are.
const DEPENDENCIES: &[&str] = &["--extern", "--library-path", "--out-dir", "--sysroot"];

/// Variables that say where the package lies.
fn moves_with_package(name: &OsStr) -> bool {
    name == "OUT_DIR" || name == "PWD" || name.as_bytes().starts_with(b"CARGO_MANIFEST_")
}

/// Copies files and folders, links as links. Build outputs and version control are left out, and
/// so is `except`.
pub(super) fn copy_tree(from: &Path, to: &Path, except: &[&Path]) -> io::Result<()> {
    let walk = walkdir::WalkDir::new(from)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(|entry| {
            let skipped = entry.depth() == 1
                && (entry.file_name() == "target" || entry.file_name() == ".git");
            !skipped && !except.contains(&entry.path())
        });
    for entry in walk {
        let entry = entry?;
        let target = match entry.path().strip_prefix(from) {
            Ok(below) => to.join(below),
            Err(_) => continue,
        };
        if entry.file_type().is_dir() {
            fs::create_dir_all(&target)?;
        } else if entry.file_type().is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, &target)?;
        } else if entry.file_type().is_file() {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
