//! `--format human`: a block for each of a few files, a table for many.

use std::fmt::{self, Write as _};
use std::path::Path;

use super::{Inspection, Stub};
use crate::artifact::{CrateRoot, DepKind, Linkage};
use crate::bytes::Escaped;
use crate::cli::words::grouped;

/// Members shown before the rest is only counted.
const MAX_MEMBERS: usize = 16;

/// Column of the values in a block.
const LABEL: usize = 14;

/// A block for each file. `full` cuts nothing.
pub(super) fn blocks(inspections: &[Inspection], full: bool) -> String {
    let mut text = String::new();
    for (index, file) in inspections.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        block(&mut text, file, full).expect("a string takes any text");
    }
    text
}

fn block(text: &mut String, file: &Inspection, full: bool) -> fmt::Result {
    let path = Escaped::os(&file.path);
    if file.kind.is_none() {
        return writeln!(text, "{path}: not read, see the error");
    }
    writeln!(text, "{path}")?;
    let mut row = |label: &str, value: fmt::Arguments| writeln!(text, "  {label:LABEL$}{value}");
    let root = file.root.as_ref();
    if let Some(root) = root {
        row("crate", format_args!("{}", root.name))?;
        row("svh", format_args!("{}", root.svh))?;
        if let Some(id) = root.stable_crate_id {
            row("crate id", format_args!("{id}"))?;
        }
        if let Some(extra) = root.extra_filename.as_deref().filter(|e| !e.is_empty()) {
            row("extra name", format_args!("{}", Escaped(extra.as_bytes())))?;
        }
    }
    match (&file.rustc, file.metadata_version) {
        (Some(rustc), Some(version)) => {
            let rustc = Escaped(rustc.as_bytes());
            row(
                "written by",
                format_args!("{rustc}, metadata version {version}"),
            )?;
        }
        (None, Some(version)) => row("written by", format_args!("metadata version {version}"))?,
        _ => {}
    }
    if let Some(root) = root {
        let json = match root.target_json {
            Some(_) => ", defined by a JSON file",
            None => "",
        };
        let triple = Escaped(root.triple.as_bytes());
        row("target", format_args!("{triple}{json}"))?;
        let ways = ways(root);
        if !ways.is_empty() {
            row("compiled", format_args!("{}", ways.join(", ")))?;
        }
        let set = root.flags.iter().filter(|(_, set)| **set);
        let flags: Vec<String> = set.map(|(flag, _)| flag.to_string()).collect();
        if !flags.is_empty() {
            row("flags", format_args!("{}", flags.join(", ")))?;
        }
    }
    row("file", format_args!("{}", contents(file)))?;
    if let Some(stub) = &file.stub {
        row("stub", format_args!("{}", completion(stub)))?;
    }
    if let Some(root) = root {
        dependencies(text, root)?;
    }
    members(text, file, full)
}

/// How it was compiled, as far as the root tells.
fn ways(root: &CrateRoot) -> Vec<String> {
    let mut ways = Vec::new();
    if let Some(edition) = root.edition {
        ways.push(format!("edition {edition}"));
    }
    if let Some(panic) = root.panic_strategy {
        ways.push(format!("panic={panic}"));
    }
    if let Some(mangling) = root.symbol_mangling {
        ways.push(format!("{mangling} symbols"));
    }
    ways
}

fn contents(file: &Inspection) -> String {
    let mut text = format!("{}, {} bytes", file.label(), grouped(file.size));
    if let Some(metadata) = &file.metadata {
        let (size, at) = (grouped(metadata.len()), metadata.start);
        if at > 0 || metadata.len() != file.size {
            let _ = write!(text, ", of them metadata {size} at {at:#x}");
        }
    }
    text
}

fn completion(stub: &Stub) -> String {
    let name = |path: &Path| {
        let name = path.file_name().unwrap_or(path.as_os_str());
        Escaped::os(name).to_string()
    };
    match stub {
        Stub::CompletedFrom(path) => format!("completed from {} beside it", name(path)),
        Stub::Missing(path) => format!(
            "its full metadata is not beside it ({}), so no dependencies are known",
            name(path)
        ),
        Stub::OfAnotherBuild(path) => format!(
            "{} beside it has another SVH, so no dependencies are known",
            name(path)
        ),
        Stub::Unreadable(path) => format!(
            "{} beside it cannot be read, so no dependencies are known",
            name(path)
        ),
    }
}

fn dependencies(text: &mut String, root: &CrateRoot) -> fmt::Result {
    if root.is_stub {
        return Ok(());
    }
    if root.deps.is_empty() {
        let why = match root.is_proc_macro {
            Some(true) => " (a proc macro records none)",
            _ => "",
        };
        return writeln!(text, "  {:LABEL$}none{why}", "dependencies");
    }
    writeln!(text, "  {:LABEL$}{}", "dependencies", root.deps.len())?;
    let names = root.deps.iter().map(|dep| dep.name.to_string());
    let width = names.map(|name| name.chars().count()).max().unwrap_or(0);
    for dep in &root.deps {
        let mut notes = vec![Escaped(dep.extra_filename.as_bytes()).to_string()];
        if dep.kind != DepKind::Unconditional {
            notes.push(dep.kind.to_string());
        }
        if dep.is_private == Some(true) {
            notes.push("private".to_owned());
        }
        if dep.linkage == Some(Linkage::Dynamic) {
            notes.push("linked dynamically".to_owned());
        }
        if let Some(host) = dep.host_svh {
            notes.push(format!("host svh {host}"));
        }
        notes.retain(|note| !note.is_empty());
        let line = format!("    {:width$}  {}  {}", dep.name, dep.svh, notes.join("  "));
        writeln!(text, "{}", line.trim_end())?;
    }
    Ok(())
}

fn members(text: &mut String, file: &Inspection, full: bool) -> fmt::Result {
    if file.members.is_empty() {
        return Ok(());
    }
    writeln!(text, "  {:LABEL$}{}", "members", file.members.len())?;
    // One line more would not take more room than saying that it is left out.
    let all = full || file.members.len() <= MAX_MEMBERS + 1;
    let shown = if all { file.members.len() } else { MAX_MEMBERS };
    let (shown, rest) = file.members.split_at(shown);
    let names: Vec<_> = shown.iter().map(|m| Escaped(&m.name).to_string()).collect();
    let sizes: Vec<_> = shown.iter().map(|m| grouped(m.range.len())).collect();
    let width = sizes.iter().map(String::len).max().unwrap_or(0);
    for (name, size) in names.iter().zip(&sizes) {
        writeln!(text, "    {size:>width$}  {name}")?;
    }
    if !rest.is_empty() {
        let bytes = grouped(rest.iter().map(|member| member.range.len()).sum());
        let count = rest.len();
        writeln!(
            text,
            "    … and {count} more, {bytes} bytes (--full lists all)"
        )?;
    }
    Ok(())
}

/// A row for each file, then which compilers and targets they are of.
pub(super) fn table(inspections: &[Inspection]) -> String {
    let directory = common_directory(inspections);
    let mut rows = vec![["crate", "svh", "kind", "deps", "bytes", "file"].map(str::to_owned)];
    rows.extend(inspections.iter().map(|file| {
        let path = directory.and_then(|directory| file.path.strip_prefix(directory).ok());
        let path = Escaped::os(path.unwrap_or(&file.path)).to_string();
        let Some(root) = &file.root else {
            let dash = || "-".to_owned();
            return [
                dash(),
                dash(),
                file.label().to_owned(),
                dash(),
                dash(),
                path,
            ];
        };
        let stub = if file.stub.is_some() { " stub" } else { "" };
        let deps = if root.is_stub {
            "?".to_owned()
        } else {
            root.deps.len().to_string()
        };
        [
            root.name.to_string(),
            root.svh.to_string(),
            format!("{}{stub}", file.label()),
            deps,
            grouped(file.size),
            path,
        ]
    }));
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let [name, svh, kind, deps, bytes, _] = widths;
    let mut text = String::new();
    if let Some(directory) = directory {
        text = format!("in {}:\n", Escaped::os(directory));
    }
    for [a, b, c, d, e, f] in &rows {
        let line = format!("{a:name$}  {b:svh$}  {c:kind$}  {d:>deps$}  {e:>bytes$}  {f}\n");
        text.push_str(&line);
    }
    text.push('\n');
    text.push_str(&summary(inspections));
    text
}

/// `61 files: 30 of rustc 1.95.0 (…) for x86_64-unknown-linux-gnu, …`.
fn summary(inspections: &[Inspection]) -> String {
    let mut counts = std::collections::BTreeMap::new();
    let mut unread = 0;
    for file in inspections {
        match &file.root {
            Some(root) => *counts.entry((&root.rustc, &root.triple)).or_insert(0) += 1,
            None => unread += 1,
        }
    }
    let mut lines: Vec<String> = counts
        .iter()
        .map(|((rustc, triple), count)| {
            let (rustc, triple) = (Escaped(rustc.as_bytes()), Escaped(triple.as_bytes()));
            format!("{count} of {rustc} for {triple}")
        })
        .collect();
    if unread > 0 {
        lines.push(format!("{unread} not read, see the errors"));
    }
    match lines.as_slice() {
        [line] => format!("{line}\n"),
        lines => format!("{} files:\n  {}\n", inspections.len(), lines.join("\n  ")),
    }
}

/// The directory of all files, if it is one.
fn common_directory(inspections: &[Inspection]) -> Option<&Path> {
    let mut parents = inspections.iter().map(|file| file.path.parent());
    let first = parents.next()??;
    let one = parents.all(|parent| parent == Some(first)) && first != Path::new("");
    one.then_some(first)
}
