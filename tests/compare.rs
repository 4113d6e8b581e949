//! `scripts/compare/run`: that it can be read and asked. What it measures needs other programs, a release build and minutes.

#![expect(clippy::unwrap_used, reason = "tests fail loudly")]
#![expect(clippy::print_stderr, reason = "a test that cannot run says so")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/compare")
}

/// `None`, and a line that says so, without Python.
fn python(words: &[&str]) -> Option<Output> {
    let ran = Command::new("python3").arg("-B").args(words).current_dir(folder()).output();
    if ran.is_err() {
        eprintln!("skipped: there is no python3");
    }
    ran.ok()
}

fn printed(output: &Output) -> &str {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::str::from_utf8(&output.stdout).unwrap()
}

#[test]
fn every_script_can_be_compiled() {
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let is_script = |path: &PathBuf| path.ends_with("run") || path.extension().is_some_and(|kind| kind == "py");
    let files: Vec<String> = files.filter(is_script).map(|path| path.to_str().unwrap().to_owned()).collect();
    assert!(files.len() > 5, "{files:?}");
    // In memory: py_compile would leave files beside them.
    let compile = "import sys\nfor name in sys.argv[1:]: compile(open(name).read(), name, 'exec')";
    let words: Vec<&str> = ["-c", compile].into_iter().chain(files.iter().map(String::as_str)).collect();
    if let Some(output) = python(&words) {
        printed(&output);
    }
}

#[test]
fn it_lists_what_it_compares_without_installing_anything() {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/compare");
    let before = installed.exists();
    let Some(output) = python(&["run", "--list"]) else { return };
    let list = printed(&output);
    for case in
        ["invoke-1", "invoke-64", "connect-full", "connect-resumed", "upload", "download", "forward-bulk", "rules"]
    {
        assert!(list.contains(&format!("{case}: ")), "{case} in {list}");
    }
    for program in ["nginx", "haproxy", "pasta", "slirp4netns", "wireguard-go", "boringtun-cli", "strongswan"] {
        assert!(list.contains(&format!("\n  {program}")), "{program} in {list}");
    }
    assert_eq!(installed.exists(), before, "nothing was installed");
    let one = python(&["run", "--list", "connect"]).unwrap();
    assert!(printed(&one).starts_with("connect-full: ") && !printed(&one).contains("invoke-1"), "{one:?}");
}

#[test]
fn a_case_that_is_none_is_refused_and_the_others_are_named() {
    let Some(output) = python(&["run", "--list", "teleport"]) else { return };
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("'teleport'") && said.contains("forward-bulk"), "{said}");
}

/// Two pairs of made-up records: twice as many operations for the same processor time, at a quarter of the latency.
const TABLE: &str = r#"
import cases, table
def record(operations, p50):
    return {"operations": operations, "seconds": 2.0, "user_s": 0.5, "system_s": 0.5, "bytes": 0, "p50_us": p50,
            "p99_us": 9.0, "calibration_ns": [50.0, None], "limited_by": None}
target = {"other": [cases.Target("cpu", 2.0), cases.Target("p50", 0.2)]}
case = cases.Case("one", "what", "requests", dict.fromkeys(["vpce", "other", "gone"]), target)
records = {"vpce": [record(200, 1.0), record(600, 1.0)], "other": [record(100, 4.0), record(300, 4.0)], "gone": []}
result = table.summarise(case, records, {"gone": "no gone here"})
ours, other, gone = result["programs"]
assert ours["cpu"]["median"] == 400 and ours["rate"]["least"] == 100, ours
assert other["ours_by_it"]["cpu"] == {"median": 2.0, "least": 2.0, "most": 2.0}, other
assert [one["met"] for one in other["targets"]] == [True, False], other
assert gone["skipped"] == "no gone here", gone
print(table.text([result]))
"#;

#[test]
fn ratios_are_taken_pair_by_pair_and_judged_by_their_targets() {
    let Some(output) = python(&["-c", TABLE]) else { return };
    let text = printed(&output);
    assert!(text.contains("2 (2–2)") && text.contains("cpu ≥ 2 met; p50 ≤ 0.2 missed"), "{text}");
    assert!(text.contains("skipped: no gone here"), "{text}");
}
