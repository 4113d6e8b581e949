//! Enis that come and go while the endpoint runs: their slots, and their devices on every worker.

use crate::config::Topology;
use crate::edge::Fault;
use crate::edge::hot_loop::WorkerHandle;
use crate::edge::netlink::Netlink;
use crate::edge::plumbing;
use crate::edge::tun::TunMode;
use crate::engine::Port;
use crate::observe::capture::Tap;

/// How devices of enis are made, and what they are numbered.
#[derive(Debug)]
pub(super) struct EniDevices {
    mode: TunMode,
    /// The capture that devices are added to.
    tap: Option<Tap>,
    /// Queues of a device.
    workers: usize,
    /// The first slot that nobody ever had. None is given twice: flow-log records and ended flows name enis by slot.
    next_slot: usize,
}

impl EniDevices {
    /// For an endpoint that began with `topology`.
    pub(super) fn new(mode: TunMode, workers: usize, tap: Option<Tap>, topology: &Topology) -> Self {
        Self { mode, tap, workers, next_slot: topology.eni_slots() }
    }

    /// Gives every eni of `next` the slot that it has in `now`, or one of its own.
    pub(super) fn assign_slots(&mut self, now: &Topology, next: &mut Topology) -> Result<(), Fault> {
        for eni in next.endpoints.iter_mut().flat_map(|endpoint| &mut endpoint.enis) {
            let known =
                now.enis().find(|(_, known)| known.id == eni.id && known.ipv4 == eni.ipv4 && known.ipv6 == eni.ipv6);
            eni.slot = match known {
                Some((_, known)) => known.slot,
                None => {
                    let slot = u16::try_from(self.next_slot).ok().filter(|slot| *slot < u16::MAX);
                    self.next_slot += 1;
                    slot.ok_or_else(|| {
                        Fault::new("this lab has had 65,535 enis, and has no number for another").remedy("restart it")
                    })?
                }
            };
        }
        Ok(())
    }

    /// Opens the devices of enis that `next` has and `now` has not, and hands them to the workers. Returns their slots.
    pub(super) fn plug(&self, now: &Topology, next: &Topology, workers: &[WorkerHandle]) -> Result<Vec<u16>, Fault> {
        let added = Self::gone(next, now);
        let enis = next.enis().map(|(_, eni)| eni).filter(|eni| added.contains(&eni.slot));
        let mut plugged = Vec::new();
        if added.is_empty() {
            return Ok(plugged);
        }
        let netlink = Netlink::open()?;
        for eni in enis {
            let handed = plumbing::open_eni(&netlink, eni, self.mode, self.workers).and_then(|device| {
                plugged.push(eni.slot);
                // Before anything can cross it.
                self.tap.as_ref().map_or(Ok(()), |tap| tap.add(&plumbing::eni_device(eni.slot)))?;
                let mut queues = workers.iter().zip(device.into_queues());
                let all_took = queues.all(|(worker, queue)| worker.plug(Port::Eni(usize::from(eni.slot)), queue));
                if all_took { Ok(()) } else { Err(Fault::new("a worker does not take a device").remedy("try again")) }
            });
            if let Err(fault) = handed {
                Self::withdraw(&plugged, now, workers);
                return Err(fault.at(eni.id.clone()));
            }
        }
        Ok(plugged)
    }

    /// Takes back what [`EniDevices::plug`] did: addresses that new enis share with those of `now` lead to these again.
    pub(super) fn withdraw(added: &[u16], now: &Topology, workers: &[WorkerHandle]) {
        Self::unplug(added, workers);
        let routed =
            Netlink::open().and_then(|netlink| now.enis().try_for_each(|(_, eni)| plumbing::route_eni(&netlink, eni)));
        if let Err(fault) = routed {
            tracing::error!(%fault, "enis cannot be reached any more");
            std::process::abort();
        }
    }

    /// Has the workers close their queues of these enis; with the last one the kernel takes the device away.
    pub(super) fn unplug(slots: &[u16], workers: &[WorkerHandle]) {
        for worker in workers {
            for slot in slots {
                if !worker.unplug(Port::Eni(usize::from(*slot))) {
                    // It runs with a device that nothing is said of, and does not listen.
                    tracing::error!("a worker does not give a device back");
                    std::process::abort();
                }
            }
        }
    }

    /// Slots of enis that `now` has and `next` has not.
    pub(super) fn gone(now: &Topology, next: &Topology) -> Vec<u16> {
        let is_gone = |slot: u16| !next.enis().any(|(_, eni)| eni.slot == slot);
        now.enis().map(|(_, eni)| eni.slot).filter(|slot| is_gone(*slot)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Eni, builtin};

    #[test]
    fn a_slot_is_kept_while_its_eni_is_there_and_never_given_twice() {
        let now = builtin("quickstart").expect("built in").check().expect("sound");
        let mut devices = EniDevices::new(TunMode::Plain, 1, None, &now);
        let mut next = now.clone();
        let first = next.endpoints[0].enis[0].clone();
        next.endpoints[0].enis.push(Eni { slot: 0, id: "eni-2".into(), ipv4: [10, 0, 9, 100].into(), ..first });
        devices.assign_slots(&now, &mut next).expect("there are slots");
        let slots = |topology: &Topology| topology.enis().map(|(_, eni)| eni.slot).collect::<Vec<_>>();
        assert_eq!((slots(&next), EniDevices::gone(&next, &now)), (vec![0, 1], vec![1]));
        let mut without = next.clone();
        without.endpoints[0].enis.clear();
        assert_eq!(EniDevices::gone(&next, &without), [0, 1]);
        // The same id at another address is another interface.
        let mut again = next.clone();
        again.endpoints[0].enis[1].ipv4 = [10, 0, 9, 101].into();
        devices.assign_slots(&next, &mut again).expect("there are slots");
        assert_eq!(slots(&again), [0, 2]);
    }
}
