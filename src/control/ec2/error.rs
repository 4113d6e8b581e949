//! Errors of the EC2 API and the envelope they come in.

use std::borrow::Cow;

use super::xml::Xml;

/// An answer that says no: AWS's code and words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ec2Error {
    /// HTTP status: 400 unless AWS gives another.
    pub status: u16,
    /// `InvalidVpcID.NotFound`.
    pub code: Cow<'static, str>,
    /// One sentence.
    pub message: String,
}

impl Ec2Error {
    pub(super) fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { status: 400, code: code.into(), message: message.into() }
    }

    pub(super) fn missing(parameter: &str) -> Self {
        Self::new("MissingParameter", format!("The request must contain the parameter {parameter}"))
    }

    pub(super) fn unknown(parameter: &str) -> Self {
        Self::new("UnknownParameter", format!("The parameter {parameter} is not recognized"))
    }

    pub(super) fn value(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterValue", message)
    }

    pub(super) fn parameter(message: impl Into<String>) -> Self {
        Self::new("InvalidParameter", message)
    }

    pub(super) fn combination(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterCombination", message)
    }

    /// What `DryRun` answers where the request would have succeeded.
    pub(super) fn dry_run() -> Self {
        let message = "Request would have succeeded, but DryRun flag is set.";
        Self { status: 412, code: "DryRunOperation".into(), message: message.to_owned() }
    }

    /// The envelope of EC2's errors. Mind the spelling of its `RequestID`.
    pub fn to_xml(&self, request_id: &str) -> String {
        let mut xml = Xml::document();
        xml.element("Response", |xml| {
            xml.element("Errors", |xml| {
                xml.element("Error", |xml| {
                    xml.text("Code", &self.code).text("Message", &self.message);
                });
            });
            xml.text("RequestID", request_id);
        });
        xml.into_string()
    }
}
