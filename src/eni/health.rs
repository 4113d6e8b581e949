//! Which enis are out of service: a fault of the lab, for it has no zones that fail by themselves.
//!
//! An eni that is down is a wire that was cut: nothing gets in or out, nobody is told, and nothing is forgotten. Its flows stay
//! as they are, and their time-outs run on.

/// The health of an endpoint's enis, by their slots. All are healthy unless said otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EniHealth {
    down: Vec<bool>,
}

impl EniHealth {
    /// Notes that an eni is healthy, or is not.
    pub fn set(&mut self, eni: usize, healthy: bool) {
        if self.down.len() <= eni {
            if healthy {
                return;
            }
            self.down.resize(eni + 1, false);
        }
        self.down[eni] = !healthy;
    }

    /// Whether an eni is healthy.
    #[inline]
    pub fn is_healthy(&self, eni: usize) -> bool {
        !self.down.get(eni).copied().unwrap_or(false)
    }

    /// The enis that are down, in order.
    pub fn down(&self) -> impl Iterator<Item = usize> {
        self.down.iter().enumerate().filter_map(|(eni, down)| down.then_some(eni))
    }
}
