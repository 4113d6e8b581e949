//! What the tests inside real labs share: a lab for a test, programs on its hosts, and what it says of itself.

#![allow(dead_code, reason = "each test file uses its own part")]
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests own a clock and an environment, and fail loudly"
)]

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const VPCE: &str = env!("CARGO_BIN_EXE_vpce");
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");
const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/netns");

/// How the lab's TUN devices are opened. Everything is tested both ways.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tun {
    Offload,
    Plain,
}

impl Tun {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Offload => "offload",
            Self::Plain => "plain",
        }
    }
}

/// What a test cannot do without.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// Namespaces and TUN devices: `vpce doctor` says yes.
    Lab,
    /// `python3` with its standard library.
    Python,
    /// AWS CLI, boto3 and Scapy: what `scripts/install-clients` installs.
    Clients,
    /// curl with HTTP/2 and `--aws-sigv4`.
    Curl,
}

impl Need {
    /// What is missing, if something is.
    fn missing(self) -> Option<String> {
        static FOUND: [OnceLock<Option<String>>; 4] = [const { OnceLock::new() }; 4];
        FOUND[self as usize].get_or_init(|| self.look()).clone()
    }

    fn look(self) -> Option<String> {
        match self {
            Self::Lab => {
                let doctor = Command::new(VPCE).args(["doctor", "-o", "json"]).output().unwrap();
                let said: Value = serde_json::from_slice(&doctor.stdout).unwrap();
                if said["ready"] == true {
                    return None;
                }
                let lacks = |finding: &&Value| finding["required"] == true && finding["available"] == false;
                let names = said["findings"].as_array().unwrap().iter().filter(lacks).map(|finding| &finding["name"]);
                Some(names.filter_map(Value::as_str).collect::<Vec<_>>().join(", "))
            }
            Self::Python => (!runs("python3", &["-c", "pass"])).then(|| "python3".to_owned()),
            Self::Clients => {
                let modules = "import awscli, boto3, cryptography, scapy.layers.ipsec";
                (!runs(client("python3"), &["-c", modules]))
                    .then(|| "AWS CLI, boto3, scapy (scripts/install-clients)".to_owned())
            }
            Self::Curl => {
                let version = Command::new("curl").arg("-V").output().map(|output| output.stdout).unwrap_or_default();
                let sufficient =
                    String::from_utf8_lossy(&version).contains("HTTP2") && runs("curl", &["--help", "auth"]);
                (!sufficient).then(|| "curl with HTTP/2".to_owned())
            }
        }
    }
}

fn runs(program: impl AsRef<OsStr>, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A program that `scripts/install-clients` installed.
pub fn client(program: &str) -> PathBuf {
    let folder = std::env::var("VPCE_CLIENTS")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/target/clients").to_owned());
    Path::new(&folder).join("bin").join(program)
}

/// A program of tests/clients.
pub fn script(name: &str) -> PathBuf {
    Path::new(SCRIPTS).join(name)
}

/// Whether the machine has everything; if not, says so in one line that libtest does not swallow.
pub fn has(test: &str, needs: &[Need]) -> bool {
    let missing: Vec<String> = needs.iter().filter_map(|need| need.missing()).collect();
    if !missing.is_empty() {
        // In one write: other tests say things at the same time.
        let line = format!("skipped: {test}: {}\n", missing.join(", "));
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    missing.is_empty()
}

/// Declares tests: functions of a TUN mode, and what each needs beside a lab.
#[macro_export]
macro_rules! in_both_modes {
    ($($name:ident: [$($need:ident),*];)*) => {
        mod offload {
            $(#[test] fn $name() { $crate::in_both_modes!(@run $name, Offload, [$($need),*]) })*
        }
        mod plain {
            $(#[test] fn $name() { $crate::in_both_modes!(@run $name, Plain, [$($need),*]) })*
        }
    };
    (@run $name:ident, $mode:ident, [$($need:ident),*]) => {
        if $crate::support::has(
            concat!(module_path!(), "::", stringify!($name)),
            &[$crate::support::Need::Lab, $($crate::support::Need::$need),*],
        ) {
            super::$name($crate::support::Tun::$mode);
        }
    };
}

/// A lab of a test's own, with folders of its own: nothing else on the machine sees it.
///
/// It ends with the guard, or when the test's process does, whatever ends that: guards in statics are never dropped.
pub struct Lab {
    folder: PathBuf,
    /// Waits for the end of its input, which is this process's end at the latest, and takes the lab down then.
    janitor: Child,
    runtime: PathBuf,
    state: PathBuf,
}

/// How a program ended and what it said.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    /// What it printed, if it did well.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "stderr:\n{}\nstdout:\n{:.2000}", self.stderr, self.stdout);
        self.stdout
    }

    /// What it printed, as JSON.
    pub fn json(self) -> Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:.2000}"))
    }
}

impl Lab {
    /// The quickstart lab.
    pub fn quickstart(mode: Tun) -> Self {
        Self::builtin("quickstart", mode)
    }

    /// A lab that comes with the program.
    pub fn builtin(name: &str, mode: Tun) -> Self {
        Self::up(None, &[name, "--tun", mode.name()])
    }

    /// The quickstart lab with changes: pieces of its text, and what stands there instead.
    ///
    /// A piece that is not there fails the test, so a change of the topology is noticed.
    pub fn changed(changes: &[(&str, &str)], arguments: &[&str]) -> Self {
        let mut text = std::fs::read_to_string(Path::new(SHIPPED).join("quickstart.toml")).unwrap();
        for (old, new) in changes {
            assert!(text.contains(old), "the quickstart lab has no {old:?}");
            text = text.replacen(old, new, 1);
        }
        Self::up(Some(&text.replace("\"functions/", &format!("\"{SHIPPED}/functions/"))), arguments)
    }

    /// A lab of a topology's text.
    pub fn of_text(text: &str, arguments: &[&str]) -> Self {
        Self::up(Some(text), arguments)
    }

    fn up(text: Option<&str>, arguments: &[&str]) -> Self {
        // Short, because sockets live in it and their paths are limited to 107 bytes.
        let folder = tempfile::Builder::new().prefix("vpce-test-").tempdir().unwrap().keep();
        let mut janitor = Command::new("/bin/sh");
        janitor.args(["-c", "read nothing; \"$0\" lab --lab test down; rm -rf \"$1\"", VPCE]).arg(&folder);
        // Out of the terminal's reach: an interrupt is for the test alone.
        janitor.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let janitor = folders(&mut janitor, &folder).spawn().unwrap();
        let (state, runtime) = (folder.join("s/test"), folder.join("r/vpce/test"));
        let topology = text.map(|text| {
            let file = folder.join("lab.toml");
            std::fs::write(&file, text).unwrap();
            file
        });
        let lab = Self { folder, janitor, runtime, state };
        let mut up = lab.vpce(&["up"]);
        let ran = Ran::from(up.args(topology).args(arguments).output().unwrap());
        assert_eq!(ran.code, 0, "the lab does not come up:\n{}", ran.stderr);
        lab
    }

    /// Brings the quickstart lab up once more, in the same folders.
    pub fn up_again(&self, arguments: &[&str]) {
        self.lab(&[&["up"], arguments].concat()).ok();
    }

    /// Runs a subcommand of `vpce lab` on this lab.
    pub fn lab(&self, arguments: &[&str]) -> Ran {
        self.vpce(arguments).output().unwrap().into()
    }

    /// `vpce lab` on this lab.
    fn vpce(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(VPCE);
        command.args(["lab", "--lab", "test"]).args(arguments).stdin(Stdio::null());
        folders(&mut command, &self.folder);
        command
    }

    /// `vpce fault` on this lab.
    pub fn fault(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new(VPCE);
        command.args(["fault", "--lab", "test"]).args(arguments).stdin(Stdio::null());
        folders(&mut command, &self.folder).output().unwrap().into()
    }

    /// A program on a host, not yet started.
    pub fn command(&self, identity: &str, host: &str, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.vpce(&["exec", "--as", identity, host, "--"]);
        command.arg(program);
        command
    }

    /// Runs a program on a host, as Admin.
    pub fn exec(&self, host: &str, program: impl AsRef<OsStr>, arguments: &[&str]) -> Ran {
        self.command("Admin", host, program).args(arguments).output().unwrap().into()
    }

    /// Runs a script of tests/clients with the installed clients' Python; returns the JSON that it prints.
    pub fn client(&self, host: &str, script: &str, arguments: &[&str]) -> Value {
        self.client_as("Admin", host, script, arguments)
    }

    /// The same as another identity.
    pub fn client_as(&self, identity: &str, host: &str, script: &str, arguments: &[&str]) -> Value {
        let mut command = self.command(identity, host, client("python3"));
        let command = command.arg(Path::new(SCRIPTS).join(script)).args(arguments);
        Ran::from(command.output().unwrap()).json()
    }

    /// Runs a subcommand of tests/clients/probe.py, which needs nothing but Python.
    pub fn probe(&self, host: &str, arguments: &[&str]) -> Value {
        let script = Path::new(SCRIPTS).join("probe.py");
        let mut command = self.command("Admin", host, "python3");
        Ran::from(command.arg(script).args(arguments).output().unwrap()).json()
    }

    /// Runs several of them at the same time: most of what they do is wait.
    pub fn probes(&self, host: &str, all: &[&[&str]]) -> Vec<Value> {
        let started: Vec<Child> = all.iter().map(|arguments| self.start_probe(host, arguments)).collect();
        started.into_iter().map(|child| Ran::from(child.wait_with_output().unwrap()).json()).collect()
    }

    /// Starts a subcommand of probe.py; what it prints can be collected.
    pub fn start_probe(&self, host: &str, arguments: &[&str]) -> Child {
        let script = Path::new(SCRIPTS).join("probe.py");
        let mut command = self.command("Admin", host, "python3");
        command.arg(script).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// What a resolver answers to questions, each a name and a type.
    pub fn dns(&self, host: &str, server: &str, questions: &[(&str, &str)]) -> Vec<Value> {
        let words = questions.iter().flat_map(|(name, kind)| [*name, *kind]);
        let arguments: Vec<&str> = ["dns", server].into_iter().chain(words).collect();
        self.probe(host, &arguments)["answers"].as_array().unwrap().clone()
    }

    /// Invocations by boto3, one after the other: functions and their events.
    pub fn invoke_all(&self, identity: &str, all: &[(&str, Value)]) -> Vec<Value> {
        let calls: Vec<String> = all
            .iter()
            .map(|(function, event)| json!({ "FunctionName": function, "Payload": event.to_string() }).to_string())
            .collect();
        let words: Vec<&str> = calls.iter().flat_map(|call| ["invoke", call.as_str()]).collect();
        self.client_as(identity, "app", "call.py", &words).as_array().unwrap().clone()
    }

    /// One invocation by boto3, as Admin.
    pub fn invoke(&self, function: &str, event: Value) -> Value {
        self.invoke_all("Admin", &[(function, event)]).remove(0)
    }

    /// Runs curl; `arguments` come after those that make it quiet and bounded.
    pub fn curl(&self, host: &str, arguments: &[&str]) -> Ran {
        let mut command = self.command("Admin", host, "curl");
        command.args(["--silent", "--show-error", "--max-time", "20"]).args(arguments).output().unwrap().into()
    }

    /// What `lab status` says.
    pub fn status(&self) -> Value {
        Ran::from(self.vpce(&["status", "-o", "json"]).output().unwrap()).json()
    }

    /// How often one of the lab's processes counted `code`.
    pub fn count(&self, process: &str, code: &str) -> u64 {
        let status = self.status();
        let rows = status["counters"].as_array().unwrap();
        let found = rows.iter().find(|row| row["process"] == process && row["code"] == code);
        found.map_or(0, |row| row["count"].as_u64().unwrap())
    }

    /// The endpoint's last denials.
    pub fn denials(&self) -> Vec<Value> {
        self.process("endpoint")["status"]["denials"].as_array().unwrap().clone()
    }

    /// One of the lab's processes: `pid`, `status` …
    pub fn process(&self, name: &str) -> Value {
        let status = self.status();
        status["processes"].as_array().unwrap().iter().find(|process| process["name"] == name).unwrap().clone()
    }

    /// Asks the endpoint itself.
    pub fn ask_endpoint(&self, request: &Value) -> Value {
        use std::io::{BufRead, BufReader};
        let mut stream = std::os::unix::net::UnixStream::connect(self.runtime.join("endpoint.sock")).unwrap();
        writeln!(stream, "{request}").unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// A file of the lab's runtime folder.
    pub fn runtime_file(&self, name: &str) -> PathBuf {
        self.runtime.join(name)
    }

    /// A file of the lab's state folder.
    pub fn state_file(&self, name: &str) -> PathBuf {
        self.state.join(name)
    }

    /// Rows of the access log, oldest first.
    pub fn access_log(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.state_file("logs/access.jsonl")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The folder that goes with the lab.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.janitor.stdin.take());
        // Nothing to be done about a failure here; the next lab has folders of its own.
        let _: std::io::Result<_> = self.janitor.wait();
    }
}

fn folders<'a>(command: &'a mut Command, folder: &Path) -> &'a mut Command {
    command.env("VPCE_STATE", folder.join("s")).env("XDG_RUNTIME_DIR", folder.join("r"))
}

/// Waits until `state` gives something, at most `seconds`; panics with `what` then.
pub fn wait_for<T>(what: &str, seconds: u64, mut state: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(found) = state() {
            return found;
        }
        assert!(Instant::now() < end, "not within {seconds} s: {what}");
    }
}

/// Runs `work` and says how long it took.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}

/// Collects what differs, so that one run of a slow client shows everything that is wrong.
#[derive(Debug, Default)]
pub struct Differences(String);

impl Differences {
    pub fn compare(&mut self, case: &str, what: &str, found: &Value, expected: &Value) {
        if found != expected {
            writeln!(self.0, "{case}: {what}\n     is {found:.900}\n  wants {expected:.900}").unwrap();
        }
    }

    pub fn add(&mut self, case: &str, text: &str) {
        writeln!(self.0, "{case}: {text}").unwrap();
    }

    pub fn judge(self) {
        assert!(self.0.is_empty(), "\n{}", self.0);
    }
}

/// The quickstart lab's own words.
pub mod quickstart {
    pub const HOST: &str = "lambda.us-east-2.amazonaws.com";
    pub const ENI: &str = "10.0.1.100";
    pub const ENI6: &str = "2001:db8:1234:1a01::64";
    pub const REGIONAL: &str = "vpce-0123456789abcdef0-lj2wisx3.lambda.us-east-2.vpce.amazonaws.com";
    pub const ZONAL: &str = "vpce-0123456789abcdef0-lj2wisx3-us-east-2a.lambda.us-east-2.vpce.amazonaws.com";
    pub const DUALSTACK: &str = "lambda.us-east-2.api.aws";

    /// The ARN of a function of the lab.
    pub fn arn(name: &str) -> String {
        format!("arn:aws:lambda:us-east-2:123456789012:function:{name}")
    }
}

/// JSON of a list of strings.
pub fn strings<T: AsRef<str>>(list: impl IntoIterator<Item = T>) -> Value {
    json!(list.into_iter().map(|item| item.as_ref().to_owned()).collect::<Vec<_>>())
}
