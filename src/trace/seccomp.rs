//! The filter that makes only the interesting calls stop.
//!
//! Written by hand rather than with seccompiler: that crate kills a process that uses another
//! calling convention (a 32-bit program, `int 0x80`), while we must let it run and report that it
//! was not decoded. The kernel evaluates such a filter once per call number at installation and
//! lets the uninteresting ones pass by a bitmap (`seccomp_cache_prepare`), so its length is free.

use nix::libc;
use nix::libc::sock_filter;

use super::arch::{Arch, Native};
use super::syscall::{Group, Sys, TABLE};

/// Which groups of calls stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interest {
    groups: Vec<Group>,
}

impl Interest {
    pub(crate) fn new(groups: impl IntoIterator<Item = Group>) -> Self {
        Self {
            groups: groups.into_iter().collect(),
        }
    }

    pub(crate) fn wants(&self, group: Group) -> bool {
        self.groups.contains(&group)
    }
}

// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;

/// Offset of the low half of argument `index` (both processors are little-endian).
fn argument(index: u32) -> u32 {
    16 + 8 * index
}

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const JUMP_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const JUMP_SET: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

fn op(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    let code = u16::try_from(code).expect("operation codes have 16 bits");
    sock_filter { code, jt, jf, k }
}

fn allow() -> sock_filter {
    op(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0)
}

fn stop() -> sock_filter {
    op(RETURN, libc::SECCOMP_RET_TRACE, 0, 0)
}

/// The program for this processor.
pub(crate) fn filter(interest: &Interest) -> Vec<sock_filter> {
    build::<Native>(interest)
}

fn build<A: Arch>(interest: &Interest) -> Vec<sock_filter> {
    // Another calling convention stops at every call: slow, but then an exec back to ours is seen.
    let mut program = vec![
        op(LOAD, ARCH, 0, 0),
        op(JUMP_EQUAL, A::AUDIT, 1, 0),
        stop(),
        op(LOAD, NUMBER, 0, 0),
    ];
    if let Ok(bits @ 1..) = u32::try_from(A::FOREIGN_BITS) {
        program.extend([op(JUMP_SET, bits, 0, 1), stop()]);
    }
    for row in TABLE {
        let (Some(number), true) = (A::number(row), interest.wants(row.group)) else {
            continue;
        };
        let body = match row.sys {
            // Code that comes from a file: PROT_EXEC and not MAP_ANONYMOUS.
            Sys::Mmap => vec![
                op(LOAD, argument(2), 0, 0),
                op(JUMP_SET, bits(libc::PROT_EXEC), 0, 3),
                op(LOAD, argument(3), 0, 0),
                op(JUMP_SET, bits(libc::MAP_ANONYMOUS), 1, 0),
                stop(),
                allow(),
            ],
            Sys::Clone => vec![
                op(LOAD, argument(0), 0, 0),
                op(JUMP_SET, bits(libc::CLONE_UNTRACED), 0, 1),
                stop(),
                allow(),
            ],
            // An address makes it a message to somebody; without one it is a write.
            Sys::Sendto => vec![
                op(LOAD, argument(4), 0, 0),
                op(JUMP_EQUAL, 0, 0, 2),
                op(LOAD, argument(4) + 4, 0, 0),
                op(JUMP_EQUAL, 0, 1, 0),
                stop(),
                allow(),
            ],
            // A file that is already open was seen when it was opened.
            Sys::Newfstatat | Sys::Statx if !interest.wants(Group::Status) => {
                let flags = if row.sys == Sys::Statx { 2 } else { 3 };
                vec![
                    op(LOAD, argument(flags), 0, 0),
                    op(JUMP_SET, bits(libc::AT_EMPTY_PATH), 1, 0),
                    stop(),
                    allow(),
                ]
            }
            _ => vec![stop()],
        };
        let skip = u8::try_from(body.len()).expect("bodies are short");
        program.push(op(JUMP_EQUAL, number, 0, skip));
        program.extend(body);
    }
    program.push(allow());
    program
}

fn bits(flags: libc::c_int) -> u32 {
    flags.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::arch::{aarch64::Aarch64, x86_64::X86_64};

    /// Runs a program as the kernel would, on one call.
    fn run(program: &[sock_filter], arch: u32, number: u32, args: [u64; 6]) -> bool {
        let mut data = Vec::new();
        data.extend(number.to_le_bytes());
        data.extend(arch.to_le_bytes());
        data.extend([0; 8]);
        data.extend(args.iter().flat_map(|arg| arg.to_le_bytes()));
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let line = program[at];
            at += 1;
            let jump = |taken: bool| usize::from(if taken { line.jt } else { line.jf });
            match u32::from(line.code) {
                LOAD => {
                    let k = line.k as usize;
                    accumulator = u32::from_le_bytes(data[k..k + 4].try_into().expect("four"));
                }
                JUMP_EQUAL => at += jump(accumulator == line.k),
                JUMP_SET => at += jump(accumulator & line.k != 0),
                _ => return line.k == libc::SECCOMP_RET_TRACE,
            }
        }
    }

    const NONE: [u64; 6] = [0; 6];

    #[test]
    fn only_the_chosen_groups_stop() {
        let files = build::<X86_64>(&Interest::new([Group::File]));
        assert!(run(&files, X86_64::AUDIT, 257, NONE));
        assert!(!run(&files, X86_64::AUDIT, 318, NONE));
        assert!(!run(&files, X86_64::AUDIT, 0, NONE));
        let arm = build::<Aarch64>(&Interest::new([Group::File, Group::Random]));
        assert!(run(&arm, Aarch64::AUDIT, 56, NONE));
        assert!(run(&arm, Aarch64::AUDIT, 278, NONE));
        assert!(!run(&arm, Aarch64::AUDIT, 63, NONE));
    }

    #[test]
    fn foreign_conventions_stop_at_every_call() {
        let files = build::<X86_64>(&Interest::new([Group::File]));
        assert!(run(&files, 0x4000_0003, 1, NONE), "int 0x80");
        assert!(run(&files, X86_64::AUDIT, 0x4000_0001, NONE), "x32");
    }

    #[test]
    fn arguments_narrow_the_stop() {
        let all = build::<X86_64>(&Interest::new([
            Group::Map,
            Group::Network,
            Group::File,
            Group::Birth,
        ]));
        let stops = |number, args| run(&all, X86_64::AUDIT, number, args);
        assert!(stops(9, [0, 0, 5, 2, 3, 0]), "code from a file");
        assert!(!stops(9, [0, 0, 1, 2, 3, 0]), "data from a file");
        assert!(!stops(9, [0, 0, 7, 0x22, 3, 0]), "anonymous code");
        assert!(!stops(44, NONE), "a write");
        assert!(stops(44, [0, 0, 0, 0, 0x10, 0]));
        assert!(
            stops(44, [0, 0, 0, 0, 1 << 40, 0]),
            "an address with a zero low half"
        );
        assert!(!stops(56, [0x11, 0, 0, 0, 0, 0]), "a usual birth");
        assert!(
            stops(56, [0x0080_0011, 0, 0, 0, 0, 0]),
            "a birth out of sight"
        );
        assert!(stops(435, NONE), "clone3, whose flags are in memory");
        assert!(stops(262, NONE));
        assert!(!stops(262, [3, 0, 0, 0x1000, 0, 0]), "fstat");
        assert!(!stops(332, [3, 0, 0x1000, 0, 0, 0]), "fstat by statx");
    }
}
