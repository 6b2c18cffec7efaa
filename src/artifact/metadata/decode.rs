//! Reads a root and its dependency table by a row of the layout table.
//!
//! Every value is checked as it is read. That keeps a damaged file from passing for a sound one, and
//! it is how the right row is found for a compiler between two releases.

use std::collections::BTreeMap;

use super::header::{self, END_MARKER, Header, STRING_SENTINEL};
use super::layout::{
    self, DepField, Disambiguator, Field, HashForm, Layout, LazyForm, SymbolForm, TailField,
    TripleForm,
};
use super::{
    CrateDep, CrateName, CrateRoot, DepKind, Edition, Fault, FaultReason, Linkage, PanicStrategy,
    Places, StableCrateId, Svh, SymbolMangling,
};
use crate::bytes::{Cursor, ReadError};

/// No file system has longer names, so no crate has. The bound also keeps a table of references to
/// one long string from growing into gigabytes.
const MAX_NAME: usize = 255;

/// The compilers' lists of words are a fifth as long.
const MAX_PREDEFINED: usize = 10_000;

const EDITIONS: &[Edition] = &[
    Edition::E2015,
    Edition::E2018,
    Edition::E2021,
    Edition::E2024,
    Edition::Future,
];

const PANIC: &[PanicStrategy] = &[
    PanicStrategy::Unwind,
    PanicStrategy::Abort,
    PanicStrategy::ImmediateAbort,
];

const LINKAGE: &[Linkage] = &[Linkage::Dynamic, Linkage::Static];

const MANGLING: &[SymbolMangling] = &[
    SymbolMangling::Legacy,
    SymbolMangling::V0,
    SymbolMangling::Hashed,
];

/// The root of `blob`, by the layout of the compiler that wrote it.
pub(super) fn root(blob: &[u8], header: &Header) -> Result<(CrateRoot, Places), Fault> {
    let Some(at) = header.root else {
        return Err(Fault {
            offset: header::MAGIC.len(),
            field: "metadata version",
            element: None,
            reason: FaultReason::UnknownVersion(header.version),
        });
    };
    if at >= blob.len() {
        let what = "it points beyond the end: the metadata is cut short";
        let position = layout::preamble(header.version).map_or(0, |preamble| preamble.root.at());
        return Err(header::value(position, "root position", what));
    }
    let (minor, release) = header.minor().map_or((None, false), |(n, r)| (Some(n), r));
    let candidates = layout::candidates(header.version, minor);
    let (first, neighbours) = candidates
        .split_first()
        .expect("a version with a preamble has a layout");
    if release && first.end_marker && !blob.ends_with(END_MARKER) {
        let what = "no end marker (rust-end-file): the metadata is cut short";
        return Err(header::value(blob.len(), "metadata", what));
    }
    let best = Reader::new(blob, header, first, at).root();
    if release && (first.certain || best.is_ok()) {
        return best;
    }
    // Between two releases the layout may be either's. A row that is not the right one fails, or
    // takes a zero byte for an empty table: so most dependencies win, and the nearest row a draw.
    neighbours.iter().fold(best, |best, layout| {
        let other = Reader::new(blob, header, layout, at).root();
        match (&best, &other) {
            (Err(_), Ok(_)) => other,
            (Ok((best_root, _)), Ok((root, _))) if root.deps.len() > best_root.deps.len() => other,
            _ => best,
        }
    })
}

/// Reads one root: the bytes, the row, and where lazy arrays are counted from.
struct Reader<'a> {
    blob: &'a [u8],
    header: &'a Header,
    layout: &'static Layout,
    cursor: Cursor<'a>,
    /// Position of the root.
    start: usize,
    /// Where the last lazy array began or, in the older form, ended.
    previous: Option<usize>,
    field: &'static str,
    element: Option<usize>,
    places: Places,
}

impl<'a> Reader<'a> {
    fn new(blob: &'a [u8], header: &'a Header, layout: &'static Layout, start: usize) -> Self {
        let cursor = Cursor::at(blob, start).unwrap_or_else(|_| Cursor::new(&[]));
        Self {
            blob,
            header,
            layout,
            cursor,
            start,
            previous: None,
            field: "root",
            element: None,
            places: Places {
                header: 0..header.body,
                svh: header.svh_at.clone().unwrap_or(start..start),
                dependencies: header.body..header.body,
                dependency_svhs: Vec::new(),
                root: start..start,
                unhashed: None,
                lists: None,
            },
        }
    }

    fn root(mut self) -> Result<(CrateRoot, Places), Fault> {
        // Name and triple are placeholders: each row of the table reads both, or fails.
        let mut root = CrateRoot {
            metadata_version: self.header.version,
            rustc: self.header.rustc.clone().unwrap_or_default(),
            name: CrateName::Predefined(0),
            svh: self.header.svh.unwrap_or(Svh::new(0)),
            extra_filename: None,
            stable_crate_id: None,
            triple: String::new(),
            target_json: None,
            is_proc_macro: None,
            is_stub: false,
            edition: None,
            panic_strategy: None,
            panic_in_drop: None,
            symbol_mangling: None,
            flags: BTreeMap::new(),
            deps: Vec::new(),
        };
        let mut linkages = Vec::new();
        for field in self.layout.root {
            match *field {
                Field::Name => root.name = self.at("root.name").name()?,
                Field::Triple => {
                    (root.triple, root.target_json) = self.at("root.triple").triple()?;
                }
                Field::Hash => {
                    let at = self.cursor.offset();
                    root.svh = self.at("root.hash").svh()?;
                    self.places.svh = at..self.cursor.offset();
                }
                Field::ExtraFilename => {
                    root.extra_filename = Some(self.at("root.extra_filename").file_part()?);
                }
                Field::Disambiguator(form) => self.at("root.disambiguator").skip(form)?,
                Field::StableCrateId => {
                    let id = self.at("root.stable_crate_id").stable_crate_id()?;
                    root.stable_crate_id = Some(id);
                }
                Field::IsProcMacro => {
                    root.is_proc_macro = Some(self.at("root.is_proc_macro").bool()?);
                }
                Field::IsStub => {
                    root.is_stub = self.at("root.is_stub").bool()?;
                    if root.is_stub {
                        self.places.root.end = self.blob.len();
                        return Ok((root, self.places)); // it ends here
                    }
                }
                Field::Panic => {
                    root.panic_strategy = Some(self.at("root.panic_strategy").one_of(PANIC)?);
                }
                Field::RequiredPanic => {
                    self.at("root.required_panic_strategy");
                    root.panic_strategy = self.option(|reader| reader.one_of(PANIC))?;
                }
                Field::PanicInDrop => {
                    root.panic_in_drop = Some(self.at("root.panic_in_drop").one_of(PANIC)?);
                }
                Field::Edition => root.edition = Some(self.at("root.edition").one_of(EDITIONS)?),
                Field::Flag(flag) => {
                    root.flags.insert(flag, self.at("root.flags").bool()?);
                }
                Field::OptionalIndex(name) => {
                    self.at(name).option(Self::number)?;
                }
                Field::Absent(name) => {
                    let at = self.cursor.offset();
                    if self.at(name).option(|_| Ok(()))?.is_some() {
                        return Err(self.value(at, "a value here is not described"));
                    }
                }
                Field::Array(name) => {
                    self.at(name).lazy()?;
                }
                Field::Deps => root.deps = self.at("crate_deps").deps()?,
                Field::Linkages => {
                    linkages = self.at("dylib_dependency_formats").linkages()?;
                    let previous = self.previous;
                    self.places.lists = previous.map(|at| (self.cursor.offset(), at));
                }
            }
        }
        for (dep, linkage) in root.deps.iter_mut().zip(linkages) {
            dep.linkage = linkage;
        }
        if self.layout.trailer {
            self.trailer(&mut root)?;
        }
        self.tail(&mut root)?;
        self.places.root.end = self.header.trailer.unwrap_or(self.blob.len());
        Ok((root, self.places))
    }

    /// Names the field that is read next, for errors.
    fn at(&mut self, field: &'static str) -> &mut Self {
        self.field = field;
        self
    }

    fn read<T>(
        &mut self,
        read: impl FnOnce(&mut Cursor<'a>) -> Result<T, ReadError>,
    ) -> Result<T, Fault> {
        read(&mut self.cursor).map_err(|error| Fault {
            element: self.element,
            ..header::unread(self.field, error)
        })
    }

    fn value(&self, offset: usize, what: &'static str) -> Fault {
        Fault {
            element: self.element,
            ..header::value(offset, self.field, what)
        }
    }

    /// Reads elsewhere in the blob, then goes on here.
    fn detour<T>(
        &mut self,
        position: usize,
        read: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let here = self.cursor.clone();
        self.cursor = Cursor::at(self.blob, position).map_err(|error| Fault {
            element: self.element,
            ..header::unread(self.field, error)
        })?;
        let result = read(self);
        self.cursor = here;
        result
    }

    fn number(&mut self) -> Result<usize, Fault> {
        self.read(Cursor::leb_usize)
    }

    fn bool(&mut self) -> Result<bool, Fault> {
        let at = self.cursor.offset();
        match self.read(Cursor::u8)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.value(at, "neither 0 nor 1 where a yes or no stands")),
        }
    }

    fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        if self.bool()? {
            read(self).map(Some)
        } else {
            Ok(None)
        }
    }

    /// A byte that is the index of one of `values`.
    fn one_of<T: Copy>(&mut self, values: &[T]) -> Result<T, Fault> {
        let at = self.cursor.offset();
        let index = self.read(Cursor::u8)?;
        let value = values.get(usize::from(index)).copied();
        value.ok_or_else(|| self.value(at, "value out of range"))
    }

    fn string(&mut self) -> Result<&'a str, Fault> {
        let at = self.cursor.offset();
        let length = self.number()?;
        let text = self.read(|cursor| cursor.take(length))?;
        let text = std::str::from_utf8(text).map_err(|_| self.value(at, "string is not UTF-8"))?;
        if self.header.sentinel {
            let end = self.cursor.offset();
            if self.read(Cursor::u8)? != STRING_SENTINEL {
                return Err(self.value(end, "no end byte (0xc1) behind a string"));
            }
        }
        Ok(text)
    }

    /// A string that becomes part of a file name.
    fn file_part(&mut self) -> Result<String, Fault> {
        let at = self.cursor.offset();
        let text = self.string()?;
        if text.len() > MAX_NAME || text.contains('\0') {
            return Err(self.value(at, "cannot be part of a file name"));
        }
        Ok(text.to_owned())
    }

    fn name(&mut self) -> Result<CrateName, Fault> {
        let at = self.cursor.offset();
        let tag = match self.layout.symbols {
            SymbolForm::Text => 0,
            SymbolForm::Tagged => self.read(Cursor::u8)?,
        };
        let text = match tag {
            0 => self.string()?,
            1 => {
                let position = self.number()?;
                self.detour(position, Self::string)?
            }
            2 => {
                return match self.number()? {
                    index if index < MAX_PREDEFINED => Ok(CrateName::Predefined(
                        u32::try_from(index).expect("less than 10000"),
                    )),
                    _ => Err(self.value(at, "index of a predefined name out of range")),
                };
            }
            _ => return Err(self.value(at, "unknown form of a name")),
        };
        let fits = |c: char| c.is_alphanumeric() || c == '_';
        if text.is_empty() || text.len() > MAX_NAME || !text.chars().all(fits) {
            return Err(self.value(at, "not a crate name"));
        }
        Ok(CrateName::Known(text.to_owned()))
    }

    fn svh(&mut self) -> Result<Svh, Fault> {
        match self.layout.hashes {
            HashForm::Leb64 => self.read(Cursor::leb_u64).map(Svh::new_64),
            HashForm::Raw => self.read(Cursor::u128_le).map(Svh::new),
        }
    }

    fn stable_crate_id(&mut self) -> Result<StableCrateId, Fault> {
        let read = match self.layout.hashes {
            HashForm::Leb64 => Cursor::leb_u64,
            HashForm::Raw => Cursor::u64_le,
        };
        self.read(read).map(StableCrateId)
    }

    fn skip(&mut self, form: Disambiguator) -> Result<(), Fault> {
        match form {
            Disambiguator::Text => self.string().map(drop),
            Disambiguator::TwoNumbers => self
                .read(Cursor::leb_u64)
                .and_then(|_| self.read(Cursor::leb_u64))
                .map(drop),
            Disambiguator::Fingerprint => self.read(Cursor::u128_le).map(drop),
        }
    }

    fn triple(&mut self) -> Result<(String, Option<String>), Fault> {
        let at = self.cursor.offset();
        let custom = self.layout.triple != TripleForm::Text && self.bool()?;
        let name = self.string()?;
        if custom {
            let json = match self.layout.triple {
                TripleForm::TaggedContents => Some(self.string()?.to_owned()),
                _ => None,
            };
            return Ok((name.to_owned(), json));
        }
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.".contains(&b);
        let parts = || name.split('-');
        let sound = (2..=5).contains(&parts().count())
            && parts().all(|part| !part.is_empty() && part.bytes().all(fits));
        if !sound {
            return Err(self.value(at, "not a target triple"));
        }
        Ok((name.to_owned(), None))
    }

    /// Count and position of a lazy array; the position of an empty one means nothing.
    fn lazy(&mut self) -> Result<(usize, usize), Fault> {
        let at = self.cursor.offset();
        let count = self.number()?;
        if count == 0 {
            return Ok((0, 0));
        }
        let distance = self.number()?;
        let size = match self.layout.lazy {
            LazyForm::LessMinimumSize => count,
            LazyForm::Plain => 0,
        };
        let position = match self.previous {
            None => self
                .start
                .checked_sub(distance)
                .and_then(|end| end.checked_sub(size)),
            Some(previous) => previous.checked_add(distance),
        };
        let Some(position) = position.filter(|position| *position < self.blob.len()) else {
            return Err(self.value(at, "array beyond the metadata"));
        };
        self.previous = Some(position.saturating_add(size));
        Ok((count, position))
    }

    fn deps(&mut self) -> Result<Vec<CrateDep>, Fault> {
        let at = self.cursor.offset();
        // Something that is encoded before the table moves it; only the items of this one array can.
        let moved = self.previous.is_some();
        let (count, position) = self.lazy()?;
        if count == 0 {
            return Ok(Vec::new());
        }
        if position != self.header.body && !moved {
            return Err(self.value(at, "table is not behind the compiler's version"));
        }
        let deps = self.detour(position, |reader| {
            // The count is not to be trusted with memory; every row that is there has bytes.
            let mut deps = Vec::new();
            for index in 0..count {
                reader.element = Some(index);
                deps.push(reader.dep()?);
            }
            reader.element = None;
            reader.places.dependencies = position..reader.cursor.offset();
            if reader.cursor.offset() > reader.start {
                return Err(reader.value(at, "table runs into the root"));
            }
            Ok(deps)
        });
        self.element = None;
        deps
    }

    fn dep(&mut self) -> Result<CrateDep, Fault> {
        let mut dep = CrateDep {
            name: CrateName::Predefined(0),
            svh: Svh::new(0),
            host_svh: None,
            kind: DepKind::Unconditional,
            extra_filename: String::new(),
            is_private: None,
            linkage: None,
        };
        let kinds = self.layout.kinds;
        for field in self.layout.dep {
            match field {
                DepField::Name => dep.name = self.at("crate_deps.name").name()?,
                DepField::Hash => {
                    let at = self.cursor.offset();
                    dep.svh = self.at("crate_deps.hash").svh()?;
                    self.places.dependency_svhs.push(at..self.cursor.offset());
                }
                DepField::HostHash => {
                    dep.host_svh = self.at("crate_deps.host_hash").option(Self::svh)?;
                }
                DepField::Kind => {
                    dep.kind = self.at("crate_deps.kind").one_of(kinds)?;
                }
                DepField::ExtraFilename => {
                    dep.extra_filename = self.at("crate_deps.extra_filename").file_part()?;
                }
                DepField::IsPrivate => {
                    dep.is_private = Some(self.at("crate_deps.is_private").bool()?);
                }
            }
        }
        Ok(dep)
    }

    fn linkages(&mut self) -> Result<Vec<Option<Linkage>>, Fault> {
        let (count, position) = self.lazy()?;
        if count == 0 {
            return Ok(Vec::new());
        }
        self.detour(position, |reader| {
            (0..count)
                .map(|_| reader.option(|reader| reader.one_of(LINKAGE)))
                .collect()
        })
    }

    /// The part that the SVH does not cover: the extra filenames of the crate and, by crate number,
    /// of its dependencies.
    fn trailer(&mut self, root: &mut CrateRoot) -> Result<(), Fault> {
        self.field = "trailer.extra_filename";
        let Some(position) = self.header.trailer else {
            return Err(self.value(0, "no trailer, and the crate is no stub"));
        };
        self.places.unhashed = Some(position..self.blob.len());
        self.detour(position, |reader| {
            root.extra_filename = Some(reader.file_part()?);
            let at = reader.cursor.offset();
            if reader.number()? != root.deps.len() + 1 {
                return Err(reader.value(at, "another number of names than dependencies"));
            }
            reader.file_part()?; // number 0 is the crate itself
            for dep in &mut root.deps {
                dep.extra_filename = reader.file_part()?;
            }
            Ok(())
        })
    }

    /// The last fields of the root. They are found from the end, since what stands between is not
    /// decoded.
    fn tail(&mut self, root: &mut CrateRoot) -> Result<(), Fault> {
        let tail = self.layout.tail;
        let Some(end) = self.blob.strip_suffix(END_MARKER).map(<[u8]>::len) else {
            return Ok(());
        };
        let position = match end.checked_sub(tail.len()) {
            Some(position) if !tail.is_empty() && position >= self.cursor.offset() => position,
            _ => return Ok(()),
        };
        self.detour(position, |reader| {
            for field in tail {
                match field {
                    TailField::Flag(flag) => {
                        root.flags.insert(*flag, reader.at("root.flags").bool()?);
                    }
                    TailField::SymbolMangling => {
                        let mangling = reader.at("root.symbol_mangling_version");
                        root.symbol_mangling = Some(mangling.one_of(MANGLING)?);
                    }
                    TailField::Byte => {
                        reader.read(Cursor::u8)?;
                    }
                }
            }
            Ok(())
        })
    }
}
