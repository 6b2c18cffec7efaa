//! `svhcheck explain`: a lint's page, or what one of rustc's errors means for the artifacts at hand.

mod stale;

use std::io::{Read as _, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, bail};

use super::exit::Exit;
use super::shell::Shell;
use crate::lint::page::Page;
use crate::lint::{self, Named, closest};
use crate::rustc::messages::{self, CODES};

/// Columns of the text.
const WIDTH: usize = 80;

/// What the user typed.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A lint, or an error of rustc: E0460, E0463
    #[arg(value_name = "LINT")]
    name: String,

    /// For an error: what rustc or Cargo printed, as text or as JSON messages; - is standard input
    #[arg(value_name = "FILE")]
    log: Option<PathBuf>,
}

/// Prints the explanation.
pub(super) fn run(args: &Args, shell: &mut Shell) -> anyhow::Result<Exit> {
    if let Some(code) = CODES
        .iter()
        .find(|own| own.eq_ignore_ascii_case(&args.name))
    {
        return error(code, args, shell);
    }
    if args.log.is_some() {
        bail!(
            "only errors of rustc ({}) are explained by a log",
            CODES.join(", ")
        );
    }
    let pages = lint::registry();
    let page = match lint::named(&pages, &args.name) {
        Named::Lint(page) | Named::Removed(page) => page,
        Named::Group(group) => {
            let own = pages.iter().filter(|page| page.group == group);
            let ids: Vec<&str> = own.map(|page| page.id.as_str()).collect();
            writeln!(
                shell.out(),
                "`{group}` is a group of lints: {}",
                ids.join(", ")
            )?;
            return Ok(Exit::Clean);
        }
        Named::Unknown(_) => {
            let names = pages.iter().flat_map(|page| [&page.id, &page.group]);
            let names = names.map(String::as_str).chain(CODES);
            match closest(&args.name, names) {
                Some(own) => bail!("nothing is called `{}`; did you mean `{own}`?", args.name),
                None => bail!(
                    "nothing is called `{}`; `svhcheck lints` lists what there is",
                    args.name
                ),
            }
        }
    };
    shell.out().write_all(rendered(page).as_bytes())?;
    Ok(Exit::Clean)
}

fn error(code: &str, args: &Args, shell: &mut Shell) -> anyhow::Result<Exit> {
    let Some(path) = &args.log else {
        bail!(
            "`svhcheck explain {code} FILE` reads what rustc or Cargo printed; - is standard input"
        );
    };
    let mut bytes = Vec::new();
    if path.as_os_str() == "-" {
        let mut input = std::io::stdin().lock();
        input
            .read_to_end(&mut bytes)
            .context("cannot read standard input")?;
    } else {
        bytes = fs_err::read(path)?;
    }
    let found = messages::read(&String::from_utf8_lossy(&bytes));
    let found: Vec<_> = found.into_iter().filter(|own| own.code == code).collect();
    if found.is_empty() {
        bail!("no {code} is in that log");
    }
    for message in &found {
        shell.out().write_all(stale::explain(message).as_bytes())?;
    }
    Ok(Exit::Clean)
}

/// A page for a terminal.
fn rendered(page: &Page) -> String {
    let state = match &page.removed {
        Some(version) => format!("removed in {version}"),
        None => format!(
            "{} by default, group {}, since {}",
            page.level, page.group, page.since
        ),
    };
    let mut text = format!("\x1b[1m{}\x1b[0m: {}\n{state}\n", page.id, page.message);
    // The first heading is the name again.
    for paragraph in page.text.split("\n\n").skip(1) {
        text.push('\n');
        if let Some(title) = paragraph.strip_prefix("## ") {
            text.extend(["\x1b[1m", title, "\x1b[0m\n"]);
        } else if paragraph.starts_with("    ") || paragraph.starts_with("```") {
            text.push_str(paragraph);
            text.push('\n');
        } else {
            fill(&mut text, paragraph);
        }
    }
    text
}

/// A paragraph in lines of [`WIDTH`] columns, two in from the left.
fn fill(text: &mut String, paragraph: &str) {
    let mut line = String::from(" ");
    for word in paragraph.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH && line.len() > 1 {
            text.push_str(&line);
            text.push('\n');
            line = String::from(" ");
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}
