//! Runs actions again, and compares what they made with what they made before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bazel_remote_apis::build::bazel::remote::execution::v2 as api;
use prost::Message;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::{Code, Status};

use super::client::{Client, Executed, SMALL, words};
use super::variant::{of, variant};
use super::{Blob, Change, RemoteError, Settings, Traffic};
use crate::interrupt::Interrupt;

/// A cluster that answers.
pub struct Cluster {
    runtime: Runtime,
    client: Client,
    jobs: usize,
    deadline: Duration,
    /// Sets the actions of this check apart from all others.
    salt: String,
}

/// One action to run again.
#[derive(Debug, Clone)]
pub struct Job {
    /// The action, as the build had it run.
    pub action: Blob,
    /// What it made: path and content.
    pub outputs: BTreeMap<String, Blob>,
    /// What each run changes.
    pub changes: Vec<Change>,
    /// How often it is run.
    pub runs: usize,
}

/// What came of a job: for each run, outputs that came out differently, as they are now.
#[derive(Debug)]
pub struct Replayed {
    /// By run.
    pub runs: Vec<Vec<Artifact>>,
}

/// An output that came out differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Its path.
    pub path: String,
    /// What it was.
    pub before: Blob,
    /// What it is now.
    pub now: Blob,
}

/// Why one action could not be run again; others may be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The cluster has forgotten what the action is.
    #[error(
        "its {what} has expired in the cluster's storage; build once more without the cache (`--noremote_accept_cached`), so that it is uploaded again"
    )]
    Expired {
        /// Which blob.
        what: &'static str,
    },
    /// The command failed.
    #[error("run again on the cluster, it failed with exit status {status}{said}")]
    Failed {
        /// Its exit status.
        status: i32,
        /// The first error that it printed, or nothing.
        said: String,
    },
    /// It took too long.
    #[error(
        "run again on the cluster, it was not done within {0} s; `--timeout` sets another limit"
    )]
    Late(u64),
    /// It did not make what it made before.
    #[error("run again on the cluster, it made no `{0}`")]
    Missing(String),
    /// The cluster's refusal.
    #[error("the cluster does not run it again: {0}")]
    Refused(String),
}

/// What ends an action's turn: its own trouble, or everybody's.
enum Stop {
    Own(Trouble),
    All(RemoteError),
}

impl From<Trouble> for Stop {
    fn from(own: Trouble) -> Self {
        Self::Own(own)
    }
}

impl Cluster {
    /// Connects.
    pub fn connect(settings: &Settings) -> Result<Self, RemoteError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let client = runtime.block_on(Client::connect(settings))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Ok(Self {
            runtime,
            client,
            jobs: settings.jobs.max(1),
            deadline: settings.deadline,
            salt: format!(
                "svhcheck {} {:?}",
                std::process::id(),
                now.unwrap_or_default()
            ),
        })
    }

    /// Runs jobs, some at a time, and hands over each result as it comes, with the job's number.
    pub fn replay(
        &self,
        jobs: Vec<Job>,
        interrupt: &Interrupt,
        mut done: impl FnMut(usize, Result<Replayed, Trouble>),
    ) -> Result<(), RemoteError> {
        self.runtime.block_on(async {
            let gate = Arc::new(Semaphore::new(self.jobs));
            let mut running = JoinSet::new();
            for (number, job) in jobs.into_iter().enumerate() {
                let (client, gate) = (self.client.clone(), gate.clone());
                let (salt, deadline) = (self.salt.clone(), self.deadline);
                running.spawn(async move {
                    // The gate is closed by nobody.
                    let _turn = gate.acquire_owned().await;
                    (number, again(&client, &job, &salt, deadline).await)
                });
            }
            loop {
                if interrupt.is_set() {
                    return Err(RemoteError::Interrupted);
                }
                let Ok(next) = timeout(TICK, running.join_next()).await else {
                    continue;
                };
                match next {
                    None => return Ok(()),
                    Some(Ok((number, Ok(replayed)))) => done(number, Ok(replayed)),
                    Some(Ok((number, Err(Stop::Own(trouble))))) => done(number, Err(trouble)),
                    // Dropping the others ends their calls.
                    Some(Ok((_, Err(Stop::All(error))))) => return Err(error),
                    Some(Err(error)) => return Err(std::io::Error::other(error).into()),
                }
            }
        })
    }

    /// Fetches a blob, or `None` if the cluster has forgotten it.
    pub fn fetch(&self, blob: &Blob) -> Result<Option<Vec<u8>>, RemoteError> {
        let fetched = self.runtime.block_on(self.client.fetch(blob, i64::MAX));
        match fetched {
            Ok(bytes) => Ok(Some(bytes)),
            Err(status) => self.client.fatal(&status).map_or(Ok(None), Err),
        }
    }

    /// What went over the network so far.
    pub fn traffic(&self) -> Traffic {
        self.client.traffic()
    }
}

/// How long an interrupt may go unnoticed.
const TICK: Duration = Duration::from_millis(100);

async fn again(
    client: &Client,
    job: &Job,
    salt: &str,
    deadline: Duration,
) -> Result<Replayed, Stop> {
    let expired = |what| move |status: Status| stop(client, &status, what, None);
    let bytes = client
        .fetch(&job.action, SMALL)
        .await
        .map_err(expired("action"))?;
    let action = api::Action::decode(bytes.as_slice()).map_err(|error| form(&error))?;
    let command = action.command_digest.as_ref().map(Blob::from);
    let command = command.unwrap_or_else(|| of(b""));
    let bytes = client
        .fetch(&command, SMALL)
        .await
        .map_err(expired("command"))?;
    let command = api::Command::decode(bytes.as_slice()).map_err(|error| form(&error))?;
    let platform = platform(&action, &command);
    let mut replayed = Replayed { runs: Vec::new() };
    for run in 0..job.runs.max(1) {
        let salt = format!("{salt} {run} {:?}", job.changes);
        let made = variant(&action, &command, &job.changes, &salt);
        let failed = |status: Status| stop(client, &status, "input", Some(&platform));
        client.upload(&made).await.map_err(failed)?;
        let response = match client.execute(&made.action).await.map_err(failed)? {
            Executed::Done(response) => response,
            Executed::Late { begun: true } => return Err(Trouble::Late(deadline.as_secs()).into()),
            Executed::Late { begun: false } => {
                let why = format!("none has begun it within {} s", deadline.as_secs());
                return Err(Stop::All(RemoteError::NoWorker { platform, why }));
            }
        };
        let result = response.result.unwrap_or_default();
        if result.exit_code != 0 {
            let said = said(client, &result).await;
            let status = result.exit_code;
            return Err(Trouble::Failed { status, said }.into());
        }
        replayed.runs.push(unequal(job, &result)?);
    }
    Ok(replayed)
}

/// Outputs that are not what they were.
fn unequal(job: &Job, result: &api::ActionResult) -> Result<Vec<Artifact>, Trouble> {
    let files = result.output_files.iter();
    let files: BTreeMap<&str, Blob> = files
        .filter_map(|own| Some((own.path.as_str(), own.digest.as_ref()?.into())))
        .collect();
    let mut found = Vec::new();
    for (path, before) in &job.outputs {
        let now = files.get(path.as_str());
        let now = now.ok_or_else(|| Trouble::Missing(path.clone()))?;
        if now != before {
            found.push(Artifact {
                path: path.clone(),
                before: before.clone(),
                now: now.clone(),
            });
        }
    }
    Ok(found)
}

/// What a status means for the action, or for all.
fn stop(client: &Client, status: &Status, what: &'static str, platform: Option<&String>) -> Stop {
    if let Some(error) = client.fatal(status) {
        return Stop::All(error);
    }
    let said = words(status);
    match (status.code(), platform) {
        (Code::NotFound, _) => Trouble::Expired { what }.into(),
        // "One or more errors occurred in setting up the action requested, such as a missing input
        // or command or no worker being available" (remote_execution.proto, Execute).
        (Code::FailedPrecondition, Some(platform)) => {
            let text = said.to_lowercase();
            let worker = ["worker", "platform", "propert", "bot"];
            if worker.iter().any(|word| text.contains(word)) {
                return Stop::All(RemoteError::NoWorker {
                    platform: platform.clone(),
                    why: said,
                });
            }
            if text.contains("missing") || text.contains("not found") || text.contains("blob") {
                return Trouble::Expired { what }.into();
            }
            Trouble::Refused(said).into()
        }
        _ => Trouble::Refused(said).into(),
    }
}

fn form(error: &prost::DecodeError) -> Stop {
    Trouble::Refused(format!("its action is not of the API's form: {error}")).into()
}

/// What an action asks of its worker, as `NAME=VALUE`.
fn platform(action: &api::Action, command: &api::Command) -> String {
    // Where it stood until version 2.2 of the API.
    #[expect(deprecated, reason = "older clients say it there alone")]
    let own = action.platform.as_ref().or(command.platform.as_ref());
    let properties = own.into_iter().flat_map(|own| &own.properties);
    let pairs: BTreeSet<String> = properties
        .map(|own| format!("{}={}", own.name, own.value))
        .collect();
    if pairs.is_empty() {
        return "(any)".to_owned();
    }
    pairs.into_iter().collect::<Vec<_>>().join(", ")
}

/// The first error that a command printed.
async fn said(client: &Client, result: &api::ActionResult) -> String {
    let mut bytes = result.stderr_raw.clone();
    if let (true, Some(digest)) = (bytes.is_empty(), &result.stderr_digest) {
        bytes = client
            .fetch(&digest.into(), SMALL)
            .await
            .unwrap_or_default();
    }
    let text = String::from_utf8_lossy(&bytes);
    let error = text.lines().find(|line| line.contains("error"));
    let line = error.or_else(|| text.lines().find(|line| !line.trim().is_empty()));
    line.map(|line| format!(": {}", line.trim()))
        .unwrap_or_default()
}
