//! `svhcheck diff` on pairs that rustc makes: what it says first, and what it exits with.

use std::fs;
use std::path::Path;

use crate::support;

/// A directory in which crates are compiled.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Compiles `source` into `out`, with whatever options are given.
    fn rustc(&self, source: &str, out: &str, options: &[&str]) {
        fs::create_dir_all(self.path().join(out)).unwrap();
        let output = support::scrubbed("rustc")
            .current_dir(self.path())
            .args(["--crate-type=lib", "--edition=2021", "--emit=metadata,link"])
            .args(["--out-dir", out])
            .args(options)
            .arg(source)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// Standard output and exit status; nothing may be said on standard error but where `status`
    /// is 2.
    fn diff(&self, args: &[&str]) -> (String, i32) {
        let mut command = support::svhcheck();
        let output = command
            .current_dir(self.path())
            .arg("diff")
            .args(args)
            .output()
            .unwrap();
        let status = output.status.code().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(err.is_empty(), status != 2, "{err}");
        (String::from_utf8(output.stdout).unwrap() + &err, status)
    }

    /// The report of two files that differ.
    fn report(&self, left: &str, right: &str) -> String {
        let (text, status) = self.diff(&[left, right]);
        assert_eq!(status, 1, "{text}");
        assert!(text.lines().count() <= 40, "{text}");
        text
    }
}

/// That every one of `parts` stands in `text`.
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

const SOURCE: &str = "
    pub fn one(x: u32) -> u32 { hidden(x) + 1 }
    fn hidden(x: u32) -> u32 { x ^ 7 }
    pub fn text() -> &'static str { \"hello there\" }
    pub fn place() -> &'static str { file!() }
";

#[test]
fn another_directory_is_named() {
    let bench = Bench::new();
    for place in ["here", "in/another/place"] {
        bench.write(&format!("{place}/x.rs"), SOURCE);
        let source = bench.path().join(place).join("x.rs");
        bench.rustc(source.to_str().unwrap(), &format!("{place}/out"), &["-g"]);
    }
    let text = bench.report("here/out/libx.rlib", "in/another/place/out/libx.rlib");
    assert!(text.starts_with("SVH differs, own content\n"), "{text}");
    let from = bench.path().join("here");
    has(
        &text,
        &[
            "likely cause  another directory: ",
            from.to_str().unwrap(),
            "debug info",
        ],
    );
    let directories = bench.diff(&["here", "in/another"]);
    assert_eq!(directories.1, 1);
    has(
        &directories.0,
        &[
            "x: SVH differs, own content",
            "2 pairs: 2 differ",
            "0 on one side only",
        ],
    );
}

#[test]
fn a_dependency_with_another_svh_is_the_reason() {
    let bench = Bench::new();
    bench.write("top.rs", "pub fn t() -> u32 { base::b() }");
    for (side, body) in [("a", "1"), ("b", "2")] {
        bench.write("base.rs", &format!("pub fn b() -> u32 {{ {body} }}"));
        bench.rustc("base.rs", side, &[]);
        let base = format!("--extern=base={side}/libbase.rlib");
        bench.rustc("top.rs", side, &[&base]);
    }
    let text = bench.report("a/libtop.rlib", "b/libtop.rmeta");
    let first = "SVH differs because dependency `base` has another SVH\n";
    assert!(text.starts_with(first), "{text}");
    has(&text, &["\n  base  svh ", "SVHs of dependencies"]);
    let text = bench.report("a/libbase.rlib", "b/libbase.rlib");
    has(
        &text,
        &["functions     1 with other code\n  base::b  6 bytes"],
    );
    let text = bench.report("a/libbase.rlib", "b/libtop.rlib");
    assert!(
        text.starts_with("different crates, `base` and `top`\n"),
        "{text}"
    );
}

#[test]
fn among_directories_the_crate_that_changed_by_itself_is_named() {
    let bench = Bench::new();
    bench.write("mid.rs", "pub fn m() -> u32 { base::b() }");
    bench.write("top.rs", "pub fn t() -> u32 { mid::m() }");
    for (side, body) in [("a", "1"), ("b", "2")] {
        bench.write("base.rs", &format!("pub fn b() -> u32 {{ {body} }}"));
        bench.rustc("base.rs", side, &[]);
        let base = format!("--extern=base={side}/libbase.rlib");
        bench.rustc("mid.rs", side, &[&base]);
        let mid = format!("--extern=mid={side}/libmid.rlib");
        bench.rustc("top.rs", side, &[&mid, "-L", side]);
    }
    bench.write("b/libonly.rmeta", "");
    let (text, status) = bench.diff(&["a", "b"]);
    assert_eq!(status, 1);
    let expected = "base: SVH differs, own content
  libbase.rlib  (and 1 other file)
SVH differs because dependency `base` has another SVH: mid, top
on the right only: libonly.rmeta
6 pairs: 6 differ; 1 on one side only; 0 files not looked at, by their ending
";
    assert_eq!(text, expected);
    let (full, _) = bench.diff(&["--full", "a", "b"]);
    assert_eq!(full.matches("metadata bytes\n").count(), 6, "{full}");
    has(
        &full,
        &["bytes of base.", "on the right only: libonly.rmeta\n"],
    );
}

#[test]
fn an_svh_alone_is_laid_to_options() {
    let bench = Bench::new();
    bench.write("x.rs", SOURCE);
    bench.rustc("x.rs", "a", &[]);
    bench.rustc("x.rs", "b", &["--emit=dep-info"]);
    let text = bench.report("a/libx.rlib", "b/libx.rlib");
    has(
        &text,
        &[
            "nothing else in the metadata does: a compiler option",
            "1 place         16 bytes",
        ],
    );
    let (text, status) = bench.diff(&["--svh-only", "a/libx.rlib", "b/libx.rlib"]);
    assert_eq!((status, text.lines().count()), (1, 4), "{text}");
}

#[test]
fn bytes_that_the_svh_does_not_cover_are_harmless() {
    let bench = Bench::new();
    bench.write("x.rs", SOURCE);
    bench.rustc("x.rs", "a", &["-Cincremental=a-cache"]);
    bench.rustc("x.rs", "b", &["-Cincremental=b-cache"]);
    let text = bench.report("a/libx.rlib", "b/libx.rlib");
    assert!(
        text.starts_with("same SVH, harmless byte differences\n"),
        "{text}"
    );
    has(
        &text,
        &[
            "-Cincremental",
            "with another random name",
            "metadata      equal",
        ],
    );
    assert_eq!(
        bench.diff(&["--svh-only", "a/libx.rlib", "b/libx.rlib"]).1,
        0
    );
    assert_eq!(bench.diff(&["--svh-only", "a", "b"]).1, 0);
    let (text, status) = bench.diff(&["a/libx.rmeta", "b/libx.rmeta"]);
    assert_eq!(status, 0);
    assert!(text.starts_with("the same bytes\n"), "{text}");
}

#[test]
fn another_order_of_items_is_recognized() {
    let bench = Bench::new();
    let items = ["alpha", "beta", "gamma", "delta", "epsilon"];
    let source = |order: &[usize]| -> String {
        let item = |index: &usize| format!("pub fn get_{}() {{}}\n", items[*index]);
        order.iter().map(item).collect()
    };
    for (side, order) in [("a", [0, 1, 2, 3, 4]), ("b", [3, 1, 4, 0, 2])] {
        bench.write("x.rs", &source(&order));
        bench.rustc("x.rs", side, &[]);
    }
    let text = bench.report("a/libx.rlib", "b/libx.rlib");
    has(&text, &["likely cause  the same texts in another order"]);
}

#[test]
fn dates_and_constants_are_shown() {
    let bench = Bench::new();
    for (side, date) in [("a", "2026-11-20 09:00:01"), ("b", "2026-11-21 10:30:00")] {
        bench.write(
            "x.rs",
            &format!("pub const AT: &str = \"{date}\"; pub fn at() -> &'static str {{ AT }}"),
        );
        bench.rustc("x.rs", side, &[]);
    }
    let text = bench.report("a/libx.rlib", "b/libx.rlib");
    has(
        &text,
        &[
            "likely cause  a date or time",
            "2026-11-21 10:30:00",
            "constants",
        ],
    );
}

#[test]
fn json_says_the_same_every_time() {
    let bench = Bench::new();
    bench.write("x.rs", SOURCE);
    bench.rustc("x.rs", "a", &[]);
    bench.write(
        "x.rs",
        &SOURCE.replace("there", "world").replace("^ 7", "^ 9"),
    );
    bench.rustc("x.rs", "b", &[]);
    let args = ["--format=json", "a/libx.rlib", "b/libx.rlib"];
    let (text, status) = bench.diff(&args);
    assert_eq!(status, 1);
    assert_eq!(bench.diff(&args).0, text);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["verdict"], "own-content");
    assert_eq!(json["same_svh"], false);
    let constant = &json["objects"]["constants"][0]["changes"]["first"][0];
    assert_eq!(constant["left"], "hello there");
    assert_eq!(constant["right"], "hello world");
    assert_eq!(
        json["objects"]["functions"]["first"][0]["name"],
        "x::hidden"
    );
    let (text, _) = bench.diff(&["--format=json", "a", "b"]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["pairs"].as_array().unwrap().len(), 2);
    let (text, _) = bench.diff(&["--full", "a/libx.rlib", "b/libx.rlib"]);
    has(&text, &["metadata bytes\n", "  svh\n    - "]);
}

#[test]
fn items_are_named_where_their_tables_are_known() {
    let bench = Bench::new();
    let source = |body: &str| {
        format!(
            "pub mod inner {{ #[inline] pub fn changed(x: u32) -> u32 {{ x * {body} }} pub fn same() {{}} }}"
        )
    };
    for (side, body) in [("a", "3"), ("b", "7")] {
        bench.write("x.rs", &source(body));
        bench.rustc("x.rs", side, &[]);
    }
    let text = bench.report("a/libx.rmeta", "b/libx.rmeta");
    has(
        &text,
        &["items         1 changed\n  crate::inner::changed  MIR\n"],
    );
    assert!(!text.contains("inner::same"), "{text}");
}

/// Pairs that differ in one respect: what is said of `subject`, apart from its place, and that nothing is
/// said of what stands beside it.
#[test]
fn the_property_that_differs_is_named() {
    const BESIDE: &str = "
        pub mod beside { pub struct Shape { pub side: u32 }
            impl Shape { pub fn side(&self) -> u32 { self.side } } }
        pub fn twice<T: Copy>(of: T) -> (T, T) { (of, of) }\n";
    const BEHIND: &str = "\n#[inline] pub fn behind(of: u64) -> u64 { of ^ 0x55aa }";
    for (left, right, expected) in [
        (
            "pub fn subject<T: Copy>(of: T) -> usize { [of; 3].len() * 3 }",
            "pub fn subject<T: Copy>(of: T) -> usize { [of; 3].len() * 7 }",
            &["MIR"][..],
        ),
        (
            "pub fn subject(of: u32) -> u8 { 1 }",
            "pub fn subject(of: i64) -> u8 { 1 }",
            &["signature"],
        ),
        (
            "pub fn subject<T: Copy>(of: T) {}",
            "pub fn subject<T: Send>(of: T) {}",
            &["MIR", "generics"],
        ),
        (
            "/// One.\npub fn subject() {}",
            "/// Two.\npub fn subject() {}",
            &["attributes"],
        ),
        (
            "\npub fn subject(of: u32) -> u32 { of }",
            "#[must_use]\npub fn subject(of: u32) -> u32 { of }",
            &["attributes"],
        ),
        (
            "pub fn subject(of: u32) -> u32 { of }",
            "\n\n\npub fn subject(of: u32) -> u32 { of }",
            &[],
        ),
        (
            "pub        fn subject() {}",
            "pub(crate) fn subject() {}",
            &["visibility"],
        ),
        (
            "pub const subject: u32 = 41;",
            "pub const subject: u32 = 42;",
            &["constant value"],
        ),
        (
            "pub struct Of { pub subject: u32 }",
            "pub struct Of { pub subject: u64 }",
            &["type"],
        ),
        (
            "pub        fn subject() {}",
            "pub unsafe fn subject() {}",
            &["signature"],
        ),
    ] {
        let bench = Bench::new();
        for (side, source) in [("a", left), ("b", right)] {
            bench.write("x.rs", &format!("{BESIDE}{source}{BEHIND}"));
            bench.rustc("x.rs", side, &["--cap-lints=allow"]);
        }
        let (text, _) = bench.diff(&["--format=json", "a/libx.rmeta", "b/libx.rmeta"]);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let changed = json["metadata"]["items"]["changed"]["first"].as_array();
        let mut said: Vec<&str> = Vec::new();
        for change in changed.expect("the tables of this compiler are known") {
            let property = change["property"].as_str().unwrap();
            if property == "span" {
                continue;
            }
            let path = change["path"].as_str().unwrap();
            assert!(path.ends_with("subject"), "{left} {right}: {change}");
            said.push(property);
        }
        said.sort_unstable();
        assert_eq!(said, expected, "{left} {right}");
    }
}

#[test]
fn items_on_one_side_are_listed_and_renumber_nothing() {
    let bench = Bench::new();
    let items = "pub mod inner { pub fn first() {} pub struct Second { pub of: u32 } }";
    for (side, more) in [("a", ""), ("b", "pub mod fresh { pub fn inside() {} }")] {
        bench.write("x.rs", &format!("{items}{more}pub fn third<T>(_: T) {{}}"));
        bench.rustc("x.rs", side, &[]);
    }
    let text = bench.report("a/libx.rmeta", "b/libx.rmeta");
    has(&text, &["1 on the right only\n  + crate::fresh\n"]);
    assert!(!text.contains("inner::"), "{text}");
}

#[test]
fn trouble_is_no_difference() {
    let bench = Bench::new();
    bench.write("x.rs", SOURCE);
    bench.rustc("x.rs", "a", &[]);
    let rlib = fs::read(bench.path().join("a/libx.rlib")).unwrap();
    fs::write(bench.path().join("cut.rlib"), &rlib[..rlib.len() - 300]).unwrap();
    for (right, message) in [
        ("missing.rlib", "cannot be opened"),
        ("a", "one is a directory and the other is not"),
        ("cut.rlib", "are cut short"),
    ] {
        let (text, status) = bench.diff(&["a/libx.rlib", right]);
        assert_eq!(status, 2, "{text}");
        has(&text, &[message]);
    }
    bench.write("one.txt", "one");
    bench.write("two.txt", "two");
    assert_eq!(bench.diff(&["one.txt", "two.txt"]).1, 1);
    assert_eq!(bench.diff(&["--svh-only", "one.txt", "two.txt"]).1, 2);
}
