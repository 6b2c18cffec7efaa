//! What the probe tries: one row for each argument, variable or circumstance, in the order of the
//! report.
//!
//! A try is written as it would be typed. `{folder}` stands for a fresh folder, `{sources}` for the
//! folder in which all compiles run, `{host}` and `{sysroot}` for those of the compiler.

/// What a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An argument of rustc.
    Argument,
    /// An argument or variable that only matters where the source asks for it: the probe's source
    /// asks for one of those that are tried, and not for the other.
    AskedBySource,
    /// An argument that needs `RUSTC_BOOTSTRAP=1` on a stable compiler. It is tried against a
    /// reference that has it too.
    Unstable,
    /// An environment variable.
    Variable,
    /// Where the compile runs, or how its source is named.
    Place,
}

/// One row.
#[derive(Debug)]
pub struct Row {
    /// The option or variable, as [`super::key`] names it.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What is tried, each for itself.
    pub tries: &'static [&'static str],
}

const fn argument(name: &'static str, tries: &'static [&'static str]) -> Row {
    let kind = Kind::Argument;
    Row { name, kind, tries }
}

const fn unstable(name: &'static str, tries: &'static [&'static str]) -> Row {
    let kind = Kind::Unstable;
    Row { name, kind, tries }
}

const fn variable(name: &'static str, tries: &'static [&'static str]) -> Row {
    let kind = Kind::Variable;
    Row { name, kind, tries }
}

const fn asked(name: &'static str, tries: &'static [&'static str]) -> Row {
    let kind = Kind::AskedBySource;
    Row { name, kind, tries }
}

const fn place(name: &'static str, tries: &'static [&'static str]) -> Row {
    let kind = Kind::Place;
    Row { name, kind, tries }
}

/// Stands for every variable without a row.
pub const ANY_VARIABLE: &str = "(any other variable)";

/// The try of a place: a copy of the sources in another folder.
pub const ELSEWHERE: &str = "in a copy of the sources elsewhere";

/// What the probe's source looks like. It asks for one `--cfg` and one variable.
pub const SOURCE: &str = r#"//! What svhcheck compiles to learn what moves an SVH.
pub fn number(list: &[u32]) -> u32 {
    list.first().copied().unwrap_or(1) + 1
}
pub fn generic<T: Clone>(value: &T) -> T {
    value.clone()
}
#[cfg(svhcheck_asked)]
pub fn asked() {}
pub const VARIABLE: Option<&str> = option_env!("SVHCHECK_ASKED");
pub fn place() -> &'static str {
    file!()
}
"#;

/// The table. What is compiled without any of it is the reference: `--crate-type=lib
/// --emit=metadata,link` with `-Cmetadata` and `-Cextra-filename`.
pub const TABLE: &[Row] = &[
    argument(
        "--emit",
        &[
            "--emit=link",
            "--emit=link,metadata",
            "--emit=dep-info,metadata,link",
        ],
    ),
    argument(
        "--json",
        &[
            "--error-format=json --json=artifacts",
            "--error-format=json --json=diagnostic-rendered-ansi",
        ],
    ),
    argument("--error-format", &["--error-format=short"]),
    argument("--crate-type", &["--crate-type=rlib", "--crate-type=dylib"]),
    argument("--edition", &["--edition=2018"]),
    argument("-Cmetadata", &["-Cmetadata=another"]),
    argument("-Cextra-filename", &["-Cextra-filename=-another"]),
    argument("-Copt-level", &["-Copt-level=0", "-Copt-level=3"]),
    argument("-Cdebuginfo", &["-Cdebuginfo=0", "-Cdebuginfo=2"]),
    argument("-Cdebug-assertions", &["-Cdebug-assertions=no"]),
    argument("-Coverflow-checks", &["-Coverflow-checks=no"]),
    argument("-Cpanic", &["-Cpanic=abort"]),
    argument("-Clto", &["-Clto=thin"]),
    argument("-Cembed-bitcode", &["-Cembed-bitcode=no"]),
    argument("-Ccodegen-units", &["-Ccodegen-units=1"]),
    argument("-Ctarget-cpu", &["-Ctarget-cpu=native"]),
    argument("-Crelocation-model", &["-Crelocation-model=static"]),
    argument("-Cforce-frame-pointers", &["-Cforce-frame-pointers=yes"]),
    argument(
        "-Csymbol-mangling-version",
        &["-Csymbol-mangling-version=v0"],
    ),
    argument("-Csplit-debuginfo", &["-Csplit-debuginfo=unpacked"]),
    argument("-Cinstrument-coverage", &["-Cinstrument-coverage"]),
    argument("-Cprefer-dynamic", &["-Cprefer-dynamic"]),
    argument("-Cincremental", &["-Cincremental={folder}"]),
    argument("-Cstrip", &["-Cstrip=symbols"]),
    argument("-Crpath", &["-Crpath"]),
    argument("-Clinker", &["-Clinker=cc"]),
    argument("-Clink-arg", &["-Clink-arg=-Wl,-O1"]),
    argument("--remap-path-prefix", &["--remap-path-prefix={sources}=/r"]),
    argument("--target", &["--target={host}"]),
    argument("--sysroot", &["--sysroot={sysroot}"]),
    argument("--out-dir", &["--out-dir={folder}"]),
    argument("-L", &["-L{folder}"]),
    argument("--extern", &["--extern=unused={folder}/libunused.rlib"]),
    argument("--cap-lints", &["--cap-lints=allow"]),
    argument("-D", &["-Dwarnings"]),
    argument("-A", &["-Aunused"]),
    argument("--color", &["--color=never"]),
    asked("--cfg", &["--cfg=svhcheck_unasked", "--cfg=svhcheck_asked"]),
    unstable("-Zno-codegen", &["-Zno-codegen"]),
    unstable("-Zallow-features", &["-Zallow-features="]),
    unstable("-Zthreads", &["-Zthreads=2"]),
    unstable("-Zembed-metadata", &["-Zembed-metadata=no"]),
    unstable("-Zalways-encode-mir", &["-Zalways-encode-mir"]),
    variable(
        "RUSTC_BOOTSTRAP",
        &["RUSTC_BOOTSTRAP=0", "RUSTC_BOOTSTRAP=1"],
    ),
    variable("SOURCE_DATE_EPOCH", &["SOURCE_DATE_EPOCH=1"]),
    variable("LANG", &["LANG=de_DE.UTF-8"]),
    asked(ANY_VARIABLE, &["SVHCHECK_UNASKED=1", "SVHCHECK_ASKED=1"]),
    place("(working directory)", &[ELSEWHERE]),
    place("(source path)", &["./src/lib.rs"]),
];
