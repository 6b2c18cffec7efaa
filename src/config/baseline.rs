//! The baseline: findings that a tree had when svhcheck came to it. Only what is new fails.
//!
//! One line a finding, sorted, with nothing in it that is another on another machine or day, so that
//! two branches merge as lines.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use fs_err as fs;
use serde::{Deserialize, Serialize};

use super::{ConfigError, Text};
use crate::lint::{Finding, Level};

/// The file's usual name.
pub const NAME: &str = "svhcheck-baseline.toml";

/// Version of the form.
const VERSION: u32 = 1;

/// One known finding. Versions of packages are left out: another version with the same fault is no
/// new fault.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// The crate: its label, or its package.
    #[serde(rename = "crate")]
    pub krate: String,
    /// The lint.
    pub lint: String,
    /// What moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<String>,
    /// The package to blame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub culprit: Option<String>,
    /// Variables, arguments or files that it is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

/// A list of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    version: u32,
    #[serde(default)]
    known: BTreeSet<Known>,
}

/// What became of a baseline.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How many findings it took away.
    pub known: usize,
    /// What it lists and is there no more.
    pub fixed: Vec<Known>,
}

impl Known {
    /// What is to be known of a finding.
    pub fn of(finding: &Finding) -> Self {
        let culprit = finding.culprit.as_ref();
        let culprit = culprit.and_then(|own| own.package.as_deref());
        let mut names: Vec<String> = finding
            .names
            .iter()
            // What lies elsewhere lies elsewhere again on the next machine.
            .filter(|name| !name.starts_with('/') || name.starts_with("//"))
            .map(|name| without_version(name))
            .collect();
        names.sort();
        names.dedup();
        Self {
            krate: without_version(&finding.krate),
            lint: finding.lint.clone(),
            factor: finding.factor.clone(),
            culprit: culprit.map(|own| without_version(own.split(' ').next().unwrap_or(own))),
            names,
        }
    }

    fn line(&self) -> String {
        let text = |text: &str| toml::Value::from(text).to_string();
        let mut line = format!(
            "{{ crate = {}, lint = {}",
            text(&self.krate),
            text(&self.lint)
        );
        for (key, value) in [("factor", &self.factor), ("culprit", &self.culprit)] {
            if let Some(value) = value {
                let _ = write!(line, ", {key} = {}", text(value));
            }
        }
        if !self.names.is_empty() {
            let names: Vec<String> = self.names.iter().map(|own| text(own)).collect();
            let _ = write!(line, ", names = [{}]", names.join(", "));
        }
        line.push_str(" }");
        line
    }
}

impl std::fmt::Display for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.lint, self.krate)?;
        let factor = self.factor.as_deref();
        let names = self.names.iter().map(String::as_str);
        let more: Vec<&str> = factor.into_iter().chain(names).collect();
        if more.is_empty() {
            return Ok(());
        }
        write!(f, " ({})", more.join(", "))
    }
}

/// `ahash@0.8.3#2` is `ahash`; labels of members have no version.
fn without_version(id: &str) -> String {
    let cut = if id.starts_with("//") { "#" } else { "@" };
    id.split(cut).next().unwrap_or(id).to_owned()
}

impl Baseline {
    /// The findings that are shown.
    pub fn of(findings: &[Finding]) -> Self {
        let shown = findings.iter().filter(|own| own.level > Level::Allow);
        Self {
            version: VERSION,
            known: shown.map(Known::of).collect(),
        }
    }

    /// Reads a baseline.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path)?;
        let text = Text { path, text: &text };
        let own: Self = toml::from_str(text.text).map_err(|error| text.told(&error))?;
        if own.version != VERSION {
            let what = format!(
                "a baseline of version {}, and this svhcheck reads version {VERSION}; write it anew with `svhcheck baseline write`",
                own.version
            );
            return Err(text.wrong(0, what));
        }
        Ok(own)
    }

    /// The file's text.
    pub fn render(&self) -> String {
        let mut text = format!(
            "# Findings that were there before: `svhcheck baseline write` writes them, `--baseline` lets them\n# pass. Fixed ones go when it is written again.\nversion = {VERSION}\nknown = [\n"
        );
        for known in &self.known {
            text.push_str("  ");
            text.push_str(&known.line());
            text.push_str(",\n");
        }
        text.push_str("]\n");
        text
    }

    /// How many findings it lists.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether it lists nothing.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Keeps what `before` lists of crates that were not judged this time.
    pub fn keep_unjudged<'a>(&mut self, before: &Self, judged: impl Iterator<Item = &'a str>) {
        let judged: BTreeSet<String> = judged.map(without_version).collect();
        let others = before
            .known
            .iter()
            .filter(|own| !judged.contains(&own.krate));
        self.known.extend(others.cloned());
    }

    /// Lets known findings pass, and tells which are there no more. `judged` are the crates of this
    /// check; nothing is said of others, unless `whole` says that there are no others.
    pub fn apply<'a>(
        &self,
        findings: &mut [Finding],
        judged: impl Iterator<Item = &'a str>,
        whole: bool,
        name: &str,
    ) -> Outcome {
        let judged: BTreeSet<String> = judged.map(without_version).collect();
        let mut outcome = Outcome::default();
        let mut met: BTreeSet<Known> = BTreeSet::new();
        for finding in findings {
            let own = Known::of(finding);
            if finding.level == Level::Allow || !self.known.contains(&own) {
                continue;
            }
            finding.level = Level::Allow;
            finding.level_source = format!("{} because {name} knows it", Level::Allow);
            finding.accepted = Some(format!("{name} knows it"));
            outcome.known += 1;
            met.insert(own);
        }
        let gone = self.known.difference(&met);
        let gone = gone.filter(|own| whole || judged.contains(&own.krate));
        outcome.fixed = gone.cloned().collect();
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::{Culprit, CulpritKind, Grade};

    fn finding(krate: &str, factor: &str, culprit: &str) -> Finding {
        Finding {
            level: Level::Deny,
            factor: Some(factor.to_owned()),
            names: vec!["b\"x".to_owned(), "a".to_owned(), "/home/me/f".to_owned()],
            culprit: Some(Culprit {
                package: Some(culprit.to_owned()),
                kind: CulpritKind::ProcMacro,
                function: None,
                location: None,
                source: None,
            }),
            ..Finding::new("svh-unstable", Grade::Confirmed, krate)
        }
    }

    #[test]
    fn it_holds_one_line_a_finding_without_versions_or_places() {
        let findings = [
            finding("//z:z", "time", "m 1.0.0"),
            finding("ahash@0.8.3#2", "randomness", "m 1.0.0"),
        ];
        let written = Baseline::of(&findings).render();
        let lines: Vec<&str> = written
            .lines()
            .filter(|line| line.starts_with(' '))
            .collect();
        let expected = [
            r#"  { crate = "//z:z", lint = "svh-unstable", factor = "time", culprit = "m", names = ["a", 'b"x'] },"#,
            r#"  { crate = "ahash", lint = "svh-unstable", factor = "randomness", culprit = "m", names = ["a", 'b"x'] },"#,
        ];
        assert_eq!(lines, expected);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        fs::write(&path, &written).unwrap();
        assert_eq!(Baseline::read(&path).unwrap(), Baseline::of(&findings));
    }

    #[test]
    fn known_ones_pass_new_ones_do_not_and_fixed_ones_are_told() {
        let before = [
            finding("//a:a", "time", "m 1.0.0"),
            finding("//b:b", "time", "m 1.0.0"),
            finding("//c:c", "time", "m 1.0.0"),
        ];
        let baseline = Baseline::of(&before);
        let mut now = [
            finding("//a:a", "time", "m 1.1.0"),
            finding("//a:a", "randomness", "m 1.1.0"),
        ];
        let judged = ["//a:a", "//b:b"];
        let outcome = baseline.apply(&mut now, judged.into_iter(), false, "f.toml");
        assert_eq!(now[0].level, Level::Allow);
        assert_eq!(now[0].level_source, "allow because f.toml knows it");
        assert_eq!(now[1].level, Level::Deny);
        let fixed: Vec<&str> = outcome.fixed.iter().map(|own| own.krate.as_str()).collect();
        assert_eq!((outcome.known, fixed), (1, vec!["//b:b"]));
        let mut written = Baseline::of(&[]);
        written.keep_unjudged(&baseline, judged.into_iter());
        assert_eq!(written.len(), 1);
    }
}
