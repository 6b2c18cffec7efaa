//! `svhcheck.toml`: what a team says once about its checks. `docs/config.md` is the reference.

pub mod baseline;
mod form;
mod template;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use fs_err as fs;
use toml::Spanned;
use toml::value::Datetime;

pub use form::schema;
pub use template::TEMPLATE;

use crate::lint::levels::{Allowed, CrateGlob, Day, Levels, Rule, suggestion};
use crate::lint::offenders::{self, Offender};
use crate::lint::page::Page;
use crate::lint::{self, Named};
use crate::plan::strategy;
use crate::plan::variation;
use crate::sandbox::Mechanism;
use form::{Form, Scope};

/// The file's name.
pub const NAME: &str = "svhcheck.toml";

/// What the file says.
#[derive(Debug, Default)]
pub struct Config {
    /// Where it was found.
    pub path: Option<PathBuf>,
    /// Names of strategies, if it chooses some.
    pub strategies: Option<Vec<String>>,
    /// Names of variations, `default` or `none`, if it chooses some.
    pub vary: Option<Vec<String>>,
    /// Compiles of each replayed side.
    pub runs: Option<u16>,
    /// What confines replays; `None` for the best that can be had.
    pub sandbox: Option<Mechanism>,
    /// The baseline.
    pub baseline: Option<PathBuf>,
    /// About levels; later ones win.
    pub rules: Vec<Rule>,
    /// Known faults that are allowed.
    pub allowed: Vec<Allowed>,
    /// Files that count as declared, for some crates each.
    pub inputs: Vec<(CrateGlob, BTreeSet<PathBuf>)>,
    /// The user's own list of crates that are known to be at fault.
    pub offenders: Vec<Offender>,
    /// What is worth saying about the file, a sentence each.
    pub notes: Vec<String>,
}

/// Why the file, or one that it names, does not do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Something in it is wrong.
    #[error("{}:{line}:{column}: {what}", .path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What, in one sentence.
        what: String,
    },
}

/// A text with its path, for messages.
struct Text<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Text<'_> {
    /// Line and column of a byte, from 1.
    fn place(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        (line, before[start..].chars().count() + 1)
    }

    fn wrong(&self, at: usize, what: impl Into<String>) -> ConfigError {
        let (line, column) = self.place(at);
        ConfigError::Wrong {
            path: self.path.to_owned(),
            line,
            column,
            what: what.into(),
        }
    }

    /// `svhcheck.toml:12`, for whoever asks who set a level.
    fn source(&self, span: &Range<usize>) -> String {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        format!("{}:{}", name.to_string_lossy(), self.place(span.start).0)
    }

    /// What the reader of TOML says, with a suggestion for a key that is none.
    fn told(&self, error: &toml::de::Error) -> ConfigError {
        let at = error.span().map_or(0, |span| span.start);
        let said = error.message();
        // serde: unknown field `x`, expected one of `a`, `b`
        let names: Vec<&str> = said.split('`').skip(1).step_by(2).collect();
        let what = match (said.starts_with("unknown field"), names.split_first()) {
            (true, Some((name, known))) => {
                let known = known.iter().copied();
                format!("unknown key `{name}`{}", suggestion(name, known))
            }
            _ => said.trim_end().to_owned(),
        };
        self.wrong(at, what)
    }
}

/// The configuration above `folder`, up to and with `root`.
pub fn find(folder: &Path, root: &Path) -> Option<PathBuf> {
    for place in folder.ancestors() {
        let path = place.join(NAME);
        if path.is_file() {
            return Some(path);
        }
        if place == root {
            return None;
        }
    }
    None
}

/// Reads a configuration.
pub fn read(path: &Path) -> Result<Config, ConfigError> {
    let text = fs::read_to_string(path)?;
    let text = Text { path, text: &text };
    let form: Form = toml::from_str(text.text).map_err(|error| text.told(&error))?;
    let reader = Reader {
        folder: path.parent().unwrap_or(Path::new("")),
        pages: lint::registry(),
        text,
        notes: Vec::new(),
    };
    reader.config(form)
}

struct Reader<'a> {
    text: Text<'a>,
    /// What relative paths are relative to.
    folder: &'a Path,
    pages: Vec<Page>,
    notes: Vec<String>,
}

impl Reader<'_> {
    fn config(mut self, form: Form) -> Result<Config, ConfigError> {
        let strategies = strategy::TABLE.iter().map(|row| row.name);
        let strategies = self.names(form.strategies, "strategy", strategies)?;
        let variations = variation::TABLE.iter().map(|row| row.1);
        let variations = variations.chain(["default", "none"]);
        let vary = self.names(form.vary, "variation", variations)?;
        if let Some(runs) = form.runs.as_ref().filter(|own| *own.get_ref() == 0) {
            let what = "at least one run is needed";
            return Err(self.text.wrong(runs.span().start, what));
        }
        let rules = self.rules(form.levels, &form.krate)?;
        let mut allowed = Vec::new();
        for entry in form.allow {
            self.check(&entry.lint, false)?;
            if entry.reason.get_ref().trim().is_empty() {
                let at = entry.reason.span().start;
                return Err(self.text.wrong(at, "a reason that says nothing"));
            }
            let expires = entry.expires.map(|own| self.day(&own)).transpose()?;
            allowed.push(Allowed {
                source: self.text.source(&entry.lint.span()),
                krate: self.glob(&entry.krate)?,
                lint: entry.lint.into_inner(),
                reason: entry.reason.into_inner(),
                expires,
            });
        }
        let mut inputs = Vec::new();
        for entry in form.inputs {
            let krate = match &entry.krate {
                Some(krate) => self.glob(krate)?,
                None => CrateGlob::new("*").expect("a star is a pattern"),
            };
            let mut files = BTreeSet::new();
            for pattern in &entry.files {
                files.extend(self.files(pattern)?);
            }
            inputs.push((krate, files));
        }
        let mut offenders = Vec::new();
        if let Some(file) = form.known_offenders {
            offenders = read_offenders(&self.folder.join(file))?;
        }
        Ok(Config {
            path: Some(self.text.path.to_owned()),
            strategies,
            vary,
            runs: form.runs.map(Spanned::into_inner),
            sandbox: form.sandbox.and_then(form::Sandbox::mechanism),
            baseline: form.baseline.map(|own| self.folder.join(own)),
            rules,
            allowed,
            inputs,
            offenders,
            notes: self.notes,
        })
    }

    fn names<'a>(
        &self,
        list: Option<Vec<Spanned<String>>>,
        what: &str,
        known: impl Iterator<Item = &'a str>,
    ) -> Result<Option<Vec<String>>, ConfigError> {
        let known: Vec<&str> = known.collect();
        for name in list.iter().flatten() {
            if !known.contains(&name.get_ref().as_str()) {
                let more = suggestion(name.get_ref(), known.iter().copied());
                let what = format!("no {what} is called `{}`{more}", name.get_ref());
                return Err(self.text.wrong(name.span().start, what));
            }
        }
        Ok(list.map(|list| list.into_iter().map(Spanned::into_inner).collect()))
    }

    /// Groups before lints, so that a lint's own entry wins, and the entries of crates last.
    fn rules(&mut self, levels: Scope, crates: &[form::Crate]) -> Result<Vec<Rule>, ConfigError> {
        let mut rules = self.scope(levels, None)?;
        for entry in crates {
            let glob = self.glob(&entry.pattern)?;
            rules.extend(self.scope(entry.levels.clone(), Some(&glob))?);
        }
        Ok(rules)
    }

    fn scope(
        &mut self,
        levels: Scope,
        krate: Option<&CrateGlob>,
    ) -> Result<Vec<Rule>, ConfigError> {
        let mut rules = Vec::new();
        for (name, level) in levels {
            self.check(&name, true)?;
            let is_lint = self.pages.iter().any(|page| page.id == *name.get_ref());
            let rule = Rule {
                source: self.text.source(&name.span()),
                target: name.into_inner(),
                krate: krate.cloned(),
                level,
            };
            rules.push((is_lint, rule));
        }
        rules.sort_by_key(|own| own.0);
        Ok(rules.into_iter().map(|own| own.1).collect())
    }

    /// Fails for a name that is no lint (or group, where one may stand). A lint that is no more is
    /// noted and has no effect.
    fn check(&mut self, name: &Spanned<String>, groups: bool) -> Result<(), ConfigError> {
        let named = lint::named(&self.pages, name.get_ref());
        if matches!(named, Named::Group(_)) && !groups {
            let what = format!(
                "`{}` is a group; an entry of `allow` names one lint",
                name.get_ref()
            );
            return Err(self.text.wrong(name.span().start, what));
        }
        match Levels::doubt(&self.pages, name.get_ref()) {
            None => Ok(()),
            Some(said) if matches!(named, Named::Removed(_)) => {
                let source = self.text.source(&name.span());
                self.notes.push(format!("{source}: {said}"));
                Ok(())
            }
            Some(said) => Err(self.text.wrong(name.span().start, said)),
        }
    }

    fn glob(&self, pattern: &Spanned<String>) -> Result<CrateGlob, ConfigError> {
        CrateGlob::new(pattern.get_ref()).map_err(|error| {
            let what = format!("no pattern: {}", error.msg);
            self.text.wrong(pattern.span().start + error.pos, what)
        })
    }

    fn day(&self, date: &Spanned<Datetime>) -> Result<Day, ConfigError> {
        if let Datetime {
            date: Some(day),
            time: None,
            ..
        } = date.get_ref()
        {
            return Ok(Day {
                year: day.year,
                month: day.month,
                day: day.day,
            });
        }
        let what = "a day is written 2027-01-31";
        Err(self.text.wrong(date.span().start, what))
    }

    /// The files that a pattern stands for now. What is not there cannot be read undeclared.
    fn files(&self, pattern: &Spanned<String>) -> Result<Vec<PathBuf>, ConfigError> {
        let at = pattern.span().start;
        let folder = fs::canonicalize(self.folder.join("."))?;
        // The folder's own name is no pattern.
        let prefix = glob::Pattern::escape(&folder.to_string_lossy());
        let whole = format!("{prefix}/{}", pattern.get_ref());
        let wrong = |error: &dyn std::fmt::Display| self.text.wrong(at, error.to_string());
        let found = glob::glob(&whole).map_err(|error| wrong(&error.msg))?;
        let mut files = Vec::new();
        for path in found {
            files.push(path.map_err(|error| wrong(&error))?);
        }
        Ok(files)
    }
}

fn read_offenders(path: &Path) -> Result<Vec<Offender>, ConfigError> {
    let text = fs::read_to_string(path)?;
    offenders::parse(&text).map_err(|error| Text { path, text: &text }.told(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::Level;

    fn parse(text: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        fs::write(&path, text).unwrap();
        fs::create_dir_all(folder.path().join("conf/deep")).unwrap();
        fs::write(folder.path().join("conf/deep/a.toml"), "").unwrap();
        read(&path).map_err(|error| {
            let said = error.to_string();
            said.replace(&format!("{}/", folder.path().display()), "")
        })
    }

    fn wrong(text: &str) -> String {
        parse(text).unwrap_err()
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        assert_eq!(
            wrong("runs = 2\nstategies = [\"full\"]\n"),
            "svhcheck.toml:2:1: unknown key `stategies`; did you mean `strategies`?"
        );
        assert_eq!(
            wrong("[[allow]]\nlint = \"svh-unstable\"\ncrate = \"a\"\nreson = \"x\"\n"),
            "svhcheck.toml:4:1: unknown key `reson`; did you mean `reason`?"
        );
        assert_eq!(
            wrong("strategies = [\"full\", \"holow\"]\n"),
            "svhcheck.toml:1:23: no strategy is called `holow`; did you mean `hollow`?"
        );
        assert_eq!(
            wrong("[levels]\nsvh-instable = \"warn\"\n"),
            "svhcheck.toml:2:1: no lint or group is called `svh-instable`; did you mean `svh-unstable`?"
        );
        assert_eq!(
            wrong("[[allow]]\nlint = \"svh\"\ncrate = \"a\"\nreason = \"x\"\n"),
            "svhcheck.toml:2:8: `svh` is a group; an entry of `allow` names one lint"
        );
        assert_eq!(
            wrong("runs = 0\n"),
            "svhcheck.toml:1:8: at least one run is needed"
        );
        let said = wrong("[levels]\nsvh = \"fatal\"\n");
        assert!(said.starts_with("svhcheck.toml:2:7: "), "{said}");
        assert!(said.contains("`allow`"), "{said}");
        let said = wrong("sandbox = \"bubble\"\n");
        assert!(said.starts_with("svhcheck.toml:1:11: "), "{said}");
        let said = wrong(
            "[[allow]]\nlint = \"svh-unstable\"\ncrate = \"a\"\nreason = \"x\"\nexpires = 2027-01-31T10:00:00\n",
        );
        assert_eq!(said, "svhcheck.toml:5:11: a day is written 2027-01-31");
        let said = wrong("[[allow]]\nlint = \"svh-unstable\"\ncrate = \"a\"\n");
        assert!(said.contains("missing field `reason`"), "{said}");
    }

    #[test]
    fn a_lints_own_entry_wins_over_its_groups_and_a_crates_over_both() {
        let text = "[levels]\nsvh-infected = \"deny\"\nsvh = \"allow\"\n[[crate]]\nmatch = \"//x*\"\nlevels = { svh = \"warn\" }\n";
        let config = parse(text).unwrap();
        let today = Day::of_unix_time(0);
        let levels = Levels::new(config.rules, config.allowed, today);
        let (level, source) = levels.of("svh-infected", "//a:a");
        assert_eq!(
            (level, &*source),
            (Level::Deny, "deny because svhcheck.toml:2")
        );
        let (level, source) = levels.of("svh-unstable", "//a:a");
        assert_eq!(
            (level, &*source),
            (Level::Allow, "allow because svhcheck.toml:3")
        );
        let (level, source) = levels.of("svh-infected", "//x:x");
        assert_eq!(
            (level, &*source),
            (Level::Warn, "warn because svhcheck.toml:6")
        );
    }

    #[test]
    fn inputs_are_the_files_of_their_patterns() {
        let text = "[[inputs]]\ncrate = \"gen\"\nfiles = [\"conf/**/*.toml\"]\n";
        let config = parse(text).unwrap();
        let (krate, files) = &config.inputs[0];
        assert!(krate.matches("gen@1.0.0") && !krate.matches("other@1.0.0"));
        assert_eq!(files.len(), 1);
        assert!(files.first().unwrap().ends_with("conf/deep/a.toml"));
    }

    #[test]
    fn what_init_writes_says_nothing_until_a_comment_is_taken_away() {
        let config = parse(TEMPLATE).unwrap();
        assert!(config.rules.is_empty() && config.allowed.is_empty());
        assert_eq!(config.strategies, None);
        // Lines of one `#` without a blank behind it are settings.
        let settings: String = TEMPLATE
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
                _ => format!("{line}\n"),
            })
            .filter(|line| !line.starts_with("known-offenders"))
            .collect();
        let config = parse(&settings).unwrap();
        assert!(!config.rules.is_empty() && !config.allowed.is_empty());
        assert!(config.strategies.is_some() && config.vary.is_some());
    }
}
