//! Runs a build script once more, in an `OUT_DIR` that lies at one place in all its runs, and reads
//! what it leaves.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fs_err as fs;

use super::launch::{End, Launch};
use super::sight::Sighting;
use super::stage::{REMAPPED, SOURCES, Staged, copy_tree};
use super::{EXIT, ReplayError, Replayer, Seat, WHY, empty, first_error};
use crate::digest::Digest;
use crate::plan::variation::Change;
use crate::project::Action;
use crate::project::directives::Directives;

/// Most bytes of directives that are read.
const MOST_SAID: u64 = 16 << 20;

/// Largest file that is searched for a place, in bytes.
const MOST_READ: u64 = 64 << 20;

/// How deep Cargo puts `OUT_DIR` below its target directory.
const DEPTH: usize = 4;

/// A build script's run that ended.
#[derive(Debug)]
pub struct ScriptRun {
    /// What it left, or how it failed.
    pub outputs: Result<Outputs, String>,
    /// What it asked of the world.
    pub sightings: Vec<Sighting>,
    /// How long it took.
    pub took: Duration,
    /// Whether it ended by its own decision, and not because somebody ended it.
    pub ended_by_itself: bool,
    /// Whether it ran in a sandbox.
    pub confined: bool,
    /// The run's folder, in which the outputs lie; gone with the run.
    folder: tempfile::TempDir,
}

/// What a build script left.
#[derive(Debug, Clone)]
pub struct Outputs {
    /// What it told cargo.
    pub directives: Directives,
    /// Files below `OUT_DIR` that a compile could use, by their relative paths.
    pub files: BTreeMap<PathBuf, Digest>,
    /// Logs and left-overs below `OUT_DIR`.
    pub droppings: BTreeMap<PathBuf, Digest>,
}

impl ScriptRun {
    /// Whether something that a compile could use spells out a place: a file, or a variable or `cfg`
    /// that it sets.
    pub fn names(&self, place: &Path) -> bool {
        let Ok(outputs) = &self.outputs else {
            return false;
        };
        let place = memchr::memmem::Finder::new(place.as_os_str().as_encoded_bytes());
        let spells = |bytes: &[u8]| place.find(bytes).is_some();
        let said = ["rustc-env", "rustc-cfg"];
        let mut said = said.iter().flat_map(|key| outputs.directives.values(key));
        let folder = self.folder.path().join("out");
        let small = |path: &Path| fs::metadata(path).is_ok_and(|own| own.len() <= MOST_READ);
        said.any(|value| spells(value.as_bytes()))
            || outputs.files.keys().any(|path| {
                let path = folder.join(path);
                small(&path) && fs::read(&path).is_ok_and(|bytes| spells(&bytes))
            })
    }
}

impl Outputs {
    /// One digest over all that a compile could use. Of the directives, only the order in which
    /// libraries are named reaches the compile as it is: rustc sorts or counts the rest.
    pub fn digest(&self) -> String {
        let mut lines = self.directives.lines().to_vec();
        lines.sort();
        lines.extend(self.directives.values("rustc-link-lib").map(str::to_owned));
        for (path, digest) in &self.files {
            lines.push(format!("{} {digest}", path.display()));
        }
        Digest::of(lines.join("\n").as_bytes()).to_string()
    }

    /// What differs from another run's outputs, a few words each.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        for line in self.directives.lines() {
            if !other.directives.lines().contains(line) {
                found.push(format!("it told cargo `{line}` in one run only"));
            }
        }
        let libraries = |own: &Self| {
            let names = own.directives.values("rustc-link-lib");
            names.map(str::to_owned).collect::<Vec<_>>()
        };
        let [one, two] = [libraries(self), libraries(other)];
        if found.is_empty() && one != two {
            let [one, two] = [one.join(", "), two.join(", ")];
            found.push(format!(
                "it told cargo to link {one} in one run, {two} in the other"
            ));
        }
        let paths = self.files.keys().chain(other.files.keys());
        let mut paths: Vec<&PathBuf> = paths.collect();
        paths.sort();
        paths.dedup();
        for path in paths {
            if self.files.get(path) != other.files.get(path) {
                found.push(format!("`{}` in OUT_DIR differs", path.display()));
            }
        }
        found.truncate(4);
        found
    }
}

/// Files that tools leave behind and no compile reads: dep-info, logs, caches of probes.
fn is_dropping(path: &Path) -> bool {
    const NAMES: &[&str] = &[
        "config.log",
        "config.status",
        "config.cache",
        "CMakeCache.txt",
    ];
    const FOLDERS: &[&str] = &["CMakeFiles", "autom4te.cache"];
    const EXTENSIONS: &[&str] = &["d", "log", "ll", "tmp"];
    let is = |list: &[&str], name: Option<&OsStr>| {
        name.is_some_and(|name| list.iter().any(|own| name == *own))
    };
    is(NAMES, path.file_name())
        || is(EXTENSIONS, path.extension())
        || path.iter().any(|part| is(FOLDERS, Some(part)))
}

impl Replayer {
    /// Where a script's `OUT_DIR` lies in every run. It is as deep as Cargo's
    /// (`debug/build/PACKAGE-HASH/out`), for scripts that look for a folder above it.
    pub fn out_dir(&self, script: &Action) -> PathBuf {
        let parts = script.out_dir.iter().flat_map(|path| path.components());
        let parts: Vec<_> = parts.collect();
        let last = &parts[parts.len().saturating_sub(DEPTH)..];
        self.script_place(script)
            .join(last.iter().collect::<PathBuf>())
    }

    /// The folder for everything around a script's `OUT_DIR`.
    fn script_place(&self, script: &Action) -> PathBuf {
        let name = Digest::of(script.id.as_bytes()).to_string();
        self.scratch.join("scripts").join(&name[..16])
    }

    /// Runs a build script in a world with `changes`.
    pub fn run_script(
        &self,
        script: &Action,
        changes: &[Change],
        seat: &Seat,
    ) -> Result<ScriptRun, ReplayError> {
        self.run_script_inner(script, changes, seat)
            .map_err(|error| self.told(error))
    }

    fn run_script_inner(
        &self,
        script: &Action,
        changes: &[Change],
        seat: &Seat,
    ) -> Result<ScriptRun, ReplayError> {
        let folder = tempfile::Builder::new()
            .prefix("script-")
            .tempdir_in(&self.scratch)
            .map_err(ReplayError::Io)?;
        let (place, out_dir) = (self.script_place(script), self.out_dir(script));
        empty(&place)
            .and_then(|()| fs::create_dir_all(&out_dir))
            .map_err(ReplayError::Io)?;
        let staged = Staged::script(script, changes, folder.path(), &out_dir);
        let mut staged = staged.map_err(ReplayError::Io)?;
        let write = vec![folder.path().to_path_buf(), place];
        let sandbox = self.sandbox(seat, &mut staged, write)?;
        let confined = sandbox.is_some();
        let stdout = folder.path().join("stdout");
        let launch = Launch {
            program: &script.program,
            staged: &staged,
            changes,
            stop_at_metadata: false,
            stdout: Some(File::create(&stdout).map_err(ReplayError::Io)?),
            timeout: self.timeout,
            slot: seat.slot,
        };
        let start = Instant::now();
        let ended = match &seat.watch {
            Some(watch) => {
                let boxed = sandbox.map(|(sandbox, _)| sandbox);
                launch.run_watched(watch, seat.confine.as_ref().zip(boxed), &self.interrupt)
            }
            None => launch.run_unwatched(&self.interrupt),
        };
        let ended =
            ended.map_err(|source| ReplayError::start(source, confined, &script.program))?;
        if self.interrupt.is_set() {
            return Err(ReplayError::Interrupted);
        }
        let took = start.elapsed();
        let ended_by_itself =
            matches!(&ended.end, End::Status(good, how) if *good || how.starts_with(EXIT));
        let failed = match &ended.end {
            End::Status(true, _) | End::Stopped => None,
            End::Status(false, how) => Some(format!("{how}: {}", first_error(&ended.stderr))),
            End::TimedOut => Some(format!("ended after {} s", self.timeout.as_secs())),
            End::Processes => Some("it started processes without end".to_owned()),
            End::Disk => Some("it wrote more than it may".to_owned()),
        };
        let outputs = match failed {
            Some(why) => {
                let own = folder.path().to_string_lossy().into_owned();
                let why = why.replace(&own, "SCRATCH");
                Err(why.chars().take(WHY).collect())
            }
            None if !self.is_own(script, &out_dir) => Err("it took its OUT_DIR away".to_owned()),
            None if fs::metadata(&stdout).is_ok_and(|own| own.len() > MOST_SAID) => {
                Err("it tells cargo things without end".to_owned())
            }
            None => Ok(read(&stdout, &out_dir).map_err(ReplayError::Io)?),
        };
        if outputs.is_ok() {
            fs::rename(&out_dir, folder.path().join("out")).map_err(ReplayError::Io)?;
        }
        Ok(ScriptRun {
            outputs,
            sightings: ended.sightings,
            took,
            ended_by_itself,
            confined,
            folder,
        })
    }

    /// Whether `OUT_DIR` is still the folder that it was, and not a link to someone else's.
    fn is_own(&self, script: &Action, out_dir: &Path) -> bool {
        let place = self.script_place(script);
        let below = out_dir.strip_prefix(&place);
        let real = place.canonicalize().ok().zip(below.ok());
        real.is_some_and(|(place, below)| {
            out_dir
                .canonicalize()
                .is_ok_and(|own| own == place.join(below))
        })
    }

    /// `--remap-path-prefix` options under which a crate has one name, whether it is compiled with what
    /// a script left in its own place or with what this run of it left in another.
    pub fn remaps(script: &Action, moved: &ScriptRun, name: &OsStr) -> [OsString; 2] {
        let package = &script.package.root;
        let below = package.strip_prefix(&script.cwd).unwrap_or(Path::new(""));
        let sources = moved.folder.path().join(name).join(SOURCES);
        [package.clone(), sources.join(below)].map(|place| {
            let mut option = OsString::from("--remap-path-prefix=");
            option.push(place);
            option.push("=");
            option.push(REMAPPED);
            option
        })
    }

    /// Puts what a run left back to where it was made, for the crate to be compiled with it.
    pub fn put_back(&self, script: &Action, run: &ScriptRun) -> Result<(), ReplayError> {
        let out_dir = self.out_dir(script);
        if run.outputs.is_err() {
            return Ok(());
        }
        empty(&self.script_place(script))
            .and_then(|()| copy_tree(&run.folder.path().join("out"), &out_dir, &[]))
            .map_err(|error| self.told(ReplayError::Io(error)))
    }
}

fn read(stdout: &Path, out_dir: &Path) -> io::Result<Outputs> {
    let mut found = Outputs {
        directives: Directives::parse(&fs::read(stdout)?),
        files: BTreeMap::new(),
        droppings: BTreeMap::new(),
    };
    for entry in walkdir::WalkDir::new(out_dir).sort_by_file_name() {
        let entry = entry?;
        let Ok(path) = entry.path().strip_prefix(out_dir) else {
            continue;
        };
        let digest = if entry.file_type().is_symlink() {
            Digest::of(fs::read_link(entry.path())?.as_os_str().as_encoded_bytes())
        } else if entry.file_type().is_file() {
            Digest::of_file(entry.path())?
        } else {
            continue;
        };
        let list = if is_dropping(path) {
            &mut found.droppings
        } else {
            &mut found.files
        };
        list.insert(path.to_path_buf(), digest);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn droppings_are_told_from_outputs() {
        for path in ["a.d", "config.log", "build/CMakeFiles/x.c", "probe.ll"] {
            assert!(is_dropping(Path::new(path)), "{path}");
        }
        for path in ["value.rs", "libx.a", "config.h", "d"] {
            assert!(!is_dropping(Path::new(path)), "{path}");
        }
    }
}
