//! Gradients of further functions, reductions and norms, for every combination of their attributes and shapes, against
//! difference quotients.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use assay_reference::{Array, Case, Values, check_refused, check_vjp, vjp_at};

fn anywhere() -> Values {
    Values::uniform(-2.0, 2.0)
}

#[test]
fn trigonometric_and_hyperbolic_functions() {
    for (operator, low, high) in [
        ("Sin", -4.0, 4.0),
        ("Cos", -4.0, 4.0),
        ("Tan", -1.2, 1.2),
        ("Asin", -0.9, 0.9),
        ("Acos", -0.9, 0.9),
        ("Atan", -3.0, 3.0),
        ("Sinh", -2.0, 2.0),
        ("Cosh", -2.0, 2.0),
        ("Asinh", -3.0, 3.0),
        ("Acosh", 1.2, 4.0),
        ("Atanh", -0.8, 0.8),
    ] {
        for dims in [&[][..], &[3, 5]] {
            check_vjp(&Case::op(operator).batched(dims, Values::uniform(low, high)));
        }
        check_vjp(&Case::op(operator).batched(&[3], Values::uniform(low, high)).double());
    }
}

#[test]
fn thresholds() {
    for alpha in [-0.5f32, 0.0, 1.0] {
        let values = Values::away(-2.0, 2.0, &[f64::from(alpha)]);
        check_vjp(&Case::op("ThresholdedRelu").set("alpha", alpha).batched(&[3, 4], values));
    }
    for (lambd, bias) in [(0.5f32, 0.0f32), (1.0, 0.25), (0.0, -0.5), (-0.5, 0.1)] {
        let kink = f64::from(lambd);
        let values = Values::away(-2.0, 2.0, &[kink, -kink]);
        check_vjp(&Case::op("Shrink").set("lambd", lambd).set("bias", bias).batched(&[3, 4], values));
    }
    let at = |case: Case, x: f64| {
        let case = case.batched(&[], Values::Exactly(0.0));
        vjp_at(&case, &[("x0", Array::floats(&[1], vec![x]))], &[Array::floats(&[1], vec![1.0])])[0][[0]]
    };
    assert_eq!(at(Case::op("ThresholdedRelu"), 1.0), 0.0);
    assert_eq!(at(Case::op("Shrink"), 0.5), 0.0);
    assert_eq!(at(Case::op("Shrink"), -0.5), 0.0);
}

#[test]
fn reductions_that_are_not_linear() {
    for (operator, values) in [
        ("ReduceL1", Values::away(-2.0, 2.0, &[0.0])),
        ("ReduceL2", anywhere()),
        ("ReduceSumSquare", anywhere()),
        ("ReduceLogSum", Values::uniform(0.2, 2.0)),
        ("ReduceLogSumExp", anywhere()),
        ("ReduceProd", anywhere()),
    ] {
        for keepdims in [0i64, 1] {
            let case = || Case::op(operator).opset(18).set("keepdims", keepdims).batched(&[2, 3, 2], values.clone());
            for axes in [&[1][..], &[-1], &[2, 3], &[3, 1], &[1, 2, 3], &[0]] {
                check_vjp(&case().ints(axes).named(&format!("axes {axes:?}")));
            }
            check_vjp(&case().named("all axes, the batch included"));
        }
        let none = Case::op(operator).opset(18).set("noop_with_empty_axes", 1i64).batched(&[3], values);
        check_refused(&none, &[operator, "noop_with_empty_axes"]);
    }
}

fn derivatives(case: &Case, dims: &[usize], x: &[f64], y_dims: &[usize]) -> Vec<f64> {
    let ones = Array::floats(y_dims, vec![1.0; y_dims.iter().product()]);
    vjp_at(case, &[("x0", Array::floats(dims, x.to_vec()))], &[ones])[0].iter().copied().collect()
}

#[test]
fn norms_of_zeros_have_the_derivative_0() {
    let zeros = |operator: &str| Case::op(operator).batched(&[3], Values::Exactly(0.0));
    for operator in ["ReduceL1", "ReduceL2"] {
        let case = zeros(operator).opset(18).ints(&[1]);
        assert_eq!(derivatives(&case, &[1, 3], &[0.0; 3], &[1, 1]), [0.0; 3], "{operator}");
    }
    for p in [1, 2] {
        let case = zeros("LpNormalization").set("p", p);
        assert_eq!(derivatives(&case, &[1, 3], &[0.0; 3], &[1, 3]), [0.0; 3], "p={p}");
    }
    for p in [1, 2, 3] {
        let pool = |operator: &str| Case::op(operator).batched(&[1, 2], Values::Exactly(0.0)).set("p", p);
        assert_eq!(derivatives(&pool("GlobalLpPool"), &[1, 1, 2], &[0.0; 2], &[1, 1, 1]), [0.0; 2], "p={p}");
        let window = pool("LpPool").set("kernel_shape", vec![2]);
        assert_eq!(derivatives(&window, &[1, 1, 2], &[0.0; 2], &[1, 1, 1]), [0.0; 2], "p={p}");
    }
}

#[test]
fn a_product_with_zeros() {
    let case = Case::op("ReduceProd").opset(18).batched(&[3], Values::Exactly(0.0)).ints(&[1]);
    let at = |x: &[f64]| derivatives(&case, &[1, 3], x, &[1, 1]);
    assert_eq!(at(&[2.0, 3.0, 5.0]), [15.0, 10.0, 6.0]);
    assert_eq!(at(&[2.0, 0.0, 5.0]), [0.0, 10.0, 0.0]);
    assert_eq!(at(&[0.0, 0.0, 5.0]), [0.0, 0.0, 0.0]);
}

#[test]
fn normalisation_by_a_norm() {
    for p in [1, 2] {
        for axis in [1, 2, -1, -2] {
            let case = Case::op("LpNormalization").set("p", p).set("axis", axis);
            check_vjp(&case.batched(&[3, 4], Values::away(-2.0, 2.0, &[0.0])));
        }
        check_vjp(&Case::op("LpNormalization").set("p", p).batched(&[4], Values::away(-2.0, 2.0, &[0.0])).double());
    }
}

#[test]
fn pooling_by_norms() {
    let away = || Values::away(-2.0, 2.0, &[0.0]);
    for p in [1, 2, 3, 4] {
        for dims in [&[3, 4][..], &[2, 3, 2], &[2, 2, 1, 3]] {
            check_vjp(&Case::op("GlobalLpPool").set("p", p).batched(dims, away()));
        }
        for (kernel, strides, pads) in [(2, 1, (0, 0)), (3, 2, (1, 1)), (2, 3, (0, 1)), (3, 1, (2, 0))] {
            let case = Case::op("LpPool")
                .set("p", p)
                .set("kernel_shape", vec![2, kernel])
                .set("strides", vec![1, strides])
                .set("pads", vec![0, pads.0, 1, pads.1]);
            check_vjp(&case.batched(&[2, 3, 6], away()));
        }
    }
    for mode in ["SAME_UPPER", "SAME_LOWER", "VALID"] {
        let case = Case::op("LpPool").set("auto_pad", mode).set("kernel_shape", vec![3]).set("strides", vec![2]);
        check_vjp(&case.batched(&[2, 7], away()));
    }
    let wide = Case::op("LpPool").opset(18).set("kernel_shape", vec![2, 2]).set("dilations", vec![1, 2]);
    check_vjp(&wide.set("ceil_mode", 1).set("strides", vec![2, 1]).batched(&[1, 4, 5], away()));
    check_refused(&Case::op("GlobalLpPool").set("p", 0).batched(&[2, 3], away()), &["GlobalLpPool", "\"p\" is 0"]);
}

#[test]
fn local_response_normalization() {
    for size in [1, 2, 3, 4, 5, 7] {
        for dims in [&[4, 3, 2][..], &[5, 2], &[3]] {
            check_vjp(&Case::op("LRN").set("size", size).set("alpha", 0.5f32).batched(dims, anywhere()));
        }
    }
    for (alpha, beta, bias) in [(1e-4f32, 0.75f32, 1.0f32), (2.0, 0.5, 2.0), (1.0, 1.0, 0.5), (0.3, 2.0, 1.0)] {
        let case = Case::op("LRN").set("size", 3).set("alpha", alpha).set("beta", beta).set("bias", bias);
        check_vjp(&case.batched(&[4, 2, 3], anywhere()));
    }
}

#[test]
fn mean_variance_normalization() {
    check_vjp(&Case::op("MeanVarianceNormalization").batched(&[2, 3, 2], anywhere()).named("the batch included"));
    for axes in [vec![2, 3], vec![1, 2, 3], vec![-1], vec![0, 1]] {
        check_vjp(&Case::op("MeanVarianceNormalization").set("axes", axes).batched(&[2, 3, 4], anywhere()));
    }
}

#[test]
fn group_normalization() {
    for groups in [1, 2, 4] {
        let count = usize::try_from(groups).unwrap();
        let case = |opset| Case::op("GroupNormalization").opset(opset).set("num_groups", groups);
        for dims in [&[4, 3][..], &[4, 3, 2]] {
            let per_group = case(18).batched(dims, anywhere()).fixed(&[count], anywhere());
            check_vjp(&per_group.fixed(&[count], anywhere()));
            check_vjp(&case(21).batched(dims, anywhere()).fixed(&[4], anywhere()).fixed(&[4], anywhere()));
        }
    }
}
