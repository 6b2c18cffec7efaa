//! Which level a finding has, and who said so.
//!
//! From the weakest: the lint's page; `[levels]` of the configuration, a group's entry before a
//! lint's own; its `[[crate]]` entries in their order; the command line, where the last word counts.
//! An `[[allow]]` entry names a fault and a reason, and holds against all of these until it
//! expires.

use std::fmt;

use glob::Pattern;

use super::page::Page;
use super::{Finding, Grade, Level, closest};

/// How a level's source ends that nobody set.
const DEFAULT: &str = " by default";

/// A day of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day {
    /// The year.
    pub year: u16,
    /// From 1.
    pub month: u8,
    /// From 1.
    pub day: u8,
}

impl Day {
    /// The day, in UTC, on which a second of the Unix time lies.
    pub fn of_unix_time(seconds: u64) -> Self {
        let leap = |year: u64| {
            (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400)
        };
        let mut left = seconds / 86_400;
        let mut year = 1970;
        while left >= 365 + u64::from(leap(year)) {
            left -= 365 + u64::from(leap(year));
            year += 1;
        }
        let february = 28 + u64::from(leap(year));
        let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let mut month = 1;
        for length in lengths {
            if left < length {
                break;
            }
            left -= length;
            month += 1;
        }
        Self {
            year: u16::try_from(year).unwrap_or(u16::MAX),
            month,
            day: u8::try_from(left + 1).unwrap_or(u8::MAX),
        }
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// A pattern for crates: a label, its folder or its target (`//a/b:c`, `//a/b`, `c`), a package or
/// `package@version`. `*` stands for any text, slashes too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrateGlob(Pattern);

impl CrateGlob {
    /// Reads a pattern.
    pub fn new(text: &str) -> Result<Self, glob::PatternError> {
        Pattern::new(text).map(Self)
    }

    /// Whether a crate's id is one of these.
    pub fn matches(&self, id: &str) -> bool {
        // `#2` tells two builds of one crate apart.
        let whole = id.split('#').next().unwrap_or(id);
        let (first, last) = whole.split_once(['@', ':']).unwrap_or((whole, whole));
        let target = if whole.starts_with("//") { last } else { whole };
        [id, whole, first, target]
            .iter()
            .any(|own| self.0.matches(own))
    }
}

/// One word about levels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The lint, or a group.
    pub target: String,
    /// For these crates alone.
    pub krate: Option<CrateGlob>,
    /// The level.
    pub level: Level,
    /// Who says it: `svhcheck.toml:12`, `--deny hermeticity`.
    pub source: String,
}

/// A fault that is known and allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// The lint.
    pub lint: String,
    /// The crates.
    pub krate: CrateGlob,
    /// Why.
    pub reason: String,
    /// The last day on which it holds.
    pub expires: Option<Day>,
    /// Who says it: `svhcheck.toml:12`.
    pub source: String,
}

/// Everything that was said about levels.
#[derive(Debug, Clone)]
pub struct Levels {
    /// Later ones win.
    rules: Vec<Rule>,
    allowed: Vec<Allowed>,
    pages: Vec<Page>,
    today: Day,
}

impl Levels {
    /// What the pages say, with `rules` (later ones win) and `allowed` on top.
    pub fn new(rules: Vec<Rule>, allowed: Vec<Allowed>, today: Day) -> Self {
        let pages = super::registry();
        Self {
            rules,
            allowed,
            pages,
            today,
        }
    }

    /// Sets the level of each finding.
    pub fn apply<'a>(&self, findings: impl IntoIterator<Item = &'a mut Finding>) {
        for finding in findings {
            let (level, source, accepted) = self.judge(finding);
            finding.level = level;
            finding.level_source = source;
            finding.accepted = accepted;
        }
    }

    /// The level of a lint for a crate, if it finds something there, with who said so.
    pub fn of(&self, lint: &str, krate: &str) -> (Level, String) {
        let page = self.pages.iter().find(|page| page.id == lint);
        let group = page.map(|page| page.group.as_str());
        let said = self.rules.iter().rev().find(|rule| {
            (rule.target == lint || Some(rule.target.as_str()) == group)
                && rule.krate.as_ref().is_none_or(|own| own.matches(krate))
        });
        if let Some(rule) = said {
            let Rule { level, source, .. } = rule;
            return (*level, format!("{level} because {source}"));
        }
        let level = page.map_or(Level::Deny, |page| page.level);
        (level, format!("{level}{DEFAULT}"))
    }

    /// Whether somebody set the level of a lint, and higher than to a note.
    pub fn raised(&self, lint: &str, krate: &str) -> bool {
        let (level, source) = self.of(lint, krate);
        level > Level::Allow && !source.ends_with(DEFAULT)
    }

    /// The level, who set it, and who accepts the fault.
    fn judge(&self, finding: &Finding) -> (Level, String, Option<String>) {
        let page = self.pages.iter().find(|page| page.id == finding.lint);
        // A lint that is allowed by default speaks of hazards, and whoever raises it wants to see
        // them. What did no harm is no fault of the others.
        if finding.grade == Grade::Harmless && page.is_some_and(|page| page.level != Level::Allow) {
            return (
                Level::Allow,
                format!("{} because it is harmless so far", Level::Allow),
                None,
            );
        }
        let (level, mut source) = self.of(&finding.lint, &finding.krate);
        if let Some(why) = finding.aside.filter(|_| source.ends_with(DEFAULT)) {
            let source = format!("{} because {why}", Level::Allow);
            return (Level::Allow, source, None);
        }
        let known = self
            .allowed
            .iter()
            .filter(|own| own.lint == finding.lint && own.krate.matches(&finding.krate));
        for own in known {
            match own.expires {
                Some(day) if day < self.today => {
                    source = format!(
                        "{source}; {} allowed it until {day}: {}",
                        own.source, own.reason
                    );
                }
                _ => {
                    let accepted = format!("{}: {}", own.source, own.reason);
                    let source = format!("{} because {accepted}", Level::Allow);
                    return (Level::Allow, source, Some(accepted));
                }
            }
        }
        (level, source, None)
    }

    /// Why `name` is no lint or group, if it is none.
    pub fn doubt(pages: &[Page], name: &str) -> Option<String> {
        match super::named(pages, name) {
            super::Named::Lint(_) | super::Named::Group(_) => None,
            super::Named::Removed(page) => Some(format!(
                "`{name}` is no lint any more: `svhcheck explain {name}` says what came instead of it ({})",
                page.removed.as_deref().unwrap_or_default()
            )),
            super::Named::Unknown(Some(other)) => Some(format!(
                "no lint or group is called `{name}`; did you mean `{other}`?"
            )),
            super::Named::Unknown(None) => Some(format!(
                "no lint or group is called `{name}`; `svhcheck lints` lists them"
            )),
        }
    }
}

/// `did you mean …?`, if something like it is among `names`.
pub fn suggestion<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> String {
    closest(name, names).map_or_else(String::new, |own| format!("; did you mean `{own}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: Day = Day {
        year: 2026,
        month: 6,
        day: 1,
    };

    fn rule(target: &str, krate: Option<&str>, level: Level, source: &str) -> Rule {
        Rule {
            target: target.to_owned(),
            krate: krate.map(|own| CrateGlob::new(own).unwrap()),
            level,
            source: source.to_owned(),
        }
    }

    fn judged(levels: &Levels, lint: &str, grade: Grade, krate: &str) -> (Level, String) {
        let mut finding = Finding::new(lint, grade, krate);
        levels.apply([&mut finding]);
        (finding.level, finding.level_source)
    }

    #[test]
    fn the_last_word_counts_and_is_named() {
        let rules = vec![
            rule("hermeticity", None, Level::Warn, "a:1"),
            rule("absolute-path-in-metadata", None, Level::Deny, "a:2"),
            rule("svh", Some("//x/*"), Level::Allow, "a:3"),
            rule("svh-infected", None, Level::Deny, "--deny svh-infected"),
        ];
        let levels = Levels::new(rules, Vec::new(), TODAY);
        let own = |lint, krate| judged(&levels, lint, Grade::Confirmed, krate);
        let said = |level, text: &str| (level, text.to_owned());
        assert_eq!(
            own("macro-reads-undeclared-file", "//y:y"),
            said(Level::Warn, "warn because a:1")
        );
        assert_eq!(
            own("absolute-path-in-metadata", "//y:y"),
            said(Level::Deny, "deny because a:2")
        );
        assert_eq!(
            own("svh-unstable", "//x/z:z"),
            said(Level::Allow, "allow because a:3")
        );
        assert_eq!(
            own("svh-unstable", "//y:y"),
            said(Level::Deny, "deny by default")
        );
        assert_eq!(
            own("svh-infected", "//x/z:z"),
            said(Level::Deny, "deny because --deny svh-infected")
        );
    }

    #[test]
    fn harmless_findings_stay_hidden_but_for_lints_of_hazards() {
        let rules = vec![
            rule("svh-unstable", None, Level::Deny, "a:1"),
            rule("macro-reads-time", None, Level::Warn, "a:2"),
        ];
        let levels = Levels::new(rules, Vec::new(), TODAY);
        let own = |lint| judged(&levels, lint, Grade::Harmless, "//y:y").0;
        assert_eq!(own("svh-unstable"), Level::Allow);
        assert_eq!(own("macro-reads-time"), Level::Warn);
        assert_eq!(own("macro-reads-env"), Level::Allow);
    }

    #[test]
    fn what_is_allowed_comes_back_when_it_expires() {
        let allowed = |day| Allowed {
            lint: "svh-unstable".to_owned(),
            krate: CrateGlob::new("ahash").unwrap(),
            reason: "waits for a release".to_owned(),
            expires: day,
            source: "svhcheck.toml:4".to_owned(),
        };
        let on = |month, day| Day {
            year: 2026,
            month,
            day,
        };
        let own = |day| {
            let deny = vec![rule("svh", None, Level::Deny, "--deny svh")];
            let levels = Levels::new(deny, vec![allowed(day)], TODAY);
            judged(&levels, "svh-unstable", Grade::Confirmed, "ahash@0.8.3#2")
        };
        let holds = "allow because svhcheck.toml:4: waits for a release";
        assert_eq!(own(None), (Level::Allow, holds.to_owned()));
        assert_eq!(own(Some(TODAY)), (Level::Allow, holds.to_owned()));
        let over = "deny because --deny svh; svhcheck.toml:4 allowed it until 2026-05-31: waits for a release";
        assert_eq!(own(Some(on(5, 31))), (Level::Deny, over.to_owned()));
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        let day = |seconds| Day::of_unix_time(seconds).to_string();
        assert_eq!(day(0), "1970-01-01");
        assert_eq!(day(951_782_399), "2000-02-28");
        assert_eq!(day(951_782_400), "2000-02-29");
        assert_eq!(day(1_798_761_599), "2026-12-31");
        assert_eq!(day(4_107_542_400), "2100-03-01");
    }

    #[test]
    fn crates_are_named_by_label_package_or_glob() {
        let matches = |glob: &str, id: &str| CrateGlob::new(glob).unwrap().matches(id);
        assert!(matches("serde_derive", "serde_derive@1.0.2#2"));
        assert!(matches("serde_*", "serde_derive@1.0.2"));
        assert!(matches("ahash@0.8.*", "ahash@0.8.11"));
        assert!(!matches("ahash@0.7.*", "ahash@0.8.11"));
        assert!(matches("//third_party/*", "//third_party/a/b:c"));
        assert!(matches("//a", "//a:a"));
        assert!(matches("b", "//a:b"));
        assert!(!matches("1.*", "b@1.0.0"));
        assert!(!matches("//a", "//a/b:b"));
    }
}
