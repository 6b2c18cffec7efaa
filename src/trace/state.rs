//! The run loop: which threads and processes there are, and what each of their stops means.
//!
//! All state is per thread (`Task`) or per process (`Image`), never "the current one": stops of
//! different threads interleave freely. The loop goes on until no tracee is left, not until the
//! command itself has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use nix::sched::CpuSet;

use super::access::{Access, BlindSpot, Cut, Event, Outcome, Process, ProcessId, Trace};
use super::arch::Native;
use super::calls::Pending;
use super::command::{Live, Watch};
use super::environment::Environment;
use super::error::TraceError;
use super::inject::{Steering, mix};
use super::spawn::{self, Launch};
use super::syscall::{Numbers, Sys};
use super::together::{self, Together};
use super::tracee::{self, Gone, Resume, Status, Stop, Stopped, Wait};
use super::unwind::{Frame, Unwinder};

/// One traced thread.
#[derive(Debug)]
pub(crate) struct Task {
    /// Index of its process in `Run::processes`.
    pub(crate) process: usize,
    /// Number within the process, in order of birth.
    pub(crate) thread: u32,
    /// The number that seeds what is injected here: made from the line of births, so that it does
    /// not depend on which of two threads happened to run first.
    pub(crate) key: u64,
    /// Threads and processes that it made.
    births: u64,
    /// The call whose exit is awaited.
    pub(crate) pending: Option<Pending>,
    /// How many answers each steering rule gave here.
    pub(crate) drawn: Vec<u64>,
    /// Its directories, and the generation of `Run::moves` in which they were read.
    pub(crate) places: Option<(u64, Places)>,
    /// The environment watch that its debug registers hold.
    pub(crate) armed: Option<Environment>,
}

/// The directories from which a thread's paths start.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) cwd: PathBuf,
    pub(crate) root: PathBuf,
}

/// What belongs to a process beside its record.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub(crate) struct Image {
    /// Where its libc reads the environment, if that is watched.
    pub(crate) environment: Option<Environment>,
    /// Its code, as far as it was asked for.
    pub(crate) unwinder: Option<Unwinder>,
    /// True if it has, or its parent had, code that is asked after.
    pub(crate) suspect: bool,
    /// True if new code was mapped since the unwinder looked.
    pub(crate) stale: bool,
    /// True if other threads lived when the last exec was asked for.
    pub(crate) has_threads: bool,
    /// True if an exec ended other threads, which may have been making children.
    lost_threads: bool,
    /// What was not seen, so that each is said once.
    blind: Vec<BlindSpot>,
}

/// The state of one run, on its tracer's thread.
pub(crate) struct Run {
    pub(crate) watch: Watch,
    pub(crate) numbers: Numbers,
    pub(crate) steering: Steering,
    pub(crate) tasks: BTreeMap<i32, Task>,
    pub(crate) processes: Vec<Process>,
    pub(crate) images: Vec<Image>,
    /// Index of each living process by the kernel's number.
    pub(crate) by_pid: BTreeMap<i32, usize>,
    pub(crate) events: Vec<Event>,
    /// While all are kept on one processor.
    pub(crate) together: Option<Together>,
    /// Where those belong who were born before they could be let go, and tell it only later.
    stragglers: Option<CpuSet>,
    /// Counts everything that may have moved a directory, by any thread.
    pub(crate) moves: u64,
    /// Links that were read, by process: canonicalising asks for the same directories again and
    /// again, and only the first answer is waited for. Emptied by whatever may change an answer.
    pub(crate) links: BTreeSet<(usize, PathBuf)>,
    blind_spots: Vec<(ProcessId, BlindSpot)>,
    /// New threads that stopped before their maker's own stop told whose they are.
    held: BTreeMap<i32, Stopped>,
    live: Arc<Live>,
}

impl Run {
    /// Starts the command and follows it to the end. `started` gets the process's number once the
    /// program has been executed.
    pub(crate) fn start(
        launch: Launch,
        watch: Watch,
        live: Arc<Live>,
        started: &SyncSender<i32>,
    ) -> Result<Trace, TraceError> {
        let together = if watch.programs_only {
            None
        } else {
            Together::new()
        };
        if let Some(together) = &together {
            together.keep(); // What this thread forks stays with it.
        }
        let mut launched = spawn::launch(launch)?;
        let pid = launched.pid;
        let steering = Steering::new(&watch.injection);
        let mut run = Self {
            watch,
            numbers: Numbers::new::<Native>(),
            steering,
            tasks: BTreeMap::new(),
            processes: Vec::new(),
            images: Vec::new(),
            by_pid: BTreeMap::new(),
            events: Vec::new(),
            together,
            stragglers: None,
            moves: 0,
            links: BTreeSet::new(),
            blind_spots: Vec::new(),
            held: BTreeMap::new(),
            live,
        };
        run.add_process(pid, None, mix(0, 0));
        if let Some(keeper) = launched.keeper {
            // Its end is the end of whatever its name space holds, traced or not.
            run.live.add(keeper);
        }
        // Whatever ends this function early also ends this thread, and EXITKILL all tracees.
        let mut executed = false;
        let mut status = None;
        loop {
            match tracee::wait().map_err(TraceError::os("wait for a traced process"))? {
                Wait::Nobody => break,
                Wait::Ended(tid, _) if launched.keeper == Some(tid) => run.live.remove(tid),
                Wait::Ended(tid, end) => {
                    if tid == pid {
                        status = Some(end);
                    }
                    run.ended(tid, end);
                }
                Wait::Stopped(stopped, stop) => {
                    // Of any process: a sandbox's hook may have forked to enter its name space.
                    let first = stop == Stop::Exec && !executed;
                    // A thread that is gone tells its end by a later wait.
                    let _: Result<(), Gone> = run.stopped(stopped, stop);
                    if first {
                        executed = true;
                        let _ = started.send(pid); // The caller may have gone.
                    }
                }
            }
        }
        if !executed {
            launched.outcome()?;
        }
        let status = status.ok_or_else(|| {
            let lost = std::io::Error::other("its end was not reported");
            TraceError::os("follow the command")(lost)
        })?;
        run.blind_spots.sort_unstable();
        Ok(Trace {
            status,
            processes: run.processes,
            events: run.events,
            blind_spots: run.blind_spots,
            stopped: run.live.reason(),
        })
    }

    fn add_process(&mut self, pid: i32, parent: Option<usize>, key: u64) {
        let index = self.processes.len();
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        self.processes.push(Process {
            id: ProcessId(number),
            parent: parent.map(|parent| self.processes[parent].id),
            pid,
            status: None,
            threads: 1,
            made_by: Vec::new(),
        });
        // A new process starts with its parent's memory, so with its parent's libc.
        self.images.push(Image {
            environment: parent.and_then(|parent| self.images[parent].environment),
            suspect: parent.is_some_and(|parent| self.images[parent].suspect),
            ..Image::default()
        });
        self.by_pid.insert(pid, index);
        let alive = self.live.add(pid);
        self.add_task(pid, index, 1, key);
        let limit = self.watch.processes;
        if limit.is_some_and(|limit| alive > limit) {
            self.live.cut(Cut::Processes);
        }
    }

    fn add_task(&mut self, tid: i32, process: usize, thread: u32, key: u64) {
        let task = Task {
            process,
            thread,
            key,
            births: 0,
            pending: None,
            drawn: vec![0; self.watch.injection.len()],
            places: None,
            armed: None,
        };
        self.tasks.insert(tid, task);
        if Together::ends_with(self.by_pid.len(), thread) {
            self.part();
        }
        if let Some(cpus) = &self.stragglers {
            together::let_go(tid, cpus);
        }
    }

    /// Lets all run where they may.
    pub(crate) fn part(&mut self) {
        let Some(together) = self.together.take() else {
            return;
        };
        let this = 0;
        for tid in self.tasks.keys().chain(self.held.keys()).chain([&this]) {
            together::let_go(*tid, &together.theirs);
        }
        self.stragglers = Some(together.theirs);
    }

    /// At the entry of a call.
    pub(crate) fn part_at(&mut self, sys: Sys, access: &Access) {
        if self
            .together
            .as_ref()
            .is_some_and(|own| own.ends_at(sys, access))
        {
            self.part();
        }
        if sys == Sys::SchedSetaffinity {
            self.stragglers = None; // It decides for itself, and for its children.
        }
    }

    fn stopped(&mut self, mut stopped: Stopped, stop: Stop) -> Result<(), Gone> {
        let tid = stopped.tid();
        if !self.tasks.contains_key(&tid) {
            // Born, but its maker has not told yet: wait for that, to know who made it. A maker
            // that was killed never tells.
            self.held.insert(tid, stopped);
            if self.is_orphan(tid) {
                self.take_in(tid, 0);
            }
            return Ok(());
        }
        match stop {
            Stop::Call => self.called(stopped),
            Stop::Exit => self.returned(stopped),
            Stop::Birth => {
                let child = stopped.message()?;
                let frames = self.makers_frames(&stopped);
                self.born(child, tid);
                if let Some(process) = self.by_pid.get(&child) {
                    self.processes[*process].made_by = frames;
                }
                stopped.resume(self.after_event(tid), 0)
            }
            Stop::Exec => {
                self.executed(&mut stopped)?;
                stopped.resume(Resume::Free, 0)
            }
            Stop::Start => {
                self.arm(&mut stopped);
                stopped.resume(self.after_event(tid), 0)
            }
            Stop::Group => stopped.resume(Resume::Listen, 0),
            Stop::Signal(signal) => {
                if signal == nix::libc::SIGTRAP && self.variable_read(&mut stopped)? {
                    return stopped.resume(Resume::Free, 0);
                }
                stopped.resume(Resume::Free, signal)
            }
            Stop::Other => stopped.resume(Resume::Free, 0),
        }
    }

    /// The code that makes a child. The child's own stack need not lead there (`posix_spawn` gives it
    /// one of its own).
    fn makers_frames(&mut self, stopped: &Stopped) -> Vec<Frame> {
        let process = self.tasks.get(&stopped.tid()).map(|task| task.process);
        match process {
            Some(process) if self.watch.frames_for.is_some() => self.frames(stopped, process),
            _ => Vec::new(),
        }
    }

    /// A birth is reported within the call that makes it; if that call's exit is awaited, it still
    /// is.
    fn after_event(&self, tid: i32) -> Resume {
        let awaited = self
            .tasks
            .get(&tid)
            .is_some_and(|task| task.pending.is_some());
        if awaited {
            Resume::ToExit
        } else {
            Resume::Free
        }
    }

    /// Notes a new thread or process that `maker` made, and lets it go if it was held.
    fn born(&mut self, child: i32, maker: i32) {
        if self.tasks.contains_key(&child) {
            return; // Taken in already, when its maker seemed to be gone.
        }
        let Some(task) = self.tasks.get_mut(&maker) else {
            return;
        };
        task.births += 1;
        let key = mix(task.key, task.births);
        let process = task.process;
        if tracee::is_thread_of(child, self.processes[process].pid) {
            self.processes[process].threads += 1;
            let thread = self.processes[process].threads;
            self.add_task(child, process, thread, key);
        } else {
            self.add_process(child, Some(process), key);
        }
        if let Some(mut stopped) = self.held.remove(&child) {
            self.arm(&mut stopped);
            let _ = stopped.resume(Resume::Free, 0);
        }
    }

    /// An exec succeeded. If another thread than the leader made it, that thread now has the
    /// leader's number, and its old number is gone without a report (`ptrace(2)`, "execve(2) under
    /// ptrace").
    fn executed(&mut self, stopped: &mut Stopped) -> Result<(), Gone> {
        let (tid, former) = (stopped.tid(), stopped.message()?);
        if former != tid
            && let Some(mut task) = self.tasks.remove(&former)
        {
            task.thread = 1;
            if let Some(Some(pending)) = self.tasks.get_mut(&tid).map(|task| task.pending.take()) {
                self.finish(pending.event, Outcome::Unfinished);
            }
            self.tasks.insert(tid, task);
        }
        self.moves += 1; // The directories stay, but a set-up child may have moved before.
        let Some(task) = self.tasks.get_mut(&tid) else {
            return Ok(());
        };
        task.armed = None; // The kernel cleared the debug registers.
        let process = task.process;
        if let Some(pending) = task.pending.take() {
            self.finish(pending.event, Outcome::Done(0));
        }
        let image = &mut self.images[process];
        image.environment = None;
        image.unwinder = None;
        image.stale = true;
        image.lost_threads |= std::mem::take(&mut image.has_threads);
        self.take_in_orphans(process, false);
        self.prepare_image(stopped)
    }

    fn ended(&mut self, tid: i32, status: Status) {
        let process = match self.tasks.remove(&tid) {
            Some(task) => {
                if let Some(pending) = task.pending {
                    self.finish(pending.event, Outcome::Unfinished);
                }
                Some(task.process)
            }
            None => self.by_pid.get(&tid).copied(),
        };
        self.held.remove(&tid);
        if self.by_pid.remove(&tid).is_some() {
            self.live.remove(tid);
            if let Some(process) = process {
                self.processes[process].status = Some(status);
                self.images[process] = Image::default();
            }
        }
        if let Some(process) = process {
            self.take_in_orphans(process, matches!(status, Status::Signaled(_)));
        }
    }

    /// True if nobody is left who could tell of a held thread.
    fn is_orphan(&self, tid: i32) -> bool {
        if self.live.reason().is_some() {
            return true; // Everything is being killed, so its maker may be too.
        }
        let Some((group, parent)) = identity(tid) else {
            return false; // Gone already; its end will be told.
        };
        let family = if group == tid { parent } else { group };
        let process = self.by_pid.get(&family);
        // An exec kills the other threads of its process, perhaps in the midst of a birth.
        process.is_none_or(|&process| self.images[process].lost_threads)
    }

    /// Lets held threads go whose maker ended before it could tell of them: otherwise they would
    /// wait for ever. `violent` if the maker had no time to tell.
    fn take_in_orphans(&mut self, process: usize, violent: bool) {
        let held: Vec<i32> = self.held.keys().copied().collect();
        for tid in held {
            if violent || self.is_orphan(tid) {
                self.take_in(tid, process);
            }
        }
    }

    /// Takes a held thread in as the child or thread of a process, without knowing which of its
    /// threads made it.
    fn take_in(&mut self, tid: i32, process: usize) {
        let family = identity(tid);
        let known = |pid| self.by_pid.get(&pid).copied();
        match family {
            Some((group, _)) if group != tid => {
                let process = known(group).unwrap_or(process);
                self.processes[process].threads += 1;
                let thread = self.processes[process].threads;
                let key = mix(u64::from(self.processes[process].id.0), u64::from(thread));
                self.add_task(tid, process, thread, key);
            }
            _ => {
                let process = family
                    .and_then(|(_, parent)| known(parent))
                    .unwrap_or(process);
                let key = mix(self.processes.len() as u64, u64::MAX);
                self.add_process(tid, Some(process), key);
            }
        }
        if let Some(mut stopped) = self.held.remove(&tid) {
            self.arm(&mut stopped);
            let _ = stopped.resume(Resume::Free, 0);
        }
    }

    /// Completes an event and shows it.
    pub(crate) fn finish(&mut self, event: Option<usize>, outcome: Outcome) {
        let Some(event) = event.and_then(|index| self.events.get_mut(index)) else {
            return;
        };
        event.outcome = outcome;
        if let Some(observer) = &mut self.watch.observer {
            observer(event);
        }
    }

    /// Notes what is not seen of a process, once.
    pub(crate) fn blind(&mut self, process: usize, spot: BlindSpot) {
        let blind = &mut self.images[process].blind;
        if !blind.contains(&spot) {
            blind.push(spot);
            self.blind_spots.push((self.processes[process].id, spot));
        }
    }

    /// The directories of a thread, read again only if any thread may have moved one.
    pub(crate) fn places(&mut self, tid: i32) -> Places {
        let moves = self.moves;
        let Some(task) = self.tasks.get_mut(&tid) else {
            return read_places(tid);
        };
        match &task.places {
            Some((generation, places)) if *generation == moves => places.clone(),
            _ => {
                let places = read_places(tid);
                task.places = Some((moves, places.clone()));
                places
            }
        }
    }
}

fn read_places(tid: i32) -> Places {
    let read = |name| std::fs::read_link(format!("/proc/{tid}/{name}"));
    Places {
        cwd: read("cwd").unwrap_or_default(),
        root: read("root").unwrap_or_else(|_| PathBuf::from("/")),
    }
}

/// The process of a thread and its parent, from `/proc/<tid>/status`.
fn identity(tid: i32) -> Option<(i32, i32)> {
    let status = std::fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    let field = |name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse().ok()
    };
    Some((field("Tgid:")?, field("PPid:")?))
}
