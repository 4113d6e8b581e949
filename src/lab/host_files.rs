//! The files that replace those in /etc on a lab's machines, so that names resolve by the machine's own resolver.

use std::fmt::Write;
use std::net::IpAddr;

use super::Directories;
use crate::config::{Host, Site, Topology};
use crate::edge::{Fault, OrFault};

/// Their names, as in /etc and in the lab's runtime folder.
pub const NAMES: [&str; 3] = ["resolv.conf", "hosts", "nsswitch.conf"];

/// Writes the files of every host.
///
/// # Errors
/// When the runtime folder cannot be written to.
pub fn write(directories: &Directories, topology: &Topology) -> Result<(), Fault> {
    for host in &topology.hosts {
        let folder = directories.host_files(&host.name);
        let texts = [resolv_conf(topology, host), hosts(host), NSSWITCH_CONF.to_owned()];
        std::fs::create_dir_all(&folder)
            .and_then(|()| NAMES.iter().zip(texts).try_for_each(|(name, text)| std::fs::write(folder.join(name), text)))
            .or_fault(|| "cannot write a host's files")
            .map_err(|fault| fault.at(folder.display().to_string()))?;
    }
    Ok(())
}

const NSSWITCH_CONF: &str = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\n\
                             protocols: files\nservices: files\n";

/// In the VPC the resolver at VPC+2 and the region's search domain, as DHCP hands out on EC2; on-premises the forwarder.
fn resolv_conf(topology: &Topology, host: &Host) -> String {
    match host.site {
        Site::Subnet(_) => {
            format!("search {}\nnameserver {}\n", internal_domain(&topology.region), topology.vpc.resolver())
        }
        Site::OnPremises => format!("nameserver {}\n", topology.on_premises.dns_forwarder),
    }
}

/// The domain of private DNS names: AWS, "DHCP option sets", `domain-name`.
fn internal_domain(region: &str) -> String {
    if region == "us-east-1" { "ec2.internal".to_owned() } else { format!("{region}.compute.internal") }
}

fn hosts(host: &Host) -> String {
    let mut text = "127.0.0.1 localhost\n::1 localhost\n".to_owned();
    for address in [Some(IpAddr::V4(host.ipv4)), host.ipv6.map(IpAddr::V6)].into_iter().flatten() {
        // Writing to a String cannot fail.
        _ = writeln!(text, "{address} {}", host.name);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_domain_follows_the_region() {
        assert_eq!(internal_domain("us-east-1"), "ec2.internal");
        assert_eq!(internal_domain("us-east-2"), "us-east-2.compute.internal");
    }
}
