//! What is known of the files that processes map: unwind tables, symbols, lines. Read once per
//! file, whatever number of runs share it.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use addr2line::gimli;
use object::read::elf::ElfFile64;
use object::{
    Endianness, Object as _, ObjectSection as _, ObjectSymbol as _, ReadCache, SymbolKind,
};

use super::access::Event;
use super::unwind::{self, Line, Tables};

/// Tells one version of a file from another.
type Identity = (u64, u64, i64, i64, u64);

/// Keeps what was read of mapped files. Cloning it shares it.
#[derive(Debug, Clone, Default)]
pub struct ModuleCache {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    tables: BTreeMap<Identity, Option<Arc<Tables>>>,
    libcs: BTreeMap<Identity, Libc>,
}

/// The addresses, as stated in a file, of what reads the environment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Libc {
    pub(crate) getenv: Option<u64>,
    /// The variable that points to the environment.
    pub(crate) environ: Option<u64>,
}

impl ModuleCache {
    /// An empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The unwind tables of a file that a thread has mapped.
    pub(crate) fn tables(&self, tid: i32, path: &Path) -> Option<Arc<Tables>> {
        let file = unwind::open_mapped(tid, path)?;
        let identity = unwind::identity(&file)?;
        let known = self.lock().tables.get(&identity).cloned();
        known.unwrap_or_else(|| {
            // Outside of the lock: other runs need not wait.
            let tables = Tables::read(&file).map(Arc::new);
            self.lock().tables.insert(identity, tables.clone());
            tables
        })
    }

    /// Where a file reads the environment.
    pub(crate) fn libc(&self, tid: i32, path: &Path) -> Libc {
        let Some(file) = unwind::open_mapped(tid, path) else {
            return Libc::default();
        };
        let Some(identity) = unwind::identity(&file) else {
            return Libc::default();
        };
        let known = self.lock().libcs.get(&identity).copied();
        known.unwrap_or_else(|| {
            let libc = Libc::read(&file).unwrap_or_default();
            self.lock().libcs.insert(identity, libc);
            libc
        })
    }

    /// Fills in the functions and lines of every frame of `events`. Each file's symbols are read
    /// once for all of them.
    pub fn symbolize(&self, events: &mut [Event]) {
        let mut wanted: BTreeMap<Arc<Path>, BTreeMap<u64, Named>> = BTreeMap::new();
        for frame in events.iter().flat_map(|event| &event.frames) {
            let offsets = wanted.entry(Arc::clone(&frame.module)).or_default();
            offsets.entry(frame.offset).or_default();
        }
        for (module, offsets) in &mut wanted {
            // A file that is gone or is no ELF file leaves its frames without names.
            let _ = name_offsets(module, offsets);
        }
        for frame in events.iter_mut().flat_map(|event| &mut event.frames) {
            let named = &wanted[&frame.module][&frame.offset];
            frame.symbol.clone_from(&named.symbol);
            frame.line.clone_from(&named.line);
        }
    }
}

/// What is found for one address.
#[derive(Debug, Default)]
struct Named {
    symbol: Option<Arc<str>>,
    line: Option<Line>,
}

/// Finds the functions around `offsets` in one pass over a file's symbols, and their lines where
/// there is debug information.
fn name_offsets(module: &Path, offsets: &mut BTreeMap<u64, Named>) -> Option<()> {
    let file = File::open(module).ok()?;
    let cache = ReadCache::new(file);
    let elf = ElfFile64::<Endianness, _>::parse(&cache).ok()?;
    for symbol in elf.symbols().chain(elf.dynamic_symbols()) {
        if symbol.kind() != SymbolKind::Text || symbol.is_undefined() {
            continue;
        }
        let (start, size) = (symbol.address(), symbol.size().max(1));
        for (_, named) in offsets.range_mut(start..start.saturating_add(size)) {
            if named.symbol.is_none()
                && let Ok(text) = symbol.name()
            {
                // Without the hash, which differs from build to build.
                let text = format!("{:#}", rustc_demangle::demangle(text));
                named.symbol = Some(Arc::from(text));
            }
        }
    }
    elf.section_by_name(".debug_line")?;
    let little = elf.is_little_endian();
    let load = |id: gimli::SectionId| -> Result<_, gimli::Error> {
        // A compressed section gives nothing, as if it was not there.
        let section = elf.section_by_name(id.name());
        let data = section
            .and_then(|section| section.data().ok())
            .unwrap_or_default();
        let endian = if little {
            gimli::RunTimeEndian::Little
        } else {
            gimli::RunTimeEndian::Big
        };
        Ok(gimli::EndianSlice::new(data, endian))
    };
    let dwarf = gimli::Dwarf::load(load).ok()?;
    let context = addr2line::Context::from_dwarf(dwarf).ok()?;
    for (offset, named) in offsets {
        if let Ok(Some(found)) = context.find_location(*offset)
            && let (Some(file), Some(line)) = (found.file, found.line)
        {
            named.line = Some(Line {
                file: Arc::from(file),
                line,
            });
        }
    }
    Some(())
}

impl Libc {
    fn read(file: &File) -> Option<Self> {
        let cache = ReadCache::new(file);
        let elf = ElfFile64::<Endianness, _>::parse(&cache).ok()?;
        let mut found = Self::default();
        for symbol in elf.dynamic_symbols().chain(elf.symbols()) {
            if symbol.is_undefined() || symbol.address() == 0 {
                continue;
            }
            let place = match symbol.name_bytes() {
                Ok(b"getenv") => &mut found.getenv,
                Ok(b"environ" | b"__environ" | b"_environ") => &mut found.environ,
                _ => continue,
            };
            place.get_or_insert(symbol.address());
        }
        Some(found)
    }
}
