//! The only place that knows about threads.
//!
//! A pool of our own, never rayon's global one, which hangs in a forked child. It is looked up without a lock, by the
//! number of forks that lie behind the process: after a fork the inherited pool, whose threads do not exist here, is
//! left alone for good and a new one is built on first use.
//!
//! Jobs are taken from a counter by at most as many threads as asked for, the calling one among them, so their number
//! can change from call to call without rebuilding the pool. Results never depend on who took which job.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use crate::environment::whole_number;

/// The environment variables that set the number of threads, the strongest first. torchrun and Ray speak through the
/// last alone.
pub const ENVIRONMENT: [&str; 3] = ["MIXUP_RS_NUM_THREADS", "RAYON_NUM_THREADS", "OMP_NUM_THREADS"];

/// How often this process, or an ancestor since the library was loaded, has forked into it.
static FORKS: AtomicU64 = AtomicU64::new(0);

/// The last [`set_limit`]: forks in the upper half, the number in the lower; 0 means never. It speaks for the process
/// that called it, not for its children, as under spawn.
static LIMIT: AtomicU64 = AtomicU64::new(0);

/// The number of processors, in the same form: asking the system reads files.
static AVAILABLE: AtomicU64 = AtomicU64::new(0);

static POOL: AtomicPtr<Pool> = AtomicPtr::new(std::ptr::null_mut());

struct Pool {
    forks: u64,
    threads: usize,
    rayon: rayon::ThreadPool,
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
        let count = ENVIRONMENT.iter().find_map(|name| whole_number(name, 1).ok().flatten())?;
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
fn pool(threads: usize) -> Option<&'static rayon::ThreadPool> {
    let forks = forks();
    let current = POOL.load(Ordering::Acquire);
    // SAFETY: a pool is never freed once it is in POOL.
    let known = unsafe { current.as_ref() };
    if let Some(pool) = known.filter(|pool| pool.forks == forks && pool.threads >= threads) {
        return Some(&pool.rayon);
    }
    // A pool that turns out too small is replaced by the largest there can be, so that this happens once.
    let outgrown = known.is_some_and(|pool| pool.forks == forks);
    let threads = if outgrown { threads.max(available()) } else { threads };
    let rayon = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|index| format!("mixup-rs-{index}"))
        .build()
        .ok()?;
    let fresh = Box::into_raw(Box::new(Pool { forks, threads, rayon }));
    match POOL.compare_exchange(current, fresh, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: `fresh` came from a box and is never freed from here on. The pool it replaces is leaked, for a call
        // may still be running in it, or its threads are those of another process.
        Ok(_) => Some(unsafe { &(*fresh).rayon }),
        Err(_) => {
            // SAFETY: another thread was faster; nobody has seen `fresh`.
            drop(unsafe { Box::from_raw(fresh) });
            pool(threads)
        }
    }
}

/// Runs `work` on every job below `jobs`, on at most `threads` threads, each with a `scratch` of its own. If the system
/// gives no threads, or gives them late, the calling one does it all.
pub(crate) fn for_each<S>(
    jobs: usize,
    threads: usize,
    scratch: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize) + Sync,
) {
    let helpers = threads.min(jobs).saturating_sub(1);
    let next = AtomicUsize::new(0);
    let take_jobs = || {
        let mut job = next.fetch_add(1, Ordering::Relaxed);
        if job < jobs {
            let mut scratch = scratch();
            while job < jobs {
                work(&mut scratch, job);
                job = next.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    match if helpers == 0 { None } else { pool(helpers) } {
        None => take_jobs(),
        Some(pool) => with_help(pool, helpers, &take_jobs),
    }
}

/// Runs `work` in this thread and, as soon as they wake, in at most `helpers` threads of the pool. A thread that wakes
/// after this one has returned from `work` finds the gate closed and is not waited for, as it would be in a rayon scope: on
/// a busy machine that can take a millisecond.
#[allow(unsafe_code)]
fn with_help(pool: &rayon::ThreadPool, helpers: usize, work: &(dyn Fn() + Sync)) {
    let gate = Arc::new(Gate::default());
    let closing = Closing(&gate);
    for _ in 0..helpers {
        let (gate, work) = (gate.clone(), Work::new(work));
        pool.spawn(move || {
            if gate.enter() {
                // SAFETY: within the gate, which `with_help` closes, and waits for everyone to leave, before it returns
                // or unwinds.
                gate.leave(catch_unwind(AssertUnwindSafe(|| unsafe { work.run() })).err());
            }
        });
    }
    work();
    drop(closing);
    // Not in the condition of the `if`, which would unwind with the lock held: the next to knock would find it poisoned.
    let panic = gate.inside.lock().expect("no panic under the lock").panic.take();
    if let Some(panic) = panic {
        resume_unwind(panic);
    }
}

/// Work that may be over when a thread comes to it. A pointer: a reference must not even be moved once it dangles.
struct Work(*const (dyn Fn() + Sync));

// SAFETY: what it points to may be called by any thread.
#[allow(unsafe_code)]
unsafe impl Send for Work {}

impl Work {
    #[allow(unsafe_code)]
    fn new(work: &(dyn Fn() + Sync)) -> Self {
        // SAFETY: only the lifetime is another, of which a pointer promises nothing.
        Self(unsafe { std::mem::transmute::<*const (dyn Fn() + Sync + '_), *const (dyn Fn() + Sync)>(work) })
    }

    /// # Safety
    /// What it was made of must still live.
    #[allow(unsafe_code)]
    unsafe fn run(&self) {
        // SAFETY: as required above.
        unsafe { (*self.0)() }
    }
}

/// Lets threads in until it is closed.
#[derive(Default)]
struct Gate {
    inside: Mutex<Inside>,
    left: Condvar,
}

#[derive(Default)]
struct Inside {
    count: usize,
    is_closed: bool,
    panic: Option<Box<dyn Any + Send>>,
}

impl Gate {
    fn enter(&self) -> bool {
        let mut inside = self.inside.lock().expect("no panic under the lock");
        inside.count += usize::from(!inside.is_closed);
        !inside.is_closed
    }

    fn leave(&self, panic: Option<Box<dyn Any + Send>>) {
        let mut inside = self.inside.lock().expect("no panic under the lock");
        inside.count -= 1;
        inside.panic = inside.panic.take().or(panic);
        self.left.notify_one();
    }
}

/// Closes the gate when dropped, in a panic too, and waits until all have left.
struct Closing<'a>(&'a Gate);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let mut inside = self.0.inside.lock().expect("no panic under the lock");
        inside.is_closed = true;
        while inside.count > 0 {
            inside = self.0.left.wait(inside).expect("no panic under the lock");
        }
    }
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
    fn nobody_waits_for_a_thread_that_does_not_wake() {
        use std::sync::mpsc;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let (wake, sleep) = mpsc::channel::<()>();
        pool.spawn(move || sleep.recv().unwrap());
        let calls = AtomicUsize::new(0);
        with_help(&pool, 1, &|| {
            calls.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        wake.send(()).unwrap();
        // What was spawned comes late, and finds the gate closed.
        pool.install(|| ());
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_panic_waits_for_those_within() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let caller = std::thread::current().id();
        for caller_panics in [true, false] {
            let (inside, finished) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let result = catch_unwind(AssertUnwindSafe(|| {
                with_help(&pool, 1, &|| {
                    inside.fetch_add(1, Ordering::Relaxed);
                    while inside.load(Ordering::Relaxed) < 2 {
                        std::thread::yield_now();
                    }
                    let is_caller = std::thread::current().id() == caller;
                    assert!(is_caller != caller_panics);
                    std::thread::sleep(std::time::Duration::from_millis(20));
                    finished.fetch_add(1, Ordering::Relaxed);
                });
            }));
            assert!(result.is_err());
            assert_eq!(finished.load(Ordering::Relaxed), 1);
        }
    }

    #[test]
    fn a_thread_that_wakes_after_a_panic_finds_the_gate_closed() {
        use std::sync::mpsc;
        let (panics, count) = mpsc::channel();
        let builder = rayon::ThreadPoolBuilder::new().num_threads(1);
        let pool = builder.panic_handler(move |_| panics.send(()).unwrap()).build().unwrap();
        let (wake, sleep) = mpsc::channel::<()>();
        let (caller, sleep) = (std::thread::current().id(), Mutex::new(Some(sleep)));
        let is_inside = AtomicUsize::new(0);
        let result = catch_unwind(AssertUnwindSafe(|| {
            with_help(&pool, 2, &|| {
                if std::thread::current().id() == caller {
                    while is_inside.load(Ordering::Relaxed) == 0 {
                        std::thread::yield_now();
                    }
                    return;
                }
                is_inside.store(1, Ordering::Relaxed);
                // What a thread of the pool spawns is next in that thread, before the second helper.
                let sleep = sleep.lock().unwrap().take().unwrap();
                pool.spawn(move || sleep.recv().unwrap());
                panic!("on purpose");
            });
        }));
        assert!(result.is_err());
        wake.send(()).unwrap();
        pool.install(|| ());
        drop(pool);
        assert_eq!(count.iter().count(), 0);
    }

    #[test]
    fn a_panicking_job_leaves_the_pool_usable() {
        let panics = std::panic::catch_unwind(|| for_each(8, 2, || (), |(), job| assert!(job != 3)));
        assert!(panics.is_err());
        every_job_is_done_once();
    }
}
