//! Two directories: their artifacts are paired by the crate in them and not by file name, since file
//! names carry hashes that differ where anything does.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;

use super::{Args, Format, json, summary};
use crate::artifact::{
    self, Artifact, ArtifactError, CrateRoot, Kind, Names, is_of_incremental_cache,
};
use crate::bytes::Escaped;
use crate::cli::exit::Exit;
use crate::cli::shell::Shell;
use crate::cli::toolchains;
use crate::compare::artifacts::{self, Depth, Verdict};

/// Endings of the files that are looked at.
const ENDINGS: [&str; 8] = ["rlib", "rmeta", "so", "dylib", "dll", "o", "obj", "a"];

/// A file of one side.
pub(super) struct File {
    /// From the directory that was named.
    pub(super) path: PathBuf,
    pub(super) artifact: Artifact,
    identity: Identity,
    pub(super) root: Option<CrateRoot>,
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
    let depth = match args.depth() {
        // A line for each pair says no more than the verdict.
        Depth::Everything if matches!(args.format, Format::Human) && !args.full => Depth::Verdict,
        depth => depth,
    };
    let compared: Vec<_> = pairs
        .par_iter()
        .map(|(one, other)| {
            let comparison = artifacts::compare(&one.artifact, &other.artifact, &names, depth);
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
            let sides = summary::Sides {
                compared: &compared,
                lefts: &lefts,
                rights: &rights,
                skipped: skipped_left + skipped_right,
            };
            if args.full {
                sides.full()
            } else {
                sides.screen()
            }
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

/// All artifacts below `directory`, sorted, and how many files have other endings.
fn read(directory: &Path, problems: &mut Vec<String>) -> anyhow::Result<(Vec<File>, usize)> {
    let (mut paths, mut files, mut skipped) = (Vec::new(), Vec::new(), 0);
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
        paths.push(entry.into_path());
    }
    let read = |full: &PathBuf| -> Result<File, ArtifactError> {
        let artifact = artifact::open(full)?;
        let path = full.strip_prefix(directory).unwrap_or(full).to_owned();
        Ok(File {
            identity: Identity::Path(path.clone()),
            root: artifact.root().ok(),
            path,
            artifact,
        })
    };
    let found: Vec<_> = paths.par_iter().map(read).collect();
    for file in found {
        match file {
            Ok(file) => files.push(file),
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
