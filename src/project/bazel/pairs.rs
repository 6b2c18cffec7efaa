//! The two actions that make one crate in a pipelined build, as the rules wrote them: for
//! comparing command lines without a build.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use super::aquery::{Command, Graph, GraphError};
use super::command::Bazel;
use super::{BazelError, Request, wrapper};
use crate::interrupt::Interrupt;
use crate::rustc::args::Args;

/// One of the two.
#[derive(Debug, Clone)]
pub struct Half {
    /// What `process_wrapper` was told, without what only says where messages go; sorted.
    pub wrapper: Vec<OsString>,
    /// The compiler.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Args,
    /// The environment.
    pub env: BTreeMap<OsString, OsString>,
}

/// A crate whose metadata is made in an action of its own.
#[derive(Debug, Clone)]
pub struct SplitCrate {
    /// The target's label.
    pub label: String,
    /// The crate's name.
    pub name: String,
    /// The action that makes its metadata.
    pub metadata: Half,
    /// The action that makes all of it.
    pub full: Half,
}

/// What the graph says of its crates.
#[derive(Debug, Default)]
pub struct Pairs {
    /// Those with two actions, sorted by label.
    pub split: Vec<SplitCrate>,
    /// Labels of those with one, sorted.
    pub whole: Vec<String>,
    /// Actions that cannot be compared, as (label, why), sorted.
    pub unknown: Vec<(String, String)>,
}

/// The action graph behind `request`'s patterns and the folder to which its paths are relative.
/// Nothing is built.
pub fn graph(request: &Request, interrupt: &Interrupt) -> Result<(Graph, PathBuf), BazelError> {
    let bazel = Bazel::new(request, interrupt)?;
    let root = bazel.places()?.execution_root;
    Ok((bazel.graph(&request.patterns)?, root))
}

/// Tells one compile from another: target and configuration, crate name, `-C metadata`.
type Key = ((u32, u32), Option<String>, Option<String>);

/// Pairs the actions of each crate.
pub fn pairs(graph: &Graph) -> Result<Pairs, GraphError> {
    let mut pairs = Pairs::default();
    let mut full: BTreeMap<Key, Half> = BTreeMap::new();
    let mut metadata: Vec<(Key, String, Half)> = Vec::new();
    for action in &graph.actions {
        let is_metadata = match action.mnemonic.as_str() {
            "Rustc" => false,
            "RustcMetadata" => true,
            _ => continue,
        };
        let label = super::actions::plain_label(graph.label(action)?);
        let Some(half) = half(action) else {
            let why = "its command is not one of process_wrapper";
            pairs.unknown.push((label, why.to_owned()));
            continue;
        };
        let name = half.args.crate_name().map(str::to_owned);
        let key = (action.place(), name, half.args.codegen("metadata"));
        if is_metadata {
            metadata.push((key, label, half));
        } else {
            pairs.whole.push(label);
            full.insert(key, half);
        }
    }
    for (key, label, metadata) in metadata {
        let Some(full) = full.get(&key) else {
            let why = "the graph has the action for its metadata, and none for the rest of it";
            pairs.unknown.push((label, why.to_owned()));
            continue;
        };
        if let Some(at) = pairs.whole.iter().position(|own| *own == label) {
            pairs.whole.swap_remove(at);
        }
        pairs.split.push(SplitCrate {
            label,
            name: key.1.unwrap_or_default(),
            metadata,
            full: full.clone(),
        });
    }
    pairs
        .split
        .sort_by(|a, b| (&a.label, &a.name).cmp(&(&b.label, &b.name)));
    pairs.whole.sort();
    pairs.whole.dedup();
    pairs.unknown.sort();
    Ok(pairs)
}

fn half(action: &Command) -> Option<Half> {
    let (wrapper, mut command) = wrapper::split(action.arguments())?;
    let program = command.pop_front()?;
    Some(Half {
        wrapper,
        program: program.into(),
        args: Args::new(command.into()),
        env: action.environment(),
    })
}
