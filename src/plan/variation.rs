//! The variations: one thing changed about the world of a compile.
//!
//! Each has two settings, both unlike the recorded build, so that two replays of a crate differ
//! from the recording and from each other. What the build declared for a crate is never changed.

use std::ffi::{OsStr, OsString};

use crate::project::Action;

/// One thing that can be changed about the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Variation {
    /// Variables that the crate did not declare: changed and added (first setting), taken away
    /// (second).
    Env,
    /// `HOME`.
    Home,
    /// `TMPDIR`.
    Tmpdir,
    /// `LC_ALL`, `LANG`, `LANGUAGE`.
    Locale,
    /// `TZ`.
    Timezone,
    /// The file mode creation mask.
    Umask,
    /// How many processors the compile may use.
    Cpus,
    /// Whether the kernel randomises addresses.
    Aslr,
    /// Where the package and its `OUT_DIR` lie. The sources keep one name by
    /// `--remap-path-prefix`; it needs two compiles of its own.
    BuildPath,
}

/// Every variation with its name and one line about it.
pub const TABLE: &[(Variation, &str, &str)] = &[
    (
        Variation::Env,
        "env",
        "variables that the crate did not declare",
    ),
    (Variation::Home, "home", "HOME"),
    (Variation::Tmpdir, "tmpdir", "TMPDIR"),
    (Variation::Locale, "locale", "LC_ALL, LANG, LANGUAGE"),
    (Variation::Timezone, "timezone", "TZ"),
    (Variation::Umask, "umask", "the file mode creation mask"),
    (
        Variation::Cpus,
        "cpus",
        "how many processors the compile may use",
    ),
    (Variation::Aslr, "aslr", "address space randomisation"),
    (
        Variation::BuildPath,
        "build-path",
        "where the package and its OUT_DIR lie",
    ),
];

/// What a check varies unless told otherwise: all that costs no further compile.
pub const DEFAULT: &[Variation] = &[
    Variation::Env,
    Variation::Home,
    Variation::Tmpdir,
    Variation::Locale,
    Variation::Timezone,
    Variation::Umask,
    Variation::Cpus,
    Variation::Aslr,
];

impl Variation {
    /// Its name.
    pub fn name(self) -> &'static str {
        TABLE
            .iter()
            .find(|(own, ..)| *own == self)
            .map_or("", |(_, name, _)| name)
    }

    /// The variation called `name`.
    pub fn named(name: &str) -> Option<Self> {
        TABLE
            .iter()
            .find(|(_, own, _)| *own == name)
            .map(|(variation, ..)| *variation)
    }

    /// What it does to a compile of `action` in its first or second setting.
    pub fn change(self, action: &Action, setting: Setting) -> Change {
        let first = setting == Setting::First;
        let either = |one: &str, two: &str| OsString::from(if first { one } else { two });
        let set = |pairs: &[(&str, OsString)]| {
            let pairs = pairs
                .iter()
                .map(|(name, value)| (OsString::from(name), Some(value.clone())));
            Change::Env(self, pairs.collect())
        };
        match self {
            Variation::Env => Change::Env(self, env(action, setting)),
            Variation::Home => Change::Folder(self, "HOME", either("home-a", "home-bb")),
            Variation::Tmpdir => Change::Folder(self, "TMPDIR", either("tmp-a", "tmp-bb")),
            Variation::Locale => {
                let locale = either("tr_TR.UTF-8", "C");
                set(&[
                    ("LC_ALL", locale.clone()),
                    ("LANG", locale),
                    ("LANGUAGE", either("tr", "C")),
                ])
            }
            // Written out, so that no time zone database is needed.
            Variation::Timezone => set(&[("TZ", either("XTA-14", "XTB+11"))]),
            Variation::Umask => Change::Umask(if first { 0o077 } else { 0o002 }),
            Variation::Cpus => Change::OneCpu,
            Variation::Aslr => Change::NoAslr,
            Variation::BuildPath => Change::BuildPath {
                name: either("path-a", "another-path-bb"),
                remap_out_dir: false,
            },
        }
    }
}

/// Which of a variation's two settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// The first.
    First,
    /// The second.
    Second,
}

/// A variation made concrete for one compile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Sets variables, or removes them.
    Env(Variation, Vec<(OsString, Option<OsString>)>),
    /// Makes a folder of that name in the run's scratch directory and points a variable at it.
    Folder(Variation, &'static str, OsString),
    /// Sets the umask.
    Umask(u32),
    /// Binds the compile to one processor.
    OneCpu,
    /// Switches address space randomisation off.
    NoAslr,
    /// Copies the package and its `OUT_DIR` to a folder of that name and compiles there.
    BuildPath {
        /// The folder's name.
        name: OsString,
        /// Whether `OUT_DIR` keeps one name through `--remap-path-prefix`, as the sources do.
        remap_out_dir: bool,
    },
}

impl Change {
    /// The variation behind it.
    pub fn variation(&self) -> Variation {
        match self {
            Change::Env(variation, _) | Change::Folder(variation, ..) => *variation,
            Change::Umask(_) => Variation::Umask,
            Change::OneCpu => Variation::Cpus,
            Change::NoAslr => Variation::Aslr,
            Change::BuildPath { .. } => Variation::BuildPath,
        }
    }
}

/// Variables that the compiler, the linker and their dynamic loader need to run at all, or that
/// choose the toolchain; the build, not the crate, owns them.
const TOOLS: &[&str] = &[
    "CARGO_HOME",
    "COMPILER_PATH",
    "CPATH",
    "C_INCLUDE_PATH",
    "GCC_EXEC_PREFIX",
    "LIBRARY_PATH",
    "PATH",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
];

/// Variables that have variations of their own.
const ELSEWHERE: &[&str] = &["HOME", "LANG", "LANGUAGE", "TMPDIR", "TZ"];

/// Variables that remote execution and CI set differently for each action, in the order in which
/// they are suspected (Buck2's allow-list; Bazel; GitHub, GitLab, Buildkite, Jenkins).
const REMOTE: &[&str] = &[
    "EXECUTION_ID",
    "SESSION_ID",
    "ACTION_DIGEST",
    "PWD",
    "USER",
    "LOGNAME",
    "HOSTNAME",
    "BUILD_ID",
    "BUILD_NUMBER",
    "BUILD_USER",
    "CI",
    "CI_COMMIT_SHA",
    "GITHUB_RUN_ID",
    "GITHUB_SHA",
    "GIT_COMMIT",
    "SOURCE_DATE_EPOCH",
    "TEST_TMPDIR",
    "XDG_CACHE_HOME",
];

/// A value that no build has, and a path at which nothing can be made.
const VARIED: &str = "/proc/svhcheck-varied";

/// Whether `action` inherited the variable: neither declared nor the toolchain's.
fn inherited(action: &Action, name: &OsStr) -> bool {
    let text = name.to_string_lossy();
    !(action.declared_env.contains(name)
        || TOOLS.contains(&&*text)
        || ELSEWHERE.contains(&&*text)
        || text.starts_with("LC_")
        || text.starts_with("LD_"))
}

/// The variables that [`Variation::Env`] touches, the most suspect first.
fn env(action: &Action, setting: Setting) -> Vec<(OsString, Option<OsString>)> {
    let remote = REMOTE.iter().map(OsString::from);
    let present = action.env.keys().cloned();
    let mut names: Vec<OsString> = Vec::new();
    for name in remote.chain(present) {
        if inherited(action, &name) && !names.contains(&name) {
            names.push(name);
        }
    }
    match setting {
        Setting::First => names
            .into_iter()
            .map(|name| (name, Some(VARIED.into())))
            .collect(),
        Setting::Second => names
            .into_iter()
            .filter(|name| action.env.contains_key(name))
            .map(|name| (name, None))
            .collect(),
    }
}
