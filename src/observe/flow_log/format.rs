//! Custom formats of flow logs: fields of versions 2 to 5, as `${name}` with spaces between them (VPC user guide, "Flow log
//! records").

use std::fmt::Write;
use std::net::IpAddr;

use crate::config::{Eni, Site, Subnet, Topology, zone_id};
use crate::eni::{Action, FlowLogRecord, LogStatus};

/// One field of a line.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Field {
    Version,
    AccountId,
    InterfaceId,
    SrcAddr,
    DstAddr,
    SrcPort,
    DstPort,
    Protocol,
    Packets,
    Bytes,
    Start,
    End,
    Action,
    LogStatus,
    VpcId,
    SubnetId,
    TcpFlags,
    Type,
    Region,
    AzId,
    FlowDirection,
    TrafficPath,
    /// What an endpoint's interface never has.
    Absent,
}

/// Names of fields, and the version that brought each.
const FIELDS: [(&str, u8, Field); 29] = [
    ("version", 2, Field::Version),
    ("account-id", 2, Field::AccountId),
    ("interface-id", 2, Field::InterfaceId),
    ("srcaddr", 2, Field::SrcAddr),
    ("dstaddr", 2, Field::DstAddr),
    ("srcport", 2, Field::SrcPort),
    ("dstport", 2, Field::DstPort),
    ("protocol", 2, Field::Protocol),
    ("packets", 2, Field::Packets),
    ("bytes", 2, Field::Bytes),
    ("start", 2, Field::Start),
    ("end", 2, Field::End),
    ("action", 2, Field::Action),
    ("log-status", 2, Field::LogStatus),
    ("vpc-id", 3, Field::VpcId),
    ("subnet-id", 3, Field::SubnetId),
    ("instance-id", 3, Field::Absent),
    ("tcp-flags", 3, Field::TcpFlags),
    ("type", 3, Field::Type),
    // No middle box stands before an endpoint's interface: packets have the addresses of their flow.
    ("pkt-srcaddr", 3, Field::SrcAddr),
    ("pkt-dstaddr", 3, Field::DstAddr),
    ("region", 4, Field::Region),
    ("az-id", 4, Field::AzId),
    ("sublocation-type", 4, Field::Absent),
    ("sublocation-id", 4, Field::Absent),
    ("pkt-src-aws-service", 5, Field::Absent),
    ("pkt-dst-aws-service", 5, Field::Absent),
    ("flow-direction", 5, Field::FlowDirection),
    ("traffic-path", 5, Field::TrafficPath),
];

/// The default format, as DescribeFlowLogs shows it.
pub const DEFAULT_FORMAT: &str = "${version} ${account-id} ${interface-id} ${srcaddr} ${dstaddr} ${srcport} ${dstport} \
                                  ${protocol} ${packets} ${bytes} ${start} ${end} ${action} ${log-status}";

/// Why a text is no format.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FormatFault {
    /// It has no field.
    Empty,
    /// A word that is not of the form `${name}`.
    NotAField(String),
    /// Names that no version has.
    Unknown(Vec<String>),
}

/// A flow log's format.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Format {
    fields: Vec<Field>,
    version: u8,
}

impl Format {
    /// Understands `${name} ${name} …`.
    ///
    /// # Errors
    /// What is no format about it.
    pub fn parse(text: &str) -> Result<Self, FormatFault> {
        let (mut fields, mut version, mut unknown) = (Vec::new(), 2, Vec::new());
        for word in text.split_ascii_whitespace() {
            let name = word.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
            let name = name.ok_or_else(|| FormatFault::NotAField(word.to_owned()))?;
            match FIELDS.iter().find(|(known, ..)| *known == name) {
                Some((_, since, field)) => {
                    fields.push(*field);
                    version = version.max(*since);
                }
                None => unknown.push(name.to_owned()),
            }
        }
        match (fields.is_empty(), unknown.is_empty()) {
            (_, false) => Err(FormatFault::Unknown(unknown)),
            (true, true) => Err(FormatFault::Empty),
            (false, true) => Ok(Self { fields, version }),
        }
    }

    /// A record's line, without its end. What is said of its interface comes from the topology in force.
    pub fn line(&self, record: &FlowLogRecord, topology: &Topology) -> String {
        let eni = topology.enis().map(|(_, eni)| eni).find(|eni| *eni.id == *record.eni);
        let place = Place { topology, eni, subnet: eni.map(|eni| &topology.subnets[eni.subnet]) };
        let mut line = String::with_capacity(16 * self.fields.len());
        for (index, field) in self.fields.iter().enumerate() {
            if index > 0 {
                line.push(' ');
            }
            self.write(&mut line, *field, record, &place);
        }
        line
    }

    fn write(&self, line: &mut String, field: Field, record: &FlowLogRecord, place: &Place<'_>) {
        let before = line.len();
        // Writing to a string cannot fail.
        _ = match field {
            Field::Version => write!(line, "{}", self.version),
            Field::AccountId => write!(line, "{}", record.account),
            Field::InterfaceId => write!(line, "{}", record.eni),
            Field::Start => write!(line, "{}", record.start),
            Field::End => write!(line, "{}", record.end),
            Field::LogStatus => line.write_str(match record.status {
                LogStatus::Ok => "OK",
                LogStatus::NoData => "NODATA",
                LogStatus::SkipData => "SKIPDATA",
            }),
            Field::VpcId => line.write_str(&place.topology.vpc.id),
            Field::SubnetId => line.write_str(place.subnet.map_or("", |subnet| &subnet.id)),
            Field::Region => line.write_str(&place.topology.region),
            Field::AzId => line.write_str(&place.subnet.map_or_else(String::new, |subnet| zone_id(&subnet.zone))),
            Field::Absent => Ok(()),
            _ => self.write_of_flow(line, field, record, place),
        };
        if line.len() == before {
            line.push('-');
        }
    }

    fn write_of_flow(
        &self,
        line: &mut String,
        field: Field,
        record: &FlowLogRecord,
        place: &Place<'_>,
    ) -> std::fmt::Result {
        let Some(flow) = &record.flow else { return Ok(()) };
        let tuple = &flow.tuple;
        let is_egress = place.eni.is_some_and(|eni| eni.owns(tuple.src()));
        match field {
            Field::SrcAddr => write!(line, "{}", tuple.src()),
            Field::DstAddr => write!(line, "{}", tuple.dst()),
            Field::SrcPort => write!(line, "{}", tuple.src_port),
            Field::DstPort => write!(line, "{}", tuple.dst_port),
            Field::Protocol => write!(line, "{}", tuple.protocol.0),
            Field::Packets => write!(line, "{}", flow.packets),
            Field::Bytes => write!(line, "{}", flow.bytes),
            Field::Action => line.write_str(if flow.action == Action::Accept { "ACCEPT" } else { "REJECT" }),
            Field::TcpFlags => write!(line, "{}", flow.tcp_flags),
            Field::Type => line.write_str(if tuple.is_v6() { "IPv6" } else { "IPv4" }),
            Field::FlowDirection => line.write_str(if is_egress { "egress" } else { "ingress" }),
            // 1: through another resource in the same VPC; 3: through a virtual private gateway.
            Field::TrafficPath if is_egress => write!(line, "{}", if place.is_in_vpc(tuple.dst()) { 1 } else { 3 }),
            _ => Ok(()),
        }
    }
}

/// Where a record's interface stands.
struct Place<'t> {
    topology: &'t Topology,
    eni: Option<&'t Eni>,
    subnet: Option<&'t Subnet>,
}

impl Place<'_> {
    fn is_in_vpc(&self, address: IpAddr) -> bool {
        let is_host = self.topology.hosts.iter().any(|host| {
            matches!(host.site, Site::Subnet(_))
                && (host.ipv4 == address || host.ipv6.is_some_and(|own| own == address))
        });
        is_host || self.topology.subnets.iter().any(|subnet| subnet.contains(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::builtin;
    use crate::eni::LoggedFlow;
    use crate::packet::{FiveTuple, Protocol};

    fn record(src: [u8; 4], dst: [u8; 4], status: LogStatus) -> FlowLogRecord {
        let tuple = FiveTuple::v4((src.into(), 50_000), (dst.into(), 443), Protocol::TCP);
        let flow = LoggedFlow { tuple, packets: 4, bytes: 336, action: Action::Accept, tcp_flags: 3 };
        let flow = (status == LogStatus::Ok).then_some(flow);
        let eni = "eni-0a1b2c3d4e5f60718".into();
        FlowLogRecord { account: "123456789012".into(), eni, flow, start: 60, end: 119, status }
    }

    const ALL_BUT_VERSION_2: &str = "${version} ${vpc-id} ${subnet-id} ${instance-id} ${tcp-flags} ${type} ${pkt-srcaddr} \
        ${pkt-dstaddr} ${region} ${az-id} ${sublocation-type} ${sublocation-id} ${pkt-src-aws-service} \
        ${pkt-dst-aws-service} ${flow-direction} ${traffic-path}";

    #[test]
    fn the_default_format_is_what_a_record_says_of_itself() {
        let topology = builtin("quickstart").expect("built in").check().expect("sound");
        let format = Format::parse(DEFAULT_FORMAT).expect("a format");
        for status in [LogStatus::Ok, LogStatus::NoData, LogStatus::SkipData] {
            let record = record([10, 0, 1, 10], [10, 0, 1, 100], status);
            assert_eq!(format.line(&record, &topology), record.to_string());
        }
    }

    #[test]
    fn each_field_says_what_it_says_of_an_endpoints_interface() {
        let topology = builtin("quickstart").expect("built in").check().expect("sound");
        let format = Format::parse(ALL_BUT_VERSION_2).expect("a format");
        let line = |src, dst| format.line(&record(src, dst, LogStatus::Ok), &topology);
        let place = "5 vpc-ec43eb89 subnet-abababab -";
        assert_eq!(
            line([10, 0, 1, 10], [10, 0, 1, 100]),
            format!("{place} 3 IPv4 10.0.1.10 10.0.1.100 us-east-2 use2-az1 - - - - ingress -")
        );
        assert!(line([10, 0, 1, 100], [10, 0, 1, 10]).ends_with(" egress 1"));
        assert!(line([10, 0, 1, 100], [192, 168, 10, 10]).ends_with(" egress 3"));
        let nothing = format.line(&record([0; 4], [0; 4], LogStatus::NoData), &topology);
        assert_eq!(nothing, format!("{place} - - - - us-east-2 use2-az1 - - - - - -"));
    }

    #[test]
    fn the_version_is_the_highest_of_the_fields_and_an_unknown_one_is_named() {
        let version = |text| Format::parse(text).map(|format| format.version);
        assert_eq!(version("${srcaddr}"), Ok(2));
        assert_eq!(version("${az-id} ${vpc-id}"), Ok(4));
        for (text, fault) in [
            ("${size} ${srcaddr} ${color}", FormatFault::Unknown(vec!["size".to_owned(), "color".to_owned()])),
            ("srcaddr", FormatFault::NotAField("srcaddr".to_owned())),
            ("${bytes}${start}", FormatFault::Unknown(vec!["bytes}${start".to_owned()])),
            (" ", FormatFault::Empty),
        ] {
            assert_eq!(version(text), Err(fault), "{text}");
        }
    }
}
