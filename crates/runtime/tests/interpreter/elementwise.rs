use assay_graph::DataType;
use assay_reference::{Array, Case, Values};

use crate::agree;

fn wide() -> Values {
    Values::uniform(-4.0, 4.0)
}

#[test]
fn functions_without_attributes() {
    let anywhere = [
        "Abs",
        "Asinh",
        "Atan",
        "Ceil",
        "Cos",
        "Cosh",
        "Erf",
        "Exp",
        "Floor",
        "HardSwish",
        "Neg",
        "Relu",
        "Round",
        "Sigmoid",
        "Sign",
        "Sin",
        "Sinh",
        "Softplus",
        "Softsign",
        "Tanh",
    ];
    for operator in anywhere {
        agree(&Case::op(operator).batched(&[3, 5], wide()));
    }
    agree(&Case::op("Mish").opset(18).batched(&[3, 5], wide()));
    for operator in ["Log", "Sqrt", "Reciprocal"] {
        agree(&Case::op(operator).batched(&[3, 5], Values::uniform(0.1, 4.0)));
    }
    for operator in ["Acos", "Asin", "Atanh", "Tan"] {
        agree(&Case::op(operator).batched(&[3, 5], Values::uniform(-0.9, 0.9)));
    }
    agree(&Case::op("Acosh").batched(&[3, 5], Values::uniform(1.1, 4.0)));
}

#[test]
fn halves_round_to_even_and_zero_has_no_sign() {
    for number in [-2.5, -1.5, -0.5, 0.0, 0.5, 1.5, 2.5] {
        agree(&Case::op("Round").batched(&[2], Values::Exactly(number)));
        agree(&Case::op("Sign").batched(&[2], Values::Exactly(number)));
    }
}

#[test]
fn functions_with_attributes() {
    for (operator, attribute) in [
        ("Elu", "alpha"),
        ("Celu", "alpha"),
        ("LeakyRelu", "alpha"),
        ("ThresholdedRelu", "alpha"),
        ("HardSigmoid", "alpha"),
        ("HardSigmoid", "beta"),
        ("Selu", "alpha"),
        ("Selu", "gamma"),
        ("Shrink", "lambd"),
        ("Shrink", "bias"),
    ] {
        agree(&Case::op(operator).batched(&[4, 5], wide()));
        agree(&Case::op(operator).set(attribute, 0.7f32).batched(&[4, 5], wide()));
    }
    agree(&Case::op("Gelu").opset(20).batched(&[4, 5], wide()));
    agree(&Case::op("Gelu").opset(20).set("approximate", "tanh").batched(&[4, 5], wide()));
}

#[test]
fn clip_with_each_choice_of_bounds() {
    let x = || Case::op("Clip").batched(&[7], wide());
    agree(&x());
    agree(&x().scalar(-1.0));
    agree(&x().absent().scalar(1.0));
    agree(&x().scalar(-1.0).scalar(1.5));
    agree(&x().scalar(2.0).scalar(-1.0));
    agree(&x().opset(7).set("min", -0.5f32).set("max", 2.0f32));
    agree(&x().opset(7).set("max", 2.0f32));
}

#[test]
fn slopes_of_prelu_broadcast() {
    for slope in [&[3, 1, 1][..], &[1], &[3, 4, 2], &[2]] {
        agree(&Case::op("PRelu").batched(&[3, 4, 2], wide()).weights(slope, &wide()));
    }
}

#[test]
fn arithmetic_broadcasts() {
    for operator in ["Add", "Sub", "Mul", "Div"] {
        for (a, b) in [(&[3, 4][..], &[3, 4][..]), (&[3, 4], &[1, 4]), (&[3, 1], &[1, 4]), (&[1, 3, 4], &[2, 1, 4])] {
            let positive = Values::uniform(0.5, 2.0);
            agree(&Case::op(operator).batched(a, wide()).fixed(b, positive.clone()));
            agree(&Case::op(operator).fixed(b, wide()).batched(a, positive));
        }
        agree(&Case::op(operator).batched(&[3], Values::integers(-9, 9)).ints(&[-2, 3, 5]));
    }
}

#[test]
fn powers() {
    agree(&Case::op("Pow").batched(&[6], Values::uniform(0.2, 3.0)).fixed(&[6], wide()));
    for exponent in [2.0, 3.0, -1.0] {
        agree(&Case::op("Pow").batched(&[6], Values::away(-2.0, 2.0, &[0.0])).scalar(exponent));
    }
    agree(&Case::op("Pow").batched(&[6], wide()).constant(Array::ints(&[], vec![2])));
}

#[test]
fn remainders() {
    let divisor = [-3, 2, 4, -5];
    agree(&Case::op("Mod").batched(&[4], Values::integers(-9, 9)).ints(&divisor));
    agree(&Case::op("Mod").set("fmod", 1).batched(&[4], wide()).weights(&[4], &Values::uniform(0.5, 2.0)));
}

#[test]
fn many_operands() {
    for operator in ["Max", "Min", "Sum", "Mean"] {
        agree(&Case::op(operator).batched(&[3, 4], wide()));
        agree(&Case::op(operator).batched(&[3, 4], wide()).fixed(&[4], wide()).weights(&[3, 1], &wide()));
    }
    agree(&Case::op("Max").batched(&[3], Values::integers(-9, 9)).ints(&[0]));
}

#[test]
fn comparisons_and_logic() {
    for operator in ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"] {
        agree(&Case::op(operator).batched(&[3, 4], wide()).fixed(&[4], wide()));
        agree(&Case::op(operator).batched(&[5], Values::integers(0, 3)).ints(&[0, 1, 2, 1, 0]));
    }
    let (a, b) = (vec![false, false, true, true], vec![false, true, false, true]);
    for operator in ["And", "Or", "Xor", "Equal"] {
        agree(&Case::op(operator).constant(Array::bools(&[4], a.clone())).constant(Array::bools(&[4], b.clone())));
    }
    agree(&Case::op("Not").constant(Array::bools(&[4], a)));
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.0] {
        agree(&Case::op("IsNaN").batched(&[2], Values::Exactly(number)));
        agree(&Case::op("IsInf").batched(&[2], Values::Exactly(number)));
        agree(&Case::op("IsInf").set("detect_negative", 0).batched(&[2], Values::Exactly(number)));
    }
}

#[test]
fn choices_broadcast() {
    let condition = Array::bools(&[3, 1], vec![true, false, true]);
    agree(&Case::op("Where").constant(condition.clone()).batched(&[3, 4], wide()).fixed(&[4], wide()));
    agree(&Case::op("Where").constant(condition).fixed(&[1], wide()).batched(&[1, 4], wide()));
}

#[test]
fn casts() {
    let to = |t: DataType| i64::from(t.number());
    agree(&Case::op("Cast").set("to", to(DataType::Int64)).batched(&[9], wide()));
    agree(&Case::op("Cast").set("to", to(DataType::Bool)).batched(&[9], Values::integers(-1, 2)));
    agree(&Case::op("Cast").set("to", to(DataType::Float)).batched(&[9], Values::integers(-9, 9)));
    agree(&Case::op("Cast").set("to", to(DataType::Double)).batched(&[9], wide()));
    agree(&Case::op("CastLike").batched(&[9], wide()).ints(&[0]));
}

#[test]
fn constants() {
    agree(&Case::op("Constant").set("value_float", 1.5f32));
    agree(&Case::op("Constant").set("value_int", 3));
    agree(&Case::op("Constant").set("value_ints", vec![3, 4]));
    agree(&Case::op("Constant").set("value", Array::floats(&[2, 1], vec![1.0, 2.0]).to_tensor()));
    agree(&Case::op("ConstantOfShape").ints(&[2, 3]));
    agree(&Case::op("ConstantOfShape").set("value", Array::ints(&[1], vec![7]).to_tensor()).ints(&[2, 3]));
}
