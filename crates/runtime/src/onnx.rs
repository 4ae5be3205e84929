//! A classifier from an ONNX file.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use assay_graph::Loss;
use ndarray::{Array2, ArrayView2};

use crate::{Class, Classifier, ClassifierSpec, Evaluated, OnnxRuntime, Provider, RunError, Ticket};

/// How to host a model.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassifierOptions {
    /// What to run on.
    pub provider: Provider,
    /// Whether to run on the processor when `provider` is not available. Without it that is an error.
    pub fallback: bool,
    /// Sessions of the model, each on a thread of its own and with its own copy of the weights.
    pub sessions: NonZeroUsize,
    /// Threads that a session computes one operator with. `None`: the processors of this process divided by `sessions`.
    pub intra_threads: Option<NonZeroUsize>,
    /// Whether those threads spin while they wait for work: faster when the model is always busy, wasteful otherwise.
    pub spinning: bool,
    /// Runs that may wait for a session.
    pub queue: NonZeroUsize,
    /// Most samples of one run. Larger batches are split.
    pub max_batch: NonZeroUsize,
    /// Shape of one sample, without the batch dimension, for models that leave it open.
    pub sample_shape: Option<Vec<usize>>,
}

impl Default for ClassifierOptions {
    fn default() -> Self {
        fn count(n: usize) -> NonZeroUsize {
            NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN)
        }
        Self {
            provider: Provider::Cpu,
            fallback: false,
            sessions: count(1),
            intra_threads: None,
            spinning: false,
            queue: count(256),
            max_batch: count(64),
            sample_shape: None,
        }
    }
}

/// What a model's file says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelInfo {
    /// Version of the standard operator set it is written in.
    pub opset: i64,
    /// Program that wrote it.
    pub producer: String,
    /// Elements of all its weights.
    pub parameters: u64,
    /// Free-form properties.
    pub metadata: BTreeMap<String, String>,
    /// Name of the input.
    pub input: String,
    /// Name of the output.
    pub output: String,
}

/// A model that could not be hosted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
}

/// A model hosted on ONNX Runtime.
#[derive(Debug)]
pub struct OnnxClassifier {
    spec: ClassifierSpec,
    info: ModelInfo,
    engine: crate::Engine,
}

impl OnnxClassifier {
    /// Hosts the model in `file`.
    ///
    /// # Errors
    /// The file cannot be read, is no ONNX model that assay understands, or does not run.
    pub fn load(runtime: &OnnxRuntime, file: &Path, options: &ClassifierOptions) -> Result<Self, LoadError> {
        let _ = (runtime, options);
        Err(LoadError::Read { path: file.to_owned(), reason: "not yet".into() })
    }

    /// Hosts the model in `bytes`, the content of an ONNX file.
    ///
    /// # Errors
    /// As [`OnnxClassifier::load`].
    pub fn from_bytes(runtime: &OnnxRuntime, bytes: &[u8], options: &ClassifierOptions) -> Result<Self, LoadError> {
        let _ = bytes;
        Self::load(runtime, Path::new(""), options)
    }

    /// What its file says about it.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// [`Classifier::logits`] without blocking: `reply` is called once, on another thread unless the batch is refused.
    pub fn submit_logits(
        &self,
        x: Array2<f32>,
        reply: impl FnOnce(Result<Array2<f32>, RunError>) + Send + 'static,
    ) -> Ticket {
        reply(self.logits(x.view()));
        self.engine.submit(crate::Tensors::new(), drop)
    }
}

impl Classifier for OnnxClassifier {
    fn spec(&self) -> &ClassifierSpec {
        &self.spec
    }

    fn logits(&self, _: ArrayView2<'_, f32>) -> Result<Array2<f32>, RunError> {
        Err(RunError::Unloaded)
    }

    fn gradient(
        &self,
        _: ArrayView2<'_, f32>,
        _: Loss,
        _: &[Class],
        _: Option<&[Class]>,
    ) -> Result<Evaluated, RunError> {
        Err(RunError::Unloaded)
    }
}
