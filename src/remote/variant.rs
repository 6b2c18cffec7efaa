//! Variants of an action: the same one, in another environment, at another place.
//!
//! Every variant has a salt of its own and `do_not_cache`, so that the cluster neither answers it
//! from what it knows nor offers its result to anybody.

use std::collections::BTreeMap;

use bazel_remote_apis::build::bazel::remote::execution::v2::command::EnvironmentVariable;
use bazel_remote_apis::build::bazel::remote::execution::v2::{
    Action, Command, Digest, Directory, DirectoryNode,
};
use prost::Message;

use super::Blob;
use crate::digest;

/// What a variant changes about the world of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Variables that the action does not set are set.
    Environment,
    /// The input root lies one folder deeper.
    Place,
}

/// Variables that describe who builds, and where: those that differ between workers. What the action
/// sets itself is left as it is.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("HOME", "/home/svhcheck-a"),
    ("HOSTNAME", "svhcheck-host"),
    ("LANG", "tr_TR.UTF-8"),
    ("LC_ALL", "tr_TR.UTF-8"),
    ("LOGNAME", "svhcheck"),
    ("SVHCHECK_UNDECLARED", "1"),
    ("TZ", "XTA-14"),
    ("USER", "svhcheck"),
];

/// The folder around a re-rooted action.
const AROUND: &str = "svhcheck-another-place";

/// Blobs to upload, the digest of the action among them.
pub(super) struct Variant {
    pub(super) action: Digest,
    pub(super) blobs: Vec<(Digest, Vec<u8>)>,
}

/// Makes the variant of `action` with all of `changes`. What an API of a later minor version adds to
/// a command is not known here and would be lost, so a command that need not change is not rewritten.
pub(super) fn variant(
    action: &Action,
    command: &Command,
    changes: &[Change],
    salt: &str,
) -> Variant {
    let mut action = action.clone();
    let mut command = command.clone();
    let mut blobs = Vec::new();
    if changes.contains(&Change::Environment) {
        let own = command.environment_variables.drain(..);
        let mut all: BTreeMap<String, String> = own.map(|own| (own.name, own.value)).collect();
        for (name, value) in ENVIRONMENT {
            let entry = all.entry((*name).to_owned());
            entry.or_insert_with(|| (*value).to_owned());
        }
        // Sorted by name, as the API asks.
        let all = all.into_iter();
        let all = all.map(|(name, value)| EnvironmentVariable { name, value });
        command.environment_variables = all.collect();
    }
    if changes.contains(&Change::Place) {
        command.working_directory = match command.working_directory.as_str() {
            "" => AROUND.to_owned(),
            own => format!("{AROUND}/{own}"),
        };
        let around = Directory {
            directories: vec![DirectoryNode {
                name: AROUND.to_owned(),
                digest: action.input_root_digest.clone(),
            }],
            ..Directory::default()
        };
        action.input_root_digest = Some(add(&mut blobs, &around));
    }
    if !changes.is_empty() {
        action.command_digest = Some(add(&mut blobs, &command));
    }
    action.do_not_cache = true;
    action.salt = salt.as_bytes().to_vec();
    let action = add(&mut blobs, &action);
    Variant { action, blobs }
}

fn add(blobs: &mut Vec<(Digest, Vec<u8>)>, message: &impl Message) -> Digest {
    let bytes = message.encode_to_vec();
    let digest: Digest = (&of(&bytes)).into();
    blobs.push((digest.clone(), bytes));
    digest
}

/// The digest of a blob.
pub(super) fn of(bytes: &[u8]) -> Blob {
    Blob {
        hash: digest::Digest::of(bytes).to_string(),
        size: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
    }
}

impl From<&Blob> for Digest {
    fn from(own: &Blob) -> Self {
        Self {
            hash: own.hash.clone(),
            size_bytes: own.size,
        }
    }
}

impl From<&Digest> for Blob {
    fn from(own: &Digest) -> Self {
        Self {
            hash: own.hash.clone(),
            size: own.size_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> (Action, Command) {
        let command = Command {
            arguments: vec!["rustc".to_owned()],
            environment_variables: vec![EnvironmentVariable {
                name: "TZ".to_owned(),
                value: "UTC".to_owned(),
            }],
            ..Command::default()
        };
        let action = Action {
            command_digest: Some((&of(&command.encode_to_vec())).into()),
            input_root_digest: Some((&of(b"root")).into()),
            ..Action::default()
        };
        (action, command)
    }

    fn decoded<T: Message + Default>(variant: &Variant, digest: Option<&Digest>) -> T {
        let blob = variant.blobs.iter().find(|(own, _)| Some(own) == digest);
        T::decode(blob.unwrap().1.as_slice()).unwrap()
    }

    #[test]
    fn a_repeat_changes_nothing_but_what_keeps_it_out_of_the_cache() {
        let (action, command) = parts();
        let made = variant(&action, &command, &[], "salt");
        assert_eq!(made.blobs.len(), 1);
        let mut again: Action = decoded(&made, Some(&made.action));
        assert!(again.do_not_cache && again.salt == b"salt");
        again.do_not_cache = false;
        again.salt = Vec::new();
        assert_eq!(again, action);
    }

    #[test]
    fn what_the_action_sets_is_kept_and_the_root_lies_deeper() {
        let (action, command) = parts();
        let made = variant(
            &action,
            &command,
            &[Change::Environment, Change::Place],
            "s",
        );
        let changed: Action = decoded(&made, Some(&made.action));
        let command: Command = decoded(&made, changed.command_digest.as_ref());
        let value = |name: &str| {
            let own = command.environment_variables.iter();
            own.clone()
                .find(|own| own.name == name)
                .map(|own| own.value.clone())
        };
        assert_eq!(value("TZ").as_deref(), Some("UTC"));
        assert_eq!(value("USER").as_deref(), Some("svhcheck"));
        assert!(
            command
                .environment_variables
                .is_sorted_by_key(|own| &own.name)
        );
        assert_eq!(command.working_directory, AROUND);
        let around: Directory = decoded(&made, changed.input_root_digest.as_ref());
        assert_eq!(around.directories[0].digest, action.input_root_digest);
    }
}
