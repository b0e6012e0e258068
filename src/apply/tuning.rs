//! Thresholds that depend on the machine, each with the measurements that set it. They never change a result.

/// Bytes of one sample in a column. A sample is read as a partner, then again as the next own sample, so two of them
/// should stay in the first-level cache. If no cache holds the batch, longer runs are faster. In place, for samples of
/// 3 × 224 × 224 float32 on an Emerald Rapids, columns of 8, 16, 48 and 96 KiB take, in multiples of the time of
/// scaling: 8 samples 0.90, 0.98, 1.02, 1.14; 64 samples 0.97, 1.00, 1.03, 1.06; 170 samples 0.86, 0.88, 0.91, 0.88;
/// 512 samples 1.33, 1.24, 1.17, 1.15. (A Zen 3 preferred 64 KiB when columns began inside a cache line and without
/// prefetching across columns.)
pub(super) fn column_bytes(batch_bytes: usize) -> usize {
    const IN_CACHE: usize = 128 << 20;
    if batch_bytes <= IN_CACHE { 8 << 10 } else { 48 << 10 }
}

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

/// Whether a result of this size is written past the cache, as the cache would not hold it. On a Zen 3 with 32 MiB of
/// third-level cache, times through the cache and past it are, in ms: 5 MB 0.26 and 0.47, 10 MB 0.89 and 0.88, 12 MB
/// 1.30 and 1.14, 38 MB 4.5 and 3.5.
pub(super) fn is_streamed(bytes: usize) -> bool {
    const STREAM_BYTES: usize = 10 << 20;
    bytes >= STREAM_BYTES
}

/// Bytes of one sample in a column of `collate`. Normalising 64 × 3 × 224 × 224 bytes to float32 takes 3.3 ms on an
/// Emerald Rapids, and 4.4 ms with the shorter columns of [`column_bytes`].
pub(super) const COLLATE_COLUMN_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_that_fit_the_cache_are_not_streamed() {
        assert_eq!([1 << 20, 5 << 20, 32 << 20].map(is_streamed), [false, false, true]);
    }

    #[test]
    fn samples_are_prefetched_4_kib_ahead() {
        assert_eq!([16, 64, 1024, 100_000].map(lookahead::<f32>), [64, 16, 1, 1]);
    }
}
