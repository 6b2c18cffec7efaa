//! Starts one rustc, watches its standard error for the metadata notice, and ends it: when it has
//! shown enough, when its time is over, or when the user interrupts.
//!
//! It runs under the tracer, which watches and steers it. Where the system forbids tracing it runs
//! without, unwatched and unsteered.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare};
use nix::sys::personality::{self, Persona};
use nix::sys::stat::{Mode, umask};
use nix::unistd::Pid;

use super::confine::Confine;
use super::sight::{self, Refusals, Sighting, Watch, What};
use super::stage::Staged;
use crate::interrupt::{Ending, Guarded, Interrupt};
use crate::plan::variation::Change;
use crate::sandbox::Sandbox;
use crate::trace;

/// What of rustc's standard error is kept, in bytes; a macro may print without end.
const KEPT: usize = 256 * 1024;

/// Most processes that one compile may have at a time. Each costs a descriptor here.
const PROCESSES: usize = 512;

/// One start of a compiler.
#[derive(Debug)]
pub(super) struct Launch<'a> {
    pub(super) program: &'a Path,
    pub(super) staged: &'a Staged,
    pub(super) changes: &'a [Change],
    pub(super) stop_at_metadata: bool,
    /// Where standard output goes; nowhere if `None`.
    pub(super) stdout: Option<File>,
    pub(super) timeout: Duration,
    pub(super) slot: usize,
}

/// How a compile ended.
#[derive(Debug)]
pub(super) enum End {
    /// By itself: whether it succeeded, and in words.
    Status(bool, String),
    /// By us, at its metadata notice.
    Stopped,
    /// By us, its time being over.
    TimedOut,
    /// By us, for it started processes without end.
    Processes,
    /// By us or the kernel, for it wrote without end.
    Disk,
}

/// A compile that ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) end: End,
    pub(super) stderr: Vec<u8>,
    pub(super) sightings: Vec<Sighting>,
    /// What the sandbox refused to others than watched code.
    pub(super) missed: BTreeSet<What>,
}

impl Launch<'_> {
    /// Runs it under the tracer, and in the sandbox if there is one.
    pub(super) fn run_watched(
        self,
        watch: &Watch,
        confined: Option<(&Confine, Sandbox)>,
        interrupt: &Interrupt,
    ) -> io::Result<Ended> {
        let mut command = trace::Command::new(self.program)
            .args(self.staged.args.as_slice())
            .envs(&self.staged.env)
            .current_dir(&self.staged.cwd)
            .stdin(trace::Stdio::Null)
            .stdout(self.stdout.map_or(trace::Stdio::Null, trace::Stdio::File))
            .stderr(trace::Stdio::Pipe)
            .timeout(self.timeout)
            .max_processes(PROCESSES);
        for change in self.changes {
            command = match change {
                Change::Umask(mask) => command.umask(*mask),
                Change::NoAslr => command.fixed_addresses(true),
                _ => command,
            };
        }
        let mut command = watch.watch(command, self.changes);
        if let Some((_, sandbox)) = &confined {
            command = command.enter(sandbox.clone());
        }
        let one_cpu = self.changes.contains(&Change::OneCpu);
        let start = || {
            // Affinity belongs to a thread and goes over to its children; a thread of the run's own
            // keeps it off everything else.
            std::thread::scope(|scope| {
                let starter = scope.spawn(|| {
                    if one_cpu {
                        bind_to_one_cpu(self.slot)?;
                    }
                    command.spawn().map_err(io::Error::other)
                });
                starter
                    .join()
                    .unwrap_or_else(|_| Err(io::Error::other("the starting thread panicked")))
            })
        };
        let (mut session, registered) = interrupt.start(start, |session| {
            let killer = session.killer();
            Box::new(move || killer.kill())
        })?;
        let killer = session.killer();
        let disk = confined
            .as_ref()
            .and_then(|(_, sandbox)| sandbox.watch_disk(move || killer.kill()));
        let mut log = Log::default();
        let mut stopped = false;
        if let Some(mut pipe) = session.stderr.take() {
            let mut buffer = vec![0; 64 * 1024];
            loop {
                match pipe.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(read) => {
                        if log.push(&buffer[..read]) && self.stop_at_metadata && !stopped {
                            stopped = true;
                            session.killer().kill();
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let trace = session.wait().map_err(io::Error::other)?;
        drop(registered);
        let disk = disk.is_some_and(|disk| disk.exceeded());
        let end = match (trace.stopped, trace.status) {
            _ if disk => End::Disk,
            _ if stopped => End::Stopped,
            (Some(trace::Cut::Timeout), _) => End::TimedOut,
            (Some(trace::Cut::Processes), _) => End::Processes,
            (_, trace::Status::Exited(0)) => End::Status(true, String::new()),
            (_, trace::Status::Exited(status)) => {
                End::Status(false, format!("exit status {status}"))
            }
            (_, trace::Status::Signaled(libc::SIGXFSZ)) if confined.is_some() => End::Disk,
            (_, trace::Status::Signaled(signal)) => End::Status(false, format!("signal {signal}")),
        };
        let refusals = confined.map(|(confine, _)| Refusals {
            confine,
            hidden: self.changes.iter().filter_map(hidden).collect(),
        });
        let missed = refusals.as_ref();
        let missed = missed.map_or_else(BTreeSet::new, |own| sight::missed(&trace, watch, own));
        let sightings = sight::sightings(trace, watch, refusals.as_ref());
        Ok(Ended {
            end,
            stderr: log.kept,
            sightings,
            missed,
        })
    }

    /// Runs it without the tracer.
    pub(super) fn run_unwatched(self, interrupt: &Interrupt) -> io::Result<Ended> {
        let mut command = Command::new(self.program);
        command
            .args(self.staged.args.as_slice())
            .env_clear()
            .envs(&self.staged.env)
            .current_dir(&self.staged.cwd)
            .stdin(Stdio::null())
            .stdout(self.stdout.map_or(Stdio::null(), Stdio::from))
            .stderr(Stdio::piped());
        // umask, affinity and personality belong to a thread, as above.
        let spawned = std::thread::scope(|scope| {
            let starter = scope.spawn(|| {
                enter_world(self.changes, self.slot)?;
                interrupt.spawn(&mut command, Ending::Kill)
            });
            starter
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the starting thread panicked")))
        })?;
        follow(spawned, self.stop_at_metadata, self.timeout)
    }
}

/// What a change hides from the run.
fn hidden(change: &Change) -> Option<&Path> {
    match change {
        Change::Hide(path) => Some(path),
        _ => None,
    }
}

/// Applies the changes that are attributes of a process.
fn enter_world(changes: &[Change], slot: usize) -> io::Result<()> {
    for change in changes {
        match change {
            Change::Umask(mask) => {
                // Only after this has the thread a umask of its own (unshare(2)).
                unshare(CloneFlags::CLONE_FS)?;
                umask(Mode::from_bits_truncate(*mask));
            }
            Change::OneCpu => bind_to_one_cpu(slot)?,
            Change::NoAslr => {
                let own = personality::get()?;
                // Some containers forbid it; addresses are then as random as before.
                let _ = personality::set(own | Persona::ADDR_NO_RANDOMIZE);
            }
            _ => {}
        }
    }
    Ok(())
}

fn bind_to_one_cpu(slot: usize) -> io::Result<()> {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this)?;
    let is_allowed = |cpu: &usize| allowed.is_set(*cpu).unwrap_or(false);
    let cpus: Vec<usize> = (0..CpuSet::count()).filter(is_allowed).collect();
    if let Some(cpu) = cpus.get(slot % cpus.len().max(1)) {
        let mut one = CpuSet::new();
        one.set(*cpu)?;
        sched_setaffinity(this, &one)?;
    }
    Ok(())
}

/// Reads standard error until the compile ends or is ended.
fn follow(mut running: Guarded, stop_at_metadata: bool, timeout: Duration) -> io::Result<Ended> {
    let deadline = Instant::now() + timeout;
    let Some(mut pipe) = running.child.stderr.take() else {
        return Err(io::Error::other("standard error is not a pipe"));
    };
    // A process that the compile leaves behind may hold the pipe open, so the end of rustc counts
    // and not the end of the pipe; reading must then never block.
    fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let mut log = Log::default();
    let mut buffer = vec![0; 64 * 1024];
    let ended = |end, log: Log| {
        Ok(Ended {
            end,
            stderr: log.kept,
            sightings: Vec::new(),
            missed: BTreeSet::new(),
        })
    };
    loop {
        let exited = running.child.try_wait()?;
        loop {
            match pipe.read(&mut buffer) {
                Ok(0) => {
                    let status = running.wait()?;
                    return ended(End::Status(status.success(), status.to_string()), log);
                }
                Ok(read) => {
                    if log.push(&buffer[..read]) && stop_at_metadata {
                        running.kill();
                        return ended(End::Stopped, log);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if let Some(status) = exited {
            return ended(End::Status(status.success(), status.to_string()), log);
        }
        if Instant::now() >= deadline {
            running.kill();
            return ended(End::TimedOut, log);
        }
        let pipe = std::os::fd::AsFd::as_fd(&pipe);
        let mut fds = [PollFd::new(pipe, PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(100_u8)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
/// rustc's standard error: its beginning, and whether the metadata notice was in it.
#[derive(Debug, Default)]
struct Log {
    kept: Vec<u8>,
    line: Vec<u8>,
}

impl Log {
    /// Takes in more; true once a whole line is the metadata notice.
    fn push(&mut self, bytes: &[u8]) -> bool {
        let room = KEPT.saturating_sub(self.kept.len());
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        let mut seen = false;
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            // A line longer than what is kept is no notice.
            if self.line.len() < KEPT {
                self.line.extend_from_slice(part);
            }
            if part.ends_with(b"\n") {
                seen |= is_metadata_notice(&self.line);
                self.line.clear();
            }
        }
        seen
    }
}

/// `{"$message_type":"artifact","artifact":"…/libx.rmeta","emit":"metadata"}`
/// (`--json=artifacts`; older releases have no `$message_type`).
fn is_metadata_notice(line: &[u8]) -> bool {
    // Diagnostics are long and many; only a short look at most of them.
    if !line.windows(10).any(|part| part == b"\"artifact\"") {
        return false;
    }
    serde_json::from_slice::<serde_json::Value>(line).is_ok_and(|value| {
        value
            .get("artifact")
            .is_some_and(serde_json::Value::is_string)
            && value.get("emit").is_some_and(|emit| emit == "metadata")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notice_is_seen_across_reads_and_only_when_it_is_one() {
        let notice = b"{\"$message_type\":\"artifact\",\"artifact\":\"/t/libx.rmeta\",\"emit\":\"metadata\"}\n";
        let mut log = Log::default();
        assert!(!log.push(b"warning\n"));
        assert!(!log.push(&notice[..20]));
        assert!(log.push(&notice[20..]));
        assert!(!log.push(b"{\"artifact\":\"/t/x.d\",\"emit\":\"dep-info\"}\n"));
        assert!(!log.push(b"{\"message\":\"\\\"artifact\\\" \\\"emit\\\":\\\"metadata\\\"\"}\n"));
    }

    #[test]
    fn endless_output_is_not_kept() {
        let mut log = Log::default();
        for _ in 0..100 {
            log.push(&vec![b'x'; 64 * 1024]);
        }
        assert!(log.kept.len() <= KEPT && log.line.len() <= KEPT + 64 * 1024);
    }
}
