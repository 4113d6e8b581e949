//! Nothing outlives the host.

use super::*;

#[tokio::test]
async fn when_the_host_ends_so_do_its_processes_and_what_they_started() {
    require_python!();
    let source = "import subprocess\ndef handler(event, context):\n    return subprocess.Popen(['sleep', '600']).pid\n";
    let lab = Lab::up(vec![python("parent", source)]).await;
    let child = lab.json("parent", "").await.as_i64().unwrap();
    let parent = lab.pids("parent")[0];
    assert!(alive(parent) && alive(child));
    let host = lab.host.clone();
    lab.down().await;
    assert!(!alive(parent));
    assert_eq!(host.status()["functions"][0]["processes"], json!([]));
    // An orphan's remains are collected by init, in its own time.
    while std::fs::read_to_string(format!("/proc/{child}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_process_that_ignores_sigterm_is_killed_within_the_bound() {
    require_python!();
    let source =
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ndef handler(event, context): return 1\n";
    let limits = Limits { shutdown: Duration::from_millis(50), ..Limits::default() };
    let lab = Lab::up_with(vec![python("stubborn", source)], limits).await;
    lab.json("stubborn", "").await;
    let pid = lab.pids("stubborn")[0];
    lab.down().await;
    assert!(!alive(pid));
}

/// Plays both parts: started again by itself with `ROLE` set, it is the host that gets killed.
#[tokio::test]
async fn a_host_that_is_killed_leaves_no_process_behind() {
    const ROLE: &str = "VPCE_TEST_HOST_TO_KILL";
    require_python!();
    if std::env::var_os(ROLE).is_some() {
        let lab = Lab::up(vec![python("hello", HELLO)]).await;
        lab.json("hello", "").await;
        println!("\npid={}", lab.pids("hello")[0]);
        std::future::pending::<()>().await;
    }
    let mut host = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ends::a_host_that_is_killed_leaves_no_process_behind", "--nocapture"])
        .env(ROLE, "1")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(host.stdout.take().unwrap()).lines();
    let pid: i64 = loop {
        let line = lines.next_line().await.unwrap().expect("the host tells its process's id");
        if let Some(pid) = line.strip_prefix("pid=") {
            break pid.parse().unwrap();
        }
    };
    assert!(alive(pid));
    host.kill().await.unwrap();
    let gone = async {
        while alive(pid) {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), gone).await.is_ok(), "process {pid} outlived its host");
}
