//! Directories whose lists are served from here, and files that are said not to be there.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use nix::libc;

use super::Steer;
use super::answer::{Answer, Call, device_of, number_for, written};
use super::listing::Listing;
use crate::os_text::normalized;
use crate::trace::access::Access;
use crate::trace::decode::{descriptor, int};
use crate::trace::memory::Memory;
use crate::trace::state::Run;

impl Run {
    pub(super) fn list(&mut self, tid: i32, call: &Call<'_>, memory: &Memory) -> Option<Answer> {
        let injection = &self.watch.injection;
        let order = injection.find(call.frames, |steer| match steer {
            Steer::DirOrder(order) => Some(*order),
            _ => None,
        });
        let inode = self.inode_rule(call);
        let [fd, buffer, room, ..] = call.args;
        let hidden = self.hidden_entries(tid, call, int(fd));
        if order.is_none() && inode.is_none() && hidden.is_empty() {
            return None;
        }
        let key = (self.tasks[&tid].process, int(fd));
        if !self.steering.listings.contains_key(&key) {
            // A refusal (not a directory, no permission) is left to the kernel to tell.
            let mut listing = Listing::read(tid, int(fd)).ok()?;
            listing.leave_out(&hidden);
            if let Some((_, order)) = order {
                listing.order(order);
            }
            if let Some(seed) = inode {
                let directory = descriptor(tid, int(fd)).unwrap_or_default();
                let device = device_of(tid, int(fd));
                listing.renumber(|entry| {
                    let path = directory.join(OsStr::from_bytes(&entry.name));
                    let real = (device, entry.inode);
                    number_for(&mut self.steering.inodes, seed, real, &path)
                });
            }
            self.steering.listings.insert(key, listing);
        }
        let listing = self.steering.listings.get_mut(&key)?;
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let Some(bytes) = listing.serve(room) else {
            return Some(Answer::Return(-i64::from(libc::EINVAL)));
        };
        let length = i64::try_from(bytes.len()).unwrap_or(0);
        Some(written(memory, buffer, &bytes, length))
    }

    /// Whether a call names what is said not to be there, or something below it.
    pub(super) fn is_absent(&self, call: &Call<'_>) -> bool {
        // What is listed was opened, so it is there.
        let path = match call.access {
            Access::List { .. } => return false,
            access => access.path(),
        };
        path.is_some_and(|path| {
            let mut hidden = self.watch.injection.hidden(call.frames);
            let plain = normalized(&path.absolute);
            hidden.any(|own| plain.starts_with(own) || path.place().starts_with(own))
        })
    }

    /// Names in the directory behind `fd` that are said not to be there.
    fn hidden_entries(&self, tid: i32, call: &Call<'_>, fd: i32) -> Vec<Vec<u8>> {
        let mut hidden = self.watch.injection.hidden(call.frames).peekable();
        if hidden.peek().is_none() {
            return Vec::new();
        }
        let directory = descriptor(tid, fd).unwrap_or_default();
        let inside = hidden.filter(|own| own.parent() == Some(&directory));
        inside
            .filter_map(|own| Some(own.file_name()?.as_bytes().to_vec()))
            .collect()
    }

    /// Rewinding or seeking in a directory that we list.
    pub(super) fn seek(&mut self, tid: i32, call: &Call<'_>) -> Option<Answer> {
        let [fd, offset, whence, ..] = call.args;
        let key = (self.tasks.get(&tid)?.process, int(fd));
        let listing = self.steering.listings.get_mut(&key)?;
        let target = match int(whence) {
            libc::SEEK_SET => usize::try_from(offset).ok()?,
            libc::SEEK_CUR if offset == 0 => listing.next,
            _ => return None,
        };
        if target == 0 {
            self.steering.listings.remove(&key); // Read it anew, as rewinddir promises.
        } else {
            listing.next = target;
        }
        Some(Answer::Return(i64::try_from(target).unwrap_or(0)))
    }
}
