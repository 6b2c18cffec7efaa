//! The JSON form: one object for each command, one behind the other, in protobuf's JSON.

use std::collections::BTreeMap;
use std::io::BufRead;

use serde::Deserialize;

use super::{LogError, Spawn, expect_sha256};
use crate::remote::Blob;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Executed {
    environment_variables: Vec<Variable>,
    inputs: Vec<File>,
    remotable: bool,
    mnemonic: String,
    actual_outputs: Vec<File>,
    status: String,
    exit_code: i32,
    target_label: String,
    digest: Option<Digest>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Variable {
    name: String,
    value: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct File {
    path: String,
    digest: Option<Digest>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Digest {
    hash: String,
    /// Protobuf writes 64 bits as text.
    size_bytes: String,
    hash_function_name: String,
}

impl Digest {
    fn blob(self) -> Result<Blob, LogError> {
        expect_sha256(&self.hash_function_name)?;
        let size = match self.size_bytes.as_str() {
            "" => Ok(0),
            text => text.parse(),
        };
        let size = size.map_err(|_| LogError::Form("a size that is no number".to_owned()))?;
        Ok(Blob {
            hash: self.hash,
            size,
        })
    }
}

pub(super) fn read(file: impl BufRead, wanted: &[&str]) -> Result<Vec<Spawn>, LogError> {
    let mut spawns = Vec::new();
    for own in serde_json::Deserializer::from_reader(file).into_iter::<Executed>() {
        let own = own.map_err(|error| LogError::Form(error.to_string()))?;
        if !wanted.contains(&own.mnemonic.as_str()) {
            continue;
        }
        let mut outputs = BTreeMap::new();
        for file in own.actual_outputs {
            if let Some(digest) = file.digest {
                outputs.insert(file.path, digest.blob()?);
            }
        }
        let env = own.environment_variables.into_iter();
        spawns.push(Spawn {
            label: own.target_label,
            mnemonic: own.mnemonic,
            env: env.map(|own| (own.name, own.value)).collect(),
            inputs: own.inputs.into_iter().map(|own| own.path).collect(),
            outputs,
            action: own.digest.map(Digest::blob).transpose()?,
            remotable: own.remotable,
            succeeded: own.status.is_empty() && own.exit_code == 0,
        });
    }
    Ok(spawns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_stand_one_behind_the_other() {
        let text = r#"{
          "commandArgs": ["rustc"], "mnemonic": "Rustc", "targetLabel": "//a:a",
          "inputs": [{"path": "a.rs", "digest": {"hash": "1", "sizeBytes": "2", "hashFunctionName": "SHA-256"}}],
          "actualOutputs": [{"path": "liba.rlib", "digest": {"hash": "3", "sizeBytes": "4"}}, {"path": "folder"}],
          "remotable": true, "unknown": {"later": 1},
          "digest": {"hash": "5", "sizeBytes": "6", "hashFunctionName": "SHA-256"}
        }{ "mnemonic": "Genrule" }"#;
        let found = read(text.as_bytes(), &["Rustc"]).unwrap();
        let blob = |hash: &str, size| Blob {
            hash: hash.to_owned(),
            size,
        };
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].label, "//a:a");
        assert_eq!(found[0].action, Some(blob("5", 6)));
        assert_eq!(
            found[0].outputs,
            [("liba.rlib".to_owned(), blob("3", 4))].into()
        );
        assert!(found[0].remotable && found[0].succeeded);
        assert!(matches!(
            read(&b"{\"mnemonic\": 1}"[..], &[]),
            Err(LogError::Form(_))
        ));
    }
}
