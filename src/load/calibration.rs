//! The machine's mood: how long a cache line takes to travel between two processors and back.
//!
//! On a virtual machine it changes tenfold within seconds, and with it the kernel's cost per packet. A result without it
//! cannot be compared with another.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::machine::pin_thread;

/// How long is measured.
const LONG: Duration = Duration::from_millis(40);
/// Round trips between two looks at the clock.
const BATCH: u32 = 1000;
/// What ends the other side.
const END: u32 = u32::MAX;

/// Nanoseconds for the way between the two processors and back. `None` if they are one, or cannot be used.
pub fn round_trip_ns(cpus: [usize; 2]) -> Option<f64> {
    if cpus[0] == cpus[1] {
        return None;
    }
    // On a line of its own, so that nothing else travels with it.
    #[repr(align(128))]
    struct Line(AtomicU32);
    let line = Line(AtomicU32::new(0));
    std::thread::scope(|scope| {
        let echo = scope.spawn(|| {
            if pin_thread(&[cpus[1]]).is_err() {
                line.0.store(END, Ordering::Release);
                return;
            }
            // Odd numbers are the other side's, even ones ours.
            let mut last = 0;
            loop {
                match line.0.load(Ordering::Acquire) {
                    END => return,
                    number if number != last && number % 2 == 1 => {
                        last = number + 1;
                        line.0.store(last, Ordering::Release);
                    }
                    _ => std::hint::spin_loop(),
                }
            }
        });
        let measure = scope.spawn(|| {
            pin_thread(&[cpus[0]]).ok()?;
            let mut number = 0;
            let mut trip = || {
                // Not a store: what ends both sides must not be lost.
                line.0.compare_exchange(number, number + 1, Ordering::AcqRel, Ordering::Acquire).ok()?;
                number += 2;
                loop {
                    match line.0.load(Ordering::Acquire) {
                        END => return None,
                        arrived if arrived == number => return Some(()),
                        _ => std::hint::spin_loop(),
                    }
                }
            };
            let (mut trips, mut start) = (0, Instant::now());
            // The first batch only wakes both sides.
            for _ in 0..BATCH {
                trip()?;
            }
            start += start.elapsed();
            while start.elapsed() < LONG && trips < END / 4 {
                for _ in 0..BATCH {
                    trip()?;
                }
                trips += BATCH;
            }
            Some(start.elapsed().as_secs_f64() * 1e9 / f64::from(trips))
        });
        let measured = measure.join().ok().flatten();
        line.0.store(END, Ordering::Release);
        measured.filter(|_| echo.join().is_ok())
    })
}

#[cfg(test)]
mod tests {
    use super::super::machine::allowed;
    use super::*;

    #[test]
    fn a_cache_line_takes_some_time_and_no_processor_bounces_with_itself() {
        assert_eq!(round_trip_ns([0, 0]), None);
        assert_eq!(round_trip_ns([0, 900]), None, "no machine of ours has so many");
        if let [first, second, ..] = allowed()[..] {
            let ns = round_trip_ns([first, second]).expect("two processors");
            assert!(ns > 1.0, "{ns}");
        }
    }
}
