//! One traced thread at a time: a [`Stopped`] thread can be asked and changed, and is consumed when
//! it is let go, so that no request can reach a thread that runs (which the kernel refuses with
//! the same `ESRCH` as for a thread that is gone).

use std::io;

use nix::errno::Errno;
use nix::libc;

use super::arch::{Arch, Native, Registers};

/// The thread vanished (killed, or ended by an `exec` of another thread). A normal transition:
/// what became of it is told by a later wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

/// A thread in a ptrace-stop. Neither `Clone` nor `Copy`: letting it go consumes it.
#[derive(Debug)]
pub(crate) struct Stopped {
    tid: i32,
}

/// How a stopped thread goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resume {
    /// Until the next stop of the filter, of a signal or of a birth.
    Free,
    /// Until the exit of the call that it is entering.
    ToExit,
    /// Stay stopped by job control, and report when that ends.
    Listen,
}

/// What a wait reported.
#[derive(Debug)]
pub(crate) enum Wait {
    /// A thread stopped.
    Stopped(Stopped, Stop),
    /// A thread ended; of a process's leader this is the last report.
    Ended(i32, Status),
    /// No tracee is left.
    Nobody,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// With this exit status.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
}

/// Why a thread stopped (`ptrace(2)`, "Stopped tracees").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The filter asked for this call.
    Call,
    /// The exit of a call.
    Exit,
    /// It made a process or a thread.
    Birth,
    /// It executed another program.
    Exec,
    /// First stop of a new thread, or end of a job-control stop.
    Start,
    /// Job control stopped it.
    Group,
    /// A signal is about to be delivered.
    Signal(i32),
    /// Anything else: let it go.
    Other,
}

/// What `PTRACE_GET_SYSCALL_INFO` says of a stop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallInfo {
    /// `AUDIT_ARCH_*` of the call.
    pub(crate) arch: u32,
    /// Stack pointer.
    pub(crate) sp: u64,
    /// What kind of stop, with what belongs to it.
    pub(crate) op: CallOp,
}

/// The kind of a stop at a system call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum CallOp {
    /// Not at a call.
    None,
    /// About to run this call.
    Entry { number: u64, args: [u64; 6] },
    /// The call returned this (negative: an error number).
    Exit { value: i64 },
}

const PTRACE_GET_SYSCALL_INFO: u32 = 0x420e;
const NT_PRSTATUS: usize = 1;
const NT_ARM_SYSTEM_CALL: usize = 0x404;
/// All events that make us follow a tree, `SYSGOOD` to tell calls from signals, and `EXITKILL`.
const OPTIONS: libc::c_int = libc::PTRACE_O_TRACESYSGOOD
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEEXEC
    | libc::PTRACE_O_TRACESECCOMP
    | libc::PTRACE_O_EXITKILL;

/// One ptrace request. `Err(Gone)` for a thread that is no more; any other refusal is also
/// reported as gone, because the requests used here fail for a live, stopped thread only by bugs.
///
/// By number, since the C libraries do not agree on the request's type.
#[expect(unsafe_code, reason = "ptrace has no safe form with these requests")]
fn request(code: impl Into<i64>, tid: i32, addr: usize, data: usize) -> Result<i64, Errno> {
    let (code, tid) = (code.into(), i64::from(tid));
    // SAFETY: every caller passes `addr` and `data` as plain numbers, or as the address of a live
    // buffer of the size that the request writes or reads.
    let result = unsafe { libc::syscall(libc::SYS_ptrace, code, tid, addr, data) };
    Errno::result(result)
}

/// Attaches to a running child. It is not stopped by that.
pub(crate) fn seize(pid: i32) -> io::Result<()> {
    let options = usize::try_from(OPTIONS).expect("option bits are positive");
    request(libc::PTRACE_SEIZE, pid, 0, options)?;
    Ok(())
}

/// Makes a running tracee report a stop, at once or when it next leaves the kernel. One that is gone
/// needs none.
pub(crate) fn interrupt(tid: i32) {
    let _ = request(libc::PTRACE_INTERRUPT, tid, 0, 0);
}

/// Waits for the next stop or end of any tracee of this thread, and of no other thread.
#[expect(
    unsafe_code,
    reason = "nix decodes statuses but rejects real-time signals"
)]
pub(crate) fn wait() -> io::Result<Wait> {
    loop {
        let mut status: libc::c_int = 0;
        // SAFETY: `status` is a live integer.
        let tid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
        match Errno::result(tid) {
            Ok(tid) => return Ok(decode(tid, status)),
            Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) => return Ok(Wait::Nobody),
            Err(error) => return Err(error.into()),
        }
    }
}

fn decode(tid: i32, status: i32) -> Wait {
    if libc::WIFEXITED(status) {
        return Wait::Ended(tid, Status::Exited(libc::WEXITSTATUS(status)));
    }
    if libc::WIFSIGNALED(status) {
        return Wait::Ended(tid, Status::Signaled(libc::WTERMSIG(status)));
    }
    let signal = libc::WSTOPSIG(status);
    let stop = match status >> 16 {
        libc::PTRACE_EVENT_SECCOMP => Stop::Call,
        libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
            Stop::Birth
        }
        libc::PTRACE_EVENT_EXEC => Stop::Exec,
        libc::PTRACE_EVENT_STOP if signal == libc::SIGTRAP => Stop::Start,
        libc::PTRACE_EVENT_STOP => Stop::Group,
        0 if signal == libc::SIGTRAP | 0x80 => Stop::Exit,
        0 => Stop::Signal(signal),
        _ => Stop::Other,
    };
    Wait::Stopped(Stopped { tid }, stop)
}

impl Stopped {
    /// The kernel's number of the thread.
    pub(crate) fn tid(&self) -> i32 {
        self.tid
    }

    /// Lets the thread go, with `signal` delivered unless it is 0.
    pub(crate) fn resume(self, how: Resume, signal: i32) -> Result<(), Gone> {
        let code = match how {
            Resume::Free => libc::PTRACE_CONT,
            Resume::ToExit => libc::PTRACE_SYSCALL,
            Resume::Listen => libc::PTRACE_LISTEN,
        };
        let signal = usize::try_from(signal).unwrap_or(0);
        request(code, self.tid, 0, signal).map_err(|_| Gone)?;
        Ok(())
    }

    /// The message of an event stop: the new thread's number, or the former one at an exec.
    pub(crate) fn message(&self) -> Result<i32, Gone> {
        let mut message: libc::c_ulong = 0;
        self.ask(libc::PTRACE_GETEVENTMSG, 0, &raw mut message as usize)?;
        Ok(i32::try_from(message).unwrap_or(0))
    }

    /// What the thread is doing, decoded by the kernel.
    pub(crate) fn call(&self) -> Result<CallInfo, Gone> {
        // struct ptrace_syscall_info: op u8, pad, arch u32, ip, sp, then a union of which the
        // largest member is nr, args[6], ret_data u32.
        let mut words = [0_u64; 11];
        let size = size_of_val(&words);
        self.ask(PTRACE_GET_SYSCALL_INFO, size, words.as_mut_ptr() as usize)?;
        let [head, _ip, sp, first, args @ ..] = words;
        let [low, high] = [head & 0xff, head >> 32];
        let op = match low {
            1 | 3 => CallOp::Entry {
                number: first,
                args: [args[0], args[1], args[2], args[3], args[4], args[5]],
            },
            2 => CallOp::Exit {
                value: first.cast_signed(),
            },
            _ => CallOp::None,
        };
        Ok(CallInfo {
            arch: u32::try_from(high).unwrap_or(0),
            sp,
            op,
        })
    }

    /// The general registers.
    pub(crate) fn registers(&self) -> Result<Registers, Gone> {
        let mut words = vec![0_u64; Native::WORDS];
        let mut vector = libc::iovec {
            iov_base: words.as_mut_ptr().cast(),
            iov_len: size_of_val(&*words),
        };
        let vector = &raw mut vector as usize;
        self.ask(libc::PTRACE_GETREGSET, NT_PRSTATUS, vector)?;
        Ok(Registers(words))
    }

    /// Replaces the general registers.
    pub(crate) fn set_registers(&mut self, registers: &mut Registers) -> Result<(), Gone> {
        let words = &mut registers.0;
        let mut vector = libc::iovec {
            iov_base: words.as_mut_ptr().cast(),
            iov_len: size_of_val(&**words),
        };
        let vector = &raw mut vector as usize;
        self.ask(libc::PTRACE_SETREGSET, NT_PRSTATUS, vector)
    }

    /// At a [`Stop::Call`]: has the kernel run call `number` instead, with some arguments
    /// replaced; `None` runs nothing and gives `result` to the program.
    pub(crate) fn replace_call(
        &mut self,
        number: Option<u32>,
        args: &[(usize, u64)],
        result: i64,
    ) -> Result<(), Gone> {
        let mut registers = self.registers()?;
        for &(index, value) in args {
            registers.set_argument::<Native>(index, value);
        }
        if number.is_none() {
            registers.set_result::<Native>(result);
        }
        let number = number.map_or(-1, i64::from);
        if !registers.set_number::<Native>(number) {
            let mut number = i32::try_from(number).unwrap_or(-1);
            let mut vector = libc::iovec {
                iov_base: (&raw mut number).cast(),
                iov_len: size_of_val(&number),
            };
            let vector = &raw mut vector as usize;
            self.ask(libc::PTRACE_SETREGSET, NT_ARM_SYSTEM_CALL, vector)?;
        }
        self.set_registers(&mut registers)
    }

    /// Writes one word of `struct user` (the debug registers of x86-64).
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn poke_user(&mut self, offset: usize, value: u64) -> Result<(), Errno> {
        let value = usize::try_from(value).expect("both are 64 bits wide");
        request(libc::PTRACE_POKEUSER, self.tid, offset, value)?;
        Ok(())
    }

    fn ask(&self, code: impl Into<i64>, addr: usize, data: usize) -> Result<(), Gone> {
        request(code, self.tid, addr, data).map_err(|_| Gone)?;
        Ok(())
    }
}

/// True if the thread belongs to the process.
pub(crate) fn is_thread_of(tid: i32, process: i32) -> bool {
    #[expect(unsafe_code, reason = "nix has no tgkill")]
    // SAFETY: plain numbers; signal 0 is not delivered, it only asks whether this pair exists.
    let result = unsafe { libc::syscall(libc::SYS_tgkill, process, tid, 0) };
    result == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_of_the_man_page_are_told_apart() {
        let stop = |status| match decode(1, status) {
            Wait::Stopped(_, stop) => Some(stop),
            _ => None,
        };
        let trap = libc::SIGTRAP << 8 | 0x7f;
        assert_eq!(stop(trap | 0x80 << 8), Some(Stop::Exit));
        assert_eq!(
            stop(trap | libc::PTRACE_EVENT_SECCOMP << 16),
            Some(Stop::Call)
        );
        assert_eq!(
            stop(trap | libc::PTRACE_EVENT_VFORK << 16),
            Some(Stop::Birth)
        );
        assert_eq!(stop(trap | libc::PTRACE_EVENT_EXEC << 16), Some(Stop::Exec));
        assert_eq!(
            stop(trap | libc::PTRACE_EVENT_STOP << 16),
            Some(Stop::Start)
        );
        let group = libc::SIGTSTP << 8 | 0x7f | libc::PTRACE_EVENT_STOP << 16;
        assert_eq!(stop(group), Some(Stop::Group));
        // SIGSETXID of glibc, a real-time signal.
        assert_eq!(stop(33 << 8 | 0x7f), Some(Stop::Signal(33)));
        assert!(matches!(
            decode(1, 3 << 8),
            Wait::Ended(1, Status::Exited(3))
        ));
        assert!(matches!(decode(1, 9), Wait::Ended(1, Status::Signaled(9))));
    }
}
