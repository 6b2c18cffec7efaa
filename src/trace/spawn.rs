//! Starting the traced command.
//!
//! `std::process::Command` cannot be used: it returns only once the child has executed, and the
//! filter makes that very `execve` a stop which this same thread has to answer. So the child is
//! forked here; it waits on a pipe until it is traced, and does nothing but plain system calls.

use std::ffi::{CString, OsStr, OsString};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::personality;
use nix::unistd::Pid;

use super::command::Hook;
use super::error::{Refusal, Step, TraceError};
use super::tracee;

/// All that the child needs, made before the fork because it must not allocate after it.
pub(crate) struct Launch {
    pub(crate) program: OsString,
    pub(crate) path: CString,
    pub(crate) argv: Vec<CString>,
    pub(crate) env: Vec<CString>,
    pub(crate) directory: Option<CString>,
    /// What becomes of descriptors 0, 1 and 2; `None` leaves one as it is.
    pub(crate) streams: [Option<OwnedFd>; 3],
    pub(crate) fixed_addresses: bool,
    pub(crate) umask: Option<u32>,
    pub(crate) filter: Vec<libc::sock_filter>,
    pub(crate) hook: Option<Hook>,
    /// The one processor to stay on.
    pub(crate) cpu: Option<usize>,
}

/// A child that is traced and about to execute its program.
pub(crate) struct Launched {
    pub(crate) pid: i32,
    /// Says which step failed; closed by a successful exec.
    pub(crate) report: PipeReader,
}

/// `text` as a C string.
pub(crate) fn c_string(what: &'static str, text: &OsStr) -> Result<CString, TraceError> {
    CString::new(text.as_bytes()).map_err(|_| TraceError::Nul(what))
}

/// Finds `program` along `path` (the child's own `PATH`), as `execvp` would.
pub(crate) fn search(program: &OsStr, path: Option<&OsStr>) -> Option<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return Some(PathBuf::from(program));
    }
    let path = path.unwrap_or(OsStr::new("/bin:/usr/bin"));
    std::env::split_paths(path)
        .map(|folder| folder.join(program))
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    let access = nix::unistd::access(file, nix::unistd::AccessFlags::X_OK);
    access.is_ok() && file.is_file()
}

/// Forks the child, attaches to it and lets it go on to its exec.
pub(crate) fn launch(mut launch: Launch) -> Result<Launched, TraceError> {
    let (gate, mut opener) = io::pipe().map_err(TraceError::os("make a pipe"))?;
    let (mut report, reporter) = io::pipe().map_err(TraceError::os("make a pipe"))?;
    let argv = pointers(&launch.argv);
    let env = pointers(&launch.env);
    let old = personality::get().unwrap_or(personality::Persona::empty());
    let persona = old | personality::Persona::ADDR_NO_RANDOMIZE;

    #[expect(unsafe_code, reason = "the child needs steps between fork and exec")]
    // SAFETY: the child calls nothing but async-signal-safe functions: it allocates nothing and
    // takes no lock (the caller of an unsafe hook has promised the same for the hook).
    let forked = unsafe { nix::unistd::fork() };
    let pid = match forked.map_err(|errno| TraceError::os("fork")(errno.into()))? {
        nix::unistd::ForkResult::Parent { child } => child.as_raw(),
        nix::unistd::ForkResult::Child => {
            let (step, errno) = child(&mut launch, &gate, &opener, &argv, &env, persona);
            fail(&reporter, step, errno);
        }
    };
    drop(reporter);
    drop(gate);
    if let Err(source) = tracee::seize(pid) {
        let reason = Refusal::diagnose(pid);
        drop(opener); // The child sees the end of the gate and goes away.
        reap(pid);
        return Err(TraceError::NotPermitted { reason, source });
    }
    if let Some(cpu) = launch.cpu {
        // A processor that is not ours to use leaves things as they are: only speed is lost.
        let mut one = CpuSet::new();
        let _ = one.set(cpu);
        let _ = sched_setaffinity(Pid::from_raw(0), &one);
        let _ = sched_setaffinity(Pid::from_raw(pid), &one);
    }
    if let Err(source) = opener.write_all(&[1]) {
        // The child died at the gate: killed from outside.
        let mut rest = Vec::new();
        let _ = report.read_to_end(&mut rest);
        return Err(TraceError::Os {
            what: "start the child",
            source,
        });
    }
    Ok(Launched { pid, report })
}

/// What the child reported, once it has executed or ended.
pub(crate) fn outcome(program: &OsStr, report: &mut PipeReader) -> Result<(), TraceError> {
    let mut bytes = Vec::new();
    let read = report.read_to_end(&mut bytes);
    read.map_err(TraceError::os("read the child's report"))?;
    let [step, errno @ ..] = bytes.as_slice() else {
        return Ok(());
    };
    let errno = errno.try_into().map_or(0, i32::from_ne_bytes);
    Err(TraceError::Start {
        program: program.to_owned(),
        step: Step::from_code(*step).unwrap_or(Step::Exec),
        source: io::Error::from_raw_os_error(errno),
    })
}

fn reap(pid: i32) {
    let _ = nix::sys::wait::waitpid(Pid::from_raw(pid), None);
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    let list = strings.iter().map(|string| string.as_ptr());
    list.chain([std::ptr::null()]).collect()
}

/// Runs in the child; returns only the step that failed. No allocation, no lock, no panic.
#[expect(unsafe_code, reason = "plain system calls between fork and exec")]
fn child(
    launch: &mut Launch,
    gate: &PipeReader,
    opener: &PipeWriter,
    argv: &[*const libc::c_char],
    env: &[*const libc::c_char],
    persona: personality::Persona,
) -> (Step, i32) {
    let errno = || Errno::last_raw();
    // SAFETY: every call below is async-signal-safe and gets live pointers or plain numbers.
    unsafe {
        // Our own end of the gate must go, or the end of the parent would not be seen.
        libc::close(opener.as_raw_fd());
        let mut byte = 0_u8;
        if libc::read(gate.as_raw_fd(), (&raw mut byte).cast(), 1) != 1 {
            libc::_exit(127); // svhcheck died or may not trace.
        }
        // As std does: programs expect default signals, while Rust ignores SIGPIPE.
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        if !connect_streams(&launch.streams) {
            return (Step::Stdio, errno());
        }
        if let Some(mask) = launch.umask {
            libc::umask(mask);
        }
        if let Some(directory) = &launch.directory
            && libc::chdir(directory.as_ptr()) != 0
        {
            return (Step::Directory, errno());
        }
        if launch.fixed_addresses && personality::set(persona).is_err() {
            return (Step::Personality, errno());
        }
        if let Some(hook) = &mut launch.hook
            && let Err(error) = (hook.0)()
        {
            return (Step::Prepare, error.raw_os_error().unwrap_or(0));
        }
        // An unprivileged filter needs it; set always, so that root and others behave alike.
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
            return (Step::NoNewPrivileges, errno());
        }
        let program = libc::sock_fprog {
            len: u16::try_from(launch.filter.len()).unwrap_or(0),
            filter: launch.filter.as_mut_ptr(),
        };
        let mode = libc::SECCOMP_SET_MODE_FILTER;
        // Kernels before 5.16 slow a filtered process down against speculation; the filter guards
        // nothing, so there is nothing to protect.
        let flags = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
        if libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program) != 0 {
            return (Step::Filter, errno());
        }
        libc::execve(launch.path.as_ptr(), argv.as_ptr(), env.as_ptr());
        (Step::Exec, errno())
    }
}

/// Puts the chosen files at descriptors 0, 1 and 2. Runs in the child.
#[expect(unsafe_code, reason = "plain system calls between fork and exec")]
fn connect_streams(streams: &[Option<OwnedFd>; 3]) -> bool {
    // The files were opened above 2 (see `Command::spawn`), so no copy overwrites a later source.
    streams.iter().zip(0..).all(|(file, number): (_, RawFd)| {
        let Some(file) = file else { return true };
        // SAFETY: plain descriptors.
        unsafe { libc::dup2(file.as_raw_fd(), number) == number }
    })
}

/// Tells the parent which step failed, and ends the child.
#[expect(unsafe_code, reason = "plain system calls between fork and exec")]
fn fail(reporter: &PipeWriter, step: Step, errno: i32) -> ! {
    let [a, b, c, d] = errno.to_ne_bytes();
    let message = [step.code(), a, b, c, d];
    // SAFETY: `message` is live; both calls are async-signal-safe.
    unsafe {
        libc::write(reporter.as_raw_fd(), message.as_ptr().cast(), message.len());
        libc::_exit(127)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_as_execvp_does() {
        let path = Some(OsStr::new("/nowhere:/bin:/usr/bin"));
        assert_eq!(
            search(OsStr::new("sh"), path),
            Some(PathBuf::from("/bin/sh"))
        );
        assert_eq!(search(OsStr::new("no-such-program"), path), None);
        assert_eq!(search(OsStr::new("./x"), path), Some(PathBuf::from("./x")));
    }
}
