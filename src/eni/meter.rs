//! What an endpoint is billed for: bytes that its enis let through, in both directions (AWS PrivateLink pricing, "data processed";
//! CloudWatch's `BytesProcessed`). IP headers count; a super-segment counts as the packets it stands for.

/// Bytes by slot. Slots are not given twice, so what an eni had stays when it goes.
#[derive(Debug)]
pub(super) struct Meter(Vec<u64>);

impl Meter {
    pub(super) fn new(slots: usize) -> Self {
        Self(vec![0; slots])
    }

    /// For enis that came to be.
    pub(super) fn make_room(&mut self, slots: usize) {
        if self.0.len() < slots {
            self.0.resize(slots, 0);
        }
    }

    #[inline]
    pub(super) fn add(&mut self, eni: u16, bytes: u64) {
        if let Some(sum) = self.0.get_mut(usize::from(eni)) {
            *sum += bytes;
        }
    }

    pub(super) fn bytes(&self) -> &[u64] {
        &self.0
    }
}
