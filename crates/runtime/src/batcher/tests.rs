//! Every answer reaches its asker, and nothing is computed for who has left.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Barrier, Mutex};

use proptest::prelude::*;

use super::*;

/// Its rows are (caller, row); its logits too, so that a mistake is seen.
struct Fake {
    most: usize,
    /// Callers of all rows that were evaluated.
    ran: Arc<Mutex<Vec<usize>>>,
    /// Passed by a run of [`PLUG`] when it begins, with who waits for that.
    entered: Arc<Barrier>,
    /// Passed by all runs of [`PLUG`] when they may end.
    gate: Arc<Barrier>,
    renewed: Arc<AtomicUsize>,
}

/// The caller whose run waits for the gate.
const PLUG: usize = 1000;
/// The caller whose rows no run survives.
const POISON: usize = 1001;
/// The caller whose rows make a run panic.
const PANIC: usize = 1002;

impl Runner for Fake {
    fn run(&mut self, rows: ArrayView2<'_, f32>) -> Result<Array2<f32>, RunError> {
        assert!((1..=self.most).contains(&rows.nrows()), "{} rows", rows.nrows());
        let callers: Vec<usize> = rows.column(0).iter().map(|&caller| caller as usize).collect();
        if callers.contains(&PLUG) {
            self.entered.wait();
            self.gate.wait();
        }
        assert!(!callers.contains(&PANIC), "on purpose");
        if callers.contains(&POISON) {
            return Err(RunError::Runtime("poison".into()));
        }
        self.ran.lock().unwrap().extend(callers);
        Ok(rows.to_owned())
    }

    fn interrupt(&self) -> Interrupt {
        Interrupt::default()
    }

    fn renew(&mut self) {
        self.renewed.fetch_add(1, Ordering::SeqCst);
    }
}

struct Bench {
    batcher: Batcher,
    ran: Arc<Mutex<Vec<usize>>>,
    entered: Arc<Barrier>,
    gate: Arc<Barrier>,
    renewed: Arc<AtomicUsize>,
    times: Arc<Mutex<Vec<RunTimes>>>,
}

impl Bench {
    fn new(sessions: usize, most: usize, full: bool) -> Self {
        let joining = Joining { features: 2, classes: 2, most, full, capacity: 10_000, delay: Duration::ZERO };
        let (ran, renewed, times) =
            (Arc::<Mutex<Vec<usize>>>::default(), Arc::default(), Arc::<Mutex<Vec<_>>>::default());
        let (entered, gate) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(sessions + 1)));
        let fake = || Fake {
            most,
            ran: Arc::clone(&ran),
            entered: Arc::clone(&entered),
            gate: Arc::clone(&gate),
            renewed: Arc::clone(&renewed),
        };
        let seen = Arc::clone(&times);
        let observer = RunObserver::new(move |times| seen.lock().unwrap().push(times));
        let runners = (0..sessions).map(|_| fake()).collect();
        let batcher = Batcher::start(runners, joining, 0, Some(&observer)).unwrap();
        Self { batcher, ran, entered, gate, renewed, times }
    }

    /// Returns when every session is in a run that waits for [`Bench::open`].
    fn plug(&self, sessions: usize) -> Vec<Ticket> {
        let plug = |_| {
            let ticket = self.batcher.submit(batch(PLUG, 1), |_| {});
            self.entered.wait();
            ticket
        };
        (0..sessions).map(plug).collect()
    }

    fn open(&self) {
        self.gate.wait();
    }
}

fn batch(caller: usize, n: usize) -> Array2<f32> {
    Array2::from_shape_fn((n, 2), |(row, column)| if column == 0 { caller as f32 } else { row as f32 })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_answer_reaches_its_asker_and_nothing_runs_for_who_has_left(
        callers in prop::collection::vec((1_usize..20, any::<bool>()), 1..40),
        sessions in 1_usize..4,
        most in 1_usize..9,
        full in any::<bool>(),
    ) {
        let bench = Bench::new(sessions, most, full);
        let plugs = bench.plug(sessions);
        let (send, answers) = channel();
        let mut kept = Vec::new();
        for (caller, &(n, leaves)) in callers.iter().enumerate() {
            let send = send.clone();
            let ticket = bench.batcher.submit(batch(caller, n), move |logits| send.send((caller, logits)).unwrap());
            if leaves { drop(ticket) } else { kept.push(ticket) }
        }
        drop(send);
        bench.open();
        let mut answered = vec![0; callers.len()];
        for (caller, logits) in answers {
            answered[caller] += 1;
            let (n, left) = callers[caller];
            let expected = if left { Err(RunError::Cancelled) } else { Ok(batch(caller, n)) };
            prop_assert_eq!(logits, expected);
        }
        prop_assert!(answered.iter().all(|&times| times == 1), "{:?}", answered);
        let ran = bench.ran.lock().unwrap();
        for (caller, &(n, left)) in callers.iter().enumerate() {
            let expected = if left { 0 } else { n };
            prop_assert_eq!(ran.iter().filter(|&&of| of == caller).count(), expected);
        }
        drop((plugs, kept));
    }
}

#[test]
fn what_came_while_the_session_was_busy_is_one_run() {
    let bench = Bench::new(1, 64, false);
    let plugs = bench.plug(1);
    let (send, answers) = channel();
    let tickets: Vec<_> = (0..10)
        .map(|caller| {
            let send = send.clone();
            bench.batcher.submit(batch(caller, 2), move |logits| send.send(logits.is_ok()).unwrap())
        })
        .collect();
    bench.open();
    assert!(answers.iter().take(10).all(|ok| ok));
    let times = bench.times.lock().unwrap().clone();
    assert_eq!(times.iter().map(|t| (t.samples, t.batches)).collect::<Vec<_>>(), [(1, 1), (20, 10)]);
    drop((plugs, tickets));
}

#[test]
fn a_batch_that_no_run_survives_fails_alone() {
    for (caller, says) in [(POISON, "poison"), (PANIC, "on purpose")] {
        let bench = Bench::new(1, 64, false);
        let plugs = bench.plug(1);
        let (send, answers) = channel();
        let tickets: Vec<_> = [1, caller, 3]
            .into_iter()
            .map(|caller| {
                let send = send.clone();
                bench.batcher.submit(batch(caller, 2), move |logits| send.send((caller, logits)).unwrap())
            })
            .collect();
        bench.open();
        for (asked, logits) in answers.iter().take(3) {
            match logits {
                Err(RunError::Runtime(text)) if asked == caller => assert!(text.contains(says), "{text}"),
                other => assert_eq!(other, Ok(batch(asked, 2))),
            }
        }
        assert_eq!(bench.renewed.load(Ordering::SeqCst), 2, "of the joined run and of its own");
        drop((plugs, tickets));
    }
}

#[test]
fn a_reply_that_panics_ends_nothing() {
    let bench = Bench::new(1, 4, false);
    let ticket = bench.batcher.submit(batch(1, 1), |_| panic!("on purpose"));
    assert_eq!(bench.batcher.run(batch(2, 9), &Cancel::default()), Ok(batch(2, 9)));
    drop(ticket);
}

#[test]
fn dropping_it_answers_every_batch() {
    let bench = Bench::new(2, 4, false);
    let (send, answers) = channel();
    let tickets: Vec<_> = (0..50)
        .map(|caller| {
            let send = send.clone();
            bench.batcher.submit(batch(caller, 7), move |logits| send.send(logits.map(drop)).unwrap())
        })
        .collect();
    drop(bench);
    drop(send);
    let answers: Vec<_> = answers.iter().collect();
    assert_eq!(answers.len(), 50);
    assert!(answers.iter().all(|answer| matches!(answer, Ok(()) | Err(RunError::Unloaded))), "{answers:?}");
    drop(tickets);
}
