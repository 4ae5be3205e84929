//! What is known of a job beside its events.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::state::{Illegal, Input, State};
use crate::baseline::Baseline;
use crate::event::Environment;
use crate::plan::Plan;
use crate::schedule::Shard;

/// Number of a job; a store gives each once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub i64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A time, in whole seconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl From<SystemTime> for Moment {
    fn from(time: SystemTime) -> Self {
        // A clock that stands before 1970 is not set.
        Self(time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }
}

impl From<Moment> for SystemTime {
    fn from(moment: Moment) -> Self {
        Self::UNIX_EPOCH + Duration::from_secs(moment.0)
    }
}

/// What a job is to do, all of which is known when it is taken and never changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// Whose job it is, by the name that the server knows them by; `None`: nobody was asked.
    pub owner: Option<String>,
    /// By what whoever asked knows the job again; an owner has each once.
    pub key: Option<String>,
    /// What to measure; every model has its version.
    pub plan: Plan,
    /// On which samples.
    pub data: DataRef,
    /// The part of them; `None`: all.
    pub shard: Option<Shard>,
    /// What the plan's only model is compared with.
    pub baseline: Option<Baseline>,
    /// The plan's models in its order, as they were when the job was taken.
    pub models: Vec<ModelDigest>,
    /// With what it is to be made.
    pub environment: Environment,
}

/// Where the samples are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DataRef {
    /// A data set that whoever carries the job out knows by name; the plan says which samples of it.
    Registered {
        /// The name.
        name: String,
    },
    /// A file that was handed over with the job.
    Uploaded {
        /// Hexadecimal SHA-256 of that file.
        content: String,
        /// What the report calls the data.
        name: String,
        /// Where they came from, hexadecimal SHA-256; may be empty.
        digest: String,
        /// Position of each in its data set; empty: they are its first ones.
        positions: Vec<u64>,
    },
}

impl DataRef {
    /// What the report calls the data.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Registered { name, .. } | Self::Uploaded { name, .. } => name,
        }
    }
}

/// A version of a model, and what its file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelDigest {
    /// Name in the repository.
    pub name: String,
    /// Version.
    pub version: String,
    /// Hexadecimal SHA-256 of its file.
    pub digest: String,
}

/// What is known of a job beside its events.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its number.
    pub id: JobId,
    /// What it is to do.
    pub asked: Asked,
    /// What has become of it.
    pub state: State,
    /// When it was taken.
    pub created: Moment,
    /// When it was first begun.
    pub started: Option<Moment>,
    /// When it ended; `None` where it has not, or goes on.
    pub ended: Option<Moment>,
}

impl Record {
    /// What the record is after `input`.
    ///
    /// # Errors
    /// Its state does not take this input.
    pub fn on(&self, input: Input, now: Moment) -> Result<Self, Illegal> {
        let state = self.state.on(input)?;
        let started = self.started.or_else(|| (state == State::Running).then_some(now));
        let ended = match (&state, self.state.has_ended()) {
            (state, true) if state.has_ended() => self.ended,
            (state, _) => state.has_ended().then_some(now),
        };
        Ok(Self { state, started, ended, ..self.clone() })
    }

    /// Whether it measures the same on the same.
    #[must_use]
    pub fn measures(&self, other: &Asked) -> bool {
        let what = |asked: &Asked| {
            let Asked { plan, data, shard, baseline, models, .. } = asked.clone();
            (plan, data, shard, baseline, models)
        };
        what(&self.asked) == what(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Verdict;

    #[test]
    fn a_job_keeps_its_first_start_and_its_last_end() {
        let plan = "schema = 1\nmodels = [{ name = \"a\" }]\n[[evaluations]]\nnorm = \"L2\"\neps = \"1\"\nattacks = [{ name = \"fgsm\" }]";
        let environment = Environment { assay: String::new(), onnxruntime: String::new(), optimization: String::new() };
        let data = DataRef::Registered { name: "ramp".to_owned() };
        let plan = Plan::parse(plan).unwrap();
        let asked =
            Asked { owner: None, key: None, plan, data, shard: None, baseline: None, models: Vec::new(), environment };
        let mut record =
            Record { id: JobId(1), asked, state: State::Queued, created: Moment(1), started: None, ended: None };
        for (now, input, times) in [
            (2, Input::Begun, (Some(2), None)),
            (3, Input::Failed("the disk is full".to_owned()), (Some(2), Some(3))),
            (4, Input::AskedAgain, (Some(2), None)),
            (5, Input::Begun, (Some(2), None)),
            (6, Input::Reached(Verdict::Pass), (Some(2), Some(6))),
            (7, Input::AskedAgain, (Some(2), Some(6))),
        ] {
            record = record.on(input, Moment(now)).unwrap();
            assert_eq!((record.started, record.ended), (times.0.map(Moment), times.1.map(Moment)), "at {now}");
        }
        assert!(record.on(Input::Begun, Moment(8)).is_err());
    }
}
