//! How many allocations an operation makes: a number that does not depend on the machine, printed beside the times.

#[path = "../tests/counting/mod.rs"]
mod counting;

/// Prints what one `operation` on what `prepare` makes allocates, on average; growing a buffer counts as an allocation.
#[expect(clippy::print_stdout, reason = "what a bench is for")]
pub fn report<I, O>(name: &str, mut prepare: impl FnMut() -> I, mut operation: impl FnMut(&mut I) -> O) {
    const TIMES: u64 = 100;
    // Buffers that are kept have grown afterwards.
    drop(operation(&mut prepare()));
    let (mut number, mut bytes) = (0, 0);
    for _ in 0..TIMES {
        let mut input = prepare();
        let before = counting::made();
        let output = operation(&mut input);
        let after = counting::made();
        drop(output);
        number += after.0 - before.0;
        bytes += after.1 - before.1;
    }
    println!("{name}: {:.2} allocations, {} bytes per operation", number as f64 / TIMES as f64, bytes / TIMES);
}
