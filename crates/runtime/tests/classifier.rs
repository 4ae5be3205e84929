//! The classifier on models made here and on one that is shipped with the project.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use assay_graph::{DataType, Dimension, Graph, Loss, Model, Node, Normalization, Tensor, ValueInfo};
use assay_reference::Sketch;
use assay_runtime::{
    Cancel, Class, Classifier, ClassifierOptions, EngineOptions, Gradients, LoadCause, Objective, OnnxClassifier,
    OnnxRuntime, RunError, RunObserver,
};
use ndarray::{Array2, Axis, ShapeBuilder, array, concatenate, s};

fn batch(n: usize) -> Array2<f32> {
    Array2::from_shape_fn((n, 784), |(i, j)| ((i * 31 + j * 7 + i * j) % 17) as f32 / 16.0)
}

fn labels(n: usize) -> Vec<Class> {
    (0..n).map(|i| Class((i % 10) as u32)).collect()
}

fn fashion(runtime: &OnnxRuntime, options: &ClassifierOptions) -> OnnxClassifier {
    OnnxClassifier::load(runtime, &support::fashion(), options).unwrap()
}

fn node(operator: &str, inputs: &[&str], output: &str) -> Node {
    let inputs = inputs.iter().map(|&i| Some(i.into())).collect();
    let mut node = Node::new(operator, inputs, vec![Some(output.into())]);
    node.name = format!("the {operator}");
    node
}

/// `y = x W` with the rows of `W` given, and then `more`, which ends in `z`.
fn linear(weights: &[&[f32]], more: Vec<Node>) -> Model {
    let (rows, columns) = (weights.len(), weights[0].len());
    let batch = || Dimension::Symbol("n".into());
    let output = if more.is_empty() { "y" } else { "z" };
    let mut graph = Graph::default();
    graph.name = "linear".into();
    graph.nodes.push(node("MatMul", &["x", "w"], "y"));
    graph.inputs.push(ValueInfo::new("x", DataType::Float, vec![batch(), Dimension::Known(rows)]));
    graph.outputs.push(ValueInfo::new(output, DataType::Float, vec![batch(), Dimension::Known(columns)]));
    graph.initializers.insert("w".into(), Tensor::floats(&[rows, columns], &weights.concat()));
    graph.nodes.extend(more);
    Model::new(17, graph)
}

fn host(runtime: &OnnxRuntime, model: &Model) -> OnnxClassifier {
    OnnxClassifier::from_bytes(runtime, &model.to_bytes(), &ClassifierOptions::default()).unwrap()
}

#[test]
fn a_model_is_described() {
    let Some(runtime) = support::runtime() else { return };
    let model = fashion(&runtime, &ClassifierOptions::default());
    let spec = model.spec();
    assert_eq!((&spec.sample_shape[..], spec.classes, spec.features()), (&[1, 28, 28][..], 10, 784));
    assert_eq!((spec.provider.as_str(), &spec.gradients), ("cpu", &Gradients::Exact));
    assert_eq!(spec.digest.len(), 64);
    let bytes = std::fs::read(support::fashion()).unwrap();
    let same = OnnxClassifier::from_bytes(&runtime, &bytes, &ClassifierOptions::default()).unwrap();
    assert_eq!((same.spec(), same.info()), (spec, model.info()));
    assert_eq!((model.info().opset, model.info().input.as_str()), (18, "x"));
    assert!(model.info().parameters > 50_000, "{:?}", model.info());
}

#[test]
fn the_linear_model_has_the_logits_loss_and_gradient_of_the_formula() {
    let Some(runtime) = support::runtime() else { return };
    let model = host(&runtime, &linear(&[&[1.0, 0.0, -1.0], &[0.5, 2.0, 0.0]], vec![]));
    let x = array![[1.0_f32, 2.0], [0.0, -1.0]];
    assert_eq!(model.logits(x.view()).unwrap(), array![[2.0, 4.0, -1.0], [-0.5, -2.0, 0.0]]);
    // The margin towards the best other class: W's columns differ by its gradient.
    let found = model.gradient(x.view(), Loss::Margin, &[Class(0), Class(2)], None).unwrap();
    assert_eq!(found.logits, model.logits(x.view()).unwrap());
    assert_eq!(found.loss, [2.0, -0.5]);
    assert_eq!(found.gradient, array![[-1.0, 1.5], [2.0, 0.5]]);
}

#[test]
fn a_half_precision_model_takes_and_gives_ordinary_numbers() {
    let Some(runtime) = support::runtime() else { return };
    let mut model = linear(&[&[1.0, 0.0, -1.0], &[0.5, 2.0, 0.0]], vec![]);
    for info in model.graph.inputs.iter_mut().chain(&mut model.graph.outputs) {
        info.dtype = Some(DataType::Float16);
    }
    let weights: [u16; 6] = [0x3c00, 0, 0xbc00, 0x3800, 0x4000, 0];
    let bytes: Vec<u8> = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
    let weights = Tensor::new(DataType::Float16, vec![2, 3], bytes.into()).unwrap();
    model.graph.initializers.insert("w".into(), weights);
    let model = host(&runtime, &model);
    let x = array![[1.0_f32, 2.0], [0.0, -1.0]];
    assert_eq!(model.logits(x.view()).unwrap(), array![[2.0, 4.0, -1.0], [-0.5, -2.0, 0.0]]);
    let found = model.gradient(x.view(), Loss::Margin, &[Class(0), Class(2)], None).unwrap();
    assert_eq!((found.loss, found.gradient), (vec![2.0, -0.5], array![[-1.0, 1.5], [2.0, 0.5]]));
}

#[test]
fn results_do_not_depend_on_how_a_batch_is_split() {
    let Some(runtime) = support::runtime() else { return };
    let options = |max_batch, sessions| ClassifierOptions {
        max_batch: NonZeroUsize::new(max_batch).unwrap(),
        engine: EngineOptions { sessions: NonZeroUsize::new(sessions).unwrap(), ..Default::default() },
        ..Default::default()
    };
    let whole = fashion(&runtime, &options(64, 1));
    let split = fashion(&runtime, &options(4, 2));
    let (x, y) = (batch(11), labels(11));
    let (a, b) = (whole.logits(x.view()).unwrap(), split.logits(x.view()).unwrap());
    assert!((&a - &b).iter().all(|d| d.abs() < 1e-5));
    let targets: Vec<_> = y.iter().map(|c| Class((c.0 + 1) % 10)).collect();
    for loss in Loss::ALL {
        let a = whole.gradient(x.view(), loss, &y, Some(&targets)).unwrap();
        let b = split.gradient(x.view(), loss, &y, Some(&targets)).unwrap();
        assert_eq!(a.gradient.dim(), (11, 784));
        assert!(a.gradient.iter().any(|&g| g != 0.0), "{loss}");
        assert!((&a.logits - &b.logits).iter().all(|d| d.abs() < 1e-5), "{loss}");
        assert!((&a.gradient - &b.gradient).iter().all(|d| d.abs() < 1e-5), "{loss}");
        assert!(a.loss.iter().zip(&b.loss).all(|(a, b)| (a - b).abs() < 1e-5), "{loss}");
    }
}

#[test]
fn a_batch_of_gradients_is_shared_among_the_processors() {
    let Some(runtime) = support::runtime() else { return };
    let (count, runs) = channel();
    let observer = RunObserver::new(move |_| count.send(()).unwrap());
    let engine = EngineOptions { intra_threads: NonZeroUsize::new(3), observer: Some(observer), ..Default::default() };
    let shared = fashion(&runtime, &ClassifierOptions { engine, ..Default::default() });
    let engine = EngineOptions { intra_threads: Some(NonZeroUsize::MIN), ..Default::default() };
    let single = fashion(&runtime, &ClassifierOptions { engine, ..Default::default() });
    // Two samples for each of three threads are worth a run each; one sample less is not.
    for (n, expected) in [(1, 1), (5, 1), (6, 3), (64, 3)] {
        let (x, y) = (batch(n), labels(n));
        let a = shared.gradient(x.view(), Loss::CrossEntropy, &y, None).unwrap();
        assert_eq!(runs.try_iter().count(), expected, "{n} samples");
        let b = single.gradient(x.view(), Loss::CrossEntropy, &y, None).unwrap();
        assert!((&a.gradient - &b.gradient).iter().all(|d| d.abs() < 1e-5), "{n} samples");
        assert!((&a.logits - &b.logits).iter().all(|d| d.abs() < 1e-5), "{n} samples");
        shared.logits(x.view()).unwrap();
        assert_eq!(runs.try_iter().count(), 1, "the forward pass of {n} samples");
    }
}

#[test]
fn an_empty_batch_has_an_empty_result() {
    let Some(runtime) = support::runtime() else { return };
    let model = fashion(&runtime, &ClassifierOptions::default());
    assert_eq!(model.logits(batch(0).view()).unwrap().dim(), (0, 10));
    let found = model.gradient(batch(0).view(), Loss::Dlr, &[], None).unwrap();
    assert_eq!((found.logits.dim(), found.loss.len(), found.gradient.dim()), ((0, 10), 0, (0, 784)));
}

#[test]
fn rows_in_any_memory_order_mean_the_same() {
    let Some(runtime) = support::runtime() else { return };
    let model = fashion(&runtime, &ClassifierOptions::default());
    let x = batch(6);
    let mut by_columns = Array2::zeros((6, 784).f());
    by_columns.assign(&x);
    let expected = model.logits(x.view()).unwrap();
    assert_eq!(model.logits(by_columns.view()).unwrap(), expected);
    let every_second = model.logits(x.slice(s![..;2, ..])).unwrap();
    assert!((&every_second - &expected.slice(s![..;2, ..])).iter().all(|d| d.abs() < 1e-5));
}

#[test]
fn what_does_not_fit_is_refused_with_what_was_expected() {
    let Some(runtime) = support::runtime() else { return };
    let model = host(&runtime, &linear(&[&[1.0, 0.0], &[0.5, 2.0]], vec![]));
    let x = Array2::zeros((2, 2));
    let zeros = [Class(0), Class(0)];
    let cases: [(_, &[&str]); 5] = [
        (model.logits(Array2::zeros((2, 3)).view()).map(drop), &["[2]", "3 values"]),
        (model.gradient(x.view(), Loss::CrossEntropy, &zeros[..1], None).map(drop), &["1 labels for 2 samples"]),
        (
            model.gradient(x.view(), Loss::CrossEntropy, &[Class(0), Class(2)], None).map(drop),
            &["class 2 of sample 1", "2 classes"],
        ),
        (model.gradient(x.view(), Loss::Dlr, &zeros, None).map(drop), &["dlr needs 3 classes"]),
        (model.gradient(x.view(), Loss::DlrTargeted, &zeros, None).map(drop), &["dlr-targeted needs 4 classes"]),
    ];
    for (result, parts) in cases {
        let Err(RunError::Invalid(text)) = result else { panic!("{result:?}") };
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
    let model = fashion(&runtime, &ClassifierOptions::default());
    let error = model.gradient(batch(1).view(), Loss::DlrTargeted, &labels(1), None).unwrap_err();
    assert!(error.to_string().contains("needs a target class for each sample"), "{error}");
}

#[test]
fn logits_that_are_not_numbers_come_through() {
    let Some(runtime) = support::runtime() else { return };
    // 0 / 0 where x is 0, infinity elsewhere.
    let divide = vec![node("Sub", &["y", "y"], "zero"), node("Div", &["y", "zero"], "z")];
    let model = host(&runtime, &linear(&[&[1.0, 2.0], &[0.0, 0.0]], divide));
    let logits = model.logits(array![[0.0, 1.0], [1.0, 1.0]].view()).unwrap();
    assert!(logits.row(0).iter().all(|v| v.is_nan()), "{logits}");
    assert!(logits.row(1).iter().all(|v| *v == f32::INFINITY), "{logits}");
}

#[test]
fn an_operator_without_a_rule_leaves_the_logits() {
    let Some(runtime) = support::runtime() else { return };
    let harden = vec![node("Hardmax", &["y"], "hard"), node("Add", &["y", "hard"], "z")];
    let model = host(&runtime, &linear(&[&[1.0, 2.0], &[0.0, 3.0]], harden));
    let x = array![[1.0_f32, 1.0]];
    assert_eq!(model.logits(x.view()).unwrap(), array![[1.0, 6.0]]);
    let Gradients::Unavailable(reason) = &model.spec().gradients else { panic!("{:?}", model.spec()) };
    assert!(reason.contains("Hardmax") && reason.contains("the Hardmax"), "{reason}");
    let found = model.gradient(x.view(), Loss::CrossEntropy, &[Class(0)], None);
    assert_eq!(found, Err(RunError::NoGradient(reason.clone())));
}

#[test]
fn of_several_outputs_the_logits_are_taken() {
    let Some(runtime) = support::runtime() else { return };
    let mut model = linear(&[&[1.0, 2.0], &[0.0, 3.0]], vec![]);
    let mut best = node("ArgMax", &["y"], "best");
    best.attributes.insert("axis".into(), 1_i64.into());
    model.graph.nodes.push(best);
    model.graph.outputs.insert(0, ValueInfo::untyped("best".into()));
    let model = host(&runtime, &model);
    assert_eq!(model.info().output, "y");
    let x = array![[1.0_f32, 1.0]];
    assert_eq!(model.logits(x.view()).unwrap(), array![[1.0, 5.0]]);
    let found = model.gradient(x.view(), Loss::Margin, &[Class(0)], None).unwrap();
    assert_eq!((found.loss, found.gradient), (vec![4.0], array![[1.0, 3.0]]));
}

#[test]
fn a_normalization_becomes_part_of_the_model() {
    let Some(runtime) = support::runtime() else { return };
    let model = linear(&[&[1.0, 0.0], &[0.5, 2.0]], vec![]);
    let normalization = Normalization { mean: vec![0.5, 0.25], std: vec![0.5, 0.125], axis: Some(1) };
    let options = ClassifierOptions { normalization: Some(normalization.clone()), ..Default::default() };
    let inside = OnnxClassifier::from_bytes(&runtime, &model.to_bytes(), &options).unwrap();
    let outside = host(&runtime, &model);
    let (x, y) = (array![[1.0_f32, 0.5], [0.0, 0.25]], [Class(0), Class(1)]);
    let (mean, std) = (array![0.5, 0.25], array![0.5, 0.125]);
    let normalized = (&x - &mean) / &std;
    assert_eq!(inside.logits(x.view()), outside.logits(normalized.view()));
    let pixels = inside.gradient(x.view(), Loss::Margin, &y, None).unwrap();
    let units = outside.gradient(normalized.view(), Loss::Margin, &y, None).unwrap();
    assert_eq!((pixels.loss, pixels.gradient), (units.loss, units.gradient / &std));
    assert_eq!(inside.spec().digest, outside.spec().digest);

    let unfit = Normalization { mean: vec![0.0; 3], ..normalization };
    let options = ClassifierOptions { normalization: Some(unfit), ..Default::default() };
    let error = OnnxClassifier::from_bytes(&runtime, &model.to_bytes(), &options).unwrap_err();
    assert!(matches!(error.cause, LoadCause::Transform(_)), "{error:?}");
}

#[test]
fn an_open_sample_shape_must_be_given_and_must_fit() {
    let Some(runtime) = support::runtime() else { return };
    let bytes = std::fs::read(support::fashion()).unwrap();
    let mut model = Model::from_bytes(bytes.into(), &assay_graph::Limits::default()).unwrap();
    let shape = model.graph.inputs[0].shape.as_mut().unwrap();
    shape[2] = Dimension::Symbol("height".into());
    shape[3] = Dimension::Unknown;
    let bytes = model.to_bytes();
    let load = |sample_shape: Option<Vec<usize>>| {
        OnnxClassifier::from_bytes(&runtime, &bytes, &ClassifierOptions { sample_shape, ..Default::default() })
    };
    let open = load(None).unwrap_err().to_string();
    assert!(open.contains("1, height, ?]") && open.contains("sample_shape"), "{open}");
    for unfit in [vec![3, 28, 28], vec![28, 28]] {
        let text = load(Some(unfit.clone())).unwrap_err().to_string();
        assert!(text.contains(&format!("{unfit:?} do not fit")), "{text}");
    }
    let given = load(Some(vec![1, 28, 28])).unwrap();
    let expected = fashion(&runtime, &ClassifierOptions::default()).logits(batch(2).view()).unwrap();
    assert_eq!(given.logits(batch(2).view()).unwrap(), expected);
}

#[test]
fn a_size_that_would_fill_the_memory_is_refused() {
    let Some(runtime) = support::runtime() else { return };
    let mut model = linear(&[&[1.0, 0.0], &[0.0, 1.0]], Vec::new());
    let refused = |model: &Model| {
        let error = OnnxClassifier::from_bytes(&runtime, &model.to_bytes(), &ClassifierOptions::default()).unwrap_err();
        assert!(error.to_string().contains("has more than 268435456 numbers"), "{error}");
    };
    // A batch of a size that cannot be.
    model.graph.inputs[0].shape = Some(vec![Dimension::Known(usize::MAX >> 1), Dimension::Known(2)]);
    model.graph.outputs[0].shape = None;
    refused(&model);
    // A sample of a size that cannot be.
    let mut largest = node("ReduceMax", &["picture"], "x");
    largest.attributes.extend([("axes".to_owned(), vec![2, 3].into()), ("keepdims".to_owned(), 0.into())]);
    model.graph.nodes.insert(0, largest);
    model.graph.inputs[0] = ValueInfo::new(
        "picture",
        DataType::Float,
        vec![Dimension::Symbol("n".into()), Dimension::Known(2), Dimension::Known(1 << 40), Dimension::Known(1 << 40)],
    );
    refused(&model);
}

#[test]
fn a_file_that_is_no_classifier_is_refused_by_name() {
    let Some(runtime) = support::runtime() else { return };
    let folder = tempfile::tempdir().unwrap();
    let load = |file: &Path| OnnxClassifier::load(&runtime, file, &ClassifierOptions::default()).unwrap_err();
    let missing = folder.path().join("missing.onnx");
    assert!(load(&missing).to_string().contains(missing.to_str().unwrap()));

    let damaged = folder.path().join("damaged.onnx");
    let bytes = std::fs::read(support::fashion()).unwrap();
    std::fs::write(&damaged, &bytes[..bytes.len() / 2]).unwrap();
    let error = load(&damaged);
    assert!(matches!(error.cause, LoadCause::File(_)), "{error:?}");
    assert!(error.to_string().contains("damaged.onnx"), "{error}");

    let scalar = folder.path().join("scalar.onnx");
    let mut sum = node("ReduceSum", &["y"], "z");
    sum.attributes.insert("keepdims".into(), 0_i64.into());
    let mut model = linear(&[&[1.0, 2.0]], vec![sum]);
    model.graph.outputs[0].shape = Some(vec![]);
    std::fs::write(&scalar, model.to_bytes()).unwrap();
    let error = load(&scalar);
    assert!(matches!(error.cause, LoadCause::NotAClassifier(_)), "{error:?}");

    let unknown = folder.path().join("unknown.onnx");
    std::fs::write(&unknown, linear(&[&[1.0, 2.0]], vec![node("Imaginary", &["y"], "z")]).to_bytes()).unwrap();
    let text = load(&unknown).to_string();
    assert!(text.contains("Imaginary") && text.contains("unknown.onnx"), "{text}");
}

#[test]
fn threads_share_a_classifier_and_each_gets_its_own_answer() {
    let Some(runtime) = support::runtime() else { return };
    let model = fashion(&runtime, &ClassifierOptions::default());
    let x = batch(24);
    let expected = model.logits(x.view()).unwrap();
    std::thread::scope(|scope| {
        for i in 0..8 {
            let (model, x, expected) = (&model, &x, &expected);
            scope.spawn(move || {
                let rows = s![3 * i..3 * i + 3, ..];
                for _ in 0..5 {
                    let found = model.logits(x.slice(rows)).unwrap();
                    assert!((&found - &expected.slice(rows)).iter().all(|d| d.abs() < 1e-5));
                    let found = model.gradient(x.slice(rows), Loss::CrossEntropy, &labels(3), None).unwrap();
                    assert!((&found.logits - &expected.slice(rows)).iter().all(|d| d.abs() < 1e-4));
                }
            });
        }
    });
}

#[test]
fn submitted_batches_are_answered_like_blocking_ones() {
    let Some(runtime) = support::runtime() else { return };
    let options = ClassifierOptions { max_batch: NonZeroUsize::new(3).unwrap(), ..Default::default() };
    let model = fashion(&runtime, &options);
    let (send, results) = channel();
    let submit = |x: Array2<f32>| {
        let send = send.clone();
        let ticket = model.submit_logits(x, move |result| send.send(result).unwrap());
        let result = results.recv_timeout(Duration::from_secs(60)).unwrap();
        drop(ticket);
        result
    };
    for n in [0, 1, 3, 8] {
        assert_eq!(submit(batch(n)), model.logits(batch(n).view()));
    }
    assert!(matches!(submit(Array2::zeros((1, 5))), Err(RunError::Invalid(_))));
}

#[test]
fn an_unloaded_model_answers_that_it_is() {
    let Some(runtime) = support::runtime() else { return };
    let model = Arc::new(fashion(&runtime, &ClassifierOptions::default()));
    let (x, y) = (batch(2), labels(2));
    model.gradient(x.view(), Loss::CrossEntropy, &y, None).unwrap();
    model.unload();
    assert_eq!(model.logits(x.view()), Err(RunError::Unloaded));
    for loss in [Loss::CrossEntropy, Loss::Margin] {
        assert_eq!(model.gradient(x.view(), loss, &y, None), Err(RunError::Unloaded));
    }
}

#[test]
fn the_gradient_is_the_slope_of_the_loss() {
    let Some(runtime) = support::runtime() else { return };
    let model = fashion(&runtime, &ClassifierOptions::default());
    let (x, y) = (batch(4), labels(4));
    let at = |x: &Array2<f32>| model.gradient(x.view(), Loss::CrossEntropy, &y, None).unwrap();
    let here = at(&x);
    // Along the normalised gradient the slope is the gradient's norm.
    let step = 1e-2;
    let norms: Vec<f32> = here.gradient.rows().into_iter().map(|g| g.dot(&g).sqrt()).collect();
    let directions: Vec<_> =
        here.gradient.rows().into_iter().zip(&norms).map(|(g, norm)| (&g / *norm).insert_axis(Axis(0))).collect();
    let direction = concatenate(Axis(0), &directions.iter().map(|d| d.view()).collect::<Vec<_>>()).unwrap();
    let (up, down) = (at(&(&x + &(&direction * step))), at(&(&x - &(&direction * step))));
    for ((up, down), norm) in up.loss.iter().zip(&down.loss).zip(norms) {
        let slope = (up - down) / (2.0 * step);
        assert!((slope - norm).abs() < 0.05 * norm + 1e-3, "slope {slope}, gradient {norm}");
    }
}

/// Images with the channels last, as TensorFlow exports have them: transposed, convolved, averaged over space.
fn channels_last() -> Vec<u8> {
    let weights: Vec<f32> = (0..2 * 3 * 3 * 3).map(|i| ((i * 7) % 11) as f32 / 20.0 - 0.25).collect();
    Sketch::new(&[4, 5, 3])
        .floats("w", &[2, 3, 3, 3], &weights)
        .node("Transpose", "x -> a", &[("perm", vec![0i64, 3, 1, 2].into())])
        .node("Conv", "a w -> b", &[("pads", vec![1i64, 1, 1, 1].into())])
        .node("Sigmoid", "b -> c", &[])
        .node("Transpose", "c -> d", &[("perm", vec![0i64, 2, 3, 1].into())])
        .node("GlobalAveragePool", "c -> e", &[])
        .node("Flatten", "e -> y", &[])
        .model()
        .to_bytes()
        .to_vec()
}

#[test]
fn a_model_with_channels_last_is_served_and_differentiated_as_it_is() {
    let Some(runtime) = support::runtime() else { return };
    let options = ClassifierOptions {
        normalization: Some(Normalization { mean: vec![0.1, 0.2, 0.3], std: vec![0.5, 1.0, 2.0], axis: None }),
        ..ClassifierOptions::default()
    };
    let model = OnnxClassifier::from_bytes(&runtime, &channels_last(), &options).unwrap();
    assert_eq!(model.spec().sample_shape, [4, 5, 3]);
    let x = Array2::from_shape_fn((2, 60), |(i, j)| ((i * 31 + j * 7) % 17) as f32 / 16.0);
    let labels = [Class(0), Class(1)];
    let found = model.gradient(x.view(), Loss::CrossEntropy, &labels, None).unwrap();
    let loss = |x: &Array2<f32>| model.gradient(x.view(), Loss::CrossEntropy, &labels, None).unwrap().loss;
    for (sample, element) in [(0, 0), (0, 1), (0, 2), (0, 17), (1, 43), (1, 59)] {
        let moved = |step: f32| {
            let mut x = x.clone();
            x[[sample, element]] += step;
            f64::from(loss(&x)[sample])
        };
        let quotient = (moved(0.05) - moved(-0.05)) / 0.1;
        let derivative = f64::from(found.gradient[[sample, element]]);
        assert!((derivative - quotient).abs() < 2e-2 * quotient.abs() + 1e-5, "{element}: {derivative}, {quotient}");
    }
}

/// A model whose runs take long: its operators are many, and each is quick.
fn long(runtime: &OnnxRuntime) -> OnnxClassifier {
    const WIDTH: usize = 256;
    let identity: Vec<Vec<f32>> =
        (0..WIDTH).map(|i| (0..WIDTH).map(|j| if i == j { 1.0 } else { 0.0 }).collect()).collect();
    let rows: Vec<&[f32]> = identity.iter().map(Vec::as_slice).collect();
    let names: Vec<String> = (0..200).map(|i| format!("y{i}")).chain(["z".to_owned()]).collect();
    let mut before = "y".to_owned();
    let chain = names.into_iter().map(|name| {
        let mut next = node("MatMul", &[&before, "w"], &name);
        next.name.clone_from(&name);
        before = name;
        next
    });
    let model = linear(&rows, chain.collect());
    let options = ClassifierOptions { max_batch: NonZeroUsize::new(4096).unwrap(), ..ClassifierOptions::default() };
    OnnxClassifier::from_bytes(runtime, &model.to_bytes(), &options).unwrap()
}

#[test]
fn a_run_that_nobody_waits_for_ends_between_two_operators() {
    let Some(runtime) = support::runtime() else { return };
    let model = long(&runtime);
    let x = Array2::from_shape_fn((4096, 256), |(i, j)| ((i + j) % 7) as f32);
    let began = Instant::now();
    let whole = model.logits(x.view()).unwrap();
    let usual = began.elapsed();

    // A prediction whose caller leaves.
    let (send, results) = channel();
    let began = Instant::now();
    let ticket = model.submit_logits(x.clone(), move |result| send.send(result).unwrap());
    std::thread::sleep(usual / 5);
    drop(ticket);
    assert_eq!(results.recv().unwrap(), Err(RunError::Cancelled));
    let stopped = began.elapsed();
    assert!(stopped < usual * 3 / 4, "{stopped:?}, where a run takes {usual:?}");

    // Work that is stopped, forward and with a gradient.
    let labels = vec![Class(0); 4096];
    let loss = Objective::Loss { loss: Loss::CrossEntropy, labels: &labels, targets: None };
    let derivative = |cancel: &Cancel| model.differentiate(&x.view(), loss, cancel).map(drop);
    let began = Instant::now();
    derivative(&Cancel::default()).unwrap();
    let with_gradient = began.elapsed();
    let forward = |cancel: &Cancel| model.logits_until(&x.view(), cancel).map(drop);
    type Work<'a> = &'a (dyn Fn(&Cancel) -> Result<(), RunError> + Sync);
    let works: [(Work<'_>, Duration); 2] = [(&forward, usual), (&derivative, with_gradient)];
    for (work, usual) in works {
        let cancel = Cancel::default();
        let began = Instant::now();
        let result = std::thread::scope(|scope| {
            let working = scope.spawn(|| work(&cancel.child()));
            std::thread::sleep(usual / 5);
            cancel.cancel();
            working.join().unwrap()
        });
        assert_eq!(result, Err(RunError::Cancelled));
        let stopped = began.elapsed();
        assert!(stopped < usual * 3 / 4, "{stopped:?}, where it takes {usual:?}");
    }

    // The sessions go on as if nothing had been.
    assert_eq!(model.logits(x.view()).unwrap(), whole);
    derivative(&Cancel::default()).unwrap();
}
