//! The configuration in force, and how another one takes its place.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use super::PATIENCE;
use super::enis::EniDevices;
use crate::config::Topology;
use crate::edge::clock::Clock;
use crate::edge::hot_loop::WorkerHandle;
use crate::edge::{Fault, control};
use crate::engine::Snapshot;
use crate::eni::EniHealth;
use crate::observe::cost::CostMeter;
use crate::observe::flow_log::created::FlowLogSpec;
use crate::sigv4::Keyring;

/// Makes a topology out of a `reload` request, given the origin of the one in force and that one itself.
pub type Reload = Box<dyn Fn(&Value, &str, &Topology) -> Result<Reloaded, Fault> + Send>;

/// A topology that may take the place of the one in force.
#[derive(Debug)]
pub struct Reloaded {
    /// The topology.
    pub topology: Topology,
    /// Its built-in name, or the absolute path of its file.
    pub origin: String,
    /// What it changes, for the answer.
    pub changes: Value,
}

/// What snapshots are made with.
#[derive(Debug)]
pub(super) struct Maker {
    pub(super) keyring: Keyring,
    pub(super) lenient: bool,
    pub(super) clock: Clock,
}

impl Maker {
    pub(super) fn make(&self, epoch: u64, topology: &Arc<Topology>) -> Result<Arc<Snapshot>, Fault> {
        let code = |function: usize| crate::onprem::code::summary(&topology.functions[function].code);
        let now = self.clock.now().unix;
        Snapshot::new(epoch, Arc::clone(topology), self.keyring.clone(), self.lenient, now, code).map(Arc::new).map_err(
            |faults| {
                let all: Vec<String> = faults.iter().map(ToString::to_string).collect();
                Fault::new(format!("a policy is not valid\n{}", all.join("\n")))
                    .remedy("mend the policy; AWS would refuse it, too")
            },
        )
    }
}

/// The configuration that all workers have.
pub(super) struct InForce {
    pub(super) snapshot: Arc<Snapshot>,
    /// Which enis are in service. Every worker's engine has the same; a reload leaves it alone.
    pub(super) health: EniHealth,
    /// Zones that are lost: an eni that comes to be in one of them is out of service as well.
    pub(super) lost_zones: BTreeSet<String>,
    /// Where its topology came from.
    pub(super) origin: String,
    pub(super) maker: Maker,
    pub(super) reload: Reload,
    pub(super) devices: EniDevices,
    pub(super) cost: CostMeter,
    /// The control socket of the on-premises side, and whether it knows what there is.
    pub(super) on_premises: PathBuf,
    pub(super) is_told: bool,
    /// Those that the API created.
    pub(super) flow_logs: Vec<FlowLogSpec>,
    pub(super) failed_flow_logs: BTreeSet<String>,
    /// How often a file was read again.
    pub(super) reloads: u64,
    /// Whether the API made changes that no file has.
    pub(super) is_ahead: bool,
}

impl InForce {
    /// Puts the topology that a request names in force. On any fault the old one stays.
    pub(super) fn reload(&mut self, request: &Value, workers: &[WorkerHandle]) -> Result<Value, Fault> {
        if self.is_ahead && request["discard"] != true {
            return Err(Fault::new("this lab was changed through its API, and a reload would undo that")
                .remedy("vpce lab reload --discard-api-changes"));
        }
        let Reloaded { topology, origin, changes } = (self.reload)(request, &self.origin, &self.snapshot.topology)?;
        self.put(topology, workers)?;
        (self.origin, self.is_ahead) = (origin, false);
        self.reloads += 1;
        Ok(json!({ "epoch": self.snapshot.epoch, "topology": self.origin, "changes": changes }))
    }

    /// Puts a topology in force: its new enis get devices first, those that are no more lose theirs last. On any fault the old
    /// one stays.
    pub(super) fn put(&mut self, mut topology: Topology, workers: &[WorkerHandle]) -> Result<(), Fault> {
        self.devices.assign_slots(&self.snapshot.topology, &mut topology)?;
        let next = self.maker.make(self.snapshot.epoch + 1, &Arc::new(topology))?;
        let added = self.devices.plug(&self.snapshot.topology, &next.topology, workers)?;
        if let Err(fault) = apply(workers, &next) {
            self.take_back(workers)?;
            EniDevices::withdraw(&added, &self.snapshot.topology, workers);
            return Err(fault);
        }
        self.take_out_of_service(&added, &next.topology, workers);
        EniDevices::unplug(&EniDevices::gone(&self.snapshot.topology, &next.topology), workers);
        self.cost.follow(&next.topology, self.maker.clock.now().unix);
        self.snapshot = next;
        self.is_told = false;
        self.tell_on_premises();
        Ok(())
    }

    /// Of the enis that were added, those in a lost zone.
    fn take_out_of_service(&mut self, added: &[u16], topology: &Topology, workers: &[WorkerHandle]) {
        let is_lost = |subnet: usize| self.lost_zones.contains(&topology.subnets[subnet].zone);
        let enis = topology.enis().map(|(_, eni)| eni).filter(|eni| added.contains(&eni.slot) && is_lost(eni.subnet));
        for slot in enis.map(|eni| usize::from(eni.slot)).collect::<Vec<_>>() {
            self.health.set(slot, false);
            for worker in workers {
                if !worker.run(move |engine, _| engine.set_eni_health(slot, false)) {
                    tracing::error!("a worker does not take an eni out of service");
                    std::process::abort();
                }
            }
        }
    }

    /// Tells the on-premises side of the endpoints, unless it knows. Public DNS is no part of the endpoint: that nobody is there
    /// yet is no fault of a change, and it is told when somebody is.
    pub(super) fn tell_on_premises(&mut self) {
        if self.is_told {
            return;
        }
        let topology = &self.snapshot.topology;
        let down = self.health.down().filter_map(|slot| topology.eni(slot)).map(|eni| eni.id.as_str());
        let health = json!({ "do": "health", "down": down.collect::<Vec<_>>() });
        let endpoints = json!({ "do": "endpoints", "endpoints": topology.endpoints });
        let told = control::ask(&self.on_premises, &endpoints).and_then(|_| control::ask(&self.on_premises, &health));
        match told {
            Ok(_) => self.is_told = true,
            Err(fault) => tracing::debug!(%fault, "the on-premises side does not hear of the endpoints"),
        }
    }

    /// Gives every worker the old configuration once more, under an epoch that none has seen: some may have taken the new
    /// one, and a slow one will yet, before it takes this.
    fn take_back(&mut self, workers: &[WorkerHandle]) -> Result<(), Fault> {
        self.snapshot = self.maker.make(self.snapshot.epoch + 2, &self.snapshot.topology)?;
        for worker in workers {
            let snapshot = Arc::clone(&self.snapshot);
            if !worker.run(move |engine, _| engine.update(&snapshot)) {
                // It runs under rules that are not in force, and does not listen.
                tracing::error!("a worker does not take its configuration back");
                std::process::abort();
            }
        }
        Ok(())
    }
}

/// Puts a snapshot in force on every worker before anybody is told that it is.
fn apply(workers: &[WorkerHandle], snapshot: &Arc<Snapshot>) -> Result<(), Fault> {
    for worker in workers {
        let snapshot = Arc::clone(snapshot);
        worker.ask(PATIENCE, move |engine, _| engine.update(&snapshot)).ok_or_else(|| {
            Fault::new("a worker did not take the new configuration in time; the old one stays in force")
                .remedy("try again")
        })?;
    }
    Ok(())
}
