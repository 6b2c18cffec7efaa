//! `rustc_action.py`, through which Buck2 runs rustc: what it is told, and what it passes on
//! (`prelude/rust/tools/rustc_action.py` in Buck2's source).

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use crate::os_text::replace_all;
use crate::rustc::args::Args;

/// The command that the wrapper runs.
#[derive(Debug, Clone)]
pub(super) struct Wrapped {
    /// The compiler, as the rules name it.
    pub(super) program: PathBuf,
    /// Its arguments.
    pub(super) args: Args,
    /// Its whole environment.
    pub(super) env: BTreeMap<OsString, OsString>,
    /// Names of the variables that the rules set.
    pub(super) declared: Vec<OsString>,
}

/// Why a command cannot be understood.
#[derive(Debug, thiserror::Error)]
pub(super) enum WrapperError {
    /// No compiler in it.
    #[error("its command names no compiler")]
    NoProgram,
    /// The compiler is started through another program.
    #[error("its compiler is a command of several words (`{0}`), which is not understood yet")]
    Words(String),
    /// A flag of a later version.
    #[error("rustc_action.py's flag `{0}` is not known to this version of svhcheck")]
    Flag(String),
    /// It only prints the command.
    #[error("it was run with `--echo`, which compiles nothing")]
    Echo,
    /// A variable without a value.
    #[error("`{0}` sets no variable: NAME=VALUE is expected")]
    Variable(String),
    /// A file that the command line names.
    #[error(
        "cannot read `{}`, which its command names: {source}; run svhcheck in the project in which the build ran", .path.display()
    )]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Argument files that name each other.
    #[error("its argument files are nested too deeply")]
    Nested,
}

/// Flags that change nothing of what rustc makes, and how many values they take.
const PLUMBING: &[(&str, usize)] = &[
    ("--allowed-input", 1),
    ("--buck-target", 1),
    ("--crate-map", 1),
    ("--dep-info", 1),
    ("--diag-json", 1),
    ("--diag-txt", 1),
    ("--failure-filter", 1),
    ("--required-output", 2),
];

/// Stands between the compiler and its arguments.
const SEPARATOR: &str = "--rustc-action-separator";

/// What a build script's flags say in the place of its `OUT_DIR`
/// (`prelude/rust/tools/buildscript_run.py`).
const OUT_DIR: &str = "${__BUILDSCRIPT_OUT_DIR__}";

/// The variables that the wrapper lets through from its own environment, without those of Windows
/// and of Nix.
pub(super) const LET_THROUGH: &[&str] = &[
    "ACTION_DIGEST",
    "CAS_DAEMON_ADDR",
    "CAS_DAEMON_PORT",
    "DOTSLASH_CACHE",
    "EXECUTION_ID",
    "HOME",
    "PATH",
    "PWD",
    "RE_PLATFORM",
    "RUSTC_LOG",
    "RUSTUP_HOME",
    "RUST_BACKTRACE",
    "SESSION_ID",
    "SYSROOT_MULTIPLEXER_DEBUG",
    "TMPDIR",
    "USER",
];

/// Whether the wrapper lets a variable through.
pub(super) fn lets_through(name: &str) -> bool {
    LET_THROUGH.contains(&name) || name.starts_with("NIX_")
}

/// How deep argument files may name others.
const DEPTH: usize = 16;

/// Does the wrapper's work for a command that runs in `folder`, the project as it will be laid out.
/// Files are read in `root`, where Buck2 left them. `inherited` is the wrapper's own environment.
pub(super) fn unwrap(
    command: &[String],
    inherited: &BTreeMap<OsString, OsString>,
    folder: &Path,
    root: &Path,
) -> Result<Wrapped, WrapperError> {
    let mut words = VecDeque::new();
    let own = command.iter().position(|word| word.starts_with('@'));
    // Before the first argument file stand Python and the wrapper itself; a command without one has
    // them before its first flag.
    let own = own.or_else(|| command.iter().position(|word| word.starts_with("--")));
    let told = &command[own.unwrap_or(command.len())..];
    expand(told.iter().cloned().collect(), root, 0, &mut words)?;
    let through = inherited
        .iter()
        .filter(|(name, _)| lets_through(&name.to_string_lossy()));
    let mut wrapped = Wrapped {
        program: PathBuf::new(),
        args: Args::default(),
        env: through
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        declared: Vec::new(),
    };
    wrapped.env.insert("PWD".into(), folder.into());
    let mut remap = None;
    let mut words: VecDeque<String> = words;
    let program = loop {
        let word = words.pop_front().ok_or(WrapperError::NoProgram)?;
        if word == "--" {
            continue;
        }
        if !word.starts_with("--") {
            break word;
        }
        let (flag, glued) = match word.split_once('=') {
            Some((flag, value)) => (flag.to_owned(), Some(value.to_owned())),
            None => (word, None),
        };
        let mut glued = glued;
        let mut value = || {
            glued
                .take()
                .or_else(|| words.pop_front())
                .ok_or(WrapperError::NoProgram)
        };
        match flag.as_str() {
            "--env" => {
                let (name, value) = variable(&cat(&value()?, root)?)?;
                // Line ends come escaped, and so do escaped ones.
                let value = value.replace("\\n", "\n").replace("\\\n", "\\n");
                wrapped.set(name, value.into());
            }
            "--path-env" => {
                let (name, value) = variable(&cat(&value()?, root)?)?;
                wrapped.set(name, crate::os_text::normalized(&folder.join(value)).into());
            }
            "--remap-cwd-prefix" => remap = Some(value()?),
            "--echo" => return Err(WrapperError::Echo),
            name => {
                let known = PLUMBING.iter().find(|(own, _)| *own == name);
                let (_, count) = known.ok_or_else(|| WrapperError::Flag(name.to_owned()))?;
                for _ in 0..*count {
                    value()?;
                }
            }
        }
    };
    let mut args: Vec<String> = words.into();
    if let Some(at) = args.iter().position(|word| word == SEPARATOR) {
        if at > 0 {
            return Err(WrapperError::Words(format!(
                "{program} {}",
                args[..at].join(" ")
            )));
        }
        args.remove(0);
    }
    wrapped.program = program.into();
    let out_dir = wrapped.env.get(OsStr::new("OUT_DIR")).cloned();
    for arg in args {
        let mut arg = OsString::from(cat(&arg, root)?);
        if let Some(out_dir) = &out_dir {
            arg = replace_all(&arg, OsStr::new(OUT_DIR), out_dir);
        }
        wrapped.args.push_raw(arg);
    }
    if let Some(to) = remap {
        let mut value = folder.as_os_str().to_owned();
        value.push("=");
        value.push(to);
        wrapped.args.push("--remap-path-prefix", value);
    }
    Ok(wrapped)
}

impl Wrapped {
    fn set(&mut self, name: String, value: OsString) {
        let name = OsString::from(name);
        self.declared.push(name.clone());
        self.env.insert(name, value);
    }
}

fn variable(text: &str) -> Result<(String, String), WrapperError> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(WrapperError::Variable(text.to_owned())),
    }
}

fn read(root: &Path, file: &str) -> Result<String, WrapperError> {
    let path = root.join(file);
    std::fs::read_to_string(&path).map_err(|source| WrapperError::File { path, source })
}

/// Spells out argument files, one argument a line, as Python's argparse does.
fn expand(
    mut words: VecDeque<String>,
    root: &Path,
    depth: usize,
    into: &mut VecDeque<String>,
) -> Result<(), WrapperError> {
    if depth > DEPTH {
        return Err(WrapperError::Nested);
    }
    while let Some(word) = words.pop_front() {
        match word.strip_prefix('@') {
            Some(file) => {
                let text = read(root, file)?;
                expand(
                    text.lines().map(str::to_owned).collect(),
                    root,
                    depth + 1,
                    into,
                )?;
            }
            None => into.push_back(word),
        }
    }
    Ok(())
}

/// Puts in what files hold: `--extern=$(cat name.txt)=lib.rlib`, for crates whose name is made by
/// another action.
fn cat(text: &str, root: &Path) -> Result<String, WrapperError> {
    let mut rest = text;
    let mut whole = String::new();
    while let Some((before, behind)) = rest.split_once("$(cat ") {
        let Some((file, behind)) = behind.split_once(')') else {
            break;
        };
        whole.push_str(before);
        whole.push_str(read(root, file)?.trim());
        rest = behind;
    }
    whole.push_str(rest);
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(folder: &Path, command: &str) -> Result<Wrapped, WrapperError> {
        let command: Vec<String> = command.split(' ').map(str::to_owned).collect();
        let pair = |(name, value): (&str, &str)| (name.into(), value.into());
        let env = [("PATH", "/bin"), ("LC_ALL", "x"), ("NIX_CC", "y")];
        unwrap(&command, &env.map(pair).into(), Path::new("/place"), folder)
    }

    #[test]
    fn argument_files_and_variables_are_put_in_as_the_wrapper_does() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(root.path().join(name), text).unwrap();
        write(
            "args",
            "--diag-json=d.json\n--env=A=one\\ntwo\n--env\nB=1=2\n--path-env=OUT_DIR=gen/../gen/o\n\
             --remap-cwd-prefix=.\n--crate-map\nx=//:x\n--required-output\na\nb\n--buck-target=//:l\n\
             toolchain/rustc\n--rustc-action-separator\nsrc/lib.rs\n@more\n--crate-name=l\n",
        );
        write(
            "more",
            "--extern=$(cat name)=x.rlib\n-Lnative=${__BUILDSCRIPT_OUT_DIR__}/lib\n",
        );
        write("name", "dynamic\n");
        let found = run(root.path(), "python3 prelude/rustc_action.py @args").unwrap();
        assert_eq!(found.program, Path::new("toolchain/rustc"));
        let args = "src/lib.rs --extern=dynamic=x.rlib -Lnative=/place/gen/o/lib --crate-name=l \
                    --remap-path-prefix=/place=.";
        let args: Vec<OsString> = args.split(' ').map(OsString::from).collect();
        assert_eq!(found.args, Args::new(args));
        let env: Vec<String> = found
            .env
            .iter()
            .map(|(name, value)| format!("{}={}", name.display(), value.display()))
            .collect();
        let expected = [
            "A=one\ntwo",
            "B=1=2",
            "NIX_CC=y",
            "OUT_DIR=/place/gen/o",
            "PATH=/bin",
            "PWD=/place",
        ];
        assert_eq!(env, expected);
    }

    #[test]
    fn what_is_not_understood_says_so() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("loop"), "@loop\n").unwrap();
        let fails = |command: &str| run(root.path(), command).unwrap_err();
        assert!(matches!(fails("py w.py @gone"), WrapperError::File { .. }));
        assert!(matches!(fails("py w.py @loop"), WrapperError::Nested));
        assert!(matches!(
            fails("py w.py --env=A=1"),
            WrapperError::NoProgram
        ));
        assert!(matches!(
            fails("py w.py --env=A rustc"),
            WrapperError::Variable(_)
        ));
        assert!(matches!(
            fails("py w.py --echo=f rustc x.rs"),
            WrapperError::Echo
        ));
        assert!(
            matches!(fails("py w.py --new=f rustc x.rs"), WrapperError::Flag(flag) if flag == "--new")
        );
        let words = fails("py w.py --env=A=1 sh wrap --rustc-action-separator x.rs");
        assert!(matches!(words, WrapperError::Words(words) if words == "sh wrap"));
    }
}
