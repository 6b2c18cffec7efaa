//! Reading and writing a stopped thread's memory.

use std::io::{IoSlice, IoSliceMut};

use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::Pid;

/// Bytes that may be read at once without running into a page that is not there.
const PAGE: u64 = 4096;
/// Bytes of a string that are read at once: most paths fit.
const CHUNK: usize = 256;

/// The memory of one thread at one stop. The piece last read is kept, because the strings of an
/// argument list lie side by side.
#[derive(Debug)]
pub(crate) struct Memory {
    pid: Pid,
    base: u64,
    piece: Vec<u8>,
}

impl Memory {
    pub(crate) fn new(tid: i32) -> Self {
        Self {
            pid: Pid::from_raw(tid),
            base: 0,
            piece: Vec::new(),
        }
    }

    /// Fills `buffer` from `address`; an error if any byte of it cannot be read.
    pub(crate) fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), Errno> {
        let wanted = buffer.len();
        let remote = [remote(address, wanted)?];
        let got = process_vm_readv(self.pid, &mut [IoSliceMut::new(buffer)], &remote)?;
        if got == wanted {
            Ok(())
        } else {
            Err(Errno::EFAULT)
        }
    }

    /// Reads up to `wanted` bytes, as many as are mapped in one piece.
    pub(crate) fn read_some(&self, address: u64, wanted: usize) -> Result<Vec<u8>, Errno> {
        let mut buffer = vec![0; wanted];
        let remote = [remote(address, wanted)?];
        let got = process_vm_readv(self.pid, &mut [IoSliceMut::new(&mut buffer)], &remote)?;
        buffer.truncate(got);
        Ok(buffer)
    }

    /// One 64-bit word.
    pub(crate) fn word(&self, address: u64) -> Result<u64, Errno> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    /// Writes `bytes` at `address`.
    pub(crate) fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        let remote = [remote(address, bytes.len())?];
        let put = process_vm_writev(self.pid, &[IoSlice::new(bytes)], &remote)?;
        if put == bytes.len() {
            Ok(())
        } else {
            Err(Errno::EFAULT)
        }
    }

    /// The bytes from `address` up to a NUL, at most `limit` of them.
    pub(crate) fn string(&mut self, address: u64, limit: usize) -> Result<Vec<u8>, Errno> {
        let mut found = Vec::new();
        let mut at = address;
        while found.len() < limit {
            let piece = self.piece_from(at)?;
            if let Some(end) = piece.iter().position(|&byte| byte == 0) {
                found.extend_from_slice(&piece[..end]);
                break;
            }
            found.extend_from_slice(piece);
            at += piece.len() as u64;
        }
        found.truncate(limit);
        Ok(found)
    }

    /// The pointers from `address` up to a null one, at most `limit` of them.
    pub(crate) fn pointers(&self, address: u64, limit: usize) -> Result<Vec<u64>, Errno> {
        let mut found = Vec::new();
        let mut at = address;
        if address == 0 {
            return Ok(found); // Linux takes a null argv or envp as an empty one.
        }
        while found.len() < limit {
            let piece = self.read_some(at, to_page_end(at))?;
            if piece.len() < 8 {
                // A pointer that straddles two pages.
                found.push(self.word(at)?);
                at += 8;
            }
            for bytes in piece.chunks_exact(8) {
                found.push(u64::from_ne_bytes(bytes.try_into().expect("eight bytes")));
                at += 8;
            }
            if let Some(end) = found.iter().position(|&pointer| pointer == 0) {
                found.truncate(end);
                break;
            }
        }
        Ok(found)
    }

    /// What the piece of memory around `address` holds from there on.
    fn piece_from(&mut self, address: u64) -> Result<&[u8], Errno> {
        let end = self.base + self.piece.len() as u64;
        if !(self.base..end).contains(&address) {
            self.piece = self.read_some(address, to_page_end(address).min(CHUNK))?;
            self.base = address;
            if self.piece.is_empty() {
                return Err(Errno::EFAULT);
            }
        }
        let start = usize::try_from(address - self.base).expect("within one page");
        Ok(&self.piece[start..])
    }
}

fn to_page_end(address: u64) -> usize {
    usize::try_from(PAGE - address % PAGE).expect("at most one page")
}

fn remote(address: u64, len: usize) -> Result<RemoteIoVec, Errno> {
    let base = usize::try_from(address).map_err(|_| Errno::EFAULT)?;
    Ok(RemoteIoVec { base, len })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process may read itself, so the reader is tested without a tracee.
    fn own() -> Memory {
        Memory::new(nix::unistd::getpid().as_raw())
    }

    #[test]
    fn strings_across_pages_are_read_whole() {
        let mut text = vec![b'x'; 10_000];
        text.push(0);
        let address = text.as_ptr() as u64;
        assert_eq!(
            own()
                .string(address, 1 << 20)
                .expect("our own memory")
                .len(),
            10_000
        );
        assert_eq!(
            own().string(address, 100).expect("our own memory").len(),
            100
        );
        assert!(own().string(8, 100).is_err());
    }

    #[test]
    fn pointer_lists_end_at_null() {
        let mut list: Vec<u64> = (1..=2000).collect();
        list.push(0);
        list.push(9);
        let address = list.as_ptr() as u64;
        assert_eq!(
            own()
                .pointers(address, 1 << 20)
                .expect("our own memory")
                .len(),
            2000
        );
        assert!(own().pointers(0, 10).expect("our own memory").is_empty());
    }
}
