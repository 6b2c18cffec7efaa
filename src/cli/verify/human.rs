//! `--format human`: a sentence, then each finding with the files it is about and who is affected.

use std::fmt::Write as _;
use std::path::Path;

use super::Set;
use crate::bytes::Escaped;
use crate::compare::graph::{Finding, Node, Report, dependents};

/// Findings shown before the rest is only counted.
const MAX_FINDINGS: usize = 8;

/// Lines of the picture of one finding.
const MAX_PICTURE: usize = 8;

/// The whole report.
pub(super) fn render(set: &Set, report: &Report, full: bool) -> String {
    let nodes = &set.nodes;
    let (fatal, rest): (Vec<&Finding>, Vec<&Finding>) = report
        .findings
        .iter()
        .partition(|finding| finding.is_fatal());
    let mut text = String::new();
    let crates: std::collections::BTreeSet<_> = nodes.iter().map(|node| node.root.svh).collect();
    let verdict = match fatal.len() {
        0 => "consistent: rustc can use these artifacts together".to_owned(),
        1 => "inconsistent: 1 fault".to_owned(),
        count => format!("inconsistent: {count} faults"),
    };
    let _ = writeln!(text, "{verdict}");
    let mut counts = format!(
        "  {} of {} crates read, {} dependencies found",
        plural(nodes.len(), "artifact", "artifacts"),
        crates.len(),
        report.satisfied
    );
    if set.other > 0 {
        let _ = write!(
            counts,
            "; {} without crate metadata left out",
            plural(set.other, "file", "files")
        );
    }
    let _ = writeln!(text, "{counts}");
    if !report.leftovers.is_empty() {
        let files = plural(report.leftovers.len(), "file", "files");
        let _ = writeln!(
            text,
            "  {files} of earlier builds set aside: Cargo makes them anew before using them"
        );
        if full {
            for index in &report.leftovers {
                let _ = writeln!(text, "    {}", shown(&nodes[*index].path));
            }
        }
    }
    if !report.unchecked.is_empty() {
        let names: Vec<&str> = report.unchecked.iter().map(String::as_str).collect();
        let _ = writeln!(
            text,
            "  not judged, because their toolchain is not on this machine: {}",
            names.join(", ")
        );
    }
    let shown = if full {
        fatal.len()
    } else {
        fatal.len().min(MAX_FINDINGS)
    };
    for finding in &fatal[..shown] {
        text.push('\n');
        describe(&mut text, finding, nodes, full);
    }
    if fatal.len() > shown {
        let _ = writeln!(
            text,
            "\n… and {} more (--full shows all)",
            fatal.len() - shown
        );
    }
    if !rest.is_empty() {
        text.push('\n');
        if full {
            for finding in rest {
                describe(&mut text, finding, nodes, full);
            }
        } else {
            let _ = writeln!(
                text,
                "{} in one directory with several SVHs; harmless unless looked up by name alone, E0464 (--full lists them)",
                plural(rest.len(), "crate stands", "crates stand")
            );
        }
    }
    text
}

fn describe(text: &mut String, finding: &Finding, nodes: &[Node], full: bool) {
    let name = |index: &usize| format!("`{}`", nodes[*index].root.name);
    let code = finding
        .code()
        .map_or(String::new(), |code| format!(" ({code})"));
    match finding {
        Finding::Stale {
            user,
            name: dep,
            expected,
            offered,
            at_link,
        } => {
            let when = if *at_link {
                "; its metadata is there, so this shows when a program is linked"
            } else {
                ""
            };
            let _ = writeln!(
                text,
                "stale dependency{code}: {} was compiled against another build of `{dep}`{when}",
                name(user)
            );
            let _ = writeln!(
                text,
                "  expected  svh {expected}  by {}",
                shown(&nodes[*user].path)
            );
            for index in offered {
                let node = &nodes[*index];
                let form = node.form.word();
                let _ = writeln!(
                    text,
                    "  found     svh {}  in {} ({form})",
                    node.root.svh,
                    shown(&node.path)
                );
            }
            picture(text, nodes, *user, dep, full);
        }
        Finding::Missing {
            user,
            name: dep,
            file,
        } => {
            let file = Escaped(file.as_bytes());
            let _ = writeln!(
                text,
                "missing crate{code}: {} needs `{dep}`, and no {file}* is there",
                name(user)
            );
            let _ = writeln!(text, "  needed    by {}", shown(&nodes[*user].path));
            picture(text, nodes, *user, dep, full);
        }
        Finding::NotLinkable {
            user,
            name: dep,
            offered,
        } => {
            let _ = writeln!(
                text,
                "no code to link{code}: {} needs `{dep}`, of which only metadata is there",
                name(user)
            );
            let _ = writeln!(text, "  needed    by {}", shown(&nodes[*user].path));
            for index in offered {
                let node = &nodes[*index];
                let _ = writeln!(
                    text,
                    "  found     {} ({})",
                    shown(&node.path),
                    node.form.word()
                );
            }
            picture(text, nodes, *user, dep, full);
        }
        Finding::OtherCompiler {
            user,
            name: dep,
            offered,
        } => {
            let _ = writeln!(
                text,
                "another compiler{code}: {} needs `{dep}`, which is there of another rustc only",
                name(user)
            );
            let mut line = |what: &str, index: usize| {
                let node = &nodes[index];
                let rustc = Escaped(node.root.rustc.as_bytes());
                let _ = writeln!(text, "  {what}  {rustc}  {}", shown(&node.path));
            };
            line("needed by", *user);
            for index in offered {
                line("found    ", *index);
            }
            picture(text, nodes, *user, dep, full);
        }
        Finding::LoneStub { node } => {
            let path = &nodes[*node].path;
            let _ = writeln!(
                text,
                "stub without its .rmeta: {} holds no more than name and SVH; {} with that SVH belongs beside it",
                shown(path),
                shown(Path::new(
                    path.with_extension("rmeta").file_name().unwrap_or_default()
                ))
            );
        }
        Finding::Compilers { counts } => {
            let _ = writeln!(
                text,
                "mixed compilers{code}: crates of one cannot be used with those of another"
            );
            for (rustc, count) in counts {
                let _ = writeln!(text, "  {count:>6}  of {}", Escaped(rustc.as_bytes()));
            }
        }
        Finding::Duplicates {
            name,
            nodes: builds,
        } => {
            let _ = writeln!(text, "several builds{code}: `{name}`");
            for index in builds {
                let node = &nodes[*index];
                let _ = writeln!(text, "  svh {}  {}", node.root.svh, shown(&node.path));
            }
        }
    }
}

/// Who needs `user`, and that it cannot have `dep`: the part of the graph that is affected.
fn picture(text: &mut String, nodes: &[Node], user: usize, dep: &str, full: bool) {
    let mut lines = Vec::new();
    let mut seen = std::collections::BTreeSet::from([nodes[user].root.svh]);
    above(nodes, user, 1, &mut seen, &mut lines);
    let most = if full { usize::MAX } else { MAX_PICTURE };
    let _ = writeln!(text, "  affected  {dep} ✗");
    let _ = writeln!(text, "            └─ {}", nodes[user].root.name);
    for line in lines.iter().take(most) {
        let _ = writeln!(text, "            {line}");
    }
    if lines.len() > most {
        let _ = writeln!(text, "            … and {} more", lines.len() - most);
    }
}

fn above(
    nodes: &[Node],
    node: usize,
    depth: usize,
    seen: &mut std::collections::BTreeSet<crate::artifact::Svh>,
    lines: &mut Vec<String>,
) {
    for user in dependents(nodes, node) {
        let fresh = seen.insert(nodes[user].root.svh);
        let again = if fresh { "" } else { " (see above)" };
        lines.push(format!(
            "{:1$}└─ {2}{again}",
            "",
            3 * depth,
            nodes[user].root.name
        ));
        if fresh {
            above(nodes, user, depth + 1, seen, lines);
        }
    }
}

fn shown(path: &Path) -> String {
    Escaped::os(path).to_string()
}

fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
