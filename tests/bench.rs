//! `vpce bench` and the load generator between real kernels. That they measure right things and that their output is as
//! published is tested; how fast anything is, never.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use support::{Lab, Need, Ran, Tun, has, quickstart, wait_for};

const VPCE: &str = env!("CARGO_BIN_EXE_vpce");
const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/bench.schema.json");

fn vpce(line: &str) -> Command {
    let mut command = Command::new(VPCE);
    command.args(line.split(' ')).stdin(Stdio::null());
    // The load generator's usual options come from here.
    for name in ["AWS_CA_BUNDLE", "AWS_ACCESS_KEY_ID", "AWS_REGION", "VPCE_LOG"] {
        command.env_remove(name);
    }
    command
}

fn run(line: &str) -> Ran {
    vpce(line).output().expect("runs").into()
}

#[test]
fn every_case_runs_and_says_what_its_schema_says() {
    if !has("every_case_runs_and_says_what_its_schema_says", &[Need::Lab]) {
        return;
    }
    let folder = tempfile::tempdir().expect("folder");
    let plot = folder.path().join("plot.svg");
    let mut bench = vpce("bench all --quick -o json --svg");
    let ran = Ran::from(bench.arg(&plot).env("TMPDIR", folder.path()).output().expect("runs"));
    let result = ran.json();
    let schema: Value = serde_json::from_str(&fs::read_to_string(SCHEMA).expect("published")).expect("JSON");
    let mut faults = Vec::new();
    conforms(&schema, &schema, &result, "", &mut faults);
    assert!(faults.is_empty(), "{faults:#?}");

    let measurements = result["measurements"].as_array().expect("a list");
    let names: Vec<&str> = measurements.iter().map(|measurement| measurement["name"].as_str().expect("text")).collect();
    let expected = [
        "invoke/4",
        "connect/full",
        "connect/resumed",
        "upload/2",
        "download/2",
        "idle/50",
        "forward/bulk",
        "forward/packets/1",
        "forward/packets/4",
        "pps/100",
        "resolve/4",
    ];
    assert_eq!(names, expected);
    for measurement in measurements {
        let name = measurement["name"].as_str().expect("text");
        let variants = measurement["variants"].as_array().expect("a list");
        let of: Vec<&str> = variants.iter().map(|variant| variant["variant"].as_str().expect("text")).collect();
        // In memory there is no device whose mode could matter.
        let all = ["ceiling", "tuned", "floor"];
        assert_eq!(of, if name == "pps/100" { &all[..2] } else { &all[..] }, "{name}");
        for variant in variants {
            is_plausible(name, variant);
        }
        let tuned = &variants[1]["summary"];
        assert!(tuned["of_ceiling"]["per_second"].as_f64().expect("a ratio") > 0.0, "{name}");
        assert_eq!(tuned["of_floor"].is_null(), name == "pps/100", "{name}");
    }
    let drawn = fs::read_to_string(&plot).expect("drawn");
    assert!(drawn.starts_with("<svg ") && drawn.ends_with("</svg>\n"), "{drawn:.100}");
    assert_eq!(drawn.matches("<polyline ").count(), 10 * 3 + 2);
    assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 1, "the plot alone is left behind");
}

/// Looks closer at what one variant says.
fn is_plausible(name: &str, variant: &Value) {
    let which = variant["variant"].as_str().expect("text");
    let run = &variant["runs"][0];
    let at = |key: &str| run[key].as_u64().unwrap_or_else(|| panic!("{name} {which}: {key}"));
    let answers = at("answers");
    let median = run["latency"]["p50_us"].as_f64().expect("a time");
    assert!(median > 0.0 && run["latency"]["max_us"].as_f64() >= Some(median), "{name} {which}: {}", run["latency"]);
    let bytes = |each: u64, other: u64| (at("bytes_sent"), at("bytes_received")) == (each * answers, other * answers);
    match name {
        "upload/2" => assert_eq!(at("bytes_sent"), answers * 65_536, "{which}"),
        "download/2" => assert_eq!(at("bytes_received"), answers * 65_536, "{which}"),
        "invoke/4" | "idle/50" => assert!(bytes(128, 128), "{name} {which}: {run}"),
        "connect/full" => assert!(at("handshakes") > 0 && at("resumptions") == 0, "{which}: {run}"),
        "connect/resumed" => assert!(at("resumptions") > 0, "{which}: {run}"),
        "forward/bulk" => assert_eq!(at("bytes_sent"), answers * 65_536, "{which}"),
        _ => {}
    }
    if name == "idle/50" {
        assert_eq!(run["idle"]["connections"], 50, "{which}");
        assert!(run["idle"]["before"]["answers"].as_u64() > Some(0), "{which}: {run}");
    }
    let names: Vec<_> = run["processes"].as_array().expect("a list").iter().map(|p| p["name"].clone()).collect();
    match (which, name) {
        (_, "pps/100") => assert_eq!(names, ["thread"]),
        ("ceiling", name) if !name.starts_with("forward/") => assert_eq!(names, ["server"], "{name}"),
        _ => assert_eq!(names, ["endpoint", "onprem"], "{name} {which}"),
    }
    // The TUN mode is what the endpoint says, not what was asked for.
    let mode = match which {
        _ if name == "pps/100" => Value::Null,
        "ceiling" => Value::Null,
        "tuned" => "offload".into(),
        _ => "plain".into(),
    };
    assert_eq!(run["tun"]["mode"], mode, "{name} {which}");
}

/// Whether `value` is as `schema` says, for the words that the published one uses; an unknown word is a fault.
fn conforms(root: &Value, schema: &Value, value: &Value, place: &str, faults: &mut Vec<String>) {
    let mut own = Vec::new();
    let mut fault = |what: String| own.push(format!("{place}: {what}"));
    let is = |kind: &str| match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        other => panic!("no type {other}"),
    };
    for (word, wanted) in schema.as_object().expect("a schema is an object") {
        match word.as_str() {
            "$schema" | "title" | "description" | "$defs" => {}
            "type" => {
                let kinds = wanted.as_array().cloned().unwrap_or_else(|| vec![wanted.clone()]);
                if !kinds.iter().any(|kind| is(kind.as_str().expect("a type"))) {
                    fault(format!("{value:.60} is not of type {wanted}"));
                }
            }
            "const" => {
                if value != wanted {
                    fault(format!("{value} is not {wanted}"));
                }
            }
            "enum" => {
                if !wanted.as_array().expect("a list").contains(value) {
                    fault(format!("{value} is none of {wanted}"));
                }
            }
            "minimum" => {
                if value.as_f64().is_some_and(|number| number < wanted.as_f64().expect("a number")) {
                    fault(format!("{value} is below {wanted}"));
                }
            }
            "required" => {
                for key in wanted.as_array().expect("a list") {
                    if value.get(key.as_str().expect("a key")).is_none() {
                        fault(format!("{key} is missing"));
                    }
                }
            }
            "additionalProperties" => {
                let known: BTreeSet<_> = schema["properties"].as_object().expect("keys").keys().collect();
                for key in value.as_object().into_iter().flatten().map(|(key, _)| key) {
                    if !known.contains(key) {
                        fault(format!("{key} is not published"));
                    }
                }
            }
            _ => conforms_within(root, word, wanted, value, place, faults),
        }
    }
    faults.extend(own);
}

/// The words of a schema that lead into others.
fn conforms_within(root: &Value, word: &str, wanted: &Value, value: &Value, place: &str, faults: &mut Vec<String>) {
    match word {
        "properties" => {
            for (key, schema) in wanted.as_object().expect("keys") {
                if let Some(value) = value.get(key) {
                    conforms(root, schema, value, &format!("{place}/{key}"), faults);
                }
            }
        }
        "items" => {
            for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                conforms(root, wanted, item, &format!("{place}/{index}"), faults);
            }
        }
        "prefixItems" => {
            for (schema, item) in wanted.as_array().expect("a list").iter().zip(value.as_array().into_iter().flatten())
            {
                conforms(root, schema, item, place, faults);
            }
        }
        "$ref" => {
            let target = wanted.as_str().and_then(|path| root.pointer(path.strip_prefix('#')?));
            conforms(root, target.expect("a definition"), value, place, faults);
        }
        "anyOf" => {
            let fits = |schema: &Value| {
                let mut own = Vec::new();
                conforms(root, schema, value, place, &mut own);
                own.is_empty()
            };
            if !wanted.as_array().expect("a list").iter().any(fits) {
                faults.push(format!("{place}: {value:.60} is none of {wanted}"));
            }
        }
        other => panic!("the schema says {other}, which this test does not understand"),
    }
}

/// The load generator on the lab's host `app`, with these further options.
fn load(lab: &Lab, function: &str, options: &str) -> Ran {
    let url = format!("https://{}/2015-03-31/functions/{function}/invocations", quickstart::HOST);
    let mut command = lab.command("Admin", "app", VPCE);
    command.args(["load", &url, "--warm-up", "100ms", "--connections", "4"]);
    command.args(options.split_ascii_whitespace()).output().expect("runs").into()
}

#[test]
fn the_load_generator_counts_what_it_does_and_fails_for_wrong_answers() {
    if !has("the_load_generator_counts_what_it_does_and_fails_for_wrong_answers", &[Need::Lab, Need::Python]) {
        return;
    }
    let lab = Lab::quickstart(Tun::Offload);
    for (mode, tls, agreed) in [
        ("keep-alive", "1.3", "TLSv1_3 TLS13_AES_128_GCM_SHA256 X25519"),
        ("resume", "1.3", "TLSv1_3 TLS13_AES_128_GCM_SHA256 X25519"),
        ("resume", "1.2", "TLSv1_2 TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 X25519"),
    ] {
        let report = load(&lab, "echo", &format!("--duration 400ms --mode {mode} --tls {tls} -o json")).json();
        assert_eq!((&report["mode"], &report["tls"]), (&mode.into(), &agreed.into()));
        let resumed = report["resumptions"].as_u64().expect("a number");
        assert_eq!(resumed > 0, mode == "resume", "{report}");
    }
    // The endpoint has seen as many requests as the load generator has answers, and some before and behind them.
    assert!(lab.count("endpoint", "INVOCATION_ANSWERED") > 0);

    // In an open loop every request that was due is accounted for.
    let report = load(&lab, "echo", "--duration 400ms --rate 200 --recorded -o json").json();
    let recorded = report["latency"]["recorded"].as_array().expect("a list");
    let counted: u64 = recorded.iter().map(|pair| pair[1].as_u64().expect("a count")).sum();
    assert_eq!(counted + report["unanswered"].as_u64().expect("a number"), 80, "{report}");

    // From outside, by the process ids that are known there.
    let url = format!("https://{}/2015-03-31/functions/echo/invocations", quickstart::HOST);
    let mut command = vpce("load --host app --lab test --ca /dev/null --connect 10.0.1.100:443 -o json");
    command.args(["--duration", "400ms", "--warm-up", "100ms", "--connections", "4", "--idle", "20"]).arg(&url);
    command.args(["--cpu-of", &format!("endpoint={}", lab.process("endpoint")["pid"])]);
    command.env("VPCE_STATE", lab.folder().join("s")).env("XDG_RUNTIME_DIR", lab.folder().join("r"));
    let report = Ran::from(command.output().expect("runs")).json();
    assert!(report["processes"][0]["rss_bytes"].as_u64() > Some(1 << 20), "{report}");
    assert_eq!(report["idle"]["connections"], 20);
    assert_eq!(report["idle"]["rss_per_connection"][0][0], "endpoint");

    for (function, options, said) in [
        ("nowhere", "", "the answer has status 404"),
        ("fails", "", "the answer is a function's error: Unhandled"),
        ("hello", "", "the answer's body has "),
        ("echo", "--exchange get", "the answer has status 4"),
    ] {
        // The first answer ends it, however long that takes.
        let ran = load(&lab, function, &format!("--duration 60s {options}"));
        assert_eq!(ran.code, 1, "{function}: {ran:?}");
        assert!(ran.stderr.starts_with(&format!("error: {said}")), "{function}: {}", ran.stderr);
    }
    let text = load(&lab, "echo", "--duration 400ms --payload 1000").ok();
    assert!(text.starts_with("echo of 1000 bytes on 4 connections (keep-alive), 10.0.1.100:443\n"), "{text}");
}

#[test]
fn wrong_usage_is_told_before_anything_is_started() {
    let url = "https://x.test/";
    for (line, said) in [
        (
            "bench dance".to_owned(),
            "[possible values: invoke, connect, upload, download, idle, forward, pps, resolve, all]",
        ),
        ("bench --cpus 0".to_owned(), "`--cpus` takes two processors, not 1"),
        ("bench --cpus 0,1023".to_owned(), "processor 1023 may not be used"),
        ("bench pps --rate 5".to_owned(), "`--rate` goes with cases that consist of invocations alone"),
        ("bench --quick --runs 2".to_owned(), "cannot be used with"),
        ("bench --duration 0s".to_owned(), "is not between a nanosecond and an hour"),
        ("bench pps --variants floor".to_owned(), "has none of the variants asked for"),
        ("bench --payload 3".to_owned(), "3 is not in 18..=6291456"),
        (format!("load {url}"), "--ca <FILE>"),
        ("load http://x.test/ --ca x".to_owned(), "does not begin with https://"),
        (format!("load {url} --ca x --payload 5"), "a payload of 5 bytes does not go with this exchange"),
        (format!("load {url} --ca x --rate 0"), "is no rate between"),
        (format!("load {url} --ca x --cpu-of nginx"), "is no process id"),
        (format!("load {url} --ca x --lab y"), "--host <HOST>"),
    ] {
        let ran = run(&line);
        assert_eq!(ran.code, 2, "{line}: {ran:?}");
        assert!(ran.stderr.contains(said), "{line}: {}", ran.stderr);
    }
}

#[test]
fn an_interrupted_benchmark_leaves_nothing_behind() {
    if !has("an_interrupted_benchmark_leaves_nothing_behind", &[Need::Lab]) {
        return;
    }
    for (variant, signal) in [("tuned", libc::SIGINT), ("ceiling", libc::SIGTERM)] {
        let folder = tempfile::tempdir().expect("folder");
        let mut command = vpce(&format!("bench invoke --duration 1h --variants {variant}"));
        command.env("TMPDIR", folder.path()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut bench = command.spawn().expect("starts");
        let pid = i32::try_from(bench.id()).expect("an id");
        // The load generator works: it is a child, and the lab's processes are there.
        let family = wait_for("the load generator", 30, || {
            let family = descendants(pid);
            let is_load = |pid: &i32| command_line(*pid).contains("/invocations");
            (family.iter().any(is_load)).then_some(family)
        });
        assert!(family.len() >= 4, "load generator, supervisor, endpoint and onprem: {family:?}");
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(pid).expect("a process"),
            rustix::process::Signal::from_named_raw(signal).expect("a signal"),
        )
        .expect("sent");
        assert_eq!(ended(&mut bench), (Some(130), "error: interrupted; nothing is left behind\n".to_owned()));
        wait_for("the end of every process", 10, || family.iter().all(|pid| !runs(*pid)).then_some(()));
        assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 0, "no file is left behind");
    }
}

fn ended(child: &mut Child) -> (Option<i32>, String) {
    let mut said = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    (child.wait().expect("ended").code(), said)
}

fn stat(pid: i32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(')')?.1.split_ascii_whitespace().map(str::to_owned).collect())
}

/// Whether a process is there and no zombie.
fn runs(pid: i32) -> bool {
    stat(pid).is_some_and(|fields| fields[0] != "Z")
}

fn command_line(pid: i32) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).replace('\0', " ")
}

fn descendants(pid: i32) -> Vec<i32> {
    let all = fs::read_dir(Path::new("/proc")).expect("there").flatten();
    let all = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let parents: Vec<(i32, i32)> = all.filter_map(|pid| Some((pid, stat(pid)?[1].parse().ok()?))).collect();
    let mut family = vec![pid];
    let mut at = 0;
    while let Some(parent) = family.get(at).copied() {
        family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    family.split_off(1)
}
