//! Reading artifacts: known bytes of eleven layouts, damaged files, and a second opinion.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use svhcheck::artifact::{self, ArtifactError, Completion, CrateRoot, Kind, Metadata};

use crate::support;

const END_MARKER: &[u8] = b"rust-end-file";

/// A blob of which the bytes that matter are known, and what must be read from it.
struct Vector {
    rustc: String,
    blob: Vec<u8>,
    expected: String,
}

fn vectors() -> Vec<Vector> {
    let text = fs::read_to_string(support::root().join("fixtures/_artifacts/vectors.txt")).unwrap();
    let mut vectors: Vec<Vector> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if let Some(rustc) = line.strip_prefix('[') {
            let rustc = rustc.strip_suffix(']').unwrap().to_owned();
            let (blob, expected) = (Vec::new(), String::new());
            vectors.push(Vector {
                rustc,
                blob,
                expected,
            });
            continue;
        }
        let Some(vector) = vectors.last_mut() else {
            continue;
        };
        match word {
            "length" => vector.blob.resize(rest.parse().unwrap(), 0),
            "" => {}
            "root" | "flags" | "dep" => writeln!(vector.expected, "{line}").unwrap(),
            position => {
                let at = usize::from_str_radix(&position[2..], 16).unwrap();
                for (index, byte) in rest.split(' ').enumerate() {
                    vector.blob[at + index] = u8::from_str_radix(byte, 16).unwrap();
                }
            }
        }
    }
    for vector in &mut vectors {
        let minor: u32 = vector.rustc.split('.').nth(1).unwrap().parse().unwrap();
        if minor >= 80 {
            let at = vector.blob.len() - END_MARKER.len();
            vector.blob[at..].copy_from_slice(END_MARKER);
        }
    }
    vectors
}

/// `root` in the form of the vectors' file.
fn rendered(root: &CrateRoot) -> String {
    let or_none = |text: Option<String>| text.unwrap_or("none".to_owned());
    let mut text = format!(
        "root version {} name {} svh {} id {} triple {}",
        root.metadata_version,
        root.name,
        root.svh,
        or_none(root.stable_crate_id.map(|id| id.to_string())),
        root.triple,
    );
    if root.is_stub {
        return text + " stub\n";
    }
    writeln!(
        text,
        " extra '{}' edition {} panic {} panic_in_drop {}",
        root.extra_filename.as_deref().unwrap(),
        or_none(root.edition.map(|edition| edition.to_string())),
        or_none(root.panic_strategy.map(|panic| panic.to_string())),
        or_none(root.panic_in_drop.map(|panic| panic.to_string())),
    )
    .unwrap();
    text.push_str("flags");
    for (flag, value) in &root.flags {
        let flag = flag.to_string();
        if flag.starts_with("has_") {
            write!(text, " {flag}={value}").unwrap();
        }
    }
    for dep in &root.deps {
        let private = dep
            .is_private
            .map_or("unknown".to_owned(), |p| p.to_string());
        let (name, svh, extra, kind) = (&dep.name, dep.svh, &dep.extra_filename, dep.kind);
        write!(text, "\ndep {name} {svh} {extra} {kind} private {private}").unwrap();
    }
    text + "\n"
}

#[test]
fn known_bytes_of_every_layout_are_read() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 12);
    for vector in vectors {
        let metadata = Metadata::parse(&vector.blob).unwrap();
        assert_eq!(metadata.header().rustc.as_ref(), Some(&vector.rustc));
        let root = metadata
            .root()
            .unwrap_or_else(|e| panic!("{}: {e}", vector.rustc));
        assert_eq!(rendered(&root), vector.expected, "{}", vector.rustc);
    }
}

#[test]
fn an_odd_compiler_gets_the_layout_that_fits() {
    for vector in vectors() {
        // A compiler between two releases, of the same length: `1.95.0 (…` becomes `1.95.0-d…`.
        let at = vector
            .blob
            .windows(2)
            .position(|bytes| bytes == b" (")
            .unwrap();
        let mut blob = vector.blob.clone();
        blob[at..at + 2].copy_from_slice(b"-d");
        let root = Metadata::parse(&blob).unwrap().root().unwrap();
        assert_eq!(rendered(&root), vector.expected, "{}", vector.rustc);
    }
}

#[test]
fn an_unknown_version_still_names_its_compiler() {
    for vector in vectors() {
        let mut blob = vector.blob.clone();
        blob[7] = 12;
        let metadata = Metadata::parse(&blob).unwrap();
        assert_eq!(metadata.header().version, 12);
        let sentinel = vector.blob[7] >= 6;
        let rustc = sentinel.then_some(vector.rustc);
        assert_eq!(metadata.header().rustc, rustc);
        let fault = metadata.root().unwrap_err().to_string();
        assert!(fault.contains("METADATA_VERSION 12 is unknown"), "{fault}");
    }
}

#[test]
fn damaged_metadata_is_an_error_and_never_a_panic() {
    for vector in vectors() {
        for length in 0..vector.blob.len() {
            let _ = Metadata::parse(&vector.blob[..length]).map(|metadata| metadata.root());
        }
        let mut blob = vector.blob.clone();
        for at in 0..blob.len() {
            for bits in [0x01, 0x80, 0xff] {
                blob[at] ^= bits;
                let _ = Metadata::parse(&blob).map(|metadata| metadata.root());
                blob[at] ^= bits;
            }
        }
    }
}

/// Compiles a small library with a dependency-free source; returns the directory.
fn small_library(flags: &[&str]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(
        directory.path().join("quote.rs"),
        "pub fn k() -> u8 { 1 }\n",
    )
    .unwrap();
    let output = support::scrubbed("rustc")
        .current_dir(directory.path())
        .args(["--crate-type", "lib", "--edition", "2021", "quote.rs"])
        .args(flags)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    directory
}

fn names(root: &CrateRoot) -> Vec<String> {
    root.deps.iter().map(|dep| dep.name.to_string()).collect()
}

#[test]
fn a_cut_or_flipped_rlib_is_an_error_and_never_a_panic() {
    let directory = small_library(&["-Cmetadata=x", "-Cextra-filename=-x"]);
    let path = directory.path().join("libquote-x.rlib");
    let whole = fs::read(&path).unwrap();
    let root = artifact::read_root(&path).unwrap();
    let damaged = directory.path().join("damaged.rlib");
    let read = |bytes: &[u8]| {
        fs::write(&damaged, bytes).unwrap();
        let artifact = artifact::open(&damaged)?;
        let members = artifact.members().collect::<Result<Vec<_>, _>>();
        artifact.sections()?;
        artifact.root().and_then(|root| members.map(|_| root))
    };
    for length in (0..whole.len()).step_by(64) {
        let error = read(&whole[..length]).expect_err("something is missing");
        assert!(error.to_string().contains("damaged.rlib: "), "{error}");
    }
    // Every byte of the headers, then a sample.
    let mut bytes = whole.clone();
    for at in (0..1024).chain((1024..whole.len()).step_by(61)) {
        bytes[at] = !bytes[at];
        if let Ok(other) = read(&bytes) {
            assert_eq!(other.rustc.len(), root.rustc.len());
        }
        bytes[at] = !bytes[at];
    }
}

#[test]
fn names_that_metadata_leaves_out_are_found() {
    // `quote` is a word of the compiler, as are all crates of the sysroot.
    let directory = small_library(&[
        "-Cmetadata=x",
        "-Cextra-filename=-x",
        "--emit=link,metadata",
    ]);
    for file in ["libquote-x.rlib", "libquote-x.rmeta"] {
        let path = directory.path().join(file);
        let raw = artifact::open(&path).unwrap().root().unwrap();
        assert!(raw.unresolved().count() > 1, "{:?}", names(&raw));
        assert!(raw.name.to_string().starts_with("sym#"));
        let root = artifact::read_root(&path).unwrap();
        assert_eq!(root.name.known(), Some("quote"));
        assert_eq!(root.extra_filename.as_deref(), Some("-x"));
    }
    // An uplifted or renamed file does not say the name, but its members do.
    let renamed = directory.path().join("other.rlib");
    fs::rename(directory.path().join("libquote-x.rlib"), &renamed).unwrap();
    let root = artifact::read_root(&renamed).unwrap();
    assert_eq!(root.name.known(), Some("quote"));
}

#[test]
fn a_stub_is_completed_from_the_metadata_beside_it() {
    let directory = tempfile::tempdir().unwrap();
    let at = |file: &str| directory.path().join(file);
    fs::write(at("foo.rs"), "pub fn k() -> u8 { 1 }\n").unwrap();
    let status = support::scrubbed("rustc")
        .current_dir(directory.path())
        .env("RUSTC_BOOTSTRAP", "1")
        .args([
            "--crate-type",
            "lib",
            "-Zembed-metadata=no",
            "--emit=link,metadata",
            "foo.rs",
        ])
        .status()
        .unwrap();
    assert!(status.success());
    let full = artifact::read_root(&at("libfoo.rmeta")).unwrap();
    let stub = artifact::open(&at("libfoo.rlib")).unwrap().root().unwrap();
    assert!(stub.is_stub && stub.deps.is_empty() && !full.is_stub);
    assert_eq!((stub.svh, stub.name), (full.svh, full.name.clone()));
    assert_eq!(artifact::read_root(&at("libfoo.rlib")).unwrap(), full);

    fs::remove_file(at("libfoo.rmeta")).unwrap();
    let artifact = artifact::open(&at("libfoo.rlib")).unwrap();
    let stub = artifact.root().unwrap();
    assert!(matches!(artifact.complete(&stub), Completion::Missing(_)));
    assert!(artifact::read_root(&at("libfoo.rlib")).unwrap().is_stub);
}

#[test]
fn the_metadata_range_is_the_rmeta_file_to_the_byte() {
    let directory = small_library(&["--emit=link,metadata"]);
    let rmeta = fs::read(directory.path().join("libquote.rmeta")).unwrap();
    let rlib = artifact::open(&directory.path().join("libquote.rlib")).unwrap();
    assert_eq!(&rlib.bytes()[rlib.metadata_range().unwrap()], rmeta);
    assert_eq!(rlib.metadata().unwrap().bytes(), rmeta);
}

/// A library that needs no sysroot, so that it compiles for any target.
const NO_CORE: &str = r#"
#![feature(no_core, lang_items)]
#![allow(internal_features)]
#![no_core]
#[lang = "pointee_sized"] pub trait PointeeSized {}
#[lang = "meta_sized"] pub trait MetaSized: PointeeSized {}
#[lang = "sized"] pub trait Sized: MetaSized {}
#[lang = "copy"] pub trait Copy {}
impl Copy for u8 {}
pub fn k(x: u8) -> u8 { x }
"#;

#[test]
fn every_wrapper_and_dialect_holds_the_same_blob() {
    let directory = tempfile::tempdir().unwrap();
    let at = |file: &str| directory.path().join(file);
    fs::write(at("nc.rs"), NO_CORE).unwrap();
    for target in [
        "x86_64-unknown-linux-gnu",
        "i686-unknown-linux-gnu",
        "s390x-unknown-linux-gnu",
        "aarch64-apple-darwin",
        "x86_64-pc-windows-msvc",
        "x86_64-pc-windows-gnu",
        "wasm32-unknown-unknown",
        "powerpc64-ibm-aix",
        "nvptx64-nvidia-cuda",
    ] {
        let compiled = support::scrubbed("rustc")
            .current_dir(directory.path())
            .env("RUSTC_BOOTSTRAP", "1")
            .args([
                "--crate-type=lib",
                "--emit=link,metadata",
                "nc.rs",
                "--target",
                target,
            ])
            .output()
            .unwrap();
        let test = "every_wrapper_and_dialect_holds_the_same_blob";
        let what = format!("a rustc that compiles a library without core for {target}");
        if !support::require(test, &what, compiled.status.success()) {
            continue;
        }
        let rlib = artifact::open(&at("libnc.rlib")).unwrap();
        let rmeta = fs::read(at("libnc.rmeta")).unwrap();
        assert_eq!(rlib.metadata().unwrap().bytes(), rmeta, "{target}");
        let root = artifact::read_root(&at("libnc.rlib")).unwrap();
        assert_eq!(
            (root.name.known(), root.triple.as_str()),
            (Some("nc"), target)
        );
        let members = rlib.members().map(|m| m.unwrap().name.to_vec());
        assert!(
            members.into_iter().any(|name| name == b"lib.rmeta"),
            "{target}"
        );
    }
}

#[test]
fn the_empty_metadata_of_a_program_is_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("p.rs"), "fn main() {}\n").unwrap();
    let status = support::scrubbed("rustc")
        .current_dir(directory.path())
        .args(["--emit=metadata", "p.rs"])
        .status()
        .unwrap();
    assert!(status.success());
    let artifact = artifact::open(&directory.path().join("libp.rmeta")).unwrap();
    assert_eq!(artifact.kind(), Kind::Empty);
    assert!(matches!(artifact.root(), Err(ArtifactError::Empty { .. })));
}

/// Our own build's artifacts, and those of a sysroot.
fn at_hand(extension: &str) -> Vec<PathBuf> {
    let own = std::env::current_exe()
        .unwrap()
        .parent()
        .unwrap()
        .to_owned();
    let sysroots = support::sysroot_libs();
    let library = |sysroot: &PathBuf| sysroot.join("lib/rustlib/x86_64-unknown-linux-gnu/lib");
    let directories = std::iter::once(own).chain(sysroots.iter().map(library));
    let entries = directories.filter_map(|directory| fs::read_dir(directory).ok());
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    files.sort();
    files
}

#[test]
fn goblin_sees_the_same_members() {
    let files = at_hand("rlib");
    assert!(!files.is_empty());
    for path in files {
        let artifact = artifact::open(&path).unwrap();
        let archive = goblin::archive::Archive::parse(artifact.bytes()).unwrap();
        // goblin keeps the last of several members with one name; so does the map.
        let ours: BTreeMap<String, (u64, usize)> = artifact
            .members()
            .map(Result::unwrap)
            .map(|member| {
                let name = String::from_utf8(member.name.to_vec()).unwrap();
                (name, (member.offset as u64, member.data.len()))
            })
            .collect();
        let theirs: BTreeMap<String, (u64, usize)> = archive
            .members()
            .into_iter()
            .map(|name| {
                let member = archive.get(name).unwrap();
                (name.to_owned(), (member.offset, member.size()))
            })
            .collect();
        assert_eq!(ours, theirs, "{}", path.display());
    }
}

#[test]
fn goblin_sees_the_same_sections() {
    let files = at_hand("so");
    assert!(!files.is_empty(), "our own build has proc macros");
    for path in files {
        let artifact = artifact::open(&path).unwrap();
        let elf = goblin::elf::Elf::parse(artifact.bytes()).unwrap();
        let ours = artifact.sections().unwrap();
        // The first entry of an ELF section table is always void, and `object` leaves it out.
        let theirs = &elf.section_headers[1..];
        assert_eq!(ours.len(), theirs.len(), "{}", path.display());
        for (ours, theirs) in ours.iter().zip(theirs) {
            assert_eq!(ours.name, elf.shdr_strtab[theirs.sh_name]);
            assert_eq!(ours.size, theirs.sh_size);
            assert_eq!(ours.range, theirs.file_range(), "{}", ours.name);
        }
        assert!(metadata_is_in(&path, &ours), "{}", path.display());
    }
}

/// The objects inside of archives: names and sizes of sections as this program reads them, and as many
/// symbols as the library has that `diff` compares them with.
#[test]
fn goblin_sees_the_same_objects() {
    use object::{Object as _, ObjectSymbol as _};
    const LARGE: usize = 2 << 20;
    let (mut objects, mut symbols) = (0, 0);
    let golden = crate::golden::compilers()
        .into_iter()
        .flat_map(|directory| {
            let files = ["libgolden-g.rlib", "libgolden_macro-g.so"];
            files.map(|file| directory.join(file))
        });
    for path in golden.chain(at_hand("rlib")).chain(at_hand("so")) {
        let artifact = artifact::open(&path).unwrap();
        if artifact.bytes().len() > LARGE {
            continue; // they say no more, but for a minute
        }
        let members = artifact.members().map(Result::unwrap);
        let mut all: Vec<Vec<u8>> = members.map(|member| member.data.to_vec()).collect();
        if all.is_empty() {
            all.push(artifact.bytes().to_vec());
        }
        for data in all.iter().filter(|data| data.starts_with(b"\x7fELF")) {
            let theirs = goblin::elf::Elf::parse(data).unwrap();
            let object = artifact::from_bytes(&path, data.clone());
            let ours: Vec<(String, u64)> = object
                .sections()
                .unwrap()
                .iter()
                .map(|section| (section.name.to_string(), section.size))
                .collect();
            let sections = theirs.section_headers.iter().skip(1).map(|section| {
                let name = theirs.shdr_strtab[section.sh_name].to_owned();
                (name, section.sh_size)
            });
            assert_eq!(ours, sections.collect::<Vec<_>>(), "{}", path.display());
            let file = object::File::parse(data.as_slice()).unwrap();
            let ours_of = |definition: bool| {
                let symbols = file.symbols();
                let symbols = symbols.filter(|symbol| symbol.is_undefined() != definition);
                symbols.filter(|symbol| symbol.name() != Ok("")).count()
            };
            let theirs_of = |definition: bool| {
                let symbols = theirs.syms.iter();
                let symbols = symbols.filter(|symbol| (symbol.st_shndx != 0) == definition);
                symbols.filter(|symbol| symbol.st_name != 0).count()
            };
            for definition in [true, false] {
                assert_eq!(
                    ours_of(definition),
                    theirs_of(definition),
                    "{}",
                    path.display()
                );
            }
            objects += 1;
            symbols += theirs.syms.len();
        }
    }
    eprintln!("{objects} objects with {symbols} symbols are read alike");
    assert!(objects > 100 && symbols > objects);
}

fn metadata_is_in(path: &Path, sections: &[artifact::Section]) -> bool {
    let range = artifact::open(path).unwrap().metadata_range().unwrap();
    let rustc = sections.iter().find(|section| section.name == ".rustc");
    let outer = rustc.and_then(|section| section.range.clone()).unwrap();
    outer.start < range.start && range.end <= outer.end
}

#[test]
fn items_are_named_in_every_golden_artifact_that_has_tables() {
    for directory in crate::golden::compilers() {
        let rmeta = artifact::open(&directory.join("libgolden-g.rmeta")).unwrap();
        let metadata = rmeta.metadata().unwrap();
        let Some(items) = metadata.items() else {
            assert!(metadata.header().version < 9, "{}", directory.display());
            continue;
        };
        let paths: Vec<String> = items.paths().collect();
        for path in ["crate::shapes::Circle", "crate::square", "crate::first"] {
            assert!(
                paths.iter().any(|p| p == path),
                "{}: no {path} in {paths:?}",
                directory.display()
            );
        }
    }
}

/// What the tables of each compiler are for: the properties that are known of some items, by their
/// position in the order of that release.
#[test]
fn properties_are_known_in_every_golden_artifact_that_has_tables() {
    use svhcheck::artifact::metadata::Property as P;
    for directory in crate::golden::compilers() {
        let rmeta = artifact::open(&directory.join("libgolden-g.rmeta")).unwrap();
        let metadata = rmeta.metadata().unwrap();
        let Some(items) = metadata.items() else {
            continue;
        };
        let function = [P::Visibility, P::Signature, P::Generics, P::Mir, P::Span];
        for (path, expected) in [
            ("crate::square", &function[..]),
            ("crate::first", &function),
            (
                "crate::shapes::Circle",
                &[P::Visibility, P::Children, P::Type],
            ),
            (
                "crate::shapes::Circle::radius",
                &[P::Visibility, P::Type, P::Span],
            ),
            ("crate::shapes::{impl}#1", &[P::Implements, P::Children]),
        ] {
            let known: Vec<P> = items
                .values()
                .filter(|(item, ..)| items.path(*item) == path)
                .map(|(_, property, _)| property)
                .collect();
            let missing = expected.iter().find(|property| !known.contains(property));
            let place = directory.display();
            assert_eq!(missing, None, "{place}: {path} has {known:?}");
        }
        let kinds = items.bytes().iter().filter(|(_, p, _)| *p == P::Kind);
        assert_eq!(kinds.count(), items.count(), "each item is something");
    }
}
