//! What E0460 and E0463 are about: which SVH was expected by whom, what is there, and which crate
//! to look at.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::artifact::{self, CrateRoot, Svh};
use crate::bytes::Escaped;
use crate::rustc::messages::Message;

/// The explanation of one error.
pub(super) fn explain(message: &Message) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut text, message);
    text
}

fn write(out: &mut String, message: &Message) -> std::fmt::Result {
    let name = escaped(&message.krate);
    let user = message.user.as_deref();
    let wanted = user.map_or_else(
        || "the crate that is compiled".to_owned(),
        |user| format!("`{}`", escaped(user)),
    );
    writeln!(
        out,
        "\x1b[1m{}\x1b[0m: {wanted} needs another build of `{name}` than it finds",
        message.code
    )?;
    let mut roots: BTreeMap<&Path, CrateRoot> = BTreeMap::new();
    for (_, path) in &message.files {
        match artifact::read_root(path) {
            Ok(root) => {
                roots.insert(path, root);
            }
            Err(error) => writeln!(out, "  not read: {}", escaped(&error.to_string()))?,
        }
    }
    let of = |wanted: &str| -> Vec<(&Path, &CrateRoot)> {
        let files = message.files.iter().filter(|(own, _)| own == wanted);
        let paths = files.map(|(_, path)| path.as_path());
        paths
            .filter_map(|path| Some((path, roots.get(path)?)))
            .collect()
    };
    let mut expected: Vec<Svh> = Vec::new();
    for (path, root) in user.into_iter().flat_map(of) {
        for dep in root
            .deps
            .iter()
            .filter(|dep| dep.name.known() == Some(&*message.krate))
        {
            writeln!(
                out,
                "  expected: SVH {} by {wanted}, {}",
                dep.svh,
                shown(path)
            )?;
            expected.push(dep.svh);
        }
    }
    let mut moved: Vec<String> = Vec::new();
    for (path, root) in of(&message.krate) {
        writeln!(out, "  found:    SVH {}, {}", root.svh, shown(path))?;
        // What it was compiled against may have moved first.
        let tables = user.into_iter().flat_map(of);
        for dep in tables.flat_map(|(_, root)| &root.deps) {
            let own = root
                .deps
                .iter()
                .find(|own| own.name == dep.name && own.extra_filename == dep.extra_filename);
            if let Some(own) = own.filter(|own| own.svh != dep.svh) {
                let name = escaped(&own.name.to_string());
                writeln!(
                    out,
                    "  moved:    `{name}`: {wanted} was compiled against SVH {}, `{}` against {}",
                    dep.svh,
                    escaped(&message.krate),
                    own.svh
                )?;
                moved.push(name);
            }
        }
    }
    moved.sort();
    moved.dedup();
    let suspects = if moved.is_empty() {
        vec![name.clone()]
    } else {
        moved
    };
    let suspects: Vec<String> = suspects.iter().map(|own| format!("`{own}`")).collect();
    if message.files.is_empty() {
        writeln!(out, "  rustc named no file: only the names are known")?;
    } else if expected.is_empty() {
        writeln!(
            out,
            "  what was expected is unknown: {wanted} could not be read, or does not list `{name}`"
        )?;
    }
    writeln!(out, "  look at:  {}", suspects.join(", "))?;
    writeln!(
        out,
        "  It was compiled again after {wanted}, or two compiles of it gave two SVHs. `svhcheck //...` tells"
    )?;
    writeln!(
        out,
        "  whether its SVH moves and why; if it stands still, compile {wanted} again.\n"
    )
}

fn escaped(text: &str) -> String {
    Escaped(text.as_bytes()).to_string()
}

fn shown(path: &Path) -> String {
    escaped(&path.display().to_string())
}
