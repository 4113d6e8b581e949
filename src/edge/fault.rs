//! A failure of ours, told so that somebody can act on it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What went wrong, where, and what to do about it. Travels between the processes of a lab as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Fault {
    /// What is wrong, one line, lower case.
    pub what: String,
    /// Where: a file, a namespace, a process.
    #[serde(rename = "where", default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// What to do: a command or a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Fault {
    /// A failure described by one line.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), place: None, remedy: None }
    }

    /// The same failure, with the place where it happened. An inner place is kept: it is the more exact one.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.place.get_or_insert_with(|| place.into());
        self
    }

    /// The same failure, with what to do about it. An inner remedy is kept.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy.get_or_insert_with(|| remedy.into());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(place) = &self.place {
            write!(f, "\n  where: {place}")?;
        }
        if let Some(remedy) = &self.remedy {
            write!(f, "\n  do:    {remedy}")?;
        }
        Ok(())
    }
}

/// Turns the error of a library into a [`Fault`] that says what was being done.
pub trait OrFault<T> {
    /// `what` is the sentence before the colon: "cannot open /dev/net/tun".
    fn or_fault<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T, Fault>;
}

impl<T, E: fmt::Display> OrFault<T> for Result<T, E> {
    fn or_fault<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T, Fault> {
        self.map_err(|error| Fault::new(format!("{}: {error}", what().into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_place_and_remedy_win() {
        let fault = Fault::new("w").at("inner").remedy("first").at("outer").remedy("second");
        assert_eq!(fault.to_string(), "w\n  where: inner\n  do:    first");
    }

    #[test]
    fn a_fault_survives_its_way_between_processes() {
        let fault = Fault::new("cannot").at("here");
        let json = serde_json::to_string(&fault).expect("serialises");
        assert_eq!(json, r#"{"what":"cannot","where":"here"}"#);
        assert_eq!(serde_json::from_str::<Fault>(&json).expect("parses"), fault);
    }
}
