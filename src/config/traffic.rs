//! Protocol, ports, ICMP type and code of one rule, as `aws ec2 authorize-security-group-ingress` words them.

use toml::de::DeValue;

use super::model::{PortRange, Traffic};
use super::reader::{At, Section};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    All,
    Tcp,
    Udp,
    Icmp,
    Icmpv6,
    Other(u8),
}

/// Reads `protocol`, `port`, `icmp_type` and `icmp_code`. `None` when one of them has a fault.
pub(super) fn traffic(section: &Section<'_>) -> Option<Traffic> {
    let protocol = protocol(section);
    let ports = ports(section);
    let icmp_type = section.integer::<i16>("icmp_type", -1..=255);
    let icmp_code = section.integer::<i16>("icmp_code", -1..=255);
    let protocol = protocol?;

    let has_ports = matches!(protocol, Protocol::Tcp | Protocol::Udp);
    let has_icmp = matches!(protocol, Protocol::Icmp | Protocol::Icmpv6);
    let mut sound = true;
    if section.has("port") && !has_ports {
        section.fault_with_help(
            &section.key_span("port"),
            "`port` is for tcp and udp",
            if has_icmp { "use `icmp_type` and `icmp_code`" } else { "leave it out: such a rule covers all ports" },
        );
        sound = false;
    }
    if has_ports && !section.has("port") {
        section
            .missing("port", "tcp and udp rules need ports: port = 443, port = \"1024-65535\", or \"0-65535\" for all");
        sound = false;
    }
    for key in ["icmp_type", "icmp_code"] {
        if section.has(key) && !has_icmp {
            section.fault(&section.key_span(key), format!("`{key}` is for icmp and icmpv6"));
            sound = false;
        }
    }
    if protocol == Protocol::Icmp && !section.has("icmp_type") {
        section.missing("icmp_type", "icmp rules need a type: 8 is echo request, -1 is any");
        sound = false;
    }
    let any_type = icmp_type.as_ref().is_none_or(|at| at.value == -1);
    if let Some(At { value, span }) = icmp_code.as_ref().filter(|at| has_icmp && any_type && at.value != -1) {
        section.fault(
            span,
            format!("`icmp_code` is {value}, but a code needs a type: with any type the code is -1 (any)"),
        );
        sound = false;
    }
    // A value with a fault of its own reads as absent; the rule must not then silently mean "any".
    let misread =
        (section.has("icmp_type") && icmp_type.is_none()) || (section.has("icmp_code") && icmp_code.is_none());
    if !sound || misread {
        return None;
    }
    let byte = |at: Option<At<i16>>| at.and_then(|at| u8::try_from(at.value).ok());
    Some(match protocol {
        Protocol::All => Traffic::All,
        Protocol::Tcp => Traffic::Tcp(ports?),
        Protocol::Udp => Traffic::Udp(ports?),
        Protocol::Icmp => Traffic::Icmp { icmp_type: byte(icmp_type), icmp_code: byte(icmp_code) },
        Protocol::Icmpv6 => Traffic::Icmpv6 { icmp_type: byte(icmp_type), icmp_code: byte(icmp_code) },
        Protocol::Other(number) => Traffic::Protocol(number),
    })
}

fn protocol(section: &Section<'_>) -> Option<Protocol> {
    let found = section.value("protocol");
    let Some(found) = found else {
        section.missing("protocol", "one of \"tcp\", \"udp\", \"icmp\", \"icmpv6\", \"all\" or a protocol number");
        return None;
    };
    if let DeValue::Integer(_) = found.get_ref() {
        return section.integer_at::<i16>("`protocol`", found, -1..=255).map(|at| by_number(at.value));
    }
    let DeValue::String(text) = found.get_ref() else {
        let message = format!("`protocol` is {}, not a name or a number", found.get_ref().type_str());
        section.fault(&found.span(), message);
        return None;
    };
    Some(match &**text {
        "all" | "-1" => Protocol::All,
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "icmp" => Protocol::Icmp,
        "icmpv6" => Protocol::Icmpv6,
        other => match other.parse::<u8>() {
            Ok(number) => by_number(i16::from(number)),
            Err(_) => {
                section.fault_with_help(
                    &found.span(),
                    format!("unknown protocol \"{other}\""),
                    "one of \"tcp\", \"udp\", \"icmp\", \"icmpv6\", \"all\" or a protocol number, 0 to 255",
                );
                return None;
            }
        },
    })
}

fn by_number(number: i16) -> Protocol {
    match u8::try_from(number) {
        Err(_) => Protocol::All,
        Ok(1) => Protocol::Icmp,
        Ok(6) => Protocol::Tcp,
        Ok(17) => Protocol::Udp,
        Ok(58) => Protocol::Icmpv6,
        Ok(other) => Protocol::Other(other),
    }
}

/// `443` or `"1024-65535"`.
fn ports(section: &Section<'_>) -> Option<PortRange> {
    let found = section.value("port")?;
    if let DeValue::Integer(_) = found.get_ref() {
        let port = section.integer_at::<u16>("`port`", found, 0..=65_535)?.value;
        return Some(PortRange { from: port, to: port });
    }
    let DeValue::String(text) = found.get_ref() else {
        section.fault(&found.span(), format!("`port` is {}, not a port or a range", found.get_ref().type_str()));
        return None;
    };
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let (Ok(from), Ok(to)) = (from.trim().parse::<u16>(), to.trim().parse::<u16>()) else {
        let message = format!("`port` is \"{text}\", not a port or a range such as \"1024-65535\"");
        section.fault(&found.span(), message);
        return None;
    };
    if from > to {
        section.fault(&found.span(), format!("`port` is \"{text}\": the first port must not be above the last"));
        return None;
    }
    Some(PortRange { from, to })
}
