//! Memory for new results, recycled.
//!
//! The system maps memory page by page and zeroes each page at its first touch. For a batch that takes longer than
//! mixing it. A dropped buffer therefore goes to a cache, for the next result of about its size. Every buffer has one
//! owner; the cache owns only unused buffers.
//!
//! No thread waits for the cache. A thread that finds it locked allocates or frees without it, so a child that was
//! forked while a thread held the lock cannot hang.

use std::alloc::{Layout, alloc, dealloc};
use std::ptr::NonNull;
use std::sync::{Mutex, OnceLock};

use super::environment::whole_number;

/// The environment variable that bounds the size of the cache, in MiB.
pub const ENVIRONMENT: &str = "MIXUP_RS_CACHE_MB";

const DEFAULT_CACHE_MIB: usize = 1 << 10;

/// The least size, in bytes, of a recycled result. The allocator recycles smaller ones itself.
pub const RECYCLED_BYTES: usize = 64 << 10;

/// A huge page of 2 MiB costs one page fault instead of 512.
const HUGE_PAGE: usize = 2 << 20;

const CACHE_LINE: usize = 64;

/// Uninitialised memory with one owner, aligned for any element and any vector.
#[derive(Debug)]
pub struct Buffer {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a buffer is plain memory with one owner.
#[allow(unsafe_code)]
unsafe impl Send for Buffer {}

// SAFETY: a shared reference gives access to the address and the size alone.
#[allow(unsafe_code)]
unsafe impl Sync for Buffer {}

static CACHE: Mutex<Vec<Buffer>> = Mutex::new(Vec::new());

fn cache_bytes() -> usize {
    static BYTES: OnceLock<usize> = OnceLock::new();
    *BYTES.get_or_init(|| {
        let mib = whole_number(ENVIRONMENT, 0).ok().flatten();
        mib.unwrap_or(DEFAULT_CACHE_MIB).saturating_mul(1 << 20)
    })
}

impl Buffer {
    /// A buffer of at least `bytes` bytes, aligned to a cache line, or from 2 MiB on to a huge page. `None` if the
    /// system has no memory for it.
    #[allow(unsafe_code)]
    pub fn new(bytes: usize) -> Option<Self> {
        let align = if bytes >= HUGE_PAGE { HUGE_PAGE } else { CACHE_LINE };
        let layout = Layout::from_size_align(bytes.max(1), align).ok()?.pad_to_align();
        if let Some(buffer) = Self::recycled(layout) {
            return Some(buffer);
        }
        #[cfg(unix)]
        if align == HUGE_PAGE {
            return Some(Self { start: pages::map(layout.size())?, layout });
        }
        // SAFETY: the size is not zero.
        let start = NonNull::new(unsafe { alloc(layout) })?;
        Some(Self { start, layout })
    }

    /// The smallest cached buffer that holds `layout` and is at most a quarter larger; of several the one that was used
    /// last, which may still be in the processor's cache.
    fn recycled(layout: Layout) -> Option<Self> {
        let mut cache = CACHE.try_lock().ok()?;
        let fits = |buffer: &Buffer| {
            buffer.layout.align() >= layout.align()
                && buffer.size() >= layout.size()
                && buffer.size() - layout.size() <= layout.size() / 4
        };
        let best = (0..cache.len()).rev().filter(|&i| fits(&cache[i])).min_by_key(|&i| cache[i].size())?;
        Some(cache.remove(best))
    }

    /// A pointer to the first byte.
    pub fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// The number of bytes.
    pub fn size(&self) -> usize {
        self.layout.size()
    }

    #[allow(unsafe_code)]
    fn free(self) {
        let buffer = std::mem::ManuallyDrop::new(self);
        #[cfg(unix)]
        if buffer.layout.align() == HUGE_PAGE {
            return pages::unmap(buffer.start, buffer.layout.size());
        }
        // SAFETY: allocated in `new` with this layout, and not used again.
        unsafe { dealloc(buffer.as_ptr(), buffer.layout) };
    }
}

/// Maps and unmaps whole huge pages. The C allocator would keep freed memory: it raises its mmap threshold up to 32
/// MiB, and blocks freed below that stay in its heap, between other allocations.
#[cfg(unix)]
#[allow(unsafe_code)]
mod pages {
    use super::{HUGE_PAGE, NonNull};

    /// Maps `size` bytes, aligned to a huge page. `size` is a multiple of [`HUGE_PAGE`].
    pub(super) fn map(size: usize) -> Option<NonNull<u8>> {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANON);
        let whole = size.checked_add(HUGE_PAGE)?;
        // SAFETY: an anonymous mapping at no fixed address replaces no other.
        let mapped = unsafe { libc::mmap(std::ptr::null_mut(), whole, access, kind, -1, 0) };
        if mapped == libc::MAP_FAILED {
            return None;
        }
        let mapped: *mut u8 = mapped.cast();
        let before = mapped.align_offset(HUGE_PAGE);
        // SAFETY: before + size <= whole, all of it mapped above and whole pages.
        unsafe {
            let start = mapped.add(before);
            if before > 0 {
                libc::munmap(mapped.cast(), before);
            }
            libc::munmap(start.add(size).cast(), HUGE_PAGE - before);
            // Only advice: a failure changes nothing.
            #[cfg(target_os = "linux")]
            libc::madvise(start.cast(), size, libc::MADV_HUGEPAGE);
            NonNull::new(start)
        }
    }

    /// Unmaps what `map` returned. The memory must not be used afterwards.
    pub(super) fn unmap(start: NonNull<u8>, size: usize) {
        // SAFETY: mapped above with this size.
        unsafe { libc::munmap(start.as_ptr().cast(), size) };
    }
}

impl Drop for Buffer {
    /// Returns the memory to the cache. A full cache frees its oldest buffers.
    fn drop(&mut self) {
        let buffer = Self { start: self.start, layout: self.layout };
        let mut surplus = Vec::new();
        match CACHE.try_lock() {
            Ok(mut cache) if buffer.size() >= RECYCLED_BYTES => {
                cache.push(buffer);
                let mut waiting: usize = cache.iter().map(Buffer::size).sum();
                while waiting > cache_bytes() {
                    let oldest = cache.remove(0);
                    waiting -= oldest.size();
                    surplus.push(oldest);
                }
            }
            _ => surplus.push(buffer),
        }
        surplus.into_iter().for_each(Buffer::free);
    }
}

/// Returns all cached memory to the system.
pub fn clear() {
    let waiting = match CACHE.try_lock() {
        Ok(mut cache) => std::mem::take(&mut *cache),
        Err(_) => return,
    };
    waiting.into_iter().for_each(Buffer::free);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of cached buffers of this size. Other tests use the cache at the same time, so each has its own size.
    fn waiting(size: usize) -> usize {
        CACHE.lock().unwrap().iter().filter(|buffer| buffer.size() == size).count()
    }

    #[test]
    fn a_dropped_buffer_is_reused() {
        const SIZE: usize = 1_234_560;
        let first = Buffer::new(SIZE).unwrap();
        let address = first.as_ptr();
        let second = Buffer::new(SIZE).unwrap();
        assert_ne!(address, second.as_ptr());
        drop(first);
        assert_eq!(waiting(SIZE), 1);
        let third = Buffer::new(SIZE - 1000).unwrap();
        assert_eq!(address, third.as_ptr());
        assert_eq!(waiting(SIZE), 0);
    }

    #[test]
    fn the_buffer_that_was_used_last_comes_first() {
        const SIZE: usize = 1_234_688;
        let [first, second] = [(); 2].map(|()| Buffer::new(SIZE).unwrap());
        let address = first.as_ptr();
        drop(second);
        drop(first);
        assert_eq!(Buffer::new(SIZE).unwrap().as_ptr(), address);
    }

    #[test]
    fn buffers_are_large_enough_and_aligned() {
        for bytes in [0, 1, 63, 4096, (2 << 20) - 1, 2 << 20, (2 << 20) + 1] {
            let buffer = Buffer::new(bytes).unwrap();
            assert!(buffer.size() >= bytes);
            let align = if bytes >= HUGE_PAGE { HUGE_PAGE } else { CACHE_LINE };
            assert_eq!(buffer.as_ptr() as usize % align, 0);
        }
        assert!(Buffer::new(usize::MAX).is_none());
    }
}
