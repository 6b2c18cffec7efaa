//! What Buck2 ran, as `buck2 log what-ran --format json` tells it: one JSON object a line
//! (`app/buck2_cmd_log_client/src/what_ran.rs` in Buck2's source, `JsonCommand`).

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::Buck2Error;

/// One line.
#[derive(Debug, Deserialize)]
struct Line {
    identity: String,
    reproducer: Reproducer,
}

/// How it was run. Other executors carry other details, of which only the digest matters here.
#[derive(Debug, Deserialize)]
struct Reproducer {
    executor: String,
    #[serde(default)]
    details: Details,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    command: Option<Vec<String>>,
    env: BTreeMap<String, String>,
    digest: Option<String>,
}

/// A compile that Buck2 ran, or took from a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ran {
    /// The target as Buck2 names it, `cell//path:name`.
    pub(super) label: String,
    /// Its configuration, `platform#hash`.
    pub(super) configuration: String,
    /// What tells the compiles of a target apart: `rlib [pic]`, `metadata [pic]`, `check`.
    pub(super) identifier: String,
    pub(super) how: How,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum How {
    /// Here.
    Local {
        command: Vec<String>,
        env: BTreeMap<String, String>,
    },
    /// Elsewhere, or not at all: the log has no command.
    Away {
        executor: String,
        digest: Option<String>,
    },
}

/// The compiles of a log.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) ran: Vec<Ran>,
    /// How many lines are not understood, and the first of them (counted from 1).
    pub(super) odd: Option<(usize, usize)>,
}

impl Log {
    /// Reads a log; `path` names it in messages.
    pub(super) fn parse(text: &[u8], path: &Path) -> Result<Self, Buck2Error> {
        let mut log = Self::default();
        let mut understood = 0;
        for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let Ok(line) = serde_json::from_slice::<Line>(line) else {
                let (count, first) = log.odd.unwrap_or((0, at + 1));
                log.odd = Some((count + 1, first));
                continue;
            };
            understood += 1;
            log.ran.extend(line.compile());
        }
        match log.odd {
            Some((_, line)) if understood == 0 => Err(Buck2Error::NoLog {
                path: path.to_owned(),
                line,
            }),
            _ => Ok(log),
        }
    }
}

impl Line {
    /// The compile, if it is one of rustc: `label (configuration) (category identifier)`.
    fn compile(self) -> Option<Ran> {
        let (rest, action) = last_parenthesis(&self.identity)?;
        let Some(("rustc", identifier)) = action.split_once(' ') else {
            return None;
        };
        let (label, configuration) = last_parenthesis(rest).unwrap_or((rest, ""));
        let Reproducer { executor, details } = self.reproducer;
        let how = match details.command {
            Some(command) => How::Local {
                command,
                env: details.env,
            },
            None => How::Away {
                executor,
                digest: details.digest,
            },
        };
        Some(Ran {
            label: label.to_owned(),
            configuration: configuration.to_owned(),
            identifier: identifier.to_owned(),
            how,
        })
    }
}

/// `a (b)` → `a`, `b`.
fn last_parenthesis(text: &str) -> Option<(&str, &str)> {
    text.trim_end().strip_suffix(')')?.rsplit_once(" (")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Log, Buck2Error> {
        Log::parse(text.as_bytes(), Path::new("ran.jsonl"))
    }

    #[test]
    fn compiles_are_told_from_the_rest() {
        let log = parse(
            r#"{"reason":"build","identity":"root//a:a (p//:default#12) (rustc rlib [pic])","reproducer":{"executor":"Local","details":{"command":["python3","x.py","@args"],"env":{"A":"1"}}},"duration":"0.1s"}
{"reason":"build","identity":"root//a:a (p//:default#12) (rustc metadata [pic])","reproducer":{"executor":"Re","details":{"digest":"ab:12","platform_properties":{}}}}
{"reason":"build","identity":"root//a:a (p//:default#12) (rustc check)","reproducer":{"executor":"LocalDepFileCache"}}

{"reason":"build","identity":"root//a:a (p//:default#12) (rustdoc)","reproducer":{"executor":"Local","details":{"command":["x"],"env":{}}}}
not json
{"reason":"build"}
"#,
        )
        .unwrap();
        let names: Vec<&str> = log.ran.iter().map(|own| own.identifier.as_str()).collect();
        assert_eq!(names, ["rlib [pic]", "metadata [pic]", "check"]);
        let first = &log.ran[0];
        assert_eq!(
            (first.label.as_str(), first.configuration.as_str()),
            ("root//a:a", "p//:default#12")
        );
        assert!(matches!(&first.how, How::Local { command, .. } if command.len() == 3));
        let digest = Some("ab:12".to_owned());
        assert!(matches!(&log.ran[1].how, How::Away { digest: own, .. } if *own == digest));
        assert_eq!(log.odd, Some((2, 6)));
    }

    #[test]
    fn what_is_no_log_says_in_which_line() {
        let error = parse("\nbuild\troot//:a\tlocal\n").unwrap_err();
        assert!(matches!(error, Buck2Error::NoLog { line: 2, .. }));
        assert!(parse("").unwrap().ran.is_empty());
    }
}
