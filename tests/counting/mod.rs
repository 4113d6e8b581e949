//! The program's allocator, which counts what each thread allocates. Tests and benches that include this module use it.

#![expect(unsafe_code, reason = "a global allocator that counts can only be written so")]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;

use mimalloc::MiMalloc;

thread_local! {
    /// Allocations of this thread and their bytes; const-initialised, so that counting never allocates itself.
    static MADE: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

struct Counting;

// SAFETY: every call is handed to mimalloc unchanged; counting touches no memory of the caller. Growing comes
// through `alloc`, which is what the trait's own `realloc` calls.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        MADE.with(|made| made.set((made.get().0 + 1, made.get().1 + layout.size() as u64)));
        // SAFETY: the caller's promises about `layout` are passed on.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        MADE.with(|made| made.set((made.get().0 + 1, made.get().1 + layout.size() as u64)));
        // SAFETY: the caller's promises about `layout` are passed on.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from one of the two above, that is from mimalloc, with this layout.
        unsafe { MiMalloc.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How often this thread has allocated, and how many bytes in all.
pub fn made() -> (u64, u64) {
    MADE.with(Cell::get)
}
