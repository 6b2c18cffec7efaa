//! How a process enters surroundings of its own between `fork` and `exec`: what a sandbox gives and
//! a tracer goes through, neither knowing the other.

use std::error::Error;

use nix::errno::Errno;
use nix::libc;

/// Surroundings that are made and entered by system calls alone.
///
/// # Safety
///
/// [`prepare`](Self::prepare) and [`enter`](Self::enter) run after a fork of a process that may
/// have had other threads. They must be async-signal-safe: neither allocate nor take locks nor
/// panic, only make system calls with what was prepared before.
#[expect(
    unsafe_code,
    reason = "only the implementation can keep the contract of fork"
)]
pub unsafe trait Entry: Send {
    /// The `CLONE_NEW*` flags of the name spaces to be made; 0 for none. If they are not 0 they
    /// hold `CLONE_NEWPID`.
    fn namespaces(&self) -> i32;

    /// Runs in the first process of the new name spaces, before the process that will execute is
    /// made. Not called if there are none.
    fn prepare(&self) -> Result<(), Failure>;

    /// Runs in the process that will execute, last before it does.
    fn enter(&self) -> Result<(), Failure>;

    /// Tells what failed. Runs in the parent.
    fn explain(&self, failure: Failure) -> Box<dyn Error + Send + Sync>;
}

/// A step that failed, in a form that fits through a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Which, by a number that the [`Entry`] understands.
    pub step: u16,
    /// The kernel's answer.
    pub errno: i32,
}

impl Failure {
    /// The step of making the name spaces.
    pub const NAMESPACES: u16 = u16::MAX;
    /// Length as bytes.
    pub const SIZE: usize = 8;

    /// As bytes for a pipe.
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let errno = u32::from_ne_bytes(self.errno.to_ne_bytes());
        (u64::from(self.step) << 32 | u64::from(errno)).to_ne_bytes()
    }

    /// Back from bytes.
    pub fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        let [.., high, low, a, b, c, d] = u64::from_ne_bytes(bytes).to_be_bytes();
        Self {
            step: u16::from_be_bytes([high, low]),
            errno: i32::from_be_bytes([a, b, c, d]),
        }
    }
}

/// Forks into new name spaces; returns 0 in the child, and its number in the parent.
///
/// # Safety
///
/// Neither the C library's nor anybody's `atfork` handlers run, so the child may only make
/// async-signal-safe calls until it executes or exits.
#[expect(unsafe_code, reason = "fork(2) has no form with name spaces")]
pub unsafe fn fork_into(namespaces: i32) -> Result<i32, Errno> {
    let flags = i64::from(namespaces | libc::SIGCHLD);
    // SAFETY: without CLONE_VM and without a stack this is fork; the zeros are null pointers, in
    // whatever order the processor's convention has them.
    let result = unsafe { libc::syscall(libc::SYS_clone, flags, 0_i64, 0_i64, 0_i64, 0_i64) };
    Errno::result(result).map(|pid| i32::try_from(pid).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_survive_the_pipe() {
        let failure = Failure {
            step: 513,
            errno: -28,
        };
        assert_eq!(Failure::from_bytes(failure.to_bytes()), failure);
    }
}
