//! Crates that are known to be at fault, with the version that fixed each.

use semver::Version;
use serde::Deserialize;

use super::Finding;

/// The list that ships with svhcheck.
const SHIPPED: &str = include_str!("../../lints/known-offenders.toml");

/// One known fault of a crate.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offender {
    /// The package to blame, as findings name it.
    pub package: String,
    /// What moves (`randomness`, `dir-order`, …); any, if it is left out.
    pub factor: Option<String>,
    /// The first version without the fault; none has been released, if it is left out.
    pub fixed: Option<Version>,
    /// The public thread or page that says so.
    pub source: String,
    /// More, in one sentence.
    pub note: Option<String>,
}

/// A list of them, as a file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(default)]
    offender: Vec<Offender>,
}

/// Reads a list.
pub fn parse(text: &str) -> Result<Vec<Offender>, toml::de::Error> {
    toml::from_str::<List>(text).map(|list| list.offender)
}

/// The list that ships with svhcheck.
pub fn shipped() -> Vec<Offender> {
    parse(SHIPPED).expect("a test reads the list")
}

/// Adds what is known of a finding's culprit to its help.
pub fn advise(offenders: &[Offender], finding: &mut Finding) {
    let culprit = finding.culprit.as_ref().and_then(|own| own.package.clone());
    let Some((name, version)) = culprit.as_deref().and_then(|own| own.split_once(' ')) else {
        return;
    };
    let version = Version::parse(version).ok();
    // A later entry is the user's own.
    let known = offenders
        .iter()
        .rev()
        .find(|own| own.package == name && (own.factor.is_none() || own.factor == finding.factor));
    let Some(known) = known else { return };
    let note = known
        .note
        .as_ref()
        .map_or_else(String::new, |note| format!("; {note}"));
    let source = &known.source;
    let said = match (&known.fixed, version) {
        (Some(fixed), Some(version)) if version < *fixed => {
            format!("fixed in `{name}` {fixed} ({source}){note}")
        }
        // Whatever this is, it is not what was fixed.
        (Some(_), _) => return,
        (None, _) => format!("known of `{name}` ({source}){note}"),
    };
    finding.help = format!("{said}; {}", finding.help);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::{Culprit, CulpritKind, Grade};

    fn help(list: &str, package: &str, factor: &str) -> String {
        let mut finding = Finding::new("svh-unstable", Grade::Confirmed, "//a:a");
        finding.culprit = Some(Culprit {
            package: Some(package.to_owned()),
            kind: CulpritKind::ProcMacro,
            function: None,
            location: None,
            source: None,
        });
        finding.factor = Some(factor.to_owned());
        finding.help = "sort".to_owned();
        advise(&parse(list).unwrap(), &mut finding);
        finding.help
    }

    #[test]
    fn versions_are_compared_as_versions() {
        let list = "[[offender]]\npackage = \"m\"\nfactor = \"randomness\"\nfixed = \"0.10.0\"\nsource = \"u\"";
        let fixed = "fixed in `m` 0.10.0 (u); sort";
        assert_eq!(help(list, "m 0.9.1", "randomness"), fixed);
        assert_eq!(help(list, "m 0.10.0-rc.1", "randomness"), fixed);
        assert_eq!(help(list, "m 0.10.0", "randomness"), "sort");
        assert_eq!(help(list, "m 1.0.0+build", "randomness"), "sort");
        assert_eq!(help(list, "m 0.9.1", "time"), "sort");
        assert_eq!(help(list, "n 0.9.1", "randomness"), "sort");
    }

    #[test]
    fn a_fault_without_a_fix_is_known_all_the_same() {
        let list = "[[offender]]\npackage = \"m\"\nsource = \"u\"\nnote = \"by design\"";
        assert_eq!(
            help(list, "m 9.0.0", "time"),
            "known of `m` (u); by design; sort"
        );
    }

    #[test]
    fn the_shipped_list_is_sorted_and_sourced() {
        let list = shipped();
        assert!(list.iter().all(|own| own.source.starts_with("https://")));
        let names: Vec<&str> = list.iter().map(|own| own.package.as_str()).collect();
        assert!(names.is_sorted(), "{names:?}");
    }
}
