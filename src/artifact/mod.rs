//! The files that rustc writes, read without rustc: rlib, rmeta, dylib and proc macro, of any
//! release from 1.16 on.
//!
//! [`open`] maps a file and tells by its content what it is; [`Artifact::metadata`] finds the crate
//! metadata inside; [`Metadata::root`] reads the crate's identity and its dependency table.
//! [`read_root`] does all of it and also finds the names that metadata leaves out. Nothing here
//! panics on any input, and no other part of this program opens an artifact.

mod archive;
mod error;
pub mod metadata;
mod names;
mod object;

use std::fmt;
use std::fs::FileType;
use std::ops::Range;
use std::path::{Path, PathBuf};

pub use archive::Member;
pub use error::ArtifactError;
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
    /// Nothing for an empty file, which cannot be mapped.
    map: Option<memmap2::Mmap>,
    kind: Kind,
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
    let map = if found.len() == 0 {
        None
    } else {
        #[expect(unsafe_code, reason = "mapping a file has no safe interface")]
        // SAFETY: the map is read-only and private to this `Artifact`, which hands out no more than
        // shared slices. What cannot be ruled out is another process that writes into the very file
        // meanwhile: the bytes could change under us, and touching a part that was cut off would
        // end this process (SIGBUS). Compilers and build systems replace artifacts by a new file,
        // which leaves the mapped one as it was, and svhcheck reads its own runs after their end.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(failed)?;
        Some(map)
    };
    let kind = kind_of(map.as_deref().unwrap_or_default());
    Ok(Artifact {
        path: path.to_owned(),
        map,
        kind,
    })
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
    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
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

    /// Where the metadata blob stands in the file: exactly its bytes, without any wrapping.
    pub fn metadata_range(&self) -> Result<Range<usize>, ArtifactError> {
        let path = || self.path.clone();
        match self.kind {
            Kind::Metadata => Ok(0..self.bytes().len()),
            Kind::Archive => archive::metadata_range(&self.path, self.bytes()),
            Kind::Object(_) => object::metadata_range(&self.path, self.bytes()),
            Kind::Empty => Err(ArtifactError::Empty { path: path() }),
            Kind::ThinArchive => Err(ArtifactError::ThinArchive { path: path() }),
            Kind::Unknown => Err(ArtifactError::Unrecognized {
                path: path(),
                start: self.bytes().iter().copied().take(24).collect(),
            }),
        }
    }

    /// The crate metadata inside.
    pub fn metadata(&self) -> Result<Metadata<'_>, ArtifactError> {
        let range = self.metadata_range()?;
        let base = range.start;
        // The range was checked against the file when it was found.
        let blob = self.bytes().get(range).unwrap_or_default();
        Metadata::parse(blob).map_err(|fault| self.fault(base, fault))
    }

    /// The crate's identity and dependencies as this file alone gives them: a stub stays a stub, and
    /// some names are numbers.
    pub fn root(&self) -> Result<CrateRoot, ArtifactError> {
        let base = self.metadata_range()?.start;
        let root = self.metadata()?.root();
        root.map_err(|fault| self.fault(base, fault))
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
