//! What a request says about its own signature: the Authorization header, or a presigned query.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::canonical::query_pairs;
use super::error::SigV4Error;
use super::error_details::{Echo, MissingParts, excerpt};
use super::head::RequestHead;

/// Most names in `SignedHeaders`. Real clients sign fewer than twenty headers.
pub const SIGNED_HEADERS_MAX: usize = 128;

/// The unverified claim of a signature.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    pub(super) algorithm: Cow<'a, str>,
    pub(super) credential: Cow<'a, str>,
    pub(super) signed_headers: Cow<'a, str>,
    pub(super) signature: Cow<'a, str>,
    pub(super) date: Cow<'a, [u8]>,
    pub(super) token: Option<Cow<'a, [u8]>>,
    /// For a presigned query, the text of `X-Amz-Expires` if there is one.
    pub(super) expires: Option<Cow<'a, str>>,
}

impl<'a> Claim<'a> {
    /// Reads the claim, from wherever it is.
    pub(super) fn parse(head: &RequestHead<'a>, accept_presigned: bool, hash_echo: bool) -> Result<Self, SigV4Error> {
        let has_query = !head.query().is_empty() && query_pairs(head.query()).any(|(n, _)| n == b"X-Amz-Algorithm");
        match head.first("authorization") {
            Some(_) if has_query => Err(SigV4Error::SignedTwice),
            Some(value) => Self::from_header(head, value, hash_echo),
            None if has_query && accept_presigned => Self::from_query(head),
            None => Err(SigV4Error::NotSigned),
        }
    }

    fn from_header(head: &RequestHead<'a>, value: &'a [u8], hash_echo: bool) -> Result<Self, SigV4Error> {
        let value = value.trim_ascii();
        let at = value.iter().position(u8::is_ascii_whitespace).unwrap_or(value.len());
        let (algorithm, rest) = value.split_at(at);
        let [mut credential, mut signed_headers, mut signature] = [None; 3];
        for pair in rest.split(|&c| c == b',' || c.is_ascii_whitespace()).filter(|pair| !pair.is_empty()) {
            let Some(equals) = pair.iter().position(|&c| c == b'=') else {
                let text = String::from_utf8_lossy(value);
                let pair = Echo::new(&String::from_utf8_lossy(pair), hash_echo);
                return Err(SigV4Error::NotAPair { pair, authorization: Echo::new(&text, hash_echo) });
            };
            let part = Some(&pair[equals + 1..]);
            match &pair[..equals] {
                b"Credential" => credential = part,
                b"SignedHeaders" => signed_headers = part,
                b"Signature" => signature = part,
                _ => {}
            }
        }
        let date = head.first("x-amz-date").or_else(|| head.first("date"));
        // An empty SignedHeaders is there, though it signs nothing; the host check answers it.
        let some = |part: Option<&'a [u8]>| part.filter(|text| !text.is_empty());
        if let (Some(credential), Some(signature), Some(signed_headers), Some(date)) =
            (some(credential), some(signature), signed_headers, date)
        {
            let token = head.first("x-amz-security-token").map(Cow::Borrowed);
            return Ok(Self {
                algorithm: String::from_utf8_lossy(algorithm),
                credential: String::from_utf8_lossy(credential),
                signed_headers: String::from_utf8_lossy(signed_headers),
                signature: String::from_utf8_lossy(signature),
                date: Cow::Borrowed(date),
                token,
                expires: None,
            });
        }
        let missing = MissingParts {
            algorithm: false,
            credential: some(credential).is_none(),
            signature: some(signature).is_none(),
            signed_headers: signed_headers.is_none(),
            date: date.is_none(),
        };
        let authorization = Echo::new(&String::from_utf8_lossy(value), hash_echo);
        Err(SigV4Error::IncompleteHeader { missing, authorization })
    }

    fn from_query(head: &RequestHead<'a>) -> Result<Self, SigV4Error> {
        let [mut algorithm, mut credential, mut signed_headers, mut signature, mut date, mut token, mut expires] =
            [const { None }; 7];
        for (name, value) in query_pairs(head.query()) {
            let slot = match name {
                b"X-Amz-Algorithm" => &mut algorithm,
                b"X-Amz-Credential" => &mut credential,
                b"X-Amz-SignedHeaders" => &mut signed_headers,
                b"X-Amz-Signature" => &mut signature,
                b"X-Amz-Date" => &mut date,
                b"X-Amz-Security-Token" => &mut token,
                b"X-Amz-Expires" => &mut expires,
                _ => continue,
            };
            *slot = Some(Cow::from(percent_encoding::percent_decode(value))).filter(|value| !value.is_empty());
        }
        let missing = MissingParts {
            algorithm: algorithm.is_none(),
            credential: credential.is_none(),
            signature: signature.is_none(),
            signed_headers: signed_headers.is_none(),
            date: date.is_none(),
        };
        match (algorithm, credential, signed_headers, signature, date) {
            (Some(algorithm), Some(credential), Some(signed_headers), Some(signature), Some(date)) => Ok(Self {
                algorithm: text(algorithm),
                credential: text(credential),
                signed_headers: text(signed_headers),
                signature: text(signature),
                date,
                token,
                expires: expires.map(text),
            }),
            _ => Err(SigV4Error::IncompleteQuery { missing }),
        }
    }
}

/// Bytes as text; what is not UTF-8 can match nothing, but can be shown.
fn text(bytes: Cow<'_, [u8]>) -> Cow<'_, str> {
    match bytes {
        Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

/// A credential with its scope: `AKIA…/20150830/us-east-2/lambda/aws4_request`.
#[derive(Debug)]
pub(super) struct ScopedCredential<'a> {
    pub(super) access_key_id: &'a str,
    pub(super) day: &'a str,
    pub(super) region: &'a str,
    pub(super) service: &'a str,
    pub(super) terminator: &'a str,
}

impl<'a> ScopedCredential<'a> {
    /// Five parts; slashes at the end do not count.
    pub(super) fn parse(text: &'a str) -> Result<Self, SigV4Error> {
        let mut parts = text.trim_end_matches('/').split('/');
        let mut next = || parts.next();
        match (next(), next(), next(), next(), next(), next()) {
            (Some(access_key_id), Some(day), Some(region), Some(service), Some(terminator), None) => {
                Ok(Self { access_key_id, day, region, service, terminator })
            }
            _ => Err(SigV4Error::BadCredential { got: excerpt(text) }),
        }
    }
}

/// The names in `SignedHeaders`, sorted.
#[derive(Debug)]
pub(super) struct SignedHeaders<'a>(SmallVec<[&'a str; 16]>);

impl<'a> SignedHeaders<'a> {
    /// Reads `a;b;c`, already in lower case. An unsorted list is sorted, as the canonical request demands; whoever
    /// signed it unsorted gets a mismatch.
    pub(super) fn parse(text: &'a str) -> Result<Self, SigV4Error> {
        let mut names = SmallVec::new();
        for name in text.split(';').filter(|name| !name.is_empty()) {
            if names.len() == SIGNED_HEADERS_MAX {
                return Err(SigV4Error::TooManySignedHeaders);
            }
            names.push(name);
        }
        if !names.is_sorted() {
            names.sort_unstable();
        }
        Ok(Self(names))
    }

    /// Names that are already sorted.
    pub(super) fn from_sorted(names: SmallVec<[&'a str; 16]>) -> Self {
        debug_assert!(names.is_sorted());
        Self(names)
    }

    /// The names.
    pub(super) fn names(&self) -> &[&'a str] {
        &self.0
    }

    /// Whether this header is signed.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.binary_search(&name).is_ok()
    }
}
