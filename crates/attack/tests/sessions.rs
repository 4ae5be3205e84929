//! Attacks on a hosted model: what they find does not depend on how it is hosted, nor on the size of the batches.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use assay_attack::{
    Attacked, Bounds, Budget, Cancel, Goal, Job, Norm, Outcome, Pgd, SampleId, SampleOutcome, Threat, run,
};
use assay_reference::{fashion_mnist, skip};
use assay_runtime::{Class, ClassifierOptions, EngineOptions, Library, OnnxClassifier, OnnxRuntime};

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(file)
}

fn attacked(model: &OnnxClassifier, pgd: &Pgd, threat: &Threat, n: usize, batch: usize) -> Attacked {
    let (images, labels) = fashion_mnist(n);
    let labels: Vec<_> = labels.into_iter().map(Class).collect();
    let ids: Vec<_> = (0..n as u64).map(SampleId).collect();
    let job = Job {
        classifier: model,
        attack: pgd,
        threat,
        goal: &Goal::Untargeted,
        images: images.view(),
        labels: &labels,
        ids: &ids,
        seed: 0,
        batch: NonZeroUsize::new(batch).unwrap(),
        budget: Budget::default(),
        eight_bit: false,
        checks: false,
    };
    run(&job, &mut |_| {}, &Cancel::default()).unwrap()
}

#[test]
fn what_is_found_does_not_depend_on_sessions_or_batches() {
    let Ok(runtime) = OnnxRuntime::load(&Library::default()).inspect_err(|e| skip(&e.to_string())) else { return };
    let models = [1, 2].map(|sessions| {
        let engine = EngineOptions {
            sessions: NonZeroUsize::new(sessions).unwrap(),
            intra_threads: Some(NonZeroUsize::MIN),
            ..EngineOptions::default()
        };
        let options = ClassifierOptions { engine, ..ClassifierOptions::default() };
        OnnxClassifier::load(&runtime, &deploy("models/fashion-robust/1/model.onnx"), &options).unwrap()
    });
    for (norm, eps) in [(Norm::Linf, "0.1"), (Norm::L2, "1")] {
        let threat = Threat { norm, eps: eps.parse().unwrap(), bounds: Bounds::new(0.0, 1.0).unwrap() };
        let expected = attacked(&models[0], &Pgd::default(), &threat, 60, 64);
        assert!(expected.count(Outcome::Broken) > 3 && expected.count(Outcome::Robust) > 3, "{threat}");
        for (model, batch) in [(&models[0], 7), (&models[1], 64), (&models[1], 7)] {
            let found = attacked(model, &Pgd::default(), &threat, 60, batch);
            // The classes and costs of all samples; the last bits of a point are the runtime's.
            for (found, expected) in found.outcomes.iter().zip(&expected.outcomes) {
                let told = |o: &SampleOutcome| (o.id, o.clean_prediction, o.outcome, o.adversarial_prediction, o.cost);
                assert_eq!(told(found), told(expected), "{threat} in batches of {batch}");
            }
        }
    }
}
