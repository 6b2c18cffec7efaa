//! The files that rustc writes, read without rustc: rlib, rmeta, dylib and proc macro, of any
//! release from 1.16 on.
//!
//! [`open`] maps a file and tells by its content what it is; [`Artifact::metadata`] finds the crate
//! metadata inside; [`Metadata::root`] reads the crate's identity and its dependency table.
//! [`read_root`] does all of it and also finds the names that metadata leaves out. Nothing here
//! panics on any input, and no other part of this program opens an artifact.

mod archive;
mod error;
mod inflate;
pub mod metadata;
mod names;
mod object;

use std::fmt;
use std::fs::FileType;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub use archive::Member;
pub use error::ArtifactError;
use inflate::Packing;
pub use metadata::{
    CrateDep, CrateName, CrateRoot, DepKind, Edition, Fault, Flag, Linkage, Metadata,
    PanicStrategy, StableCrateId, Svh, SymbolMangling,
};
pub use names::Names;
pub use object::Section;

/// What a file is, by its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A library archive, such as an rlib.
    Archive,
    /// An archive that names its members but does not hold them. rustc writes none.
    ThinArchive,
    /// A bare metadata blob: an `.rmeta` file.
    Metadata,
    /// A shared library, an object file or a program.
    Object(ObjectFormat),
    /// Zero bytes: what rustc leaves as the `.rmeta` of a program.
    Empty,
    /// None of these.
    Unknown,
}

/// The format of a shared library, object file or program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectFormat {
    /// Linux and most others.
    Elf,
    /// Apple's.
    MachO,
    /// A Windows object file.
    Coff,
    /// A Windows library or program.
    Pe,
    /// AIX.
    Xcoff,
    /// WebAssembly.
    Wasm,
}

impl fmt::Display for ObjectFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Elf => "ELF",
            Self::MachO => "Mach-O",
            Self::Coff => "COFF",
            Self::Pe => "PE",
            Self::Xcoff => "XCOFF",
            Self::Wasm => "WebAssembly",
        })
    }
}

/// An open file, mapped into memory.
#[derive(Debug)]
pub struct Artifact {
    path: PathBuf,
    content: Content,
    kind: Kind,
    /// The metadata, where the file holds it compressed.
    inflated: OnceLock<Vec<u8>>,
}

#[derive(Debug)]
enum Content {
    Mapped(memmap2::Mmap),
    /// What was not read from a file, or an empty file, which cannot be mapped.
    Owned(Vec<u8>),
}

/// Opens and maps `path`.
pub fn open(path: &Path) -> Result<Artifact, ArtifactError> {
    let failed = |reason| ArtifactError::Open {
        path: path.to_owned(),
        reason,
    };
    // Asked before opening: opening a pipe would wait for somebody to write to it.
    let found = std::fs::metadata(path).map_err(failed)?;
    if !FileType::is_file(&found.file_type()) {
        let path = path.to_owned();
        return Err(if found.is_dir() {
            ArtifactError::Directory { path }
        } else {
            ArtifactError::NotAFile { path }
        });
    }
    let file = std::fs::File::open(path).map_err(failed)?;
    let content = if found.len() == 0 {
        Content::Owned(Vec::new())
    } else {
        #[expect(unsafe_code, reason = "mapping a file has no safe interface")]
        // SAFETY: the map is read-only and private to this `Artifact`, which hands out no more than
        // shared slices. What cannot be ruled out is another process that writes into the very file
        // meanwhile: the bytes could change under us, and touching a part that was cut off would
        // end this process (SIGBUS). Compilers and build systems replace artifacts by a new file,
        // which leaves the mapped one as it was, and svhcheck reads its own runs after their end.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(failed)?;
        Content::Mapped(map)
    };
    Ok(Artifact::new(path, content))
}

/// An artifact that was read from elsewhere, such as standard input; `path` stands for it in messages.
pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Artifact {
    Artifact::new(path, Content::Owned(bytes))
}

/// Whether `path` is in rustc's cache of a crate (`-Cincremental`), which has metadata too, but which
/// nobody loads: a folder whose name begins with `s-`, for each session.
pub fn is_of_incremental_cache(path: &Path) -> bool {
    let session = path.parent().and_then(Path::file_name);
    let session = session.is_some_and(|name| name.as_encoded_bytes().starts_with(b"s-"));
    session
        && path
            .file_name()
            .is_some_and(|name| name == "metadata.rmeta")
}

/// What these bytes are. The name of a file says nothing: rustc's `-o` takes any.
fn kind_of(bytes: &[u8]) -> Kind {
    let starts = |magics: &[&[u8]]| magics.iter().any(|magic| bytes.starts_with(magic));
    if bytes.is_empty() {
        Kind::Empty
    } else if starts(&[b"!<arch>\n", b"<bigaf>\n"]) {
        Kind::Archive
    } else if starts(&[b"!<thin>\n"]) {
        Kind::ThinArchive
    } else if starts(&[metadata::MAGIC, metadata::MAGIC_OLD]) {
        Kind::Metadata
    } else {
        object::format(bytes).map_or(Kind::Unknown, Kind::Object)
    }
}

impl Artifact {
    fn new(path: &Path, content: Content) -> Self {
        let mut artifact = Self {
            path: path.to_owned(),
            content,
            kind: Kind::Empty,
            inflated: OnceLock::new(),
        };
        artifact.kind = kind_of(artifact.bytes());
        artifact
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        match &self.content {
            Content::Mapped(map) => map,
            Content::Owned(bytes) => bytes,
        }
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The members of an archive, in the order of the file, without symbol and name tables. Any
    /// other file has none. After the first error nothing more comes.
    pub fn members(&self) -> impl Iterator<Item = Result<Member<'_>, ArtifactError>> {
        let archive = self.kind == Kind::Archive;
        archive::members(&self.path, if archive { self.bytes() } else { &[] })
    }

    /// The sections of an object file, shared library or program, in the order of the file.
    pub fn sections(&self) -> Result<Vec<Section<'_>>, ArtifactError> {
        match self.kind {
            Kind::Object(_) => object::sections(&self.path, self.bytes()),
            _ => Ok(Vec::new()),
        }
    }

    /// The variables of a shared library or program that its code can write, by their demangled
    /// names, sorted; none where the symbols were stripped.
    pub fn variables(&self) -> Result<Vec<String>, ArtifactError> {
        match self.kind {
            Kind::Object(_) => object::variables(&self.path, self.bytes()),
            _ => Ok(Vec::new()),
        }
    }

    /// Where the metadata stands in the file: exactly the blob's bytes without any wrapping, or what
    /// it is compressed to.
    pub fn metadata_range(&self) -> Result<Range<usize>, ArtifactError> {
        self.packed_metadata().map(|(_, range)| range)
    }

    fn packed_metadata(&self) -> Result<(Packing, Range<usize>), ArtifactError> {
        let path = || self.path.clone();
        let plain = |range| (Packing::Plain, range);
        match self.kind {
            Kind::Metadata => Ok(plain(0..self.bytes().len())),
            Kind::Archive => archive::metadata_range(&self.path, self.bytes()).map(plain),
            Kind::Object(_) => object::metadata_range(&self.path, self.bytes()),
            Kind::Empty => Err(ArtifactError::Empty { path: path() }),
            Kind::ThinArchive => Err(ArtifactError::ThinArchive { path: path() }),
            Kind::Unknown => Err(ArtifactError::Unrecognized {
                path: path(),
                start: self.bytes().iter().copied().take(24).collect(),
            }),
        }
    }

    /// The metadata blob, and where it begins in the file; a compressed one stands nowhere in it.
    fn blob(&self) -> Result<(&[u8], usize), ArtifactError> {
        let (packing, range) = self.packed_metadata()?;
        let base = range.start;
        // The range was checked against the file when it was found.
        let bytes = self.bytes().get(range).unwrap_or_default();
        if packing == Packing::Plain {
            return Ok((bytes, base));
        }
        if let Some(blob) = self.inflated.get() {
            return Ok((blob, 0));
        }
        // What is unpacked grows by doubling, so half as much again is in use for a moment.
        let limit = self.bytes().len().saturating_mul(5) / 2;
        let blob = inflate::inflate(packing, bytes, limit).map_err(|reason| {
            ArtifactError::Compressed {
                path: self.path.clone(),
                offset: base,
                reason,
            }
        })?;
        Ok((self.inflated.get_or_init(|| blob), 0))
    }

    /// The crate metadata inside.
    pub fn metadata(&self) -> Result<Metadata<'_>, ArtifactError> {
        let (blob, base) = self.blob()?;
        Metadata::parse(blob).map_err(|fault| self.fault(base, fault))
    }

    /// The crate's identity and dependencies as this file alone gives them: a stub stays a stub, and
    /// some names are numbers.
    pub fn root(&self) -> Result<CrateRoot, ArtifactError> {
        let (_, base) = self.blob()?;
        let root = self.metadata()?.root();
        let mut root = root.map_err(|fault| self.fault(base, fault))?;
        // Recorded from rustc 1.72 on; before, the symbols of the library tell.
        if let (None, Kind::Object(_)) = (root.is_proc_macro, self.kind) {
            root.is_proc_macro = Some(object::is_proc_macro(self.bytes()));
        }
        Ok(root)
    }

    fn fault(&self, base: usize, fault: Fault) -> ArtifactError {
        ArtifactError::Metadata {
            path: self.path.clone(),
            base,
            fault,
        }
    }

    /// For the stub `root` of this file, looks for the full metadata beside it.
    pub fn complete(&self, root: &CrateRoot) -> Completion {
        if !root.is_stub {
            return Completion::NotNeeded;
        }
        let beside = self.path.with_extension("rmeta");
        if beside == self.path || !beside.exists() {
            return Completion::Missing(beside);
        }
        match open(&beside).and_then(|full| full.root()) {
            Ok(full) if full.svh == root.svh && !full.is_stub => {
                Completion::From(beside, Box::new(full))
            }
            Ok(full) => Completion::Differs(beside, full.svh),
            Err(error) => Completion::Unreadable(error),
        }
    }
}

/// What was found in the place of a stub's full metadata: the `.rmeta` beside it.
#[derive(Debug)]
pub enum Completion {
    /// The file is no stub.
    NotNeeded,
    /// The full root, and the file that has it.
    From(PathBuf, Box<CrateRoot>),
    /// There is no such file.
    Missing(PathBuf),
    /// The file is of another build.
    Differs(PathBuf, Svh),
    /// The file cannot be read.
    Unreadable(ArtifactError),
}

/// Reads the root of the crate in `path`, completes a stub from the `.rmeta` beside it, and finds
/// names that metadata leaves out in the file's own name and those of its neighbours.
///
/// For many files, keep one [`Names`] and let it learn from all of them.
pub fn read_root(path: &Path) -> Result<CrateRoot, ArtifactError> {
    let artifact = open(path)?;
    let mut root = artifact.root()?;
    if let Completion::From(_, full) = artifact.complete(&root) {
        root = *full;
    }
    let mut names = Names::default();
    names.learn(&artifact, &root);
    if !names.resolve(&mut root) {
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
        names.search(parent.unwrap_or(Path::new(".")), [&root]);
        names.resolve(&mut root);
    }
    Ok(root)
}
