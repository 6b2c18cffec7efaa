//! Bazel's action graph, as `bazel aquery --output=streamed_proto` prints it: a stream of
//! `analysis.ActionGraphContainer` messages, each behind its length.
//!
//! Field numbers are those of `src/main/protobuf/analysis_v2.proto` in Bazel's source; only what is
//! needed is declared, and fields that a later Bazel adds are skipped. Text is kept as bytes: Bazel
//! passes arguments and paths on as they are.
//!
//! A graph that somebody saved may also be one message (`--output=proto`) or the same as JSON
//! (`--output=jsonproto`).

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use prost::Message;
use serde::{Deserialize, Deserializer};

/// Longest message that is believed; Bazel splits its stream into one action and the like each.
const LONGEST: u64 = 64 * 1024 * 1024;

/// Why an action graph cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// The stream ends or fails in the middle.
    #[error("the action graph ends early: {0}")]
    Io(#[from] io::Error),
    /// A message is longer than any that Bazel writes.
    #[error("the action graph holds a message of {0} bytes, which is none of Bazel's")]
    TooLong(u64),
    /// A message of another form.
    #[error("the action graph is not in the form of `analysis_v2.proto`: {0}")]
    Form(#[from] prost::DecodeError),
    /// A saved graph cannot be read.
    #[error("cannot read the action graph: {0}")]
    Open(#[source] io::Error),
    /// A saved graph in none of the three forms.
    #[error(
        "`{}` is no action graph: save one with `bazel aquery --output=streamed_proto` (or `proto`, `jsonproto`)", .0.display()
    )]
    Unknown(PathBuf),
    /// A number that nothing bears.
    #[error("the action graph names {what} {id}, which it does not hold")]
    Dangling {
        /// Of what kind.
        what: &'static str,
        /// Which.
        id: u32,
    },
    /// A path that contains itself.
    #[error("the action graph holds a path that contains itself (fragment {0})")]
    Endless(u32),
}

#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    #[prost(message, repeated, tag = "1")]
    artifacts: Vec<Artifact>,
    #[prost(message, repeated, tag = "2")]
    actions: Vec<Command>,
    #[prost(message, repeated, tag = "3")]
    targets: Vec<Target>,
    #[prost(message, repeated, tag = "4")]
    #[serde(rename = "depSetOfFiles")]
    dep_sets: Vec<DepSet>,
    #[prost(message, repeated, tag = "5")]
    #[serde(rename = "configuration")]
    configurations: Vec<Configuration>,
    #[prost(message, repeated, tag = "8")]
    path_fragments: Vec<PathFragment>,
}

#[derive(Clone, Copy, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Artifact {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(uint32, tag = "2")]
    #[serde(rename = "pathFragmentId")]
    path_fragment: u32,
}

#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Target {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(bytes = "vec", tag = "2")]
    #[serde(deserialize_with = "text")]
    label: Vec<u8>,
}

#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DepSet {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(uint32, repeated, tag = "2")]
    #[serde(rename = "transitiveDepSetIds")]
    transitive: Vec<u32>,
    #[prost(uint32, repeated, tag = "3")]
    #[serde(rename = "directArtifactIds")]
    direct: Vec<u32>,
}

#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Configuration {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(string, tag = "2")]
    mnemonic: String,
}

#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PathFragment {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(bytes = "vec", tag = "2")]
    #[serde(deserialize_with = "text")]
    label: Vec<u8>,
    #[prost(uint32, tag = "3")]
    #[serde(rename = "parentId")]
    parent: u32,
}

#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Pair {
    #[prost(bytes = "vec", tag = "1")]
    #[serde(deserialize_with = "text")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    #[serde(deserialize_with = "text")]
    value: Vec<u8>,
}

/// One action, as Bazel plans it. (What `aquery` shows inlines parameter files.)
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Command {
    #[prost(uint32, tag = "1")]
    #[serde(rename = "targetId")]
    target: u32,
    /// What kind of action: `Rustc`, `RustcMetadata`, `CargoBuildScriptRun`.
    #[prost(string, tag = "4")]
    pub mnemonic: String,
    #[prost(uint32, tag = "5")]
    #[serde(rename = "configurationId")]
    configuration: u32,
    #[prost(bytes = "vec", repeated, tag = "6")]
    #[serde(deserialize_with = "texts")]
    arguments: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "7")]
    #[serde(rename = "environmentVariables")]
    environment: Vec<Pair>,
    #[prost(uint32, repeated, tag = "8")]
    #[serde(rename = "inputDepSetIds")]
    inputs: Vec<u32>,
    #[prost(uint32, repeated, tag = "9")]
    #[serde(rename = "outputIds")]
    outputs: Vec<u32>,
}

impl Command {
    /// The command line, the program first.
    pub fn arguments(&self) -> Vec<OsString> {
        let own = self.arguments.iter().cloned();
        own.map(OsString::from_vec).collect()
    }

    /// The environment, without what the wrapper adds.
    pub fn environment(&self) -> BTreeMap<OsString, OsString> {
        let pair = |own: &Pair| {
            (
                OsString::from_vec(own.key.clone()),
                OsString::from_vec(own.value.clone()),
            )
        };
        self.environment.iter().map(pair).collect()
    }

    /// A key that tells the targets (each in one configuration) apart.
    pub fn place(&self) -> (u32, u32) {
        (self.target, self.configuration)
    }
}

/// An action graph. Sets of files are kept as Bazel shares them; they are only spelled out for the
/// actions that are asked for.
#[derive(Debug, Default)]
pub struct Graph {
    /// The actions, in Bazel's order.
    pub actions: Vec<Command>,
    artifacts: BTreeMap<u32, u32>,
    fragments: BTreeMap<u32, PathFragment>,
    dep_sets: BTreeMap<u32, DepSet>,
    targets: BTreeMap<u32, Vec<u8>>,
    configurations: BTreeMap<u32, String>,
}

impl Graph {
    /// Reads the stream to its end, message by message.
    pub fn read(mut stream: impl Read) -> Result<Self, GraphError> {
        let mut graph = Self::default();
        let mut message = Vec::new();
        while let Some(length) = length(&mut stream)? {
            if length > LONGEST {
                return Err(GraphError::TooLong(length));
            }
            message.clear();
            let read = stream.by_ref().take(length).read_to_end(&mut message)?;
            if read as u64 != length {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            graph.add(Container::decode(message.as_slice())?);
        }
        Ok(graph)
    }

    /// Reads a graph that was saved in any of Bazel's three forms.
    pub fn open(path: &Path) -> Result<Self, GraphError> {
        let bytes = fs_err::read(path).map_err(GraphError::Open)?;
        let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
        let json = || serde_json::from_slice(&bytes).ok();
        let whole = match first {
            Some(b'{') => json(),
            _ => None,
        };
        let mut graph = Self::default();
        if let Some(whole) = whole {
            graph.add(whole);
        } else if let Ok(streamed) = Self::read(bytes.as_slice()) {
            graph = streamed;
        } else if let Ok(whole) = Container::decode(bytes.as_slice()) {
            graph.add(whole);
        }
        // Of other files, some can be read as a graph in which nothing is known.
        if graph.actions.is_empty() && graph.artifacts.is_empty() {
            return Err(GraphError::Unknown(path.to_owned()));
        }
        Ok(graph)
    }

    fn add(&mut self, part: Container) {
        self.actions.extend(part.actions);
        let artifacts = part.artifacts.iter();
        self.artifacts
            .extend(artifacts.map(|own| (own.id, own.path_fragment)));
        let fragments = part.path_fragments.into_iter();
        self.fragments.extend(fragments.map(|own| (own.id, own)));
        let dep_sets = part.dep_sets.into_iter();
        self.dep_sets.extend(dep_sets.map(|own| (own.id, own)));
        let targets = part.targets.into_iter();
        self.targets.extend(targets.map(|own| (own.id, own.label)));
        let configurations = part.configurations.into_iter();
        self.configurations
            .extend(configurations.map(|own| (own.id, own.mnemonic)));
    }

    /// The label of the target behind an action.
    pub fn label(&self, action: &Command) -> Result<String, GraphError> {
        let label = self.targets.get(&action.target);
        let label = label.ok_or(GraphError::Dangling {
            what: "target",
            id: action.target,
        })?;
        Ok(String::from_utf8_lossy(label).into_owned())
    }

    /// The name of the action's configuration, such as `k8-fastbuild`.
    pub fn configuration(&self, action: &Command) -> &str {
        let name = self.configurations.get(&action.configuration);
        name.map(String::as_str).unwrap_or_default()
    }

    /// What the action reads, relative to the execution root.
    pub fn inputs(&self, action: &Command) -> Result<BTreeSet<PathBuf>, GraphError> {
        let mut seen: BTreeSet<u32> = BTreeSet::new();
        let mut artifacts: BTreeSet<u32> = BTreeSet::new();
        let mut open = action.inputs.clone();
        while let Some(id) = open.pop() {
            if !seen.insert(id) {
                continue;
            }
            let set = self.dep_sets.get(&id).ok_or(GraphError::Dangling {
                what: "set of files",
                id,
            })?;
            artifacts.extend(&set.direct);
            open.extend(&set.transitive);
        }
        artifacts.into_iter().map(|id| self.path(id)).collect()
    }

    /// What the action makes, relative to the execution root.
    pub fn outputs(&self, action: &Command) -> Result<Vec<PathBuf>, GraphError> {
        action.outputs.iter().map(|id| self.path(*id)).collect()
    }

    fn path(&self, artifact: u32) -> Result<PathBuf, GraphError> {
        let mut next = *self.artifacts.get(&artifact).ok_or(GraphError::Dangling {
            what: "artifact",
            id: artifact,
        })?;
        let first = next;
        let mut parts: Vec<&OsStr> = Vec::new();
        // 0 is no number of a fragment: the path is complete.
        while next != 0 {
            let fragment = self.fragments.get(&next).ok_or(GraphError::Dangling {
                what: "path fragment",
                id: next,
            })?;
            parts.push(OsStr::from_bytes(&fragment.label));
            if parts.len() > self.fragments.len() {
                return Err(GraphError::Endless(first));
            }
            next = fragment.parent;
        }
        Ok(parts.into_iter().rev().collect())
    }
}

/// Text of JSON as the bytes that the other forms hold.
fn text<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    Ok(String::deserialize(from)?.into_bytes())
}

fn texts<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Vec<u8>>, D::Error> {
    let list = Vec::<String>::deserialize(from)?;
    Ok(list.into_iter().map(String::into_bytes).collect())
}

/// The length before a message; `None` at the end of the stream.
fn length(stream: &mut impl Read) -> io::Result<Option<u64>> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let mut byte = [0_u8];
        match stream.read(&mut byte) {
            Ok(0) if shift == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) => return Err(error),
        }
        value |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            return Ok(Some(value));
        }
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        "a length without end",
    ))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The graph of `crates` libraries, each of which takes all before it, with `tools` files of a
    /// compiler: the sets of files share what they can, as Bazel's do.
    pub(in crate::project::bazel) fn generated(crates: u32, tools: u32) -> Vec<u8> {
        let mut part = Container::default();
        let mut fragment = |label: String, parent: u32| {
            let id = u32::try_from(part.path_fragments.len()).unwrap() + 1;
            part.path_fragments.push(PathFragment {
                id,
                label: label.into(),
                parent,
            });
            id
        };
        let mut parent = 0;
        for folder in ["bazel-out", "k8", "bin"] {
            parent = fragment(folder.to_owned(), parent);
        }
        let tool_files: Vec<u32> = (0..tools)
            .map(|n| fragment(format!("tool{n}"), 0))
            .collect();
        let made: Vec<[u32; 2]> = (0..crates)
            .map(|n| {
                let source = fragment(format!("c{n}.rs"), 0);
                [source, fragment(format!("libc{n}.rlib"), parent)]
            })
            .collect();
        // Artifacts bear the numbers of their fragments.
        let ids = 1..=u32::try_from(part.path_fragments.len()).unwrap();
        part.artifacts = ids
            .map(|id| Artifact {
                id,
                path_fragment: id,
            })
            .collect();
        part.dep_sets.push(set(1, &[], &tool_files));
        for (n, [source, rlib]) in (0..).zip(made) {
            // Set 2n+2: what crate n takes; set 2n+3: what its users take of it.
            let (own, users) = (2 * n + 2, 2 * n + 3);
            let before: &[u32] = if n == 0 { &[1] } else { &[1, 2 * n + 1] };
            part.dep_sets.push(set(own, before, &[source]));
            let below: &[u32] = if n == 0 { &[] } else { &[2 * n + 1] };
            part.dep_sets.push(set(users, below, &[rlib]));
            let arguments = format!(
                "pw --subst pwd=${{pwd}} -- rustc c{n}.rs --crate-name=c{n} --crate-type=rlib \
                 --emit=dep-info,link --out-dir=bazel-out/k8/bin"
            );
            part.actions.push(Command {
                mnemonic: "Rustc".to_owned(),
                target: n + 1,
                arguments: arguments.split(' ').map(Into::into).collect(),
                inputs: vec![own],
                outputs: vec![rlib],
                ..Command::default()
            });
            part.targets.push(Target {
                id: n + 1,
                label: format!("//:c{n}").into(),
            });
        }
        stream(&[part])
    }

    fn stream(parts: &[Container]) -> Vec<u8> {
        let parts = parts.iter().map(Message::encode_length_delimited_to_vec);
        parts.collect::<Vec<_>>().concat()
    }

    /// One action whose inputs are `inputs`, and all that it takes to spell them out.
    fn container(dep_sets: Vec<DepSet>) -> Container {
        let fragment = |id, label: &str, parent| PathFragment {
            id,
            label: label.into(),
            parent,
        };
        Container {
            artifacts: (1..=3)
                .map(|id| Artifact {
                    id,
                    path_fragment: id,
                })
                .collect(),
            actions: vec![Command {
                mnemonic: "Rustc".to_owned(),
                inputs: vec![1],
                outputs: vec![3],
                target: 1,
                ..Command::default()
            }],
            targets: vec![Target {
                id: 1,
                label: b"//a:a".to_vec(),
            }],
            dep_sets,
            configurations: Vec::new(),
            path_fragments: vec![
                fragment(1, "x", 2),
                fragment(2, "folder", 0),
                fragment(3, "y", 2),
            ],
        }
    }

    fn set(id: u32, transitive: &[u32], direct: &[u32]) -> DepSet {
        DepSet {
            id,
            transitive: transitive.to_vec(),
            direct: direct.to_vec(),
        }
    }

    #[test]
    fn sets_of_files_are_spelled_out_once_however_they_are_shared() {
        // Every set holds the next one twice: 2^64 ways lead to the last.
        let mut sets: Vec<DepSet> = (1..64).map(|id| set(id, &[id + 1, id + 1], &[])).collect();
        sets.push(set(64, &[1], &[1, 2]));
        let graph = Graph::read(stream(&[container(sets)]).as_slice()).unwrap();
        let action = &graph.actions[0];
        let found: Vec<PathBuf> = graph.inputs(action).unwrap().into_iter().collect();
        assert_eq!(found, [PathBuf::from("folder"), "folder/x".into()]);
        assert_eq!(graph.outputs(action).unwrap(), [PathBuf::from("folder/y")]);
        assert_eq!(graph.label(action).unwrap(), "//a:a");
    }

    #[test]
    fn a_damaged_graph_is_an_error() {
        let whole = stream(&[container(vec![set(1, &[], &[1])])]);
        assert!(Graph::read(&whole[..whole.len() - 1]).is_err());
        assert!(Graph::read(&b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"[..]).is_err());
        assert!(matches!(
            Graph::read(&b"\xff\xff\xff\xff\x7f"[..]),
            Err(GraphError::TooLong(_))
        ));
        let graph = Graph::read(stream(&[container(Vec::new())]).as_slice()).unwrap();
        assert!(graph.inputs(&graph.actions[0]).is_err());
        let mut endless = container(vec![set(1, &[], &[1])]);
        endless.path_fragments[1].parent = 1;
        let graph = Graph::read(stream(&[endless]).as_slice()).unwrap();
        assert!(matches!(
            graph.inputs(&graph.actions[0]),
            Err(GraphError::Endless(_))
        ));
    }

    #[test]
    fn a_saved_graph_is_read_in_each_form() {
        let folder = tempfile::tempdir().unwrap();
        let save = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let whole = container(vec![set(1, &[], &[1])]);
        let json = r#"{
            "artifacts": [{"id": 1, "pathFragmentId": 1}, {"id": 3, "pathFragmentId": 3}],
            "actions": [{"targetId": 1, "mnemonic": "Rustc", "inputDepSetIds": [1], "outputIds": [3],
                "arguments": ["rustc"], "environmentVariables": [{"key": "A"}], "later": {}}],
            "targets": [{"id": 1, "label": "//a:a"}],
            "depSetOfFiles": [{"id": 1, "directArtifactIds": [1]}],
            "pathFragments": [{"id": 1, "label": "x", "parentId": 2}, {"id": 2, "label": "folder"},
                {"id": 3, "label": "y", "parentId": 2}]
        }"#;
        for path in [
            save("streamed", &stream(std::slice::from_ref(&whole))),
            save("whole", &whole.encode_to_vec()),
            save("json", json.as_bytes()),
        ] {
            let graph = Graph::open(&path).unwrap();
            let action = &graph.actions[0];
            assert_eq!(graph.label(action).unwrap(), "//a:a", "{path:?}");
            let inputs = graph.inputs(action).unwrap();
            assert_eq!(inputs, [PathBuf::from("folder/x")].into(), "{path:?}");
        }
        for bytes in [&b""[..], b"{}", b"{\"actions\": 1}", b"hello", b"\x00"] {
            let path = save("other", bytes);
            assert!(matches!(Graph::open(&path), Err(GraphError::Unknown(_))));
        }
    }

    #[test]
    fn fields_of_a_later_bazel_are_skipped() {
        let mut part = container(vec![set(1, &[], &[1])]).encode_to_vec();
        // Field 99, a text.
        part.extend(b"\x9a\x06\x03new");
        let mut stream = vec![u8::try_from(part.len()).unwrap()];
        stream.extend(part);
        assert_eq!(Graph::read(stream.as_slice()).unwrap().actions.len(), 1);
    }
}
