use assay_reference::{Case, Values};

use crate::agree;

fn wide() -> Values {
    Values::uniform(-2.0, 2.0)
}

#[test]
fn sums_of_products_by_equation() {
    let case = |equation: &str| Case::op("Einsum").set("equation", equation);
    agree(&case("nij->nji").batched(&[2, 3], wide()));
    agree(&case("nij->n").batched(&[2, 3], wide()));
    agree(&case("nij").batched(&[2, 3], wide()));
    agree(&case("nhqd,nhkd->nhqk").batched(&[2, 3, 4], wide()).batched(&[2, 5, 4], wide()));
    agree(&case("ncij, ij -> nc").batched(&[2, 3, 4], wide()).weights(&[3, 4], &wide()));
    agree(&case("...ij,jk->...ik").batched(&[2, 5, 3], wide()).fixed(&[3, 4], wide()));
    agree(&case("...ij,...jk").batched(&[5, 3], wide()).batched(&[3, 4], wide()));
    agree(&case("nj,jk->nk").batched(&[1], wide()).fixed(&[3, 4], wide()));
    agree(&case("ij,jk,kl->il").fixed(&[2, 3], wide()).fixed(&[3, 4], wide()).fixed(&[4, 2], wide()));
    agree(&case("zb,ba").fixed(&[2, 3], wide()).fixed(&[3, 4], wide()));
    agree(&case("nii->ni").batched(&[3, 3], wide()));
}

#[test]
fn local_response_normalization() {
    for size in [1, 3, 5, 7] {
        let case = Case::op("LRN").set("size", size).set("alpha", 0.5f32).set("beta", 0.6f32).set("bias", 1.5f32);
        agree(&case.batched(&[5, 2, 3], wide()));
    }
    agree(&Case::op("LRN").set("size", 5).batched(&[6, 2, 2], wide()));
}

#[test]
fn mean_variance_normalization() {
    agree(&Case::op("MeanVarianceNormalization").batched(&[2, 3, 4], wide()));
    agree(&Case::op("MeanVarianceNormalization").set("axes", vec![1, 2, 3]).batched(&[2, 3, 4], wide()));
}

#[test]
fn normalisation_by_a_norm() {
    for p in [1, 2] {
        for axis in [1, 2, -1] {
            agree(&Case::op("LpNormalization").set("p", p).set("axis", axis).batched(&[3, 4], wide()));
        }
    }
}

#[test]
fn pooling_by_norms() {
    for p in [1, 2, 3] {
        agree(&Case::op("GlobalLpPool").set("p", p).batched(&[2, 3, 4], wide()));
        for pads in [vec![0, 0, 0, 0], vec![1, 1, 0, 1]] {
            for strides in [vec![1, 1], vec![2, 3]] {
                let case = Case::op("LpPool").set("p", p).set("kernel_shape", vec![2, 3]).set("strides", strides);
                agree(&case.set("pads", pads.clone()).batched(&[2, 5, 6], wide()));
            }
        }
    }
    let case = Case::op("LpPool").opset(18).set("kernel_shape", vec![3]).batched(&[2, 9], wide());
    agree(&case.clone().set("dilations", vec![2]));
    agree(&case.set("strides", vec![2]).set("auto_pad", "SAME_UPPER"));
}

#[test]
fn group_normalization() {
    for groups in [1, 2, 4] {
        let count = usize::try_from(groups).unwrap();
        let case = |opset| {
            let case = Case::op("GroupNormalization").opset(opset).set("num_groups", groups).set("epsilon", 0.01f32);
            case.batched(&[4, 3, 2], wide())
        };
        agree(&case(18).weights(&[count], &wide()).weights(&[count], &wide()));
        agree(&case(21).weights(&[4], &wide()).weights(&[4], &wide()));
    }
}
