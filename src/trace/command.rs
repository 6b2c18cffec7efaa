//! What to trace and how: the builder, and the handles on a run that has begun.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::libc;

use super::access::{Access, Cut, Event, Trace};
use super::error::TraceError;
use super::inject::Injection;
use super::modules::ModuleCache;
use super::seccomp::{self, Interest};
use super::spawn::{self, Launch};
use super::state::Run;
use super::syscall::Group;
use super::unwind::Frame;
use crate::entry::Entry;

/// What becomes of one of the command's standard streams.
#[derive(Debug, Default)]
pub enum Stdio {
    /// The caller's own.
    #[default]
    Inherit,
    /// `/dev/null`.
    Null,
    /// A pipe, whose other end is in the [`Session`].
    Pipe,
    /// This file.
    File(File),
}

/// Decides by the access whether its code is looked up.
pub(crate) type Asked = Arc<dyn Fn(&Access) -> bool + Send + Sync>;
/// Decides by the innermost frames.
pub(crate) type Who = Arc<dyn Fn(&[Frame]) -> bool + Send + Sync>;
/// Sees each event when it is complete.
pub(crate) type Observer = Box<dyn FnMut(&Event) + Send>;

/// How a run is watched, apart from what is run.
#[derive(Default)]
pub(crate) struct Watch {
    pub(crate) injection: Injection,
    pub(crate) frames_for: Option<Asked>,
    pub(crate) variables_for: Option<Who>,
    pub(crate) observer: Option<Observer>,
    pub(crate) modules: ModuleCache,
    pub(crate) clocks: bool,
    pub(crate) programs_only: bool,
    pub(crate) suspects: Option<Arc<BTreeSet<PathBuf>>>,
    pub(crate) processes: Option<usize>,
}

/// A command to be traced. Its environment is exactly what is given: nothing is inherited.
pub struct Command {
    program: OsString,
    args: Vec<OsString>,
    env: BTreeMap<OsString, OsString>,
    directory: Option<PathBuf>,
    streams: [Stdio; 3],
    fixed_addresses: bool,
    umask: Option<u32>,
    timeout: Option<Duration>,
    entry: Option<Box<dyn Entry>>,
    watch: Watch,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("program", &self.program)
            .field("args", &self.args)
            .finish_non_exhaustive()
    }
}

impl Command {
    /// `program`, found along the `PATH` of the environment that it is given, with no arguments
    /// and an empty environment.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: BTreeMap::new(),
            directory: None,
            streams: Default::default(),
            fixed_addresses: false,
            umask: None,
            timeout: None,
            entry: None,
            watch: Watch {
                clocks: true,
                ..Watch::default()
            },
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned());
        self.args.extend(args);
        self
    }

    /// Adds variables to the environment.
    #[must_use]
    pub fn envs<K: AsRef<OsStr>, V: AsRef<OsStr>>(
        mut self,
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let owned = |(name, value): (K, V)| (name.as_ref().to_owned(), value.as_ref().to_owned());
        self.env.extend(variables.into_iter().map(owned));
        self
    }

    /// Runs it in this directory.
    #[must_use]
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Its standard input.
    #[must_use]
    pub fn stdin(mut self, stdio: Stdio) -> Self {
        self.streams[0] = stdio;
        self
    }

    /// Its standard output.
    #[must_use]
    pub fn stdout(mut self, stdio: Stdio) -> Self {
        self.streams[1] = stdio;
        self
    }

    /// Its standard error.
    #[must_use]
    pub fn stderr(mut self, stdio: Stdio) -> Self {
        self.streams[2] = stdio;
        self
    }

    /// Turns address randomisation off for the whole tree.
    #[must_use]
    pub fn fixed_addresses(mut self, fixed: bool) -> Self {
        self.fixed_addresses = fixed;
        self
    }

    /// Its file mode creation mask.
    #[must_use]
    pub fn umask(mut self, mask: u32) -> Self {
        self.umask = Some(mask);
        self
    }

    /// Kills the whole tree after this long.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Kills the whole tree when it has more processes than this at one time.
    #[must_use]
    pub fn max_processes(mut self, limit: usize) -> Self {
        self.watch.processes = Some(limit);
        self
    }

    /// Answers calls in the kernel's place.
    #[must_use]
    pub fn inject(mut self, injection: Injection) -> Self {
        self.watch.injection = injection;
        self
    }

    /// Watches clock reads, for which the vDSO is taken away (default: yes).
    #[must_use]
    pub fn clocks(mut self, watch: bool) -> Self {
        self.watch.clocks = watch;
        self
    }

    /// Watches nothing but which programs are executed: cheap enough for a whole build.
    #[must_use]
    pub fn programs_only(mut self) -> Self {
        self.watch.programs_only = true;
        self.clocks(false)
    }

    /// Looks up the code behind every access for which `asked` is true. It sees the access before
    /// the call has run.
    #[must_use]
    pub fn frames_for(mut self, asked: impl Fn(&Access) -> bool + Send + Sync + 'static) -> Self {
        self.watch.frames_for = Some(Arc::new(asked));
        self
    }

    /// Records reads of environment variables (at libc's `getenv`) whose innermost frames satisfy
    /// `who`; the first frame is the caller of `getenv`.
    #[must_use]
    pub fn variables_for(mut self, who: impl Fn(&[Frame]) -> bool + Send + Sync + 'static) -> Self {
        self.watch.variables_for = Some(Arc::new(who));
        self
    }

    /// Looks at stacks and variables only in processes that have one of these files mapped as code,
    /// and in the children of such: a compiler is nobody's suspect before its first macro.
    #[must_use]
    pub fn suspects(mut self, files: Arc<BTreeSet<PathBuf>>) -> Self {
        self.watch.suspects = Some(files);
        self
    }

    /// Shares what is known of mapped files with other runs.
    #[must_use]
    pub fn modules(mut self, modules: ModuleCache) -> Self {
        self.watch.modules = modules;
        self
    }

    /// Shows each event as soon as it is complete, on the tracer's thread.
    #[must_use]
    pub fn observer(mut self, observer: impl FnMut(&Event) + Send + 'static) -> Self {
        self.watch.observer = Some(Box::new(observer));
        self
    }

    /// Enters these surroundings before the program is executed: for sandboxes. Steps in name spaces
    /// of its own are not in the record.
    #[must_use]
    pub fn enter(mut self, entry: impl Entry + 'static) -> Self {
        self.entry = Some(Box::new(entry));
        self
    }

    /// Starts the command on a tracer's thread of its own; returns once it has executed.
    pub fn spawn(self) -> Result<Session, TraceError> {
        let path = self.env.get(OsStr::new("PATH")).map(OsString::as_os_str);
        let path = spawn::search(&self.program, path)
            .ok_or_else(|| TraceError::NotFound(self.program.clone()))?;
        let mut argv = vec![spawn::c_string("the program's name", &self.program)?];
        for arg in &self.args {
            argv.push(spawn::c_string("an argument", arg)?);
        }
        let mut env = Vec::new();
        for (name, value) in &self.env {
            let mut pair = name.clone();
            pair.push("=");
            pair.push(value);
            env.push(spawn::c_string("an environment variable", &pair)?);
        }
        let mut directory = self.directory;
        if directory.is_none() && self.entry.is_some() {
            // Inherited, it would still be the one outside, with all that lies around it.
            let own = std::env::current_dir();
            directory = Some(own.map_err(TraceError::os("find the working directory"))?);
        }
        let directory = directory.map(|path| spawn::c_string("the directory", path.as_os_str()));
        let [stdin, stdout, stderr] = self.streams;
        let (child_in, stdin) = input(stdin)?;
        let (child_out, stdout) = output(stdout)?;
        let (child_err, stderr) = output(stderr)?;
        let launch = Launch {
            path: spawn::c_string("the program's path", path.as_os_str())?,
            program: self.program,
            argv,
            env,
            directory: directory.transpose()?,
            streams: [child_in, child_out, child_err],
            fixed_addresses: self.fixed_addresses,
            umask: self.umask,
            filter: seccomp::filter(&interest(&self.watch)),
            entry: self.entry,
        };

        let live = Arc::new(Live::default());
        let killer = Killer {
            live: Arc::clone(&live),
        };
        let (started, start) = mpsc::sync_channel(1);
        let watch = self.watch;
        let thread = std::thread::Builder::new()
            .name("tracer".to_owned())
            .spawn(move || Run::start(launch, watch, live, &started))
            .map_err(TraceError::os("start the tracer's thread"))?;
        // A closed channel means that the thread ended early; its result says why.
        let Ok(pid) = start.recv() else {
            let result = thread.join().unwrap_or(Err(TraceError::Panicked));
            return Err(result.err().unwrap_or(TraceError::Panicked));
        };
        let watchdog = self
            .timeout
            .map(|limit| Watchdog::new(limit, killer.clone()));
        Ok(Session {
            stdin,
            stdout,
            stderr,
            pid,
            killer,
            thread: Some(thread),
            watchdog,
        })
    }

    /// Runs the command to its end.
    pub fn run(self) -> Result<Trace, TraceError> {
        self.spawn()?.wait()
    }
}

/// The groups of calls that a run needs to see.
fn interest(watch: &Watch) -> Interest {
    if watch.programs_only {
        return Interest::new([Group::Exec, Group::Birth]);
    }
    let mut groups = vec![
        Group::File,
        Group::Exec,
        Group::Network,
        Group::Random,
        Group::Identity,
        Group::System,
        Group::Blind,
        Group::Signal,
        Group::Birth,
    ];
    if watch.clocks || watch.injection.steers_time() {
        groups.push(Group::Clock);
    }
    if watch.frames_for.is_some() || watch.variables_for.is_some() || watch.injection.asks_who() {
        groups.push(Group::Map);
    }
    groups.extend(watch.injection.groups());
    Interest::new(groups)
}

type Input = (Option<OwnedFd>, Option<PipeWriter>);
type Output = (Option<OwnedFd>, Option<PipeReader>);

fn input(stdio: Stdio) -> Result<Input, TraceError> {
    Ok(match stdio {
        Stdio::Inherit => (None, None),
        Stdio::Null => (Some(null(false)?), None),
        Stdio::File(file) => (Some(above_two(file.into())?), None),
        Stdio::Pipe => {
            let (reader, writer) = io::pipe().map_err(TraceError::os("make a pipe"))?;
            (Some(above_two(reader.into())?), Some(writer))
        }
    })
}

fn output(stdio: Stdio) -> Result<Output, TraceError> {
    Ok(match stdio {
        Stdio::Inherit => (None, None),
        Stdio::Null => (Some(null(true)?), None),
        Stdio::File(file) => (Some(above_two(file.into())?), None),
        Stdio::Pipe => {
            let (reader, writer) = io::pipe().map_err(TraceError::os("make a pipe"))?;
            (Some(above_two(writer.into())?), Some(reader))
        }
    })
}

fn null(write: bool) -> Result<OwnedFd, TraceError> {
    let file = File::options().read(!write).write(write).open("/dev/null");
    above_two(file.map_err(TraceError::os("open /dev/null"))?.into())
}

/// Moves a descriptor above the standard ones, so that connecting one stream cannot overwrite the
/// source of the next.
fn above_two(file: OwnedFd) -> Result<OwnedFd, TraceError> {
    if file.as_raw_fd() > 2 {
        return Ok(file);
    }
    let moved = nix::fcntl::fcntl(file.as_fd(), nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(3));
    let moved = moved.map_err(|errno| TraceError::os("copy a descriptor")(errno.into()))?;
    #[expect(unsafe_code, reason = "fcntl returns a plain number")]
    // SAFETY: the kernel just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(moved) })
}

/// A run that has begun. Dropping it kills the whole tree.
#[derive(Debug)]
pub struct Session {
    /// The other end of its standard input, if that is a pipe.
    pub stdin: Option<PipeWriter>,
    /// The other end of its standard output, if that is a pipe.
    pub stdout: Option<PipeReader>,
    /// The other end of its standard error, if that is a pipe.
    pub stderr: Option<PipeReader>,
    pid: i32,
    killer: Killer,
    thread: Option<JoinHandle<Result<Trace, TraceError>>>,
    watchdog: Option<Watchdog>,
}

impl Session {
    /// The kernel's number of the command's process.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// A handle that can end the run from another thread.
    pub fn killer(&self) -> Killer {
        self.killer.clone()
    }

    /// Waits until the last process of the tree has ended, daemons included. Read its pipes before,
    /// or elsewhere: a command whose output nobody takes does not end.
    pub fn wait(mut self) -> Result<Trace, TraceError> {
        drop(self.stdin.take()); // A command that reads its input would wait for us.
        let result = self.join();
        drop(self.watchdog.take());
        result
    }

    fn join(&mut self) -> Result<Trace, TraceError> {
        match self.thread.take() {
            Some(thread) => thread.join().unwrap_or(Err(TraceError::Panicked)),
            None => Err(TraceError::Panicked),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.killer.kill();
            let _ = self.join();
        }
    }
}

/// Ends a run from another thread.
#[derive(Debug, Clone)]
pub struct Killer {
    live: Arc<Live>,
}

impl Killer {
    /// Kills every process of the tree, and those that it is just making.
    pub fn kill(&self) {
        self.live.cut(Cut::Killed);
    }
}

/// Kills a run when its time is up.
#[derive(Debug)]
struct Watchdog {
    done: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    fn new(limit: Duration, killer: Killer) -> Self {
        let (done, end) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            if end.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                killer.live.cut(Cut::Timeout);
            }
        });
        Self {
            done: Some(done),
            thread: Some(thread),
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.done.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The processes that live, by pidfd, so that a kill can never hit a number that was given to
/// somebody else in the meantime.
#[derive(Debug, Default)]
pub(crate) struct Live {
    state: Mutex<(BTreeMap<i32, OwnedFd>, Option<Cut>)>,
}

impl Live {
    fn lock(&self) -> std::sync::MutexGuard<'_, (BTreeMap<i32, OwnedFd>, Option<Cut>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a new process; kills it at once if the run was cut. Returns how many there are.
    pub(crate) fn add(&self, pid: i32) -> usize {
        #[expect(unsafe_code, reason = "neither nix nor std has pidfd_open")]
        // SAFETY: plain numbers; a result that is not negative is a descriptor made for us alone.
        let handle = unsafe {
            match libc::syscall(libc::SYS_pidfd_open, pid, 0).try_into() {
                Ok(fd @ 0..) => OwnedFd::from_raw_fd(fd),
                _ => return self.lock().0.len(), // Gone already.
            }
        };
        let mut state = self.lock();
        if state.1.is_some() {
            signal(&handle);
        }
        state.0.insert(pid, handle);
        state.0.len()
    }

    pub(crate) fn remove(&self, pid: i32) {
        self.lock().0.remove(&pid);
    }

    /// Kills everything, for the first reason given.
    pub(crate) fn cut(&self, why: Cut) {
        let mut state = self.lock();
        state.1.get_or_insert(why);
        for handle in state.0.values() {
            signal(handle);
        }
    }

    pub(crate) fn reason(&self) -> Option<Cut> {
        self.lock().1
    }
}

fn signal(process: &OwnedFd) {
    let (fd, none) = (process.as_raw_fd(), std::ptr::null::<()>());
    #[expect(unsafe_code, reason = "neither nix nor std has pidfd_send_signal")]
    // SAFETY: plain numbers and a null `siginfo`. A process that is gone answers ESRCH.
    unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, fd, libc::SIGKILL, none, 0);
    }
}
