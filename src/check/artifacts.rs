//! What the artifacts of the recorded build say by themselves, and of one more compile where it is
//! asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::judge::Judge;
use super::scripts::Checked;
use super::sides::Sides;
use crate::artifact::metadata::Svh;
use crate::artifact::{self, Artifact, Completion};
use crate::bytes::Escaped;
use crate::compare::graph::{self, Form, Node};
use crate::lint::{Culprit, CulpritKind, Finding, Grade};
use crate::plan::variation::Setting;
use crate::plan::{CommandLine, Stop, Trial};
use crate::project::{Action, Build, SecondProcess, TargetKind};
use crate::replay::ReplayError;
use crate::replay::blame::crate_of;

/// Most names in one finding.
const MAX_NAMES: usize = 8;

const BYTES: &str = "artifact-bytes-unstable";

/// Looks at the recorded artifact of a crate.
pub(super) fn look(
    judge: &Judge<'_>,
    sides: &Sides<'_>,
    script: &Checked,
) -> Result<Vec<Finding>, ReplayError> {
    let action = judge.action;
    let Some(path) = action.outputs.first() else {
        return Ok(Vec::new());
    };
    let recorded = artifact::open(path)?;
    let mut found = Vec::new();
    match action.kind {
        TargetKind::ProcMacro => found.extend(keeps_state(action, &recorded)),
        _ => found.extend(names_places(action, judge.build, script, &recorded)),
    }
    if judge.settings.levels.raised(BYTES, &action.id) {
        found.extend(compile_again(judge, sides, &recorded)?);
    }
    Ok(found)
}

fn culprit(action: &Action, kind: CulpritKind) -> Culprit {
    Culprit {
        package: Some(format!(
            "{} {}",
            action.package.name, action.package.version
        )),
        kind,
        function: None,
        location: None,
        source: None,
    }
}

/// Variables of a proc macro's own crate that its code can write.
fn keeps_state(action: &Action, library: &Artifact) -> Option<Finding> {
    let own = action.args.crate_name()?;
    // A library whose symbols cannot be read tells nothing.
    let variables = library.variables().ok()?;
    let names: BTreeSet<String> = variables
        .into_iter()
        .filter(|name| name.contains("::") && crate_of(name) == own)
        .collect();
    let first = names.first()?;
    let more = match names.len() {
        1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    Some(Finding {
        culprit: Some(culprit(action, CulpritKind::ProcMacro)),
        message: format!("the macro keeps state from one invocation to the next: `{first}`{more}"),
        evidence: vec![
            "its shared library holds variables of its own crate that can be written".to_owned(),
        ],
        names: names.into_iter().take(MAX_NAMES).collect(),
        help:
            "make each invocation a function of its input; a cache of what does not change is fine"
                .to_owned(),
        ..Finding::new("macro-keeps-state", Grade::Hazard, &action.id)
    })
}

/// Members of an rlib that rustc did not make and that name the place of the build.
fn names_places(
    action: &Action,
    build: &Build,
    script: &Checked,
    rlib: &Artifact,
) -> Option<Finding> {
    let mut places: Vec<&Path> = vec![&action.package.root, &build.root];
    places.extend(action.out_dir.as_deref());
    let places: Vec<_> = places
        .into_iter()
        .map(|place| memchr::memmem::Finder::new(place.as_os_str().as_bytes()))
        .collect();
    let members = rlib.members().map_while(Result::ok);
    let foreign = members.filter(|own| !own.name.ends_with(b".rcgu.o") && !is_metadata(own.name));
    let guilty = foreign.filter(|own| places.iter().any(|place| place.find(own.data).is_some()));
    let names: BTreeSet<String> = guilty.map(|own| Escaped(own.name).to_string()).collect();
    let first = names.first()?.clone();
    let own = || culprit(action, CulpritKind::BuildScript);
    // The objects of others are theirs to change, and every crate with C code has some.
    let aside = (!action.package.member).then_some("the crate is no member of the workspace");
    Some(Finding {
        aside,
        culprit: Some(script.compiler.clone().unwrap_or_else(own)),
        factor: Some("build-path".to_owned()),
        message: format!("its rlib names the place where it was built, in `{first}`"),
        evidence: vec![
            "an object that rustc did not make holds the absolute path of the package, its OUT_DIR or the workspace; --remap-path-prefix does not reach it".to_owned(),
        ],
        names: names.into_iter().take(MAX_NAMES).collect(),
        help: "pass -ffile-prefix-map to the C compiler, or leave its debug information out".to_owned(),
        ..Finding::new(BYTES, Grade::Hazard, &action.id)
    })
}

fn is_metadata(name: &[u8]) -> bool {
    name.starts_with(b"lib.rmeta") || name.starts_with(b"rust.metadata")
}

/// Compiles the crate to its end in a varied world and compares the bytes with the recorded ones.
fn compile_again(
    judge: &Judge<'_>,
    sides: &Sides<'_>,
    recorded: &Artifact,
) -> Result<Option<Finding>, ReplayError> {
    let action = judge.action;
    let vary = sides.vary().into_iter();
    let changes = vary.filter_map(|own| own.change(action, Setting(1)));
    let trial = Trial {
        command: CommandLine::recorded(action),
        stop: Stop::End,
        changes: changes.collect(),
        incremental: false,
    };
    let again = sides.run(&trial)?;
    // Where the SVH moves, everything does; and who does not compile is inconclusive elsewhere.
    if again.svh().is_none() || again.svh() != sides.recorded().svh() {
        return Ok(None);
    }
    let Some(path) = again.artifact() else {
        return Ok(None);
    };
    let again = artifact::open(path)?;
    if again.bytes() == recorded.bytes() {
        return Ok(None);
    }
    let names: BTreeSet<String> = unequal_members(recorded, &again);
    let mut evidence =
        vec!["compiled again in a varied world, it has the same SVH and other bytes".to_owned()];
    if !names.is_empty() {
        let list: Vec<&str> = names.iter().take(MAX_NAMES).map(String::as_str).collect();
        evidence.push(format!("unequal members: {}", list.join(", ")));
    }
    Ok(Some(Finding {
        message: "its artifact moves although its SVH does not".to_owned(),
        evidence,
        names: names.into_iter().take(MAX_NAMES).collect(),
        help: "`svhcheck diff` of two builds shows which sections and functions differ".to_owned(),
        ..Finding::new(BYTES, Grade::Confirmed, &action.id)
    }))
}

/// Names of archive members that are not in both with the same bytes.
fn unequal_members(left: &Artifact, right: &Artifact) -> BTreeSet<String> {
    let contents = |own: &Artifact| -> BTreeMap<Vec<u8>, Vec<u8>> {
        let members = own.members().map_while(Result::ok);
        members
            .map(|own| (own.name.to_vec(), own.data.to_vec()))
            .collect()
    };
    let (left, right) = (contents(left), contents(right));
    let names = left.keys().chain(right.keys());
    names
        .filter(|name| left.get(*name) != right.get(*name))
        .map(|name| Escaped(name).to_string())
        .collect()
}

/// What the artifacts of the build say about each other.
pub(super) fn fit(build: &Build) -> Vec<Finding> {
    let mut nodes: Vec<Node> = Vec::new();
    let mut ids: Vec<&str> = Vec::new();
    let mut seconds: Vec<Option<&SecondProcess>> = Vec::new();
    for action in &build.actions {
        // The rlib says all that its rmeta says.
        let Some(node) = action.outputs.first().and_then(|path| node(path)) else {
            continue;
        };
        nodes.push(node);
        ids.push(&action.id);
        seconds.push(action.metadata.as_ref());
    }
    // A pipelined build compiles against the metadata that another process made. That this has another
    // SVH is said of the crate itself.
    let is_seconds = |at: &usize, svh: &Svh| {
        let node = seconds[*at].and_then(|own| node(&own.output));
        node.is_some_and(|own| own.root.svh == *svh)
    };
    let report = graph::verify(&nodes, &[]);
    report
        .findings
        .iter()
        .filter_map(|finding| match finding {
            graph::Finding::Stale {
                expected, offered, ..
            } if offered.iter().any(|at| is_seconds(at, expected)) => None,
            graph::Finding::Stale {
                user,
                name,
                expected,
                offered,
                ..
            } => {
                let there: BTreeSet<String> = offered
                    .iter()
                    .map(|node| format!("{} of `{}`", nodes[*node].root.svh, ids[*node]))
                    .collect();
                let there = there.into_iter().collect::<Vec<_>>().join(", ");
                Some(Finding {
                    names: vec![name.clone()],
                    message: format!(
                        "its artifact was compiled against another build of `{name}` than the one that is there"
                    ),
                    evidence: vec![format!(
                        "its metadata expects `{name}` with SVH {expected}; there is {there}"
                    )],
                    help: "compile it again: remove its artifact from the target directory or cache that holds it".to_owned(),
                    ..Finding::new("stale-dependency-svh", Grade::Confirmed, ids[*user])
                })
            }
            graph::Finding::Duplicates { name, nodes } => {
                let builds: BTreeSet<&str> = nodes.iter().map(|node| ids[*node]).collect();
                Some(Finding {
                    names: builds.iter().map(|id| (*id).to_owned()).collect(),
                    message: format!("one folder holds {} builds of `{name}`", builds.len()),
                    help: "nothing to do while dependencies are given by file (`--extern NAME=PATH`), as Cargo, Bazel and Buck2 do".to_owned(),
                    ..Finding::new("duplicate-crate-candidates", Grade::Hazard, builds.first()?)
                })
            }
            _ => None,
        })
        .collect()
}

/// A recorded artifact; nothing if it cannot be read, which whoever judges it says.
fn node(path: &Path) -> Option<Node> {
    let artifact = artifact::open(path).ok()?;
    let mut root = artifact.root().ok()?;
    if let Completion::From(_, full) = artifact.complete(&root) {
        root = *full;
    }
    Some(Node {
        path: path.to_owned(),
        form: Form::of(&artifact, &root),
        root,
        lone_stub: false,
        // Cargo says which artifacts are of this build.
        kept_since: None,
    })
}
