//! The findings about escapes, one for each package and grade.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::attribute::{Cause, Fault};
use crate::lint::{Culprit, CulpritKind, Finding, Grade, Level};
use crate::plan::variation::Variation;
use crate::replay::sight::{Sighting, What};

use super::verdict::{Compared, Writer};

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
        let mut groups: BTreeMap<(&Path, Grade), Vec<&Sighting>> = BTreeMap::new();
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
                groups.entry((&seen.module, grade)).or_default().push(seen);
            }
        }
        let mut found: Vec<Finding> = Vec::new();
        for ((module, grade), seen) in groups {
            let names = seen.iter().filter_map(|own| self.name(&own.what)).collect();
            let sentences = seen.iter().map(|own| self.sentence(own)).collect();
            // A function is known where the code itself asked; of a program, who started it.
            let first = seen.iter().find(|own| own.function.is_some());
            let culprit = Culprit {
                package: self.package_of(module),
                kind: CulpritKind::ProcMacro,
                function: first.and_then(|own| own.function.clone()),
                location: first.and_then(|own| own.location.clone()),
            };
            let template = self.template(Some(culprit));
            found.push(escapes.finding(template, grade, names, sentences));
        }
        if let Some((moved, sentence)) = &escapes.moved
            && moved.is_empty()
            && !sentence.is_empty()
        {
            let template = self.template(None);
            found.push(escapes.finding(template, Grade::Confirmed, BTreeSet::new(), Vec::new()));
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
            _ => None,
        }
    }

    fn template(&self, culprit: Option<Culprit>) -> Finding {
        Finding {
            lint: String::new(),
            level: Level::Warn,
            grade: Grade::Confirmed,
            krate: self.action.id.clone(),
            culprit,
            factor: None,
            names: Vec::new(),
            message: String::new(),
            expansion: None,
            evidence: Vec::new(),
            help: String::new(),
        }
    }
}
