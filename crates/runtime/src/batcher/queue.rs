//! Batches that wait for a run: taken together where they are small, a part at a time where they are large.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ndarray::{Array2, ArrayView2, s};

use crate::{Cancel, RunError};

/// Fewest rows that are given a run of their own, so that a second session works too. A run has a fixed cost, up to that of two
/// rows in nets of many small operators (docs/performance.md, "Size of a run").
pub(crate) const WORTH_A_RUN: usize = 2;

/// The batch of one caller, who is answered exactly once: when its last row was evaluated, when one of its runs failed, or, as
/// [`RunError::Unloaded`], when it is dropped before.
pub(super) struct Asked {
    /// `[n, features]`.
    rows: Array2<f32>,
    cancel: Cancel,
    since: Instant,
    answer: Mutex<Answer>,
}

struct Answer {
    /// `[n, classes]`.
    logits: Array2<f32>,
    /// Rows that are still to be evaluated.
    missing: usize,
    reply: Option<Reply>,
}

type Reply = Box<dyn FnOnce(Result<Array2<f32>, RunError>) + Send>;

impl Asked {
    /// Waiting from now on for the logits, `[n, classes]`, of `rows`, which are in standard layout.
    pub(super) fn new(
        rows: Array2<f32>,
        classes: usize,
        cancel: Cancel,
        reply: impl FnOnce(Result<Array2<f32>, RunError>) + Send + 'static,
    ) -> Arc<Self> {
        let n = rows.nrows();
        let answer = Answer { logits: Array2::zeros((n, classes)), missing: n, reply: Some(Box::new(reply)) };
        Arc::new(Self { rows, cancel, since: Instant::now(), answer: Mutex::new(answer) })
    }

    fn give(&self, range: Range<usize>, logits: &ArrayView2<'_, f32>) {
        let mut answer = self.answer();
        answer.missing -= range.len();
        if answer.logits.nrows() == range.len() {
            answer.logits.assign(logits);
        } else {
            answer.logits.slice_mut(s![range, ..]).assign(logits);
        }
        if answer.missing == 0
            && let Some(reply) = answer.reply.take()
        {
            let logits = std::mem::take(&mut answer.logits);
            drop(answer);
            reply(Ok(logits));
        }
    }

    pub(super) fn fail(&self, error: RunError) {
        // Its other parts need not run.
        self.cancel.cancel();
        let reply = self.answer().reply.take();
        if let Some(reply) = reply {
            reply(Err(error));
        }
    }

    fn answer(&self) -> MutexGuard<'_, Answer> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.fail(RunError::Unloaded);
    }
}

/// Rows of one batch that stay together in a run.
pub(super) struct Part {
    asked: Arc<Asked>,
    range: Range<usize>,
}

impl Part {
    pub(super) fn rows(&self) -> ArrayView2<'_, f32> {
        self.asked.rows.slice(s![self.range.clone(), ..])
    }

    pub(super) fn len(&self) -> usize {
        self.range.len()
    }

    /// Thrown when its caller leaves.
    pub(super) fn cancel(&self) -> &Cancel {
        &self.asked.cancel
    }

    /// How long its batch has waited.
    pub(super) fn waited(&self) -> Duration {
        self.asked.since.elapsed()
    }

    /// Its result: a row of logits for each of its rows.
    pub(super) fn answer(self, logits: Result<ArrayView2<'_, f32>, RunError>) {
        match logits {
            Ok(logits) => self.asked.give(self.range, &logits),
            Err(error) => self.asked.fail(error),
        }
    }
}

/// The queue between those who ask and the threads that run.
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    emptied: Condvar,
    /// Parts that may wait.
    capacity: usize,
    /// Most rows of one run.
    most: usize,
    /// How long a run may wait to become full.
    delay: Duration,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Part>,
    /// Rows of all that waits.
    rows: usize,
    /// Threads that wait for something to run.
    idle: usize,
    closed: bool,
}

impl Queue {
    pub(super) fn new(capacity: usize, most: usize, delay: Duration) -> Self {
        Self { state: Mutex::default(), filled: Condvar::new(), emptied: Condvar::new(), capacity, most, delay }
    }

    /// Adds the parts of a batch that `ranges` cut it into, as soon as there is room for all of them; in an empty queue there always is.
    pub(super) fn push(&self, asked: &Arc<Asked>, ranges: Vec<Range<usize>>) {
        let mut state = self.state();
        while !state.closed && !self.has_room(&state, ranges.len()) {
            state = self.emptied.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        self.add(state, asked, ranges);
    }

    /// [`Queue::push`] that is refused, as [`RunError::Busy`], where it would have to wait.
    pub(super) fn try_push(&self, asked: &Arc<Asked>, ranges: Vec<Range<usize>>) {
        let state = self.state();
        if state.closed || self.has_room(&state, ranges.len()) {
            return self.add(state, asked, ranges);
        }
        drop(state);
        asked.fail(RunError::Busy);
    }

    fn has_room(&self, state: &State, parts: usize) -> bool {
        state.waiting.is_empty() || state.waiting.len() + parts <= self.capacity
    }

    fn add(&self, mut state: MutexGuard<'_, State>, asked: &Arc<Asked>, ranges: Vec<Range<usize>>) {
        if state.closed {
            drop(state);
            return asked.fail(RunError::Unloaded);
        }
        let parts = ranges.len();
        state.rows += asked.rows.nrows();
        state.waiting.extend(ranges.into_iter().map(|range| Part { asked: Arc::clone(asked), range }));
        drop(state);
        (0..parts).for_each(|_| self.filled.notify_one());
    }

    /// What the next run evaluates, in the order in which it came: as much as fits, or a fair share of it where other threads have nothing to do.
    /// Waits for something, and then, where there is a delay, for a full run until the oldest has waited that long. What was cancelled is answered and left out.
    /// `None`: the queue was closed.
    pub(super) fn take(&self) -> Option<Vec<Part>> {
        let mut state = self.state();
        state.idle += 1;
        let taken = loop {
            let gone = state.forget_cancelled();
            if !gone.is_empty() {
                drop(state);
                gone.into_iter().for_each(|part| part.answer(Err(RunError::Cancelled)));
                self.emptied.notify_all();
                state = self.state();
                continue;
            }
            if state.closed {
                break None;
            }
            let waited = state.waiting.front().map(Part::waited);
            state = match waited {
                None => self.filled.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(waited) if state.rows < self.most && waited < self.delay => {
                    let woken = self.filled.wait_timeout(state, self.delay - waited);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                Some(_) => break Some(state.run(self.most)),
            };
        };
        state.idle -= 1;
        let others = state.idle > 0 && !state.waiting.is_empty();
        drop(state);
        self.emptied.notify_all();
        if others {
            self.filled.notify_one();
        }
        taken
    }

    /// Refuses what waits and what comes, as [`RunError::Unloaded`].
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.rows = 0;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        self.filled.notify_all();
        self.emptied.notify_all();
        waiting.into_iter().for_each(|part| part.answer(Err(RunError::Unloaded)));
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes out what nobody waits for any more.
    fn forget_cancelled(&mut self) -> Vec<Part> {
        if !self.waiting.iter().any(|part| part.asked.cancel.is_cancelled()) {
            return Vec::new();
        }
        let (gone, kept): (VecDeque<_>, _) = self.waiting.drain(..).partition(|part| part.asked.cancel.is_cancelled());
        self.waiting = kept;
        self.rows -= gone.iter().map(Part::len).sum::<usize>();
        gone.into()
    }

    /// The parts of one run, at least one of those that wait.
    fn run(&mut self, most: usize) -> Vec<Part> {
        let share = self.rows.div_ceil(self.idle.max(1)).max(WORTH_A_RUN).min(most);
        let (mut parts, mut rows) = (Vec::new(), 0);
        while let Some(next) = self.waiting.front()
            && (parts.is_empty() || rows + next.len() <= share)
        {
            rows += next.len();
            parts.extend(self.waiting.pop_front());
        }
        self.rows -= rows;
        parts
    }
}

/// Rows of the parts that a batch of `n` is cut into: as few as hold at most `most` each, but enough to give every session its
/// share, and all of about the same size.
pub(crate) fn ranges(n: usize, most: usize, sessions: usize) -> Vec<Range<usize>> {
    let needed = n.div_ceil(most);
    let runs = needed.next_multiple_of(sessions).min(n / WORTH_A_RUN).max(needed);
    (0..runs).map(|i| i * n / runs..(i + 1) * n / runs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(n: usize) -> Arc<Asked> {
        Asked::new(Array2::zeros((n, 1)), 1, Cancel::default(), |_| {})
    }

    fn lengths(taken: Option<Vec<Part>>) -> Vec<usize> {
        taken.unwrap().iter().map(Part::len).collect()
    }

    fn queue(most: usize) -> Queue {
        Queue::new(100, most, Duration::ZERO)
    }

    fn push(queue: &Queue, n: usize) -> Arc<Asked> {
        let asked = asked(n);
        queue.push(&asked, ranges(n, queue.most, 1));
        asked
    }

    #[test]
    fn small_batches_share_a_run_and_a_large_one_has_several() {
        let queue = queue(8);
        let _asked = [1, 3, 2, 9, 4].map(|n| push(&queue, n));
        assert_eq!(lengths(queue.take()), [1, 3, 2]);
        assert_eq!(lengths(queue.take()), [4], "its other half has no room");
        assert_eq!(lengths(queue.take()), [5]);
        assert_eq!(lengths(queue.take()), [4]);
    }

    #[test]
    fn idle_sessions_share_what_waits() {
        let queue = queue(8);
        let _asked = [1, 1, 1, 1].map(|n| push(&queue, n));
        queue.state().idle = 1;
        assert_eq!(lengths(queue.take()), [1, 1]);
        queue.state().idle = 0;
        assert_eq!(lengths(queue.take()), [1, 1]);
    }

    #[test]
    fn a_run_waits_to_become_full_no_longer_than_it_may() {
        let delay = Duration::from_millis(30);
        let queue = Queue::new(100, 4, delay);
        let first = push(&queue, 1);
        let began = Instant::now();
        assert_eq!(lengths(queue.take()), [1]);
        assert!(first.since.elapsed() >= delay, "{:?}", began.elapsed());
        let hour = Queue::new(100, 4, Duration::from_secs(3600));
        let _asked = [2, 2].map(|n| push(&hour, n));
        assert_eq!(lengths(hour.take()), [2, 2], "it is full at once");
    }

    #[test]
    fn what_was_cancelled_is_answered_and_left_out() {
        let queue = queue(8);
        let (send, results) = std::sync::mpsc::channel();
        let cancel = Cancel::default();
        let given_up = Asked::new(Array2::zeros((9, 1)), 1, cancel.clone(), move |r| send.send(r).unwrap());
        queue.push(&given_up, ranges(9, 8, 1));
        let _kept = push(&queue, 1);
        cancel.cancel();
        assert_eq!(lengths(queue.take()), [1]);
        assert_eq!(results.iter().next(), Some(Err(RunError::Cancelled)));
        assert_eq!(queue.state().rows, 0);
    }

    #[test]
    fn a_full_queue_refuses_and_an_empty_one_takes_any_batch() {
        let queue = Queue::new(2, 1, Duration::ZERO);
        let _large = push(&queue, 3);
        let (send, results) = std::sync::mpsc::channel();
        let refused = Asked::new(Array2::zeros((1, 1)), 1, Cancel::default(), move |r| send.send(r).unwrap());
        queue.try_push(&refused, ranges(1, 1, 1));
        assert_eq!(results.try_recv().unwrap(), Err(RunError::Busy));
    }

    #[test]
    fn closing_answers_all_that_waits_and_comes() {
        let queue = queue(8);
        let (send, results) = std::sync::mpsc::channel();
        for close in [false, true] {
            if close {
                queue.close();
            }
            let send = send.clone();
            let asked = Asked::new(Array2::zeros((1, 1)), 1, Cancel::default(), move |r| send.send(r).unwrap());
            queue.push(&asked, ranges(1, 8, 1));
        }
        assert_eq!(
            [results.recv().unwrap(), results.recv().unwrap()],
            [Err(RunError::Unloaded), Err(RunError::Unloaded)]
        );
        assert!(queue.take().is_none());
    }

    #[test]
    fn parts_cover_all_rows_in_order_and_keep_the_limit() {
        for n in [0, 1, 15, 16, 31, 32, 33, 64, 100, 1000] {
            for (most, sessions) in [(1, 1), (7, 2), (64, 1), (64, 2), (64, 8), (2000, 3)] {
                let runs = ranges(n, most, sessions);
                assert!(runs.iter().all(|r| !r.is_empty() && r.len() <= most), "{n} {most} {sessions}: {runs:?}");
                assert_eq!(runs.into_iter().flatten().collect::<Vec<_>>(), (0..n).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_large_batch_is_shared_between_the_sessions() {
        assert_eq!(ranges(64, 64, 2), [0..32, 32..64]);
        assert_eq!(ranges(100, 64, 2), [0..50, 50..100]);
        assert_eq!(ranges(16, 64, 2), [0..8, 8..16]);
        assert_eq!(ranges(7, 64, 2), [0..3, 3..7]);
        assert_eq!(ranges(3, 64, 2).len(), 1);
        assert_eq!(ranges(72, 32, 2).len(), 4, "the last run is not alone");
        assert_eq!(ranges(64, 64, 1).len(), 1);
    }
}
