//! Words for what a build script did: its findings.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::{MAX_FILES, ScriptTrial};
use crate::attribute::{Cause, Fault};
use crate::check::traced;
use crate::check::undeclared::{PSEUDO, lies_in};
use crate::check::verdict::{Evidence, Writer, is_about, shown};
use crate::check::words::message;
use crate::lint::{Culprit, CulpritKind, Finding, Grade, Traced};
use crate::plan::variation::Variation;
use crate::replay::blame::crate_of;
use crate::replay::script::{Outputs, ScriptRun};
use crate::replay::sight::{Sighting, What};

/// What helps where git reads: declared, its files make the script run more often, and no two machines
/// agree on them.
const OF_GIT: &str = "hand the revision over in a variable that the script declares (`cargo::rerun-if-env-changed=NAME`), for what git says changes with each commit and edit; or let it do without";

impl ScriptTrial<'_> {
    pub(super) fn writes(&self, seen: &[Sighting]) -> Option<Finding> {
        let temp = self.script.env.get(OsStr::new("TMPDIR"));
        let temp = temp.map_or(PathBuf::from("/tmp"), PathBuf::from);
        let outside = |path: &Path| {
            let scratch = path.starts_with(&self.judge.replayer.scratch);
            // What lies in the temporary folder is there to be lost, unless the package does too.
            let inside = path.starts_with(&self.script.package.root);
            let temporary = path.starts_with(&temp) && !inside;
            !scratch && !temporary && !lies_in(path, PSEUDO)
        };
        // A cargo that the script started keeps its own books.
        let books =
            |own: &Sighting, path: &Path| own.program.is_some() && self.watch.knows(path, false);
        let written = |own: &&Sighting| matches!(&own.what, What::Write(path) if outside(path) && !books(own, path));
        let mut written = seen.iter().filter(written);
        let first = written.next()?;
        let mut finding = self.seen(
            "build-script-writes-outside-out-dir",
            first,
            "its build script writes outside of OUT_DIR",
            "write to OUT_DIR and `include!` from there; sources and other places are not the script's to change",
        );
        let paths = std::iter::once(first).chain(written);
        let mut names: Vec<String> = paths
            .filter_map(|own| match &own.what {
                What::Write(path) => Some(self.place(path)),
                _ => None,
            })
            .collect();
        names.dedup();
        names.truncate(MAX_FILES);
        finding
            .evidence
            .push(format!("it writes {}", names.join(", ")));
        finding.names = names;
        Some(finding)
    }

    pub(super) fn network(&self, seen: &[Sighting]) -> Option<Finding> {
        let first = seen.iter().find(|own| own.what == What::Network)?;
        let mut finding = self.seen(
            "build-script-uses-network",
            first,
            "its build script uses the network",
            "keep what it fetches in the package, or hand it over by a declared variable",
        );
        finding.grade = Grade::Hazard;
        Some(finding)
    }

    /// Left-overs that differ: seen, and of no use to any compile.
    pub(super) fn droppings(&self, one: &Outputs, other: &Outputs) -> Option<Finding> {
        let differ = |path: &&PathBuf| one.droppings.get(*path) != other.droppings.get(*path);
        let all = one.droppings.keys().chain(other.droppings.keys());
        let names: BTreeSet<String> = all
            .filter(differ)
            .map(|path| path.display().to_string())
            .collect();
        (!names.is_empty()).then(|| Finding {
            culprit: Some(self.culprit(None)),
            names: names.into_iter().collect(),
            message: "logs and left-overs in its OUT_DIR differ from run to run".to_owned(),
            help: "no compile reads them; where OUT_DIR is the output of an action, remove them at the end of the script".to_owned(),
            ..Finding::new("out-dir-droppings", Grade::Confirmed, &self.judge.action.id)
        })
    }

    /// A finding about something that the script was seen to do.
    pub(super) fn seen(&self, id: &str, sighting: &Sighting, message: &str, help: &str) -> Finding {
        Finding {
            culprit: Some(self.culprit(Some(sighting))),
            message: message.to_owned(),
            help: help.to_owned(),
            trace: self.trace([sighting]),
            ..Finding::new(id, Grade::Confirmed, &self.judge.action.id)
        }
    }

    /// A finding about what moves the script's outputs; only an `effect` on the SVH counts.
    pub(super) fn finding(&self, cause: &Cause, plain: &ScriptRun, effect: bool) -> Finding {
        let id = match cause.fault {
            Fault::File(_) => "build-script-reads-undeclared-file",
            Fault::Unset(_) => "build-script-reads-undeclared-env",
            _ => "build-script-unstable-output",
        };
        let evidence = Evidence {
            watched: true,
            ..Evidence::default()
        };
        let writer = self.writer(&evidence);
        let (factor, names) = writer.map_or((None, Vec::new()), |own| own.factor(&cause.fault));
        // Attribution speaks of compiles.
        let of_script = |text: &str| {
            text.replace("SVH", "output")
                .replace("does not compile", "does not run")
        };
        let about = |own: &&Sighting| is_about(&own.what, &cause.fault);
        let mut about: Vec<&Sighting> = plain.sightings.iter().filter(about).collect();
        about.sort_by_key(|own| (own.function.is_none(), own.program.is_some()));
        let by_git = about.iter().any(|own| own.is_through("git"));
        let mut lines: Vec<String> = cause.evidence.iter().map(|own| of_script(own)).collect();
        lines.push(
            if effect {
                "the crate, held still and compiled with either output, has two SVHs"
            } else {
                "the crate, held still and compiled with either output, has one SVH"
            }
            .to_owned(),
        );
        let said = of_script(&message(&cause.fault, &names, None));
        let said = said.replacen("its output", "its build script's output", 1);
        let grade = if effect {
            Grade::Confirmed
        } else {
            Grade::Harmless
        };
        Finding {
            culprit: Some(self.culprit(about.first().copied())),
            help: match &cause.fault {
                Fault::File(_) if effect && by_git => OF_GIT,
                fault => self.help(fault, effect),
            }
            .to_owned(),
            factor,
            names,
            message: said,
            evidence: lines,
            trace: self.trace(about),
            // Nobody is going to set what a crate from elsewhere asks for.
            aside: matches!(cause.fault, Fault::Unset(_) if !self.script.package.member)
                .then_some("the crate is no member of the workspace"),
            ..Finding::new(id, grade, &self.judge.action.id)
        }
    }

    /// What to do. Rules declare for a script what it tells Cargo itself.
    fn help(&self, fault: &Fault, effect: bool) -> &'static str {
        match fault {
            Fault::File(_) if effect && self.script.layout.is_some() => {
                "name the file in `data` of the script's rule, or let the script do without"
            }
            Fault::World(Variation::Env, _) if effect && self.script.layout.is_some() => {
                "set the variable in `build_script_env` of the script's rule, or let the script do without"
            }
            _ => help(fault, effect),
        }
    }

    /// Finds the words, as for the crate's own findings.
    fn writer<'a>(&'a self, evidence: &'a Evidence) -> Option<Writer<'a>> {
        Some(Writer {
            action: self.judge.action,
            build: self.judge.build,
            evidence,
            root: self.sides.recorded().root.as_ref()?,
        })
    }

    /// Whose function let a compiler make an object file.
    pub(super) fn compiler(&self, seen: &[Sighting]) -> Option<Culprit> {
        let makes = |own: &&Sighting| {
            let What::Exec(argv) = &own.what else {
                return false;
            };
            let object = |arg: &OsString| arg.as_encoded_bytes().ends_with(b".o");
            own.function.is_some() && argv.iter().any(object)
        };
        Some(self.culprit(Some(seen.iter().find(makes)?)))
    }

    /// The package whose function asked, the script's own unless it is another crate of the build.
    fn culprit(&self, sighting: Option<&Sighting>) -> Culprit {
        let function = sighting.and_then(|own| own.function.clone());
        let named = function.as_deref().map(crate_of).and_then(|name| {
            let mut actions = self.judge.build.actions.iter();
            actions.find(|own| own.args.crate_name() == Some(name) && own.id != self.script.id)
        });
        let package = named.map_or(&self.script.package, |own| &own.package);
        let (location, source) = self
            .writer(&Evidence::default())
            .map_or((None, None), |own| own.located(sighting));
        Culprit {
            package: Some(package.shown()),
            kind: CulpritKind::BuildScript,
            function,
            location,
            source,
        }
    }

    /// What the script was seen to ask.
    fn trace<'s>(&self, seen: impl IntoIterator<Item = &'s Sighting>) -> Vec<Traced> {
        let build = self.judge.build;
        traced::cut(seen.into_iter().map(|own| Traced {
            package: self.culprit(Some(own)).package,
            ..traced::traced(own, build, |path| self.place(path))
        }))
    }

    pub(super) fn place(&self, path: &Path) -> String {
        let below = path.strip_prefix(&self.script.package.root);
        shown(below.unwrap_or(path))
    }
}

fn help(fault: &Fault, effect: bool) -> &'static str {
    match fault {
        _ if !effect => "nothing to do, as far as these runs could tell",
        Fault::File(_) => {
            "print `cargo::rerun-if-changed=PATH` for what the script reads, or let it do without"
        }
        Fault::World(Variation::Env, _) | Fault::Unset(_) => {
            "print `cargo::rerun-if-env-changed=NAME` for what the script reads, or let it do without"
        }
        Fault::World(Variation::Time, _) => {
            "take the time from a declared variable (SOURCE_DATE_EPOCH), or leave it out"
        }
        Fault::World(Variation::DirOrder, _) => "sort what the script lists",
        Fault::World(Variation::Randomness, _) => {
            "iterate a BTreeMap or sort, where the script iterates a HashMap or HashSet, and use no random numbers"
        }
        _ => "make the script's output a function of what it declares",
    }
}
