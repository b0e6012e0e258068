//! Results written past the cache, with non-temporal stores.
//!
//! A normal store to memory outside the cache first reads the line. For a large result that is a third of all traffic,
//! and the data read is never used. So a run is blended block by block into a scratch buffer that stays in the
//! first-level cache, and copied from there with stores that do not read.

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__m128i, __m512i, _mm_loadu_si128, _mm_stream_si128, _mm512_loadu_si512, _mm512_stream_si512};

use super::level::Level;
#[cfg(target_arch = "x86_64")]
use super::level::Set;
use super::prefetch::{Ahead, CACHE_LINE};
use crate::arithmetic::Element;

/// Scratch memory for [`by_blocks`]: one block, aligned to a cache line.
pub(crate) struct Scratch<T> {
    memory: Vec<T>,
    block: Range<usize>,
}

impl<T: Element> Scratch<T> {
    pub fn new(len: usize) -> Self {
        let memory = vec![T::default(); len + CACHE_LINE / size_of::<T>()];
        let start = memory.as_ptr().align_offset(CACHE_LINE);
        Self { memory, block: start..start + len }
    }

    fn block(&mut self) -> &mut [T] {
        &mut self.memory[self.block.clone()]
    }
}

/// Fills `out` past the cache, block by block: `fill` computes the elements from a start on. `ahead` is fetched while
/// the blocks are stored.
///
/// The result is visible to other threads only after [`fence`].
pub(crate) fn by_blocks<T: Element>(
    level: Level,
    out: &mut [T],
    ahead: Option<Ahead<T>>,
    scratch: &mut Scratch<T>,
    mut fill: impl FnMut(usize, &mut [T]),
) {
    let block = scratch.block();
    let step = block.len();
    for (at, out) in out.chunks_mut(step).enumerate() {
        let block = &mut block[..out.len()];
        fill(at * step, block);
        copy(level, block, out, ahead.map(|ahead| ahead.skip(at * step)));
    }
}

/// Copies past the cache on x86-64, normally elsewhere. `ahead` is fetched meanwhile.
///
/// The copy is visible to other threads only after [`fence`].
#[allow(unsafe_code)]
pub(crate) fn copy<T: Element>(level: Level, from: &[T], to: &mut [T], ahead: Option<Ahead<T>>) {
    assert_eq!(from.len(), to.len());
    #[cfg(target_arch = "x86_64")]
    {
        /// Lines that are fetched at once. With four, 64 × 3 × 224 × 224 float32 take 1.03 times as long, with all lines
        /// of a block 1.25 times (Zen 3).
        const LINES: usize = 8;
        const VECTORS: usize = LINES * CACHE_LINE / size_of::<__m128i>();
        // SAFETY: every bit pattern is a valid vector, and copying a vector copies the elements in it.
        let (head, vectors, tail) = unsafe { to.align_to_mut::<__m128i>() };
        let (first, rest) = from.split_at(head.len());
        let (middle, last) = rest.split_at(rest.len() - tail.len());
        head.copy_from_slice(first);
        let middle = middle.as_ptr().cast::<__m128i>();
        for (group, vectors) in vectors.chunks_mut(VECTORS).enumerate() {
            if let Some(ahead) = ahead {
                let len = size_of_val(vectors) / size_of::<T>();
                ahead.skip(group * VECTORS * size_of::<__m128i>() / size_of::<T>()).fetch(len);
            }
            // SAFETY: `middle` has as many bytes as all vectors, and a level proves that the processor supports it.
            unsafe {
                let from = middle.add(group * VECTORS);
                match level.set() {
                    Set::Avx512 => copy_lines(from, vectors),
                    _ => copy_vectors(from, vectors),
                }
            }
        }
        tail.copy_from_slice(last);
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (level, ahead);
        to.copy_from_slice(from);
    }
}

/// # Safety
/// There must be as many vectors at `from`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[allow(unsafe_code)]
unsafe fn copy_vectors(from: *const __m128i, to: &mut [__m128i]) {
    for (i, vector) in to.iter_mut().enumerate() {
        // SAFETY: as required above; the vector is aligned, and every x86-64 processor has SSE2.
        unsafe { _mm_stream_si128(vector, _mm_loadu_si128(from.add(i))) };
    }
}

/// The same by whole lines, in 0.9 times the time of a new result of 64 × 3 × 224 × 224 float32, 0.85 times of float16; if
/// what is before and after the lines goes through the cache, rows of 1 KiB take 1.7 times as long (Zen 5).
///
/// # Safety
/// As above.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
unsafe fn copy_lines(from: *const __m128i, to: &mut [__m128i]) {
    // SAFETY: every bit pattern is a valid vector. There are as many at `from` as required above.
    unsafe {
        let (head, lines, tail) = to.align_to_mut::<__m512i>();
        copy_vectors(from, head);
        let from = from.add(head.len()).cast::<__m512i>();
        for (i, line) in lines.iter_mut().enumerate() {
            _mm512_stream_si512(line, _mm512_loadu_si512(from.add(i)));
        }
        copy_vectors(from.add(lines.len()).cast(), tail);
    }
}

/// Makes non-temporal stores visible to other threads.
#[allow(unsafe_code)]
pub(crate) fn fence() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has SSE.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_begins_at_a_line() {
        fn check<T: Element>(len: usize) {
            let mut scratch = Scratch::<T>::new(len);
            assert_eq!(scratch.block().len(), len);
            assert_eq!(scratch.block().as_ptr() as usize % CACHE_LINE, 0);
        }
        check::<f64>(1024);
        check::<f32>(5);
        check::<u8>(8192);
    }

    #[test]
    fn a_copy_is_exact_wherever_it_begins() {
        use crate::simd::Cache;

        let from: Vec<u16> = (0..3000).collect();
        let lengths = [(0, 3000), (1, 2999), (3, 700), (7, 5), (8, 0), (9, 31), (31, 64)];
        let aheads = [None, Some(Ahead::new(from.as_ptr(), Cache::Second))];
        for level in Level::available() {
            for ((start, len), ahead) in lengths.iter().flat_map(|&at| aheads.map(|ahead| (at, ahead))) {
                let mut to = vec![0; 3000];
                copy(level, &from[..len], &mut to[start..start + len], ahead);
                fence();
                assert!(to[start..start + len] == from[..len]);
                assert!(to[..start].iter().chain(&to[start + len..]).all(|&value| value == 0));
            }
        }
    }
}
