//! What svhcheck cannot do, and says so: one clear message, exit status 2, nothing left behind.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support;
use crate::workspace::{Said, Workspace, krate};

const LIBRARY: &str = "[package]\nname = \"x\"\nversion = \"0.1.0\"\nedition = \"2021\"\n";

/// A workspace of one library.
fn library(source: &str) -> Workspace {
    Workspace::of(&[("Cargo.toml", LIBRARY), ("src/lib.rs", source)])
}

#[test]
fn a_build_that_fails_shows_rustcs_message() {
    let workspace = library("pub fn f() -> u32 { \"text\" }\n");
    let said = workspace.run(&["//...", "--strategies=full"]);
    let message =
        said.failed("the build fails, so there is nothing to check (cargo's message is above)");
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(
        said.err.contains("error[E0308]: mismatched types"),
        "{}",
        said.err
    );
    assert!(
        !message.contains("hollow"),
        "it was not asked for: {message}"
    );
    // Quiet or not.
    let said = workspace.run(&["//...", "--quiet"]);
    said.failed("the build fails");
    assert!(
        said.err.contains("error[E0308]: mismatched types"),
        "{}",
        said.err
    );
    workspace.assert_nothing_left();

    // Repaired, it is checked.
    workspace.write("src/lib.rs", "pub fn f() -> u32 { 1 }\n");
    workspace.report(&["//..."], 0);
}

#[test]
fn outside_of_a_workspace_it_says_so() {
    let folder = Workspace::of(&[]);
    let said = folder.run(&["//..."]);
    let message = said.failed("no Cargo workspace to check: could not find `Cargo.toml` in `");
    assert!(
        message.ends_with("; run svhcheck inside one, or name it with `-- --manifest-path PATH`\n")
    );
    assert_eq!(
        fs::read_dir(folder.path("")).unwrap().count(),
        0,
        "nothing was made"
    );
    folder.write("Cargo.toml", "[package\n");
    let said = folder.run(&["//..."]);
    let message = said.failed("no Cargo workspace to check: ");
    assert!(message.contains("Cargo.toml"), "{message}");
}

#[test]
fn damaged_records_are_named() {
    let workspace = library("pub fn f() {}\n");
    let args = ["//...", "--quiet", "--strategies=full"];
    let record = || -> PathBuf {
        let folder = workspace.area().join("plain/records/format-2");
        let mut entries = fs::read_dir(folder).unwrap();
        entries.next().unwrap().unwrap().path()
    };
    for text in ["", "{\"format\": 1}", "garbage \u{1b}[2J"] {
        assert_eq!(workspace.run(&args).status, Some(0));
        fs::write(record(), text).unwrap();
        let said = workspace.run(&args);
        let message = said.failed(&format!(
            "{}: not a record of svhcheck: ",
            record().display()
        ));
        assert!(
            message.contains("; remove ") && message.lines().count() == 1,
            "{message}"
        );
        fs::remove_dir_all(workspace.area()).unwrap();
    }
    assert_eq!(workspace.run(&args).status, Some(0));
    fs::remove_file(record()).unwrap();
    let said = workspace.run(&args);
    let message = said.failed("no record of `//:x`, which cargo calls fresh; remove ");
    assert!(
        message.contains("target/svhcheck and run again"),
        "{message}"
    );
    workspace.assert_nothing_left();
}

#[test]
fn what_the_build_names_cannot_steer_the_terminal() {
    let workspace = Workspace::of(&[
        (
            "Cargo.toml",
            "[workspace]\nresolver = \"2\"\nmembers = [\"a\\u001bcb\"]\n",
        ),
        ("a\u{1b}cb/Cargo.toml", LIBRARY),
        ("a\u{1b}cb/src/lib.rs", "pub fn f() {}\n"),
        (
            ".cargo/config.toml",
            "[build]\nrustc-wrapper = \"w\\u001bc\"\n",
        ),
    ]);
    let label = "//a\u{1b}cb:x";
    for (args, status) in [
        (&["//...", "--verbose"][..], 0),
        (&["//...", "--format=json"], 0),
        (&[label, "--verbose"], 0),
        (&["//a\u{1b}cb:y"], 2),
        (&["/\u{1b}c"], 2),
        (&["//...", "--vary=none", "--", "--target-dir=\u{1b}c"], 2),
    ] {
        // Cargo's own lines hold the folder as it is; that is cargo's to say, so it is kept out.
        let mut command = workspace.command(&["--strategies=full"]);
        command
            .args(args)
            .env("CARGO_TERM_QUIET", "true")
            .env("CLICOLOR_FORCE", "1");
        let said = Said::from(command.output().unwrap());
        assert_eq!(said.status, Some(status), "{said:?}");
        for text in [&said.out, &said.err] {
            // Colours alone.
            let mut escapes = text.split('\u{1b}').skip(1);
            assert!(
                escapes.all(|own| own.starts_with('[')),
                "{args:?}: {text:?}"
            );
        }
        let shown = format!("{}{}", said.out, said.err);
        assert!(
            shown.contains("x1bc") || shown.contains("u001bc"),
            "{shown}"
        );
    }
    workspace.assert_nothing_left();
}

#[test]
fn paths_that_are_not_utf8_work() {
    let outer = Workspace::of(&[]);
    let inner = outer.path(OsStr::from_bytes(b"caf\xe9"));
    fs::create_dir_all(inner.join("src")).unwrap();
    fs::write(inner.join("Cargo.toml"), LIBRARY).unwrap();
    fs::write(inner.join("src/lib.rs"), "pub fn f() {}\n").unwrap();
    let mut command = outer.command(&["//...", "--quiet"]);
    let said = Said::from(command.current_dir(&inner).output().unwrap());
    // Cargo itself refuses such a path in its messages; what counts is that it is said.
    if said.status != Some(0) {
        let message = said.failed("");
        assert!(message.contains("UTF-8"), "{message}");
    }
}

/// Whether mounts of one's own are allowed here.
fn namespaces(test: &str) -> bool {
    let tried = Command::new("unshare")
        .args(["-rm", "mount", "-t", "tmpfs", "none", "/mnt"])
        .output();
    let there = tried.is_ok_and(|output| output.status.success());
    support::require(test, "user and mount namespaces", there)
}

/// `svhcheck ARGS` in `workspace`, behind the shell command `before`, with mounts of its own.
fn behind(workspace: &Workspace, before: &str, args: &[&str]) -> Said {
    let own = workspace.command(args);
    let mut command = support::scrubbed("unshare");
    command
        .args([
            "-rm",
            "sh",
            "-c",
            &format!("set -e; {before}; exec \"$0\" \"$@\""),
        ])
        .arg(own.get_program())
        .args(own.get_args())
        .env_remove("EXECUTION_ID")
        .current_dir(workspace.path(""));
    command.output().unwrap().into()
}

#[test]
fn a_read_only_target_directory_is_named() {
    let workspace = library("pub fn f() {}\n");
    let target = workspace.path("target");
    fs::create_dir(&target).unwrap();
    let args = ["//...", "--quiet"];
    fs::set_permissions(&target, fs::Permissions::from_mode(0o555)).unwrap();
    let said = if fs::write(target.join("probe"), "").is_err() {
        workspace.run(&args)
    } else {
        // For root, a mode is no obstacle.
        fs::remove_file(target.join("probe")).unwrap();
        if !namespaces("a_read_only_target_directory_is_named") {
            return;
        }
        let mount = "mount --bind target target; mount -o remount,bind,ro target";
        behind(&workspace, mount, &args)
    };
    fs::set_permissions(&target, fs::Permissions::from_mode(0o755)).unwrap();
    let message = said.failed(&format!(
        "cannot write below {}: ",
        workspace.area().display()
    ));
    assert!(
        message.ends_with("; choose another place with CARGO_TARGET_DIR\n"),
        "{message}"
    );
    assert_eq!(message.lines().count(), 1, "{message}");
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
}

/// A library whose metadata alone are two megabytes.
fn heavy() -> Workspace {
    let workspace = library("pub const TEXT: &str = include_str!(\"text\");\n");
    // Words that differ, so that nothing is saved by writing equal ones once.
    let lines: Vec<String> = (0..250_000).map(|n| format!("{n:07}")).collect();
    workspace.write("src/text", &lines.join("\n"));
    workspace
}

#[test]
fn a_disk_that_is_full_while_recording_is_no_riddle() {
    if !namespaces("a_disk_that_is_full_while_recording_is_no_riddle") {
        return;
    }
    let workspace = heavy();
    let mount = "mkdir target; mount -t tmpfs -o size=1m none target";
    let said = behind(&workspace, mount, &["//...", "--quiet"]);
    said.failed("the build fails");
    assert!(said.err.contains("No space left on device"), "{}", said.err);
    // So full that not even a folder can be made.
    let mount = "mount -t tmpfs -o size=4k,nr_inodes=2 none target; touch target/full";
    let said = behind(&workspace, mount, &["//...", "--quiet"]);
    let message = said.failed("cannot write below ");
    assert!(message.contains("No space left on device"), "{message}");
}

#[test]
fn a_disk_that_is_full_while_checking_is_no_riddle() {
    if !namespaces("a_disk_that_is_full_while_checking_is_no_riddle") {
        return;
    }
    let workspace = heavy();
    let args = ["//...", "--strategies=full,hollow", "--quiet"];
    assert_eq!(workspace.run(&args).status, Some(0));
    fs::rename(workspace.path("target"), workspace.path("recorded")).unwrap();
    fs::create_dir(workspace.path("target")).unwrap();
    // The recorded build, and room for what cargo and svhcheck note down, but not for replays.
    let used = size(&workspace.path("recorded"));
    let room = used + 512 * 1024;
    let mount = format!(
        "mount -t tmpfs -o size={room} none target; cp -a recorded/. target; \
         trap 'ls -A target/svhcheck > left' EXIT; run() {{ \"$@\"; }}; set +e; run \"$0\" \"$@\"; exit $?"
    );
    let said = behind(&workspace, &mount, &args);
    let message = said.failed("");
    assert!(
        message.contains(&format!(
            "no space left below {}:",
            workspace.area().display()
        )),
        "{message}"
    );
    assert!(message.contains("CARGO_TARGET_DIR"), "{message}");
    assert!(message.lines().count() <= 2, "{message}");
    let left = fs::read_to_string(workspace.path("left")).unwrap();
    assert!(!left.contains("scratch-"), "{left}");
    workspace.assert_nothing_left();
}

/// Bytes that a folder takes on a tmpfs.
fn size(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut seen = std::collections::BTreeSet::new();
    walkdir::WalkDir::new(folder)
        .into_iter()
        .map(|entry| entry.unwrap().metadata().unwrap())
        .filter(|meta| seen.insert(meta.ino()))
        .map(|meta| {
            if meta.is_file() {
                meta.len().next_multiple_of(4096)
            } else {
                0
            }
        })
        .sum()
}

/// A copy of the package that needs a file outside of it does not compile: what it says must not
/// hold the scratch folder.
#[test]
fn a_package_that_cannot_be_moved_is_not_checked_for_its_place() {
    let workspace = Workspace::of(&[
        (
            "Cargo.toml",
            "[workspace]\nresolver = \"2\"\nmembers = [\"x\"]\n",
        ),
        ("x/Cargo.toml", LIBRARY),
        (
            "x/src/lib.rs",
            "pub const TEXT: &str = include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/../shared.txt\"));\n",
        ),
        ("shared.txt", "shared"),
    ]);
    let said = workspace.run(&["//...", "--vary=build-path", "--format=json", "--quiet"]);
    let report = said.json();
    let unseen = report["not_checked"].as_array().unwrap();
    let own = unseen.iter().find(|own| own["what"] == "//x:x").unwrap();
    let why = own["why"].as_str().unwrap();
    assert!(
        why.starts_with("under build-path, a copy of the package does not compile: "),
        "{why}"
    );
    assert!(why.contains("shared.txt"), "{why}");
    for telltale in ["scratch-", "run-"] {
        assert!(!said.out.contains(telltale), "{why}");
    }
    workspace.assert_nothing_left();
}

/// What is hidden to see whether a listed folder matters is never the build's own.
#[test]
fn a_script_and_a_macro_that_list_the_folder_of_the_target_directory_still_run() {
    let list = "std::fs::read_dir(std::env::var(\"CARGO_MANIFEST_DIR\").unwrap()).unwrap().count()";
    let workspace = Workspace::of(&[
        (
            "Cargo.toml",
            "[package]\nname = \"one\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
             [dependencies]\nlister = { path = \"z\" }\n[workspace]\n",
        ),
        ("src/lib.rs", "lister::list!();\n"),
        ("build.rs", &format!("fn main() {{ {list}; }}\n")),
        (
            "z/Cargo.toml",
            "[package]\nname = \"lister\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[lib]\nproc-macro = true\n",
        ),
        (
            "z/src/lib.rs",
            &format!(
                "#[proc_macro]\npub fn list(_: proc_macro::TokenStream) -> proc_macro::TokenStream {{\n\
                 {list}; proc_macro::TokenStream::new()\n}}\n"
            ),
        ),
    ]);
    let report = workspace.report(&["//...", "--", "--offline"], 0);
    assert_eq!(krate(&report, "//:one")["verdict"], "safe", "{report:#}");
    assert_eq!(report["summary"]["verdicts"]["inconclusive"], 0);
}
