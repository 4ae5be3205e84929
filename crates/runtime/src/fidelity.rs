//! Whether the hosted model computes what its file says.
//!
//! A model is read, brought to canonical form and written again before it runs. A mistake on that way would make every
//! later number wrong without a sign, so each load compares one batch of the file, run by ONNX Runtime as it is, with the
//! same batch of the rewritten model.

use assay_graph::{DataType, Dimension, Model, Value};
use ndarray::ArrayD;

use crate::session::{self, Array, SessionSettings, Source, Tensors};
use crate::{LoadCause, OnnxRuntime, probe};

/// Largest difference that rounding explains, relative to the largest logit. The same kernels compute both, so that
/// usually there is none.
const TOLERANCE: f32 = 1e-4;

/// Compares the model `file`, which was read from `source`, with `rewritten`, whose input takes samples of shape `sample_shape`.
///
/// # Errors
/// Their logits differ, or one of them does not run.
pub(crate) fn check(
    runtime: &OnnxRuntime,
    source: Source<'_>,
    file: &Model,
    rewritten: &Model,
    (input, logits): (&Value, &Value),
    sample_shape: &[usize],
) -> Result<(), LoadCause> {
    let settings = SessionSettings::plain();
    let mut theirs = session::open(runtime, source, &settings)?;
    let mut ours = session::open(runtime, Source::Bytes(&rewritten.to_bytes()), &settings)?;
    let stated = file.graph.inputs.iter().find(|i| i.value == *input);
    let first = stated.and_then(|i| i.shape.as_ref()?.first());
    let batch = if let Some(Dimension::Known(batch)) = first { *batch } else { 2 };
    let x = probe::scattered(input, &[&[batch], sample_shape].concat())?;
    // A model of whole numbers would see nothing between 0 and 1.
    let x = match stated.and_then(|i| i.dtype) {
        Some(DataType::Uint8) => x.mapv(|v| (v * 255.0).round()),
        Some(DataType::Int8) => x.mapv(|v| (v * 127.0).round()),
        _ => x,
    };
    let inputs: Tensors = [(input.to_string(), Array::Float(x))].into();
    let expected = session::run_for(&mut theirs, &inputs, logits.as_str())?;
    let again = session::run_for(&mut theirs, &inputs, logits.as_str())?;
    let found = session::run_for(&mut ours, &inputs, logits.as_str())?;
    match (difference(&expected, &again), difference(&expected, &found)) {
        (Some(0.0), Some(difference)) if difference <= TOLERANCE => Ok(()),
        (Some(0.0), difference) => Err(LoadCause::Unfaithful { difference: difference.unwrap_or(f32::INFINITY) }),
        _ => {
            tracing::warn!(
                "the model gives different logits for the same batch: it could not be compared with its file"
            );
            Ok(())
        }
    }
}

/// Largest difference of two results, relative to the largest finite number of the first. Equal infinities, and two that are
/// not numbers, do not differ. `None` if shapes or such places differ.
fn difference(a: &Array, b: &Array) -> Option<f32> {
    let (Array::Float(a), Array::Float(b)) = (a, b) else { return None };
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
    use assay_graph::{Graph, Node, Tensor, ValueInfo};

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
        Some(check(&runtime, Source::Bytes(&bytes), file, rewritten, (&"x".into(), &"y".into()), &[2]))
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

    fn array(values: &[f32]) -> Array {
        Array::Float(ArrayD::from_shape_vec(vec![values.len()], values.to_vec()).unwrap())
    }

    #[test]
    fn differences_are_relative_to_the_largest_number() {
        assert_eq!(difference(&array(&[4.0, 1.0]), &array(&[4.0, 2.0])), Some(0.25));
        assert_eq!(difference(&array(&[0.0, 0.0]), &array(&[0.0, 0.0])), Some(0.0));
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
