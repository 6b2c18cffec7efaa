//! A rustc command line as a list of options that can be read and edited.
//!
//! Only spelling is understood here (`-C x`, `-Cx`, `--codegen=x`, `-Cx=v` name one option); which
//! option moves an SVH is found by running rustc (`attribute`), never by a list.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// rustc's arguments, without the program.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Args(#[serde(with = "crate::os_text::list")] Vec<OsString>);

/// Short options and what they stand for; rustc's `-C`, `-L` … also take their value glued on.
const SHORT: &[(&str, &str)] = &[
    ("-C", "--codegen"),
    ("-L", "--library-path"),
    ("-l", "--link"),
    ("-W", "--warn"),
    ("-A", "--allow"),
    ("-D", "--deny"),
    ("-F", "--forbid"),
    ("-o", "--output"),
    ("-Z", "--unstable"),
];

/// Long options whose value may be the next argument (`rustc --help -v`, rustc 1.95).
const TAKES_VALUE: &[&str] = &[
    "--allow",
    "--cap-lints",
    "--cfg",
    "--check-cfg",
    "--codegen",
    "--color",
    "--crate-name",
    "--crate-type",
    "--deny",
    "--diagnostic-width",
    "--edition",
    "--emit",
    "--error-format",
    "--explain",
    "--extern",
    "--force-warn",
    "--forbid",
    "--json",
    "--library-path",
    "--link",
    "--out-dir",
    "--output",
    "--print",
    "--remap-path-prefix",
    "--remap-path-scope",
    "--sysroot",
    "--target",
    "--unstable",
    "--warn",
];

/// One option as written: the long name, its value, and the arguments it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opt<'a> {
    /// The long name (`--codegen`), or the argument itself where it is an input file.
    pub name: &'a str,
    /// The value; for an input file, the path.
    pub value: Option<&'a OsStr>,
    /// Where it stands: index of its first argument.
    at: usize,
    /// How many arguments it took (1 or 2).
    len: usize,
}

impl Opt<'_> {
    /// The value as text, if it has one and it is UTF-8.
    pub fn text(&self) -> Option<&str> {
        self.value?.to_str()
    }

    /// Whether it is `-Zno-codegen`, in either spelling.
    pub fn leaves_codegen_out(&self) -> bool {
        self.name == "--unstable" && matches!(self.text(), Some("no-codegen" | "no_codegen"))
    }
}

/// The name under which [`Args::options`] lists rustc's input file.
pub const INPUT: &str = "(input)";

impl Args {
    /// Wraps arguments (the program is not among them).
    pub fn new(args: Vec<OsString>) -> Self {
        Self(args)
    }

    /// The arguments as they are passed to rustc.
    pub fn as_slice(&self) -> &[OsString] {
        &self.0
    }

    /// The arguments that an option of this list took.
    pub fn words(&self, option: &Opt<'_>) -> &[OsString] {
        self.0
            .get(option.at..option.at + option.len)
            .unwrap_or_default()
    }

    /// Every option in order, with its spelling resolved.
    pub fn options(&self) -> Vec<Opt<'_>> {
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(arg) = self.0.get(at) {
            let option = self.option_at(at, arg);
            at += option.len;
            found.push(option);
        }
        found
    }

    fn option_at<'a>(&'a self, at: usize, arg: &'a OsStr) -> Opt<'a> {
        let bytes = arg.as_bytes();
        let next = self.0.get(at + 1).map(OsString::as_os_str);
        if !bytes.starts_with(b"-") || bytes == b"-" {
            return Opt {
                name: INPUT,
                value: Some(arg),
                at,
                len: 1,
            };
        }
        if !bytes.starts_with(b"--") {
            let known = SHORT
                .iter()
                .find(|(short, _)| bytes.starts_with(short.as_bytes()));
            return match known {
                Some((short, name)) if bytes.len() == short.len() => Opt {
                    name,
                    value: next,
                    at,
                    len: 1 + usize::from(next.is_some()),
                },
                Some((short, name)) => {
                    let glued = &bytes[short.len()..];
                    let value = glued.strip_prefix(b"=").unwrap_or(glued);
                    Opt {
                        name,
                        value: Some(OsStr::from_bytes(value)),
                        at,
                        len: 1,
                    }
                }
                None => Opt {
                    name: arg.to_str().unwrap_or("-?"),
                    value: None,
                    at,
                    len: 1,
                },
            };
        }
        if let Some(equals) = bytes.iter().position(|byte| *byte == b'=') {
            let name = std::str::from_utf8(&bytes[..equals]).unwrap_or("--?");
            let value = Some(OsStr::from_bytes(&bytes[equals + 1..]));
            return Opt {
                name,
                value,
                at,
                len: 1,
            };
        }
        let name = arg.to_str().unwrap_or("--?");
        if TAKES_VALUE.contains(&name) {
            return Opt {
                name,
                value: next,
                at,
                len: 1 + usize::from(next.is_some()),
            };
        }
        Opt {
            name,
            value: None,
            at,
            len: 1,
        }
    }

    /// The last value of the option `name` (rustc lets the last one win where one is allowed).
    pub fn value(&self, name: &str) -> Option<&OsStr> {
        let options = self.options();
        options
            .iter()
            .rev()
            .find(|option| option.name == name)
            .and_then(|option| option.value)
    }

    /// Whether the option `name` is given.
    pub fn has(&self, name: &str) -> bool {
        self.options().iter().any(|option| option.name == name)
    }

    /// Whether `-Zno-codegen` is given: what comes of it is hollow.
    pub fn leaves_codegen_out(&self) -> bool {
        self.options().iter().any(Opt::leaves_codegen_out)
    }

    /// All values of the option `name`, in order.
    pub fn values(&self, name: &str) -> Vec<&OsStr> {
        let options = self.options();
        options
            .iter()
            .filter(|option| option.name == name)
            .filter_map(|option| option.value)
            .collect()
    }

    /// The value of `-C key=value`, or an empty text for a bare `-C key`.
    pub fn codegen(&self, key: &str) -> Option<String> {
        self.values("--codegen")
            .into_iter()
            .rev()
            .find_map(|value| {
                let text = value.to_string_lossy();
                let (name, value) = text.split_once('=').unwrap_or((&text, ""));
                (name == key).then(|| value.to_owned())
            })
    }

    /// `--crate-name`.
    pub fn crate_name(&self) -> Option<&str> {
        self.value("--crate-name")?.to_str()
    }

    /// The values of the option `name`, each split at its commas.
    fn list(&self, name: &str) -> Vec<String> {
        let split = |value: &OsStr| -> Vec<String> {
            let text = value.to_string_lossy();
            text.split(',').map(str::to_owned).collect()
        };
        self.values(name).into_iter().flat_map(split).collect()
    }

    /// `--crate-type`, every kind that was asked for.
    pub fn crate_types(&self) -> Vec<String> {
        self.list("--crate-type")
    }

    /// The kinds of `--emit`, without their `=path` parts.
    pub fn emit(&self) -> Vec<String> {
        let kind = |own: String| own.split('=').next().unwrap_or_default().to_owned();
        self.list("--emit").into_iter().map(kind).collect()
    }

    /// `--out-dir`.
    pub fn out_dir(&self) -> Option<PathBuf> {
        self.value("--out-dir").map(PathBuf::from)
    }

    /// `-C extra-filename`, empty when absent.
    pub fn extra_filename(&self) -> String {
        self.codegen("extra-filename").unwrap_or_default()
    }

    /// The files with metadata that the command makes in `cwd`, named as rustc names them: rlib,
    /// shared library, `.rmeta`.
    pub fn artifacts(&self, cwd: &Path) -> Vec<PathBuf> {
        let (Some(name), Some(folder)) = (self.crate_name(), self.out_dir()) else {
            return Vec::new();
        };
        let folder = cwd.join(folder);
        let stem = format!("lib{name}{}", self.extra_filename());
        let emit = self.emit();
        let has = |kind: &str| emit.iter().any(|own| own == kind);
        let types = self.crate_types();
        let mut found = Vec::new();
        if has("link") {
            if types.iter().any(|kind| kind == "lib" || kind == "rlib") {
                found.push(folder.join(format!("{stem}.rlib")));
            }
            if types
                .iter()
                .any(|kind| kind == "proc-macro" || kind == "dylib")
            {
                let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
                let stem = &stem["lib".len()..];
                found.push(folder.join(format!("{prefix}{stem}{suffix}")));
            }
        }
        if has("metadata") {
            found.push(folder.join(format!("{stem}.rmeta")));
        }
        found
    }

    /// `--extern name=path` pairs that name a file.
    pub fn externs(&self) -> Vec<(String, PathBuf)> {
        self.values("--extern")
            .into_iter()
            .filter_map(|value| {
                let bytes = value.as_bytes();
                let equals = bytes.iter().position(|byte| *byte == b'=')?;
                let name = String::from_utf8_lossy(&bytes[..equals]);
                // `--extern priv,noprelude:name=path`: options stand before a colon.
                let name = name.rsplit(':').next().unwrap_or_default().to_owned();
                Some((name, PathBuf::from(OsStr::from_bytes(&bytes[equals + 1..]))))
            })
            .collect()
    }

    /// Removes every option for which `doomed` says so.
    pub fn remove(&mut self, doomed: impl Fn(&Opt<'_>) -> bool) {
        let keep: Vec<bool> = {
            let mut keep = vec![true; self.0.len()];
            for option in self.options().iter().filter(|option| doomed(option)) {
                keep[option.at..option.at + option.len].fill(false);
            }
            keep
        };
        let mut keep = keep.into_iter();
        self.0.retain(|_| keep.next().unwrap_or(true));
    }

    /// Appends `name=value`.
    pub fn push(&mut self, name: &str, value: impl AsRef<OsStr>) {
        let mut arg = OsString::from(name);
        arg.push("=");
        arg.push(value);
        self.0.push(arg);
    }

    /// Appends an argument as it is.
    pub fn push_raw(&mut self, arg: impl Into<OsString>) {
        self.0.push(arg.into());
    }

    /// Replaces all values of `name` by one, in the place of the first.
    pub fn set(&mut self, name: &str, value: impl AsRef<OsStr>) {
        let first = self
            .options()
            .iter()
            .find(|option| option.name == name)
            .map(|option| option.at);
        self.remove(|option| option.name == name);
        let mut arg = OsString::from(name);
        arg.push("=");
        arg.push(value);
        let at = first.unwrap_or(self.0.len()).min(self.0.len());
        self.0.insert(at, arg);
    }

    /// Rewrites every argument in which one of the paths `moves` (from, to) occurs, as
    /// [`replace_paths`] does, but for those of the options `except`.
    pub fn replace_paths_except(&mut self, moves: &[(PathBuf, PathBuf)], except: &[&str]) {
        let kept: Vec<usize> = self
            .options()
            .iter()
            .filter(|option| except.contains(&option.name))
            .flat_map(|option| option.at..option.at + option.len)
            .collect();
        for (at, arg) in self.0.iter_mut().enumerate() {
            if !kept.contains(&at)
                && let Some(changed) = replace_paths(arg, moves)
            {
                *arg = changed;
            }
        }
    }

    /// Options of `self` that `other` lacks, each as its arguments.
    pub fn only_here(&self, other: &Self) -> Vec<Vec<OsString>> {
        let mut theirs: Vec<(&str, Option<&OsStr>)> = other
            .options()
            .iter()
            .map(|option| (option.name, option.value))
            .collect();
        let mut found = Vec::new();
        for option in self.options() {
            let key = (option.name, option.value);
            if let Some(at) = theirs.iter().position(|their| *their == key) {
                theirs.remove(at);
            } else {
                found.push(self.0[option.at..option.at + option.len].to_vec());
            }
        }
        found
    }
}

/// `text` with the first of `moves` (from, to) that occurs in it. No second one is applied: where
/// the new path leads may lie below a path that moves too.
pub fn replace_paths(text: &OsStr, moves: &[(PathBuf, PathBuf)]) -> Option<OsString> {
    let mut moves = moves.iter();
    moves.find_map(|(from, to)| replace_path(text, from.as_os_str(), to.as_os_str()))
}

/// `text` with a path prefix `from` replaced by `to`: at the start, or behind the first `=`. `None`
/// where it does not occur.
fn replace_path(text: &OsStr, from: &OsStr, to: &OsStr) -> Option<OsString> {
    let bytes = text.as_bytes();
    let starts = std::iter::once(0).chain(bytes.iter().position(|b| *b == b'=').map(|at| at + 1));
    for start in starts {
        let rest = &bytes[start..];
        if let Some(tail) = rest.strip_prefix(from.as_bytes())
            && (tail.is_empty() || tail.starts_with(b"/"))
        {
            let mut changed = bytes[..start].to_vec();
            changed.extend_from_slice(to.as_bytes());
            changed.extend_from_slice(tail);
            return Some(OsString::from_vec(changed));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> Args {
        Args::new(text.split(' ').map(OsString::from).collect())
    }

    #[test]
    fn every_spelling_of_an_option_is_one_option() {
        for text in [
            "-C metadata=x",
            "-Cmetadata=x",
            "--codegen metadata=x",
            "--codegen=metadata=x",
        ] {
            assert_eq!(
                args(text).codegen("metadata").as_deref(),
                Some("x"),
                "{text}"
            );
        }
    }

    #[test]
    fn options_of_a_cargo_command_line() {
        let args = args(
            "--crate-name serde --edition=2021 src/lib.rs --error-format=json --crate-type lib \
             --emit=dep-info,metadata,link -C embed-bitcode=no -C extra-filename=-12 --out-dir /t/deps \
             -L dependency=/t/deps --extern core=/t/libcore.rmeta --extern proc_macro --cap-lints allow",
        );
        assert_eq!(args.crate_name(), Some("serde"));
        assert_eq!(args.crate_types(), ["lib"]);
        assert_eq!(args.emit(), ["dep-info", "metadata", "link"]);
        assert_eq!(args.extra_filename(), "-12");
        assert_eq!(args.out_dir(), Some("/t/deps".into()));
        assert_eq!(
            args.externs(),
            [("core".to_owned(), "/t/libcore.rmeta".into())]
        );
        assert_eq!(args.values(INPUT), ["src/lib.rs"]);
    }

    #[test]
    fn setting_keeps_the_place_and_removes_the_others() {
        let mut args = args("--emit dep-info --cfg a --emit=link x.rs");
        args.set("--emit", "metadata");
        assert_eq!(args, self::args("--emit=metadata --cfg a x.rs"));
    }

    #[test]
    fn differences_ignore_spelling_and_order() {
        let left = args("-Copt-level=3 --cfg a x.rs -Zno-codegen");
        let right = args("x.rs --cfg a -C opt-level=3");
        assert_eq!(left.only_here(&right), [[OsString::from("-Zno-codegen")]]);
        assert!(right.only_here(&left).is_empty());
    }

    #[test]
    fn paths_are_replaced_whole() {
        let change = |text: &str| replace_path(text.as_ref(), "/a/b".as_ref(), "/z".as_ref());
        assert_eq!(change("/a/b/c"), Some("/z/c".into()));
        assert_eq!(change("dependency=/a/b"), Some("dependency=/z".into()));
        assert_eq!(change("/a/bc"), None);
    }

    #[test]
    fn a_path_moves_once() {
        let moves = [("/a/t/out", "/a/t/scratch/out"), ("/a", "/a/t/scratch/a")];
        let moves = moves.map(|(from, to)| (from.into(), to.into()));
        let change = |text: &str| replace_paths(text.as_ref(), &moves);
        assert_eq!(change("/a/t/out/x"), Some("/a/t/scratch/out/x".into()));
        assert_eq!(change("/a/src"), Some("/a/t/scratch/a/src".into()));
    }
}
