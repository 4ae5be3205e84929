//! Answers that are kept, so that a batch which was asked before is not evaluated again.

use std::sync::Arc;

use ndarray::Array2;
use quick_cache::{Weighter, sync::Cache};
use sha2::{Digest, Sha256};

use crate::{repository::Hosted, statistics::Statistics};

/// What an answer takes beside its logits: its key, and its place in the cache.
const OVERHEAD: u64 = 128;
/// Bytes of an answer that is neither large nor small, to guess how many there will be.
const USUAL: u64 = 256;

/// Logits by what was asked: the model, with all that is done to its input, and every bit of the batch.
#[derive(Debug)]
pub(crate) struct Answers {
    kept: Cache<Key, Arc<Array2<f32>>, Bytes>,
}

/// SHA-256 of model and batch: whoever could make two batches meet could be given another's answer.
pub(crate) type Key = [u8; 32];

#[derive(Clone, Debug)]
struct Bytes;

impl Weighter<Key, Arc<Array2<f32>>> for Bytes {
    fn weight(&self, _: &Key, logits: &Arc<Array2<f32>>) -> u64 {
        OVERHEAD + (logits.len() * size_of::<f32>()) as u64
    }
}

impl Answers {
    /// At most so many bytes of answers; those that are asked for least go first.
    pub(crate) fn new(bytes: u64) -> Self {
        let usual = usize::try_from(bytes / USUAL).unwrap_or(usize::MAX).max(1);
        Self { kept: Cache::with_weighter(usual, bytes, Bytes) }
    }

    /// What stands for `batch` asked of this model.
    pub(crate) fn key(&self, hosted: &Hosted, batch: &Array2<f32>) -> Key {
        let mut all = Sha256::new_with_prefix(hosted.fingerprint());
        all.update((batch.nrows() as u64).to_le_bytes());
        match batch.as_slice() {
            Some(values) => all.update(bytemuck::cast_slice::<f32, u8>(values)),
            None => batch.iter().for_each(|value| all.update(value.to_le_bytes())),
        }
        all.finalize().into()
    }

    /// The answer that is kept, if there is one; counted either way.
    pub(crate) fn find(&self, key: &Key, statistics: &Statistics) -> Option<Arc<Array2<f32>>> {
        let began = std::time::Instant::now();
        let found = self.kept.get(key);
        let counted = if found.is_some() { &statistics.cache_hit } else { &statistics.cache_miss };
        counted.add(began.elapsed());
        found
    }

    /// Keeps an answer.
    pub(crate) fn keep(&self, key: Key, logits: &Arc<Array2<f32>>) {
        self.kept.insert(key, Arc::clone(logits));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_bytes_are_kept_than_may_be() {
        let answers = Answers::new(10_000);
        let logits = Arc::new(Array2::zeros((1, 10)));
        for i in 0..1000u32 {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&i.to_le_bytes());
            answers.keep(key, &logits);
        }
        assert!(answers.kept.weight() <= 10_000 && answers.kept.len() > 20, "{}", answers.kept.len());
    }

    #[test]
    fn what_was_found_and_what_was_not_is_counted() {
        let (answers, statistics) = (Answers::new(10_000), Statistics::default());
        assert!(answers.find(&[1; 32], &statistics).is_none());
        answers.keep([1; 32], &Arc::new(Array2::ones((2, 3))));
        assert_eq!(*answers.find(&[1; 32], &statistics).unwrap(), Array2::<f32>::ones((2, 3)));
        assert_eq!((statistics.cache_hit.count(), statistics.cache_miss.count()), (1, 1));
    }
}
