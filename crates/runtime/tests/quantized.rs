//! Quantized models as ONNX Runtime's own quantizer writes them (see `quantized/make.py`): they load, compute what their files
//! compute, and have the gradient that PyTorch's `fake_quantize` has.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod support;

use std::path::Path;

use assay_graph::{DataType, Loss, Tensor};
use assay_reference::{Npz, Sketch, fashion_mnist, relative_error};
use assay_runtime::{Class, Classifier, ClassifierOptions, Gradients, OnnxClassifier, OnnxRuntime};
use ndarray::{Array2, ArrayView2, Axis, s};

const FORMS: [&str; 4] = ["qdq", "qoperator", "signed", "dynamic"];

fn load(runtime: &OnnxRuntime, form: &str) -> OnnxClassifier {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/quantized/{form}.onnx"));
    OnnxClassifier::load(runtime, &file, &ClassifierOptions::default()).unwrap_or_else(|e| panic!("{e}"))
}

/// The first `n` test images and their labels.
fn images(n: usize) -> (Array2<f32>, Vec<Class>) {
    let (images, labels) = fashion_mnist(n);
    (images, labels.into_iter().map(Class).collect())
}

fn wide(a: &Array2<f32>) -> ndarray::ArrayD<f64> {
    a.mapv(f64::from).into_dyn()
}

/// Largest difference that the rounding of f32 explains, relative to the largest number or, of gradients, to all of them.
const ROUNDING: f64 = 1e-5;

/// How far logits may be from the right ones, relative to all of them, where sums of products of bytes are cut off.
const SATURATED: f64 = 0.05;
/// Forms with activations in unsigned bytes, whose products with signed weights may be cut off.
const UNSIGNED: [&str; 2] = ["qdq", "qoperator"];

/// Whether ONNX Runtime's int8 kernels cut sums off on this processor: without VNNI they add products of bytes in 16 bits, which its documentation
/// warns of. The derived graph computes in f32 and does not.
fn saturates() -> bool {
    #[cfg(target_arch = "x86_64")]
    return !std::is_x86_feature_detected!("avx512vnni") && !std::is_x86_feature_detected!("avxvnni");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// The samples whose logits are not as `expected`, but for rounding.
///
/// Int8 kernels of another processor may round a number that lies between two steps the other way, which moves some logits of
/// that sample by a step. A defect in a scale, a zero point or a bound moves those of most samples: more than one in sixteen is
/// an error.
#[track_caller]
fn moved(found: &Array2<f32>, expected: &Array2<f32>) -> Vec<usize> {
    let largest = expected.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
    let differs = |(i, j): (usize, usize)| f64::from((found[[i, j]] - expected[[i, j]]).abs() / largest) > ROUNDING;
    let (n, classes) = expected.dim();
    let moved: Vec<usize> = (0..n).filter(|&i| (0..classes).any(|j| differs((i, j)))).collect();
    assert!(16 * moved.len() <= n.next_multiple_of(16), "samples {moved:?} of {n} have other logits");
    moved
}

fn hits(logits: &Array2<f32>, labels: &[Class]) -> usize {
    let best = |row: ndarray::ArrayView1<'_, f32>| (0..row.len()).max_by(|&i, &j| row[i].total_cmp(&row[j])).unwrap();
    logits.axis_iter(Axis(0)).zip(labels).filter(|(row, label)| best(*row) == label.index()).count()
}

#[test]
fn every_form_has_an_estimated_gradient_and_says_where() {
    let Some(runtime) = support::runtime() else { return };
    for form in FORMS {
        let model = load(&runtime, form);
        let Gradients::StraightThrough(nodes) = &model.spec().gradients else {
            panic!("{form}: {:?}", model.spec().gradients)
        };
        let operator = if form == "dynamic" { "(DynamicQuantizeLinear)" } else { "(QuantizeLinear)" };
        assert!(!nodes.is_empty() && nodes.iter().all(|n| n.ends_with(operator)), "{form}: {nodes:?}");
    }
}

#[test]
fn the_gradient_is_that_of_pytorchs_fake_quantization() {
    let Some(runtime) = support::runtime() else { return };
    let data = Npz::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/quantized/pytorch.npz"));
    let (x, labels) = images(8);
    let model = load(&runtime, "qdq");
    let found = model.gradient(x.view(), Loss::CrossEntropy, &labels, None).unwrap();
    let table = |name: &str| {
        let numbers = data.get(name).f64();
        let rows = numbers.mapv(|v| v as f32).into_shape_with_order((8, numbers.len() / 8));
        rows.unwrap()
    };
    let (logits, gradient) = (table("logits"), table("gradient"));
    let moved = moved(&found.logits, &logits);
    let same: Vec<usize> = (0..8).filter(|i| !moved.contains(i)).collect();
    let of_same = |a: &Array2<f32>| wide(&a.select(Axis(0), &same));
    let error = relative_error(&of_same(&found.gradient), &of_same(&gradient));
    println!("{} samples with other logits; gradient of the rest {error:.1e}", moved.len());
    assert!(error < ROUNDING, "{error:.1e}");
}

#[test]
fn the_derived_graph_computes_the_models_logits() {
    let Some(runtime) = support::runtime() else { return };
    let (x, labels) = images(64);
    for form in FORMS {
        let model = load(&runtime, form);
        let logits = model.logits(x.view()).unwrap();
        let derived = model.gradient(x.view(), Loss::CrossEntropy, &labels, None).unwrap();
        let error = relative_error(&wide(&derived.logits), &wide(&logits));
        println!("{form}: logits of the derived graph differ by {error:.1e}; correct {}", hits(&logits, &labels));
        if saturates() && UNSIGNED.contains(&form) {
            assert!(error < SATURATED, "{form}: {error:.1e}");
        } else {
            moved(&derived.logits, &logits);
        }
        assert!(hits(&logits, &labels) >= 52 && hits(&derived.logits, &labels) >= 52, "{form}");
    }
}

/// Sign steps along the gradient against random signs of the same size: the estimator must point somewhere.
#[test]
fn the_estimator_breaks_more_images_than_noise_of_the_same_size() {
    let Some(runtime) = support::runtime() else { return };
    let (clean, labels) = images(64);
    let (eps, step) = (0.05, 0.0125);
    for form in FORMS {
        let model = load(&runtime, form);
        let inside = |x: Array2<f32>| {
            ndarray::Zip::from(x.view()).and(clean.view()).map_collect(|x, c| x.clamp(c - eps, c + eps).clamp(0.0, 1.0))
        };
        let mut x = clean.clone();
        for _ in 0..10 {
            let gradient = model.gradient(x.view(), Loss::CrossEntropy, &labels, None).unwrap().gradient;
            x = inside(x + gradient.mapv(|g| if g == 0.0 { 0.0 } else { step * g.signum() }));
        }
        let mut state = 1_u32;
        let noise = clean.mapv(|c| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            c + if state >> 31 == 0 { eps } else { -eps }
        });
        let left = |x: &Array2<f32>| hits(&model.logits(x.view()).unwrap(), &labels);
        let (clean, attacked, noisy) = (left(&clean), left(&x), left(&inside(noise)));
        println!("{form}: {clean} of 64 correct, {noisy} under noise, {attacked} under the attack");
        assert!(attacked + 20 <= noisy, "{form}: {clean}, {noisy}, {attacked}");
    }
}

#[test]
fn a_sample_of_a_dynamic_model_does_not_depend_on_the_batch() {
    let Some(runtime) = support::runtime() else { return };
    let (mut x, labels) = images(4);
    let model = load(&runtime, "dynamic");
    let alone = model.logits(x.slice(s![..1, ..])).unwrap();
    x.slice_mut(s![1.., ..]).mapv_inplace(|v| 40.0 * v);
    assert_eq!(model.logits(x.view()).unwrap().row(0), alone.row(0));
    let gradient = |x: ArrayView2<'_, f32>, n| model.gradient(x, Loss::Margin, &labels[..n], None).unwrap().gradient;
    assert_eq!(gradient(x.view(), 4).row(0), gradient(x.slice(s![..1, ..]), 1).row(0));
}

/// Bytes `[n, 2, 3, 1]`, their rows and columns swapped, as numbers through three weights: `[n, 2]`.
fn bytes() -> Vec<u8> {
    let weights: Vec<f32> = (0..12).map(|i| ((i * 5) % 7) as f32 / 100.0 - 0.03).collect();
    let sketch = Sketch::new(&[2, 3, 1])
        .floats("w", &[6, 2], &weights)
        .node("Transpose", "x -> t0", &[("perm", vec![0i64, 2, 1, 3].into())])
        .node("Flatten", "t0 -> t1", &[])
        .node("Cast", "t1 -> t2", &[("to", 1.into())])
        .node("MatMul", "t2 w -> y", &[]);
    let mut model = sketch.model();
    model.graph.inputs[0].dtype = Some(DataType::Uint8);
    model.to_bytes().to_vec()
}

#[test]
fn a_model_of_bytes_takes_numbers_and_rounds_them() {
    let Some(runtime) = support::runtime() else { return };
    let model = OnnxClassifier::from_bytes(&runtime, &bytes(), &ClassifierOptions::default()).unwrap();
    assert_eq!(model.spec().sample_shape, [2, 3, 1]);
    assert_eq!(model.info().input, "x");
    assert_eq!(model.info().whole_numbers, Some([0, 255]));
    let said: Vec<String> = model.info().adaptations.iter().map(ToString::to_string).collect();
    assert_eq!(said, ["input of Uint8 takes f32, which is rounded to it"]);
    let Gradients::StraightThrough(nodes) = &model.spec().gradients else { panic!("{:?}", model.spec()) };
    assert_eq!(nodes.len(), 1, "{nodes:?}");
    let whole = ndarray::array![[0.0, 255.0, 3.0, 77.0, 128.0, 20.0]];
    let between = ndarray::array![[-9.0, 300.0, 3.49, 76.51, 127.6, 20.4]];
    assert_eq!(model.logits(whole.view()).unwrap(), model.logits(between.view()).unwrap());
    let expected = whole.select(Axis(1), &[0, 3, 1, 4, 2, 5]);
    let w = |i: usize, j: usize| f64::from(((i * 2 + j) * 5 % 7) as f32 / 100.0 - 0.03);
    for j in 0..2 {
        let y: f64 = (0..6).map(|i| f64::from(expected[[0, i]]) * w(i, j)).sum();
        assert!((f64::from(model.logits(whole.view()).unwrap()[[0, j]]) - y).abs() < 1e-4);
    }
    // Saturated pixels have no derivative; those at the ends have.
    let gradient = |x: &Array2<f32>| model.gradient(x.view(), Loss::Margin, &[Class(0)], None).unwrap().gradient;
    let (at_ends, beyond) = (gradient(&whole), gradient(&between));
    assert!(at_ends.iter().all(|g| *g != 0.0) || w(0, 0) == w(0, 1), "{at_ends}");
    assert_eq!((beyond[[0, 0]], beyond[[0, 1]]), (0.0, 0.0));
    assert_eq!(beyond.slice(s![.., 2..]), at_ends.slice(s![.., 2..]));
}

#[test]
fn sixteen_bits_of_later_operator_sets_run_as_the_runtimes_own_operators() {
    let Some(runtime) = support::runtime() else { return };
    let zero = Tensor::new(DataType::Uint16, vec![], vec![0, 128].into()).unwrap();
    let sketch = Sketch::new(&[3]).tensor("wide", zero).float("fine", 1e-4).weights("w", &[3, 2]);
    let sketch = sketch
        .node("QuantizeLinear", "x fine wide -> q", &[])
        .node("DequantizeLinear", "q fine wide -> a", &[])
        .node("DequantizeLinear", "w ws wz -> b", &[])
        .node("MatMul", "a b -> y", &[]);
    let mut model = sketch.model();
    model.opsets.insert(String::new(), 21);
    model.ir_version = 10;
    let model = OnnxClassifier::from_bytes(&runtime, &model.to_bytes(), &ClassifierOptions::default()).unwrap();
    assert!(matches!(&model.spec().gradients, Gradients::StraightThrough(nodes) if nodes.len() == 1));
    let found = model.gradient(ndarray::array![[0.5, -0.25, 4.0]].view(), Loss::Margin, &[Class(0)], None).unwrap();
    assert!(found.gradient[[0, 0]] != 0.0 && found.gradient[[0, 2]] == 0.0, "{found:?}");
}
