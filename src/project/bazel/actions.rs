//! From the action graph to actions: which commands make a crate, what they run, and whose they are.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use fs_err as fs;

use super::BazelError;
use super::aquery::{Command, Graph};
use super::command::Places;
use super::events::Events;
use super::scripts::Script;
use super::wrapper::{self, Wrapped, WrapperError};
use crate::digest::Digest;
use crate::project::layout::Layout;
use crate::project::{Action, Build, OptOut, Package, SecondProcess, TargetKind, number_equal_ids};
use crate::rustc::args::Args;

/// The Rust actions of a build.
pub(super) struct Planned {
    compiles: Vec<Compile>,
    scripts: Vec<Script>,
    /// Labels of what is left out, with the reason.
    left_out: BTreeSet<(String, String)>,
    /// The execution root.
    root: PathBuf,
}

/// One crate: the action that makes it, and the one that makes its metadata where there is one.
pub(super) struct Compile {
    /// Its target, `//path:name`, or `@@repository//path:name` outside of the main repository.
    pub(super) label: String,
    /// Whether it belongs to the main repository.
    pub(super) member: bool,
    /// Whether it is made for a tool of the build (a proc macro, a build script's dependency).
    for_tool: bool,
    kind: TargetKind,
    full: Step,
    metadata: Option<Step>,
    folder: PathBuf,
}

/// One action of a crate.
struct Step {
    command: Wrapped,
    inputs: BTreeSet<PathBuf>,
    /// Relative to the execution root, those with metadata, the fullest first.
    outputs: Vec<PathBuf>,
}

impl Planned {
    /// Reads the graph. Commands will run below `scratch`.
    pub(super) fn read(graph: &Graph, places: &Places, scratch: &Path) -> Result<Self, BazelError> {
        let mut planned = Self {
            compiles: Vec::new(),
            scripts: Vec::new(),
            left_out: BTreeSet::new(),
            root: places.execution_root.clone(),
        };
        let mut seconds = Vec::new();
        for command in &graph.actions {
            let label = plain_label(graph.label(command)?);
            let for_tool = graph.configuration(command).contains("-exec");
            let step = |folder: &Path| -> Result<Result<Step, WrapperError>, BazelError> {
                let root = &places.execution_root;
                let read =
                    wrapper::unwrap(command.arguments(), command.environment(), folder, root);
                Ok(match read {
                    Ok(command_line) => Ok(Step::new(graph, command, command_line)?),
                    Err(error) => Err(error),
                })
            };
            let folder = folder(scratch, &places.execution_root, &label, command);
            match command.mnemonic.as_str() {
                "Rustc" => match step(&folder)? {
                    Ok(full) => planned.compiles.push(Compile {
                        member: label.starts_with("//"),
                        for_tool,
                        kind: TargetKind::of(&full.command.args),
                        metadata: None,
                        full,
                        label,
                        folder,
                    }),
                    Err(why) => {
                        planned.left_out.insert((label, why.to_string()));
                    }
                },
                "RustcMetadata" => match step(&folder)? {
                    Ok(step) => seconds.push((label, step)),
                    Err(why) => {
                        planned.left_out.insert((label, why.to_string()));
                    }
                },
                "CargoBuildScriptRun" => planned.scripts.push(Script {
                    outputs: graph.outputs(command)?,
                    inputs: graph.inputs(command)?,
                    command: command.arguments(),
                    env: command.environment(),
                    folder,
                }),
                _ => {}
            }
        }
        for (label, step) in seconds {
            planned.pair(&label, step);
        }
        Ok(planned)
    }

    /// Finds the crate whose metadata an action makes: the same target, configuration (which the
    /// folder for outputs tells) and crate.
    fn pair(&mut self, label: &str, step: Step) {
        let key = |args: &Args| (args.crate_name().map(str::to_owned), args.extra_filename());
        let own = key(&step.command.args);
        let made = |compile: &&mut Compile| {
            compile.label == label
                && key(&compile.full.command.args) == own
                && compile.full.configuration() == step.configuration()
        };
        if let Some(compile) = self.compiles.iter_mut().find(made) {
            compile.metadata = Some(step);
        }
    }

    /// Labels of other repositories' libraries of which the build made no full output, because
    /// nothing is linked with them.
    pub(super) fn missing_dependencies(&self) -> Vec<String> {
        let missing = self.compiles.iter().filter(|own| {
            !own.member && !own.for_tool && own.kind != TargetKind::NoMetadata && !self.is_made(own)
        });
        let labels: BTreeSet<String> = missing.map(|own| own.label.clone()).collect();
        labels.into_iter().collect()
    }

    fn is_made(&self, compile: &Compile) -> bool {
        let outputs = compile.full.outputs.iter();
        outputs
            .map(|path| self.root.join(path))
            .all(|path| path.exists())
    }

    /// Leaves out what the build did not make: it failed, or something that it needs did. An older
    /// output may still lie there.
    pub(super) fn drop_unmade(&mut self, events: &Events) {
        let mut unmade = events.failed.clone();
        loop {
            let before = unmade.len();
            for compile in &self.compiles {
                for step in std::iter::once(&compile.full).chain(&compile.metadata) {
                    if step.inputs.iter().any(|input| unmade.contains(input)) {
                        unmade.extend(step.outputs.iter().cloned());
                    }
                }
            }
            if unmade.len() == before {
                break;
            }
        }
        let root = self.root.clone();
        let is_there = |step: &Step| {
            let missing = |path: &PathBuf| unmade.contains(path) || !root.join(path).exists();
            !step.outputs.iter().any(missing)
        };
        let (made, others): (Vec<Compile>, Vec<Compile>) = std::mem::take(&mut self.compiles)
            .into_iter()
            .partition(|own| own.kind == TargetKind::NoMetadata || is_there(&own.full));
        self.compiles = made;
        for compile in &mut self.compiles {
            compile.metadata.take_if(|step| !is_there(step));
        }
        let why = "the build did not make it: it failed, is tagged `manual`, or nothing needs it";
        let labels = others.into_iter().map(|own| (own.id(), why.to_owned()));
        self.left_out.extend(labels);
    }

    /// Makes actions of the crates; `wanted` says which are judged.
    pub(super) fn hand_over(
        self,
        build: &mut Build,
        wanted: impl Fn(&Compile) -> bool,
    ) -> Result<(), BazelError> {
        let breaks = self.breaks();
        let root = &self.root;
        for (compile, breaks) in self.compiles.into_iter().zip(breaks) {
            let wanted = wanted(&compile);
            if compile.kind == TargetKind::NoMetadata {
                let why = super::WITHOUT_METADATA;
                let entry = (compile.id(), why.to_owned());
                build.without_metadata.extend(wanted.then_some(entry));
                continue;
            }
            let mut action = compile.action(root, breaks);
            action.wanted = wanted;
            fs::create_dir_all(&action.cwd)?;
            build.actions.push(action);
        }
        number_equal_ids(&mut build.actions);
        for action in &build.actions {
            let Some(out_dir) = &action.out_dir else {
                continue;
            };
            let makes = |own: &&Script| {
                own.outputs
                    .iter()
                    .any(|path| action.cwd.join(path) == *out_dir)
            };
            let script = self.scripts.iter().find(makes);
            let script = script.ok_or_else(|| "the action graph does not tell its run".to_owned());
            match script.and_then(|script| script.action(action, root)) {
                Ok(script) => build.scripts.push(script),
                Err(why) => {
                    let what = format!("build script of {}", action.id);
                    build.unseen_scripts.push((what, why));
                }
            }
        }
        build.without_metadata.extend(self.left_out);
        build.without_metadata.sort();
        build.without_metadata.dedup();
        Ok(())
    }

    /// For each crate, how many commands link it together with another crate that was compiled
    /// against it: these meet E0460 if it has two SVHs.
    fn breaks(&self) -> Vec<usize> {
        let artifacts = |own: &Compile| -> Vec<PathBuf> {
            let steps = std::iter::once(&own.full).chain(&own.metadata);
            steps.flat_map(|step| step.outputs.clone()).collect()
        };
        let libraries: Vec<(usize, Vec<PathBuf>)> = self
            .compiles
            .iter()
            .enumerate()
            .filter(|(_, own)| own.kind == TargetKind::Lib)
            .map(|(at, own)| (at, artifacts(own)))
            .collect();
        let takes = |own: &Compile, paths: &[PathBuf]| {
            paths.iter().any(|path| own.full.inputs.contains(path))
        };
        // By library, those compiled against it.
        let users: BTreeMap<usize, BTreeSet<usize>> = libraries
            .iter()
            .map(|(at, paths)| {
                let users = libraries.iter().map(|(user, _)| *user);
                (
                    *at,
                    users
                        .filter(|user| takes(&self.compiles[*user], paths))
                        .collect(),
                )
            })
            .collect();
        let mut breaks = vec![0; self.compiles.len()];
        for linker in self
            .compiles
            .iter()
            .filter(|own| own.kind != TargetKind::Lib)
        {
            let linked = libraries.iter().filter(|(_, paths)| takes(linker, paths));
            let linked: BTreeSet<usize> = linked.map(|(at, _)| *at).collect();
            for at in &linked {
                if !users[at].is_disjoint(&linked) {
                    breaks[*at] += 1;
                }
            }
        }
        breaks
    }
}

impl Step {
    fn new(graph: &Graph, action: &Command, mut command: Wrapped) -> Result<Self, BazelError> {
        // A replay has a folder of its own for all that it makes.
        let emit = command.args.emit().join(",");
        command.args.set("--emit", emit);
        let mut outputs = graph.outputs(action)?;
        outputs.retain(|path| rank(path).is_some());
        outputs.sort_by_key(|path| rank(path));
        Ok(Self {
            command,
            inputs: graph.inputs(action)?,
            outputs,
        })
    }

    fn configuration(&self) -> Option<&OsStr> {
        configuration(self.outputs.first()?)
    }
}

/// Which artifact is fuller; none for what holds no metadata.
fn rank(path: &Path) -> Option<usize> {
    let extension = path.extension()?;
    let kinds = ["rlib", std::env::consts::DLL_EXTENSION, "rmeta"];
    kinds.iter().position(|kind| extension == *kind)
}

/// How a crate is called that is made for a tool of the build, or is not.
pub(super) fn crate_id(label: &str, for_tool: bool) -> String {
    let more = if for_tool { " [for tool]" } else { "" };
    format!("{label}{more}")
}

/// `bazel-out/k8-fastbuild`: Bazel names the configuration in the folder for outputs.
pub(super) fn configuration(output: &Path) -> Option<&OsStr> {
    output.iter().nth(1)
}

/// Whether an output is one of a tool.
pub(super) fn is_for_tool(output: &Path) -> bool {
    configuration(output).is_some_and(|own| own.to_string_lossy().contains("-exec"))
}

/// The last part of a label.
pub(super) fn target_name(label: &str) -> String {
    let name = label.rsplit([':', '/']).next();
    name.unwrap_or_default().to_owned()
}

/// A path without links, which may lead through what a sandbox does not show.
fn resolved(path: PathBuf) -> PathBuf {
    path.canonicalize().unwrap_or(path)
}

/// Labels of the main repository as users write them.
pub(super) fn plain_label(label: String) -> String {
    let main = label
        .strip_prefix("@@//")
        .or_else(|| label.strip_prefix("@//"));
    match main {
        Some(rest) => format!("//{rest}"),
        None => label,
    }
}

/// Where the commands of a crate will run: another folder for each crate.
fn folder(scratch: &Path, root: &Path, label: &str, command: &Command) -> PathBuf {
    let mut own = command.arguments();
    own.retain(|arg| {
        let text = arg.to_string_lossy();
        text.starts_with("--crate-name") || text.contains("extra-filename=")
    });
    let key = format!("{label}\n{:?}\n{own:?}", command.place());
    let key = Digest::of(key.as_bytes()).to_string();
    let name = root.file_name().unwrap_or(OsStr::new("_main"));
    scratch
        .join("roots")
        .join(&key[..16])
        .join("execroot")
        .join(name)
}

impl Compile {
    fn id(&self) -> String {
        crate_id(&self.label, self.for_tool)
    }

    fn action(self, root: &Path, breaks: usize) -> Action {
        let id = self.id();
        let var = |name: &str| {
            let value = self.full.command.env.get(OsStr::new(name));
            value.map(|value| value.to_string_lossy().into_owned())
        };
        let package = Package {
            name: var("CARGO_PKG_NAME").unwrap_or_else(|| self.label.clone()),
            version: var("CARGO_PKG_VERSION").unwrap_or_default(),
            root: var("CARGO_MANIFEST_DIR").map_or_else(|| self.folder.clone(), PathBuf::from),
            member: self.member,
            label: Some(self.label.clone()),
        };
        let outputs: Vec<PathBuf> = self
            .full
            .outputs
            .iter()
            .map(|path| root.join(path))
            .collect();
        let weight = outputs.iter().filter_map(|path| fs::metadata(path).ok());
        let weight = weight.map(|meta| meta.len()).sum();
        let opt_out = (self.kind == TargetKind::Lib).then(|| OptOut {
            paste: opt_out(&self.label, self.member, &package),
            breaks: Some(breaks),
        });
        let Wrapped { program, args, env } = self.full.command;
        let declared_env: BTreeSet<OsString> = env.keys().cloned().collect();
        Action {
            target: target_name(&self.label),
            kind: self.kind,
            program: resolved(root.join(program)),
            out_dir: env.get(OsStr::new("OUT_DIR")).map(PathBuf::from),
            args,
            env,
            declared_env,
            dep_env: BTreeSet::new(),
            cwd: self.folder,
            layout: Some(Layout {
                source: root.to_path_buf(),
                entries: self.full.inputs.clone(),
                ..Layout::default()
            }),
            inputs: self.full.inputs,
            outputs,
            weight,
            wanted: false,
            metadata: self.metadata.and_then(|step| {
                Some(SecondProcess {
                    output: root.join(step.outputs.first()?),
                    args: step.command.args,
                    env: step.command.env,
                })
            }),
            opt_out,
            lets_through: None,
            package,
            id,
        }
    }
}

/// What leaves a library out of pipelining, ready to be pasted.
fn opt_out(label: &str, member: bool, package: &Package) -> String {
    if member {
        let folder = label
            .trim_start_matches('/')
            .split(':')
            .next()
            .unwrap_or_default();
        let file = Path::new(folder).join("BUILD.bazel");
        return format!(
            "`disable_pipelining = True` in the rule `{label}` ({})",
            file.display()
        );
    }
    format!(
        "`crate.annotation(crate = \"{}\", version = \"{}\", disable_pipelining = True)` where MODULE.bazel uses crate_universe",
        package.name, package.version
    )
}
