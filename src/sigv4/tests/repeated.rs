//! Requests that come again, with what may change from one to the next: whoever read the first reads the second as a
//! stranger would.

use proptest::prelude::*;

use super::*;

type Headers = Vec<(&'static str, Vec<u8>)>;

fn keyring() -> Keyring {
    Keyring::new([Credential::new("AKIAEXAMPLE", "secret", admin())]).unwrap()
}

fn host() -> (&'static str, Vec<u8>) {
    ("host", b"lambda.us-east-2.amazonaws.com".to_vec())
}

fn date() -> (&'static str, Vec<u8>) {
    ("x-amz-date", SIGNED_AT.as_bytes().to_vec())
}

fn head_of<'a>(headers: &'a Headers, authorization: Option<&'a str>) -> RequestHead<'a> {
    let headers = headers.iter().map(|(name, value)| (*name, value.as_slice()));
    let authorization = authorization.map(|text| ("authorization", text.as_bytes()));
    RequestHead::new("POST", b"/2015-03-31/functions/f/invocations", b"", headers.chain(authorization))
}

/// These headers with the right signature over `names`.
fn signed(headers: &Headers, names: &str) -> String {
    authorization_of(&head_of(headers, None), names, &hex::emit(&sha256(b"")))
}

fn verify(verifier: &mut Verifier, headers: &Headers, authorization: &str) -> Result<Rc<Principal>, SigV4Error> {
    verifier.begin(&head_of(headers, Some(authorization)), &KEYRING.with(Keyring::clone), NOW)?.finish(&sha256(b""))
}

thread_local! {
    /// One snapshot, which a verifier recognises.
    static KEYRING: Keyring = keyring();
}

/// Says what a fresh verifier says, and says the same itself.
#[track_caller]
fn assert_alike(verifier: &mut Verifier, headers: &Headers, authorization: &str) -> Result<Rc<Principal>, SigV4Error> {
    let fresh = verify(&mut Verifier::new("us-east-2", "lambda"), headers, authorization);
    assert_eq!(verify(verifier, headers, authorization), fresh, "{headers:?} {authorization}");
    fresh
}

/// A verifier that has read a request with these headers before.
fn acquainted(headers: &Headers, names: &str) -> Verifier {
    let mut verifier = Verifier::new("us-east-2", "lambda");
    assert!(assert_alike(&mut verifier, headers, &signed(headers, names)).is_ok());
    verifier
}

#[test]
fn what_was_learned_is_found_again_beside_another_order_of_the_same_headers() {
    let headers = vec![host(), ("ab", b"1".to_vec()), date()];
    let turned: Headers = headers.iter().rev().cloned().collect();
    let authorization = signed(&headers, "ab;host;x-amz-date");
    let mut verifier = acquainted(&headers, "ab;host;x-amz-date");
    assert!(assert_alike(&mut verifier, &turned, &authorization).is_ok());
    KEYRING.with(|keyring| {
        for (headers, is_known) in [(&headers, true), (&turned, true), (&headers[..2].to_vec(), false)] {
            let head = head_of(headers, Some(&authorization));
            assert_eq!(verifier.knows(&head, keyring), is_known, "{headers:?}");
        }
    });
}

#[test]
fn a_value_that_was_empty_before_counts() {
    let mut headers = vec![host(), ("a", vec![]), date()];
    let mut verifier = acquainted(&headers, "a;host;x-amz-date");
    let before = signed(&headers, "a;host;x-amz-date");
    headers[1].1 = b"now there".to_vec();
    assert_eq!(assert_alike(&mut verifier, &headers, &before), Err(SigV4Error::SignatureMismatch));
    assert!(assert_alike(&mut verifier, &headers, &signed(&headers, "a;host;x-amz-date")).is_ok());
}

#[test]
fn names_cut_elsewhere_are_other_names() {
    let headers = vec![host(), ("ab", b"1".to_vec()), ("c", b"2".to_vec()), date()];
    let mut verifier = acquainted(&headers, "ab;host;x-amz-date");
    let cut = vec![host(), ("a", b"1".to_vec()), ("bc", b"2".to_vec()), date()];
    let authorization = signed(&headers, "ab;host;x-amz-date");
    assert_eq!(assert_alike(&mut verifier, &cut, &authorization), Err(SigV4Error::SignatureMismatch));
}

#[test]
fn a_header_that_is_new_repeated_or_gone_is_noticed() {
    let headers = vec![host(), ("a", b"1".to_vec()), date(), ("b", b"2".to_vec())];
    let names = "a;host;x-amz-date";
    let authorization = signed(&headers, names);
    let mut verifier = acquainted(&headers, names);
    let mut unsigned = headers.clone();
    unsigned[3].0 = "x-amz-target";
    assert!(matches!(assert_alike(&mut verifier, &unsigned, &authorization), Err(SigV4Error::HeaderNotSigned { .. })));
    let mut repeated = headers.clone();
    repeated[3].0 = "a";
    assert_eq!(assert_alike(&mut verifier, &repeated, &authorization), Err(SigV4Error::SignatureMismatch));
    assert!(assert_alike(&mut verifier, &repeated, &signed(&repeated, names)).is_ok());
    let mut gone = headers.clone();
    gone.remove(1);
    assert_eq!(assert_alike(&mut verifier, &gone, &authorization), Err(SigV4Error::SignatureMismatch));
    let mut swapped = headers;
    swapped.swap(0, 1);
    assert!(assert_alike(&mut verifier, &swapped, &authorization).is_ok());
}

#[test]
fn a_second_signature_after_the_first_is_read_as_before() {
    let headers = vec![host(), date()];
    let good = signed(&headers, "host;x-amz-date");
    let digits = &good[good.len() - 64..];
    let wrong = "0".repeat(64);
    let mut verifier = acquainted(&headers, "host;x-amz-date");
    for text in [
        format!("{good}, XSignature={wrong}"),
        format!("{good}, XSignature={digits}"),
        format!("{good}, Signature={wrong}"),
        format!("{}{wrong}, Signature={digits}", good.strip_suffix(digits).unwrap()),
        format!("{good} "),
        format!(" {good}"),
        good.replace(digits, &digits.to_ascii_uppercase()),
    ] {
        for _ in 0..2 {
            let _same: Result<_, _> = assert_alike(&mut verifier, &headers, &text);
        }
    }
    assert!(assert_alike(&mut verifier, &headers, &good).is_ok());
}

#[test]
fn the_authority_of_http_2_is_found_again_and_its_change_noticed() {
    let signed = |uri: &str| {
        let (mut parts, ()) = http::Request::post(uri).body(()).unwrap().into_parts();
        let credential = Credential::new("AKIAEXAMPLE", "secret", admin());
        sign(&mut parts, &sha256(b""), &credential, "us-east-2", "lambda", NOW).unwrap();
        parts
    };
    let (mut verifier, keyring) = (Verifier::new("us-east-2", "lambda"), keyring());
    let parts = signed("https://one.example/");
    let mut moved = parts.clone();
    moved.uri = "https://two.example/".parse().unwrap();
    for (parts, is_ok) in [(&parts, true), (&parts, true), (&moved, false), (&signed("https://two.example/"), true)] {
        let head = RequestHead::from_parts(parts);
        assert_eq!(verifier.begin(&head, &keyring, NOW).unwrap().finish(&sha256(b"")).is_ok(), is_ok);
    }
}

#[test]
fn a_verified_request_that_comes_again_needs_no_derivation_and_is_refused_when_it_is_old() {
    let headers = vec![host(), date()];
    let authorization = signed(&headers, "host;x-amz-date");
    let mut verifier = acquainted(&headers, "host;x-amz-date");
    let late = UnixTime::from_secs(NOW.secs() + 301);
    let head = head_of(&headers, Some(&authorization));
    let error = verifier.begin(&head, &KEYRING.with(Keyring::clone), late).unwrap_err();
    assert!(matches!(error, SigV4Error::Expired { .. }), "{error:?}");
    // Another snapshot with another secret: what was known is forgotten.
    let other = Keyring::new([Credential::new("AKIAEXAMPLE", "other", admin())]).unwrap();
    let outcome = verifier.begin(&head, &other, NOW).unwrap().finish(&sha256(b""));
    assert_eq!(outcome, Err(SigV4Error::SignatureMismatch));
}

proptest! {
    #[test]
    fn a_sequence_of_requests_is_judged_as_each_alone(
        requests in prop::collection::vec(
            (
                prop::collection::vec(("(a|b|ab|host|x-amz-x|content-type)", "[ -~]{0,6}"), 0..4),
                prop::sample::select(vec!["host;x-amz-date", "a;host;x-amz-date", "ab;b;host;x-amz-date;x-amz-x", "host"]),
                prop::sample::select(vec!["20150830T123600Z", "20150830T123601Z", "20150831T000000Z", "20150830T126000Z"]),
                any::<bool>(),
                prop::option::of((0_usize..300, any::<u8>())),
            ),
            1..8,
        ),
    ) {
        const NAMES: [&str; 6] = ["a", "b", "ab", "host", "x-amz-x", "content-type"];
        let mut verifier = Verifier::new("us-east-2", "lambda");
        for (extra, names, at, sign_late, flip) in requests {
            let mut headers = vec![host()];
            for (name, value) in &extra {
                headers.push((NAMES.iter().find(|known| *known == name).unwrap(), value.clone().into_bytes()));
            }
            headers.push(("x-amz-date", at.as_bytes().to_vec()));
            let mut authorization = signed(&headers, names).into_bytes();
            if let Some((at, byte)) = flip && let Some(c) = authorization.get_mut(at) {
                *c = byte & 0x7f;
            }
            if sign_late {
                headers.push(("b", b"after signing".to_vec()));
            }
            let authorization = String::from_utf8(authorization).unwrap();
            let _same: Result<_, _> = assert_alike(&mut verifier, &headers, &authorization);
        }
    }
}
