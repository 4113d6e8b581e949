//! The function host over loopback, with real processes behind it. Tests that need Python 3 say so when they skip.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "the helpers of tests are tests")]

mod server;
mod processes;
mod failures;
mod logs;
mod custom_runtimes;
mod ends;
mod awslambdaric;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use vpce::config::{Code, Function};
use vpce::onprem::{FunctionHost, HostSettings, Limits};

/// A function host of its own for one test.
struct Lab {
    host: FunctionHost,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    served: tokio::task::JoinHandle<()>,
    folder: tempfile::TempDir,
}

/// What came back.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    trailers: HeaderMap,
}

impl Lab {
    async fn up(functions: Vec<Function>) -> Self {
        Self::up_with(functions, Limits::default()).await
    }

    async fn up_with(functions: Vec<Function>, limits: Limits) -> Self {
        Self::up_under(functions, limits, python3()).await
    }

    async fn up_under(functions: Vec<Function>, limits: Limits, python: Option<PathBuf>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = HostSettings {
            region: "us-east-2".into(),
            partition: "aws".into(),
            account: "123456789012".into(),
            functions,
            search_path: python.map(|python| python.parent().unwrap().into()),
            limits,
        };
        let host = FunctionHost::new(settings, &folder.path().join("work")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = host.clone();
        let served = tokio::spawn(async move { serving.serve(listener, async { drop(stopped.await) }).await });
        Self { host, address, stop: Some(stop), served, folder }
    }

    async fn connect(&self) -> SendRequest<Full<Bytes>> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    async fn invoke(&self, target: &str, headers: &[(&str, &str)], payload: &str) -> Answer {
        send(&mut self.connect().await, target, headers, Bytes::from(payload.to_owned())).await
    }

    async fn json(&self, target: &str, payload: &str) -> Value {
        let answer = self.invoke(target, &[], payload).await;
        assert_eq!((answer.status, answer.error()), (StatusCode::OK, None), "{answer:?}");
        answer.json()
    }

    fn status(&self, name: &str) -> Value {
        let status = self.host.status();
        let functions = status["functions"].as_array().unwrap();
        functions.iter().find(|function| function["name"] == name).unwrap().clone()
    }

    fn pids(&self, name: &str) -> Vec<i64> {
        let status = self.status(name);
        status["processes"].as_array().unwrap().iter().map(|process| process["pid"].as_i64().unwrap()).collect()
    }

    async fn down(mut self) {
        drop(self.stop.take());
        self.served.await.unwrap();
    }

    /// Lets the other tasks run until `reached`.
    async fn until(&self, reached: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !reached(self) {
                tokio::task::yield_now().await;
            }
        };
        let reached = tokio::time::timeout(Duration::from_secs(60), waiting).await;
        assert!(reached.is_ok(), "not reached within a minute: {}", self.host.status());
    }
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn error(&self) -> Option<&str> {
        self.header("x-amz-function-error")
    }

    fn log(&self) -> String {
        decode(self.header("x-amz-log-result").expect("a log tail"))
    }
}

fn decode(base64: &str) -> String {
    String::from_utf8(BASE64.decode(base64).unwrap()).unwrap()
}

async fn send(
    connection: &mut SendRequest<Full<Bytes>>,
    target: &str,
    headers: &[(&str, &str)],
    payload: Bytes,
) -> Answer {
    let mut request = Request::post(format!("/2015-03-31/functions/{target}/invocations")).header("host", "functions");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    connection.ready().await.unwrap();
    let response = connection.send_request(request.body(Full::new(payload)).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().cloned().unwrap_or_default();
    Answer { status: head.status, headers: head.headers, body: collected.to_bytes(), trailers }
}

fn function(name: &str, code: Code) -> Function {
    Function {
        name: name.into(),
        runtime: "python3.11".into(),
        code,
        timeout: Duration::from_secs(30),
        memory_mb: 256,
        versions: vec![1],
        aliases: vec![("live".into(), "1".into())],
        concurrency: 4,
        environment: vec![],
        policy: None,
    }
}

fn python(name: &str, source: &str) -> Function {
    let code = Code::PythonInline { source: source.into(), handler: "code.handler".into() };
    function(name, code)
}

/// A custom runtime: an executable `bootstrap` in a folder of its own.
fn bootstrap(folder: &Path, name: &str, script: &str) -> Function {
    let path = folder.join(name);
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("bootstrap"), script).unwrap();
    std::fs::set_permissions(path.join("bootstrap"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let runtime = "provided.al2023".into();
    Function { runtime, ..function(name, Code::Bootstrap { path, handler: "some.handler".into() }) }
}

/// The interpreter, not a shim in front of it that takes its time.
fn python3() -> Option<PathBuf> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let output = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().ok()?;
        Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
    });
    if found.is_none() {
        println!("skipped: python3 is not in PATH");
    }
    found.clone()
}

macro_rules! require_python {
    () => {
        match python3() {
            Some(python) => python,
            None => return,
        }
    };
}
use require_python;

fn alive(pid: i64) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

const HELLO: &str = include_str!("../../netns/functions/hello/handler.py");
