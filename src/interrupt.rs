//! Child processes that must not outlive svhcheck, and the switch that ends them.
//!
//! Every child leads a process group of its own, so that ending it ends what it started.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// The switch. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    set: AtomicBool,
    running: Mutex<Running>,
}

/// How to end each thing that runs, by number.
#[derive(Default)]
struct Running {
    next: u64,
    ends: BTreeMap<u64, Box<dyn Fn() + Send>>,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.ends.keys()).finish()
    }
}

/// How a child is ended that has not ended by itself.
#[derive(Debug, Clone, Copy)]
pub enum Ending {
    /// At once.
    Kill,
    /// As by Ctrl-C, and at once where it takes longer than this: the client of a server, which must call its
    /// work off. (Bazel's server waits for ever for the reader of an action graph that was killed.)
    Ask(Duration),
}

impl Interrupt {
    /// Whether the user asked to stop.
    pub fn is_set(&self) -> bool {
        self.0.set.load(Ordering::SeqCst)
    }

    /// Starts nothing new and kills what runs.
    pub fn trigger(&self) {
        self.0.set.store(true, Ordering::SeqCst);
        for end in self.running().ends.values() {
            end();
        }
    }

    /// Starts something that `end` ends. Either it does not start, the switch being set, or the
    /// switch knows of it until the handle is dropped.
    pub fn start<T>(
        &self,
        start: impl FnOnce() -> io::Result<T>,
        end: impl FnOnce(&T) -> Box<dyn Fn() + Send>,
    ) -> io::Result<(T, Registered)> {
        // Held across the start, so that a trigger comes before it or after it.
        let mut running = self.running();
        if self.is_set() {
            return Err(io::Error::from(io::ErrorKind::Interrupted));
        }
        let started = start()?;
        let number = running.next;
        running.next += 1;
        running.ends.insert(number, end(&started));
        Ok((
            started,
            Registered {
                number,
                interrupt: self.clone(),
            },
        ))
    }

    /// Starts `command` as the leader of a group that [`Interrupt::trigger`] ends.
    pub fn spawn(&self, command: &mut Command, ending: Ending) -> io::Result<Guarded> {
        let start = || {
            let child = command.process_group(0).spawn()?;
            let id = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
            let group = Group {
                id,
                ending,
                asked: AtomicBool::new(false),
                gone: AtomicBool::new(false),
            };
            Ok((child, Arc::new(group)))
        };
        let ((child, group), registered) = self.start(start, |(_, group)| {
            let group = Arc::clone(group);
            Box::new(move || group.end())
        })?;
        Ok(Guarded {
            child,
            group,
            _registered: registered,
        })
    }

    /// Runs `command` to its end, as [`Interrupt::spawn`] does, and returns what it wrote.
    pub fn output(&self, command: &mut Command, ending: Ending) -> io::Result<Output> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = self.spawn(command, ending)?;
        let pipes = (running.child.stdout.take(), running.child.stderr.take());
        let mut errors = Vec::new();
        let mut stdout = Vec::new();
        // Both at once: a pipe that nobody reads stops its writer when it is full.
        thread::scope(|scope| {
            let reader = scope.spawn(|| pipes.1.map(|mut pipe| pipe.read_to_end(&mut errors)));
            let read = pipes.0.map(|mut pipe| pipe.read_to_end(&mut stdout));
            read.transpose()?;
            let joined = reader.join();
            joined
                .unwrap_or_else(|_| Some(Err(io::Error::other("the reading thread panicked"))))
                .transpose()
        })?;
        Ok(Output {
            status: running.wait()?,
            stdout,
            stderr: errors,
        })
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The processes of a child.
#[derive(Debug)]
struct Group {
    id: Pid,
    ending: Ending,
    /// Whether it was asked to end.
    asked: AtomicBool,
    /// Whether its leader was reaped, so that its number may be another's.
    gone: AtomicBool,
}

impl Group {
    fn end(self: &Arc<Self>) {
        let Ending::Ask(patience) = self.ending else {
            return self.kill();
        };
        // A second time would mean more to some: the third SIGINT kills Bazel's server.
        if self.asked.swap(true, Ordering::SeqCst) {
            return;
        }
        let _ = killpg(self.id, Signal::SIGINT);
        let own = Arc::clone(self);
        thread::spawn(move || {
            thread::sleep(patience);
            if !own.gone.load(Ordering::SeqCst) {
                own.kill();
            }
        });
    }

    fn kill(&self) {
        // A group that is gone already is what we want.
        let _ = killpg(self.id, Signal::SIGKILL);
    }
}

/// Known to the switch until it is dropped.
#[derive(Debug)]
pub struct Registered {
    number: u64,
    interrupt: Interrupt,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.interrupt.running().ends.remove(&self.number);
    }
}

/// A running child; dropping it ends its whole group and reaps it.
#[derive(Debug)]
pub struct Guarded {
    /// The child itself, for its streams.
    pub child: Child,
    group: Arc<Group>,
    _registered: Registered,
}

impl Guarded {
    /// Kills the whole group.
    pub fn kill(&self) {
        self.group.kill();
    }

    /// Waits for the child's own end, then ends what it left behind.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait();
        self.group.gone.store(true, Ordering::SeqCst);
        self.kill();
        status
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if !self.group.gone.load(Ordering::SeqCst) {
            self.group.end();
            let _ = self.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trigger_ends_children_and_grandchildren() {
        let interrupt = Interrupt::default();
        let mut command = Command::new("sh");
        command
            .args(["-c", "sleep 1000 & wait"])
            .stdout(Stdio::piped());
        let mut running = interrupt.spawn(&mut command, Ending::Kill).unwrap();
        interrupt.trigger();
        assert!(!running.wait().unwrap().success());
        // Both held the pipe; its end comes when both are gone.
        let mut pipe = running.child.stdout.take().unwrap();
        assert_eq!(pipe.read_to_end(&mut Vec::new()).unwrap(), 0);
        assert_eq!(
            interrupt
                .spawn(&mut command, Ending::Kill)
                .unwrap_err()
                .kind(),
            io::ErrorKind::Interrupted
        );
    }
    #[test]
    fn who_is_asked_may_call_its_work_off_but_not_stay() {
        // A shell cannot trap what was ignored when it began, as in a background job; what is handled here
        // it gets as by default.
        signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::default()).unwrap();
        for (script, code) in [
            (
                "trap 'exit 3' INT; echo; while :; do sleep 0.01; done",
                Some(3),
            ),
            ("trap '' INT; echo; while :; do sleep 0.01; done", None),
        ] {
            let interrupt = Interrupt::default();
            let mut command = Command::new("sh");
            command.args(["-c", script]).stdout(Stdio::piped());
            let patience = if code.is_some() { 60_000 } else { 20 };
            let ending = Ending::Ask(Duration::from_millis(patience));
            let mut running = interrupt.spawn(&mut command, ending).unwrap();
            // The trap is set.
            let mut line = [0];
            let mut pipe = running.child.stdout.take().unwrap();
            pipe.read_exact(&mut line).unwrap();
            interrupt.trigger();
            assert_eq!(running.wait().unwrap().code(), code);
        }
    }
}
