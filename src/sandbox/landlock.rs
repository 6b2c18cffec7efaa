//! Landlock: what the policy does not name is refused. No name spaces, so no other view of files,
//! processes or the network.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
};
use nix::libc;

use super::op::Op;
use super::view::{self, Item, View};
use super::{Limits, Policy, Prepared, SandboxError, namespaces};
use crate::os_text::word;

/// The newest rights that are asked for. The library leaves out what the kernel does not know.
const NEWEST: ABI = ABI::V6;

/// Devices that may be used, as in a root of name spaces.
const DEVICES: &[&str] = &[
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
];

pub(super) fn prepare(policy: &Policy) -> Result<Prepared, SandboxError> {
    let view = view::view(policy)?;
    let failed = |error: &dyn std::error::Error| SandboxError::Step {
        step: "make Landlock rules".to_owned(),
        advice: Some("Landlock is not in this kernel, or not among its active security modules"),
        source: io::Error::other(error.to_string()),
    };
    let rules: Option<OwnedFd> = rules(policy, &view).map_err(|error| failed(&error))?.into();
    let Some(rules) = rules else {
        return Err(failed(&io::Error::from_raw_os_error(libc::EOPNOTSUPP)));
    };
    // All processes of the user would count.
    let limits = Limits {
        processes: None,
        ..policy.limits.clone()
    };
    let mut inner = vec![Op::NewSession];
    inner.extend(namespaces::limits(&limits));
    inner.extend([
        Op::DropCapabilities, // Root has many that no rule bounds.
        Op::NoNewPrivileges,
        Op::CloseDescriptors,
        Op::Landlock { rules },
    ]);
    Ok(Prepared {
        inner,
        shell: shell(policy),
        ..Prepared::default()
    })
}

fn rules(policy: &Policy, view: &View) -> Result<RulesetCreated, RulesetError> {
    let all = AccessFs::from_all(NEWEST);
    let read = AccessFs::from_read(NEWEST);
    let mut rules = Ruleset::default()
        .handle_access(all)?
        .scope(Scope::from_all(NEWEST))?;
    if !policy.network {
        rules = rules.handle_access(AccessNet::from_all(NEWEST))?;
    }
    let mut rules = rules.create()?;
    let mut allow = |path: &std::path::Path, access: BitFlags<AccessFs>| {
        // A path that vanished, or that may not even be looked at, needs no rule.
        match PathFd::new(path) {
            Ok(file) => (&mut rules)
                .add_rule(PathBeneath::new(file, access))
                .map(|_| ()),
            Err(_) => Ok(()),
        }
    };
    allow("/proc".as_ref(), read)?;
    for device in DEVICES {
        allow(device.as_ref(), AccessFs::from_file(NEWEST))?;
    }
    for (path, item) in view {
        let Item::Tree { write, directory } = item else {
            continue;
        };
        let mut access = if *write { all } else { read };
        if !directory {
            access &= AccessFs::from_file(NEWEST);
        }
        allow(path, access)?;
    }
    Ok(rules)
}

/// What the running kernel's Landlock does not enforce.
pub(super) fn lacks() -> String {
    let version = version();
    let mut lacks = String::from(
        "hiding of names and attributes outside, hiding of other processes, the limit of processes, \
         a private /tmp, ",
    );
    lacks.push_str(match version {
        ..4 => "the network (TCP: Linux 6.7)",
        _ => "the network but for TCP",
    });
    if version < 6 {
        lacks.push_str(", signals to other processes (Linux 6.12)");
    }
    lacks
}

/// The version of the kernel's Landlock; 0 if it has none.
fn version() -> i64 {
    const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
    let flags = LANDLOCK_CREATE_RULESET_VERSION;
    #[expect(unsafe_code, reason = "the library does not tell")]
    // SAFETY: with this flag the attributes are null and of size 0 (`landlock_create_ruleset(2)`).
    let version = unsafe {
        let none = std::ptr::null::<()>();
        libc::syscall(libc::SYS_landlock_create_ruleset, none, 0_usize, flags)
    };
    version.max(0)
}

/// No program of the system applies Landlock (`setpriv` does so since util-linux 2.40, without its
/// network rules), so svhcheck does it.
fn shell(policy: &Policy) -> OsString {
    let mut text = OsString::from("sandboxed() {\n\"${SVHCHECK:-svhcheck}\" trace");
    text.push(" --output /dev/null --sandbox landlock");
    let options = [("--read", &policy.read), ("--write", &policy.write)];
    for (option, paths) in options {
        for path in paths {
            text.push(" \\\n");
            text.push(option);
            text.push(" ");
            text.push(word(path.as_os_str().as_bytes()));
        }
    }
    if policy.network {
        text.push(" --network");
    }
    text.push(" -- \"$@\"\n}\n");
    text
}
