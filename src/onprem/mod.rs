//! On-premises: the customer gateway and the function host, the far end of the tunnel.

pub mod customer_gateway;
pub mod dns_forwarder;
