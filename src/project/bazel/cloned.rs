//! One compile of a build, as the aspect's action has it: the command behind `--`, files in the
//! current folder, and what the build made among them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use fs_err as fs;

use super::BazelError;
use super::actions::{crate_id, is_for_tool, plain_label, target_name};
use super::wrapper::{self, Wrapped};
use crate::project::area::Area;
use crate::project::layout::Layout;
use crate::project::{Action, Build, Package, TargetKind};

/// What the aspect tells of a compile.
#[derive(Debug, Clone)]
pub struct Cloned {
    /// The target.
    pub label: String,
    /// What holds the crate's metadata, made by the build; relative to the current folder.
    pub made: Vec<PathBuf>,
    /// What dependents were compiled against, where another action made it; likewise.
    pub metadata: Vec<PathBuf>,
    /// Labels of dependencies by the libraries that they are.
    pub labels: BTreeMap<PathBuf, String>,
    /// A file with a line for each input.
    pub inputs: PathBuf,
    /// The command, `process_wrapper` first.
    pub command: Vec<OsString>,
}

impl Cloned {
    /// Files that the crate was given (`--extern`), relative to the current folder.
    pub fn given(build: &Build) -> Vec<PathBuf> {
        let own = build.wanted().next();
        let externs = own.into_iter().flat_map(|own| own.args.externs());
        externs.map(|(_, path)| path).collect()
    }

    /// A build of this one crate. Everything that is written goes below `scratch`.
    pub fn build(&self, scratch: &Path) -> Result<Build, BazelError> {
        let root = std::env::current_dir()?;
        let area = Area::open(&scratch.join("svhcheck"))?;
        let place = area.scratch()?;
        let name = root.file_name().unwrap_or("_main".as_ref());
        // As deep as Bazel's own: `${output_base}` is two folders up.
        let folder = place.path().join("base/execroot").join(name);
        let env: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
        let command = wrapper::unwrap(self.command.clone(), env, &folder, &root)
            .map_err(|why| BazelError::Command(why.to_string()))?;
        let listed = fs::read_to_string(&self.inputs)?;
        let mut inputs: BTreeSet<PathBuf> = listed.lines().map(PathBuf::from).collect();
        // The command line's own parameter files are inputs that no rule lists.
        let files = self
            .command
            .iter()
            .filter_map(|arg| arg.to_str()?.strip_prefix('@'));
        inputs.extend(files.map(PathBuf::from));
        fs::create_dir_all(&folder)?;
        let mut actions = self.macros(&command, &root);
        actions.push(self.action(command, &root, folder, inputs));
        let mut build = Build::empty(root, place, area.lock);
        build.actions = actions;
        Ok(build)
    }

    fn action(
        &self,
        command: Wrapped,
        root: &Path,
        folder: PathBuf,
        inputs: BTreeSet<PathBuf>,
    ) -> Action {
        let Wrapped {
            program,
            mut args,
            env,
        } = command;
        // A replay has a folder of its own for all that it makes.
        let emit = args.emit().join(",");
        args.set("--emit", emit);
        let label = plain_label(self.label.clone());
        let var = |name: &str| {
            let value = env.get(std::ffi::OsStr::new(name));
            value.map(|value| value.to_string_lossy().into_owned())
        };
        let package = Package {
            name: var("CARGO_PKG_NAME").unwrap_or_else(|| label.clone()),
            version: var("CARGO_PKG_VERSION").unwrap_or_default(),
            root: var("CARGO_MANIFEST_DIR").map_or_else(|| folder.clone(), PathBuf::from),
            member: label.starts_with("//"),
            label: Some(label.clone()),
        };
        Action {
            target: target_name(&label),
            kind: TargetKind::of(&args),
            program: root.join(program),
            out_dir: env.get(std::ffi::OsStr::new("OUT_DIR")).map(PathBuf::from),
            declared_env: env.keys().cloned().collect(),
            dep_env: BTreeSet::new(),
            lets_through: None,
            layout: Some(Layout {
                source: root.to_path_buf(),
                entries: inputs.clone(),
                ..Layout::default()
            }),
            cwd: folder,
            outputs: self.made.iter().map(|path| root.join(path)).collect(),
            weight: 0,
            wanted: true,
            metadata: None,
            opt_out: None,
            id: crate_id(&label, self.made.iter().any(|path| is_for_tool(path))),
            package,
            args,
            env,
            inputs,
        }
    }

    /// The proc macros that the crate was given. One that no attribute of the rule leads to goes by its
    /// file.
    fn macros(&self, command: &Wrapped, root: &Path) -> Vec<Action> {
        let externs = command.args.externs().into_iter();
        let is_macro = |path: &PathBuf| {
            let extension = path.extension();
            extension.is_some_and(|own| own == std::env::consts::DLL_EXTENSION)
        };
        let paths = externs.map(|(_, path)| path).filter(is_macro);
        let action = |path: PathBuf| {
            let label = self.labels.get(&path).cloned().map(plain_label);
            let label = label.unwrap_or_else(|| path.display().to_string());
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let extra = stem.rfind('-').map_or("", |at| &stem[at..]);
            let mut args = crate::rustc::args::Args::new(Vec::new());
            args.push("--codegen", format!("extra-filename={extra}"));
            Action {
                id: crate_id(&label, true),
                package: Package {
                    name: label.clone(),
                    version: String::new(),
                    root: root.to_path_buf(),
                    member: false,
                    label: Some(label),
                },
                target: stem.clone().into_owned(),
                kind: TargetKind::ProcMacro,
                program: PathBuf::new(),
                args,
                env: BTreeMap::new(),
                declared_env: BTreeSet::new(),
                dep_env: BTreeSet::new(),
                lets_through: None,
                cwd: root.to_path_buf(),
                inputs: BTreeSet::new(),
                out_dir: None,
                // Where it really lies: the sandbox shows links, and the tracer sees what is mapped.
                outputs: vec![fs::canonicalize(root.join(&path)).unwrap_or(root.join(&path))],
                weight: 0,
                wanted: false,
                layout: None,
                metadata: None,
                opt_out: None,
            }
        };
        paths.map(action).collect()
    }
}
