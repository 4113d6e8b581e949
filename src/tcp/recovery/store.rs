//! Copies of bytes that were sent and not acknowledged.
//!
//! A connection holds as many chunks as it has bytes under way, and gives them back as they are acknowledged: an idle one
//! holds none. Chunks come from a pool of the stage, so that none is allocated in steady state.

use std::collections::VecDeque;

/// Bytes per chunk.
pub(super) const CHUNK: usize = 32 * 1024;
/// Free chunks kept for reuse: 16 MiB.
const FREE_LIMIT: usize = 512;
/// Chunks lent at the same time before connections have to make do with [`SCARCE_BYTES`] each: 256 MiB.
const LENT_LIMIT: usize = 8_192;
/// Bytes under way on one connection at most: Linux's `tcp_wmem`, as far as its default goes.
const BYTES_LIMIT: u64 = 4 << 20;
/// The same while chunks are scarce.
const SCARCE_BYTES: u64 = 64 * 1024;

type Chunk = Box<[u8; CHUNK]>;

/// Chunks for all connections of a stage.
#[derive(Debug, Default)]
pub(in crate::tcp) struct ChunkPool {
    free: Vec<Chunk>,
    lent: usize,
}

impl ChunkPool {
    /// Bytes that one connection may have under way now.
    pub(super) fn limit(&self) -> u64 {
        if self.lent < LENT_LIMIT { BYTES_LIMIT } else { SCARCE_BYTES }
    }

    /// Whether no connection has any.
    #[cfg(test)]
    pub(super) fn is_whole(&self) -> bool {
        self.lent == 0
    }

    fn take(&mut self) -> Chunk {
        self.lent += 1;
        self.free.pop().unwrap_or_else(|| Box::new([0; CHUNK]))
    }

    fn give(&mut self, chunk: Chunk) {
        self.lent = self.lent.saturating_sub(1);
        if self.free.len() < FREE_LIMIT {
            self.free.push(chunk);
        }
    }
}

/// One connection's bytes, by their offset in the stream.
#[derive(Debug, Default)]
pub(super) struct Store {
    chunks: VecDeque<Chunk>,
    /// The number of the first chunk: its first byte's offset, in chunks.
    first: u64,
}

impl Store {
    /// Keeps a copy of `data`, which begins at offset `at`: where the last one ended, or anywhere if nothing is kept.
    #[inline]
    pub(super) fn append(&mut self, mut at: u64, mut data: &[u8], pool: &mut ChunkPool) {
        while !data.is_empty() {
            let (number, within) = split(at);
            if self.chunks.is_empty() {
                self.first = number;
            }
            if number == self.first + self.chunks.len() as u64 {
                self.chunks.push_back(pool.take());
            }
            let len = data.len().min(CHUNK - within);
            let (now, rest) = data.split_at(len);
            if let Some(chunk) = self.chunk_mut(number) {
                chunk[within..within + len].copy_from_slice(now);
            }
            (at, data) = (at + len as u64, rest);
        }
    }

    /// Copies what is kept from offset `at` on into `into`.
    pub(super) fn read(&self, mut at: u64, mut into: &mut [u8]) {
        while !into.is_empty() {
            let (number, within) = split(at);
            let len = into.len().min(CHUNK - within);
            let (now, rest) = into.split_at_mut(len);
            let chunk = number.checked_sub(self.first).and_then(|index| self.chunks.get(index as usize));
            debug_assert!(chunk.is_some(), "only what is kept is asked for");
            if let Some(chunk) = chunk {
                now.copy_from_slice(&chunk[within..within + len]);
            }
            (at, into) = (at + len as u64, rest);
        }
    }

    /// Gives back what lies wholly below offset `at`, and everything if nothing lies above it.
    #[inline]
    pub(super) fn release(&mut self, at: u64, is_empty: bool, pool: &mut ChunkPool) {
        let (number, _) = split(at);
        while (is_empty || self.first < number)
            && let Some(chunk) = self.chunks.pop_front()
        {
            pool.give(chunk);
            self.first += 1;
        }
    }

    fn chunk_mut(&mut self, number: u64) -> Option<&mut Chunk> {
        let index = number.checked_sub(self.first)?;
        self.chunks.get_mut(index as usize)
    }
}

/// The chunk that holds an offset, and where in it.
fn split(at: u64) -> (u64, usize) {
    (at / CHUNK as u64, (at % CHUNK as u64) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_back_across_chunks_and_given_back_in_order() {
        let (mut pool, mut store) = (ChunkPool::default(), Store::default());
        let data: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        let start = (1 << 32) - 1_000;
        for (index, piece) in data.chunks(1_398).enumerate() {
            store.append(start + index as u64 * 1_398, piece, &mut pool);
        }
        let mut read = vec![0; 100_000];
        store.read(start + 50_000, &mut read);
        assert_eq!(read, data[50_000..150_000]);
        let lent = pool.lent;
        store.release(start + 150_000, false, &mut pool);
        assert!(pool.lent < lent && pool.free.len() == lent - pool.lent);
        let mut read = vec![0; 50_000];
        store.read(start + 150_000, &mut read);
        assert_eq!(read, data[150_000..]);
        store.release(start + 200_000, true, &mut pool);
        assert_eq!(pool.lent, 0, "an idle connection holds nothing");
    }

    #[test]
    fn when_chunks_are_scarce_a_connection_gets_fewer() {
        let mut pool = ChunkPool::default();
        assert_eq!(pool.limit(), BYTES_LIMIT);
        pool.lent = LENT_LIMIT;
        assert_eq!(pool.limit(), SCARCE_BYTES);
    }
}
