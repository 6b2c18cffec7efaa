//! `--format json`: one object, sorted.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Set;
use crate::bytes::Escaped;
use crate::compare::graph::{Finding, Node, Report, dependents};

#[derive(Serialize)]
struct Output {
    consistent: bool,
    artifacts: usize,
    without_metadata: usize,
    dependencies_found: usize,
    /// Files of earlier builds that Cargo would make anew.
    set_aside: Vec<String>,
    not_judged: Vec<String>,
    findings: Vec<Item>,
    problems: Vec<String>,
}

#[derive(Serialize)]
struct Item {
    kind: &'static str,
    code: Option<&'static str>,
    fatal: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<File>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dependency: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_svh: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_link: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    found: Vec<File>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dependents: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    compilers: BTreeMap<String, usize>,
}

#[derive(Serialize)]
struct File {
    #[serde(rename = "crate")]
    krate: String,
    svh: String,
    form: &'static str,
    path: String,
}

/// The object, with a newline at its end.
pub(super) fn render(set: &Set, report: &Report) -> serde_json::Result<String> {
    let output = Output {
        consistent: !report.findings.iter().any(Finding::is_fatal),
        artifacts: set.nodes.len(),
        without_metadata: set.other,
        dependencies_found: report.satisfied,
        set_aside: (report.leftovers.iter())
            .map(|index| Escaped::os(&set.nodes[*index].path).to_string())
            .collect(),
        not_judged: report.unchecked.iter().cloned().collect(),
        findings: report
            .findings
            .iter()
            .map(|finding| item(finding, &set.nodes))
            .collect(),
        problems: set.problems.clone(),
    };
    Ok(serde_json::to_string_pretty(&output)? + "\n")
}

fn item(finding: &Finding, nodes: &[Node]) -> Item {
    let file = |index: usize| {
        let node = &nodes[index];
        File {
            krate: node.root.name.to_string(),
            svh: node.root.svh.to_string(),
            form: node.form.word(),
            path: Escaped::os(&node.path).to_string(),
        }
    };
    let files = |indexes: &[usize]| indexes.iter().map(|index| file(*index)).collect();
    let mut item = Item {
        kind: finding.word(),
        code: finding.code(),
        fatal: finding.is_fatal(),
        user: None,
        dependency: None,
        expected_svh: None,
        expected_file: None,
        at_link: None,
        found: Vec::new(),
        dependents: Vec::new(),
        compilers: BTreeMap::new(),
    };
    match finding {
        Finding::Stale {
            user,
            name,
            expected,
            offered,
            at_link,
        } => {
            item.user = Some(file(*user));
            item.dependency = Some(name.clone());
            item.expected_svh = Some(expected.to_string());
            item.at_link = Some(*at_link);
            item.found = files(offered);
        }
        Finding::Missing {
            user,
            name,
            file: expected,
        } => {
            item.user = Some(file(*user));
            item.dependency = Some(name.clone());
            item.expected_file = Some(expected.clone());
        }
        Finding::NotLinkable {
            user,
            name,
            offered,
        }
        | Finding::OtherCompiler {
            user,
            name,
            offered,
        } => {
            item.user = Some(file(*user));
            item.dependency = Some(name.clone());
            item.found = files(offered);
        }
        Finding::LoneStub { node } => item.found = files(&[*node]),
        Finding::Compilers { counts } => item.compilers.clone_from(counts),
        Finding::Duplicates { name, nodes } => {
            item.dependency = Some(name.clone());
            item.found = files(nodes);
        }
    }
    if let Finding::Stale { user, .. }
    | Finding::Missing { user, .. }
    | Finding::NotLinkable { user, .. }
    | Finding::OtherCompiler { user, .. } = finding
    {
        let names = dependents(nodes, *user).into_iter();
        item.dependents = names
            .map(|index| nodes[index].root.name.to_string())
            .collect();
    }
    item
}
