//! Two directories: their artifacts are paired by the crate in them and not by file name, since file
//! names carry hashes that differ where anything does.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Args, Format, human, json};
use crate::artifact::{self, Artifact, CrateRoot, Kind, Names, is_of_incremental_cache};
use crate::bytes::Escaped;
use crate::cli::exit::Exit;
use crate::cli::shell::Shell;
use crate::cli::toolchains;
use crate::compare::artifacts::{self, Verdict};

/// Endings of the files that are looked at.
const ENDINGS: [&str; 8] = ["rlib", "rmeta", "so", "dylib", "dll", "o", "obj", "a"];

/// A file of one side.
struct File {
    /// From the directory that was named.
    path: PathBuf,
    artifact: Artifact,
    identity: Identity,
    root: Option<CrateRoot>,
}

/// What a file is to its build: the same on both sides even where its name is not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Identity {
    /// A crate's library, of a kind and for a target.
    Crate(String, &'static str, String),
    /// Anything else is known by its place.
    Path(PathBuf),
}

#[derive(Serialize)]
struct Report<'a> {
    pairs: Vec<json::Pair<'a>>,
    left_only: Vec<String>,
    right_only: Vec<String>,
    not_looked_at: [usize; 2],
}

/// Pairs, compares and prints.
pub(super) fn run(args: &Args, shell: &mut Shell) -> anyhow::Result<Exit> {
    let mut problems = Vec::new();
    let mut names = Names::default();
    let (mut left, skipped_left) = read(&args.left, &mut problems)?;
    let (mut right, skipped_right) = read(&args.right, &mut problems)?;
    let all: Vec<&Artifact> = left
        .iter()
        .chain(&right)
        .map(|file| &file.artifact)
        .collect();
    toolchains::learn_names(&mut names, &all);
    for file in left.iter_mut().chain(&mut right) {
        file.identify(&names);
    }
    let (pairs, lefts, rights) = pair(&left, &right);
    let compared: Vec<_> = pairs
        .iter()
        .map(|(one, other)| {
            let comparison =
                artifacts::compare(&one.artifact, &other.artifact, &names, args.depth());
            (*one, *other, comparison)
        })
        .collect();
    let differ = compared
        .iter()
        .any(|(_, _, comparison)| match comparison.verdict {
            Verdict::Identical => false,
            // What has no SVH was not asked for.
            Verdict::Bytes if args.svh_only => false,
            _ => !(args.svh_only && comparison.same_svh()),
        });
    for (_, _, comparison) in &compared {
        problems.extend(comparison.problems.iter().cloned());
    }
    let text = match args.format {
        Format::Json => {
            let path = |file: &&File| Escaped::os(&file.path).to_string();
            let report = Report {
                pairs: (compared.iter())
                    .map(|(l, r, comparison)| json::pair(&l.artifact, &r.artifact, comparison))
                    .collect(),
                left_only: lefts.iter().map(path).collect(),
                right_only: rights.iter().map(path).collect(),
                not_looked_at: [skipped_left, skipped_right],
            };
            serde_json::to_string_pretty(&report)? + "\n"
        }
        Format::Human => {
            let mut text = String::new();
            let mut same: BTreeMap<&str, usize> = BTreeMap::new();
            for (one, other, comparison) in &compared {
                match comparison.verdict {
                    Verdict::Identical => *same.entry("the same bytes").or_default() += 1,
                    Verdict::SameSvh if !args.full => {
                        *same
                            .entry("same SVH, harmless byte differences")
                            .or_default() += 1;
                    }
                    _ if args.full => {
                        text += &human::file(&one.artifact, &other.artifact, comparison, false);
                        text.push('\n');
                    }
                    _ => {
                        let path = Escaped::os(&one.path).to_string();
                        let name = one
                            .root
                            .as_ref()
                            .map_or(path.clone(), |r| r.name.to_string());
                        let sentence = human::sentence(comparison);
                        let _ = write!(text, "{name}: {sentence}\n  {path}");
                        if one.path != other.path {
                            let _ = write!(text, " → {}", Escaped::os(&other.path));
                        }
                        text.push('\n');
                    }
                }
            }
            for (side, files) in [("left", &lefts), ("right", &rights)] {
                for file in files {
                    let _ = writeln!(text, "on the {side} only: {}", Escaped::os(&file.path));
                }
            }
            let same: Vec<_> = same.iter().map(|(what, n)| format!("{n} {what}")).collect();
            let other = compared.len() - same_count(&compared, args.full);
            let _ = write!(text, "{} pairs: {other} differ", compared.len());
            for same in same {
                let _ = write!(text, ", {same}");
            }
            let _ = writeln!(
                text,
                "; {} on one side only; {} files not looked at, by their ending",
                lefts.len() + rights.len(),
                skipped_left + skipped_right
            );
            text
        }
    };
    let out = shell.out();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    for problem in &problems {
        shell.error(&anyhow::anyhow!("{problem}"));
    }
    Ok(if !problems.is_empty() {
        Exit::Trouble
    } else if differ || !lefts.is_empty() || !rights.is_empty() {
        Exit::Findings
    } else {
        Exit::Clean
    })
}

fn same_count(compared: &[(&File, &File, artifacts::Comparison)], full: bool) -> usize {
    let same = compared
        .iter()
        .filter(|(_, _, comparison)| match comparison.verdict {
            Verdict::Identical => true,
            Verdict::SameSvh => !full,
            _ => false,
        });
    same.count()
}

/// All artifacts below `directory`, sorted, and how many files have other endings.
fn read(directory: &Path, problems: &mut Vec<String>) -> anyhow::Result<(Vec<File>, usize)> {
    let (mut files, mut skipped) = (Vec::new(), 0);
    for entry in walkdir::WalkDir::new(directory).sort_by_file_name() {
        let entry = entry?;
        if !entry.file_type().is_file() {
            continue;
        }
        let ending = entry.path().extension().and_then(|ending| ending.to_str());
        let wanted = ending.is_some_and(|ending| ENDINGS.contains(&ending));
        if !wanted || is_of_incremental_cache(entry.path()) {
            skipped += 1;
            continue;
        }
        let path = entry
            .path()
            .strip_prefix(directory)
            .unwrap_or(entry.path())
            .to_owned();
        match artifact::open(entry.path()) {
            Ok(artifact) => files.push(File {
                identity: Identity::Path(path.clone()),
                root: artifact.root().ok(),
                path,
                artifact,
            }),
            Err(problem) => problems.push(problem.to_string()),
        }
    }
    Ok((files, skipped))
}

impl File {
    fn identify(&mut self, names: &Names) {
        let Some(root) = &mut self.root else { return };
        names.resolve(root);
        let kind = match self.artifact.kind() {
            Kind::Archive => "archive",
            Kind::Metadata => "metadata",
            _ => "object",
        };
        self.identity = Identity::Crate(root.name.to_string(), kind, root.triple.clone());
    }
}

/// Files of one identity, which are in two places or two instances.
type Group<'a> = (Vec<&'a File>, Vec<&'a File>);

/// The pairs, and what is left over on either side, sorted.
fn pair<'a>(
    left: &'a [File],
    right: &'a [File],
) -> (Vec<(&'a File, &'a File)>, Vec<&'a File>, Vec<&'a File>) {
    let mut groups: BTreeMap<&Identity, Group> = BTreeMap::new();
    for file in left {
        groups.entry(&file.identity).or_default().0.push(file);
    }
    for file in right {
        groups.entry(&file.identity).or_default().1.push(file);
    }
    let (mut pairs, mut lefts, mut rights) = (Vec::new(), Vec::new(), Vec::new());
    for (_, (mut one, mut other)) in groups {
        // Two instances of one crate: those with most in common belong together.
        let keys: [fn(&File, &File) -> bool; 4] = [
            |a, b| a.path == b.path,
            |a, b| {
                same(a, b, |root| root.stable_crate_id.map(|id| id.to_string()))
                    && a.path.parent() == b.path.parent()
            },
            |a, b| same(a, b, |root| root.stable_crate_id.map(|id| id.to_string())),
            |_, _| true,
        ];
        for key in keys {
            one.retain(|file| {
                let Some(at) = other.iter().position(|candidate| key(file, candidate)) else {
                    return true;
                };
                pairs.push((*file, other.remove(at)));
                false
            });
        }
        lefts.extend(one);
        rights.extend(other);
    }
    (pairs, lefts, rights)
}

fn same(a: &File, b: &File, key: fn(&CrateRoot) -> Option<String>) -> bool {
    let key = |file: &File| file.root.as_ref().and_then(key);
    key(a).is_some() && key(a) == key(b)
}
