//! Which answer a call gets, at its entry and at its exit.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::libc;
use nix::sched::CpuSet;

use super::stream::{Stream, digest, mix};
use super::{FileTimes, OPENS, Steer, Time, is_plain_read, substitute};
use crate::trace::access::{Access, Address, SeenPath};
use crate::trace::decode::int;
use crate::trace::memory::Memory;
use crate::trace::state::Run;
use crate::trace::syscall::Sys;
use crate::trace::unwind::Frame;

/// A call at its entry.
pub(crate) struct Call<'a> {
    pub(crate) sys: Sys,
    pub(crate) args: [u64; 6],
    pub(crate) access: &'a Access,
    pub(crate) frames: &'a [Frame],
}

/// What becomes of a call.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The kernel runs it.
    Pass,
    /// It does not run, and returns this; what it should have written is written.
    Return(i64),
    /// It runs with other arguments.
    Arguments(Vec<(usize, u64)>),
    /// It opens a memory file instead.
    Open(MemoryFile),
    /// It runs, and what it wrote is changed.
    Patch(Patch),
}

/// A file that stands for another.
#[derive(Debug)]
pub(crate) struct MemoryFile {
    pub(crate) content: Vec<u8>,
    pub(crate) close_on_exec: bool,
}

/// What to change at the exit of a call.
#[derive(Debug)]
pub(crate) enum Patch {
    /// Write this into the memory file just made.
    Fill(Vec<u8>),
    /// Change `struct utsname`.
    Uname {
        host: Option<Vec<u8>>,
        kernel: Option<Vec<u8>>,
    },
    /// Change the processor mask to so many.
    Cpus(u32),
    /// Change the processor mask to these.
    Mask(CpuSet),
    /// Change `struct stat` or `struct statx`.
    Status {
        path: PathBuf,
        times: Option<FileTimes>,
        inode: Option<u64>,
    },
}

/// Most bytes that are given for one `getrandom`; a caller that wants more asks again.
const RANDOM_LIMIT: u64 = 1 << 20;
/// Where the steady clocks start, and what each look adds. The start is below any machine's uptime,
/// so that an absolute deadline made from it is over at once instead of never.
const STEADY_START: Duration = Duration::from_secs(1);
const STEADY_STEP: Duration = Duration::from_micros(10);
/// Room for each thread's number below the next process's.
const THREADS_PER_PROCESS: u32 = 1000;

impl Run {
    /// The answer to a call that some rule may concern.
    pub(crate) fn answer(&mut self, tid: i32, call: &Call<'_>) -> Answer {
        if self.is_absent(call) {
            return Answer::Return(-i64::from(libc::ENOENT));
        }
        let memory = Memory::new(tid);
        let answer = match call.sys {
            Sys::Getrandom => self.random(tid, call, &memory),
            Sys::ClockGettime | Sys::Gettimeofday | Sys::Time => self.clock(tid, call, &memory),
            Sys::Getdents64 => self.list(tid, call, &memory),
            Sys::Lseek => self.seek(tid, call),
            Sys::Getpid | Sys::Getppid | Sys::Gettid => self.own_number(tid, call),
            Sys::Uname => self.names(call),
            Sys::Connect => self.connect(call),
            Sys::Stat | Sys::Lstat | Sys::Fstat | Sys::Newfstatat | Sys::Statx => {
                self.status(tid, call)
            }
            sys if OPENS.contains(&sys) => self.open(tid, call, &memory),
            // (A rule for numbers and one for processors at once: the latter wins.)
            Sys::SchedGetaffinity => self.processors(call).or_else(|| self.real_numbers(call)),
            _ => self.real_numbers(call),
        };
        answer.unwrap_or(Answer::Pass)
    }

    /// How often the rule has answered this thread before.
    fn draw(&mut self, tid: i32, rule: usize) -> (u64, u64) {
        let Some(task) = self.tasks.get_mut(&tid) else {
            return (0, 0);
        };
        let count = &mut task.drawn[rule];
        *count += 1;
        (task.key, *count)
    }

    fn random(&mut self, tid: i32, call: &Call<'_>, memory: &Memory) -> Option<Answer> {
        let injection = &self.watch.injection;
        let (rule, seed) = injection.find(call.frames, |steer| match steer {
            Steer::Randomness(seed) => Some(*seed),
            _ => None,
        })?;
        let [buffer, length, flags, ..] = call.args;
        let known = libc::GRND_NONBLOCK | libc::GRND_RANDOM | libc::GRND_INSECURE;
        if flags & !u64::from(known) != 0 {
            return None; // The kernel refuses it.
        }
        let (key, count) = self.draw(tid, rule);
        let length = length.min(RANDOM_LIMIT);
        let mut stream = Stream::new(mix(mix(seed, key), count));
        let bytes = stream.bytes(usize::try_from(length).expect("limited above"));
        Some(written(memory, buffer, &bytes, length.cast_signed()))
    }

    fn clock(&mut self, tid: i32, call: &Call<'_>, memory: &Memory) -> Option<Answer> {
        let injection = &self.watch.injection;
        let (rule, time) = injection.find(call.frames, |steer| match steer {
            Steer::Time(time) => Some(*time),
            _ => None,
        })?;
        let Access::Clock { clock } = call.access else {
            return None;
        };
        let now = match (is_wall(*clock), time) {
            (true, Time::Fixed(at)) => at,
            (false, Time::Fixed(at)) => {
                let (_, looks) = self.draw(tid, rule);
                // Another time of day is another speed, or what measures a span would see none.
                let step =
                    STEADY_STEP + Duration::from_nanos(u64::from(at.subsec_nanos() % 100_000));
                STEADY_START + step * u32::try_from(looks).unwrap_or(u32::MAX)
            }
            (false, _) => return None,
            (true, Time::Shifted(seconds)) => {
                let shift = Duration::from_secs(seconds.unsigned_abs());
                let now = since_epoch(SystemTime::now());
                if seconds < 0 {
                    now.saturating_sub(shift)
                } else {
                    now + shift
                }
            }
            (true, Time::From(start)) => start + self.steering.began.elapsed().unwrap_or_default(),
        };
        let seconds = now.as_secs().cast_signed();
        Some(match call.sys {
            Sys::Time => match call.args[0] {
                0 => Answer::Return(seconds),
                buffer => written(memory, buffer, &seconds.to_ne_bytes(), seconds),
            },
            Sys::Gettimeofday => {
                // The time zone (second argument) has been a zero since long ago.
                let micros = i64::from(now.subsec_micros());
                match call.args[0] {
                    0 => return None,
                    buffer => written(memory, buffer, &pair(seconds, micros), 0),
                }
            }
            _ => {
                let nanos = i64::from(now.subsec_nanos());
                written(memory, call.args[1], &pair(seconds, nanos), 0)
            }
        })
    }

    fn open(&mut self, tid: i32, call: &Call<'_>, memory: &Memory) -> Option<Answer> {
        let path = call.access.path()?;
        if !is_plain_read(call.access) || path.given.len() > 200 {
            return None; // 249 bytes are the longest name of a memory file.
        }
        let absolute = &path.absolute;
        // The seed of a task must not be drawn unless a rule fits.
        let (rule, steer) = self.watch.injection.find(call.frames, |steer| {
            substitute::content(steer, absolute, |seed| seed).map(|_| steer.clone())
        })?;
        let (key, count) = self.draw(tid, rule);
        let content = substitute::content(&steer, absolute, |seed| mix(mix(seed, key), count))?;
        let flags = match call.sys {
            Sys::Open => int(call.args[1]),
            Sys::Openat => int(call.args[2]),
            _ => memory.word(call.args[2]).map_or(0, int),
        };
        let close_on_exec = flags & libc::O_CLOEXEC != 0;
        Some(Answer::Open(MemoryFile {
            content,
            close_on_exec,
        }))
    }

    fn pid_rule(&self, call: &Call<'_>) -> Option<u32> {
        let injection = &self.watch.injection;
        let rule = injection.find(call.frames, |steer| match steer {
            Steer::Pid(base) => Some(*base),
            _ => None,
        });
        rule.map(|(_, base)| base)
    }

    /// No host answers. Sockets of this machine's own files still work.
    fn connect(&self, call: &Call<'_>) -> Option<Answer> {
        let inet = matches!(
            call.access,
            Access::Connect {
                address: Address::Internet(_)
            }
        );
        let (_, errno) = self
            .watch
            .injection
            .find(call.frames, |steer| match steer {
                Steer::Network(errno) => Some(*errno),
                _ => None,
            })?;
        inet.then(|| Answer::Return(-i64::from(errno)))
    }

    /// A number that a thread is told instead of its own.
    fn own_number(&self, tid: i32, call: &Call<'_>) -> Option<Answer> {
        let base = self.pid_rule(call)?;
        let task = self.tasks.get(&tid)?;
        let process = &self.processes[task.process];
        Some(Answer::Return(match call.sys {
            Sys::Getpid => told(base, process.id.0, 1),
            Sys::Gettid => told(base, process.id.0, task.thread),
            _ => told(base, process.parent.map_or(0, |parent| parent.0), 1),
        }))
    }

    /// Turns the numbers that we told back into real ones.
    fn real_numbers(&self, call: &Call<'_>) -> Option<Answer> {
        let base = self.pid_rule(call)?;
        let two = matches!(call.sys, Sys::Tgkill | Sys::RtTgsigqueueinfo);
        let changed: Vec<(usize, u64)> = (0..=usize::from(two))
            .filter_map(|index| {
                let real = self.real_number(base, int(call.args[index]))?;
                Some((index, i64::from(real).cast_unsigned()))
            })
            .collect();
        (!changed.is_empty()).then_some(Answer::Arguments(changed))
    }

    fn real_number(&self, base: u32, number: i32) -> Option<i32> {
        let magnitude = i64::from(number).abs();
        let found = self.tasks.iter().find(|(_, task)| {
            let process = self.processes[task.process].id.0;
            told(base, process, task.thread) == magnitude
        });
        found.map(|(tid, _)| inner_number(*tid) * number.signum())
    }

    fn names(&self, call: &Call<'_>) -> Option<Answer> {
        let injection = &self.watch.injection;
        let host = injection.find(call.frames, |steer| match steer {
            Steer::Host(name) => Some(name.as_bytes().to_vec()),
            _ => None,
        });
        let kernel = injection.find(call.frames, |steer| match steer {
            Steer::Kernel(release) => Some(release.as_bytes().to_vec()),
            _ => None,
        });
        if host.is_none() && kernel.is_none() {
            return None;
        }
        let (host, kernel) = (host.map(|(_, name)| name), kernel.map(|(_, name)| name));
        Some(Answer::Patch(Patch::Uname { host, kernel }))
    }

    fn processors(&self, call: &Call<'_>) -> Option<Answer> {
        let injection = &self.watch.injection;
        let chosen = injection.find(call.frames, |steer| match steer {
            Steer::Cpus(count) => Some(*count),
            _ => None,
        });
        if let Some((_, count)) = chosen {
            return Some(Answer::Patch(Patch::Cpus(count)));
        }
        let together = self.together.as_ref()?;
        Some(Answer::Patch(Patch::Mask(together.theirs)))
    }

    pub(super) fn inode_rule(&self, call: &Call<'_>) -> Option<u64> {
        let injection = &self.watch.injection;
        let rule = injection.find(call.frames, |steer| match steer {
            Steer::Inode(seed) => Some(*seed),
            _ => None,
        });
        rule.map(|(_, seed)| seed)
    }

    fn status(&self, tid: i32, call: &Call<'_>) -> Option<Answer> {
        let injection = &self.watch.injection;
        let times = injection.find(call.frames, |steer| match steer {
            Steer::FileTimes(times) => Some(*times),
            _ => None,
        });
        let inode = self.inode_rule(call);
        if times.is_none() && inode.is_none() {
            return None;
        }
        let SeenPath { absolute, .. } = call.access.path()?;
        // An open file and a name of it must be told the same: take the real path where there is
        // one.
        let follows = call.sys != Sys::Lstat;
        let real = follows
            .then(|| std::fs::canonicalize(absolute).ok())
            .flatten();
        let times = times.map(|(_, times)| times);
        let path = real.unwrap_or_else(|| absolute.clone());
        let _ = tid;
        Some(Answer::Patch(Patch::Status { path, times, inode }))
    }

    /// Changes what a call wrote.
    pub(crate) fn patch(&mut self, tid: i32, sys: Sys, args: [u64; 6], value: i64, patch: Patch) {
        let memory = Memory::new(tid);
        match patch {
            Patch::Fill(content) => {
                let file = format!("/proc/{tid}/fd/{value}");
                // A failure leaves the file empty: the program then fails instead of being misled.
                let _ = std::fs::write(file, content);
            }
            Patch::Uname { host, kernel } => {
                // struct utsname: six fields of 65 bytes; nodename is the second, release the third.
                for (field, text) in [(1, host), (2, kernel)] {
                    let Some(mut text) = text else { continue };
                    text.resize(65, 0);
                    text[64] = 0;
                    let _ = memory.write(args[0] + field * 65, &text);
                }
            }
            Patch::Cpus(count) => {
                let length = usize::try_from(value).unwrap_or(0);
                if let Ok(mut mask) = memory.read_some(args[2], length) {
                    limit_mask(&mut mask, count);
                    let _ = memory.write(args[2], &mask);
                }
            }
            Patch::Mask(cpus) => {
                let length = usize::try_from(value).unwrap_or(0);
                let mut mask = vec![0_u8; length];
                for bit in (0..length * 8).filter(|&bit| cpus.is_set(bit).unwrap_or(false)) {
                    mask[bit / 8] |= 1 << (bit % 8);
                }
                let _ = memory.write(args[2], &mask);
            }
            Patch::Status { path, times, inode } => {
                self.patch_status(&memory, sys, args, &path, (times, inode));
            }
        }
    }

    fn patch_status(
        &mut self,
        memory: &Memory,
        sys: Sys,
        args: [u64; 6],
        path: &std::path::Path,
        (times, inode): (Option<FileTimes>, Option<u64>),
    ) {
        // The same offsets on x86-64 and aarch64.
        let layout = if sys == Sys::Statx { &STATX } else { &STAT };
        let buffer = args[layout
            .argument
            .unwrap_or(if sys == Sys::Newfstatat { 2 } else { 1 })];
        if let Some(times) = times {
            let seconds = match times {
                FileTimes::Fixed(seconds) => seconds,
                FileTimes::Seeded(seed) => {
                    // Some second between 2001 and 2018.
                    let choice = digest(seed, path.as_os_str().as_bytes()) % (1 << 29);
                    1_000_000_000 + choice.cast_signed()
                }
            };
            for offset in layout.times {
                let _ = memory.write(buffer + offset, &pair(seconds, 0)[..layout.time_bytes]);
            }
        }
        let field = |offset| memory.word(buffer + offset);
        if let (Some(seed), Ok(number), Ok(device)) =
            (inode, field(layout.inode), field(layout.device))
        {
            // statx gives major and minor as two halves; makedev makes one of them.
            let device = if sys == Sys::Statx {
                let [major, minor] = [device & 0xffff_ffff, device >> 32];
                libc::makedev(
                    u32::try_from(major).unwrap_or(0),
                    u32::try_from(minor).unwrap_or(0),
                )
            } else {
                device
            };
            let real = (device, number);
            let number = number_for(&mut self.steering.inodes, seed, real, path);
            let _ = memory.write(buffer + layout.inode, &number.to_ne_bytes());
        }
    }
}

struct Layout {
    /// Which argument is the buffer; `None` where that depends on the call.
    argument: Option<usize>,
    device: u64,
    inode: u64,
    times: &'static [u64],
    time_bytes: usize,
}

const STAT: Layout = Layout {
    argument: None,
    device: 0,
    inode: 8,
    times: &[72, 88, 104],
    time_bytes: 16,
};
const STATX: Layout = Layout {
    argument: Some(4),
    device: 136,
    inode: 32,
    times: &[64, 80, 96, 112],
    time_bytes: 12, // 64-bit seconds, 32-bit nanoseconds.
};

/// Writes an answer; the program hears of a bad buffer as it would from the kernel.
pub(super) fn written(memory: &Memory, address: u64, bytes: &[u8], value: i64) -> Answer {
    if bytes.is_empty() || memory.write(address, bytes).is_ok() {
        Answer::Return(value)
    } else {
        Answer::Return(-i64::from(libc::EFAULT))
    }
}

fn pair(first: i64, second: i64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&first.to_ne_bytes());
    bytes[8..].copy_from_slice(&second.to_ne_bytes());
    bytes
}

fn is_wall(clock: i32) -> bool {
    matches!(
        clock,
        libc::CLOCK_REALTIME
            | libc::CLOCK_REALTIME_COARSE
            | libc::CLOCK_REALTIME_ALARM
            | libc::CLOCK_TAI
    )
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The number told to a thread.
fn told(base: u32, process: u32, thread: u32) -> i64 {
    i64::from(base) + i64::from(process) * i64::from(THREADS_PER_PROCESS) + i64::from(thread) - 1
}

/// One inode number for one real file, whatever names it is seen by later.
pub(super) fn number_for(
    given: &mut std::collections::BTreeMap<(u64, u64), u64>,
    seed: u64,
    real: (u64, u64),
    path: &std::path::Path,
) -> u64 {
    let fresh = || digest(seed, path.as_os_str().as_bytes()) >> 16;
    *given.entry(real).or_insert_with(fresh)
}

pub(super) fn device_of(tid: i32, fd: i32) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(format!("/proc/{tid}/fd/{fd}")).map_or(0, |metadata| metadata.dev())
}

/// Leaves `count` bits of a mask: the lowest that are set, then the lowest that are not.
fn limit_mask(mask: &mut [u8], count: u32) {
    let bits = mask.len() * 8;
    let is_set = |mask: &[u8], bit: usize| mask[bit / 8] & (1 << (bit % 8)) != 0;
    let (set, clear): (Vec<_>, Vec<_>) = (0..bits).partition(|&bit| is_set(mask, bit));
    let chosen: Vec<usize> = set.into_iter().chain(clear).take(count as usize).collect();
    mask.fill(0);
    for bit in chosen {
        mask[bit / 8] |= 1 << (bit % 8);
    }
}

/// What a thread is numbered in its own PID name space (`NSpid` in `proc_pid_status(5)`).
fn inner_number(tid: i32) -> i32 {
    let status = std::fs::read_to_string(format!("/proc/{tid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    let inner = line.and_then(|numbers| numbers.split_whitespace().last()?.parse().ok());
    inner.unwrap_or(tid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_grow_and_shrink() {
        let mut mask = [0b0000_1010, 0];
        limit_mask(&mut mask, 1);
        assert_eq!(mask, [0b0000_0010, 0]);
        limit_mask(&mut mask, 3);
        assert_eq!(mask, [0b0000_0111, 0]);
    }

    #[test]
    fn a_file_keeps_its_number_under_another_name() {
        let mut given = std::collections::BTreeMap::new();
        let mut number = |name: &str| number_for(&mut given, 1, (2, 3), name.as_ref());
        assert_eq!(number("/a"), number("/b"));
    }
}
