//! A run as a shell script, which repeats it without svhcheck as far as that can be.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::os_text;
use crate::plan::variation::Change;
use crate::project::Action;
use crate::rustc::args::Args;
use crate::sandbox::{Mechanism, Policy, Sandbox};
use crate::trace::{DirOrder, FileTimes, Steer, Time};

/// What a script needs to know of a run.
#[derive(Debug, Clone)]
pub struct ByHand {
    /// The compiler.
    pub(super) program: PathBuf,
    /// Its arguments; outputs go below `folder`.
    pub(super) args: Args,
    /// Its whole environment.
    pub(super) env: BTreeMap<OsString, OsString>,
    /// Where it starts.
    pub(super) cwd: PathBuf,
    /// The run's folder, which the script makes again, that every path stays as it was.
    pub(super) folder: PathBuf,
    /// What was changed about the world.
    pub(super) changes: Vec<Change>,
    /// The sandbox and what it was made from.
    pub(super) sandbox: Option<(Sandbox, Policy)>,
}

impl ByHand {
    /// The recorded compile itself, with its outputs below `folder`.
    pub fn recorded(action: &Action, folder: &Path) -> Self {
        let mut args = action.args.clone();
        args.set("--out-dir", folder.join("out"));
        Self {
            program: action.program.clone(),
            args,
            env: action.env.clone(),
            cwd: action.cwd.clone(),
            folder: folder.to_path_buf(),
            changes: Vec::new(),
            sandbox: None,
        }
    }

    /// The script. What it makes goes to the folder `again` beside it.
    pub fn script(&self) -> Vec<u8> {
        let mut text = Text::default();
        text.line(&[
            "#!/bin/sh\n# Repeats this compile by hand; what it makes goes to `again` beside this file.\nset -eu".as_ref(),
        ]);
        text.line(&["here=$(CDPATH= cd -- \"$(dirname -- \"$0\")\" && pwd)".as_ref()]);
        let steered: Vec<OsString> = self.changes.iter().filter_map(spelled).collect();
        let traced = !steered.is_empty();
        if traced {
            text.line(&["svhcheck=$(command -v -- \"${SVHCHECK:-svhcheck}\")".as_ref()]);
        }
        text.line(&["run=".as_ref(), &word(&self.folder)]);
        text.line(&["mkdir -p -- \"$run/out\"".as_ref()]);
        for change in &self.changes {
            if let Change::Folder(_, _, name) = change {
                text.line(&["mkdir -p -- \"$run\"/".as_ref(), &word(name)]);
            }
        }
        let outer = "trap 'rm -rf -- \"$run\"; rmdir -- \"${run%/*}\" 2>/dev/null || :' EXIT";
        text.line(&[outer.as_ref()]);
        let plain = self.sandbox.as_ref().filter(|_| !traced);
        if let Some((sandbox, _)) = plain {
            text.line(&[&sandbox.shell_lines()]);
        }
        text.line(&["cd -- ".as_ref(), &word(&self.cwd)]);
        for change in &self.changes {
            if let Change::Umask(mask) = change {
                text.line(&[format!("umask {mask:04o}").as_ref()]);
            }
        }
        text.line(&["status=0".as_ref()]);
        if plain.is_some() {
            text.word("sandboxed".as_ref());
        }
        text.words(&["env", "-i"]);
        for (name, value) in &self.env {
            let mut pair = name.clone();
            pair.push("=");
            pair.push(value);
            text.more(&word(&pair));
        }
        for change in &self.changes {
            match change {
                Change::NoAslr => text.words(&["setarch", "-R"]),
                Change::OneCpu => text.words(&["taskset", "-c", "0"]),
                _ => {}
            }
        }
        if traced {
            self.trace(&mut text, &steered);
        }
        text.more(&word(&self.program));
        for arg in self.args.as_slice() {
            text.more(&word(arg));
        }
        text.line(&[" || status=$?".as_ref()]);
        let keep =
            "rm -rf -- \"$here/again\"\ncp -R -- \"$run/out\" \"$here/again\"\nexit \"$status\"";
        text.line(&[keep.as_ref()]);
        text.0.into_vec()
    }

    /// The part that steers, in the sandbox or without.
    fn trace(&self, text: &mut Text, steered: &[OsString]) {
        text.more("\"$svhcheck\" trace --output /dev/null".as_ref());
        if let Some((sandbox, policy)) = &self.sandbox
            && sandbox.mechanism() != Mechanism::None
        {
            text.words(&["--sandbox", &sandbox.mechanism().to_string()]);
            for (option, paths) in [("--read", &policy.read), ("--write", &policy.write)] {
                for path in paths {
                    text.more(option.as_ref());
                    text.word(&word(path));
                }
            }
        }
        for what in steered {
            text.more("--inject".as_ref());
            text.word(&word(what));
        }
        text.word("--".as_ref());
    }
}

/// A shell script under construction.
#[derive(Default)]
struct Text(OsString);

impl Text {
    fn line(&mut self, parts: &[&OsStr]) {
        for part in parts {
            self.0.push(part);
        }
        self.0.push("\n");
    }

    fn word(&mut self, word: &OsStr) {
        self.0.push(word);
        self.0.push(" ");
    }

    fn words(&mut self, words: &[&str]) {
        for word in words {
            self.word(word.as_ref());
        }
    }

    /// A word on a line of its own, of the same command.
    fn more(&mut self, word: &OsStr) {
        self.0.push("\\\n  ");
        self.word(word);
    }
}

fn word(text: impl AsRef<OsStr>) -> OsString {
    os_text::word(text.as_ref().as_bytes())
}

/// A change as `svhcheck trace --inject` reads it; `None` for what is changed in other ways, and for
/// what is limited to some code.
pub fn spelled(change: &Change) -> Option<OsString> {
    let Change::Steer(_, steer, None) = change else {
        return None;
    };
    let name = |what: &str, name: &OsString| {
        let mut text = OsString::from(what);
        text.push(name);
        text
    };
    Some(match steer {
        Steer::Randomness(seed) => format!("randomness={seed}").into(),
        Steer::Time(Time::Fixed(at)) => {
            format!("time={}.{:09}", at.as_secs(), at.subsec_nanos()).into()
        }
        Steer::Time(Time::Shifted(by)) => format!("time={by:+}").into(),
        Steer::Time(Time::From(start)) => {
            format!("time=from:{}.{:09}", start.as_secs(), start.subsec_nanos()).into()
        }
        Steer::DirOrder(DirOrder::Sorted) => "dir-order=sorted".into(),
        Steer::DirOrder(DirOrder::Reversed) => "dir-order=reversed".into(),
        Steer::DirOrder(DirOrder::Shuffled(seed)) => format!("dir-order={seed}").into(),
        Steer::Pid(first) => format!("pid={first}").into(),
        Steer::Host(own) => name("hostname=", own),
        Steer::Kernel(own) => name("kernel=", own),
        Steer::Cpus(count) => format!("cpus={count}").into(),
        Steer::FileTimes(FileTimes::Fixed(at)) => format!("mtime={at}").into(),
        Steer::FileTimes(FileTimes::Seeded(seed)) => format!("mtime=seed:{seed}").into(),
        Steer::Inode(seed) => format!("inode={seed}").into(),
        Steer::Network(errno) => format!("network={errno}").into(),
        _ => return None,
    })
}
