//! The EC2 API under a real client: botocore writes every request and reads every answer, in one process with no network.
//!
//! `tests/ec2_shapes.py` sends what a person or Terraform would, and refuses every element that the service model lacks.

#![expect(clippy::disallowed_methods, reason = "a test reads where its clients are")]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use vpce::config::builtin;
use vpce::control::State;
use vpce::control::ec2::{Call, Options, handle, operation_names};
use vpce::time::UnixTime;

/// The Python that `scripts/install-clients` installed, if it has botocore.
fn python() -> Option<PathBuf> {
    let folder = std::env::var("VPCE_CLIENTS")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/target/clients").to_owned());
    let python = Path::new(&folder).join("bin/python3");
    let found = Command::new(&python).args(["-c", "import botocore"]).stderr(Stdio::null()).status();
    found.is_ok_and(|status| status.success()).then_some(python)
}

#[test]
fn every_operation_stands_in_the_documentation_and_no_other() {
    let text = include_str!("../docs/ec2-api.md");
    let rows = text.lines().filter(|line| line.starts_with("| "));
    let mut told: Vec<&str> = rows.flat_map(|row| row.split('`').skip(1).step_by(2)).collect();
    told.retain(|word| *word != "UnsupportedOperation");
    told.sort_unstable();
    let mut known: Vec<&str> = operation_names().collect();
    known.sort_unstable();
    assert_eq!(told, known);
}

#[test]
fn botocore_understands_every_answer() {
    let Some(python) = python() else {
        // In one write: other tests say things at the same time.
        let line = "skipped: botocore_understands_every_answer: botocore (scripts/install-clients)\n";
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return;
    };
    let topology = builtin("quickstart").unwrap().check().unwrap();
    let now = UnixTime::from_secs(1_790_000_000);
    let mut state = State::from_topology(&topology, now);
    let options = Options::default();
    let mut seed = 1_u64;
    let mut random = |bytes: &mut [u8]| {
        for byte in bytes {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = seed.to_be_bytes()[0];
        }
    };
    let mut child = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ec2_shapes.py"))
        .args(operation_names())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut answers = child.stdin.take().unwrap();
    let mut calls = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let asked: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let answer = match asked["body"].as_str() {
            Some(body) => {
                let mut call = Call {
                    failed_flow_logs: &std::collections::BTreeSet::new(),
                    account: "123456789012",
                    region: "us-east-2",
                    partition: "aws",
                    now,
                    random: &mut random,
                    options: &options,
                };
                let answer = handle(&mut state, body.as_bytes(), &mut call);
                json!({ "status": answer.status, "body": answer.body })
            }
            // What the data plane does meanwhile.
            None => {
                state.settle();
                json!({})
            }
        };
        calls += 1;
        if writeln!(answers, "{answer}").is_err() {
            break;
        }
    }
    drop(answers);
    assert!(child.wait().unwrap().success());
    assert!(calls > 60, "{calls} calls");
}
