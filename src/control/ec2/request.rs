//! A form-urlencoded body as a bounded map of parameters, and getters that answer as AWS does for what is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::error::Ec2Error;

/// No body is read beyond this.
pub(in crate::control) const BODY_LIMIT: usize = 1 << 20;
/// Parameters of one request.
const PARAMETERS: usize = 10_000;
/// Items of one list (EC2 API Reference, Query requests: 1,000 for most).
pub(super) const LIST_ITEMS: usize = 1_000;

/// A request: its action and its parameters.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) action: String,
    parameters: BTreeMap<String, String>,
}

impl Request {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Ec2Error> {
        let malformed = |message: &str| Ec2Error::new("MalformedQueryString", message.to_owned());
        if body.len() > BODY_LIMIT {
            return Err(Ec2Error { status: 413, ..malformed("The request is longer than 1 MiB") });
        }
        let mut parameters = BTreeMap::new();
        for (count, (name, value)) in form_urlencoded::parse(body).enumerate() {
            if count == PARAMETERS {
                return Err(malformed("The request has more than 10000 parameters"));
            }
            if name.chars().chain(value.chars()).any(no_xml) {
                return Err(malformed("The request has characters that XML does not have"));
            }
            if parameters.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err(malformed("The request gives a parameter twice"));
            }
        }
        let action = parameters.get("Action").filter(|action| !action.is_empty()).cloned();
        let action = action.ok_or_else(|| {
            Ec2Error::new("MissingAction", "The request is missing an action or a required parameter.")
        })?;
        Ok(Self { action, parameters })
    }

    /// All of it.
    pub(super) fn fields(&self) -> Fields<'_> {
        Fields { parameters: &self.parameters, prefix: String::new() }
    }

    /// The first part of every parameter's name.
    pub(super) fn names(&self) -> BTreeSet<&str> {
        self.parameters.keys().map(|name| name.split('.').next().unwrap_or_default()).collect()
    }

    /// Everything that says what is asked for, for comparison with another request of the same client token.
    pub(super) fn meaning(&self) -> impl Iterator<Item = (&String, &String)> {
        let apart = ["ClientToken", "DryRun", "Version"];
        self.parameters.iter().filter(move |(name, _)| !apart.contains(&name.as_str()))
    }
}

/// A character that XML 1.0 cannot hold, escaped or not.
fn no_xml(c: char) -> bool {
    (c < ' ' && !matches!(c, '\t' | '\n' | '\r')) || matches!(c, '\u{fffe}' | '\u{ffff}')
}

/// The parameters of a request, or of one structure in it.
#[derive(Clone, Debug)]
pub(super) struct Fields<'r> {
    parameters: &'r BTreeMap<String, String>,
    prefix: String,
}

impl<'r> Fields<'r> {
    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A parameter as it was given.
    pub(super) fn text(&self, name: &str) -> Option<&'r str> {
        self.parameters.get(&self.full(name)).map(String::as_str)
    }

    /// A parameter that must be there and not be empty.
    pub(super) fn required(&self, name: &str) -> Result<&'r str, Ec2Error> {
        self.text(name).filter(|text| !text.is_empty()).ok_or_else(|| Ec2Error::missing(&self.full(name)))
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Ec2Error> {
        match self.text(name) {
            None => Ok(None),
            Some("true" | "True") => Ok(Some(true)),
            Some("false" | "False") => Ok(Some(false)),
            Some(text) => {
                let name = self.full(name);
                Err(Ec2Error::value(format!("Invalid value '{text}' for {name}. Must be true or false")))
            }
        }
    }

    /// An integer.
    pub(super) fn number(&self, name: &str) -> Result<Option<i32>, Ec2Error> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let number = text.parse().map_err(|_| {
            Ec2Error::value(format!(
                "Value ({text}) for parameter {} is invalid. Expecting an integer",
                self.full(name)
            ))
        })?;
        Ok(Some(number))
    }

    /// The parameters of a structure: `Name.…`.
    pub(super) fn inner(&self, name: &str) -> Self {
        Self { parameters: self.parameters, prefix: format!("{}{name}.", self.prefix) }
    }

    /// Whether anything is given at all.
    pub(super) fn is_empty(&self) -> bool {
        self.under().next().is_none()
    }

    fn under(&self) -> impl Iterator<Item = (&'r str, &'r str)> + use<'r> {
        let prefix = self.prefix.clone();
        let from = (Bound::Included(prefix.as_str()), Bound::Unbounded);
        let range = self.parameters.range::<str, _>(from);
        range
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .take_while(move |(name, _)| name.starts_with(&prefix))
    }

    /// The numbers under `name`, ascending, each once. Gaps are of no importance.
    fn numbers(&self, name: &str) -> Result<BTreeSet<u32>, Ec2Error> {
        // `SubnetId=…` for `SubnetId.1=…` would otherwise be passed over in silence.
        if self.text(name).is_some() {
            return Err(Ec2Error::unknown(&self.full(name)));
        }
        let list = self.inner(name);
        let mut numbers = BTreeSet::new();
        for (full, _) in list.under() {
            let number = full[list.prefix.len()..].split('.').next().unwrap_or_default();
            let number = number.parse().map_err(|_| Ec2Error::unknown(full))?;
            numbers.insert(number);
        }
        if numbers.len() > LIST_ITEMS {
            let message = format!("{} has more than {LIST_ITEMS} items", self.full(name));
            return Err(Ec2Error::value(message));
        }
        Ok(numbers)
    }

    /// A list of texts: `Name.1`, `Name.2`.
    pub(super) fn list(&self, name: &str) -> Result<Vec<&'r str>, Ec2Error> {
        let list = self.inner(name);
        let texts = self.numbers(name)?.into_iter().map(|number| {
            let number = number.to_string();
            list.text(&number).ok_or_else(|| Ec2Error::unknown(&list.full(&number)))
        });
        texts.collect()
    }

    /// The same, with at least one in it.
    pub(super) fn required_list(&self, name: &str) -> Result<Vec<&'r str>, Ec2Error> {
        let list = self.list(name)?;
        if list.is_empty() { Err(Ec2Error::missing(&self.full(name))) } else { Ok(list) }
    }

    /// A list of structures: `Name.1.…`, `Name.2.…`.
    pub(super) fn structures(&self, name: &str) -> Result<Vec<Self>, Ec2Error> {
        let list = self.inner(name);
        Ok(self.numbers(name)?.into_iter().map(|number| list.inner(&number.to_string())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body: &str) -> Request {
        Request::parse(body.as_bytes()).unwrap()
    }

    #[test]
    fn lists_go_by_number_and_structures_are_entered() {
        let request = request("Action=X&A.10=c&A.2=b&A.1=a&B.1.Name=n&B.1.Value.1=v&C=d");
        let fields = request.fields();
        assert_eq!(fields.list("A").unwrap(), ["a", "b", "c"]);
        let structures = fields.structures("B").unwrap();
        assert_eq!((structures.len(), structures[0].text("Name")), (1, Some("n")));
        assert_eq!(structures[0].list("Value").unwrap(), ["v"]);
        assert_eq!(fields.list("C").unwrap_err().code, "UnknownParameter");
        assert_eq!(fields.list("B").unwrap_err().code, "UnknownParameter");
        assert!(fields.list("Absent").unwrap().is_empty());
        assert!(fields.inner("D").is_empty() && !fields.inner("B").is_empty());
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let code = |body: &str| Request::parse(body.as_bytes()).unwrap_err().code;
        assert_eq!(code(""), "MissingAction");
        assert_eq!(code("Action=&Version=2016-11-15"), "MissingAction");
        assert_eq!(code("Action=A&Action=B"), "MalformedQueryString");
        assert_eq!(code("Action=A&B=%00"), "MalformedQueryString");
        assert_eq!(code(&format!("Action=A&B={}", "x".repeat(BODY_LIMIT))), "MalformedQueryString");
        let many = (0..=LIST_ITEMS).map(|n| format!("&A.{n}=x")).collect::<String>();
        let many = request(&format!("Action=A{many}"));
        assert_eq!(many.fields().list("A").unwrap_err().code, "InvalidParameterValue");
    }

    #[test]
    fn values_are_checked_for_their_kind() {
        let request = request("Action=A&B=maybe&C=1x&D=true&E=-1&F=");
        let fields = request.fields();
        assert_eq!(fields.flag("B").unwrap_err().code, "InvalidParameterValue");
        assert_eq!(fields.number("C").unwrap_err().code, "InvalidParameterValue");
        assert_eq!((fields.flag("D").unwrap(), fields.number("E").unwrap()), (Some(true), Some(-1)));
        assert_eq!(fields.required("F").unwrap_err().message, "The request must contain the parameter F");
    }
}
