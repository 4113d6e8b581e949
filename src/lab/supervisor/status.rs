//! What a lab says of itself: its own view, and what its processes say.

use std::io;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::Lab;
use crate::config::Site;
use crate::edge::control::{self, Answer, LINE_LIMIT, PATIENCE};
use crate::edge::{Fault, OrFault};
use crate::lab::secrets;

/// What runs: the lab's own view, and what its processes say of themselves.
pub(super) async fn status(lab: &Lab) -> Value {
    let (endpoint, onprem) =
        tokio::join!(ask_process(lab.directories.endpoint_socket()), ask_process(lab.directories.onprem_socket()));
    let answers = [("endpoint", endpoint), ("onprem", onprem)];
    let joined = |key: &str| -> Vec<Value> {
        let lists = answers.iter().filter_map(|(name, answer)| {
            let list = answer.as_ref().ok()?.get(key)?.as_array()?.clone();
            Some(list.into_iter().map(move |mut entry| {
                if let Some(object) = entry.as_object_mut() {
                    object.insert("process".to_owned(), json!(name));
                }
                entry
            }))
        });
        lists.flatten().collect()
    };
    let topology = &lab.topology;
    let hosts: Vec<Value> = topology.hosts.iter().map(|host| json!({
        "name": host.name,
        "site": match host.site { Site::Subnet(subnet) => topology.subnets[subnet].id.as_str(), Site::OnPremises => "on-premises" },
        "ipv4": host.ipv4,
        "ipv6": host.ipv6,
    })).collect();
    // Null if the endpoint does not answer: endpoints come and go, and it alone knows.
    let endpoints = answers[0].1.as_ref().map_or(&Value::Null, |answer| &answer["endpoints"]);
    let processes: Vec<Value> = lab
        .processes
        .iter()
        .zip(&answers)
        .map(|(process, (_, answer))| {
            json!({
                "name": process.name,
                "namespace": process.namespace,
                "pid": process.outside_pid,
                "answers": answer.is_ok(),
                "status": answer.as_ref().map_or_else(|fault| json!({ "error": fault }), Value::clone),
            })
        })
        .collect();
    let identities = secrets::Credentials::load(&lab.directories).map(|c| c.identities).unwrap_or_default();
    json!({
        "lab": lab.plan.lab,
        "running": true,
        "started": lab.started,
        // A reload may have put another one in force.
        "topology": answers[0].1.as_ref().map_or(&Value::Null, |answer| &answer["topology"]).as_str().unwrap_or(&lab.plan.topology),
        "region": topology.region,
        "account": topology.account,
        "vpc": { "id": topology.vpc.id, "ipv4": topology.vpc.cidr, "ipv6": topology.vpc.cidr6, "resolver": topology.vpc.resolver() },
        "endpoints": endpoints,
        "on_premises": { "ipv4": topology.on_premises.cidr, "ipv6": topology.on_premises.cidr6, "function_host": topology.on_premises.function_host },
        "path": topology.tunnel.path,
        "api": format!("http://{}", lab.api),
        "hosts": hosts,
        "identities": identities,
        "processes": processes,
        "enforcement": joined("enforcement"),
        "counters": joined("counters"),
        "state_folder": lab.directories.state,
        "runtime_folder": lab.directories.runtime,
    })
}

/// Asks one process for its state. On a thread-less runtime a blocking question would stop the lab's answers, so this one
/// is asked asynchronously.
async fn ask_process(path: std::path::PathBuf) -> Result<Value, Fault> {
    let conversation = async {
        let stream = control::connect(&path)?;
        stream.set_nonblocking(true)?;
        let mut stream = UnixStream::from_std(stream)?;
        stream.write_all(b"{\"do\":\"status\"}\n").await?;
        let mut line = String::new();
        BufReader::new(stream.take(LINE_LIMIT)).read_line(&mut line).await?;
        io::Result::Ok(line)
    };
    let line = timeout(PATIENCE, conversation)
        .await
        .map_err(|_| Fault::new("no answer in time"))?
        .or_fault(|| "nobody answers")?;
    Answer::understand(&line)
}
