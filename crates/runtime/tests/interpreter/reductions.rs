use assay_reference::{Array, Case, Values};

use crate::agree;

fn wide() -> Values {
    Values::uniform(-3.0, 3.0)
}

const OLD_STYLE: [&str; 9] = [
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSumSquare",
];

#[test]
fn reductions_with_axes_as_attribute() {
    for operator in OLD_STYLE {
        for keep in [0, 1] {
            for axes in [vec![1], vec![-1], vec![2, 3], vec![0, 2]] {
                let values = Values::uniform(0.2, 2.0);
                agree(&Case::op(operator).set("axes", axes).set("keepdims", keep).batched(&[2, 3, 4], values));
            }
            agree(&Case::op(operator).set("keepdims", keep).batched(&[2, 3], Values::uniform(0.2, 2.0)));
        }
    }
}

#[test]
fn reductions_with_axes_as_input() {
    for operator in OLD_STYLE.into_iter().chain(["ReduceSum"]) {
        for keep in [0, 1] {
            let case =
                || Case::op(operator).opset(18).set("keepdims", keep).batched(&[2, 3], Values::uniform(0.2, 2.0));
            agree(&case().ints(&[-1, 1]));
            agree(&case());
            agree(&case().ints(&[]));
        }
    }
    agree(&Case::op("ReduceSum").opset(18).set("noop_with_empty_axes", 1).batched(&[2, 3], wide()));
    agree(&Case::op("ReduceSum").set("axes", vec![1]).opset(11).batched(&[2, 3], wide()));
    agree(&Case::op("ReduceProd").batched(&[3], Values::integers(1, 4)));
}

#[test]
fn positions_of_extremes() {
    for operator in ["ArgMax", "ArgMin"] {
        for axis in [1, -1] {
            for last in [0, 1] {
                let case = Case::op(operator).set("axis", axis).set("select_last_index", last);
                agree(&case.clone().batched(&[3, 4], wide()));
                agree(&case.clone().set("keepdims", 0).batched(&[3, 4], wide()));
                agree(&case.batched(&[3, 4], Values::Exactly(1.0)));
            }
        }
    }
}

#[test]
fn softmax_before_and_after_opset_13() {
    for operator in ["Softmax", "LogSoftmax"] {
        for opset in [11, 13] {
            agree(&Case::op(operator).opset(opset).batched(&[3, 4], wide()));
            for axis in [0, 1, 2, -1] {
                agree(&Case::op(operator).opset(opset).set("axis", axis).batched(&[3, 4], wide()));
            }
        }
    }
}

#[test]
fn running_sums() {
    for exclusive in [0, 1] {
        for reverse in [0, 1] {
            let case = Case::op("CumSum").set("exclusive", exclusive).set("reverse", reverse);
            agree(&case.batched(&[3, 4], wide()).constant(Array::ints(&[], vec![1])));
        }
    }
}

#[test]
fn normalizations() {
    let positive = Values::uniform(0.5, 2.0);
    let batch = |case: Case| {
        let case = case.batched(&[3, 4], wide()).weights(&[3], &wide()).weights(&[3], &wide());
        case.weights(&[3], &wide()).weights(&[3], &positive)
    };
    agree(&batch(Case::op("BatchNormalization")));
    agree(&batch(Case::op("BatchNormalization").set("epsilon", 0.1f32)));
    let instance = Case::op("InstanceNormalization").set("epsilon", 0.01f32).batched(&[3, 4, 2], wide());
    agree(&instance.weights(&[3], &wide()).weights(&[3], &wide()));
    for (axis, dims) in [(-1, &[5][..]), (2, &[4, 5]), (1, &[3, 4, 5]), (-2, &[4, 5])] {
        let layer = || Case::op("LayerNormalization").set("axis", axis).batched(&[3, 4, 5], wide());
        agree(&layer().weights(dims, &wide()));
        agree(&layer().weights(dims, &wide()).weights(dims, &wide()));
        agree(&layer().outputs(3).weights(dims, &wide()).weights(dims, &wide()));
    }
    for p in [1, 2] {
        agree(&Case::op("LpNormalization").set("p", p).set("axis", 1).batched(&[4, 3], wide()));
    }
}

#[test]
fn matrix_products() {
    for (a, b) in [(&[3, 4][..], &[4, 5][..]), (&[2, 3, 4], &[2, 4, 5]), (&[3, 4], &[2, 1, 4, 5]), (&[2, 3, 4], &[4])] {
        agree(&Case::op("MatMul").batched(a, wide()).fixed(b, wide()));
    }
    agree(&Case::op("MatMul").fixed(&[4], wide()).batched(&[4, 5], wide()));
    agree(&Case::op("MatMul").fixed(&[4], wide()).fixed(&[4], wide()));
    for (flag, dims) in [(0, [4, 5]), (1, [5, 4])] {
        for bias in [&[][..], &[5], &[1, 5]] {
            let gemm = Case::op("Gemm").set("transB", flag).set("alpha", 0.5f32).set("beta", 2.0f32);
            agree(&gemm.batched(&[4], wide()).fixed(&dims, wide()).weights(bias, &wide()));
        }
    }
    agree(&Case::op("Gemm").set("transA", 1).fixed(&[4, 3], wide()).fixed(&[4, 5], wide()));
}
