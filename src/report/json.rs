//! The JSON form. Its schema is documented in `docs/json.md`; names are only ever added.

use super::Report;

/// Version of the form; it grows when a name changes its meaning.
pub const VERSION: u32 = 1;

/// The report as JSON text, two spaces deep, ending in a newline.
pub fn render(report: &Report) -> String {
    let mut text = serde_json::to_string_pretty(report).expect("a report has only text keys");
    text.push('\n');
    text
}
