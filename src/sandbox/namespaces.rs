//! User, mount, PID, network, UTS and IPC name spaces: what the policy does not name is not there.
//!
//! The command keeps its user and group numbers (one of each can be mapped without privileges) but
//! has no capability, not even over what was made here. The root is a tmpfs in which trees of the
//! old root are mounted at their own paths; it goes away with the last process.

use std::collections::BTreeSet;
use std::ffi::{CString, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::libc;
use nix::unistd::{getegid, geteuid};

use super::op::{Access, Op, Resource, c_path};
use super::view::{self, Item, View};
use super::{Limits, Policy, Prepared, SandboxError};
use crate::os_text::word;

/// Where the new root may be put together: an existing folder, of which the policy shows nothing.
const PLACES: &[&str] = &[
    "/mnt", "/media", "/srv", "/opt", "/home", "/tmp", "/var", "/run",
];

/// All that a compiler needs of `/dev`.
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom"];

/// What `/dev` has beside devices.
const DEVICE_LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// The kernel allows no lower `pid_max` (`RESERVED_PIDS`).
const LEAST_PID_MAX: u32 = 301;

/// Bytes of the new root itself, which holds only mount points.
const ROOT_SIZE: &str = "mode=0755,size=16m";

pub(super) fn prepare(policy: &Policy) -> Result<Prepared, SandboxError> {
    let view = view::view(policy)?;
    let place = place(&view).ok_or_else(|| SandboxError::Step {
        step: format!(
            "find a folder to mount its root on, of {}",
            PLACES.join(", ")
        ),
        advice: None,
        source: io::Error::from(io::ErrorKind::NotFound),
    })?;
    let mut namespaces = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC;
    if !policy.network {
        namespaces |= libc::CLONE_NEWNET; // Its loopback is down, too.
    }

    let mut root = Root {
        place,
        made: BTreeSet::new(),
        steps: Vec::new(),
    };
    root.found(policy);
    root.fill(&view, policy.limits.tmp_size);
    let at = |path: &str| c_path(&root.place.join(path)).unwrap_or_default();
    let finish = [
        // Nothing in there is the policy's to write. As root that is no formality: much of
        // /proc/sys goes by the user number alone.
        Op::ReadOnly { at: at("proc") },
        Op::Pivot {
            at: c_path(&root.place).unwrap_or_default(),
        },
    ];
    let mut outer = identity();
    outer.push(Op::PrivateMounts);
    outer.append(&mut root.steps);
    outer.extend(finish);

    let mut inner = limits(&policy.limits);
    inner.extend([
        Op::DropCapabilities,
        Op::NoNewPrivileges,
        Op::CloseDescriptors,
    ]);
    let shell = shell(&root.place, policy, &outer, &inner);
    Ok(Prepared {
        namespaces,
        outer,
        inner,
        shell,
    })
}

fn place(view: &View) -> Option<PathBuf> {
    let free = |place: &&Path| {
        // The empty folders are made in the root, wherever that is put together.
        let named = view.iter().filter(|(_, item)| **item != Item::Fresh);
        let mut named = named.map(|(path, _)| path);
        let overlaps = |path: &PathBuf| path.starts_with(place) || place.starts_with(path);
        !named.any(overlaps) && place.symlink_metadata().is_ok_and(|data| data.is_dir())
    };
    let place = PLACES.iter().map(Path::new).find(free)?;
    Some(place.to_path_buf())
}

/// The same user and group inside as outside, in a session of its own.
fn identity() -> Vec<Op> {
    let tell = |path: &str, text: String| Op::Tell {
        path: CString::new(path).unwrap_or_default(),
        text: CString::new(text).unwrap_or_default(),
        needed: true,
    };
    let (user, group) = (geteuid(), getegid());
    vec![
        Op::NewSession,
        tell("/proc/self/setgroups", "deny".to_owned()),
        tell("/proc/self/uid_map", format!("{user} {user} 1\n")),
        tell("/proc/self/gid_map", format!("{group} {group} 1\n")),
    ]
}

/// Bounds that go over to all children.
pub(super) fn limits(limits: &Limits) -> Vec<Op> {
    let limit = |resource, most: Option<u64>| most.map(|most| Op::Limit { resource, most });
    let limits = [
        limit(Resource::Processes, limits.processes.map(u64::from)),
        limit(Resource::FileSize, limits.file_size),
        limit(Resource::Memory, limits.memory),
        limit(Resource::CoreSize, Some(0)),
    ];
    limits.into_iter().flatten().collect()
}

/// The root under construction.
struct Root {
    place: PathBuf,
    /// Folders that were made in it.
    made: BTreeSet<PathBuf>,
    steps: Vec<Op>,
}

impl Root {
    /// A path of the sandbox, while its root is still elsewhere.
    fn at(&self, path: &Path) -> CString {
        let below = path.strip_prefix("/").unwrap_or(path);
        // No path of a file that is there holds a NUL byte.
        c_path(&self.place.join(below)).unwrap_or_default()
    }

    fn directory(&mut self, path: &Path) {
        if path != Path::new("/") && self.made.insert(path.to_path_buf()) {
            let at = self.at(path);
            self.steps.push(Op::Directory { at });
        }
    }

    fn parents(&mut self, path: &Path) {
        let mut folders: Vec<&Path> = path.ancestors().skip(1).collect();
        folders.reverse();
        for folder in folders {
            self.directory(folder);
        }
    }

    /// What every root has: `/proc` and `/dev`.
    fn found(&mut self, policy: &Policy) {
        let root = c_path(&self.place).unwrap_or_default();
        self.steps.push(tmpfs(root, ROOT_SIZE.to_owned()));
        for folder in ["/proc", "/dev"] {
            self.directory(Path::new(folder));
        }
        // While the old one is still there: the kernel gives a /proc only to who sees one whole.
        let at = self.at(Path::new("/proc"));
        self.steps.push(Op::Proc { at });
        for device in DEVICES {
            let path = Path::new("/dev").join(device);
            self.tree(&path, false, Access::Device);
        }
        for (name, says) in DEVICE_LINKS {
            let at = self.at(&Path::new("/dev").join(name));
            let says = CString::new(*says).unwrap_or_default();
            self.steps.push(Op::Symlink { says, at });
        }
        let tell = |path: &str, number: u32| Op::Tell {
            path: self.at(Path::new(path)),
            text: CString::new(number.to_string()).unwrap_or_default(),
            needed: false,
        };
        // Where root's processes are not counted (`RLIMIT_NPROC` does not bind it); Linux 6.14.
        let most = policy.limits.processes;
        let most = most.map(|most| tell("/proc/sys/kernel/pid_max", most.max(LEAST_PID_MAX)));
        // In name spaces of its own making the command would have capabilities again.
        let none = tell("/proc/sys/user/max_user_namespaces", 0);
        self.steps.extend(most);
        self.steps.push(none);
    }

    fn fill(&mut self, view: &View, temp_size: Option<u64>) {
        let size = temp_size.map_or(String::new(), |bytes| format!(",size={bytes}"));
        for (path, item) in view {
            let inside = view::around(view, path).is_some();
            if !inside {
                self.parents(path);
            }
            match item {
                Item::Link(says) => {
                    let (says, at) = (c_path(says).unwrap_or_default(), self.at(path));
                    self.steps.push(Op::Symlink { says, at });
                }
                Item::Fresh => {
                    if !inside {
                        self.directory(path);
                    }
                    let at = self.at(path);
                    self.steps.push(tmpfs(at, format!("mode=1777{size}")));
                }
                Item::Tree { write, directory } => {
                    let access = if *write { Access::Write } else { Access::Read };
                    if inside {
                        self.bind(path, access);
                    } else {
                        self.tree(path, *directory, access);
                    }
                }
            }
        }
    }

    /// Mounts a file or folder on a new one of its kind.
    fn tree(&mut self, path: &Path, directory: bool, access: Access) {
        if directory {
            self.directory(path);
        } else {
            let at = self.at(path);
            self.steps.push(Op::File { at });
        }
        self.bind(path, access);
    }

    fn bind(&mut self, path: &Path, access: Access) {
        let from = c_path(path).unwrap_or_default();
        let at = self.at(path);
        self.steps.push(Op::Bind { from, at, access });
    }
}

fn tmpfs(at: CString, options: String) -> Op {
    Op::Tmpfs {
        at,
        options: CString::new(options).unwrap_or_default(),
    }
}

/// The same by util-linux: `unshare` makes the name spaces, a shell in them mounts, and a second
/// `unshare` gives the command its own user number back and makes the new root its root.
fn shell(place: &Path, policy: &Policy, outer: &[Op], inner: &[Op]) -> OsString {
    let mut script = OsString::new();
    for line in outer.iter().filter_map(Op::shell) {
        script.push(line);
        script.push("\n");
    }
    let limits: Vec<String> = inner.iter().filter_map(Op::limit_option).collect();
    let place = word(place.as_os_str().as_bytes());
    script.push("user=$1 group=$2; shift 2\n");
    script.push(format!("exec prlimit {} -- \\\n", limits.join(" ")));
    script.push("unshare --map-user=\"$user\" --map-group=\"$group\" --root=");
    script.push(place);
    script.push(" --wd=\"$PWD\" -- \"$@\"");

    let network = if policy.network { "" } else { " --net" };
    let mut text = OsString::from(
        "# Needs util-linux 2.38. Shows the command the same files; to repeat a run, not to\n\
         # contain a hostile one: svhcheck also takes all capabilities away.\n\
         sandboxed() {\n",
    );
    text.push("unshare --map-root-user --mount --pid --uts --ipc");
    text.push(network);
    text.push(" --fork --kill-child=KILL -- \\\nsh -euc ");
    text.push(word(script.as_bytes()));
    text.push(" sandboxed \"$(id -u)\" \"$(id -g)\" \"$@\"\n}\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_before_children_and_each_once() {
        let view = View::from([
            (PathBuf::from("/a/b/c"), Item::Link("d".into())),
            (
                PathBuf::from("/a/b/d"),
                Item::Tree {
                    write: false,
                    directory: true,
                },
            ),
            (
                PathBuf::from("/a/b/d/out"),
                Item::Tree {
                    write: true,
                    directory: true,
                },
            ),
            (
                PathBuf::from("/a/f"),
                Item::Tree {
                    write: false,
                    directory: false,
                },
            ),
        ]);
        let mut root = Root {
            place: "/mnt".into(),
            made: BTreeSet::new(),
            steps: Vec::new(),
        };
        root.fill(&view, None);
        let steps: Vec<String> = root.steps.iter().map(Op::to_string).collect();
        assert_eq!(
            steps,
            [
                "make the directory /mnt/a",
                "make the directory /mnt/a/b",
                "make the link /mnt/a/b/c",
                "make the directory /mnt/a/b/d",
                "mount /a/b/d on /mnt/a/b/d",
                "mount /a/b/d/out on /mnt/a/b/d/out",
                "make the file /mnt/a/f",
                "mount /a/f on /mnt/a/f",
            ]
        );
    }

    #[test]
    fn the_root_is_built_where_nothing_is_shown() {
        let shown = |path: &str| {
            let tree = Item::Tree {
                write: false,
                directory: true,
            };
            View::from([(PathBuf::from(path), tree)])
        };
        assert_eq!(place(&shown("/tmp/x")), place(&View::new()));
        assert_ne!(place(&shown("/mnt/x")), Some(PathBuf::from("/mnt")));
    }
}
