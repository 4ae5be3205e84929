//! The CUDA provider against the processor: numbers, places, memory, and what is said where it is missing.
//!
//! `make test-cuda` runs these tests on a machine with an NVIDIA GPU. Elsewhere each says that it is skipped; with `ASSAY_CUDA=1`
//! that is a failure.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod support;

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use assay_graph::{Canonical, Dimension, Limits, Loss, Lowering, Model, ValueInfo, gradient};
use assay_reference::{Sketch, material};
use assay_runtime::{
    Array, Class, Classifier, ClassifierOptions, Engine, EngineOptions, Evaluated, Gradients, LoadCause, LoadError,
    MemoryError, OnnxClassifier, OnnxRuntime, Provider, RunError, RunObserver, SessionError, Tensors, shapes,
};
use ndarray::{Array2, ArrayView1, Axis};
use ort::ep;
use ort::session::builder::SessionBuilder;
use ort::value::TensorRef;
use serde_json::Value;

const GPU: Provider = Provider::Cuda { device: 0 };

/// Tests of one process take turns: some open sessions of their own, beside those that keep out of each other's way.
static TURN: Mutex<()> = Mutex::new(());

/// ONNX Runtime with a GPU that it can use; without one a test says so and passes, unless `ASSAY_CUDA` says that there is one.
fn gpu() -> Option<(OnnxRuntime, MutexGuard<'static, ()>)> {
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let skip = |why: String| {
        assert!(std::env::var_os("ASSAY_CUDA").is_none_or(|v| v != "1"), "ASSAY_CUDA=1, but {why}");
        println!("skipped: {why}");
    };
    let runtime = support::runtime().or_else(|| {
        skip("there is no ONNX Runtime".into());
        None
    })?;
    match OnnxClassifier::load(&runtime, &support::fashion(), &on(GPU)) {
        Ok(_) => Some((runtime, turn)),
        Err(error) => {
            skip(error.to_string());
            None
        }
    }
}

fn on(provider: Provider) -> ClassifierOptions {
    ClassifierOptions { engine: engine(provider), max_batch: count(8), ..ClassifierOptions::default() }
}

fn engine(provider: Provider) -> EngineOptions {
    EngineOptions { provider, ..EngineOptions::default() }
}

fn count(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

/// The demo's models, and those of the reference material where it is there.
fn files() -> Vec<PathBuf> {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/models");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(demo).unwrap().map(|model| model.unwrap().path().join("1/model.onnx")).collect();
    if let Some(material) = material() {
        for folder in ["gradients", "models"] {
            let names = material.names(folder, "onnx");
            files.extend(names.iter().map(|name| material.path(&format!("{folder}/{name}.onnx"))));
        }
        files.extend(networks(&material.path("vnncomp")));
    }
    files.sort();
    files
}

/// Every ONNX file one folder down.
fn networks(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let folders = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let files = folders.filter(|f| f.is_dir()).flat_map(|f| std::fs::read_dir(f).unwrap().map(|e| e.unwrap().path()));
    files.filter(|file| file.extension().is_some_and(|e| e == "onnx"))
}

/// Numbers in [0, 1) without symmetry.
fn batch(rows: usize, columns: usize) -> Array2<f32> {
    let mut state = 1_u32;
    Array2::from_shape_simple_fn((rows, columns), || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    })
}

fn labels(n: usize, classes: usize, shift: usize) -> Vec<Class> {
    (0..n).map(|i| Class(u32::try_from((i + shift) % classes).unwrap())).collect()
}

/// `‖a - b‖ / ‖b‖`.
fn distance(a: &ArrayView1<'_, f32>, b: &ArrayView1<'_, f32>) -> f64 {
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|v| v * v).sum::<f64>().sqrt();
    let difference = norm(&mut a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    let size = norm(&mut b.iter().map(|b| f64::from(*b)));
    if size == 0.0 { difference } else { difference / size }
}

/// The largest distance of rows.
fn farthest(a: &Array2<f32>, b: &Array2<f32>) -> f64 {
    assert_eq!(a.dim(), b.dim());
    a.rows().into_iter().zip(b.rows()).map(|(a, b)| distance(&a, &b)).fold(0.0, f64::max)
}

/// What f32 may lose in a net, relative to a sample's logits or gradient. TF32, which has to be off, loses more than 1e-3.
const TOLERANCE: f64 = 1e-4;

/// Rows whose gradient does not jump within rounding of the sample. At a kink (a ReLU at zero) both sides are right.
fn smooth(
    model: &OnnxClassifier,
    x: &Array2<f32>,
    here: &Array2<f32>,
    of: impl Fn(&Array2<f32>) -> Evaluated,
) -> Vec<bool> {
    assert_eq!(model.spec().provider, "cpu");
    let mut smooth = vec![true; x.nrows()];
    for factor in [1.0 - 1e-6, 1.0 - 2e-7, 1.0 + 2e-7, 1.0 + 1e-6] {
        let beside = of(&(x * factor)).gradient;
        for (i, smooth) in smooth.iter_mut().enumerate() {
            *smooth &= distance(&beside.row(i), &here.row(i)) < TOLERANCE / 2.0;
        }
    }
    smooth
}

#[test]
fn logits_and_gradients_are_those_of_the_processor_and_the_same_in_every_run() {
    let Some((runtime, _turn)) = gpu() else { return };
    let (mut judged, mut skipped, mut failures) = (0, 0, Vec::new());
    for file in files() {
        let name = file.strip_prefix(file.ancestors().nth(3).unwrap()).unwrap().display().to_string();
        let load = |provider| OnnxClassifier::load(&runtime, &file, &on(provider)).map_err(|e| panic!("{name}: {e}"));
        let [cpu, cuda, other] = [Provider::Cpu, GPU, GPU].map(|provider| load(provider).unwrap());
        assert_eq!(cuda.spec().provider, "cuda:0");
        let (x, classes) = (batch(8, cpu.spec().features()), cpu.spec().classes);
        let found = cuda.logits(x.view()).unwrap();
        let far = farthest(&found, &cpu.logits(x.view()).unwrap());
        if far.is_nan() || far > TOLERANCE {
            failures.push(format!("{name}: logits {far:.1e}"));
        }
        if found != cuda.logits(x.view()).unwrap() || found != other.logits(x.view()).unwrap() {
            failures.push(format!("{name}: other logits in another run"));
        }
        if matches!(cpu.spec().gradients, Gradients::Unavailable(_)) {
            continue;
        }
        let (labels, targets) = (labels(8, classes, 0), labels(8, classes, 1));
        // One loss is enough for what the small nets of `gradients` do not show.
        let all = file.parent().is_some_and(|f| f.ends_with("gradients"));
        for loss in Loss::ALL.into_iter().filter(|l| classes >= l.min_classes() && (all || *l == Loss::CrossEntropy)) {
            let targets = loss.needs_target().then_some(&targets[..]);
            let at =
                |model: &OnnxClassifier, x: &Array2<f32>| model.gradient(x.view(), loss, &labels, targets).unwrap();
            let (expected, found) = (at(&cpu, &x), at(&cuda, &x));
            let smooth = smooth(&cpu, &x, &expected.gradient, |x| at(&cpu, x));
            for (i, _) in smooth.iter().enumerate().filter(|(_, smooth)| **smooth) {
                let far = distance(&found.gradient.row(i), &expected.gradient.row(i));
                let loss_far = (found.loss[i] - expected.loss[i]).abs() / expected.loss[i].abs().max(1.0);
                if far.is_nan() || far > TOLERANCE || f64::from(loss_far) > TOLERANCE {
                    failures.push(format!("{name}, {loss}, sample {i}: gradient {far:.1e}, loss {loss_far:.1e}"));
                }
            }
            judged += smooth.iter().filter(|s| **s).count();
            skipped += smooth.iter().filter(|s| !**s).count();
            if found != at(&cuda, &x) || found != at(&other, &x) {
                failures.push(format!("{name}, {loss}: another gradient in another run"));
            }
        }
    }
    println!("{judged} gradients compared, {skipped} at a kink left out");
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
    assert!(judged > 4 * skipped, "{judged} gradients compared, {skipped} left out");
}

#[test]
fn a_sample_does_not_depend_on_how_many_there_are() {
    let Some((runtime, _turn)) = gpu() else { return };
    let model = OnnxClassifier::load(&runtime, &support::fashion(), &on(GPU)).unwrap();
    let (x, labels) = (batch(21, 784), labels(21, 10, 0));
    let at = |rows: std::ops::Range<usize>| {
        let x = x.slice(ndarray::s![rows.clone(), ..]);
        let gradient = model.gradient(x, Loss::CrossEntropy, &labels[rows], None).unwrap();
        assert!(farthest(&model.logits(x).unwrap(), &gradient.logits) < TOLERANCE);
        gradient
    };
    let all = at(0..21);
    for rows in [0..1, 0..2, 1..4, 3..8, 0..8, 5..14, 20..21] {
        let some = at(rows.clone());
        assert_eq!(some.loss.len(), rows.len());
        for (i, row) in rows.enumerate() {
            assert!(distance(&some.logits.row(i), &all.logits.row(row)) < TOLERANCE);
            assert!(distance(&some.gradient.row(i), &all.gradient.row(row)) < TOLERANCE);
        }
    }
    assert_eq!(model.logits(x.slice(ndarray::s![..0, ..])).unwrap().dim(), (0, 10));
}

#[test]
fn gradients_run_on_the_gpu_from_end_to_end() {
    let Some((runtime, _turn)) = gpu() else { return };
    let mut failures = Vec::new();
    for file in files() {
        let canonical = Canonical::new(Model::load(&file, &Limits::default()).unwrap()).unwrap();
        let Ok(shaped) = shapes(&runtime, canonical, None) else { continue };
        let Ok(derived) = gradient(&shaped.lowered_for(Lowering::Cuda), Loss::CrossEntropy) else { continue };
        for node in elsewhere(&runtime, &derived.model) {
            failures.push(format!("{}: {node}", file.display()));
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// What does not run on the GPU in one run of `model`, copies to and from it included; arithmetic on shapes is let pass.
fn elsewhere(runtime: &OnnxRuntime, model: &Model) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let mut session = SessionBuilder::new(runtime.environment())
        .and_then(|b| Ok(b.with_profiling(folder.path().join("profile"))?))
        .and_then(|b| Ok(b.with_execution_providers([ep::CUDA::default().build().error_on_failure()])?))
        .and_then(|mut b| b.commit_from_memory(&model.to_bytes()))
        .unwrap();
    // Samples and labels.
    let [x, labels] = [0, 1].map(|i| &model.graph.inputs[i]);
    let dims = |info: &ValueInfo| -> Vec<usize> {
        let size = |d: &Dimension| if let Dimension::Known(n) = d { *n } else { 2 };
        info.shape.as_ref().unwrap().iter().map(size).collect()
    };
    let (pixels, classes) = (vec![0.5_f32; dims(x).iter().product()], vec![0_i64; dims(labels).iter().product()]);
    let pixels = TensorRef::from_array_view((dims(x), &pixels[..])).unwrap();
    let classes = TensorRef::from_array_view((dims(labels), &classes[..])).unwrap();
    drop(session.run(ort::inputs![x.value.as_str() => pixels, labels.value.as_str() => classes]).unwrap());
    let profile = session.end_profiling().unwrap();
    let events: Vec<Value> = serde_json::from_slice(&std::fs::read(profile).unwrap()).unwrap();
    let nodes: Vec<&Value> = events.iter().filter(|e| e["args"]["op_name"].is_string()).map(|e| &e["args"]).collect();
    assert!(nodes.iter().any(|n| n["provider"] == "CUDAExecutionProvider"), "a profile without nodes");
    let aside =
        nodes.into_iter().filter(|n| n["provider"] != "CUDAExecutionProvider" || copies(n)).filter(|n| !small(n));
    aside.map(|n| format!("{} {}", n["op_name"], n["output_type_shape"])).collect()
}

fn copies(node: &Value) -> bool {
    node["op_name"].as_str().is_some_and(|name| name.starts_with("Memcpy"))
}

/// Whether a node gives a handful of numbers, as arithmetic on shapes does.
fn small(node: &Value) -> bool {
    let outputs = node["output_type_shape"].as_array().into_iter().flatten().filter_map(Value::as_object);
    let sizes = outputs
        .flat_map(|types| types.values())
        .map(|dims| dims.as_array().into_iter().flatten().filter_map(Value::as_u64).product::<u64>());
    sizes.max().unwrap_or(0) <= 16
}

#[test]
fn weights_that_are_lent_are_those_in_the_file() {
    let Some((runtime, _turn)) = gpu() else { return };
    let model = OnnxClassifier::load(&runtime, &support::fashion(), &on(GPU)).unwrap();
    let whole = Engine::start(&runtime, &std::fs::read(support::fashion()).unwrap(), &engine(GPU)).unwrap();
    let x = batch(8, 784);
    let images = Array::Float(x.to_shape(vec![8, 1, 28, 28]).unwrap().into_owned());
    let inputs: Tensors = [(model.info().input.clone(), images)].into();
    let Array::Float(expected) = whole.run(inputs).unwrap().swap_remove(&model.info().output).unwrap() else {
        panic!()
    };
    assert_eq!(model.logits(x.view()).unwrap().into_dyn(), expected);
}

/// cuDNN records a stream while it plans a convolution, and CUDA refuses much to other threads meanwhile.
#[test]
fn models_are_hosted_and_derived_while_others_run() {
    let Some((runtime, _turn)) = gpu() else { return };
    let (x, labels) = (batch(40, 784), labels(40, 10, 0));
    let gradient = |model: &OnnxClassifier, n: usize| {
        let x = x.slice(ndarray::s![..n, ..]);
        model.gradient(x, Loss::CrossEntropy, &labels[..n], None).unwrap().gradient
    };
    let load = || OnnxClassifier::load(&runtime, &support::fashion(), &on(GPU)).unwrap();
    let expected = gradient(&load(), 40);
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let (load, gradient, expected) = (&load, &gradient, &expected);
            scope.spawn(move || {
                for round in 0..6 {
                    let model = load();
                    for n in [40, 1 + (thread * 7 + round * 5) % 39, 40] {
                        let found = gradient(&model, n);
                        let expected = expected.slice(ndarray::s![..n, ..]).to_owned();
                        assert!(farthest(&found, &expected) < TOLERANCE, "{n} samples");
                    }
                }
            });
        }
    });
}

/// A model that makes maps of 256 channels of its image of `side` x `side`.
fn wide(side: usize) -> Vec<u8> {
    let weights: Vec<f32> = (0..256).map(|i| ((i * 7) % 11) as f32 / 5.0 - 1.0).collect();
    Sketch::new(&[1, side, side])
        .floats("v", &[256, 1, 1, 1], &weights)
        .node("Conv", "x v -> a", &[])
        .node("Sigmoid", "a -> b", &[])
        .node("GlobalAveragePool", "b -> g", &[])
        .node("Flatten", "g -> y", &[])
        .model()
        .to_bytes()
        .to_vec()
}

/// `wide` on the GPU in runs of at most `most` samples and at most `memory` bytes, and how many runs it has made.
fn host(
    runtime: &OnnxRuntime,
    side: usize,
    most: usize,
    memory: Option<u64>,
) -> Result<(OnnxClassifier, Arc<AtomicUsize>), LoadError> {
    let runs = Arc::new(AtomicUsize::new(0));
    let made = Arc::clone(&runs);
    let observer = Some(RunObserver::new(move |_| {
        made.fetch_add(1, Ordering::Relaxed);
    }));
    let options = ClassifierOptions {
        engine: EngineOptions { observer, ..engine(GPU) },
        max_batch: count(most),
        memory: memory.and_then(NonZeroU64::new),
        ..ClassifierOptions::default()
    };
    Ok((OnnxClassifier::from_bytes(runtime, &wide(side), &options)?, runs))
}

#[test]
fn a_batch_is_split_to_the_memory_that_a_session_may_use() {
    let Some((runtime, _turn)) = gpu() else { return };
    let ((free, _), (limited, runs)) =
        (host(&runtime, 32, 64, None).unwrap(), host(&runtime, 32, 64, Some(32 << 20)).unwrap());
    let (x, labels) = (batch(64, 1024), labels(64, 256, 0));
    assert!(farthest(&limited.logits(x.view()).unwrap(), &free.logits(x.view()).unwrap()) < TOLERANCE);
    // Two maps of 1 MiB a sample.
    let forward = runs.swap(0, Ordering::Relaxed);
    assert!((3..=16).contains(&forward), "{forward} runs");
    let [a, b] = [&limited, &free].map(|m| m.gradient(x.view(), Loss::CrossEntropy, &labels, None).unwrap());
    assert!(farthest(&a.gradient, &b.gradient) < TOLERANCE);
    assert!(runs.load(Ordering::Relaxed) > forward);

    let error = host(&runtime, 256, 8, Some(32 << 20)).unwrap_err();
    assert!(matches!(error.cause, LoadCause::Memory(MemoryError::TooSmall { samples: 1, .. })), "{error}");
}

#[test]
fn a_run_that_does_not_fit_the_gpu_is_an_error_that_says_what_to_do_and_harms_no_other() {
    let Some((runtime, _turn)) = gpu() else { return };
    // Two maps of 1 GiB a sample: more than any GPU has.
    let error = host(&runtime, 1024, 512, None).map(drop).unwrap_err();
    let LoadCause::Run(RunError::Runtime(text)) = &error.cause else { panic!("{error}") };
    assert!(text.contains("lower `max_batch`") && text.contains("runtime.memory_bytes"), "{text}");
    let (model, _) = host(&runtime, 1024, 1, None).unwrap();
    let logits = model.logits(batch(2, 1024 * 1024).view()).unwrap();
    assert!(logits.iter().all(|v| v.is_finite()) && logits.len_of(Axis(0)) == 2);
}

#[test]
fn a_device_that_is_not_there_is_refused_unless_the_fallback_is_allowed() {
    let Some((runtime, _turn)) = gpu() else { return };
    let nowhere = Provider::Cuda { device: 99 };
    let error = OnnxClassifier::load(&runtime, &support::fashion(), &on(nowhere)).unwrap_err();
    assert!(matches!(error.cause, LoadCause::Session(SessionError::Provider { .. })), "{error}");
    assert!(error.to_string().contains("cuda:99 is not available"), "{error}");
    let mut options = on(nowhere);
    options.engine.fallback = true;
    let model = OnnxClassifier::load(&runtime, &support::fashion(), &options).unwrap();
    assert_eq!(model.spec().provider, "cpu");
    model.gradient(batch(1, 784).view(), Loss::CrossEntropy, &[Class(0)], None).unwrap();
}
