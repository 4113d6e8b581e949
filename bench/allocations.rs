//! How many allocations an operation makes: a number that does not depend on the machine, printed beside the times.

#![expect(unsafe_code, reason = "a global allocator that counts can only be written so")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static MADE: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

struct Counting;

// SAFETY: every call is handed to the system allocator unchanged; counting touches no memory of the caller.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        MADE.with(|made| made.set((made.get().0 + 1, made.get().1 + layout.size() as u64)));
        // SAFETY: the caller's promises about `layout` are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `alloc` above, that is from `System`, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Prints what one `operation` on what `prepare` makes allocates, on average; growing a buffer counts as an allocation.
#[expect(clippy::print_stdout, reason = "what a bench is for")]
pub fn report<I, O>(name: &str, mut prepare: impl FnMut() -> I, mut operation: impl FnMut(&mut I) -> O) {
    const TIMES: u64 = 100;
    // Buffers that are kept have grown afterwards.
    drop(operation(&mut prepare()));
    let (mut number, mut bytes) = (0, 0);
    for _ in 0..TIMES {
        let mut input = prepare();
        let before = MADE.with(Cell::get);
        let output = operation(&mut input);
        let after = MADE.with(Cell::get);
        drop(output);
        number += after.0 - before.0;
        bytes += after.1 - before.1;
    }
    println!("{name}: {:.2} allocations, {} bytes per operation", number as f64 / TIMES as f64, bytes / TIMES);
}
