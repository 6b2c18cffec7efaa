//! What changed in a working tree since a revision, as git tells it.
//!
//! git is asked and not read: only it knows attributes, submodules and formats to come. A file is
//! unchanged only if the revision has it and `git diff` does not name it, so what is untracked or
//! ignored counts as changed.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::interrupt::{Ending, Interrupt};
use crate::os_text::normalized;

/// Why git cannot tell.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is no git.
    #[error("cannot run `git`, which `--since` asks what changed: {0}")]
    Start(io::Error),
    /// Not a working tree.
    #[error("`--since` needs a git repository around {}: {said}", .folder.display())]
    NoRepository {
        /// Where it was looked for.
        folder: PathBuf,
        /// What git said.
        said: String,
    },
    /// The revision is not there.
    #[error("git knows no revision `{0}`")]
    NoRevision(String),
    /// The revision is not there, and the clone holds only the newest ones.
    #[error(
        "git knows no revision `{0}` in this shallow clone; fetch it first, with `git fetch --depth=1 origin {0}` or `git fetch --unshallow`"
    )]
    Shallow(String),
    /// It failed at something that always works.
    #[error("`git {step}` failed: {said}")]
    Failed {
        /// The subcommand.
        step: String,
        /// What git said.
        said: String,
    },
}

/// A commit, and the repository that it is in.
#[derive(Debug, Clone)]
pub struct Revision {
    /// As the user named it.
    pub name: String,
    /// The commit's hash.
    pub commit: String,
    /// The working tree's root.
    pub top: PathBuf,
}

/// How a file of the working tree stands to the revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// As it was; a path at which there is nothing now and was nothing then, too.
    Same,
    /// Changed, new, gone, or unknown to git.
    Changed,
    /// Outside the working tree.
    Outside,
}

/// What differs between the working tree and the revision.
#[derive(Debug)]
pub struct Changes {
    revision: Revision,
    /// Paths below `revision.top`: changed ones that git tracks, and untracked ones.
    changed: BTreeSet<PathBuf>,
    /// What the revision has.
    tree: BTreeSet<PathBuf>,
}

impl Revision {
    /// Looks a revision up in the repository around `folder`.
    pub fn find(folder: &Path, name: &str, interrupt: &Interrupt) -> Result<Self, GitError> {
        let git = Git { folder, interrupt };
        let top = git.ask(&["rev-parse", "--show-toplevel"])?;
        let top = top.map_err(|said| GitError::NoRepository {
            folder: folder.to_path_buf(),
            said,
        })?;
        let top = PathBuf::from(OsString::from_vec(line(top)));
        let unknown = || GitError::NoRevision(name.to_owned());
        if name.starts_with('-') {
            return Err(unknown());
        }
        let commit = format!("{name}^{{commit}}");
        let Ok(commit) = git.ask(&["rev-parse", "--verify", "--quiet", &commit])? else {
            let shallow = git.ask(&["rev-parse", "--is-shallow-repository"])?;
            return Err(if shallow.is_ok_and(|own| own.starts_with(b"true")) {
                GitError::Shallow(name.to_owned())
            } else {
                unknown()
            });
        };
        Ok(Self {
            name: name.to_owned(),
            commit: String::from_utf8_lossy(&line(commit)).into_owned(),
            top,
        })
    }

    /// Compares the working tree with it.
    pub fn changes(self, interrupt: &Interrupt) -> Result<Changes, GitError> {
        let folder = self.top.clone();
        let git = Git {
            folder: &folder,
            interrupt,
        };
        // The user's configuration may make paths relative, pair renames and call other programs.
        let mut changed = git.list(&[
            "diff",
            "--name-only",
            "-z",
            "--no-renames",
            "--no-relative",
            "--no-ext-diff",
            "--no-textconv",
            "--ignore-submodules=none",
            &self.commit,
            "--",
        ])?;
        changed.extend(git.list(&["ls-files", "-z", "--others", "--exclude-standard"])?);
        // What the user told git not to look at (`update-index --assume-unchanged`) may have
        // changed: lower-case tags, and `S` for files that a sparse checkout leaves out.
        let tagged = git.list(&["ls-files", "-z", "-v"])?;
        changed.extend(tagged.iter().filter_map(|own| {
            let (tag, path) = own.as_os_str().as_encoded_bytes().split_at_checked(2)?;
            let path = PathBuf::from(OsString::from_vec(path.to_vec()));
            let unseen = tag[0].is_ascii_lowercase() || tag[0] == b'S';
            (unseen && folder.join(&path).exists()).then_some(path)
        }));
        let tree = git.list(&[
            "ls-tree",
            "-r",
            "-z",
            "--name-only",
            "--full-tree",
            &self.commit,
        ])?;
        Ok(Changes {
            revision: self,
            changed: changed.into_iter().collect(),
            tree: tree.into_iter().collect(),
        })
    }
}

impl Changes {
    /// The revision with which the tree was compared.
    pub fn revision(&self) -> &Revision {
        &self.revision
    }

    /// A path of the repository as it is shown: below its root.
    pub fn shown<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.revision.top).unwrap_or(path)
    }

    /// Changed files that are there no more, absolute.
    pub fn gone(&self) -> impl Iterator<Item = PathBuf> {
        let paths = self.changed.iter().map(|own| self.revision.top.join(own));
        paths.filter(|path| path.symlink_metadata().is_err())
    }

    /// How a file, or a folder with all in it, stands to the revision. Where links lead counts too.
    pub fn state(&self, path: &Path) -> State {
        let plain = self.state_of(&normalized(path));
        match path.canonicalize() {
            Ok(real) if plain != State::Changed && real != path => self.state_of(&real),
            _ => plain,
        }
    }

    fn state_of(&self, path: &Path) -> State {
        let Ok(own) = path.strip_prefix(&self.revision.top) else {
            return State::Outside;
        };
        if path.is_dir() {
            let inside = self.changed.iter().any(|other| other.starts_with(own));
            return if inside { State::Changed } else { State::Same };
        }
        // A submodule stands in both lists as a path of its own.
        let known = |list: &BTreeSet<PathBuf>| own.ancestors().any(|part| list.contains(part));
        let there = path.symlink_metadata().is_ok();
        if known(&self.changed) || (there && !known(&self.tree)) {
            State::Changed
        } else {
            State::Same
        }
    }

    /// What a file held at the revision; nothing, if it was not there.
    pub fn before(&self, path: &Path, interrupt: &Interrupt) -> Result<Option<Vec<u8>>, GitError> {
        let Ok(own) = path.strip_prefix(&self.revision.top) else {
            return Ok(None);
        };
        if !self.tree.contains(own) {
            return Ok(None);
        }
        let git = Git {
            folder: &self.revision.top,
            interrupt,
        };
        let mut object = OsString::from(format!("{}:", self.revision.commit));
        object.push(own);
        let args = ["cat-file", "blob"].map(OsStr::new);
        let args = [&args[..], &[&object]].concat();
        git.ask(&args)?.map(Some).map_err(|said| GitError::Failed {
            step: "cat-file".to_owned(),
            said,
        })
    }
}

struct Git<'a> {
    folder: &'a Path,
    interrupt: &'a Interrupt,
}

impl Git<'_> {
    /// What it answers, or what it says if it fails, in a line.
    fn ask(&self, args: &[impl AsRef<OsStr>]) -> Result<Result<Vec<u8>, String>, GitError> {
        let mut command = Command::new("git");
        command.arg("-C").arg(self.folder).args(args);
        // A hook of git's runs with these; they need not be meant for this folder.
        for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"] {
            command.env_remove(name);
        }
        // `git diff` refreshes the index as it goes, and somebody may be at work there.
        command.env("GIT_OPTIONAL_LOCKS", "0").stdin(Stdio::null());
        let output = self.interrupt.output(&mut command, Ending::Kill);
        let output = output.map_err(GitError::Start)?;
        if output.status.success() {
            return Ok(Ok(output.stdout));
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().next().unwrap_or("it gave no reason");
        Ok(Err(said.trim_start_matches("fatal: ").to_owned()))
    }

    /// Paths that end in a zero each.
    fn list(&self, args: &[&str]) -> Result<Vec<PathBuf>, GitError> {
        let said = self.ask(args)?.map_err(|said| GitError::Failed {
            step: args[0].to_owned(),
            said,
        })?;
        let paths = said.split(|byte| *byte == 0).filter(|own| !own.is_empty());
        Ok(paths
            .map(|own| PathBuf::from(OsString::from_vec(own.to_vec())))
            .collect())
    }
}

/// A single line without its end.
fn line(mut text: Vec<u8>) -> Vec<u8> {
    text.pop_if(|byte| *byte == b'\n');
    text
}
