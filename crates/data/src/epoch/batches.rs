//! The batches of an epoch.

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::vec;

use assay_attack::{SampleId, SampleRng};
use assay_runtime::Class;
use ndarray::{Array2, aview1};
use serde::{Deserialize, Serialize};

use super::augment::Augmenter;
use super::holdout::shuffle;
use super::prefetch::{Panicked, Prefetch};
use crate::{Augment, DataError, Dataset};

/// Batches that wait to be taken: one while the next is made.
const AHEAD: NonZeroUsize = NonZeroUsize::MIN;

/// One pass over samples of a data set, in an order of its own.
///
/// Order and augmentation depend on (seed, number, sample) only, so that training resumes with what it would have met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Seed of the training.
    pub seed: u64,
    /// Which epoch, from 0.
    pub number: u32,
    /// Samples of a batch.
    pub batch: NonZeroUsize,
    /// What becomes of a last batch that is not full.
    pub last: Last,
    /// What is changed at random in samples.
    pub augment: Augment,
}

/// What becomes of a last batch that is not full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Last {
    /// It comes as it is.
    #[default]
    Keep,
    /// It is left out.
    Drop,
}

/// Some samples, in the order of an epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Their rows in the data set.
    pub ids: Vec<SampleId>,
    /// `[b, features]`, augmented.
    pub samples: Array2<f32>,
    /// Their true classes.
    pub labels: Vec<Class>,
}

impl Epoch {
    /// The samples in the order of this epoch; it does not depend on the order in which they are given.
    #[must_use]
    pub fn order(&self, ids: &[SampleId]) -> Vec<SampleId> {
        let mut ids = ids.to_vec();
        ids.sort();
        shuffle(&mut ids, &mut SampleRng::new(self.seed, SampleId(0), "order", self.number));
        ids
    }

    /// How many batches there are of so many samples.
    #[must_use]
    pub fn count(&self, samples: usize) -> usize {
        match self.last {
            Last::Keep => samples.div_ceil(self.batch.get()),
            Last::Drop => samples / self.batch.get(),
        }
    }

    /// Starts a thread that makes the batches of these samples, one or two ahead.
    ///
    /// # Errors
    /// A sample is not in the data set; the samples are no images that could be augmented, or smaller than the padding; or no thread could
    /// be started.
    pub fn batches(&self, data: &Arc<Dataset>, ids: &[SampleId]) -> Result<Batches, DataError> {
        data.check(ids)?;
        let augmenter = self.augment.on(data.sample_shape())?;
        let left = self.count(ids.len());
        let source = Source { epoch: *self, data: Arc::clone(data), ids: self.order(ids).into_iter(), augmenter, left };
        Ok(Batches(Prefetch::start(AHEAD, source).map_err(DataError::Thread)?))
    }
}

/// The batches of an epoch, made ahead on another thread, which ends when this is dropped.
pub struct Batches(Prefetch<Batch>);

impl Iterator for Batches {
    /// An error, after which there are no more, if the thread panicked.
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.0.next()?.map_err(|Panicked(reason)| DataError::Prefetch { reason }))
    }
}

/// Makes the batches.
struct Source {
    epoch: Epoch,
    data: Arc<Dataset>,
    ids: vec::IntoIter<SampleId>,
    augmenter: Augmenter,
    /// Batches to come.
    left: usize,
}

impl Iterator for Source {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        self.left = self.left.checked_sub(1)?;
        let ids: Vec<_> = self.ids.by_ref().take(self.epoch.batch.get()).collect();
        let all = self.data.samples();
        let mut samples = Array2::zeros((ids.len(), all.ncols()));
        for (id, mut to) in ids.iter().zip(samples.rows_mut()) {
            let from = all.row(id.0 as usize);
            let from = from.as_slice().map_or_else(|| Cow::Owned(from.to_vec()), Cow::Borrowed);
            to.assign(&aview1(&self.augmenter.augmented(&from, self.epoch.seed, self.epoch.number, *id)));
        }
        let labels = ids.iter().filter_map(|id| self.data.labels().get(id.0 as usize).copied()).collect();
        Some(Batch { ids, samples, labels })
    }
}
