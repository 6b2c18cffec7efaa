//! `--engine remote` in a build without the feature `remote`: its options are taken, so that one line
//! can say what is missing.

use anyhow::bail;
use clap::Args as ClapArgs;

use super::progress::Progress;
use super::shell::Shell;
use crate::check::{CheckError, Settings};
use crate::interrupt::Interrupt;
use crate::project::bazel;
use crate::report::Report;

/// What was typed about the cluster.
#[derive(Debug, ClapArgs)]
#[group(id = "remote")]
#[expect(clippy::struct_field_names, reason = "they are the names of options")]
pub(super) struct Args {
    #[arg(long, hide = true)]
    remote_executor: Option<String>,
    #[arg(long, hide = true)]
    remote_header: Vec<String>,
    #[arg(long, hide = true)]
    remote_instance_name: Option<String>,
    #[arg(long, hide = true)]
    remote_jobs: Option<u16>,
}

/// Says that there is no such check.
pub(super) fn check(
    _: &Args,
    _: Option<&[String]>,
    _: &bazel::Request,
    _: &Settings,
    _: &Interrupt,
    _: &Progress,
    _: &mut Shell,
) -> anyhow::Result<Result<Report, CheckError>> {
    bail!("this svhcheck was built without `--engine remote` (the cargo feature `remote`)")
}
