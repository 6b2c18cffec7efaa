//! Reads a lint's page: a fenced `toml` block with its data, then prose.

use serde::Deserialize;

use super::Level;

/// A lint, as its page describes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// Its id: the page's file stem.
    pub id: String,
    /// The version of svhcheck that has it first.
    pub since: String,
    /// Its level unless something says otherwise.
    pub level: Level,
    /// The group it belongs to.
    pub group: String,
    /// What it finds, in one line.
    pub message: String,
    /// The version of svhcheck that has it no more; its page says what came instead.
    pub removed: Option<String>,
    /// The prose, in Markdown.
    #[serde(skip)]
    pub text: String,
}

/// A page that is not one.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// It does not begin with the data block.
    #[error("a lint's page begins with a fenced toml block")]
    NoBlock,
    /// The block does not hold what it must.
    #[error("in the toml block: {0}")]
    Block(#[from] toml::de::Error),
}

impl Page {
    /// Reads a page.
    pub fn parse(text: &str) -> Result<Self, PageError> {
        let rest = text.strip_prefix("```toml\n").ok_or(PageError::NoBlock)?;
        let (block, prose) = rest.split_once("\n```\n").ok_or(PageError::NoBlock)?;
        let mut page: Self = toml::from_str(block)?;
        prose.trim().clone_into(&mut page.text);
        Ok(page)
    }

    /// The paragraph under the heading `## title`.
    pub fn section(&self, title: &str) -> Option<&str> {
        let heading = format!("## {title}\n");
        let rest = &self.text[self.text.find(&heading)? + heading.len()..];
        Some(rest.split("\n## ").next().unwrap_or(rest).trim())
    }
}
