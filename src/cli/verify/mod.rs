//! `svhcheck verify`: whether artifacts fit together, without running rustc.

mod human;
mod json;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::exit::Exit;
use super::shell::Shell;
use super::toolchains;
use crate::artifact::{self, Artifact, ArtifactError, Completion, Names, is_of_incremental_cache};
use crate::compare::graph::{self, Form, Node};

/// What the user typed.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Artifacts, or directories of them such as target/debug/deps or bazel-out
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// The form of the output
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,

    /// Show every finding, and who is affected to the last crate
    #[arg(long)]
    full: bool,
}

/// The form of the output.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// For people
    Human,
    /// One object
    Json,
}

/// Endings of the files in a directory that are looked at.
const ENDINGS: [&str; 5] = ["rlib", "rmeta", "so", "dylib", "dll"];

/// What was read.
#[derive(Debug, Default)]
struct Set {
    nodes: Vec<Node>,
    /// Files without crate metadata, such as programs and C libraries.
    other: usize,
    problems: Vec<String>,
}

/// Reads, joins, and prints.
pub(super) fn run(args: &Args, shell: &mut Shell) -> anyhow::Result<Exit> {
    let mut set = Set::default();
    let mut names = Names::default();
    let mut paths = BTreeSet::new();
    for path in &args.paths {
        if path.is_dir() {
            paths.extend(files(path)?);
        } else {
            paths.insert(path.clone());
        }
    }
    let mut artifacts = Vec::new();
    for path in &paths {
        match artifact::open(path) {
            Ok(artifact) => artifacts.push(artifact),
            Err(problem) => set.problems.push(problem.to_string()),
        }
    }
    toolchains::learn_names(&mut names, &artifacts.iter().collect::<Vec<_>>());
    for artifact in &artifacts {
        read(artifact, &names, &mut set);
    }
    let outside = standard_libraries(&set.nodes);
    let report = graph::verify(&set.nodes, &outside);
    let text = match args.format {
        Format::Json => json::render(&set, &report)?,
        Format::Human => human::render(&set, &report, args.full),
    };
    let out = shell.out();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    for problem in &set.problems {
        shell.error(&anyhow::anyhow!("{problem}"));
    }
    Ok(if !set.problems.is_empty() {
        Exit::Trouble
    } else if report.findings.iter().any(graph::Finding::is_fatal) {
        Exit::Findings
    } else {
        Exit::Clean
    })
}

/// The artifacts below `directory`.
fn files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    // Bazel's output trees are reached through links.
    for entry in walkdir::WalkDir::new(directory)
        .follow_root_links(true)
        .sort_by_file_name()
    {
        let entry = entry?;
        let ending = entry.path().extension().and_then(|ending| ending.to_str());
        let wanted = ending.is_some_and(|ending| ENDINGS.contains(&ending));
        if entry.file_type().is_file() && wanted && !is_of_incremental_cache(entry.path()) {
            found.push(entry.into_path());
        }
    }
    Ok(found)
}

fn read(artifact: &Artifact, names: &Names, set: &mut Set) {
    let mut root = match artifact.root() {
        Ok(root) => root,
        // The `.rmeta` of a program is empty; a C library is nobody's dependency.
        Err(
            ArtifactError::Empty { .. }
            | ArtifactError::NoMetadata { .. }
            | ArtifactError::Unrecognized { .. },
        ) => {
            set.other += 1;
            return;
        }
        Err(problem) => {
            set.problems.push(problem.to_string());
            return;
        }
    };
    let mut lone_stub = false;
    match artifact.complete(&root) {
        Completion::NotNeeded => {}
        Completion::From(_, full) => root = *full,
        Completion::Unreadable(problem) => {
            set.problems.push(problem.to_string());
            lone_stub = true;
        }
        Completion::Missing(_) | Completion::Differs(..) => lone_stub = true,
    }
    names.resolve(&mut root);
    set.nodes.push(Node {
        path: artifact.path().to_owned(),
        form: Form::of(artifact, &root),
        root,
        lone_stub,
        kept_since: kept_since(artifact.path()),
    });
}

/// When the file was written, if it is one that Cargo keeps: Cargo has a folder of fingerprints beside the
/// files, or beside the folder that they are in.
fn kept_since(path: &Path) -> Option<SystemTime> {
    // `debug/deps/x`, `debug/x`; with `-Zbuild-dir-new-layout` `debug/build/x/<hash>/out/x`.
    let folders = path.ancestors().skip(1).take(3);
    let kept = folders.flat_map(|folder| [".fingerprint", "fingerprint"].map(|f| folder.join(f)));
    let kept = kept.into_iter().any(|fingerprints| fingerprints.is_dir());
    // Without a time nothing can be said of what is older.
    let written = || std::fs::metadata(path).and_then(|found| found.modified());
    kept.then(written)?.ok()
}

/// The standard libraries on this machine that the artifacts were compiled against.
fn standard_libraries(nodes: &[Node]) -> Vec<Node> {
    let mut triples: Vec<String> = nodes.iter().map(|node| node.root.triple.clone()).collect();
    triples.sort();
    triples.dedup();
    let compilers: BTreeSet<&str> = nodes.iter().map(|node| node.root.rustc.as_str()).collect();
    let mut found = Set::default();
    let mut names = Names::default();
    for directory in toolchains::libraries(&triples) {
        let Ok(paths) = files(&directory) else {
            continue;
        };
        let artifacts: Vec<_> = paths
            .iter()
            .filter_map(|p| artifact::open(p).ok())
            .collect();
        // One toolchain is one compiler: the first file tells which.
        let root = artifacts.iter().find_map(|artifact| artifact.root().ok());
        if !root.is_some_and(|root| compilers.contains(root.rustc.as_str())) {
            continue;
        }
        for artifact in &artifacts {
            if let Ok(root) = artifact.root() {
                names.learn(artifact, &root);
            }
            read(artifact, &names, &mut found);
        }
    }
    found.nodes
}
