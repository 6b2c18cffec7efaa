//! A build script's sandbox: what the first run in it was refused, and whether that matters.

use std::collections::BTreeMap;

use super::{Checked, ScriptTrial};
use crate::check::escapes::called_by;
use crate::check::policy::MAX_PATHS;
use crate::lint::{Finding, Grade};
use crate::replay::ReplayError;
use crate::replay::script::ScriptRun;
use crate::replay::sight::{Sighting, What};

/// What a script was refused.
#[derive(Debug, Default)]
pub(super) struct Escaped {
    refused: Vec<Sighting>,
    /// Where it reached for processes that are not its own.
    processes: Vec<Sighting>,
    /// What came of it, if something did.
    moved: Option<String>,
}

impl ScriptTrial<'_> {
    /// The first run in the world as it is, in a sandbox that shows what the script declares. If
    /// that refuses something, this and all later runs are made in one that hides nothing.
    /// `None` if there is no sandbox and one was promised.
    pub(super) fn first(
        &self,
        checked: &mut Checked,
    ) -> Result<Option<(ScriptRun, Escaped)>, ReplayError> {
        let inside = match self.run(&[]) {
            Err(ReplayError::Sandbox(why)) => {
                let why =
                    format!("its build script was not run again, for want of a sandbox: {why}");
                checked.unknown.push(why);
                return Ok(None);
            }
            run => run?,
        };
        let mut escaped = Escaped::default();
        let reached = inside.sightings.iter();
        escaped.processes = reached
            .filter(|own| own.what == What::Process)
            .cloned()
            .collect();
        let refused = |own: &&Sighting| {
            let elsewhere = matches!(own.what, What::Write(_) | What::Network);
            own.refused && !elsewhere && !self.is_cargos(own)
        };
        let refused = inside.sightings.iter().filter(refused);
        escaped.refused = refused.cloned().collect();
        let unhurt = escaped.refused.is_empty() && inside.outputs.is_ok();
        if !inside.confined || !inside.ended_by_itself || unhurt {
            return Ok(Some((inside, escaped)));
        }
        let narrow = self
            .confine
            .replace(Some(self.declared.wide(self.judge.mechanism)));
        let outside = self.run(&[])?;
        let differs = match (&inside.outputs, &outside.outputs) {
            (Err(why), Ok(_)) => {
                escaped.moved = Some(format!(
                    "in the sandbox, without it, the build script fails: {why}"
                ));
                false
            }
            (Ok(one), Ok(other)) => one.digest() != other.digest(),
            _ => false,
        };
        if differs {
            // A script that is restless by itself is judged where nothing is refused.
            let again = self.run(&[])?;
            let wide = self.confine.replace(narrow);
            let inside_again = self.run(&[])?;
            self.confine.replace(wide);
            let same =
                |one: &ScriptRun, other: &ScriptRun| super::answer(one).same(&super::answer(other));
            if same(&again, &outside)
                && same(&inside_again, &inside)
                && self.effect(&inside, &outside, checked)? == Some(true)
            {
                let sentence =
                    "in the sandbox, without it, its output is another, and so is the SVH";
                escaped.moved = Some(sentence.to_owned());
            }
        }
        Ok(Some((outside, escaped)))
    }

    /// Whether Cargo asked, as it does for each build: the workspace's manifests and its own settings. A
    /// script that runs it (`cargo metadata`) reaches for nothing more.
    fn is_cargos(&self, seen: &Sighting) -> bool {
        seen.is_through("cargo") && self.script.layout.is_none()
    }

    /// What the script was refused, a finding for each function. `others` are findings that may
    /// tell of the same.
    pub(super) fn escapes(&self, escaped: &Escaped, others: &[Finding]) -> Vec<Finding> {
        let id = "sandbox-escape";
        let mut groups: BTreeMap<Option<&str>, Vec<&Sighting>> = BTreeMap::new();
        for own in &escaped.refused {
            groups.entry(own.function.as_deref()).or_default().push(own);
        }
        let finding = |seen: Vec<&Sighting>| {
            let mut finding = self.seen(
                id,
                seen[0],
                "its build script reaches beyond what it declares, without effect so far",
                "nothing to do, as far as these runs could tell; a sandbox refuses it",
            );
            finding.grade = Grade::Harmless;
            let told = |own: &Finding| {
                own.lint == "build-script-reads-undeclared-file" && own.culprit == finding.culprit
            };
            if let Some(moved) = &escaped.moved {
                finding.grade = Grade::Confirmed;
                "its build script needs what it does not declare".clone_into(&mut finding.message);
                "print `cargo::rerun-if-changed=PATH` for what it reads, or let it do without"
                    .clone_into(&mut finding.help);
                finding.evidence.push(moved.clone());
                if others.iter().any(told) {
                    finding.aside = Some("another finding tells of it");
                }
            }
            let mut names: Vec<String> = seen.iter().filter_map(|own| self.name(own)).collect();
            names.dedup();
            names.truncate(MAX_PATHS);
            finding.names = names;
            finding.evidence.extend(called_by(seen[0]));
            finding
        };
        let mut found: Vec<Finding> = groups.into_values().map(finding).collect();
        found.extend(escaped.processes.first().map(|first| {
            let mut finding = self.seen(
                id,
                first,
                "its build script reaches for processes that are not its own",
                "let the build script leave other processes alone; a sandbox hides them",
            );
            finding.grade = Grade::Hazard;
            finding.names = vec!["process".to_owned()];
            finding
        }));
        found
    }

    /// What was reached for.
    fn name(&self, seen: &Sighting) -> Option<String> {
        match &seen.what {
            What::Read(path) | What::List(path) | What::Status(path) => Some(self.place(path)),
            What::Exec(argv) => Some(argv.first()?.to_string_lossy().into_owned()),
            _ => None,
        }
    }
}
