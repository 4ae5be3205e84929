//! A model version that is loaded: its classifier behind the normalisation of `model.toml`.

use std::path::Path;

use assay_graph::Loss;
use assay_runtime::{
    Class, Classifier, ClassifierOptions, ClassifierSpec, Evaluated, ModelInfo, OnnxClassifier, OnnxRuntime, RunError,
};
use ndarray::{Array2, ArrayView2};
use tokio::sync::oneshot;

use super::Manifest;

/// A model version that is loaded.
#[derive(Debug)]
pub(crate) struct Hosted {
    /// Name of the model.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: u32,
    /// Its `model.toml`.
    pub(crate) manifest: Manifest,
    classifier: OnnxClassifier,
    normalisation: Option<Normalisation>,
}

/// (x - mean) / std, element by element.
#[derive(Debug, PartialEq)]
struct Normalisation {
    mean: Vec<f32>,
    std: Vec<f32>,
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
    ) -> Result<Self, String> {
        let manifest = manifest.clone()?;
        let options = ClassifierOptions { sample_shape: manifest.input.shape.clone(), ..options.clone() };
        let classifier = OnnxClassifier::load(runtime, file, &options).map_err(|e| e.to_string())?;
        let spec = classifier.spec();
        let labels = manifest.labels.len();
        if labels != 0 && labels != spec.classes {
            return Err(format!("model.toml: labels: expected {} (the model's classes), got {labels}", spec.classes));
        }
        let normalisation = Normalisation::new(&manifest.input.mean, &manifest.input.std, &spec.sample_shape)?;
        Ok(Self { name: name.to_owned(), version, manifest, classifier, normalisation })
    }

    /// What the model's file says about it.
    pub(crate) fn info(&self) -> &ModelInfo {
        self.classifier.info()
    }

    /// What the classifier is; as [`Classifier::spec`].
    pub(crate) fn spec(&self) -> &ClassifierSpec {
        self.classifier.spec()
    }

    /// [`Classifier::logits`] without blocking. Dropping the future takes the batch out of the queue.
    pub(crate) async fn predict(&self, mut batch: Array2<f32>) -> Result<Array2<f32>, RunError> {
        if let Some(normalisation) = &self.normalisation {
            normalisation.apply(&mut batch);
        }
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

impl Classifier for Hosted {
    fn spec(&self) -> &ClassifierSpec {
        self.classifier.spec()
    }

    fn logits(&self, x: ArrayView2<'_, f32>) -> Result<Array2<f32>, RunError> {
        match &self.normalisation {
            None => self.classifier.logits(x),
            Some(normalisation) => self.classifier.logits(normalisation.of(&x).view()),
        }
    }

    fn gradient(
        &self,
        x: ArrayView2<'_, f32>,
        loss: Loss,
        labels: &[Class],
        targets: Option<&[Class]>,
    ) -> Result<Evaluated, RunError> {
        let Some(normalisation) = &self.normalisation else {
            return self.classifier.gradient(x, loss, labels, targets);
        };
        let mut evaluated = self.classifier.gradient(normalisation.of(&x).view(), loss, labels, targets)?;
        for mut row in evaluated.gradient.rows_mut() {
            row.iter_mut().zip(&normalisation.std).for_each(|(d, std)| *d /= std);
        }
        Ok(evaluated)
    }
}

impl Normalisation {
    /// Spreads one value, or one value a channel (the first dimension of a sample), over the elements of a sample.
    fn new(mean: &[f32], std: &[f32], sample_shape: &[usize]) -> Result<Option<Self>, String> {
        if mean.is_empty() && std.is_empty() {
            return Ok(None);
        }
        let spread = |key: &str, values: &[f32], default: f32| {
            let features = sample_shape.iter().product();
            let channels = sample_shape.first().copied().unwrap_or(1);
            match values {
                [] => Ok(vec![default; features]),
                [value] => Ok(vec![*value; features]),
                _ if values.len() == channels => {
                    Ok(values.iter().flat_map(|value| std::iter::repeat_n(*value, features / channels)).collect())
                }
                _ => Err(format!("model.toml: input.{key}: expected 1 or {channels} values, got {}", values.len())),
            }
        };
        Ok(Some(Self { mean: spread("mean", mean, 0.0)?, std: spread("std", std, 1.0)? }))
    }

    fn apply(&self, batch: &mut Array2<f32>) {
        for mut row in batch.rows_mut() {
            row.iter_mut().zip(&self.mean).zip(&self.std).for_each(|((x, mean), std)| *x = (*x - mean) / std);
        }
    }

    fn of(&self, x: &ArrayView2<'_, f32>) -> Array2<f32> {
        let mut batch = x.to_owned();
        self.apply(&mut batch);
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_normalised_by_its_own_values() {
        let normalisation = Normalisation::new(&[1.0, 2.0], &[2.0, 4.0], &[2, 1, 2]).unwrap().unwrap();
        let batch = ndarray::array![[1.0, 3.0, 2.0, 6.0]];
        assert_eq!(normalisation.of(&batch.view()), ndarray::array![[0.0, 1.0, 0.0, 1.0]]);
    }

    #[test]
    fn one_value_stands_for_all_and_none_for_nothing() {
        assert_eq!(Normalisation::new(&[], &[], &[3]), Ok(None));
        let normalisation = Normalisation::new(&[0.5], &[], &[3]).unwrap().unwrap();
        assert_eq!(normalisation.of(&ndarray::array![[0.5, 1.0, 0.0]].view()), ndarray::array![[0.0, 0.5, -0.5]]);
    }

    #[test]
    fn a_wrong_number_of_values_is_named() {
        let message = Normalisation::new(&[0.1, 0.2], &[], &[3, 2, 2]).unwrap_err();
        assert_eq!(message, "model.toml: input.mean: expected 1 or 3 values, got 2");
    }
}
