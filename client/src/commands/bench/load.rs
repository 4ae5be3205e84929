//! Requests at a given load, and how long their answers took.
//!
//! In a closed loop so many callers each wait for an answer before they ask again: the load follows the server. In an open loop requests are due at a given rate,
//! whether or not earlier ones were answered, as those of many independent users are; a time counts from when its request was due, so that what a slow server
//! keeps from being sent is not forgotten ("coordinated omission").

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::error::ClientError;

/// Requests under way beyond which an open loop sends no more: the server is too slow for the rate by far.
const MOST_UNDER_WAY: usize = 16_384;
/// How long answers are waited for after the last request was sent.
const GRACE: Duration = Duration::from_secs(10);
/// Largest time that is told apart, in nanoseconds.
const LONGEST: u64 = 600_000_000_000;

/// Whom requests are sent to. The error names what went wrong in a word or two, the same for all requests that failed so.
pub(super) trait Target: Send + Sync + 'static {
    /// Sends the `n`-th request and waits for its answer.
    fn send(&self, n: usize) -> impl Future<Output = Result<(), String>> + Send;
}

/// How requests follow each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Load {
    /// So many callers, each of which waits for its answer.
    Closed(usize),
    /// So many requests a second.
    Open(f64),
}

/// What was measured at one load.
pub(super) struct Measured {
    pub(super) load: Load,
    /// Length of the measurement in seconds.
    pub(super) seconds: f64,
    /// Nanoseconds of the requests that were answered.
    pub(super) times: Histogram<u64>,
    /// Requests without an answer, by what went wrong.
    pub(super) failed: BTreeMap<String, u64>,
}

/// Where answers come together.
struct Record {
    times: Histogram<u64>,
    failed: BTreeMap<String, u64>,
}

impl Record {
    fn new() -> Result<Self, ClientError> {
        let times = Histogram::new_with_bounds(1, LONGEST, 3);
        let times = times.map_err(|error| ClientError::Environment(format!("no histogram: {error}")))?;
        Ok(Self { times, failed: BTreeMap::new() })
    }

    fn add(&mut self, answer: Result<(), String>, took: Duration) {
        match answer {
            Ok(()) => self.times.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(LONGEST).max(1)),
            Err(what) => *self.failed.entry(what).or_default() += 1,
        }
    }
}

/// Sends requests for `warm_up`, which count for nothing, and then for `time`.
///
/// # Errors
/// Nothing was answered.
pub(super) async fn measure(
    target: &Arc<impl Target>,
    load: Load,
    warm_up: Duration,
    time: Duration,
) -> Result<Measured, ClientError> {
    let record = match load {
        Load::Closed(callers) => closed(target, callers, warm_up, time).await?,
        Load::Open(rate) => open(target, rate, warm_up, time).await?,
    };
    if record.times.is_empty() {
        let why = record.failed.keys().next().map_or("no answer came in time; measure longer", String::as_str);
        return Err(ClientError::Endpoint(format!("no request was answered: {why}")));
    }
    Ok(Measured { load, seconds: time.as_secs_f64(), times: record.times, failed: record.failed })
}

/// What ended within the measurement counts.
async fn closed(
    target: &Arc<impl Target>,
    callers: usize,
    warm_up: Duration,
    time: Duration,
) -> Result<Record, ClientError> {
    let begin = Instant::now() + warm_up;
    let end = begin + time;
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let target = Arc::clone(target);
        let mut record = Record::new()?;
        tasks.spawn(async move {
            let mut n = caller;
            loop {
                let sent = Instant::now();
                if sent >= end {
                    return record;
                }
                let answer = target.send(n).await;
                let now = Instant::now();
                if now >= begin && now < end {
                    record.add(answer, now - sent);
                } else if answer.is_err() {
                    // A server that refuses at once is not asked as fast as it refuses.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                n += callers;
            }
        });
    }
    let mut all = Record::new()?;
    while let Some(record) = tasks.join_next().await {
        let record = record.map_err(|error| ClientError::Environment(format!("a caller ended early: {error}")))?;
        all.times.add(&record.times).map_err(|error| ClientError::Environment(error.to_string()))?;
        for (what, times) in record.failed {
            *all.failed.entry(what).or_default() += times;
        }
    }
    Ok(all)
}

/// What was due within the measurement counts.
async fn open(target: &Arc<impl Target>, rate: f64, warm_up: Duration, time: Duration) -> Result<Record, ClientError> {
    let record = Arc::new(Mutex::new(Record::new()?));
    let under_way = Arc::new(AtomicUsize::new(0));
    let stopped = Arc::new(AtomicBool::new(false));
    let _stop = StopOnDrop(Arc::clone(&stopped));
    let (handle, begin) = (Handle::current(), Instant::now() + warm_up);
    let (target, taken, open) = (Arc::clone(target), Arc::clone(&record), Arc::clone(&under_way));
    // A thread of its own wakes more exactly than the runtime's timer, which counts in milliseconds.
    let sending = tokio::task::spawn_blocking(move || {
        let start = Instant::now();
        for n in 0.. {
            #[allow(clippy::cast_precision_loss)]
            let due = start + Duration::from_secs_f64(n as f64 / rate);
            if due >= begin + time || stopped.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let counts = due >= begin;
            if open.load(Ordering::Relaxed) >= MOST_UNDER_WAY {
                if counts {
                    lock(&taken).add(Err("not sent: too many requests wait for their answers".into()), Duration::ZERO);
                }
                continue;
            }
            let (target, taken, open) = (Arc::clone(&target), Arc::clone(&taken), Arc::clone(&open));
            open.fetch_add(1, Ordering::Relaxed);
            handle.spawn(async move {
                let answer = target.send(n).await;
                if counts {
                    lock(&taken).add(answer, due.elapsed());
                }
                open.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
    sending.await.map_err(|error| ClientError::Environment(format!("the sender ended early: {error}")))?;
    let last = Instant::now() + GRACE;
    while under_way.load(Ordering::Relaxed) > 0 && Instant::now() < last {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut found = lock(&record);
    let mut all = std::mem::replace(&mut *found, Record::new()?);
    drop(found);
    let missing = under_way.load(Ordering::Relaxed) as u64;
    if missing > 0 {
        all.failed.insert(format!("not answered within {} s", GRACE.as_secs()), missing);
    }
    Ok(all)
}

fn lock(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the sending thread where its command ends.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers after a time, one request after the other; refuses every fifth.
    struct Fake {
        takes: Duration,
        turn: tokio::sync::Mutex<()>,
    }

    impl Target for Fake {
        async fn send(&self, n: usize) -> Result<(), String> {
            let _turn = self.turn.lock().await;
            tokio::time::sleep(self.takes).await;
            if n % 5 == 4 { Err("refused".into()) } else { Ok(()) }
        }
    }

    fn fake(takes: u64) -> Arc<Fake> {
        Arc::new(Fake { takes: Duration::from_millis(takes), turn: tokio::sync::Mutex::default() })
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn callers_that_wait_are_as_slow_as_the_server() {
        let measured = measure(&fake(4), Load::Closed(2), Duration::ZERO, Duration::from_millis(600)).await.unwrap();
        // Two callers of one server: each waits for the other too.
        assert!(measured.times.min() >= 3_900_000 && measured.times.value_at_quantile(0.5) >= 7_000_000);
        let (answered, refused) = (measured.times.len(), measured.failed["refused"]);
        assert!(answered + refused <= 150 && refused >= 1 && answered >= 3 * refused, "{answered} {refused}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_slow_server_delays_counts_from_when_it_was_due() {
        // Due every 2 ms and served in 10: the last of 100 waits for all before it.
        let measured = measure(&fake(10), Load::Open(500.0), Duration::ZERO, Duration::from_millis(200)).await.unwrap();
        assert_eq!(measured.times.len() + measured.failed["refused"], 100);
        assert!(measured.times.max() >= 600_000_000, "{}", measured.times.max());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_answered_is_an_error_with_the_reason() {
        struct Refuses;
        impl Target for Refuses {
            async fn send(&self, _: usize) -> Result<(), String> {
                Err("UNAVAILABLE".into())
            }
        }
        for load in [Load::Closed(1), Load::Open(100.0)] {
            let refused = measure(&Arc::new(Refuses), load, Duration::ZERO, Duration::from_millis(50)).await;
            let error = refused.err().unwrap().to_string();
            assert!(error.contains("no request was answered: UNAVAILABLE"), "{error}");
        }
    }
}
