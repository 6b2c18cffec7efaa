//! Paths, arguments and variables: in JSON without loss, a string where they are UTF-8 (nearly
//! always), a list of bytes where not (for use with `#[serde(with = …)]`); paths without detours;
//! and words of a shell.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

/// `text` as one word of `sh`.
pub fn word(text: &[u8]) -> OsString {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_./=,:+@%".contains(byte);
    if !text.is_empty() && text.iter().all(plain) {
        return OsString::from_vec(text.to_vec());
    }
    let mut quoted = vec![b'\''];
    for &byte in text {
        match byte {
            b'\'' => quoted.extend(b"'\\''"),
            byte => quoted.push(byte),
        }
    }
    quoted.push(b'\'');
    OsString::from_vec(quoted)
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Text {
    Utf8(String),
    Bytes(Vec<u8>),
}

impl From<&OsString> for Text {
    fn from(value: &OsString) -> Self {
        match value.to_str() {
            Some(text) => Text::Utf8(text.to_owned()),
            None => Text::Bytes(value.as_bytes().to_vec()),
        }
    }
}

impl From<Text> for OsString {
    fn from(value: Text) -> Self {
        match value {
            Text::Utf8(text) => text.into(),
            Text::Bytes(bytes) => OsString::from_vec(bytes),
        }
    }
}

/// A list of arguments.
pub mod list {
    use std::ffi::OsString;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Text;

    /// Writes the list.
    pub fn serialize<S: Serializer>(value: &[OsString], to: S) -> Result<S::Ok, S::Error> {
        value
            .iter()
            .map(Text::from)
            .collect::<Vec<_>>()
            .serialize(to)
    }

    /// Reads the list.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<OsString>, D::Error> {
        let list = Vec::<Text>::deserialize(from)?;
        Ok(list.into_iter().map(OsString::from).collect())
    }
}

/// Variables by name, as a list of pairs (a JSON key must be UTF-8, a variable need not be).
pub mod vars {
    use std::collections::BTreeMap;
    use std::ffi::OsString;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Text;

    /// Writes the pairs, sorted by name.
    pub fn serialize<S: Serializer>(
        value: &BTreeMap<OsString, OsString>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let pairs = value
            .iter()
            .map(|(name, value)| (Text::from(name), Text::from(value)));
        pairs.collect::<Vec<_>>().serialize(to)
    }

    /// Reads the pairs.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<OsString, OsString>, D::Error> {
        let pairs = Vec::<(Text, Text)>::deserialize(from)?;
        Ok(pairs
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect())
    }
}

/// A path without `.` and `..`, as far as the text tells.
pub fn normalized(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}

/// `text` with every `from` replaced by `to`.
pub fn replace_all(text: &OsStr, from: &OsStr, to: &OsStr) -> OsString {
    let (bytes, from) = (text.as_bytes(), from.as_bytes());
    if from.is_empty() {
        return text.to_owned();
    }
    let mut changed = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with(from) {
            changed.extend_from_slice(to.as_bytes());
            at += from.len();
        } else {
            changed.push(rest[0]);
            at += 1;
        }
    }
    OsString::from_vec(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_replaced_and_nothing_twice() {
        let change = |text: &str| replace_all(text.as_ref(), "aa".as_ref(), "aaa".as_ref());
        assert_eq!(change("aa-aaa-b"), "aaa-aaaa-b");
        assert_eq!(replace_all("x".as_ref(), "".as_ref(), "y".as_ref()), "x");
    }

    #[test]
    fn bytes_that_are_not_utf8_survive() {
        #[derive(Serialize, Deserialize)]
        struct Sample(#[serde(with = "list")] Vec<OsString>);
        let sample = Sample(vec!["plain".into(), OsString::from_vec(b"\xff/x".to_vec())]);
        let text = serde_json::to_string(&sample).unwrap();
        assert_eq!(text, r#"["plain",[255,47,120]]"#);
        assert_eq!(serde_json::from_str::<Sample>(&text).unwrap().0, sample.0);
    }

    #[test]
    fn words_of_sh_stay_one_word() {
        assert_eq!(word(b"/usr/lib"), "/usr/lib");
        assert_eq!(word(b"a b"), "'a b'");
        assert_eq!(word(b"it's"), "'it'\\''s'");
        assert_eq!(word(b""), "''");
    }
}
