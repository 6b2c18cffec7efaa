//! A workspace to check: a copy of a fixture, or files written for one test, in a temporary folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support;

/// A workspace of the test's own. Gone with the value.
pub(crate) struct Workspace(tempfile::TempDir);

/// What a run said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) status: Option<i32>,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
            status: output.status.code(),
        }
    }
}

impl Said {
    /// The report.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// What was said, however wide the terminal was taken to be.
    pub(crate) fn words(&self) -> String {
        let words: Vec<&str> = self.out.split_whitespace().collect();
        words.join(" ")
    }

    /// Fails unless it ended with `status` and `error: …` on standard error begins with `error`.
    /// Returns that line and what follows it.
    pub(crate) fn failed(&self, error: &str) -> &str {
        assert_eq!(self.status, Some(2), "{self:?}");
        assert_eq!(self.out, "", "nothing was reported");
        let at = self.err.find(&format!("error: {error}"));
        &self.err[at.unwrap_or_else(|| panic!("no `error: {error}` in:\n{}", self.err))..]
    }
}

impl Workspace {
    /// A copy of `fixtures/_projects/NAME`, without what was built there by hand.
    pub(crate) fn fixture(name: &str) -> Self {
        let from = support::root().join("fixtures/_projects").join(name);
        let own = Self::empty();
        let walk = walkdir::WalkDir::new(&from).into_iter();
        for entry in walk.filter_entry(|entry| entry.file_name() != "target") {
            let entry = entry.unwrap();
            let to = own.path(entry.path().strip_prefix(&from).unwrap());
            if entry.file_type().is_dir() {
                fs::create_dir_all(to).unwrap();
            } else {
                fs::copy(entry.path(), to).unwrap();
            }
        }
        own
    }

    /// Files with these texts.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let own = Self::empty();
        for (path, text) in files {
            own.write(path, text);
        }
        own
    }

    fn empty() -> Self {
        // A name without a dot in front, as a user's folder has; resolved, as cargo shows it.
        let temp = fs::canonicalize(std::env::temp_dir()).unwrap();
        let made = tempfile::Builder::new().prefix("work-").tempdir_in(temp);
        Self(made.unwrap())
    }

    /// A path in it.
    pub(crate) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(path)
    }

    /// Writes a file and the folders above it.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// `svhcheck ARGS` in it, with two compiles at a time.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = support::svhcheck();
        // What the tests say of verdicts must not hang on the shell in which they run.
        command.env_remove("EXECUTION_ID");
        command.current_dir(self.0.path()).stdin(Stdio::null());
        command.arg("--jobs=2").args(args);
        command
    }

    /// Runs it.
    pub(crate) fn run(&self, args: &[&str]) -> Said {
        self.command(args).output().unwrap().into()
    }

    /// The report of a check that must come to one; it must exit with `status`.
    pub(crate) fn report(&self, args: &[&str], status: i32) -> Value {
        let said = self.run(&[&["--format=json", "--quiet"], args].concat());
        assert_eq!(said.status, Some(status), "{said:?}");
        assert_eq!(said.err, "", "quiet");
        let report = said.json();
        support::assert_is_report(&report);
        report
    }

    /// svhcheck's own folder.
    pub(crate) fn area(&self) -> PathBuf {
        self.path("target/svhcheck")
    }

    /// Fails if a scratch folder is left, or a process that works in this workspace.
    pub(crate) fn assert_nothing_left(&self) {
        let scratch = |area: &Path| -> Vec<PathBuf> {
            let entries = fs::read_dir(area).into_iter().flatten();
            let paths = entries.map(|entry| entry.unwrap().path());
            let is_scratch = |path: &PathBuf| {
                path.file_name()
                    .unwrap()
                    .as_encoded_bytes()
                    .starts_with(b"scratch-")
            };
            paths.filter(is_scratch).collect()
        };
        assert_eq!(scratch(&self.area()), [] as [PathBuf; 0]);
        // A killed process is gone a moment after its signal.
        let deadline = Instant::now() + Duration::from_secs(5);
        while !self.processes().is_empty() {
            let left = self.processes();
            assert!(Instant::now() < deadline, "left running: {left:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Command lines of processes that name this workspace.
    fn processes(&self) -> Vec<String> {
        let name = self.0.path().to_str().unwrap();
        let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        processes
            .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
            .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
            .filter(|line| line.contains(name))
            .collect()
    }
}

/// Waits until `there`, for a minute at most.
pub(crate) fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !there() {
        assert!(Instant::now() < deadline, "waited a minute for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The crate `id` of a report.
pub(crate) fn krate<'a>(report: &'a Value, id: &str) -> &'a Value {
    let crates = report["crates"].as_array().unwrap();
    let found = crates.iter().find(|krate| krate["id"] == id);
    found.unwrap_or_else(|| panic!("no crate {id} in {report:#}"))
}

/// The finding about the crate `id` that is shown, of which there must be one.
pub(crate) fn finding<'a>(report: &'a Value, id: &str) -> &'a Value {
    let findings = report["findings"].as_array().unwrap();
    let shown = |own: &&Value| own["crate"] == id && own["level"] != "allow";
    let mut found = findings.iter().filter(shown);
    let first = found.next();
    assert!(found.next().is_none(), "one finding about {id}: {report:#}");
    first.unwrap_or_else(|| panic!("no finding about {id} in {report:#}"))
}

/// `(id, verdict)` of every crate of a report.
pub(crate) fn verdicts(report: &Value) -> Vec<(&str, &str)> {
    let crates = report["crates"].as_array().unwrap();
    crates
        .iter()
        .map(|krate| {
            (
                krate["id"].as_str().unwrap(),
                krate["verdict"].as_str().unwrap(),
            )
        })
        .collect()
}
