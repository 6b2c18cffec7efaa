//! What Bazel said while it built: `--build_event_json_file`, one event a line.
//!
//! Names as in `src/main/java/com/google/devtools/build/lib/buildeventstream/proto/` of Bazel's
//! source, in protobuf's JSON form.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use fs_err::File;
use serde::Deserialize;

/// What is told of a build.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// Targets that the patterns stand for.
    pub(super) targets: BTreeSet<String>,
    /// Main outputs of the actions that failed, relative to the execution root.
    pub(super) failed: BTreeSet<PathBuf>,
    /// The same actions, as (label, mnemonic).
    pub(super) failures: BTreeSet<(String, String)>,
    /// Files of the output groups that were asked for, relative to the execution root.
    pub(super) files: BTreeSet<PathBuf>,
    /// Patterns that stand for nothing, with Bazel's reason.
    pub(super) unmatched: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    id: Id,
    #[serde(default)]
    children: Vec<Id>,
    action: Option<Action>,
    named_set_of_files: Option<Files>,
    aborted: Option<Aborted>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Id {
    pattern: Option<Patterns>,
    pattern_skipped: Option<Patterns>,
    target_configured: Option<Target>,
    action_completed: Option<Completed>,
}

#[derive(Deserialize)]
struct Patterns {
    #[serde(default)]
    pattern: Vec<String>,
}

#[derive(Deserialize)]
struct Target {
    #[serde(default)]
    label: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Completed {
    #[serde(default)]
    primary_output: String,
    #[serde(default)]
    label: String,
}

#[derive(Deserialize)]
struct Files {
    #[serde(default)]
    files: Vec<Named>,
}

/// Its address is left out: where a file lies is told by these.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    #[serde(default)]
    path_prefix: Vec<String>,
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Action {
    #[serde(default)]
    success: bool,
    #[serde(default, rename = "type")]
    mnemonic: String,
}

#[derive(Deserialize)]
struct Aborted {
    #[serde(default)]
    description: String,
}

impl Events {
    /// Reads the file; lines of another form are passed over, as later Bazels may add some.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let mut found = Self::default();
        for line in BufReader::new(File::open(path)?).lines() {
            if let Ok(event) = serde_json::from_str::<Event>(&line?) {
                found.take(event);
            }
        }
        Ok(found)
    }

    fn take(&mut self, event: Event) {
        if event.id.pattern.is_some() {
            let configured = event.children.iter();
            self.targets.extend(
                configured
                    .filter_map(|child| Some(child.target_configured.as_ref()?.label.clone())),
            );
        }
        if let (Some(id), Some(aborted)) = (
            event.id.pattern_skipped.or(event.id.pattern),
            &event.aborted,
        ) {
            // Bazel lists below it where it has looked.
            let line = aborted.description.lines().next().unwrap_or_default();
            let why = |pattern| (pattern, line.to_owned());
            self.unmatched.extend(id.pattern.into_iter().map(why));
        }
        if let (Some(id), Some(action)) = (event.id.action_completed, event.action)
            && !action.success
        {
            self.failed.insert(id.primary_output.into());
            self.failures.insert((id.label, action.mnemonic));
        }
        let files = event.named_set_of_files.into_iter();
        self.files
            .extend(files.flat_map(|own| own.files).map(|own| {
                let prefix: PathBuf = own.path_prefix.iter().collect();
                prefix.join(own.name)
            }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_failures_and_empty_patterns_are_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let lines = [
            r#"{"id":{"started":{"uuid":"1"}},"children":[{"progress":{}}],"started":{}}"#,
            r#"{"id":{"pattern":{"pattern":["//..."]}},"children":[{"targetConfigured":{"label":"//a:a"}},{"targetConfigured":{"label":"//b:b"}}],"expanded":{}}"#,
            r#"{"id":{"pattern":{"pattern":["//no:no"]}},"aborted":{"reason":"LOADING_FAILURE","description":"no such package\n - /w/no"}}"#,
            r#"{"id":{"actionCompleted":{"primaryOutput":"bazel-out/a","label":"//a:a"}},"action":{"exitCode":1,"type":"Rustc"}}"#,
            r#"{"id":{"actionCompleted":{"primaryOutput":"bazel-out/b","label":"//b:b"}},"action":{"success":true}}"#,
            r#"{"id":{"namedSet":{"id":"0"}},"namedSetOfFiles":{"files":[{"name":"a/a.json","uri":"bytestream://x/blobs/1/2","pathPrefix":["bazel-out","k8","bin"]}]}}"#,
            "not json",
        ];
        std::fs::write(file.path(), lines.join("\n")).unwrap();
        let found = Events::read(file.path()).unwrap();
        assert_eq!(found.targets, ["//a:a", "//b:b"].map(str::to_owned).into());
        assert_eq!(found.failed, [PathBuf::from("bazel-out/a")].into());
        let failure = ("//a:a".to_owned(), "Rustc".to_owned());
        assert_eq!(found.failures, [failure].into());
        assert_eq!(found.files, ["bazel-out/k8/bin/a/a.json".into()].into());
        let unmatched = ("//no:no".to_owned(), "no such package".to_owned());
        assert_eq!(found.unmatched, [unmatched]);
    }
}
