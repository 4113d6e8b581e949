//! The program's allocator, which counts what each thread allocates. Tests and benches that include this module use it.

#![allow(dead_code, reason = "each file uses its part of the counts")]
#![expect(unsafe_code, reason = "a global allocator that counts can only be written so")]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;

use vpce::edge::memory::Allocator;

thread_local! {
    /// Allocations of this thread and their bytes; const-initialised, so that counting never allocates itself.
    static MADE: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
    /// Bytes that this thread has allocated and not freed; of those it asked for as zeros, however long ago.
    static HELD: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

struct Counting;

// SAFETY: every call is handed to the program's allocator unchanged; counting touches no memory of the caller. Growing comes
// through `alloc`, which is what the trait's own `realloc` calls.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller's promises about `layout` are passed on.
        unsafe { Allocator.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), layout.size());
        // SAFETY: the caller's promises about `layout` are passed on.
        unsafe { Allocator.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.with(|held| held.set((held.get().0.wrapping_sub(layout.size()), held.get().1)));
        // SAFETY: `pointer` came from one of the two above, that is from the program's allocator, with this layout.
        unsafe { Allocator.dealloc(pointer, layout) }
    }
}

fn count(bytes: usize, zeroed: usize) {
    MADE.with(|made| made.set((made.get().0 + 1, made.get().1 + bytes as u64)));
    HELD.with(|held| held.set((held.get().0.wrapping_add(bytes), held.get().1.wrapping_add(zeroed))));
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How often this thread has allocated, and how many bytes in all.
pub fn made() -> (u64, u64) {
    MADE.with(Cell::get)
}

/// How many bytes this thread has allocated and not freed, and how many it has ever asked for as zeros. Wraps where it frees
/// what another has allocated.
pub fn held() -> (usize, usize) {
    HELD.with(Cell::get)
}
