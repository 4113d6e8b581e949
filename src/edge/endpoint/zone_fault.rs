//! A zone lost, and found again: its enis go out of service on every worker between two turns, nothing is restarted.

use serde_json::{Value, json};

use super::PATIENCE;
use super::in_force::InForce;
use crate::config::Topology;
use crate::edge::Fault;
use crate::edge::hot_loop::WorkerHandle;
use crate::engine::EniLoad;

impl InForce {
    /// Takes all enis of the request's `zone` out of service, or back, as its `healthy` says; on all workers or on none. The
    /// answer has what each of them carried at that moment.
    pub(super) fn fault(&mut self, request: &Value, workers: &[WorkerHandle]) -> Result<Value, Fault> {
        let (Some(zone), Some(healthy)) = (request["zone"].as_str(), request["healthy"].as_bool()) else {
            return Err(Fault::new("a `fault` request names a `zone` and says whether its enis are `healthy`"));
        };
        let topology = &self.snapshot.topology;
        let enis = enis_in(topology, zone);
        if enis.is_empty() && !self.lost_zones.contains(zone) {
            let known = format!("name one of: {}", zones(topology).join(", "));
            return Err(Fault::new(format!("no eni of the endpoint is in the zone {zone}")).at(zone).remedy(known));
        }
        let before: Vec<bool> = enis.iter().map(|&eni| self.health.is_healthy(eni)).collect();
        let mut carried = vec![EniLoad::default(); topology.eni_slots()];
        for worker in workers {
            let changed = enis.clone();
            let load = worker.ask(PATIENCE, move |engine, _| {
                for eni in changed {
                    engine.set_eni_health(eni, healthy);
                }
                engine.eni_load()
            });
            let Some(load) = load else {
                take_back(workers, &enis, &before);
                return Err(Fault::new("a worker did not answer in time; the zone is as it was").remedy("try again"));
            };
            carried.iter_mut().zip(load).for_each(|(sum, load)| *sum += load);
        }
        for &eni in &enis {
            self.health.set(eni, healthy);
        }
        if healthy {
            self.lost_zones.remove(zone);
        } else {
            self.lost_zones.insert(zone.to_owned());
        }
        let described =
            enis.iter().filter_map(|&slot| Some((topology.eni(slot)?, carried[slot]))).map(|(eni, load)| {
                let EniLoad { connections, in_flight } = load;
                json!({
                    "id": eni.id, "ipv4": eni.ipv4, "ipv6": eni.ipv6, "healthy": healthy,
                    "connections": connections, "in_flight": in_flight,
                })
            });
        let total = topology.enis().count();
        let down: Vec<&str> =
            self.health.down().filter_map(|slot| topology.eni(slot)).map(|eni| eni.id.as_str()).collect();
        Ok(json!({
            "zone": zone,
            "state": if healthy { "up" } else { "down" },
            "changed": before.contains(&!healthy),
            "enis": described.collect::<Vec<_>>(),
            "healthy_enis": total - down.len(),
            "total_enis": total,
            "down": down,
        }))
    }
}

/// Has every worker put the zone back: some may have taken the fault, and a slow one will yet, before it takes this.
fn take_back(workers: &[WorkerHandle], enis: &[usize], before: &[bool]) {
    for worker in workers {
        let state: Vec<(usize, bool)> = enis.iter().copied().zip(before.iter().copied()).collect();
        let taken = worker.run(move |engine, _| {
            for (eni, healthy) in state {
                engine.set_eni_health(eni, healthy);
            }
        });
        if !taken {
            // Its enis are not what is said of them, and it does not listen.
            tracing::error!("a worker does not put its enis back");
            std::process::abort();
        }
    }
}

/// The slots of the enis in a zone.
fn enis_in(topology: &Topology, zone: &str) -> Vec<usize> {
    let enis = topology.enis().filter(|(_, eni)| topology.subnets[eni.subnet].zone == zone);
    enis.map(|(_, eni)| usize::from(eni.slot)).collect()
}

/// The zones that have an eni, in order.
fn zones(topology: &Topology) -> Vec<&str> {
    let mut zones: Vec<&str> = topology.enis().map(|(_, eni)| topology.subnets[eni.subnet].zone.as_str()).collect();
    zones.sort_unstable();
    zones.dedup();
    zones
}
