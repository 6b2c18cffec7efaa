//! `svhcheck lints`: what svhcheck can say.

use std::fmt::Write as _;
use std::io::Write as _;

use serde::Serialize;

use super::exit::Exit;
use super::shell::Shell;
use crate::lint::page::Page;
use crate::lint::{self, Level};

/// What the user typed.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The form of the output
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// For people
    Human,
    /// One object
    Json,
}

/// A lint in the JSON form.
#[derive(Serialize)]
struct Entry<'a> {
    id: &'a str,
    level: Level,
    group: &'a str,
    since: &'a str,
    removed: Option<&'a str>,
    message: &'a str,
}

/// Prints the list.
pub(super) fn run(args: &Args, shell: &mut Shell) -> anyhow::Result<Exit> {
    let pages = lint::registry();
    let text = match args.format {
        Format::Human => human(&pages),
        Format::Json => json(&pages)?,
    };
    shell.out().write_all(text.as_bytes())?;
    Ok(Exit::Clean)
}

fn json(pages: &[Page]) -> anyhow::Result<String> {
    let lints: Vec<Entry<'_>> = pages
        .iter()
        .map(|page| Entry {
            id: &page.id,
            level: page.level,
            group: &page.group,
            since: &page.since,
            removed: page.removed.as_deref(),
            message: &page.message,
        })
        .collect();
    let text = serde_json::to_string_pretty(&serde_json::json!({ "version": 1, "lints": lints }))?;
    Ok(text + "\n")
}

/// By group, a line each.
fn human(pages: &[Page]) -> String {
    let kept = || pages.iter().filter(|page| page.removed.is_none());
    let mut groups: Vec<&str> = kept().map(|page| page.group.as_str()).collect();
    groups.sort_unstable();
    groups.dedup();
    let width = kept().map(|page| page.id.len()).max().unwrap_or(0);
    let mut text = String::new();
    for group in groups {
        let _ = writeln!(text, "\x1b[1m{group}\x1b[0m");
        for page in kept().filter(|page| page.group == group) {
            let color = match page.level {
                Level::Deny => "\x1b[31m",
                Level::Warn => "\x1b[33m",
                Level::Allow => "",
            };
            let (id, level, message) = (&page.id, page.level.to_string(), &page.message);
            let _ = writeln!(text, "  {id:width$}  {color}{level:5}\x1b[0m  {message}");
        }
    }
    text.push_str(
        "\n`svhcheck explain LINT` says more; `--deny`, `--warn` and `--allow` take a lint or a group.\n",
    );
    text
}
