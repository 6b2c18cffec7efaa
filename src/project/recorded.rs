//! What svhcheck writes down of each rustc call while the user's cargo runs: as cargo's
//! `RUSTC_WRAPPER`, it puts the command line on disk and then becomes rustc (`exec`), so nothing
//! stands between cargo and its compiler.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::os_text;
use crate::rustc::args::Args;

/// Names the folder for records; that it is set makes svhcheck a `RUSTC_WRAPPER`.
pub const RECORD_VAR: &str = "SVHCHECK_RECORD";

/// Set to add `RUSTC_BOOTSTRAP=1` to each recorded compile.
pub const BOOTSTRAP_VAR: &str = "SVHCHECK_RECORD_BOOTSTRAP";

/// The form of [`Record`]: a folder with records of another form is recorded anew.
pub const FORMAT: u32 = 2;

/// Variables of the recording itself and of cargo's jobserver: they never reach a replay.
pub(super) const OWN_VARS: &[&str] = &[
    RECORD_VAR,
    BOOTSTRAP_VAR,
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "CARGO_MAKEFLAGS",
    "MAKEFLAGS",
    "MFLAGS",
];

/// One rustc command line as cargo ran it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// [`FORMAT`].
    pub format: u32,
    /// The compiler.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Args,
    /// Its environment.
    #[serde(with = "os_text::vars")]
    pub env: BTreeMap<OsString, OsString>,
    /// Its working directory.
    pub cwd: PathBuf,
}

/// Why a record could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A file could not be written or read; the text names it.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A record is not what svhcheck writes.
    #[error("{}: not a record of svhcheck: {source}", .path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        source: serde_json::Error,
    },
}

/// What a wrapper call has to become: the command to `exec`.
#[derive(Debug)]
pub struct Wrapped {
    /// The compiler.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables to set for it.
    pub set: Vec<(OsString, OsString)>,
    /// Variables to take away.
    pub remove: Vec<OsString>,
}

/// Records the call `args` (rustc first) into `folder` if it is one of cargo's own compiles, and
/// says what to run. Calls that are not (version queries, the probes of build scripts) pass as
/// they are.
pub fn wrap(
    folder: &Path,
    args: &[OsString],
    env: BTreeMap<OsString, OsString>,
    cwd: PathBuf,
) -> Result<Wrapped, RecordError> {
    let (program, rest) = match args.split_first() {
        Some((program, rest)) => (program.clone(), rest.to_vec()),
        None => (OsString::from("rustc"), Vec::new()),
    };
    let args = Args::new(rest);
    let bootstrap = env.contains_key(OsStr::new(BOOTSTRAP_VAR));
    if !is_unit(&args, &env) {
        return Ok(Wrapped {
            program,
            args: args.as_slice().to_vec(),
            set: Vec::new(),
            remove: vec![RECORD_VAR.into(), BOOTSTRAP_VAR.into()],
        });
    }
    let mut record = Record {
        format: FORMAT,
        program: program.clone().into(),
        args,
        env,
        cwd,
    };
    record
        .env
        .retain(|name, _| !OWN_VARS.iter().any(|own| name == own));
    let mut set = Vec::new();
    if bootstrap {
        set.push((OsString::from("RUSTC_BOOTSTRAP"), OsString::from("1")));
        record.env.extend(set.iter().cloned());
    }
    record.write(folder)?;
    let jobserver = |name: &&str| !name.ends_with("FLAGS");
    let remove = OWN_VARS
        .iter()
        .filter(|name| jobserver(name))
        .map(OsString::from)
        .collect();
    Ok(Wrapped {
        program,
        args: record.args.as_slice().to_vec(),
        set,
        remove,
    })
}

/// Whether cargo itself made this call to compile a target. A build script that probes the
/// compiler runs with the variables that cargo sets for build scripts alone.
fn is_unit(args: &Args, env: &BTreeMap<OsString, OsString>) -> bool {
    let probe = ["NUM_JOBS", "HOST", "TARGET"]
        .iter()
        .all(|name| env.contains_key(OsStr::new(name)));
    let named = env
        .get(OsStr::new("CARGO_CRATE_NAME"))
        .is_some_and(|name| args.crate_name().is_some_and(|own| name == own));
    !probe && named && args.out_dir().is_some() && args.codegen("metadata").is_some()
}

impl Record {
    /// File name of a record: the stem of the crate's outputs, which cargo makes unique.
    pub fn file_name(crate_name: &str, extra_filename: &str) -> String {
        format!("{crate_name}{extra_filename}.json")
    }

    fn write(&self, folder: &Path) -> Result<(), RecordError> {
        let name = self.args.crate_name().unwrap_or_default();
        let extra = self.args.extra_filename();
        self.write_as(folder, &Self::file_name(name, &extra))
    }

    /// Writes it under a name of its own.
    pub(super) fn write_as(&self, folder: &Path, name: &str) -> Result<(), RecordError> {
        let path = folder.join(name);
        let text = serde_json::to_vec(self).map_err(|source| RecordError::Form {
            path: path.clone(),
            source,
        })?;
        // A wrapper that is killed half way must not leave half a record.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        io::Write::write_all(&mut file, &text)?;
        file.persist(&path).map_err(|error| error.error)?;
        Ok(())
    }

    /// Reads one record.
    pub fn read(path: &Path) -> Result<Self, RecordError> {
        let text = fs_err::read(path)?;
        serde_json::from_slice(&text).map_err(|source| RecordError::Form {
            path: path.to_path_buf(),
            source,
        })
    }

    /// Paths that the command makes, those with metadata first: `.rmeta`, `.rlib`, the shared
    /// library.
    pub fn outputs(&self) -> Vec<PathBuf> {
        self.args.artifacts(&self.cwd)
    }

    /// The dep-info file that the command writes.
    pub fn dep_info(&self) -> Option<PathBuf> {
        let name = self.args.crate_name()?;
        let folder = self.cwd.join(self.args.out_dir()?);
        Some(folder.join(format!("{name}{}.d", self.args.extra_filename())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> BTreeMap<OsString, OsString> {
        pairs
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    }

    fn call(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn cargos_compile_is_recorded_and_run_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let args = call(
            "rustc --crate-name x --crate-type lib --emit=dep-info,metadata,link \
                         -C metadata=1 -C extra-filename=-1 --out-dir /t x.rs",
        );
        let env = env(&[
            ("CARGO_CRATE_NAME", "x"),
            ("RUSTC_WRAPPER", "w"),
            ("MAKEFLAGS", "-j"),
        ]);
        let wrapped = wrap(folder.path(), &args, env, "/w".into()).unwrap();
        assert_eq!(wrapped.args, args[1..]);
        let record = Record::read(&folder.path().join("x-1.json")).unwrap();
        assert_eq!(record.env.keys().collect::<Vec<_>>(), ["CARGO_CRATE_NAME"]);
        assert_eq!(
            record.outputs(),
            ["/t/libx-1.rlib", "/t/libx-1.rmeta"].map(PathBuf::from)
        );
        assert_eq!(record.dep_info(), Some("/t/x-1.d".into()));
        // The jobserver stays for the real compile: it is cargo's.
        assert!(!wrapped.remove.contains(&OsString::from("MAKEFLAGS")));
    }

    #[test]
    fn probes_of_build_scripts_pass_unrecorded() {
        let folder = tempfile::tempdir().unwrap();
        let args = call("rustc --crate-name probe --out-dir /t -C metadata=1 -");
        let env = env(&[
            ("CARGO_CRATE_NAME", "probe"),
            ("NUM_JOBS", "2"),
            ("HOST", "h"),
            ("TARGET", "t"),
            (BOOTSTRAP_VAR, "1"),
        ]);
        let wrapped = wrap(folder.path(), &args, env, "/w".into()).unwrap();
        assert!(wrapped.set.is_empty());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
