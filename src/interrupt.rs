//! Child processes that must not outlive svhcheck, and the switch that ends them.
//!
//! Every child leads a process group of its own, so that ending it ends what it started.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// The switch. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    set: AtomicBool,
    groups: Mutex<BTreeSet<i32>>,
}

impl Interrupt {
    /// Whether the user asked to stop.
    pub fn is_set(&self) -> bool {
        self.0.set.load(Ordering::SeqCst)
    }

    /// Starts nothing new and kills what runs.
    pub fn trigger(&self) {
        self.0.set.store(true, Ordering::SeqCst);
        for group in self.groups().iter() {
            // A group that is gone already is what we want.
            let _ = killpg(Pid::from_raw(*group), Signal::SIGKILL);
        }
    }

    /// Starts `command` as the leader of a group that [`Interrupt::trigger`] ends.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Guarded> {
        // Held across the start: a trigger comes either before it (nothing starts) or after it
        // (the group is known).
        let mut groups = self.groups();
        if self.is_set() {
            return Err(io::Error::from(io::ErrorKind::Interrupted));
        }
        let child = command.process_group(0).spawn()?;
        let group = i32::try_from(child.id()).unwrap_or(i32::MAX);
        groups.insert(group);
        Ok(Guarded {
            child,
            group,
            interrupt: self.clone(),
        })
    }

    /// Runs `command` to its end, as [`Interrupt::spawn`] does, and returns what it wrote.
    pub fn output(&self, command: &mut Command) -> io::Result<Output> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = self.spawn(command)?;
        let pipes = (running.child.stdout.take(), running.child.stderr.take());
        let mut errors = Vec::new();
        let mut stdout = Vec::new();
        // Both at once: a pipe that nobody reads stops its writer when it is full.
        std::thread::scope(|scope| {
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

    fn groups(&self) -> std::sync::MutexGuard<'_, BTreeSet<i32>> {
        self.0.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running child; dropping it ends its whole group and reaps it.
#[derive(Debug)]
pub struct Guarded {
    /// The child itself, for its streams.
    pub child: Child,
    group: i32,
    interrupt: Interrupt,
}

impl Guarded {
    /// Kills the whole group.
    pub fn kill(&self) {
        let _ = killpg(Pid::from_raw(self.group), Signal::SIGKILL);
    }

    /// Waits for the child's own end, then ends what it left behind.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait();
        self.kill();
        status
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.kill();
        let _ = self.child.wait();
        self.interrupt.groups().remove(&self.group);
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
        let mut running = interrupt.spawn(&mut command).unwrap();
        interrupt.trigger();
        assert!(!running.wait().unwrap().success());
        // Both held the pipe; its end comes when both are gone.
        let mut pipe = running.child.stdout.take().unwrap();
        assert_eq!(
            Read::read_to_end(&mut pipe, &mut Vec::new()).unwrap(),
            0
        );
        assert_eq!(
            interrupt.spawn(&mut command).unwrap_err().kind(),
            io::ErrorKind::Interrupted
        );
    }
}
