//! Late helpers, panics and wake-ups.

use super::*;

#[test]
fn a_call_does_not_wait_for_a_late_helper() {
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
    // The late helper finds the gate closed.
    helpers.rayon.install(|| ());
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[test]
fn a_panic_waits_for_running_helpers() {
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
fn a_panic_closes_the_gate() {
    let helpers = Helpers::new(1).unwrap();
    let (calls, caller) = (AtomicUsize::new(0), thread::current().id());
    let result = catch_unwind(AssertUnwindSafe(|| {
        with_help(&helpers, 2, &|_| {
            calls.fetch_add(1, Ordering::Relaxed);
            if thread::current().id() != caller {
                resume_unwind(Box::new("a deliberate panic, without the slow message of panic!"));
            }
            while calls.load(Ordering::Relaxed) < 2 {
                thread::yield_now();
            }
            // Meanwhile the same helper takes the second invitation.
            thread::sleep(20 * LINGER);
        });
    }));
    assert!(result.is_err());
    helpers.rayon.install(|| ());
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}

#[test]
fn helpers_have_distinct_numbers() {
    let gate = Gate::new(3);
    assert_eq!([4, 1, 0].map(|index| gate.number(index)), [2, 3, 1]);
}

#[test]
fn a_spinning_thread_is_not_woken() {
    let (board, calls) = (Board::default(), AtomicUsize::new(0));
    let work = |_| {
        calls.fetch_add(1, Ordering::Relaxed);
    };
    let invitation = |gate: &Arc<Gate>| Invitation { gate: gate.clone(), work: Work::new(&work) };
    let gate = Arc::new(Gate::new(100));
    // One thread is woken for each invitation, once.
    assert_eq!(board.post(2, &invitation(&gate)), 2);
    board.serve();
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    assert_eq!(board.post(1, &invitation(&gate)), 0);
    // An invitation to a call that has ended is removed.
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
                // Stands for a wake-up, if it did not spin for long enough.
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
fn closing_a_gate_waits_until_all_have_left() {
    let (gate, inside) = (Arc::new(Gate::new(1)), Arc::new(AtomicUsize::new(0)));
    assert!(gate.enter());
    let late = thread::spawn({
        let (gate, inside) = (gate.clone(), inside.clone());
        move || {
            // Longer than any thread spins.
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
