//! The checks themselves: they pass what is right and fail what is wrong.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use assay_reference::{Array, Case, Random, Values, check_refused, check_vjp, compare, relative_error, vjp_at};

fn vector(numbers: &[f64]) -> ndarray::ArrayD<f64> {
    Array::floats(&[numbers.len()], numbers.to_vec()).f64().clone()
}

#[test]
fn a_right_gradient_passes() {
    check_vjp(&Case::op("Mul").batched(&[3, 4], Values::uniform(-1.0, 1.0)).fixed(&[4], Values::uniform(-1.0, 1.0)));
    check_vjp(&Case::op("Mul").batched(&[3, 4], Values::uniform(-1.0, 1.0)).scalar(0.5).double());
}

/// Within a step of a kink the difference quotient is a mean of both slopes, and no rule gives that.
#[test]
#[should_panic(expected = "Abs: derivative by \"x0\": element")]
fn a_gradient_that_differs_from_the_quotient_fails() {
    check_vjp(&Case::op("Abs").batched(&[2], Values::Exactly(5e-7)));
}

#[test]
fn gradients_at_chosen_points() {
    let case = Case::op("Relu").batched(&[2], Values::Exactly(0.0));
    let at = [("x0", Array::floats(&[1, 2], vec![-1.0, 2.0]))];
    let found = vjp_at(&case, &at, &[Array::floats(&[1, 2], vec![5.0, 7.0])]);
    assert_eq!(found[0].iter().copied().collect::<Vec<_>>(), [0.0, 7.0]);
}

#[test]
fn an_operator_without_a_rule_is_refused_by_name() {
    check_refused(&Case::op("Shape").batched(&[2], Values::uniform(-1.0, 1.0)), &["no differentiable path"]);
    check_refused(
        &Case::op("Floor").batched(&[2], Values::uniform(-1.0, 1.0)),
        &["\"node\" (Floor)", "constant almost everywhere"],
    );
}

#[test]
#[should_panic(expected = "what: element [1] is 2.5 instead of 2")]
fn the_worst_element_is_named() {
    compare("what", &vector(&[1.1, 2.5]), &vector(&[1.0, 2.0]), 1e-3);
}

#[test]
#[should_panic(expected = "what: element [0] is NaN instead of 1")]
fn nan_is_no_agreement() {
    compare("what", &vector(&[f64::NAN, 2.5]), &vector(&[1.0, 2.0]), 1e-3);
}

#[test]
fn relative_errors_are_euclidean() {
    assert!((relative_error(&vector(&[3.0, 4.5]), &vector(&[3.0, 4.0])) - 0.1).abs() < 1e-15);
}

#[test]
fn values_keep_away_from_kinks_and_from_each_other() {
    let mut random = Random::new(3);
    let away = random.array(&[1000], &Values::away(-1.0, 1.0, &[0.0, 0.5]));
    assert!(away.f64().iter().all(|x| x.abs() > Values::MARGIN && (x - 0.5).abs() > Values::MARGIN));
    let mut distinct: Vec<f64> = random.array(&[50], &Values::distinct(-1.0, 1.0)).f64().iter().copied().collect();
    distinct.sort_by(f64::total_cmp);
    assert!(distinct.windows(2).all(|pair| pair[1] - pair[0] > 0.01));
}
