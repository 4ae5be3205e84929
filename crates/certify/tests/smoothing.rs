//! Randomized smoothing against classifiers whose smoothed answer is known, and against counts that another program stored.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod support;

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use assay_attack::{SampleId, SampleRng};
use assay_certify::{CertifyError, Progress, Smoothed, SmoothedCertificate, Smoothing};
use assay_graph::{Loss, Normalization};
use assay_reference::material;
use assay_runtime::{
    Cancel, Class, Classifier, ClassifierOptions, ClassifierSpec, Evaluated, Gradients, OnnxClassifier, RunError,
};
use ndarray::{Array2, ArrayView2};
use support::runtime;

/// Class 1 where the sum of the elements is above `threshold`, else class 0; not a number where the first element is above `void`.
struct HalfSpace {
    spec: ClassifierSpec,
    threshold: f32,
    void: f32,
    calls: AtomicUsize,
}

const FEATURES: usize = 3;

impl HalfSpace {
    fn new(threshold: f32) -> Self {
        let spec = ClassifierSpec {
            digest: String::new(),
            sample_shape: vec![FEATURES],
            classes: 2,
            provider: "none".into(),
            gradients: Gradients::Unavailable("a test".into()),
        };
        Self { spec, threshold, void: f32::INFINITY, calls: AtomicUsize::new(0) }
    }
}

impl Classifier for HalfSpace {
    fn spec(&self) -> &ClassifierSpec {
        &self.spec
    }

    fn logits(&self, x: ArrayView2<'_, f32>) -> Result<Array2<f32>, RunError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Ok(Array2::from_shape_fn((x.nrows(), 2), |(i, class)| {
            let above = x.row(i).sum() - self.threshold;
            if x[[i, 0]] > self.void { f32::NAN } else { above * class as f32 }
        }))
    }

    fn gradient(
        &self,
        _: ArrayView2<'_, f32>,
        _: Loss,
        _: &[Class],
        _: Option<&[Class]>,
    ) -> Result<Evaluated, RunError> {
        Err(RunError::NoGradient("a test".into()))
    }

    fn vjp(&self, _: ArrayView2<'_, f32>, _: ArrayView2<'_, f32>) -> Result<Evaluated, RunError> {
        Err(RunError::NoGradient("a test".into()))
    }
}

fn smoothing(samples: u64, alpha: f64) -> Smoothing {
    Smoothing { selection: 20, samples, alpha, ..Smoothing::new(0.5) }
}

fn ids(n: usize) -> Vec<SampleId> {
    (0..n as u64).map(SampleId).collect()
}

fn certify(
    classifier: &dyn Classifier,
    smoothing: Smoothing,
    x: &Array2<f32>,
    ids: &[SampleId],
) -> Vec<SmoothedCertificate> {
    let smoothed = Smoothed::new(classifier, smoothing).unwrap();
    smoothed.certify(&x.view(), ids, &mut |_| {}, &Cancel::default()).unwrap()
}

/// Points at distances up to 1.2 from the boundary of `HalfSpace::new(1.0)`, on both sides.
fn points(n: usize) -> Array2<f32> {
    let mut rng = SampleRng::new(5, SampleId(0), "points", 0);
    let root = (FEATURES as f64).sqrt();
    let shifts: Vec<f64> = (0..n).map(|_| (2.4 * rng.uniform() - 1.2) * root).collect();
    Array2::from_shape_fn((n, FEATURES), |(i, _)| ((1.0 + shifts[i]) / FEATURES as f64) as f32)
}

/// Of a half space the smoothed classifier is the classifier itself, so a radius beyond the distance from the boundary is wrong.
#[test]
fn so_few_answers_are_wrong_as_alpha_allows() {
    let classifier = HalfSpace::new(1.0);
    let (n, alpha) = (1500, 0.05);
    let x = points(n);
    let found = certify(&classifier, smoothing(60, alpha), &x, &ids(n));
    let (mut wrong, mut answers, mut close) = (0, 0, 0);
    for (certificate, row) in found.iter().zip(x.rows()) {
        let distance = f64::from(row.sum() - 1.0) / (FEATURES as f64).sqrt();
        let truth = Class(u32::from(distance > 0.0));
        let Some(class) = certificate.prediction else { continue };
        answers += 1;
        wrong += usize::from(class != truth || certificate.radius > distance.abs());
        close += usize::from(certificate.radius > 0.4 * distance.abs());
    }
    let allowed = alpha * n as f64;
    // Five standard errors.
    assert!((wrong as f64) < allowed + 5.0 * (allowed * (1.0 - alpha)).sqrt(), "{wrong} of {n}");
    assert!(wrong > 0, "a bound of 95 % that is never wrong in {n} is too loose");
    assert!(answers > n / 2 && close > answers / 2, "{answers} answers of {n}, {close} close");

    let smoothed = Smoothed::new(&classifier, smoothing(60, alpha)).unwrap();
    let predictions = smoothed.predict(&x.view(), &ids(n), &mut |_| {}, &Cancel::default()).unwrap();
    let wrong = predictions.iter().zip(x.rows()).filter(|(prediction, row)| {
        prediction.prediction.is_some_and(|class| class != Class(u32::from(row.sum() > 1.0)))
    });
    assert!((wrong.count() as f64) < allowed + 5.0 * allowed.sqrt());
    assert!(predictions.iter().filter(|prediction| prediction.prediction.is_some()).count() > n / 2);
}

#[test]
fn answers_depend_neither_on_the_batch_nor_on_the_other_samples() {
    let classifier = HalfSpace::new(1.0);
    let x = points(12);
    let run = |batch: usize| {
        let smoothing = Smoothing { batch: NonZeroUsize::new(batch).unwrap(), ..smoothing(300, 0.01) };
        certify(&classifier, smoothing, &x, &ids(12))
    };
    let all = run(64);
    assert!(all.iter().any(|c| c.prediction.is_none() && c.drawn < 300), "one is stopped: {all:?}");
    assert!(all.iter().any(|c| c.prediction.is_some()));
    for batch in [1, 7, 300, 1000] {
        assert_eq!(run(batch), all, "in batches of {batch}");
    }
    let (last, id) = (x.slice(ndarray::s![11.., ..]).to_owned(), [SampleId(11)]);
    assert_eq!(certify(&classifier, smoothing(300, 0.01), &last, &id)[0], all[11]);
    let other = certify(&classifier, Smoothing { seed: 1, ..smoothing(300, 0.01) }, &x, &ids(12));
    assert_ne!(other, all, "another seed, other noise");
}

#[test]
fn what_cannot_be_certified_any_more_is_stopped_and_abstains() {
    let classifier = HalfSpace::new(1.0);
    // On the boundary: half of the draws go each way.
    let x = Array2::from_elem((1, FEATURES), 1.0 / 3.0);
    let batch = NonZeroUsize::new(10).unwrap();
    let found = certify(&classifier, Smoothing { batch, ..smoothing(1000, 0.001) }, &x, &ids(1));
    assert_eq!((found[0].prediction, found[0].radius), (None, 0.0));
    assert!(found[0].drawn > 800 && found[0].drawn < 1000, "{found:?}");
    // 2 calls chose the class.
    assert!(classifier.calls.load(Ordering::Relaxed) < 102);
}

#[test]
fn draws_without_a_finite_answer_vote_for_no_class() {
    let mut classifier = HalfSpace::new(-100.0);
    let x = Array2::zeros((1, FEATURES));
    let clear = certify(&classifier, smoothing(200, 0.001), &x, &ids(1))[0];
    assert_eq!((clear.prediction, clear.votes), (Some(Class(1)), 200));
    // At one standard deviation: 16 of 100 draws.
    classifier.void = 0.5;
    let some = certify(&classifier, smoothing(200, 0.001), &x, &ids(1))[0];
    assert!(some.votes > 140 && some.votes < 190 && some.radius < clear.radius, "{some:?}");
    classifier.void = f32::NEG_INFINITY;
    let none = certify(&classifier, smoothing(200, 0.001), &x, &ids(1))[0];
    assert_eq!((none.prediction, none.candidate, none.votes), (None, None, 0));
}

#[test]
fn numbers_that_mean_nothing_are_refused_with_what_was_expected() {
    let classifier = HalfSpace::new(1.0);
    let refused = |smoothing: Smoothing| match Smoothed::new(&classifier, smoothing) {
        Err(CertifyError::Invalid(text)) => text,
        other => panic!("{other:?}"),
    };
    for sigma in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(refused(Smoothing { sigma, ..smoothing(100, 0.001) }).contains("sigma"));
    }
    for alpha in [0.0, 0.5, 1.0, f64::NAN] {
        assert!(refused(smoothing(100, alpha)).contains("alpha"));
    }
    assert!(refused(Smoothing { selection: 0, ..smoothing(100, 0.001) }).contains("at least 1"));

    let x = Array2::zeros((2, FEATURES));
    let asked = |smoothing: Smoothing, x: &Array2<f32>, ids: &[SampleId]| {
        let smoothed = Smoothed::new(&classifier, smoothing).unwrap();
        let text = |error: CertifyError| error.to_string();
        let mut ignore = |_: Progress| {};
        [
            smoothed.certify(&x.view(), ids, &mut ignore, &Cancel::default()).err().map(text),
            smoothed.predict(&x.view(), ids, &mut ignore, &Cancel::default()).err().map(text),
        ]
    };
    let few = asked(smoothing(9, 0.001), &x, &ids(2)).map(Option::unwrap);
    assert!(few[0].contains("9 draws") && few[0].contains("at least 10"), "{}", few[0]);
    assert!(few[1].contains("at least 11"), "{}", few[1]);
    assert_eq!(smoothing(9, 0.001).largest_radius(), 0.0);
    assert!(asked(smoothing(10, 0.001), &x, &ids(2))[0].is_none());
    assert!(asked(smoothing(20, 0.001), &x, &ids(1))[0].as_ref().unwrap().contains("1 ids for 2 samples"));
    let nan = Array2::from_elem((1, FEATURES), f32::NAN);
    assert!(asked(smoothing(20, 0.001), &nan, &ids(1))[0].as_ref().unwrap().contains("NaN"));
    let narrow = Array2::zeros((1, FEATURES - 1));
    assert!(asked(smoothing(20, 0.001), &narrow, &ids(1))[0].as_ref().unwrap().contains("2 values"));
}

#[test]
fn a_job_tells_how_far_it_is_and_can_be_stopped() {
    let classifier = HalfSpace::new(1.0);
    let smoothed = Smoothed::new(&classifier, smoothing(50, 0.01)).unwrap();
    let (x, mut seen) = (points(5), Vec::new());
    smoothed.certify(&x.view(), &ids(5), &mut |progress| seen.push(progress.done), &Cancel::default()).unwrap();
    assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
    let cancel = Cancel::default();
    let stopped = smoothed.certify(&x.view(), &ids(5), &mut |_| cancel.cancel(), &cancel);
    assert!(matches!(stopped, Err(CertifyError::Run(RunError::Cancelled))), "{stopped:?}");
}

/// Votes of a network of the competitions, drawn with other noise than the stored ones.
#[test]
fn votes_are_distributed_as_the_stored_ones() {
    let (Some(material), Some(runtime)) = (material(), runtime()) else { return };
    let stored = material.json("smoothing_counts.json");
    let run = &stored["cifar_base_kw|sigma0.12|n10000"];
    let all = material.npz("images/cifar10-first100.npz");
    let pixels: Vec<f32> = all.get("pixels_u8").i64s().into_iter().map(|p| p as f32 / 255.0).collect();
    let images = Array2::from_shape_vec((100, 3072), pixels).unwrap();
    let normalization = Some(Normalization { mean: vec![0.485, 0.456, 0.406], std: vec![0.225; 3], axis: None });
    // The file takes one sample at a time; the classifier takes any number.
    let options = ClassifierOptions { normalization, ..ClassifierOptions::default() };
    let classifier = OnnxClassifier::load(&runtime, &material.path("vnncomp/oval21/cifar_base_kw.onnx"), &options);
    let classifier = classifier.unwrap();
    let samples = 1500;
    let smoothing = Smoothing { samples, ..Smoothing::new(0.12) };
    for row in run["rows"].as_array().unwrap().iter().take(6) {
        let image = usize::try_from(row["image"].as_u64().unwrap()).unwrap();
        let x = images.slice(ndarray::s![image..=image, ..]).to_owned();
        let found = certify(&classifier, smoothing, &x, &[SampleId(image as u64)])[0];
        let class = found.candidate.unwrap();
        let count = row["counts"][class.index()].as_f64().unwrap();
        let (p, q) = (found.votes as f64 / found.drawn as f64, count / 10_000.0);
        let pooled = (found.votes as f64 + count) / (found.drawn as f64 + 10_000.0);
        let error = (pooled * (1.0 - pooled) * (1.0 / found.drawn as f64 + 1e-4)).sqrt();
        // One that is stopped is stopped at a moment that its votes chose.
        if found.drawn == samples {
            assert!((p - q).abs() <= 5.0 * error + 1e-9, "image {image}: {p}, not {q}");
        }
        println!("image {image}: class {class}, {} of {} votes, radius {:.4}", found.votes, found.drawn, found.radius);
    }
}
