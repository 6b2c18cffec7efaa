//! Calls of Bazel: which program, with which flags, and how it failed.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use super::aquery::Graph;
use super::{BazelError, Request};
use crate::interrupt::Interrupt;
use crate::project::CALLED_OFF;

/// Bazel, for one workspace.
pub(super) struct Bazel<'a> {
    request: &'a Request,
    interrupt: &'a Interrupt,
    program: PathBuf,
    /// Options of the server, which stand before the command.
    pub(super) startup: Vec<OsString>,
    /// Flags behind the user's own.
    pub(super) flags: Vec<OsString>,
}

/// Where Bazel keeps things.
pub(super) struct Places {
    /// Where actions run: inputs and outputs are relative to it.
    pub(super) execution_root: PathBuf,
    /// Everything of this workspace.
    pub(super) output_base: PathBuf,
    /// The workspace itself.
    pub(super) workspace: PathBuf,
}

/// Flags of every call. The same ones each time: others would throw Bazel's analysis away.
///
/// `--keep_going`: a pipelined build with a guilty crate fails at an innocent one, and the guilty
/// one must be made all the same.
///
/// `--remote_download_outputs`: outputs that a remote cache would keep to itself are read here.
/// `--output_groups`: rules_rust's name for the metadata of crates that nothing is compiled against;
/// where rules have no such group, nothing more is built.
const FLAGS: &[&str] = &[
    "--keep_going",
    "--remote_download_outputs=all",
    "--output_groups=+build_metadata",
];

impl<'a> Bazel<'a> {
    pub(super) fn new(request: &'a Request, interrupt: &'a Interrupt) -> Result<Self, BazelError> {
        let program = match &request.bazel {
            Some(program) => program.clone(),
            None => on_path(&["bazel", "bazelisk"]).ok_or(BazelError::NoBazel)?,
        };
        Ok(Self {
            request,
            interrupt,
            program,
            startup: Vec::new(),
            flags: Vec::new(),
        })
    }

    /// `bazel COMMAND` with the flags that all calls share.
    fn call(&self, command: &str) -> Command {
        let mut call = Command::new(&self.program);
        call.args(&self.startup)
            .arg(command)
            .args(FLAGS)
            .args(&self.request.flags)
            .args(&self.flags)
            .current_dir(&self.request.folder)
            .stdin(Stdio::null());
        call
    }

    fn start_error(&self, source: io::Error) -> BazelError {
        if source.kind() == io::ErrorKind::Interrupted {
            return BazelError::Interrupted;
        }
        BazelError::Start {
            program: self.program.clone(),
            source,
        }
    }

    /// Runs a command that answers nothing.
    #[cfg(feature = "remote")]
    pub(super) fn run(&self, command: &'static str) -> Result<(), BazelError> {
        let output = self.interrupt.output(&mut self.call(command), CALLED_OFF);
        let output = output.map_err(|error| self.start_error(error))?;
        if output.status.success() {
            return Ok(());
        }
        Err(self.failed(command, output.status, &output.stderr))
    }

    /// Ends the server, also after an interrupt. If that fails, it ends when it has been idle.
    #[cfg(feature = "remote")]
    pub(super) fn shut_down(&self) {
        let mut call = Command::new(&self.program);
        call.args(&self.startup)
            .arg("shutdown")
            .current_dir(&self.request.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let _ = call.status();
    }

    /// The major release of this Bazel. One that is not told (a build of one's own) is taken for the
    /// latest.
    pub(super) fn release(&self) -> Result<u32, BazelError> {
        let mut call = Command::new(&self.program);
        call.arg("--version")
            .current_dir(&self.request.folder)
            .stdin(Stdio::null());
        let output = self.interrupt.output(&mut call, CALLED_OFF);
        let output = output.map_err(|error| self.start_error(error))?;
        Ok(major(&String::from_utf8_lossy(&output.stdout)).unwrap_or(u32::MAX))
    }

    pub(super) fn places(&self) -> Result<Places, BazelError> {
        let names = ["execution_root", "output_base", "workspace"];
        let mut call = self.call("info");
        call.args(names);
        let output = self.interrupt.output(&mut call, CALLED_OFF);
        let output = output.map_err(|error| self.start_error(error))?;
        if !output.status.success() {
            return Err(self.failed("info", output.status, &output.stderr));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let find = |name: &str| {
            let line = text.lines().find_map(|line| {
                let rest = line.strip_prefix(name)?;
                rest.strip_prefix(": ")
            });
            line.map(PathBuf::from)
                .ok_or_else(|| BazelError::Info(name.to_owned()))
        };
        Ok(Places {
            execution_root: find(names[0])?,
            output_base: find(names[1])?,
            workspace: find(names[2])?,
        })
    }

    /// Builds `patterns`, with Bazel's events in the file `events`. Whether it succeeded.
    pub(super) fn build(&self, patterns: &[String], events: &Path) -> Result<bool, BazelError> {
        let mut call = self.call("build");
        let mut file = OsString::from("--build_event_json_file=");
        file.push(events);
        call.arg(file).arg("--").args(patterns);
        if self.request.quiet {
            call.stderr(Stdio::null());
        }
        call.stdout(Stdio::null());
        let mut running = self
            .interrupt
            .spawn(&mut call, CALLED_OFF)
            .map_err(|error| self.start_error(error))?;
        let status = running.wait()?;
        if self.interrupt.is_set() {
            return Err(BazelError::Interrupted);
        }
        match status.code() {
            Some(0) => Ok(true),
            // "Build failed", and "parts of it" (Bazel's ExitCode.java): the events say which.
            Some(1) => Ok(false),
            _ => Err(self.failed("build", status, b"")),
        }
    }

    /// The action graph behind `patterns`, as far as it is about Rust.
    pub(super) fn graph(&self, patterns: &[String]) -> Result<Graph, BazelError> {
        let mut call = self.call("aquery");
        call.args(["--output=streamed_proto"])
            .arg(query(patterns))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut running = self
            .interrupt
            .spawn(&mut call, CALLED_OFF)
            .map_err(|error| self.start_error(error))?;
        let (Some(stdout), Some(mut stderr)) =
            (running.child.stdout.take(), running.child.stderr.take())
        else {
            return Err(io::Error::other("bazel's output is not a pipe").into());
        };
        let mut said = Vec::new();
        let graph = std::thread::scope(|scope| {
            let reader = scope.spawn(|| io::Read::read_to_end(&mut stderr, &mut said));
            let mut stdout = BufReader::with_capacity(1 << 16, stdout);
            let graph = Graph::read(&mut stdout);
            // Bazel's server would wait for ever for a reader that gave up.
            let _ = io::copy(&mut stdout, &mut io::sink());
            let _ = reader.join();
            graph
        });
        let status = running.wait()?;
        if self.interrupt.is_set() {
            return Err(BazelError::Interrupted);
        }
        // "Parts of it" failed: what there is of the graph is taken, if there is any.
        let part = status.code() == Some(1) && !matches!(&graph, Ok(own) if own.actions.is_empty());
        if !status.success() && !part {
            return Err(self.failed("aquery", status, &said));
        }
        Ok(graph?)
    }

    fn failed(&self, command: &'static str, status: ExitStatus, stderr: &[u8]) -> BazelError {
        if self.interrupt.is_set() {
            return BazelError::Interrupted;
        }
        let text = String::from_utf8_lossy(stderr);
        let error = text.lines().find_map(|line| line.strip_prefix("ERROR: "));
        let said = error.map(|line| format!(": {line}")).unwrap_or_default();
        // Bazel's ExitCode.java.
        let hint = match status.code() {
            Some(2) => "; a flag or a pattern is wrong",
            Some(34) => "; the cluster or cache does not answer it",
            Some(36 | 37) => "; the server is gone: run svhcheck again",
            Some(39) => "; the cache has lost what it had: run svhcheck again",
            Some(45) => "; another call of Bazel holds the workspace",
            _ => "",
        };
        BazelError::Failed {
            command,
            status: status.to_string(),
            said: format!("{said}{hint}"),
        }
    }
}

/// The first number of `bazel 7.7.1`.
fn major(text: &str) -> Option<u32> {
    let version = text.trim().strip_prefix("bazel ")?;
    version.split('.').next()?.parse().ok()
}

/// The first of `names` on PATH.
fn on_path(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut found = names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    found.find(|path| path.is_file())
}

/// The query for the Rust actions behind `patterns`, which it combines as `bazel build` does: later
/// ones act on what earlier ones left.
fn query(patterns: &[String]) -> OsString {
    // A name in quotes may hold anything but its quotes ("Tokens" in Bazel's query language).
    let quoted = |text: &str| {
        let quote = if text.contains('"') { '\'' } else { '"' };
        format!("{quote}{text}{quote}")
    };
    let mut targets = String::new();
    for pattern in patterns {
        let (sign, name) = match pattern.strip_prefix('-') {
            Some(name) => ("-", name),
            None => ("+", pattern.as_str()),
        };
        let start = if targets.is_empty() && sign == "-" {
            "set() "
        } else {
            ""
        };
        let sign = if targets.is_empty() && start.is_empty() {
            String::new()
        } else {
            format!(" {sign} ")
        };
        targets = format!("{start}{targets}{sign}{}", quoted(name));
    }
    OsStr::new(&format!(
        "mnemonic(\"^(Rustc|RustcMetadata|CargoBuildScriptRun)$\", deps({targets}))"
    ))
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_read_as_bazel_and_its_packagers_write_it() {
        assert_eq!(major("bazel 7.7.1- (@non-git)\n"), Some(7));
        assert_eq!(major("bazel 8.0.0"), Some(8));
        assert_eq!(major("bazel no_version"), None);
    }

    #[test]
    fn patterns_are_combined_in_their_order() {
        let patterns = ["//...", "-//x/...", "//x:y"].map(str::to_owned);
        let text = query(&patterns).into_string().unwrap();
        assert!(
            text.ends_with(r#", deps("//..." - "//x/..." + "//x:y"))"#),
            "{text}"
        );
        let text = query(&["-//x".to_owned()]).into_string().unwrap();
        assert!(text.ends_with(r#"deps(set()  - "//x"))"#), "{text}");
    }
}
