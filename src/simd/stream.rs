//! Results written past the cache, with non-temporal stores.
//!
//! A normal store to memory outside the cache first reads the line. For a large result that is a third of all traffic,
//! and the data read is never used. So a run is blended block by block into a scratch buffer that stays in the
//! first-level cache, and copied from there with stores that do not read.

use std::ops::Range;

use super::blend::{Recipe, blend_into as blend_into_cache};
use super::level::Level;
use super::prefetch::{Ahead, CACHE_LINE};
use crate::arithmetic::Element;

/// Bytes per block: long enough for the kernels of long runs, and small enough for the first-level cache. With 1 and
/// 2 KiB, results of bytes and halves took a tenth longer.
const BLOCK_BYTES: usize = 8 << 10;

/// Scratch memory for [`blend_into`], aligned to a cache line.
pub(crate) struct Scratch<T> {
    memory: Vec<T>,
    block: Range<usize>,
}

impl<T: Element> Scratch<T> {
    pub fn new() -> Self {
        Self::of(BLOCK_BYTES / size_of::<T>())
    }

    pub fn of(len: usize) -> Self {
        let memory = vec![T::default(); len + CACHE_LINE / size_of::<T>()];
        let start = memory.as_ptr().align_offset(CACHE_LINE);
        Self { memory, block: start..start + len }
    }

    fn block(&mut self) -> &mut [T] {
        &mut self.memory[self.block.clone()]
    }
}

/// out = own blended with partner, past the cache. The slices have the same length.
///
/// The result is visible to other threads only after [`fence`].
pub(crate) fn blend_into<T: Element>(
    level: Level,
    recipe: Recipe<T::Weight>,
    out: &mut [T],
    own: &[T],
    partner: &[T],
    ahead: Option<Ahead<T>>,
    scratch: &mut Scratch<T>,
) {
    match recipe {
        Recipe::KeepOwn => copy(own, out),
        Recipe::TakePartner => copy(partner, out),
        recipe => by_blocks(out, scratch, |start, block| {
            let at = start..start + block.len();
            let ahead = ahead.map(|ahead| ahead.skip(start));
            blend_into_cache(level, recipe, block, &own[at.clone()], &partner[at], ahead);
        }),
    }
}

/// Fills `out` past the cache, block by block: `fill` computes the elements from a start on.
pub(crate) fn by_blocks<T: Element>(out: &mut [T], scratch: &mut Scratch<T>, mut fill: impl FnMut(usize, &mut [T])) {
    let block = scratch.block();
    let step = block.len();
    for (at, out) in out.chunks_mut(step).enumerate() {
        let block = &mut block[..out.len()];
        fill(at * step, block);
        copy(block, out);
    }
}

/// Copies past the cache on x86-64, normally elsewhere.
#[allow(unsafe_code)]
fn copy<T: Element>(from: &[T], to: &mut [T]) {
    assert_eq!(from.len(), to.len());
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_stream_si128};
        // SAFETY: every bit pattern is a valid vector, and copying a vector copies the elements in it.
        let (head, vectors, tail) = unsafe { to.align_to_mut::<__m128i>() };
        let (first, rest) = from.split_at(head.len());
        let (middle, last) = rest.split_at(rest.len() - tail.len());
        head.copy_from_slice(first);
        let middle = middle.as_ptr().cast::<__m128i>();
        for (i, vector) in vectors.iter_mut().enumerate() {
            // SAFETY: `middle` has as many bytes as `vectors`, which is aligned; every x86-64 processor has SSE2.
            unsafe { _mm_stream_si128(vector, _mm_loadu_si128(middle.add(i))) };
        }
        tail.copy_from_slice(last);
    }
    #[cfg(not(target_arch = "x86_64"))]
    to.copy_from_slice(from);
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
    fn a_block_is_8_kib_of_whole_lines() {
        fn check<T: Element>(len: usize) {
            let mut scratch = Scratch::<T>::new();
            assert_eq!(scratch.block().len(), len);
            assert_eq!(scratch.block().as_ptr() as usize % CACHE_LINE, 0);
        }
        check::<f64>(1024);
        check::<u16>(4096);
        check::<u8>(8192);
        assert_eq!(Scratch::<f32>::of(5).block().len(), 5);
    }
}
