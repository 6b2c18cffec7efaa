//! Reads of the environment, which make no system call: seen by a breakpoint at the entry of libc's
//! `getenv`.
//!
//! The breakpoint is one of the processor's debug registers. Nothing is written into the program,
//! so no thread can run past the place while another one steps over it; a debug register belongs
//! to one thread, so each is armed at its first stop.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use super::access::{Access, BlindSpot, Event, Outcome};
use super::arch::{Arch, Native};
use super::inject::{Steer, Stream, mix};
use super::memory::Memory;
use super::state::Run;
use super::tracee::{self, Gone, Stopped};
use super::unwind;

/// Where a process reads its environment, as addresses in that process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Environment {
    /// Entry of `getenv`, through which `secure_getenv` goes too (glibc, musl).
    getenv: u64,
    /// The variable that points to the list of `NAME=value` strings.
    list: u64,
}

/// Longest name or value that is read.
const LIMIT: usize = 128 * 1024;
/// Most variables that are looked through.
const VARIABLES: usize = 100_000;

const AT_IGNORE: u64 = 1;
const AT_BASE: u64 = 7;
const AT_RANDOM: u64 = 25;
const AT_SYSINFO_EHDR: u64 = 33;

/// True if a mapped file is a C library, by its name.
pub(crate) fn is_libc(file: &Path) -> bool {
    let name = file.file_name().map(OsStr::as_bytes).unwrap_or_default();
    [&b"libc.so"[..], b"libc-2", b"libc.musl", b"ld-musl"]
        .iter()
        .any(|start| name.starts_with(start))
}

impl Run {
    /// A new program is in place and has not run yet: its vDSO, random bytes and libc are seen to.
    pub(crate) fn prepare_image(&mut self, stopped: &mut Stopped) -> Result<(), Gone> {
        let tid = stopped.tid();
        let info = stopped.call()?;
        let process = self.tasks[&tid].process;
        if info.arch != Native::AUDIT {
            self.blind(process, BlindSpot::ForeignCall);
            return Ok(());
        }
        let memory = Memory::new(tid);
        let auxiliary = auxiliary_vector(&memory, info.sp).unwrap_or_default();
        let find = |wanted| {
            auxiliary
                .iter()
                .find(|(_, kind, _)| *kind == wanted)
                .copied()
        };
        let hide = self.watch.clocks || self.watch.injection.steers_time();
        if let (true, Some((address, _, _))) = (hide, find(AT_SYSINFO_EHDR))
            && memory.write(address, &AT_IGNORE.to_ne_bytes()).is_err()
        {
            self.blind(process, BlindSpot::Vdso);
        }
        let seed = self.watch.injection.find(&[], |steer| match steer {
            Steer::Randomness(seed) => Some(*seed),
            _ => None,
        });
        if let (Some((_, seed)), Some((_, _, random))) = (seed, find(AT_RANDOM)) {
            let key = self.tasks[&tid].key;
            let bytes = Stream::new(mix(mix(seed, key), AT_RANDOM)).bytes(16);
            let _ = memory.write(random, &bytes);
        }
        if self.watch.suspects.is_none() {
            self.images[process].suspect = true;
        }
        let watched = self.watch.variables_for.is_some();
        if !watched && self.images[process].suspect {
            return Ok(()); // The mappings would tell nothing more.
        }
        let mapped = unwind::mappings(tid);
        self.images[process].suspect |= mapped.iter().any(|one| self.is_suspect(&one.path));
        if watched {
            // Mapped already: the libc of a static program is the program, and musl's is the
            // interpreter. Any other comes by mmap.
            let is_static = find(AT_BASE).is_none_or(|(_, _, base)| base == 0);
            let libc = mapped.iter().find(|one| is_libc(&one.path) || is_static);
            if let Some(libc) = libc {
                self.watch_environment(stopped, &libc.path);
            }
        }
        Ok(())
    }

    /// Code from a file that looks like a libc was mapped at `address`.
    pub(crate) fn code_mapped(&mut self, stopped: &mut Stopped, address: i64) {
        let address = address.cast_unsigned();
        let mapped = unwind::mappings(stopped.tid());
        if let Some(libc) = mapped.iter().find(|one| one.range.contains(&address)) {
            self.watch_environment(stopped, &libc.path);
        }
    }

    /// Finds `getenv` in a mapped file, and watches it.
    fn watch_environment(&mut self, stopped: &mut Stopped, libc: &Path) {
        let tid = stopped.tid();
        let modules = &self.watch.modules;
        let stated = modules.libc(tid, libc);
        let Some(bias) = unwind::bias_of(tid, libc, modules) else {
            return;
        };
        // A program that names `environ` may hold the variable itself (a copy relocation).
        let program = std::fs::read_link(format!("/proc/{tid}/exe")).unwrap_or_default();
        let copied = modules.libc(tid, &program).environ.and_then(|address| {
            Some(address.wrapping_add(unwind::bias_of(tid, &program, modules)?))
        });
        let own = stated.environ.map(|address| address.wrapping_add(bias));
        let (Some(getenv), Some(list)) = (stated.getenv, copied.or(own)) else {
            return;
        };
        let process = self.tasks[&tid].process;
        self.images[process].environment = Some(Environment {
            getenv: getenv.wrapping_add(bias),
            list,
        });
        self.arm(stopped);
    }

    /// Whether a file that is mapped as code is asked after.
    pub(crate) fn is_suspect(&self, file: &Path) -> bool {
        let suspects = self.watch.suspects.as_ref();
        suspects.is_none_or(|suspects| suspects.contains(file))
    }

    /// The process of a stopped thread has code now that is asked after. Its other threads are
    /// stopped too, to be armed.
    pub(crate) fn suspect(&mut self, stopped: &mut Stopped) {
        let process = self.tasks[&stopped.tid()].process;
        self.images[process].suspect = true;
        if self.images[process].environment.is_none() {
            return;
        }
        self.arm(stopped);
        for (tid, task) in &self.tasks {
            if task.process == process && *tid != stopped.tid() {
                tracee::interrupt(*tid);
            }
        }
    }

    /// Puts the watch of its process into a thread's debug registers.
    pub(crate) fn arm(&mut self, stopped: &mut Stopped) {
        let Some(task) = self.tasks.get_mut(&stopped.tid()) else {
            return;
        };
        let process = task.process;
        let image = &self.images[process];
        let wanted = image.environment.filter(|_| image.suspect);
        if task.armed == wanted {
            return;
        }
        task.armed = wanted;
        if let Some(wanted) = wanted
            && !set_breakpoint(stopped, wanted.getenv)
        {
            self.blind(process, BlindSpot::Environment);
        }
    }

    /// A thread got SIGTRAP: returns true if that was our breakpoint, and records the read.
    pub(crate) fn variable_read(&mut self, stopped: &mut Stopped) -> Result<bool, Gone> {
        let tid = stopped.tid();
        let Some(environment) = self.tasks.get(&tid).and_then(|task| task.armed) else {
            return Ok(false);
        };
        let registers = stopped.registers()?;
        if registers.ip::<Native>() != environment.getenv {
            return Ok(false);
        }
        let (process, thread) = (self.tasks[&tid].process, self.tasks[&tid].thread);
        let mut frames = self.frames(stopped, process);
        if !frames.is_empty() {
            frames.remove(0); // getenv itself: the caller is what matters.
        }
        let wanted = self
            .watch
            .variables_for
            .as_ref()
            .is_some_and(|who| who(&frames));
        let mut memory = Memory::new(tid);
        let name = memory.string(registers.first_argument::<Native>(), LIMIT);
        if let (true, Ok(name)) = (wanted, name) {
            let value = value_of(&mut memory, environment.list, &name);
            let access = Access::Variable {
                value: value.map(OsString::from_vec),
                name: OsString::from_vec(name),
            };
            let index = self.events.len();
            self.events.push(Event {
                process: self.processes[process].id,
                thread,
                call: None,
                access,
                outcome: Outcome::Unwatched,
                injected: false,
                frames,
            });
            self.finish(Some(index), Outcome::Unwatched);
        }
        Ok(true)
    }
}

/// Looks a variable up as `getenv` is about to do.
fn value_of(memory: &mut Memory, list: u64, name: &[u8]) -> Option<Vec<u8>> {
    let list = memory.word(list).ok()?;
    let variables = memory.pointers(list, VARIABLES).ok()?;
    variables.into_iter().find_map(|variable| {
        let text = memory.string(variable, LIMIT).ok()?;
        let value = text.strip_prefix(name)?.strip_prefix(b"=")?;
        Some(value.to_vec())
    })
}

/// The auxiliary vector of a program that has not run yet: address, kind and value of each entry.
/// The stack holds argc, argv, a null, envp, a null, and then the vector.
fn auxiliary_vector(memory: &Memory, stack: u64) -> Option<Vec<(u64, u64, u64)>> {
    let arguments = memory.word(stack).ok()?;
    let environment = stack + 8 * (arguments + 2);
    let count = memory.pointers(environment, 1 << 22).ok()?.len() as u64;
    let start = environment + 8 * (count + 1);
    let mut found = Vec::new();
    for index in 0..64 {
        let address = start + 16 * index;
        let kind = memory.word(address).ok()?;
        if kind == 0 {
            break;
        }
        found.push((address, kind, memory.word(address + 8).ok()?));
    }
    Some(found)
}

/// Sets an execution breakpoint; false if the processor or the kernel refuses.
#[cfg(target_arch = "x86_64")]
fn set_breakpoint(stopped: &mut Stopped, address: u64) -> bool {
    let register = |number: usize| std::mem::offset_of!(nix::libc::user, u_debugreg) + 8 * number;
    // DR7: L0 alone; "break on execution, one byte" is all zeros. First off, since the kernel
    // checks the address of an enabled breakpoint.
    stopped.poke_user(register(7), 0).is_ok()
        && stopped.poke_user(register(0), address).is_ok()
        && stopped.poke_user(register(7), 1).is_ok()
}

/// Environment reads are only watched on x86-64 so far.
#[cfg(not(target_arch = "x86_64"))]
fn set_breakpoint(_: &mut Stopped, _: u64) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_told_by_name() {
        for name in [
            "/lib/x/libc.so.6",
            "/lib/ld-musl-x86_64.so.1",
            "/lib/libc-2.31.so",
        ] {
            assert!(is_libc(Path::new(name)), "{name}");
        }
        for name in [
            "/lib/libcrypto.so",
            "/lib/ld-linux-x86-64.so.2",
            "/x/libstd.so",
        ] {
            assert!(!is_libc(Path::new(name)), "{name}");
        }
    }
}
