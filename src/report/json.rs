//! The JSON form. Its names are documented in `docs/json.md` and in the schema beside it; they are
//! only ever added.

use super::{Report, words};

/// Version of the form; it grows when a name changes its meaning.
pub const VERSION: u32 = 1;

/// A text that is no report.
#[derive(Debug, thiserror::Error)]
pub enum NotAReport {
    /// It is not JSON, or not of this form.
    #[error("not a report of svhcheck: {0}")]
    Form(#[from] serde_json::Error),
    /// A lint or strategy has a name that svhcheck would not give it.
    #[error("not a report of svhcheck: `{0}` is no name of a lint, strategy or variation")]
    Name(String),
    /// A later svhcheck wrote it.
    #[error("a report of version {0}, and this svhcheck reads up to {VERSION}; use a newer one")]
    Newer(u32),
}

/// The report as JSON text, two spaces deep, ending in a newline.
pub fn render(report: &Report) -> String {
    let mut text = serde_json::to_string_pretty(report).expect("a report has only text keys");
    text.push('\n');
    text
}

/// Reads what [`render`] wrote. Counts are made again, so that they fit whatever was edited.
pub fn read(text: &[u8]) -> Result<Report, NotAReport> {
    #[derive(serde::Deserialize)]
    struct Head {
        version: u32,
    }
    // First the version alone: of a later one, the rest may have changed.
    let head: Head = serde_json::from_slice(text)?;
    if head.version > VERSION {
        return Err(NotAReport::Newer(head.version));
    }
    let mut report: Report = serde_json::from_slice(text)?;
    if let Some(name) = names(&report).find(|name| !is_name(name)) {
        return Err(NotAReport::Name(words::shown(name)));
    }
    report.finish();
    Ok(report)
}

/// The words of svhcheck's own in a report. Forms show them as they are.
fn names(report: &Report) -> impl Iterator<Item = &str> {
    let listed = report.strategies.iter().chain(&report.variations);
    let keys = report.crates.iter().flat_map(|own| own.strategies.keys());
    let lints = report.findings.iter().map(|own| &own.lint);
    listed.chain(keys).chain(lints).map(String::as_str)
}

fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.len() < 64 && text.bytes().all(is_plain)
}

/// How the schema shows values that are written as text.
#[cfg(test)]
pub(crate) mod schema {
    /// A strict version hash, as rustc prints it: 32 hexadecimal digits, 16 up to rustc 1.70.
    #[derive(schemars::JsonSchema)]
    #[expect(dead_code, reason = "the schema is made from it")]
    pub(crate) struct Svh(#[schemars(regex(pattern = r"^([0-9a-f]{16}|[0-9a-f]{32})$"))] String);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written with `UPDATE=1`, as `tests/tidy.rs` does for other generated files; here because the
    /// types carry their schema in tests alone.
    #[test]
    fn the_schema_beside_the_documentation_is_fresh() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/report.schema.json");
        let mut schema = schemars::schema_for!(Report);
        schema.insert("title".to_owned(), "A report of svhcheck".into());
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
            std::fs::write(path, &text).unwrap();
        }
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            kept == text,
            "stale: run `UPDATE=1 cargo test --lib schema`"
        );
    }

    #[test]
    fn what_is_no_report_is_refused_with_the_reason() {
        let said = |text: &str| read(text.as_bytes()).unwrap_err().to_string();
        assert!(said("<html>").contains("not a report of svhcheck: expected value at line 1"));
        assert!(said("{}").contains("missing field `version`"));
        assert!(said("{\"version\": 99}").contains("a report of version 99"));
        assert!(said("{\"version\": 1}").contains("missing field `rustc`"));
        let kept = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/data/reports/example.json"
        );
        let kept = std::fs::read_to_string(kept).unwrap();
        let forged = said(&kept.replace("svh-unstable", "svh\\u001b[2J"));
        assert!(forged.contains("`svh\\x1b[2J` is no name"), "{forged}");
    }
}
