//! Drawn values and hashes of mixed batches, the same on every processor, instruction set and thread count.
//!
//! A change of a value here breaks experiments that rely on it. Drawn values need a new `STREAM_VERSION` then.

mod drawn;
mod mixed;

/// FNV-1a, 64 bits, of the bytes of these words.
pub fn fnv(words: impl IntoIterator<Item = u64>) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    words.into_iter().flat_map(u64::to_le_bytes).fold(0xcbf2_9ce4_8422_2325, step)
}
