//! Reads, out of what rustc or Cargo printed, the errors about crates that do not fit together.
//!
//! Their words are those of rustc's `compiler/rustc_metadata/messages.ftl`
//! (`metadata_newer_crate_version`, `metadata_cannot_find_crate`, `metadata_found_crate_versions`).

use std::path::PathBuf;

use serde_json::Value;

/// The errors that are read.
pub const CODES: [&str; 2] = ["E0460", "E0463"];

/// One error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its code.
    pub code: String,
    /// The crate that does not fit.
    pub krate: String,
    /// The crate that depends on it, where rustc names one.
    pub user: Option<String>,
    /// Crates with the files that rustc found.
    pub files: Vec<(String, PathBuf)>,
}

/// The errors in a log: text, `--error-format=json`, Cargo's `--message-format=json`, or a mixture.
pub fn read(log: &str) -> Vec<Message> {
    let mut found: Vec<Message> = Vec::new();
    // Whether the present lines belong to the last error.
    let mut inside = false;
    for line in log.lines() {
        let text = match serde_json::from_str::<Value>(line) {
            Ok(value) => of_json(&value),
            Err(_) => without_escapes(line),
        };
        for line in text.lines() {
            if let Some(message) = head(line) {
                found.push(message);
                inside = true;
            } else if line.starts_with("error") || line.starts_with("warning") {
                inside = false;
            } else if let (true, Some(last)) = (inside, found.last_mut()) {
                last.files.extend(file(line));
            }
        }
    }
    found.dedup();
    found
}

/// A JSON message as the text that a person would see.
fn of_json(value: &Value) -> String {
    // Cargo wraps rustc's.
    let message = if value["message"].is_object() {
        &value["message"]
    } else {
        value
    };
    let text = |value: &Value| value["message"].as_str().unwrap_or_default().to_owned();
    let level = message["level"].as_str().unwrap_or("note");
    let code = message["code"]["code"].as_str();
    let code = code.map(|code| format!("[{code}]")).unwrap_or_default();
    let mut lines = vec![format!("{level}{code}: {}", text(message))];
    lines.extend(
        message["children"]
            .as_array()
            .into_iter()
            .flatten()
            .map(text),
    );
    lines.join("\n")
}

/// A line without colours.
fn without_escapes(line: &str) -> String {
    anstream::adapter::strip_str(line).to_string()
}

/// ``error[E0460]: found possibly newer version of crate `leaf` which `mid` depends on``
fn head(line: &str) -> Option<Message> {
    let rest = line.trim_start().strip_prefix("error[")?;
    let (code, said) = rest.split_once("]: ")?;
    if !CODES.contains(&code) {
        return None;
    }
    let mut names = said.split('`').skip(1).step_by(2);
    Some(Message {
        code: code.to_owned(),
        krate: names.next()?.to_owned(),
        user: names.next().map(str::to_owned),
        files: Vec::new(),
    })
}

/// ``crate `leaf`: /path/libleaf.rlib``
fn file(line: &str) -> Option<(String, PathBuf)> {
    let line = line.trim_start_matches([' ', '|', '=']);
    let line = line.strip_prefix("note: ").unwrap_or(line);
    let rest = line.strip_prefix("crate `")?;
    let (name, path) = rest.split_once("`: ")?;
    Some((name.to_owned(), PathBuf::from(path.trim_end())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected() -> Vec<Message> {
        let file = |name: &str| {
            (
                name.to_owned(),
                PathBuf::from(format!("/a b/lib{name}.rlib")),
            )
        };
        vec![Message {
            code: "E0460".to_owned(),
            krate: "leaf".to_owned(),
            user: Some("mid".to_owned()),
            files: vec![file("leaf"), file("mid")],
        }]
    }

    #[test]
    fn text_with_colours_is_read() {
        let log = "   Compiling top v0.1.0
\u{1b}[1m\u{1b}[91merror[E0460]\u{1b}[0m\u{1b}[1m: found possibly newer version of crate `leaf` which `mid` depends on\u{1b}[0m
 --> src/lib.rs:1:5
  |
1 | use mid::f;
  |     ^^^
  |
  = note: perhaps that crate needs to be recompiled?
  = note: the following crate versions were found:
          crate `leaf`: /a b/libleaf.rlib
          crate `mid`: /a b/libmid.rlib

error: aborting due to 1 previous error
          crate `other`: /c";
        assert_eq!(read(log), expected());
    }

    #[test]
    fn messages_of_rustc_and_of_cargo_are_read() {
        let own = r#"{"$message_type":"diagnostic","message":"found possibly newer version of crate `leaf` which `mid` depends on","code":{"code":"E0460","explanation":null},"level":"error","spans":[],"children":[{"message":"perhaps that crate needs to be recompiled?","level":"note"},{"message":"the following crate versions were found:\ncrate `leaf`: /a b/libleaf.rlib\ncrate `mid`: /a b/libmid.rlib","level":"note"}],"rendered":"x"}"#;
        assert_eq!(read(own), expected());
        let cargo = format!("{{\"reason\":\"compiler-message\",\"message\":{own}}}");
        assert_eq!(read(&cargo), expected());
    }

    #[test]
    fn other_errors_and_nonsense_are_passed_over() {
        assert!(
            read("error[E0308]: mismatched types\nerror[E0460]: \n{\"message\":1}\n[]").is_empty()
        );
    }
}
