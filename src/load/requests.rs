//! The requests of a run: written once, then only dated, numbered and signed.
//!
//! Every request that carries a small body carries a number, so that an answer proves which request it belongs to. Bodies
//! of uploads are made and hashed before the run.

use std::rc::Rc;

use http::Request;

use super::answer::Expected;
use crate::edge::{Fault, OrFault};
use crate::onprem::built_in::pattern;
use crate::sigv4::{self, Credential, Prepared};
use crate::time::UnixTime;

/// Digits of a request's number in its body.
const NUMBER: usize = 16;

/// Smallest payload that is echoed: a number in quotes.
pub const SMALLEST_ECHO: usize = NUMBER + 2;

/// What is sent, and what is to come back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exchange {
    /// A JSON string of this many bytes, numbered; the same comes back.
    Echo(usize),
    /// A JSON string of this many bytes; its length and CRC-32 come back, as the built-in function `sink` answers.
    Upload(usize),
    /// A short event; a JSON string of this many bytes comes back, as the built-in function `source` answers.
    Download(usize),
    /// A GET without a body; whatever comes back has the same length every time.
    Get,
}

/// Who signs, and for where.
#[derive(Clone, Debug)]
pub struct Signing {
    /// The access key.
    pub credential: Credential,
    /// `us-east-2`.
    pub region: String,
}

/// A request on its way, kept by its connection and used again for the next.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// The head, and the body if it is small.
    pub text: Vec<u8>,
    body_at: usize,
    /// A large body, sent behind the text.
    pub body: Option<Rc<Body>>,
}

/// A body made before the run.
#[derive(Debug)]
pub struct Body {
    /// What is sent.
    pub bytes: Vec<u8>,
    sha256: [u8; 32],
    /// What `sink` answers.
    answer: Vec<u8>,
}

impl Outgoing {
    /// Bytes of the body that is sent.
    pub fn body_len(&self) -> usize {
        self.body.as_ref().map_or(self.text.len() - self.body_at, |body| body.bytes.len())
    }
}

/// Writes requests.
#[derive(Debug)]
pub struct Requests {
    exchange: Exchange,
    /// From the request line to the date's value.
    start: Vec<u8>,
    /// Behind the signature, to the end of the head.
    end: Vec<u8>,
    signer: Option<Prepared>,
    bodies: Vec<Rc<Body>>,
    /// The small body; its number is overwritten.
    small: Vec<u8>,
    number: u64,
}

impl Requests {
    /// Requests to `path` at the host called `name`. `close`: each asks the server to close the connection behind it.
    ///
    /// # Errors
    /// When path or name cannot stand in a request.
    pub fn new(
        name: &str,
        path: &str,
        exchange: Exchange,
        signing: Option<Signing>,
        close: bool,
    ) -> Result<Self, Fault> {
        let method = if exchange == Exchange::Get { "GET" } else { "POST" };
        let request = Request::builder().method(method).uri(path).header("host", name);
        let request = request.header("content-type", "application/json").body(()).or_fault(|| "not a path")?;
        let (mut parts, ()) = request.into_parts();
        let signer = signing
            .map(|signing| Prepared::new(signing.credential, &signing.region, "lambda", &mut parts))
            .transpose()
            .or_fault(|| "requests cannot be signed")?;
        let mut start = format!("{method} {path} HTTP/1.1\r\n").into_bytes();
        for (header, value) in parts.headers.iter().filter(|(header, _)| *header != "x-amz-date") {
            start.extend_from_slice(format!("{header}: ").as_bytes());
            start.extend_from_slice(value.as_bytes());
            start.extend_from_slice(b"\r\n");
        }
        let (mut bodies, mut small) = (Vec::new(), Vec::new());
        match exchange {
            Exchange::Echo(length) => {
                small = vec![b'0'; NUMBER + 1];
                small[0] = b'"';
                small.extend(pattern().take(length.saturating_sub(SMALLEST_ECHO)));
                small.push(b'"');
            }
            // Two bodies: an answer that belongs to the other one is noticed.
            Exchange::Upload(length) => bodies = vec![body(length, 0), body(length, 1)],
            Exchange::Download(length) => small = format!("{{\"bytes\":{length}}}").into_bytes(),
            Exchange::Get => {}
        }
        let length = bodies.first().map_or(small.len(), |body: &Rc<Body>| body.bytes.len());
        let mut end = format!("user-agent: vpce/{}\r\n", env!("CARGO_PKG_VERSION"));
        if exchange != Exchange::Get {
            end.push_str(&format!("content-length: {length}\r\n"));
        }
        if close {
            end.push_str("connection: close\r\n");
        }
        end.push_str("\r\n");
        Ok(Self { exchange, start, end: end.into_bytes(), signer, bodies, small, number: 0 })
    }

    /// Writes the next request over `out`.
    pub fn write(&mut self, out: &mut Outgoing, now: UnixTime) {
        self.number += 1;
        if let Exchange::Echo(_) = self.exchange {
            let mut rest = self.number;
            for digit in self.small[1..=NUMBER].iter_mut().rev() {
                *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
                rest /= 10;
            }
        }
        out.body = match usize::try_from(self.number) {
            Ok(number) if !self.bodies.is_empty() => Some(Rc::clone(&self.bodies[number % self.bodies.len()])),
            _ => None,
        };
        out.text.clear();
        out.text.extend_from_slice(&self.start);
        if let Some(signer) = &mut self.signer {
            let hash = out.body.as_ref().map_or_else(|| sigv4::sha256(&self.small), |body| body.sha256);
            let stamp = signer.sign(&hash, now);
            for part in ["x-amz-date: ", stamp.date, "\r\nauthorization: ", stamp.prefix] {
                out.text.extend_from_slice(part.as_bytes());
            }
            out.text.extend_from_slice(&stamp.signature);
            out.text.extend_from_slice(b"\r\n");
        }
        out.text.extend_from_slice(&self.end);
        out.body_at = out.text.len();
        out.text.extend_from_slice(&self.small);
    }

    /// The exchange.
    pub fn exchange(&self) -> Exchange {
        self.exchange
    }
}

impl Exchange {
    /// What the answer to this request must be. `length`: that of the first answer, for exchanges that only compare that.
    pub fn expected<'a>(&self, request: &'a Outgoing, length: Option<usize>) -> Expected<'a> {
        match (self, &request.body) {
            (Self::Upload(_), Some(body)) => Expected::Bytes(&body.answer),
            (Self::Download(length), _) => Expected::Pattern(*length),
            (Self::Get, _) => Expected::Length(length),
            _ => Expected::Bytes(&request.text[request.body_at..]),
        }
    }
}

impl std::fmt::Display for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Echo(length) => write!(f, "echo of {length} bytes"),
            Self::Upload(length) => write!(f, "upload of {length} bytes"),
            Self::Download(length) => write!(f, "download of {length} bytes"),
            Self::Get => f.write_str("get"),
        }
    }
}

/// A JSON string of `length` bytes, different for each `variant`.
fn body(length: usize, variant: usize) -> Rc<Body> {
    let mut bytes = Vec::with_capacity(length);
    bytes.push(b'"');
    bytes.extend(pattern().skip(variant).take(length.saturating_sub(2)));
    bytes.push(b'"');
    let answer = format!("{{\"bytes\":{},\"crc32\":\"{:08x}\"}}", bytes.len(), crc32fast::hash(&bytes));
    Rc::new(Body { sha256: sigv4::sha256(&bytes), answer: answer.into_bytes(), bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sigv4::Principal;

    fn requests(exchange: Exchange, close: bool) -> Requests {
        let principal = Principal::from_arn("arn:aws:iam::123456789012:user/Admin").expect("an ARN");
        let credential = Credential::new("AKIDEXAMPLE", "secret", std::sync::Arc::new(principal));
        let signing = Signing { credential, region: "us-east-2".to_owned() };
        Requests::new(
            "lambda.us-east-2.amazonaws.com",
            "/2015-03-31/functions/echo/invocations",
            exchange,
            Some(signing),
            close,
        )
        .expect("sound")
    }

    fn text(out: &Outgoing) -> String {
        String::from_utf8(out.text.clone()).expect("text")
    }

    #[test]
    fn each_request_is_numbered_signed_for_its_own_body_and_of_the_size_asked_for() {
        let mut requests = requests(Exchange::Echo(128), false);
        let (mut first, mut second) = (Outgoing::default(), Outgoing::default());
        let now = UnixTime::from_secs(1_700_000_000);
        requests.write(&mut first, now);
        requests.write(&mut second, now);
        let signature = |out: &Outgoing| text(out).split_once("Signature=").expect("signed").1[..64].to_owned();
        assert_ne!(signature(&first), signature(&second));
        let (head, body) =
            text(&first).split_once("\r\n\r\n").map(|(h, b)| (h.to_owned(), b.to_owned())).expect("a body");
        assert!(head.contains("\r\ncontent-length: 128\r\n") || head.ends_with("\r\ncontent-length: 128"), "{head}");
        assert!(head.contains("\r\nx-amz-date: 20231114T221320Z\r\n"), "{head}");
        assert!(body.starts_with("\"0000000000000001") && body.ends_with('"'), "{body}");
        assert_eq!((body.len(), first.body_len()), (128, 128));
        let Expected::Bytes(expected) = Exchange::Echo(128).expected(&first, None) else { panic!("bytes") };
        assert_eq!(expected, body.as_bytes());
    }

    #[test]
    fn uploads_alternate_between_bodies_that_were_made_before() {
        let mut requests = requests(Exchange::Upload(1000), true);
        let mut out = Outgoing::default();
        let mut answers = Vec::new();
        for _ in 0..3 {
            requests.write(&mut out, UnixTime::from_secs(1));
            let Expected::Bytes(answer) = Exchange::Upload(1000).expected(&out, None) else { panic!("bytes") };
            answers.push(String::from_utf8_lossy(answer).into_owned());
            assert_eq!(out.body_len(), 1000);
            assert!(text(&out).ends_with("connection: close\r\n\r\n"));
        }
        assert_ne!(answers[0], answers[1]);
        assert_eq!(answers[0], answers[2]);
        assert!(answers[0].starts_with("{\"bytes\":1000,\"crc32\":\""), "{}", answers[0]);
    }
}
