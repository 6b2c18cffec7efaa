//! `svhcheck inspect` as its users meet it: what it prints, and what it says of bad input.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::support;

fn inspect(directory: &Path, args: &[&str]) -> Output {
    let mut command = support::svhcheck();
    command.current_dir(directory).arg("inspect").args(args);
    command.output().unwrap()
}

/// Standard output, standard error and exit status.
fn said(output: &Output) -> (String, String, Option<i32>) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    (out, err, output.status.code())
}

/// `base` and, depending on it, `top`, as rlib and rmeta.
fn libraries() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let sources = [
        ("base", "pub fn b() {}"),
        ("top", "pub fn t() { base::b() }"),
    ];
    for (name, source) in sources {
        fs::write(directory.path().join(format!("{name}.rs")), source).unwrap();
        let output = support::scrubbed("rustc")
            .current_dir(directory.path())
            .args(["--crate-type=lib", "--edition=2021", "--emit=link,metadata"])
            .args(["-Cextra-filename=-1", "--extern=base=libbase-1.rlib"])
            .arg(format!("{name}.rs"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    directory
}

#[test]
fn a_block_tells_who_it_is_and_on_whom_it_depends() {
    let directory = libraries();
    let (out, err, status) = said(&inspect(directory.path(), &["libtop-1.rlib"]));
    assert_eq!((err.as_str(), status), ("", Some(0)));
    let line = |start: &str| {
        let found = out
            .lines()
            .find(|line| line.trim_start().starts_with(start));
        found
            .unwrap_or_else(|| panic!("no line {start:?} in\n{out}"))
            .to_owned()
    };
    assert!(out.starts_with("libtop-1.rlib\n  crate         top\n  svh           "));
    assert!(line("written by").contains("rustc 1."));
    assert!(line("compiled").contains("edition 2021"));
    assert!(line("members").ends_with(" 2") || line("members").ends_with(" 3"));
    let (base, ..) = said(&inspect(directory.path(), &["libbase-1.rmeta"]));
    let svh = base
        .lines()
        .find_map(|line| line.strip_prefix("  svh           "))
        .unwrap();
    let dependency = line("base ");
    assert!(dependency.contains(&format!("{svh}  -1")), "{dependency}");
    // The names of the sysroot's crates are not in the file, and are found all the same.
    line("core ");
    line("std ");
    assert!(!out.contains("sym#"), "{out}");
}

#[test]
fn many_files_make_a_table_unless_all_is_asked_for() {
    let directory = libraries();
    let files = [
        "libbase-1.rlib",
        "libbase-1.rmeta",
        "libtop-1.rlib",
        "libtop-1.rmeta",
    ];
    let (out, err, status) = said(&inspect(directory.path(), &files));
    assert_eq!((err.as_str(), status), ("", Some(0)));
    let rows: Vec<&str> = out.lines().collect();
    assert!(rows[0].starts_with("crate  svh"), "{out}");
    for (row, file) in rows[1..].iter().zip(files) {
        assert!(row.ends_with(file), "in the order of the arguments:\n{out}");
    }
    let full = [&["--full"], &files[..]].concat();
    let (out, ..) = said(&inspect(directory.path(), &full));
    assert_eq!(out.matches("\n  svh  ").count(), 4);
}

#[test]
fn json_is_an_array_in_the_order_of_the_arguments() {
    let directory = libraries();
    let args = [
        "--format=json",
        "libtop-1.rlib",
        "missing.rlib",
        "libbase-1.rmeta",
    ];
    let (out, err, status) = said(&inspect(directory.path(), &args));
    assert_eq!(status, Some(2));
    assert!(err.contains("missing.rlib: cannot be opened"), "{err}");
    let files: serde_json::Value = serde_json::from_str(&out).unwrap();
    let names: Vec<_> = (0..3).map(|i| files[i]["crate"]["name"].as_str()).collect();
    assert_eq!(names, [Some("top"), None, Some("base")]);
    assert_eq!(files[0]["kind"], "rlib");
    assert_eq!(files[1]["problems"].as_array().unwrap().len(), 1);
    let dependencies = files[0]["dependencies"].as_array().unwrap();
    let base = dependencies
        .iter()
        .find(|dep| dep["name"] == "base")
        .unwrap();
    assert_eq!(base["svh"], files[2]["crate"]["svh"]);
    let again = inspect(directory.path(), &args);
    assert_eq!(out, said(&again).0, "the same output every time");
}

#[test]
fn bad_input_gets_one_line_that_says_what_to_try() {
    let directory = libraries();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("text.rlib"), "version https://git-lfs\n").unwrap();
    fs::write(at("noise.rlib"), [0x80, 0, 1, 2]).unwrap();
    fs::write(at("thin.rlib"), "!<thin>\n").unwrap();
    fs::write(at("none.a"), "!<arch>\n").unwrap();
    fs::create_dir(at("dir")).unwrap();
    let rlib = fs::read(at("libtop-1.rlib")).unwrap();
    fs::write(at("cut.rlib"), &rlib[..rlib.len() - 500]).unwrap();
    let rmeta = fs::read(at("libtop-1.rmeta")).unwrap();
    fs::write(at("cut.rmeta"), &rmeta[..400]).unwrap();
    let mut newer = rmeta.clone();
    newer[7] = 99;
    fs::write(at("newer.rmeta"), newer).unwrap();
    for (file, message) in [
        ("missing.rlib", "cannot be opened: No such file"),
        (
            "text.rlib",
            "is no Rust artifact (it begins with the text \"version https://git-lfs\"); name",
        ),
        (
            "noise.rlib",
            "is no Rust artifact (it begins with the bytes 80 00 01 02); name",
        ),
        (
            "thin.rlib",
            "is a thin archive, which holds no metadata itself; name",
        ),
        (
            "none.a",
            "holds no crate metadata; it is an archive without lib.rmeta",
        ),
        (
            "dir",
            "is a directory; name the files in it, such as dir/*.rlib",
        ),
        ("cut.rlib", "are cut short"),
        ("cut.rmeta", "the metadata is cut short"),
        ("newer.rmeta", "METADATA_VERSION 99 is unknown"),
    ] {
        let (out, err, status) = said(&inspect(directory.path(), &[file, "libtop-1.rmeta"]));
        assert_eq!(status, Some(2), "{file}: {err}");
        let lines: Vec<&str> = err.lines().collect();
        assert_eq!(lines.len(), 1, "{err}");
        let start = format!("error: {file}: ");
        assert!(err.starts_with(&start) && err.contains(message), "{err}");
        assert!(
            out.contains("\n  crate         top\n"),
            "the other file is shown: {out}"
        );
    }
    // What can be read of a file is shown.
    let (out, ..) = said(&inspect(directory.path(), &["newer.rmeta"]));
    assert!(
        out.contains("rustc 1.") && out.contains("metadata version 99"),
        "{out}"
    );
    let (out, ..) = said(&inspect(directory.path(), &["cut.rlib"]));
    assert!(out.contains("svh") && out.contains("lib.rmeta"), "{out}");
}

#[test]
fn no_file_at_all_is_a_usage_error() {
    let (out, err, status) = said(&inspect(support::root(), &[]));
    assert_eq!((out.as_str(), status), ("", Some(2)));
    assert!(err.contains("Usage: svhcheck inspect"), "{err}");
}

#[cfg(unix)]
#[test]
fn terminal_escapes_in_names_and_data_are_shown_and_not_sent() {
    let directory = tempfile::tempdir().unwrap();
    let name = "a\u{1b}[2J\n.rlib";
    fs::write(directory.path().join(name), "\u{1b}]0;title\u{7}").unwrap();
    for format in ["human", "json"] {
        let (out, err, status) = said(&inspect(directory.path(), &["--format", format, name]));
        assert_eq!(status, Some(2));
        assert!(
            !out.contains('\u{1b}') && !err.contains('\u{1b}'),
            "{out}{err}"
        );
        assert!(out.contains("x1b[2J"), "{out}");
        assert_eq!(err.lines().count(), 1, "{err}");
    }
}

#[test]
fn one_thing_at_a_time() {
    let directory = libraries();
    let view = |args: &[&str]| {
        let (out, err, status) = said(&inspect(directory.path(), args));
        assert_eq!((err.as_str(), status), ("", Some(0)), "{args:?}");
        out
    };
    let tree = view(&["--deps=tree", "libtop-1.rlib"]);
    let lines: Vec<&str> = tree.lines().collect();
    assert!(lines[0].starts_with("top  "), "{tree}");
    assert!(
        lines.iter().any(|line| line.contains("└─ base  ")),
        "std stands below base:\n{tree}"
    );
    assert!(view(&["--deps=list", "libtop-1.rlib"]).contains(" unconditional base -1\n"));
    assert!(view(&["--members", "libtop-1.rlib"]).contains("  lib.rmeta\n"));
    let strings = view(&["--strings", "libtop-1.rlib"]);
    assert!(
        strings.contains("  path      /"),
        "the working directory: {strings}"
    );
    let names = view(&["--raw=name", "libtop-1.rlib", "libbase-1.rmeta"]);
    assert_eq!(names, "top\nbase\n");
    let svh = view(&["--raw=svh", "libtop-1.rlib"]);
    assert_eq!(svh.len(), 33, "{svh}");
}

#[test]
fn bytes_come_and_go_unharmed() {
    let directory = libraries();
    let rlib = fs::File::open(directory.path().join("libtop-1.rlib")).unwrap();
    let mut command = support::svhcheck();
    let output = command
        .args(["inspect", "--raw=metadata", "-"])
        .stdin(rlib)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        output.stdout,
        fs::read(directory.path().join("libtop-1.rmeta")).unwrap()
    );
}

#[test]
fn the_empty_rmeta_of_a_program_is_a_note_among_others() {
    let directory = libraries();
    fs::write(directory.path().join("libmain.rmeta"), "").unwrap();
    let (_, err, status) = said(&inspect(
        directory.path(),
        &["libmain.rmeta", "libtop-1.rlib"],
    ));
    assert_eq!(status, Some(0));
    assert!(err.starts_with("note: libmain.rmeta: is empty"), "{err}");
    let (_, err, status) = said(&inspect(directory.path(), &["libmain.rmeta"]));
    assert_eq!(status, Some(2));
    assert!(err.starts_with("error: "), "{err}");
}
