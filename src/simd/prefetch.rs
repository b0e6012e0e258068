//! Fetches the run that will be read next into the cache.

pub(crate) const CACHE_LINE: usize = 64;

/// The run that will be read next, of about the same length. It is fetched into the cache while a run is blended: the
/// hardware prefetcher follows a run, but cannot know where the next one starts. Only the address is used.
#[derive(Debug, PartialEq)]
pub(crate) struct Ahead<T> {
    from: *const T,
    to: Cache,
}

/// The cache that a run is fetched into.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Cache {
    /// The first-level cache, by way of the others.
    First,
    /// The first-level cache alone. The hardware prefetcher does not fetch the lines that follow.
    FirstAlone,
    /// The second-level cache.
    Second,
}

impl Cache {
    /// The best cache for runs of `bytes` of a batch of `batch_bytes`; `usize::MAX` if it is read from elsewhere than it
    /// is written.
    pub fn best(bytes: usize, batch_bytes: usize) -> Self {
        if bytes > SHORT_BYTES {
            Self::Second
        } else if batch_bytes <= SHARED_BYTES {
            Self::FirstAlone
        } else {
            Self::First
        }
    }
}

impl<T> Clone for Ahead<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Ahead<T> {}

impl<T> Ahead<T> {
    pub fn new(from: *const T, to: Cache) -> Self {
        Self { from, to }
    }

    #[inline(always)]
    pub(super) fn cast<U>(self) -> Ahead<U> {
        Ahead { from: self.from.cast(), to: self.to }
    }

    /// The same run without its first `len` elements.
    #[inline(always)]
    pub fn skip(self, len: usize) -> Self {
        Self { from: self.from.wrapping_add(len), ..self }
    }

    /// An address in each of the cache lines of the first `len` elements.
    #[inline(always)]
    fn lines(self, len: usize) -> impl Iterator<Item = *const i8> {
        (0..len * size_of::<T>()).step_by(CACHE_LINE).map(move |line| self.from.cast::<i8>().wrapping_add(line))
    }

    /// Fetches the first `len` elements. Selecting the hint for each line costs nothing: with the hint fixed at compile
    /// time and a tenth fewer instructions, rows of 1 KiB took 65 ns instead of 51.
    #[inline(always)]
    #[allow(unsafe_code)]
    pub fn fetch(self, len: usize) {
        #[cfg(target_arch = "x86_64")]
        for address in self.lines(len) {
            use std::arch::x86_64::{_MM_HINT_NTA, _MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
            // SAFETY: every x86-64 processor has the instruction, which ignores an address that it cannot read.
            unsafe {
                match self.to {
                    Cache::First => _mm_prefetch::<_MM_HINT_T0>(address),
                    Cache::FirstAlone => _mm_prefetch::<_MM_HINT_NTA>(address),
                    Cache::Second => _mm_prefetch::<_MM_HINT_T1>(address),
                }
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = self.lines(len);
    }
}

/// Longer runs are fetched into the second-level cache. In the first they would evict the data being blended, and fewer
/// lines can be in flight to it. Times in place on an Emerald Rapids, fetched into the first and into the second:
///
/// - 512 × 3 × 224 × 224 float32, long columns: 1.80 and 1.24 times the time of scaling them;
/// - 16,384 × 256, short columns: 1.69 and 1.93 times;
/// - columns of 8 KiB, as of smaller batches, are still short: of 64 samples 1.36 and 1.42 ms, of 8 on two threads
///   0.076 and 0.084 ms.
///
/// Fetching only the first 128 to 2048 bytes of each page, and leaving the rest to the hardware prefetcher, takes 1.48
/// to 1.71 ms instead of 1.36.
const SHORT_BYTES: usize = 8 << 10;

/// The largest batch that even a small third-level cache holds. 16,384 × 256 float32 in place take 59 ns a row if short
/// runs are fetched by way of all caches, and 51 into the first alone; batches in memory take 140 and 190. Into another
/// array, the first alone is never best: it loses the lines to what is written before they are read again. Fetched by
/// way of all caches, a new result of 8 images of float32 takes 0.55 times as long on one thread and 0.8 on two, 64 of
/// bytes 0.46 and 0.6, the rows 0.6 and 1.05 (Emerald Rapids).
const SHARED_BYTES: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_ahead_is_fetched_once() {
        let elements = [0.0_f32; 300];
        let ahead = Ahead::new(elements.as_ptr(), Cache::First).skip(10);
        let lines: Vec<usize> = ahead.lines(100).map(|line| line as usize - elements.as_ptr() as usize).collect();
        assert_eq!(lines, [40, 104, 168, 232, 296, 360, 424]);
    }

    #[test]
    fn long_runs_are_fetched_into_the_second_cache() {
        const MIB: usize = 1 << 20;
        let best = |batch_bytes| [1 << 10, 8 << 10, 64 << 10].map(|bytes| Cache::best(bytes, batch_bytes));
        assert_eq!(best(16 * MIB), [Cache::FirstAlone, Cache::FirstAlone, Cache::Second]);
        assert_eq!(best(17 * MIB), [Cache::First, Cache::First, Cache::Second]);
    }
}
