//! From the registers and memory of a stopped call to an [`Access`].

use std::ffi::{OsStr, OsString};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::libc;

use super::access::{Access, Address, BlindSpot, Change, OpenMode, SeenPath, join};
use super::memory::Memory;
use super::syscall::Sys;

/// Longest path that is read; the kernel's own limit is 4096.
const PATH_LIMIT: usize = 4096;
/// Most arguments or variables of one exec; more do not fit the kernel's own limits.
const LIST_LIMIT: usize = 1 << 21;
/// Longest single argument (`MAX_ARG_STRLEN`).
const STRING_LIMIT: usize = 128 * 1024;

/// Whether the exit of a call must be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtExit {
    /// What it returned does not matter.
    Ignore,
    /// It decides between success and failure.
    Result,
    /// It is an open file, whose real path is looked up.
    OpenFile,
}

/// Where relative paths of a thread start.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pub(crate) tid: i32,
    pub(crate) cwd: &'a Path,
    pub(crate) root: &'a Path,
}

/// What an open descriptor of a thread refers to, as the kernel tells it.
pub(crate) fn descriptor(tid: i32, fd: i32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{tid}/fd/{fd}")).ok()
}

#[expect(
    clippy::many_single_char_names,
    reason = "argument registers have no better names"
)]
/// Reads one call. `Err` if its memory cannot be read: the call itself then fails in the same way.
pub(crate) fn decode(
    sys: Sys,
    args: [u64; 6],
    memory: &mut Memory,
    place: &Place<'_>,
) -> Result<(Access, AtExit), Errno> {
    let mut read = Reader { memory, place };
    let [a, b, c, d, e, _] = args;
    let here = libc::AT_FDCWD;
    let access = match sys {
        Sys::Open => read.open(here, a, int(b))?,
        Sys::Openat => read.open(int(a), b, int(c))?,
        Sys::Creat => read.open(here, a, libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC)?,
        Sys::Openat2 => {
            // struct open_how starts with its 64-bit flags.
            let flags = read.memory.word(c)?;
            read.open(int(a), b, int(flags))?
        }
        Sys::Stat | Sys::Lstat | Sys::Access | Sys::Statfs => read.status(here, a, 0)?,
        Sys::Getxattr | Sys::Lgetxattr | Sys::Listxattr | Sys::Llistxattr => {
            read.status(here, a, 0)?
        }
        Sys::Newfstatat | Sys::Faccessat2 => read.status(int(a), b, int(d))?,
        Sys::Faccessat => read.status(int(a), b, 0)?,
        Sys::Statx => read.status(int(a), b, int(c))?,
        Sys::NameToHandleAt => read.status(int(a), b, int(e))?,
        Sys::Fstat => Access::Status {
            path: read.file(int(a)),
        },
        Sys::Readlink => Access::ReadLink {
            path: read.path(here, a)?,
        },
        Sys::Readlinkat => Access::ReadLink {
            path: read.path_or_file(int(a), b)?,
        },
        Sys::Getdents | Sys::Getdents64 => Access::List {
            path: read.file(int(a)),
        },
        Sys::Mkdir => read.change(here, a, Change::MakeDirectory)?,
        Sys::Mkdirat => read.change(int(a), b, Change::MakeDirectory)?,
        Sys::Rmdir => read.change(here, a, Change::RemoveDirectory)?,
        Sys::Unlink => read.change(here, a, Change::Unlink)?,
        Sys::Unlinkat if int(c) & libc::AT_REMOVEDIR != 0 => {
            read.change(int(a), b, Change::RemoveDirectory)?
        }
        Sys::Unlinkat => read.change(int(a), b, Change::Unlink)?,
        Sys::Mknod => read.change(here, a, Change::MakeNode)?,
        Sys::Mknodat => read.change(int(a), b, Change::MakeNode)?,
        Sys::Chmod => read.change(here, a, Change::Mode)?,
        Sys::Fchmodat | Sys::Fchmodat2 => read.change(int(a), b, Change::Mode)?,
        Sys::Fchmod => read.change_file(int(a), Change::Mode),
        Sys::Chown | Sys::Lchown => read.change(here, a, Change::Owner)?,
        Sys::Fchownat => read.change(int(a), b, Change::Owner)?,
        Sys::Fchown => read.change_file(int(a), Change::Owner),
        Sys::Truncate => read.change(here, a, Change::Length)?,
        Sys::Utime | Sys::Utimes => read.change(here, a, Change::Times)?,
        // A null path means the descriptor itself (futimens).
        Sys::Utimensat | Sys::Futimesat if b == 0 => read.change_file(int(a), Change::Times),
        Sys::Utimensat | Sys::Futimesat => read.change(int(a), b, Change::Times)?,
        Sys::Setxattr | Sys::Lsetxattr | Sys::Removexattr | Sys::Lremovexattr => {
            read.change(here, a, Change::Attribute)?
        }
        Sys::Rename => read.rename((here, a), (here, b), 0)?,
        Sys::Renameat => read.rename((int(a), b), (int(c), d), 0)?,
        Sys::Renameat2 => read.rename((int(a), b), (int(c), d), e)?,
        Sys::Link => Access::Link {
            from: read.path(here, a)?,
            to: read.path(here, b)?,
        },
        Sys::Linkat => Access::Link {
            from: read.path_or_file(int(a), b)?,
            to: read.path(int(c), d)?,
        },
        Sys::Symlink => Access::Symlink {
            says: read.text(a)?,
            path: read.path(here, b)?,
        },
        Sys::Symlinkat => Access::Symlink {
            says: read.text(a)?,
            path: read.path(int(b), c)?,
        },
        Sys::Execve => read.exec((here, a), b, c)?,
        Sys::Execveat => read.exec((int(a), b), c, d)?,
        Sys::Chdir => Access::Enter {
            path: read.path(here, a)?,
        },
        Sys::Fchdir => Access::Enter {
            path: read.file(int(a)),
        },
        Sys::Chroot => Access::Root {
            path: read.path(here, a)?,
        },
        Sys::PivotRoot | Sys::Acct | Sys::Umount2 | Sys::Swapon | Sys::Swapoff => Access::Mount {
            path: read.path(here, a)?,
        },
        Sys::Mount | Sys::InotifyAddWatch => Access::Mount {
            path: read.path(here, b)?,
        },
        Sys::OpenTree => Access::Mount {
            path: read.path_or_file(int(a), b)?,
        },
        Sys::MoveMount => Access::Mount {
            path: read.path_or_file(int(c), d)?,
        },
        Sys::Socket => Access::Socket {
            family: int(a),
            kind: int(b),
        },
        Sys::Connect => Access::Connect {
            address: read.address(b, c)?,
        },
        Sys::Sendto => Access::Connect {
            address: read.address(e, args[5])?,
        },
        Sys::Bind => Access::Bind {
            address: read.address(b, c)?,
        },
        Sys::Getrandom => Access::Random { bytes: b },
        Sys::ClockGettime => Access::Clock { clock: int(a) },
        Sys::Gettimeofday | Sys::Time => Access::Clock {
            clock: libc::CLOCK_REALTIME,
        },
        Sys::Getpid
        | Sys::Getppid
        | Sys::Gettid
        | Sys::Getuid
        | Sys::Geteuid
        | Sys::Getgid
        | Sys::Getegid
        | Sys::Getresuid
        | Sys::Getresgid
        | Sys::Getpgid
        | Sys::Getsid
        | Sys::Prlimit64
        | Sys::PidfdOpen
        | Sys::SchedSetaffinity => Access::Identity,
        Sys::Kill | Sys::RtSigqueueinfo | Sys::Tkill => Access::Signal {
            target: int(a),
            signal: int(b),
        },
        Sys::Tgkill | Sys::RtTgsigqueueinfo => Access::Signal {
            target: int(a),
            signal: int(c),
        },
        Sys::Uname
        | Sys::Getcwd
        | Sys::Sysinfo
        | Sys::SchedGetaffinity
        | Sys::Getcpu
        | Sys::Clone
        | Sys::Clone3
        | Sys::MemfdCreate
        | Sys::Lseek
        | Sys::Mmap => Access::System,
        Sys::Ptrace | Sys::ProcessVmReadv | Sys::ProcessVmWritev => {
            Access::Blind(BlindSpot::Ptrace)
        }
        // Only the root and the mounts change what a path means.
        Sys::Unshare if int(a) & (libc::CLONE_NEWNS | libc::CLONE_NEWUSER) == 0 => Access::System,
        Sys::Setns | Sys::Unshare => Access::Blind(BlindSpot::Namespace),
        Sys::OpenByHandleAt => Access::Blind(BlindSpot::Handle),
        Sys::IoUringSetup => Access::Blind(BlindSpot::IoUring),
    };
    let exit = match &access {
        Access::Open { .. } => AtExit::OpenFile,
        Access::Random { .. } | Access::Clock { .. } | Access::Identity | Access::System => {
            AtExit::Ignore
        }
        _ => AtExit::Result,
    };
    Ok((access, exit))
}

/// The low half of a register, as the kernel reads an `int`.
pub(crate) fn int(register: u64) -> i32 {
    let [a, b, c, d, ..] = register.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

/// Open flags in our words.
fn mode(flags: i32) -> OpenMode {
    let has = |flag: i32| flags & flag == flag;
    let path_only = has(libc::O_PATH);
    let access = flags & libc::O_ACCMODE;
    OpenMode {
        read: !path_only && access != libc::O_WRONLY,
        write: !path_only && access != libc::O_RDONLY,
        create: has(libc::O_CREAT) || has(libc::O_TMPFILE),
        exclusive: has(libc::O_EXCL),
        truncate: has(libc::O_TRUNC),
        append: has(libc::O_APPEND),
        directory: has(libc::O_DIRECTORY),
        path_only,
    }
}

struct Reader<'a> {
    memory: &'a mut Memory,
    place: &'a Place<'a>,
}

impl Reader<'_> {
    fn text(&mut self, address: u64) -> Result<OsString, Errno> {
        let bytes = self.memory.string(address, PATH_LIMIT)?;
        Ok(OsString::from_vec(bytes))
    }

    /// The path at `address`, seen from the directory `dirfd`.
    fn path(&mut self, dirfd: i32, address: u64) -> Result<SeenPath, Errno> {
        let given = self.text(address)?;
        Ok(self.seen(dirfd, given))
    }

    fn seen(&self, dirfd: i32, given: OsString) -> SeenPath {
        let absolute = if let Some(rest) = given.as_bytes().strip_prefix(b"/") {
            // Doubled slashes would make the rest absolute again.
            let start = rest
                .iter()
                .position(|&byte| byte != b'/')
                .unwrap_or(rest.len());
            join(self.place.root, OsStr::from_bytes(&rest[start..]))
        } else if dirfd == libc::AT_FDCWD {
            join(self.place.cwd, &given)
        } else {
            let base = descriptor(self.place.tid, dirfd);
            join(&base.unwrap_or_default(), &given)
        };
        SeenPath {
            given,
            absolute,
            target: None,
        }
    }

    /// An open file itself.
    fn file(&self, fd: i32) -> SeenPath {
        self.seen(fd, OsString::new())
    }

    /// A path, where an empty or null one means the open file (`AT_EMPTY_PATH`).
    fn path_or_file(&mut self, dirfd: i32, address: u64) -> Result<SeenPath, Errno> {
        if address == 0 {
            Ok(self.file(dirfd))
        } else {
            self.path(dirfd, address)
        }
    }

    fn open(&mut self, dirfd: i32, address: u64, flags: i32) -> Result<Access, Errno> {
        Ok(Access::Open {
            path: self.path(dirfd, address)?,
            mode: mode(flags),
        })
    }

    fn status(&mut self, dirfd: i32, address: u64, flags: i32) -> Result<Access, Errno> {
        let path = if flags & libc::AT_EMPTY_PATH != 0 {
            self.path_or_file(dirfd, address)?
        } else {
            self.path(dirfd, address)?
        };
        Ok(Access::Status { path })
    }

    fn change(&mut self, dirfd: i32, address: u64, change: Change) -> Result<Access, Errno> {
        Ok(Access::Change {
            path: self.path_or_file(dirfd, address)?,
            change,
        })
    }

    fn change_file(&self, fd: i32, change: Change) -> Access {
        Access::Change {
            path: self.file(fd),
            change,
        }
    }

    fn rename(&mut self, from: (i32, u64), to: (i32, u64), flags: u64) -> Result<Access, Errno> {
        Ok(Access::Rename {
            from: self.path(from.0, from.1)?,
            to: self.path(to.0, to.1)?,
            exchange: flags & u64::from(libc::RENAME_EXCHANGE) != 0,
        })
    }

    fn exec(&mut self, path: (i32, u64), argv: u64, env: u64) -> Result<Access, Errno> {
        Ok(Access::Exec {
            path: self.path_or_file(path.0, path.1)?,
            argv: self.list(argv)?,
            env: self.list(env)?,
            directory: self.place.cwd.to_owned(),
        })
    }

    fn list(&mut self, address: u64) -> Result<Arc<[OsString]>, Errno> {
        let pointers = self.memory.pointers(address, LIST_LIMIT)?;
        pointers
            .into_iter()
            .map(|pointer| {
                Ok(OsString::from_vec(
                    self.memory.string(pointer, STRING_LIMIT)?,
                ))
            })
            .collect()
    }

    fn address(&mut self, address: u64, length: u64) -> Result<Address, Errno> {
        let length = usize::try_from(length).unwrap_or(0).min(128);
        let mut bytes = vec![0; length];
        self.memory.read(address, &mut bytes)?;
        Ok(socket_address(&bytes))
    }
}

/// Reads a `struct sockaddr`.
fn socket_address(bytes: &[u8]) -> Address {
    let Some((family, rest)) = bytes.split_first_chunk::<2>() else {
        return Address::Other(libc::AF_UNSPEC);
    };
    let family = i32::from(u16::from_ne_bytes(*family));
    let port = |rest: &[u8]| Some(u16::from_be_bytes(*rest.first_chunk()?));
    let internet = match family {
        libc::AF_INET => port(rest).zip(rest.get(2..6)).map(|(port, ip)| {
            let ip: [u8; 4] = ip.try_into().expect("four bytes");
            SocketAddr::from((Ipv4Addr::from(ip), port))
        }),
        // sin6_port, sin6_flowinfo, sin6_addr.
        libc::AF_INET6 => port(rest).zip(rest.get(6..22)).map(|(port, ip)| {
            let ip: [u8; 16] = ip.try_into().expect("sixteen bytes");
            SocketAddr::from((Ipv6Addr::from(ip), port))
        }),
        _ => None,
    };
    match (family, internet) {
        (_, Some(address)) => Address::Internet(address),
        (libc::AF_UNIX, None) => {
            if let [0, name @ ..] = rest {
                return Address::Abstract(OsString::from_vec(name.to_vec()));
            }
            let end = rest.iter().position(|&byte| byte == 0);
            let end = end.unwrap_or(rest.len());
            Address::Path(OsString::from_vec(rest[..end].to_vec()))
        }
        _ => Address::Other(family),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_flags_are_told_apart() {
        let read = mode(libc::O_RDONLY | libc::O_CLOEXEC);
        assert!(read.read && !read.write && !read.create);
        let create = mode(libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL);
        assert!(!create.read && create.write && create.create && create.exclusive);
        assert!(mode(libc::O_RDWR).read && mode(libc::O_RDWR).write);
        let named = mode(libc::O_PATH | libc::O_DIRECTORY);
        assert!(named.path_only && !named.read && named.directory);
        assert!(
            !mode(libc::O_RDONLY | libc::O_DIRECTORY).create,
            "O_TMPFILE holds O_DIRECTORY"
        );
    }

    #[test]
    fn socket_addresses_of_any_length_are_read() {
        let inet = [2, 0, 0, 80, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        let local = SocketAddr::from(([127, 0, 0, 1], 80));
        assert_eq!(socket_address(&inet), Address::Internet(local));
        assert_eq!(socket_address(&inet[..5]), Address::Other(2));
        assert_eq!(socket_address(&[]), Address::Other(0));
        let path = socket_address(b"\x01\0/run/x\0junk");
        assert_eq!(path, Address::Path("/run/x".into()));
        assert_eq!(
            socket_address(b"\x01\0\0name"),
            Address::Abstract("name".into())
        );
    }
}
