//! Golden artifacts, made by compilers of many releases: each must read as its own compiler reads
//! it, which stands beside it in `made.md`.

use std::fs;
use std::path::{Path, PathBuf};

use svhcheck::artifact::{self, CrateRoot, DepKind};

use crate::support;

/// The directories of the compilers, sorted.
pub(crate) fn compilers() -> Vec<PathBuf> {
    let all = fs::read_dir(support::root().join("fixtures/_artifacts")).unwrap();
    let mut found: Vec<_> = all
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    assert!(found.len() >= 8, "{found:?}");
    found
}

/// What `rustc -Zls` of that compiler printed for `file`: the lines below the heading that names it.
fn oracle(directory: &Path, file: &str) -> Vec<String> {
    let text = fs::read_to_string(directory.join("made.md")).unwrap();
    let heading =
        |line: &str| line.starts_with("`RUSTC_BOOTSTRAP=1 rustc -Zls") && line.contains(file);
    let lines = text.lines().skip_while(|line| !heading(line)).skip(2);
    lines
        .take_while(|line| line.starts_with("    "))
        .map(|line| line.trim().to_owned())
        .collect()
}

/// Every line of the oracle that can be told from the root. `names` is false where the names of the
/// sysroot's crates are numbers, since their files are not here.
fn check(root: &CrateRoot, lines: &[String], path: &Path) {
    let mut deps = root.deps.iter();
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["name", name] => {
                let extra = root.extra_filename.as_deref().unwrap_or_default();
                assert_eq!(name, format!("{}{extra}", root.name), "{}", path.display());
            }
            ["hash", svh, "stable_crate_id", id] => {
                assert_eq!(svh, root.svh.to_string(), "{}", path.display());
                let expected = format!("StableCrateId({})", root.stable_crate_id.unwrap().0);
                assert_eq!(id, expected, "{}", path.display());
            }
            ["proc_macro", flag] => {
                // Up to rustc 1.71 only the symbols of a library tell.
                assert_eq!(
                    root.is_proc_macro.unwrap_or(false).to_string(),
                    flag,
                    "{}",
                    path.display()
                );
            }
            ["triple", triple] => assert_eq!(root.triple, triple),
            [
                number,
                name,
                "hash",
                svh,
                "host_hash",
                "None",
                "kind",
                kind,
                ..,
            ] => {
                let dep = deps.next().unwrap();
                assert!(number.parse::<usize>().is_ok());
                assert!(
                    name.ends_with(&dep.extra_filename),
                    "{}: {name}",
                    path.display()
                );
                assert_eq!(svh, dep.svh.to_string(), "{}: {name}", path.display());
                let conditional = ["Implicit", "Conditional"].contains(&kind);
                assert_eq!(dep.kind == DepKind::Conditional, conditional);
            }
            // 1.48 prints no hashes.
            [_, name] if name.contains('-') => {
                let dep = deps.next().unwrap();
                assert_eq!(name, format!("{}{}", dep.name, dep.extra_filename));
            }
            _ => {}
        }
    }
    assert!(
        deps.next().is_none(),
        "{}: all dependencies are the oracle's",
        path.display()
    );
}

#[test]
fn every_golden_artifact_reads_as_its_compiler_reads_it() {
    for directory in compilers() {
        for (oracle_of, files) in [
            (
                "libgolden-g.rlib",
                &["libgolden-g.rlib", "libgolden-g.rmeta"][..],
            ),
            ("libgolden_macro-g.so", &["libgolden_macro-g.so"]),
        ] {
            let lines = oracle(&directory, oracle_of);
            assert!(!lines.is_empty(), "{}", directory.display());
            for file in files {
                let path = directory.join(file);
                let root = artifact::open(&path)
                    .unwrap()
                    .root()
                    .unwrap_or_else(|e| panic!("{e}"));
                let release = directory.file_name().unwrap().to_str().unwrap();
                assert!(
                    root.rustc.starts_with(&format!("rustc {release}.")),
                    "{}",
                    root.rustc
                );
                check(&root, &lines, &path);
                if path.extension().is_some_and(|ending| ending == "so") {
                    assert_eq!(root.is_proc_macro, Some(true), "{}", path.display());
                }
            }
        }
    }
}

#[test]
fn compressed_metadata_has_the_bytes_of_plain() {
    for directory in compilers() {
        let rlib = artifact::open(&directory.join("libgolden-g.rlib")).unwrap();
        let rmeta = artifact::open(&directory.join("libgolden-g.rmeta")).unwrap();
        assert_eq!(rlib.metadata().unwrap().bytes(), rmeta.bytes());
        let library = artifact::open(&directory.join("libgolden_macro-g.so")).unwrap();
        let blob = library.metadata().unwrap();
        assert!(
            blob.bytes()
                .windows(12)
                .any(|bytes| bytes == b"golden_macro")
        );
    }
}
