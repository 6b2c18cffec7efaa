//! What happens at the entry and at the exit of one system call.

use nix::libc;

use super::access::{Access, BlindSpot, Event, Outcome};
use super::arch::{Arch, Native};
use super::decode::{self, AtExit, Place};
use super::environment;
use super::inject::{Answer, Call, Patch};
use super::memory::Memory;
use super::state::Run;
use super::syscall::{Group, Sys};
use super::tracee::{CallOp, Gone, Resume, Stopped};
use super::unwind::Frame;

/// A call whose exit is awaited.
#[derive(Debug)]
pub(crate) struct Pending {
    /// Its event, where it is recorded.
    pub(crate) event: Option<usize>,
    /// What the exit is awaited for.
    at_exit: AtExit,
    /// What to do to the answer.
    patch: Option<Patch>,
    /// Argument registers to put back.
    restore: Vec<(usize, u64)>,
    sys: Sys,
    args: [u64; 6],
}

/// Results with which the kernel restarts a call by itself (`ERESTARTSYS` and its kin): the same
/// call will be entered again.
const RESTARTS: std::ops::RangeInclusive<i64> = -516..=-512;

impl Run {
    /// The filter stopped a thread at the entry of a call.
    pub(crate) fn called(&mut self, stopped: Stopped) -> Result<(), Gone> {
        let tid = stopped.tid();
        let info = stopped.call()?;
        let CallOp::Entry { number, args } = info.op else {
            return stopped.resume(Resume::Free, 0);
        };
        let Some(task) = self.tasks.get_mut(&tid) else {
            return stopped.resume(Resume::Free, 0);
        };
        let (process, thread) = (task.process, task.thread);
        if let Some(stale) = task.pending.take() {
            self.finish(stale.event, Outcome::Unfinished);
        }
        if info.arch != Native::AUDIT || number & Native::FOREIGN_BITS != 0 {
            self.blind(process, BlindSpot::ForeignCall);
            return stopped.resume(Resume::Free, 0);
        }
        let Some(sys) = self.numbers.get(number) else {
            return stopped.resume(Resume::Free, 0);
        };

        match sys {
            Sys::Mmap => return self.mapped(stopped, args),
            Sys::Clone | Sys::Clone3 => return self.bearing(stopped, sys, args),
            _ => {}
        }
        let places = self.places(tid);
        let place = Place {
            tid,
            cwd: &places.cwd,
            root: &places.root,
        };
        let mut memory = Memory::new(tid);
        let Ok((access, mut at_exit)) = decode::decode(sys, args, &mut memory, &place) else {
            return stopped.resume(Resume::Free, 0); // It fails with EFAULT, and touches nothing.
        };
        if let Access::Blind(spot) = access {
            self.blind(process, spot);
        }
        self.part_at(sys, &access);
        if moves_directories(&access) {
            self.moves += 1;
        }
        if matches!(access, Access::Exec { .. }) {
            let threads = self.tasks.values().filter(|task| task.process == process);
            self.images[process].has_threads = threads.count() > 1;
        }
        match &access {
            Access::ReadLink { path } if !self.links.insert((process, path.absolute.clone())) => {
                at_exit = AtExit::Ignore;
            }
            access if changes_names(access) => self.links.clear(),
            _ => {}
        }

        let asked = self
            .watch
            .frames_for
            .as_ref()
            .is_some_and(|asked| asked(&access));
        let steered = self.steering.concerns(sys);
        let mut frames = Vec::new();
        if asked || (steered && self.watch.injection.asks_who()) {
            frames = self.frames(&stopped, process);
        }
        let answer = if steered || (sys == Sys::SchedGetaffinity && self.together.is_some()) {
            let call = Call {
                sys,
                args,
                access: &access,
                frames: &frames,
            };
            self.answer(tid, &call)
        } else {
            Answer::Pass
        };
        if matches!(sys.group(), Group::Status | Group::Seek | Group::Number) {
            return self.go_on(stopped, sys, args, None, AtExit::Ignore, answer);
        }
        if let Answer::Return(_) = answer {
            at_exit = AtExit::Ignore;
        }
        let event = Event {
            process: self.processes[process].id,
            thread,
            call: Some(sys),
            access,
            outcome: if at_exit == AtExit::Ignore {
                Outcome::Unwatched
            } else {
                Outcome::Unfinished
            },
            injected: steered && !matches!(answer, Answer::Pass),
            frames: if asked { frames } else { Vec::new() },
        };
        let index = self.events.len();
        self.events.push(event);
        if let Answer::Open(_) | Answer::Patch(_) = answer
            && at_exit == AtExit::Ignore
        {
            at_exit = AtExit::Result;
        }
        if let Answer::Return(value) = answer {
            self.finish(Some(index), Outcome::of(value));
        } else if at_exit == AtExit::Ignore {
            self.finish(Some(index), Outcome::Unwatched);
        }
        self.go_on(stopped, sys, args, Some(index), at_exit, answer)
    }

    /// Lets the call run, or answers it.
    fn go_on(
        &mut self,
        mut stopped: Stopped,
        sys: Sys,
        args: [u64; 6],
        event: Option<usize>,
        at_exit: AtExit,
        answer: Answer,
    ) -> Result<(), Gone> {
        let mut pending = Pending {
            event,
            at_exit,
            patch: None,
            restore: Vec::new(),
            sys,
            args,
        };
        match answer {
            Answer::Pass if at_exit == AtExit::Ignore => return stopped.resume(Resume::Free, 0),
            Answer::Pass => {}
            Answer::Return(value) => {
                stopped.replace_call(None, &[], value)?;
                return stopped.resume(Resume::Free, 0);
            }
            Answer::Arguments(changed) => {
                pending.restore = changed
                    .iter()
                    .map(|&(index, _)| (index, args[index]))
                    .collect();
                stopped.replace_call(sys.number(), &changed, 0)?;
            }
            Answer::Patch(patch) => pending.patch = Some(patch),
            Answer::Open(file) => {
                // The path doubles as the name of the memory file.
                let path = if sys == Sys::Open { args[0] } else { args[1] };
                pending.restore = vec![(0, args[0]), (1, args[1])];
                pending.at_exit = AtExit::Result;
                let flags = u64::from(file.close_on_exec);
                let memfd = Sys::MemfdCreate.number();
                stopped.replace_call(memfd, &[(0, path), (1, flags)], 0)?;
                pending.patch = Some(Patch::Fill(file.content));
            }
        }
        if let Some(task) = self.tasks.get_mut(&stopped.tid()) {
            task.pending = Some(pending);
        }
        stopped.resume(Resume::ToExit, 0)
    }

    /// A thread is at the exit of a call that was awaited.
    pub(crate) fn returned(&mut self, mut stopped: Stopped) -> Result<(), Gone> {
        let tid = stopped.tid();
        let pending = self
            .tasks
            .get_mut(&tid)
            .and_then(|task| task.pending.take());
        let Some(pending) = pending else {
            return stopped.resume(Resume::Free, 0);
        };
        let CallOp::Exit { value } = stopped.call()?.op else {
            return stopped.resume(Resume::Free, 0);
        };
        if !pending.restore.is_empty() {
            let mut registers = stopped.registers()?;
            for &(index, value) in &pending.restore {
                // The first argument shares its register with the result on aarch64.
                if Native::ARGS[index] != Native::RESULT {
                    registers.set_argument::<Native>(index, value);
                }
            }
            stopped.set_registers(&mut registers)?;
        }
        if RESTARTS.contains(&value) {
            self.forget(pending.event);
            return stopped.resume(Resume::Free, 0);
        }
        if pending.sys == Sys::Mmap {
            self.code_mapped(&mut stopped, value);
            return stopped.resume(Resume::Free, 0);
        }
        let filled = matches!(pending.patch, Some(Patch::Fill(_)));
        if let Some(patch) = pending.patch
            && value >= 0
        {
            self.patch(tid, pending.sys, pending.args, value, patch);
        }
        if pending.at_exit == AtExit::OpenFile
            && let Ok(fd @ 0..) = i32::try_from(value)
        {
            self.steering.opened(self.tasks[&tid].process, fd);
            if !filled {
                self.note_target(pending.event, tid, fd);
            }
        }
        let event = pending.event.and_then(|index| self.events.get(index));
        if event.is_some_and(|event| moves_directories(&event.access)) {
            self.moves += 1; // Another thread may have looked while the call was under way.
        }
        self.finish(pending.event, Outcome::of(value));
        stopped.resume(Resume::Free, 0)
    }

    /// Drops an event that will come again. It stays in place if others followed it.
    fn forget(&mut self, event: Option<usize>) {
        if let Some(index) = event {
            if index + 1 == self.events.len() {
                self.events.pop();
            } else {
                self.finish(event, Outcome::Unfinished);
            }
        }
    }

    /// Notes where an opened file really lies, if not where its name says.
    fn note_target(&mut self, event: Option<usize>, tid: i32, fd: i32) {
        let event = event.and_then(|index| self.events.get_mut(index));
        if let Some(Event {
            access: Access::Open { path, .. },
            ..
        }) = event
        {
            path.target = decode::descriptor(tid, fd).filter(|target| *target != path.absolute);
        }
    }

    /// The code behind a stop, innermost first; none where nobody asks after it.
    pub(crate) fn frames(&mut self, stopped: &Stopped, process: usize) -> Vec<Frame> {
        let image = &mut self.images[process];
        if !image.suspect {
            return Vec::new();
        }
        let modules = &self.watch.modules;
        let stale = std::mem::take(&mut image.stale);
        let unwinder = image.unwinder.get_or_insert_default();
        stopped
            .registers()
            .map(|registers| unwinder.frames(stopped.tid(), &registers, modules, stale))
            .unwrap_or_default()
    }

    /// A process or thread is being made. `CLONE_UNTRACED` would hide it from us, and `EXITKILL`
    /// would not reach it: that flag is taken away.
    fn bearing(&mut self, stopped: Stopped, sys: Sys, args: [u64; 6]) -> Result<(), Gone> {
        let tid = stopped.tid();
        let process = self.tasks[&tid].process;
        let hidden = u64::from(libc::CLONE_UNTRACED.cast_unsigned());
        // struct clone_args starts with its 64-bit flags.
        let memory = Memory::new(tid);
        let flags = if sys == Sys::Clone {
            Ok(args[0])
        } else {
            memory.word(args[0])
        };
        let mut answer = Answer::Pass;
        if let Ok(flags) = flags
            && flags & hidden != 0
        {
            self.blind(process, BlindSpot::Untraced);
            let flags = flags & !hidden;
            if sys == Sys::Clone {
                answer = Answer::Arguments(vec![(0, flags)]);
            } else if memory.write(args[0], &flags.to_ne_bytes()).is_err() {
                answer = Answer::Return(-i64::from(libc::EPERM));
            }
        }
        self.go_on(stopped, sys, args, None, AtExit::Ignore, answer)
    }

    /// New code is being mapped from a file.
    fn mapped(&mut self, mut stopped: Stopped, args: [u64; 6]) -> Result<(), Gone> {
        let tid = stopped.tid();
        let process = self.tasks[&tid].process;
        self.images[process].stale = true;
        let image = &self.images[process];
        let innocent = !image.suspect;
        let blind = self.watch.variables_for.is_some() && image.environment.is_none();
        let mut at_exit = AtExit::Ignore;
        if (innocent || blind)
            && let Some(file) = decode::descriptor(tid, decode::int(args[4]))
        {
            if innocent && self.is_suspect(&file) {
                self.suspect(&mut stopped);
            }
            if blind && environment::is_libc(&file) {
                at_exit = AtExit::Result;
            }
        }
        self.go_on(stopped, Sys::Mmap, args, None, at_exit, Answer::Pass)
    }
}

/// True if the call may change what another path leads to.
fn changes_names(access: &Access) -> bool {
    matches!(
        access,
        Access::Change { .. }
            | Access::Rename { .. }
            | Access::Link { .. }
            | Access::Symlink { .. }
            | Access::Root { .. }
            | Access::Mount { .. }
            | Access::Blind(_)
    ) || matches!(access, Access::Open { mode, .. } if mode.create)
}

/// True if the call may change what a relative path means to somebody.
fn moves_directories(access: &Access) -> bool {
    matches!(
        access,
        Access::Enter { .. }
            | Access::Root { .. }
            | Access::Mount { .. }
            | Access::Rename { .. }
            | Access::Blind(BlindSpot::Namespace)
            | Access::Change {
                change: super::access::Change::RemoveDirectory,
                ..
            }
    )
}
