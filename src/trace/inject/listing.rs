//! Directory lists in a chosen order: the whole directory is read at the first call, ordered, and
//! served from there.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc;

use super::DirOrder;
use super::stream::{Stream, digest};

/// Bytes of a `struct linux_dirent64` before the name: inode, offset, length, type.
const HEAD: usize = 19;

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) inode: u64,
    pub(super) kind: u8,
}

/// A directory that is being listed.
#[derive(Debug)]
pub(super) struct Listing {
    entries: Vec<Entry>,
    /// Index of the next entry to serve; offsets given to the program are indices too.
    pub(super) next: usize,
}

impl Listing {
    /// Reads the directory that a thread has open, by a description of our own.
    pub(super) fn read(tid: i32, fd: i32) -> io::Result<Self> {
        let directory = File::open(format!("/proc/{tid}/fd/{fd}"))?;
        let mut entries = Vec::new();
        let mut buffer = vec![0_u8; 64 * 1024];
        loop {
            let (handle, target) = (directory.as_raw_fd(), buffer.as_mut_ptr());
            #[expect(unsafe_code, reason = "neither nix nor std has getdents64")]
            // SAFETY: `buffer` is live and as long as is said.
            let got = unsafe { libc::syscall(libc::SYS_getdents64, handle, target, buffer.len()) };
            match usize::try_from(got) {
                Ok(0) => break,
                Ok(got) => entries.extend(parse(&buffer[..got])),
                Err(_) => return Err(Errno::last().into()),
            }
        }
        Ok(Self { entries, next: 0 })
    }

    /// Drops the entries of these names.
    pub(super) fn leave_out(&mut self, names: &[Vec<u8>]) {
        self.entries.retain(|entry| !names.contains(&entry.name));
    }

    /// Puts the entries in order; `.` and `..` stay in front.
    pub(super) fn order(&mut self, order: DirOrder) {
        let is_dot = |entry: &Entry| entry.name == b"." || entry.name == b"..";
        self.entries
            .sort_by(|a, b| (!is_dot(a), a).cmp(&(!is_dot(b), b)));
        let dots = self.entries.iter().filter(|entry| is_dot(entry)).count();
        let rest = &mut self.entries[dots..];
        match order {
            DirOrder::Sorted => {}
            DirOrder::Reversed => rest.reverse(),
            DirOrder::Shuffled(seed) => {
                let names = rest
                    .iter()
                    .fold(seed, |seed, entry| digest(seed, &entry.name));
                Stream::new(names).shuffle(rest);
            }
        }
    }

    /// Replaces inode numbers.
    pub(super) fn renumber(&mut self, mut number: impl FnMut(&Entry) -> u64) {
        for entry in &mut self.entries {
            entry.inode = number(entry);
        }
    }

    /// The next entries in the kernel's form, at most `room` bytes. `None` if not even one fits.
    pub(super) fn serve(&mut self, room: usize) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let started = self.next;
        while let Some(entry) = self.entries.get(self.next) {
            let length = (HEAD + entry.name.len() + 1).next_multiple_of(8);
            if bytes.len() + length > room {
                break;
            }
            let start = bytes.len();
            bytes.extend(entry.inode.to_ne_bytes());
            bytes.extend((self.next as u64 + 1).to_ne_bytes());
            bytes.extend(
                u16::try_from(length)
                    .expect("names are short")
                    .to_ne_bytes(),
            );
            bytes.push(entry.kind);
            bytes.extend(&entry.name);
            bytes.resize(start + length, 0);
            self.next += 1;
        }
        let stuck = self.next == started && self.next < self.entries.len();
        (!stuck).then_some(bytes)
    }
}

fn parse(mut bytes: &[u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    while bytes.len() > HEAD {
        let length = usize::from(u16::from_ne_bytes([bytes[16], bytes[17]]));
        let Some(record) = bytes.get(..length).filter(|record| record.len() > HEAD) else {
            break;
        };
        let name = &record[HEAD..];
        let end = name
            .iter()
            .position(|&byte| byte == 0)
            .unwrap_or(name.len());
        entries.push(Entry {
            name: name[..end].to_vec(),
            inode: u64::from_ne_bytes(record[..8].try_into().expect("eight bytes")),
            kind: record[18],
        });
        bytes = &bytes[length..];
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(names: &[&str]) -> Listing {
        let entry = |name: &&str| Entry {
            name: name.as_bytes().to_vec(),
            inode: 7,
            kind: 8,
        };
        Listing {
            entries: names.iter().map(entry).collect(),
            next: 0,
        }
    }

    fn names(listing: &mut Listing, room: usize) -> Vec<String> {
        let mut names = Vec::new();
        loop {
            let bytes = listing.serve(room).expect("there is room");
            if bytes.is_empty() {
                return names;
            }
            let text = |entry: Entry| String::from_utf8(entry.name).expect("ASCII");
            names.extend(parse(&bytes).into_iter().map(text));
        }
    }

    #[test]
    fn orders_keep_the_dots_in_front() {
        let mut some = listing(&["b", "..", "c", "+x", ".", "a"]);
        some.order(DirOrder::Sorted);
        assert_eq!(names(&mut some, 64), [".", "..", "+x", "a", "b", "c"]);
        some.order(DirOrder::Reversed);
        some.next = 0;
        assert_eq!(names(&mut some, 4096), [".", "..", "c", "b", "a", "+x"]);
        some.order(DirOrder::Shuffled(3));
        some.next = 0;
        let shuffled = names(&mut some, 4096);
        assert_eq!(shuffled.len(), 6);
        assert_eq!(&shuffled[..2], [".", ".."]);
    }

    #[test]
    fn a_room_too_small_is_told() {
        assert!(listing(&["a"]).serve(8).is_none());
        assert!(listing(&[]).serve(8).is_some());
    }
}
