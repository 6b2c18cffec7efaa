//! Files of the kernel that tell of the world: a read of one of them is given a memory file with
//! chosen content instead.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::Steer;
use super::stream::{Stream, mix};

/// Bytes of a substitute for an endless random device. Nobody draws more for a seed.
const RANDOM_BYTES: usize = 256 * 1024;

/// What `path` shall hold under `steer`; `None` if the two have nothing to do with each other.
pub(super) fn content(
    steer: &Steer,
    path: &Path,
    seed: impl FnOnce(u64) -> u64,
) -> Option<Vec<u8>> {
    if let Steer::Content(own, bytes) = steer {
        return (path == own).then(|| bytes.to_vec());
    }
    let path = path.as_os_str().as_bytes();
    match steer {
        Steer::Randomness(chosen) => match path {
            b"/dev/urandom" | b"/dev/random" => {
                Some(Stream::new(seed(*chosen)).bytes(RANDOM_BYTES))
            }
            b"/proc/sys/kernel/random/uuid" => Some(uuid(seed(*chosen))),
            b"/proc/sys/kernel/random/boot_id" => Some(uuid(mix(*chosen, 1))),
            _ => None,
        },
        Steer::Host(name) => match path {
            b"/proc/sys/kernel/hostname" | b"/etc/hostname" => Some(line(name)),
            _ => None,
        },
        Steer::Kernel(release) => match path {
            b"/proc/sys/kernel/osrelease" => Some(line(release)),
            b"/proc/version" => {
                let mut text = b"Linux version ".to_vec();
                text.extend(line(release));
                Some(text)
            }
            _ => None,
        },
        Steer::Cpus(count) => match path {
            b"/sys/devices/system/cpu/online"
            | b"/sys/devices/system/cpu/possible"
            | b"/sys/devices/system/cpu/present" => {
                let last = count.saturating_sub(1);
                let text = if last == 0 {
                    "0\n".to_owned()
                } else {
                    format!("0-{last}\n")
                };
                Some(text.into_bytes())
            }
            b"/proc/cpuinfo" => {
                let real = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
                Some(cpuinfo(&real, *count).into_bytes())
            }
            _ if path.starts_with(b"/sys/fs/cgroup/") && path.ends_with(b"/cpu.max") => {
                Some(b"max 100000\n".to_vec())
            }
            _ => None,
        },
        _ => None,
    }
}

fn line(text: &OsStr) -> Vec<u8> {
    [text.as_bytes(), b"\n"].concat()
}

/// A version 4 UUID, as the kernel writes it.
fn uuid(seed: u64) -> Vec<u8> {
    let mut stream = Stream::new(seed);
    let (high, low) = (stream.next(), stream.next());
    let version = (high & 0xffff_ffff_ffff_0fff) | 0x4000;
    let variant = (low & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000;
    let text = format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}\n",
        version >> 32,
        (version >> 16) & 0xffff,
        version & 0xffff,
        variant >> 48,
        variant & 0xffff_ffff_ffff,
    );
    text.into_bytes()
}

/// The first processor's paragraph, once for each.
fn cpuinfo(real: &str, count: u32) -> String {
    let first = real.split("\n\n").next().unwrap_or_default();
    let paragraph = |number: u32| {
        let lines = first.lines().map(|line| match line.split_once(':') {
            Some((name, _)) if name.trim() == "processor" => format!("{name}: {number}\n"),
            _ => format!("{line}\n"),
        });
        lines.chain(["\n".to_owned()]).collect::<String>()
    };
    (0..count).map(paragraph).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(steer: &Steer, path: &str) -> Option<String> {
        content(steer, Path::new(path), |seed| seed)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    #[test]
    fn known_files_get_chosen_content() {
        let host = Steer::Host("pinned".into());
        assert_eq!(text(&host, "/etc/hostname").as_deref(), Some("pinned\n"));
        assert_eq!(text(&host, "/etc/hosts"), None);
        let online = "/sys/devices/system/cpu/online";
        assert_eq!(text(&Steer::Cpus(4), online).as_deref(), Some("0-3\n"));
        assert_eq!(text(&Steer::Cpus(1), online).as_deref(), Some("0\n"));
        let uuid = text(&Steer::Randomness(1), "/proc/sys/kernel/random/uuid");
        let uuid = uuid.expect("it is steered");
        assert_eq!(uuid.len(), 37);
        assert_eq!(&uuid[14..15], "4");
    }

    #[test]
    fn processors_are_counted_out() {
        let two = cpuinfo(
            "processor\t: 0\nmodel\t: x\n\nprocessor\t: 1\nmodel\t: x\n",
            3,
        );
        assert_eq!(two.matches("model").count(), 3);
        assert!(two.contains("processor\t: 2\n"));
    }
}
