//! What the interpreter refuses, and values that can be worked out by hand.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use assay_reference::{Array, Case, Values, run};

/// The message of running `case` on `inputs`.
fn message(case: &Case, inputs: &[(&str, Array)]) -> String {
    run(&case.model(), inputs).unwrap_err().to_string()
}

fn numbers(case: &Case) -> Vec<f64> {
    case.values(&case.inputs(2))[0].f64().iter().copied().collect()
}

fn list(numbers: &[f64]) -> Array {
    Array::floats(&[numbers.len()], numbers.to_vec())
}

#[test]
#[should_panic(expected = "node \"node\" (Fourier): this operator is not interpreted")]
fn an_unknown_operator_is_an_error_by_name() {
    let _ = Case::op("Fourier").constant(list(&[1.0])).model();
}

#[test]
#[should_panic(expected = "types Float and Int64, but must have one type")]
fn operands_of_different_types_are_an_error() {
    let _ = Case::op("Add").constant(list(&[1.0])).ints(&[1]).model();
}

#[test]
fn inputs_must_be_there_and_fit() {
    let case = Case::op("Relu").batched(&[3], Values::uniform(-1.0, 1.0));
    assert_eq!(message(&case, &[]), "input \"x0\": not given");
    let wrong = message(&case, &[("x0", Array::floats(&[2, 4], vec![0.0; 8]))]);
    assert!(wrong.starts_with("input \"x0\": expected shape"), "{wrong}");
    let right = ("x0", Array::floats(&[1, 3], vec![0.0; 3]));
    assert_eq!(message(&case, &[right, ("y", list(&[1.0]))]), "input \"y\": the graph has no such input");
}

#[test]
fn the_error_function_is_exact() {
    // Abramowitz and Stegun, table 7.1.
    let points = list(&[-0.5, 0.0, 0.1, 1.0, 2.0, 3.0, 7.0]);
    let known = [
        -0.520_499_877_813_046_5,
        0.0,
        0.112_462_916_018_284_9,
        0.842_700_792_949_714_9,
        0.995_322_265_018_952_7,
        0.999_977_909_503_001_4,
        1.0,
    ];
    for (found, expected) in numbers(&Case::op("Erf").constant(points)).into_iter().zip(known) {
        // The constant went through f32 on its way into the model, and 0.1 is none: its slope there is 1.12.
        assert!((found - expected).abs() < 2e-9, "{found} is not {expected}");
    }
}

#[test]
fn a_convolution_by_hand() {
    // [1 2 3] with a zero before it, against [10 1].
    let case = Case::op("Conv")
        .set("pads", vec![1, 0])
        .constant(Array::floats(&[1, 1, 3], vec![1.0, 2.0, 3.0]))
        .constant(Array::floats(&[1, 1, 2], vec![10.0, 1.0]));
    assert_eq!(numbers(&case), [1.0, 12.0, 23.0]);
}

#[test]
fn with_ceil_mode_no_window_starts_in_the_padding_after_the_input() {
    let case = Case::op("MaxPool")
        .set("kernel_shape", vec![1])
        .set("strides", vec![2])
        .set("pads", vec![0, 1])
        .set("ceil_mode", 1)
        .constant(Array::floats(&[1, 1, 4], vec![1.0, 2.0, 3.0, 4.0]));
    assert_eq!(numbers(&case), [1.0, 3.0]);
}
