//! Local ports of connections to the function host.

/// Local ports of connections to the function host. Workers share the address, so each has a range of its own.
#[derive(Debug)]
pub(in crate::engine) struct PortTable {
    first: u16,
    /// Which connection holds `first + index`.
    slots: Vec<Option<u32>>,
    next: usize,
}

impl PortTable {
    /// Ports of the ephemeral range (RFC 6335 §6) that fall to one worker of so many.
    pub(in crate::engine) fn new(worker: usize, workers: usize) -> Self {
        const FIRST: usize = 49_152;
        let count = (65_536 - FIRST) / workers.max(1);
        let first = u16::try_from(FIRST + count * worker).unwrap_or(u16::MAX);
        Self { first, slots: vec![None; count], next: 0 }
    }

    /// A port for the connection in `slot`. Ports are used in turn, so that an old connection's segments find none.
    pub(in crate::engine) fn claim(&mut self, slot: usize) -> Option<u16> {
        for _ in 0..self.slots.len() {
            let index = self.next;
            self.next = (self.next + 1) % self.slots.len();
            if self.slots[index].is_none() {
                self.slots[index] = u32::try_from(slot).ok();
                return self.first.checked_add(u16::try_from(index).ok()?);
            }
        }
        None
    }

    pub(in crate::engine) fn slot_of(&self, port: u16) -> Option<usize> {
        let index = usize::from(port.checked_sub(self.first)?);
        self.slots.get(index).copied().flatten().map(|slot| slot as usize)
    }

    pub(in crate::engine) fn release(&mut self, port: u16) {
        if let Some(slot) = port.checked_sub(self.first).and_then(|index| self.slots.get_mut(usize::from(index))) {
            *slot = None;
        }
    }
}
