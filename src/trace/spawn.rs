//! Starting the traced command.
//!
//! `std::process::Command` cannot be used: it returns only once the child has executed, and the
//! filter makes that very `execve` a stop which this same thread has to answer. So the child is
//! forked here; it waits on a pipe until it is traced, and does nothing but plain system calls.
//!
//! In name spaces of its own the command's process is not our child: a new PID name space needs a
//! first process that takes in orphans, and one that no signal without a handler ends
//! (`pid_namespaces(7)`) would be a strange rustc: its `abort` would not return. So we fork the
//! *keeper*, which forks the command. The keeper is not traced. It ends after all others, and they
//! all end with it.

use std::ffi::{CString, OsStr, OsString};
use std::io::{self, IoSliceMut, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use nix::sys::personality;
use nix::sys::socket::{self, ControlMessageOwned, MsgFlags, UnixCredentials, sockopt};
use nix::unistd::Pid;

use super::error::{Refusal, Step, TraceError};
use super::tracee;
use crate::entry::{self, Entry, Failure};

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
    pub(crate) entry: Option<Box<dyn Entry>>,
}

/// A child that is traced and about to execute its program.
pub(crate) struct Launched {
    pub(crate) pid: i32,
    /// The first process of its name spaces, if it has any: a child of ours that is not traced.
    pub(crate) keeper: Option<i32>,
    program: OsString,
    entry: Option<Box<dyn Entry>>,
    /// Says which step failed; closed by a successful exec.
    report: PipeReader,
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
    let (report, reporter) = io::pipe().map_err(TraceError::os("make a pipe"))?;
    let namespaces = launch.entry.as_ref().map_or(0, |entry| entry.namespaces());
    let greeting = (namespaces != 0).then(greeting).transpose()?;
    let argv = pointers(&launch.argv);
    let env = pointers(&launch.env);
    let old = personality::get().unwrap_or(personality::Persona::empty());
    let persona = old | personality::Persona::ADDR_NO_RANDOMIZE;

    #[expect(unsafe_code, reason = "the child needs steps between fork and exec")]
    // SAFETY: the child calls nothing but async-signal-safe functions: it allocates nothing and
    // takes no lock (an `Entry` promises the same for its own).
    let forked = unsafe {
        if namespaces == 0 {
            nix::unistd::fork().map(|forked| match forked {
                nix::unistd::ForkResult::Parent { child } => child.as_raw(),
                nix::unistd::ForkResult::Child => 0,
            })
        } else {
            entry::fork_into(namespaces)
        }
    };
    if let Ok(0) = forked {
        if let (Some(entry), Some((_, greeter))) = (&launch.entry, &greeting)
            && let Err(failure) = found_namespaces(&**entry, greeter)
        {
            fail(&reporter, Step::Enter, failure);
        }
        let (step, failure) = child(&mut launch, &gate, &opener, &argv, &env, persona);
        fail(&reporter, step, failure);
    }
    drop(reporter);
    drop(gate);
    let mut launched = Launched {
        pid: 0,
        keeper: None,
        program: launch.program,
        entry: launch.entry,
        report,
    };
    let first = match forked {
        Ok(first) => first,
        Err(errno) if namespaces == 0 => return Err(TraceError::os("fork")(errno.into())),
        Err(errno) => {
            return Err(launched.not_entered(Failure {
                step: Failure::NAMESPACES,
                errno: errno as i32,
            }));
        }
    };
    launched.pid = first;
    if let Some((listener, greeter)) = greeting {
        drop(greeter);
        launched.keeper = Some(first);
        let pid = greeted(&listener).map_err(TraceError::os("hear of the child"))?;
        let Some(pid) = pid else {
            let outcome = launched.outcome();
            reap(first);
            outcome?;
            let lost = io::Error::other("the name spaces' first process died");
            return Err(TraceError::os("start the child")(lost));
        };
        launched.pid = pid;
    }
    if let Err(source) = tracee::seize(launched.pid) {
        let reason = Refusal::diagnose(launched.pid);
        drop(opener); // The child sees the end of the gate and goes away.
        reap(first);
        return Err(TraceError::NotPermitted { reason, source });
    }
    if let Err(source) = opener.write_all(&[1]) {
        // The child died at the gate: killed from outside.
        let mut rest = Vec::new();
        let _ = launched.report.read_to_end(&mut rest);
        return Err(TraceError::Os {
            what: "start the child",
            source,
        });
    }
    Ok(launched)
}

impl Launched {
    /// What the child reported, once it has executed or ended.
    pub(crate) fn outcome(&mut self) -> Result<(), TraceError> {
        let mut bytes = Vec::new();
        let read = self.report.read_to_end(&mut bytes);
        read.map_err(TraceError::os("read the child's report"))?;
        let [step, failure @ ..] = bytes.as_slice() else {
            return Ok(());
        };
        let failure = failure.try_into().map_or(NO_FAILURE, Failure::from_bytes);
        match Step::from_code(*step).unwrap_or(Step::Exec) {
            Step::Enter => Err(self.not_entered(failure)),
            step => Err(TraceError::Start {
                program: self.program.clone(),
                step,
                source: io::Error::from_raw_os_error(failure.errno),
            }),
        }
    }

    fn not_entered(&self, failure: Failure) -> TraceError {
        let plain = || io::Error::from_raw_os_error(failure.errno).into();
        let entry = self.entry.as_ref();
        TraceError::Enter {
            program: self.program.clone(),
            source: entry.map_or_else(plain, |entry| entry.explain(failure)),
        }
    }
}

const NO_FAILURE: Failure = Failure { step: 0, errno: 0 };

/// A pair of sockets, of which the first hears who writes to the second: the command's process
/// knows only the number that it has in its own name space, and the kernel translates it.
fn greeting() -> Result<(UnixStream, UnixStream), TraceError> {
    let failed = TraceError::os("make a socket");
    let pair = UnixStream::pair().and_then(|(listener, greeter)| {
        socket::setsockopt(&listener, sockopt::PassCred, &true)?;
        Ok((listener, greeter))
    });
    pair.map_err(failed)
}

/// Who wrote to the other end; `None` if all who could are gone.
fn greeted(listener: &UnixStream) -> io::Result<Option<i32>> {
    let mut byte = [0];
    let mut buffer = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!(UnixCredentials);
    let fd = listener.as_raw_fd();
    let message = loop {
        match socket::recvmsg::<()>(fd, &mut buffer, Some(&mut space), MsgFlags::empty()) {
            Err(Errno::EINTR) => {}
            result => break result?,
        }
    };
    if message.bytes == 0 {
        return Ok(None);
    }
    let pid = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::ScmCredentials(sender) => Some(sender.pid()),
        _ => None,
    });
    Ok(pid)
}

/// Runs in the first process of new name spaces: sets them up and forks the command's process, in
/// which alone it returns. No allocation, no lock, no panic.
#[expect(unsafe_code, reason = "plain system calls between fork and exec")]
fn found_namespaces(entry: &dyn Entry, greeter: &UnixStream) -> Result<(), Failure> {
    let errno = |errno| Failure {
        step: Failure::NAMESPACES,
        errno,
    };
    // SAFETY: plain numbers; svhcheck's end is the keeper's, and so all others'. If svhcheck is
    // gone already, the command's process sees the end of the gate.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
    entry.prepare()?;
    // SAFETY: both processes go on with async-signal-safe calls alone.
    if unsafe { entry::fork_into(0) }.map_err(|error| errno(error as i32))? != 0 {
        keep();
    }
    // SAFETY: one live byte.
    let written = unsafe { libc::write(greeter.as_raw_fd(), [0_u8].as_ptr().cast(), 1) };
    if written == 1 {
        Ok(())
    } else {
        Err(errno(Errno::last_raw()))
    }
}

/// The rest of the keeper's life: takes in orphans until nobody is left.
#[expect(unsafe_code, reason = "plain system calls between fork and exec")]
fn keep() -> ! {
    // SAFETY: plain numbers and a null pointer.
    unsafe {
        // Its memory is a copy of svhcheck's: nobody in there may read it.
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
        // Else pipes of the command would never end.
        libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, 0);
        loop {
            let ended = libc::waitpid(-1, std::ptr::null_mut(), libc::__WALL);
            if ended == -1 && Errno::last_raw() == libc::ECHILD {
                libc::_exit(0);
            }
        }
    }
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
) -> (Step, Failure) {
    let errno = || Failure {
        step: 0,
        errno: Errno::last_raw(),
    };
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
        if let Some(entry) = &launch.entry
            && let Err(failure) = entry.enter()
        {
            return (Step::Enter, failure);
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
fn fail(reporter: &PipeWriter, step: Step, failure: Failure) -> ! {
    let mut message = [0; 1 + Failure::SIZE];
    message[0] = step.code();
    message[1..].copy_from_slice(&failure.to_bytes());
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
