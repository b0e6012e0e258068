//! The only place that knows about threads.
//!
//! A pool of our own, never rayon's global one, which hangs in a forked child. It is looked up without a lock, by the
//! number of forks that lie behind the process: after a fork the inherited pool, whose threads do not exist here, is
//! left alone for good and a new one is built on first use.
//!
//! Jobs are taken from counters by at most as many threads as asked for, the calling one among them, so their number
//! can change from call to call without rebuilding the pool. Results never depend on who took which job.

use std::sync::Mutex;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use super::environment::whole_number;
use super::help::{Helpers, with_help};

/// The environment variables that set the number of threads, the strongest first. torchrun and Ray speak through the
/// last alone.
pub const THREADS_ENVIRONMENT: [&str; 3] = ["MIXUP_RS_NUM_THREADS", "RAYON_NUM_THREADS", "OMP_NUM_THREADS"];

/// How often this process, or an ancestor since the library was loaded, has forked into it.
static FORKS: AtomicU64 = AtomicU64::new(0);

/// The last [`set_limit`]: forks in the upper half, the number in the lower; 0 means never. It speaks for the process
/// that called it, not for its children, as under spawn.
static LIMIT: AtomicU64 = AtomicU64::new(0);

/// The number of processors, in the same form: asking the system reads files.
static AVAILABLE: AtomicU64 = AtomicU64::new(0);

/// Pieces of work per thread, so that a thread that is delayed does not delay the others.
const JOBS_PER_THREAD: usize = 4;

/// Bytes that each thread passes through, at least, those of a new result counted beside those of the batch. A call
/// with less than twice as many stays on the calling thread. On an Emerald Rapids whose kernel packs its processors, so
/// that the woken thread starts on the calling thread's processor, one thread and two take, in place, 27 and 33 µs for
/// 1 MiB, 58 and 60 for 2 MiB, 154 and 150 for 4 MiB; with the other thread awake, 163 and 79 for 4.6 MiB.
pub const BYTES_PER_THREAD: usize = 2 << 20;

/// How many threads a pass through so many bytes is worth.
pub(crate) fn worth(bytes: usize, limit: usize) -> usize {
    limit.min(bytes / BYTES_PER_THREAD).max(1)
}

/// Into how many jobs to cut the work of so many threads.
pub(crate) fn jobs(threads: usize) -> usize {
    if threads > 1 { threads * JOBS_PER_THREAD } else { 1 }
}

static POOL: AtomicPtr<Pool> = AtomicPtr::new(std::ptr::null_mut());

struct Pool {
    forks: u64,
    helpers: Helpers,
}

/// The number of threads that may run here: the processors this process is allowed to use.
pub fn available() -> usize {
    remembered(&AVAILABLE).unwrap_or_else(|| {
        let count = std::thread::available_parallelism().map_or(1, |count| count.get());
        remember(&AVAILABLE, count);
        count
    })
}

/// Sets the number of threads for this process, at most [`available`]. 0 forgets an earlier setting.
pub fn set_limit(count: usize) {
    remember(&LIMIT, count.min(available()));
}

/// The number of threads that was asked for: by [`set_limit`] in this process, else by the environment; at most
/// [`available`].
pub fn requested() -> Option<usize> {
    remembered(&LIMIT).or_else(|| {
        let count = THREADS_ENVIRONMENT.iter().find_map(|name| whole_number(name, 1).ok().flatten())?;
        Some(count.min(available()))
    })
}

fn remembered(cell: &AtomicU64) -> Option<usize> {
    let value = cell.load(Ordering::Relaxed);
    let count = value & u64::from(u32::MAX);
    (count > 0 && value >> 32 == forks()).then_some(count as usize)
}

fn remember(cell: &AtomicU64, count: usize) {
    let count = u64::try_from(count).map_or(u64::from(u32::MAX), |count| count.min(u64::from(u32::MAX)));
    cell.store(forks() << 32 | count, Ordering::Relaxed);
}

/// Counts forks from the first call on.
#[allow(unsafe_code)]
fn forks() -> u64 {
    #[cfg(unix)]
    {
        use std::sync::atomic::AtomicBool;
        static WATCHED: AtomicBool = AtomicBool::new(false);
        extern "C" fn count_fork() {
            FORKS.fetch_add(1, Ordering::Relaxed);
        }
        if !WATCHED.swap(true, Ordering::Relaxed) {
            // SAFETY: the handler only adds to an atomic integer, which is allowed in a forked child.
            unsafe { libc::pthread_atfork(None, None, Some(count_fork)) };
        }
    }
    FORKS.load(Ordering::Relaxed)
}

/// The pool of this process with at least `threads` threads.
#[allow(unsafe_code)]
fn pool(threads: usize) -> Option<&'static Helpers> {
    let forks = forks();
    let current = POOL.load(Ordering::Acquire);
    // SAFETY: a pool is never freed once it is in POOL.
    let known = unsafe { current.as_ref() };
    if let Some(pool) = known.filter(|pool| pool.forks == forks && pool.helpers.count() >= threads) {
        return Some(&pool.helpers);
    }
    // A pool that turns out too small is replaced by the largest there can be, so that this happens once.
    let outgrown = known.is_some_and(|pool| pool.forks == forks);
    let threads = if outgrown { threads.max(available()) } else { threads };
    let fresh = Box::into_raw(Box::new(Pool { forks, helpers: Helpers::new(threads)? }));
    match POOL.compare_exchange(current, fresh, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: `fresh` came from a box and is never freed from here on. The pool it replaces is leaked, for a call
        // may still be running in it, or its threads are those of another process.
        Ok(_) => Some(unsafe { &(*fresh).helpers }),
        Err(_) => {
            // SAFETY: another thread was faster; nobody has seen `fresh`.
            drop(unsafe { Box::from_raw(fresh) });
            pool(threads)
        }
    }
}

/// Runs `work` on every job below `jobs`, on at most `threads` threads, each with a `scratch` of its own. If the system
/// gives no threads, or gives them late, the calling one does it all.
///
/// Each thread begins with a part of the jobs that is its own from call to call, as are the caches that the last call
/// left behind, and goes on where others are behind.
pub(crate) fn for_each<S>(
    jobs: usize,
    threads: usize,
    scratch: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize) + Sync,
) {
    let helpers = threads.min(jobs).saturating_sub(1);
    let Some(pool) = (if helpers == 0 { None } else { pool(helpers) }) else {
        let mut scratch = scratch();
        return (0..jobs).for_each(|job| work(&mut scratch, job));
    };
    let parts = helpers + 1;
    let start = |part: usize| part * jobs / parts;
    let next: Vec<AtomicUsize> = (0..parts).map(|part| AtomicUsize::new(start(part))).collect();
    with_help(pool, helpers, &|thread| {
        let mut scratch_of_this = None;
        for part in (thread..parts).chain(0..thread) {
            let take = || Some(next[part].fetch_add(1, Ordering::Relaxed)).filter(|&job| job < start(part + 1));
            for job in std::iter::from_fn(take) {
                work(scratch_of_this.get_or_insert_with(&scratch), job);
            }
        }
    });
}

/// Runs `work` on every stretch of `len` items, the last may be shorter, with its number.
pub(crate) fn for_each_chunk<T: Send>(
    items: &mut [T],
    len: usize,
    threads: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    let chunks: Vec<Mutex<&mut [T]>> = items.chunks_mut(len).map(Mutex::new).collect();
    for_each(
        chunks.len(),
        threads,
        || (),
        |(), job| work(job, &mut chunks[job].lock().expect("no other job has this chunk")),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_is_done_once() {
        for threads in [1, 2, 8] {
            for jobs in [0, 1, 2, 100] {
                let done: Vec<AtomicUsize> = (0..jobs).map(|_| AtomicUsize::new(0)).collect();
                for_each(
                    jobs,
                    threads,
                    || (),
                    |(), job| {
                        done[job].fetch_add(1, Ordering::Relaxed);
                    },
                );
                assert!(done.iter().all(|count| count.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn a_thread_is_worth_2_mib() {
        const MIB: usize = 1024 * 1024;
        assert_eq!([0, 4 * MIB - 1, 4 * MIB, 100 * MIB].map(|bytes| worth(bytes, 8)), [1, 1, 2, 8]);
        assert_eq!([1, 2, 8].map(jobs), [1, 8, 32]);
    }

    #[test]
    fn a_panicking_job_leaves_the_pool_usable() {
        let panics = std::panic::catch_unwind(|| for_each(8, 2, || (), |(), job| assert!(job != 3)));
        assert!(panics.is_err());
        every_job_is_done_once();
    }
}
