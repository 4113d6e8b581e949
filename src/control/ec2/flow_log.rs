//! Flow logs: validated records of what is to be written.

use super::error::Ec2Error;
use super::id::{FLOW_LOG, INTERFACE, SUBNET, VPC};
use super::page::Listing;
use super::request::{Fields, Request};
use super::tag::specified;
use super::xml::Xml;
use super::{Call, Operation, token};
use crate::control::{FlowLog, State};
use crate::observe::flow_log::format::{DEFAULT_FORMAT, Format, FormatFault};

pub(super) const OPERATIONS: &[Operation] = &[
    Operation::write(
        "CreateFlowLogs",
        &[
            "ResourceId",
            "ResourceType",
            "TrafficType",
            "LogDestinationType",
            "LogDestination",
            "LogGroupName",
            "LogFormat",
            "MaxAggregationInterval",
            "DeliverLogsPermissionArn",
            "DestinationOptions",
            "ClientToken",
            "TagSpecification",
        ],
        create_flow_logs,
    ),
    Operation::read("DescribeFlowLogs", &["FlowLogId", "Filter", "MaxResults", "NextToken"], describe_flow_logs),
    Operation::write("DeleteFlowLogs", &["FlowLogId"], delete_flow_logs),
];

/// Resources of one call.
const RESOURCES: usize = 300;

/// The format that is asked for, or the default one.
fn format<'r>(fields: &Fields<'r>) -> Result<&'r str, Ec2Error> {
    let text = fields.text("LogFormat").filter(|text| !text.is_empty()).unwrap_or(DEFAULT_FORMAT);
    match Format::parse(text) {
        Ok(_) => Ok(text),
        Err(FormatFault::NotAField(word)) => {
            Err(Ec2Error::parameter(format!("LogFormat is invalid: '{word}' is not of the form ${{field}}.")))
        }
        Err(FormatFault::Unknown(fields)) => {
            Err(Ec2Error::parameter(format!("Unknown fields provided: [{}]", fields.join(", "))))
        }
        Err(FormatFault::Empty) => Err(Ec2Error::parameter("LogFormat is invalid: it has no field.")),
    }
}

struct Destination {
    destination_type: String,
    destination: Option<String>,
    log_group: Option<String>,
    role: Option<String>,
}

fn destination(fields: &Fields<'_>) -> Result<Destination, Ec2Error> {
    let filled = |name| fields.text(name).filter(|text: &&str| !text.is_empty()).map(str::to_owned);
    let destination_type = filled("LogDestinationType").unwrap_or_else(|| "cloud-watch-logs".to_owned());
    let (destination, log_group) = (filled("LogDestination"), filled("LogGroupName"));
    let role = filled("DeliverLogsPermissionArn");
    match (&destination, &log_group) {
        (Some(_), Some(_)) => {
            return Err(Ec2Error::parameter("Please only provide LogGroupName or only provide LogDestination."));
        }
        (None, None) => {
            return Err(Ec2Error::parameter("LogDestination can't be empty if LogGroupName is not provided."));
        }
        _ => {}
    }
    match destination_type.as_str() {
        "cloud-watch-logs" if role.is_none() => {
            let message = "DeliverLogsPermissionArn can't be empty if LogDestinationType is cloud-watch-logs.";
            return Err(Ec2Error::parameter(message));
        }
        "cloud-watch-logs" => {}
        "s3" | "kinesis-data-firehose" => {
            if log_group.is_some() {
                let message = format!(
                    "LogDestination type must be cloud-watch-logs if LogGroupName is provided, not {destination_type}."
                );
                return Err(Ec2Error::parameter(message));
            }
            if role.is_some() {
                let message =
                    format!("DeliverLogsPermissionArn can't be specified if LogDestinationType is {destination_type}.");
                return Err(Ec2Error::parameter(message));
            }
        }
        other => return Err(Ec2Error::value(format!("Invalid value '{other}' for LogDestinationType"))),
    }
    if let Some(text) = destination.as_ref().filter(|text| !text.starts_with("arn:")) {
        return Err(Ec2Error::parameter(format!("LogDestination: {text} is not a valid ARN.")));
    }
    Ok(Destination { destination_type, destination, log_group, role })
}

fn create_flow_logs(state: &mut State, request: &Request, call: &mut Call<'_>) -> Result<Xml, Ec2Error> {
    let fields = request.fields();
    let resources = fields.required_list("ResourceId")?;
    if resources.len() > RESOURCES {
        return Err(Ec2Error::value(format!("At most {RESOURCES} resources may be given")));
    }
    let kind = match fields.required("ResourceType")? {
        "VPC" => &VPC,
        "Subnet" => &SUBNET,
        "NetworkInterface" => &INTERFACE,
        other => return Err(Ec2Error::value(format!("Invalid value '{other}' for ResourceType"))),
    };
    let traffic_type = fields.required("TrafficType")?;
    if !["ACCEPT", "REJECT", "ALL"].contains(&traffic_type) {
        return Err(Ec2Error::value(format!("Invalid value '{traffic_type}' for TrafficType")));
    }
    let aggregation = match fields.number("MaxAggregationInterval")? {
        None | Some(600) => 600,
        Some(60) => 60,
        Some(_) => return Err(Ec2Error::parameter("Invalid Flow Log Max Aggregation Interval")),
    };
    let format = format(&fields)?;
    let to = destination(&fields)?;
    let tags = specified(&fields, &FLOW_LOG)?;
    for id in &resources {
        match kind.prefix {
            "vpc" => kind.find(&state.vpcs, id).map(|_| ())?,
            "subnet" => kind.find(&state.subnets, id).map(|_| ())?,
            _ => kind.find(&state.interfaces, id).map(|_| ())?,
        }
    }
    let made = match token::replayed(state, request, call)?.map(<[String]>::to_vec) {
        Some(made) => made,
        None => {
            let mut made = Vec::new();
            for resource in resources {
                let log = FlowLog {
                    resource: resource.to_owned(),
                    traffic_type: traffic_type.to_owned(),
                    destination_type: to.destination_type.clone(),
                    destination: to.destination.clone(),
                    log_group: to.log_group.clone(),
                    role: to.role.clone(),
                    format: format.to_owned(),
                    aggregation,
                    created: call.now.millis(),
                };
                let id = FLOW_LOG.fresh(call.random);
                admit(state, &log, call)?;
                state.flow_logs.insert(id.clone(), log);
                state.tag(&id, tags.clone(), call)?;
                made.push(id);
            }
            token::remember(state, request, call, made.clone());
            made
        }
    };
    let mut xml = Xml::new();
    xml.items("flowLogIdSet", made).items::<&str>("unsuccessful", []);
    xml.optional("clientToken", fields.text("ClientToken"));
    Ok(xml)
}

fn admit(state: &State, log: &FlowLog, call: &Call<'_>) -> Result<(), Ec2Error> {
    let mut own = 0;
    for other in state.flow_logs.values().filter(|other| other.resource == log.resource) {
        own += 1;
        let key = |log: &FlowLog| (log.destination.clone(), log.log_group.clone(), log.traffic_type.clone());
        if key(other) == key(log) {
            let message = "Error. There is an existing Flow Log with the same configuration and log destination.";
            return Err(Ec2Error::new("FlowLogAlreadyExists", message));
        }
    }
    if own >= call.options.quotas.flow_logs_per_resource {
        let message = format!("The maximum number of flow logs for '{}' has been reached.", log.resource);
        return Err(Ec2Error::new("FlowLogsLimitExceeded", message));
    }
    Ok(())
}

fn describe_flow_logs(state: &State, request: &Request, call: &Call<'_>) -> Result<Xml, Ec2Error> {
    let status = |id: &str| if call.failed_flow_logs.contains(id) { "FAILED" } else { "SUCCESS" };
    let listing = Listing {
        set: "flowLogSet",
        ids: Some(("FlowLogId", &FLOW_LOG)),
        filters: &[
            "deliver-log-status",
            "flow-log-id",
            "log-destination-type",
            "log-group-name",
            "resource-id",
            "traffic-type",
        ],
        least: 1,
    };
    listing.answer(
        state,
        request,
        state.flow_logs.iter().map(|(id, log)| (id.as_str(), log)),
        |id, log, name| match name {
            "deliver-log-status" => vec![status(id).to_owned()],
            "log-destination-type" => vec![log.destination_type.clone()],
            "log-group-name" => log.log_group.iter().cloned().collect(),
            "resource-id" => vec![log.resource.clone()],
            "traffic-type" => vec![log.traffic_type.clone()],
            _ => vec![id.to_owned()],
        },
        |xml, id, log| {
            xml.text("flowLogId", id).text("flowLogStatus", "ACTIVE").text("resourceId", &log.resource);
            xml.text("creationTime", super::date(log.created)).text("trafficType", &log.traffic_type);
            xml.text("logDestinationType", &log.destination_type);
            xml.optional("logDestination", log.destination.as_ref()).optional("logGroupName", log.log_group.as_ref());
            xml.optional("deliverLogsPermissionArn", log.role.as_ref()).text("deliverLogsStatus", status(id));
            // AWS's word for a fault on the service's side. What it was is in the lab's log.
            xml.optional("deliverLogsErrorMessage", (status(id) == "FAILED").then_some("Unknown error"));
            xml.text("logFormat", &log.format).text("maxAggregationInterval", log.aggregation);
            state.show_tags(xml, id);
        },
    )
}

fn delete_flow_logs(state: &mut State, request: &Request, _: &mut Call<'_>) -> Result<Xml, Ec2Error> {
    let ids = request.fields().required_list("FlowLogId")?;
    let mut unsuccessful = Vec::new();
    for id in ids {
        FLOW_LOG.check(id)?;
        if state.flow_logs.remove(id).is_none() {
            unsuccessful.push((id, FLOW_LOG.absent(id)));
        }
        state.tags.remove(id);
    }
    let mut xml = Xml::new();
    super::show_unsuccessful(&mut xml, &unsuccessful);
    Ok(xml)
}
