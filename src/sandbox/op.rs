//! One step of entering a sandbox. It can be run by system calls alone, named in an error, and
//! written as a line of shell for a run by hand: three readings of one list, so that they cannot
//! disagree.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fmt;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;

use crate::os_text::word;

/// A step. Everything it needs was made before the fork.
#[derive(Debug)]
pub(super) enum Op {
    /// Leaves the session, so that neither a terminal nor a process group is shared.
    NewSession,
    /// Writes to a file of `/proc`.
    Tell {
        path: CString,
        text: CString,
        needed: bool,
    },
    /// Keeps mounts from being seen outside.
    PrivateMounts,
    /// Mounts a new, empty file system in memory.
    Tmpfs { at: CString, options: CString },
    /// Mounts the `/proc` of the process's own name space.
    Proc { at: CString },
    /// Makes a directory.
    Directory { at: CString },
    /// Makes an empty file, to mount another one on.
    File { at: CString },
    /// Makes a symbolic link.
    Symlink { says: CString, at: CString },
    /// Shows a file or a tree, with all that is mounted in it, at another place.
    Bind {
        from: CString,
        at: CString,
        access: Access,
    },
    /// Takes away the right to write, below a mount.
    ReadOnly { at: CString },
    /// Makes this mount the root, lets the old one go, and forbids writing to the new one itself.
    Pivot { at: CString },
    /// Bounds a resource.
    Limit {
        resource: Resource,
        most: libc::rlim_t,
    },
    /// Gives up all capabilities, for good.
    DropCapabilities,
    /// Forbids programs that give more rights than their caller has.
    NoNewPrivileges,
    /// Keeps all descriptors but the standard ones out of the program.
    CloseDescriptors,
    /// Enters a Landlock domain.
    Landlock { rules: OwnedFd },
}

/// What a bind mount allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
    Device,
}

/// What can be bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resource {
    Processes,
    FileSize,
    Memory,
    CoreSize,
}

impl Resource {
    fn number(self) -> u32 {
        // The C libraries do not agree on the type.
        let number = match self {
            Self::Processes => libc::RLIMIT_NPROC,
            Self::FileSize => libc::RLIMIT_FSIZE,
            Self::Memory => libc::RLIMIT_AS,
            Self::CoreSize => libc::RLIMIT_CORE,
        };
        #[allow(
            clippy::unnecessary_cast,
            clippy::cast_sign_loss,
            reason = "a small positive number of whichever type"
        )]
        {
            number as u32
        }
    }

    /// The option of `prlimit(1)`.
    fn option(self) -> &'static str {
        match self {
            Self::Processes => "nproc",
            Self::FileSize => "fsize",
            Self::Memory => "as",
            Self::CoreSize => "core",
        }
    }
}

/// `struct mount_attr` of `mount_setattr(2)`.
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

const READ_ONLY: u64 = 0x1;
const NO_SET_UID: u64 = 0x2;
const NO_DEVICES: u64 = 0x4;
const NO_PROGRAMS: u64 = 0x8;
const HARMLESS: u64 = READ_ONLY | NO_SET_UID | NO_DEVICES;

impl Access {
    fn attributes(self) -> u64 {
        match self {
            Self::Read => HARMLESS,
            Self::Write => NO_SET_UID | NO_DEVICES,
            Self::Device => NO_SET_UID | NO_PROGRAMS,
        }
    }
}

/// `capabilities(7)`, "The securebits flags": user number 0 means nothing, changes of user numbers
/// give nothing, no ambient capabilities; each locked.
const NO_ROOT: libc::c_ulong = 0b1100_1111;

fn check(result: impl Into<i64>) -> Result<i64, i32> {
    match result.into() {
        -1 => Err(Errno::last_raw()),
        value => Ok(value),
    }
}

impl Op {
    /// Runs the step. Async-signal-safe: no allocation, no lock, no panic.
    #[expect(unsafe_code, reason = "plain system calls between fork and exec")]
    pub(super) fn run(&self) -> Result<(), i32> {
        // SAFETY: every call below is a system call with plain numbers, or with pointers to values
        // that live in `self` or on the stack and have the type that its man page asks for.
        unsafe {
            match self {
                Self::NewSession => check(libc::setsid()),
                Self::Tell { path, text, needed } => match tell(path, text) {
                    Err(errno) if *needed => Err(errno),
                    _ => Ok(0),
                },
                Self::PrivateMounts => {
                    let flags = libc::MS_REC | libc::MS_PRIVATE;
                    let none = std::ptr::null();
                    check(libc::mount(none, c"/".as_ptr(), none, flags, none.cast()))
                }
                Self::Tmpfs { at, options } => mount(c"tmpfs", at, options),
                Self::Proc { at } => mount(c"proc", at, c""),
                Self::Directory { at } => match check(libc::mkdir(at.as_ptr(), 0o755)) {
                    Err(libc::EEXIST) => Ok(0),
                    result => result,
                },
                Self::File { at } => {
                    let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC;
                    let file = check(libc::open(at.as_ptr(), flags, 0o644));
                    file.map(|file| OwnedFd::from_raw_fd(fd(file))).map(|_| 0)
                }
                Self::Symlink { says, at } => check(libc::symlink(says.as_ptr(), at.as_ptr())),
                Self::Bind { from, at, access } => bind(from, at, *access),
                Self::ReadOnly { at } => set_attributes(libc::AT_FDCWD, at, HARMLESS, 0),
                Self::Pivot { at } => pivot(at),
                Self::Limit { resource, most } => {
                    let limit = libc::rlimit64 {
                        rlim_cur: *most,
                        rlim_max: *most,
                    };
                    let (call, number) = (libc::SYS_prlimit64, resource.number());
                    let none = std::ptr::null::<libc::rlimit64>();
                    check(libc::syscall(call, 0, number, &raw const limit, none))
                }
                Self::DropCapabilities => drop_capabilities(),
                Self::NoNewPrivileges => check(libc::prctl(
                    libc::PR_SET_NO_NEW_PRIVS,
                    1_u64,
                    0_u64,
                    0_u64,
                    0_u64,
                )),
                Self::CloseDescriptors => {
                    let flags = libc::CLOSE_RANGE_CLOEXEC;
                    check(libc::syscall(
                        libc::SYS_close_range,
                        3,
                        libc::c_uint::MAX,
                        flags,
                    ))
                }
                Self::Landlock { rules } => {
                    let call = libc::SYS_landlock_restrict_self;
                    check(libc::syscall(call, rules.as_raw_fd(), 0_u64))
                }
            }
        }
        .map(|_| ())
    }

    /// The step as a line of `sh`, run with all capabilities in name spaces that `unshare` made.
    /// `None` for what `unshare` and the lines around do.
    pub(super) fn shell(&self) -> Option<OsString> {
        let line = match self {
            Self::Tmpfs { at, options } => {
                line(&[b"mount -t tmpfs -o", options.as_bytes(), b"tmpfs"], at)
            }
            Self::Proc { at } => line(&[b"mount -t proc proc"], at),
            Self::Directory { at } => line(&[b"mkdir -p"], at),
            Self::File { at } => line(&[b": >"], at),
            Self::Symlink { says, at } => line(&[b"ln -s", word(says.as_bytes()).as_bytes()], at),
            Self::Bind { from, at, access } => {
                let from = word(from.as_bytes());
                let mut text = line(&[b"mount --rbind", from.as_bytes()], at);
                if *access == Access::Read {
                    text.push("\n");
                    text.push(line(&[b"mount -o remount,bind,ro"], at));
                }
                text
            }
            // Of `Pivot` a part: the rest is left to the second `unshare`.
            Self::ReadOnly { at } | Self::Pivot { at } => line(&[b"mount -o remount,bind,ro"], at),
            _ => return None,
        };
        Some(line)
    }

    /// The step as an option of `prlimit(1)`, if it is a limit.
    pub(super) fn limit_option(&self) -> Option<String> {
        match self {
            Self::Limit { resource, most } => Some(format!("--{}={most}", resource.option())),
            _ => None,
        }
    }
}

/// Completes "could not …".
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |text: &CString| PathBuf::from(OsStr::from_bytes(text.as_bytes()));
        match self {
            Self::NewSession => f.write_str("make a session"),
            Self::Tell { path: file, .. } => write!(f, "write {}", path(file).display()),
            Self::PrivateMounts => f.write_str("make the mounts private"),
            Self::Tmpfs { at, .. } => write!(f, "mount a tmpfs on {}", path(at).display()),
            Self::Proc { at } => write!(f, "mount proc on {}", path(at).display()),
            Self::Directory { at } => write!(f, "make the directory {}", path(at).display()),
            Self::File { at } => write!(f, "make the file {}", path(at).display()),
            Self::Symlink { at, .. } => write!(f, "make the link {}", path(at).display()),
            Self::Bind { from, at, .. } => {
                write!(
                    f,
                    "mount {} on {}",
                    path(from).display(),
                    path(at).display()
                )
            }
            Self::ReadOnly { at } => write!(f, "make {} read-only", path(at).display()),
            Self::Pivot { at } => write!(f, "make {} the root", path(at).display()),
            Self::Limit { resource, .. } => write!(f, "set the limit {}", resource.option()),
            Self::DropCapabilities => f.write_str("give up capabilities"),
            Self::NoNewPrivileges => f.write_str("set no_new_privs"),
            Self::CloseDescriptors => f.write_str("close descriptors"),
            Self::Landlock { .. } => f.write_str("enter the Landlock domain"),
        }
    }
}

/// A path as a C string; `None` if it holds a NUL byte, so that there is no such path.
pub(super) fn c_path(path: &Path) -> Option<CString> {
    CString::new(path.as_os_str().as_bytes()).ok()
}

fn line(start: &[&[u8]], at: &CString) -> OsString {
    let mut text = start.join(&b' ');
    text.push(b' ');
    text.extend(word(at.as_bytes()).as_bytes());
    OsString::from_vec(text)
}

/// A descriptor as the kernel returned it.
fn fd(value: i64) -> i32 {
    i32::try_from(value).unwrap_or(-1)
}

#[expect(unsafe_code, reason = "plain system calls between fork and exec")]
fn tell(path: &CStr, text: &CStr) -> Result<i64, i32> {
    // SAFETY: both strings are live; the descriptor is ours alone.
    unsafe {
        let flags = libc::O_WRONLY | libc::O_CLOEXEC;
        let file = check(libc::open(path.as_ptr(), flags))?;
        let file = OwnedFd::from_raw_fd(fd(file));
        let bytes = text.to_bytes();
        let written = libc::write(file.as_raw_fd(), bytes.as_ptr().cast(), bytes.len());
        check(i64::try_from(written).unwrap_or(-1))
    }
}

#[expect(unsafe_code, reason = "plain system calls between fork and exec")]
fn mount(kind: &CStr, at: &CStr, options: &CStr) -> Result<i64, i32> {
    let mut flags = libc::MS_NOSUID | libc::MS_NODEV;
    if kind == c"proc" {
        flags |= libc::MS_NOEXEC;
    }
    let (name, options) = (kind.as_ptr(), options.as_ptr().cast());
    // SAFETY: live strings.
    check(unsafe { libc::mount(name, at.as_ptr(), name, flags, options) })
}

#[expect(unsafe_code, reason = "plain system calls between fork and exec")]
fn set_attributes(folder: i32, at: &CStr, set: u64, flags: i32) -> Result<i64, i32> {
    let attributes = MountAttributes {
        set,
        clear: 0,
        propagation: 0,
        user_namespace: 0,
    };
    let size = size_of::<MountAttributes>();
    let call = libc::SYS_mount_setattr;
    // SAFETY: a live string, and a live structure with its size.
    let result = unsafe {
        libc::syscall(
            call,
            folder,
            at.as_ptr(),
            flags,
            &raw const attributes,
            size,
        )
    };
    check(result)
}

/// A copy of the tree, made harmless before it is seen anywhere.
#[expect(unsafe_code, reason = "plain system calls between fork and exec")]
fn bind(from: &CStr, at: &CStr, access: Access) -> Result<i64, i32> {
    const OPEN_TREE_CLONE: u32 = 1;
    const MOVE_MOUNT_F_EMPTY_PATH: u32 = 4;
    let here = libc::AT_FDCWD;
    let recursive = libc::AT_RECURSIVE;
    // SAFETY: live strings; the descriptor is ours alone.
    unsafe {
        let flags = OPEN_TREE_CLONE | bits(libc::O_CLOEXEC | recursive);
        let tree = check(libc::syscall(
            libc::SYS_open_tree,
            here,
            from.as_ptr(),
            flags,
        ));
        let tree = match tree {
            // It was there when the policy was read. Then it is as if it had not been.
            Err(libc::ENOENT) if access == Access::Read => return Ok(0),
            tree => tree?,
        };
        let tree = OwnedFd::from_raw_fd(fd(tree));
        let whole = libc::AT_EMPTY_PATH | recursive;
        set_attributes(tree.as_raw_fd(), c"", access.attributes(), whole)?;
        check(libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            here,
            at.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        ))
    }
}

/// Flag bits without a sign.
fn bits(flags: i32) -> u32 {
    u32::from_ne_bytes(flags.to_ne_bytes())
}

/// The old root is mounted on top of the new one for a moment: `pivot_root(2)`, "`pivot_root(\".\",
/// \".\")`". A folder for it could bear a name that the policy shows.
#[expect(unsafe_code, reason = "plain system calls between fork and exec")]
fn pivot(at: &CStr) -> Result<i64, i32> {
    let here = c".".as_ptr();
    // SAFETY: live strings.
    unsafe {
        check(libc::chdir(at.as_ptr()))?;
        check(libc::syscall(libc::SYS_pivot_root, here, here))?;
        check(libc::umount2(here, libc::MNT_DETACH))?;
        check(libc::chdir(c"/".as_ptr()))?;
    }
    set_attributes(libc::AT_FDCWD, c"/", HARMLESS, 0)
}

#[expect(unsafe_code, reason = "plain system calls between fork and exec")]
fn drop_capabilities() -> Result<i64, i32> {
    // struct __user_cap_header_struct of version 3: 64 capabilities in two thirds of a data array.
    let header = [0x2008_0522_u32, 0];
    let none = [0_u32; 6];
    // SAFETY: plain numbers, and live arrays of the sizes that version 3 has.
    unsafe {
        for capability in 0..64_u64 {
            let call = libc::PR_CAPBSET_DROP;
            match check(libc::prctl(call, capability, 0_u64, 0_u64, 0_u64)) {
                Ok(_) => {}
                // The kernel has no more of them; or we may not, and then no_new_privs has to do.
                Err(libc::EINVAL | libc::EPERM) => break,
                Err(errno) => return Err(errno),
            }
        }
        match check(libc::prctl(
            libc::PR_SET_SECUREBITS,
            NO_ROOT,
            0_u64,
            0_u64,
            0_u64,
        )) {
            Ok(_) | Err(libc::EPERM) => {}
            Err(errno) => return Err(errno),
        }
        let call = libc::SYS_capset;
        check(libc::syscall(call, header.as_ptr(), none.as_ptr()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn securebits_lock_all_but_keep_caps() {
        // NOROOT, NO_SETUID_FIXUP, NO_CAP_AMBIENT_RAISE, each with its lock (linux/securebits.h).
        assert_eq!(NO_ROOT, 1 | 2 | 4 | 8 | 64 | 128);
    }
}
