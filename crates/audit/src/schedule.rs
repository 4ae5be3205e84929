//! What an audit does, step by step: a function of its setup alone, so that a run can be cut anywhere and its parts put together again.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{ModelId, Setup, ThreatId};

/// Most samples of a chunk: what a run that was cut off does again.
const CHUNK: usize = 64;
/// Most elements of a chunk; an attack keeps a few copies of it.
const ELEMENTS: usize = 1 << 25;

/// Least rounds of predictions that are timed over all chunks: at 5 %, the bounds of the median are the 88th and the 113th of them.
const ROUNDS: u32 = 200;
/// Least rounds of a chunk, so that a shard of one chunk has bounds.
const LEAST_ROUNDS: u32 = 8;

/// Samples of a chunk, of so many elements each; at least 1.
pub(crate) fn chunk(features: usize) -> u32 {
    // At most 64.
    (ELEMENTS / features.max(1)).clamp(1, CHUNK) as u32
}

/// Chunks of so many samples, `chunk` in each.
pub(crate) fn chunks(samples: u64, chunk: u32) -> u32 {
    u32::try_from(samples.div_ceil(u64::from(chunk.max(1)))).unwrap_or(u32::MAX)
}

/// Rounds of predictions that are timed on each of so many chunks.
pub(crate) fn rounds(chunks: u32) -> u32 {
    ROUNDS.div_ceil(chunks.max(1)).max(LEAST_ROUNDS)
}

/// What one event tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The model.
    pub model: ModelId,
    /// What is done to it.
    pub work: Work,
    /// Which chunk of samples.
    pub chunk: u32,
}

/// What is done to a chunk of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// They are classified.
    Clean,
    /// They are attacked.
    Attack {
        /// The threat.
        threat: ThreatId,
        /// Position of the attack within its evaluation.
        attack: u32,
    },
    /// Those that are classified correctly are certified.
    Certify {
        /// The threat.
        threat: ThreatId,
    },
    /// One of them is predicted by two models in turn, which is timed.
    Latency,
}

impl Setup {
    /// The stages of one model, in order: an attack may depend on those before it, and on no other model.
    fn work(&self) -> Vec<Work> {
        let threats = (0..).map(ThreatId).zip(&self.threats).flat_map(|(threat, facts)| {
            let attacks = (0..).zip(&facts.attacks).map(move |(attack, _)| Work::Attack { threat, attack });
            attacks.chain(self.certified_by(threat).map(|_| Work::Certify { threat }))
        });
        std::iter::once(Work::Clean).chain(threats).collect()
    }

    /// Number of a stage of a model, from 0.
    pub(crate) fn place(&self, work: Work) -> usize {
        self.work().iter().position(|stage| *stage == work).unwrap_or_default()
    }

    /// Stages of one model.
    pub(crate) fn stages_of_one(&self) -> usize {
        self.work().len()
    }

    /// Number of chunks of all samples.
    #[must_use]
    pub fn chunks(&self) -> u32 {
        chunks(self.data.samples, self.chunk)
    }

    /// Stages over all models.
    pub(crate) fn stages(&self) -> u32 {
        let latency = usize::from(self.latency().is_some());
        u32::try_from(self.models.len() * self.work().len() + latency).unwrap_or(u32::MAX)
    }

    /// The model that is timed against the first, which is done last, if a gate asks for it.
    fn latency(&self) -> Option<(ModelId, Work)> {
        let second = ModelId(u32::try_from(self.models.len()).ok()?.checked_sub(1).filter(|&last| last > 0)?);
        self.plan.latency_gate().map(|_| (second, Work::Latency))
    }

    /// Rounds of predictions that are timed on each chunk.
    pub(crate) fn rounds(&self) -> u32 {
        rounds(self.chunks())
    }

    /// Positions of the samples of a chunk.
    pub(crate) fn samples_of(&self, chunk: u32) -> Range<usize> {
        let size = u64::from(self.chunk);
        let start = (u64::from(chunk) * size).min(self.data.samples);
        start as usize..(start + size).min(self.data.samples) as usize
    }

    /// Chunks that are measured here, in order.
    pub(crate) fn own_chunks(&self) -> impl Iterator<Item = u32> + use<> {
        let shard = self.shard.unwrap_or(Shard::ALL);
        (shard.index..self.chunks()).step_by(shard.of as usize)
    }

    /// Everything that is done here, in order: one model after the other, each stage on one chunk after the other.
    pub fn steps(&self) -> impl Iterator<Item = Step> + use<> {
        let chunks: Vec<u32> = self.own_chunks().collect();
        let stages: Vec<(ModelId, Work)> = (0..)
            .map(ModelId)
            .zip(&self.models)
            .flat_map(|(model, _)| self.work().into_iter().map(move |work| (model, work)))
            .chain(self.latency())
            .collect();
        stages
            .into_iter()
            .flat_map(move |(model, work)| chunks.clone().into_iter().map(move |chunk| Step { model, work, chunk }))
    }
}

/// A part of an audit: every `of`-th chunk of samples, from chunk `index`. Written `0/3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Shard {
    index: u32,
    of: u32,
}

impl Shard {
    /// Everything.
    pub(crate) const ALL: Self = Self { index: 0, of: 1 };

    /// Part `index` (from 0) of `of`; `None` if there is no such part.
    #[must_use]
    pub fn new(index: u32, of: u32) -> Option<Self> {
        (index < of).then_some(Self { index, of })
    }

    /// All parts of an audit that is cut into so many.
    pub fn all(of: u32) -> impl Iterator<Item = Self> {
        (0..of).map(move |index| Self { index, of })
    }

    /// Most parts of an audit of so many samples, each of so many elements: one for each chunk.
    #[must_use]
    pub fn most(samples: u64, features: usize) -> u32 {
        chunks(samples, chunk(features))
    }

    /// Which part, from 0.
    #[must_use]
    pub fn index(self) -> u32 {
        self.index
    }

    /// Number of parts, at least 1.
    #[must_use]
    pub fn of(self) -> u32 {
        self.of
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(index, of)| Self::new(index.parse().ok()?, of.parse().ok()?));
        parts.ok_or_else(|| {
            format!("\"{text}\" is no shard; expected INDEX/COUNT with an index below the count, as 0/4 to 3/4")
        })
    }
}

impl TryFrom<String> for Shard {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> Self {
        shard.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    fn setup(samples: u64, shard: Option<Shard>) -> Setup {
        let mut setup = fixture::setup();
        setup.data.samples = samples;
        (setup.chunk, setup.shard) = (3, shard);
        setup
    }

    #[test]
    fn shards_are_written_with_an_index_from_0() {
        assert_eq!("2/3".parse(), Ok(Shard { index: 2, of: 3 }));
        assert_eq!(serde_json::from_str::<Shard>("\"0/1\"").unwrap(), Shard::ALL);
        for text in ["", "1", "3/3", "0/0", "-1/2", "a/b", "1/2/3"] {
            assert!(text.parse::<Shard>().unwrap_err().contains("INDEX/COUNT"), "{text}");
        }
    }

    #[test]
    fn every_sample_is_in_one_chunk_of_one_shard() {
        for (samples, of) in [(1, 1), (10, 3), (9, 3), (7, 5)] {
            let mut seen: Vec<usize> = (0..of)
                .flat_map(|index| {
                    let setup = setup(samples, Shard::new(index, of));
                    setup.own_chunks().flat_map(|chunk| setup.samples_of(chunk)).collect::<Vec<_>>()
                })
                .collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..samples as usize).collect::<Vec<_>>(), "{samples} in {of}");
        }
    }

    #[test]
    fn a_stage_ends_before_the_next_begins_and_shards_share_the_steps() {
        let steps = |shard| setup(10, shard).steps().collect::<Vec<_>>();
        let all = steps(None);
        // Two models, each clean and under two attacks, on four chunks.
        assert_eq!(all.len(), 2 * 3 * 4);
        assert!(all.chunks(4).all(|stage| stage.iter().map(|s| s.chunk).eq(0..4)));
        assert!(all.chunks(4).all(|stage| stage.iter().all(|s| (s.model, s.work) == (stage[0].model, stage[0].work))));
        let parts = [steps(Shard::new(0, 3)), steps(Shard::new(1, 3)), steps(Shard::new(2, 3))];
        assert_eq!(all.iter().filter(|step| step.chunk % 3 == 1).copied().collect::<Vec<_>>(), parts[1]);
        assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), all.len());
    }

    #[test]
    fn samples_are_certified_behind_the_attacks_of_their_threat() {
        let mut setup = setup(10, None);
        let attacks = setup.stages_of_one();
        setup.plan.certification =
            Some(crate::Certification { methods: vec![assay_certify::Method::Ibp], threats: None });
        assert_eq!(setup.stages_of_one(), attacks + 1);
        let stages: Vec<Work> = setup.steps().filter(|step| step.chunk == 0).map(|step| step.work).collect();
        let certify = Work::Certify { threat: ThreatId(0) };
        assert_eq!((stages[3], stages[7], setup.place(certify)), (certify, certify, 3));
    }

    #[test]
    fn there_are_as_many_shards_as_chunks() {
        assert_eq!([1, 64, 65, 1000].map(|samples| Shard::most(samples, 784)), [1, 1, 2, 16]);
        assert_eq!(Shard::most(100, 3 * 1024 * 1024), 10);
        assert_eq!(Shard::all(3).map(String::from).collect::<Vec<_>>(), ["0/3", "1/3", "2/3"]);
    }

    #[test]
    fn a_chunk_of_large_samples_has_fewer() {
        assert_eq!((chunk(784), chunk(3 * 224 * 224), chunk(0)), (64, 64, 64));
        assert_eq!((chunk(3 * 1024 * 1024), chunk(1 << 30)), (10, 1));
    }
}
