//! The findings about escapes, one for each package and grade.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::attribute::{Cause, Fault};
use crate::lint::{Culprit, CulpritKind, Finding, Grade, Traced};
use crate::plan::variation::Variation;
use crate::replay::sight::{Sighting, What};

use super::traced;
use super::verdict::{Compared, Writer};

/// What is said, and advised, where only other processes were reached for.
const PROCESSES: (&str, &str) = (
    "a macro reaches for processes that are not its own",
    "let the macro leave other processes alone; a sandbox hides them",
);

impl Writer<'_> {
    /// What macros wanted beyond what the crate declares.
    pub(super) fn escapes(&self, compared: &[Compared]) -> Vec<Finding> {
        let Some(escapes) = &self.evidence.escapes else {
            return Vec::new();
        };
        let causes = || {
            let of_pairs = compared.iter().flat_map(|own| &own.causes);
            of_pairs.chain(&self.evidence.causes)
        };
        let file = |cause: &'_ Cause| match &cause.fault {
            Fault::File(path) => Some(path.clone()),
            _ => None,
        };
        let proven: BTreeSet<_> = causes().filter_map(file).collect();
        let proven: BTreeSet<&Path> = proven.iter().map(AsRef::as_ref).collect();
        let network = causes().any(|cause| cause.variation() == Some(Variation::Network));
        let mut groups: BTreeMap<(&Path, Grade, bool), Vec<&Sighting>> = BTreeMap::new();
        for seen in &self.evidence.sightings {
            // Who reads a file looks at its status, too.
            let told = match &seen.what {
                What::Status(path) => {
                    let read = What::Read(path.clone());
                    self.evidence.sightings.iter().any(|own| own.what == read)
                }
                _ => false,
            };
            if !told && escapes.declared.is_escape(seen) {
                let grade = escapes.grade(seen, &proven, network);
                // What moves the SVH has a finding of its own.
                let elsewhere = match &seen.what {
                    What::Read(path) | What::List(path) => proven.contains(&**path),
                    What::Network => network,
                    _ => false,
                };
                let group = groups.entry((&seen.module, grade, elsewhere));
                group.or_default().push(seen);
            }
        }
        let mut found: Vec<Finding> = Vec::new();
        for ((module, grade, elsewhere), seen) in groups {
            let names = seen.iter().filter_map(|own| self.name(&own.what)).collect();
            let trace = traced::cut(seen.iter().map(|own| self.traced(own)));
            let mut sentences: Vec<String> = trace.iter().map(traced::sentence).collect();
            sentences.extend(seen.iter().filter_map(|own| called_by(own)));
            // One file under two spellings is told once.
            let mut told = BTreeSet::new();
            sentences.retain(|own| told.insert(own.clone()));
            // A function is known where the code itself asked; of a program, who started it.
            let first = seen.iter().find(|own| own.function.is_some());
            let (location, source) = self.located(first.copied());
            let culprit = Culprit {
                package: self.package_of(module),
                kind: CulpritKind::ProcMacro,
                function: first.and_then(|own| own.function.clone()),
                location,
                source,
            };
            let template = self.template(culprit, trace);
            let mut finding = escapes.finding(template, grade, names, sentences);
            if seen.iter().all(|own| own.what == What::Process) {
                PROCESSES.0.clone_into(&mut finding.message);
                PROCESSES.1.clone_into(&mut finding.help);
            }
            if elsewhere {
                finding.aside = Some("another finding tells of it");
                "nothing more: another finding tells of it".clone_into(&mut finding.help);
            }
            found.push(finding);
        }
        found
    }

    /// What an escape reached for.
    fn name(&self, what: &What) -> Option<String> {
        match what {
            What::Read(path) | What::List(path) | What::Write(path) | What::Status(path) => {
                Some(self.place(path))
            }
            What::Exec(argv) => Some(argv.first()?.to_string_lossy().into_owned()),
            What::Network => Some("network".to_owned()),
            What::Process => Some("process".to_owned()),
            _ => None,
        }
    }

    fn template(&self, culprit: Culprit, trace: Vec<Traced>) -> Finding {
        Finding {
            culprit: Some(culprit),
            trace,
            ..Finding::new("sandbox-escape", Grade::Confirmed, &self.action.id)
        }
    }
}

/// The way to the function that did it.
pub(super) fn called_by(seen: &Sighting) -> Option<String> {
    let callers = seen.callers.iter().map(|name| format!("`{name}`"));
    let callers: Vec<String> = callers.collect();
    let own = seen.function.as_ref().filter(|_| !callers.is_empty())?;
    Some(format!("`{own}` is called by {}", callers.join(", by ")))
}
