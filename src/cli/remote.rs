//! `svhcheck //... --engine remote`: the options of the cluster, and the check on it.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args as ClapArgs;

use super::progress::Progress;
use super::shell::Shell;
use crate::check::remote::{self, VARIATIONS};
use crate::check::{CheckError, Settings};
use crate::interrupt::Interrupt;
use crate::plan::variation::Variation;
use crate::project::bazel;
use crate::remote as cluster;
use crate::report::Report;

/// What was typed about the cluster.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Options of --engine remote")]
#[group(id = "remote")]
#[expect(clippy::struct_field_names, reason = "they are the names of options")]
pub(super) struct Args {
    /// The remote execution cluster, as grpc://HOST:PORT or grpcs://HOST:PORT (TLS)
    #[arg(long, value_name = "ADDRESS")]
    remote_executor: Option<String>,

    /// A header of every call, such as authorization='Bearer TOKEN'; once for each
    #[arg(long, value_name = "NAME=VALUE")]
    remote_header: Vec<String>,

    /// The cluster's instance
    #[arg(long, value_name = "NAME", default_value = "")]
    remote_instance_name: String,

    /// Actions in flight on the cluster
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    remote_jobs: u16,
}

impl Args {
    /// The cluster, with `timeout` for each action.
    fn settings(&self, timeout: Duration) -> anyhow::Result<cluster::Settings> {
        let address = self.remote_executor.clone();
        Ok(cluster::Settings {
            address: address
                .context("`--engine remote` needs `--remote-executor=grpc://HOST:PORT`")?,
            headers: self.remote_header.clone(),
            instance: self.remote_instance_name.clone(),
            deadline: timeout,
            jobs: self.remote_jobs.into(),
        })
    }
}

/// What a cluster varies of the variations that were `typed`.
fn vary(typed: &[String]) -> anyhow::Result<Vec<Variation>> {
    let own = || VARIATIONS.iter().map(|(variation, _)| *variation);
    let mut chosen = Vec::new();
    for name in typed {
        match name.as_str() {
            "default" => chosen.extend(own()),
            "none" => chosen.clear(),
            name => {
                let variation = own().find(|own| own.name() == name);
                let Some(variation) = variation else {
                    let names: Vec<&str> = own().map(Variation::name).collect();
                    bail!(
                        "a cluster cannot vary `{name}`; `--engine remote` knows {}",
                        names.join(", ")
                    );
                };
                chosen.push(variation);
            }
        }
    }
    Ok(chosen)
}

/// Runs the check.
pub(super) fn check(
    args: &Args,
    typed: Option<&[String]>,
    bazel: &bazel::Request,
    settings: &Settings,
    interrupt: &Interrupt,
    progress: &Progress,
    shell: &mut Shell,
) -> anyhow::Result<Result<Report, CheckError>> {
    let request = remote::Request {
        bazel,
        cluster: &args.settings(settings.timeout)?,
        vary: &vary(typed.unwrap_or(&["default".to_owned()]))?,
    };
    Ok(
        remote::check(&request, settings, interrupt, progress).map(|checked| {
            progress.clear();
            let traffic = checked.traffic;
            shell.note(format!(
                "the cluster ran {} actions again; {} bytes were sent and {} fetched",
                traffic.actions, traffic.sent, traffic.fetched
            ));
            for note in checked.notes {
                shell.note(note);
            }
            checked.report
        }),
    )
}
