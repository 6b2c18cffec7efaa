//! Which code stands behind a stop: the stack, unwound frame by frame with framehop, and the mapped
//! file of each frame.
//!
//! Only the mapped files that a stack really touches are read, and what is read is kept per file in
//! a [`ModuleCache`] that runs may share. Nothing here knows what a module is to the caller (a macro,
//! a compiler, a linker).

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::{Deref, Range};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use framehop::{
    CacheNative, ExplicitModuleSectionInfo, FrameAddress, MayAllocateDuringUnwind, Module,
    UnwindRegsNative, Unwinder as _, UnwinderNative,
};
use object::read::elf::{ElfFile64, ProgramHeader as _};
use object::{Endianness, Object as _, ObjectSection as _, ReadCache};

use super::arch::{Native, Registers};
use super::memory::Memory;
use super::modules::ModuleCache;

/// Deepest stack that is recorded.
const DEPTH: usize = 96;
/// How much stack is read at once.
const STACK_CHUNK: u64 = 4096;

/// One stack frame: code within a mapped file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The mapped file.
    pub module: Arc<Path>,
    /// The address in the file's own numbering, the same in every run; within the call instruction
    /// for every frame but the innermost.
    pub offset: u64,
    /// The function, demangled, once [`ModuleCache::symbolize`] has looked.
    pub symbol: Option<Arc<str>>,
    /// The line of source, where debug information tells it.
    pub line: Option<Line>,
}

/// A line of source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The file, as the compiler was given it.
    pub file: Arc<str>,
    /// Its line, from 1.
    pub line: u32,
}

/// A file mapped as code into one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) range: Range<u64>,
    file_offset: u64,
    pub(crate) path: Arc<Path>,
}

/// Bytes of a file, shared by the unwinders of all processes that map it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shared(Arc<Vec<u8>>);

impl Deref for Shared {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Shared {
    /// Reads part of a file. Read rather than mapped: a file that is cut short meanwhile must not
    /// end svhcheck.
    fn read(mut file: &File, offset: u64, size: u64) -> Option<Self> {
        file.seek(SeekFrom::Start(offset)).ok()?;
        let mut bytes = Vec::with_capacity(usize::try_from(size).ok()?);
        file.take(size).read_to_end(&mut bytes).ok()?;
        (bytes.len() as u64 == size).then(|| Self(Arc::new(bytes)))
    }
}

/// The unwind tables of one mapped file.
#[derive(Debug)]
pub(crate) struct Tables {
    /// Executable segments: file offset, size, address as stated.
    segments: Vec<(u64, u64, u64)>,
    text: Option<Range<u64>>,
    frames: Option<(Range<u64>, Shared)>,
    index: Option<(Range<u64>, Shared)>,
}

/// Unwinds the stacks of one process.
#[derive(Default)]
pub(crate) struct Unwinder {
    mappings: Vec<Mapping>,
    /// Start of each mapping whose tables the unwinder has, with the mapping's bias; `None` if its
    /// file cannot be read.
    loaded: Vec<(u64, Option<u64>)>,
    inner: UnwinderNative<Shared, MayAllocateDuringUnwind>,
    cache: CacheNative<MayAllocateDuringUnwind>,
}

impl fmt::Debug for Unwinder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unwinder")
            .field("mappings", &self.mappings)
            .finish_non_exhaustive()
    }
}

impl Unwinder {
    /// The stack of a stopped thread, innermost first. `stale` says that code was mapped since the
    /// last look.
    pub(crate) fn frames(
        &mut self,
        tid: i32,
        registers: &Registers,
        modules: &ModuleCache,
        stale: bool,
    ) -> Vec<Frame> {
        if stale || self.mappings.is_empty() {
            self.look(tid);
        }
        let (frames, missed) = self.walk(tid, registers, modules);
        if !missed || stale {
            return frames;
        }
        // An address outside of all known code: code may have come by another way (mremap).
        self.look(tid);
        self.walk(tid, registers, modules).0
    }

    /// Reads the process's mappings anew.
    fn look(&mut self, tid: i32) {
        let mappings = mappings(tid);
        if mappings != self.mappings {
            *self = Self {
                mappings,
                ..Self::default()
            };
        }
    }

    fn walk(
        &mut self,
        tid: i32,
        registers: &Registers,
        modules: &ModuleCache,
    ) -> (Vec<Frame>, bool) {
        let memory = Memory::new(tid);
        let mut stack = (0_u64, Vec::new());
        let mut read_stack = |address: u64| read_word(&memory, &mut stack, address);
        let mut state = unwind_registers(registers);
        let mut at = FrameAddress::from_instruction_pointer(registers.ip::<Native>());
        let mut frames = Vec::new();
        loop {
            let address = at.address_for_lookup();
            let Some(mapping) = self
                .mappings
                .iter()
                .find(|one| one.range.contains(&address))
            else {
                let vdso = frames.is_empty();
                return (frames, !vdso);
            };
            let mapping = mapping.clone();
            let bias = self.load(tid, &mapping, modules);
            frames.push(Frame {
                offset: address.wrapping_sub(bias.unwrap_or(mapping.range.start)),
                module: mapping.path,
                symbol: None,
                line: None,
            });
            if frames.len() >= DEPTH || bias.is_none() {
                return (frames, false);
            }
            let next = self
                .inner
                .unwind_frame(at, &mut state, &mut self.cache, &mut read_stack);
            match next
                .ok()
                .flatten()
                .and_then(FrameAddress::from_return_address)
            {
                Some(next) => at = next,
                None => return (frames, false),
            }
        }
    }

    /// Gives the unwinder the tables of a mapping, at its first use; returns the mapping's bias
    /// (actual minus stated addresses).
    fn load(&mut self, tid: i32, mapping: &Mapping, modules: &ModuleCache) -> Option<u64> {
        let start = mapping.range.start;
        if let Some((_, bias)) = self.loaded.iter().find(|(loaded, _)| *loaded == start) {
            return *bias;
        }
        let tables = modules.tables(tid, &mapping.path);
        let bias = tables.as_ref().and_then(|tables| tables.bias(mapping));
        if let (Some(tables), Some(bias)) = (tables, bias) {
            let range = mapping.range.clone();
            self.inner
                .add_module(Module::new(String::new(), range, bias, tables.sections()));
        }
        self.loaded.push((start, bias));
        bias
    }
}

impl Mapping {
    /// Actual minus stated address of a position in the file, given its segments.
    fn bias(&self, segments: &[(u64, u64, u64)]) -> Option<u64> {
        let size = self.range.end - self.range.start;
        let file = self.file_offset..self.file_offset + size;
        // Mappings are whole pages: the segment that starts within, or just below, this one.
        let &(offset, _, address) = segments
            .iter()
            .find(|(offset, size, _)| *offset < file.end && offset + size > file.start)?;
        Some(
            self.range
                .start
                .wrapping_sub(file.start)
                .wrapping_add(offset)
                .wrapping_sub(address),
        )
    }
}

impl Tables {
    /// Reads the tables of a file.
    pub(crate) fn read(file: &File) -> Option<Self> {
        let cache = ReadCache::new(file);
        let elf = ElfFile64::<Endianness, _>::parse(&cache).ok()?;
        let endian = elf.endian();
        let executable = elf.elf_program_headers().iter().filter(|header| {
            header.p_type(endian) == object::elf::PT_LOAD
                && header.p_flags(endian).0 & object::elf::PF_X.0 != 0
        });
        let segments = executable
            .map(|one| {
                (
                    one.p_offset(endian),
                    one.p_filesz(endian),
                    one.p_vaddr(endian),
                )
            })
            .collect();
        let range = |name| {
            let section = elf.section_by_name(name)?;
            Some(section.address()..section.address() + section.size())
        };
        let data = |name| {
            let section = elf.section_by_name(name)?;
            let (offset, size) = section.file_range()?;
            Some((range(name)?, Shared::read(file, offset, size)?))
        };
        Some(Self {
            segments,
            text: range(".text"),
            frames: data(".eh_frame"),
            index: data(".eh_frame_hdr"),
        })
    }

    fn bias(&self, mapping: &Mapping) -> Option<u64> {
        mapping.bias(&self.segments)
    }

    fn sections(&self) -> ExplicitModuleSectionInfo<Shared> {
        ExplicitModuleSectionInfo {
            base_svma: 0,
            text_svma: self.text.clone(),
            eh_frame_svma: self.frames.as_ref().map(|(range, _)| range.clone()),
            eh_frame: self.frames.as_ref().map(|(_, data)| data.clone()),
            eh_frame_hdr_svma: self.index.as_ref().map(|(range, _)| range.clone()),
            eh_frame_hdr: self.index.as_ref().map(|(_, data)| data.clone()),
            ..ExplicitModuleSectionInfo::default()
        }
    }
}

/// Where a file's addresses lie in a process; `None` if it is not mapped as code there.
pub(crate) fn bias_of(tid: i32, path: &Path, modules: &ModuleCache) -> Option<u64> {
    let mapping = mappings(tid).into_iter().find(|one| *one.path == *path)?;
    modules.tables(tid, path)?.bias(&mapping)
}

/// The files that are mapped as code into a process, in order of address.
pub(crate) fn mappings(tid: i32) -> Vec<Mapping> {
    let maps = std::fs::read(format!("/proc/{tid}/maps")).unwrap_or_default();
    maps.split(|&byte| byte == b'\n')
        .filter_map(mapping)
        .collect()
}

/// One line of `/proc/<pid>/maps`, if it is code from a file.
fn mapping(line: &[u8]) -> Option<Mapping> {
    // start-end perms offset device inode      path
    let slash = line.iter().position(|&byte| byte == b'/')?;
    let (head, path) = line.split_at(slash);
    let head = std::str::from_utf8(head).ok()?;
    let mut fields = head.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    if fields.next()?.as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    let hex = |text| u64::from_str_radix(text, 16).ok();
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    Some(Mapping {
        range: hex(start)?..hex(end)?,
        file_offset: hex(fields.next()?)?,
        path: Arc::from(Path::new(OsStr::from_bytes(path))),
    })
}

/// One word of the stack, read in chunks.
fn read_word(memory: &Memory, stack: &mut (u64, Vec<u8>), address: u64) -> Result<u64, ()> {
    loop {
        let at = usize::try_from(address.wrapping_sub(stack.0)).unwrap_or(usize::MAX);
        if let Some(bytes) = stack.1.get(at..at.saturating_add(8)) {
            return Ok(u64::from_ne_bytes(bytes.try_into().expect("eight bytes")));
        }
        let chunk = usize::try_from(STACK_CHUNK).expect("a small number");
        let bytes = memory.read_some(address, chunk).map_err(|_| ())?;
        if bytes.len() < 8 {
            return Err(());
        }
        *stack = (address, bytes);
    }
}

#[cfg(target_arch = "x86_64")]
fn unwind_registers(registers: &Registers) -> UnwindRegsNative {
    let (ip, sp) = (registers.ip::<Native>(), registers.sp::<Native>());
    UnwindRegsNative::new(ip, sp, registers.fp::<Native>())
}

#[cfg(target_arch = "aarch64")]
fn unwind_registers(registers: &Registers) -> UnwindRegsNative {
    let (lr, sp) = (registers.lr::<Native>(), registers.sp::<Native>());
    UnwindRegsNative::new(lr, sp, registers.fp::<Native>())
}

/// Opens a mapped file as the process sees it.
pub(crate) fn open_mapped(tid: i32, path: &Path) -> Option<File> {
    let inside = PathBuf::from(format!("/proc/{tid}/root"));
    let relative = path.strip_prefix("/").unwrap_or(path);
    let file = File::open(inside.join(relative))
        .or_else(|_| File::open(path))
        .ok()?;
    file.metadata().ok()?.is_file().then_some(file)
}

/// What tells one version of a file from another.
pub(crate) fn identity(file: &File) -> Option<(u64, u64, i64, i64, u64)> {
    let data = file.metadata().ok()?;
    Some((
        data.dev(),
        data.ino(),
        data.mtime(),
        data.mtime_nsec(),
        data.size(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_lines_are_read() {
        let line = b"7f00-7f10 r-xp 00001000 fe:00 42      /lib/a b.so";
        let found = mapping(line).expect("code from a file");
        assert_eq!(found.range, 0x7f00..0x7f10);
        assert_eq!(*found.path, *Path::new("/lib/a b.so"));
        assert_eq!(mapping(b"7f00-7f10 r--p 0 fe:00 42 /lib/a"), None);
        assert_eq!(mapping(b"7f00-7f10 r-xp 0 00:00 0      [vdso]"), None);
        assert_eq!(mapping(b""), None);
    }

    #[test]
    fn a_mapping_finds_its_bias() {
        let one = Mapping {
            range: 0x5000_1000..0x5000_9000,
            file_offset: 0x1000,
            path: Arc::from(Path::new("/x")),
        };
        assert_eq!(one.bias(&[(0x1200, 0x7000, 0x2200)]), Some(0x4fff_f000));
        assert_eq!(one.bias(&[(0x9200, 0x7000, 0x2200)]), None);
    }
}
