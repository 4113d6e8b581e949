//! Requests of real boto3, as captured from its socket.

use super::*;

fn captured() -> Vec<(String, RawRequest)> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(data("boto3")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "http"));
    files.sort();
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    files.iter().map(|path| (name(path), RawRequest::read(path))).collect()
}

fn keyring() -> Keyring {
    let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    let token = "IQoJb3JpZ2luX2VjEXAMPLE//////////wEaCXVzLWVhc3QtMiJHMEUCIQ+example/token==";
    let temporary = Credential::new("ASIAIOSFODNN7EXAMPLE", secret, admin());
    Keyring::new([
        Credential::new("AKIAIOSFODNN7EXAMPLE", secret, admin()),
        temporary.with_session(token, UnixTime::from_secs(4_000_000_000)),
    ])
    .unwrap()
}

fn signed_at(request: &RawRequest) -> UnixTime {
    let query = str::from_utf8(&request.query).unwrap();
    let in_query = query.split('&').find_map(|pair| pair.strip_prefix("X-Amz-Date="));
    let text = request.header("x-amz-date").or(in_query).unwrap();
    UnixTime::from_secs(u64::try_from(date::SignedDate::parse(text.as_bytes()).unwrap().secs).unwrap())
}

#[test]
fn every_request_of_boto3_is_verified_arns_in_the_path_among_them() {
    let captured = captured();
    assert_eq!(captured.len(), 19);
    assert!(captured.iter().any(|(_, request)| request.path.windows(6).any(|part| part == b"arn%3A")));
    for (name, request) in captured {
        let settings = Settings { presigned: name.starts_with("presigned"), ..Settings::default() };
        let mut verifier = Verifier::with_settings("us-east-2", "lambda", settings);
        assert_eq!(request.verify(&mut verifier, &keyring(), signed_at(&request)), Ok(caller()), "{name}");
    }
}

#[test]
fn the_same_requests_are_verified_as_hyper_hands_them_over() {
    for (name, raw) in captured().into_iter().filter(|(name, _)| !name.starts_with("presigned")) {
        for over_http2 in [false, true] {
            let query =
                if raw.query.is_empty() { String::new() } else { format!("?{}", str::from_utf8(&raw.query).unwrap()) };
            let path = str::from_utf8(&raw.path).unwrap();
            let origin = if over_http2 { "https://lambda.us-east-2.amazonaws.com" } else { "" };
            let mut builder =
                http::Request::builder().method(raw.method.as_str()).uri(format!("{origin}{path}{query}"));
            for (header, value) in raw.headers.iter().filter(|(header, _)| !(over_http2 && header == "host")) {
                builder = builder.header(header, value.trim_ascii());
            }
            let (parts, ()) = builder.body(()).unwrap().into_parts();
            let mut verifier = Verifier::new("us-east-2", "lambda");
            let pending = verifier.begin(&RequestHead::from_parts(&parts), &keyring(), signed_at(&raw)).unwrap();
            assert_eq!(pending.finish(&sha256(&raw.body)), Ok(caller()), "{name} {over_http2}");
        }
    }
}

#[test]
fn a_body_changed_after_signing_is_refused() {
    for (name, mut request) in captured() {
        request.body.push(b' ');
        let settings = Settings { presigned: true, ..Settings::default() };
        let mut verifier = Verifier::with_settings("us-east-2", "lambda", settings);
        let outcome = request.verify(&mut verifier, &keyring(), signed_at(&request));
        assert_eq!(outcome, Err(SigV4Error::SignatureMismatch), "{name}");
    }
}
