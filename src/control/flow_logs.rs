//! The flow logs of the state, as the data plane writes them.

use super::State;
use crate::observe::flow_log::created::{FlowLogSpec, TrafficType};
use crate::observe::flow_log::format::Format;

/// What is to be written. A format that the API let in is understood.
pub(super) fn specs(state: &State) -> Vec<FlowLogSpec> {
    let spec = |(id, log): (&String, &super::FlowLog)| {
        Some(FlowLogSpec {
            id: id.clone(),
            resource: log.resource.clone(),
            traffic: match log.traffic_type.as_str() {
                "ACCEPT" => TrafficType::Accept,
                "REJECT" => TrafficType::Reject,
                _ => TrafficType::All,
            },
            format: Format::parse(&log.format).ok()?,
            window: u64::from(log.aggregation),
        })
    };
    state.flow_logs.iter().filter_map(spec).collect()
}
