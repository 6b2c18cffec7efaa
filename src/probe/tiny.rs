//! The probe's compiles: a crate of a dozen lines, with something added.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use fs_err as fs;

use super::table::{ELSEWHERE, Kind, SOURCE};
use super::{Answer, ProbeError, Tried};
use crate::artifact;
use crate::artifact::metadata::Svh;
use crate::bytes::Escaped;
use crate::interrupt::{Ending, Interrupt};
use crate::rustc::args::{Args, INPUT};
use crate::rustc::toolchain::Toolchain;

/// What is added to the reference compile.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Added {
    /// Arguments.
    pub args: Vec<OsString>,
    /// Variables.
    pub env: BTreeMap<OsString, OsString>,
}

impl Added {
    /// Both additions, those of `more` behind.
    #[must_use]
    pub fn with(&self, more: &Self) -> Self {
        let mut both = self.clone();
        both.args.extend(more.args.iter().cloned());
        let env = more.env.iter();
        both.env
            .extend(env.map(|(name, value)| (name.clone(), value.clone())));
        both
    }
}

/// A folder with the crate, and its compiler.
pub struct Tiny<'a> {
    toolchain: &'a Toolchain,
    interrupt: &'a Interrupt,
    scratch: tempfile::TempDir,
    /// Gives each compile folders of its own.
    count: AtomicUsize,
    /// SVHs of the reference, without and with `RUSTC_BOOTSTRAP=1`.
    references: [Option<Svh>; 2],
}

/// How a compile ended.
enum Ended {
    Made(Svh),
    WithoutMetadata,
    Failed(String),
}

/// Options of the reference of which there can be one only, or whose values add up: what is tried
/// takes their place.
const REPLACED: &[&str] = &[
    "--crate-name",
    "--crate-type",
    "--emit",
    "--out-dir",
    "--edition",
];

/// Variables that a compiler needs to run: rustup's proxies, a linker, a compiler whose libraries
/// lie elsewhere.
pub const NEEDED: &[&str] = &["HOME", "LD_LIBRARY_PATH", "PATH", "RUSTUP_HOME", "TMPDIR"];

const BOOTSTRAP: &str = "RUSTC_BOOTSTRAP";

impl<'a> Tiny<'a> {
    /// Writes the crate and compiles it as it is.
    pub fn new(toolchain: &'a Toolchain, interrupt: &'a Interrupt) -> Result<Self, ProbeError> {
        let scratch = tempfile::Builder::new().prefix("svhcheck-").tempdir()?;
        for folder in ["sources", "elsewhere"] {
            let folder = scratch.path().join(folder).join("src");
            fs::create_dir_all(&folder)?;
            fs::write(folder.join("lib.rs"), SOURCE)?;
        }
        let mut tiny = Self {
            toolchain,
            interrupt,
            scratch,
            count: AtomicUsize::new(0),
            references: [None, None],
        };
        let plain = tiny.reference(&Added::default())?;
        if tiny.reference(&Added::default())? != plain {
            return Err(ProbeError::Restless(toolchain.version.clone()));
        }
        let unstable = tiny.reference(&bootstrapped(Added::default()))?;
        tiny.references = [Some(plain), Some(unstable)];
        Ok(tiny)
    }

    fn reference(&self, added: &Added) -> Result<Svh, ProbeError> {
        let said = match self.compile(&self.sources(), added)? {
            Ended::Made(svh) => return Ok(svh),
            Ended::WithoutMetadata => "it makes no metadata".to_owned(),
            Ended::Failed(said) => said,
        };
        Err(ProbeError::Reference {
            rustc: self.toolchain.version.clone(),
            said,
        })
    }

    fn sources(&self) -> PathBuf {
        self.scratch.path().join("sources")
    }

    /// Compiles with what a row of the table says.
    pub(super) fn attempt(&self, kind: Kind, what: &str) -> Result<Tried, ProbeError> {
        let mut added = Added::default();
        let mut folder = self.sources();
        let mut reference = self.references[0];
        for word in what.split(' ').filter(|_| what != ELSEWHERE) {
            let word = self.filled(word)?;
            match word.split_once('=') {
                Some((name, value)) if !word.starts_with('-') && !name.contains('/') => {
                    added.env.insert(name.into(), value.into());
                }
                _ => added.args.push(word.into()),
            }
        }
        if what == ELSEWHERE {
            folder = self.scratch.path().join("elsewhere");
        }
        if kind == Kind::Unstable {
            added = bootstrapped(added);
            reference = self.references[1];
        }
        let (answer, said) = match self.compile(&folder, &added)? {
            Ended::Made(svh) if Some(svh) == reference => (Answer::Same, None),
            Ended::Made(_) => (Answer::Other, None),
            Ended::WithoutMetadata => (Answer::NoMetadata, None),
            Ended::Failed(said) => (Answer::NotAccepted, Some(said)),
        };
        Ok(Tried {
            what: what.to_owned(),
            answer,
            said,
        })
    }

    /// Whether two additions give the same SVH, and what the compiler said if it takes one of them
    /// not.
    pub fn compare(
        &self,
        one: &Added,
        other: &Added,
    ) -> Result<(Answer, Option<String>), ProbeError> {
        let unstable = |added: &Added| {
            let args = Args::new(added.args.clone());
            args.has("--unstable")
        };
        let needs = unstable(one) || unstable(other);
        let mut svhs = Vec::new();
        for added in [one, other] {
            let mut added = added.clone();
            if needs && !one.env.contains_key(OsStr::new(BOOTSTRAP)) {
                added = bootstrapped(added);
            }
            match self.compile(&self.sources(), &added)? {
                Ended::Made(svh) => svhs.push(svh),
                Ended::WithoutMetadata => return Ok((Answer::NoMetadata, None)),
                Ended::Failed(said) => return Ok((Answer::NotAccepted, Some(said))),
            }
        }
        let same = svhs.iter().all(|svh| *svh == svhs[0]);
        Ok((if same { Answer::Same } else { Answer::Other }, None))
    }

    /// A word of the table with its places filled in.
    fn filled(&self, word: &str) -> Result<String, ProbeError> {
        let path = |path: &Path| path.display().to_string();
        let mut text = word.to_owned();
        if text.contains("{folder}") {
            text = text.replace("{folder}", &path(&self.folder()?));
        }
        text = text.replace("{sources}", &path(&self.sources()));
        text = text.replace("{sysroot}", &path(&self.toolchain.sysroot));
        Ok(text.replace("{host}", &self.toolchain.host))
    }

    fn folder(&self) -> io::Result<PathBuf> {
        let number = self.count.fetch_add(1, Ordering::SeqCst);
        let folder = self.scratch.path().join(number.to_string());
        fs::create_dir(&folder)?;
        Ok(folder)
    }

    fn compile(&self, sources: &Path, added: &Added) -> Result<Ended, ProbeError> {
        let mut args = Args::new(vec![
            "--crate-name=probe".into(),
            "--crate-type=lib".into(),
            "--emit=metadata,link".into(),
            "-Cmetadata=probe".into(),
            "-Cextra-filename=-probe".into(),
        ]);
        args.push("--out-dir", self.folder()?);
        let more = Args::new(added.args.clone());
        let theirs = more.options();
        args.remove(|option| {
            let again = theirs.iter().any(|own| own.name == option.name);
            again && REPLACED.contains(&option.name)
        });
        for arg in more.as_slice() {
            args.push_raw(arg);
        }
        if !more.has(INPUT) {
            args.push_raw("src/lib.rs");
        }
        let inherited = NEEDED
            .iter()
            .filter_map(|name| Some((*name, std::env::var_os(name)?)));
        let mut command = Command::new(&self.toolchain.rustc);
        command
            .args(args.as_slice())
            .env_clear()
            .envs(inherited)
            .envs(&added.env)
            .current_dir(sources)
            .stdin(Stdio::null());
        let output = self.interrupt.output(&mut command, Ending::Kill)?;
        if self.interrupt.is_set() {
            return Err(ProbeError::Interrupted);
        }
        if !output.status.success() {
            return Ok(Ended::Failed(first_error(&output.stderr)));
        }
        let folder = sources.join(args.out_dir().unwrap_or_default());
        Ok(match made(&folder)? {
            Some(path) => Ended::Made(artifact::open(&path)?.root()?.svh),
            None => Ended::WithoutMetadata,
        })
    }
}

fn bootstrapped(mut added: Added) -> Added {
    added.env.insert(BOOTSTRAP.into(), "1".into());
    added
}

/// The fullest artifact with metadata in a folder.
fn made(folder: &Path) -> io::Result<Option<PathBuf>> {
    let kinds = ["rmeta", "rlib", std::env::consts::DLL_EXTENSION];
    let mut found: Vec<(usize, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let rank = kinds
            .iter()
            .position(|kind| path.extension().is_some_and(|own| own == *kind));
        found.extend(rank.map(|rank| (rank, path)));
    }
    found.sort();
    Ok(found.into_iter().next().map(|(_, path)| path))
}

/// The first line that says what is wrong, as rustc writes it for people or as JSON.
fn first_error(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let line = text
        .lines()
        .find(|line| line.starts_with("error"))
        .or(text.lines().next());
    let line = line.unwrap_or("it failed without a word");
    let parsed: Option<serde_json::Value> = serde_json::from_str(line).ok();
    let message = parsed.as_ref().and_then(|own| own.get("message")?.as_str());
    let line = message.unwrap_or(line);
    Escaped(line.trim_start_matches("error: ").as_bytes()).to_string()
}
