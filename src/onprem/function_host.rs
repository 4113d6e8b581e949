//! The function host: an HTTP/1.1 server for the one call that crosses the tunnel.
//!
//! `POST /2015-03-31/functions/NAME[:QUALIFIER]/invocations`, as the runtime interface emulator takes it. What the
//! endpoint knows it adds as headers; all are optional:
//!
//! | request header | meaning |
//! | --- | --- |
//! | `X-Vpce-Request-Id` | the request id; made up if missing |
//! | `X-Vpce-Invoked-Function-Arn` | as invoked; unqualified if missing |
//! | `X-Vpce-Function-Version` | resolved version; else the qualifier is resolved here |
//! | `X-Vpce-Deadline-Ms` | when the endpoint gives up, ms since 1970; an invocation is not started after it |
//! | `X-Amzn-Trace-Id`, `X-Amz-Client-Context`, `X-Amz-Log-Type` | as in Invoke |
//! | `X-Vpce-Response-Mode` | `streaming`: the answer as it comes. Ask with `TE: trailers`, or the trailers are left out |
//!
//! The answer is 200 with the function's own (`X-Amz-Function-Error`, `X-Amz-Executed-Version`, `X-Amz-Log-Result`,
//! `X-Amzn-RequestId`). A stream is chunked, with trailers `X-Vpce-Stream-Error` (the error's type),
//! `X-Vpce-Stream-Error-Details` (base64 of its JSON) and `X-Amz-Log-Result`; a function that does not stream answers whole in either mode. 400, 404, 413 and 429 are the
//! caller's, 500 is ours.
//!
//! Built-in functions ([`super::built_in`]) are answered on the spot: no process, no task, no throttling.
//!
//! Limits: [`Limits`]; request bodies of [`super::request::PAYLOAD_LIMIT`] bytes.

use std::collections::HashMap;
use std::convert::Infallible;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::Instant;

use super::built_in;
use super::invocation::{Order, ReplyBody, error_response, invoke, throttled};
use super::launch::{self, Launch, Python};
use super::pool::{Pool, Seats, Tally};
use super::request::{query_qualifier, read_payload};
use crate::config::{Code, Function, Topology};
use crate::lambda::host::FUNCTION_VERSION;

/// A connection without a request is closed after this; also the longest a request's head may take.
const IDLE_LIMIT: Duration = Duration::from_secs(300);
/// How often idle processes are looked at.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

/// What the function host has to know of a topology.
#[derive(Clone, Debug)]
pub struct HostSettings {
    /// `us-east-2`.
    pub region: String,
    /// `aws`.
    pub partition: String,
    /// Twelve digits.
    pub account: String,
    /// The functions.
    pub functions: Vec<Function>,
    /// Folders in which `python3` is looked for: the value of `PATH`.
    pub search_path: Option<OsString>,
    /// Bounds.
    pub limits: Limits,
}

/// Bounds of a function host.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Processes of all functions together; each costs four descriptors here.
    pub processes: usize,
    /// Connections.
    pub connections: usize,
    /// A process's init phase, before it is tried again within the invocation. AWS: 10 s.
    pub init: Duration,
    /// A process that had nothing to do for this long is ended.
    pub idle: Duration,
    /// From SIGTERM to SIGKILL when the host ends.
    pub shutdown: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            processes: 200,
            connections: 1024,
            init: Duration::from_secs(10),
            idle: Duration::from_secs(600),
            shutdown: Duration::from_millis(500),
        }
    }
}

/// Why the function host cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum FunctionHostError {
    /// The address is taken, or not this machine's.
    #[error("the function host cannot listen on {address}; is another one running, or the address missing here?")]
    Listen {
        /// From `on_premises.function_host`.
        address: SocketAddr,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The folder for runtimes and inline sources.
    #[error("the function host cannot write its work folder {}", path.display())]
    WorkDir {
        /// The folder.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A function whose code cannot be laid out.
    #[error("function `{name}` cannot be laid out: {source}")]
    Code {
        /// The function.
        name: String,
        /// Why.
        source: std::io::Error,
    },
}

/// The function host. Clones are handles of the same one.
#[derive(Clone, Debug)]
pub struct FunctionHost(Arc<Host>);

#[derive(Debug)]
struct Host {
    region: String,
    partition: String,
    account: String,
    limits: Limits,
    functions: HashMap<String, Entry>,
    python: Option<Python>,
    connections: Arc<Semaphore>,
    connections_refused: AtomicU64,
}

#[derive(Debug)]
struct Entry {
    versions: Versions,
    runner: Runner,
}

#[derive(Debug)]
enum Runner {
    BuiltIn(Box<Function>, Tally),
    Processes(Arc<Pool>),
}

/// Resolves qualifiers.
#[derive(Debug)]
struct Versions {
    published: Vec<u32>,
    aliases: Vec<(String, String)>,
}

/// Runs a topology's function host until `shutdown` completes, then ends its processes: SIGTERM, and SIGKILL half a
/// second later. `work_dir` receives runtimes and inline sources; it should be private to this program.
///
/// Returns at once if the topology has an external function host.
///
/// # Errors
/// If it cannot listen or write its work folder, or a function's code cannot be laid out.
pub async fn run(
    topology: Arc<Topology>,
    work_dir: PathBuf,
    shutdown: impl Future<Output = ()>,
) -> Result<(), FunctionHostError> {
    if topology.on_premises.external_function_host {
        return Ok(());
    }
    let host = FunctionHost::new(HostSettings::of(&topology), &work_dir)?;
    host.listen_and_serve(topology.on_premises.function_host, shutdown).await
}

impl HostSettings {
    /// The settings of a topology, with this program's `PATH`.
    pub fn of(topology: &Topology) -> Self {
        Self {
            region: topology.region.clone(),
            partition: topology.partition.clone(),
            account: topology.account.clone(),
            functions: topology.functions.clone(),
            search_path: std::env::var_os("PATH"),
            limits: Limits::default(),
        }
    }
}

impl FunctionHost {
    /// Lays out `work_dir` and starts looking for Python. Needs a tokio runtime around it.
    ///
    /// # Errors
    /// If `work_dir` cannot be written, or an inline source's handler names no module.
    pub fn new(settings: HostSettings, work_dir: &Path) -> Result<Self, FunctionHostError> {
        let failed = |source| FunctionHostError::WorkDir { path: work_dir.to_owned(), source };
        let work_dir = &std::path::absolute(work_dir).map_err(failed)?;
        launch::lay_out(work_dir).map_err(failed)?;
        let needs_python =
            |function: &Function| matches!(function.code, Code::Python { .. } | Code::PythonInline { .. });
        let python =
            settings.functions.iter().any(needs_python).then(|| launch::find_python(settings.search_path.clone()));
        let seats = Seats::new(settings.limits.processes);
        let mut functions = HashMap::new();
        for function in settings.functions {
            let launch = Launch::prepare(&function, &settings.region, work_dir, python.as_ref())
                .map_err(|source| FunctionHostError::Code { name: function.name.clone(), source })?;
            let versions = Versions { published: function.versions.clone(), aliases: function.aliases.clone() };
            let name = function.name.clone();
            let runner = match launch {
                None => Runner::BuiltIn(Box::new(function), Tally::default()),
                Some(launch) => Runner::Processes(Pool::new(function, launch, &seats)),
            };
            functions.insert(name, Entry { versions, runner });
        }
        Ok(Self(Arc::new(Host {
            region: settings.region,
            partition: settings.partition,
            account: settings.account,
            limits: settings.limits,
            functions,
            python,
            connections: Arc::new(Semaphore::new(settings.limits.connections)),
            connections_refused: AtomicU64::new(0),
        })))
    }

    /// Binds `address` and serves it; see [`Self::serve`].
    ///
    /// # Errors
    /// If it cannot listen.
    pub async fn listen_and_serve(
        &self,
        address: SocketAddr,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), FunctionHostError> {
        let listener =
            TcpListener::bind(address).await.map_err(|source| FunctionHostError::Listen { address, source })?;
        self.serve(listener, shutdown).await;
        Ok(())
    }

    /// Serves until `shutdown` completes, then ends all processes. If the future is dropped, they are killed.
    pub async fn serve(&self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let _kill_on_drop = KillOnDrop(&self.0);
        // Connections end when this does.
        let (open, _) = watch::channel(());
        let mut shutdown = std::pin::pin!(shutdown);
        let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => self.accept(stream, open.subscribe()),
                    Err(error) => {
                        tracing::warn!(%error, "function host cannot accept a connection");
                        // Most likely no descriptor is left: give others time to close theirs.
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                },
                now = sweep.tick() => self.sweep(now),
            }
        }
        drop(listener);
        let pools: Vec<_> = self.0.pools().cloned().collect();
        let grace = self.0.limits.shutdown;
        let endings: Vec<_> =
            pools.into_iter().map(|pool| tokio::spawn(async move { pool.shut_down(grace).await })).collect();
        for ending in endings {
            // A task of ours that panicked has left its processes to `KillOnDrop`.
            drop(ending.await);
        }
    }

    /// Processes, counts and the Python in use, for `lab status -o json`.
    pub fn status(&self) -> Value {
        let python = match self.0.python.as_ref().map(|python| python.borrow().clone()) {
            None => Value::Null,
            Some(None) => json!({ "state": "being looked for" }),
            Some(Some(Ok(path))) => json!({ "state": "found", "path": path }),
            Some(Some(Err(why))) => json!({ "state": "missing", "reason": why }),
        };
        let mut functions: Vec<_> = self.0.functions.values().map(Entry::status).collect();
        functions.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
        json!({
            "connections": self.0.limits.connections - self.0.connections.available_permits(),
            "connections_refused": self.0.connections_refused.load(Ordering::Relaxed),
            "python": python,
            "functions": functions,
        })
    }

    fn accept(&self, stream: TcpStream, mut open: watch::Receiver<()>) {
        let Ok(permit) = self.0.connections.clone().try_acquire_owned() else {
            self.0.connections_refused.fetch_add(1, Ordering::Relaxed);
            return;
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "connection is gone already");
            return;
        }
        let host = self.0.clone();
        let service = hyper::service::service_fn(move |request| {
            let host = host.clone();
            async move { Ok::<_, Infallible>(host.handle(request).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE_LIMIT)
            .auto_date_header(false)
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            let _permit = permit;
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, "connection to the function host broke");
                },
                _ = open.changed() => {}
            }
        });
    }

    fn sweep(&self, now: Instant) {
        if let Some(since) = now.checked_sub(self.0.limits.idle) {
            self.0.pools().for_each(|pool| pool.sweep(since));
        }
    }
}

impl Host {
    fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.functions.values().filter_map(|entry| match &entry.runner {
            Runner::Processes(pool) => Some(pool),
            Runner::BuiltIn(..) => None,
        })
    }

    async fn handle(&self, request: Request<Incoming>) -> Response<ReplyBody> {
        let path = request.uri().path();
        let target = path.strip_prefix("/2015-03-31/functions/").and_then(|rest| rest.strip_suffix("/invocations"));
        let Some(target) = target.filter(|target| !target.contains('/')) else {
            let body = json!({ "Type": "User", "Message": format!("The function host serves no {path}") });
            return error_response(StatusCode::NOT_FOUND, "ResourceNotFoundException", &body);
        };
        if request.method() != Method::POST {
            let body = json!({ "Type": "User", "Message": "Invocations are POST requests" });
            return error_response(StatusCode::METHOD_NOT_ALLOWED, "InvalidRequestContentException", &body);
        }
        let target = percent_encoding::percent_decode_str(target).decode_utf8_lossy();
        let (name, qualifier) = match target.split_once(':') {
            Some((name, qualifier)) => (name, Some(qualifier)),
            None => (&*target, None),
        };
        let qualifier = qualifier.or_else(|| query_qualifier(request.uri().query()));
        let entry = self.functions.get(name);
        let version = match (entry, request.headers().get(&FUNCTION_VERSION).and_then(|value| value.to_str().ok())) {
            (None, _) => None,
            (Some(entry), Some(version)) => entry.versions.resolve(version),
            (Some(entry), None) => entry.versions.resolve(qualifier.unwrap_or(LATEST)),
        };
        let (Some(entry), Some(version)) = (entry, version) else {
            let message = format!("Function not found: {}:{}", self.arn(name), qualifier.unwrap_or(LATEST));
            let body = json!({ "Type": "User", "Message": message });
            return error_response(StatusCode::NOT_FOUND, "ResourceNotFoundException", &body);
        };
        match &entry.runner {
            Runner::BuiltIn(function, tally) => built_in::serve(function, tally, version, request).await,
            Runner::Processes(pool) => {
                let arn = || match qualifier {
                    Some(qualifier) => format!("{}:{qualifier}", self.arn(name)),
                    None => self.arn(name),
                };
                let mut order = match Order::parse(&request, version, arn) {
                    Ok(order) => order,
                    Err(refusal) => return *refusal,
                };
                order.payload = match read_payload(request.into_body()).await {
                    Ok(payload) => payload,
                    Err(refusal) => return *refusal,
                };
                let admission = match pool.admit() {
                    Ok(admission) => admission,
                    Err(throttle) => return throttled(throttle),
                };
                let (reply, response) = oneshot::channel();
                // A task of its own: it goes on when the caller hangs up.
                tokio::spawn(invoke(pool.clone(), admission, order, self.limits.init, reply));
                response.await.unwrap_or_else(|_| {
                    let body = json!({ "Type": "Service", "Message": "The function host is shutting down" });
                    error_response(StatusCode::INTERNAL_SERVER_ERROR, "ServiceException", &body)
                })
            }
        }
    }

    fn arn(&self, name: &str) -> String {
        format!("arn:{}:lambda:{}:{}:function:{name}", self.partition, self.region, self.account)
    }
}

impl Entry {
    fn status(&self) -> Value {
        match &self.runner {
            Runner::Processes(pool) => pool.status(),
            Runner::BuiltIn(function, tally) => {
                let mut status = json!({ "name": function.name, "built_in": true });
                tally.add_to(&mut status);
                status
            }
        }
    }
}

impl Versions {
    /// The version a qualifier stands for.
    fn resolve(&self, qualifier: &str) -> Option<String> {
        let alias = self.aliases.iter().find(|(name, _)| name == qualifier);
        let version = alias.map_or(qualifier, |(_, version)| version);
        let exists = version == LATEST || version.parse().is_ok_and(|number: u32| self.published.contains(&number));
        exists.then(|| version.to_owned())
    }
}

/// Kills what still runs when the server's future ends, however it ends.
struct KillOnDrop<'a>(&'a Host);

impl Drop for KillOnDrop<'_> {
    fn drop(&mut self) {
        self.0.pools().for_each(|pool| pool.kill());
    }
}

/// The version that is not published.
pub(super) const LATEST: &str = "$LATEST";
