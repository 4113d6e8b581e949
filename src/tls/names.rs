//! The names under which the service is reached through the endpoint.

/// Names that the certificate carries and the endpoint answers to.
///
/// AWS does not publish the certificate's list; this one covers what clients use (`docs/fidelity.md#certificate-names`).
#[derive(Clone, Debug)]
pub struct ServiceNames {
    exact: Vec<String>,
    vpce_suffix: String,
}

impl ServiceNames {
    /// The names for `region`: `lambda.<region>.amazonaws.com`, `lambda.<region>.api.aws` and everything one label below
    /// `lambda.<region>.vpce.amazonaws.com`.
    pub fn new(region: &str) -> Self {
        Self {
            exact: vec![format!("lambda.{region}.amazonaws.com"), format!("lambda.{region}.api.aws")],
            vpce_suffix: format!(".lambda.{region}.vpce.amazonaws.com"),
        }
    }

    /// The service's public name, `lambda.<region>.amazonaws.com`.
    pub fn public(&self) -> &str {
        &self.exact[0]
    }

    /// Whether `name` (any case, as in a ClientHello) is one of ours. A wildcard covers one label (RFC 6125 §6.4.3).
    pub fn serves(&self, name: &str) -> bool {
        if self.exact.iter().any(|exact| exact.eq_ignore_ascii_case(name)) {
            return true;
        }
        let Some(cut) = name.len().checked_sub(self.vpce_suffix.len()) else { return false };
        let (Some(label), Some(suffix)) = (name.get(..cut), name.get(cut..)) else { return false };
        suffix.eq_ignore_ascii_case(&self.vpce_suffix) && !label.is_empty() && !label.contains('.')
    }

    /// The subject alternative names of the certificate.
    pub fn subject_alternative_names(&self) -> Vec<String> {
        let mut names = self.exact.clone();
        names.push(format!("*{}", self.vpce_suffix));
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_services_own_names_are_served() {
        let names = ServiceNames::new("us-east-2");
        for (name, served) in [
            ("lambda.us-east-2.amazonaws.com", true),
            ("Lambda.US-East-2.AmazonAWS.com", true),
            ("lambda.us-east-2.api.aws", true),
            ("vpce-0a1b2c3d-lj2wisx3.lambda.us-east-2.vpce.amazonaws.com", true),
            ("vpce-0a1b2c3d-lj2wisx3-us-east-2a.lambda.us-east-2.vpce.amazonaws.com", true),
            (".lambda.us-east-2.vpce.amazonaws.com", false),
            ("a.b.lambda.us-east-2.vpce.amazonaws.com", false),
            ("lambda.us-east-1.amazonaws.com", false),
            ("evil-lambda.us-east-2.amazonaws.com", false),
            ("example.com", false),
            ("", false),
            ("ä.lambda.us-east-2.vpce.amazonaws.co", false),
        ] {
            assert_eq!(names.serves(name), served, "{name}");
        }
    }
}
