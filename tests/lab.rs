//! Labs on the real kernel, through the built program. Each test has its own lab, in folders of its own.
//!
//! Where namespaces or TUN devices are not to be had, the tests print what is missing and pass.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    reason = "tests of the real kernel have sockets, read the environment, and say what they skip"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde_json::Value;
use tempfile::TempDir;
use vpce::edge::namespace::NetworkNamespace;
use vpce::edge::netlink::Netlink;
use vpce::edge::tun::{self, HEADER_LEN, TunMode, TunQueue};

const VPCE: &str = env!("CARGO_BIN_EXE_vpce");

/// Folders for labs; whatever runs in them is ended when dropped.
struct Home {
    folder: TempDir,
}

impl Home {
    /// `None`, and a printed reason, where labs cannot run.
    fn new() -> Option<Self> {
        static MISSING: OnceLock<Option<String>> = OnceLock::new();
        let missing = MISSING.get_or_init(|| {
            let doctor = Command::new(VPCE).args(["doctor", "-o", "json"]).output().expect("doctor runs");
            let findings: Value = serde_json::from_slice(&doctor.stdout).expect("doctor speaks JSON");
            let lacks = |f: &&Value| f["required"] == true && f["available"] == false;
            let first = findings["findings"].as_array().expect("findings").iter().find(lacks).cloned();
            first.map(|finding| format!("{}: {}", finding["name"], finding["detail"]))
        });
        if let Some(missing) = missing {
            println!("skipped: this machine lacks {missing}");
            return None;
        }
        Some(Self { folder: TempDir::new().expect("folder") })
    }

    fn vpce<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(VPCE);
        command.args(arguments).stdin(Stdio::null());
        command.env("VPCE_STATE", self.folder.path().join("state"));
        command.env("XDG_RUNTIME_DIR", self.folder.path().join("run"));
        command
    }

    fn run<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> Output {
        self.vpce(arguments).output().expect("runs")
    }

    fn json<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> Value {
        let output = self.run(arguments);
        assert!(output.status.success(), "{}", text(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    fn up(&self) -> Value {
        self.json(&["lab", "up", "-o", "json"])
    }

    /// Runs a shell line on a host and returns what it prints.
    fn shell(&self, host: &str, line: &str) -> String {
        let output = self.run(&["lab", "exec", host, "--", "sh", "-c", line]);
        assert!(output.status.success(), "{}", text(&output));
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs this program again on a host, with `test` alone: the calling one, which begins with [`answered_as_probe`].
    fn probe(&self, test: &str, host: &str, question: &str) -> String {
        let this = std::env::current_exe().expect("this program");
        let this = this.to_str().expect("text");
        let arguments = ["lab", "exec", host, "--", this, "--exact", test, "--nocapture"];
        let output = self.vpce(&arguments).env("VPCE_PROBE", question).output().expect("runs");
        let answer = String::from_utf8_lossy(&output.stdout)
            .lines()
            .find_map(|line| line.split_once("probe: ").map(|(_, answer)| answer.to_owned()));
        answer.unwrap_or_else(|| panic!("no answer to {question}: {}", text(&output)))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for lab in fs::read_dir(self.folder.path().join("run/vpce")).into_iter().flatten().flatten() {
            let name = lab.file_name();
            self.run(&["lab".as_ref(), "down".as_ref(), "--lab".as_ref(), name.as_os_str()]);
        }
    }
}

fn text(output: &Output) -> String {
    format!(
        "{}\nstdout: {}\nstderr: {}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Process ids of a lab, from its status: the supervisor first.
fn pids(status: &Value) -> Vec<Pid> {
    let pid =
        |value: &Value| Pid::from_raw(i32::try_from(value.as_i64().expect("a pid")).expect("small")).expect("pid");
    let processes = status["processes"].as_array().expect("processes").iter().map(|process| pid(&process["pid"]));
    std::iter::once(pid(&status["supervisor_pid"])).chain(processes).collect()
}

/// Handles that outlive the processes: a wait on them cannot be fooled by a reused id.
fn handles(pids: &[Pid]) -> Vec<std::os::fd::OwnedFd> {
    pids.iter().map(|pid| pidfd_open(*pid, PidfdFlags::empty()).expect("it runs")).collect()
}

/// Fails if a process is still there after ten seconds.
fn wait_until_gone(handles: &[std::os::fd::OwnedFd]) {
    for handle in handles {
        let limit = Timespec { tv_sec: 10, tv_nsec: 0 };
        let mut watched = [PollFd::new(handle, PollFlags::IN)];
        assert_eq!(poll(&mut watched, Some(&limit)).expect("polls"), 1, "a process of the lab is still there");
    }
}

/// Processes of this machine that are in the PID namespace with this identity. One that has ended, and only waits for its
/// parent to notice, does not count.
fn processes_in(pid_namespace: &Path) -> Vec<String> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let inside = entries.filter(|entry| {
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        fs::read_link(entry.path().join("ns/pid")).is_ok_and(|ns| ns == pid_namespace)
            && !status.contains("\nState:\tZ")
    });
    inside.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn pid_namespace(status: &Value) -> std::path::PathBuf {
    fs::read_link(format!("/proc/{}/ns/pid", status["supervisor_pid"])).expect("a namespace")
}

fn interfaces() -> Vec<String> {
    let text = fs::read_to_string("/proc/net/dev").expect("interfaces");
    text.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
}

#[test]
fn a_lab_comes_up_and_down_and_leaves_nothing() {
    let Some(home) = Home::new() else { return };
    let interfaces_before = interfaces();
    let status = home.up();
    let hosts: Vec<&str> =
        status["hosts"].as_array().expect("hosts").iter().filter_map(|h| h["name"].as_str()).collect();
    assert_eq!(hosts, ["app", "stranger", "onprem"]);
    assert!(status["processes"].as_array().expect("processes").iter().all(|process| process["answers"] == true));
    assert_eq!(interfaces(), interfaces_before, "the machine's own network is untouched");
    let (namespace, handles) = (pid_namespace(&status), handles(&pids(&status)));
    assert!(processes_in(&namespace).len() >= 3);
    assert!(home.run(&["lab", "down"]).status.success());
    wait_until_gone(&handles);
    assert_eq!(processes_in(&namespace), Vec::<String>::new());
    assert!(!home.folder.path().join("run/vpce/quickstart").exists());
    let status = home.run(&["lab", "status", "-o", "json"]);
    assert_eq!(status.status.code(), Some(3));
    let status: Value = serde_json::from_slice(&status.stdout).expect("JSON");
    assert_eq!(status["last_run"]["reason"], "it was brought down");
    assert!(home.run(&["lab", "down"]).status.success(), "bringing down what is not up is no failure");
}

#[test]
fn a_killed_supervisor_takes_everything_with_it_and_the_next_lab_comes_up_at_once() {
    let Some(home) = Home::new() else { return };
    let status = home.up();
    let mut long_lived = home.vpce(&["lab", "exec", "app", "--", "sh", "-c", "echo ready; cat"]);
    let mut long_lived = long_lived.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("runs");
    read_until(&mut long_lived, "ready");
    let (namespace, handles) = (pid_namespace(&status), handles(&pids(&status)));
    kill_process(pids(&status)[0], Signal::KILL).expect("killed");
    wait_until_gone(&handles);
    assert_eq!(long_lived.wait().expect("ended").code(), Some(137), "programs on hosts end too");
    assert_eq!(processes_in(&namespace), Vec::<String>::new());
    let told = home.run(&["lab", "status"]);
    assert_eq!(told.status.code(), Some(3));
    assert!(text(&told).contains("was killed before it could say why"), "{}", text(&told));
    home.up();
}

#[test]
fn a_lost_process_ends_the_lab_and_status_says_which() {
    let Some(home) = Home::new() else { return };
    for (index, name) in [(1, "endpoint"), (2, "onprem")] {
        let status = home.up();
        let handles = handles(&pids(&status));
        kill_process(pids(&status)[index], Signal::KILL).expect("killed");
        wait_until_gone(&handles);
        let told = home.run(&["lab", "status"]);
        assert_eq!(told.status.code(), Some(3));
        let expected = format!("the {name} process ended: signal: 9 (SIGKILL)");
        assert!(text(&told).contains(&expected), "{}", text(&told));
    }
}

#[test]
fn a_second_lab_of_the_same_name_is_refused_or_replaces_the_first() {
    let Some(home) = Home::new() else { return };
    let first = home.up();
    let refused = home.run(&["lab", "up"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("already running"), "{}", text(&refused));
    let gone = handles(&pids(&first));
    let second = home.json(&["lab", "up", "--replace", "-o", "json"]);
    wait_until_gone(&gone);
    assert_ne!(first["identities"], second["identities"], "keys are fresh in every run");
}

#[test]
fn labs_of_different_names_run_side_by_side() {
    let Some(home) = Home::new() else { return };
    for name in ["one", "two"] {
        home.json(&["lab", "up", "--lab", name, "-o", "json"]);
    }
    let unclear = home.run(&["lab", "exec", "app", "--", "true"]);
    assert_eq!(unclear.status.code(), Some(2));
    assert!(stderr(&unclear).contains("--lab: one, two"), "{}", text(&unclear));
    let output = home.run(&["lab", "exec", "--lab", "two", "app", "--", "sh", "-c", "echo $VPCE_LAB"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "two\n");
}

#[test]
fn a_foreground_lab_ends_with_its_command() {
    let Some(home) = Home::new() else { return };
    for signal in [Signal::TERM, Signal::KILL] {
        let mut command = home.vpce(&["lab", "up", "--foreground"]).stdout(Stdio::piped()).spawn().expect("runs");
        read_until(&mut command, "next:");
        let status = home.json(&["lab", "status", "-o", "json"]);
        let handles = handles(&pids(&status));
        kill_process(Pid::from_child(&command), signal).expect("sent");
        wait_until_gone(&handles);
        let code = command.wait().expect("ended").code();
        assert_eq!(code, if signal == Signal::TERM { Some(0) } else { None });
    }
}

fn read_until(child: &mut Child, word: &str) {
    let mut lines = BufReader::new(child.stdout.as_mut().expect("piped")).lines();
    assert!(lines.any(|line| line.expect("text").contains(word)), "{word} was never printed");
}

#[test]
fn exec_returns_the_programs_exit_code() {
    let Some(home) = Home::new() else { return };
    home.up();
    let code = |arguments: &[&str]| {
        let all: Vec<&str> = ["lab", "exec", "app", "--"].iter().chain(arguments).copied().collect();
        home.run(&all)
    };
    assert_eq!(code(&["true"]).status.code(), Some(0));
    assert_eq!(code(&["sh", "-c", "exit 7"]).status.code(), Some(7));
    assert_eq!(code(&["sh", "-c", "kill -TERM $$"]).status.code(), Some(143));
    let missing = code(&["no-such-program"]);
    assert_eq!(missing.status.code(), Some(127));
    assert!(stderr(&missing).contains("no-such-program: no such program"), "{}", text(&missing));
    assert_eq!(code(&["/etc/passwd"]).status.code(), Some(126));
    let nowhere = home.run(&["lab", "exec", "nowhere", "--", "true"]);
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(stderr(&nowhere).contains("app, stranger, onprem"), "{}", text(&nowhere));
}

#[test]
fn exec_passes_stdin_on_and_forwards_signals() {
    let Some(home) = Home::new() else { return };
    home.up();
    let mut cat = home.vpce(&["lab", "exec", "app", "--", "cat"]);
    let mut cat = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("runs");
    cat.stdin.take().expect("piped").write_all(b"through\n").expect("written");
    let mut read = String::new();
    cat.stdout.take().expect("piped").read_to_string(&mut read).expect("read");
    assert_eq!((read.as_str(), cat.wait().expect("ended").code()), ("through\n", Some(0)));

    let script = "trap 'exit 42' TERM; echo ready; while :; do :; done";
    let mut loops = home.vpce(&["lab", "exec", "app", "--", "sh", "-c", script]);
    let mut loops = loops.stdout(Stdio::piped()).spawn().expect("runs");
    read_until(&mut loops, "ready");
    kill_process(Pid::from_child(&loops), Signal::TERM).expect("sent");
    assert_eq!(loops.wait().expect("ended").code(), Some(42));
}

#[test]
fn exec_sets_a_program_up_as_a_client_of_the_lab_alone() {
    let Some(home) = Home::new() else { return };
    let status = home.up();
    let mut command = home.vpce(&["lab", "exec", "app", "--", "env"]);
    command.env("AWS_PROFILE", "mine").env("AWS_ENDPOINT_URL", "http://elsewhere").env("https_proxy", "http://proxy");
    let output = command.output().expect("runs");
    let environment = String::from_utf8(output.stdout).expect("text");
    let value = |name: &str| environment.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
    for name in ["AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN", "https_proxy"] {
        assert_eq!(value(name), None, "{name}");
    }
    let bundle = home.folder.path().join("state/quickstart/ca.pem");
    for name in ["AWS_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"] {
        assert_eq!(value(name), bundle.to_str(), "{name}");
    }
    assert_eq!((value("AWS_REGION"), value("AWS_DEFAULT_REGION")), (Some("us-east-2"), Some("us-east-2")));
    assert_eq!(value("AWS_EC2_METADATA_DISABLED"), Some("true"));
    let key = |name: &str| {
        let identities = status["identities"].as_array().expect("identities");
        let identity = identities.iter().find(|identity| identity["name"] == name).expect("known");
        (identity["access_key_id"].as_str(), identity["secret_access_key"].as_str())
    };
    assert_eq!((value("AWS_ACCESS_KEY_ID"), value("AWS_SECRET_ACCESS_KEY")), key("Admin"));
    let output = home.run(&["lab", "exec", "--as", "MyUser", "app", "--", "sh", "-c", "printf $AWS_ACCESS_KEY_ID"]);
    assert_eq!(Some(String::from_utf8(output.stdout).expect("text").as_str()), key("MyUser").0);
    assert_eq!(home.run(&["lab", "exec", "--as", "Nobody", "app", "--", "true"]).status.code(), Some(2));
}

#[test]
fn every_host_has_its_own_resolver_and_the_machine_keeps_its() {
    let Some(home) = Home::new() else { return };
    let before = fs::read("/etc/resolv.conf").expect("resolv.conf");
    home.up();
    let expected = "search us-east-2.compute.internal\nnameserver 10.0.0.2\n";
    assert_eq!(home.shell("app", "cat /etc/resolv.conf"), expected);
    assert_eq!(home.shell("onprem", "cat /etc/resolv.conf"), "nameserver 192.168.10.2\n");
    assert!(home.shell("app", "cat /etc/hosts").contains("10.0.1.10 app"));
    assert_eq!(home.shell("app", "hostname"), "app\n");
    assert_eq!(fs::read("/etc/resolv.conf").expect("resolv.conf"), before);
    assert_eq!(home.shell("app", "ls /proc | grep -c '^1$'"), "1\n", "the lab's own /proc");
}

#[test]
fn hosts_reach_each_other_through_a_router_that_does_not_speak() {
    if answered_as_probe() {
        return;
    }
    let Some(home) = Home::new() else { return };
    home.up();
    let probe = |host, question: &str| {
        home.probe("hosts_reach_each_other_through_a_router_that_does_not_speak", host, question)
    };
    // Refused by the other host's kernel: the packets went there and back, with ARP and neighbour discovery.
    for stranger in ["10.0.9.10:9", "[2001:db8:1234:1a09::a]:9"] {
        assert_eq!(probe("app", &format!("connect {stranger} 64")), "refused");
    }
    assert_eq!(probe("onprem", "connect 192.168.10.1:9 64"), "refused");
    assert_eq!(probe("onprem", "connect [fd00:0:0:10::1]:9 64"), "refused");
    // A customer's router reports an expired hop limit; that the probe hears it shows that its silence means something.
    assert_eq!(probe("onprem", "connect 10.0.1.10:9 1"), "unreachable");
    // The VPC's does not, and neither it nor the tunnel's outside address answers.
    for question in ["connect 10.0.9.10:9 1", "connect 10.0.1.1:9 64", "connect 203.0.113.1:9 64"] {
        assert_eq!(probe("app", question), "silence", "{question}");
    }
}

#[test]
fn no_packet_reaches_the_engine_that_no_host_sent() {
    if answered_as_probe() {
        return;
    }
    let Some(home) = Home::new() else { return };
    home.up();
    let probe = |host, question: &str| home.probe("no_packet_reaches_the_engine_that_no_host_sent", host, question);
    // Multicast reports are repeated within a second of an interface's start; the probe's silence lasts longer.
    probe("app", "connect 10.0.1.1:9 64");
    let status = home.json(&["lab", "status", "-o", "json"]);
    let received: Vec<&Value> = status["counters"]
        .as_array()
        .expect("counters")
        .iter()
        .filter(|counter| counter["code"] == "PACKETS_RX" && counter["process"] == "endpoint")
        .collect();
    assert_eq!(received, Vec::<&Value>::new());
}

#[test]
fn both_modes_of_a_tun_device_carry_packets_both_ways() {
    if answered_as_probe() {
        return;
    }
    let Some(home) = Home::new() else { return };
    home.up();
    let probe = |host, question: &str| home.probe("both_modes_of_a_tun_device_carry_packets_both_ways", host, question);
    for mode in ["offload", "plain"] {
        assert_eq!(probe("stranger", &format!("tun {mode}")), "carried", "{mode}");
    }
    assert_eq!(probe("stranger", "steer"), "the flow followed its writer");
}

#[test]
fn a_lab_in_plain_mode_says_that_nothing_is_offloaded() {
    let Some(home) = Home::new() else { return };
    let status = home.json(&["lab", "up", "--tun", "plain", "-o", "json"]);
    let tun = &status["processes"][0]["status"]["tun"];
    assert_eq!(tun["mode"], "plain");
    assert_eq!(tun["offloads"]["tso4"], false);
}

#[test]
fn doctor_tries_everything_and_says_what_is_lost() {
    let output = Command::new(VPCE).args(["doctor", "-o", "json"]).output().expect("runs");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let ready = report["ready"].as_bool().expect("a verdict");
    assert_eq!(output.status.code(), Some(if ready { 0 } else { 3 }));
    let findings = report["findings"].as_array().expect("findings");
    for name in ["user_namespaces", "tun", "cores"] {
        assert!(findings.iter().any(|finding| finding["name"] == name), "{name}");
    }
    for finding in findings {
        let missing = finding["available"] == false;
        assert_eq!(finding["lost"].is_string(), missing, "{finding}");
        assert_eq!(finding["remedy"].is_string(), missing, "{finding}");
    }
}

#[test]
fn an_ordinary_user_gets_a_lab_or_the_command_that_gives_it_back() {
    let Some(home) = Home::new() else { return };
    if !rustix::process::geteuid().is_root() {
        println!("skipped: every other test runs as an ordinary user already");
        return;
    }
    const NOBODY: u32 = 65534;
    let program = home.folder.path().join("vpce");
    fs::copy(VPCE, &program).expect("copied");
    for folder in [home.folder.path(), &home.folder.path().join("home")] {
        fs::create_dir_all(folder).expect("made");
        fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("opened");
    }
    std::os::unix::fs::chown(home.folder.path().join("home"), Some(NOBODY), Some(NOBODY)).expect("given away");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.args(arguments).uid(NOBODY).gid(NOBODY).current_dir("/").stdin(Stdio::null());
        command.env("VPCE_STATE", home.folder.path().join("home/state"));
        command.env("XDG_RUNTIME_DIR", home.folder.path().join("home/run"));
        command.output().expect("runs")
    };
    let up = run(&["lab", "up"]);
    if up.status.success() {
        let who = run(&["lab", "exec", "app", "--", "id", "-u"]);
        assert_eq!(String::from_utf8_lossy(&who.stdout), "0\n", "{}", text(&who));
        assert!(run(&["lab", "down"]).status.success());
    } else {
        assert_eq!(up.status.code(), Some(1));
        assert!(stderr(&up).contains("do:    sudo chmod 666 /dev/net/tun"), "{}", text(&up));
        let doctor = run(&["doctor"]);
        assert_eq!(doctor.status.code(), Some(3));
        assert!(text(&doctor).contains("sudo chmod 666 /dev/net/tun"), "{}", text(&doctor));
    }
}

#[test]
fn a_bad_topology_is_refused_with_all_its_faults() {
    let folder = TempDir::new().expect("folder");
    let file = folder.path().join("bad.toml");
    fs::write(&file, "region = 7\n[vpc]\ncidr = \"10.0.0.0/33\"\n").expect("written");
    for command in [vec!["check"], vec!["lab", "up"]] {
        let output = Command::new(VPCE).args(command).arg(&file).output().expect("runs");
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(stderr(&output).contains("bad.toml:1:"), "{}", text(&output));
        assert!(stderr(&output).contains("bad.toml:3:"), "{}", text(&output));
    }
    let missing = Command::new(VPCE).args(["lab", "up", "/no/such.toml"]).output().expect("runs");
    assert_eq!(missing.status.code(), Some(2));
}

#[test]
fn the_bare_program_prints_help_and_a_wrong_word_is_a_usage_error() {
    let bare = Command::new(VPCE).output().expect("runs");
    assert_eq!(bare.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&bare.stdout).contains("vpce lab up"));
    let wrong = Command::new(VPCE).arg("dance").output().expect("runs");
    assert_eq!((wrong.status.code(), wrong.stdout.len()), (Some(2), 0));
}

/// Whether this program is here to be a [`Home::probe`]: then it has answered what `VPCE_PROBE` asks.
fn answered_as_probe() -> bool {
    let Ok(question) = std::env::var("VPCE_PROBE") else { return false };
    let words: Vec<&str> = question.split(' ').collect();
    let answer = match words[..] {
        ["connect", address, hops] => connect(address.parse().expect("address"), hops.parse().expect("hops")),
        ["tun", mode] => carry(mode.parse().expect("mode")),
        ["steer"] => steer(),
        _ => panic!("{question}?"),
    };
    println!("\nprobe: {answer}");
    true
}

/// What becomes of a TCP connection attempt whose packets may cross `hops` routers.
fn connect(address: SocketAddr, hops: u8) -> String {
    use rustix::io::Errno;
    use rustix::net::{AddressFamily, SocketType, connect, socket, sockopt};
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket(family, SocketType::STREAM, None).expect("socket");
    if address.is_ipv4() {
        sockopt::set_ip_ttl(&socket, u32::from(hops)).expect("hop limit");
    }
    // Beyond the first repetition after 1 s: an ICMP error that arrives while the kernel still sends the first is noted
    // only then.
    let patience = Some(Duration::from_millis(1500));
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, patience).expect("time-out");
    match connect(&socket, &address) {
        Ok(()) => "connected".to_owned(),
        Err(Errno::CONNREFUSED) => "refused".to_owned(),
        Err(Errno::HOSTUNREACH | Errno::NETUNREACH) => "unreachable".to_owned(),
        Err(Errno::INPROGRESS | Errno::TIMEDOUT) => "silence".to_owned(),
        Err(errno) => errno.to_string(),
    }
}

/// A namespace with a TUN interface 10.9.0.1/24, and a socket there whose peer is 10.9.0.2.
fn tun_with_socket(mode: TunMode, queues: usize) -> (Vec<TunQueue>, std::net::UdpSocket) {
    NetworkNamespace::create().expect("namespace");
    let device = tun::open("t0", mode, queues).expect("device");
    let all = mode == TunMode::Offload;
    assert_eq!((device.offloads().checksum, device.offloads().tso4, device.offloads().tso6), (all, all, all));
    let netlink = Netlink::open().expect("netlink");
    let link = netlink.link("t0").expect("link");
    netlink.configure_tun(link, "t0", 8500).expect("configured");
    netlink.add_address(link, "10.9.0.1".parse().expect("address"), 24).expect("address");
    let socket = std::net::UdpSocket::bind("10.9.0.1:1000").expect("bound");
    socket.connect("10.9.0.2:2000").expect("connected");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("time-out");
    (device.into_queues(), socket)
}

/// Sends a datagram into the device, turns it round, and receives it again.
fn carry(mode: TunMode) -> String {
    let (queues, socket) = tun_with_socket(mode, 1);
    let queue = &queues[0];
    let mut buffer = vec![0xff; HEADER_LEN + 65_535];
    let empty = queue.recv(&mut buffer).expect_err("nothing was sent yet");
    assert_eq!(empty.kind(), std::io::ErrorKind::WouldBlock);
    socket.send(b"there and back").expect("sent");
    let length = receive(queue, &mut buffer);
    let (header, packet) = buffer[..length].split_at_mut(HEADER_LEN);
    assert_eq!(packet.len(), 20 + 8 + 14);
    // Checksums are partial only where the kernel left them to us.
    assert_eq!(header[0], u8::from(mode == TunMode::Offload));
    turn_round(packet);
    assert_eq!(queue.send(&buffer[..length]).expect("sent"), length);
    let mut back = [0; 64];
    let received = socket.recv(&mut back).expect("received");
    assert_eq!(&back[..received], b"there and back");
    "carried".to_owned()
}

/// A flow comes from the queue that last wrote it.
fn steer() -> String {
    let (queues, socket) = tun_with_socket(TunMode::Offload, 2);
    let mut buffer = vec![0; HEADER_LEN + 65_535];
    for writer in [0, 1, 0, 1] {
        socket.send(b"x").expect("sent");
        let (_, length) = receive_any(&queues, &mut buffer);
        turn_round(&mut buffer[HEADER_LEN..length]);
        queues[writer].send(&buffer[..length]).expect("sent");
        socket.recv(&mut [0; 8]).expect("received");
        socket.send(b"y").expect("sent");
        assert_eq!(receive_any(&queues, &mut buffer).0, writer);
    }
    "the flow followed its writer".to_owned()
}

/// Swaps addresses and ports of a UDP packet; every checksum stays right.
fn turn_round(packet: &mut [u8]) {
    assert_eq!((packet[0], packet[9]), (0x45, 17));
    for i in 0..4 {
        packet.swap(12 + i, 16 + i);
    }
    for i in 0..2 {
        packet.swap(20 + i, 22 + i);
    }
}

fn receive(queue: &TunQueue, buffer: &mut [u8]) -> usize {
    receive_any(std::slice::from_ref(queue), buffer).1
}

/// Waits for an IPv4 packet on any queue: its index, and the length.
fn receive_any(queues: &[TunQueue], buffer: &mut [u8]) -> (usize, usize) {
    loop {
        for (index, queue) in queues.iter().enumerate() {
            if let Ok(length) = queue.recv(buffer)
                && buffer[HEADER_LEN] >> 4 == 4
            {
                return (index, length);
            }
        }
        let mut watched: Vec<PollFd> = queues.iter().map(|queue| PollFd::new(queue, PollFlags::IN)).collect();
        let limit = Timespec { tv_sec: 5, tv_nsec: 0 };
        assert_ne!(poll(&mut watched, Some(&limit)).expect("polls"), 0, "no packet came");
    }
}
