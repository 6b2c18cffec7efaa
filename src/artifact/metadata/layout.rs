//! What changed from release to release, as data: one row per layout, newest last.
//!
//! A new release of rustc is a new row here. Nothing else in this program asks for a version.

use super::{DepKind, Flag};

/// Where the parts of a header stand.
#[derive(Debug)]
pub(super) struct Preamble {
    /// The `METADATA_VERSION`s, first and last.
    versions: (u8, u8),
    pub(super) root: RootPosition,
    /// Position of the position of the part that the SVH does not cover.
    pub(super) trailer: Option<usize>,
    pub(super) svh: Option<usize>,
    /// Position of the compiler's version string.
    pub(super) rustc: usize,
    /// Whether strings end in the sentinel byte.
    pub(super) sentinel: bool,
}

/// The form of the root's position, and where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) enum RootPosition {
    BigEndian32(usize),
    LittleEndian64(usize),
}

impl RootPosition {
    /// Where the position itself stands.
    pub(super) fn at(self) -> usize {
        match self {
            Self::BigEndian32(at) | Self::LittleEndian64(at) => at,
        }
    }
}

const P4: Preamble = Preamble {
    versions: (4, 4),
    root: RootPosition::BigEndian32(12),
    trailer: None,
    svh: None,
    rustc: 16,
    sentinel: false,
};

const PREAMBLES: &[Preamble] = &[
    P4,
    Preamble {
        versions: (5, 5),
        root: RootPosition::BigEndian32(8),
        rustc: 12,
        ..P4
    },
    Preamble {
        versions: (6, 8),
        root: RootPosition::BigEndian32(8),
        rustc: 12,
        sentinel: true,
        ..P4
    },
    Preamble {
        versions: (9, 10),
        root: RootPosition::LittleEndian64(8),
        sentinel: true,
        ..P4
    },
    Preamble {
        versions: (11, 11),
        root: RootPosition::LittleEndian64(8),
        trailer: Some(16),
        svh: Some(24),
        rustc: 40,
        sentinel: true,
    },
];

/// The oldest `METADATA_VERSION` with a row.
pub(super) const OLDEST: u8 = PREAMBLES[0].versions.0;

/// The newest `METADATA_VERSION` with a row.
pub(super) const NEWEST: u8 = PREAMBLES[PREAMBLES.len() - 1].versions.1;

/// The header's form in `METADATA_VERSION` `version`, if it is known.
pub(super) fn preamble(version: u8) -> Option<&'static Preamble> {
    let holds = |row: &&Preamble| (row.versions.0..=row.versions.1).contains(&version);
    PREAMBLES.iter().find(holds)
}

/// A field of the root, in the order of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Name,
    Triple,
    Hash,
    ExtraFilename,
    /// What told crates of one name apart before the stable crate id; read over.
    Disambiguator(Disambiguator),
    StableCrateId,
    IsProcMacro,
    IsStub,
    Panic,
    /// The same as an `Option`: what the crate *requires*.
    RequiredPanic,
    PanicInDrop,
    Edition,
    Flag(Flag),
    /// An `Option` of a number, read over.
    OptionalIndex(&'static str),
    /// An `Option` that must be absent: what it would hold is not described.
    Absent(&'static str),
    /// A lazy array that is read over.
    Array(&'static str),
    /// The dependency table.
    Deps,
    /// How a dylib linked its dependencies.
    Linkages,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disambiguator {
    Text,
    TwoNumbers,
    Fingerprint,
}

/// A field of a row of the dependency table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DepField {
    Name,
    Hash,
    HostHash,
    Kind,
    ExtraFilename,
    IsPrivate,
}

/// A field at the very end of the root, one byte each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TailField {
    Flag(Flag),
    SymbolMangling,
    /// Read over.
    Byte,
}

/// The form of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SymbolForm {
    /// A string.
    Text,
    /// A tag byte: a string, the position of an earlier one, or an index into the compiler's list.
    Tagged,
}

/// The form of hashes and ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HashForm {
    /// 64 bits as LEB128.
    Leb64,
    /// An SVH of 16 raw bytes, a stable crate id of eight.
    Raw,
}

/// The form of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TripleForm {
    Text,
    /// A tag byte, then the name of a built-in target or the path of a JSON file.
    TaggedPath,
    /// The same, with name and content of the JSON file.
    TaggedContents,
}

/// From where the distance of a lazy array is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LazyForm {
    /// From the end of the array as if each element had one byte.
    LessMinimumSize,
    /// From its beginning.
    Plain,
}

/// How the root of some releases is laid out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// `METADATA_VERSION`.
    pub(super) version: u8,
    /// `N` of the first release `1.N` with this layout. The row holds up to the next one's.
    pub(super) since: u32,
    pub(super) symbols: SymbolForm,
    pub(super) hashes: HashForm,
    pub(super) triple: TripleForm,
    pub(super) lazy: LazyForm,
    /// From the root's position to the dependency table, and as far behind it as is read.
    pub(super) root: &'static [Field],
    pub(super) dep: &'static [DepField],
    /// The kinds of a dependency by their number.
    pub(super) kinds: &'static [DepKind],
    /// What ends the root, where its end is known (the end marker exists from rustc 1.80 on).
    pub(super) tail: &'static [TailField],
    /// Whether the blob ends in the end marker.
    pub(super) end_marker: bool,
    /// Whether the dependencies' extra filenames stand in the trailer.
    pub(super) trailer: bool,
    /// Whether the row is known to hold for each release of its range; where some were never seen,
    /// neighbours are tried too.
    pub(super) certain: bool,
}

use DepField as D;
use Field as F;
use Flag as B;

const KINDS_OF_FOUR: &[DepKind] = &[
    DepKind::UnexportedMacrosOnly,
    DepKind::MacrosOnly,
    DepKind::Conditional,
    DepKind::Unconditional,
];
const KINDS: &[DepKind] = &[
    DepKind::MacrosOnly,
    DepKind::Conditional,
    DepKind::Unconditional,
];

const GLOBAL_ALLOCATOR: Field = F::Flag(B::HasGlobalAllocator);
const ALLOC_ERROR_HANDLER: Field = F::Flag(B::HasAllocErrorHandler);
const PANIC_HANDLER: Field = F::Flag(B::HasPanicHandler);
const LIB_ALLOCATOR: Field = F::Flag(B::HasDefaultLibAllocator);
const FINGERPRINT: Field = F::Disambiguator(Disambiguator::Fingerprint);
const PLUGIN: Field = F::OptionalIndex("root.plugin_registrar_fn");
const DERIVE: Field = F::OptionalIndex("root.macro_derive_registrar");
const MACRO_DECLS: Field = F::OptionalIndex("root.proc_macro_decls_static");
const MACRO_STABILITY: Field = F::Absent("root.proc_macro_stability");
const EII: Field = F::Array("root.externally_implementable_items");

const TAIL: &[TailField] = &[
    TailField::Flag(B::CompilerBuiltins),
    TailField::Flag(B::NeedsAllocator),
    TailField::Flag(B::NeedsPanicRuntime),
    TailField::Flag(B::NoBuiltins),
    TailField::Flag(B::PanicRuntime),
    TailField::Flag(B::ProfilerRuntime),
    TailField::SymbolMangling,
    TailField::Byte, // specialization_enabled_in
];

/// Shorter to read than twenty struct literals: a row is the one before it, but for these fields.
macro_rules! rows {
    ($($name:ident = { $($field:ident: $value:expr),+ $(,)? } but $base:ident;)*) => {
        $(const $name: Layout = Layout { $($field: $value,)+ ..$base };)*
        /// All layouts, oldest first.
        pub(super) const LAYOUTS: &[Layout] = &[L16, $($name),*];
    };
}

const L16: Layout = Layout {
    version: 4,
    since: 16,
    symbols: SymbolForm::Text,
    hashes: HashForm::Leb64,
    triple: TripleForm::Text,
    lazy: LazyForm::LessMinimumSize,
    root: &[
        F::Name,
        F::Triple,
        F::Hash,
        F::Disambiguator(Disambiguator::Text),
        F::Panic,
        PLUGIN,
        DERIVE,
        F::Deps,
    ],
    dep: &[D::Name, D::Hash, D::Kind],
    kinds: KINDS_OF_FOUR,
    tail: &[],
    end_marker: false,
    trailer: false,
    certain: false,
};

#[rustfmt::skip] // a row reads best as a few lines
rows! {
    L20 = { since: 20, root: &[
        F::Name, F::Triple, F::Hash, F::Disambiguator(Disambiguator::Text),
        F::Panic, GLOBAL_ALLOCATOR, LIB_ALLOCATOR, PLUGIN, DERIVE, F::Deps,
    ] } but L16;
    L21 = { since: 21, root: &[
        F::Name, F::Triple, F::Hash, F::Disambiguator(Disambiguator::TwoNumbers),
        F::Panic, GLOBAL_ALLOCATOR, LIB_ALLOCATOR, PLUGIN, DERIVE, F::Deps,
    ] } but L20;
    L25 = { since: 25, triple: TripleForm::TaggedPath, root: &[
        F::Name, F::Triple, F::Hash, FINGERPRINT,
        F::Panic, GLOBAL_ALLOCATOR, LIB_ALLOCATOR, PLUGIN, DERIVE, F::Deps,
    ] } but L21;
    L27 = { since: 27, root: &[
        F::Name, F::Triple, F::ExtraFilename, F::Hash, FINGERPRINT,
        F::Panic, F::Edition, GLOBAL_ALLOCATOR, LIB_ALLOCATOR, PLUGIN, DERIVE, F::Deps,
    ], dep: &[D::Name, D::Hash, D::Kind, D::ExtraFilename] } but L25;
    L30 = { since: 30, certain: true, root: &[
        F::Name, F::Triple, F::ExtraFilename, F::Hash, FINGERPRINT,
        F::Panic, F::Edition, GLOBAL_ALLOCATOR, PANIC_HANDLER, LIB_ALLOCATOR, PLUGIN, DERIVE, F::Deps,
    ] } but L27;
    L35 = { since: 35, root: &[
        F::Name, F::Triple, F::ExtraFilename, F::Hash, FINGERPRINT,
        F::Panic, F::Edition, GLOBAL_ALLOCATOR, PANIC_HANDLER, LIB_ALLOCATOR,
        PLUGIN, MACRO_DECLS, MACRO_STABILITY, F::Deps,
    ] } but L30;
    L40 = { since: 40, dep: &[D::Name, D::Hash, D::HostHash, D::Kind, D::ExtraFilename] } but L35;
    L41 = { version: 5, since: 41 } but L40;
    L43 = { since: 43, kinds: KINDS } but L41;
    L48 = { since: 48, root: &[
        F::Name, F::Triple, F::ExtraFilename, F::Hash, FINGERPRINT,
        F::Panic, F::Edition, GLOBAL_ALLOCATOR, PANIC_HANDLER, LIB_ALLOCATOR, PLUGIN, F::Deps,
    ] } but L43;
    L52 = { since: 52, root: &[
        F::Name, F::Triple, F::ExtraFilename, F::Hash, FINGERPRINT, F::StableCrateId,
        F::Panic, F::Edition, GLOBAL_ALLOCATOR, PANIC_HANDLER, LIB_ALLOCATOR, PLUGIN, F::Deps,
    ] } but L48;
    L54 = { since: 54, root: &[
        F::Name, F::Triple, F::ExtraFilename, F::Hash, FINGERPRINT, F::StableCrateId,
        F::Panic, F::Edition, GLOBAL_ALLOCATOR, PANIC_HANDLER, LIB_ALLOCATOR, F::Deps,
    ] } but L52;
    L55 = { since: 55, root: &[
        F::Name, F::Triple, F::ExtraFilename, F::Hash, F::StableCrateId,
        F::Panic, F::Edition, GLOBAL_ALLOCATOR, PANIC_HANDLER, LIB_ALLOCATOR, F::Deps,
    ] } but L54;
    L57 = { since: 57, root: &[
        F::Name, F::Triple, F::ExtraFilename, F::Hash, F::StableCrateId,
        F::Panic, F::PanicInDrop, F::Edition,
        GLOBAL_ALLOCATOR, PANIC_HANDLER, LIB_ALLOCATOR, F::Deps,
    ] } but L55;
    L59 = { version: 6, since: 59 } but L57;
    L60 = { since: 60, lazy: LazyForm::Plain } but L59;
    L63 = { since: 63, triple: TripleForm::TaggedContents } but L60;
    L64 = { since: 64, root: &[
        F::Name, F::Triple, F::ExtraFilename, F::Hash, F::StableCrateId,
        F::RequiredPanic, F::PanicInDrop, F::Edition,
        GLOBAL_ALLOCATOR, PANIC_HANDLER, LIB_ALLOCATOR, F::Deps,
    ] } but L63;
    L65 = { since: 65, symbols: SymbolForm::Tagged } but L64;
    L67 = { since: 67, root: &[
        F::Name, F::Triple, F::ExtraFilename, F::Hash, F::StableCrateId,
        F::RequiredPanic, F::PanicInDrop, F::Edition,
        GLOBAL_ALLOCATOR, ALLOC_ERROR_HANDLER, PANIC_HANDLER, LIB_ALLOCATOR, F::Deps,
    ] } but L65;
    L70 = { version: 7, since: 70 } but L67;
    L71 = { since: 71, hashes: HashForm::Raw } but L70;
    L72 = { version: 8, since: 72, root: &[
        F::Triple, F::Hash, F::Name, F::IsProcMacro, F::ExtraFilename, F::StableCrateId,
        F::RequiredPanic, F::PanicInDrop, F::Edition,
        GLOBAL_ALLOCATOR, ALLOC_ERROR_HANDLER, PANIC_HANDLER, LIB_ALLOCATOR, F::Deps,
    ], dep: &[
        D::Name, D::Hash, D::HostHash, D::Kind, D::ExtraFilename, D::IsPrivate,
    ] } but L71;
    L76 = { version: 9, since: 76, root: &[
        F::Triple, F::Hash, F::Name, F::IsProcMacro, F::ExtraFilename, F::StableCrateId,
        F::RequiredPanic, F::PanicInDrop, F::Edition,
        GLOBAL_ALLOCATOR, ALLOC_ERROR_HANDLER, PANIC_HANDLER, LIB_ALLOCATOR, F::Deps, F::Linkages,
    ] } but L72;
    L80 = { since: 80, end_marker: true, tail: TAIL } but L76;
    L88 = { version: 10, since: 88, root: &[
        F::Triple, F::Hash, F::Name, F::IsProcMacro, F::IsStub, F::ExtraFilename, F::StableCrateId,
        F::RequiredPanic, F::PanicInDrop, F::Edition,
        GLOBAL_ALLOCATOR, ALLOC_ERROR_HANDLER, PANIC_HANDLER, LIB_ALLOCATOR, F::Deps, F::Linkages,
    ] } but L80;
    L94 = { since: 94, root: &[
        F::Triple, F::Hash, F::Name, F::IsProcMacro, F::IsStub, F::ExtraFilename, F::StableCrateId,
        F::RequiredPanic, F::PanicInDrop, F::Edition,
        GLOBAL_ALLOCATOR, ALLOC_ERROR_HANDLER, PANIC_HANDLER, LIB_ALLOCATOR, EII, F::Deps, F::Linkages,
    ] } but L88;
    L100 = { version: 11, since: 100, root: &[
        F::Triple, F::Name, F::IsProcMacro, F::IsStub, F::StableCrateId,
        F::RequiredPanic, F::PanicInDrop, F::Edition,
        GLOBAL_ALLOCATOR, ALLOC_ERROR_HANDLER, PANIC_HANDLER, LIB_ALLOCATOR, EII, F::Deps, F::Linkages,
    ], dep: &[
        D::Name, D::Hash, D::HostHash, D::Kind, D::IsPrivate,
    ], tail: &[], trailer: true } but L94;
}

/// The layouts of `METADATA_VERSION` `version`, those nearest to release `1.minor` first: the row in
/// force at that release, then its neighbours.
pub(super) fn candidates(version: u8, minor: Option<u32>) -> Vec<&'static Layout> {
    let mut rows: Vec<&Layout> = LAYOUTS
        .iter()
        .filter(|row| row.version == version)
        .collect();
    rows.reverse(); // without a number the newest is the best guess
    if let Some(minor) = minor {
        // Rows that had begun by then come first, the latest of them in front.
        rows.sort_by_key(|row| (row.since > minor, minor.abs_diff(row.since)));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_order_and_every_version_has_both_tables() {
        assert!(LAYOUTS.is_sorted_by(|a, b| a.since < b.since && a.version <= b.version));
        for version in OLDEST..=NEWEST {
            let preamble = preamble(version).expect("a preamble");
            let rows = candidates(version, None);
            assert!(!rows.is_empty(), "{version}");
            for row in rows {
                assert_eq!(row.trailer, preamble.trailer.is_some(), "1.{}", row.since);
                assert_eq!(
                    row.root.contains(&Field::Hash),
                    preamble.svh.is_none(),
                    "1.{}: the SVH stands in one place",
                    row.since
                );
                for field in [Field::Name, Field::Triple, Field::Deps] {
                    assert!(row.root.contains(&field), "1.{}: {field:?}", row.since);
                }
                for field in [DepField::Name, DepField::Hash, DepField::Kind] {
                    assert!(row.dep.contains(&field), "1.{}: {field:?}", row.since);
                }
            }
        }
        assert!(preamble(3).is_none() && preamble(NEWEST + 1).is_none());
    }

    #[test]
    fn the_row_in_force_comes_first() {
        let first = |version, minor| candidates(version, minor)[0].since;
        assert_eq!(first(10, Some(95)), 94);
        assert_eq!(first(10, Some(93)), 88);
        assert_eq!(first(10, None), 94);
        assert_eq!(first(7, Some(70)), 70);
        assert_eq!(first(5, Some(40)), 41, "a nightly ahead of its number");
    }
}
