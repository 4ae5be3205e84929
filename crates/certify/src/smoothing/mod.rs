//! Randomized smoothing: certificates in L2 that hold with a chosen probability, of any classifier (Cohen, Rosenfeld and Kolter, Certified
//! Adversarial Robustness via Randomized Smoothing, ICML 2019).
//!
//! The smoothed classifier answers with the class that the model gives most often to a sample under Gaussian noise. [`Smoothed`] draws that noise,
//! `statistics` says what votes prove, and [`SmoothedCertificate`] is the answer. A certificate is about the smoothed classifier, never about the model
//! itself.
//!
//! # When the noise stops early
//!
//! A certificate stands on a number of draws that is fixed beforehand. It is stopped before that only where so many draws missed the class that no
//! outcome of the rest could certify anything: the answer would be an abstention in any case, so the probability of a wrong answer is that of
//! the fixed number.

mod answer;
mod statistics;
mod votes;

use std::num::NonZeroUsize;

use assay_attack::SampleId;
use assay_runtime::{Cancel, Class, Classifier};
use ndarray::{ArrayView1, ArrayView2, Axis};

pub use answer::{SmoothedCertificate, SmoothedPrediction, average_radius, certified_accuracy};

use crate::{CertifyError, Progress};
use votes::{Draws, Poll, Votes};

/// How a classifier is smoothed, and how surely.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Smoothing {
    /// Standard deviation of the noise on each element, in units of the model's input: pixels in [0, 1], if these are what it takes. What the model does
    /// to its input comes after the noise, and nothing is clipped. Above 0.
    pub sigma: f64,
    /// Draws that choose the class of a certificate, at least 1. They prove nothing.
    pub selection: u64,
    /// Draws that a certificate or a prediction stands on.
    pub samples: u64,
    /// Largest probability that an answer which is no abstention is wrong, for each sample; above 0 and below 1/2.
    pub alpha: f64,
    /// Most draws in one call of the model. It changes no answer beyond the model's own rounding.
    pub batch: NonZeroUsize,
    /// Seed of all noise. That of a sample depends on this and its id, and on nothing else.
    pub seed: u64,
}

impl Smoothing {
    /// With this noise, and the numbers that the authors chose: 100 draws that choose, 100,000 that prove, and a probability of 0.001.
    #[must_use]
    pub fn new(sigma: f64) -> Self {
        let batch = NonZeroUsize::new(500).unwrap_or(NonZeroUsize::MIN);
        Self { sigma, selection: 100, samples: 100_000, alpha: 0.001, batch, seed: 0 }
    }

    /// The radius that draws which all agree would prove: the largest that a certificate can have. 0: not even they prove anything.
    #[must_use]
    pub fn largest_radius(&self) -> f64 {
        statistics::radius(self.sigma, statistics::lower(self.samples, self.samples, self.alpha)).unwrap_or(0.0)
    }

    /// Whether it means something at all.
    fn check(&self) -> Result<(), CertifyError> {
        let invalid = |text: String| Err(CertifyError::Invalid(text));
        if !(self.sigma.is_finite() && self.sigma > 0.0) {
            return invalid(format!(
                "sigma is {}: expected a positive number, in units of the model's input",
                self.sigma
            ));
        }
        if !(self.alpha > 0.0 && self.alpha < 0.5) {
            return invalid(format!("alpha is {}: expected a number above 0 and below 0.5, as 0.001", self.alpha));
        }
        if self.selection == 0 {
            return invalid("no draws choose the class: expected at least 1".into());
        }
        Ok(())
    }

    /// Whether some outcome would be no abstention.
    fn check_reach(&self, what: &str, least: u64) -> Result<(), CertifyError> {
        if self.samples >= least {
            return Ok(());
        }
        Err(CertifyError::Invalid(format!(
            "{} draws at alpha {} abstain even where all of them agree: a {what} needs at least {least}",
            self.samples, self.alpha
        )))
    }
}

/// A classifier under noise.
#[derive(Clone, Copy)]
pub struct Smoothed<'a> {
    classifier: &'a dyn Classifier,
    smoothing: Smoothing,
}

impl<'a> Smoothed<'a> {
    /// `classifier`, smoothed so.
    ///
    /// # Errors
    /// A number of `smoothing` is out of its range.
    pub fn new(classifier: &'a dyn Classifier, smoothing: Smoothing) -> Result<Self, CertifyError> {
        smoothing.check()?;
        Ok(Self { classifier, smoothing })
    }

    /// How it is smoothed.
    #[must_use]
    pub fn smoothing(&self) -> &Smoothing {
        &self.smoothing
    }

    /// The smoothed classifier's class of each sample with the radius in L2 within which it stays the same, in the samples' order. Each is wrong
    /// with a probability of at most alpha; of `n` samples, up to `alpha · n` are to be expected wrong.
    ///
    /// # Errors
    /// The samples do not fit the model or are not finite, so few draws would abstain whatever they say, a run failed, or `cancel` was thrown.
    pub fn certify(
        &self,
        images: &ArrayView2<'_, f32>,
        ids: &[SampleId],
        observer: &mut dyn FnMut(Progress),
        cancel: &Cancel,
    ) -> Result<Vec<SmoothedCertificate>, CertifyError> {
        self.check(images, ids)?;
        let smoothing = &self.smoothing;
        smoothing.check_reach("certificate", statistics::least_samples(smoothing.alpha))?;
        let needed = statistics::least_votes(smoothing.samples, smoothing.alpha);
        let mut found = Vec::with_capacity(ids.len());
        let mut certified = 0;
        observer(Progress { done: 0, of: ids.len(), certified });
        for (image, &id) in images.axis_iter(Axis(0)).zip(ids) {
            let chosen = self.votes(&image, id, Draws::Selection, smoothing.selection, None, cancel)?.most();
            let certificate = match chosen {
                None => SmoothedCertificate::abstention(None, 0, 0, smoothing),
                Some(class) => {
                    let enough = Some((class, needed));
                    let votes = self.votes(&image, id, Draws::Proof, smoothing.samples, enough, cancel)?;
                    SmoothedCertificate::new(class, votes.of(class), votes.drawn(), smoothing)
                }
            };
            certified += usize::from(certificate.prediction.is_some());
            found.push(certificate);
            observer(Progress { done: found.len(), of: ids.len(), certified });
        }
        Ok(found)
    }

    /// The smoothed classifier's class of each sample, in their order; none where the draws do not tell the two likeliest classes apart. Each that is
    /// given is wrong with a probability of at most alpha.
    ///
    /// # Errors
    /// As [`Smoothed::certify`].
    pub fn predict(
        &self,
        images: &ArrayView2<'_, f32>,
        ids: &[SampleId],
        observer: &mut dyn FnMut(Progress),
        cancel: &Cancel,
    ) -> Result<Vec<SmoothedPrediction>, CertifyError> {
        self.check(images, ids)?;
        let smoothing = &self.smoothing;
        smoothing.check_reach("prediction", statistics::least_samples(smoothing.alpha / 2.0))?;
        let mut found: Vec<SmoothedPrediction> = Vec::with_capacity(ids.len());
        let mut certified = 0;
        observer(Progress { done: 0, of: ids.len(), certified });
        for (image, &id) in images.axis_iter(Axis(0)).zip(ids) {
            let votes = self.votes(&image, id, Draws::Proof, smoothing.samples, None, cancel)?;
            let prediction = SmoothedPrediction::new(&votes, smoothing.alpha);
            certified += usize::from(prediction.prediction.is_some());
            found.push(prediction);
            observer(Progress { done: found.len(), of: ids.len(), certified });
        }
        Ok(found)
    }

    fn votes(
        &self,
        image: &ArrayView1<'_, f32>,
        id: SampleId,
        draws: Draws,
        most: u64,
        enough: Option<(Class, u64)>,
        cancel: &Cancel,
    ) -> Result<Votes, CertifyError> {
        let Self { classifier, smoothing } = *self;
        Poll { classifier, smoothing, image: image.to_vec(), id, draws, most, enough }.count(cancel)
    }

    fn check(&self, images: &ArrayView2<'_, f32>, ids: &[SampleId]) -> Result<(), CertifyError> {
        let spec = self.classifier.spec();
        let invalid = |text: String| Err(CertifyError::Invalid(text));
        if images.ncols() != spec.features() {
            return invalid(format!(
                "a sample of this model has shape {:?}, which is {} values: the samples have {} values each",
                spec.sample_shape,
                spec.features(),
                images.ncols()
            ));
        }
        if images.nrows() != ids.len() {
            return invalid(format!("{} ids for {} samples: one for each is needed", ids.len(), images.nrows()));
        }
        match images.indexed_iter().find(|(_, value)| !value.is_finite()) {
            None => Ok(()),
            Some(((sample, element), value)) => {
                invalid(format!("element {element} of sample {sample} is {value}: expected a finite number"))
            }
        }
    }
}

impl std::fmt::Debug for Smoothed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Smoothed").field("smoothing", &self.smoothing).finish_non_exhaustive()
    }
}
