//! Tests of the stage as a whole: AWS's vectors, real clients' requests, every error text, and arbitrary input.

mod clients;
mod errors;
mod properties;
mod repeated;
mod vectors;

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::*;
use crate::time::UnixTime;

/// AWS's documentation examples.
const SUITE_KEY: &str = "AKIDEXAMPLE";
const SUITE_SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

fn data(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sigv4").join(folder)
}

/// `admin`, as verification names it.
fn caller() -> Rc<Principal> {
    Rc::new(Principal::clone(&admin()))
}

fn admin() -> Arc<Principal> {
    Arc::new(Principal::from_arn("arn:aws:iam::123456789012:user/Admin").unwrap())
}

/// When [`signature_of`] signs: 2015-08-30T12:36:00Z, as `NOW` is.
const SIGNED_AT: &str = "20150830T123600Z";
const NOW: UnixTime = UnixTime::from_secs(1_440_938_160);

/// The signature of a request by the secret `secret`, for what [`sign`] does not write.
fn signature_of(head: &RequestHead<'_>, names: &str, payload: &[u8]) -> String {
    let signed = authorization::SignedHeaders::parse(names).unwrap();
    let mut canonical = canonical::Scratch::default().canonical_request(head, &signed).to_vec();
    canonical.extend_from_slice(payload);
    let key = signing_key::SigningKey::derive("secret", "20150830", "us-east-2", "lambda");
    String::from_utf8(hex::emit(&key.sign(SIGNED_AT.as_bytes().try_into().unwrap(), &sha256(&canonical))).to_vec())
        .unwrap()
}

/// The Authorization header with that signature, of access key `AKIAEXAMPLE`.
fn authorization_of(head: &RequestHead<'_>, names: &str, payload: &[u8]) -> String {
    let credential = "AKIAEXAMPLE/20150830/us-east-2/lambda/aws4_request";
    let signature = signature_of(head, names, payload);
    format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}")
}

/// A request as text, taken apart with as little reading as possible: the vectors hold what no HTTP parser takes.
struct RawRequest {
    method: String,
    path: Vec<u8>,
    query: Vec<u8>,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl RawRequest {
    fn parse(text: &[u8]) -> Self {
        let text = String::from_utf8(text.to_vec()).unwrap().replace("\r\n", "\n");
        let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
        let (line, rest) = head.split_once('\n').unwrap_or((head, ""));
        let (method, target) = line.split_once(' ').unwrap();
        let target = target.strip_suffix(" HTTP/1.1").unwrap_or(target);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers: Vec<(String, Vec<u8>)> = Vec::new();
        for line in rest.lines().filter(|line| !line.is_empty()) {
            if line.starts_with(' ') {
                let last = &mut headers.last_mut().unwrap().1;
                last.push(b'\n');
                last.extend_from_slice(line.as_bytes());
            } else {
                let (name, value) = line.split_once(':').unwrap();
                headers.push((name.to_ascii_lowercase(), value.as_bytes().to_vec()));
            }
        }
        let (method, body) = (method.to_owned(), body.as_bytes().to_vec());
        Self { method, path: path.into(), query: query.into(), headers, body }
    }

    fn read(path: &Path) -> Self {
        Self::parse(&std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| str::from_utf8(value).unwrap().trim())
    }

    /// Verifies it, both phases.
    fn verify(&self, verifier: &mut Verifier, keyring: &Keyring, now: UnixTime) -> Result<Rc<Principal>, SigV4Error> {
        let headers: Vec<(&str, &[u8])> = self.headers.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
        let head = RequestHead::new(&self.method, &self.path, &self.query, headers.iter().copied());
        verifier.begin(&head, keyring, now)?.finish(&sha256(&self.body))
    }

    /// The canonical request, with its last line.
    fn canonical(&self, signed: &str) -> String {
        let headers: Vec<(&str, &[u8])> = self.headers.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
        let head = RequestHead::new(&self.method, &self.path, &self.query, headers.iter().copied());
        let signed = authorization::SignedHeaders::parse(signed).unwrap();
        let mut scratch = canonical::Scratch::default();
        let text = String::from_utf8(scratch.canonical_request(&head, &signed).to_vec()).unwrap();
        text + str::from_utf8(&hex::emit(&sha256(&self.body))).unwrap()
    }
}
