//! What guilty code was seen to ask for, as a report says it: an excerpt of the trace.

use std::path::Path;

use super::excerpt;
use super::verdict::{Writer, is_about};
use crate::attribute::Cause;
use crate::lint::Traced;
use crate::project::Build;
use crate::replay::sight::{Sighting, What};

/// Most lines of an excerpt; the first few tell what kind of thing it is.
const MAX_LINES: usize = 12;

/// Most sentences of it among a finding's evidence.
const MAX_SENTENCES: usize = 4;

impl Writer<'_> {
    /// What the code behind `cause` was seen to ask about it.
    pub(super) fn trace(&self, cause: &Cause) -> Vec<Traced> {
        let guilty =
            self.evidence.sightings.iter().filter(|own| {
                cause.modules.contains(&own.module) && is_about(&own.what, &cause.fault)
            });
        cut(guilty.map(|own| self.traced(own)))
    }

    /// One sighting, with the package whose code it was.
    pub(super) fn traced(&self, seen: &Sighting) -> Traced {
        Traced {
            package: self.package_of(&seen.module),
            ..traced(seen, self.build, |path| self.place(path))
        }
    }
}

/// One sighting, without whose code it was.
pub(super) fn traced(seen: &Sighting, build: &Build, place: impl Fn(&Path) -> String) -> Traced {
    let program = seen.program.as_ref();
    let location = seen.location.as_deref();
    Traced {
        asks: words(&seen.what, place),
        package: None,
        function: seen.function.clone(),
        location: location.map(|own| excerpt::place(build, own)),
        program: program.map(|own| own.to_string_lossy().into_owned()),
    }
}

/// The beginning of a trace, without repetition.
pub(super) fn cut(trace: impl Iterator<Item = Traced>) -> Vec<Traced> {
    let mut found: Vec<Traced> = Vec::new();
    for line in trace {
        if found.len() == MAX_LINES {
            break;
        }
        if !found.contains(&line) {
            found.push(line);
        }
    }
    found
}

/// A trace in sentences, cut short.
pub(super) fn sentences(trace: &[Traced]) -> Vec<String> {
    let mut found: Vec<String> = trace.iter().map(sentence).collect();
    found.dedup();
    found.truncate(MAX_SENTENCES);
    found
}

/// Who asked what, where and through which program.
pub(super) fn sentence(own: &Traced) -> String {
    let who = own.package.as_deref().unwrap_or_default();
    let place = own.function.as_ref().map(|name| format!(" in `{name}`"));
    let program = own.program.as_ref().map(|own| format!(", through `{own}`"));
    let [place, program] = [place, program].map(Option::unwrap_or_default);
    format!("{who} {}{place}{program}", own.asks)
}

/// What was asked, as a verb with its object.
pub(super) fn words(what: &What, place: impl Fn(&Path) -> String) -> String {
    match what {
        What::Random => "asks for random bytes".to_owned(),
        What::Clock => "reads the clock".to_owned(),
        What::List(path) => format!("lists `{}`", place(path)),
        What::Read(path) => format!("reads `{}`", place(path)),
        What::Status(path) => format!("looks at the status of `{}`", place(path)),
        What::Missing(path) => format!("looks for `{}`", place(path)),
        What::Write(path) => format!("writes `{}`", place(path)),
        What::Exec(argv) => {
            let words = argv.iter().map(|own| own.to_string_lossy());
            format!("runs `{}`", words.collect::<Vec<_>>().join(" "))
        }
        What::Process => "reaches for another process".to_owned(),
        What::Network => "uses the network".to_owned(),
        What::Uname => "asks for the host's or kernel's name".to_owned(),
        What::Cpus => "counts processors".to_owned(),
        What::Pid => "asks for a process or thread number".to_owned(),
        What::User => "asks for the user's number".to_owned(),
        What::Folder => "asks for the working folder".to_owned(),
        What::Variable(name, _) => format!("reads the variable `{}`", name.display()),
    }
}
