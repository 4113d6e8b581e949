//! TLS and HTTP as clients have them on the wire: versions, names, large and many requests, odd and slow ones.

#![expect(clippy::unwrap_used, reason = "tests fail loudly")]

mod support;

use std::sync::OnceLock;

use serde_json::{Value, json};
use support::quickstart::{DUALSTACK, ENI, ENI6, HOST, REGIONAL, ZONAL};
use support::{Lab, Tun, timed};

in_both_modes! {
    curl_invokes_over_both_ip_versions_and_every_name: [Curl];
    answers_have_the_headers_that_lambdas_have: [Curl];
    tls_ends_here_for_our_names_and_versions_only: [Clients];
    tls_sessions_are_resumed: [Clients];
    the_largest_payload_goes_both_ways: [Clients];
    sixty_four_callers_at_once_get_their_own_answers: [Clients];
    a_connection_is_used_again: [Clients];
    a_body_is_asked_for_and_may_come_in_chunks: [Clients];
    slow_clients_are_cut_off_and_counted: [Clients];
}

/// The quickstart lab, where more may call at once.
fn lab(mode: Tun) -> &'static Lab {
    static LABS: [OnceLock<Lab>; 2] = [const { OnceLock::new() }; 2];
    LABS[mode as usize].get_or_init(|| {
        let changes = [("builtin = \"echo\"", "builtin = \"echo\"\nconcurrency = 200")];
        Lab::changed(&changes, &["--tun", mode.name()])
    })
}

/// curl's arguments for a signed invocation of `echo`.
fn curl_invoke<'a>(lab: &Lab, url: &'a str, more: &[&'a str]) -> String {
    let status = lab.status();
    let key = |name: &str| status["identities"][0][name].as_str().unwrap().to_owned();
    let user = format!("{}:{}", key("access_key_id"), key("secret_access_key"));
    let signing = ["--aws-sigv4", "aws:amz:us-east-2:lambda", "--user", &user, "--data", r#"{"from":"curl"}"#];
    lab.curl("app", &[&signing, more, &[url]].concat()).ok()
}

fn curl_invokes_over_both_ip_versions_and_every_name(mode: Tun) {
    let lab = lab(mode);
    let shown = ["--write-out", " %{http_code} %{remote_ip} %{ssl_verify_result}"];
    for name in [HOST, DUALSTACK, REGIONAL, ZONAL] {
        let url = format!("https://{name}/2015-03-31/functions/echo/invocations");
        for (option, address) in [("--ipv4", ENI), ("--ipv6", ENI6)] {
            let said = curl_invoke(lab, &url, &[&shown[..], &[option]].concat());
            assert_eq!(said, format!(r#"{{"from":"curl"}} 200 {address} 0"#), "{name}");
        }
    }
}

fn answers_have_the_headers_that_lambdas_have(mode: Tun) {
    let lab = lab(mode);
    let url = format!("https://{HOST}/2015-03-31/functions/echo/invocations");
    let shown = ["--output", "/dev/null", "--write-out", "%{header_json}"];
    let ask = |more: &[&str]| -> Value {
        serde_json::from_str(&curl_invoke(lab, &url, &[&shown[..], more].concat())).unwrap()
    };
    let headers = ask(&["--http1.1"]);
    let names = ["connection", "content-length", "content-type", "date", "x-amz-executed-version"];
    let own = ["x-amzn-remapped-content-length", "x-amzn-requestid", "x-amzn-trace-id"];
    let mut found: Vec<&str> = headers.as_object().unwrap().keys().map(String::as_str).collect();
    found.sort_unstable();
    assert_eq!(found, [&names[..], &own].concat());
    assert_eq!(headers["connection"], json!(["keep-alive"]));
    assert_eq!(headers["x-amzn-remapped-content-length"], json!(["0"]));
    let date = headers["date"][0].as_str().unwrap();
    assert!(date.ends_with(" GMT") && date.len() == 29, "{date}");
    let trace = headers["x-amzn-trace-id"][0].as_str().unwrap();
    assert!(trace.starts_with("root=1-") && trace.ends_with(";sampled=0"), "{trace}");
    assert!(ask(&["--http2"]).get("connection").is_none(), "HTTP/2 has no such header");
    assert_eq!(ask(&["--http1.1", "--header", "Connection: close"])["connection"], json!(["close"]));
}

fn tls_ends_here_for_our_names_and_versions_only(mode: Tun) {
    let lab = lab(mode);
    let before = lab.count("endpoint", "TLS_UNKNOWN_NAME");
    let found = lab.client("app", "wire.py", &["names"]);
    let names = json!([["DNS", HOST], ["DNS", DUALSTACK], ["DNS", "*.lambda.us-east-2.vpce.amazonaws.com"]]);
    for (case, version) in [
        ("public", "TLSv1.3"),
        ("dualstack", "TLSv1.3"),
        ("vpce", "TLSv1.3"),
        ("tls_1_2", "TLSv1.2"),
        ("tls_1_3", "TLSv1.3"),
    ] {
        assert_eq!((&found[case]["version"], &found[case]["names"]), (&json!(version), &names), "{case}: {found}");
    }
    for case in ["other_region", "other_service", "two_labels"] {
        assert_eq!(found[case]["alert"], "TLSV1_UNRECOGNIZED_NAME", "{case}");
    }
    let old = found["tls_1_1"]["alert"].as_str().unwrap_or_default();
    assert!(["TLSV1_ALERT_PROTOCOL_VERSION", "SSLV3_ALERT_HANDSHAKE_FAILURE"].contains(&old), "{found}");
    assert_eq!(lab.count("endpoint", "TLS_UNKNOWN_NAME"), before + 3);
}

fn tls_sessions_are_resumed(mode: Tun) {
    let lab = lab(mode);
    let before = lab.count("endpoint", "TLS_RESUMED");
    let found = lab.client("app", "wire.py", &["resume"]);
    assert_eq!(found, json!({ "TLSv1_2": [false, true], "TLSv1_3": [false, true] }));
    assert!(lab.count("endpoint", "TLS_RESUMED") >= before + 2);
}

fn the_largest_payload_goes_both_ways(mode: Tun) {
    for host in ["app", "onprem"] {
        let outcome = lab(mode).client(host, "wire.py", &["large"]);
        assert_eq!(outcome["status"], 200, "{host}: {outcome}");
        assert_eq!(
            (&outcome["result"]["got"], &outcome["result"]["same"]),
            (&json!(6_291_456), &json!(true)),
            "{host}"
        );
    }
}

fn sixty_four_callers_at_once_get_their_own_answers(mode: Tun) {
    let outcome = lab(mode).client("app", "wire.py", &["concurrent", "64"]);
    assert_eq!(outcome, json!({ "calls": 128, "wrong": [] }));
}

fn a_connection_is_used_again(mode: Tun) {
    let outcome = lab(mode).client("app", "wire.py", &["keep_alive"]);
    let answers = outcome["answers"].as_array().unwrap();
    let statuses: Vec<_> = answers.iter().map(|answer| answer["status"].clone()).collect();
    assert_eq!(statuses, [200, 403, 200]);
    assert!(answers.iter().all(|answer| answer["same_port"] == true), "{outcome}");
    assert_eq!((&answers[0]["body"], &answers[2]["body"]), (&json!(r#"{"turn": 0}"#), &json!(r#"{"turn": 2}"#)));
}

fn a_body_is_asked_for_and_may_come_in_chunks(mode: Tun) {
    let outcome = lab(mode).client("app", "wire.py", &["expect"]);
    assert_eq!(outcome, json!({ "interim": "HTTP/1.1 100 Continue\r\n\r\n", "status": 200, "same": true }));
    assert_eq!(lab(mode).client("app", "wire.py", &["chunked"]), json!({ "status": 200, "same": true }));
}

fn slow_clients_are_cut_off_and_counted(mode: Tun) {
    let settings = "[endpoint.settings]\ntls_handshake_timeout = \"2s\"\nhttp_head_timeout = \"2s\"\n\
                    http_body_timeout = \"2s\"\nhttp_idle_timeout = \"2s\"\n\n[resolver]";
    let lab = Lab::changed(&[("[resolver]", settings)], &["--tun", mode.name()]);
    let outcomes = lab.client("app", "wire.py", &["slow", "15"]);
    for case in ["silent", "half_hello", "half_head", "half_body", "trickle", "idle"] {
        let end = outcomes[case]["end"].as_str().unwrap();
        assert_ne!(end, "still open", "{case}");
        // Between requests the connection ends in good order; nobody else is owed that.
        if case == "idle" {
            assert_eq!(end, "closed");
        }
    }
    let counted = ["TLS_HANDSHAKE_TIMEOUT", "HTTP_HEAD_TIMEOUT", "HTTP_BODY_TIMEOUT", "HTTP_IDLE_TIMEOUT"];
    assert_eq!(counted.map(|code| lab.count("endpoint", code)), [2, 2, 1, 1]);
}

#[test]
fn two_workers_share_the_callers_of_both_sides() {
    if !support::has("two_workers_share_the_callers_of_both_sides", &[support::Need::Lab, support::Need::Clients]) {
        return;
    }
    let lab = Lab::changed(&[], &["--queues", "2"]);
    for host in ["app", "onprem"] {
        let outcome = lab.client(host, "wire.py", &["concurrent", "32"]);
        assert_eq!(outcome, json!({ "calls": 64, "wrong": [] }), "{host}");
    }
    let workers = lab.process("endpoint")["status"]["workers"].clone();
    let served: Vec<_> = workers.as_array().unwrap().iter().map(|w| w["connections_total"].as_u64().unwrap()).collect();
    assert_eq!((served.len(), served.iter().sum::<u64>()), (2, 64), "{workers}");
    assert!(served.iter().all(|connections| *connections > 0), "each worker has its share: {workers}");
}

#[test]
fn a_lab_that_goes_leaves_nothing_behind() {
    if !support::has("a_lab_that_goes_leaves_nothing_behind", &[support::Need::Lab]) {
        return;
    }
    let lab = Lab::quickstart(Tun::Offload);
    let (folder, pid) = (lab.folder().to_owned(), lab.process("endpoint")["pid"].as_u64().unwrap());
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    let ((), took) = timed(|| drop(lab));
    assert!(!folder.exists(), "{took:?}");
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}
