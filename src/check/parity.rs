//! Whether the rules give the two actions of each crate command lines that agree: no build, and no
//! compile of any crate of the user's.
//!
//! What differs is looked up in what the compiler was asked ([`crate::probe`]); where its answer
//! depends on the value, the two values are tried on the probe's own crate.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};

use crate::lint::levels::Levels;
use crate::lint::{Culprit, CulpritKind, Finding, Grade};
use crate::probe::table::ANY_VARIABLE;
use crate::probe::tiny::{Added, NEEDED, Tiny};
use crate::probe::{self, Answer, Moves, ProbeError, Probed};
use crate::project::bazel::pairs::{Half, Pairs, SplitCrate};
use crate::report::{
    CrateVerdict, Enforced, NotChecked, Report, StrategyVerdict, Summary, Verdict, json,
};
use crate::rustc::args::{Args, INPUT};

/// The word that stands for this comparison where a report names strategies.
pub const NAME: &str = "parity";

/// Compares the command lines of every pair. `levels` says how findings count.
pub fn parity(
    pairs: &Pairs,
    probed: &Probed,
    tiny: &Tiny<'_>,
    levels: &Levels,
) -> Result<Report, ProbeError> {
    let entry = NotChecked::new;
    let mut report = Report {
        version: json::VERSION,
        rustc: probed.rustc.clone(),
        strategies: vec![NAME.to_owned()],
        variations: Vec::new(),
        sandbox: Enforced {
            mechanism: "none".to_owned(),
            why: Some("nothing of the build was run".to_owned()),
        },
        crates: Vec::new(),
        findings: Vec::new(),
        not_checked: vec![entry(
            "sources, macros and build scripts",
            "nothing was built: only arguments and variables were compared; `svhcheck //...` compiles",
        )],
        summary: Summary::default(),
        since: None,
        command: None,
    };
    for label in &pairs.whole {
        let why = "one action makes all of it, so there are no two command lines";
        report.not_checked.push(entry(label, why));
    }
    for (label, why) in &pairs.unknown {
        report.not_checked.push(entry(label, why));
    }
    let mut judge = Judge {
        probed,
        tiny,
        known: BTreeMap::new(),
    };
    let mut ids = BTreeMap::new();
    for pair in &pairs.split {
        let count: &mut usize = ids.entry(&pair.label).or_default();
        *count += 1;
        let id = match *count {
            1 => pair.label.clone(),
            count => format!("{}#{count}", pair.label),
        };
        let mut verdict = Verdict::Safe;
        for difference in differences(pair) {
            match judge.moves(pair, &difference)? {
                Told::No => {}
                Told::Yes(evidence) => {
                    verdict = Verdict::FlagMismatch;
                    let finding = finding(&id, &difference, &evidence, &probed.rustc);
                    report.findings.push(finding);
                }
                Told::Unknown(why) => {
                    verdict = verdict.max(Verdict::Inconclusive);
                    let what = format!("{id}: {}", difference.sentence());
                    report.not_checked.push(entry(&what, &why));
                }
            }
        }
        report.crates.push(krate(&id, &pair.name, verdict));
    }
    levels.apply(&mut report.findings);
    report.finish();
    Ok(report)
}

/// Something that the two command lines do not share.
#[derive(Debug)]
struct Difference {
    /// As the table names it, or the variable's name.
    name: String,
    what: What,
    /// On the metadata side and on the full side, as written.
    sides: [Vec<OsString>; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Argument,
    Variable,
    Source,
    Compiler,
    Wrapper,
}

impl Difference {
    /// Both sides in words.
    fn sentence(&self) -> String {
        let [metadata, full] = self.sides.each_ref().map(|words| match words.as_slice() {
            [] => format!("no `{}`", self.name),
            words => {
                let words: Vec<_> = words.iter().map(|own| own.to_string_lossy()).collect();
                format!("`{}`", words.join(" "))
            }
        });
        format!("{metadata} for the metadata, {full} for the whole")
    }

    /// Whether some value may name a file or folder, which is not the probe's to touch.
    fn names_a_place(&self) -> bool {
        self.sides.iter().flatten().any(|own| names_a_place(own))
    }
}

fn names_a_place(arg: &OsStr) -> bool {
    arg.to_string_lossy().contains(['/', '$', '@'])
}

/// What is known of a difference.
enum Told {
    No,
    /// It moves the SVH; how that is known.
    Yes(String),
    /// It is not known; why.
    Unknown(String),
}

/// Options by the table's names, each as its arguments.
fn grouped(args: &Args) -> BTreeMap<Option<String>, Vec<OsString>> {
    let mut found: BTreeMap<Option<String>, Vec<OsString>> = BTreeMap::new();
    for option in args.options() {
        let words = found.entry(probe::key(&option)).or_default();
        words.extend(args.words(&option).iter().cloned());
    }
    // Neither the order of kinds nor where they are written moves anything (the table's `--emit`).
    if let Some(emit) = found.get_mut(&Some("--emit".to_owned())) {
        let kinds: BTreeSet<String> = args.emit().into_iter().collect();
        let kinds: Vec<String> = kinds.into_iter().collect();
        *emit = vec![format!("--emit={}", kinds.join(",")).into()];
    }
    found
}

fn differences(pair: &SplitCrate) -> Vec<Difference> {
    let mut found = Vec::new();
    let (metadata, full) = (&pair.metadata, &pair.full);
    let groups = [grouped(&metadata.args), grouped(&full.args)];
    let keys: BTreeSet<_> = groups.iter().flat_map(BTreeMap::keys).collect();
    for key in keys {
        let sides = [0, 1].map(|side: usize| groups[side].get(key).cloned().unwrap_or_default());
        if sides[0] != sides[1] {
            found.push(Difference {
                what: if key.is_some() {
                    What::Argument
                } else {
                    What::Source
                },
                name: key.clone().unwrap_or_else(|| "(source path)".to_owned()),
                sides,
            });
        }
    }
    let names: BTreeSet<&OsString> = metadata.env.keys().chain(full.env.keys()).collect();
    for name in names {
        let side = |half: &Half| -> Vec<OsString> {
            let value = half.env.get(name).map(|value| {
                let mut text = name.clone();
                text.push("=");
                text.push(value);
                text
            });
            value.into_iter().collect()
        };
        let sides = [side(metadata), side(full)];
        if sides[0] != sides[1] {
            found.push(Difference {
                name: name.to_string_lossy().into_owned(),
                what: What::Variable,
                sides,
            });
        }
    }
    let program = |half: &Half| vec![half.program.clone().into_os_string()];
    for (what, name, sides) in [
        (
            What::Compiler,
            "the compiler",
            [program(metadata), program(full)],
        ),
        (
            What::Wrapper,
            "process_wrapper",
            [metadata.wrapper.clone(), full.wrapper.clone()],
        ),
    ] {
        if sides[0] != sides[1] {
            let name = name.to_owned();
            found.push(Difference { name, what, sides });
        }
    }
    found
}

/// Options that mean nothing for another crate, or need its dependencies.
const OWN: &[&str] = &[
    "--extern",
    "--library-path",
    "--link",
    "--test",
    "--print",
    INPUT,
];

const TRIED: &str = "compiled with either, the probe's crate of a dozen lines has two SVHs";
const TABLE: &str = "it moves the SVH of the probe's crate (`svhcheck probe`)";
const READ: &str = "it moves the SVH if the source or a macro reads it, which was not looked at";

struct Judge<'a> {
    probed: &'a Probed,
    tiny: &'a Tiny<'a>,
    /// What was tried before, most crates differing in the same things.
    known: BTreeMap<(Added, Added), (Answer, Option<String>)>,
}

impl Judge<'_> {
    fn moves(&mut self, pair: &SplitCrate, difference: &Difference) -> Result<Told, ProbeError> {
        let unknown = |why: &str| Ok(Told::Unknown(why.to_owned()));
        match difference.what {
            What::Compiler => unknown("two compilers; whether they are the same one is not known"),
            What::Wrapper => {
                unknown("what process_wrapper makes of it is not known without a build")
            }
            What::Variable => self.variable(pair, difference),
            What::Argument | What::Source => self.argument(pair, difference),
        }
    }

    fn row(&self, name: &str) -> Option<Moves> {
        self.probed.row(name).map(|row| row.moves)
    }

    fn argument(&mut self, pair: &SplitCrate, difference: &Difference) -> Result<Told, ProbeError> {
        let row = self.row(&difference.name);
        let one_sided = difference.sides.iter().any(Vec::is_empty);
        let untried = difference.names_a_place();
        match row {
            Some(Moves::No) => return Ok(Told::No),
            Some(Moves::WhereAsked) => {
                let why = "it moves the SVH if the source asks for it, which was not looked at";
                return Ok(Told::Unknown(why.to_owned()));
            }
            Some(Moves::Yes) if difference.what == What::Source || untried && one_sided => {
                return Ok(Told::Yes(TABLE.to_owned()));
            }
            _ if untried => {
                let why = "it names files or folders, so it was not tried on the probe's crate";
                return Ok(Told::Unknown(why.to_owned()));
            }
            _ => {}
        }
        let sides = difference.sides.clone().map(|args| Added {
            args,
            env: BTreeMap::new(),
        });
        Ok(match self.compare(pair, difference, sides)? {
            (Answer::Same, _) => Told::No,
            (Answer::Other, _) => Told::Yes(TRIED.to_owned()),
            _ if row == Some(Moves::Yes) => Told::Yes(TABLE.to_owned()),
            (_, said) => Told::Unknown(format!(
                "the compiler does not take it on the probe's crate: {}",
                said.unwrap_or_else(|| "no metadata comes of it".to_owned())
            )),
        })
    }

    fn variable(&mut self, pair: &SplitCrate, difference: &Difference) -> Result<Told, ProbeError> {
        if self.row(ANY_VARIABLE) == Some(Moves::No) {
            return Ok(Told::No);
        }
        let name = OsStr::new(&difference.name);
        let held = NEEDED.iter().any(|own| name == *own) || difference.name.starts_with("LD_");
        if held || difference.names_a_place() {
            return Ok(Told::Unknown(READ.to_owned()));
        }
        let sides = [&pair.metadata, &pair.full].map(|half| {
            let value = half.env.get(name).cloned();
            let env = value.map(|value| (name.to_owned(), value));
            Added {
                args: Vec::new(),
                env: env.into_iter().collect(),
            }
        });
        let answer = self.compare(pair, difference, sides)?.0;
        Ok(match answer {
            Answer::Other => Told::Yes(TRIED.to_owned()),
            // A variable of the compiler's own.
            Answer::Same if self.row(&difference.name) == Some(Moves::Yes) => Told::No,
            _ => Told::Unknown(format!("the compiler itself does not look at it; {READ}")),
        })
    }

    /// Compiles the probe's crate with each side, in the company of what both have; where that does
    /// not work, alone.
    fn compare(
        &mut self,
        pair: &SplitCrate,
        difference: &Difference,
        sides: [Added; 2],
    ) -> Result<(Answer, Option<String>), ProbeError> {
        let shared = shared(pair, difference);
        let [one, other] = sides;
        let tried = self.tried(shared.with(&one), shared.with(&other))?;
        match tried.0 {
            Answer::NotAccepted => self.tried(one, other),
            _ => Ok(tried),
        }
    }

    fn tried(&mut self, one: Added, other: Added) -> Result<(Answer, Option<String>), ProbeError> {
        let key = (one, other);
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let answer = self.tiny.compare(&key.0, &key.1)?;
        self.known.insert(key, answer.clone());
        Ok(answer)
    }
}

/// What both sides have and another crate can be compiled with.
fn shared(pair: &SplitCrate, difference: &Difference) -> Added {
    let mut added = Added::default();
    let theirs = pair.full.args.options();
    for option in pair.metadata.args.options() {
        let words = pair.metadata.args.words(&option);
        let elsewhere = OWN.contains(&option.name) || words.iter().any(|own| names_a_place(own));
        let own = probe::key(&option).is_none_or(|key| key == difference.name);
        let is_shared = theirs
            .iter()
            .any(|own| (own.name, own.value) == (option.name, option.value));
        if !elsewhere && !own && is_shared {
            added.args.extend(words.iter().cloned());
        }
    }
    let bootstrap = OsStr::new("RUSTC_BOOTSTRAP");
    let [one, other] = [&pair.metadata, &pair.full].map(|half| half.env.get(bootstrap));
    if let Some(value) = one.filter(|_| one == other) {
        added.env.insert(bootstrap.to_owned(), value.clone());
    }
    added
}

fn finding(id: &str, difference: &Difference, evidence: &str, rustc: &str) -> Finding {
    let name = &difference.name;
    let kind = match difference.what {
        What::Variable => "variable",
        _ => "argument",
    };
    Finding {
        culprit: Some(Culprit {
            package: None,
            kind: CulpritKind::Flags,
            function: None,
            location: None,
            source: None,
        }),
        factor: Some(name.clone()),
        names: vec![name.clone()],
        message: format!("its two actions differ in the {kind} `{name}`, which moves the SVH"),
        evidence: vec![difference.sentence(), format!("{evidence} ({rustc})")],
        help: format!("give `{name}` the same value in both actions, or leave it out of both"),
        ..Finding::new("svh-flag-mismatch", Grade::Hazard, id)
    }
}

fn krate(id: &str, name: &str, verdict: Verdict) -> CrateVerdict {
    let strategy = StrategyVerdict {
        verdict,
        svh: [None, None],
    };
    let target = id.rsplit([':', '/']).next().unwrap_or_default();
    CrateVerdict {
        id: id.to_owned(),
        package: name.to_owned(),
        version: String::new(),
        target: target.to_owned(),
        kind: "lib".to_owned(),
        verdict,
        strategies: [(NAME.to_owned(), strategy)].into(),
        infected_by: Vec::new(),
        hermeticity: None,
        manifest: None,
        loads: Vec::new(),
    }
}
