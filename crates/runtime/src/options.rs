//! How to host a model, and what can be said about it or went wrong.

use std::collections::BTreeMap;
use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use assay_graph::{Adaptation, CanonicalError, Limits, Normalization, ShapeError, TransformError};

use crate::{EngineOptions, MemoryError, ProbeError, RunError, SessionError};

/// How to host a model.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassifierOptions {
    /// What it runs on, and how many sessions and threads it has.
    pub engine: EngineOptions,
    /// Most samples of one run. Larger batches are split. A dynamically quantized model runs one sample at a time, because its scales
    /// are those of the whole batch.
    pub max_batch: NonZeroUsize,
    /// Bytes that one session may have in use, its own copies of weights included; `None`: as many as `max_batch` samples take. Each graph, the
    /// forward pass and each gradient, is measured when its sessions are opened, and gets the largest runs that fit. A run's
    /// inputs and results outside of ONNX Runtime, and memory that its arena keeps between its blocks, come on top.
    pub memory: Option<NonZeroU64>,
    /// What the file's model expects to be done to pixels: it becomes part of the hosted model, which then takes pixels.
    pub normalization: Option<Normalization>,
    /// Shape of one sample, without the batch dimension, for a file that leaves it open.
    pub sample_shape: Option<Vec<usize>>,
    /// Name of the output that gives the logits, for a file with several outputs `[batch, classes]`.
    pub logits: Option<String>,
    /// What a file may cost.
    pub limits: Limits,
    /// Hexadecimal SHA-256 that the file must have, as [`ClassifierSpec::digest`](crate::ClassifierSpec::digest) tells it; another one is refused before ONNX Runtime sees it. `None`: any.
    pub digest: Option<String>,
    /// How batches of the forward pass are joined.
    pub batching: Batching,
    /// Least niceness of the threads that compute anything but predictions ([`OnnxClassifier::submit_logits`](crate::OnnxClassifier::submit_logits)), for example
    /// [`BACKGROUND`](crate::BACKGROUND). Logits that others ask for have sessions of their own then, with their own copies of the weights. `None`: they share those of
    /// predictions, which suits whoever makes none beside other work.
    pub background: Option<i32>,
}

/// How small batches of many callers become runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batching {
    /// How long a batch may wait for others to share its run. Default 0: sessions that become free take what has come, and wait for nothing.
    pub delay: Duration,
    /// Sizes that runs are filled up to with samples whose results are thrown away; larger ones than the most samples of one run are that. Where there is one, every run has that size,
    /// so that what is computed for a sample cannot depend on how many others came with it. Default none: runs have the size that they have; on a GPU, a few sizes
    /// up to the most samples of one run.
    pub buckets: Vec<NonZeroUsize>,
}

impl Default for ClassifierOptions {
    fn default() -> Self {
        Self {
            engine: EngineOptions::default(),
            max_batch: NonZeroUsize::MIN.saturating_add(63),
            memory: None,
            normalization: None,
            sample_shape: None,
            logits: None,
            limits: Limits::default(),
            digest: None,
            batching: Batching::default(),
            background: None,
        }
    }
}

/// What a model's file says about it, and what was changed to host it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelInfo {
    /// Version of the standard operator set that it is written in.
    pub opset: i64,
    /// Program that wrote it.
    pub producer: String,
    /// Elements of all its weights.
    pub parameters: u64,
    /// Size of its file, with the files of its tensors.
    pub bytes: u64,
    /// Free-form properties.
    pub metadata: BTreeMap<String, String>,
    /// Name of the input.
    pub input: String,
    /// Smallest and largest number that the file's input can hold, where it holds 8-bit integers. The hosted model takes f32 and
    /// rounds it to them.
    pub whole_numbers: Option<[i16; 2]>,
    /// Name of the output.
    pub output: String,
    /// What is different between the file's model and the hosted one, in the order in which it was changed.
    pub adaptations: Vec<Adaptation>,
}

/// A model that could not be hosted.
#[derive(Debug, thiserror::Error)]
#[error("cannot host {model}: {cause}")]
pub struct LoadError {
    /// Its file, or `the model`.
    pub model: String,
    /// Why.
    #[source]
    pub cause: LoadCause,
}

/// Why a model could not be hosted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadCause {
    /// The file cannot be read, or is no ONNX model.
    #[error(transparent)]
    File(#[from] assay_graph::LoadError),
    /// It is another file than it should be.
    #[error("its SHA-256 is {found}, and must be {pinned}")]
    Digest {
        /// What it is.
        found: String,
        /// What it must be.
        pinned: String,
    },
    /// It has no canonical form: its operator set, or one of its operators.
    #[error(transparent)]
    Form(#[from] CanonicalError),
    /// It cannot be rewritten: the normalization does not fit it, or its batch size cannot be opened.
    #[error(transparent)]
    Transform(#[from] TransformError),
    /// Its shapes could not be found out.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// It is not a classifier: its input or its output has another form.
    #[error(transparent)]
    NotAClassifier(#[from] ShapeError),
    /// The rewritten model computes something else than the file. Every number would be wrong.
    #[error(
        "the rewritten model's logits differ from the file's by {difference:e} of the largest: this is a defect of assay, \
         please report it with the model"
    )]
    Unfaithful {
        /// Largest difference, relative to the largest logit.
        difference: f32,
    },
    /// Whether samples keep apart in a batch cannot be seen.
    #[error("its logits are the same for all samples, so that a mistake would not be seen")]
    Indistinct,
    /// A session cannot keep within its memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// It does not run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// ONNX Runtime refused it, or the provider is not available.
    #[error(transparent)]
    Session(#[from] SessionError),
}
