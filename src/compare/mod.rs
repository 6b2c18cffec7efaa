//! Compares what two compiles of one crate made.
//!
//! [`roots`] tells which facts of two crates differ. [`artifacts`] compares two files down to the
//! byte, in layers: `metadata`, `archive`, `object`, each by `bytes` and `text`, with a guess of the
//! `cause`; `items` names the definitions. [`graph`] tells whether many artifacts fit together.

pub mod archive;
pub mod artifacts;
pub mod bytes;
pub mod cause;
pub mod graph;
pub mod items;
pub mod metadata;
mod moved;
pub mod object;
pub mod text;

use crate::artifact::metadata::CrateRoot;

/// One thing that is unequal, under a dotted key: `rmeta.root.svh`, `rmeta.deps.serde.svh`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// What differs.
    pub key: String,
    /// On the first side; empty where it is absent.
    pub left: String,
    /// On the second side.
    pub right: String,
}

/// Every difference between two crate roots, in the order of their fields.
pub fn roots(left: &CrateRoot, right: &CrateRoot) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut field = |key: &str, left: String, right: String| {
        if left != right {
            found.push(Difference {
                key: key.to_owned(),
                left,
                right,
            });
        }
    };
    let id = |root: &CrateRoot| {
        root.stable_crate_id
            .map(|id| id.to_string())
            .unwrap_or_default()
    };
    field("rmeta.rustc", left.rustc.clone(), right.rustc.clone());
    field(
        "rmeta.root.svh",
        left.svh.to_string(),
        right.svh.to_string(),
    );
    field("rmeta.root.stable-crate-id", id(left), id(right));
    field(
        "rmeta.root.triple",
        left.triple.clone(),
        right.triple.clone(),
    );
    // A crate may be loaded twice in two versions; its file name tells them apart.
    let dep =
        |dep: &crate::artifact::metadata::CrateDep| format!("{}{}", dep.name, dep.extra_filename);
    for one in &left.deps {
        let other = right.deps.iter().find(|other| dep(other) == dep(one));
        let other = other.map(|other| other.svh.to_string()).unwrap_or_default();
        field(
            &format!("rmeta.deps.{}.svh", one.name),
            one.svh.to_string(),
            other,
        );
    }
    for one in &right.deps {
        if !left.deps.iter().any(|other| dep(other) == dep(one)) {
            field(
                &format!("rmeta.deps.{}.svh", one.name),
                String::new(),
                one.svh.to_string(),
            );
        }
    }
    found
}
