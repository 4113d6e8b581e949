//! What a request says about its own signature: the Authorization header, or a presigned query.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::canonical::query_pairs;
use super::error::SigV4Error;
use super::error_details::{Echo, MissingParts, excerpt};
use super::head::{Notable, RequestHead};

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
    /// Reads the claim, from wherever it is. `authorization` is the header of that name, as [`lossy`] text.
    pub(super) fn parse<'h: 'a>(
        head: &RequestHead<'h>,
        notable: &Notable<'h>,
        authorization: Option<&'a str>,
        accept_presigned: bool,
        hash_echo: bool,
    ) -> Result<Self, SigV4Error> {
        let has_query = is_presigned(head.query());
        match authorization {
            Some(_) if has_query => Err(SigV4Error::SignedTwice),
            Some(text) => Self::from_header(notable, text.trim_ascii(), hash_echo),
            None if has_query && accept_presigned => Self::from_query(head),
            None => Err(SigV4Error::NotSigned),
        }
    }

    fn from_header<'h: 'a>(notable: &Notable<'h>, header: &'a str, hash_echo: bool) -> Result<Self, SigV4Error> {
        let (algorithm, rest) = header.split_at(header.find(|c: char| c.is_ascii_whitespace()).unwrap_or(header.len()));
        let [mut credential, mut signed_headers, mut signature] = [None; 3];
        for pair in pairs(rest) {
            let Some((name, value)) = pair.split_once('=') else {
                let (pair, authorization) = (Echo::new(pair, hash_echo), Echo::new(header, hash_echo));
                return Err(SigV4Error::NotAPair { pair, authorization });
            };
            match name {
                "Credential" => credential = Some(value),
                "SignedHeaders" => signed_headers = Some(value),
                "Signature" => signature = Some(value),
                _ => {}
            }
        }
        let date = notable.amz_date.or(notable.date);
        // An empty SignedHeaders is there, though it signs nothing; the host check answers it.
        let some = |part: Option<&'a str>| part.filter(|text| !text.is_empty());
        match (some(credential), some(signature), signed_headers, date) {
            (Some(credential), Some(signature), Some(signed_headers), Some(date)) => Ok(Self {
                algorithm: algorithm.into(),
                credential: credential.into(),
                signed_headers: signed_headers.into(),
                signature: signature.into(),
                date: date.into(),
                token: notable.token.map(Cow::Borrowed),
                expires: None,
            }),
            (credential, signature, signed_headers, date) => {
                let missing = MissingParts {
                    algorithm: false,
                    credential: credential.is_none(),
                    signature: signature.is_none(),
                    signed_headers: signed_headers.is_none(),
                    date: date.is_none(),
                };
                Err(SigV4Error::IncompleteHeader { missing, authorization: Echo::new(header, hash_echo) })
            }
        }
    }

    fn from_query<'h: 'a>(head: &RequestHead<'h>) -> Result<Self, SigV4Error> {
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

/// Whether a query claims a signature.
#[inline]
pub(super) fn is_presigned(query: &[u8]) -> bool {
    !query.is_empty() && query_pairs(query).any(|(name, _)| name == b"X-Amz-Algorithm")
}

/// The parts of an Authorization header: AWS takes commas, blanks or both between them.
fn pairs(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').flat_map(|part| {
        let part = part.trim_ascii();
        // Nearly always there is no blank inside: then the part is the pair, and needs no walk byte by byte.
        let has_blank = part.bytes().fold(false, |found, c| found | c.is_ascii_whitespace());
        let (pair, rest) = if has_blank { ("", part) } else { (part, "") };
        std::iter::once(pair).chain(rest.split_ascii_whitespace()).filter(|pair| !pair.is_empty())
    })
}

/// Bytes as text. What is not UTF-8 can match nothing, but can be shown.
pub(super) fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

fn text(bytes: Cow<'_, [u8]>) -> Cow<'_, str> {
    match bytes {
        Cow::Borrowed(bytes) => lossy(bytes),
        Cow::Owned(bytes) => Cow::Owned(lossy(&bytes).into_owned()),
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
