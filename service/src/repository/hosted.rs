//! A model version that is loaded.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use assay_graph::Inspection;
use assay_runtime::{
    Cancel, Classifier, ClassifierOptions, ClassifierSpec, Evaluated, ModelInfo, Objective, OnnxClassifier,
    OnnxRuntime, OnnxWeighted, RunError,
};
use ndarray::{Array2, ArrayView2};
use tokio::sync::oneshot;

use super::Manifest;
use crate::{certifying::Certifiers, statistics::Statistics};

/// A model version that is loaded.
#[derive(Debug)]
pub(crate) struct Hosted {
    /// Name of the model.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: u32,
    /// Its `model.toml`.
    pub(crate) manifest: Manifest,
    /// What it was asked for, and how long that took.
    pub(crate) statistics: Arc<Statistics>,
    file: PathBuf,
    classifier: Arc<OnnxClassifier>,
    certifiers: Certifiers,
    closed: AtomicBool,
}

impl Hosted {
    /// Loads a version.
    ///
    /// # Errors
    /// Why it cannot serve.
    pub(super) fn load(
        name: &str,
        version: u32,
        file: &Path,
        manifest: &Result<Manifest, String>,
        runtime: &OnnxRuntime,
        options: &ClassifierOptions,
        statistics: Arc<Statistics>,
    ) -> Result<Self, String> {
        let manifest = manifest.clone()?;
        let classifier = OnnxClassifier::load(runtime, file, &manifest.options(options)).map_err(|e| e.to_string())?;
        let (labels, classes) = (manifest.labels.len(), classifier.spec().classes);
        if labels != 0 && labels != classes {
            return Err(format!("model.toml: labels: expected {classes} (the model's classes), got {labels}"));
        }
        Ok(Self {
            name: name.to_owned(),
            version,
            manifest,
            statistics,
            file: file.to_owned(),
            classifier: Arc::new(classifier),
            certifiers: Certifiers::default(),
            closed: AtomicBool::new(false),
        })
    }

    /// Range of valid values: what `model.toml` says; else that of the bytes which the file takes; else [0, 1].
    pub(crate) fn range(&self) -> [f32; 2] {
        let input = &self.manifest.input;
        let bytes = self.info().whole_numbers.filter(|_| input.mean.is_empty() && input.std.is_empty());
        input.range.or(bytes.map(|ends| ends.map(f32::from))).unwrap_or([0.0, 1.0])
    }

    /// Refuses what waits for it and what comes. Runs that have begun end normally.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.classifier.unload();
    }

    /// Whether it refuses what comes.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Its file.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// The model itself.
    pub(crate) fn classifier(&self) -> &dyn Classifier {
        self.classifier.as_ref()
    }

    /// The model itself, for graphs that are derived from it.
    pub(crate) fn onnx(&self) -> &Arc<OnnxClassifier> {
        &self.classifier
    }

    /// What it keeps for who certifies its samples.
    pub(crate) fn certifiers(&self) -> &Certifiers {
        &self.certifiers
    }

    /// The model with its weights as arguments.
    pub(crate) fn weighted(&self) -> Result<OnnxWeighted, RunError> {
        self.classifier.weighted()
    }

    /// What it is.
    pub(crate) fn spec(&self) -> &ClassifierSpec {
        self.classifier.spec()
    }

    /// What its file says about it.
    pub(crate) fn info(&self) -> &ModelInfo {
        self.classifier.info()
    }

    /// What the model is made of, with its normalisation. The first time blocks for as long as reading all weights takes.
    pub(crate) fn inspection(&self) -> &Inspection {
        self.classifier.inspection()
    }

    /// Logits and derivatives of a batch. Blocks; what waits when `cancel` is thrown is not run.
    pub(crate) fn differentiate(
        &self,
        batch: &ArrayView2<'_, f32>,
        objective: Objective<'_>,
        cancel: &Cancel,
    ) -> Result<Evaluated, RunError> {
        self.classifier.differentiate(batch, objective, cancel)
    }

    /// [`Classifier::logits`] without blocking. Dropping the future takes the batch out of the queue.
    pub(crate) async fn predict(&self, batch: Array2<f32>) -> Result<Array2<f32>, RunError> {
        let (reply, answer) = oneshot::channel();
        let ticket = self.classifier.submit_logits(batch, move |logits| {
            // Nobody listens where the caller went away.
            let _ = reply.send(logits);
        });
        let logits = answer.await.map_err(|_| RunError::Unloaded);
        drop(ticket);
        logits?
    }
}
