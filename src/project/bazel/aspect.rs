//! A build with svhcheck's aspect in it, without a change to the user's workspace: the aspect's files
//! lie in a folder of ours, and Bazel is told to look there too.
//!
//! Only reports are asked for, so with a cluster nothing else is downloaded.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;

use super::command::Bazel;
use super::events::Events;
use super::{BazelError, Request};
use crate::interrupt::Interrupt;
use crate::project::area::Area;

/// The aspect's own files.
const ASPECT: &str = include_str!("../../bazel/svhcheck.bzl");
const BUILD: &str = include_str!("../../bazel/BUILD.bazel");
const MODULE: &str = include_str!("../../bazel/MODULE.bazel");

/// The package, in a workspace that has it among its package paths.
const PACKAGE: &str = "svhcheck_aspects";

/// What the actions of the aspect are to do.
#[derive(Debug, Clone)]
pub struct Orders {
    /// Strategies, behind commas.
    pub strategies: String,
    /// Variations, behind commas.
    pub vary: String,
}

/// What a build with the aspect left.
#[derive(Debug, Default)]
pub struct Reports {
    /// The reports' files.
    pub files: Vec<PathBuf>,
    /// Targets of the user's patterns.
    pub targets: BTreeSet<String>,
    /// Targets of which an action failed, as (label, why).
    pub failed: BTreeSet<(String, String)>,
    /// Whether the user's own build fails.
    pub broken: bool,
}

/// Builds with the aspect.
pub fn record(
    request: &Request,
    orders: &Orders,
    interrupt: &Interrupt,
) -> Result<Reports, BazelError> {
    let mut bazel = Bazel::new(request, interrupt)?;
    let places = bazel.places()?;
    let area = Area::open(&places.output_base.join("svhcheck"))?;
    let scratch = area.scratch()?;
    // Always at one place, so that Bazel finds again what it has analysed and cached.
    let overlay = area.folder.join("aspect");
    lay(&overlay.join(PACKAGE), orders)?;
    bazel.flags = flags(&overlay, bazel.release()?);
    let log = scratch.path().join("events.json");
    let succeeded = bazel.build(&request.patterns, &log)?;
    let mut events = Events::read(&log)?;
    if let Some((pattern, why)) = events.unmatched.pop() {
        return Err(BazelError::NoMatch { pattern, why });
    }
    let why = |kind: &str| match kind {
        REPLAY => "svhcheck could not check it (its message is above)",
        _ => "the build did not make it: it failed",
    };
    let own = events.failures.iter().filter(|(_, kind)| kind != REPLAY);
    let broken = !succeeded && (own.count() > 0 || events.failures.is_empty());
    let failed = events.failures.into_iter();
    let reports = events.files.iter().filter(|path| is_report(path));
    let reports = Reports {
        files: reports
            .map(|path| places.execution_root.join(path))
            .collect(),
        targets: events.targets,
        failed: failed
            .map(|(label, kind)| (label, why(&kind).to_owned()))
            .collect(),
        broken,
    };
    match (reports.files.is_empty(), succeeded) {
        (true, true) => Err(BazelError::NoRust),
        (true, false) => Err(BazelError::BuildFails),
        _ => Ok(reports),
    }
}

/// The aspect's name for the action that replays.
const REPLAY: &str = "SvhReplay";

fn is_report(path: &Path) -> bool {
    path.to_string_lossy().ends_with(".svh.json")
}

/// Writes the aspect's package. What is there already is left alone.
fn lay(folder: &Path, orders: &Orders) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let put = |text: &str, name: &str, value: &str| {
        let lines = text.lines().map(|line| match line.strip_prefix(name) {
            Some(rest) if rest.starts_with(" = ") => format!("{name} = {value:?}\n"),
            _ => format!("{line}\n"),
        });
        lines.collect::<String>()
    };
    let aspect = put(ASPECT, "STRATEGIES", &orders.strategies);
    let aspect = put(&aspect, "VARY", &orders.vary);
    let written = [
        ("svhcheck.bzl", aspect.as_str()),
        ("BUILD.bazel", BUILD),
        ("MODULE.bazel", MODULE),
    ];
    for (name, code) in written {
        let path = folder.join(name);
        if fs::read_to_string(&path).ok().as_deref() != Some(code) {
            fs::write(path, code)?;
        }
    }
    let (program, link) = (std::env::current_exe()?, folder.join("svhcheck"));
    if fs::read_link(&link).ok().as_ref() != Some(&program) {
        match fs::remove_file(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::os::unix::fs::symlink(program, link)?;
    }
    Ok(())
}

/// What puts the aspect into a build. `--inject_repository` came with Bazel 8, and `--package_path` is
/// on its way out.
fn flags(overlay: &Path, release: u32) -> Vec<OsString> {
    let join = |start: &str, path: &Path| {
        let mut flag = OsString::from(start);
        flag.push(path);
        flag
    };
    let mut flags: Vec<OsString> = if release >= 8 {
        vec![
            join("--inject_repository=svhcheck=", &overlay.join(PACKAGE)),
            "--aspects=@svhcheck//:svhcheck.bzl%svhcheck".into(),
        ]
    } else {
        vec![
            join("--package_path=%workspace%:", overlay),
            format!("--aspects=//{PACKAGE}:svhcheck.bzl%svhcheck").into(),
        ]
    };
    let more = [
        "--output_groups=svh_reports",
        "--remote_download_outputs=toplevel",
        // Reports tell more than an action that fails.
        "--norun_validations",
    ];
    flags.extend(more.map(OsString::from));
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_is_written_once_and_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let orders = Orders {
            strategies: "full".to_owned(),
            vary: "none".to_owned(),
        };
        lay(folder.path(), &orders).unwrap();
        let file = folder.path().join("svhcheck.bzl");
        let text = fs::read_to_string(&file).unwrap();
        assert!(
            text.contains("\nSTRATEGIES = \"full\"\nVARY = \"none\"\n"),
            "{text}"
        );
        let before = fs::metadata(&file).unwrap().modified().unwrap();
        lay(folder.path(), &orders).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), before);
        assert!(folder.path().join("svhcheck").is_symlink());
    }

    #[test]
    fn the_way_in_is_that_of_the_version() {
        let of = |release| format!("{:?}", flags(Path::new("/o"), release));
        assert!(of(7).contains("--package_path=%workspace%:/o"));
        assert!(of(8).contains("--inject_repository=svhcheck=/o/svhcheck_aspects"));
    }
}
