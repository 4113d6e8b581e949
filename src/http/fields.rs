//! Header and trailer fields, wherever they stand.

use http::HeaderMap;

use super::chunked::Trailers;

/// Fields to be looked up by name.
pub trait FieldsByName {
    /// The value of the first field of this name, whatever its case, without the white space around it.
    fn field(&self, name: &str) -> Option<&[u8]>;
}

impl FieldsByName for HeaderMap {
    fn field(&self, name: &str) -> Option<&[u8]> {
        self.get(name).map(|value| value.as_bytes())
    }
}

impl FieldsByName for Trailers {
    fn field(&self, name: &str) -> Option<&[u8]> {
        self.get(name)
    }
}
