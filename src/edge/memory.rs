//! The program's memory: mimalloc, and pages straight from the kernel for large zeroed blocks.
//!
//! The buffers of connections are such blocks, and thousands of them are used no further than their first page. A page that
//! nobody wrote costs nothing, unless an allocator writes it: mimalloc zeroes what it hands out again, whether it will be
//! used or not, and asks for huge pages, of which one byte in use makes two megabytes resident (decision 18). Here a freed
//! block's pages go back to the kernel, and the next to take it gets fresh ones.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mimalloc::MiMalloc;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};

/// The smallest block that comes from here. Smaller ones are soon written as a whole.
const SMALLEST: usize = 16 * 1024;
/// The largest: so few are larger that it does not matter.
const LARGEST: usize = SMALLEST << (CLASSES - 1);
/// Sizes of blocks, powers of two.
const CLASSES: usize = 7;
/// Addresses, not memory: eight times what a worker's connections can have by default. Beyond them mimalloc does it.
const RESERVED: usize = 1 << 36;
/// What no block needs to be aligned beyond.
const PAGE: usize = 4_096;

/// The allocator of a program.
#[derive(Debug)]
pub struct Allocator;

// SAFETY: a block comes from mimalloc or from `Pages`, which hands out no address twice before it is freed; `owner` tells
// them apart by address, so each block goes back to where it came from.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises about `layout` are passed on.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if let Some(block) = class(layout).and_then(|class| lock().take(class)) {
            return block;
        }
        // SAFETY: the caller's promises about `layout` are passed on.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(class) = owner(block, layout) {
            // SAFETY: the caller gives up the block, which is one of ours and of this class.
            unsafe { forget_contents(block, SMALLEST << class) };
            lock().give_back(block, class);
            return;
        }
        // SAFETY: the block is not ours, so mimalloc made it, with this layout.
        unsafe { MiMalloc.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if owner(block, layout).is_none() {
            // SAFETY: the block is not ours, so mimalloc made it, with this layout.
            return unsafe { MiMalloc.realloc(block, layout, size) };
        }
        // SAFETY: the caller promises that `size` is not zero and makes a layout with this alignment; both blocks hold the
        // bytes that are copied, and the old one is not used again.
        unsafe {
            let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !moved.is_null() {
                moved.copy_from_nonoverlapping(block, size.min(layout.size()));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}

/// Where the reserved addresses begin; null before the first block was taken.
static BASE: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
static PAGES: Mutex<Pages> = Mutex::new(Pages { is_refused: false, used: 0, free: [const { Vec::new() }; CLASSES] });

/// The reserved addresses, cut into blocks. Taken for new connections, not for packets, so a lock will do.
struct Pages {
    /// The kernel does not give so many addresses.
    is_refused: bool,
    /// Bytes handed out at least once; what follows was never touched.
    used: usize,
    /// Offsets of free blocks, by class. They lie here, because writing them into the blocks would cost a page each.
    free: [Vec<usize>; CLASSES],
}

/// A panic elsewhere leaves the lists as good as they were.
fn lock() -> MutexGuard<'static, Pages> {
    PAGES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The class of blocks for `layout`, if such blocks come from here.
fn class(layout: Layout) -> Option<usize> {
    let is_here = (SMALLEST..=LARGEST).contains(&layout.size()) && layout.align() <= PAGE;
    is_here.then(|| (layout.size().next_power_of_two() / SMALLEST).trailing_zeros() as usize)
}

/// The class of a block that came from here; `None` if mimalloc made it.
fn owner(block: *mut u8, layout: Layout) -> Option<usize> {
    // Who has a block of ours has seen the base that was stored before it was made.
    let class = class(layout)?;
    let base = BASE.load(Ordering::Relaxed).addr();
    (base != 0 && block.addr().wrapping_sub(base) < RESERVED).then_some(class)
}

/// Makes a block read as zeros, and cost nothing until it is written.
///
/// # Safety
/// The block has this size, came from `Pages`, and nobody uses it.
unsafe fn forget_contents(block: *mut u8, size: usize) {
    // SAFETY: these are whole pages of a private anonymous mapping that nobody uses; they read as zeros afterwards.
    if unsafe { madvise(block.cast(), size, Advice::LinuxDontNeed) }.is_err() {
        // Locked into memory, or the kernel's pages are larger than the block.
        // SAFETY: nobody uses these bytes.
        unsafe { block.write_bytes(0, size) };
    }
}

impl Pages {
    /// A block of zeros; `None` if there are no addresses left.
    fn take(&mut self, class: usize) -> Option<*mut u8> {
        let base = self.base()?;
        let size = SMALLEST << class;
        let offset = match self.free[class].pop() {
            Some(offset) => offset,
            None if self.used + size <= RESERVED => {
                self.used += size;
                self.used - size
            }
            None => return None,
        };
        Some(base.wrapping_add(offset))
    }

    fn give_back(&mut self, block: *mut u8, class: usize) {
        // The list grows by mimalloc, which does not come back here.
        self.free[class].push(block.addr() - BASE.load(Ordering::Relaxed).addr());
    }

    /// Where the addresses begin, which are reserved when first wanted.
    fn base(&mut self) -> Option<*mut u8> {
        let base = BASE.load(Ordering::Relaxed);
        if !base.is_null() || self.is_refused {
            return (!base.is_null()).then_some(base);
        }
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::NORESERVE);
        // SAFETY: the kernel chooses addresses that nobody uses.
        let Ok(mapped) = (unsafe { mmap_anonymous(std::ptr::null_mut(), RESERVED, protection, flags) }) else {
            self.is_refused = true;
            return None;
        };
        // Without it, where the kernel does not know huge pages, there are none either.
        // SAFETY: advice about the mapping made above.
        _ = unsafe { madvise(mapped, RESERVED, Advice::LinuxNoHugepage) };
        BASE.store(mapped.cast(), Ordering::Relaxed);
        Some(mapped.cast())
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_types, reason = "the kernel tells in a file what is resident")]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use super::*;

    const RING: Layout = Layout::new::<[u8; 65_536]>();

    fn take(layout: Layout) -> &'static mut [u8] {
        // SAFETY: a block of this size, zeroed, that nobody else has; `free` ends its use.
        unsafe {
            let block = Allocator.alloc_zeroed(layout);
            assert!(owner(block, layout).is_some());
            std::slice::from_raw_parts_mut(block, layout.size())
        }
    }

    fn free(block: &'static mut [u8], layout: Layout) {
        // SAFETY: `take` made it with this layout.
        unsafe { Allocator.dealloc(block.as_mut_ptr(), layout) }
    }

    /// Pages of the block that are resident: bit 63 of their entries (Documentation/admin-guide/mm/pagemap.rst).
    fn resident(block: &[u8]) -> usize {
        let mut entries = vec![0; block.len() / PAGE * 8];
        let map = File::open("/proc/self/pagemap").unwrap();
        map.read_exact_at(&mut entries, (block.as_ptr().addr() / PAGE * 8) as u64).unwrap();
        entries.chunks(8).filter(|entry| u64::from_ne_bytes((*entry).try_into().unwrap()) >> 63 == 1).count()
    }

    #[test]
    fn only_pages_that_were_written_cost_memory_also_when_the_block_is_taken_again() {
        for _ in 0..2 {
            let blocks: Vec<_> = (0..64).map(|_| take(RING)).collect();
            for block in blocks {
                assert_eq!(resident(block), 0);
                block[..100].fill(1);
                assert_eq!(resident(block), 1);
                assert!(block[100..].iter().all(|byte| *byte == 0));
                block.fill(7);
                free(block, RING);
            }
        }
    }

    #[test]
    fn blocks_do_not_overlap_and_keep_what_is_in_them() {
        let layouts: Vec<_> = (0..200_usize).map(|n| Layout::array::<u8>(16_384 + n * 5_003).unwrap()).collect();
        for round in 0..2_u8 {
            let mut blocks: Vec<_> = layouts.iter().map(|layout| take(*layout)).collect();
            for (n, block) in blocks.iter_mut().enumerate() {
                assert!(block.iter().all(|byte| *byte == 0), "{n}");
                block.fill(n as u8 ^ round);
            }
            for (n, (block, layout)) in blocks.into_iter().zip(&layouts).enumerate() {
                assert!(block.iter().all(|byte| *byte == n as u8 ^ round), "{n}");
                free(block, *layout);
            }
        }
    }

    #[test]
    fn a_block_that_grows_or_shrinks_takes_its_bytes_along() {
        for size in [100, 65_537, 5_000_000] {
            let block = take(RING);
            block.fill(9);
            // SAFETY: the block is of this layout; what comes back has at least the smaller of both sizes.
            unsafe {
                let moved = Allocator.realloc(block.as_mut_ptr(), RING, size);
                assert!((0..size.min(65_536)).all(|at| moved.add(at).read() == 9), "{size}");
                Allocator.dealloc(moved, Layout::array::<u8>(size).unwrap());
            }
        }
    }

    #[test]
    fn small_odd_and_unzeroed_blocks_are_left_to_mimalloc() {
        let layouts = [(100, 8), (SMALLEST - 1, 1), (LARGEST + 1, 1), (65_536, 8_192)];
        for (size, align) in layouts {
            let layout = Layout::from_size_align(size, align).unwrap();
            // SAFETY: the size is not zero, and the block goes back with its layout.
            unsafe {
                let block = Allocator.alloc_zeroed(layout);
                assert_eq!(owner(block, layout), None, "{size}");
                Allocator.dealloc(block, layout);
            }
        }
        // SAFETY: as above.
        unsafe {
            let block = Allocator.alloc(RING);
            assert_eq!(owner(block, RING), None);
            Allocator.dealloc(block, RING);
        }
    }
}
