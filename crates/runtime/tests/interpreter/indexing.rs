use assay_reference::{Array, Case, Values};

use crate::agree;

fn wide() -> Values {
    Values::uniform(-2.0, 2.0)
}

fn table(dims: &[usize], numbers: &[i64]) -> Array {
    Array::ints(dims, numbers.to_vec())
}

#[test]
fn gathers() {
    for (axis, index) in [(1, table(&[2], &[0, -1])), (2, table(&[2, 2], &[0, 1, 1, -2])), (-1, table(&[], &[1]))] {
        agree(&Case::op("Gather").set("axis", axis).batched(&[3, 4], wide()).constant(index));
    }
    let index = table(&[2, 3], &[0, -1, 1, 2, 2, 0]);
    agree(&Case::op("GatherElements").set("axis", 0).fixed(&[3, 3], wide()).constant(index.clone()));
    agree(&Case::op("GatherElements").set("axis", 1).fixed(&[2, 3], wide()).constant(index));
    agree(&Case::op("GatherND").fixed(&[3, 4], wide()).constant(table(&[2, 2], &[0, 1, 2, -1])));
    agree(&Case::op("GatherND").fixed(&[3, 4], wide()).constant(table(&[2, 1], &[1, 0])));
    agree(&Case::op("GatherND").set("batch_dims", 1).fixed(&[2, 3, 4], wide()).constant(table(&[2, 1], &[1, 0])));
}

#[test]
fn scatters() {
    for reduction in ["none", "add", "mul", "max", "min"] {
        let distinct = table(&[2, 3], &[0, 1, -1, 1, 2, 0]);
        for axis in [0, 1] {
            let case = Case::op("ScatterElements").opset(18).set("axis", axis).set("reduction", reduction);
            agree(&case.fixed(&[3, 3], wide()).constant(distinct.clone()).fixed(&[2, 3], wide()));
        }
        let case = Case::op("ScatterND").opset(18).set("reduction", reduction);
        agree(&case.clone().fixed(&[4, 3], wide()).constant(table(&[2, 1], &[3, 0])).fixed(&[2, 3], wide()));
        agree(&case.fixed(&[4, 3], wide()).constant(table(&[2, 2], &[3, 0, -2, 1])).fixed(&[2], wide()));
    }
    let repeated = table(&[1, 4], &[1, 1, 0, 1]);
    let case = Case::op("ScatterElements").opset(18).set("axis", 1).set("reduction", "add");
    agree(&case.fixed(&[1, 3], wide()).constant(repeated).fixed(&[1, 4], wide()));
}

#[test]
fn one_hot() {
    for axis in [-1, 0, 1] {
        let case = Case::op("OneHot").set("axis", axis).batched(&[2], Values::integers(-4, 6));
        agree(&case.constant(table(&[], &[4])).constant(Array::floats(&[2], vec![-1.0, 3.0])));
    }
}

#[test]
fn sorted_extremes() {
    for largest in [0, 1] {
        for axis in [1, -1] {
            let case = Case::op("TopK").set("largest", largest).set("axis", axis).outputs(2);
            agree(&case.clone().batched(&[5, 4], wide()).ints(&[3]));
            agree(&case.batched(&[5, 4], Values::Exactly(1.0)).ints(&[2]));
        }
    }
}

#[test]
fn positions_that_are_not_zero() {
    agree(&Case::op("NonZero").batched(&[5], Values::integers(-1, 2)));
}

#[test]
fn unpooling() {
    let index = table(&[1, 1, 2, 2], &[5, 7, 13, 10]);
    let case = Case::op("MaxUnpool").set("kernel_shape", vec![2, 2]).set("strides", vec![2, 2]);
    agree(&case.fixed(&[1, 1, 2, 2], wide()).constant(index).ints(&[1, 1, 4, 4]));
}

#[test]
fn images_at_the_places_of_a_grid() {
    for mode in ["bilinear", "nearest"] {
        for padding in ["zeros", "border", "reflection"] {
            for align_corners in [0, 1] {
                for image in [&[2, 3, 4][..], &[1, 1, 5], &[1, 3, 1]] {
                    let case = |mode: &str| {
                        let case = Case::op("GridSample").set("mode", mode).set("padding_mode", padding);
                        let case = case.set("align_corners", align_corners).batched(image, wide());
                        case.batched(&[3, 4, 2], Values::uniform(-2.5, 2.5))
                    };
                    agree(&case(mode));
                    agree(&case(if mode == "bilinear" { "linear" } else { mode }).opset(20));
                }
            }
        }
    }
}
