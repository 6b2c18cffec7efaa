//! The form of `svhcheck.toml` as serde reads it, and its JSON schema.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;
use toml::value::Datetime;

use crate::lint::{self, Level};
use crate::plan::strategy;
use crate::plan::variation;
use crate::sandbox::Mechanism;

/// Levels by lint or group.
pub(super) type Scope = BTreeMap<Spanned<String>, Level>;

/// The configuration of svhcheck.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(title = "svhcheck.toml")]
pub(super) struct Form {
    /// Ways to make a crate, judged one by one.
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) strategies: Option<Vec<Spanned<String>>>,
    /// What to change about the world between two compiles; `default` stands for the usual ones.
    #[schemars(with = "Option<Vec<String>>")]
    pub(super) vary: Option<Vec<Spanned<String>>>,
    /// Compiles of each replayed side.
    #[schemars(with = "Option<u16>", range(min = 1))]
    pub(super) runs: Option<Spanned<u16>>,
    /// What confines replays.
    pub(super) sandbox: Option<Sandbox>,
    /// The baseline, relative to this file.
    #[schemars(with = "Option<String>")]
    pub(super) baseline: Option<PathBuf>,
    /// A list of further crates that are known to be at fault, relative to this file; in the form of
    /// svhcheck's own lints/known-offenders.toml.
    #[schemars(with = "Option<String>")]
    pub(super) known_offenders: Option<PathBuf>,
    /// Levels by lint or group; a lint's own entry wins.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Level>")]
    pub(super) levels: Scope,
    /// Levels for some crates.
    #[serde(default, rename = "crate")]
    pub(super) krate: Vec<Crate>,
    /// Faults that are known and allowed.
    #[serde(default)]
    pub(super) allow: Vec<Allow>,
    /// Files that count as declared.
    #[serde(default)]
    pub(super) inputs: Vec<Inputs>,
}

/// What confines replays.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Sandbox {
    /// The strongest that this machine allows.
    Auto,
    /// User and mount namespaces.
    Namespaces,
    /// Landlock.
    Landlock,
    /// Nothing.
    None,
}

impl Sandbox {
    /// The mechanism; `None` for the strongest.
    pub(super) fn mechanism(self) -> Option<Mechanism> {
        match self {
            Self::Auto => None,
            Self::Namespaces => Some(Mechanism::Namespaces),
            Self::Landlock => Some(Mechanism::Landlock),
            Self::None => Some(Mechanism::None),
        }
    }
}

/// Levels for some crates.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Crate {
    /// A pattern for crates: `//third_party/*`, `serde_derive`, `ahash@0.8.*`.
    #[serde(rename = "match")]
    #[schemars(with = "String")]
    pub(super) pattern: Spanned<String>,
    /// Levels by lint or group.
    #[schemars(with = "BTreeMap<String, Level>")]
    pub(super) levels: Scope,
}

/// A fault that is known and allowed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Allow {
    /// The lint.
    #[schemars(with = "String")]
    pub(super) lint: Spanned<String>,
    /// A pattern for crates.
    #[serde(rename = "crate")]
    #[schemars(with = "String")]
    pub(super) krate: Spanned<String>,
    /// Why it is allowed.
    #[schemars(with = "String")]
    pub(super) reason: Spanned<String>,
    /// The last day on which it is.
    #[schemars(with = "Option<String>", extend("format" = "date"))]
    pub(super) expires: Option<Spanned<Datetime>>,
}

/// Files that count as declared.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Inputs {
    /// A pattern for crates; all, if it is left out.
    #[serde(rename = "crate")]
    #[schemars(with = "Option<String>")]
    pub(super) krate: Option<Spanned<String>>,
    /// Patterns for files, relative to this file; `**` stands for any folders.
    #[schemars(with = "Vec<String>")]
    pub(super) files: Vec<Spanned<String>>,
}

/// The JSON schema of the file.
pub fn schema() -> serde_json::Value {
    let schema = schemars::schema_for!(Form);
    let mut schema = serde_json::Value::from(schema);
    // Names that are tables elsewhere.
    let strategies: Vec<&str> = strategy::TABLE.iter().map(|row| row.name).collect();
    let vary = variation::TABLE.iter().map(|row| row.1);
    let vary: Vec<&str> = ["default", "none"].into_iter().chain(vary).collect();
    let pages = lint::registry();
    let lints: Vec<&str> = pages.iter().map(|page| page.id.as_str()).collect();
    let mut names: Vec<&str> = pages
        .iter()
        .flat_map(|page| [page.id.as_str(), page.group.as_str()])
        .collect();
    names.sort_unstable();
    names.dedup();
    let mut set = |pointer: &str, key: &str, values: serde_json::Value| {
        let place = schema
            .pointer_mut(pointer)
            .and_then(serde_json::Value::as_object_mut);
        place
            .expect("the schema has this place, as a test sees")
            .insert(key.to_owned(), values);
    };
    let names = serde_json::json!({ "enum": names });
    set("/properties/strategies/items", "enum", strategies.into());
    set("/properties/vary/items", "enum", vary.into());
    set("/properties/levels", "propertyNames", names.clone());
    set("/$defs/Crate/properties/levels", "propertyNames", names);
    set("/$defs/Allow/properties/lint", "enum", lints.into());
    schema
}
