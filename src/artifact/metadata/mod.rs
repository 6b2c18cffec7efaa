//! Crate metadata: the blob that rustc writes into every library, and what its root says.
//!
//! `header` reads the first bytes, `layout` holds what changed from release to release as a
//! table, `decode` reads a root by a row of that table. `docs/rmeta.md` tells the format.

mod decode;
mod header;
mod items;
mod layout;
mod tables;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::bytes::ReadReason;

pub use header::Header;
pub(super) use header::{END_MARKER, MAGIC, MAGIC_OLD};
pub use items::{Items, Property};

/// The metadata blob of one crate, borrowed from the file it stands in.
#[derive(Debug, Clone)]
pub struct Metadata<'a> {
    blob: &'a [u8],
    header: Header,
}

impl<'a> Metadata<'a> {
    /// Reads the header of `blob`, which begins with the metadata magic.
    pub fn parse(blob: &'a [u8]) -> Result<Self, Fault> {
        let header = Header::read(blob)?;
        Ok(Self { blob, header })
    }

    /// The exact bytes of the blob, magic and end marker included.
    pub fn bytes(&self) -> &'a [u8] {
        self.blob
    }

    /// The version, the compiler and the positions that the first bytes give.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The crate's identity, flags and dependency table.
    pub fn root(&self) -> Result<CrateRoot, Fault> {
        decode::root(self.blob, &self.header).map(|(root, _)| root)
    }

    /// Where the parts stand that [`Metadata::root`] reads.
    pub fn places(&self) -> Result<Places, Fault> {
        decode::root(self.blob, &self.header).map(|(_, places)| places)
    }
}

impl Metadata<'_> {
    /// The definitions of the crate, where their tables have a form that is known.
    pub fn items(&self) -> Option<Items> {
        let places = self.places().ok()?;
        Items::find(self.blob, self.header.version, &places)
    }
}

/// Where the decoded parts of a blob stand, from its start. What lies between them (items, bodies,
/// spans, the source map) belongs to none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Magic, version, positions and the compiler's name.
    pub header: Range<usize>,
    /// The crate's SVH: in the root, or from `METADATA_VERSION` 11 on in the header.
    pub svh: Range<usize>,
    /// The dependency table.
    pub dependencies: Range<usize>,
    /// The SVHs in that table, in its order.
    pub dependency_svhs: Vec<Range<usize>>,
    /// From the root's position to the end of the blob or of the hashed part.
    pub root: Range<usize>,
    /// What the SVH does not cover, from `METADATA_VERSION` 11 on.
    pub unhashed: Option<Range<usize>>,
    /// Where the root's further arrays begin, and from where the first of them is counted.
    lists: Option<(usize, usize)>,
}

/// A place in a metadata blob that cannot be read as what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where, from the start of the blob.
    pub offset: usize,
    /// The field that was being read, such as `root.triple`.
    pub field: &'static str,
    /// For a field of a table, which row.
    pub element: Option<usize>,
    /// What is wrong.
    pub reason: FaultReason,
}

impl std::error::Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.element, self.field.split_once('.')) {
            (Some(row), Some((table, field))) => write!(f, "{table}[{row}].{field}")?,
            (Some(row), None) => write!(f, "{}[{row}]", self.field)?,
            (None, _) => f.write_str(self.field)?,
        }
        write!(f, " at offset {:#x}: {}", self.offset, self.reason)
    }
}

/// What is wrong at a [`Fault`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultReason {
    /// The bytes end too early or a number is too large.
    #[error(transparent)]
    Read(ReadReason),
    /// The bytes are there but are not a legal value of the field.
    #[error("{0}")]
    Value(&'static str),
    /// A `METADATA_VERSION` that this svhcheck has no layout for.
    #[error("METADATA_VERSION {0} is unknown: this svhcheck reads {oldest} to {newest}", oldest = layout::OLDEST, newest = layout::NEWEST)]
    UnknownVersion(u8),
}

/// A crate's strict version hash, shown as rustc shows it: 32 hexadecimal digits, 16 up to 1.70.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Svh {
    value: u128,
    digits: u8,
}

impl Svh {
    /// The hash of rustc 1.71 and later.
    pub fn new(value: u128) -> Self {
        Self { value, digits: 32 }
    }

    /// The hash of rustc up to 1.70.
    pub fn new_64(value: u64) -> Self {
        let value = u128::from(value);
        Self { value, digits: 16 }
    }
}

impl fmt::Display for Svh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0width$x}", self.value, width = self.digits.into())
    }
}

impl fmt::Debug for Svh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Svh({self})")
    }
}

/// Text that is not an SVH.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an SVH has 32 hexadecimal digits, or 16 up to rustc 1.70")]
pub struct NotAnSvh;

impl FromStr for Svh {
    type Err = NotAnSvh;

    fn from_str(text: &str) -> Result<Self, NotAnSvh> {
        let hexadecimal = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let digits = match text.len() {
            16 => 16,
            32 => 32,
            _ => return Err(NotAnSvh),
        };
        match u128::from_str_radix(text, 16) {
            Ok(value) if hexadecimal => Ok(Self { value, digits }),
            _ => Err(NotAnSvh),
        }
    }
}

/// What tells a crate from others of its name: its name, its `-Cmetadata` and the compiler, hashed.
///
/// Shown in hexadecimal without leading zeros, as it stands in symbols and member names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StableCrateId(pub u64);

impl fmt::Display for StableCrateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl fmt::Debug for StableCrateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StableCrateId({self})")
    }
}

/// Text that is not a stable crate id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stable crate id has 1 to 16 hexadecimal digits")]
pub struct NotAStableCrateId;

impl FromStr for StableCrateId {
    type Err = NotAStableCrateId;

    fn from_str(text: &str) -> Result<Self, NotAStableCrateId> {
        let hexadecimal = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match u64::from_str_radix(text, 16) {
            Ok(value) if hexadecimal => Ok(Self(value)),
            _ => Err(NotAStableCrateId),
        }
    }
}

/// A crate's name as its metadata gives it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CrateName {
    /// Spelled out, or found by [`Names`](crate::artifact::Names).
    Known(String),
    /// An index into the list of words of the compiler that wrote it; it means nothing elsewhere.
    Predefined(u32),
}

impl CrateName {
    /// The name, if it is known.
    pub fn known(&self) -> Option<&str> {
        match self {
            Self::Known(name) => Some(name),
            Self::Predefined(_) => None,
        }
    }
}

impl fmt::Display for CrateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(name) => f.pad(name),
            Self::Predefined(index) => f.pad(&format!("sym#{index}")),
        }
    }
}

impl FromStr for CrateName {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let index = text.strip_prefix("sym#").and_then(|i| i.parse().ok());
        Ok(index.map_or_else(|| Self::Known(text.to_owned()), Self::Predefined))
    }
}

/// Serialization as the text that `Display` writes and `FromStr` reads.
macro_rules! as_text {
    ($($name:ty),*) => { $(
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )* };
}
as_text!(Svh, StableCrateId, CrateName);

/// What rustc knows of a crate without looking into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrateRoot {
    /// The version of the metadata format, which several releases of rustc share.
    pub metadata_version: u8,
    /// The whole version string of the compiler, such as `rustc 1.95.0 (59807616e 2026-04-14)`.
    pub rustc: String,
    /// The crate's name.
    pub name: CrateName,
    /// The crate's strict version hash.
    pub svh: Svh,
    /// `-Cextra-filename`; absent in a stub and before rustc 1.28.
    pub extra_filename: Option<String>,
    /// Absent in a stub and before rustc 1.52.
    pub stable_crate_id: Option<StableCrateId>,
    /// The target's name; for a target given as a JSON file, that file's stem (its path up to rustc
    /// 1.62).
    pub triple: String,
    /// The JSON that defines the target, where it is not built in. From rustc 1.63.
    pub target_json: Option<String>,
    /// Whether the crate is a proc macro; not recorded before rustc 1.72.
    pub is_proc_macro: Option<bool>,
    /// Whether these are the few bytes that stand for a full `.rmeta` elsewhere
    /// (`-Zembed-metadata=no`, and the official sysroots from 1.94 on). A stub knows no more than
    /// name, SVH and triple.
    pub is_stub: bool,
    /// Absent in a stub and before rustc 1.28.
    pub edition: Option<Edition>,
    /// The panic strategy: up to rustc 1.63 the crate's own, later the one that it *requires* of
    /// the final program, if any.
    pub panic_strategy: Option<PanicStrategy>,
    /// The strategy for panics while dropping, from rustc 1.57.
    pub panic_in_drop: Option<PanicStrategy>,
    /// How symbols are mangled, from rustc 1.80.
    pub symbol_mangling: Option<SymbolMangling>,
    /// The flags that this version of the format records.
    pub flags: BTreeMap<Flag, bool>,
    /// The crates that were loaded, transitively, in the order of their crate numbers. Empty for a
    /// proc macro from rustc 1.48 on, and for a stub.
    pub deps: Vec<CrateDep>,
}

/// A row of the dependency table: a crate that was loaded when this one was compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrateDep {
    /// The crate's name.
    pub name: CrateName,
    /// The SVH that it had, and must have whenever this crate is used.
    pub svh: Svh,
    /// The SVH of its build for the host, with `-Zdual-proc-macros`.
    pub host_svh: Option<Svh>,
    /// What is used of it.
    pub kind: DepKind,
    /// Its `-Cextra-filename`; empty before rustc 1.28.
    pub extra_filename: String,
    /// Whether it is a private dependency; recorded from rustc 1.72.
    pub is_private: Option<bool>,
    /// For a dependency of a dylib: how it was linked.
    pub linkage: Option<Linkage>,
}

/// Declares an enum without fields with the word that stands for each variant in output.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$variant_meta])* #[serde(rename = $word)] $variant,)* }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Self::$variant => $word,)* })
            }
        }
    };
}

words! {
    /// What is used of a dependency.
    DepKind {
        /// Macros that are not exported further (rustc up to 1.42).
        UnexportedMacrosOnly = "unexported-macros-only",
        /// Only its macros.
        MacrosOnly = "macros-only",
        /// Linked only if something else needs it, as `panic_unwind` (`Implicit` up to rustc 1.93).
        Conditional = "conditional",
        /// Always linked (`Explicit` up to rustc 1.93).
        Unconditional = "unconditional",
    }
}

words! {
    /// The language edition.
    Edition {
        /// The first.
        E2015 = "2015",
        /// The second.
        E2018 = "2018",
        /// The third.
        E2021 = "2021",
        /// The fourth.
        E2024 = "2024",
        /// Whatever comes next, on a nightly compiler.
        Future = "future",
    }
}

words! {
    /// What a panic does.
    PanicStrategy {
        /// It unwinds.
        Unwind = "unwind",
        /// It aborts after the panic hook.
        Abort = "abort",
        /// It aborts at once.
        ImmediateAbort = "immediate-abort",
    }
}

words! {
    /// How names become symbols.
    SymbolMangling {
        /// The scheme of old, with a hash at the end.
        Legacy = "legacy",
        /// RFC 2603.
        V0 = "v0",
        /// The hash alone.
        Hashed = "hashed",
    }
}

words! {
    /// How a dylib was linked to a dependency.
    Linkage {
        /// The dependency is part of the dylib.
        Static = "static",
        /// The dependency is a dylib too.
        Dynamic = "dynamic",
    }
}

words! {
    /// A yes-or-no fact that the root records.
    Flag {
        /// Defines `#[global_allocator]`.
        HasGlobalAllocator = "has_global_allocator",
        /// Defines `#[alloc_error_handler]`.
        HasAllocErrorHandler = "has_alloc_error_handler",
        /// Defines `#[panic_handler]`.
        HasPanicHandler = "has_panic_handler",
        /// Provides the default allocator, as std does.
        HasDefaultLibAllocator = "has_default_lib_allocator",
        /// `#![compiler_builtins]`.
        CompilerBuiltins = "compiler_builtins",
        /// `#![needs_allocator]`.
        NeedsAllocator = "needs_allocator",
        /// `#![needs_panic_runtime]`.
        NeedsPanicRuntime = "needs_panic_runtime",
        /// `#![no_builtins]`.
        NoBuiltins = "no_builtins",
        /// `#![panic_runtime]`.
        PanicRuntime = "panic_runtime",
        /// `#![profiler_runtime]`.
        ProfilerRuntime = "profiler_runtime",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_and_names_are_text_that_reads_back() {
        let old = Svh::new_64(0x0c1c_df3a_4d74_ea82);
        let new = Svh::new(0x0489_b0ff_2234_b28d_2b24_0686_f89a_4dde);
        for (svh, text) in [
            (old, "0c1cdf3a4d74ea82"),
            (new, "0489b0ff2234b28d2b240686f89a4dde"),
        ] {
            let json = serde_json::to_string(&svh).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Svh>(&json).unwrap(), svh);
        }
        assert_ne!(Svh::new(1), Svh::new_64(1), "of two compilers");
        assert!("0c1c".parse::<Svh>().is_err() && "+c1cdf3a4d74ea82".parse::<Svh>().is_err());
        let id = StableCrateId(0xbe0);
        assert_eq!(id.to_string().parse(), Ok(id));
        for name in [
            CrateName::Known("serde".to_owned()),
            CrateName::Predefined(635),
        ] {
            assert_eq!(name.to_string().parse(), Ok(name));
        }
    }

    #[test]
    fn a_fault_tells_field_row_and_place() {
        let mut blob = b"rust\0\0\0\x09".to_vec();
        let fault = Metadata::parse(&blob).unwrap_err();
        assert_eq!(
            fault.to_string(),
            "root position at offset 0x8: 8 bytes expected but 0 left"
        );
        blob[7] = 200;
        let fault = Metadata::parse(&blob).unwrap().root().unwrap_err();
        assert_eq!(
            fault.to_string(),
            "metadata version at offset 0x7: METADATA_VERSION 200 is unknown: this svhcheck reads 4 to 11"
        );
        let fault = Fault {
            offset: 0x1f2,
            field: "crate_deps.hash",
            element: Some(3),
            reason: FaultReason::Value("wrong"),
        };
        assert_eq!(
            fault.to_string(),
            "crate_deps[3].hash at offset 0x1f2: wrong"
        );
    }
}
