//! The oracle: `rustc -Zls=root FILE` prints what rustc itself reads from a crate's root. Every
//! line must be what svhcheck reads, on every artifact at hand that some installed rustc wrote.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use svhcheck::artifact::{
    self, ArtifactError, CrateRoot, DepKind, Flag, Linkage, Names, PanicStrategy, SymbolMangling,
};

use crate::support;

/// A file, its root with all names, and the rustc that wrote it.
struct Case {
    path: PathBuf,
    root: CrateRoot,
    rustc: PathBuf,
}

#[test]
fn every_field_agrees_with_rustc_on_every_artifact_at_hand() {
    let (cases, stubs, foreign) = cases();
    let queue = Mutex::new(cases.iter());
    let faults = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let Some(case) = queue.lock().unwrap().next() else {
                        return;
                    };
                    let mut theirs = rustc_says(case);
                    let ours = we_say(&case.root);
                    for index in case.root.unresolved() {
                        theirs = without_name(&theirs, &ours, index);
                    }
                    if theirs != ours {
                        let path = case.path.display();
                        let fault = format!("{path}\n{}", diff(&theirs, &ours));
                        faults.lock().unwrap().push(fault);
                    }
                }
            });
        }
    });
    let mut faults = faults.into_inner().unwrap();
    faults.sort();
    let deps: usize = cases.iter().map(|case| case.root.deps.len()).sum();
    eprintln!(
        "{} artifacts with {deps} dependencies agree with rustc, {} do not; besides {stubs} stubs, {foreign} of another compiler",
        cases.len() - faults.len(),
        faults.len()
    );
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(cases.len() > 20, "too few artifacts to mean anything");
}

/// All artifacts of the installed sysroots and of our own build, but for stubs, on which rustc
/// panics, and those of a compiler that is not installed.
fn cases() -> (Vec<Case>, usize, usize) {
    let sysroots = support::sysroot_libs();
    let mut compilers = BTreeMap::new();
    let mut directories = vec![
        std::env::current_exe()
            .unwrap()
            .parent()
            .unwrap()
            .to_owned(),
    ];
    let mut searched = Vec::new();
    for sysroot in &sysroots {
        let rustc = sysroot.join("bin/rustc");
        let version = support::scrubbed(&rustc).arg("-V").output().unwrap().stdout;
        let version = String::from_utf8(version).unwrap().trim().to_owned();
        compilers.insert(version, rustc);
        directories.push(sysroot.join("lib"));
        for target in entries(&sysroot.join("lib/rustlib")) {
            searched.push(target.join("lib"));
        }
    }
    directories.extend(searched.iter().cloned());
    let (mut names, mut cases, mut stubs, mut foreign) = (Names::default(), Vec::new(), 0, 0);
    for path in directories.iter().flat_map(|directory| entries(directory)) {
        let extension = path.extension().and_then(|e| e.to_str());
        if !extension.is_some_and(|e| ["rlib", "rmeta", "so"].contains(&e)) {
            continue;
        }
        let artifact = artifact::open(&path).unwrap();
        let root = match artifact.root() {
            Ok(root) => root,
            Err(ArtifactError::Empty { .. } | ArtifactError::NoMetadata { .. }) => continue,
            // The LLVM "library" of a sysroot is a linker script.
            Err(ArtifactError::Unrecognized { .. }) if extension == Some("so") => continue,
            Err(error) => panic!("{error}"),
        };
        names.learn(&artifact, &root);
        match compilers.get(&root.rustc) {
            _ if root.is_stub => stubs += 1,
            None => foreign += 1,
            Some(rustc) => cases.push(Case {
                rustc: rustc.clone(),
                path,
                root,
            }),
        }
    }
    for directory in &searched {
        names.search(directory, cases.iter().map(|case| &case.root));
    }
    for case in &mut cases {
        // The compiler's own library is shipped without the crates in it.
        let whole = !case.path.to_string_lossy().contains("librustc_driver");
        let complete = names.resolve(&mut case.root);
        let missing: Vec<_> = case.root.unresolved().collect();
        assert!(complete || !whole, "{}: {missing:?}", case.path.display());
    }
    (cases, stubs, foreign)
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn rustc_says(case: &Case) -> String {
    let output = support::scrubbed(&case.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .arg("-Zls=root")
        .arg(&case.path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if text.is_empty() {
        return String::from_utf8_lossy(&output.stderr).into_owned();
    }
    text
}

/// `root` in the words of rustc 1.94 and later.
fn we_say(root: &CrateRoot) -> String {
    let mut text = String::from("Crate info:\n");
    let flags = |names: &[Flag]| {
        let flag = |flag: &Flag| format!("{flag} {}", root.flags[flag]);
        names.iter().map(flag).collect::<Vec<_>>().join(" ")
    };
    let extra = root.extra_filename.as_deref().unwrap();
    writeln!(text, "name {}{extra}", root.name).unwrap();
    let id = root.stable_crate_id.unwrap().0;
    writeln!(
        text,
        "hash {} stable_crate_id StableCrateId({id})",
        root.svh
    )
    .unwrap();
    writeln!(text, "proc_macro {}", root.is_proc_macro.unwrap()).unwrap();
    writeln!(text, "triple {}", root.triple).unwrap();
    writeln!(text, "edition {}", root.edition.unwrap()).unwrap();
    let mangling = match root.symbol_mangling.unwrap() {
        SymbolMangling::Legacy => "Legacy",
        SymbolMangling::V0 => "V0",
        SymbolMangling::Hashed => "Hashed",
    };
    writeln!(text, "symbol_mangling_version {mangling}").unwrap();
    let panic = |strategy: PanicStrategy| match strategy {
        PanicStrategy::Unwind => "Unwind",
        PanicStrategy::Abort => "Abort",
        PanicStrategy::ImmediateAbort => "ImmediateAbort",
    };
    let required = root.panic_strategy.map(panic);
    let required = required.map_or("None".to_owned(), |panic| format!("Some({panic})"));
    let in_drop = panic(root.panic_in_drop.unwrap());
    writeln!(
        text,
        "required_panic_strategy {required} panic_in_drop_strategy {in_drop}"
    )
    .unwrap();
    let head = [
        Flag::HasGlobalAllocator,
        Flag::HasAllocErrorHandler,
        Flag::HasPanicHandler,
        Flag::HasDefaultLibAllocator,
    ];
    let tail = [
        Flag::CompilerBuiltins,
        Flag::NeedsAllocator,
        Flag::NeedsPanicRuntime,
        Flag::NoBuiltins,
        Flag::PanicRuntime,
        Flag::ProfilerRuntime,
    ];
    writeln!(text, "{}\n{}", flags(&head), flags(&tail)).unwrap();
    text.push_str("=External Dependencies=");
    let dylib = root.deps.iter().any(|dep| dep.linkage.is_some());
    for (index, dep) in root.deps.iter().enumerate() {
        let kind = match dep.kind {
            DepKind::UnexportedMacrosOnly => "UnexportedMacrosOnly",
            DepKind::MacrosOnly => "MacrosOnly",
            DepKind::Conditional => "Conditional",
            DepKind::Unconditional => "Unconditional",
        };
        assert_eq!(dep.host_svh, None, "only -Zdual-proc-macros gives one");
        let private = if dep.is_private.unwrap() {
            "private"
        } else {
            "public"
        };
        let linkage = match dep.linkage {
            None if dylib => " linkage None",
            None => "",
            Some(Linkage::Dynamic) => " linkage Some(RequireDynamic)",
            Some(Linkage::Static) => " linkage Some(RequireStatic)",
        };
        let (number, name, extra, svh) = (index + 1, &dep.name, &dep.extra_filename, dep.svh);
        write!(
            text,
            "\n{number} {name}{extra} hash {svh} host_hash None kind {kind} {private}{linkage}"
        )
        .unwrap();
    }
    text
}

/// `theirs` with `sym#index` where `ours` has it for want of a name.
fn without_name(theirs: &str, ours: &str, index: u32) -> String {
    let placeholder = format!(" sym#{index}-");
    let lines = theirs.lines().zip(ours.lines()).map(|(theirs, ours)| {
        let (number, name) = theirs.split_once(' ').unwrap_or_default();
        match (ours.contains(&placeholder), name.split_once('-')) {
            (true, Some((_, rest))) => format!("{number}{placeholder}{rest}"),
            _ => theirs.to_owned(),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn diff(theirs: &str, ours: &str) -> String {
    let lines = theirs.lines().zip(ours.lines()).filter(|(a, b)| a != b);
    let mut text = lines.fold(String::new(), |text, (theirs, ours)| {
        text + &format!("  rustc:    {theirs}\n  svhcheck: {ours}\n")
    });
    let counts = (theirs.lines().count(), ours.lines().count());
    if counts.0 != counts.1 {
        let _ = writeln!(text, "  {} lines against {}", counts.0, counts.1);
    }
    text
}

/// `rustc -Zls=items` prints the modules and items of a crate by name; every one of those must be
/// among the paths that are decoded here.
#[test]
fn items_are_those_that_rustc_lists() {
    let (cases, ..) = cases();
    let (mut found, mut without, mut names) = (0, Vec::new(), 0);
    for case in cases
        .iter()
        .filter(|case| case.path.extension().is_some_and(|e| e == "rmeta"))
        .take(40)
    {
        let artifact = artifact::open(&case.path).unwrap();
        let Some(items) = artifact.metadata().unwrap().items() else {
            without.push(case.path.display().to_string());
            continue;
        };
        found += 1;
        let ours: std::collections::BTreeSet<String> = items.paths().collect();
        let output = support::scrubbed(&case.rustc)
            .env("RUSTC_BOOTSTRAP", "1")
            .arg("-Zls=items")
            .arg(&case.path)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut path: Vec<String> = Vec::new();
        for line in text.lines() {
            let depth = (line.len() - line.trim_start().len()) / 4;
            // `Public Mod name {`, `Restricted("crate::a") Fn name {}`.
            let mut words = line.trim().trim_end_matches(['{', '}']).trim().rsplit(' ');
            let (Some(name), Some(_)) = (words.next(), words.next()) else {
                continue;
            };
            path.truncate(depth);
            path.push(name.to_owned());
            let theirs = path.join("::");
            names += 1;
            if theirs.contains("???") {
                continue; // what has no name, such as an import
            }
            // A word of the compiler is a number here, on any level.
            let known =
                ours.contains(&theirs) || ours.iter().any(|ours| same_but_words(ours, &theirs));
            assert!(known, "{}: no {theirs}", case.path.display());
        }
    }
    eprintln!("{found} crates with {names} listed items agree; tables not found in {without:?}");
    assert!(found > 3 * without.len(), "{without:?}");
}

fn same_but_words(ours: &str, theirs: &str) -> bool {
    let (ours, theirs): (Vec<&str>, Vec<&str>) =
        (ours.split("::").collect(), theirs.split("::").collect());
    // rustc leaves out what tells two segments of one name apart.
    let same = |(ours, theirs): (&&str, &&str)| {
        ours.starts_with("sym#") || ours == theirs || ours.split('#').next() == Some(*theirs)
    };
    ours.len() == theirs.len() && ours.iter().zip(&theirs).all(same)
}
