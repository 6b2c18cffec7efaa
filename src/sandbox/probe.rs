//! Entering a sandbox and leaving it at once, to see whether this machine allows it.

use std::io::{self, PipeWriter, Read};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::{Sandbox, SandboxError};
use crate::entry::{Entry, Failure, fork_into};

pub(super) fn enter(sandbox: &Sandbox) -> Result<(), SandboxError> {
    let failed =
        |error: io::Error| SandboxError::new("be tried", error.raw_os_error().unwrap_or(0));
    let (mut report, reporter) = io::pipe().map_err(failed)?;
    #[expect(unsafe_code, reason = "a sandbox is entered between fork and exit")]
    // SAFETY: the child calls nothing but what an `Entry` promises to be async-signal-safe.
    let forked = unsafe { fork_into(sandbox.namespaces()) };
    let pid = match forked {
        Ok(0) => leave(&reporter, sandbox.prepare().and_then(|()| sandbox.enter())),
        Ok(pid) => pid,
        Err(errno) => {
            return Err(sandbox.error(Failure {
                step: Failure::NAMESPACES,
                errno: errno as i32,
            }));
        }
    };
    drop(reporter);
    let mut bytes = Vec::new();
    let read = report.read_to_end(&mut bytes);
    while waitpid(Pid::from_raw(pid), None) == Err(Errno::EINTR) {}
    read.map_err(failed)?;
    match bytes.as_slice().try_into() {
        Ok(bytes) => Err(sandbox.error(Failure::from_bytes(bytes))),
        Err(_) if bytes == [0] => Ok(()),
        Err(_) => Err(SandboxError::new("be tried: its process died", 0)),
    }
}

/// Ends the child: one byte for success, or the failure.
#[expect(unsafe_code, reason = "plain system calls after fork")]
fn leave(reporter: &PipeWriter, entered: Result<(), Failure>) -> ! {
    let fd = reporter.as_raw_fd();
    // SAFETY: live bytes; both calls are async-signal-safe.
    unsafe {
        match entered {
            Ok(()) => libc::write(fd, [0_u8].as_ptr().cast(), 1),
            Err(failure) => {
                let bytes = failure.to_bytes();
                libc::write(fd, bytes.as_ptr().cast(), bytes.len())
            }
        };
        libc::_exit(0)
    }
}
