//! `--deps`, `--members`, `--strings`, `--raw`: one thing about each file.

use std::fmt::Write as _;

use super::{Deps, Inspection, Raw, View, tree};
use crate::artifact::CrateRoot;
use crate::bytes::Escaped;
use crate::cli::words::grouped;
use crate::compare::text;

/// The output of the view that was asked for, if one was.
pub(super) fn render(view: View, files: &[Inspection]) -> Option<Vec<u8>> {
    if let Some(raw) = view.raw {
        return Some(files.iter().flat_map(|file| value(file, raw)).collect());
    }
    let show: fn(&Inspection) -> String = match view {
        View {
            deps: Some(Deps::List),
            ..
        } => list,
        View {
            deps: Some(Deps::Tree),
            ..
        } => tree::render,
        View { members: true, .. } => members,
        View { strings: true, .. } => strings,
        _ => return None,
    };
    let mut text = String::new();
    for (index, file) in files.iter().enumerate() {
        if files.len() > 1 {
            let newline = if index > 0 { "\n" } else { "" };
            let _ = writeln!(text, "{newline}{}:", Escaped::os(&file.path));
        }
        text += &show(file);
    }
    Some(text.into_bytes())
}

/// One value and a newline; an empty line where the file has none, so that lines and files agree.
fn value(file: &Inspection, raw: Raw) -> Vec<u8> {
    if raw == Raw::Metadata {
        let blob = file
            .artifact
            .as_ref()
            .and_then(|artifact| artifact.metadata().ok());
        return blob.map_or_else(Vec::new, |blob| blob.bytes().to_vec());
    }
    let root = |value: fn(&CrateRoot) -> Option<String>| file.root.as_ref().and_then(value);
    let text = match raw {
        Raw::Name => root(|root| Some(root.name.to_string())),
        Raw::Svh => root(|root| Some(root.svh.to_string())),
        Raw::CrateId => root(|root| Some(root.stable_crate_id?.to_string())),
        Raw::ExtraFilename => root(|root| root.extra_filename.clone()),
        Raw::Rustc => file.rustc.clone(),
        Raw::Triple => root(|root| Some(root.triple.clone())),
        Raw::Edition => root(|root| Some(root.edition?.to_string())),
        Raw::MetadataVersion => file.metadata_version.map(|version| version.to_string()),
        Raw::Metadata => None,
    };
    let text = text.unwrap_or_default();
    format!("{}\n", Escaped(text.as_bytes())).into_bytes()
}

fn list(file: &Inspection) -> String {
    let mut text = String::new();
    for dep in file.root.iter().flat_map(|root| &root.deps) {
        let extra = Escaped(dep.extra_filename.as_bytes());
        let _ = writeln!(text, "{} {} {} {extra}", dep.svh, dep.kind, dep.name);
    }
    text
}

fn members(file: &Inspection) -> String {
    let sizes: Vec<String> = file
        .members
        .iter()
        .map(|m| grouped(m.range.len()))
        .collect();
    let width = sizes.iter().map(String::len).max().unwrap_or(0);
    let mut text = String::new();
    for (member, size) in file.members.iter().zip(sizes) {
        let name = Escaped(&member.name);
        let _ = writeln!(text, "{:#010x}  {size:>width$}  {name}", member.range.start);
    }
    text
}

/// What in metadata ties it to a place or a time: it is what makes two builds differ.
fn strings(file: &Inspection) -> String {
    let blob = file
        .artifact
        .as_ref()
        .and_then(|artifact| artifact.metadata().ok());
    let Some(blob) = blob else {
        return String::new();
    };
    let found = text::telling(blob.bytes(), blob.header().version >= 6);
    let mut lines = String::new();
    for (at, what, found) in found {
        let _ = writeln!(lines, "{at:#010x}  {what:8}  {}", Escaped(found.as_bytes()));
    }
    lines
}
