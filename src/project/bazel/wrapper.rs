//! What rules_rust's `process_wrapper` makes of the command line that Bazel plans: svhcheck does
//! its work itself, so that rustc runs directly under the tracer and stops where a trial wants it.
//!
//! The flags are those of `util/process_wrapper/options.rs` in rules_rust (0.54.1, and its main
//! branch of 2026, where parameter files may hold flags of the wrapper too). The shell script that
//! builds the wrapper itself understands the same form without flags.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::os_text::replace_all;
use crate::rustc::args::Args;

/// What the wrapper runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrapped {
    /// The compiler, as the command names it.
    pub(super) program: PathBuf,
    /// Its arguments.
    pub(super) args: Args,
    /// Its environment.
    pub(super) env: BTreeMap<OsString, OsString>,
}

/// Why a command line is not understood, in words that stand behind the label.
#[derive(Debug, thiserror::Error)]
pub(super) enum WrapperError {
    /// Not of the form `WRAPPER FLAGS -- PROGRAM ARGUMENTS`.
    #[error("its command is not one of process_wrapper: no program stands behind `--`")]
    NoProgram,
    /// A flag of a later version.
    #[error("process_wrapper's flag `{0}` is not known to this version of svhcheck")]
    Flag(String),
    /// A file that the command line names.
    #[error("cannot read `{}`, which its command names: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Parameter files that name each other.
    #[error("its parameter files are nested too deeply")]
    Nested,
}

/// Flags that take a value and change nothing of what rustc makes, but where its messages go.
const PLUMBING: &[&str] = &[
    "--out-dir",
    "--output-file",
    "--rustc-output-format",
    "--rustc-quit-on-rmeta",
    "--stderr-file",
    "--stdout-file",
    "--touch-file",
];

/// Flags that name a file which the wrapper reads.
const FILES: &[&str] = &[
    "--arg-file",
    "--env-file",
    "--stable-status-file",
    "--volatile-status-file",
];

/// How deep parameter files may name others.
const DEPTH: usize = 16;

/// The flags that matter.
#[derive(Default)]
struct Flags {
    substitutions: Vec<(OsString, OsString)>,
    env_files: Vec<PathBuf>,
    arg_files: Vec<PathBuf>,
    status_files: Vec<PathBuf>,
    explicit_features: bool,
}

/// Does the wrapper's work for a command that runs in `folder`, the execution root as it will be
/// laid out. Files are read in `root`, where Bazel left them.
pub(super) fn unwrap(
    command: Vec<OsString>,
    mut env: BTreeMap<OsString, OsString>,
    folder: &Path,
    root: &Path,
) -> Result<Wrapped, WrapperError> {
    let mut rest: VecDeque<OsString> = command.into();
    rest.pop_front();
    let mut flags = Flags::default();
    loop {
        let flag = rest.pop_front().ok_or(WrapperError::NoProgram)?;
        if flag == "--" {
            break;
        }
        let mut value = || rest.pop_front().ok_or(WrapperError::NoProgram);
        match flag.to_str() {
            Some("--subst") => {
                let pair = value()?;
                let split = pair.as_bytes().iter().position(|byte| *byte == b'=');
                let (name, value) = pair.as_bytes().split_at(split.unwrap_or(0));
                let value = OsStr::from_bytes(value.get(1..).unwrap_or_default());
                let name = OsStr::from_bytes(name).to_owned();
                let value = place(value, folder);
                flags.substitutions.push((name, value));
            }
            Some("--copy-output") => {
                value()?;
                value()?;
            }
            Some("--require-explicit-unstable-features") => {
                flags.explicit_features = value()? == "true";
            }
            Some(name) if FILES.contains(&name) => {
                let file = value()?;
                flags.file(name, file.into());
            }
            Some(name) if PLUMBING.contains(&name) => {
                value()?;
            }
            _ => return Err(WrapperError::Flag(flag.to_string_lossy().into_owned())),
        }
    }
    // The shell script puts the folder in unasked.
    if flags.substitutions.is_empty() {
        flags.substitutions.push(("pwd".into(), folder.into()));
    }
    let program = rest.pop_front().ok_or(WrapperError::NoProgram)?;
    let program = PathBuf::from(flags.substitute(program));
    let mut args = Vec::new();
    let mut before: VecDeque<OsString> = rest;
    for file in std::mem::take(&mut flags.arg_files) {
        before.extend(lines(root, &file)?);
    }
    flags.expand(before, root, 0, &mut args)?;
    // Those that parameter files named.
    for file in std::mem::take(&mut flags.arg_files) {
        let more = lines(root, &file)?.into_iter();
        args.extend(more.map(|arg| flags.substitute(arg)));
    }
    let has_features = |arg: &OsString| {
        let text = arg.to_string_lossy();
        text.starts_with("-Zallow-features=") || text.starts_with("allow-features=")
    };
    if flags.explicit_features && !args.iter().any(has_features) {
        args.push("-Zallow-features=".into());
    }
    flags.environment(&mut env, root)?;
    Ok(Wrapped {
        program,
        args: Args::new(args),
        env,
    })
}

/// Parts a command, without a look at any file: what the wrapper is told, sorted and without its
/// plumbing, and what it runs. `None` for what is no command of the wrapper.
pub(super) fn split(command: Vec<OsString>) -> Option<(Vec<OsString>, VecDeque<OsString>)> {
    let mut rest: VecDeque<OsString> = command.into();
    rest.pop_front()?;
    let mut told = Vec::new();
    loop {
        let word = rest.pop_front()?;
        if word == "--" {
            break;
        }
        if word.to_str().is_some_and(|word| PLUMBING.contains(&word)) {
            rest.pop_front()?;
        } else {
            told.push(word);
        }
    }
    told.sort();
    Some((told, rest))
}

/// What a substitution's value stands for. In the wrapper's own words, `${exec_root}` and
/// `${output_base}` are where the working folder lies; ours is laid out as Bazel's is.
fn place(value: &OsStr, folder: &Path) -> OsString {
    match value.to_str() {
        Some("${pwd}" | "${exec_root}") => folder.into(),
        Some("${output_base}") => folder.ancestors().nth(2).unwrap_or(folder).into(),
        _ => value.to_owned(),
    }
}

impl Flags {
    fn file(&mut self, name: &str, file: PathBuf) {
        let list = match name {
            "--arg-file" => &mut self.arg_files,
            "--env-file" => &mut self.env_files,
            _ => &mut self.status_files,
        };
        list.push(file);
    }

    fn substitute(&self, text: OsString) -> OsString {
        let each = |text: OsString, (name, value): &(OsString, OsString)| {
            let mut from = OsString::from("${");
            from.push(name);
            from.push("}");
            replace_all(&text, &from, value)
        };
        self.substitutions.iter().fold(text, each)
    }

    /// Spells out parameter files, which `aquery` does already where Bazel wrote them.
    fn expand(
        &mut self,
        mut args: VecDeque<OsString>,
        root: &Path,
        depth: usize,
        into: &mut Vec<OsString>,
    ) -> Result<(), WrapperError> {
        if depth > DEPTH {
            return Err(WrapperError::Nested);
        }
        while let Some(arg) = args.pop_front() {
            let arg = self.substitute(arg);
            let text = arg.to_string_lossy();
            if let Some(file) = arg.as_bytes().strip_prefix(b"@") {
                let file = Path::new(OsStr::from_bytes(file));
                let more = lines(root, file)?.into();
                self.expand(more, root, depth + 1, into)?;
            } else if text.starts_with("--pipelining-") {
                // Words between the rules and the wrapper's worker.
            } else if FILES.contains(&&*text) {
                let file = args.pop_front().ok_or(WrapperError::NoProgram)?;
                let file = self.substitute(file);
                self.file(&text, file.into());
            } else if text == "--output-file" || text == "--rustc-output-format" {
                args.pop_front();
            } else {
                into.push(arg);
            }
        }
        Ok(())
    }

    /// Adds the environment files, and puts stamps and substitutions into all values.
    fn environment(
        &self,
        env: &mut BTreeMap<OsString, OsString>,
        root: &Path,
    ) -> Result<(), WrapperError> {
        let pair = |line: &OsString, at: u8| {
            let bytes = line.as_bytes();
            let split = bytes.iter().position(|byte| *byte == at)?;
            let part = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
            Some((part(&bytes[..split]), part(&bytes[split + 1..])))
        };
        for file in &self.env_files {
            let lines = lines(root, file)?;
            env.extend(lines.iter().filter_map(|line| pair(line, b'=')));
        }
        let mut stamps = Vec::new();
        for file in &self.status_files {
            let lines = lines(root, file)?;
            stamps.extend(lines.iter().filter_map(|line| pair(line, b' ')));
        }
        for value in env.values_mut() {
            for (name, stamp) in &stamps {
                let mut from = OsString::from("{");
                from.push(name);
                from.push("}");
                *value = replace_all(value, &from, stamp);
            }
            *value = self.substitute(std::mem::take(value));
        }
        Ok(())
    }
}

/// The lines of a file as the wrapper reads them: a backslash at the end of a line escapes the line
/// break, two stand for one.
fn lines(root: &Path, file: &Path) -> Result<Vec<OsString>, WrapperError> {
    let path = root.join(file);
    let text = std::fs::read(&path).map_err(|source| WrapperError::File { path, source })?;
    let mut found = Vec::new();
    let mut open: Option<Vec<u8>> = None;
    for line in text.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let backslashes = line.iter().rev().take_while(|byte| **byte == b'\\').count();
        let mut whole = open.take().unwrap_or_default();
        whole.extend_from_slice(&line[..line.len() - backslashes]);
        whole.extend(std::iter::repeat_n(b'\\', backslashes / 2));
        if backslashes % 2 == 1 {
            whole.push(b'\n');
            open = Some(whole);
        } else {
            found.push(OsString::from_vec(whole));
        }
    }
    found.extend(open.map(OsString::from_vec));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    fn env(pairs: &[(&str, &str)]) -> BTreeMap<OsString, OsString> {
        let pair = |(name, value): &(&str, &str)| (name.into(), value.into());
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn files_substitutions_and_stamps_are_put_in_as_the_wrapper_does() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(root.path().join(name), text).unwrap();
        write("args", "--cfg=a\n\n-L${pwd}/x\n");
        write("env", "A=one\\\ntwo\nB=c:\\\\\n");
        write("stable", "STABLE_USER me\nBUILD 1 2\n");
        write(
            "params",
            "--extern=x=libx.rlib\n--env-file\nmore\n--pipelining-full\n",
        );
        write("more", "C=${pwd}\n");
        let command = words(
            "pw --arg-file args --env-file env --stable-status-file stable --subst pwd=${pwd} \
             --subst base=${output_base} --rustc-quit-on-rmeta true -- rustc @params x.rs \
             --remap-path-prefix=${base}=.",
        );
        let folder = Path::new("/s/execroot/main");
        let planned = env(&[("V", "{STABLE_USER}-{BUILD}"), ("OUT_DIR", "${pwd}/o")]);
        let found = unwrap(command, planned, folder, root.path()).unwrap();
        assert_eq!(found.program, Path::new("rustc"));
        let args = "--extern=x=libx.rlib x.rs --remap-path-prefix=/s=. --cfg=a \
                    -L/s/execroot/main/x";
        assert_eq!(found.args, Args::new(words(args)));
        let expected = [
            ("A", "one\ntwo"),
            ("B", "c:\\"),
            ("C", "/s/execroot/main"),
            ("OUT_DIR", "/s/execroot/main/o"),
            ("V", "me-1 2"),
        ];
        assert_eq!(found.env, env(&expected));
    }

    #[test]
    fn what_is_not_understood_says_so() {
        let run = |text: &str| {
            let root = Path::new("/nonexistent");
            unwrap(words(text), BTreeMap::new(), root, root)
        };
        assert!(matches!(run("pw rustc x.rs"), Err(WrapperError::Flag(_))));
        assert!(matches!(run("pw --"), Err(WrapperError::NoProgram)));
        assert!(matches!(
            run("pw --new 1 -- rustc"),
            Err(WrapperError::Flag(flag)) if flag == "--new"
        ));
        assert!(matches!(
            run("pw --env-file e -- rustc"),
            Err(WrapperError::File { .. })
        ));
    }
}
