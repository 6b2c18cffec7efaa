//! Starts one rustc, watches its standard error for the metadata notice, and ends it: when it has
//! shown enough, when its time is over, or when the user interrupts.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare};
use nix::sys::personality::{self, Persona};
use nix::sys::stat::{Mode, umask};
use nix::unistd::Pid;

use super::stage::Staged;
use crate::interrupt::{Guarded, Interrupt};
use crate::plan::variation::Change;

/// What of rustc's standard error is kept, in bytes; a macro may print without end.
const KEPT: usize = 256 * 1024;

/// One start of a compiler.
#[derive(Debug)]
pub(super) struct Launch<'a> {
    pub(super) program: &'a Path,
    pub(super) staged: &'a Staged,
    pub(super) changes: &'a [Change],
    pub(super) stop_at_metadata: bool,
    pub(super) timeout: Duration,
    pub(super) slot: usize,
}

/// How a compile ended.
#[derive(Debug)]
pub(super) enum End {
    /// By itself.
    Status(ExitStatus),
    /// By us, at its metadata notice.
    Stopped,
    /// By us, its time being over.
    TimedOut,
}

/// A compile that ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) end: End,
    pub(super) stderr: Vec<u8>,
}

impl Launch<'_> {
    pub(super) fn run(&self, interrupt: &Interrupt) -> io::Result<Ended> {
        let mut command = Command::new(self.program);
        command
            .args(self.staged.args.as_slice())
            .env_clear()
            .envs(&self.staged.env)
            .current_dir(&self.staged.cwd)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        // umask, affinity and personality belong to a thread and go over to its children; a thread
        // of the run's own keeps them off everything else.
        let spawned = std::thread::scope(|scope| {
            let starter = scope.spawn(|| {
                self.enter_world()?;
                interrupt.spawn(&mut command)
            });
            starter
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the starting thread panicked")))
        })?;
        self.watch(spawned)
    }

    /// Applies the changes that are attributes of a process.
    fn enter_world(&self) -> io::Result<()> {
        for change in self.changes {
            match change {
                Change::Umask(mask) => {
                    // Only after this has the thread a umask of its own (unshare(2)).
                    unshare(CloneFlags::CLONE_FS)?;
                    umask(Mode::from_bits_truncate(*mask));
                }
                Change::OneCpu => {
                    let this = Pid::from_raw(0);
                    let allowed = sched_getaffinity(this)?;
                    let cpus: Vec<usize> = (0..CpuSet::count())
                        .filter(|cpu| allowed.is_set(*cpu).unwrap_or(false))
                        .collect();
                    if let Some(cpu) = cpus.get(self.slot % cpus.len().max(1)) {
                        let mut one = CpuSet::new();
                        one.set(*cpu)?;
                        sched_setaffinity(this, &one)?;
                    }
                }
                Change::NoAslr => {
                    let own = personality::get()?;
                    // Some containers forbid it; addresses are then as random as before.
                    let _ = personality::set(own | Persona::ADDR_NO_RANDOMIZE);
                }
                Change::Env(..) | Change::Folder(..) | Change::BuildPath { .. } => {}
            }
        }
        Ok(())
    }

    /// Reads standard error until the compile ends or is ended.
    fn watch(&self, mut running: Guarded) -> io::Result<Ended> {
        let deadline = Instant::now() + self.timeout;
        let Some(mut pipe) = running.child.stderr.take() else {
            return Err(io::Error::other("standard error is not a pipe"));
        };
        // A process that the compile leaves behind may hold the pipe open, so the end of rustc
        // counts and not the end of the pipe; reading must then never block.
        fcntl(pipe.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let mut log = Log::default();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let exited = running.child.try_wait()?;
            loop {
                match pipe.read(&mut buffer) {
                    Ok(0) => {
                        return Ok(Ended {
                            end: End::Status(running.wait()?),
                            stderr: log.kept,
                        });
                    }
                    Ok(read) => {
                        if log.push(&buffer[..read]) && self.stop_at_metadata {
                            running.kill();
                            return Ok(Ended {
                                end: End::Stopped,
                                stderr: log.kept,
                            });
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            if let Some(status) = exited {
                return Ok(Ended {
                    end: End::Status(status),
                    stderr: log.kept,
                });
            }
            if Instant::now() >= deadline {
                running.kill();
                return Ok(Ended {
                    end: End::TimedOut,
                    stderr: log.kept,
                });
            }
            let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::from(100_u8)) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
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
