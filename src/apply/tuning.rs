//! Thresholds that depend on the machine, each with the measurements that set it. They never change a result.
//!
//! Measured on two-core virtual machines of an Intel Emerald Rapids (2 MiB of second-level cache, 260 MiB of third), an
//! AMD Zen 5 (1 and 32 MiB), an AMD Zen 4 (1 and 32 MiB) and an AMD Zen 3 (512 KiB and 32 MiB).

use crate::runtime::{Machine, Vendor};
use crate::simd::Cache;

/// Bytes of one sample in a column. A sample is read as a partner, then again as the next own sample, so two of them
/// should stay in the first-level cache. In place, for samples of 3 × 224 × 224 float32, in multiples of the time of
/// scaling:
///
/// - Emerald Rapids, columns of 8, 16, 48 and 96 KiB: 8 samples 0.90, 0.98, 1.02, 1.14; 64 samples 0.97, 1.00, 1.03,
///   1.06; 170 samples 0.86, 0.88, 0.91, 0.88; 512 samples 1.33, 1.24, 1.17, 1.15;
/// - Zen 4, fetched into the second-level cache, columns of 8, 16, 32 and 64 KiB: 8 samples 1.89, 2.10, 2.29, 2.29; 64
///   samples 1.13, 1.52, 1.83, 1.86; and of 8, 12, 16 and 48 KiB, 512 samples 1.27, 1.31, 1.33, 1.54;
/// - Zen 5, fetched into the first-level cache, columns of 4, 8, 12 and 16 KiB: 8 samples 1.51, 1.40, 1.32, 1.42; 64 samples
///   1.24, 0.92, 0.84, 1.04, a new result 2.08, 1.82, 2.23, 2.38; 512 samples 1.47, 1.43, 1.52, 1.54.
pub(super) fn column_bytes(machine: &Machine, batch_bytes: usize) -> usize {
    const IN_CACHE: usize = 128 << 20;
    let is_short = if machine.vendor == Vendor::Amd { !is_zen_3(machine) } else { batch_bytes <= IN_CACHE };
    if is_short { 8 << 10 } else { 48 << 10 }
}

/// Whether this is a Zen 3 or older, which are told from later ones by their second-level cache.
fn is_zen_3(machine: &Machine) -> bool {
    machine.vendor == Vendor::Amd && machine.second < 1 << 20
}

/// Whether this is a Zen 5 or later, which are told from earlier ones by their first-level cache.
fn is_zen_5(machine: &Machine) -> bool {
    machine.vendor == Vendor::Amd && machine.first >= 48 << 10
}

/// Bytes of one sample in a column with partners from another batch, which are read once, as the samples are. With 64
/// samples of 3 × 224 × 224 float32, in columns of 8 and 64 KiB and 1 MiB, mixing in place takes 2.96, 2.05 and 1.74 ms,
/// where adding takes 1.68, and a new result of the first and the last 4.98 and 3.15; 256 of bytes 3.30, 2.65 and 1.90
/// (Zen 5).
pub(super) const OTHER_COLUMN_BYTES: usize = 1 << 20;

/// Runs of this length and more are left to the hardware prefetcher with partners from another batch: it fetches both.
/// 64 samples of 3 × 224 × 224 float32 take 2.19 ms with a fetch of the next partner and 1.74 without, runs of 16 KiB
/// 1.12 either way, and runs of 8 KiB 2.70 and 3.39 (Zen 5).
pub(super) const OTHER_LONG_BYTES: usize = 16 << 10;

/// The least bytes of one sample in a column, however many threads there are.
pub(super) const COLUMN_BYTES_MIN: usize = 4 << 10;

/// Bytes of all samples in a packed or interleaved column.
pub(super) const PACKED_BYTES: usize = 64 << 10;

/// Elements that the interleaved driver blends at once: several rows if there are fewer samples.
pub(super) const INTERLEAVED_LANES: usize = 256;

/// Columns start at page boundaries, which the hardware prefetcher does not cross.
pub(super) const PAGE: usize = 4 << 10;

/// How many samples ahead to prefetch: 4 KiB, which is several rows if they are short.
pub(super) fn lookahead<T>(len: usize) -> usize {
    const AHEAD_BYTES: usize = 4 << 10;
    (AHEAD_BYTES / (len * size_of::<T>())).max(1)
}

/// The cache into which to fetch the run that is read next, of `bytes`; `None` for no fetch. `batch_bytes` are those of
/// all arrays that are read and written. Times in place, if not said otherwise.
///
/// - AMD before Zen 5: the second-level cache, if that does not hold the batch already. Of 64 samples of 3 × 224 × 224 float32 on a
///   Zen 4, fetched into the first-level cache, into it alone, into the second, and not at all: 3.00, 3.07, 1.33 and
///   2.90 ms, where scaling takes 1.18; on two threads 1.30, 1.45, 0.63 and 1.39. Rows of 1 KiB: 0.91, 1.05, 0.85 and
///   2.88 ms. 512 KB take 8.5 µs without a fetch and 9.6 with one. On a Zen 3, batches in a third of the third-level cache
///   need none either: 8 samples take 0.22 ms with a fetch and 0.19 without, a new result of them 0.29 and 0.28, on two
///   threads 0.140 and 0.126, 0.160 and 0.135; but 20 samples, of 12 MB, 0.72 and 1.38.
/// - Zen 5: the first-level cache alone. Fetched there, by way of all caches, into the second, and not at all, 64 samples
///   take 0.81, 0.85, 1.05 and 1.95 ms, where scaling takes 0.81, a new result of them 1.62, 1.66, 2.01 and 3.14; 512
///   samples 13.0, 13.2, 13.6 and 23.5; 8 samples 0.067, 0.068, 0.079 and 0.066; rows of 1 KiB 0.63, 0.62, 0.68 and 0.70.
/// - Elsewhere, long runs: the second-level cache. In the first they would evict the data being blended, and fewer lines
///   can be in flight to it. On an Emerald Rapids, fetched into the first and into the second: 512 samples in long
///   columns 1.80 and 1.24 times the time of scaling; 16,384 rows of 1 KiB 1.69 and 1.93 times; 64 samples in columns of
///   8 KiB 1.36 and 1.42 ms, 8 of them on two threads 0.076 and 0.084. (Fetching only the first 128 to 2048 bytes of
///   each page, and leaving the rest to the hardware prefetcher, takes 1.48 to 1.71 ms instead of 1.36.)
/// - Elsewhere, short runs of a batch that the third-level cache holds: the first-level cache alone, from where the
///   hardware prefetcher does not fetch the lines that follow. Those rows take 59 ns each by way of all caches and 51
///   so; batches in memory take 140 and 190. Into another array, the first alone is never best: it loses the lines to
///   what is written before they are read again. By way of all caches, a new result of 8 samples takes 0.55 times as
///   long on one thread and 0.8 on two, 64 of bytes 0.46 and 0.6, the rows 0.6 and 1.05 (Emerald Rapids).
pub(super) fn fetched_to(machine: &Machine, bytes: usize, batch_bytes: usize, in_place: bool) -> Option<Cache> {
    const SHORT_BYTES: usize = 8 << 10;
    const SHARED_BYTES: usize = 16 << 20;
    if is_zen_5(machine) {
        Some(Cache::FirstAlone)
    } else if machine.vendor == Vendor::Amd {
        let held = if is_zen_3(machine) { machine.third / 3 } else { machine.second };
        (batch_bytes > held).then_some(Cache::Second)
    } else if bytes > SHORT_BYTES {
        Some(Cache::Second)
    } else if in_place && batch_bytes <= SHARED_BYTES {
        Some(Cache::FirstAlone)
    } else {
        Some(Cache::First)
    }
}

/// Whether a result of this size is written past the cache, as the cache would not hold it beside the batch and the result
/// before. Through the cache and past it, times of 10, 12, 14, 19 and 38 MB are, in ms:
///
/// - Zen 4: 0.42 and 0.44, 0.95 and 0.67, 1.20 and 0.70, 1.80 and 0.94, 4.46 and 2.40; of 5 MB 0.15 and 0.24;
/// - Zen 3: 0.89 and 0.88, 1.30 and 1.14, -, -, 4.5 and 3.5; of 5 MB 0.26 and 0.47;
/// - Zen 5, of 9.6 MB: a new result while the one before is in use 0.45 and 0.29, the same array each time 0.26 and 0.32.
///
/// A third-level cache above 32 MiB is shared by many virtual machines, and the share of this one is not known.
pub(super) fn is_streamed(machine: &Machine, bytes: usize) -> bool {
    const STREAM_BYTES_MAX: usize = 10 << 20;
    bytes >= (machine.third / 4).min(STREAM_BYTES_MAX)
}

/// Bytes that are blended before they are stored past the cache: enough for the kernels of long runs, and few enough for
/// the first-level cache. `batch_bytes` are those that are read and written.
///
/// - Emerald Rapids: with 1 and 2 KiB, results of bytes and halves took a tenth longer than with 8.
/// - Zen 3, of 4 and 8 KiB: 64 samples of 3 × 224 × 224 float32 take 3.28 and 3.63 ms, 512 of them 27.3 and 30.7.
/// - Zen 5, of 2, 4 and 8 KiB: 128 samples of float32 take 3.1, 4.1 and 4.7 ms, 512 of them 15.3, 20.2 and 20.9, 64 of
///   float64 3.3, 3.8 and 4.9; but 512 of float16 11.6, 9.1 and 9.2, of bytes 4.1, 3.6 and 4.8. Where the cache holds a
///   part of the batch: 64 of float32 1.51, 1.43 and 1.55, cut instead of blended 2.11, 1.82 and 2.15; 64 of float16
///   1.35, 1.02 and 0.93.
pub(super) fn stream_block_bytes<T>(machine: &Machine, batch_bytes: usize) -> usize {
    let is_beyond = |caches: usize| is_zen_5(machine) && batch_bytes > caches * machine.third;
    if is_beyond(4) && size_of::<T>() >= 4 {
        2 << 10
    } else if is_zen_3(machine) || is_beyond(2) {
        4 << 10
    } else {
        8 << 10
    }
}

/// Whether the next run is fetched while a block is stored past the cache, and not while it is blended. On a Zen 3, a new
/// result of 64 samples of 3 × 224 × 224 float32 takes 3.53 ms on one thread with the fetch while blending and 3.28 with it
/// while storing, 2.36 and 2.26 on two; 512 of them 31.7 and 27.3, 19.8 and 17.4; 64 of float16 4.20 and 3.45, of float64
/// 9.56 and 8.54; cut instead of blended, 5.69 and 4.97. Bytes take longer to blend than to store: 512 samples of them
/// 11.3 and 12.4. On a Zen 5, it takes 1.1 times as long with the fetch while storing. Not measured on other processors.
pub(super) fn fetches_while_storing<T>(machine: &Machine) -> bool {
    is_zen_3(machine) && size_of::<T>() > 1
}

/// How many rows ahead to prefetch in a box that holds the whole partner. In place, 64 samples of 3 × 224 × 224 float32
/// with boxes of 0.3, 0.5 and 0.8 of each side take 2.1, 3.3 and 7.1 ms so, and 3.9, 6.1 and 8.2 without; 8 of them the
/// same (Zen 5).
pub(super) const RESIZED_ROWS_AHEAD: usize = 4;

/// Bytes of one sample in a column of `collate`. Normalising 64 × 3 × 224 × 224 bytes to float32 takes 3.3 ms on an
/// Emerald Rapids, and 4.4 ms with the shorter columns of [`column_bytes`].
pub(super) const COLLATE_COLUMN_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;
    const INTEL: Machine = Machine { vendor: Vendor::Other, first: 48 << 10, second: 2 * MIB, third: 260 * MIB };
    const AMD: Machine = Machine { vendor: Vendor::Amd, first: 32 << 10, second: MIB, third: 32 * MIB };
    const ZEN_5: Machine = Machine { first: 48 << 10, ..AMD };
    const ZEN_3: Machine = Machine { second: 512 << 10, ..AMD };

    #[test]
    fn results_that_fit_the_cache_are_not_streamed() {
        let sizes = [MIB, 5 * MIB, 10 * MIB, 32 * MIB];
        for machine in [INTEL, AMD] {
            assert_eq!(sizes.map(|bytes| is_streamed(&machine, bytes)), [false, false, true, true]);
        }
        let small = Machine { third: 6 * MIB, ..INTEL };
        assert_eq!(sizes.map(|bytes| is_streamed(&small, bytes)), [false, true, true, true]);
    }

    #[test]
    fn what_is_read_next_is_fetched_between_stores_on_a_zen_3() {
        for (machine, fetches) in [(ZEN_3, true), (AMD, false), (ZEN_5, false), (INTEL, false)] {
            assert_eq!(fetches_while_storing::<f32>(&machine), fetches);
            assert!(!fetches_while_storing::<u8>(&machine));
        }
    }

    #[test]
    fn blocks_are_shorter_the_further_a_batch_is_from_the_cache_on_a_zen_5() {
        let blocks = |machine, batch_bytes| {
            [stream_block_bytes::<f32>(&machine, batch_bytes), stream_block_bytes::<u8>(&machine, batch_bytes)]
        };
        for batch_bytes in [MIB, 64 * MIB, 65 * MIB, 129 * MIB] {
            assert_eq!(blocks(ZEN_3, batch_bytes), [4 << 10; 2]);
            assert_eq!(blocks(AMD, batch_bytes), [8 << 10; 2]);
            assert_eq!(blocks(INTEL, batch_bytes), [8 << 10; 2]);
        }
        assert_eq!(blocks(ZEN_5, 64 * MIB), [8 << 10; 2]);
        assert_eq!(blocks(ZEN_5, 128 * MIB), [4 << 10; 2]);
        assert_eq!(blocks(ZEN_5, 129 * MIB), [2 << 10, 4 << 10]);
    }

    #[test]
    fn samples_are_prefetched_4_kib_ahead() {
        assert_eq!([16, 64, 1024, 100_000].map(lookahead::<f32>), [64, 16, 1, 1]);
    }

    #[test]
    fn runs_are_fetched_into_the_best_cache() {
        use Cache::{First, FirstAlone, Second};
        let best = |machine, batch_bytes, in_place| {
            [1 << 10, 8 << 10, 64 << 10].map(|bytes| fetched_to(&machine, bytes, batch_bytes, in_place))
        };
        assert_eq!(best(INTEL, 16 * MIB, true), [FirstAlone, FirstAlone, Second].map(Some));
        for (batch_bytes, in_place) in [(17 * MIB, true), (2 * MIB, false), (usize::MAX, false)] {
            assert_eq!(best(INTEL, batch_bytes, in_place), [First, First, Second].map(Some));
            assert_eq!(best(AMD, batch_bytes, in_place), [Some(Second); 3]);
        }
        assert_eq!(best(AMD, MIB, true), [None; 3]);
        assert_eq!(best(ZEN_5, MIB, true), [Some(FirstAlone); 3]);
        assert_eq!(best(ZEN_3, 10 * MIB, false), [None; 3]);
        assert_eq!(best(ZEN_3, 11 * MIB, true), [Some(Second); 3]);
    }

    #[test]
    fn columns_are_longer_where_no_cache_holds_the_batch() {
        assert_eq!([128 * MIB, 129 * MIB].map(|bytes| column_bytes(&INTEL, bytes)), [8 << 10, 48 << 10]);
        assert_eq!([128 * MIB, 129 * MIB].map(|bytes| column_bytes(&AMD, bytes)), [8 << 10; 2]);
        assert_eq!([MIB, 129 * MIB].map(|bytes| column_bytes(&ZEN_3, bytes)), [48 << 10; 2]);
    }
}
