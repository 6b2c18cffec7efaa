//! The compact form: a zstd stream of messages, each behind its length. Entries name earlier ones by
//! number, and sets of inputs contain others.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::{self, BufReader, Read};

use prost::Message;
use ruzstd::decoding::StreamingDecoder;

use super::{LogError, Spawn, expect_sha256};
use crate::remote::Blob;

/// Longest message that is believed.
const LONGEST: u64 = 64 * 1024 * 1024;

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(message, optional, tag = "2")]
    invocation: Option<Invocation>,
    #[prost(message, optional, tag = "3")]
    file: Option<File>,
    #[prost(message, optional, tag = "4")]
    directory: Option<Directory>,
    #[prost(message, optional, tag = "6")]
    input_set: Option<InputSet>,
    #[prost(message, optional, tag = "7")]
    spawn: Option<Executed>,
}

#[derive(Clone, PartialEq, Message)]
struct Invocation {
    #[prost(string, tag = "1")]
    hash_function_name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Digest {
    #[prost(string, tag = "1")]
    hash: String,
    #[prost(int64, tag = "2")]
    size_bytes: i64,
}

#[derive(Clone, PartialEq, Message)]
struct File {
    #[prost(string, tag = "1")]
    path: String,
    #[prost(message, optional, tag = "2")]
    digest: Option<Digest>,
}

#[derive(Clone, PartialEq, Message)]
struct Directory {
    #[prost(string, tag = "1")]
    path: String,
}

/// Fields 1 to 3 are those of Bazel 7.1 to 7.3, which had one for each kind of entry.
#[derive(Clone, PartialEq, Message)]
struct InputSet {
    #[prost(uint32, repeated, tag = "1")]
    files: Vec<u32>,
    #[prost(uint32, repeated, tag = "2")]
    directories: Vec<u32>,
    #[prost(uint32, repeated, tag = "4")]
    transitive: Vec<u32>,
    #[prost(uint32, repeated, tag = "5")]
    inputs: Vec<u32>,
}

/// Fields 1 and 5: see [`InputSet`].
#[derive(Clone, PartialEq, Message)]
struct Output {
    #[prost(uint32, tag = "1")]
    file: u32,
    #[prost(uint32, tag = "5")]
    output: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Variable {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Executed {
    #[prost(message, repeated, tag = "2")]
    env_vars: Vec<Variable>,
    #[prost(uint32, tag = "4")]
    input_set: u32,
    #[prost(message, repeated, tag = "6")]
    outputs: Vec<Output>,
    #[prost(string, tag = "7")]
    target_label: String,
    #[prost(string, tag = "8")]
    mnemonic: String,
    #[prost(int32, tag = "9")]
    exit_code: i32,
    #[prost(string, tag = "10")]
    status: String,
    #[prost(bool, tag = "13")]
    remotable: bool,
    #[prost(message, optional, tag = "16")]
    digest: Option<Digest>,
}

impl From<Digest> for Blob {
    fn from(own: Digest) -> Self {
        Self {
            hash: own.hash,
            size: own.size_bytes,
        }
    }
}

/// What later entries may name.
#[derive(Default)]
struct Known {
    files: HashMap<u32, File>,
    directories: HashMap<u32, String>,
    sets: HashMap<u32, InputSet>,
}

pub(super) fn read(file: impl Read, wanted: &[&str]) -> Result<Vec<Spawn>, LogError> {
    let stream = StreamingDecoder::new(file);
    let stream = stream.map_err(|error| LogError::Form(error.to_string()))?;
    let mut stream = BufReader::with_capacity(1 << 16, stream);
    let mut known = Known::default();
    let mut spawns = Vec::new();
    let mut bytes = Vec::new();
    while let Some(length) = length(&mut stream)? {
        if length > LONGEST {
            return Err(LogError::Form(format!("a message of {length} bytes")));
        }
        bytes.clear();
        let read = stream.by_ref().take(length).read_to_end(&mut bytes)?;
        if read as u64 != length {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let entry = Entry::decode(bytes.as_slice());
        let entry = entry.map_err(|error| LogError::Form(error.to_string()))?;
        if let Some(own) = entry.invocation {
            expect_sha256(&own.hash_function_name)?;
        } else if let Some(own) = entry.file {
            known.files.insert(entry.id, own);
        } else if let Some(own) = entry.directory {
            known.directories.insert(entry.id, own.path);
        } else if let Some(own) = entry.input_set {
            known.sets.insert(entry.id, own);
        } else if let Some(own) = entry.spawn
            && wanted.contains(&own.mnemonic.as_str())
        {
            spawns.push(known.spawn(own)?);
        }
    }
    Ok(spawns)
}

impl Known {
    fn spawn(&self, own: Executed) -> Result<Spawn, LogError> {
        let mut outputs = BTreeMap::new();
        for output in own.outputs {
            let id = output.output.max(output.file);
            // What is no file (a folder, a link) holds no crate.
            if let Some(file) = self.files.get(&id)
                && let Some(digest) = &file.digest
            {
                outputs.insert(file.path.clone(), digest.clone().into());
            }
        }
        let env = own.env_vars.into_iter().map(|own| (own.name, own.value));
        Ok(Spawn {
            label: own.target_label,
            mnemonic: own.mnemonic,
            env: env.collect(),
            inputs: self.inputs(own.input_set)?,
            outputs,
            action: own.digest.map(Blob::from),
            remotable: own.remotable,
            succeeded: own.status.is_empty() && own.exit_code == 0,
        })
    }

    fn inputs(&self, set: u32) -> Result<BTreeSet<String>, LogError> {
        let mut found = BTreeSet::new();
        let mut seen = HashSet::new();
        let mut open = vec![set];
        while let Some(id) = open.pop() {
            // Zero is the empty set.
            if id == 0 || !seen.insert(id) {
                continue;
            }
            let own = self.sets.get(&id).ok_or(LogError::Dangling(id))?;
            let entries = [&own.files, &own.directories, &own.inputs];
            for id in entries.into_iter().flatten() {
                let file = self.files.get(id).map(|own| &own.path);
                // Links and trees of runfiles are no crates either.
                found.extend(file.or_else(|| self.directories.get(id)).cloned());
            }
            open.extend(&own.transitive);
        }
        Ok(found)
    }
}

/// A message's length: seven bits a byte, the lowest first. `None` at the end of the stream.
fn length(stream: &mut impl Read) -> Result<Option<u64>, LogError> {
    let mut value = 0;
    for at in 0..10 {
        let mut byte = [0];
        if stream.read(&mut byte)? == 0 {
            if at == 0 {
                return Ok(None);
            }
            break;
        }
        value |= u64::from(byte[0] & 0x7f) << (7 * at);
        if byte[0] & 0x80 == 0 {
            return Ok(Some(value));
        }
    }
    Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
}

#[cfg(test)]
mod tests {
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn log(entries: &[Entry]) -> Vec<u8> {
        let bytes: Vec<u8> = entries
            .iter()
            .flat_map(Message::encode_length_delimited_to_vec)
            .collect();
        compress_to_vec(bytes.as_slice(), CompressionLevel::Fastest)
    }

    fn file(id: u32, path: &str) -> Entry {
        let digest = Digest {
            hash: format!("hash of {path}"),
            size_bytes: 3,
        };
        let file = File {
            path: path.to_owned(),
            digest: Some(digest),
        };
        Entry {
            id,
            file: Some(file),
            ..Entry::default()
        }
    }

    fn set(id: u32, set: InputSet) -> Entry {
        Entry {
            id,
            input_set: Some(set),
            ..Entry::default()
        }
    }

    fn spawn(mnemonic: &str, input_set: u32) -> Entry {
        let outputs = vec![
            Output {
                output: 2,
                ..Output::default()
            },
            Output {
                file: 3,
                ..Output::default()
            },
        ];
        let own = Executed {
            mnemonic: mnemonic.to_owned(),
            input_set,
            outputs,
            ..Executed::default()
        };
        Entry {
            spawn: Some(own),
            ..Entry::default()
        }
    }

    #[test]
    fn sets_are_followed_in_the_forms_of_all_versions() {
        let (old, new) = (
            InputSet {
                files: vec![1],
                ..InputSet::default()
            },
            InputSet {
                inputs: vec![2],
                transitive: vec![4, 4],
                ..InputSet::default()
            },
        );
        let entries = [
            file(1, "a.rs"),
            file(2, "b.rlib"),
            file(3, "c.rmeta"),
            set(4, old),
            set(5, new),
            spawn("Rustc", 5),
            spawn("Genrule", 5),
        ];
        let found = read(log(&entries).as_slice(), &["Rustc"]).unwrap();
        assert_eq!(found.len(), 1);
        let inputs = ["a.rs", "b.rlib"].map(str::to_owned).into();
        assert_eq!(found[0].inputs, inputs);
        assert_eq!(found[0].outputs.len(), 2);
        assert!(found[0].succeeded);
    }

    #[test]
    fn what_is_no_log_says_so() {
        assert!(matches!(
            read(&b"nonsense"[..], &[]),
            Err(LogError::Form(_))
        ));
        let dangling = log(&[spawn("Rustc", 9)]);
        let found = read(dangling.as_slice(), &["Rustc"]);
        assert!(matches!(found, Err(LogError::Dangling(9))));
        let whole = log(&[file(1, "a"), spawn("Rustc", 0)]);
        assert!(read(&whole[..whole.len() - 4], &["Rustc"]).is_err());
        let blake = Invocation {
            hash_function_name: "BLAKE3".to_owned(),
        };
        let other = Entry {
            invocation: Some(blake),
            ..Entry::default()
        };
        let found = read(log(&[other]).as_slice(), &[]);
        assert!(matches!(found, Err(LogError::Function(_))));
    }
}
