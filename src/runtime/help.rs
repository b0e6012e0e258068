//! Threads that help the calling one.
//!
//! Nobody waits for a thread that is late: helpers come through a gate, which is closed once the calling thread finds
//! no work left. One that finishes lingers for a moment, so that the next call need not wake it.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// For so long a thread spins before it sleeps: twice what it takes to wake it. It outlasts the stretch in which a plan
/// of 16,384 partners is drawn, which is one thread's. With that, mixing as many rows of 1 KiB takes two threads 0.78
/// ms if they linger for 50 µs, 0.69 for 100, 0.67 for 200.
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

    /// Asks so many threads: those that linger, and the first to wake.
    fn invite(&self, count: usize, invitation: &Invitation) {
        for _ in 0..self.board.post(count, invitation) {
            let board = self.board.clone();
            self.rayon.spawn(move || board.serve());
        }
    }
}

/// Where invitations hang until a thread takes them.
#[derive(Default)]
struct Board {
    state: Mutex<BoardState>,
    /// Invitations, for those who linger to see.
    posted: AtomicUsize,
}

#[derive(Default)]
struct BoardState {
    invitations: VecDeque<Invitation>,
    /// Threads that linger, or that were woken and have not come yet.
    expected: usize,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, BoardState> {
        self.state.lock().expect("no panic under the lock")
    }

    /// Says how many threads must be woken for these. A thread that lingers, but that the system has put aside, is
    /// waited for all the same: meanwhile the calling one works.
    fn post(&self, count: usize, invitation: &Invitation) -> usize {
        let mut state = self.lock();
        // The calls of those that nobody came to take are over.
        state.invitations.retain(|invitation| invitation.gate.is_open());
        state.invitations.extend(std::iter::repeat_n(invitation, count).cloned());
        self.posted.store(state.invitations.len(), Ordering::Relaxed);
        let missing = state.invitations.len().saturating_sub(state.expected);
        state.expected += missing;
        missing
    }

    /// Takes one, who is expected, from the board. Without an invitation it is expected no more if it `leaves`.
    fn take(&self, leaves: bool) -> Option<Invitation> {
        let mut state = self.lock();
        let invitation = state.invitations.pop_front();
        self.posted.store(state.invitations.len(), Ordering::Relaxed);
        state.expected -= usize::from(leaves || invitation.is_some());
        invitation
    }

    /// What a woken thread does.
    fn serve(&self) {
        let mut invitation = self.take(true);
        while let Some(next) = invitation {
            next.accept();
            self.lock().expected += 1;
            invitation = self.linger();
        }
    }

    fn linger(&self) -> Option<Invitation> {
        let mut taken = None;
        spin_until(|| {
            // Another may be faster.
            taken = if self.posted.load(Ordering::Relaxed) > 0 { self.take(false) } else { None };
            taken.is_some()
        });
        taken.or_else(|| self.take(true))
    }
}

/// Runs `work` in this thread and, as soon as they come, in at most `count` helpers. It is given 0 in this thread, and
/// in the others a number up to `count`, mostly the same from call to call. One that comes after this thread has
/// returned from `work` finds the gate closed and is not waited for, as it would be in a rayon scope: on a busy machine
/// that can take a millisecond.
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

/// Work to take part in, as long as its gate is open.
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
            // SAFETY: within the gate, which `with_help` closes, and waits for everyone to leave, before it returns or
            // unwinds.
            self.gate.leave(catch_unwind(AssertUnwindSafe(|| unsafe { self.work.run(number) })).err());
        }
    }
}

/// Work that may be over when a thread comes to it. A pointer: a reference must not even be moved once it dangles.
#[derive(Clone, Copy)]
struct Work(*const (dyn Fn(usize) + Sync));

// SAFETY: what it points to may be called by any thread.
#[allow(unsafe_code)]
unsafe impl Send for Work {}

impl Work {
    #[allow(unsafe_code)]
    fn new(work: &(dyn Fn(usize) + Sync)) -> Self {
        // SAFETY: only the lifetime is another, of which a pointer promises nothing.
        Self(unsafe { std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), *const (dyn Fn(usize) + Sync)>(work) })
    }

    /// # Safety
    /// What it was made of must still live.
    #[allow(unsafe_code)]
    unsafe fn run(&self, number: usize) {
        // SAFETY: as required above.
        unsafe { (*self.0)(number) }
    }
}

/// Lets threads in until it is closed.
struct Gate {
    /// Twice the number of threads within; odd once it is closed.
    state: AtomicUsize,
    /// Which numbers are taken, from 1 on.
    taken: Box<[AtomicBool]>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    owner: Thread,
}

impl Gate {
    const CLOSED: usize = 1;
    const THREAD: usize = 2;

    /// For at most so many threads.
    fn new(count: usize) -> Self {
        let taken = (0..count).map(|_| AtomicBool::new(false)).collect();
        Self { state: AtomicUsize::new(0), taken, panic: Mutex::new(None), owner: thread::current() }
    }

    /// A number, from 1 on, of its own for one who is within: that which its index in the pool suggests, if it is free.
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

    /// One who leaves in a panic closes it: what others would do is lost already.
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

    /// Lets nobody in any more, and waits until all have left.
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

/// Closes the gate when dropped, in a panic too.
struct Closing<'a>(&'a Gate);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Spins until `done`, but no longer than [`LINGER`], and says whether it is.
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
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_a_thread_that_does_not_wake() {
        use std::sync::mpsc;
        let helpers = Helpers::new(1).unwrap();
        let (wake, sleep) = mpsc::channel::<()>();
        helpers.rayon.spawn(move || sleep.recv().unwrap());
        let calls = AtomicUsize::new(0);
        with_help(&helpers, 1, &|_| {
            calls.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        wake.send(()).unwrap();
        // What was spawned comes late, and finds the gate closed.
        helpers.rayon.install(|| ());
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_panic_waits_for_those_within() {
        let helpers = Helpers::new(1).unwrap();
        let caller = std::thread::current().id();
        for caller_panics in [true, false] {
            let (inside, finished) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let result = catch_unwind(AssertUnwindSafe(|| {
                with_help(&helpers, 1, &|_| {
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
    fn one_who_comes_after_a_panic_finds_the_gate_closed() {
        let helpers = Helpers::new(1).unwrap();
        let (calls, caller) = (AtomicUsize::new(0), thread::current().id());
        let result = catch_unwind(AssertUnwindSafe(|| {
            with_help(&helpers, 2, &|_| {
                calls.fetch_add(1, Ordering::Relaxed);
                if thread::current().id() != caller {
                    resume_unwind(Box::new("on purpose, and at once: printing takes long"));
                }
                while calls.load(Ordering::Relaxed) < 2 {
                    thread::yield_now();
                }
                // Meanwhile the same thread of the pool takes the second of the two invitations.
                thread::sleep(20 * LINGER);
            });
        }));
        assert!(result.is_err());
        helpers.rayon.install(|| ());
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn everyone_within_has_a_number_of_its_own() {
        let gate = Gate::new(3);
        assert_eq!([4, 1, 0].map(|index| gate.number(index)), [2, 3, 1]);
    }

    #[test]
    fn one_who_lingers_need_not_be_woken() {
        let (board, calls) = (Board::default(), AtomicUsize::new(0));
        let work = |_| {
            calls.fetch_add(1, Ordering::Relaxed);
        };
        let invitation = |gate: &Arc<Gate>| Invitation { gate: gate.clone(), work: Work::new(&work) };
        let gate = Arc::new(Gate::new(100));
        // One thread is woken for each, once.
        assert_eq!(board.post(2, &invitation(&gate)), 2);
        board.serve();
        assert_eq!(calls.load(Ordering::Relaxed), 2);
        assert_eq!(board.post(1, &invitation(&gate)), 0);
        // What nobody came for is taken down.
        gate.close();
        let gate = Arc::new(Gate::new(100));
        assert_eq!(board.post(1, &invitation(&gate)), 0);
        assert_eq!(board.lock().invitations.len(), 1);
        board.serve();
        assert_eq!(calls.load(Ordering::Relaxed), 3);
        assert_eq!(board.lock().expected, 0);
        thread::scope(|scope| {
            assert_eq!(board.post(1, &invitation(&gate)), 1);
            scope.spawn(|| {
                while calls.load(Ordering::Relaxed) < 20 {
                    // In place of being woken, where it did not linger for long enough.
                    if board.lock().expected > 0 {
                        board.serve();
                    }
                    thread::yield_now();
                }
            });
            while calls.load(Ordering::Relaxed) < 20 {
                if board.lock().invitations.is_empty() {
                    board.post(1, &invitation(&gate));
                }
                thread::yield_now();
            }
        });
    }

    #[test]
    fn a_gate_is_closed_once_all_have_left() {
        let (gate, inside) = (Arc::new(Gate::new(1)), Arc::new(AtomicUsize::new(0)));
        assert!(gate.enter());
        let late = thread::spawn({
            let (gate, inside) = (gate.clone(), inside.clone());
            move || {
                // Longer than anyone spins.
                thread::sleep(20 * LINGER);
                inside.fetch_add(1, Ordering::Relaxed);
                gate.leave(None);
            }
        });
        gate.close();
        assert_eq!(inside.load(Ordering::Relaxed), 1);
        assert!(!gate.enter());
        gate.close();
        late.join().unwrap();
    }
}
