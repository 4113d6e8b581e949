//! AWS's published vectors. `tests/data/sigv4/README.md` says which do not apply, and why.

use std::collections::BTreeSet;

use super::*;

/// Folders that hold a case, and the case's name.
fn cases(root: &Path, marker: &str) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_dir() {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.join(marker.replace('*', &name)).exists() {
            found.push((name, path));
        } else {
            found.extend(cases(&path, marker));
        }
    }
    found.sort();
    found
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).replace('\r', "")
}

fn keyring(token: Option<&str>) -> Keyring {
    let credential = Credential::new(SUITE_KEY, SUITE_SECRET, admin());
    let credential = match token {
        Some(token) => credential.with_session(token, UnixTime::from_secs(2_000_000_000)),
        None => credential,
    };
    Keyring::new([credential]).unwrap()
}

fn verifier(settings: Settings) -> Verifier {
    Verifier::with_settings("us-east-1", "service", settings)
}

fn signed_names(authorization: &str) -> &str {
    let (_, rest) = authorization.split_once("SignedHeaders=").unwrap();
    rest.split(',').next().unwrap()
}

/// The hash in the last line of a string to sign is that of the canonical request.
fn hash_line(canonical: &str) -> String {
    String::from_utf8(hex::emit(&sha256(canonical.as_bytes())).to_vec()).unwrap()
}

#[test]
fn every_request_of_the_published_suite_is_verified() {
    let cases = cases(&data("aws-sig-v4-test-suite"), "*.sreq");
    assert_eq!(cases.len(), 34, "{cases:#?}");
    for (name, folder) in cases {
        let file = |extension: &str| folder.join(format!("{name}.{extension}"));
        let mut request = RawRequest::read(&file("sreq"));
        let keyring = keyring(request.header("x-amz-security-token"));
        let mut strict = verifier(Settings::default());
        if name == "get-vanilla-with-session-token" {
            // Published with another case's signature; the right one is in the .authz file.
            assert_eq!(request.verify(&mut strict, &keyring, NOW), Err(SigV4Error::SignatureMismatch));
            let slot = request.headers.iter_mut().find(|(name, _)| name == "authorization");
            slot.unwrap().1 = text(&file("authz")).into_bytes();
        }
        let authorization = request.header("authorization").unwrap();
        let canonical = request.canonical(signed_names(authorization));
        assert_eq!(canonical, text(&file("creq")), "{name}");
        assert_eq!(hash_line(&canonical), text(&file("sts")).lines().last().unwrap(), "{name}");
        assert_eq!(authorization, text(&file("authz")), "{name}");

        if name == "post-sts-header-after" {
            let unsigned = SigV4Error::HeaderNotSigned { name: "x-amz-security-token".to_owned() };
            assert_eq!(request.verify(&mut strict, &keyring, NOW), Err(unsigned));
            let mut lenient = verifier(Settings { unsigned_amz_headers: true, ..Settings::default() });
            assert_eq!(request.verify(&mut lenient, &keyring, NOW), Ok(caller()));
        } else {
            assert_eq!(request.verify(&mut strict, &keyring, NOW), Ok(caller()), "{name}");
        }
    }
}

#[test]
fn signing_the_published_suite_gives_its_authorization_headers() {
    let mut not_in_http: BTreeSet<String> = BTreeSet::new();
    for (name, folder) in cases(&data("aws-sig-v4-test-suite"), "*.sreq") {
        let file = |extension: &str| folder.join(format!("{name}.{extension}"));
        let raw = RawRequest::read(&file("req"));
        let target = [&raw.path[..], if raw.query.is_empty() { b"" } else { b"?" }, &raw.query].concat();
        let mut builder = http::Request::builder().method(raw.method.as_str()).uri(target);
        for (header, value) in &raw.headers {
            builder = builder.header(header, value.as_slice());
        }
        let Ok(request) = builder.body(()) else {
            not_in_http.insert(name);
            continue;
        };
        let (mut parts, ()) = request.into_parts();
        let canonical = text(&file("creq"));
        let token = canonical.lines().find_map(|line| line.strip_prefix("x-amz-security-token:"));
        let keyring = keyring(token);
        sign(&mut parts, &sha256(&raw.body), keyring.find(SUITE_KEY).unwrap(), "us-east-1", "service", NOW).unwrap();
        assert_eq!(parts.headers["authorization"], text(&file("authz")), "{name}");
    }
    // A raw space in the target and a folded header are not HTTP; hyper never hands them over.
    assert_eq!(not_in_http.into_iter().collect::<Vec<_>>(), ["get-header-value-multiline", "get-space"]);
}

#[test]
fn every_request_of_the_successor_suite_is_verified_by_header() {
    let cases = cases(&data("aws-c-auth"), "context.json");
    assert_eq!(cases.len(), 38, "{cases:#?}");
    for (name, folder) in cases {
        let request = RawRequest::read(&folder.join("header-signed-request.txt"));
        let canonical = request.canonical(signed_names(request.header("authorization").unwrap()));
        let expected = text(&folder.join("header-canonical-request.txt"));
        let keyring = keyring(request.header("x-amz-security-token"));
        let outcome = request.verify(&mut verifier(Settings::default()), &keyring, NOW);
        match name.as_str() {
            "post-sts-header-after" => assert!(matches!(outcome, Err(SigV4Error::HeaderNotSigned { .. })), "{name}"),
            _ if name.ends_with("-unnormalized") && canonical != expected => {
                assert_eq!(outcome, Err(SigV4Error::SignatureMismatch), "{name}");
            }
            _ => {
                assert_eq!(canonical, expected, "{name}");
                assert_eq!(outcome, Ok(caller()), "{name}");
            }
        }
    }
}

#[test]
fn every_request_of_the_successor_suite_is_verified_by_query() {
    let mut refused = Vec::new();
    for (name, folder) in cases(&data("aws-c-auth"), "context.json") {
        let request = RawRequest::read(&folder.join("query-signed-request.txt"));
        let query = String::from_utf8(request.query.clone()).unwrap();
        let parameter = |name: &str| {
            let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            value.map(|value| percent_encoding::percent_decode_str(value).decode_utf8().unwrap().into_owned())
        };
        let keyring = keyring(parameter("X-Amz-Security-Token").as_deref());
        // Presigned requests are off by default.
        let off = request.verify(&mut verifier(Settings::default()), &keyring, NOW);
        assert_eq!(off, Err(SigV4Error::NotSigned), "{name}");
        let mut verifier = verifier(Settings { presigned: true, ..Settings::default() });
        match request.verify(&mut verifier, &keyring, NOW) {
            Ok(principal) => {
                assert_eq!(principal, caller());
                let canonical = request.canonical(&parameter("X-Amz-SignedHeaders").unwrap());
                assert_eq!(canonical, text(&folder.join("query-canonical-request.txt")), "{name}");
            }
            Err(error) => {
                assert_eq!(error, SigV4Error::SignatureMismatch, "{name}");
                refused.push(name);
            }
        }
    }
    // S3's unnormalised paths, and a token left out of the signed query: see the README beside the data.
    let not_lambda = [
        "get-relative-relative-unnormalized",
        "get-relative-unnormalized",
        "get-slash-dot-slash-unnormalized",
        "get-slash-pointless-dot-unnormalized",
        "get-slash-unnormalized",
        "get-slashes-unnormalized",
        "post-sts-header-after",
    ];
    assert_eq!(refused, not_lambda);
}

#[test]
fn paths_of_the_double_encoding_vectors_are_encoded_twice() {
    for name in ["double-encode-path", "double-url-encode"] {
        let folder = data("aws-c-auth").join(name);
        let request = RawRequest::read(&folder.join("header-signed-request.txt"));
        let canonical = request.canonical("host;x-amz-date");
        let expected = text(&folder.join("header-canonical-request.txt"));
        assert_eq!(canonical.lines().nth(1), expected.lines().nth(1), "{name}");
    }
}
