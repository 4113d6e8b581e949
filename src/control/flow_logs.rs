//! The flow logs of the state, as the data plane writes them.

use std::time::Duration;

use super::State;
use crate::observe::flow_log::created::{FlowLogSpec, TrafficType};
use crate::observe::flow_log::format::Format;

/// What is to be written. A format that the API let in is understood. `minute` is how long a minute of flow logs is in this lab
/// (`flow_log_interval`).
pub(super) fn specs(state: &State, minute: Duration) -> Vec<FlowLogSpec> {
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
            window: minute.as_secs().max(1) * u64::from(log.aggregation).div_ceil(60),
        })
    };
    state.flow_logs.iter().filter_map(spec).collect()
}
