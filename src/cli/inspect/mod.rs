//! `svhcheck inspect`: what an artifact is, which crate it holds, and on which crates it depends.

mod human;
mod json;
mod tree;
mod views;

use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::exit::Exit;
use super::shell::Shell;
use super::toolchains;
use crate::artifact::{self, Artifact, ArtifactError, Completion, CrateRoot, Kind, Names};

/// Files up to which each gets a block of its own and not a row of a table.
const MAX_BLOCKS: usize = 3;

/// Below this a thread costs more than it saves.
const FILES_PER_THREAD: usize = 16;

/// The file that stands for standard input.
const STDIN: &str = "-";

/// What the user typed.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files that rustc wrote: rlib, rmeta, proc macro or dylib, of any rustc from 1.16 on; `-` is
    /// standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// The form of the output
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,

    /// Show all of every file: no table where there are many, no cut lists
    #[arg(long, conflicts_with = "views")]
    full: bool,

    #[command(flatten)]
    view: View,
}

/// One thing about each file instead of everything.
#[derive(Debug, Clone, Copy, clap::Args)]
#[group(id = "views", multiple = false, conflicts_with = "format")]
struct View {
    /// Show the dependencies, as the list that they are or as a tree
    #[arg(long, value_enum, value_name = "FORM")]
    deps: Option<Deps>,

    /// Show the members of an archive: offset, size and name
    #[arg(long)]
    members: bool,

    /// Show paths, dates and times that the metadata holds
    #[arg(long)]
    strings: bool,

    /// Print one value and nothing else, a line for each file
    #[arg(long, value_enum, value_name = "FIELD")]
    raw: Option<Raw>,
}

/// The form of the dependencies.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Deps {
    /// As the table has them
    List,
    /// Each under those that need it; who needs whom is found in the files beside this one
    Tree,
}

/// A value of the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Raw {
    /// The crate's name
    Name,
    /// The SVH
    Svh,
    /// The stable crate id
    CrateId,
    /// -Cextra-filename
    ExtraFilename,
    /// The compiler's version string
    Rustc,
    /// The target
    Triple,
    /// The edition
    Edition,
    /// `METADATA_VERSION`
    MetadataVersion,
    /// The metadata blob itself, its bytes and no newline
    Metadata,
}

/// The form of the output.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// For people
    Human,
    /// One array with an object for each file, in the order of the arguments
    Json,
}

/// Shows every file, then says what could not be read.
pub(super) fn run(args: &Args, shell: &mut Shell) -> anyhow::Result<Exit> {
    let inspections = inspect(&args.files)?;
    if let Some(text) = views::render(args.view, &inspections) {
        return finish(&text, &inspections, shell);
    }
    let text = match args.format {
        Format::Json => json::render(&inspections)?,
        Format::Human if args.full || inspections.len() <= MAX_BLOCKS => {
            human::blocks(&inspections, args.full)
        }
        Format::Human => human::table(&inspections),
    };
    finish(text.as_bytes(), &inspections, shell)
}

/// Prints, then says what could not be read.
fn finish(text: &[u8], inspections: &[Inspection], shell: &mut Shell) -> anyhow::Result<Exit> {
    shell.raw(text)?;
    let mut exit = Exit::Clean;
    for file in inspections {
        for problem in &file.problems {
            // rustc leaves an empty `.rmeta` for every program: among others that is no fault.
            if file.kind == Some(Kind::Empty) && inspections.len() > 1 {
                shell.note(problem);
                continue;
            }
            shell.error(&anyhow::anyhow!("{problem}"));
            exit = Exit::Trouble;
        }
    }
    Ok(exit)
}

/// What there is to say about one file. As much as could be read, and why not more.
#[derive(Debug, Default)]
struct Inspection {
    path: PathBuf,
    size: usize,
    kind: Option<Kind>,
    members: Vec<Member>,
    /// Where the metadata stands in the file.
    metadata: Option<Range<usize>>,
    metadata_version: Option<u8>,
    rustc: Option<String>,
    /// Complete also where the file itself holds a stub.
    root: Option<CrateRoot>,
    stub: Option<Stub>,
    problems: Vec<String>,
    /// Kept open for what a view shows of it.
    artifact: Option<Artifact>,
}

#[derive(Debug)]
struct Member {
    name: Vec<u8>,
    range: Range<usize>,
}

/// Where the full metadata of a stub was looked for.
#[derive(Debug)]
enum Stub {
    CompletedFrom(PathBuf),
    Missing(PathBuf),
    OfAnotherBuild(PathBuf),
    Unreadable(PathBuf),
}

impl Inspection {
    /// What people call such a file.
    fn label(&self) -> &'static str {
        let root = self.root.as_ref();
        let proc_macro = root.is_some_and(|root| root.is_proc_macro == Some(true));
        match self.kind {
            Some(Kind::Archive) if self.is_hollow() => "hollow rlib",
            Some(Kind::Archive) if self.metadata.is_some() => "rlib",
            Some(Kind::Archive) => "archive",
            Some(Kind::ThinArchive) => "thin archive",
            Some(Kind::Metadata) => "rmeta",
            Some(Kind::Object(_)) if proc_macro => "proc macro",
            Some(Kind::Object(_)) if self.metadata.is_some() => "dylib",
            Some(Kind::Object(_)) => "object",
            Some(Kind::Empty) => "empty",
            Some(Kind::Unknown) | None => "unknown",
        }
    }

    /// An rlib with metadata and no code: dependents can be compiled against it, not linked.
    fn is_hollow(&self) -> bool {
        let metadata = |member: &Member| member.name.starts_with(b"lib.rmeta");
        // Of an archive that is cut short nobody knows what else was in it.
        let whole = self.problems.is_empty();
        self.metadata.is_some() && whole && self.members.iter().all(metadata)
    }
}

/// Reads all files, several at a time; the answers stand in the order of `files`.
fn inspect(files: &[PathBuf]) -> anyhow::Result<Vec<Inspection>> {
    // Standard input can be read but once.
    let stdin = if files.iter().any(|file| file == Path::new(STDIN)) {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes)?;
        Some(bytes)
    } else {
        None
    };
    let stdin = Mutex::new(stdin);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(files.len().div_ceil(FILES_PER_THREAD));
    let names = Mutex::new(Names::default());
    let next = AtomicUsize::new(0);
    let work = || {
        let take = || {
            let index = next.fetch_add(1, Ordering::Relaxed);
            Some((index, files.get(index)?))
        };
        std::iter::from_fn(take)
            .map(|(index, path)| (index, inspect_one(path, &stdin, &names)))
            .collect::<Vec<_>>()
    };
    let mut read = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut read = work();
        for other in others {
            read.extend(other.join().expect("reading an artifact does not panic"));
        }
        read
    });
    read.sort_by_key(|(index, _)| *index);
    let mut inspections: Vec<_> = read.into_iter().map(|(_, file)| file).collect();
    let names = names.into_inner().expect("learning a name does not panic");
    name_all(&mut inspections, names);
    Ok(inspections)
}

fn inspect_one(path: &Path, stdin: &Mutex<Option<Vec<u8>>>, names: &Mutex<Names>) -> Inspection {
    let mut file = Inspection {
        path: path.to_owned(),
        ..Inspection::default()
    };
    let opened = if path == Path::new(STDIN) {
        let mut stdin = stdin.lock().expect("taking bytes does not panic");
        let bytes = stdin.take().unwrap_or_default();
        Ok(artifact::from_bytes(Path::new("(standard input)"), bytes))
    } else {
        artifact::open(path)
    };
    let result = opened.and_then(|artifact| {
        let result = read_into(&mut file, &artifact, names);
        file.artifact = Some(artifact);
        result
    });
    if let Err(problem) = result {
        file.problems.push(problem.to_string());
    }
    file
}

/// Reads as much as there is; what was read before an error stays.
fn read_into(
    file: &mut Inspection,
    artifact: &Artifact,
    names: &Mutex<Names>,
) -> Result<(), ArtifactError> {
    file.size = artifact.bytes().len();
    file.kind = Some(artifact.kind());
    for member in artifact.members() {
        match member {
            Ok(member) => file.members.push(Member {
                name: member.name.to_owned(),
                range: member.range(),
            }),
            Err(problem) => file.problems.push(problem.to_string()),
        }
    }
    let range = match artifact.metadata_range() {
        // The archive's fault has been said.
        Err(_) if !file.problems.is_empty() => return Ok(()),
        range => range?,
    };
    file.metadata = Some(range);
    let metadata = artifact.metadata()?;
    file.metadata_version = Some(metadata.header().version);
    file.rustc.clone_from(&metadata.header().rustc);
    let mut root = artifact.root()?;
    file.stub = match artifact.complete(&root) {
        Completion::NotNeeded => None,
        Completion::From(path, full) => {
            root = *full;
            Some(Stub::CompletedFrom(path))
        }
        Completion::Missing(path) => Some(Stub::Missing(path)),
        Completion::Differs(path, _) => Some(Stub::OfAnotherBuild(path)),
        Completion::Unreadable(problem) => {
            file.problems.push(problem.to_string());
            Some(Stub::Unreadable(file.path.with_extension("rmeta")))
        }
    };
    let mut names = names.lock().expect("learning a name does not panic");
    names.learn(artifact, &root);
    file.root = Some(root);
    Ok(())
}

/// Finds the names that metadata leaves out: in the files themselves, then beside them, then in the
/// toolchains of this machine.
fn name_all(inspections: &mut [Inspection], mut names: Names) {
    let mut directories: Vec<PathBuf> = Vec::new();
    for file in inspections.iter() {
        let parent = file.path.parent().filter(|p| *p != Path::new(""));
        directories.push(parent.unwrap_or(Path::new(".")).to_owned());
    }
    directories.sort();
    directories.dedup();
    let mut complete = resolve(inspections, &names);
    for directory in directories {
        if !complete {
            names.search(&directory, unresolved(inspections));
            complete = resolve(inspections, &names);
        }
    }
    if complete {
        return;
    }
    let mut triples: Vec<String> = unresolved(inspections).map(|r| r.triple.clone()).collect();
    triples.sort();
    triples.dedup();
    for directory in toolchains::libraries(&triples) {
        names.search(&directory, unresolved(inspections));
    }
    resolve(inspections, &names);
}

fn unresolved(inspections: &[Inspection]) -> impl Iterator<Item = &CrateRoot> {
    let roots = inspections.iter().filter_map(|file| file.root.as_ref());
    roots.filter(|root| root.unresolved().next().is_some())
}

/// Puts the names that are known into all roots; true if none is missing then.
fn resolve(inspections: &mut [Inspection], names: &Names) -> bool {
    let mut complete = true;
    for file in inspections {
        complete &= file.root.as_mut().is_none_or(|root| names.resolve(root));
    }
    complete
}
