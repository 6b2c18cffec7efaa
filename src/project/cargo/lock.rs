//! `Cargo.lock`, as far as two of them are compared.
//!
//! Form: "Cargo.toml vs Cargo.lock" in The Cargo Book, and `src/cargo/core/resolver/encode.rs`: a
//! dependency is `name`, `name version` or `name version (source)`, as short as is unique.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// A package's name and version.
pub type Key = (String, String);

/// The packages that a lock file names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock(BTreeMap<Key, BTreeSet<Locked>>);

/// What it says of a package; two of one name and version differ in their sources.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Locked {
    source: Option<String>,
    checksum: Option<String>,
    dependencies: BTreeSet<Key>,
}

/// How two lock files differ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LockChanges {
    /// Packages that are in one of the two alone, have another source or checksum, or get others
    /// of their dependencies.
    pub replaced: BTreeSet<Key>,
    /// Packages that may be asked for other features, for one of those that ask came, went or
    /// changed.
    pub asked: BTreeSet<Key>,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    package: Vec<Package>,
    /// Checksums, in lock files of version 1.
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
    #[serde(default)]
    dependencies: Vec<String>,
}

impl Lock {
    /// Reads a lock file; nothing, if it is none.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let file: File = toml::from_str(std::str::from_utf8(text).ok()?).ok()?;
        let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for own in &file.package {
            versions.entry(&own.name).or_default().insert(&own.version);
        }
        let keys = |text: &str| -> Vec<Key> {
            let mut words = text.split(' ');
            let name = words.next().unwrap_or_default();
            let known = versions.get(name).into_iter().flatten().copied();
            let named = words.next();
            let meant = known.filter(|own| named.is_none_or(|named| named == *own));
            meant.map(|own| (name.to_owned(), own.to_owned())).collect()
        };
        let mut found = Self::default();
        for own in &file.package {
            let Package { name, version, .. } = own;
            let source = own.source.clone();
            let old = format!(
                "checksum {name} {version} ({})",
                source.as_deref().unwrap_or_default()
            );
            let checksum = own.checksum.as_ref().or_else(|| file.metadata.get(&old));
            let locked = Locked {
                checksum: checksum.cloned(),
                dependencies: own.dependencies.iter().flat_map(|own| keys(own)).collect(),
                source,
            };
            let key = (name.clone(), version.clone());
            found.0.entry(key).or_default().insert(locked);
        }
        Some(found)
    }

    /// How this lock file, the newer one, differs from another.
    pub fn changes(&self, older: &Self) -> LockChanges {
        let mut found = LockChanges::default();
        let mut asked: BTreeSet<Key> = BTreeSet::new();
        let keys: BTreeSet<&Key> = self.0.keys().chain(older.0.keys()).collect();
        for key in keys {
            let origin = |own: &Self| -> Option<BTreeSet<_>> {
                let parts = own.0.get(key)?.iter();
                Some(
                    parts
                        .map(|own| (own.source.clone(), own.checksum.clone()))
                        .collect(),
                )
            };
            let needs = |own: &Self| -> BTreeSet<Key> {
                let parts = own.0.get(key).into_iter().flatten();
                parts.flat_map(|own| own.dependencies.clone()).collect()
            };
            if origin(self) != origin(older) {
                found.replaced.insert(key.clone());
                asked.insert(key.clone());
            }
            let (now, then) = (needs(self), needs(older));
            if now != then {
                found.replaced.insert(key.clone());
                asked.extend(now.symmetric_difference(&then).cloned());
            }
        }
        found.asked = self.below(&asked);
        found.asked.extend(older.below(&asked));
        found.asked.extend(asked);
        found
    }

    /// Whether a package comes from a registry or git, so that the lock file says what is in it.
    pub fn pins(&self, key: &Key) -> bool {
        let locked = self.0.get(key);
        locked.is_some_and(|own| own.iter().all(|own| own.source.is_some()))
    }

    /// Everything that these packages depend on, directly or through others.
    pub fn below(&self, keys: &BTreeSet<Key>) -> BTreeSet<Key> {
        let mut found = BTreeSet::new();
        let mut open: Vec<&Key> = keys.iter().collect();
        while let Some(key) = open.pop() {
            for own in self.0.get(key).into_iter().flatten() {
                for dependency in &own.dependencies {
                    if found.insert(dependency.clone()) {
                        open.push(dependency);
                    }
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        let (name, version) = text.split_once('@').unwrap();
        (name.to_owned(), version.to_owned())
    }

    const REGISTRY: &str = "source = \"registry+https://example.com/index\"\n";

    fn lock(packages: &[(&str, &str)]) -> Lock {
        let mut text = "version = 4\n".to_owned();
        for (own, rest) in packages {
            let (name, version) = key(own);
            let package = format!("name = \"{name}\"\nversion = \"{version}\"\n{rest}\n");
            text = text + "[[package]]\n" + &package;
        }
        Lock::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_changed_version_source_or_checksum_is_seen() {
        let sum = |sum: &str| format!("{REGISTRY}checksum = \"{sum}\"");
        let old = lock(&[
            ("own@0.1.0", "dependencies = [\"a\", \"b\", \"c\"]"),
            ("a@1.0.0", &(sum("1") + "\ndependencies = [\"d\"]")),
            ("b@1.0.0", &sum("2")),
            ("c@1.0.0", &sum("3")),
            ("d@1.0.0", REGISTRY),
        ]);
        let new = lock(&[
            ("own@0.1.0", "dependencies = [\"a\", \"b\", \"c\"]"),
            ("a@1.0.1", &sum("1")),
            ("b@1.0.0", &sum("9")),
            ("c@1.0.0", &sum("3")),
            ("d@1.0.0", REGISTRY),
        ]);
        let changes = new.changes(&old);
        let replaced = ["a@1.0.0", "a@1.0.1", "b@1.0.0", "own@0.1.0"];
        assert_eq!(changes.replaced, replaced.map(key).into());
        // The package that needs `a` asks for the same features of all others as before.
        let asked = ["a@1.0.0", "a@1.0.1", "b@1.0.0", "d@1.0.0"];
        assert_eq!(changes.asked, asked.map(key).into());
        assert!(new.pins(&key("c@1.0.0")) && !new.pins(&key("own@0.1.0")));
        assert!(!new.pins(&key("other@1.0.0")));
    }

    /// A second version of a package makes cargo write `name version` where `name` stood.
    #[test]
    fn a_longer_spelling_is_no_change() {
        let old = lock(&[
            ("own@0.1.0", "dependencies = [\"a\"]"),
            ("a@1.0.0", REGISTRY),
        ]);
        let new = lock(&[
            ("own@0.1.0", "dependencies = [\"a 1.0.0\"]"),
            ("a@1.0.0", REGISTRY),
            ("a@2.0.0", REGISTRY),
        ]);
        assert_eq!(new.changes(&old).replaced, [key("a@2.0.0")].into());
    }

    #[test]
    fn what_lies_below_is_found_and_circles_end() {
        let own = lock(&[
            ("a@1.0.0", "dependencies = [\"b\"]"),
            ("b@1.0.0", "dependencies = [\"c\", \"a\"]"),
            ("c@1.0.0", ""),
        ]);
        let below = own.below(&[key("b@1.0.0")].into());
        assert_eq!(below, ["a@1.0.0", "b@1.0.0", "c@1.0.0"].map(key).into());
        assert_eq!(Lock::parse(b"version = {"), None);
    }
}
