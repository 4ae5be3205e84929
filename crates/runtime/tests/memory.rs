//! Batches are split to what the memory of a session holds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use assay_graph::Loss;
use assay_reference::Sketch;
use assay_runtime::{
    Class, Classifier, ClassifierOptions, EngineOptions, LoadCause, LoadError, MemoryError, OnnxClassifier,
    OnnxRuntime, RunError, RunObserver,
};
use ndarray::Array2;

/// One channel of 32 x 32 becomes 64, three times: 256 KiB a sample for each map, and next to nothing for the weights.
fn wide() -> Vec<u8> {
    let weights: Vec<f32> = (0..64).map(|i| ((i * 7) % 11) as f32 / 5.0 - 1.0).collect();
    let mixed: Vec<f32> = (0..64 * 64).map(|i| ((i * 13) % 17) as f32 / 64.0 - 0.125).collect();
    Sketch::new(&[1, 32, 32])
        .floats("v", &[64, 1, 1, 1], &weights)
        .floats("w", &[64, 64, 1, 1], &mixed)
        .node("Conv", "x v -> a", &[])
        .node("Sigmoid", "a -> b", &[])
        .node("Conv", "b w -> c", &[])
        .node("Tanh", "c -> d", &[])
        .node("Conv", "d w -> e", &[])
        .node("Sigmoid", "e -> f", &[])
        .node("GlobalAveragePool", "f -> g", &[])
        .node("Flatten", "g -> y", &[])
        .model()
        .to_bytes()
        .to_vec()
}

/// The model in at most `memory` bytes, and how many runs it has made.
fn host(runtime: &OnnxRuntime, memory: Option<u64>) -> Result<(OnnxClassifier, Arc<AtomicUsize>), LoadError> {
    let runs = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&runs);
    let observer = Some(RunObserver::new(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    }));
    let options = ClassifierOptions {
        memory: memory.and_then(NonZeroU64::new),
        // One thread, so that a batch is not split for the sake of the others.
        engine: EngineOptions { observer, intra_threads: Some(NonZeroUsize::MIN), ..EngineOptions::default() },
        ..ClassifierOptions::default()
    };
    Ok((OnnxClassifier::from_bytes(runtime, &wide(), &options)?, runs))
}

fn batch() -> Array2<f32> {
    Array2::from_shape_fn((64, 1024), |(i, j)| ((i * 31 + j * 7 + i * j) % 17) as f32 / 16.0)
}

fn close(a: &Array2<f32>, b: &Array2<f32>) -> bool {
    let largest = b.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    largest > 0.0 && a.dim() == b.dim() && (a - b).iter().all(|d| d.abs() <= 1e-5 * largest)
}

#[test]
fn a_batch_is_split_to_fit_and_its_results_stay() {
    let Some(runtime) = support::runtime() else { return };
    let (free, free_runs) = host(&runtime, None).unwrap();
    let (limited, runs) = host(&runtime, Some(16 << 20)).unwrap();
    let x = batch();
    let labels: Vec<Class> = (0..64).map(Class).collect();
    let made = |runs: &AtomicUsize| runs.swap(0, Ordering::Relaxed);

    assert!(close(&limited.logits(x.view()).unwrap(), &free.logits(x.view()).unwrap()));
    let (forward, all) = (made(&runs), made(&free_runs));
    assert_eq!(all, 1);
    // Two maps live at once: 32 samples of 512 KiB fill 16 MiB. What does not grow takes some.
    assert!((2..=4).contains(&forward), "{forward} runs");

    let (found, expected) =
        [&limited, &free].map(|model| model.gradient(x.view(), Loss::CrossEntropy, &labels, None).unwrap()).into();
    assert!(close(&found.logits, &expected.logits));
    assert!(close(&found.gradient, &expected.gradient));
    assert!(found.loss.iter().zip(&expected.loss).all(|(a, b)| (a - b).abs() < 1e-5));
    let (step, all) = (made(&runs), made(&free_runs));
    assert_eq!(all, 1);
    // Three maps are kept for the way back, and two or three more live at once.
    assert!((6..=10).contains(&step), "{step} runs");

    let cotangent = Array2::from_shape_fn((64, 64), |(i, j)| ((i * 5 + j * 3) % 7) as f32 - 3.0);
    let (found, expected) =
        [&limited, &free].map(|model| model.vjp(x.view(), cotangent.view()).unwrap().gradient).into();
    assert!(close(&found, &expected));
    assert!(made(&runs) > 1);
}

#[test]
fn what_is_too_small_for_one_sample_is_refused_with_what_it_needs() {
    let Some(runtime) = support::runtime() else { return };
    let Err(error) = host(&runtime, Some(100_000)) else { panic!("100 kB hold two maps of 256 KiB") };
    let LoadCause::Memory(MemoryError::TooSmall { samples: 1, needed, limit: 100_000 }) = error.cause else {
        panic!("{error}")
    };
    assert!((512 << 10..2 << 20).contains(&needed), "{needed}");
    assert!(error.to_string().contains(&format!("needs {needed} bytes")), "{error}");
    assert!(error.to_string().contains("`memory`"), "{error}");

    // Enough for the forward pass, and not for a gradient.
    let (model, _) = host(&runtime, Some(needed)).unwrap();
    let x = batch();
    model.logits(x.view()).unwrap();
    for _ in 0..2 {
        let refused = model.gradient(x.view(), Loss::CrossEntropy, &[Class(0); 64], None);
        let Err(RunError::NoGradient(text)) = refused else { panic!("{refused:?}") };
        assert!(text.contains("a run of 1 sample needs") && text.contains("runtime.memory_bytes"), "{text}");
    }
}
