//! A request's head, as text: `METHOD PATH?QUERY`, then `name: value` lines. Nothing is accepted without the secret, and
//! every refusal can be told to the client.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use vpce::sigv4::{Credential, Keyring, Principal, RequestHead, Settings, Verifier, sha256};
use vpce::time::UnixTime;

/// 2026-11-23T15:38:00Z, when the seeds were signed: by another secret.
const NOW: UnixTime = UnixTime::from_secs(1_795_448_280);

static KEYRING: LazyLock<Keyring> = LazyLock::new(|| {
    let admin = Arc::new(Principal::from_arn("arn:aws:iam::123456789012:user/Admin").expect("an ARN"));
    let long_term = Credential::new("AKIAIOSFODNN7EXAMPLE", "unknown to whoever writes the input", Arc::clone(&admin));
    let session = Credential::new("ASIAIOSFODNN7EXAMPLE", "and so is this one", admin);
    Keyring::new([long_term, session.with_session("token", NOW + std::time::Duration::from_secs(60))])
        .expect("two keys")
});

fuzz_target!(|data: &[u8]| {
    let mut lines = data.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let mut first = lines.next().unwrap_or_default().splitn(3, |&byte| byte == b' ');
    let method = String::from_utf8_lossy(first.next().unwrap_or_default());
    let target = first.next().unwrap_or_default();
    let (path, query) = match target.iter().position(|&byte| byte == b'?') {
        Some(at) => (&target[..at], &target[at + 1..]),
        None => (target, &[][..]),
    };
    let headers: Vec<(String, &[u8])> = lines
        .filter_map(|line| {
            let colon = line.iter().position(|&byte| byte == b':')?;
            Some((String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase(), line[colon + 1..].trim_ascii_start()))
        })
        .collect();
    let head = RequestHead::new(&method, path, query, headers.iter().map(|(name, value)| (&**name, *value)));
    let settings = [
        Settings::default(),
        Settings {
            presigned: true,
            unsigned_payload: true,
            unsigned_amz_headers: true,
            hash_echo: true,
            ..Settings::default()
        },
    ];
    for settings in settings {
        let mut verifier = Verifier::with_settings("us-east-2", "lambda", settings);
        let verdict = verifier.begin(&head, &KEYRING, NOW).and_then(|pending| pending.finish(&sha256(b"")));
        let error = verdict.expect_err("nobody knows the secret");
        assert!((400..500).contains(&error.status()) && !error.body().is_empty());
    }
});
