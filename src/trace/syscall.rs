//! The system calls that the tracer knows, with their numbers on both processors, as data.
//!
//! One table, from which the seccomp filter, the decoder and the names are made. A call that is
//! not in it runs at full speed and is not seen.

use super::arch::{Arch, Native};

/// Which calls stop together; a run asks for the groups that it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    /// Calls on paths and directory lists.
    File,
    /// `exec`: always.
    Exec,
    /// Sockets.
    Network,
    /// `getrandom`.
    Random,
    /// Clocks.
    Clock,
    /// Process, thread and user numbers.
    Identity,
    /// Kernel, processors, memory.
    System,
    /// Births that could escape the tracer: always.
    Birth,
    /// What can escape the tracer's sight: `io_uring`, ptrace, namespaces.
    Blind,
    /// `fstat`: only where times or inode numbers are steered.
    Status,
    /// `lseek`: only where directory order is steered.
    Seek,
    /// Signals to processes by their number.
    Signal,
    /// Other calls that take a process number: only where those are steered.
    Number,
    /// `mmap` of code: only where code is asked for.
    Map,
}

/// One call: its name and its numbers.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) sys: Sys,
    pub(crate) name: &'static str,
    pub(crate) group: Group,
    pub(crate) x86_64: Option<u32>,
    pub(crate) aarch64: Option<u32>,
}

macro_rules! number {
    (_) => {
        None
    };
    ($number:literal) => {
        Some($number)
    };
}

macro_rules! calls {
    ($($group:ident { $($sys:ident $name:literal $x86_64:tt $aarch64:tt,)* })*) => {
        /// A system call that the tracer knows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        #[allow(missing_docs, reason = "each is documented by the manual page of its name")]
        pub enum Sys { $($($sys,)*)* }

        /// Every known call, grouped; the position of a row is the value of its `sys`.
        pub(crate) const TABLE: &[Row] = &[$($(Row {
            sys: Sys::$sys,
            name: $name,
            group: Group::$group,
            x86_64: number!($x86_64),
            aarch64: number!($aarch64),
        },)*)*];
    };
}

// Columns: x86-64 (arch/x86/entry/syscalls/syscall_64.tbl), aarch64 (include/uapi/asm-generic/unistd.h).
calls! {
    File {
        Open "open" 2 _,
        Stat "stat" 4 _,
        Lstat "lstat" 6 _,
        Access "access" 21 _,
        Truncate "truncate" 76 45,
        Getdents "getdents" 78 _,
        Chdir "chdir" 80 49,
        Fchdir "fchdir" 81 50,
        Rename "rename" 82 _,
        Mkdir "mkdir" 83 _,
        Rmdir "rmdir" 84 _,
        Creat "creat" 85 _,
        Link "link" 86 _,
        Unlink "unlink" 87 _,
        Symlink "symlink" 88 _,
        Readlink "readlink" 89 _,
        Chmod "chmod" 90 _,
        Fchmod "fchmod" 91 52,
        Chown "chown" 92 _,
        Fchown "fchown" 93 55,
        Lchown "lchown" 94 _,
        Utime "utime" 132 _,
        Mknod "mknod" 133 _,
        Statfs "statfs" 137 43,
        PivotRoot "pivot_root" 155 41,
        Chroot "chroot" 161 51,
        Acct "acct" 163 89,
        Mount "mount" 165 40,
        Umount2 "umount2" 166 39,
        Swapon "swapon" 167 224,
        Swapoff "swapoff" 168 225,
        Setxattr "setxattr" 188 5,
        Lsetxattr "lsetxattr" 189 6,
        Getxattr "getxattr" 191 8,
        Lgetxattr "lgetxattr" 192 9,
        Listxattr "listxattr" 194 11,
        Llistxattr "llistxattr" 195 12,
        Removexattr "removexattr" 197 14,
        Lremovexattr "lremovexattr" 198 15,
        Getdents64 "getdents64" 217 61,
        Utimes "utimes" 235 _,
        InotifyAddWatch "inotify_add_watch" 254 27,
        Openat "openat" 257 56,
        Mkdirat "mkdirat" 258 34,
        Mknodat "mknodat" 259 33,
        Fchownat "fchownat" 260 54,
        Futimesat "futimesat" 261 _,
        Newfstatat "newfstatat" 262 79,
        Unlinkat "unlinkat" 263 35,
        Renameat "renameat" 264 38,
        Linkat "linkat" 265 37,
        Symlinkat "symlinkat" 266 36,
        Readlinkat "readlinkat" 267 78,
        Fchmodat "fchmodat" 268 53,
        Faccessat "faccessat" 269 48,
        Utimensat "utimensat" 280 88,
        NameToHandleAt "name_to_handle_at" 303 264,
        Renameat2 "renameat2" 316 276,
        Statx "statx" 332 291,
        OpenTree "open_tree" 428 428,
        MoveMount "move_mount" 429 429,
        Openat2 "openat2" 437 437,
        Faccessat2 "faccessat2" 439 439,
        Fchmodat2 "fchmodat2" 452 452,
    }
    Network {
        Socket "socket" 41 198,
        Connect "connect" 42 203,
        Sendto "sendto" 44 206,
        Bind "bind" 49 200,
    }
    Random {
        Getrandom "getrandom" 318 278,
    }
    Clock {
        Gettimeofday "gettimeofday" 96 169,
        Time "time" 201 _,
        ClockGettime "clock_gettime" 228 113,
    }
    Identity {
        Getpid "getpid" 39 172,
        Getuid "getuid" 102 174,
        Getgid "getgid" 104 176,
        Geteuid "geteuid" 107 175,
        Getegid "getegid" 108 177,
        Getppid "getppid" 110 173,
        Getresuid "getresuid" 118 148,
        Getresgid "getresgid" 120 150,
        Gettid "gettid" 186 178,
    }
    System {
        Uname "uname" 63 160,
        Getcwd "getcwd" 79 17,
        Sysinfo "sysinfo" 99 179,
        SchedGetaffinity "sched_getaffinity" 204 123,
        Getcpu "getcpu" 309 168,
        MemfdCreate "memfd_create" 319 279,
    }
    Blind {
        Ptrace "ptrace" 101 117,
        Unshare "unshare" 272 97,
        Setns "setns" 308 268,
        OpenByHandleAt "open_by_handle_at" 304 265,
        ProcessVmReadv "process_vm_readv" 310 270,
        ProcessVmWritev "process_vm_writev" 311 271,
        IoUringSetup "io_uring_setup" 425 425,
    }
    Exec {
        Execve "execve" 59 221,
        Execveat "execveat" 322 281,
    }
    Birth {
        Clone "clone" 56 220,
        Clone3 "clone3" 435 435,
    }
    Status {
        Fstat "fstat" 5 80,
    }
    Seek {
        Lseek "lseek" 8 62,
    }
    Signal {
        Kill "kill" 62 129,
        RtSigqueueinfo "rt_sigqueueinfo" 129 138,
        Tkill "tkill" 200 130,
        Tgkill "tgkill" 234 131,
        RtTgsigqueueinfo "rt_tgsigqueueinfo" 297 240,
    }
    Number {
        Getpgid "getpgid" 121 155,
        Getsid "getsid" 124 156,
        SchedSetaffinity "sched_setaffinity" 203 122,
        Prlimit64 "prlimit64" 302 261,
        PidfdOpen "pidfd_open" 434 434,
    }
    Map {
        Mmap "mmap" 9 222,
    }
}

impl Sys {
    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// The call's name, as in the manual.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    pub(crate) fn group(self) -> Group {
        self.row().group
    }

    /// The call's number on this processor.
    pub(crate) fn number(self) -> Option<u32> {
        Native::number(self.row())
    }
}

/// Finds calls by number on one processor.
#[derive(Debug)]
pub(crate) struct Numbers(Vec<Option<Sys>>);

impl Numbers {
    pub(crate) fn new<A: Arch>() -> Self {
        let mut found = Vec::new();
        for row in TABLE {
            let Some(number) = A::number(row) else {
                continue;
            };
            let number = number as usize;
            if found.len() <= number {
                found.resize(number + 1, None);
            }
            found[number] = Some(row.sys);
        }
        Self(found)
    }

    pub(crate) fn get(&self, number: u64) -> Option<Sys> {
        let number = usize::try_from(number).ok()?;
        self.0.get(number).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::arch::{aarch64::Aarch64, x86_64::X86_64};
    use std::collections::BTreeSet;

    #[test]
    fn a_row_stands_at_its_own_position() {
        for (position, row) in TABLE.iter().enumerate() {
            assert_eq!(row.sys as usize, position, "{}", row.name);
        }
    }

    #[test]
    fn no_number_is_given_twice() {
        for numbers in [
            TABLE
                .iter()
                .filter_map(|row| row.x86_64)
                .collect::<Vec<_>>(),
            TABLE.iter().filter_map(|row| row.aarch64).collect(),
        ] {
            let unique: BTreeSet<_> = numbers.iter().collect();
            assert_eq!(unique.len(), numbers.len());
        }
    }

    #[test]
    fn numbers_agree_with_the_published_tables() {
        for row in TABLE {
            let x86_64 = syscalls::x86_64::Sysno::iter()
                .find(|sysno| sysno.name() == row.name)
                .map(|sysno| u32::try_from(sysno.id()).expect("small"));
            assert_eq!(row.x86_64, x86_64, "{} on x86-64", row.name);
            // asm-generic calls newfstatat fstatat there, and the crate follows.
            let name = if row.name == "newfstatat" {
                "fstatat"
            } else {
                row.name
            };
            let aarch64 = syscalls::aarch64::Sysno::iter()
                .find(|sysno| [name, row.name].contains(&sysno.name()))
                .map(|sysno| u32::try_from(sysno.id()).expect("small"));
            assert_eq!(row.aarch64, aarch64, "{} on aarch64", row.name);
        }
    }

    #[test]
    fn calls_are_found_by_number() {
        assert_eq!(Numbers::new::<X86_64>().get(257), Some(Sys::Openat));
        assert_eq!(Numbers::new::<Aarch64>().get(56), Some(Sys::Openat));
        assert_eq!(Numbers::new::<X86_64>().get(1), None);
        assert_eq!(Numbers::new::<X86_64>().get(u64::MAX), None);
    }
}
