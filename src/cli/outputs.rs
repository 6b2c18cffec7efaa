//! Where reports go: `--format F --output FILE`, any number of times, paired by their order.
//!
//! A file appears whole or not at all: its text is written beside it and then given its name.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches, value_parser};

use super::shell::Shell;
use crate::report::Report;
use crate::report::format::{self, Format};
use crate::report::human::{self, Detail};

/// What was typed: each format with its file, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Outputs(Vec<(Format, Option<PathBuf>)>);

const FORMAT: &str = "format";
const OUTPUT: &str = "output";

impl Outputs {
    /// Looks for what would fail only when all work is done: a folder that is not there.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        for path in self.files() {
            let folder = folder(path);
            if !folder.is_dir() {
                bail!(
                    "cannot write {}: there is no folder {}",
                    path.display(),
                    folder.display()
                );
            }
            if path.is_dir() {
                bail!("cannot write {}: it is a folder", path.display());
            }
        }
        Ok(())
    }

    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.iter().filter_map(|(_, path)| path.as_ref())
    }

    /// Writes the report in every form that was asked for, and for people on standard output if no
    /// other form goes there. Files come first: a reader that closes the pipe early takes none away.
    pub(super) fn write(
        &self,
        report: &Report,
        detail: Detail,
        shell: &mut Shell,
    ) -> anyhow::Result<()> {
        for (format, path) in &self.0 {
            if let Some(path) = path {
                let text = format.render(report, detail);
                // A file has no colours.
                let text = match format {
                    Format::Human => anstream::adapter::strip_str(&text).to_string(),
                    _ => text,
                };
                write_file(path, text.as_bytes())
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
        let mut to_stdout = self.0.iter().filter(|(_, path)| path.is_none());
        let format = to_stdout
            .next()
            .map_or(Format::Human, |(format, _)| *format);
        if format == Format::Human {
            let text = human::render(report, detail, &shell.screen());
            shell.out().write_all(text.as_bytes())?;
        } else {
            let text = format.render(report, detail);
            shell.raw(text.as_bytes())?;
        }
        Ok(())
    }
}

/// How much `--quiet` and `--verbose` leave of the form for people.
pub(super) fn detail(quiet: bool, verbose: bool) -> Detail {
    match (quiet, verbose) {
        (true, _) => Detail::Quiet,
        (_, true) => Detail::Verbose,
        _ => Detail::Normal,
    }
}

/// The folder in which a file lies.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => path,
    }
}

fn write_file(path: &Path, text: &[u8]) -> std::io::Result<()> {
    // A link keeps pointing where it does; what is no file (a pipe, /dev/null) keeps its nature.
    let path = fs_err::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    if fs_err::metadata(&path).is_ok_and(|own| !own.is_file()) {
        return fs_err::OpenOptions::new()
            .write(true)
            .open(&path)?
            .write_all(text);
    }
    let mut file = tempfile::Builder::new()
        .prefix(".svhcheck-")
        .permissions(Permissions::from_mode(0o666)) // as for any file, the umask takes from it
        .tempfile_in(folder(&path))?;
    file.write_all(text)?;
    file.as_file().sync_all()?;
    file.persist(&path)?;
    Ok(())
}

fn format_arg() -> Arg {
    let rows = format::TABLE.iter();
    let values = rows.map(|row| PossibleValue::new(row.name).help(row.about));
    Arg::new(FORMAT)
        .long(FORMAT)
        .value_name("FORMAT")
        .action(ArgAction::Append)
        .value_parser(PossibleValuesParser::new(values))
        .help("Form of the report; may be given several times, each with its --output [default: human]")
}

fn output_arg() -> Arg {
    Arg::new(OUTPUT)
        .long(OUTPUT)
        .short('o')
        .value_name("FILE")
        .action(ArgAction::Append)
        .value_parser(value_parser!(PathBuf))
        .help("File for the --format before it; without one, it goes to standard output")
}

// By hand, for only the places on the command line tell which file belongs to which format.
impl Args for Outputs {
    fn augment_args(command: clap::Command) -> clap::Command {
        command.arg(format_arg()).arg(output_arg())
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Outputs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let places = |id| matches.indices_of(id).into_iter().flatten();
        let formats = matches.get_many::<String>(FORMAT).into_iter().flatten();
        let formats = formats.map(|name| Format::named(name).expect("clap takes only such names"));
        let mut found: Vec<(usize, Format, Option<PathBuf>)> = places(FORMAT)
            .zip(formats)
            .map(|(place, format)| (place, format, None))
            .collect();
        let paths = matches.get_many::<PathBuf>(OUTPUT).into_iter().flatten();
        for (place, path) in places(OUTPUT).zip(paths) {
            let before = found.iter_mut().rev().find(|(own, ..)| *own < place);
            let shown = path.display();
            match before {
                Some((_, _, file @ None)) => {
                    *file = (path.as_os_str() != "-").then(|| path.clone());
                }
                Some((_, format, Some(first))) => {
                    let (format, first) = (format.row().name, first.display());
                    return Err(wrong(format!(
                        "`--output {shown}` has no --format of its own: `--format {format}` goes to {first} already"
                    )));
                }
                None => {
                    return Err(wrong(format!(
                        "`--output {shown}` needs a --format before it, as in `--format json --output {shown}`"
                    )));
                }
            }
        }
        let mut to_stdout = found.iter().filter(|(.., path)| path.is_none());
        if let (Some((_, first, _)), Some((_, second, _))) = (to_stdout.next(), to_stdout.next()) {
            let [first, second] = [first, second].map(|own| own.row().name);
            return Err(wrong(format!(
                "`--format {first}` and `--format {second}` would both go to standard output: give one of them an --output"
            )));
        }
        let mut files: Vec<&PathBuf> = found.iter().filter_map(|own| own.2.as_ref()).collect();
        files.sort();
        if let Some(pair) = files.windows(2).find(|pair| pair[0] == pair[1]) {
            let file = pair[0].display();
            return Err(wrong(format!(
                "two formats would both be written to {file}"
            )));
        }
        let pairs = found.into_iter().map(|(_, format, path)| (format, path));
        Ok(Self(pairs.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn wrong(message: String) -> clap::Error {
    clap::Error::raw(clap::error::ErrorKind::ArgumentConflict, message + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Vec<(&'static str, Option<String>)>, String> {
        let command = Outputs::augment_args(clap::Command::new("x").no_binary_name(true));
        let matches = command.try_get_matches_from(args);
        let outputs = matches.and_then(|own| Outputs::from_arg_matches(&own));
        let outputs = outputs.map_err(|error| error.to_string())?;
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let pairs = outputs.0.into_iter();
        Ok(pairs
            .map(|(format, path)| (format.row().name, path.map(text)))
            .collect())
    }

    #[test]
    fn a_file_belongs_to_the_format_before_it() {
        let args = "--format sarif --output a --format json -o b --format junit";
        let args: Vec<&str> = args.split(' ').collect();
        let expected = [
            ("sarif", Some("a".to_owned())),
            ("json", Some("b".to_owned())),
            ("junit", None),
        ];
        assert_eq!(parse(&args).unwrap(), expected);
        let args = ["--format=human", "--format=html", "--output=r.html"];
        assert_eq!(
            parse(&args).unwrap(),
            [("human", None), ("html", Some("r.html".to_owned()))]
        );
        assert_eq!(
            parse(&["--format=json", "--output=-"]).unwrap(),
            [("json", None)]
        );
        assert_eq!(parse(&[]).unwrap(), []);
    }

    #[test]
    fn what_cannot_be_paired_is_refused_with_the_reason() {
        let said = |args: &[&str]| parse(args).unwrap_err();
        let two = said(&["--format=json", "--format=sarif"]);
        assert!(
            two.contains("`--format json` and `--format sarif` would both go to standard output")
        );
        let alone = said(&["--output=a", "--format=json"]);
        assert!(
            alone.contains("`--output a` needs a --format before it"),
            "{alone}"
        );
        let second = said(&["--format=json", "-oa", "-ob"]);
        assert!(
            second.contains("`--format json` goes to a already"),
            "{second}"
        );
        let same = said(&["--format=json", "-oa", "--format=html", "-oa"]);
        assert!(same.contains("both be written to a"), "{same}");
    }
}
