//! What a build script tells Cargo on its standard output.

use std::path::{Path, PathBuf};

/// The directives, in the order in which they were printed, without `cargo:` or `cargo::`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directives(Vec<String>);

impl Directives {
    /// Picks them out of a script's standard output.
    pub fn parse(stdout: &[u8]) -> Self {
        let text = String::from_utf8_lossy(stdout);
        let directive = |line: &str| {
            let rest = line.strip_prefix("cargo:")?;
            let rest = rest.strip_prefix(':').unwrap_or(rest);
            Some(rest.trim_end().to_owned())
        };
        Self(text.lines().filter_map(directive).collect())
    }

    /// All of them.
    pub fn lines(&self) -> &[String] {
        &self.0
    }

    /// The values of one key.
    pub fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        let value = move |line: &'a String| line.strip_prefix(key)?.strip_prefix('=');
        self.0.iter().filter_map(value)
    }

    /// Variables that the crate's compile gets.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values("rustc-env")
            .filter_map(|pair| pair.split_once('='))
    }

    /// Files and folders that Cargo watches: those named, or the whole package if nothing is.
    pub fn watched(&self, package: &Path) -> Vec<PathBuf> {
        let named = self.values("rerun-if-changed");
        let mut found: Vec<PathBuf> = named.map(|path| package.join(path)).collect();
        if found.is_empty() && self.values("rerun-if-env-changed").next().is_none() {
            found.push(package.to_path_buf());
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_read_and_chatter_is_not() {
        let text = b"hello\ncargo:rustc-cfg=a\ncargo::rustc-env=A=b=c\n";
        let found = Directives::parse(text);
        assert_eq!(found.lines(), ["rustc-cfg=a", "rustc-env=A=b=c"]);
        assert_eq!(found.variables().collect::<Vec<_>>(), [("A", "b=c")]);
        assert_eq!(found.watched(Path::new("/p")), [Path::new("/p")]);
    }

    #[test]
    fn one_directive_ends_the_watch_over_the_package() {
        let found = Directives::parse(b"cargo::rerun-if-env-changed=A\n");
        assert!(found.watched(Path::new("/p")).is_empty());
        let found = Directives::parse(b"cargo:rerun-if-changed=x\n");
        assert_eq!(found.watched(Path::new("/p")), [Path::new("/p/x")]);
    }
}
