//! From what ran to actions: which compiles make one crate, and what they read.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use fs_err as fs;

use super::Buck2Error;
use super::log::{How, Log, Ran};
use super::wrapper::{self, LET_THROUGH, Wrapped};
use crate::digest::Digest;
use crate::project::layout::Layout;
use crate::project::{Action, Build, OptOut, Package, SecondProcess, TargetKind};
use crate::rustc::args::{Args, INPUT};
use crate::rustc::toolchain::Toolchain;

/// The compiles of a build.
pub(super) struct Planned {
    full: BTreeMap<Key, Compile>,
    hollow: BTreeMap<Key, Compile>,
    /// Labels of what is left out, with the reason.
    left_out: BTreeSet<(String, String)>,
    root: PathBuf,
}

/// What the two compiles of a crate share: target, configuration, and the options by which the rules
/// tell the ways to make it apart.
type Key = (String, String, Vec<Option<String>>);

/// One compile.
struct Compile {
    label: String,
    kind: TargetKind,
    command: Wrapped,
    /// What it reads, relative to the project's root.
    inputs: BTreeSet<PathBuf>,
    /// What it makes.
    output: PathBuf,
    /// Where it will run.
    folder: PathBuf,
}

/// What a compile is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    /// An rlib, a shared library or a proc macro.
    Full,
    /// A hollow rlib: what dependents are compiled against.
    Hollow,
    /// The metadata of `check`.
    Check,
    /// Something without metadata.
    Other,
}

/// How the families that are not judged are explained.
const CHECK: &str = "made by `check`: its metadata is of another family, which nothing that is linked was compiled against, so it is compared with nothing";
const OTHER: &str =
    "a program, or a compile for people: nothing reads metadata of it, so it has no SVH to compare";

impl Planned {
    /// Reads the commands of a log. They will run below `scratch`.
    pub(super) fn read(
        log: &Log,
        root: &Path,
        scratch: &Path,
        inherited: &BTreeMap<OsString, OsString>,
    ) -> Result<Self, Buck2Error> {
        let mut planned = Self {
            full: BTreeMap::new(),
            hollow: BTreeMap::new(),
            left_out: BTreeSet::new(),
            root: root.to_path_buf(),
        };
        let mut compilers: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
        let mut unreadable = None;
        let mut gone = None;
        for ran in &log.ran {
            let (command, own) = match &ran.how {
                How::Local { command, env } => (command, env),
                How::Away { executor, digest } => {
                    planned.leave_out(ran, &away(executor, digest.as_deref()));
                    continue;
                }
            };
            let mut env = inherited.clone();
            env.extend(own.iter().map(|(name, value)| (name.into(), value.into())));
            // The two compiles of a crate run in one folder, which their shared options name.
            let read = |folder: &Path| wrapper::unwrap(command, &env, folder, root);
            let known = read(root).and_then(|command| {
                let key = key(ran, &command.args);
                let folder = folder(scratch, root, &key);
                Ok((read(&folder)?, key, folder))
            });
            let (mut command, key, folder) = match known {
                Ok(known) => known,
                Err(why) => {
                    planned.leave_out(ran, &why.to_string());
                    unreadable.get_or_insert((ran.label.clone(), why.to_string()));
                    continue;
                }
            };
            let family = family(&command.args);
            match family {
                Family::Full | Family::Hollow => {}
                Family::Check => {
                    planned.leave_out(ran, CHECK);
                    continue;
                }
                Family::Other => {
                    planned.leave_out(ran, OTHER);
                    continue;
                }
            }
            let Some(output) = output(&command.args, root) else {
                planned.leave_out(ran, "its command does not say where its artifact goes");
                continue;
            };
            if !output.is_file() {
                let why = "its artifact is not on disk; `buck2 build --materializations=all` leaves all of them there";
                planned.leave_out(ran, why);
                gone.get_or_insert(output);
                continue;
            }
            let inputs = inputs(&command, root, &folder);
            // A replay has a folder of its own for all that it makes.
            let emit = command.args.emit().join(",");
            command.args.set("--emit", emit);
            command.program = compiler(&mut compilers, &command, root)?;
            let compile = Compile {
                label: ran.label.clone(),
                kind: TargetKind::of(&command.args),
                inputs,
                output,
                folder,
                command,
            };
            let list = match family {
                Family::Hollow => &mut planned.hollow,
                _ => &mut planned.full,
            };
            list.insert(key, compile);
        }
        if planned.full.is_empty() && planned.hollow.is_empty() {
            if let Some((label, why)) = unreadable {
                return Err(Buck2Error::NoneReadable { label, why });
            }
            if let Some(path) = gone {
                return Err(Buck2Error::NoArtifacts(path));
            }
        }
        Ok(planned)
    }

    fn leave_out(&mut self, ran: &Ran, why: &str) {
        let what = format!("{} (rustc {})", ran.label, ran.identifier);
        self.left_out.insert((what, why.to_owned()));
    }

    /// Makes actions of the crates.
    pub(super) fn hand_over(mut self, build: &mut Build) -> Result<(), Buck2Error> {
        for (key, full) in std::mem::take(&mut self.full) {
            let hollow = self.hollow.remove(&key);
            let action = full.action(&self.root, hollow);
            fs::create_dir_all(&action.cwd)?;
            build.actions.push(action);
        }
        for hollow in self.hollow.into_values() {
            let why = "the log has its metadata alone, so there is nothing to compare it with: build its `[rlib]` too";
            self.left_out.insert((hollow.label, why.to_owned()));
        }
        build.without_metadata.extend(self.left_out);
        Ok(())
    }
}

fn away(executor: &str, digest: Option<&str>) -> String {
    let digest = digest.map(|digest| format!(" with the digest {digest}"));
    format!(
        "it did not run here ({executor}{}), so the log has no command; `buck2 build --local-only --no-remote-cache` runs it here",
        digest.unwrap_or_default()
    )
}

fn key(ran: &Ran, args: &Args) -> Key {
    let words = vec![
        args.crate_name().map(str::to_owned),
        args.codegen("metadata"),
        args.codegen("relocation-model"),
        Some(args.crate_types().join(",")),
        // Incremental compiles are a family of their own: their SVHs are.
        args.codegen("incremental")
            .map(|_| "incremental".to_owned()),
    ];
    (ran.label.clone(), ran.configuration.clone(), words)
}

fn family(args: &Args) -> Family {
    let emit = args.emit();
    let has = |kind: &str| emit.iter().any(|own| own == kind);
    match TargetKind::of(args) {
        TargetKind::NoMetadata => Family::Other,
        _ if has("link") && args.leaves_codegen_out() => Family::Hollow,
        _ if has("link") => Family::Full,
        _ if has("metadata") => Family::Check,
        _ => Family::Other,
    }
}

/// The artifact: `--emit=link=PATH`, or where rustc puts it by itself.
fn output(args: &Args, root: &Path) -> Option<PathBuf> {
    let values = args.values("--emit");
    let mut kinds = values
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let named = kinds.find_map(|kind| kind.strip_prefix(b"link="));
    let named = named.map(|path| root.join(OsStr::from_bytes(path)));
    named.or_else(|| args.artifacts(root).into_iter().next())
}

/// The compiler itself: the rules may name a program on PATH, and that may be rustup's.
fn compiler(
    known: &mut BTreeMap<PathBuf, PathBuf>,
    command: &Wrapped,
    root: &Path,
) -> Result<PathBuf, Buck2Error> {
    let named = if command.program.components().count() > 1 {
        root.join(&command.program)
    } else {
        command.program.clone()
    };
    if let Some(found) = known.get(&named) {
        return Ok(found.clone());
    }
    let found = Toolchain::resolve(&named, &command.env, root)?.rustc;
    known.insert(named, found.clone());
    Ok(found)
}

/// Options whose paths are written, not read.
const WRITTEN: &[&str] = &["--emit", "--out-dir", "--output", "--remap-path-prefix"];

/// What the command reads, relative to the project's root: every path in it that is there, and the
/// folder of the sources. The log does not tell a compile's inputs.
fn inputs(command: &Wrapped, root: &Path, folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut add = |path: &Path| {
        let is_plain = path
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if is_plain && path.components().next().is_some() && root.join(path).exists() {
            found.insert(path.to_path_buf());
            found.extend(links(&root.join(path), root));
        }
    };
    for option in command.args.options() {
        let value = option.value.unwrap_or_default();
        if option.name == INPUT {
            add(sources(Path::new(value)));
            continue;
        }
        let incremental =
            option.name == "--codegen" && value.as_bytes().starts_with(b"incremental");
        if WRITTEN.contains(&option.name) || incremental {
            continue;
        }
        let mut parts = value.as_bytes().split(|byte| *byte == b'=');
        if let Some(path) = parts.next_back() {
            add(Path::new(OsStr::from_bytes(path)));
        }
    }
    for name in &command.declared {
        let value = command.env.get(name).map(Path::new);
        if let Some(Ok(path)) = value.map(|value| value.strip_prefix(folder)) {
            add(path);
        }
    }
    if command.program.is_relative() && command.program.components().count() > 1 {
        add(&command.program);
    }
    found
}

/// What the links in a folder lead to, relative to the project's root: Buck2 gathers sources and
/// dependencies in folders of links.
fn links(folder: &Path, root: &Path) -> Vec<PathBuf> {
    let walk = walkdir::WalkDir::new(folder).follow_links(false);
    let links = walk.into_iter().filter_map(Result::ok);
    let links = links.filter(walkdir::DirEntry::path_is_symlink);
    let targets = links.filter_map(|entry| entry.path().canonicalize().ok());
    let root = root.canonicalize().unwrap_or_else(|_| root.to_path_buf());
    targets
        .filter_map(|path| Some(path.strip_prefix(&root).ok()?.to_path_buf()))
        .collect()
}

/// The folder of a crate's sources: that of its root file, or the one around a folder `src`, from
/// which sources include files too.
fn sources(file: &Path) -> &Path {
    let folder = file.parent().unwrap_or(Path::new(""));
    let around = folder
        .parent()
        .filter(|around| !around.as_os_str().is_empty());
    match around {
        Some(around) if folder.ends_with("src") => around,
        _ if folder.as_os_str().is_empty() => file,
        _ => folder,
    }
}

/// Where the compiles of a crate will run: another folder for each crate, in the form that [`Layout`] expects.
fn folder(scratch: &Path, root: &Path, key: &Key) -> PathBuf {
    let key = format!("{key:?}");
    let key = Digest::of(key.as_bytes()).to_string();
    let name = root.file_name().unwrap_or(OsStr::new("project"));
    scratch
        .join("roots")
        .join(&key[..16])
        .join("project")
        .join(name)
}

impl Compile {
    fn action(self, root: &Path, hollow: Option<Compile>) -> Action {
        let target = self.label.rsplit([':', '/']).next().unwrap_or_default();
        let Wrapped {
            program,
            args,
            env,
            declared,
        } = self.command;
        let weight = fs::metadata(&self.output).map_or(0, |meta| meta.len());
        let mut inputs = self.inputs;
        let metadata = hollow.map(|mut hollow| {
            inputs.append(&mut hollow.inputs);
            SecondProcess {
                output: hollow.output,
                args: hollow.command.args,
                env: hollow.command.env,
            }
        });
        Action {
            id: self.label.clone(),
            target: target.to_owned(),
            package: Package {
                name: target.to_owned(),
                version: String::new(),
                root: self.folder.clone(),
                member: false,
                label: Some(self.label.clone()),
            },
            kind: self.kind,
            program,
            out_dir: env.get(OsStr::new("OUT_DIR")).map(PathBuf::from),
            args,
            env,
            declared_env: declared.into_iter().collect(),
            dep_env: BTreeSet::new(),
            cwd: self.folder,
            layout: Some(Layout {
                source: root.to_path_buf(),
                entries: inputs.clone(),
                ..Layout::default()
            }),
            inputs,
            outputs: vec![self.output],
            weight,
            wanted: false,
            metadata,
            opt_out: (self.kind == TargetKind::Lib).then(|| OptOut {
                paste: OPT_OUT.to_owned(),
                breaks: None,
            }),
            lets_through: Some(LET_THROUGH),
        }
    }
}

/// `pipelined` in `prelude/rust/rust_toolchain.bzl`; fixups as in reindeer's `src/fixups/config.rs`.
const OPT_OUT: &str = "`pipelined = False` in the Rust toolchain (`RustToolchainInfo`), for all crates: neither Buck2's prelude nor reindeer's fixups have a switch for one";
