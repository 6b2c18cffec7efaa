//! Target patterns in Bazel's form, over workspace members.
//!
//! `//...` everything · `//a/...` everything at or below the folder `a` · `//a` all targets of the
//! package in `a` · `//a:t` one target · `//:t` a target of the root package · a leading `-` takes
//! away. Order counts, as in Bazel: later patterns act on what earlier ones left.

use std::fmt;

/// A pattern, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    exclude: bool,
    folder: String,
    below: bool,
    target: Option<String>,
}

/// A pattern that cannot be read, with what would be one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` is not a target pattern: {hint}")]
pub struct PatternError {
    text: String,
    hint: &'static str,
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Pattern {
    /// Reads a pattern. One that does not start at the root (`...`, `a/...`, `:t`) is relative to
    /// `folder`, a folder of the workspace written like `a/b` (empty for the root).
    pub fn parse(text: &str, folder: &str) -> Result<Self, PatternError> {
        let fail = |hint| PatternError {
            text: text.to_owned(),
            hint,
        };
        let (exclude, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if rest.starts_with('@') {
            return Err(fail(
                "dependencies are judged with `--deps`; patterns name workspace members, as in //...",
            ));
        }
        let whole = match rest.strip_prefix("//") {
            Some(whole) => whole.to_owned(),
            None if rest.starts_with('/') => {
                return Err(fail(
                    "start at the workspace root with two slashes, as in //path/...",
                ));
            }
            None if folder.is_empty() || rest.starts_with(':') => format!("{folder}{rest}"),
            None => format!("{folder}/{rest}"),
        };
        let (path, target) = match whole.split_once(':') {
            Some((_, "")) => {
                return Err(fail(
                    "a target's name stands behind the colon, as in //path:name",
                ));
            }
            Some((path, target)) => (path.to_owned(), Some(target.to_owned())),
            None => (whole, None),
        };
        let (below, path) = match path.strip_suffix("...") {
            Some("") => (true, String::new()),
            Some(path) if path.ends_with('/') => (true, path.trim_end_matches('/').to_owned()),
            Some(_) => return Err(fail("`...` stands for whole folders: write //path/...")),
            None => (false, path),
        };
        if path.split('/').any(|part| part == ".." || part == ".") || path.contains('*') {
            return Err(fail(
                "use //... for everything, //path/... for a folder, //path:target for a target",
            ));
        }
        // `all` and `*` name every target, as in Bazel.
        let target = target.filter(|target| target != "all" && target != "*");
        Ok(Self {
            text: text.to_owned(),
            exclude,
            folder: path,
            below,
            target,
        })
    }

    /// Whether the target `target` of the package in `folder` matches.
    pub fn matches(&self, folder: &str, target: &str) -> bool {
        let place = folder == self.folder
            || (self.below
                && (self.folder.is_empty()
                    || folder
                        .strip_prefix(&self.folder)
                        .is_some_and(|rest| rest.starts_with('/'))));
        place && self.target.as_deref().is_none_or(|own| own == target)
    }
}

/// No target matched a pattern.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("no target matches `{pattern}`{}", near_text(.near))]
pub struct NoMatch {
    /// The pattern.
    pub pattern: String,
    /// Labels that look like it, best first.
    pub near: Vec<String>,
}

fn near_text(near: &[String]) -> String {
    if near.is_empty() {
        return "; `//...` means every member of the workspace".to_owned();
    }
    format!("; did you mean {}?", near.join(", "))
}

/// Which of `targets` (folder, name) the patterns choose: one flag each. A pattern that matches
/// nothing at all is an error with near misses.
pub fn select(patterns: &[Pattern], targets: &[(String, String)]) -> Result<Vec<bool>, NoMatch> {
    let mut chosen = vec![false; targets.len()];
    // A list of exclusions alone takes away from everything.
    if patterns.iter().all(|pattern| pattern.exclude) {
        chosen.fill(true);
    }
    for pattern in patterns {
        let mut any = false;
        for (flag, (folder, name)) in chosen.iter_mut().zip(targets) {
            if pattern.matches(folder, name) {
                any = true;
                *flag = !pattern.exclude;
            }
        }
        if !any {
            let text = pattern.text.trim_start_matches('-');
            return Err(NoMatch {
                pattern: pattern.text.clone(),
                near: near(text, targets),
            });
        }
    }
    Ok(chosen)
}

/// The labels most like `text`, at most five, at least vaguely like it.
fn near(text: &str, targets: &[(String, String)]) -> Vec<String> {
    let mut scored: Vec<(f32, String)> = targets
        .iter()
        .flat_map(|(folder, name)| [format!("//{folder}:{name}"), format!("//{folder}/...")])
        .map(|label| {
            let diff = similar::TextDiff::from_chars(text, &label);
            (diff.ratio(), label.replace("///...", "//..."))
        })
        .filter(|(ratio, _)| *ratio > 0.5)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    scored.dedup_by(|a, b| a.1 == b.1);
    scored.into_iter().map(|(_, label)| label).take(5).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(patterns: &[&str], folder: &str) -> Vec<&'static str> {
        let labels = ["//:root", "//a:one", "//a/b:two", "//ab:three"];
        let targets: Vec<(String, String)> = labels
            .iter()
            .map(|label| label[2..].split_once(':').unwrap())
            .map(|(folder, name)| (folder.to_owned(), name.to_owned()))
            .collect();
        let patterns: Vec<Pattern> = patterns
            .iter()
            .map(|text| Pattern::parse(text, folder).unwrap())
            .collect();
        let chosen = select(&patterns, &targets).unwrap();
        labels
            .iter()
            .zip(chosen)
            .filter(|(_, flag)| *flag)
            .map(|(label, _)| *label)
            .collect()
    }

    #[test]
    fn patterns_choose_what_bazels_would() {
        assert_eq!(
            choose(&["//..."], ""),
            ["//:root", "//a:one", "//a/b:two", "//ab:three"]
        );
        assert_eq!(choose(&["//a/..."], ""), ["//a:one", "//a/b:two"]);
        assert_eq!(choose(&["//a"], ""), ["//a:one"]);
        assert_eq!(choose(&["//:root"], ""), ["//:root"]);
        assert_eq!(
            choose(&["//...", "-//a/..."], ""),
            ["//:root", "//ab:three"]
        );
        assert_eq!(
            choose(&["//...", "-//a/...", "//a/b:two"], ""),
            ["//:root", "//a/b:two", "//ab:three"]
        );
        assert_eq!(
            choose(&["-//ab:all"], ""),
            ["//:root", "//a:one", "//a/b:two"]
        );
        assert_eq!(choose(&["..."], "a"), ["//a:one", "//a/b:two"]);
        assert_eq!(choose(&[":one"], "a"), ["//a:one"]);
    }

    #[test]
    fn a_pattern_without_a_match_lists_near_misses() {
        let pattern = Pattern::parse("//crates/srever/...", "").unwrap();
        let targets = [("crates/server".to_owned(), "server".to_owned())];
        let error = select(&[pattern], &targets).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no target matches `//crates/srever/...`; did you mean //crates/server/..., //crates/server:server?"
        );
    }

    #[test]
    fn what_is_no_pattern_says_so() {
        for text in ["/a", "//a:", "//a...", "@x//:y", "//../a"] {
            assert!(Pattern::parse(text, "").is_err(), "{text}");
        }
    }
}
