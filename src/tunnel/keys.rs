//! Keys of the tunnel's security associations: one pair per endpoint worker, fresh for each lab.
//!
//! A worker's pair is its own, so sequence numbers and nonces are never shared between threads. The text form is what the
//! lab hands to both ends; whoever stores it makes the file readable by its owner alone. Keys are wiped when dropped and
//! never printed; parsing goes through a TOML library whose temporary copies are not wiped.

use std::collections::HashSet;
use std::fmt::{self, Write as _};
use std::num::NonZeroUsize;

use serde::Deserialize;
use zeroize::{Zeroize, Zeroizing};

/// AES-256.
const KEY_LEN: usize = 32;
/// RFC 4106 §4.
const SALT_LEN: usize = 4;
/// SPIs below are reserved (RFC 4303 §2.1).
const SPI_MIN: u32 = 256;
/// Pairs a tunnel may have: more than any machine has workers here.
pub const PAIRS_LIMIT: usize = 256;

/// Why a text holds no usable keys. Messages never quote the text.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeysError {
    /// Not TOML of the expected form.
    #[error("the tunnel keys are not in the expected form: {0}; make new ones")]
    Syntax(String),
    /// None at all, or more than [`PAIRS_LIMIT`].
    #[error("the tunnel keys hold {0} pairs, but there must be 1 to {PAIRS_LIMIT}")]
    Count(usize),
    /// A field that is not the right number of hexadecimal digits.
    #[error("worker {worker}: {direction}.{field} must be {digits} hexadecimal digits")]
    Hex {
        /// Place of the pair, from 0.
        worker: usize,
        /// `to_customer` or `to_aws`.
        direction: &'static str,
        /// `spi`, `key` or `salt`.
        field: &'static str,
        /// How many digits.
        digits: usize,
    },
    /// An SPI below 256.
    #[error("worker {worker}: SPI {spi:#x} is reserved; use 0x100 or more")]
    ReservedSpi {
        /// Place of the pair, from 0.
        worker: usize,
        /// The SPI.
        spi: u32,
    },
    /// Two SAs with one SPI.
    #[error("SPI {0:#x} is used twice; each SA needs its own")]
    RepeatedSpi(u32),
    /// Two SAs with one key and salt: they would repeat nonces.
    #[error("two SAs share a key; each SA needs its own")]
    RepeatedKey,
}

/// Keys of one security association: one direction of one pair.
#[derive(Clone, PartialEq, Eq)]
pub struct SaKeys {
    spi: u32,
    key: [u8; KEY_LEN],
    salt: [u8; SALT_LEN],
}

impl SaKeys {
    /// Keys from their parts; `None` if the SPI is reserved (below 256).
    pub fn new(spi: u32, key: [u8; KEY_LEN], salt: [u8; SALT_LEN]) -> Option<Self> {
        (spi >= SPI_MIN).then_some(Self { spi, key, salt })
    }

    /// Identifies the SA to its receiver; 256 or more.
    pub const fn spi(&self) -> u32 {
        self.spi
    }

    /// The AES-256 key. Show it to nothing but a cipher or a capture that asks for it.
    pub const fn key(&self) -> &[u8; KEY_LEN] {
        &self.key
    }

    /// The first four bytes of every nonce. As secret as the key.
    pub const fn salt(&self) -> &[u8; SALT_LEN] {
        &self.salt
    }
}

impl Drop for SaKeys {
    fn drop(&mut self) {
        self.key.zeroize();
        self.salt.zeroize();
    }
}

impl fmt::Debug for SaKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SaKeys {{ spi: {:#010x}, .. }}", self.spi)
    }
}

/// The two SAs of one endpoint worker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SaPair {
    /// From the endpoint to the customer gateway.
    pub to_customer: SaKeys,
    /// From the customer gateway to the endpoint.
    pub to_aws: SaKeys,
}

/// Keys of a whole tunnel: pair `n` belongs to worker `n`, UDP port base + `n`. At least one pair; all SPIs differ.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TunnelKeys {
    pairs: Vec<SaPair>,
}

impl TunnelKeys {
    /// Fresh keys for `workers` workers, at most [`PAIRS_LIMIT`]. `random` fills a slice from a cryptographically secure
    /// source.
    pub fn generate(workers: NonZeroUsize, mut random: impl FnMut(&mut [u8])) -> Self {
        let mut spis = HashSet::new();
        let mut fresh = || {
            let mut keys = SaKeys { spi: 0, key: [0; KEY_LEN], salt: [0; SALT_LEN] };
            random(&mut keys.key);
            random(&mut keys.salt);
            let mut spi = [0; 4];
            random(&mut spi);
            keys.spi = u32::from_be_bytes(spi).max(SPI_MIN);
            // The next free one: at most 2 * PAIRS_LIMIT steps, whatever the random bytes are.
            while !spis.insert(keys.spi) {
                keys.spi = keys.spi.wrapping_add(1).max(SPI_MIN);
            }
            keys
        };
        let pairs =
            (0..workers.get().min(PAIRS_LIMIT)).map(|_| SaPair { to_customer: fresh(), to_aws: fresh() }).collect();
        Self { pairs }
    }

    /// The pairs, by worker.
    pub fn pairs(&self) -> &[SaPair] {
        &self.pairs
    }

    /// Only the first `workers` pairs; all of them if there are fewer.
    pub fn for_workers(mut self, workers: NonZeroUsize) -> Self {
        self.pairs.truncate(workers.get());
        self
    }

    /// The text form, read back by [`Self::from_toml`].
    pub fn to_toml(&self) -> Zeroizing<String> {
        // Large enough that it never grows: growing would leave copies of keys behind.
        let mut text = Zeroizing::new(String::with_capacity(128 + self.pairs.len() * 320));
        text.push_str("# vpce tunnel keys, secret. Pair n belongs to endpoint worker n.\n");
        for pair in &self.pairs {
            text.push_str("\n[[pair]]\n");
            for (direction, keys) in [("to_customer", &pair.to_customer), ("to_aws", &pair.to_aws)] {
                text.push_str(direction);
                text.push_str(" = { spi = \"");
                push_hex(&mut text, &keys.spi.to_be_bytes());
                text.push_str("\", key = \"");
                push_hex(&mut text, &keys.key);
                text.push_str("\", salt = \"");
                push_hex(&mut text, &keys.salt);
                text.push_str("\" }\n");
            }
        }
        text
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// [`KeysError`]: not that form, or SAs that must not be used together.
    pub fn from_toml(text: &str) -> Result<Self, KeysError> {
        let raw: RawKeys = toml::from_str(text).map_err(|error| KeysError::Syntax(error.message().to_owned()))?;
        if raw.pair.is_empty() || raw.pair.len() > PAIRS_LIMIT {
            return Err(KeysError::Count(raw.pair.len()));
        }
        let mut pairs = Vec::with_capacity(raw.pair.len());
        for (worker, pair) in raw.pair.iter().enumerate() {
            pairs.push(SaPair {
                to_customer: pair.to_customer.check(worker, "to_customer")?,
                to_aws: pair.to_aws.check(worker, "to_aws")?,
            });
        }
        check_distinct(&pairs)?;
        Ok(Self { pairs })
    }
}

fn check_distinct(pairs: &[SaPair]) -> Result<(), KeysError> {
    let mut spis = HashSet::new();
    let mut keys = HashSet::new();
    for sa in pairs.iter().flat_map(|pair| [&pair.to_customer, &pair.to_aws]) {
        if !spis.insert(sa.spi) {
            return Err(KeysError::RepeatedSpi(sa.spi));
        }
        if !keys.insert((&sa.key, &sa.salt)) {
            return Err(KeysError::RepeatedKey);
        }
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKeys {
    pair: Vec<RawPair>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPair {
    to_customer: RawSa,
    to_aws: RawSa,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSa {
    spi: Secret,
    key: Secret,
    salt: Secret,
}

/// Text that is wiped when dropped.
#[derive(Deserialize)]
#[serde(transparent)]
struct Secret(String);

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl RawSa {
    fn check(&self, worker: usize, direction: &'static str) -> Result<SaKeys, KeysError> {
        let bad = |field, bytes: usize| KeysError::Hex { worker, direction, field, digits: 2 * bytes };
        let spi = u32::from_be_bytes(unhex(&self.spi.0).ok_or_else(|| bad("spi", 4))?);
        let key = Zeroizing::new(unhex(&self.key.0).ok_or_else(|| bad("key", KEY_LEN))?);
        let salt = Zeroizing::new(unhex(&self.salt.0).ok_or_else(|| bad("salt", SALT_LEN))?);
        SaKeys::new(spi, *key, *salt).ok_or(KeysError::ReservedSpi { worker, spi })
    }
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a String cannot fail.
        _ = write!(text, "{byte:02x}");
    }
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = (high << 4 | low) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that differ from call to call.
    fn counting() -> impl FnMut(&mut [u8]) {
        let mut next = 0_u8;
        move |bytes| {
            for byte in bytes {
                next = next.wrapping_mul(5).wrapping_add(113);
                *byte = next;
            }
        }
    }

    fn three() -> TunnelKeys {
        TunnelKeys::generate(NonZeroUsize::new(3).unwrap(), counting())
    }

    #[test]
    fn the_text_form_gives_the_same_keys_back() {
        let keys = three();
        assert_eq!(keys.pairs().len(), 3);
        assert_eq!(TunnelKeys::from_toml(&keys.to_toml()).unwrap(), keys);
    }

    #[test]
    fn the_text_form_never_outgrows_its_first_allocation() {
        let text = three().to_toml();
        assert_eq!(text.capacity(), 128 + 3 * 320);
    }

    #[test]
    fn spis_differ_and_are_not_reserved_even_if_the_random_bytes_repeat() {
        let keys = TunnelKeys::generate(NonZeroUsize::new(PAIRS_LIMIT + 1).unwrap(), |bytes| bytes.fill(0));
        let spis: HashSet<u32> = keys.pairs().iter().flat_map(|p| [p.to_customer.spi(), p.to_aws.spi()]).collect();
        assert_eq!(spis.len(), 2 * PAIRS_LIMIT);
        assert!(spis.iter().all(|&spi| spi >= SPI_MIN));
        let keys = TunnelKeys::generate(NonZeroUsize::new(2).unwrap(), |bytes| bytes.fill(0xFF));
        assert!(keys.pairs().iter().all(|p| p.to_customer.spi() >= SPI_MIN && p.to_aws.spi() >= SPI_MIN));
    }

    #[test]
    fn debug_shows_the_spi_and_nothing_secret() {
        let key = [0xAB; KEY_LEN];
        let shown = format!("{:?}", SaKeys::new(0x1234_5678, key, [0xCD; SALT_LEN]).unwrap());
        assert_eq!(shown, "SaKeys { spi: 0x12345678, .. }");
        let all = format!("{:?}", three()).to_lowercase();
        let text = three().to_toml();
        let secret = text.split("key = \"").nth(1).unwrap();
        assert!(!all.contains(&secret[..16]));
    }

    #[test]
    fn faults_of_the_text_are_named_without_quoting_it() {
        let good = three().to_toml();
        let secret = good.split("key = \"").nth(1).unwrap()[..64].to_owned();
        let cases = [
            ("".to_owned(), "missing field `pair`"),
            ("pair = []".to_owned(), "hold 0 pairs"),
            (good.replace("to_aws", "to_cloud"), "unknown field `to_cloud`"),
            (good.replace(&secret, &secret[..62]), "worker 0: to_customer.key must be 64 hexadecimal digits"),
            (good.replace(&secret, &secret.replace(&secret[..1], "g")), "to_customer.key must be 64"),
            (format!("{}\nbroken = \"{secret}", *good), "not in the expected form"),
            (one_pair("000000ff", "11", "00000101", "22"), "SPI 0xff is reserved"),
            (one_pair("00000100", "11", "00000100", "22"), "SPI 0x100 is used twice"),
            (one_pair("00000100", "11", "00000101", "11"), "two SAs share a key"),
        ];
        for (text, expected) in cases {
            let error = TunnelKeys::from_toml(&text).unwrap_err();
            for shown in [error.to_string(), format!("{error:?}")] {
                assert!(!shown.contains(&secret), "the key is quoted in: {shown}");
            }
            assert!(error.to_string().contains(expected), "{error} instead of {expected}");
        }
    }

    fn one_pair(spi_a: &str, key_a: &str, spi_b: &str, key_b: &str) -> String {
        let (key_a, key_b) = (key_a.repeat(32), key_b.repeat(32));
        format!(
            "[[pair]]\nto_customer = {{ spi = \"{spi_a}\", key = \"{key_a}\", salt = \"00000000\" }}\n\
             to_aws = {{ spi = \"{spi_b}\", key = \"{key_b}\", salt = \"00000000\" }}\n"
        )
    }
}
