//! The runs of build scripts: what rules_rust's `cargo_build_script_runner` makes of the command that
//! Bazel plans. svhcheck does its work, so that the script itself runs under the tracer, with an
//! `OUT_DIR` of the trial's.
//!
//! Flags and variables are those of `cargo/cargo_build_script_runner/bin.rs` in rules_rust 0.54.1.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fs_err as fs;

use crate::os_text::replace_all;
use crate::project::layout::Layout;
use crate::project::{Action, TargetKind};
use crate::rustc::args::Args;

/// A run of a build script, as it is planned.
pub(super) struct Script {
    /// What it makes, relative to the execution root; its `OUT_DIR` is among them.
    pub(super) outputs: Vec<PathBuf>,
    pub(super) inputs: BTreeSet<PathBuf>,
    pub(super) command: Vec<OsString>,
    pub(super) env: BTreeMap<OsString, OsString>,
    /// Where its folder is laid out.
    pub(super) folder: PathBuf,
}

/// What the runner is told.
#[derive(Default)]
struct Told {
    script: Option<PathBuf>,
    working: PathBuf,
    dep_env: Vec<PathBuf>,
    /// Where files of the package are seen, and where they are kept.
    runfiles: BTreeMap<PathBuf, PathBuf>,
}

impl Script {
    /// The action for the script of `crate_action`, or why there is none.
    pub(super) fn action(&self, crate_action: &Action, root: &Path) -> Result<Action, String> {
        let told = self.told()?;
        let script = told
            .script
            .as_ref()
            .ok_or("the command of its runner names no script")?;
        // Its code is watched by the file that is mapped, not by a link to it.
        let program = root.join(script).canonicalize();
        let program = program.map_err(|error| format!("cannot find its program: {error}"))?;
        let env = self.variables(&told, root)?;
        let manifest = self.env.get(OsStr::new("CARGO_MANIFEST_DIR"));
        let manifest = manifest.map(PathBuf::from).unwrap_or_default();
        let working = if told.working.as_os_str().is_empty() {
            manifest
        } else {
            told.working
        };
        let layout = Layout {
            source: root.to_path_buf(),
            entries: self.inputs.clone(),
            aliases: told.runfiles,
            working,
        };
        let seen = layout.entries.iter().chain(layout.aliases.keys());
        let inputs: BTreeSet<PathBuf> = seen.map(|path| self.folder.join(path)).collect();
        Ok(Action {
            target: "build-script-build".to_owned(),
            kind: TargetKind::NoMetadata,
            program,
            args: Args::default(),
            declared_env: env.keys().cloned().collect(),
            dep_env: BTreeSet::new(),
            env,
            cwd: self.folder.join(&layout.working),
            inputs,
            outputs: Vec::new(),
            weight: 0,
            layout: Some(layout),
            metadata: None,
            opt_out: None,
            lets_through: None,
            ..crate_action.clone()
        })
    }

    fn told(&self) -> Result<Told, String> {
        let mut told = Told::default();
        let mut others = Vec::new();
        for arg in self.command.iter().skip(1) {
            let bytes = arg.as_bytes();
            let value = |name: &str| {
                let rest = bytes.strip_prefix(name.as_bytes())?;
                Some(PathBuf::from(OsStr::from_bytes(rest)))
            };
            if let Some(path) = value("--script=") {
                told.script = Some(path);
            } else if let Some(path) = value("--rundir=") {
                told.working = path;
            } else if let Some(path) = value("--input_dep_env_path=") {
                told.dep_env.push(path);
            } else if bytes.starts_with(b"@") {
                return Err("its runner's command names a file that Bazel did not show".to_owned());
            } else if !bytes.starts_with(b"--") {
                others.push(arg);
            }
        }
        // RUNFILES_DIR SUFFIXES FILE=NAME…
        if let Some((folder, files)) = others.split_first() {
            for pair in files.iter().skip(1) {
                let bytes = pair.as_bytes();
                let Some(at) = bytes.iter().position(|byte| *byte == b'=') else {
                    continue;
                };
                let part = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
                let seen = Path::new(folder).join(part(&bytes[at + 1..]));
                told.runfiles.insert(seen, part(&bytes[..at]));
            }
        }
        Ok(told)
    }

    /// The script's environment: the planned one, what Cargo would add, and paths in full.
    fn variables(&self, told: &Told, root: &Path) -> Result<BTreeMap<OsString, OsString>, String> {
        let mut env = self.env.clone();
        let get = |name: &str| self.env.get(OsStr::new(name));
        if let (Some(rustc), Some(target)) = (get("RUSTC"), get("TARGET")) {
            let found = target_variables(&root.join(rustc), target);
            env.extend(found.map_err(|error| format!("cannot ask its rustc: {error}"))?);
        }
        for name in ["AR", "CARGO_MANIFEST_DIR", "CC", "CXX", "LD", "RUSTC"] {
            if let Some(path) = get(name) {
                env.insert(name.into(), self.folder.join(path).into());
            }
        }
        env.insert("RUST_BACKTRACE".into(), "full".into());
        for file in &told.dep_env {
            let text = fs::read(root.join(file)).map_err(|error| error.to_string())?;
            for line in text.split(|byte| *byte == b'\n') {
                if let Some(at) = line.iter().position(|byte| *byte == b'=') {
                    let part = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
                    env.insert(part(&line[..at]), part(&line[at + 1..]));
                }
            }
        }
        for (name, value) in &mut env {
            *value = replace_all(value, OsStr::new("${pwd}"), self.folder.as_os_str());
            if name == "CARGO_ENCODED_RUSTFLAGS" {
                *value = replace_all(value, OsStr::new("\\x1f"), OsStr::new("\x1f"));
            }
        }
        Ok(env)
    }
}

/// `CARGO_CFG_*` as the runner makes it of `rustc --print=cfg`.
fn target_variables(rustc: &Path, target: &OsStr) -> io::Result<BTreeMap<OsString, OsString>> {
    let mut option = OsString::from("--target=");
    option.push(target);
    let output = Command::new(rustc)
        .arg("--print=cfg")
        .arg(option)
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(said.lines().next().unwrap_or_default()));
    }
    let mut values: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let text = String::from_utf8_lossy(&output.stdout);
    for line in text.lines() {
        if let Some((key, value)) = line.split_once('=').filter(|_| line.starts_with("target_")) {
            let value = value.trim_matches('"');
            values.entry(key.to_uppercase()).or_default().push(value);
        } else if ["unix", "windows"].contains(&line) {
            values.insert(line.to_uppercase(), Vec::new());
        }
    }
    let variable = |(key, values): (String, Vec<&str>)| {
        let name = format!("CARGO_CFG_{key}");
        (name.into(), values.join(",").into())
    };
    Ok(values.into_iter().map(variable).collect())
}
