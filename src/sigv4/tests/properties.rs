//! What holds for every request: a change is noticed, and no bytes make the verifier panic.

use proptest::prelude::*;

use super::*;

fn keyring() -> Keyring {
    Keyring::new([Credential::new("AKIAEXAMPLE", "secret", admin())]).unwrap()
}

/// A request whose every piece may be changed.
#[derive(Clone, Debug)]
struct Pieces {
    method: String,
    path: Vec<u8>,
    query: Vec<u8>,
    headers: [(&'static str, Vec<u8>); 5],
    body: Vec<u8>,
}

const NAMES: &str = "a;host;x-amz-client-context;x-amz-date";

fn pieces() -> impl Strategy<Value = Pieces> {
    let path = "/[a-zA-F0-9/.%:~ é]{0,24}";
    let query = "[a-c24F%=&+:;é]{0,24}";
    let value = "[ -~\t]{0,16}";
    let body = prop::collection::vec(any::<u8>(), 0..64);
    ("GET|POST|PUT", path, query, value, value, value, body).prop_map(|(method, path, query, a, b, context, body)| {
        let headers = [
            ("host", b"lambda.us-east-2.amazonaws.com".to_vec()),
            ("a", a.into_bytes()),
            ("x-amz-date", SIGNED_AT.as_bytes().to_vec()),
            ("x-amz-client-context", context.into_bytes()),
            ("a", b.into_bytes()),
        ];
        Pieces { method, path: path.into_bytes(), query: query.into_bytes(), headers, body }
    })
}

impl Pieces {
    fn verify(&self, authorization: &str) -> Result<Rc<Principal>, SigV4Error> {
        let mut headers: Vec<(&str, &[u8])> = self.headers.iter().map(|(n, v)| (*n, v.as_slice())).collect();
        headers.push(("authorization", authorization.as_bytes()));
        let head = RequestHead::new(&self.method, &self.path, &self.query, headers.iter().copied());
        Verifier::new("us-east-2", "lambda").begin(&head, &keyring(), NOW)?.finish(&sha256(&self.body))
    }

    fn authorization(&self) -> String {
        let headers: Vec<(&str, &[u8])> = self.headers.iter().map(|(n, v)| (*n, v.as_slice())).collect();
        let head = RequestHead::new(&self.method, &self.path, &self.query, headers.iter().copied());
        authorization_of(&head, NAMES, &hex::emit(&sha256(&self.body)))
    }

    /// What the request means, read apart from the code under test: two requests of one meaning may share a signature.
    fn meaning(&self) -> impl PartialEq + std::fmt::Debug {
        let mut segments: Vec<&[u8]> = Vec::new();
        for segment in self.path.split(|c| *c == b'/') {
            match segment {
                b"" | b"." => {}
                b".." => drop(segments.pop()),
                other => segments.push(other),
            }
        }
        let slash = segments.is_empty() || self.path.last() == Some(&b'/');
        let segments: Vec<Vec<u8>> = segments.into_iter().map(<[u8]>::to_vec).collect();
        let decode = |bytes: &[u8]| percent_encoding::percent_decode(bytes).collect::<Vec<u8>>();
        let mut parameters: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for pair in self.query.split(|c| *c == b'&').filter(|pair| !pair.is_empty()) {
            let mut halves = pair.splitn(2, |c| *c == b'=');
            parameters.push((decode(halves.next().unwrap()), decode(halves.next().unwrap_or_default())));
        }
        parameters.sort();
        let words = |value: &[u8]| {
            let words = value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
            words.collect::<Vec<_>>().join(&b' ')
        };
        let headers: Vec<Vec<u8>> = self.headers.iter().map(|(_, value)| words(value)).collect();
        (self.method.clone(), (segments, slash), parameters, headers, self.body.clone())
    }

    /// The piece a test changes.
    fn piece(&mut self, which: usize) -> &mut Vec<u8> {
        match which {
            0 => &mut self.path,
            1 => &mut self.query,
            2 => &mut self.body,
            n => &mut self.headers[(n - 3) % 5].1,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_request_is_verified_exactly_while_it_means_what_was_signed(
        request in pieces(),
        which in 0_usize..8,
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        alike in prop::sample::select(b"/.%&=+ ".to_vec()),
        nasty in any::<bool>(),
    ) {
        let authorization = request.authorization();
        prop_assert_eq!(request.verify(&authorization), Ok(caller()));
        let mut changed = request.clone();
        let piece = changed.piece(which);
        if piece.is_empty() {
            piece.push(byte);
        } else {
            let at = at.index(piece.len());
            piece[at] = if nasty { alike } else { byte };
        }
        let is_same = changed.meaning() == request.meaning();
        prop_assert_eq!(changed.verify(&authorization).is_ok(), is_same, "{:?}", changed);
    }

    #[test]
    fn another_method_and_any_change_to_the_signature_are_refused(
        request in pieces(),
        at in 0_usize..64,
        digit in prop::sample::select(b"0123456789abcdefABCDEF g".to_vec()),
    ) {
        let authorization = request.authorization();
        let mut other = request.clone();
        other.method = "PATCH".to_owned();
        prop_assert_eq!(other.verify(&authorization), Err(SigV4Error::SignatureMismatch));
        let mut forged = authorization.into_bytes();
        let at = forged.len() - 64 + at;
        if forged[at] != digit {
            forged[at] = digit;
            prop_assert!(request.verify(str::from_utf8(&forged).unwrap()).is_err());
        }
    }

    #[test]
    fn a_body_hashes_alike_however_it_is_cut(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..5),
    ) {
        let mut hash = BodyHash::new();
        pieces.iter().for_each(|piece| hash.update(piece));
        prop_assert_eq!(hash.finish(), sha256(&pieces.concat()));
    }

    #[test]
    fn no_bytes_make_the_verifier_panic(
        method in "[A-Z]{0,4}",
        path in prop::collection::vec(any::<u8>(), 0..48),
        query in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..48),
            "(X-Amz-(Algorithm|Credential|Date|SignedHeaders|Signature|Expires|Security-Token)=?[a-z0-9%/;-]{0,8}&?){0,9}".prop_map(String::into_bytes),
        ],
        authorization in prop::option::of(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..96),
            "AWS4-HMAC-SHA256 ?((Credential|SignedHeaders|Signature)?=?(AKIAEXAMPLE/20150830/us-east-2/lambda/aws4_request|host;?|[a-f0-9]{0,70})[, ]{0,2}){0,5}".prop_map(String::into_bytes),
        ]),
        date in prop_oneof![Just(SIGNED_AT.as_bytes().to_vec()), prop::collection::vec(any::<u8>(), 0..32)],
        extra in prop::collection::vec(any::<u8>(), 0..80),
        token in prop::option::of(prop::collection::vec(any::<u8>(), 0..16)),
    ) {
        let mut headers: Vec<(&str, &[u8])> = vec![("host", b"h"), ("x-amz-date", &date), ("x-amz-content-sha256", &extra)];
        headers.extend(authorization.as_deref().map(|value| ("authorization", value)));
        headers.extend(token.as_deref().map(|value| ("x-amz-security-token", value)));
        let head = RequestHead::new(&method, &path, &query, headers);
        let settings = Settings { presigned: true, unsigned_amz_headers: true, unsigned_payload: true, ..Settings::default() };
        let outcome = Verifier::with_settings("us-east-2", "lambda", settings).begin(&head, &keyring(), NOW);
        let error = match outcome {
            Ok(pending) => pending.finish(&[0; 32]).unwrap_err(),
            Err(error) => error,
        };
        // Whatever came, the answer is JSON that says why.
        let body: serde_json::Value = serde_json::from_str(&error.body()).unwrap();
        let message = error.message();
        prop_assert_eq!(body["message"].as_str(), Some(message.as_str()));
        prop_assert!(error.body().len() < 40_000);
    }
}

/// Signs a `GET /` with `secret` and verifies it.
fn attempt(verifier: &mut Verifier, keyring: &Keyring, id: &str, secret: &str, now: UnixTime) -> bool {
    let (mut parts, ()) = http::Request::get("/").header("host", "h").body(()).unwrap().into_parts();
    let credential = Credential::new(id, secret, admin());
    sign(&mut parts, &sha256(b""), &credential, "us-east-2", "lambda", now).unwrap();
    let pending = verifier.begin(&RequestHead::from_parts(&parts), keyring, now).unwrap();
    pending.finish(&sha256(b"")).is_ok()
}

#[test]
fn a_new_keyring_ends_the_old_secret_at_once() {
    let mut verifier = Verifier::new("us-east-2", "lambda");
    let old = Keyring::new([Credential::new("AKIA1", "old", admin())]).unwrap();
    let new = Keyring::new([Credential::new("AKIA1", "new", admin())]).unwrap();
    assert!(attempt(&mut verifier, &old, "AKIA1", "old", NOW));
    assert!(!attempt(&mut verifier, &new, "AKIA1", "old", NOW));
    assert!(attempt(&mut verifier, &new, "AKIA1", "new", NOW));
    assert!(!attempt(&mut verifier, &old.clone(), "AKIA1", "new", NOW));
}

#[test]
fn one_signing_key_is_kept_per_access_key_and_day() {
    let mut verifier = Verifier::new("us-east-2", "lambda");
    let keyring = Keyring::new(["AKIA1", "AKIA2"].map(|id| Credential::new(id, "secret", admin()))).unwrap();
    let tomorrow = UnixTime::from_secs(NOW.secs() + 86_400);
    for (id, now, kept) in
        [("AKIA1", NOW, 1), ("AKIA1", NOW, 1), ("AKIA2", NOW, 2), ("AKIA1", tomorrow, 3), ("AKIA1", NOW, 3)]
    {
        assert!(attempt(&mut verifier, &keyring, id, "secret", now));
        assert_eq!(verifier.cached_keys(), kept, "{id} {now:?}");
    }
}

#[test]
fn the_cache_of_signing_keys_never_exceeds_its_limit() {
    let keyring = keyring();
    let mut cache = signing_key::KeyCache::default();
    let key = || signing_key::SigningKey::derive("secret", "20150830", "us-east-2", "lambda");
    for place in 0..=u32::try_from(SIGNING_KEYS_MAX).unwrap() {
        let _kept = cache.key(&keyring, place, 20_150_830, key);
        assert!(cache.len() <= SIGNING_KEYS_MAX);
    }
    assert_eq!(cache.len(), 1);
}
