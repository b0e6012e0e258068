//! The thread pool.
//!
//! It is private, not rayon's global pool, which hangs in a forked child. It is looked up without a lock, by the number
//! of forks since the library was loaded. After a fork the threads of the inherited pool do not exist: that pool is
//! leaked, and a new one is built on first use.
//!
//! Threads take jobs from shared counters. A call uses as many threads as it asks for, the calling one included, so
//! their number can change without rebuilding the pool. Results never depend on which thread took which job.

use std::sync::Mutex;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use super::environment::whole_number;
use super::help::{Helpers, with_help};

/// The environment variables that set the number of threads; the first valid one wins. torchrun and Ray set only the
/// last.
pub const THREADS_ENVIRONMENT: [&str; 3] = ["MIXUP_RS_NUM_THREADS", "RAYON_NUM_THREADS", "OMP_NUM_THREADS"];

/// The number of forks between the process that loaded the library and this one.
static FORKS: AtomicU64 = AtomicU64::new(0);

/// The last [`set_limit`]: the fork count in the upper half, the limit in the lower, 0 for none. It holds in the
/// process that called it and not in its forked children, as with spawned ones.
static LIMIT: AtomicU64 = AtomicU64::new(0);

/// The number of processors, in the same form. Cached, as the system call reads files.
static AVAILABLE: AtomicU64 = AtomicU64::new(0);

/// Jobs per thread. With several, a delayed thread does not delay the others.
const JOBS_PER_THREAD: usize = 4;

/// The least number of bytes per thread, those of a new result counted beside those of the batch. A call with less than
/// twice as many runs on the calling thread. Measured in place on an Emerald Rapids whose kernel packs its processors,
/// so that a woken thread starts on the calling thread's processor: one thread and two take 27 and 33 µs for 1 MiB, 58
/// and 60 for 2 MiB, 154 and 150 for 4 MiB; with the other thread awake, 163 and 79 for 4.6 MiB.
pub const BYTES_PER_THREAD: usize = 2 << 20;

/// The number of threads for a pass over `bytes`, at most `limit`.
pub(crate) fn worth(bytes: usize, limit: usize) -> usize {
    limit.min(bytes / BYTES_PER_THREAD).max(1)
}

/// The number of jobs for `threads` threads.
pub(crate) fn jobs(threads: usize) -> usize {
    if threads > 1 { threads * JOBS_PER_THREAD } else { 1 }
}

static POOL: AtomicPtr<Pool> = AtomicPtr::new(std::ptr::null_mut());

struct Pool {
    forks: u64,
    helpers: Helpers,
}

/// The number of processors that this process may use, at least 1.
pub fn available() -> usize {
    remembered(&AVAILABLE).unwrap_or_else(|| {
        let count = std::thread::available_parallelism().map_or(1, |count| count.get());
        remember(&AVAILABLE, count);
        count
    })
}

/// Sets the number of threads for this process, capped at [`available`]. 0 removes the setting.
pub fn set_limit(count: usize) {
    remember(&LIMIT, count.min(available()));
}

/// The number of threads set by [`set_limit`] in this process, else by [`THREADS_ENVIRONMENT`], capped at
/// [`available`]; `None` if neither sets one.
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
            // SAFETY: the handler only adds to an atomic integer, which is async-signal-safe.
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
    // A pool that is too small is replaced by one of the maximal size, so that this happens once.
    let outgrown = known.is_some_and(|pool| pool.forks == forks);
    let threads = if outgrown { threads.max(available()) } else { threads };
    let fresh = Box::into_raw(Box::new(Pool { forks, helpers: Helpers::new(threads)? }));
    match POOL.compare_exchange(current, fresh, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: `fresh` came from a box and is never freed once it is in POOL. The pool it replaces is leaked: a call
        // may still run in it, or its threads belong to another process.
        Ok(_) => Some(unsafe { &(*fresh).helpers }),
        Err(_) => {
            // SAFETY: another thread stored its pool first, so `fresh`, from a box, was never shared.
            drop(unsafe { Box::from_raw(fresh) });
            pool(threads)
        }
    }
}

/// Runs `work` on every job below `jobs`, on at most `threads` threads, each with its own `scratch`. If the system has
/// no threads, or starts them late, the calling thread runs all jobs.
///
/// A thread starts with the same part of the jobs in every call, whose data its caches may still hold from the last
/// one, then takes jobs from the parts of the other threads.
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

/// Runs `work` on every chunk of `len` items (the last may be shorter), with its number.
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
    fn every_job_runs_once() {
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
    fn each_thread_gets_at_least_2_mib() {
        const MIB: usize = 1024 * 1024;
        assert_eq!([0, 4 * MIB - 1, 4 * MIB, 100 * MIB].map(|bytes| worth(bytes, 8)), [1, 1, 2, 8]);
        assert_eq!([1, 2, 8].map(jobs), [1, 8, 32]);
    }

    #[test]
    fn a_panicking_job_leaves_the_pool_usable() {
        let panics = std::panic::catch_unwind(|| for_each(8, 2, || (), |(), job| assert!(job != 3)));
        assert!(panics.is_err());
        every_job_runs_once();
    }
}
