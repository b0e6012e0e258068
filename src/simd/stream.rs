//! Results written past the cache.
//!
//! A store to memory that is not in the cache first reads it in. For a large result that is a third of all traffic, and
//! nobody needs what it reads. So a run is blended block by block into a scratch that stays in the first-level cache,
//! and from there stored with instructions that do not read.

use std::ops::Range;

use super::{Ahead, CACHE_LINE, Level, Recipe, blend_into as blend_into_cache};
use crate::arithmetic::Element;

/// What is blended at once: so much that it counts as long, and so little that it leaves room in the first-level cache.
/// Of 1 and 2 KiB, results of bytes and halves took a tenth longer.
const BLOCK_BYTES: usize = 8 << 10;

/// Scratch for [`blend_into`], which begins with a cache line.
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

/// out = own blended with partner, past the cache. The slices have one length.
///
/// What it wrote is seen by other threads only after [`fence`].
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
        recipe => blend_and(level, recipe, out, own, partner, ahead, scratch, |_, _| ()),
    }
}

/// As [`blend_into`], and hands each blended block, and where it begins, to `finish` before it is stored.
#[allow(clippy::too_many_arguments)] // those of `blend_into`, and one more
pub(crate) fn blend_and<T: Element>(
    level: Level,
    recipe: Recipe<T::Weight>,
    out: &mut [T],
    own: &[T],
    partner: &[T],
    ahead: Option<Ahead<T>>,
    scratch: &mut Scratch<T>,
    mut finish: impl FnMut(usize, &mut [T]),
) {
    let block = scratch.block();
    let step = block.len();
    for (at, out) in out.chunks_mut(step).enumerate() {
        let (start, block) = (at * step, &mut block[..out.len()]);
        let (own, partner) = (&own[start..][..out.len()], &partner[start..][..out.len()]);
        blend_into_cache(level, recipe, block, own, partner, ahead.map(|ahead| ahead.skip(start)));
        finish(start, block);
        copy(block, out);
    }
}

/// Copies past the cache where the processor can.
#[allow(unsafe_code)]
fn copy<T: Element>(from: &[T], to: &mut [T]) {
    assert_eq!(from.len(), to.len());
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_stream_si128};
        // SAFETY: any bit pattern is a vector, and a vector copied is the elements copied.
        let (head, vectors, tail) = unsafe { to.align_to_mut::<__m128i>() };
        let (first, rest) = from.split_at(head.len());
        let (middle, last) = rest.split_at(rest.len() - tail.len());
        head.copy_from_slice(first);
        let middle = middle.as_ptr().cast::<__m128i>();
        for (i, vector) in vectors.iter_mut().enumerate() {
            // SAFETY: `middle` has as many bytes as `vectors`, which are aligned; every x86-64 has SSE2.
            unsafe { _mm_stream_si128(vector, _mm_loadu_si128(middle.add(i))) };
        }
        tail.copy_from_slice(last);
    }
    #[cfg(not(target_arch = "x86_64"))]
    to.copy_from_slice(from);
}

/// Makes what was written past the cache visible to other threads.
#[allow(unsafe_code)]
pub(crate) fn fence() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 has SSE.
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
