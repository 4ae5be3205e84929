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
use sha2::{Digest, Sha256};
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
    fingerprint: [u8; 32],
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
        let options = manifest.options(version, options)?;
        let classifier = OnnxClassifier::load(runtime, file, &options).map_err(|e| e.to_string())?;
        let (labels, classes) = (manifest.labels.len(), classifier.spec().classes);
        if labels != 0 && labels != classes {
            return Err(format!("model.toml: labels: expected {classes} (the model's classes), got {labels}"));
        }
        let fingerprint = fingerprint(&classifier.spec().digest, &manifest);
        Ok(Self {
            name: name.to_owned(),
            version,
            manifest,
            statistics,
            file: file.to_owned(),
            classifier: Arc::new(classifier),
            certifiers: Certifiers::default(),
            closed: AtomicBool::new(false),
            fingerprint,
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

    /// What stands for all that its logits depend on but the batch: its file, and what `model.toml` does to the input.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// Whether it refuses what comes.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Its file.
    pub(crate) fn file(&self) -> &Path {
        &self.file
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

    /// [`Classifier::logits`] that can be stopped. Blocks.
    pub(crate) fn logits(&self, batch: &ArrayView2<'_, f32>, cancel: &Cancel) -> Result<Array2<f32>, RunError> {
        self.classifier.logits_until(batch, cancel)
    }

    /// Logits and derivatives of a batch. Blocks; what waits when `cancel` is thrown is not run, and what runs is stopped.
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

fn fingerprint(digest: &str, manifest: &Manifest) -> [u8; 32] {
    let said = format!("{digest} {:?} {:?}", manifest.input, manifest.logits);
    Sha256::digest(said).into()
}
