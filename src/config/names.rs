//! DNS names that follow from a topology: those of the service and those of its endpoint.

use super::model::{Endpoint, Eni, Topology};

/// The other services whose APIs a lab has, as they are called in names.
pub const API_SERVICES: [&str; 2] = ["ec2", "sts"];

impl Topology {
    /// What AWS API names of the partition end in: `amazonaws.com`.
    pub fn dns_suffix(&self) -> &'static str {
        match self.partition.as_str() {
            "aws-cn" => "amazonaws.com.cn",
            "aws-eusc" => "amazonaws.eu",
            _ => "amazonaws.com",
        }
    }

    /// The API's public name, `lambda.us-east-2.amazonaws.com`.
    pub fn service_host(&self) -> String {
        format!("lambda.{}.{}", self.region, self.dns_suffix())
    }

    /// The API's dual-stack name, `lambda.us-east-2.api.aws`.
    pub fn service_host_dualstack(&self) -> String {
        let suffix = match self.partition.as_str() {
            "aws-cn" => "api.amazonwebservices.com.cn",
            "aws-eusc" => "api.amazonwebservices.eu",
            _ => "api.aws",
        };
        format!("lambda.{}.{suffix}", self.region)
    }

    /// The public name of another service's regional API, `ec2.us-east-2.amazonaws.com`.
    pub fn api_host(&self, service: &str) -> String {
        format!("{service}.{}.{}", self.region, self.dns_suffix())
    }

    /// The zone of all Lambda endpoints' own names, `lambda.us-east-2.vpce.amazonaws.com`.
    pub fn endpoint_zone(&self) -> String {
        format!("lambda.{}.vpce.{}", self.region, self.dns_suffix())
    }

    /// An endpoint's regional name, `vpce-0123456789abcdef0-lj2wisx3.lambda.us-east-2.vpce.amazonaws.com`.
    pub fn endpoint_host(&self, endpoint: &Endpoint) -> String {
        format!("{}-{}.{}", endpoint.id, endpoint.dns_token, self.endpoint_zone())
    }

    /// The zonal name of one of its enis, with the zone behind the token: `…-lj2wisx3-us-east-2a.lambda…`.
    pub fn endpoint_zonal_host(&self, endpoint: &Endpoint, eni: &Eni) -> String {
        let zone = self.subnets.get(eni.subnet).map_or("", |subnet| subnet.zone.as_str());
        format!("{}-{}-{zone}.{}", endpoint.id, endpoint.dns_token, self.endpoint_zone())
    }

    /// The zone of machines' private names: `us-east-2.compute.internal`, but `ec2.internal` in us-east-1.
    pub fn compute_zone(&self) -> String {
        match self.region.as_str() {
            "us-east-1" => "ec2.internal".to_owned(),
            region => format!("{region}.compute.internal"),
        }
    }
}
