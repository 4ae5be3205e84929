//! How many samples of a model fit into the memory of a session: measured with a few, when the session is opened.

use std::num::NonZeroU64;

use crate::native::Session;
use ndarray::ArrayD;
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::value::{TensorElementType, ValueType};

use crate::native::{self, InUse};
use crate::session::{self, Array, Tensors};
use crate::{LoadCause, Provider};

/// Batches that a graph is measured with, as far as they fit. The larger, the less counts what does not grow with the batch.
const BATCHES: [usize; 3] = [1, 4, 16];

/// A session that cannot keep within its memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// Even the smallest run needs more.
    #[error(
        "a run of {samples} sample{} needs {needed} bytes in a session and the memory limit is {limit}: raise the limit \
         (`memory`; of a server, `runtime.memory_bytes`)", if *.samples == 1 { "" } else { "s" }
    )]
    TooSmall {
        /// Samples of the run: 1, or the batch size that the model fixes.
        samples: usize,
        /// Bytes that the session had in use, its weights included.
        needed: u64,
        /// Bytes that it may use.
        limit: u64,
    },
    /// The allocator does not tell.
    #[error(
        "the memory limit cannot be kept, because ONNX Runtime does not tell what a session on {provider} uses: {reason}"
    )]
    Unknown {
        /// What the session runs on.
        provider: Provider,
        /// What the allocator lacks.
        reason: String,
    },
}

/// What a run of any graph of one classifier may take, and its form.
#[derive(Clone)]
pub(crate) struct Budget {
    /// Bytes that a session may have in use. `None`: as many as it takes.
    pub(crate) bytes: Option<NonZeroU64>,
    /// Most samples of one run, however much memory there is.
    pub(crate) batch: usize,
    /// The batch size of every run, if the model fixes it.
    pub(crate) fixed: Option<usize>,
    /// The input that takes samples.
    pub(crate) input: String,
    /// Shape of one sample.
    pub(crate) sample_shape: Vec<usize>,
    pub(crate) classes: usize,
}

impl Budget {
    /// Most samples of one run of `session`, which is new. On a GPU it has made such a run then: the first one of a size makes the
    /// plans of its convolutions, and the very first one loads their library.
    pub(crate) fn most(&self, session: &mut Session, provider: Provider) -> Result<usize, LoadCause> {
        let most = match self.bytes {
            Some(limit) => self.measured(session, provider, limit.get())?,
            None => self.batch,
        };
        if provider != Provider::Cpu {
            drop(session::outputs(session, &self.zeros(session, self.fixed.unwrap_or(most)))?);
        }
        Ok(most)
    }

    /// Most samples whose run fits into `limit` bytes.
    fn measured(&self, session: &mut Session, provider: Provider, limit: u64) -> Result<usize, LoadCause> {
        let mut most = 0;
        let batches = self.fixed.map_or(BATCHES.to_vec(), |size| vec![size]);
        for (i, samples) in batches.into_iter().enumerate() {
            if i > 0 && samples > most {
                break;
            }
            let inputs = self.zeros(session, samples);
            drop(session::outputs(session, &inputs)?);
            let used = in_use(session, provider)?;
            if i == 0 && used.most > limit {
                return Err(MemoryError::TooSmall { samples, needed: used.most, limit }.into());
            }
            most = most.max(fitting(samples, used, limit));
            tracing::debug!(samples, weights = used.now, peak = used.most, most, "memory of a session");
        }
        Ok(most.min(self.batch))
    }

    /// `samples` samples of zeros, with labels or cotangents where the graph takes them.
    fn zeros(&self, session: &Session, samples: usize) -> Tensors {
        let inputs = session.inputs().iter().map(|input| {
            let integers = matches!(input.dtype(), ValueType::Tensor { ty: TensorElementType::Int64, .. });
            // Weights are the only inputs without a batch.
            let fixed = match input.dtype() {
                ValueType::Tensor { shape, .. } => {
                    shape.iter().map(|&size| usize::try_from(size).ok()).collect::<Option<Vec<_>>>()
                }
                _ => None,
            };
            let zeros = if input.name() == self.input {
                Array::Float(ArrayD::zeros([&[samples], &self.sample_shape[..]].concat()))
            } else if let Some(shape) = fixed.filter(|_| self.fixed.is_none()) {
                Array::Float(ArrayD::zeros(shape))
            } else if integers {
                Array::Int(ArrayD::zeros(vec![samples]))
            } else {
                Array::Float(ArrayD::zeros(vec![samples, self.classes]))
            };
            (input.name().to_owned(), zeros)
        });
        inputs.collect()
    }
}

/// Samples of which a run fits, at least, if `samples` had `used`: all that is not there between runs is taken to grow with them.
fn fitting(samples: usize, used: InUse, limit: u64) -> usize {
    let free = u128::from(limit.saturating_sub(used.now));
    let taken = u128::from(used.most.saturating_sub(used.now).max(1));
    usize::try_from(free * samples as u128 / taken).unwrap_or(usize::MAX)
}

/// What the allocator of `session` has handed out.
fn in_use(session: &Session, provider: Provider) -> Result<InUse, MemoryError> {
    let unknown = |reason: String| MemoryError::Unknown { provider, reason };
    let (device, id) = match provider {
        Provider::Cpu => (AllocationDevice::CPU, 0),
        Provider::Cuda { device } => {
            (AllocationDevice::CUDA, i32::try_from(device).map_err(|e| unknown(e.to_string()))?)
        }
    };
    let allocator = MemoryInfo::new(device, id, AllocatorType::Arena, MemoryType::Default)
        .and_then(|info| Allocator::new(session, info))
        .map_err(|e| unknown(e.to_string()))?;
    native::in_use(&allocator).map_err(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_with_the_batch_is_shared_by_its_samples() {
        let used = InUse { now: 100, most: 180 };
        assert_eq!(fitting(4, used, 180), 4);
        assert_eq!(fitting(4, used, 199), 4);
        assert_eq!(fitting(4, used, 200), 5);
        assert_eq!(fitting(4, used, 119), 0);
        assert_eq!(fitting(4, used, 50), 0);
        assert_eq!(fitting(1, InUse { now: 7, most: 7 }, 1007), 1000);
    }
}
