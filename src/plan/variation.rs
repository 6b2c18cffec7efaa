//! The variations: one thing changed about the world of a compile.
//!
//! Each has a pinned setting, in which every run sees the same, and any number of others. What the
//! build declared for a crate is never changed.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;

use crate::project::Action;
use crate::trace::{DirOrder, FileTimes, Steer, Time};

/// One thing that can be changed about the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Variation {
    /// `getrandom`, `/dev/urandom` and their kin.
    Randomness,
    /// The wall clock.
    Time,
    /// The order in which directories are listed.
    DirOrder,
    /// Variables that the crate did not declare.
    Env,
    /// `HOME`.
    Home,
    /// `TMPDIR`.
    Tmpdir,
    /// The host's name.
    Hostname,
    /// The kernel's release.
    Kernel,
    /// `LC_ALL`, `LANG`, `LANGUAGE`.
    Locale,
    /// `TZ`.
    Timezone,
    /// The file mode creation mask.
    Umask,
    /// How many processors there seem to be.
    Cpus,
    /// How connections to other hosts fail; none ever succeeds.
    Network,
    /// Process numbers.
    Pid,
    /// The times of files.
    Mtime,
    /// Inode numbers.
    Inode,
    /// Whether the kernel randomises addresses.
    Aslr,
    /// Whether threads may run at the same time.
    Threads,
    /// Where the package and its `OUT_DIR` lie. The sources keep one name by
    /// `--remap-path-prefix`; it needs compiles of its own.
    BuildPath,
}

/// Every variation with its name and one line about it.
pub const TABLE: &[(Variation, &str, &str)] = &[
    (
        Variation::Randomness,
        "randomness",
        "getrandom, /dev/urandom",
    ),
    (Variation::Time, "time", "the wall clock"),
    (
        Variation::DirOrder,
        "dir-order",
        "the order in which directories are listed",
    ),
    (
        Variation::Env,
        "env",
        "variables that the crate did not declare",
    ),
    (Variation::Home, "home", "HOME"),
    (Variation::Tmpdir, "tmpdir", "TMPDIR"),
    (Variation::Hostname, "hostname", "the host's name"),
    (Variation::Kernel, "kernel", "the kernel's release"),
    (Variation::Locale, "locale", "LC_ALL, LANG, LANGUAGE"),
    (Variation::Timezone, "timezone", "TZ"),
    (Variation::Umask, "umask", "the file mode creation mask"),
    (
        Variation::Cpus,
        "cpus",
        "how many processors there seem to be",
    ),
    (
        Variation::Network,
        "network",
        "how connections to other hosts fail; none ever succeeds",
    ),
    (Variation::Pid, "pid", "process numbers"),
    (Variation::Mtime, "mtime", "the times of files"),
    (Variation::Inode, "inode", "inode numbers"),
    (Variation::Aslr, "aslr", "address space randomisation"),
    (
        Variation::Threads,
        "threads",
        "whether threads may run at the same time",
    ),
    (
        Variation::BuildPath,
        "build-path",
        "where the package and its OUT_DIR lie",
    ),
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

    /// What a check varies unless told otherwise: all that costs no further compile.
    pub fn default_set() -> Vec<Self> {
        let all = TABLE.iter().map(|(variation, ..)| *variation);
        all.filter(|variation| *variation != Self::BuildPath)
            .collect()
    }

    /// Whether it is done by answering system calls, for which the tracer is needed.
    pub fn is_steered(self) -> bool {
        self.steer(Setting(0)).is_some()
    }

    /// Whether it is random wherever it is not held: it has no settings but held and free.
    pub fn is_free(self) -> bool {
        matches!(self, Self::Aslr | Self::Threads)
    }

    /// How many settings to try before it is said to move nothing. A map of two entries keeps its
    /// order under every second seed, so randomness takes many: with eight, one such map in 256 is
    /// missed.
    pub fn settings(self) -> u32 {
        match self {
            Self::Randomness => 8,
            Self::DirOrder => 3,
            _ => 2,
        }
    }

    /// What it does to a compile of `action`; `None` where that setting is the world as it is.
    pub fn change(self, action: &Action, setting: Setting) -> Option<Change> {
        let pinned = setting == Setting::PINNED;
        if let Some(steer) = self.steer(setting) {
            return Some(Change::Steer(self, steer, None));
        }
        // Addresses and threads are free by nature; they are pinned by holding them.
        match self {
            Self::Aslr => return pinned.then_some(Change::NoAslr),
            Self::Threads => return pinned.then_some(Change::OneCpu),
            // What the recorded build had is as good a pin as any.
            _ if pinned => return None,
            _ => {}
        }
        let own = match self {
            Self::Home => Some("HOME"),
            Self::Tmpdir => Some("TMPDIR"),
            Self::Locale => Some("LANG"),
            Self::Timezone => Some("TZ"),
            _ => None,
        };
        if own.is_some_and(|name| !action.is_reached_by(OsStr::new(name))) {
            return None;
        }
        let first = !setting.0.is_multiple_of(2);
        let either = |one: &str, two: &str| OsString::from(if first { one } else { two });
        let set = |pairs: &[(&str, OsString)]| {
            let pairs = pairs
                .iter()
                .map(|(name, value)| (OsString::from(name), Some(value.clone())));
            Change::Env(self, pairs.collect())
        };
        Some(match self {
            Self::Env => Change::Env(self, env(action, first)),
            Self::Home => Change::Folder(self, "HOME", either("home-a", "home-bb")),
            Self::Tmpdir => Change::Folder(self, "TMPDIR", either("tmp-a", "tmp-bb")),
            Self::Locale => {
                let locale = either("tr_TR.UTF-8", "C");
                set(&[
                    ("LC_ALL", locale.clone()),
                    ("LANG", locale),
                    ("LANGUAGE", either("tr", "C")),
                ])
            }
            // Written out, so that no time zone database is needed.
            Self::Timezone => set(&[("TZ", either("XTA-14", "XTB+11"))]),
            Self::Umask => Change::Umask(if first { 0o077 } else { 0o002 }),
            Self::BuildPath => Change::BuildPath {
                name: either("path-a", "another-path-bb"),
                remap_out_dir: true,
            },
            _ => return None,
        })
    }

    /// The answers that the tracer gives for it.
    fn steer(self, setting: Setting) -> Option<Steer> {
        let n = setting.0;
        Some(match self {
            Self::Randomness => Steer::Randomness(n.into()),
            // Neighbours differ in year, month, day, hour, minute, second and its parts.
            Self::Time => {
                let step = Duration::new(402 * 24 * 3600 + 3661, 123_456_789);
                Steer::Time(Time::Fixed(Duration::from_secs(1_262_304_000) + step * n))
            }
            Self::DirOrder => Steer::DirOrder(match n {
                0 => DirOrder::Sorted,
                1 => DirOrder::Reversed,
                seed => DirOrder::Shuffled(seed.into()),
            }),
            Self::Hostname => Steer::Host(format!("svhcheck-host-{n}").into()),
            Self::Kernel => Steer::Kernel(format!("6.{n}.0-svhcheck").into()),
            Self::Cpus => Steer::Cpus(1 + 3 * n),
            Self::Pid => Steer::Pid(1000 + 7013 * n),
            Self::Network => Steer::Network(match n % 3 {
                0 => Errno::ENETUNREACH as i32,
                1 => Errno::ECONNREFUSED as i32,
                _ => Errno::ETIMEDOUT as i32,
            }),
            Self::Mtime if n == 0 => Steer::FileTimes(FileTimes::Fixed(1_262_304_000)),
            Self::Mtime => Steer::FileTimes(FileTimes::Seeded(n.into())),
            Self::Inode => Steer::Inode(n.into()),
            _ => return None,
        })
    }
}

/// Which of a variation's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Setting(pub u32);

impl Setting {
    /// The one in which every run sees the same.
    pub const PINNED: Self = Self(0);
}

/// A variation made concrete for one compile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Answers system calls: all of them, or only those that code of these files makes.
    Steer(Variation, Steer, Option<Vec<PathBuf>>),
    /// Hides a file or folder from every process of the run.
    Hide(PathBuf),
    /// Lets every process of the run read nonsense before the content of a file.
    Garble(PathBuf),
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
    /// The variation behind it; none behind a hidden file.
    pub fn variation(&self) -> Option<Variation> {
        Some(match self {
            Change::Steer(variation, ..)
            | Change::Env(variation, _)
            | Change::Folder(variation, ..) => *variation,
            Change::Umask(_) => Variation::Umask,
            Change::OneCpu => Variation::Threads,
            Change::NoAslr => Variation::Aslr,
            Change::BuildPath { .. } => Variation::BuildPath,
            Change::Hide(_) | Change::Garble(_) => return None,
        })
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

/// Prefixes of variables that belong to the toolchain or to the terminal: whoever sets them chooses
/// a compiler or its looks, and does so for the whole build.
const TOOL_PREFIXES: &[&str] = &[
    "AR",
    "CARGO",
    "CC",
    "CFLAGS",
    "CLICOLOR",
    "COLORTERM",
    "CPP",
    "CXX",
    "DEP_",
    "DOCS_RS",
    "DYLD_",
    "HOST_",
    "LD",
    "MAKE",
    "NO_COLOR",
    "NUM_JOBS",
    "PKG_CONFIG",
    "RANLIB",
    "RUST",
    "TARGET_",
    "TERM",
];

/// Whether a variable that is not set is the crate's own, so that setting it is a fair trial.
pub fn is_free(action: &Action, name: &OsStr) -> bool {
    let text = name.to_string_lossy();
    inherited(action, name)
        && !action.env.contains_key(name)
        && !REMOTE.contains(&&*text)
        && !TOOL_PREFIXES.iter().any(|own| text.starts_with(own))
}

/// The variables that [`Variation::Env`] touches, the most suspect first: changed and added, or taken
/// away.
fn env(action: &Action, change: bool) -> Vec<(OsString, Option<OsString>)> {
    let remote = REMOTE.iter().map(OsString::from);
    let present = action.env.keys().cloned();
    let mut names: Vec<OsString> = Vec::new();
    for name in remote.chain(present) {
        let free = inherited(action, &name) && action.is_reached_by(&name);
        if free && !names.contains(&name) {
            names.push(name);
        }
    }
    if change {
        let varied = |name| (name, Some(VARIED.into()));
        return names.into_iter().map(varied).collect();
    }
    let present = |name: &OsString| action.env.contains_key(name);
    names
        .into_iter()
        .filter(present)
        .map(|name| (name, None))
        .collect()
}
