//! What a guilty macro writes differently: the crate is expanded twice, in the world that stood
//! still and in the one that moved, and the two texts are compared.

use std::path::{Path, PathBuf};

use super::excerpt::{MAX_SOURCE, named};
use super::sides::Sides;
use crate::attribute::expansion::{self, Sign, Source, Suspect};
use crate::attribute::{Cause, Fault};
use crate::lint::{Excerpt, Expanded};
use crate::plan::variation::Change;
use crate::project::{Action, Build};
use crate::replay::ReplayError;
use crate::replay::sight::Sighting;
use crate::rustc::args::INPUT;

/// Looks at what differs under `cause`; nothing for causes that no macro is behind.
pub(super) fn look(
    action: &Action,
    build: &Build,
    sides: &Sides<'_>,
    pinned: Vec<Change>,
    cause: &Cause,
) -> Result<Option<Expanded>, ReplayError> {
    let by_macro = !cause.modules.is_empty() || matches!(cause.fault, Fault::World(..));
    if cause.moved.is_empty() || !by_macro {
        return Ok(None);
    }
    let trial = sides.recorded().observed.trial.expansion();
    let still = sides.expanded(&trial.with(pinned))?;
    let moved = sides.expanded(&trial.with(cause.moved.clone()))?;
    if still.is_empty() || moved.is_empty() || still == moved {
        return Ok(None);
    }
    let sources: Vec<(PathBuf, String)> = sources(action).collect();
    let sources: Vec<Source<'_>> = sources
        .iter()
        .map(|(path, text)| Source { path, text })
        .collect();
    let functions = functions(&sides.seen(), &cause.modules);
    let suspect = Suspect {
        functions: &functions,
        ..Suspect::default()
    };
    let [still, moved] = [still, moved].map(|text| String::from_utf8_lossy(&text).into_owned());
    let found = expansion::compare(&still, &moved, &sources, &suspect);
    let line = |line: &expansion::Line| {
        let sign = match line.sign {
            Sign::Removed => '-',
            Sign::Added => '+',
        };
        format!("{sign}{}", line.text)
    };
    let invocation = found.invocation.as_ref();
    let name = |file: &Path| named(build, &action.cwd.join(file));
    let source = invocation.and_then(|own| {
        let of = sources.iter().find(|source| source.path == own.file)?;
        let label = "what this writes is not the same twice".to_owned();
        let excerpt = Excerpt::cut(name(&own.file), of.text, own.span.clone(), label)?;
        Some(Excerpt {
            file: fs_err::canonicalize(action.cwd.join(&own.file)).ok(),
            ..excerpt
        })
    });
    Ok(Some(Expanded {
        invocation: invocation.map(|own| own.text.clone()),
        location: invocation.map(|own| format!("{}:{}", name(&own.file), own.line)),
        source,
        kind: found.kind.map(|kind| kind.to_string()),
        diff: found.excerpt.iter().map(line).collect(),
    }))
}

/// The crate's own sources as the compile declared them, the root first; read as they are asked for.
pub(super) fn sources(action: &Action) -> impl Iterator<Item = (PathBuf, String)> {
    let root = action.args.value(INPUT).map(PathBuf::from);
    let is_other = {
        let root = root.clone();
        move |path: &&PathBuf| {
            path.extension().is_some_and(|own| own == "rs") && root.as_ref() != Some(*path)
        }
    };
    let others = action.inputs.iter().filter(is_other).cloned();
    root.into_iter().chain(others).filter_map(|path| {
        let place = action.cwd.join(&path);
        let small = fs_err::metadata(&place).is_ok_and(|own| own.len() <= MAX_SOURCE);
        let text = small
            .then(|| fs_err::read_to_string(&place).ok())
            .flatten()?;
        Some((path, text))
    })
}

/// Functions of the guilty code that were seen on a stack.
fn functions(seen: &[Sighting], modules: &[PathBuf]) -> Vec<String> {
    let guilty = seen.iter().filter(|own| modules.contains(&own.module));
    let mut found: Vec<String> = guilty.filter_map(|own| own.function.clone()).collect();
    found.sort();
    found.dedup();
    found
}
