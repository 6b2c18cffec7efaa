//! The forms of a report, as a table.

use super::human::Detail;
use super::{Report, github, gitlab, html, human, json, junit, markdown, sarif};

/// A form of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For a terminal.
    Human,
    /// All of it, for programs.
    Json,
    /// For editors and code scanning.
    Sarif,
    /// For test reports.
    Junit,
    /// For GitHub's log.
    Github,
    /// For GitLab's merge requests.
    Gitlab,
    /// For a comment.
    Markdown,
    /// For a browser.
    Html,
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The format.
    pub format: Format,
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is, for help.
    pub about: &'static str,
    /// What makes it.
    render: fn(&Report, Detail) -> String,
}

/// Every format.
pub const TABLE: &[Row] = &[
    Row {
        format: Format::Human,
        name: "human",
        about: "for a terminal",
        render: |report, detail| human::render(report, detail, &human::Screen::default()),
    },
    Row {
        format: Format::Json,
        name: "json",
        about: "everything, for programs; `svhcheck report` reads it again",
        render: |report, _| json::render(report),
    },
    Row {
        format: Format::Sarif,
        name: "sarif",
        about: "SARIF 2.1.0, for code scanning and editors",
        render: |report, _| sarif::render(report),
    },
    Row {
        format: Format::Junit,
        name: "junit",
        about: "JUnit XML, a test case for each crate and strategy",
        render: |report, _| junit::render(report),
    },
    Row {
        format: Format::Github,
        name: "github",
        about: "annotations in the log of a GitHub workflow",
        render: |report, _| github::render(report),
    },
    Row {
        format: Format::Gitlab,
        name: "gitlab",
        about: "GitLab's code quality report",
        render: |report, _| gitlab::render(report),
    },
    Row {
        format: Format::Markdown,
        name: "markdown",
        about: "a summary for a comment, under 60 kB",
        render: |report, _| markdown::render(report),
    },
    Row {
        format: Format::Html,
        name: "html",
        about: "one page for a browser, complete in itself",
        render: |report, _| html::render(report),
    },
];

impl Format {
    /// The format of this name.
    pub fn named(name: &str) -> Option<Self> {
        let mut rows = TABLE.iter();
        rows.find(|row| row.name == name).map(|row| row.format)
    }

    /// Its row.
    pub fn row(self) -> &'static Row {
        let mut rows = TABLE.iter();
        let row = rows.find(|row| row.format == self);
        row.expect("a test renders every format of the table")
    }

    /// The report in this form. What people read in a terminal has ANSI codes and shows as much as
    /// `detail` says; the others are the same whatever is asked.
    pub fn render(self, report: &Report, detail: Detail) -> String {
        (self.row().render)(report, detail)
    }
}
