//! A remote execution cluster in this process, for what no real one does on demand: it forgets blobs,
//! has no worker, refuses, or goes away. It runs nothing: commands say what they would make.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bazel_remote_apis::build::bazel::remote::execution::v2 as api;
use bazel_remote_apis::google::bytestream as bytes;
use bazel_remote_apis::google::longrunning::{Operation, operation};
use bazel_remote_apis::google::protobuf::Any;
use prost::Message;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Identity, ServerTlsConfig};
use tonic::{Request, Response, Status};

use api::capabilities_server::{Capabilities, CapabilitiesServer};
use api::content_addressable_storage_server::{
    ContentAddressableStorage, ContentAddressableStorageServer,
};
use api::execution_server::{Execution, ExecutionServer};
use bytes::byte_stream_server::{ByteStream, ByteStreamServer};

/// How it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    /// Nobody without this header gets in.
    Guarded(&'static str, &'static str),
    /// It stores and does not execute.
    CacheOnly,
    /// No worker has the right platform, as `BuildGrid` says it.
    NoWorker,
    /// Actions wait for a worker for ever.
    Queued,
    /// It answers the first few times that anything is run with an error that passes.
    Hiccups,
    /// It dies when something is to be run.
    Dying,
}

/// Everything it knows, and what was asked of it.
pub(crate) struct Store {
    mood: Mood,
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
    /// Actions that were run.
    pub(crate) ran: Vec<(api::Action, api::Command)>,
    /// How often `Execute` was called.
    calls: usize,
}

#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) store: Arc<Mutex<Store>>,
    stop: tokio::sync::watch::Sender<bool>,
}

/// Ends with the value.
pub(crate) struct Running {
    pub(crate) cluster: Cluster,
    pub(crate) address: SocketAddr,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cluster.stop.send_replace(true);
        self.thread.take().unwrap().join().unwrap();
    }
}

pub(crate) fn digest(data: &[u8]) -> api::Digest {
    api::Digest {
        hash: svhcheck::digest::Digest::of(data).to_string(),
        size_bytes: data.len().try_into().unwrap(),
    }
}

impl Cluster {
    /// Serves on loopback until the value is dropped.
    pub(crate) fn start(mood: Mood) -> Running {
        Self::start_with(mood, None)
    }

    /// The same, with TLS.
    pub(crate) fn start_with(mood: Mood, identity: Option<Identity>) -> Running {
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let store = Store {
            mood,
            blobs: BTreeMap::new(),
            ran: Vec::new(),
            calls: 0,
        };
        let cluster = Self {
            store: Arc::new(Mutex::new(store)),
            stop,
        };
        let (server, (send, address)) = (cluster.clone(), std::sync::mpsc::channel());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.enable_all().build().unwrap();
            runtime.block_on(serve(server, identity, stopped, &send));
            // Open calls end with the runtime, as with a process.
            runtime.shutdown_background();
        });
        Running {
            address: address.recv().unwrap(),
            cluster,
            thread: Some(thread),
        }
    }

    pub(crate) fn put(&self, data: Vec<u8>) -> api::Digest {
        let digest = digest(&data);
        let mut store = self.store.lock().unwrap();
        store.blobs.insert(digest.hash.clone(), data);
        digest
    }

    fn get<T: Message + Default>(&self, digest: Option<&api::Digest>) -> Result<T, Status> {
        let store = self.store.lock().unwrap();
        let blob = digest.and_then(|digest| store.blobs.get(&digest.hash));
        let blob = blob.ok_or_else(|| Status::failed_precondition("missing blob"))?;
        Ok(T::decode(blob.as_slice()).unwrap())
    }

    fn admit<T>(&self, request: &Request<T>) -> Result<(), Status> {
        match self.store.lock().unwrap().mood {
            Mood::Guarded(name, value) => match request.metadata().get(name) {
                Some(own) if own == value => Ok(()),
                _ => Err(Status::unauthenticated("who are you?")),
            },
            _ => Ok(()),
        }
    }

    /// What a command makes: `make KIND BEFORE AFTER`, both hashes of blobs; the kind says what of the
    /// world makes it the other one.
    fn made(&self, action: &api::Action, command: &api::Command) -> api::ActionResult {
        let [_, kind, before, after] = command.arguments.as_slice() else {
            panic!("{command:?}");
        };
        let user = command
            .environment_variables
            .iter()
            .any(|own| own.name == "USER");
        let elsewhere = !command.working_directory.is_empty();
        if elsewhere {
            let around: api::Directory = self.get(action.input_root_digest.as_ref()).unwrap();
            assert_eq!(around.directories[0].name, command.working_directory);
        }
        let moved = match kind.as_str() {
            "restless" => true,
            "user" => user,
            "place" => elsewhere,
            "failing" if user => {
                return api::ActionResult {
                    exit_code: 101,
                    stderr_raw: b"warning: x\nerror: USER is not me\n".to_vec(),
                    ..Default::default()
                };
            }
            _ => false,
        };
        let blob = self.store.lock().unwrap().blobs[if moved { after } else { before }].clone();
        api::ActionResult {
            output_files: vec![api::OutputFile {
                path: command.output_paths[0].clone(),
                digest: Some(digest(&blob)),
                ..Default::default()
            }],
            ..Default::default()
        }
    }
}

async fn serve(
    own: Cluster,
    identity: Option<Identity>,
    mut stopped: tokio::sync::watch::Receiver<bool>,
    address: &std::sync::mpsc::Sender<SocketAddr>,
) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    address.send(listener.local_addr().unwrap()).unwrap();
    let mut builder = tonic::transport::Server::builder();
    if let Some(identity) = identity {
        let tls = ServerTlsConfig::new().identity(identity);
        builder = builder.tls_config(tls).unwrap();
    }
    let serving = builder
        .add_service(CapabilitiesServer::new(own.clone()))
        .add_service(ContentAddressableStorageServer::new(own.clone()))
        .add_service(ByteStreamServer::new(own.clone()))
        .add_service(ExecutionServer::new(own))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::select! {
        ended = serving => ended.unwrap(),
        _ = stopped.wait_for(|stop| *stop) => {}
    }
}

type Answer<T> = Result<Response<T>, Status>;
type Stream<T> = tokio_stream::Iter<std::vec::IntoIter<Result<T, Status>>>;

fn stream<T>(items: Vec<Result<T, Status>>) -> Response<Stream<T>> {
    Response::new(tokio_stream::iter(items))
}

#[tonic::async_trait]
impl Capabilities for Cluster {
    async fn get_capabilities(
        &self,
        request: Request<api::GetCapabilitiesRequest>,
    ) -> Answer<api::ServerCapabilities> {
        self.admit(&request)?;
        let execution = api::ExecutionCapabilities {
            exec_enabled: self.store.lock().unwrap().mood != Mood::CacheOnly,
            ..Default::default()
        };
        Ok(Response::new(api::ServerCapabilities {
            execution_capabilities: Some(execution),
            ..Default::default()
        }))
    }
}

#[tonic::async_trait]
impl ContentAddressableStorage for Cluster {
    async fn batch_update_blobs(
        &self,
        request: Request<api::BatchUpdateBlobsRequest>,
    ) -> Answer<api::BatchUpdateBlobsResponse> {
        self.admit(&request)?;
        let mut answer = api::BatchUpdateBlobsResponse::default();
        for own in request.into_inner().requests {
            assert_eq!(own.digest, Some(digest(&own.data)));
            self.put(own.data);
            answer
                .responses
                .push(api::batch_update_blobs_response::Response {
                    digest: own.digest,
                    status: None,
                });
        }
        Ok(Response::new(answer))
    }

    async fn find_missing_blobs(
        &self,
        _: Request<api::FindMissingBlobsRequest>,
    ) -> Answer<api::FindMissingBlobsResponse> {
        Err(Status::unimplemented("not asked"))
    }

    async fn batch_read_blobs(
        &self,
        _: Request<api::BatchReadBlobsRequest>,
    ) -> Answer<api::BatchReadBlobsResponse> {
        Err(Status::unimplemented("not asked"))
    }

    type GetTreeStream = Stream<api::GetTreeResponse>;
    async fn get_tree(&self, _: Request<api::GetTreeRequest>) -> Answer<Self::GetTreeStream> {
        Err(Status::unimplemented("not asked"))
    }

    async fn split_blob(
        &self,
        _: Request<api::SplitBlobRequest>,
    ) -> Answer<api::SplitBlobResponse> {
        Err(Status::unimplemented("not asked"))
    }

    type GetChunkMappingStream = Stream<api::GetChunkMappingResponse>;
    async fn get_chunk_mapping(
        &self,
        _: Request<api::GetChunkMappingRequest>,
    ) -> Answer<Self::GetChunkMappingStream> {
        Err(Status::unimplemented("not asked"))
    }

    async fn register_chunk_mapping(
        &self,
        _: Request<tonic::Streaming<api::RegisterChunkMappingRequest>>,
    ) -> Answer<api::RegisterChunkMappingResponse> {
        Err(Status::unimplemented("not asked"))
    }

    async fn splice_blob(
        &self,
        _: Request<api::SpliceBlobRequest>,
    ) -> Answer<api::SpliceBlobResponse> {
        Err(Status::unimplemented("not asked"))
    }
}

#[tonic::async_trait]
impl ByteStream for Cluster {
    type ReadStream = Stream<bytes::ReadResponse>;
    async fn read(&self, request: Request<bytes::ReadRequest>) -> Answer<Self::ReadStream> {
        self.admit(&request)?;
        let name = request.into_inner().resource_name;
        let hash = name.rsplit('/').nth(1).unwrap().to_owned();
        let blob = self.store.lock().unwrap().blobs.get(&hash).cloned();
        let blob = blob.ok_or_else(|| Status::not_found("no such blob"))?;
        let parts = blob.chunks(1000).map(|part| {
            Ok(bytes::ReadResponse {
                data: part.to_vec(),
            })
        });
        Ok(stream(parts.collect()))
    }

    async fn write(
        &self,
        _: Request<tonic::Streaming<bytes::WriteRequest>>,
    ) -> Answer<bytes::WriteResponse> {
        Err(Status::unimplemented("not asked"))
    }

    async fn query_write_status(
        &self,
        _: Request<bytes::QueryWriteStatusRequest>,
    ) -> Answer<bytes::QueryWriteStatusResponse> {
        Err(Status::unimplemented("not asked"))
    }
}

#[tonic::async_trait]
impl Execution for Cluster {
    type ExecuteStream = Stream<Operation>;
    async fn execute(&self, request: Request<api::ExecuteRequest>) -> Answer<Self::ExecuteStream> {
        self.admit(&request)?;
        let request = request.into_inner();
        assert!(request.skip_cache_lookup);
        let (mood, calls) = {
            let mut store = self.store.lock().unwrap();
            store.calls += 1;
            (store.mood, store.calls)
        };
        match mood {
            Mood::NoWorker => {
                let why = "No bots found matching requirements of the job";
                return Err(Status::failed_precondition(why));
            }
            Mood::Queued => std::future::pending().await,
            Mood::Hiccups if calls <= 2 => return Err(Status::unavailable("one moment")),
            Mood::Dying => {
                self.stop.send_replace(true);
                std::future::pending::<()>().await;
            }
            _ => {}
        }
        let action: api::Action = self.get(request.action_digest.as_ref())?;
        let command: api::Command = self.get(action.command_digest.as_ref())?;
        let response = api::ExecuteResponse {
            result: Some(self.made(&action, &command)),
            ..Default::default()
        };
        self.store.lock().unwrap().ran.push((action, command));
        let answer = Any {
            type_url: String::new(),
            value: response.encode_to_vec(),
        };
        let done = Operation {
            done: true,
            result: Some(operation::Result::Response(answer)),
            ..Default::default()
        };
        Ok(stream(vec![Ok(Operation::default()), Ok(done)]))
    }

    type WaitExecutionStream = Stream<Operation>;
    async fn wait_execution(
        &self,
        _: Request<api::WaitExecutionRequest>,
    ) -> Answer<Self::WaitExecutionStream> {
        Err(Status::unimplemented("not asked"))
    }
}
