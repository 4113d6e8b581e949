//! Enis out of service: a lost zone, as far as the endpoint shows it.
//!
//! Packets are the eni stage's business, names the resolver's. Connections of an eni that is down are left alone: what they
//! send is lost, what is in flight on them is answered into the void, and their time-outs run. Those that are still there when
//! the eni is back go on, by TCP's retransmissions.

use super::Engine;
use crate::eni::EniHealth;

/// What one eni carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EniLoad {
    /// TCP connections whose handshake is over.
    pub connections: usize,
    /// Requests that came in and whose answer the client does not have in full, as far as this end can know.
    pub in_flight: usize,
}

impl std::ops::AddAssign for EniLoad {
    fn add_assign(&mut self, other: Self) {
        self.connections += other.connections;
        self.in_flight += other.in_flight;
    }
}

impl Engine {
    /// Takes an eni (its [`crate::config::Eni::slot`]) out of service, or back. It stays so over
    /// [`Engine::update`]s. Packets for it and from it are dropped as [`Reason::EniDown`](crate::verdict::Reason::EniDown), and
    /// names that have a healthy eni leave it out.
    pub fn set_eni_health(&mut self, eni: usize, healthy: bool) {
        self.eni.set_health(eni, healthy);
        self.resolver.set_health(eni, healthy);
    }

    /// Which enis are in service.
    pub fn eni_health(&self) -> &EniHealth {
        self.eni.health()
    }

    /// Bytes that each eni let through, by slot; those of enis that are no more as well.
    pub fn bytes_processed(&self) -> Vec<u64> {
        self.eni.bytes_processed().to_vec()
    }

    /// What each eni carries, by slot.
    pub fn eni_load(&self) -> Vec<EniLoad> {
        let mut load = vec![EniLoad::default(); self.eni.snapshot().slots()];
        for (_, client) in &self.clients {
            let entry = self.eni.flows().get(client.flow).filter(|_| !client.is_half_open());
            if let Some(load) = entry.and_then(|entry| load.get_mut(entry.verdict.eni())) {
                *load += EniLoad { connections: 1, in_flight: client.in_flight() };
            }
        }
        load
    }
}
