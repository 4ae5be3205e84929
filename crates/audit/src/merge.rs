//! Shards of one audit, put together.

use crate::event::{Event, Started};
use crate::schedule::Shard;

/// Shards that are not those of one audit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// There is nothing to put together.
    #[error("there are no shards; give the events of all shards of one audit")]
    None,
    /// One is not the record of an audit.
    #[error("record {record} does not begin with the start of an audit; expected the events of a shard")]
    NoStart {
        /// Which of those given, from 0.
        record: usize,
    },
    /// One was not cut off by choice.
    #[error("record {record} is no shard, but a whole audit: there is nothing to put together")]
    Whole {
        /// Which of those given, from 0.
        record: usize,
    },
    /// Two are of different audits.
    #[error("record {record} is of another audit than the first: {what} differs")]
    Other {
        /// Which of those given, from 0.
        record: usize,
        /// The first thing that differs.
        what: &'static str,
    },
    /// Not each part is there once.
    #[error("shard {shard} is {}; expected each of the {} shards once", if *.times == 0 { "missing" } else { "there more than once" }, .shard.of())]
    Count {
        /// Which part.
        shard: Shard,
        /// How often it is there.
        times: usize,
    },
    /// A shard did not end.
    #[error("shard {shard} did not end: let it go on to its end first")]
    Unfinished {
        /// Which part.
        shard: Shard,
    },
}

/// The events of a whole audit, of those of all its shards: the same, but for what only a run knows, as one run on all samples has.
///
/// # Errors
/// They are not all shards of one audit, each once and whole.
pub fn merge(records: &[Vec<Event>]) -> Result<Vec<Event>, MergeError> {
    let mut parts: Vec<(Shard, &[Event])> = Vec::new();
    let mut first: Option<&Started> = None;
    for (record, events) in records.iter().enumerate() {
        let Some((Event::Started(started), rest)) = events.split_first() else {
            return Err(MergeError::NoStart { record });
        };
        let shard = started.setup.shard.ok_or(MergeError::Whole { record })?;
        let first = *first.get_or_insert(started);
        if let Some(what) = first.differs_from(started) {
            return Err(MergeError::Other { record, what });
        }
        let Some((Event::Finished, rest)) = rest.split_last() else { return Err(MergeError::Unfinished { shard }) };
        parts.push((shard, rest));
    }
    let first = first.ok_or(MergeError::None)?;
    let of = parts.first().map_or(1, |(shard, _)| shard.of());
    for shard in Shard::all(of) {
        let times = parts.iter().filter(|(part, _)| *part == shard).count();
        if times != 1 {
            return Err(MergeError::Count { shard, times });
        }
    }
    let mut whole = first.clone();
    whole.setup.shard = None;
    let mut events: Vec<&Event> = parts.iter().flat_map(|(_, events)| events.iter()).collect();
    // The order of the schedule: a stage of a model on all of its chunks, then the next.
    events.sort_by_key(|event| match event {
        Event::Started(_) => (0, 0, 0, 0),
        Event::Clean(clean) => (clean.model.0, 0, 0, clean.chunk),
        Event::Attacked(attacked) => (attacked.model.0, 1 + attacked.threat.0, attacked.attack, attacked.chunk),
        Event::Certified(certified) => (certified.model.0, 1 + certified.threat.0, u32::MAX, certified.chunk),
        Event::Timed(timed) => (timed.model.0, u32::MAX, 0, timed.chunk),
        Event::Finished => (u32::MAX, 0, 0, 0),
    });
    let start = Event::Started(Box::new(whole));
    Ok(std::iter::once(start).chain(events.into_iter().cloned()).chain([Event::Finished]).collect())
}
