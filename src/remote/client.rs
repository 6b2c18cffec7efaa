//! The calls of the API, with headers, limits of time, and repeats.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bazel_remote_apis::build::bazel::remote::execution::v2 as api;
use bazel_remote_apis::google::bytestream::ReadRequest;
use bazel_remote_apis::google::bytestream::byte_stream_client::ByteStreamClient;
use bazel_remote_apis::google::longrunning::operation;
use prost::Message;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

use api::capabilities_client::CapabilitiesClient;
use api::content_addressable_storage_client::ContentAddressableStorageClient;
use api::execution_client::ExecutionClient;

use super::variant::{Variant, of};
use super::{Blob, RemoteError, Settings};

/// How often a call is made that fails for reasons that may pass, and the first pause; each pause is
/// twice as long as the one before.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(250);

/// A connection takes no longer.
const CONNECT: Duration = Duration::from_secs(15);

/// A blob that is an action or a command is no longer.
pub(super) const SMALL: i64 = 64 * 1024 * 1024;

/// Largest message that is taken: an answer of `Execute` may hold output files.
const MESSAGE: usize = 64 * 1024 * 1024;

/// What an action came to.
pub(super) enum Executed {
    /// The cluster ran it.
    Done(Box<api::ExecuteResponse>),
    /// Nobody ran it in time; whether it had begun.
    Late { begun: bool },
}

/// The connection. Clones share it.
#[derive(Clone)]
pub(super) struct Client {
    channel: Channel,
    headers: MetadataMap,
    settings: Arc<Settings>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    actions: AtomicU64,
    sent: AtomicU64,
    fetched: AtomicU64,
}

impl Client {
    /// Connects, and asks what the cluster can do, so that a wrong address, want of credentials or of
    /// workers is told before anything is built.
    pub(super) async fn connect(settings: &Settings) -> Result<Self, RemoteError> {
        let client = Self {
            channel: channel(&settings.address).await?,
            headers: headers(&settings.headers)?,
            settings: Arc::new(settings.clone()),
            counts: Arc::default(),
        };
        let asked = client.retrying(|client| async move {
            let request = api::GetCapabilitiesRequest {
                instance_name: client.settings.instance.clone(),
            };
            let mut calls = CapabilitiesClient::new(client.channel.clone());
            calls.get_capabilities(client.request(request)).await
        });
        match asked.await {
            Ok(answer) => {
                let execution = answer.into_inner().execution_capabilities;
                if execution.is_none_or(|own| !own.exec_enabled) {
                    return Err(RemoteError::CacheOnly(settings.address.clone()));
                }
            }
            // An old server that cannot tell may still execute.
            Err(status) if status.code() == Code::Unimplemented => {}
            Err(status) if is_refusal(&status) => return Err(client.refused(&status)),
            Err(status) => {
                return Err(RemoteError::Unreachable {
                    address: settings.address.clone(),
                    why: words(&status),
                });
            }
        }
        Ok(client)
    }

    pub(super) fn traffic(&self) -> super::Traffic {
        let read = |own: &AtomicU64| own.load(Ordering::Relaxed);
        super::Traffic {
            actions: read(&self.counts.actions),
            sent: read(&self.counts.sent),
            fetched: read(&self.counts.fetched),
        }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.headers.clone();
        request
    }

    /// What ends the whole check, if a status does.
    pub(super) fn fatal(&self, status: &Status) -> Option<RemoteError> {
        if is_refusal(status) {
            return Some(self.refused(status));
        }
        is_gone(status).then(|| RemoteError::Lost {
            address: self.settings.address.clone(),
            why: words(status),
        })
    }

    fn refused(&self, status: &Status) -> RemoteError {
        RemoteError::Unauthenticated {
            address: self.settings.address.clone(),
            why: words(status),
        }
    }

    /// Makes a call until it succeeds, fails for good, or has failed too often.
    async fn retrying<T, F>(&self, call: impl Fn(Self) -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let mut pause = PAUSE;
        for _ in 1..TRIES {
            match call(self.clone()).await {
                Err(status) if is_passing(&status) => sleep(pause).await,
                other => return other,
            }
            pause *= 2;
        }
        call(self.clone()).await
    }

    /// Fetches a blob, no longer than `limit`; its content is checked.
    pub(super) async fn fetch(&self, blob: &Blob, limit: i64) -> Result<Vec<u8>, Status> {
        if blob.size == 0 {
            return Ok(Vec::new());
        }
        if blob.size < 0 || blob.size > limit {
            return Err(Status::out_of_range(format!(
                "a blob of {} bytes",
                blob.size
            )));
        }
        self.retrying(|client| async move {
            let instance = &client.settings.instance;
            let slash = if instance.is_empty() { "" } else { "/" };
            let request = ReadRequest {
                resource_name: format!("{instance}{slash}blobs/{blob}"),
                ..ReadRequest::default()
            };
            let calls = ByteStreamClient::new(client.channel.clone());
            let mut calls = calls.max_decoding_message_size(MESSAGE);
            let mut parts = calls.read(client.request(request)).await?.into_inner();
            let mut bytes = Vec::new();
            while let Some(part) = parts.message().await? {
                bytes.extend_from_slice(&part.data);
                if i64::try_from(bytes.len()).is_ok_and(|len| len > blob.size) {
                    break;
                }
            }
            let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            client.counts.fetched.fetch_add(len, Ordering::Relaxed);
            if of(&bytes) == *blob {
                Ok(bytes)
            } else {
                Err(Status::data_loss(
                    "the cluster sent another blob than its digest says",
                ))
            }
        })
        .await
    }

    /// Uploads what is new about a variant.
    pub(super) async fn upload(&self, variant: &Variant) -> Result<(), Status> {
        self.retrying(|client| async move {
            let blobs = variant.blobs.iter();
            let requests = blobs.map(|(digest, data)| api::batch_update_blobs_request::Request {
                digest: Some(digest.clone()),
                data: data.clone(),
                ..Default::default()
            });
            let request = api::BatchUpdateBlobsRequest {
                instance_name: client.settings.instance.clone(),
                requests: requests.collect(),
                ..Default::default()
            };
            let bytes: u64 = variant
                .blobs
                .iter()
                .map(|(_, data)| data.len() as u64)
                .sum();
            client.counts.sent.fetch_add(bytes, Ordering::Relaxed);
            let mut calls = ContentAddressableStorageClient::new(client.channel.clone());
            let answer = calls.batch_update_blobs(client.request(request)).await?;
            for own in answer.into_inner().responses {
                if let Some(status) = own.status.filter(|status| status.code != 0) {
                    return Err(Status::new(Code::from_i32(status.code), status.message));
                }
            }
            Ok(())
        })
        .await
    }

    /// Has the cluster run an action, whatever it knows of it.
    pub(super) async fn execute(&self, action: &api::Digest) -> Result<Executed, Status> {
        let deadline = Instant::now() + self.settings.deadline;
        self.retrying(|client| async move {
            let request = api::ExecuteRequest {
                instance_name: client.settings.instance.clone(),
                skip_cache_lookup: true,
                action_digest: Some(action.clone()),
                ..Default::default()
            };
            let mut begun = false;
            let calls = ExecutionClient::new(client.channel.clone());
            let mut calls = calls.max_decoding_message_size(MESSAGE);
            let asked = timeout_at(deadline, calls.execute(client.request(request))).await;
            let Ok(answer) = asked else {
                return Ok(Executed::Late { begun });
            };
            let mut news = answer?.into_inner();
            loop {
                let Ok(next) = timeout_at(deadline, news.message()).await else {
                    return Ok(Executed::Late { begun });
                };
                let Some(news) = next? else {
                    return Err(Status::unavailable(
                        "it ended the call before the action was done",
                    ));
                };
                let metadata = news.metadata.as_ref();
                let metadata = metadata.and_then(|any| {
                    api::ExecuteOperationMetadata::decode(any.value.as_slice()).ok()
                });
                begun |= metadata
                    .is_some_and(|own| own.stage() == api::execution_stage::Value::Executing);
                if !news.done {
                    continue;
                }
                return match news.result {
                    Some(operation::Result::Response(any)) => {
                        let response = api::ExecuteResponse::decode(any.value.as_slice());
                        let response = response.map_err(|error| {
                            Status::data_loss(format!("an answer of another form: {error}"))
                        })?;
                        if let Some(status) = response.status.filter(|own| own.code != 0) {
                            return Err(Status::new(Code::from_i32(status.code), status.message));
                        }
                        client.counts.actions.fetch_add(1, Ordering::Relaxed);
                        let response = api::ExecuteResponse {
                            status: None,
                            ..response
                        };
                        Ok(Executed::Done(Box::new(response)))
                    }
                    Some(operation::Result::Error(status)) => {
                        Err(Status::new(Code::from_i32(status.code), status.message))
                    }
                    None => Err(Status::data_loss(
                        "an operation that is done and has no result",
                    )),
                };
            }
        })
        .await
    }
}

async fn channel(address: &str) -> Result<Channel, RemoteError> {
    let wrong = || RemoteError::Address(address.to_owned());
    let unreachable = |error: &tonic::transport::Error| RemoteError::Unreachable {
        address: address.to_owned(),
        why: innermost(error),
    };
    let (scheme, place) = match address.split_once("://") {
        Some(("grpc", place)) => ("http", place),
        Some(("grpcs", place)) => ("https", place),
        _ => return Err(wrong()),
    };
    if place.is_empty() || place.contains(['/', '@', ' ']) {
        return Err(wrong());
    }
    let endpoint = Endpoint::from_shared(format!("{scheme}://{place}")).map_err(|_| wrong())?;
    let mut endpoint = endpoint
        .connect_timeout(CONNECT)
        // Load balancers forget connections that are silent while a compile runs.
        .http2_keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    if scheme == "https" {
        let roots = ClientTlsConfig::new().with_native_roots();
        endpoint = endpoint
            .tls_config(roots)
            .map_err(|error| unreachable(&error))?;
    }
    endpoint
        .connect()
        .await
        .map_err(|error| unreachable(&error))
}

fn headers(pairs: &[String]) -> Result<MetadataMap, RemoteError> {
    let mut map = MetadataMap::new();
    for pair in pairs {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let wrong = || RemoteError::Header(name.to_owned());
        let key = name.to_ascii_lowercase();
        let key: AsciiMetadataKey = key.parse().map_err(|_| wrong())?;
        let mut value: AsciiMetadataValue = value.parse().map_err(|_| wrong())?;
        if !pair.contains('=') {
            return Err(wrong());
        }
        value.set_sensitive(true);
        map.append(key, value);
    }
    Ok(map)
}

fn is_refusal(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unauthenticated | Code::PermissionDenied
    )
}

/// Whether another try may go better: the server or the way to it is at fault, not the request.
fn is_passing(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::Aborted
            | Code::ResourceExhausted
            | Code::Internal
            | Code::Unknown
    )
}

/// Whether the way to the server is cut. Another failure that does not pass is that of one request: a
/// worker may fail at one action, and do well with the next.
fn is_gone(status: &Status) -> bool {
    status.code() == Code::Unavailable || std::error::Error::source(status).is_some()
}

/// A status in words: what the server said, else what happened below.
pub(super) fn words(status: &Status) -> String {
    let below = std::error::Error::source(status).map(innermost);
    let said = below.unwrap_or_else(|| status.message().to_owned());
    match said.lines().next() {
        Some(line) if !line.trim().is_empty() => line.trim().to_owned(),
        _ => status.code().description().to_owned(),
    }
}

/// The first cause, which says more than "transport error".
fn innermost(mut error: &(dyn std::error::Error + 'static)) -> String {
    while let Some(next) = error.source() {
        error = next;
    }
    error.to_string()
}
