//! Whether the hosted model computes what its file says.
//!
//! A model is read, brought to canonical form and written again before it runs. A mistake on that way would make every
//! later number wrong without a sign, so each load compares samples that ONNX Runtime runs through the file as it is with the
//! same samples in the rewritten model.

use assay_graph::{DataType, Model, Value};
use ndarray::{ArrayD, ArrayViewD, Axis, concatenate};

use crate::native::Session;
use crate::session::{self, Array, SessionSettings, Source};
use crate::{LoadCause, OnnxRuntime, RunError, probe};

/// Largest difference that rounding explains, relative to the largest logit. Mostly the same kernels compute both, so that
/// there is none.
const TOLERANCE: f32 = 1e-4;

/// Largest difference relative to how much the samples' logits differ from each other: a result that goes to another sample
/// must be seen.
const OF_SPREAD: f32 = 1e-2;

/// How samples are given to both models.
pub(crate) struct Batches<'a> {
    /// Element type of the file's input.
    pub(crate) dtype: Option<DataType>,
    /// Batch size of the file's runs.
    pub(crate) file: usize,
    /// Batch sizes of the rewritten model's runs; together a multiple of the file's.
    pub(crate) rewritten: &'a [usize],
}

/// Compares the file in `source` with `rewritten`, both with the input and the output `logits` given, on samples of shape
/// `sample_shape`.
///
/// # Errors
/// Their logits differ, or one of them does not run.
pub(crate) fn check(
    runtime: &OnnxRuntime,
    source: Source<'_>,
    rewritten: &Model,
    (input, logits): (&Value, &Value),
    sample_shape: &[usize],
    batches: &Batches<'_>,
) -> Result<(), LoadCause> {
    let settings = SessionSettings::plain();
    let samples: usize = batches.rewritten.iter().sum();
    let x = probe::scattered(input, &[&[samples], sample_shape].concat())?;
    // Images of different brightness, so that their logits differ clearly.
    let mut x = x;
    for (i, mut sample) in x.outer_iter_mut().enumerate() {
        let brightness =
            f32::from(u16::try_from(i + 1).unwrap_or(u16::MAX)) / f32::from(u16::try_from(samples).unwrap_or(u16::MAX));
        sample.mapv_inplace(|v| v * brightness);
    }
    // A model of whole numbers would see nothing between 0 and 1.
    let x = match batches.dtype {
        Some(DataType::Uint8) => x.mapv(|v| (v * 255.0).round()),
        Some(DataType::Int8) => x.mapv(|v| (v * 127.0).round()),
        _ => x,
    };
    let whole = vec![batches.file; samples.div_ceil(batches.file.max(1))];
    // One session at a time: each may hold a copy of the weights.
    let mut theirs = session::open(runtime, source, &settings)?;
    let expected = run(&mut theirs, (input, logits), &x, &whole)?;
    let again = run(&mut theirs, (input, logits), &x, &whole)?;
    drop(theirs);
    let mut ours = session::open(runtime, Source::Model(rewritten), &settings)?;
    let found = run(&mut ours, (input, logits), &x, batches.rewritten)?;
    let spread = if batches.rewritten.len() > 1 { spread(&expected) } else { f32::INFINITY };
    match (difference(&expected, &again), difference(&expected, &found)) {
        (Some(0.0), Some(_)) if spread == 0.0 => Err(LoadCause::Indistinct),
        (Some(0.0), Some(difference)) if difference <= TOLERANCE.min(OF_SPREAD * spread) => Ok(()),
        (Some(0.0), difference) => Err(LoadCause::Unfaithful { difference: difference.unwrap_or(f32::INFINITY) }),
        _ => {
            tracing::warn!(
                "the model gives different logits for the same batch: it could not be compared with its file"
            );
            Ok(())
        }
    }
}

/// The logits of `x` in runs of the sizes `batches`.
fn run(
    session: &mut Session,
    (input, logits): (&Value, &Value),
    x: &ArrayD<f32>,
    batches: &[usize],
) -> Result<ArrayD<f32>, LoadCause> {
    let mut parts = Vec::with_capacity(batches.len());
    let mut rest = x.view();
    for &batch in batches {
        let batch = batch.min(rest.len_of(Axis(0)));
        let (part, left) = rest.split_at(Axis(0), batch);
        rest = left;
        let inputs = [(input.to_string(), Array::Float(part.to_owned()))].into();
        let Array::Float(part) = session::run_for(session, &inputs, logits.as_str())? else {
            return Err(RunError::Runtime(format!("output \"{logits}\" does not hold floating-point numbers")).into());
        };
        parts.push(part);
    }
    let views: Vec<ArrayViewD<'_, f32>> = parts.iter().map(|part| part.view()).collect();
    concatenate(Axis(0), &views).map_err(|e| RunError::Runtime(format!("output \"{logits}\": {e}")).into())
}

/// How much the samples' logits differ from each other, relative to the largest: as [`difference`].
fn spread(logits: &ArrayD<f32>) -> f32 {
    let finite = |v: &&f32| v.is_finite();
    let scale = logits.iter().filter(finite).fold(0.0_f32, |m, v| m.max(v.abs())).max(f32::MIN_POSITIVE);
    let widths = logits.lanes(Axis(0)).into_iter().map(|lane| {
        let bound = |start: f32, of: fn(f32, f32) -> f32| lane.iter().filter(finite).copied().fold(start, of);
        bound(f32::NEG_INFINITY, f32::max) - bound(f32::INFINITY, f32::min)
    });
    widths.fold(0.0, f32::max) / scale
}

/// Largest difference of two results, relative to the largest finite number of the first. Equal infinities, and two that are
/// not numbers, do not differ. `None` if shapes or such places differ.
fn difference(a: &ArrayD<f32>, b: &ArrayD<f32>) -> Option<f32> {
    if a.shape() != b.shape() {
        return None;
    }
    let finite = |a: &ArrayD<f32>| a.iter().copied().filter(|v| v.is_finite()).fold(0.0_f32, |m, v| m.max(v.abs()));
    let scale = finite(a).max(f32::MIN_POSITIVE);
    a.iter().zip(b).try_fold(0.0_f32, |most, (a, b)| match (a, b) {
        _ if a == b || (a.is_nan() && b.is_nan()) => Some(most),
        _ if a.is_finite() && b.is_finite() => Some(most.max((a - b).abs() / scale)),
        _ => None,
    })
}

#[cfg(test)]
#[allow(clippy::print_stdout, reason = "a test that is skipped says so")]
mod tests {
    use assay_graph::{Dimension, Graph, Node, Tensor, ValueInfo};

    use super::*;
    use crate::Library;

    /// `y = operator(x, w)` with a vector `w` of two numbers.
    fn model(operator: &str, w: [f32; 2]) -> Model {
        let info = |name: &str| {
            ValueInfo::new(name, DataType::Float, vec![Dimension::Symbol("n".into()), Dimension::Known(2)])
        };
        let mut graph = Graph::default();
        graph.inputs.push(info("x"));
        graph.outputs.push(info("y"));
        let inputs: &[&str] = if operator == "RandomNormalLike" { &["x"] } else { &["x", "w"] };
        let inputs = inputs.iter().map(|&name| Some(name.into())).collect();
        graph.nodes.push(Node::new(operator, inputs, vec![Some("y".into())]));
        graph.initializers.insert("w".into(), Tensor::floats(&[2], &w));
        Model::new(17, graph)
    }

    fn compare(file: &Model, rewritten: &Model) -> Option<Result<(), LoadCause>> {
        let runtime = OnnxRuntime::load(&Library::default()).inspect_err(|e| println!("skipped: {e}")).ok()?;
        let bytes = file.to_bytes();
        let batches = Batches { dtype: Some(DataType::Float), file: 2, rewritten: &[2] };
        Some(check(&runtime, Source::Bytes(&bytes), rewritten, (&"x".into(), &"y".into()), &[2], &batches))
    }

    #[test]
    fn a_model_that_computes_something_else_is_found_out() {
        let file = model("Add", [1.0, 2.0]);
        let Some(same) = compare(&file, &file) else { return };
        same.unwrap();
        for other in [model("Add", [1.0, 2.001]), model("Mul", [1.0, 2.0])] {
            let error = compare(&file, &other).unwrap().unwrap_err();
            assert!(matches!(error, LoadCause::Unfaithful { difference } if difference > TOLERANCE), "{error}");
        }
    }

    #[test]
    fn a_model_with_random_logits_cannot_be_compared() {
        let random = model("RandomNormalLike", [0.0; 2]);
        let Some(result) = compare(&random, &random) else { return };
        result.unwrap();
    }

    fn array(values: &[f32]) -> ArrayD<f32> {
        ArrayD::from_shape_vec(vec![values.len()], values.to_vec()).unwrap()
    }

    #[test]
    fn differences_are_relative_to_the_largest_number() {
        assert_eq!(difference(&array(&[4.0, 1.0]), &array(&[4.0, 2.0])), Some(0.25));
        assert_eq!(difference(&array(&[0.0, 0.0]), &array(&[0.0, 0.0])), Some(0.0));
    }

    #[test]
    fn the_spread_is_that_of_the_samples_and_not_of_the_classes() {
        let logits = |values: &[f32]| ArrayD::from_shape_vec(vec![2, 2], values.to_vec()).unwrap();
        assert_eq!(spread(&logits(&[1.0, 4.0, 1.0, 4.0])), 0.0);
        assert_eq!(spread(&logits(&[1.0, 4.0, 2.0, f32::NAN])), 0.25);
    }

    #[test]
    fn places_that_are_not_numbers_must_be_the_same() {
        let odd = [f32::NAN, f32::INFINITY, 1.0];
        assert_eq!(difference(&array(&odd), &array(&odd)), Some(0.0));
        assert_eq!(difference(&array(&odd), &array(&[0.0, f32::INFINITY, 1.0])), None);
        assert_eq!(difference(&array(&odd), &array(&[f32::NAN, f32::NEG_INFINITY, 1.0])), None);
        assert_eq!(difference(&array(&[1.0]), &array(&[1.0, 1.0])), None);
    }
}
