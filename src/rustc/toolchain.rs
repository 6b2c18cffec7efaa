//! Which rustc a command line really runs, and what it says of itself.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A rustc: the real binary behind rustup's proxy, and its identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    /// The compiler to run. `rustc` on PATH may be rustup's proxy, which needs HOME and makes some
    /// sixty file accesses of its own; this is the binary that the proxy would start.
    pub rustc: PathBuf,
    /// The sysroot.
    pub sysroot: PathBuf,
    /// `rustc --version`, whole: the identity that rustc itself compares.
    pub version: String,
    /// `rustc -vV`, whole.
    pub about: String,
    /// Release number, such as 1.95.0.
    pub release: (u32, u32, u32),
    /// The host triple.
    pub host: String,
    /// Whether `-Z` options need no `RUSTC_BOOTSTRAP` (nightly and dev builds).
    pub unstable: bool,
}

/// Why a rustc could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ToolchainError {
    /// It could not be started.
    #[error("cannot run `{}`: {source}", .program.display())]
    Start {
        /// The program as it was named.
        program: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// It ended with an error, or said something unexpected.
    #[error("`{} {question}` failed: {answer}", .program.display())]
    Answer {
        /// The program as it was named.
        program: PathBuf,
        /// The arguments of the question.
        question: &'static str,
        /// Its first line of standard error, or what was wrong with the answer.
        answer: String,
    },
}

impl Toolchain {
    /// Asks `program` (as it would be run in `cwd` with `env`) for its sysroot and version.
    pub fn resolve(
        program: &Path,
        env: &BTreeMap<OsString, OsString>,
        cwd: &Path,
    ) -> Result<Self, ToolchainError> {
        let sysroot = ask(program, env, cwd, "--print sysroot")?;
        let sysroot = PathBuf::from(OsString::from_vec(sysroot.trim_ascii().to_vec()));
        let real = sysroot.join("bin").join("rustc");
        let rustc = if real.is_file() {
            real
        } else {
            program.to_path_buf()
        };
        let about = ask(&rustc, env, cwd, "-vV")?;
        let about = String::from_utf8_lossy(&about).into_owned();
        let field = |name: &str| {
            let line = about
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            line.unwrap_or_default().to_owned()
        };
        let release = field("release");
        Ok(Self {
            version: about.lines().next().unwrap_or_default().to_owned(),
            release: parse_release(&release).ok_or_else(|| ToolchainError::Answer {
                program: rustc.clone(),
                question: "-vV",
                answer: format!("no release number in {about:?}"),
            })?,
            host: field("host"),
            unstable: release.contains("nightly") || release.contains("dev"),
            rustc,
            sysroot,
            about,
        })
    }
}

fn ask(
    program: &Path,
    env: &BTreeMap<OsString, OsString>,
    cwd: &Path,
    question: &'static str,
) -> Result<Vec<u8>, ToolchainError> {
    let output = Command::new(program)
        .args(question.split(' ').map(OsStr::new))
        .env_clear()
        .envs(env)
        .current_dir(cwd)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| ToolchainError::Start {
            program: program.to_path_buf(),
            source,
        })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(ToolchainError::Answer {
        program: program.to_path_buf(),
        question,
        answer: stderr
            .lines()
            .next()
            .unwrap_or("it said nothing")
            .to_owned(),
    })
}

/// `1.95.0`, `1.97.0-nightly` → (1, 95, 0).
fn parse_release(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text.split(['.', '-']).map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_with_and_without_a_channel() {
        assert_eq!(parse_release("1.95.0"), Some((1, 95, 0)));
        assert_eq!(parse_release("1.97.0-nightly"), Some((1, 97, 0)));
        assert_eq!(parse_release("1.100.0-beta.7"), Some((1, 100, 0)));
        assert_eq!(parse_release("1"), None);
    }
}
