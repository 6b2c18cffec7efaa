//! rustc's dep-info (`.d`) files: the files and environment variables that a compile declared.
//!
//! Format: Makefile rules with `\ ` for a space in a path, then `# env-dep:NAME=VALUE` lines
//! (`compiler/rustc_interface/src/passes.rs`, `write_out_deps`). Variables that a macro reads
//! through `std::env::var` are not in it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// What a dep-info file declares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DepInfo {
    /// Files that were read: source files, `include!`d files, tracked paths.
    pub files: BTreeSet<PathBuf>,
    /// Variables read by `env!`, `option_env!` and tracked APIs; `None` where it was unset.
    pub env: BTreeMap<String, Option<String>>,
}

impl DepInfo {
    /// Reads the text of a `.d` file. Lines that are neither a rule nor an `env-dep` are ignored,
    /// as make ignores comments.
    pub fn parse(text: &[u8]) -> Self {
        let mut found = Self::default();
        for line in text.split(|byte| *byte == b'\n') {
            if let Some(dep) = line.strip_prefix(b"# env-dep:") {
                let text = String::from_utf8_lossy(dep);
                let (name, value) = match text.split_once('=') {
                    Some((name, value)) => (name, Some(unescape_env(value))),
                    None => (&*text, None),
                };
                found.env.insert(unescape_env(name), value);
            } else if !line.starts_with(b"#")
                && let Some(colon) = rule_colon(line)
            {
                found.files.extend(paths(&line[colon + 1..]));
            }
        }
        found
    }
}

/// The colon that ends a rule's target: the first one before a space or the end of the line.
fn rule_colon(line: &[u8]) -> Option<usize> {
    (0..line.len())
        .find(|at| line[*at] == b':' && line.get(at + 1).is_none_or(|next| *next == b' '))
}

/// Splits at spaces that no backslash stands before.
fn paths(list: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut word = Vec::new();
    let mut bytes = list.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if bytes.peek() == Some(&b' ') => word.extend(bytes.next()),
            b' ' => found.push(std::mem::take(&mut word)),
            _ => word.push(byte),
        }
    }
    found.push(word);
    found.retain(|word| !word.is_empty());
    found
        .into_iter()
        .map(|word| PathBuf::from(OsString::from_vec(word)))
        .collect()
}

/// Undoes `escape_dep_env`: `\\`, `\n`, `\r`.
fn unescape_env(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        plain.push(match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some(other) => other,
                None => '\\',
            },
            (c, false) => c,
        });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_variables_are_read() {
        let text = b"/t/libx.rlib: src/lib.rs /with\\ space/gen.rs\n\nsrc/lib.rs:\n\n\
                     # env-dep:OUT_DIR=/t/out\n# env-dep:UNSET\n# env-dep:MULTI=a\\nb\\\\c\n";
        let found = DepInfo::parse(text);
        let files: Vec<_> = found
            .files
            .iter()
            .map(|file| file.to_str().unwrap())
            .collect();
        assert_eq!(files, ["/with space/gen.rs", "src/lib.rs"]);
        assert_eq!(found.env["OUT_DIR"].as_deref(), Some("/t/out"));
        assert_eq!(found.env["UNSET"], None);
        assert_eq!(found.env["MULTI"].as_deref(), Some("a\nb\\c"));
    }
}
