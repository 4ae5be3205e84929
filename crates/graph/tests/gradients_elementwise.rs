//! Gradients of the element-wise operators, for every combination of their attributes and of broadcast shapes, against
//! difference quotients; and what they are at kinks, where no quotient can judge.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use assay_graph::{Attribute, Canonical};
use assay_reference::{Array, Case, Values, check_refused, check_vjp, vjp_at};

/// A scalar per sample, an odd matrix, and more dimensions than a picture has.
const SHAPES: [&[usize]; 3] = [&[], &[3, 5], &[2, 1, 3, 2]];

/// Pairs of shapes that broadcast, behind the batch dimension or without one.
fn pairs(case: impl Fn() -> Case, left: &Values, right: &Values) -> Vec<Case> {
    vec![
        case().batched(&[3, 5], left.clone()).batched(&[3, 5], right.clone()).named("same shape"),
        case().batched(&[3, 5], left.clone()).fixed(&[5], right.clone()).named("vector on the right"),
        case().fixed(&[3, 1], left.clone()).batched(&[1, 5], right.clone()).named("both repeated"),
        case().fixed(&[1, 3, 5], left.clone()).batched(&[1, 1], right.clone()).named("left repeated over the batch"),
        case().fixed(&[], left.clone()).batched(&[3], right.clone()).named("scalar on the left"),
        case().batched(&[2, 3], left.clone()).scalar(1.5).named("constant on the right"),
        case().scalar(1.5).batched(&[2, 3], right.clone()).named("constant on the left"),
        case().batched(&[2, 1, 3], left.clone()).weights(&[4, 1], right).named("weights that repeat the input"),
    ]
}

fn check_all(cases: impl IntoIterator<Item = Case>) {
    for case in cases {
        check_vjp(&case);
    }
}

fn check_unary(operator: &str, values: &Values) {
    check_all(SHAPES.map(|dims| Case::op(operator).batched(dims, values.clone())));
    check_vjp(&Case::op(operator).batched(&[3], values.clone()).double());
}

#[test]
fn smooth_functions_of_one_number() {
    for operator in ["Neg", "Sigmoid", "Tanh", "Softplus", "Exp", "Erf"] {
        check_unary(operator, &Values::uniform(-3.0, 3.0));
    }
    for operator in ["Log", "Sqrt", "Reciprocal"] {
        check_unary(operator, &Values::uniform(0.2, 3.0));
    }
    check_unary("Reciprocal", &Values::uniform(-3.0, -0.2));
    check_vjp(&Case::op("Mish").opset(18).batched(&[3, 4], Values::uniform(-3.0, 3.0)));
}

#[test]
fn functions_of_one_number_with_kinks() {
    for operator in ["Relu", "Abs", "Softsign", "LeakyRelu", "Elu", "Selu", "Celu"] {
        check_unary(operator, &Values::away(-3.0, 3.0, &[0.0]));
    }
    check_unary("HardSigmoid", &Values::away(-4.0, 4.0, &[-2.5, 2.5]));
    check_unary("HardSwish", &Values::away(-4.0, 4.0, &[-3.0, 3.0]));
}

#[test]
fn attributes_of_activations() {
    let values = Values::away(-3.0, 3.0, &[0.0]);
    for alpha in [-0.5f32, 0.0, 0.01, 1.0, 1.5] {
        check_vjp(&Case::op("LeakyRelu").set("alpha", alpha).batched(&[4, 3], values.clone()));
    }
    for alpha in [0.3f32, 1.0, 2.0, -0.5] {
        check_vjp(&Case::op("Elu").set("alpha", alpha).batched(&[4, 3], values.clone()));
        check_vjp(&Case::op("Celu").set("alpha", alpha).batched(&[4, 3], values.clone()));
        for gamma in [0.5f32, 1.2] {
            check_vjp(&Case::op("Selu").set("alpha", alpha).set("gamma", gamma).batched(&[4, 3], values.clone()));
        }
    }
    for (alpha, beta) in [(0.5f32, 0.25f32), (-0.5, 0.5), (2.0, 0.0)] {
        let bends = [f64::from(-beta / alpha), f64::from((1.0 - beta) / alpha)];
        let values = Values::away(-3.0, 3.0, &bends);
        check_vjp(&Case::op("HardSigmoid").set("alpha", alpha).set("beta", beta).batched(&[4, 3], values));
    }
}

#[test]
fn gelu_as_canonical_models_have_it_written_out() {
    for approximate in ["none", "tanh"] {
        let values = Values::uniform(-3.0, 3.0);
        let gelu = Case::op("Gelu").opset(20).set("approximate", approximate).batched(&[4, 3], values.clone());
        let canonical = Canonical::new(gelu.model()).unwrap();
        check_vjp(&Case::graph(gelu.name(), canonical.model().clone()).feed("x0", &[4, 3], values));
    }
}

#[test]
fn arithmetic_with_broadcasting() {
    let anywhere = Values::uniform(-2.0, 2.0);
    for operator in ["Add", "Sub", "Mul"] {
        check_all(pairs(|| Case::op(operator), &anywhere, &anywhere));
    }
    check_all(pairs(|| Case::op("Div"), &anywhere, &Values::uniform(0.5, 2.0)));
    check_all(pairs(|| Case::op("Pow"), &Values::uniform(0.5, 2.0), &anywhere));
}

#[test]
fn remainders() {
    let remainder = || Case::op("Mod").set("fmod", 1);
    check_all(pairs(remainder, &Values::uniform(-4.0, 4.0), &Values::uniform(0.5, 2.0)));
    check_all(pairs(remainder, &Values::uniform(-4.0, 4.0), &Values::uniform(-2.0, -0.5)));
}

#[test]
fn an_operand_that_is_read_twice() {
    for (operator, values) in [
        ("Add", Values::uniform(-2.0, 2.0)),
        ("Sub", Values::uniform(-2.0, 2.0)),
        ("Mul", Values::uniform(-2.0, 2.0)),
        ("Div", Values::uniform(0.5, 2.0)),
        ("Pow", Values::uniform(0.5, 2.0)),
    ] {
        let two = Case::op(operator).batched(&[3], values.clone()).batched(&[3], values.clone());
        let mut model = two.model();
        model.graph.inputs.truncate(1);
        let x = model.graph.nodes[0].inputs[0].clone();
        model.graph.nodes[0].inputs[1] = x;
        check_vjp(&Case::graph(&format!("{operator} of a value and itself"), model).feed("x0", &[3], values));
    }
}

#[test]
fn powers_with_known_exponents() {
    let (anywhere, positive) = (Values::away(-2.0, 2.0, &[0.0]), Values::uniform(0.3, 2.0));
    for exponent in [0.0, 1.0, 2.0, 3.0, -1.0, -2.0] {
        check_vjp(&Case::op("Pow").batched(&[3, 2], anywhere.clone()).scalar(exponent).named(&exponent.to_string()));
    }
    for exponent in [0.5, -0.5, 1.7] {
        check_vjp(&Case::op("Pow").batched(&[3, 2], positive.clone()).scalar(exponent).named(&exponent.to_string()));
    }
    check_vjp(&Case::op("Pow").batched(&[2], anywhere.clone()).constant(Array::floats(&[1, 1, 1], vec![2.0])));
    check_vjp(&Case::op("Pow").batched(&[4], anywhere).constant(Array::floats(&[4], vec![0.0, 1.0, 2.0, 3.0])));
}

#[test]
fn powers_with_integer_exponents() {
    let anywhere = Values::away(-2.0, 2.0, &[0.0]);
    check_vjp(&Case::op("Pow").batched(&[3, 2], anywhere.clone()).constant(Array::ints(&[], vec![3])));
    check_vjp(&Case::op("Pow").batched(&[4], anywhere.clone()).ints(&[0, 1, 2, -3]));
    check_vjp(&Case::op("Pow").batched(&[4], anywhere).batched(&[4], Values::integers(0, 4)).named("varying"));
}

#[test]
fn slopes_of_prelu() {
    let (x, slope) = (Values::away(-2.0, 2.0, &[0.0]), Values::uniform(-0.5, 1.5));
    for dims in [&[3, 1, 1][..], &[1], &[4, 5], &[3, 4, 5]] {
        check_vjp(&Case::op("PRelu").batched(&[3, 4, 5], x.clone()).weights(dims, &slope).named("constant"));
        check_vjp(&Case::op("PRelu").batched(&[3, 4, 5], x.clone()).fixed(dims, slope.clone()).named("input"));
    }
}

#[test]
fn bounds_of_clip() {
    let values = Values::away(-3.0, 3.0, &[-1.0, 1.5]);
    let x = || Case::op("Clip").batched(&[3, 4], values.clone());
    check_vjp(&x().scalar(-1.0).scalar(1.5));
    check_vjp(&x().scalar(-1.0).named("low"));
    check_vjp(&x().absent().scalar(1.5).named("high"));
    check_vjp(&x().named("unbounded"));
    check_vjp(&x().scalar(1.5).scalar(-1.0).named("bounds crossed"));
    // Bounds that are computed, crossed for one of the batches.
    for high in [0.1, -1.7] {
        let bound = |number| Values::uniform(number, number + 0.001);
        check_vjp(&x().fixed(&[], bound(-1.0)).named("low is an input"));
        check_vjp(&x().absent().fixed(&[], bound(high)).named("high is an input"));
        check_vjp(&x().fixed(&[], bound(-1.0)).fixed(&[], bound(high)).named("both are inputs"));
    }
}

#[test]
fn extrema_of_any_number_of_inputs() {
    for operator in ["Max", "Min"] {
        let case = || Case::op(operator).batched(&[3, 4], Values::distinct(-2.0, 2.0));
        check_vjp(&case().named("one"));
        check_vjp(&case().scalar(0.111).named("constant"));
        check_vjp(&case().fixed(&[4], Values::distinct(-2.1, 2.1)).named("two"));
        let three = case().fixed(&[4], Values::distinct(-2.1, 2.1)).batched(&[1, 1], Values::distinct(-1.07, 1.03));
        check_vjp(&three.named("three"));
    }
}

#[test]
fn sums_and_means_of_any_number_of_inputs() {
    let anywhere = Values::uniform(-2.0, 2.0);
    for operator in ["Sum", "Mean"] {
        check_vjp(&Case::op(operator).batched(&[3], anywhere.clone()).named("one"));
        let two = Case::op(operator).batched(&[3, 1], anywhere.clone()).fixed(&[4], anywhere.clone());
        check_vjp(&two.clone().named("two"));
        check_vjp(&two.batched(&[1, 1], anywhere.clone()).scalar(0.5).named("four"));
    }
}

#[test]
fn choices() {
    let anywhere = Values::uniform(-2.0, 2.0);
    let by = |dims: &[usize]| Case::op("Where").batched(dims, Values::Booleans);
    check_vjp(&by(&[3, 4]).batched(&[3, 4], anywhere.clone()).batched(&[3, 4], anywhere.clone()));
    check_vjp(&by(&[3, 1]).batched(&[1, 4], anywhere.clone()).fixed(&[4], anywhere.clone()).named("repeated"));
    check_vjp(&by(&[1, 1]).fixed(&[3, 4], anywhere.clone()).scalar(0.0).named("constant on the right"));
    check_vjp(&by(&[3, 4]).scalar(-5.0).batched(&[1, 4], anywhere).named("constant on the left"));
}

/// The derivatives by the first input where the inputs have the given numbers, for cotangents of 1.
fn derivatives_at(case: Case, operands: &[&[f64]]) -> Vec<f64> {
    let arrays: Vec<Array> = operands.iter().map(|o| Array::floats(&[o.len()], o.to_vec())).collect();
    let case = operands.iter().fold(case, |case, _| case.batched(&[], Values::Exactly(0.0)));
    let names: Vec<String> = (0..operands.len()).map(|i| format!("x{i}")).collect();
    let inputs: Vec<(&str, Array)> = names.iter().map(String::as_str).zip(arrays).collect();
    let ones = Array::floats(&[operands[0].len()], vec![1.0; operands[0].len()]);
    vjp_at(&case, &inputs, &[ones])[0].iter().copied().collect()
}

#[test]
fn conventions_at_kinks_of_activations() {
    let at_zero = |operator: &str, attributes: &[(&str, f32)]| {
        let set = |case: Case, &(name, value): &(&str, f32)| case.set(name, Attribute::from(value));
        derivatives_at(attributes.iter().fold(Case::op(operator), set), &[&[0.0, -0.0]])
    };
    assert_eq!(at_zero("Relu", &[]), [0.0, 0.0]);
    assert_eq!(at_zero("Abs", &[]), [0.0, 0.0]);
    assert_eq!(at_zero("LeakyRelu", &[("alpha", 0.25)]), [0.25, 0.25]);
    assert_eq!(at_zero("LeakyRelu", &[("alpha", -0.25)]), [-0.25, -0.25]);
    assert_eq!(at_zero("LeakyRelu", &[("alpha", 3.0)]), [3.0, 3.0]);
    assert_eq!(at_zero("Elu", &[("alpha", 0.25)]), [0.25, 0.25]);
    assert_eq!(at_zero("Selu", &[("alpha", 0.25), ("gamma", 2.0)]), [0.5, 0.5]);
    assert_eq!(at_zero("Celu", &[("alpha", 0.25)]), [1.0, 1.0]);
    assert_eq!(derivatives_at(Case::op("PRelu"), &[&[0.0, 0.0], &[0.25, -2.0]]), [0.25, -2.0]);
    let case = Case::op("HardSigmoid").set("alpha", 0.25f32).set("beta", 0.5f32);
    assert_eq!(derivatives_at(case, &[&[-2.0, 2.0, 0.0]]), [0.0, 0.0, 0.25]);
}

#[test]
fn conventions_at_the_bounds_of_clip() {
    let x = Case::op("Clip").batched(&[], Values::Exactly(0.0)).scalar(-1.0).scalar(1.0);
    let points = [("x0", Array::floats(&[4], vec![-1.0, 1.0, -1.5, 1.5]))];
    let found = vjp_at(&x, &points, &[Array::floats(&[4], vec![1.0; 4])]);
    assert_eq!(found[0].iter().copied().collect::<Vec<_>>(), [1.0, 1.0, 0.0, 0.0]);
}

#[test]
fn conventions_where_extrema_tie() {
    for operator in ["Max", "Min"] {
        assert_eq!(derivatives_at(Case::op(operator), &[&[2.0, 0.0], &[2.0, 0.0]]), [0.5, 0.5]);
        let three: [&[f64]; 3] = [&[1.0], &[1.0], &[1.0]];
        assert_eq!(derivatives_at(Case::op(operator), &three), [1.0 / 3.0]);
    }
}

#[test]
fn powers_of_zero_have_the_derivative_of_the_limit() {
    let by_base = |exponent: f64| derivatives_at(Case::op("Pow"), &[&[0.0], &[exponent]]);
    assert_eq!(by_base(0.0), [0.0]);
    assert_eq!(by_base(1.0), [1.0]);
    assert_eq!(by_base(2.0), [0.0]);
    let case = Case::op("Pow").batched(&[], Values::Exactly(0.0)).batched(&[], Values::Exactly(0.0));
    let points = [("x0", Array::floats(&[2], vec![0.0, 0.0])), ("x1", Array::floats(&[2], vec![0.0, 2.0]))];
    let found = vjp_at(&case, &points, &[Array::floats(&[2], vec![1.0; 2])]);
    assert_eq!(found[1].iter().copied().collect::<Vec<_>>(), [0.0, 0.0]);
}

#[test]
fn operators_that_are_flat_almost_everywhere_are_refused() {
    for operator in ["Round", "Floor", "Ceil", "Sign"] {
        let case = Case::op(operator).batched(&[3], Values::uniform(-2.0, 2.0));
        check_refused(&case, &[operator, "constant almost everywhere", "use a black-box attack"]);
    }
}
