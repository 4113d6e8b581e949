//! Every refusal, with its text byte for byte.

use http::request::Parts;

use super::*;
use crate::verdict::Reason;

const TOKEN: &str = "IQoJb3JpZ2luX2Vj//example==";
const MISMATCH: &str = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.";
const INVALID_TOKEN: &str = "The security token included in the request is invalid";

fn keyring() -> Keyring {
    let temporary =
        |id, expires| Credential::new(id, "secret", admin()).with_session(TOKEN, UnixTime::from_secs(expires));
    Keyring::new([
        Credential::new("AKIAEXAMPLE", "secret", admin()),
        temporary("ASIAEXAMPLE", NOW.secs() + 3600),
        temporary("ASIAEXPIRED", NOW.secs()),
    ])
    .unwrap()
}

/// An invocation of `hello`, signed now by `AKIAEXAMPLE`.
fn signed() -> Parts {
    signed_by(keyring().find("AKIAEXAMPLE").unwrap(), NOW)
}

fn signed_by(credential: &Credential, now: UnixTime) -> Parts {
    let request = http::Request::post("/2015-03-31/functions/hello/invocations?Qualifier=1")
        .header("host", "lambda.us-east-2.amazonaws.com")
        .header("x-amz-log-type", "Tail")
        .body(());
    let (mut parts, ()) = request.unwrap().into_parts();
    sign(&mut parts, &sha256(b"{}"), credential, "us-east-2", "lambda", now).unwrap();
    parts
}

fn outcome_with(settings: Settings, parts: &Parts, now: UnixTime) -> Result<Rc<Principal>, SigV4Error> {
    let mut verifier = Verifier::with_settings("us-east-2", "lambda", settings);
    verifier.begin(&RequestHead::from_parts(parts), &keyring(), now)?.finish(&sha256(b"{}"))
}

fn error(parts: &Parts) -> SigV4Error {
    outcome_with(Settings::default(), parts, NOW).unwrap_err()
}

fn set(parts: &mut Parts, name: &'static str, value: &str) {
    parts.headers.insert(name, value.parse().unwrap());
}

/// The Authorization header with `from` replaced by `to`, which must change it.
fn edit(parts: &mut Parts, from: &str, to: &str) {
    let before = parts.headers["authorization"].to_str().unwrap().to_owned();
    let after = before.replace(from, to);
    assert_ne!(before, after);
    set(parts, "authorization", &after);
}

#[track_caller]
fn expect(error: &SigV4Error, code: &str, reason: Reason, fault: Fault, message: &str) {
    assert_eq!((error.code(), error.status(), error.message().as_str()), (code, 403, message), "{error}");
    assert_eq!((error.reason(), error.fault()), (reason, fault), "{error}");
    let body: serde_json::Value = serde_json::from_str(&error.body()).unwrap();
    assert_eq!(body, serde_json::json!({ "message": message }));
}

#[test]
fn an_untouched_request_is_verified() {
    assert_eq!(outcome_with(Settings::default(), &signed(), NOW), Ok(caller()));
}

#[test]
fn a_request_without_signature_misses_its_token() {
    let mut parts = signed();
    parts.headers.remove("authorization");
    let error = error(&parts);
    expect(
        &error,
        "MissingAuthenticationTokenException",
        Reason::SignatureMissing,
        Fault::Request,
        "Missing Authentication Token",
    );
    assert_eq!(error.body(), r#"{"message":"Missing Authentication Token"}"#);
}

#[test]
fn each_missing_part_is_named_in_order() {
    const CREDENTIAL: &str = "Authorization header requires 'Credential' parameter. ";
    const SIGNATURE: &str = "Authorization header requires 'Signature' parameter. ";
    const HEADERS: &str = "Authorization header requires 'SignedHeaders' parameter. ";
    const DATE: &str = "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ";
    for (authorization, dated, texts) in [
        ("Bearer", false, &[CREDENTIAL, SIGNATURE, HEADERS, DATE][..]),
        ("", false, &[CREDENTIAL, SIGNATURE, HEADERS, DATE]),
        ("Basic dXNlcjpwYXNz==", true, &[CREDENTIAL, SIGNATURE, HEADERS]),
        ("AWS4-HMAC-SHA256 Credential=a", true, &[SIGNATURE, HEADERS]),
        ("AWS4-HMAC-SHA256 Credential=, SignedHeaders=host, Signature=", true, &[CREDENTIAL, SIGNATURE]),
        ("AWS4-HMAC-SHA256 Credential=a,Signature=b", true, &[HEADERS]),
        ("AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host, Signature=b", false, &[DATE]),
    ] {
        let mut parts = signed();
        set(&mut parts, "authorization", authorization);
        if !dated {
            parts.headers.remove("x-amz-date");
        }
        let message = format!("{}Authorization={authorization}", texts.concat());
        expect(&error(&parts), "IncompleteSignatureException", Reason::SignatureIncomplete, Fault::Request, &message);
    }
}

#[test]
fn a_bare_bearer_scheme_gets_the_recorded_body() {
    let mut parts = signed();
    parts.headers.remove("x-amz-date");
    set(&mut parts, "authorization", "Bearer");
    let recorded = r#"{"message":"Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' parameter. Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. Authorization=Bearer"}"#;
    assert_eq!(error(&parts).body(), recorded);
}

#[test]
fn a_part_that_is_no_pair_is_shown_or_hashed() {
    let mut parts = signed();
    set(&mut parts, "authorization", "Bearer abc\"def");
    let message =
        "'abc\"def' not a valid key=value pair (missing equal-sign) in Authorization header: 'Bearer abc\"def'.";
    expect(&error(&parts), "IncompleteSignatureException", Reason::SignatureIncomplete, Fault::Request, message);

    let hashed = Settings { hash_echo: true, ..Settings::default() };
    let message = "Invalid key=value pair (missing equal-sign) in Authorization header (hashed with SHA-256 and encoded with Base64): 'w1Xc6WwWEogNEZQP/dkBTThsJT4MNlKmzQanIm970rY='.";
    set(&mut parts, "authorization", "Bearer abc");
    assert_eq!(outcome_with(hashed, &parts, NOW).unwrap_err().message(), message);
    set(&mut parts, "authorization", "Bearer");
    let message = "(Hashed with SHA-256 and encoded with Base64) Authorization=";
    assert!(outcome_with(hashed, &parts, NOW).unwrap_err().message().contains(message));
}

#[test]
fn a_huge_header_is_not_repeated_in_full() {
    for authorization in ["Basic =".to_owned() + &"x".repeat(100_000), "Basic ".to_owned() + &"x".repeat(100_000)] {
        let mut parts = signed();
        set(&mut parts, "authorization", &authorization);
        assert!(error(&parts).body().len() < 1000);
    }
    for (from, to) in [("Credential=", "/"), ("SignedHeaders=", "x;"), ("us-east-2", "r"), ("AKIAEXAMPLE", "A")] {
        let mut parts = signed();
        let to = if from.ends_with('=') { format!("{from}{}", to.repeat(50_000)) } else { to.repeat(100_000) };
        edit(&mut parts, from, &to);
        assert!(error(&parts).body().len() < ECHO_MAX + 1000, "{from}");
    }
}

#[test]
fn dates_outside_five_minutes_are_refused_with_the_recorded_texts() {
    // Recorded on Lambda: aws-sdk-go issue 859.
    let now = UnixTime::from_secs(1_475_085_144); // 20160928T175224Z
    let signed_at = UnixTime::from_secs(1_475_084_659); // 20160928T174419Z
    let parts = signed_by(keyring().find("AKIAEXAMPLE").unwrap(), signed_at);
    let error = outcome_with(Settings::default(), &parts, now).unwrap_err();
    let message =
        "Signature expired: 20160928T174419Z is now earlier than 20160928T174724Z (20160928T175224Z - 5 min.)";
    expect(&error, "InvalidSignatureException", Reason::SignatureExpired, Fault::Clock, message);
    assert_eq!(error.body().len(), 114);

    let error = outcome_with(Settings::default(), &signed(), UnixTime::from_secs(NOW.secs() - 301)).unwrap_err();
    let message =
        "Signature not yet current: 20150830T123600Z is still later than 20150830T123559Z (20150830T123059Z + 5 min.)";
    expect(&error, "InvalidSignatureException", Reason::SignatureExpired, Fault::Clock, message);

    for (now, in_time) in [(-301, false), (-300, true), (300, true), (301, false)] {
        let now = UnixTime::from_secs(NOW.secs().checked_add_signed(now).unwrap());
        assert_eq!(outcome_with(Settings::default(), &signed(), now).is_ok(), in_time, "{now:?}");
    }
}

#[test]
fn dates_that_cannot_be_read_are_refused() {
    let mut parts = signed();
    set(&mut parts, "x-amz-date", "2015-08-30T12:36:00Z");
    let message = "Date must be in ISO-8601 'basic format'. Got '2015-08-30T12:36:00Z'. See http://en.wikipedia.org/wiki/ISO_8601";
    expect(&error(&parts), "IncompleteSignatureException", Reason::SignatureIncomplete, Fault::Request, message);
}

#[test]
fn the_date_header_stands_in_for_x_amz_date() {
    // By hand: the signer writes X-Amz-Date only.
    let date = ("date", &b"Sun, 30 Aug 2015 12:36:00 GMT"[..]);
    let host = ("host", &b"lambda.us-east-2.amazonaws.com"[..]);
    let headers = [date, host];
    let head = RequestHead::new("GET", b"/", b"", headers);
    let authorization = authorization_of(&head, "date;host", &hex::emit(&sha256(b"")));
    let headers = [date, host, ("authorization", authorization.as_bytes())];
    let head = RequestHead::new("GET", b"/", b"", headers);
    let pending = Verifier::new("us-east-2", "lambda").begin(&head, &keyring(), NOW).unwrap();
    assert_eq!(pending.finish(&sha256(b"")), Ok(caller()));
}

#[test]
fn host_and_amz_headers_must_be_signed() {
    let mut parts = signed();
    edit(&mut parts, "SignedHeaders=host;", "SignedHeaders=");
    let message = "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.";
    expect(&error(&parts), "InvalidSignatureException", Reason::SignatureIncomplete, Fault::Request, message);

    let mut parts = signed();
    set(&mut parts, "x-amz-invocation-type", "Event");
    let message = "'x-amz-invocation-type' must be a 'SignedHeader' in the AWS Authorization.";
    expect(&error(&parts), "InvalidSignatureException", Reason::SignatureIncomplete, Fault::Request, message);
    let lenient = Settings { unsigned_amz_headers: true, ..Settings::default() };
    assert_eq!(outcome_with(lenient, &parts, NOW), Ok(caller()));

    // What hops add is no x-amz- header.
    let mut parts = signed();
    set(&mut parts, "x-amzn-trace-id", "Root=1-5fa456b2-beda73b8340f62daf4d397fe");
    assert_eq!(outcome_with(Settings::default(), &parts, NOW), Ok(caller()));
}

#[test]
fn signed_headers_may_be_upper_case_but_not_too_many() {
    let mut parts = signed();
    edit(&mut parts, "SignedHeaders=host;", "SignedHeaders=Host;");
    assert_eq!(outcome_with(Settings::default(), &parts, NOW), Ok(caller()));
    edit(&mut parts, "SignedHeaders=Host;", &format!("SignedHeaders=host;{}", "a;".repeat(SIGNED_HEADERS_MAX)));
    let message = "Authorization header has more than 128 'SignedHeaders'.";
    expect(&error(&parts), "IncompleteSignatureException", Reason::SignatureIncomplete, Fault::Request, message);
}

#[test]
fn other_algorithms_are_refused_sigv4a_among_them() {
    let mut parts = signed();
    edit(&mut parts, "AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256");
    let message = "Unsupported AWS 'algorithm': 'AWS4-ECDSA-P256-SHA256' (only AWS4-HMAC-SHA256 for now). ";
    expect(&error(&parts), "IncompleteSignatureException", Reason::SignatureIncomplete, Fault::Request, message);
}

#[test]
fn a_credential_has_five_parts_and_may_end_with_slashes() {
    let mut parts = signed();
    edit(&mut parts, "aws4_request", "aws4_request//");
    assert_eq!(outcome_with(Settings::default(), &parts, NOW), Ok(caller()));
    edit(&mut parts, "/lambda", "");
    let message = "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got 'AKIAEXAMPLE/20150830/us-east-2/aws4_request//'";
    expect(&error(&parts), "IncompleteSignatureException", Reason::SignatureIncomplete, Fault::Request, message);
}

#[test]
fn each_fault_of_the_scope_is_named_and_all_of_them_together() {
    let region = "Credential should be scoped to a valid Region, not 'us-west-2'.";
    let service = "Credential should be scoped to correct service: 'lambda'.";
    let terminator = "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5'.";
    let date = "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20150829' != '20150830', from '20150830T123600Z'.";
    let all = [region, service, terminator, date].join(" ");
    let edits: [(&[(&str, &str)], &str); 5] = [
        (&[("us-east-2", "us-west-2")], region),
        (&[("/lambda/", "/s3/")], service),
        (&[("aws4_request", "aws5")], terminator),
        (&[("/20150830/", "/20150829/")], date),
        (
            &[("us-east-2", "us-west-2"), ("/lambda/", "/s3/"), ("aws4_request", "aws5"), ("/20150830/", "/20150829/")],
            &all,
        ),
    ];
    for (edits, message) in edits {
        let mut parts = signed();
        for (from, to) in edits {
            edit(&mut parts, from, to);
        }
        expect(&error(&parts), "InvalidSignatureException", Reason::SignatureIncomplete, Fault::Scope, message);
    }
}

#[test]
fn unknown_keys_and_wrong_tokens_get_one_answer() {
    let mut unknown = signed();
    edit(&mut unknown, "AKIAEXAMPLE", "AKIAUNKNOWN");
    let keyring = keyring();
    let temporary = keyring.find("ASIAEXAMPLE").unwrap();
    assert_eq!(outcome_with(Settings::default(), &signed_by(temporary, NOW), NOW), Ok(caller()));
    let missing = signed_by(&Credential::new("ASIAEXAMPLE", "secret", admin()), NOW);
    let different = signed_by(&temporary.clone().with_session("other", NOW), NOW);
    let unexpected = signed_by(&Credential::new("AKIAEXAMPLE", "secret", admin()).with_session(TOKEN, NOW), NOW);
    for (parts, fault) in
        [(missing, TokenFault::Missing), (different, TokenFault::Different), (unexpected, TokenFault::Unexpected)]
    {
        let error = error(&parts);
        assert_eq!(error, SigV4Error::BadSessionToken(fault));
        expect(&error, "UnrecognizedClientException", Reason::SignatureUnknownKey, Fault::Credentials, INVALID_TOKEN);
    }
    let error = error(&unknown);
    assert_eq!(error, SigV4Error::UnknownAccessKey { access_key_id: "AKIAUNKNOWN".to_owned() });
    expect(&error, "UnrecognizedClientException", Reason::SignatureUnknownKey, Fault::Credentials, INVALID_TOKEN);
}

#[test]
fn credentials_past_their_end_are_expired() {
    let parts = signed_by(keyring().find("ASIAEXPIRED").unwrap(), NOW);
    let message = "The security token included in the request is expired";
    expect(&error(&parts), "ExpiredTokenException", Reason::SignatureUnknownKey, Fault::Credentials, message);
}

#[test]
fn a_wrong_secret_gives_the_recorded_192_bytes() {
    let parts = signed_by(&Credential::new("AKIAEXAMPLE", "Secret", admin()), NOW);
    let error = error(&parts);
    expect(&error, "InvalidSignatureException", Reason::SignatureMismatch, Fault::Signature, MISMATCH);
    assert_eq!(error.body().len(), 192);
    for signature in ["Signature=ff", "Signature=zz"] {
        let mut parts = signed();
        edit(&mut parts, "Signature=", signature);
        assert_eq!(outcome_with(Settings::default(), &parts, NOW), Err(SigV4Error::SignatureMismatch));
    }
}

/// A request whose `X-Amz-Content-Sha256` is signed along.
fn with_content_hash(value: &str, signed_hash: &[u8; 32]) -> Parts {
    let (mut parts, ()) = http::Request::post("/").header("host", "h").body(()).unwrap().into_parts();
    set(&mut parts, "x-amz-content-sha256", value);
    sign(&mut parts, signed_hash, keyring().find("AKIAEXAMPLE").unwrap(), "us-east-2", "lambda", NOW).unwrap();
    parts
}

#[test]
fn a_declared_payload_hash_must_be_the_bodys() {
    let hash_of = |body: &[u8]| String::from_utf8(hex::emit(&sha256(body)).to_vec()).unwrap();
    let right = with_content_hash(&hash_of(b"{}"), &sha256(b"{}"));
    assert_eq!(outcome_with(Settings::default(), &right, NOW), Ok(caller()));
    // The declared hash is signed and fits the signature, but the body that came is another.
    for declared in [hash_of(b"other"), "nonsense".to_owned()] {
        let error = error(&with_content_hash(&declared, &sha256(b"other")));
        assert_eq!(error, SigV4Error::PayloadMismatch);
        expect(&error, "InvalidSignatureException", Reason::SignatureMismatch, Fault::Signature, MISMATCH);
    }
}

#[test]
fn payloads_that_are_not_signed_are_refused() {
    for declared in ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"] {
        let error = error(&with_content_hash(declared, &sha256(b"{}")));
        assert_eq!(error, SigV4Error::PayloadNotSigned { declared: declared.to_owned() });
        expect(&error, "InvalidSignatureException", Reason::SignatureMismatch, Fault::Request, MISMATCH);
    }
}

#[test]
fn unsigned_payload_is_a_setting() {
    let headers =
        [("host", &b"h"[..]), ("x-amz-content-sha256", b"UNSIGNED-PAYLOAD"), ("x-amz-date", SIGNED_AT.as_bytes())];
    let names = "host;x-amz-content-sha256;x-amz-date";
    let authorization = authorization_of(&RequestHead::new("PUT", b"/", b"", headers), names, b"UNSIGNED-PAYLOAD");
    let headers = [headers[0], headers[1], headers[2], ("authorization", authorization.as_bytes())];
    let settings = Settings { unsigned_payload: true, ..Settings::default() };
    let mut verifier = Verifier::with_settings("us-east-2", "lambda", settings);
    let pending = verifier.begin(&RequestHead::new("PUT", b"/", b"", headers), &keyring(), NOW).unwrap();
    assert_eq!(pending.finish(&sha256(b"anything")), Ok(caller()));
}

#[test]
fn a_presigned_query_names_its_missing_parts_and_excludes_a_header() {
    let presigned = Settings { presigned: true, ..Settings::default() };
    let (mut parts, ()) =
        http::Request::get("/?X-Amz-Algorithm&a=1").header("host", "h").body(()).unwrap().into_parts();
    let error = outcome_with(presigned, &parts, NOW).unwrap_err();
    let message = "AWS query-string parameters must include 'X-Amz-Algorithm'. AWS query-string parameters must include 'X-Amz-Credential'. AWS query-string parameters must include 'X-Amz-Signature'. AWS query-string parameters must include 'X-Amz-SignedHeaders'. AWS query-string parameters must include 'X-Amz-Date'. Re-examine the query-string parameters.";
    expect(&error, "IncompleteSignatureException", Reason::SignatureIncomplete, Fault::Request, message);
    assert_eq!(outcome_with(Settings::default(), &parts, NOW), Err(SigV4Error::NotSigned));

    set(&mut parts, "authorization", "AWS4-HMAC-SHA256");
    let message = "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.";
    for settings in [presigned, Settings::default()] {
        let error = outcome_with(settings, &parts, NOW).unwrap_err();
        expect(&error, "InvalidSignatureException", Reason::SignatureIncomplete, Fault::Request, message);
    }
}

#[test]
fn a_presigned_query_lasts_as_long_as_it_says() {
    let settings = Settings { presigned: true, ..Settings::default() };
    let case = |expires: &str, later: u64| {
        let query = format!(
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAEXAMPLE%2F20150830%2Fus-east-2%2Flambda%2Faws4_request&X-Amz-Date={SIGNED_AT}{expires}&X-Amz-SignedHeaders=host"
        );
        let headers = [("host", &b"h"[..])];
        let head = RequestHead::new("GET", b"/", query.as_bytes(), headers);
        let signature = signature_of(&head, "host", &hex::emit(&sha256(b"")));
        let query = format!("{query}&X-Amz-Signature={signature}");
        let head = RequestHead::new("GET", b"/", query.as_bytes(), headers);
        let mut verifier = Verifier::with_settings("us-east-2", "lambda", settings);
        verifier.begin(&head, &keyring(), UnixTime::from_secs(NOW.secs() + later))?.finish(&sha256(b""))
    };
    assert_eq!(case("&X-Amz-Expires=900", 900), Ok(caller()));
    assert_eq!(case("&X-Amz-Expires=604800", 604_800), Ok(caller()));
    assert_eq!(case("", 300), Ok(caller()));
    assert_eq!(case("&X-Amz-Expires=604801", 0), Err(SigV4Error::BadExpires));
    assert_eq!(case("&X-Amz-Expires=-1", 0), Err(SigV4Error::BadExpires));
    let error = case("&X-Amz-Expires=-1", 0).unwrap_err();
    let message = "X-Amz-Expires should be a number from 0 to 604800";
    expect(&error, "IncompleteSignatureException", Reason::SignatureIncomplete, Fault::Request, message);
    for (error, message) in [
        (
            case("&X-Amz-Expires=900", 901),
            "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T125101Z - 15 min.)",
        ),
        (
            case("&X-Amz-Expires=59", 60),
            "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T123700Z - 59 s.)",
        ),
        (
            case("", 301),
            "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T124101Z - 5 min.)",
        ),
    ] {
        expect(&error.unwrap_err(), "InvalidSignatureException", Reason::SignatureExpired, Fault::Clock, message);
    }
}

#[test]
fn the_first_fault_in_awss_order_is_reported() {
    // Every fault at once; each step mends the one that was reported.
    let mut parts = signed();
    set(&mut parts, "x-amz-date", "201");
    set(&mut parts, "x-amz-security-token", "none");
    edit(&mut parts, "AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA1 ");
    edit(&mut parts, "us-east-2", "us-west-2");
    edit(&mut parts, "AKIAEXAMPLE", "AKIAUNKNOWN");
    edit(&mut parts, "SignedHeaders=host", "SignedHeaders=");
    edit(&mut parts, "Signature=", "Signature=0");
    assert!(matches!(error(&parts), SigV4Error::BadDate { .. }));
    set(&mut parts, "x-amz-date", "20150830T000000Z");
    assert!(matches!(error(&parts), SigV4Error::Expired { .. }));
    set(&mut parts, "x-amz-date", SIGNED_AT);
    assert!(matches!(error(&parts), SigV4Error::HeaderNotSigned { name } if name == "host"));
    edit(&mut parts, "SignedHeaders=", "SignedHeaders=host;x-amz-security-token");
    assert!(matches!(error(&parts), SigV4Error::UnsupportedAlgorithm { .. }));
    edit(&mut parts, "AWS4-HMAC-SHA1 ", "AWS4-HMAC-SHA256 ");
    assert!(matches!(error(&parts), SigV4Error::WrongScope(_)));
    edit(&mut parts, "us-west-2", "us-east-2");
    assert!(matches!(error(&parts), SigV4Error::UnknownAccessKey { .. }));
    edit(&mut parts, "AKIAUNKNOWN", "AKIAEXAMPLE");
    assert!(matches!(error(&parts), SigV4Error::BadSessionToken(TokenFault::Unexpected)));
    parts.headers.remove("x-amz-security-token");
    assert!(matches!(error(&parts), SigV4Error::SignatureMismatch));
}

#[test]
fn signing_needs_a_host_and_a_printable_token() {
    let (mut parts, ()) = http::Request::get("/").body(()).unwrap().into_parts();
    let credential = Credential::new("AKIAEXAMPLE", "secret", admin());
    let outcome = sign(&mut parts, &sha256(b""), &credential, "us-east-2", "lambda", NOW);
    assert_eq!(outcome, Err(SignError::NoHost));
    let credential = credential.with_session("a\nb", NOW);
    set(&mut parts, "host", "h");
    assert_eq!(sign(&mut parts, &sha256(b""), &credential, "us-east-2", "lambda", NOW), Err(SignError::Token));
}
