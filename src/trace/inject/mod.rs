//! Answering calls in the kernel's place: randomness, time, directory order and the like, chosen
//! by the caller.
//!
//! *Pinned* is the same value in both runs, *varied* another one. What a thread is answered depends
//! on the chosen value, on the line of births that leads to the thread, and on how many answers of
//! that rule it had before, but never on which of two threads ran first.

mod answer;
mod directory;
mod listing;
mod stream;
mod substitute;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::access::Access;
use super::command::Who;
use super::syscall::{Group, Sys};
use super::unwind::Frame;

pub(crate) use answer::{Answer, Call, Patch};
pub(crate) use stream::{Stream, mix};

/// One thing about the world that is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Steer {
    /// Random bytes come from this seed: `getrandom`, `/dev/urandom`, `/dev/random`, the kernel's
    /// UUIDs, and (unless limited to some code) the `AT_RANDOM` bytes of every program.
    Randomness(u64),
    /// What the clocks say.
    Time(Time),
    /// In which order directories are listed.
    DirOrder(DirOrder),
    /// Process numbers are counted from here; signals to them still arrive.
    Pid(u32),
    /// The host's name.
    Host(OsString),
    /// The kernel's release.
    Kernel(OsString),
    /// How many processors there are.
    Cpus(u32),
    /// The times of every file.
    FileTimes(FileTimes),
    /// Connections to internet addresses fail with this error number.
    Network(i32),
    /// This file or folder is not there: calls that name it fail, and lists leave it out.
    Absent(PathBuf),
    /// This file holds these bytes when it is opened for reading.
    Content(PathBuf, Arc<[u8]>),
    /// Inode numbers are made from this seed and the path by which a file was first seen.
    Inode(u64),
}

/// What the clocks say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Time {
    /// The wall clock stands here (since 1970). The steady clocks advance with each look, by 10 µs
    /// and a little more that depends on the fraction of the second,
    /// so that a loop with a deadline comes to its end.
    Fixed(Duration),
    /// The wall clock is this many seconds ahead (or behind). Steady clocks are left alone.
    Shifted(i64),
    /// The wall clock runs, and stood here (since 1970) when the run began. Steady clocks are left
    /// alone.
    From(Duration),
}

/// In which order directories are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DirOrder {
    /// By the bytes of the names.
    Sorted,
    /// The opposite of sorted.
    Reversed,
    /// Shuffled by a seed.
    Shuffled(u64),
}

/// The times of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileTimes {
    /// All the same, in seconds since 1970.
    Fixed(i64),
    /// Made from a seed and the file's path.
    Seeded(u64),
}

/// What a run answers in the kernel's place.
#[derive(Clone, Default)]
pub struct Injection {
    rules: Vec<Rule>,
}

#[derive(Clone)]
struct Rule {
    who: Option<Who>,
    steer: Steer,
}

impl Injection {
    /// Nothing is answered.
    pub fn new() -> Self {
        Self::default()
    }

    /// Steers every call. Of several rules for one thing the first wins, those limited to some code
    /// before those for all.
    #[must_use]
    pub fn steer(mut self, steer: Steer) -> Self {
        self.rules.push(Rule { who: None, steer });
        self
    }

    /// Steers only calls whose innermost frames satisfy `who`. (It is asked with no frames for what
    /// belongs to no code, such as the random bytes that a new program starts with.)
    #[must_use]
    pub fn steer_for(
        mut self,
        who: impl Fn(&[Frame]) -> bool + Send + Sync + 'static,
        steer: Steer,
    ) -> Self {
        let who: Option<Who> = Some(Arc::new(who));
        self.rules.push(Rule { who, steer });
        self
    }

    /// True if nothing is steered.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.rules.len()
    }

    pub(crate) fn asks_who(&self) -> bool {
        self.rules.iter().any(|rule| rule.who.is_some())
    }

    pub(crate) fn steers_time(&self) -> bool {
        let mut steers = self.rules.iter().map(|rule| &rule.steer);
        steers.any(|steer| matches!(steer, Steer::Time(_)))
    }

    /// The groups of calls that must stop beside the usual ones.
    pub(crate) fn groups(&self) -> Vec<Group> {
        let mut groups = Vec::new();
        for rule in &self.rules {
            match rule.steer {
                Steer::DirOrder(_) | Steer::Absent(_) => groups.push(Group::Seek),
                Steer::Pid(_) => groups.push(Group::Number),
                Steer::FileTimes(_) => groups.push(Group::Status),
                Steer::Inode(_) => groups.extend([Group::Status, Group::Seek]),
                _ => {}
            }
        }
        groups
    }

    /// What is said not to be there, for these frames.
    pub(crate) fn hidden<'a>(&'a self, frames: &'a [Frame]) -> impl Iterator<Item = &'a PathBuf> {
        let applies = |rule: &&Rule| rule.who.as_ref().is_none_or(|who| who(frames));
        let applying = self.rules.iter().filter(applies);
        applying.filter_map(|rule| match &rule.steer {
            Steer::Absent(path) => Some(path),
            _ => None,
        })
    }

    /// The first rule for these frames that `chosen` accepts, with its number.
    pub(crate) fn find<T>(
        &self,
        frames: &[Frame],
        chosen: impl Fn(&Steer) -> Option<T>,
    ) -> Option<(usize, T)> {
        let rules = || self.rules.iter().enumerate();
        let limited = rules().filter(|(_, rule)| rule.who.as_ref().is_some_and(|who| who(frames)));
        let general = rules().filter(|(_, rule)| rule.who.is_none());
        let mut all = limited.chain(general);
        all.find_map(|(index, rule)| Some((index, chosen(&rule.steer)?)))
    }
}

impl fmt::Debug for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules = self
            .rules
            .iter()
            .map(|rule| (&rule.steer, rule.who.is_some()));
        f.debug_list().entries(rules).finish()
    }
}

/// What injection remembers during one run.
#[derive(Debug)]
pub(crate) struct Steering {
    /// Calls that some rule may answer.
    concerned: Vec<Sys>,
    /// Directories that are being listed, by process and descriptor.
    listings: BTreeMap<(usize, i32), listing::Listing>,
    /// The inode numbers that were given out, by the real device and number.
    inodes: BTreeMap<(u64, u64), u64>,
    began: SystemTime,
}

impl Steering {
    pub(crate) fn new(injection: &Injection) -> Self {
        let mut concerned = Vec::new();
        for rule in &injection.rules {
            concerned.extend_from_slice(concerns(&rule.steer));
        }
        concerned.sort_unstable();
        concerned.dedup();
        Self {
            concerned,
            listings: BTreeMap::new(),
            inodes: BTreeMap::new(),
            began: SystemTime::now(),
        }
    }

    /// True if some rule may want to answer this call.
    pub(crate) fn concerns(&self, sys: Sys) -> bool {
        self.concerned.binary_search(&sys).is_ok()
    }

    /// A descriptor was made anew: what was listed under its number before is over.
    pub(crate) fn opened(&mut self, process: usize, fd: i32) {
        self.listings.remove(&(process, fd));
    }
}

const OPENS: [Sys; 3] = [Sys::Open, Sys::Openat, Sys::Openat2];

fn concerns(steer: &Steer) -> &'static [Sys] {
    use Sys::{
        Access, ClockGettime, Connect, Execve, Faccessat, Faccessat2, Fstat, Getdents64, Getpgid,
        Getpid, Getppid, Getrandom, Getsid, Gettid, Gettimeofday, Kill, Lseek, Lstat, Newfstatat,
        Open, Openat, Openat2, PidfdOpen, Prlimit64, Readlink, Readlinkat, RtSigqueueinfo,
        RtTgsigqueueinfo, SchedGetaffinity, SchedSetaffinity, Stat, Statx, Tgkill, Time, Tkill,
        Uname,
    };
    match steer {
        Steer::Randomness(_) => &[Getrandom, Open, Openat, Openat2],
        Steer::Content(..) => &OPENS,
        Steer::Network(_) => &[Connect],
        Steer::Time(_) => &[ClockGettime, Gettimeofday, Time],
        Steer::DirOrder(_) => &[Getdents64, Lseek],
        Steer::Pid(_) => &[
            Getpid,
            Getppid,
            Gettid,
            Kill,
            Tkill,
            Tgkill,
            RtSigqueueinfo,
            RtTgsigqueueinfo,
            Getpgid,
            Getsid,
            SchedGetaffinity,
            SchedSetaffinity,
            Prlimit64,
            PidfdOpen,
        ],
        Steer::Host(_) | Steer::Kernel(_) => &[Uname, Open, Openat, Openat2],
        Steer::Cpus(_) => &[SchedGetaffinity, Open, Openat, Openat2],
        Steer::Absent(_) => &[
            Open, Openat, Openat2, Stat, Lstat, Newfstatat, Statx, Access, Faccessat, Faccessat2,
            Readlink, Readlinkat, Execve, Getdents64, Lseek,
        ],
        Steer::FileTimes(_) => &[Stat, Lstat, Fstat, Newfstatat, Statx],
        Steer::Inode(_) => &[Stat, Lstat, Fstat, Newfstatat, Statx, Getdents64, Lseek],
    }
}

/// True if the access is of the kind that a substitute file can stand for.
fn is_plain_read(access: &Access) -> bool {
    matches!(access, Access::Open { mode, .. } if mode.read && !mode.write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limited_rules_win_over_general_ones() {
        let injection = Injection::new()
            .steer(Steer::Randomness(1))
            .steer_for(|frames| !frames.is_empty(), Steer::Randomness(2));
        let seed = |frames: &[Frame]| {
            injection.find(frames, |steer| match steer {
                Steer::Randomness(seed) => Some(*seed),
                _ => None,
            })
        };
        assert_eq!(seed(&[]), Some((0, 1)));
        let module = Arc::from(std::path::Path::new("/x"));
        let frame = Frame {
            module,
            offset: 0,
            symbol: None,
            line: None,
        };
        assert_eq!(seed(&[frame]), Some((1, 2)));
        assert!(injection.asks_who());
        assert!(!injection.steers_time());
    }
}
