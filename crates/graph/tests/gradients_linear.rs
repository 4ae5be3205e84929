//! Gradients of products, reductions and normalisations, for every combination of their attributes and shapes, against
//! difference quotients.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use assay_reference::{Array, Case, Values, check_refused, check_vjp, vjp_at};

fn anywhere() -> Values {
    Values::uniform(-2.0, 2.0)
}

#[test]
fn gemm() {
    for (trans_a, trans_b, alpha, beta) in [0i64, 1]
        .into_iter()
        .flat_map(|a| [0i64, 1].map(|b| (a, b)))
        .flat_map(|(a, b)| [(1.0f32, 1.0f32), (0.5, -2.0)].map(|(alpha, beta)| (a, b, alpha, beta)))
    {
        let b_dims: &[usize] = if trans_b == 1 { &[4, 3] } else { &[3, 4] };
        let with =
            |case: Case| case.set("transA", trans_a).set("transB", trans_b).set("alpha", alpha).set("beta", beta);
        // Rows are samples, so a transposed first operand does not depend on the batch. Two inputs keep its size fixed.
        let (a, c_column) = match trans_a {
            0 => (with(Case::op("Gemm")).batched(&[3], anywhere()), &[][..]),
            _ => (with(Case::op("Gemm")).fixed(&[3, 5], anywhere()), &[5, 1][..]),
        };
        check_vjp(&a.clone().fixed(b_dims, anywhere()).named("no C"));
        check_vjp(&a.clone().fixed(b_dims, anywhere()).weights(&[4], &anywhere()).named("constant C"));
        for c_dims in [&[][..], &[1], &[4], &[1, 4], &[1, 1], c_column] {
            let c = format!("C {c_dims:?}");
            check_vjp(&a.clone().weights(b_dims, &anywhere()).fixed(c_dims, anywhere()).named(&c));
        }
        if trans_a == 0 {
            check_vjp(&a.clone().weights(b_dims, &anywhere()).named("constant weights"));
            check_vjp(&a.weights(b_dims, &anywhere()).batched(&[1], anywhere()).named("C a column"));
        }
    }
}

#[test]
fn matrix_products_of_all_ranks() {
    let case = || Case::op("MatMul");
    let all = [
        case().batched(&[3], anywhere()).weights(&[3, 4], &anywhere()).named("[n,3] [3,4]"),
        case().batched(&[3], anywhere()).fixed(&[3, 4], anywhere()).named("[n,3] [3,4], both"),
        case().batched(&[5, 3], anywhere()).fixed(&[3, 4], anywhere()).named("[n,5,3] [3,4]"),
        case().batched(&[5, 3], anywhere()).batched(&[3, 4], anywhere()).named("[n,5,3] [n,3,4]"),
        case().fixed(&[5, 3], anywhere()).batched(&[3, 4], anywhere()).named("[5,3] [n,3,4]"),
        case().batched(&[2, 5, 3], anywhere()).batched(&[2, 3, 4], anywhere()).named("[n,2,5,3] [n,2,3,4]"),
        case().batched(&[2, 5, 3], anywhere()).batched(&[1, 3, 4], anywhere()).named("[n,2,5,3] [n,1,3,4]"),
        case().batched(&[1, 5, 3], anywhere()).fixed(&[2, 3, 4], anywhere()).named("[n,1,5,3] [2,3,4]"),
        case().fixed(&[1, 2, 5, 3], anywhere()).batched(&[1, 3, 4], anywhere()).named("[1,2,5,3] [n,1,3,4]"),
        case().batched(&[3], anywhere()).fixed(&[3], anywhere()).named("[n,3] [3]"),
        case().batched(&[5, 3], anywhere()).fixed(&[3], anywhere()).named("[n,5,3] [3]"),
        case().fixed(&[3], anywhere()).fixed(&[3], anywhere()).named("[3] [3]"),
        case().fixed(&[3], anywhere()).fixed(&[3, 4], anywhere()).named("[3] [3,4]"),
        case().fixed(&[3], anywhere()).batched(&[3, 4], anywhere()).named("[3] [n,3,4]"),
        case().fixed(&[3], anywhere()).batched(&[2, 3, 4], anywhere()).named("[3] [n,2,3,4]"),
        case().batched(&[1], anywhere()).weights(&[1, 1], &anywhere()).named("[n,1] [1,1]"),
    ];
    all.iter().for_each(check_vjp);
}

#[test]
fn sums_and_means_over_axes() {
    for operator in ["ReduceSum", "ReduceMean"] {
        for keepdims in [0i64, 1] {
            let case = || Case::op(operator).opset(18).set("keepdims", keepdims).batched(&[2, 3, 4], anywhere());
            for axes in [&[1][..], &[-1], &[2, 3], &[3, 1], &[-2, 1], &[1, 2, 3]] {
                check_vjp(&case().ints(axes).named(&format!("axes {axes:?}")));
            }
            check_vjp(&case().ints(&[]).set("noop_with_empty_axes", 1i64).named("nothing reduced"));
            check_vjp(&case().absent().set("noop_with_empty_axes", 1i64).named("nothing reduced, axes absent"));
        }
    }
    for (operator, keepdims) in [("ReduceSum", 0i64), ("ReduceSum", 1), ("ReduceMean", 0), ("ReduceMean", 1)] {
        let case = || Case::op(operator).opset(18).set("keepdims", keepdims).batched(&[3], anywhere());
        check_vjp(&case().named("all axes, the batch included"));
        check_vjp(&case().ints(&[]).named("all axes, empty list"));
        check_vjp(&case().ints(&[0]).named("batch"));
    }
}

#[test]
fn extrema_over_axes() {
    for operator in ["ReduceMax", "ReduceMin"] {
        for keepdims in [0i64, 1] {
            let case = || {
                let distinct = Values::distinct(-2.0, 2.0);
                Case::op(operator).opset(18).set("keepdims", keepdims).batched(&[2, 3, 4], distinct)
            };
            for axes in [&[1][..], &[-1], &[2, 3], &[3, 1], &[1, 2, 3]] {
                check_vjp(&case().ints(axes).named(&format!("axes {axes:?}")));
            }
            check_vjp(&case().named("batch and all"));
            check_vjp(&case().ints(&[]).set("noop_with_empty_axes", 1i64).named("nothing reduced"));
        }
    }
}

#[test]
fn extrema_over_axes_share_ties_evenly() {
    for operator in ["ReduceMax", "ReduceMin"] {
        let case = Case::op(operator).opset(18).set("keepdims", 0i64).batched(&[3], Values::Exactly(0.0)).ints(&[1]);
        let sign = if operator == "ReduceMax" { 1.0 } else { -1.0 };
        let x = Array::floats(&[2, 3], [2.0, 0.0, 2.0, 1.0, 1.0, 1.0].map(|v| v * sign).to_vec());
        let found = vjp_at(&case, &[("x0", x)], &[Array::floats(&[2], vec![1.0, 3.0])]);
        assert_eq!(found[0].iter().copied().collect::<Vec<_>>(), [0.5, 0.0, 0.5, 1.0, 1.0, 1.0]);
    }
}

#[test]
fn softmax_along_every_axis() {
    for operator in ["Softmax", "LogSoftmax"] {
        for axis in [-3i64, -2, -1, 1, 2, 3] {
            check_vjp(&Case::op(operator).set("axis", axis).batched(&[2, 3, 4], anywhere()));
        }
        check_vjp(&Case::op(operator).batched(&[5], anywhere()).named("default axis"));
        check_vjp(&Case::op(operator).batched(&[1], anywhere()).named("one class"));
        check_vjp(&Case::op(operator).batched(&[4], Values::uniform(-60.0, 60.0)).named("confident"));
    }
}

#[test]
fn layer_normalization() {
    for (axis, dims) in [(-1i64, &[4][..]), (2, &[3, 4]), (-3, &[2, 3, 4]), (1, &[2, 3, 4])] {
        for epsilon in [1e-5f32, 0.5] {
            let x = || {
                let case = Case::op("LayerNormalization").set("axis", axis).set("epsilon", epsilon);
                case.batched(&[2, 3, 4], anywhere())
            };
            check_vjp(&x().weights(dims, &anywhere()).weights(dims, &anywhere()).named("constant scale and bias"));
            check_vjp(&x().weights(dims, &anywhere()).named("no bias"));
            check_vjp(&x().fixed(dims, anywhere()).fixed(dims, anywhere()).named("scale and bias as inputs"));
        }
    }
    let x = || Case::op("LayerNormalization").batched(&[2, 3], anywhere());
    check_vjp(&x().weights(&[3], &anywhere()).named("default axis"));
    check_vjp(&x().set("axis", 1i64).scalar(1.5).scalar(0.5).named("scalar scale and bias"));
    check_vjp(&x().weights(&[3], &anywhere()).outputs(3).named("statistics"));
    check_vjp(&x().set("axis", 1i64).fixed(&[2, 3], anywhere()).outputs(3).named("statistics over two axes"));
    let stash = x().set("stash_type", 11i64).weights(&[3], &anywhere());
    check_refused(&stash, &["LayerNormalization", "stash_type"]);
}

#[test]
fn sums_of_products_by_equation() {
    let dims = |label: char| match label {
        'i' | 'a' => 2,
        'j' | 'b' => 3,
        'k' => 4,
        _ => 1,
    };
    let fixed = |equation: &str| {
        let (left, _) = equation.split_once("->").unwrap_or((equation, ""));
        left.split(',').fold(Case::op("Einsum").set("equation", equation), |case, term| {
            let dims: Vec<usize> = term.trim().chars().map(dims).collect();
            case.fixed(&dims, anywhere())
        })
    };
    for equation in [
        "ij,jk->ik",
        "ij,jk->ki",
        "ij , jk -> ik",
        "ij,jk",
        "ij,kj->ik",
        "ij,j->i",
        "i,j->ij",
        "i,i->",
        "ij,ij->ij",
        "ijk,ij->",
        "ij,k->k",
        "ij,k->i",
        "ij,jk,ka->ia",
        "ba,b",
        ",ij->ji",
        "ij,->j",
    ] {
        check_vjp(&fixed(equation));
    }
    let batched = |equation: &str| Case::op("Einsum").set("equation", equation);
    check_vjp(&batched("nij->nji").batched(&[2, 3], anywhere()));
    check_vjp(&batched("nij->n").batched(&[2, 3], anywhere()));
    check_vjp(&batched("nij").batched(&[2, 3], anywhere()));
    check_vjp(&batched("nhqd,nhkd->nhqk").batched(&[2, 3, 4], anywhere()).batched(&[2, 5, 4], anywhere()));
    check_vjp(&batched("nhqk,nhkd->nqhd").batched(&[2, 3, 5], anywhere()).batched(&[2, 5, 4], anywhere()));
    check_vjp(&batched("ncij,ij->nc").batched(&[2, 3, 4], anywhere()).weights(&[3, 4], &anywhere()));
    check_vjp(&batched("...ij,jk->...ik").batched(&[2, 5, 3], anywhere()).fixed(&[3, 4], anywhere()));
    check_vjp(&batched("...i,...i->...").batched(&[2, 3], anywhere()).fixed(&[2, 3], anywhere()));
    check_vjp(&batched("...i->...").batched(&[2, 3], anywhere()));
    check_vjp(&batched("...,...->...").batched(&[2, 3], anywhere()).batched(&[1, 3], anywhere()));
    check_vjp(&batched("nj,jk->nk").batched(&[1], anywhere()).fixed(&[3, 4], anywhere()).named("1 repeated"));
    check_refused(&batched("nii->ni").batched(&[3, 3], anywhere()), &["Einsum", "'i' twice in one term"]);
    check_refused(&batched("nB").batched(&[3], anywhere()), &["order of upper-"]);
}
