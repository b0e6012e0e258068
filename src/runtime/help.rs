//! Helper threads that share the work of the calling thread.
//!
//! The calling thread never waits for a helper that has not started: helpers enter through a gate, which closes once
//! the calling thread finds no work left. A helper that finishes spins for a moment, so that the next call need not
//! wake it.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// How long a thread spins before it sleeps: twice the time of a wake-up. It outlasts the drawing of a plan of 16,384
/// partners, which runs on one thread. Drawing that plan and mixing as many rows of 1 KiB takes two threads 0.78 ms
/// with 50 µs, 0.69 with 100, 0.67 with 200.
const LINGER: Duration = Duration::from_micros(100);

/// The threads of a pool.
pub(super) struct Helpers {
    rayon: rayon::ThreadPool,
    count: usize,
    board: Arc<Board>,
}

impl Helpers {
    /// `None` if the system gives no threads.
    pub fn new(count: usize) -> Option<Self> {
        let builder = rayon::ThreadPoolBuilder::new().num_threads(count);
        let rayon = builder.thread_name(|index| format!("mixup-rs-{index}")).build().ok()?;
        Some(Self { rayon, count, board: Arc::default() })
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// Posts `count` invitations and wakes threads for those that no spinning thread will take.
    fn invite(&self, count: usize, invitation: &Invitation) {
        for _ in 0..self.board.post(count, invitation) {
            let board = self.board.clone();
            self.rayon.spawn(move || board.serve());
        }
    }
}

/// The queue of invitations.
#[derive(Default)]
struct Board {
    state: Mutex<BoardState>,
    /// The number of invitations, which spinning threads read without the lock.
    posted: AtomicUsize,
}

#[derive(Default)]
struct BoardState {
    invitations: VecDeque<Invitation>,
    /// The number of threads that spin, or that were woken and have not reached the board yet.
    expected: usize,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, BoardState> {
        self.state.lock().expect("no panic under the lock")
    }

    /// Posts invitations and returns how many threads must be woken for them. A spinning thread counts as available
    /// even if the system has preempted it: meanwhile the calling thread works.
    fn post(&self, count: usize, invitation: &Invitation) -> usize {
        let mut state = self.lock();
        // Invitations to calls that have ended.
        state.invitations.retain(|invitation| invitation.gate.is_open());
        state.invitations.extend(std::iter::repeat_n(invitation, count).cloned());
        self.posted.store(state.invitations.len(), Ordering::Relaxed);
        let missing = state.invitations.len().saturating_sub(state.expected);
        state.expected += missing;
        missing
    }

    /// Takes an invitation, for an expected thread. A thread that gets one is no longer expected, nor is one that
    /// `leaves` without any.
    fn take(&self, leaves: bool) -> Option<Invitation> {
        let mut state = self.lock();
        let invitation = state.invitations.pop_front();
        self.posted.store(state.invitations.len(), Ordering::Relaxed);
        state.expected -= usize::from(leaves || invitation.is_some());
        invitation
    }

    /// The body of a woken thread.
    fn serve(&self) {
        let mut invitation = self.take(true);
        while let Some(next) = invitation {
            next.accept();
            self.lock().expected += 1;
            invitation = self.linger();
        }
    }

    /// Spins until an invitation comes, for [`LINGER`] at most.
    fn linger(&self) -> Option<Invitation> {
        let mut taken = None;
        spin_until(|| {
            // Another thread may take it first.
            taken = if self.posted.load(Ordering::Relaxed) > 0 { self.take(false) } else { None };
            taken.is_some()
        });
        taken.or_else(|| self.take(true))
    }
}

/// Runs `work` in this thread and, as soon as they start, in at most `count` helpers. Its argument is 0 in this thread,
/// and in a helper a distinct number up to `count`, mostly the same from call to call. A helper that starts after this
/// thread has returned from `work` finds the gate closed. A rayon scope would wait for it: on a busy machine that can
/// take a millisecond. A panic in any thread resumes in this one.
pub(super) fn with_help(helpers: &Helpers, count: usize, work: &(dyn Fn(usize) + Sync)) {
    let gate = Arc::new(Gate::new(count));
    let closing = Closing(&gate);
    helpers.invite(count, &Invitation { gate: gate.clone(), work: Work::new(work) });
    work(0);
    drop(closing);
    if let Some(panic) = gate.panic.lock().expect("no panic under the lock").take() {
        resume_unwind(panic);
    }
}

/// The work of one call, for a helper to join while the gate is open.
#[derive(Clone)]
struct Invitation {
    gate: Arc<Gate>,
    work: Work,
}

impl Invitation {
    #[allow(unsafe_code)]
    fn accept(self) {
        if self.gate.enter() {
            let number = self.gate.number(rayon::current_thread_index().unwrap_or(0));
            // SAFETY: this thread is inside the gate. `with_help`, which owns the work, closes the gate and waits until
            // all threads have left it before it returns or unwinds.
            self.gate.leave(catch_unwind(AssertUnwindSafe(|| unsafe { self.work.run(number) })).err());
        }
    }
}

/// Work that may have ended when a helper starts. A pointer, as moving a dangling reference is undefined behaviour.
#[derive(Clone, Copy)]
struct Work(*const (dyn Fn(usize) + Sync));

// SAFETY: it points to a `Sync` closure, which any thread may call.
#[allow(unsafe_code)]
unsafe impl Send for Work {}

impl Work {
    #[allow(unsafe_code)]
    fn new(work: &(dyn Fn(usize) + Sync)) -> Self {
        // SAFETY: only the lifetime changes, and a pointer makes no promise about it.
        Self(unsafe { std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), *const (dyn Fn(usize) + Sync)>(work) })
    }

    /// # Safety
    /// The closure given to [`Work::new`] must still be alive.
    #[allow(unsafe_code)]
    unsafe fn run(&self, number: usize) {
        // SAFETY: as required above.
        unsafe { (*self.0)(number) }
    }
}

/// Counts the helpers that run the work of one call, and admits new ones until it is closed.
struct Gate {
    /// Twice the number of threads inside, plus 1 once the gate is closed.
    state: AtomicUsize,
    /// Which helper numbers are taken; entry 0 is number 1.
    taken: Box<[AtomicBool]>,
    /// The first panic of a helper.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// The calling thread.
    owner: Thread,
}

impl Gate {
    const CLOSED: usize = 1;
    const THREAD: usize = 2;

    /// A gate for at most `count` helpers.
    fn new(count: usize) -> Self {
        let taken = (0..count).map(|_| AtomicBool::new(false)).collect();
        Self { state: AtomicUsize::new(0), taken, panic: Mutex::new(None), owner: thread::current() }
    }

    /// A distinct number from 1 on for a thread inside: one more than its index in the pool, or the next free number.
    fn number(&self, index: usize) -> usize {
        let count = self.taken.len();
        let free = |number: &usize| !self.taken[*number].swap(true, Ordering::Relaxed);
        1 + (index..index + count).map(|number| number % count).find(free).expect("no more are invited")
    }

    fn is_open(&self) -> bool {
        self.state.load(Ordering::Relaxed) & Self::CLOSED == 0
    }

    fn enter(&self) -> bool {
        let enter = |state| (state & Self::CLOSED == 0).then_some(state + Self::THREAD);
        self.state.fetch_update(Ordering::Acquire, Ordering::Relaxed, enter).is_ok()
    }

    /// Counts a thread out. A panicking thread also closes the gate: the result of the call is lost anyway.
    fn leave(&self, panic: Option<Box<dyn Any + Send>>) {
        if panic.is_some() {
            self.state.fetch_or(Self::CLOSED, Ordering::Relaxed);
            let mut first = self.panic.lock().expect("no panic under the lock");
            *first = first.take().or(panic);
        }
        if self.state.fetch_sub(Self::THREAD, Ordering::Release) == Self::CLOSED + Self::THREAD {
            self.owner.unpark();
        }
    }

    /// Closes the gate and waits until all threads have left.
    fn close(&self) {
        self.state.fetch_or(Self::CLOSED, Ordering::Relaxed);
        let is_left = || self.state.load(Ordering::Acquire) == Self::CLOSED;
        if !spin_until(is_left) {
            while !is_left() {
                thread::park();
            }
        }
    }
}

/// Closes the gate when dropped, also during a panic.
struct Closing<'a>(&'a Gate);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Spins until `done`, for [`LINGER`] at most, and returns whether it is done.
fn spin_until(mut done: impl FnMut() -> bool) -> bool {
    const LOOKS: usize = 16;
    let start = Instant::now();
    loop {
        for _ in 0..LOOKS {
            if done() {
                return true;
            }
            std::hint::spin_loop();
        }
        if start.elapsed() > LINGER {
            return false;
        }
    }
}

#[cfg(test)]
mod tests;
