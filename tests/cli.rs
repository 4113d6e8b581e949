//! The command line as people meet it: wrong input, what it answers, and where. The built program, without a lab where none
//! is needed.

mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::{Need, Ran, has};
use tempfile::TempDir;

const VPCE: &str = env!("CARGO_BIN_EXE_vpce");
const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/netns");

/// Folders of a test's own. It is the working folder too; labs in it end when it is dropped.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("folder"))
    }

    fn vpce<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(VPCE);
        command.args(arguments).stdin(Stdio::null()).current_dir(self.0.path());
        command.env("VPCE_STATE", self.path("state")).env("XDG_RUNTIME_DIR", self.path("run"));
        command.env_remove("NO_COLOR").env_remove("VPCE_LOG");
        command
    }

    /// What a command line answers; words are split at blanks.
    fn run(&self, line: &str) -> Ran {
        let words: Vec<&str> = line.split(' ').collect();
        self.vpce(&words).output().expect("runs").into()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    /// The quickstart lab's text as `lab.toml`, with pieces of it replaced.
    fn topology(&self, changes: &[(&str, &str)]) {
        let mut text = fs::read_to_string(format!("{SHIPPED}/quickstart.toml")).expect("shipped");
        for (old, new) in changes {
            assert!(text.contains(old), "the quickstart lab has no {old:?}");
            text = text.replacen(old, new, 1);
        }
        self.write("lab.toml", &text.replace("\"functions/", &format!("\"{SHIPPED}/functions/")));
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for lab in fs::read_dir(self.path("run/vpce")).into_iter().flatten().flatten() {
            let down: [&OsStr; 4] = ["lab".as_ref(), "down".as_ref(), "--lab".as_ref(), &lab.file_name()];
            drop(self.vpce(&down).output());
        }
    }
}

/// Fails with everything that was said unless the command ended with `code` and said exactly this on stderr.
#[track_caller]
fn fails(ran: &Ran, code: i32, stderr: &str) {
    assert_eq!((ran.code, ran.stderr.as_str(), ran.stdout.as_str()), (code, stderr, ""), "{ran:?}");
}

#[test]
fn the_program_alone_prints_help_and_so_does_every_command_with_an_example() {
    let home = Home::new();
    let bare = Ran::from(home.vpce::<&str>(&[]).output().expect("runs"));
    assert_eq!((bare.code, bare.stderr.as_str()), (0, ""));
    let commands = |help: &str| -> Vec<String> {
        let list = help.split_once("Commands:\n").map_or("", |(_, list)| list).split("\n\n").next().unwrap_or_default();
        // Continued descriptions are indented deeper.
        let names = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        let names = names.filter_map(|line| line.split_whitespace().next());
        names.filter(|name| *name != "help").map(str::to_owned).collect()
    };
    let top = commands(&bare.stdout);
    let in_lab = commands(&home.run("lab --help").stdout);
    for name in ["up", "exec", "shell", "status", "reload", "logs", "down"] {
        assert!(in_lab.iter().any(|known| known == name), "{name} is not in {in_lab:?}");
    }
    assert!(top.len() >= 5, "{top:?}");
    let in_lab = in_lab.iter().map(|name| format!("lab {name}"));
    for command in top.into_iter().chain(in_lab).chain(["fault az".to_owned()]) {
        let help = home.run(&format!("{command} --help")).ok();
        assert!(help.contains("Example"), "{command} --help has no example:\n{help}");
        assert!(help.contains(&format!("\n  vpce {command}")), "{command} --help shows another command:\n{help}");
    }
}

#[test]
fn usage_errors_end_with_2_and_are_json_where_json_is_asked_for() {
    let home = Home::new();
    for (line, said) in [
        ("dance", "unrecognized subcommand 'dance'"),
        ("lab", "Usage: vpce lab"),
        ("lab dance", "unrecognized subcommand 'dance'"),
        ("lab exec", "<HOST>"),
        ("lab exec app", "<COMMAND>..."),
        ("lab exec app --", "<COMMAND>..."),
        ("lab logs nonsense", "possible values: supervisor, endpoint, onprem, access, flow"),
        ("lab logs --path", "<LOG>"),
        ("lab up --tun fast", "use `offload` or `plain`"),
        ("lab up --queues 0", "0 is not in 1..=64"),
        ("lab up --queues 2 --tun plain", "leave `--queues` or `--tun plain` out"),
        ("lab up --path pigeon", "use one of: lan, vpn, dx"),
        ("lab status --lab ../up", "cannot be the name of a lab"),
        ("lab down --lab ../../state", "cannot be the name of a lab"),
        ("check", "<CONFIG>"),
        ("check -o yaml quickstart", "possible values: text, json"),
        ("doctor twice", "unexpected argument 'twice'"),
        ("fault", "Usage: vpce fault"),
        ("fault flood", "unrecognized subcommand 'flood'"),
        ("fault az", "<ZONE>"),
        ("fault az us-east-2a", "<STATE>"),
        ("fault az us-east-2a sideways", "possible values: down, up"),
        ("fault az us-east-2a down --lab ../up", "cannot be the name of a lab"),
    ] {
        let ran = home.run(line);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{line}: {ran:?}");
        assert!(ran.stderr.contains(said), "{line}: {}", ran.stderr);
        if line.contains("yaml") {
            continue;
        }
        let (head, tail) = line.split_once(" --").map_or((line, String::new()), |(a, b)| (a, format!(" --{b}")));
        let ran = home.run(&format!("{head} -o json{tail}"));
        let error: Value = serde_json::from_str(&ran.stderr).unwrap_or_else(|_| panic!("{line}: {}", ran.stderr));
        assert_eq!(ran.code, 2, "{line}");
        assert!(error["error"]["what"].is_string(), "{line}: {error}");
    }
}

#[test]
fn an_unreadable_topology_is_told_the_same_way_by_every_command() {
    let home = Home::new();
    home.write("latin.toml", "");
    fs::write(home.path("latin.toml"), b"name = \"caf\xe9\"").expect("written");
    fs::create_dir(home.path("folder.toml")).expect("made");
    for (file, what) in [
        ("missing.toml", "cannot read the topology: No such file or directory (os error 2)"),
        ("folder.toml", "cannot read the topology: Is a directory (os error 21)"),
        ("latin.toml", "cannot read the topology: it is no UTF-8 text, byte 11 is wrong"),
        ("/dev/zero", "cannot read the topology: file too large"),
    ] {
        let remedy = "name a TOML file, or a built-in topology: quickstart, blog";
        for command in ["check", "lab up", "endpoint", "onprem"] {
            let said = format!("error: {what}\n  where: {file}\n  do:    {remedy}\n");
            fails(&home.run(&format!("{command} {file}")), 2, &said);
        }
        let ran = home.run(&format!("check -o json {file}"));
        let error: Value = serde_json::from_str(&ran.stderr).expect("JSON");
        assert_eq!(error, serde_json::json!({ "error": { "what": what, "where": file, "remedy": remedy } }));
    }
    let spaced = Ran::from(home.vpce(&["check", "my lab.toml"]).output().expect("runs"));
    assert!(spaced.stderr.contains("where: my lab.toml\n"), "{spaced:?}");
    assert!(home.run("check ").stderr.contains("where: an empty name\n"));
}

const WRONG: &str = "\
region = \"us-east-22\"
[vpc]
cidr = \"10.0.0.0/16\"
cdir = 1
[[subnet]]
cidr = \"10.0.1.0/24\"
";

const WRONG_SHOWN: &str = "  × `region` is \"us-east-22\", not a region with Lambda: did you mean \"us-east-2\"?
   ╭─[wrong.toml:1:10]
 1 │ region = \"us-east-22\"
   ·          ────────────
 2 │ [vpc]
   ╰────

  × unknown key `cdir` in `vpc`
   ╭─[wrong.toml:4:1]
 3 │ cidr = \"10.0.0.0/16\"
 4 │ cdir = 1
   · ────
 5 │ [[subnet]]
   ╰────
  help: did you mean `cidr`?

error: 2 faults in wrong.toml
";

#[test]
fn a_wrong_topology_is_shown_with_all_its_faults_and_nothing_is_started() {
    let home = Home::new();
    home.write("wrong.toml", WRONG);
    for command in ["check", "lab up", "endpoint", "onprem"] {
        fails(&home.run(&format!("{command} wrong.toml")), 2, WRONG_SHOWN);
    }
    assert!(!home.path("run/vpce").exists() && !home.path("state").exists());
    // Data of `check`, an error of everybody else.
    let report = home.run("check -o json wrong.toml");
    assert_eq!((report.code, report.stderr.as_str()), (2, ""));
    let report: Value = serde_json::from_str(&report.stdout).expect("JSON");
    assert_eq!((&report["ok"], &report["topology"]), (&Value::Bool(false), &Value::Null));
    let error: Value = serde_json::from_str(&home.run("lab up -o json wrong.toml").stderr).expect("JSON");
    for faults in [&report["faults"], &error["faults"]] {
        let places: Vec<_> = faults.as_array().expect("list").iter().map(|f| (&f["line"], &f["column"])).collect();
        assert_eq!(places, [(&1.into(), &10.into()), (&4.into(), &Value::from(1))]);
    }
}

#[test]
fn a_sound_topology_is_summed_up() {
    let home = Home::new();
    let said = "quickstart: no faults; quickstart in us-east-2 has 2 subnets, 1 eni, 3 hosts, 4 functions\n";
    assert_eq!(home.run("check quickstart").ok(), said);
    let report = home.run("check -o json blog").json();
    assert_eq!((&report["ok"], &report["faults"]), (&Value::Bool(true), &Value::Array(vec![])));
    assert_eq!(report["topology"]["endpoints"][0]["enis"][0]["ipv4"], "10.0.1.100");
}

const PRINTED_SHOWN: &str =
    "  × U+201D (RIGHT DOUBLE QUOTATION MARK, ”) stands where a straight quote must close the string
    ╭─[policy.json:10:77]
  9 │             \"Resource\": [
 10 │                \"arn:aws:lambda:us-east-2:123456789012:function:my-function:1”
    ·                                                                             ─
 11 │             ]
    ╰────
  help: a typographic quote: replace it by \"
";

const BARE_SHOWN: &str = "  × Principal is a bare string; IAM wants \"*\" or a map from the kind of principal
   ╭─[policy.json:4:26]
 3 │         {
 4 │             \"Principal\": \"arn:aws:iam::123412341234:user/MyUser\",
   ·                          ───────────────────────────────────────
 5 │             \"Action\": [
   ╰────
  help: write \"Principal\": {\"AWS\": \"arn:aws:iam::123412341234:user/MyUser\"} (`--lenient` accepts it)

error: 1 fault in policy.json
";

#[test]
fn the_policy_as_printed_stops_every_command_until_it_is_mended() {
    let home = Home::new();
    let printed = fs::read_to_string(format!("{SHIPPED}/policies/blog-as-printed.json")).expect("shipped");
    home.topology(&[("private_dns = true ", "policy_file = \"policy.json\"\nprivate_dns = true ")]);
    let text = fs::read_to_string(home.path("lab.toml")).expect("written");
    // The quickstart lab's own policy makes way.
    let (before, rest) = text.split_once("policy = '''").expect("a policy");
    let (_, after) = rest.split_once("'''").expect("its end");
    home.write("lab.toml", &format!("{before}{after}"));

    home.write("policy.json", &printed);
    for command in ["check", "check --lenient", "lab up", "endpoint", "onprem"] {
        let ran = home.run(&format!("{command} lab.toml"));
        assert_eq!(ran.code, 2, "{command}: {ran:?}");
        assert!(ran.stderr.starts_with(PRINTED_SHOWN), "{command}:\n{}", ran.stderr);
    }
    home.write("policy.json", &printed.replace('”', "\""));
    for command in ["check", "lab up", "endpoint", "onprem"] {
        fails(&home.run(&format!("{command} lab.toml")), 2, BARE_SHOWN);
    }
    home.run("check --lenient lab.toml").ok();
}

#[test]
fn commands_for_a_lab_that_does_not_run_say_so_and_how_to_bring_it_up() {
    let home = Home::new();
    let said = "the lab quickstart is not running\n  do:    vpce lab up\n";
    for command in ["exec app true", "shell app", "reload"] {
        fails(&home.run(&format!("lab {command}")), 1, &format!("error: {said}"));
    }
    fails(&home.run("fault az us-east-2a down"), 1, &format!("error: {said}"));
    let fault = home.run("fault az us-east-2a up -o json");
    let error: Value = serde_json::from_str(&fault.stderr).expect("JSON");
    assert_eq!((fault.code, &error["error"]["remedy"]), (1, &"vpce lab up".into()));
    let status = home.run("lab status");
    assert_eq!((status.code, status.stdout.as_str(), status.stderr.as_str()), (3, said, ""));
    let status = home.run("lab status -o json");
    assert_eq!(status.code, 3);
    assert_eq!(serde_json::from_str::<Value>(&status.stdout).expect("JSON")["running"], false);
    assert_eq!(home.run("lab down").ok(), "lab quickstart was not running\n");
    let other = home.run("lab exec --lab second app true");
    assert!(other.stderr.ends_with("do:    vpce lab up TOPOLOGY --lab second\n"), "{other:?}");
    let logs = home.run("lab logs");
    assert!(logs.stderr.contains("it never ran") && logs.code == 1, "{logs:?}");
}

#[test]
fn what_a_dead_lab_left_behind_is_in_nobodys_way() {
    let home = Home::new();
    let runtime = home.path("run/vpce/quickstart");
    fs::create_dir_all(&runtime).expect("made");
    for socket in ["control.sock", "endpoint.sock", "onprem.sock"] {
        drop(UnixListener::bind(runtime.join(socket)).expect("bound"));
    }
    fs::write(runtime.join("credentials.json"), "garbage").expect("written");
    assert_eq!(home.run("lab status").code, 3);
    assert_eq!(home.run("lab exec app true").code, 1);
    assert_eq!(home.run("lab down").ok(), "lab quickstart was not running\n");
    assert!(!runtime.exists(), "what was left is gone");
}

#[test]
fn folders_that_cannot_be_used_are_named_with_the_variables_that_choose_others() {
    let home = Home::new();
    let run = |line: &str, variables: &[(&str, Option<&str>)]| {
        let mut command = home.vpce(&line.split(' ').collect::<Vec<_>>());
        for (name, value) in variables {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Ran::from(command.output().expect("runs"))
    };
    let nowhere = [("HOME", None), ("VPCE_STATE", None), ("XDG_STATE_HOME", None), ("XDG_RUNTIME_DIR", None)];
    for command in ["lab status", "lab up", "endpoint quickstart"] {
        let said = "error: no folder for the lab's state\n  do:    set VPCE_STATE or HOME to an absolute path\n";
        fails(&run(command, &nowhere), 2, said);
    }
    // A relative path chooses nothing.
    assert_eq!(run("lab status", &[("HOME", None), ("VPCE_STATE", Some("here"))]).code, 2);
    let remedy = "\n  do:    set VPCE_STATE and XDG_RUNTIME_DIR to folders that ";
    for (variable, folder) in [("VPCE_STATE", "/proc/vpce"), ("VPCE_STATE", "/dev/null"), ("XDG_RUNTIME_DIR", "/proc")]
    {
        let ran = run("endpoint quickstart", &[(variable, Some(folder))]);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.stderr.contains(folder) && ran.stderr.contains(remedy), "{}", ran.stderr);
    }
}

#[test]
fn a_damaged_authority_is_told_with_the_command_that_removes_it() {
    let home = Home::new();
    let state = home.path("state/quickstart");
    fs::create_dir_all(&state).expect("made");
    for name in ["ca.pem", "ca.key"] {
        fs::write(state.join(name), "garbage").expect("written");
    }
    let ran = home.run("endpoint quickstart");
    assert_eq!(ran.code, 1);
    let remedy = format!("rm '{0}/ca.pem' '{0}/ca.key'", state.display());
    assert!(ran.stderr.starts_with("error: cannot use the lab's CA: ") && ran.stderr.contains(&remedy), "{ran:?}");
}

#[test]
fn doctor_ends_with_its_verdict_and_names_what_gives_a_thing_back() {
    let home = Home::new();
    let mut command = home.vpce(&["doctor"]);
    let ran = Ran::from(command.env("PATH", "/nowhere").output().expect("runs"));
    let verdict = if ran.code == 0 { "Labs run on this machine." } else { "Labs do not run on this machine yet." };
    assert!(ran.stdout.ends_with(&format!("\n{verdict}\n")) && matches!(ran.code, 0 | 3), "{ran:?}");
    for part in ["lacking  python3", "lost: functions in Python", "sudo apt install python3"] {
        assert!(ran.stdout.contains(part), "{part} is not in:\n{}", ran.stdout);
    }
}

/// A lab, and what it says when it is used wrongly.
#[test]
fn a_running_lab_answers_wrong_words_with_the_right_ones() {
    if !has("a_running_lab_answers_wrong_words_with_the_right_ones", &[Need::Lab]) {
        return;
    }
    let home = Home::new();
    let capture = home.run("lab up --capture nowhere/lab.pcapng");
    assert!(capture.stderr.contains("do:    name a file in a folder that you may write to"), "{capture:?}");
    home.run("lab up --queues 2 --busy-poll --capture lab.pcapng").ok();
    let status = home.run("lab status -o json").json();
    assert_eq!(status["processes"][0]["status"]["workers"].as_array().map(Vec::len), Some(2));
    assert!(home.path("lab.pcapng").exists());

    let hosts = "use one of: app, stranger, onprem (or the routers: vpce, cgw)";
    let host = format!("error: no host \"nowhere\" in the lab quickstart\n  do:    {hosts}\n");
    fails(&home.run("lab exec nowhere -- true"), 2, &host);
    let identity = "error: no identity \"Nobody\"\n  do:    use one of: Admin, MyUser\n";
    fails(&home.run("lab exec --as Nobody app -- true"), 2, identity);
    let program = "where: host app of the lab quickstart\n  do:    labs use this machine's programs: install it, or give \
                   its full path\n";
    fails(&home.run("lab exec app -- nonsense"), 127, &format!("error: nonsense: no such program\n  {program}"));
    fails(&home.run("lab exec app -- /etc/passwd"), 126, &format!("error: /etc/passwd: not executable\n  {program}"));
    let running = "error: the lab quickstart is already running\n  do:    `vpce lab up --replace` starts it afresh, `vpce \
                   lab down` ends it\n";
    fails(&home.run("lab up"), 2, running);

    let zone = "error: no eni of the endpoint is in the zone us-east-2z\n  where: lab quickstart\n  do:    name one of: \
                us-east-2a\n";
    fails(&home.run("fault az us-east-2z down"), 2, zone);
    let error: Value = serde_json::from_str(&home.run("fault az us-east-2z up -o json").stderr).expect("JSON");
    assert_eq!(error["error"]["remedy"], "name one of: us-east-2a");
    let row = |text: &str| text.lines().find(|line| line.contains("us-east-2a  ")).map(str::to_owned);
    let eni = "  eni-0a1b2c3d4e5f60718  us-east-2a";
    for (state, said, health) in [
        ("up", "lab quickstart: us-east-2a is up already\n", "healthy  0            0"),
        ("down", "lab quickstart: us-east-2a is down\n", "DOWN    0            0"),
        ("down", "lab quickstart: us-east-2a is down already\n", "DOWN    0            0"),
        ("up", "lab quickstart: us-east-2a is up\n", "healthy  0            0"),
    ] {
        let text = home.run(&format!("fault az us-east-2a {state}")).ok();
        assert!(text.starts_with(said), "{text}");
        let none = "\nno eni is healthy: names lead to all of them\n";
        assert_eq!(text.ends_with(none), state == "down", "{text}");
        assert_eq!(row(&home.run("lab status").ok()), Some(format!("{eni}  {health}")), "{state}");
    }

    home.run("lab up blog").ok();
    fails(
        &home.run("lab status"),
        2,
        "error: several labs are running\n  do:    name one with --lab: blog, quickstart\n",
    );
    home.run("lab down --lab blog").ok();
    let ended = home.run("lab exec --lab blog app -- true");
    assert!(ended.stderr.contains("it was brought down\n") && ended.code == 1, "{ended:?}");
    assert!(ended.stderr.ends_with("do:    vpce lab up blog --lab blog\n"), "{ended:?}");

    let text = home.run("lab status").ok();
    for part in
        ["\n  endpoint    vpce       ", "\n  tunnel path  MTU ", "\n  worker  connections ", "\n  echo  ", "capture: "]
    {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[test]
fn denials_are_shown_with_the_nearest_rule_and_logs_with_their_path() {
    if !has("denials_are_shown_with_the_nearest_rule_and_logs_with_their_path", &[Need::Lab, Need::Python]) {
        return;
    }
    let home = Home::new();
    home.topology(&[("[[endpoint.eni]]", "[endpoint.settings]\nflow_log_interval = \"1s\"\n[[endpoint.eni]]")]);
    home.run("lab up lab.toml --queues 2").ok();
    // One packet is enough; nobody answers it.
    let knock = "import socket; socket.create_connection(('10.0.1.100', 443), 0.2)";
    let knock = ["lab", "exec", "stranger", "--", "python3", "-c", knock];
    assert!(Ran::from(home.vpce(&knock).output().expect("runs")).stderr.contains("timed out"));
    let text = home.run("lab status").ok();
    let (_, denied) = text.split_once("\n  denied ").unwrap_or_else(|| panic!("no denials in:\n{text}"));
    assert!(denied.contains("ENI_SG_RULES_MISMATCH  1 "), "{denied}");
    assert!(denied.contains(" allows tcp/443 from 10.0.1.0/24, but the source is 10.0.9.10\n"), "{denied}");

    let path = home.path("state/quickstart/logs/flow.log");
    assert_eq!(home.run("lab logs flow --path").ok(), format!("{}\n", path.display()));
    let flow = support::wait_for("the flow's record", 10, || {
        let log = home.run("lab logs flow").ok();
        log.contains(" REJECT OK\n").then_some(log)
    });
    assert!(flow.starts_with(&format!("{}:\n2 123456789012 eni-0a1b2c3d4e5f60718 ", path.display())), "{flow}");
    // One worker saw the packet: in its window nobody may say that there was nothing.
    let fields = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let lines: Vec<_> = flow.lines().skip(1).map(fields).collect();
    let rejected = lines.iter().find(|line| line[12] == "REJECT").expect("it was there");
    assert!(!lines.iter().any(|line| line[13] == "NODATA" && line[11] == rejected[11]), "{flow}");
    let listed = home.run("lab logs -o json").json();
    assert_eq!(listed.as_array().map(Vec::len), Some(5), "{listed}");
    assert!(home.run("lab logs supervisor -n 1").ok().contains("the lab is up"));
}

#[test]
fn a_lab_takes_another_topology_while_it_runs_or_says_what_cannot_change() {
    if !has("a_lab_takes_another_topology_while_it_runs_or_says_what_cannot_change", &[Need::Lab]) {
        return;
    }
    let home = Home::new();
    home.topology(&[]);
    home.run("lab up lab.toml --path vpn").ok();
    let file = home.path("lab.toml").display().to_string();
    let same = home.run("lab reload").ok();
    assert_eq!(same, format!("lab quickstart: the topology {file} is in force, epoch 2\n\nnothing changed\n"));

    let rule = ("port = 443, cidr = \"10.0.1.0/24\"", "port = 444, cidr = \"10.0.1.0/24\"");
    let dns = ("private_dns = true ", "private_dns = false ");
    home.topology(&[rule, dns]);
    let expected = format!(
        "lab quickstart: the topology {file} is in force, epoch 3

changed:
  security_group  sg-1a2b3c4d ingress: - tcp/443 from 10.0.1.0/24
  security_group  sg-1a2b3c4d ingress: + tcp/444 from 10.0.1.0/24
  dns             private_dns: true → false

enforced:
  -  dns  lambda.us-east-2.amazonaws.com resolves to the enis
  +  dns  private DNS is off: the public name leads nowhere
"
    );
    assert_eq!(home.run("lab reload").ok(), expected);
    let resolve = ["lab", "exec", "app", "--", "getent", "ahostsv4", "lambda.us-east-2.amazonaws.com"];
    let resolved = Ran::from(home.vpce(&resolve).output().expect("runs"));
    assert!(resolved.stdout.starts_with("192.0.2.1 "), "{resolved:?}");

    // Not one of several changes is made if one cannot be.
    home.topology(&[("ipv4 = \"10.0.1.100\"", "ipv4 = \"10.0.1.101\""), ("name = \"stranger\"", "name = \"strange\"")]);
    let refused = format!(
        "error: this cannot change while the lab runs
    hosts: app, stranger, onprem → app, strange, onprem
  where: {file}
  do:    vpce lab up --replace {file}
"
    );
    fails(&home.run("lab reload"), 2, &refused);
    home.write("lab.toml", WRONG);
    let wrong = home.run("lab reload");
    assert!(wrong.stderr.ends_with(&format!("error: 2 faults in {file}\n")) && wrong.code == 2, "{wrong:?}");
    assert_eq!(home.run("lab reload nowhere.toml").code, 2);
    let status = home.run("lab status -o json").json();
    assert_eq!(status["processes"][0]["status"]["epoch"], 3, "the old one is still in force");
    assert_eq!(Ran::from(home.vpce(&resolve).output().expect("runs")).stdout, resolved.stdout);

    let blog = home.run("lab reload blog -o json").json();
    assert_eq!((&blog["epoch"], &blog["topology"]), (&4.into(), &"blog".into()));
    let texts: Vec<_> = blog["changes"].as_array().expect("list").iter().map(|change| &change["text"]).collect();
    assert!(texts.contains(&&"endpoint policy: endpoint.policy → policies/blog-mended.json".into()), "{texts:?}");
    let status = home.run("lab status -o json").json();
    assert_eq!((&status["topology"], &status["path"]), (&"blog".into(), &"vpn".into()));

    // An eni that stands elsewhere is another one: its device comes, the old one goes.
    home.topology(&[("ipv4 = \"10.0.1.100\"", "ipv4 = \"10.0.1.101\"")]);
    let moved = home.run("lab reload lab.toml").ok();
    for line in ["- eni-0a1b2c3d4e5f60718 10.0.1.100 ", "+ eni-0a1b2c3d4e5f60718 10.0.1.101 "] {
        assert!(moved.contains(&format!("enis: {line}")), "{moved}");
    }
    let reach = |address| {
        let knock = format!("import socket; socket.create_connection(('{address}', 443), 0.5)");
        Ran::from(home.vpce(&["lab", "exec", "app", "--", "python3", "-c", &knock]).output().expect("runs")).code
    };
    // Its IPv6 address was the other one's a moment ago.
    assert_eq!(["10.0.1.101", "2001:db8:1234:1a01::64", "10.0.1.100"].map(reach), [0, 0, 1]);
    let devices = Ran::from(home.vpce(&["lab", "exec", "vpce", "--", "cat", "/proc/net/dev"]).output().expect("runs"));
    assert!(devices.stdout.contains("eni1:") && !devices.stdout.contains("eni0:"), "{devices:?}");
}
