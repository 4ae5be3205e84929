use assay_graph::Attribute;
use assay_reference::{Array, Case, Values};

use crate::agree;

fn wide() -> Values {
    Values::uniform(-2.0, 2.0)
}

#[test]
fn reshapes() {
    for shape in [&[-1, 6][..], &[0, -1], &[0, 2, 3], &[-1]] {
        agree(&Case::op("Reshape").batched(&[3, 2], wide()).ints(shape));
    }
    agree(&Case::op("Reshape").set("allowzero", 1).batched(&[0, 2], wide()).ints(&[0, 5]));
    for axis in [0, 1, 2, 3, -1] {
        agree(&Case::op("Flatten").set("axis", axis).batched(&[3, 2], wide()));
    }
    agree(&Case::op("Squeeze").fixed(&[1, 3, 1, 2], wide()));
    agree(&Case::op("Squeeze").batched(&[1, 3, 1], wide()).ints(&[-1, 1]));
    agree(&Case::op("Squeeze").opset(11).set("axes", vec![1]).batched(&[1, 3, 1], wide()));
    agree(&Case::op("Unsqueeze").batched(&[3, 2], wide()).ints(&[-1, 1]));
    agree(&Case::op("Unsqueeze").opset(11).set("axes", vec![0, 3]).batched(&[3, 2], wide()));
    agree(&Case::op("Identity").batched(&[3, 2], wide()));
    agree(&Case::op("Dropout").outputs(2).batched(&[3, 2], wide()).scalar(0.3));
}

#[test]
fn orders_of_dimensions() {
    agree(&Case::op("Transpose").batched(&[3, 2], wide()));
    for perm in [vec![0, 2, 1], vec![2, 0, 1], vec![1, 2, 0]] {
        agree(&Case::op("Transpose").set("perm", perm).batched(&[3, 2], wide()));
    }
}

#[test]
fn joins_and_parts() {
    for axis in [1, 2, -1] {
        agree(&Case::op("Concat").set("axis", axis).batched(&[3, 2], wide()).batched(&[3, 2], wide()));
    }
    agree(&Case::op("Split").set("axis", 1).outputs(2).batched(&[4, 2], wide()));
    agree(&Case::op("Split").set("axis", -1).outputs(3).batched(&[2, 6], wide()).ints(&[1, 2, 3]));
    agree(&Case::op("Split").opset(11).set("axis", 1).set("split", vec![1, 3]).outputs(2).batched(&[4], wide()));
    agree(&Case::op("Split").opset(18).set("axis", 1).set("num_outputs", 3).outputs(3).batched(&[7], wide()));
}

#[test]
fn slices_with_any_step() {
    for (start, end, step) in
        [(1, 5, 1), (0, 7, 2), (-1, -8, -1), (6, 0, -2), (5, -100, -3), (-3, 100, 1), (3, 3, 1), (100, -100, -1)]
    {
        let case = Case::op("Slice").named(&format!("{start}:{end}:{step}")).batched(&[7, 2], wide());
        agree(&case.ints(&[start]).ints(&[end]).ints(&[1]).ints(&[step]));
    }
    let two = Case::op("Slice").batched(&[7, 4], wide());
    agree(&two.ints(&[1, -1]).ints(&[i64::MAX, i64::MIN]).ints(&[-2, 2]).ints(&[3, -1]));
    let old = Case::op("Slice").opset(9).set("starts", vec![1, 0]).set("ends", vec![5, -1]).set("axes", vec![1, 2]);
    agree(&old.batched(&[7, 4], wide()));
}

#[test]
fn pads_in_every_mode() {
    for mode in ["constant", "edge", "reflect", "wrap"] {
        for pads in [
            [0, 0, 1, 2, 0, 0, 2, 1],
            [0, 0, 3, 0, 0, 0, 0, 3],
            [0, 0, -1, 2, 0, 0, 1, -2],
            [0, 0, -1, -1, 0, 0, 0, -1],
        ] {
            let case = Case::op("Pad").opset(19).set("mode", mode).named(&format!("pads {pads:?}"));
            let case = case.batched(&[2, 5, 6], wide()).ints(&pads);
            agree(&case);
        }
    }
    let last = Case::op("Pad").opset(19).set("mode", "wrap").batched(&[5, 6], wide()).ints(&[4, 5]);
    agree(&last.absent().ints(&[-1]));
    agree(&Case::op("Pad").batched(&[3, 4], wide()).ints(&[0, 1, 0, 0, 0, 2]).scalar(-7.0));
    agree(&Case::op("Pad").opset(18).batched(&[3, 4], wide()).ints(&[1, 2]).scalar(0.5).ints(&[-1]));
    agree(&Case::op("Pad").opset(9).set("pads", vec![0, 1, 0, 2]).set("value", 3.0f32).batched(&[3], wide()));
}

#[test]
fn repeats() {
    agree(&Case::op("Expand").batched(&[3, 1], wide()).ints(&[1, 3, 4]));
    agree(&Case::op("Expand").fixed(&[3, 1], wide()).ints(&[2, 1, 4]));
    agree(&Case::op("Tile").batched(&[3, 2], wide()).ints(&[1, 2, 3]));
}

#[test]
fn depth_and_space() {
    for mode in ["DCR", "CRD"] {
        agree(&Case::op("DepthToSpace").set("blocksize", 2).set("mode", mode).batched(&[8, 2, 3], wide()));
    }
    agree(&Case::op("SpaceToDepth").set("blocksize", 2).batched(&[3, 4, 6], wide()));
}

#[test]
fn triangles() {
    for upper in [0, 1] {
        for k in [-1, 0, 2] {
            let case = Case::op("Trilu").set("upper", upper).named(&format!("k={k}"));
            agree(&case.batched(&[3, 4], wide()).constant(Array::ints(&[], vec![k])));
        }
    }
}

#[test]
fn shape_arithmetic() {
    agree(&Case::op("Shape").batched(&[3, 4], wide()));
    agree(&Case::op("Shape").set("start", 1).set("end", -1).batched(&[3, 4], wide()));
    agree(&Case::op("Size").batched(&[3, 4], wide()));
    let scalars = |numbers: [i64; 3]| {
        numbers.into_iter().fold(Case::op("Range"), |case, n| case.constant(Array::ints(&[], vec![n])))
    };
    agree(&scalars([1, 10, 3]));
    agree(&scalars([5, 0, -2]));
    agree(&Case::op("Range").scalar(0.0).scalar(1.0).scalar(0.25));
    agree(&Case::op("Constant").set("value_floats", Attribute::Floats(vec![1.0, 2.5])));
}
