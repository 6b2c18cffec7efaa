//! One processor for a command and its tracer, at first. They take turns, and to wake each other on
//! another processor costs more than what most stops are for; a compile of a few milliseconds is
//! half as long again without it. What grows, in time, threads or processes, is let go.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

use super::access::Access;
use super::syscall::Sys;

/// How long a command stays.
const SPAN: Duration = Duration::from_millis(60);
/// As many threads as rustc has before it generates code: its first one, the one that compiles, one
/// for Ctrl-C and one for the jobserver.
const THREADS: u32 = 4;

/// A command that is kept on its tracer's processor.
#[derive(Debug)]
pub(crate) struct Together {
    /// The processors that it may use.
    pub(crate) theirs: CpuSet,
    one: CpuSet,
    end: Instant,
}

impl Together {
    /// To be kept on the processor that this thread runs on; `None` if there is no other.
    pub(crate) fn new() -> Option<Self> {
        let theirs = sched_getaffinity(Pid::from_raw(0)).ok()?;
        let count = (0..CpuSet::count()).filter(|&cpu| theirs.is_set(cpu).unwrap_or(false));
        if count.take(2).count() < 2 {
            return None;
        }
        let mut one = CpuSet::new();
        one.set(sched_getcpu().ok()?).ok()?;
        Some(Self {
            theirs,
            one,
            end: Instant::now() + SPAN,
        })
    }

    /// Keeps this thread here. A refusal costs nothing but speed.
    pub(crate) fn keep(&self) {
        let _ = sched_setaffinity(Pid::from_raw(0), &self.one);
    }

    /// Whether it is too long, at this call, or would be told where it runs.
    pub(crate) fn ends_at(&self, sys: Sys, access: &Access) -> bool {
        let is_status = |path: &Path| path.starts_with("/proc") && path.ends_with("status");
        let tells = match access {
            Access::Open { path, .. } => is_status(&path.absolute),
            _ => sys == Sys::SchedSetaffinity,
        };
        tells || Instant::now() >= self.end
    }

    /// Whether so many processes, or so many threads of one, have use for other processors.
    pub(crate) fn ends_with(processes: usize, threads: u32) -> bool {
        processes > 1 || threads > THREADS
    }
}

/// Lets a thread run on `cpus`; 0 is the caller.
pub(crate) fn let_go(tid: i32, cpus: &CpuSet) {
    let _ = sched_setaffinity(Pid::from_raw(tid), cpus);
}
