//! Attacks on a GPU against attacks on the processor: what they break, and that a second run breaks the same.
//!
//! `make test-cuda` runs these tests on a machine with an NVIDIA GPU. Elsewhere each says that it is skipped; with `ASSAY_CUDA=1`
//! that is a failure.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

use std::num::NonZeroUsize;

use assay_attack::{
    Apgd, Attack, Attacked, Bounds, Budget, Cancel, Goal, Job, Norm, Outcome, Pgd, SampleId, Suite, Threat, run,
};
use assay_graph::{Canonical, Limits, Model, Normalization, preprocess};
use assay_reference::{fashion_mnist, material, skip};
use assay_runtime::{
    Class, Classifier, ClassifierOptions, EngineOptions, Library, OnnxClassifier, OnnxRuntime, Provider,
};
use ndarray::Array2;

const GPU: Provider = Provider::Cuda { device: 0 };
const FASHION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/models/fashion-robust/1/model.onnx");

/// ONNX Runtime with a GPU that it can use.
fn gpu() -> Option<OnnxRuntime> {
    let missing = |why: String| {
        assert!(std::env::var_os("ASSAY_CUDA").is_none_or(|v| v != "1"), "ASSAY_CUDA=1, but {why}");
        skip(&why);
    };
    let runtime = OnnxRuntime::load(&Library::default()).map_err(|e| missing(e.to_string())).ok()?;
    let bytes = std::fs::read(FASHION).unwrap();
    OnnxClassifier::from_bytes(&runtime, &bytes, &on(GPU)).map_err(|e| missing(e.to_string())).ok()?;
    Some(runtime)
}

fn on(provider: Provider) -> ClassifierOptions {
    ClassifierOptions { engine: EngineOptions { provider, ..EngineOptions::default() }, ..ClassifierOptions::default() }
}

struct Data {
    images: Array2<f32>,
    labels: Vec<Class>,
}

/// The first `n` test images of Fashion-MNIST.
fn fashion(n: usize) -> Data {
    let (images, labels) = fashion_mnist(n);
    Data { images, labels: labels.into_iter().map(Class).collect() }
}

fn attacked(model: &OnnxClassifier, data: &Data, attack: &dyn Attack, eps: &str) -> Attacked {
    let threat = Threat { norm: Norm::Linf, eps: eps.parse().unwrap(), bounds: Bounds::new(0.0, 1.0).unwrap() };
    let ids: Vec<_> = (0..data.labels.len() as u64).map(SampleId).collect();
    let job = Job {
        classifier: model,
        attack,
        threat: &threat,
        goal: &Goal::Untargeted,
        images: data.images.view(),
        labels: &data.labels,
        ids: &ids,
        seed: 0,
        batch: NonZeroUsize::new(64).unwrap(),
        budget: Budget::default(),
        checks: false,
        eight_bit: false,
    };
    run(&job, &mut |_| {}, &Cancel::default()).unwrap()
}

/// How far the label's logit is below the largest other one, for each sample.
fn deficit(model: &OnnxClassifier, x: &Array2<f32>, labels: &[Class]) -> Vec<f32> {
    let logits = model.logits(x.view()).unwrap();
    let rows = logits.rows().into_iter().zip(labels);
    let other = |row: &ndarray::ArrayView1<'_, f32>, label: usize| {
        row.iter().enumerate().filter(|(i, _)| *i != label).map(|(_, v)| *v).fold(f32::NEG_INFINITY, f32::max)
    };
    rows.map(|(row, label)| other(&row, label.index()) - row[label.index()]).collect()
}

/// Two runs on the GPU give the same points. What one of them breaks is broken on the other provider, too, or within rounding of it.
/// Which samples are broken may differ in one of fifty: steps follow signs, and a sign that rounding turns leads elsewhere.
fn compare(what: &str, load: impl Fn(Provider) -> OnnxClassifier, data: &Data, attack: &dyn Attack, eps: &str) {
    let (cpu, cuda) = (load(Provider::Cpu), load(GPU));
    let on_cpu = attacked(&cpu, data, attack, eps);
    let on_cuda = attacked(&cuda, data, attack, eps);
    let again = attacked(&load(GPU), data, attack, eps);
    assert_eq!(on_cuda.outcomes, again.outcomes, "{what}: another run");
    assert_eq!(on_cuda.adversarial, again.adversarial, "{what}: another run");
    for (found, judge) in [(&on_cuda, &cpu), (&on_cpu, &cuda)] {
        let deficits = deficit(judge, &found.adversarial, &data.labels);
        for (outcome, deficit) in found.outcomes.iter().zip(deficits) {
            assert!(outcome.outcome != Outcome::Broken || deficit > -1e-3, "{what}: {outcome:?}: {deficit}");
        }
    }
    let pairs = on_cuda.outcomes.iter().zip(&on_cpu.outcomes);
    let differ: Vec<_> = pairs.filter(|(a, b)| a.outcome != b.outcome).map(|(a, _)| a.id).collect();
    let (robust, robust_on_cpu) = (on_cuda.count(Outcome::Robust), on_cpu.count(Outcome::Robust));
    println!("{what}: {robust} of {} robust, {robust_on_cpu} on the processor; {differ:?} differ", data.labels.len());
    assert!(50 * differ.len() <= data.labels.len(), "{what}: {differ:?} differ");
}

#[test]
fn pgd_and_apgd_break_what_they_break_on_the_processor() {
    let Some(runtime) = gpu() else { return };
    let load =
        |provider| OnnxClassifier::from_bytes(&runtime, &std::fs::read(FASHION).unwrap(), &on(provider)).unwrap();
    let data = fashion(200);
    compare("pgd, fashion-robust", load, &data, &Pgd::default(), "0.1");
    compare("apgd, fashion-robust", load, &data, &Apgd::default(), "0.1");
}

#[test]
#[ignore = "two minutes on the processor: `make test-cuda` runs it"]
fn autoattack_breaks_what_it_breaks_on_the_processor() {
    let Some(runtime) = gpu() else { return };
    let load =
        |provider| OnnxClassifier::from_bytes(&runtime, &std::fs::read(FASHION).unwrap(), &on(provider)).unwrap();
    let suite = Suite::named("autoattack-standard").unwrap();
    compare("autoattack-standard, fashion-robust", load, &fashion(100), &suite, "0.1");
    let Some(material) = material() else { return };
    let images = material.npz("images/cifar10-first100.npz");
    let pixels = images.get("pixels_u8").i64s().into_iter().map(|v| v as f32 / 255.0).collect();
    let labels = images.get("label").i64s().into_iter().map(|v| Class(v as u32)).collect();
    let data = Data { images: Array2::from_shape_vec((100, 3072), pixels).unwrap(), labels };
    let source = Model::load(&material.path("vnncomp/oval21/cifar_base_kw.onnx"), &Limits::default()).unwrap();
    let inside = Normalization { mean: vec![0.485, 0.456, 0.406], std: vec![0.225; 3], axis: Some(1) };
    let bytes = preprocess(&Canonical::new(source).unwrap(), &inside).unwrap().to_bytes();
    let load = |provider| OnnxClassifier::from_bytes(&runtime, &bytes, &on(provider)).unwrap();
    compare("autoattack-standard, cifar_base_kw", load, &data, &suite, "8/255");
}
